"""Echoes: findings that are there only because a wrong value was left out before the rules saw the tree.

``strategy: simple_one_for_on`` with a template is one fault, not two. An echo is dropped; it would come back, if it
were true, in the next check after the first fault is mended.
"""

from collections.abc import Sequence

from supervisors.spec import codes
from supervisors.spec.codes import Severity
from supervisors.spec.findings import Loc, Problem, nearest

_SETTINGS_KEYS = ("policy", "extends")
#: for each rule: keys of the same mapping which, when wrong themselves, make it speak of what was not written
_SAME: dict[int, tuple[str, ...]] = {
    codes.TEMPLATE_WITHOUT_SIMPLE: ("strategy",),
    codes.SIMPLE_ONLY_KEY: ("strategy",),
    codes.SIMPLE_WITHOUT_TEMPLATE: ("strategy", "template"),
    codes.CHILDREN_IN_SIMPLE: ("strategy",),
    codes.INITIAL_OVER_MAX: ("initial", "max_children"),
    codes.SIGNIFICANT_PERMANENT: ("restart", *_SETTINGS_KEYS),
    codes.BACKOFF_ORDER: ("backoff", "base", "cap", *_SETTINGS_KEYS),
    codes.HANG_TOO_SOON: ("heartbeat", "interval", "missed", "hang_after", *_SETTINGS_KEYS),
    codes.BUDGET_OVERLAP: ("budgets",),
    codes.LADDER_ORDER: ("recovery", "ladder", *_SETTINGS_KEYS),
    codes.RULE_FIELD: ("rules",),
    codes.RULE_LACKS: ("recovery", "rules", "classes", "approval", "market_hours", "rto", *_SETTINGS_KEYS),
    codes.ACK_WITHOUT_STANDBY: ("recovery", "standbys", "ack", "journal", *_SETTINGS_KEYS),
    codes.LEASE_TIMING: ("recovery", "lease", "renew", "expire", "margin", *_SETTINGS_KEYS),
    codes.RAMP_STEPS: ("recovery", "ramp", *_SETTINGS_KEYS),
    codes.STEP_WORKER: ("recovery", *_SETTINGS_KEYS),
    codes.STEP_FALLS_TOO: ("recovery", *_SETTINGS_KEYS),
    codes.STANDBY_TEMPORARY: ("recovery", "standbys", "restart", *_SETTINGS_KEYS),
    codes.MARKET_HOURS: ("recovery", "approval", "market_hours", "open", "close", *_SETTINGS_KEYS),
    codes.STANDBY_NEEDS_APPLY: ("recovery", "standby", *_SETTINGS_KEYS),
}
#: rules about lists in which a wrong item changes what the others mean: any fault within the list counts
_LISTS = {codes.LADDER_ORDER: "ladder", codes.RAMP_STEPS: "ramp", codes.BUDGET_OVERLAP: "budgets"}
#: rules that look for another child, which may be the one that was left out as a whole
_SEEKERS = (codes.UNKNOWN_PEER, codes.STEP_WORKER, codes.FAULT_TARGET)
#: the same, for keys of the supervisor above
_ABOVE: dict[int, tuple[str, ...]] = {
    codes.SIGNIFICANT_NEVER: ("auto_shutdown",),
    codes.STEP_FALLS_TOO: ("strategy",),
}


def is_echo(problem: Problem, faults: Sequence[Problem]) -> bool:
    """True when ``problem`` may be no more than what ``faults``, found earlier, left behind."""
    owner = owner_of(problem.loc)
    return any(_follows(problem, owner, fault) for fault in faults)


def owner_of(loc: Loc) -> Loc:
    """The child, template, policy or root that ``loc`` belongs to: the longest such beginning of it."""
    best = 0
    for index, part in enumerate(loc):
        after_children = index > 0 and loc[index - 1] == "children" and isinstance(part, int)
        is_section = index == 0 and part in ("tree", "spares")
        if part in ("config", "args"):
            break
        in_template = part == "template" and index + 1 < len(loc)
        if after_children or is_section or in_template or (index == 1 and loc[0] == "policies"):
            best = index + 1
    return loc[:best]


def _follows(problem: Problem, owner: Loc, fault: Problem) -> bool:
    in_common = fault.loc[:1] in (("policies",), ("defaults",))
    if problem.code == codes.UNKNOWN_POLICY:
        # the policy is there, but wrong as a whole
        return fault.loc[:1] == ("policies",) and len(fault.loc) == 2 and repr(fault.loc[1]) in problem.message
    if problem.code in _SEEKERS and _is_lost_child(fault):
        return True
    if problem.severity is not Severity.ERROR:
        # advice reckons with whole subtrees: it waits until they are right
        return in_common or problem.code == codes.PROCESS_COUNT or fault.loc[: len(owner)] == owner
    if problem.code in _LISTS and _LISTS[problem.code] in fault.loc and (in_common or owner_of(fault.loc) == owner):
        return True
    same, above = _SAME.get(problem.code, ()), _ABOVE.get(problem.code, ())
    if in_common:
        return _names_one_of(fault, (*same, *above))
    place = owner_of(fault.loc)
    if place == owner:
        return _names_one_of(fault, same)
    parent = owner[:-1] if owner[-1:] == ("template",) else owner[:-2]
    return place == parent and _names_one_of(fault, above)


def _is_lost_child(fault: Problem) -> bool:
    is_child = len(fault.loc) > 1 and fault.loc[-2] == "children" and isinstance(fault.loc[-1], int)
    return is_child and fault.code == codes.WRONG_TYPE


def _names_one_of(fault: Problem, keys: tuple[str, ...]) -> bool:
    name = str(fault.loc[-1]) if fault.loc else ""
    return name in keys or (fault.code == codes.UNKNOWN_KEY and nearest(name, keys) != "")
