"""Rules about values that are each valid but do not go together. All of them are errors."""

from collections.abc import Iterator

from supervisors.core.durations import format_duration
from supervisors.core.paths import id_of
from supervisors.spec import codes
from supervisors.spec.fault_rules import fault_errors
from supervisors.spec.findings import Loc, Problem, did_you_mean
from supervisors.spec.recovery_rules import recovery_errors
from supervisors.spec.resolve import Resolution, ResolvedSupervisor, ResolvedWorker
from supervisors.spec.settings import ChildSettings
from supervisors.spec.topology import Config, Root, Topology
from supervisors.tree.model import AutoShutdown, Restart

_CANNOT = "JSON cannot carry this text: it is no Unicode (half a surrogate pair)"
_FIX = "write the character itself"


def combination_problems(topology: Topology, resolution: Resolution) -> list[Problem]:
    """Every combination that will not be started, the policies' included. Empty when the topology may be compiled."""
    known = _all_paths(resolution.root)
    problems = list(resolution.problems)
    for node in resolution.root.walk():
        problems += _shape(node)
        problems += _ids(node)
        problems += _settings(node)
        problems += _significance(node)
        problems += _peers(node, known)
        problems += _configs(node)
    return problems + recovery_errors(topology, resolution) + fault_errors(topology, resolution)


def _all_paths(root: ResolvedSupervisor) -> set[str]:
    found: set[str] = set()
    for node in root.walk():
        found.add(node.path)
        found.update(c.path for c in node.children)
    return found


def _shape(node: ResolvedSupervisor) -> Iterator[Problem]:
    """Children, template and initial must fit the strategy."""
    own, loc, path = node.node, node.loc, node.path
    if not node.is_simple:
        change = "set strategy: simple_one_for_one, or list children instead"
        if own.template is not None:
            message = f"template is for simple_one_for_one; the strategy here is {node.options.strategy}"
            yield Problem(codes.TEMPLATE_WITHOUT_SIMPLE, (*loc, "template"), message, change, path, on_key=True)
        for key in ("initial", "max_children"):
            if key in own.model_fields_set:
                message = f"{key} is for simple_one_for_one; the strategy here is {node.options.strategy}"
                yield Problem(codes.SIMPLE_ONLY_KEY, (*loc, key), message, "remove it, or " + change, path, on_key=True)
        return
    if own.children:
        message = "a simple_one_for_one supervisor lists no children: all are made from its template"
        fix = "move the actor to template, or choose another strategy"
        yield Problem(codes.CHILDREN_IN_SIMPLE, (*loc, "children"), message, fix, path, on_key=True)
    if own.template is None:
        message = "a simple_one_for_one supervisor needs a template"
        yield Problem(codes.SIMPLE_WITHOUT_TEMPLATE, loc, message, "add template: {actor: module:Class}", path)
    count = own.initial if isinstance(own.initial, int) else len(own.initial)
    if own.max_children is not None and count > own.max_children:
        message = f"{count} initial children, but max_children is {own.max_children}"
        fix = f"raise max_children to {count} or start fewer"
        yield Problem(codes.INITIAL_OVER_MAX, (*loc, "initial"), message, fix, path)


def _ids(node: ResolvedSupervisor) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, child in enumerate(node.children):
        name = id_of(child.path)
        if name in first:
            message = f"id {name!r} is taken by child {first[name] + 1} of {node.path}"
            yield Problem(
                codes.DUPLICATE_ID, (*child.loc, "id"), message, "give each child a name of its own", child.path
            )
        else:
            first[name] = index


def _settings(node: ResolvedSupervisor) -> Iterator[Problem]:
    """Backoff and heartbeat of the supervisor itself and of its workers."""
    yield from _backoff(node, node.settings)
    yield from _heartbeat(node, node.settings)
    for worker in node.workers:
        yield from _backoff(worker, worker.settings)
        yield from _heartbeat(worker, worker.settings)


def _backoff(node: ResolvedWorker | ResolvedSupervisor, settings: ChildSettings) -> Iterator[Problem]:
    backoff = settings.backoff
    if backoff is not None and backoff.base > backoff.cap:
        message = f"backoff base {format_duration(backoff.base)} is greater than its cap {format_duration(backoff.cap)}"
        fix = "raise cap or lower base"
        yield Problem(codes.BACKOFF_ORDER, (*node.loc, "backoff", "base"), message, fix, node.path)


def _heartbeat(node: ResolvedWorker | ResolvedSupervisor, settings: ChildSettings) -> Iterator[Problem]:
    beat = settings.heartbeat
    suspect = beat.missed * beat.interval
    if beat.hang_after is not None and beat.hang_after <= suspect:
        message = (
            f"hang_after {format_duration(beat.hang_after)} is not longer than missed x interval "
            f"({beat.missed} x {format_duration(beat.interval)}): a lost network would look like a hang"
        )
        fix = f"set hang_after above {format_duration(round(suspect, 6))}, or null for never"
        yield Problem(codes.HANG_TOO_SOON, (*node.loc, "heartbeat", "hang_after"), message, fix, node.path)


def _significance(node: ResolvedSupervisor) -> Iterator[Problem]:
    """OTP refuses both of these (supervisor:check_childspec)."""
    members: list[ResolvedWorker | ResolvedSupervisor] = list(node.children)
    if node.template is not None:
        members.append(node.template)
    for child in members:
        if isinstance(child.node, Root) or not child.node.significant:
            continue
        loc: Loc = (*child.loc, "significant")
        if child.settings.restart is Restart.PERMANENT:
            message = "significant + restart: permanent: a child that always comes back has no end to act on"
            fix = "set restart: transient or temporary, or remove significant"
            yield Problem(codes.SIGNIFICANT_PERMANENT, loc, message, fix, child.path)
        if node.options.auto_shutdown is AutoShutdown.NEVER:
            message = f"significant + auto_shutdown: never (of {node.path}): its end would change nothing"
            fix = f"set auto_shutdown: any_significant at {node.path}, or remove significant"
            yield Problem(codes.SIGNIFICANT_NEVER, loc, message, fix, child.path)


def _peers(node: ResolvedSupervisor, known: set[str]) -> Iterator[Problem]:
    members: list[ResolvedWorker | ResolvedSupervisor] = [node, *node.workers]
    for member in members:
        for index, peer in enumerate(member.node.placement.anti_affinity):
            loc: Loc = (*member.loc, "placement", "anti_affinity", index)
            if peer not in known:
                fix = did_you_mean(peer, known)
                yield Problem(codes.UNKNOWN_PEER, loc, f"there is no {peer} in the tree", fix, member.path)
            elif peer == member.path and member.node is not node.node.template and not _has_standbys(member):
                yield Problem(codes.UNKNOWN_PEER, loc, "a child cannot avoid itself", "name another path", member.path)


def _has_standbys(member: ResolvedWorker | ResolvedSupervisor) -> bool:
    """Then its own path says that they are not to share a node with it."""
    if isinstance(member, ResolvedSupervisor) or member.settings.recovery is None:
        return False
    return member.settings.recovery.standbys > 0


def _configs(node: ResolvedSupervisor) -> Iterator[Problem]:
    for worker in node.workers:
        for loc in _not_json(worker.node.config, (*worker.loc, "config")):
            yield Problem(codes.NOT_JSON, loc, _CANNOT, _FIX, worker.path)
        recovery = worker.settings.recovery
        for index, step in enumerate(recovery.checks if recovery is not None else ()):
            for loc in _not_json(dict(step.args), (*worker.loc, "recovery", "validate", index, "args")):
                yield Problem(codes.NOT_JSON, loc, _CANNOT, _FIX, worker.path)
    initial = node.node.initial
    overrides: tuple[Config, ...] = () if isinstance(initial, int) else initial
    for index, config in enumerate(overrides):
        for loc in _not_json(config, (*node.loc, "initial", index)):
            yield Problem(codes.NOT_JSON, loc, _CANNOT, _FIX, node.path)


def _not_json(value: object, loc: Loc) -> Iterator[Loc]:
    """Texts that are no Unicode. (Infinite numbers and nan the models refuse by themselves.)"""
    if isinstance(value, str) and not _is_text(value):
        yield loc
    elif isinstance(value, dict):
        for key, item in value.items():
            if not _is_text(str(key)):
                yield loc
            yield from _not_json(item, (*loc, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, (*loc, index))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
