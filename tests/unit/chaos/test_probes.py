"""Probes: what was seen, held against what is tolerated."""

import math
from decimal import Decimal

import msgspec
import pytest
from pydantic import TypeAdapter

from supervisors.chaos import probes
from supervisors.chaos.document import (
    CallAnswers,
    MetricWithin,
    Probe,
    RecoveredWithin,
    StandbysInSync,
    TrailCount,
    TreeHealthy,
)
from supervisors.chaos.systems import PlaceFacts
from supervisors.chaos.verdicts import Invariant, State, Verdict, Violation
from supervisors.core.paths import failure_id
from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.faults.kinds import CATALOGUE
from supervisors.trail.events import EventKind, Scalar, TrailEvent
from supervisors.trail.status import ChildStatus, StandbyStatus, SupervisorStatus, SystemStatus

_READ: TypeAdapter[Probe] = TypeAdapter(Probe)


def _probe(**fields: object) -> Probe:
    return _READ.validate_python(fields)


def _call(**fields: object) -> CallAnswers:
    found = _probe(probe="call", path="/a", method="m", **fields)
    assert isinstance(found, CallAnswers)
    return found


class _Answer(msgspec.Struct):
    total: Decimal
    rows: list[dict[str, int]]


@pytest.mark.parametrize(
    ("tolerance", "answer", "ok"),
    [
        ({"equals": 3}, 3, True),
        ({"equals": 3}, 4, False),
        ({"equals": 1}, True, False),
        ({"equals": None}, None, True),
        ({"equals": None}, 0, False),
        ({"equals": ["a", 1]}, ("a", 1), True),
        ({"min": 1, "max": 3}, 3, True),
        ({"min": 1, "max": 3}, 3.01, False),
        ({"min": 1}, 0, False),
        ({"min": 1}, "12.5", True),
        ({"min": 1}, "many", False),
        ({"min": 1}, True, False),
        ({"min": 1}, math.nan, False),
        ({"matches": "^rea"}, "ready", True),
        ({"matches": "^eady"}, "ready", False),
        ({"matches": '"x":1'}, {"x": 1}, True),
        ({"field": "total", "equals": "7.10"}, _Answer(Decimal("7.10"), []), True),
        ({"field": "rows[1].n", "min": 5}, _Answer(Decimal(0), [{"n": 1}, {"n": 5}]), True),
        ({"field": "rows[2].n", "min": 5}, _Answer(Decimal(0), []), False),
        ({"field": "nothing", "equals": 1}, {"x": 1}, False),
        ({"equals": 3, "min": 5}, 3, False),
    ],
)
def test_a_tolerance(tolerance: dict[str, object], answer: object, ok: bool) -> None:
    judged = probes.tolerates(_call(**tolerance), answer)
    assert judged.ok is ok
    assert bool(judged.why) is not ok


def _status(state: str = "ready", standbys: tuple[str, ...] = (), supervisor: str = "running") -> SystemStatus:
    child = ChildStatus("/cell/a", "a", state=state, standbys=[StandbyStatus(2, "n", one, 0.0) for one in standbys])
    return SystemStatus(
        "t",
        supervisors=[
            SupervisorStatus("/", children=[ChildStatus("/cell", "cell", "supervisor", state="ready")]),
            SupervisorStatus("/cell", state=supervisor, children=[child]),
        ],
    )


@pytest.mark.parametrize(
    ("path", "state", "supervisor", "held_is_fine", "ok"),
    [
        ("/", "ready", "running", False, True),
        ("/", "stopped", "running", False, True),
        ("/", "restarting", "running", False, False),
        ("/cell/a", "restarting", "running", False, False),
        ("/", "ready", "not answering", False, False),
        ("/cell/a", "ready", "not answering", False, True),
        ("/", "held", "running", False, False),
        ("/", "held", "running", True, True),
        ("/other", "ready", "running", False, False),
    ],
)
def test_a_healthy_tree(path: str, state: str, supervisor: str, held_is_fine: bool, ok: bool) -> None:
    probe = TreeHealthy(probe="tree_healthy", path=path, held_is_fine=held_is_fine)
    assert probes.tree_healthy(probe, _status(state, supervisor=supervisor)).ok is ok


@pytest.mark.parametrize(
    ("wanted", "standbys", "ok"),
    [(1, ("synced",), True), (1, ("syncing",), False), (2, ("synced",), False), (0, (), True), (1, (), False)],
)
def test_standbys_in_sync(wanted: int, standbys: tuple[str, ...], ok: bool) -> None:
    places = {"/cell/a": PlaceFacts("/cell/a", standbys=wanted)}
    probe = StandbysInSync(probe="standbys_in_sync")
    assert probes.standbys_in_sync(probe, _status(standbys=standbys), places).ok is ok


def test_a_place_that_nobody_tells_of_has_no_standby_in_sync() -> None:
    """A supervisor that does not answer tells of none of its children."""
    places = {"/cell": PlaceFacts("/cell", supervisor=True), "/cell/a": PlaceFacts("/cell/a", standbys=1)}
    cell = ChildStatus("/cell", "cell", "supervisor", state="ready")
    silent = SystemStatus(
        "t",
        supervisors=[SupervisorStatus("/", children=[cell]), SupervisorStatus("/cell", state="not answering")],
    )
    judged = probes.standbys_in_sync(StandbysInSync(probe="standbys_in_sync"), silent, places)
    assert (judged.ok, judged.why) == (False, "nobody tells of /cell/a, which is to have 1 standbys")
    at_rest = msgspec.structs.replace(cell, state="stopped")
    stopped = SystemStatus("t", supervisors=[SupervisorStatus("/", children=[at_rest])])
    assert probes.standbys_in_sync(StandbysInSync(probe="standbys_in_sync"), stopped, places).ok


def test_a_path_where_nothing_is_has_no_standbys_in_sync() -> None:
    probe = StandbysInSync(probe="standbys_in_sync", path="/nope")
    assert not probes.standbys_in_sync(probe, _status(standbys=("synced",)), {}).ok
    assert probes.standbys_in_sync(StandbysInSync(probe="standbys_in_sync", path="/cell"), _status(), {}).ok


@pytest.mark.parametrize(
    ("state", "held_is_fine", "ok"),
    [("starting", False, False), ("gave_up", False, False), ("gave_up", True, True), ("stopped", False, True),
     ("ready", False, False)],
)  # fmt: skip
def test_a_supervisor_that_tells_nothing_is_judged_by_the_one_above(state: str, held_is_fine: bool, ok: bool) -> None:
    cell = ChildStatus("/cell", "cell", "supervisor", state=state)
    status = SystemStatus("t", supervisors=[SupervisorStatus("/", children=[cell])])
    assert probes.tree_healthy(TreeHealthy(probe="tree_healthy", held_is_fine=held_is_fine), status).ok is ok


def test_what_was_not_looked_at_does_not_hold() -> None:
    assert not probes.invariants_hold([]).ok
    none = TrailCount(probe="trail", kind="promted", max=0)
    assert not probes.trail_count(none, [], 1.0).ok
    assert probes.trail_count(TrailCount(probe="trail", kind="actor_odd", max=0), [], 1.0).ok


def _event(t: float, kind: EventKind, life: int = 1, path: str = "/a", **data: Scalar) -> TrailEvent:
    failure = failure_id(path, 1) if kind is not EventKind.CHILD_READY else ""
    reason = ExitReason(ExitKind.KILLED) if kind is EventKind.CHILD_EXITED else None
    return TrailEvent(t, 0, kind, path, life, failure=failure, reason=reason, data=data)


DIED = [
    _event(10.0, EventKind.FAULT_INJECTED, fault="kill"),
    _event(10.1, EventKind.FIRST_SIGNAL, signal="futex"),
    _event(10.1, EventKind.CHILD_EXITED),
]
PLACES = {"/a": PlaceFacts("/a", rto=2.0)}


def test_recovered_within() -> None:
    probe = RecoveredWithin(probe="recovered_within")
    open_ = probes.recovered_within(probe, DIED, 11.0, PLACES)
    assert (open_.ok, open_.pending) == (False, True), "neither yes nor no yet"
    late = probes.recovered_within(probe, DIED, 12.5, PLACES)
    assert (late.ok, late.pending) == (False, False)
    healed = [*DIED, _event(11.9, EventKind.CHILD_READY, 2)]
    assert probes.recovered_within(probe, healed, 99.0, PLACES).ok
    slow = [*DIED, _event(12.1, EventKind.CHILD_READY, 2)]
    assert not probes.recovered_within(probe, slow, 99.0, PLACES).ok
    strict = RecoveredWithin(probe="recovered_within", rto=1.0)
    assert not probes.recovered_within(strict, healed, 99.0, PLACES).ok
    elsewhere = RecoveredWithin(probe="recovered_within", path="/b", rto=1.0)
    assert probes.recovered_within(elsewhere, slow, 99.0, PLACES).ok


def test_a_fault_that_nothing_noticed_is_no_failure() -> None:
    probe = RecoveredWithin(probe="recovered_within")
    assert probes.recovered_within(probe, DIED[:1], 99.0, PLACES).ok


def test_a_fault_that_waited_is_timed_from_when_it_acted() -> None:
    probe = RecoveredWithin(probe="recovered_within")
    events = [
        _event(0.0, EventKind.FAULT_INJECTED, fault="raise_call"),
        _event(9.9, EventKind.FAULT_FIRED),
        *DIED[1:],
        _event(11.5, EventKind.CHILD_READY, 2),
    ]
    assert probes.recovered_within(probe, events, 99.0, PLACES).ok
    assert not probes.recovered_within(probe, [events[0], *events[2:]], 99.0, PLACES).ok


def test_metrics_are_summed_over_the_labels_that_fit() -> None:
    text = '# TYPE r counter\nr_total{path="/a"} 3\nr_total{path="/b"} 4\n'
    assert probes.metric_value(text, "r_total", {}) == 7.0
    assert probes.metric_value(text, "r_total", {"path": "/b"}) == 4.0
    assert probes.metric_value(text, "nothing", {}) is None
    bounds = MetricWithin(probe="metric", metric="r_total", max=6.0)
    assert not probes.metric_within(bounds, text).ok
    missing = MetricWithin(probe="metric", metric="nothing", max=6.0)
    assert "no metric" in probes.metric_within(missing, text).why


def test_events_of_the_trail_are_counted() -> None:
    def count(**fields: object) -> str:
        found = _probe(probe="trail", min=0, **fields)
        assert isinstance(found, TrailCount)
        return probes.trail_count(found, [*DIED, _event(11.9, EventKind.CHILD_READY, 2)], 12.0).value

    assert count(kind="first_signal") == "1"
    assert count(kind="first_signal", data={"signal": "futex"}) == "1"
    assert count(kind="first_signal", data={"signal": "ray"}) == "0"
    assert count(kind="first_signal", path="/b") == "0"
    assert count(kind="child_ready", last=1.0) == "1"
    assert count(kind="first_signal", last=1.0) == "0"


def test_invariants_of_a_run_in_its_middle() -> None:
    def verdict(which: Invariant, state: State) -> Verdict:
        violations = (Violation("two act", "/a", 1.0, ()),) if state is State.VIOLATED else ()
        return Verdict(which, which.name.lower(), state, 1, violations)

    fine = [verdict(Invariant.ONE_ACTS, State.HELD), verdict(Invariant.SETTLED, State.VIOLATED)]
    assert probes.invariants_hold(fine).ok, "not settled yet is no violation yet"
    broken = probes.invariants_hold([verdict(Invariant.ONE_ACTS, State.VIOLATED)])
    assert (broken.ok, "INV-3" in broken.why) == (False, True)


def test_a_fault_that_is_not_noticed_yet_is_waited_for() -> None:
    """A probe right after a kill is faster than any detector."""
    probe = RecoveredWithin(probe="recovered_within")
    killed = [_event(10.0, EventKind.FAULT_INJECTED, id="f-1", fault="kill")]
    fresh = probes.recovered_within(probe, killed, 10.001, PLACES, CATALOGUE)
    assert (fresh.ok, fresh.pending) == (False, True)
    late = probes.recovered_within(probe, killed, 12.5, PLACES, CATALOGUE)
    assert (late.ok, late.pending) == (False, False)
    refused = [*killed, _event(10.1, EventKind.FAULT_REVERTED, id="f-1", fault="kill", acted=False)]
    assert probes.recovered_within(probe, refused, 10.2, PLACES, CATALOGUE).ok
    slowed = [_event(10.0, EventKind.FAULT_INJECTED, id="f-2", fault="delay")]
    assert probes.recovered_within(probe, slowed, 10.1, PLACES, CATALOGUE).ok, "nobody has to notice that"


def test_a_fault_that_only_stands_by_does_not_begin_a_failure() -> None:
    """A contender for the lease asks for seconds; the kill that comes then is what is timed."""
    probe = RecoveredWithin(probe="recovered_within")
    events = [
        _event(1.0, EventKind.FAULT_INJECTED, id="f-1", fault="contend"),
        *DIED,
        _event(11.9, EventKind.CHILD_READY, 2),
    ]
    assert probes.recovered_within(probe, events, 99.0, PLACES, CATALOGUE).ok
