"""Recovery in the topology: what is written, inherited and compiled. Findings stand in ``test_recovery_check``."""

import msgspec
import pytest

from supervisors.core.reasons import ExitKind
from supervisors.recovery.policy import (
    DEFAULT_RULES,
    AckMode,
    ApprovalSpec,
    CheckpointSpec,
    Condition,
    FailureClass,
    JournalSpec,
    LeaseSpec,
    MarketHours,
    Phase,
    RampSpec,
    RampStep,
    RecoverySpec,
    Rule,
    Rung,
    StandbyKind,
    StoreLoss,
    ValidationStep,
)
from supervisors.spec import Topology, compile_topology, decode, dump_topology, encode, parse_topology, topology_schema
from supervisors.spec.compiled import CompiledTopology, WorkerSpec
from supervisors.spec.recovery import minutes_of
from supervisors.spec.recovery_compile import USES
from supervisors.spec.state import has_password, without_password
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.model import Budget, ChildSpec
from tests.unit.spec.sample import FULL


def _compile(recovery: object, **more: object) -> CompiledTopology:
    child = {"id": "a", "actor": "m:C", "recovery": recovery}
    return compile_topology(Topology.model_validate({"tree": {"children": [child]}, **more}))


def _spec(recovery: object, **more: object) -> RecoverySpec | None:
    return _compile(recovery, **more).workers["/a"].recovery


def _child(compiled: CompiledTopology, child_id: str) -> ChildSpec:
    return next(child for child in compiled.supervisors["/"].spec.children if child.id == child_id)


def test_without_recovery_a_child_is_only_restarted() -> None:
    compiled = compile_topology(Topology.model_validate({"tree": {"children": [{"id": "a", "actor": "m:C"}]}}))
    assert compiled.workers["/a"].recovery is None
    assert _child(compiled, "a").concurrent is False
    assert compiled.system.state == "file"


def test_an_empty_mapping_is_what_the_policy_has_built_in() -> None:
    assert _spec({}) == RecoverySpec()
    assert RecoverySpec().standbys == 0
    assert RecoverySpec().rules == DEFAULT_RULES


def test_two_lines_make_a_hot_standby() -> None:
    compiled = parse_topology(
        "tree:\n  children:\n    - id: a\n      actor: m:C\n      recovery:\n        standbys: 1\n", import_actors=False
    )[1]
    assert compiled.workers["/a"].recovery == RecoverySpec(standbys=1, journal=JournalSpec(AckMode.BOTH))
    assert compiled.processes == 1 + 1 + 1 + 2


@pytest.mark.parametrize(
    ("standbys", "written", "meant"),
    [
        (0, "auto", AckMode.DISK),
        (1, "auto", AckMode.BOTH),
        (1, "disk", AckMode.DISK),
        (1, "standby", AckMode.STANDBY),
        (0, "async", AckMode.ASYNC),
    ],
)
def test_acknowledgement(standbys: int, written: str, meant: AckMode) -> None:
    spec = _spec({"standbys": standbys, "journal": {"ack": written}})
    assert spec is not None
    assert spec.journal.ack is meant


def test_every_key_is_compiled() -> None:
    spec = parse_topology(FULL)[1].workers["/orders"].recovery
    assert spec == RecoverySpec(
        ladder=(Rung.HOT, Rung.WARM, Rung.COLD),
        rules=(
            Rule(Condition.STANDBY_SYNCED, Rung.HOT, max_lag=0.5),
            Rule(Condition.CHECKPOINT_FRESH, Rung.WARM, max_age=120.0),
            Rule(Condition.FAILURE_CLASS, Rung.COLD, classes=(FailureClass.NODE, FailureClass.OOM)),
            Rule(Condition.CORRUPTION_SUSPECTED, Rung.MANUAL),
            Rule(Condition.FAILED_RECOVERIES, Rung.MANUAL, at_least=2, within=1800.0),
            Rule(Condition.VOLATILITY, Rung.MANUAL, above=3.5),
            Rule(Condition.FAILURES_AT_ONCE, Rung.MANUAL, at_least=5, within=2.0),
            Rule(Condition.MARKET_OPEN, Rung.WARM),
            Rule(Condition.RTO_LEFT, Rung.COLD, below=1.0),
            Rule(Condition.ALWAYS, Rung.COLD),
        ),
        standbys=1,
        standby=StandbyKind.LIVE,
        rto=10.0,
        rung_timeout={"hot": 1.0, "warm": 4.0, "cold": 15.0},
        checkpoint=CheckpointSpec(30.0, 1000, 120.0, 2, None),
        journal=JournalSpec(AckMode.BOTH, 2**20, 86400.0, 0.2),
        lease=LeaseSpec(0.5, 3.0, 0.5, StoreLoss.CONTINUE),
        approval=ApprovalSpec(MarketHours("America/New_York", 570, 960, (0, 4)), 60.0),
        ramp=RampSpec((RampStep(0.0, 60.0), RampStep(0.5, 30.0), RampStep(1.0)), (Rung.COLD, Rung.MANUAL)),
        validate=(ValidationStep("up", "/feed", "health", Phase.SHORT, 1.0, 2, 0.1, False, b'{"a":[1,null]}'),),
        keep_failed=3,
    )
    assert {rule.when for rule in spec.rules} == set(Condition) == set(USES)


def test_rules_take_what_is_not_written_from_where_it_is_said() -> None:
    spec = _spec({"checkpoint": {"fresh_for": "90s"}})
    assert spec is not None
    assert spec.rules[1] == Rule(Condition.CHECKPOINT_FRESH, Rung.WARM, max_age=90.0)
    assert spec.rules[2:] == DEFAULT_RULES[2:]
    rules = [
        {"when": "checkpoint_fresh", "then": "warm"},
        {"when": "failed_recoveries", "then": "manual"},
        {"when": "failures_at_once", "then": "manual"},
    ]
    spec = _spec({"checkpoint": {"fresh_for": "90s"}, "rules": rules})
    assert spec is not None
    assert [(rule.max_age, rule.at_least, rule.within) for rule in spec.rules] == [
        (90.0, 3, 3600.0),
        (300.0, 3, 3600.0),
        (300.0, 3, 10.0),
    ]


def test_null_switches_off() -> None:
    spec = _spec({"rto": None, "lease": None, "ramp": None, "rules": None})
    assert spec == RecoverySpec(rto=None, lease=None)


def test_an_empty_ramp_and_market_hours_have_values_of_their_own() -> None:
    spec = _spec({"ramp": {}, "approval": {"market_hours": {}}})
    assert spec is not None
    assert spec.ramp == RampSpec()
    assert spec.approval.market_hours == MarketHours()


def test_sections_merge_key_by_key_over_policy_and_defaults() -> None:
    text = """\
defaults:
  child:
    recovery: {keep_failed: 1, lease: {renew: 500ms}, approval: {market_hours: {open: "09:00", close: "17:00"}}}
policies:
  base: {recovery: {rto: 5s, lease: {expire: 4s}, rung_timeout: {cold: 9s}}}
  tight: {extends: base, recovery: {standbys: 1, checkpoint: {every: 10s}, ramp: {after: [cold]}}}
  off: {recovery: null}
tree:
  children:
    - {id: a, actor: m:C, policy: tight, recovery: {checkpoint: {keep: 9}, approval: {market_hours: {open: "10:00"}}}}
    - {id: b, actor: m:C}
    - {id: c, actor: m:C, recovery: null}
    - {id: d, actor: m:C, policy: off}
    - {id: e, actor: m:C, policy: off, recovery: {}}
    - {id: f, actor: m:C, policy: tight, recovery: {lease: null, ramp: null}}
    - {id: s, policy: tight, children: []}
    - {id: p, strategy: simple_one_for_one, template: {actor: m:C, policy: tight}, initial: 2}
"""
    compiled = parse_topology(text, import_actors=False)[1]
    specs = {path: worker.recovery for path, worker in compiled.workers.items()}
    lease, hours = LeaseSpec(0.5, 5.0), MarketHours("UTC", 540, 1020)
    assert specs["/b"] == RecoverySpec(keep_failed=1, lease=lease, approval=ApprovalSpec(hours))
    assert (specs["/c"], specs["/d"]) == (None, None)
    assert specs["/e"] == RecoverySpec()
    a = specs["/a"]
    assert a is not None
    assert (a.keep_failed, a.rto, a.standbys, a.lease) == (1, 5.0, 1, LeaseSpec(0.5, 4.0))
    assert a.checkpoint == CheckpointSpec(every=10.0, keep=9)
    assert a.approval.market_hours == MarketHours("UTC", 600, 1020)
    assert a.rung_timeout == {"hot": 2.0, "warm": 30.0, "cold": 9.0}
    assert a.ramp == RampSpec(after=(Rung.COLD,))
    f = specs["/f"]
    assert f is not None
    assert (f.lease, f.ramp, f.rto) == (None, None, 5.0)
    pool = compiled.supervisors["/p"]
    assert pool.template is not None
    assert pool.template.recovery == msgspec.structs.replace(
        f, lease=LeaseSpec(0.5, 4.0), ramp=RampSpec(after=(Rung.COLD,))
    )
    assert pool.template.instance("x").recovery == pool.template.recovery
    assert pool.spec.children[0].concurrent
    assert [_child(compiled, child).concurrent for child in "abcdefs"] == [True, True, False, False, True, True, False]
    # a, f and both children of the pool have a standby
    assert compiled.processes == 6 + 2 + 3 + 2 + 4


def test_a_start_may_take_as_long_as_the_rungs() -> None:
    compiled = _compile({})
    assert _child(compiled, "a").start_timeout == 2.0 + 30.0 + 300.0
    assert compiled.workers["/a"].start_timeout == 30.0
    assert _child(_compile({"ladder": ["warm"]}), "a").start_timeout == 30.0
    assert _child(_compile({"ladder": ["warm", "cold"]}), "a").start_timeout == 330.0
    long = {"child": {"start_timeout": "10m"}}
    assert _child(_compile({}, defaults=long), "a").start_timeout == 600.0


def test_the_digest_changes_with_each_setting() -> None:
    variants: list[tuple[object, dict[str, object]]] = [
        (None, {}),
        ({}, {}),
        ({"standbys": 1}, {}),
        ({"rto": "1s"}, {}),
        ({"ladder": ["cold"]}, {}),
        ({"lease": None}, {}),
        ({"rung_timeout": {"hot": "3s"}}, {}),
        ({"validate": [{"name": "x", "worker": "/b", "method": "m"}]}, {"extra": True}),
        ({"validate": [{"name": "x", "worker": "/b", "method": "m", "args": {"k": 1}}]}, {"extra": True}),
        ({}, {"state": "postgresql://h/d"}),
    ]
    digests = []
    for recovery, more in variants:
        children = [{"id": "a", "actor": "m:C", "recovery": recovery}]
        children += [{"id": "b", "actor": "m:C"}] if more.pop("extra", False) else []
        digests.append(compile_topology(Topology.model_validate({"tree": {"children": children}, **more})).digest)
    assert len(set(digests)) == len(variants)
    rules = [{"when": "always", "then": "cold"}]
    assert _compile({"rules": rules}).digest == _compile({"rules": rules}).digest


def test_the_wire() -> None:
    for worker in parse_topology(FULL)[1].workers.values():
        assert decode(encode(worker), WorkerSpec) == worker


def test_what_is_written_survives() -> None:
    topology = parse_topology(FULL)[0]
    text = dump_topology(topology)
    assert parse_topology(text)[0] == topology
    assert "for: 30s" in text
    assert "validate:" in text
    assert "24h" in text


# ------------------------------------------------------------------ budgets


def test_lost_nodes_have_a_budget_of_their_own() -> None:
    compiled = compile_topology(Topology.model_validate({"tree": {"children": [{"id": "s", "children": []}]}}))
    own = (Budget((ExitKind.NODE_LOST, ExitKind.UNAVAILABLE, ExitKind.FENCED), 10, 60),)
    for part in compiled.supervisors.values():
        assert part.spec.flags.budgets == own
        SupervisorMachine(part.spec)


def test_budgets_are_taken_whole() -> None:
    full = parse_topology(FULL)[1]
    mine = (Budget((ExitKind.NODE_LOST,), 4, 30), Budget((ExitKind.OOM, ExitKind.KILLED), 10, 60))
    assert full.supervisors["/cell"].spec.flags.budgets == mine
    off = Topology.model_validate({"tree": {"budgets": [], "children": []}})
    assert compile_topology(off).supervisors["/"].spec.flags.budgets == ()


# ------------------------------------------------------------------ times of day, addresses


@pytest.mark.parametrize(("text", "minutes"), [("00:00", 0), ("09:30", 570), ("24:00", 1440)])
def test_minutes(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


_SECRET = "s3cret"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("file", "file"),
        ("postgresql://db.example/x", "postgresql://db.example/x"),
        ("postgresql:///x?service=prod", "postgresql:///x?service=prod"),
        ("postgres://u@h1:5432,h2:5433/x?a=b", "postgres://u@h1:5432,h2:5433/x?a=b"),
        (f"postgresql://u:{_SECRET}@h:1/x", "postgresql://u:***@h:1/x"),
        (f"postgresql://u:{_SECRET}@[::1]:5432/x?a=b", "postgresql://u:***@[::1]:5432/x?a=b"),
        (f"postgresql:///x?a=b&password={_SECRET}", "postgresql:///x?a=b&password=***"),
        (f"postgresql:///x?sslpassword={_SECRET}", "postgresql:///x?sslpassword=***"),
        (f"postgresql:///x?PASSWOR%44={_SECRET}&b", "postgresql:///x?PASSWOR%44=***&b"),
    ],
)
def test_an_address_can_be_shown(address: str, shown: str) -> None:
    compiled = compile_topology(Topology.model_validate({"tree": {}, "state": address}))
    assert compiled.system.state == address
    assert without_password(address) == shown
    assert has_password(address) == (_SECRET in address)


def test_the_schema_takes_and_describes_recovery() -> None:
    schema = topology_schema()
    defs = schema["$defs"]
    assert isinstance(defs, dict)
    assert set(defs["RampStepSettings"]["properties"]) == {"size", "for"}
    assert "validate" in defs["RecoverySettings"]["properties"]
    assert "recovery" in defs["Worker"]["properties"]
    assert "recovery" not in defs["Supervisor"]["properties"]
    assert "recovery" not in defs["Root"]["properties"]
