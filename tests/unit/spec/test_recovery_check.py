"""Every finding about recovery, budgets and state, at its line and column."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.spec import Report, check_file, check_text
from supervisors.spec import codes as c
from tests.unit.spec.sample import unmark

#: what is good to know but not what these tests are about
_ASIDE = {c.PROCESS_COUNT, c.NO_CHILDREN}
_V = "{id: v, actor: 'm:V'}"


def _one(recovery: str, *more: str, before: str = "") -> str:
    """A worker /a with ``recovery`` (flow style), a worker /v, and ``more`` children."""
    children = [f"{{id: a, actor: 'm:C', recovery: {recovery}}}", _V, *more]
    return before + "tree:\n  children:\n" + "".join(f"    - {child}\n" for child in children)


def _rules(*rules: str, rest: str = "standbys: 1") -> str:
    return _one(f"{{{rest}, rules: [{', '.join(rules)}]}}")


def _step(name: str = "x", worker: str = "/v", more: str = "") -> str:
    return f"{{name: {name}, worker: {worker}, method: check{more}}}"


_HOT = "{when: standby_synced, then: hot}"
_COLD = "{when: always, then: cold}"
_LONG = ", timeout: 31s, attempts: 1"
_MANY = "    - {id: far, actor: 'm:C', placement: {labels: {rack: b}}}\n"

#: a text, with § before each place a finding is to point at, and the codes in order
FAULTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "recovery is no mapping": (_one("§true"), (c.WRONG_TYPE,)),
    "unknown key": (_one("{§standby_count: 1}"), (c.UNKNOWN_KEY,)),
    "unknown key in a section": (_one("{lease: {§renewal: 1s}}"), (c.UNKNOWN_KEY,)),
    "unknown key in a step of the ramp": (
        _one("{ramp: {steps: [{size: 0, §four: 1m}, {size: 1}]}}"),
        (c.UNKNOWN_KEY,),
    ),
    "a key by its name in Python": (_one("{§checks: []}"), (c.UNKNOWN_KEY,)),
    "unknown key in a validation step": (_one(f"{{validate: [{_step(more=', §time_out: 1s')}]}}"), (c.UNKNOWN_KEY,)),
    "unknown rung": (_one("{ladder: [hot, §worm]}"), (c.NOT_ONE_OF,)),
    "negative standbys": (_one("{standbys: §-1}"), (c.OUT_OF_RANGE,)),
    "too many standbys": (_one("{standbys: §17}"), (c.OUT_OF_RANGE,)),
    "rto without a length": (_one("{rto: §0s}"), (c.OUT_OF_RANGE,)),
    "no duration": (_one("{rung_timeout: {warm: §soon}}"), (c.BAD_DURATION,)),
    "rung_timeout of manual": (_one("{rung_timeout: {§manual: 1s}}"), (c.UNKNOWN_KEY,)),
    "no size": (_one("{journal: {segment: §lots}}"), (c.BAD_SIZE,)),
    "segment too small": (_one("{journal: {segment: §1KB}}"), (c.OUT_OF_RANGE,)),
    "unknown acknowledgement": (_one("{journal: {ack: §all}}"), (c.NOT_ONE_OF,)),
    "unknown word for a lost store": (_one("{lease: {on_store_loss: §go}}"), (c.NOT_ONE_OF,)),
    "no time of day": (_one('{approval: {market_hours: {open: §"25:00"}}}'), (c.BAD_TIME_OF_DAY,)),
    "minutes of a time of day": (_one('{approval: {market_hours: {open: §"09:60"}}}'), (c.BAD_TIME_OF_DAY,)),
    "past the end of the day": (_one('{approval: {market_hours: {close: §"24:01"}}}'), (c.BAD_TIME_OF_DAY,)),
    "time of day as a number": (_one("{approval: {market_hours: {open: §930}}}"), (c.WRONG_TYPE,)),
    "unknown time zone": (_one("{approval: {market_hours: {timezone: §America/Gotham}}}"), (c.BAD_TIME_ZONE,)),
    "time zone that leads out": (_one("{approval: {market_hours: {timezone: §../../etc/passwd}}}"), (c.BAD_TIME_ZONE,)),
    "unknown day": (_one("{approval: {market_hours: {days: [mon, §tuesday]}}}"), (c.NOT_ONE_OF,)),
    "no days": (_one("{approval: {market_hours: {days: §[]}}}"), (c.OUT_OF_RANGE,)),
    "size over 1": (_one("{ramp: {steps: [{size: §2}]}}"), (c.OUT_OF_RANGE,)),
    "no steps": (_one("{ramp: {steps: §[]}}"), (c.OUT_OF_RANGE,)),
    "no rules": (_one("{rules: §[]}"), (c.OUT_OF_RANGE,)),
    "rule without then": (_one("{rules: [§{when: always}]}"), (c.MISSING_KEY,)),
    "unknown condition": (_one("{rules: [{when: §never, then: cold}]}"), (c.NOT_ONE_OF,)),
    "no classes": (_one("{rules: [{when: failure_class, classes: §[], then: cold}]}"), (c.OUT_OF_RANGE,)),
    "step without a method": (_one("{validate: [§{name: x, worker: /v}]}"), (c.MISSING_KEY,)),
    "private method": (_one("{validate: [{name: x, worker: /v, method: §_check}]}"), (c.BAD_VALUE,)),
    "worker of a step is no path": (_one("{validate: [{name: x, worker: §v, method: check}]}"), (c.BAD_PATH,)),
    "infinite argument": (_one(f"{{validate: [{_step(more=', args: {n: §.inf}')}]}}"), (c.NOT_JSON,)),
    "recovery of a supervisor": (
        "tree:\n  children:\n    - {id: s, §recovery: {}, children: []}\n",
        (c.SUPERVISOR_RECOVERY,),
    ),
    "recovery of all supervisors": (
        _one("{}", before="defaults: {supervisor: {§recovery: {}}}\n"),
        (c.SUPERVISOR_RECOVERY,),
    ),
    "recovery of the root": ("tree: {§recovery: {}}\n", (c.ROOT_KEY,)),
    # budgets
    "kind in two budgets": (
        "tree:\n  budgets: [{kinds: [oom]}, {kinds: [crash, §oom]}]\n  children: []\n",
        (c.BUDGET_OVERLAP,),
    ),
    "kind twice in one budget": ("tree: {budgets: [{kinds: [oom, §oom]}]}\n", (c.BUDGET_OVERLAP,)),
    "budget without kinds": ("tree: {budgets: [§{period: 1s}]}\n", (c.MISSING_KEY,)),
    "budget of no kind": ("tree: {budgets: [{kinds: §[]}]}\n", (c.OUT_OF_RANGE,)),
    "budget of an unknown kind": ("tree: {budgets: [{kinds: [§node]}]}\n", (c.NOT_ONE_OF,)),
    "budget with half a second": ("tree: {budgets: [{kinds: [oom], period: §500ms}]}\n", (c.BAD_DURATION,)),
    # the ladder
    "empty ladder": (_one("{ladder: §[]}"), (c.LADDER_ORDER,)),
    "ladder out of order": (_one("{standbys: 1, ladder: [warm, §hot, cold]}"), (c.LADDER_ORDER,)),
    "rung twice": (_one("{ladder: [warm, §warm]}"), (c.LADDER_ORDER,)),
    "manual is not listed": (_one("{ladder: [cold, §manual]}"), (c.LADDER_ORDER,)),
    "wrong rung hides no order": (_one("{standbys: 1, ladder: [§fast, cold, hot]}"), (c.NOT_ONE_OF,)),
    "ladder of a policy is told there, once": (
        "policies: {p: {recovery: {ladder: [cold, §warm]}}}\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C', policy: p}\n    - {id: b, actor: 'm:C', policy: p}\n",
        (c.LADDER_ORDER,),
    ),
    # rules
    "fields the condition does not look at": (
        _rules("{when: standby_synced, §max_age: 1m, then: hot}", "{when: always, §above: 3, §below: 0s, then: cold}"),
        (c.RULE_FIELD,) * 3,
    ),
    "failure_class without classes": (_rules("{when: §failure_class, then: cold}"), (c.RULE_LACKS,)),
    "market_open without market hours": (_rules("{when: §market_open, then: cold}"), (c.RULE_LACKS,)),
    "market hours that are wrong are one fault": (
        _rules("{when: market_open, then: cold}", rest="approval: {market_hours: {open: §9}}"),
        (c.WRONG_TYPE,),
    ),
    "rto_left without rto": (_rules("{when: §rto_left, then: cold}", rest="rto: null"), (c.RULE_LACKS,)),
    "rung that is not on the ladder": (
        _rules("{when: checkpoint_fresh, then: §warm}", _COLD, rest="ladder: [cold]"),
        (c.RULE_OFF_LADDER,),
    ),
    "behind always": (_rules(_HOT, _COLD, "§{when: volatility, then: manual}"), (c.RULE_UNREACHABLE,)),
    "the same again": (_rules(_HOT, f"§{_HOT}", _COLD), (c.RULE_UNREACHABLE,)),
    "a narrower bound behind a wider one": (
        _rules("{when: rto_left, below: 2s, then: cold}", "§{when: rto_left, below: 1s, then: warm}"),
        (c.RULE_UNREACHABLE,),
    ),
    "a wider bound behind a narrower one": (
        _rules("{when: rto_left, below: 1s, then: cold}", "{when: rto_left, below: 2s, then: warm}"),
        (),
    ),
    "fewer classes behind more": (
        _rules(
            "{when: failure_class, classes: [node, oom], then: cold}",
            "§{when: failure_class, classes: [oom], then: warm}",
        ),
        (c.RULE_UNREACHABLE,),
    ),
    "behind an always that is passed over": (
        _rules("{when: always, then: §hot}", _COLD, rest="standbys: 0"),
        (c.HOT_WITHOUT_STANDBYS,),
    ),
    # standbys
    "hot by hand without standbys": (_one("{ladder: [§hot, cold]}"), (c.HOT_WITHOUT_STANDBYS,)),
    "hot by default without standbys": (_one("{}"), ()),
    "a ladder for all fits one of them": (
        "defaults: {child: {recovery: {ladder: [hot, cold]}}}\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C', recovery: {standbys: 1}}\n    - {id: b, actor: 'm:C'}\n",
        (),
    ),
    "a ladder for all fits the last of them": (
        "defaults: {child: {recovery: {ladder: [hot, cold]}}}\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C'}\n    - {id: b, actor: 'm:C', recovery: {standbys: 1}}\n",
        (),
    ),
    "a ladder behind a null is not in effect": (
        "defaults: {child: {recovery: {ladder: [hot, cold]}}}\npolicies: {off: {recovery: null}}\n"
        "tree:\n  children:\n    - {id: a, actor: 'm:C', policy: off, recovery: {}}\n",
        (),
    ),
    "a ladder for all fits none of them": (
        "defaults: {child: {recovery: {ladder: [§hot, cold]}}}\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C'}\n    - {id: b, actor: 'm:C'}\n",
        (c.HOT_WITHOUT_STANDBYS,),
    ),
    "standbys without hot": (_one("{standbys: §1, ladder: [cold]}"), (c.STANDBYS_WITHOUT_HOT,)),
    "standbys of what is never restarted": (
        "tree:\n  children:\n    - {id: a, actor: 'm:C', restart: §temporary, recovery: {standbys: 1}}\n",
        (c.STANDBY_TEMPORARY,),
    ),
    "standbys of what a policy never restarts": (
        "policies: {p: {restart: temporary}}\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C', policy: p, recovery: {standbys: §1}}\n",
        (c.STANDBY_TEMPORARY,),
    ),
    "restart that is wrong itself": (
        "tree:\n  children:\n    - {id: a, actor: 'm:C', restart: §tempory, recovery: {standbys: 1}}\n",
        (c.NOT_ONE_OF,),
    ),
    "a standby is to confirm, and there is none": (
        _one("{journal: {ack: §both}}"),
        (c.ACK_WITHOUT_STANDBY,),
    ),
    "wrong standbys hide no acknowledgement": (_one("{standbys: §one, journal: {ack: both}}"), (c.WRONG_TYPE,)),
    "unsafe": (_one("{journal: {ack: §async}}"), (c.ACK_UNSAFE,)),
    "no lease": (_one("{standbys: 1, lease: §null}"), (c.STANDBYS_WITHOUT_LEASE,)),
    "no lease and no standbys": (_one("{lease: null}"), ()),
    "more hot workers than spares": (
        "spares: §1\n" + _one("{standbys: 1}", "{id: b, actor: 'm:C', recovery: {standbys: 1}}"),
        (c.SPARES_FOR_STANDBYS,),
    ),
    # times
    "lease lost with one renewal": (_one("{lease: {renew: §3s}}"), (c.LEASE_TIMING,)),
    "lease that is too short": (_one("{lease: {expire: §2s}}"), (c.LEASE_TIMING,)),
    "margin that clocks drift over": (_one("{lease: {margin: §1ms}}"), (c.LEASE_TIMING,)),
    "lease of the defaults is told there, once": (
        "defaults: {child: {recovery: {lease: {renew: §3s}}}}\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C'}\n    - {id: b, actor: 'm:C'}\n",
        (c.LEASE_TIMING,),
    ),
    "lease that ends before beats are missed": (
        "tree:\n  children:\n    - {id: a, actor: 'm:C', heartbeat: {interval: 2s, hang_after: 10s}, §recovery: {}}\n",
        (c.LEASE_UNDER_HEARTBEAT,),
    ),
    "checkpoints that go stale": (_one("{checkpoint: {every: 5m, fresh_for: §1m}}"), (c.CHECKPOINT_STALE,)),
    "checkpoints taken too seldom": (_one("{checkpoint: {every: §10m}}"), (c.CHECKPOINT_STALE,)),
    "a start that is raised": (
        "tree:\n  children:\n    - {id: a, actor: 'm:C', start_timeout: §10s, recovery: {}}\n",
        (c.START_RAISED,),
    ),
    "a supervisor that does not wait for it": (
        "tree:\n  children:\n    - {id: s, start_timeout: §1m, children: [{id: a, actor: 'm:C', recovery: {}}]}\n",
        (c.START_TOO_SHORT,),
    ),
    # ramp and market hours
    "ramp that shrinks": (
        _one("{ramp: {steps: [{size: 0.5, for: 1s}, {size: §0.5, for: 1s}, {size: 1}]}}"),
        (c.RAMP_STEPS,),
    ),
    "ramp without an end": (_one("{ramp: {steps: [{size: 0, for: 1s}, {size: §0.9}]}}"), (c.RAMP_STEPS,)),
    "step that takes no time": (_one("{ramp: {steps: [§{size: 0}, {size: 1}]}}"), (c.RAMP_STEPS,)),
    "end that ends": (_one("{ramp: {steps: [{size: 1, for: §1s}]}}"), (c.RAMP_STEPS,)),
    "wrong size is one fault": (_one("{ramp: {steps: [{size: 0, for: 1s}, {size: §all}]}}"), (c.WRONG_TYPE,)),
    "market that never opens": (
        _one('{approval: {market_hours: {open: "9:00", close: §"09:00"}}}'),
        (c.MARKET_HOURS,),
    ),
    # validation steps
    "worker that is not there": (_one(f"{{validate: [{_step(worker='§/w')}]}}"), (c.STEP_WORKER,)),
    "worker that is a supervisor": (_one(f"{{validate: [{_step(worker='§/')}]}}"), (c.STEP_WORKER,)),
    "worker that checks itself": (_one(f"{{validate: [{_step(worker='§/a')}]}}"), (c.STEP_WORKER,)),
    "worker that inherits a check by itself": (
        f"defaults: {{child: {{recovery: {{validate: [{_step()}]}}}}}}\ntree:\n  children:\n"
        f"    - {{id: a, actor: 'm:C'}}\n    - §{_V}\n",
        (c.STEP_WORKER,),
    ),
    "worker that a lost child may be": (
        _one(f"{{validate: [{_step(worker='/w')}]}}", "§5"),
        (c.WRONG_TYPE,),
    ),
    "worker that falls too": (
        "tree:\n  strategy: one_for_all\n  children:\n"
        f"    - {{id: a, actor: 'm:C', recovery: {{validate: [{_step(worker='§/v')}]}}}}\n    - {_V}\n",
        (c.STEP_FALLS_TOO,),
    ),
    "worker below a supervisor that falls too": (
        "tree:\n  strategy: rest_for_one\n  children:\n"
        f"    - {{id: a, actor: 'm:C', recovery: {{validate: [{_step(worker='§/s/v')}]}}}}\n"
        f"    - {{id: s, children: [{_V}]}}\n",
        (c.STEP_FALLS_TOO,),
    ),
    "worker before it in the group stays": (
        f"tree:\n  strategy: rest_for_one\n  children:\n    - {_V}\n"
        f"    - {{id: a, actor: 'm:C', recovery: {{validate: [{_step()}]}}}}\n",
        (),
    ),
    "wrong strategy is one fault": (
        "tree:\n  strategy: §one_for_al\n  children:\n"
        f"    - {{id: a, actor: 'm:C', recovery: {{validate: [{_step()}]}}}}\n    - {_V}\n",
        (c.NOT_ONE_OF,),
    ),
    "two steps of one name": (
        _one(f"{{validate: [{_step()}, {_step('y')}, {_step('§x')}]}}"),
        (c.DUPLICATE_STEP,),
    ),
    "a step that takes too long": (
        _one(f"{{validate: [§{_step(more=', timeout: 30s')}]}}"),
        (c.STEPS_TOO_LONG,),
    ),
    "steps that take too long together": (
        _one(f"{{validate: §[{_step('x', more=_LONG)}, {_step('y', more=_LONG)}]}}"),
        (c.STEPS_TOO_LONG,),
    ),
    # supervisors and policies
    "recovery of a policy at a supervisor": (
        "policies: {p: {recovery: {}}, q: {extends: p}}\ntree:\n  children:\n    - {id: s, policy: §q, children: []}\n",
        (c.RECOVERY_UNUSED,),
    ),
    "no recovery of a policy at a supervisor": (
        "policies: {p: {recovery: {}}, q: {extends: p, recovery: null}}\n"
        "tree:\n  children:\n    - {id: s, policy: q, children: []}\n",
        (),
    ),
    # many nodes
    "leases in a file": ("§" + _one("{}") + _MANY, (c.LEASES_ON_ONE_NODE,)),
    "standby on its primary's node": (
        "state: postgresql://h/d\ntree:\n  children:\n    - §{id: a, actor: 'm:C', recovery: {standbys: 1}}\n" + _MANY,
        (c.STANDBY_SAME_NODE,),
    ),
    "standby apart": (
        "state: postgresql://h/d\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C', placement: {anti_affinity: [/a]}, recovery: {standbys: 1}}\n" + _MANY,
        (),
    ),
    "all standbys on one node": (
        "state: postgresql://h/d\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C', placement: {node: §10.0.0.1}, recovery: {standbys: 1}}\n",
        (c.STANDBY_SAME_NODE,),
    ),
    "rto and the lease of a lost node": (
        "state: postgresql://h/d\ntree:\n  children:\n"
        "    - {id: a, actor: 'm:C', placement: {anti_affinity: [/a]}, recovery: {standbys: 1, rto: §1s}}\n" + _MANY,
        (c.RTO_UNDER_LEASE,),
    ),
    # state
    "state is no text": ("state: §1\ntree: {}\n", (c.WRONG_TYPE,)),
    "state is no address": ("state: §files\ntree: {}\n", (c.BAD_STATE,)),
    "another database": ("state: §mysql://h/d\ntree: {}\n", (c.BAD_STATE,)),
    "a port too high": ("state: §postgresql://h:70000/d\ntree: {}\n", (c.BAD_STATE,)),
    "a password in the address": ("state: §postgresql://u:p@h/d\ntree: {}\n", (c.PASSWORD_IN_FILE,)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_finding_at_its_place(name: str) -> None:
    marked, expected = FAULTS[name]
    text, places = unmark(marked)
    report = check_text(text, import_actors=False)
    found = [(f.code, (f.line, f.column)) for f in report.findings if f.code not in _ASIDE]
    assert found == list(zip(expected, places, strict=True))
    assert all(f.fix for f in report.findings if f.code not in _ASIDE)


_SECRET = "hunter2"


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://u:{_SECRET}@h/d",
        f"postgresql://u:{_SECRET}@h:x/d",
        f"postgresql://u:{_SECRET}/x@h/d",
        f"postgresql://u:{_SECRET}#x@h/d",
        f"postgresql://u:{_SECRET}?x@h/d",
        f"postgresql://u:x@{_SECRET}@h/d",
        f"postgresql://u:{_SECRET}@h:99999/d",
        f"postgresql://u:{_SECRET}@[::1/d",
        f"'postgresql://u:{_SECRET} x@h/d'",
        f"postgresql://h/d?password={_SECRET}",
        f"postgresql:/u:{_SECRET}@h/d",
        f"u:{_SECRET}@postgresql://h/d",
        f"mysql://u:{_SECRET}@h/d",
        f"{_SECRET}",
        f"[postgresql://u:{_SECRET}@h/d]",
        f"{{{_SECRET}: 1}}",
    ],
)
def test_no_finding_shows_a_password(address: str) -> None:
    report = check_text(f"state: {address}\ntree: {{}}\n")
    assert {f.code for f in report.findings} & {c.BAD_STATE, c.PASSWORD_IN_FILE, c.WRONG_TYPE}
    assert not [f for f in report.findings if _SECRET in str(f) or _SECRET in f.path_in_yaml]


# ------------------------------------------------------------------ classes

_MODULE = """
from actors.base import Actor

class Plain: ...

class Silent(Actor):
    def check(self, path): ...

class Applying(Actor):
    def apply(self, event): ...

class Half(Applying):
    def snapshot(self): ...

class Whole(Half):
    def restore(self, state): ...
    class Inner: ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "recovering_actors.py").write_text(_MODULE)
    yield tmp_path
    sys.modules.pop("recovering_actors", None)


def _classes(folder: Path, marked: str) -> tuple[Report, list[tuple[int, int]]]:
    text, places = unmark(marked)
    (folder / "t.yaml").write_text(text)
    return check_file(folder / "t.yaml"), places


def _actor(name: str, recovery: str, at: str = "") -> str:
    children = f"    - {{id: a, actor: {at}'recovering_actors:{name}', {recovery}}}\n"
    return f"tree:\n  children:\n{children}    - {{id: v, actor: 'recovering_actors:Silent'}}\n"


@pytest.mark.parametrize(
    ("marked", "code"),
    [
        (_actor("Whole", "recovery: {}"), 0),
        (_actor("Whole", "recovery: {standbys: 1, standby: journal}"), 0),
        (_actor("Silent", "recovery: {}"), 0),
        (_actor("Silent", "recovery: {standbys: 1}"), 0),
        (_actor("Silent", "recovery: {standbys: 1, standby: live}"), 0),
        (_actor("Silent", "recovery: {standbys: 1, standby: §journal}"), c.STANDBY_NEEDS_APPLY),
        (_actor("Plain", "recovery: {standbys: 1, standby: §journal}"), c.STANDBY_NEEDS_APPLY),
        (_actor("Plain", "§recovery: {}"), c.NOTHING_JOURNALED),
        (_actor("Plain", "§recovery: {standbys: 1}"), c.NOTHING_JOURNALED),
        (_actor("Plain", "recovery: null"), 0),
        (_actor("Applying", "recovery: {}", "§"), c.COLD_ONLY),
        (_actor("Half", "recovery: {standbys: 1}", "§"), c.COLD_ONLY),
        (_actor("Whole", f"recovery: {{validate: [{_step()}]}}"), 0),
        (_actor("Whole", "recovery: {validate: [{name: x, worker: /v, method: §chek}]}"), c.STEP_METHOD),
        (_actor("Whole", "recovery: {validate: [{name: x, worker: /v, method: §Config}]}"), c.STEP_METHOD),
    ],
)
def test_what_a_class_can_do(folder: Path, marked: str, code: int) -> None:
    report, places = _classes(folder, marked)
    found = [(f.code, (f.line, f.column)) for f in report.findings if f.code not in _ASIDE]
    assert found == [(code, place) for place in places]


def test_what_is_missing_is_named(folder: Path) -> None:
    report, _ = _classes(folder, _actor("Half", "recovery: {}"))
    (told,) = (f.message for f in report.findings if f.code == c.COLD_ONLY)
    assert told.startswith("Half has apply but no restore:")
    report, _ = _classes(folder, _actor("Whole", "recovery: {validate: [{name: x, worker: /v, method: chek}]}"))
    assert [f.fix for f in report.errors] == ["did you mean 'check'?"]
