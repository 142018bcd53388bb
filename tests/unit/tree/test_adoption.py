"""SUP-8: a crashed supervisor's children run on, its replacement takes them over; its own siblings notice nothing."""

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, crash, init_error
from supervisors.tree.child import SupervisorRecord
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Call,
    ChildExited,
    ChildStarted,
    Effect,
    Exit,
    KillChild,
    Note,
    NoteKind,
    ReapSubtree,
    Reply,
    ReportStarted,
    ShutdownOrdered,
    StartChild,
    StopChild,
)
from supervisors.tree.model import (
    Backoff,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)
from tests.unit.tree.harness import Bench, of_kind

KILLED = ExitReason(ExitKind.KILLED)
ADOPTED = ChildSpec("s", type=ChildType.SUPERVISOR, on_crash=OnSupervisorCrash.ADOPT)
REAPED = ChildSpec("s", type=ChildType.SUPERVISOR, on_crash=OnSupervisorCrash.TERMINATE)


def test_adopt_restarts_only_that_supervisor() -> None:
    for strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE):
        bench = Bench(ADOPTED, ChildSpec("b"), strategy=strategy)
        bench.boot()
        effects = bench.exit("s", KILLED)
        assert of_kind(effects, StartChild) == [StartChild("s", 2, "", adopt=True, restart=True)]
        assert of_kind(effects, StopChild) == []
        assert of_kind(effects, ReapSubtree) == []
        assert bench.machine.window.count(bench.now) == 1  # it counts all the same


def test_terminate_reaps_at_once_and_restarts_the_group() -> None:
    bench = Bench(REAPED, ChildSpec("b"), strategy=Strategy.ONE_FOR_ALL)
    bench.boot()
    effects = bench.exit("s", KILLED)
    assert of_kind(effects, ReapSubtree) == [ReapSubtree("s")]
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["b"]


def test_terminate_does_not_leave_the_subtree_running_during_a_backoff() -> None:
    spec = ChildSpec("s", type=ChildType.SUPERVISOR, backoff=Backoff(immediate=0))
    bench = Bench(spec)
    bench.boot()
    assert of_kind(bench.exit("s", KILLED), ReapSubtree) == [ReapSubtree("s")]
    assert bench.state("s") == "restarting"


def test_a_supervisor_that_ended_by_its_own_hand_has_nothing_to_adopt() -> None:
    bench = Bench(ADOPTED, ChildSpec("b"), strategy=Strategy.ONE_FOR_ALL)
    bench.boot()
    effects = bench.exit("s", ExitReason(ExitKind.ESCALATED))
    assert of_kind(effects, ReapSubtree) == []
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["b"]


def test_a_failed_adoption_is_tried_again_and_no_healthy_child_dies_for_it() -> None:
    bench = Bench(ADOPTED, ChildSpec("b"), strategy=Strategy.ONE_FOR_ALL)
    bench.boot()
    bench.exit("s", KILLED)
    effects = bench.fail("s", init_error("no"))
    assert of_kind(effects, ReapSubtree) == []
    assert of_kind(effects, StopChild) == []
    start = of_kind(effects, StartChild)[0]
    assert (start.id, start.adopt) == ("s", True)


def test_orphans_are_reaped_when_nobody_will_adopt_them() -> None:
    slow = ChildSpec("s", type=ChildType.SUPERVISOR, on_crash=OnSupervisorCrash.ADOPT, backoff=Backoff(immediate=0))
    for order in (AdminCalled("r", Call.TERMINATE_CHILD, "s"), ShutdownOrdered(SHUTDOWN)):
        bench = Bench(slow)
        bench.boot()
        assert of_kind(bench.exit("s", KILLED), ReapSubtree) == []
        assert of_kind(bench.send(order), ReapSubtree) == [ReapSubtree("s")]
    bench = Bench(ADOPTED, intensity=0)
    bench.boot()
    effects = bench.exit("s", KILLED)
    assert of_kind(effects, ReapSubtree) == [ReapSubtree("s")]
    assert of_kind(effects, Exit)


def _spec(*children: ChildSpec, strategy: Strategy = Strategy.ONE_FOR_ONE) -> SupervisorSpec:
    return SupervisorSpec(SupervisorFlags(strategy, 3, 10), children)


def _left_by(spec: SupervisorSpec) -> SupervisorRecord:
    """The record of a supervisor all whose children came up."""
    bench = Bench(*spec.children, strategy=spec.flags.strategy)
    bench.boot()
    return bench.machine.record()


def _resumed(
    spec: SupervisorSpec, record: SupervisorRecord, alive: dict[str, int], lost: dict[str, ExitReason]
) -> tuple[SupervisorMachine, list[Effect]]:
    machine = SupervisorMachine(spec)
    return machine, machine.resume(record, alive, lost, 105.0)


def test_resume_keeps_running_children_and_starts_nothing() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b"))
    machine, effects = _resumed(spec, _left_by(spec), {"a": 1, "b": 1}, {})
    assert of_kind(effects, StartChild) == []
    assert ReportStarted() in effects
    note = next(n for n in of_kind(effects, Note) if n.kind is NoteKind.ADOPTED)
    assert dict(note.data) == {"adopted": 2, "lost": 0, "pending": 0}
    assert [stop.id for stop in of_kind(machine.step(ShutdownOrdered(SHUTDOWN), 106.0), StopChild)] == ["b"]


def test_lost_children_follow_their_restart_type_and_count() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b", Restart.TRANSIENT), ChildSpec("c", Restart.TEMPORARY))
    normal = ExitReason(ExitKind.NORMAL)
    machine, effects = _resumed(spec, _left_by(spec), {}, {"a": crash(), "b": normal, "c": crash()})
    assert of_kind(effects, StartChild) == [StartChild("a", 2, restart=True)]
    assert machine.window.count(105.0) == 1
    machine.step(ChildStarted("a", 2), 105.0)
    assert {i: c.state.value for i, c in machine.children.items()} == {"a": "running", "b": "undefined"}


def test_children_in_neither_are_started_without_counting() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b", Restart.TEMPORARY))
    machine, effects = _resumed(spec, _left_by(spec), {}, {})
    assert of_kind(effects, StartChild) == [StartChild("a", 2, restart=True)]
    assert machine.window.count(105.0) == 0
    assert list(machine.children) == ["a"]  # a temporary child has one life


def test_the_window_is_inherited() -> None:
    spec = _spec(ChildSpec("a"))
    record = SupervisorRecord((104, 103, 102), _left_by(spec).children)
    _, effects = _resumed(spec, record, {}, {"a": crash()})
    assert of_kind(effects, Exit)[0].reason.kind is ExitKind.ESCALATED


def test_what_was_stopped_by_hand_stays_stopped() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b"))
    bench = Bench(*spec.children)
    bench.boot()
    bench.send(AdminCalled("r", Call.TERMINATE_CHILD, "a"))
    bench.exit("a", SHUTDOWN)
    machine, effects = _resumed(spec, bench.machine.record(), {"b": 1}, {})
    assert of_kind(effects, StartChild) == []
    assert machine.children["a"].state.value == "undefined"


def test_what_was_forgotten_stays_forgotten_and_keeps_its_lives() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b"))
    bench = Bench(*spec.children)
    bench.boot()
    bench.send(AdminCalled("r1", Call.TERMINATE_CHILD, "a"))
    bench.exit("a", SHUTDOWN)
    bench.send(AdminCalled("r2", Call.DELETE_CHILD, "a"))
    machine, _ = _resumed(spec, bench.machine.record(), {"b": 1}, {})
    assert list(machine.children) == ["b"]
    effects = machine.step(AdminCalled("r3", Call.START_CHILD, spec=ChildSpec("a")), 106.0)
    assert of_kind(effects, StartChild) == [StartChild("a", 2)]


def test_without_any_record_all_are_started() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b"))
    _, effects = _resumed(spec, SupervisorRecord((), ()), {}, {})
    assert of_kind(effects, StartChild) == [StartChild("a", 1, restart=True)]


def test_a_crash_in_the_middle_of_the_boot_starts_the_rest() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b"))
    bench = Bench(*spec.children)
    bench.boot()
    half = Bench(*spec.children)
    half.machine.step(ChildStarted("x", 1), 100.0)
    assert {row.id for row in half.machine.record().children} == {"a", "b"}
    _, effects = _resumed(spec, half.machine.record(), {"a": 1}, {})
    assert [start.id for start in of_kind(effects, StartChild)] == ["b"]
    assert bench.machine.dirty == {"a", "b"}


def test_a_newer_process_than_recorded_is_adopted() -> None:
    spec = _spec(ChildSpec("a"))
    machine, effects = _resumed(spec, _left_by(spec), {"a": 2}, {})
    assert of_kind(effects, StartChild) == []
    assert machine.children["a"].incarnation == 2


def test_an_older_process_than_recorded_is_ended_first() -> None:
    spec = _spec(ChildSpec("a"))
    bench = Bench(*spec.children)
    bench.boot()
    bench.exit("a", crash())
    bench.started("a")
    machine, effects = _resumed(spec, bench.machine.record(), {"a": 1}, {})
    assert of_kind(effects, KillChild) == [KillChild("a", 1, "superseded")]
    assert of_kind(effects, StartChild) == []
    effects = machine.step(ChildExited("a", 1, KILLED), 106.0)
    assert of_kind(effects, StartChild) == [StartChild("a", 3, restart=True)]


def test_a_failed_start_while_taking_over_is_tried_again() -> None:
    spec = _spec(ChildSpec("a"), ChildSpec("b"))
    bench = Bench(*spec.children)
    bench.machine = SupervisorMachine(spec)
    bench.effects = bench.machine.resume(_left_by(spec), {}, {}, bench.now)
    bench.fail("a", init_error("no"))
    assert bench.started_ids() == ["b"]
    bench.started("b")
    assert bench.started_ids() == ["a"]
    assert bench.machine.window.count(bench.now) == 1


def test_dynamic_children_come_back_with_their_arguments() -> None:
    spec = _spec(ChildSpec("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    bench = Bench(*spec.children, strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    bench.boot()
    for ref, args in (("r1", "x"), ("r2", "y")):
        bench.send(AdminCalled(ref, Call.START_CHILD, args=args))
        bench.bring_up()
    machine, effects = _resumed(spec, bench.machine.record(), {"t.1": 1}, {})
    assert of_kind(effects, StartChild) == [StartChild("t.2", 2, "y", restart=True)]
    machine.step(ChildStarted("t.2", 2), 105.0)
    effects = machine.step(AdminCalled("r3", Call.START_CHILD), 106.0)
    assert of_kind(effects, StartChild)[0].id == "t.3"  # no name is given twice


def test_a_lost_supervisor_below_is_adopted_in_turn() -> None:
    spec = _spec(ADOPTED)
    _, effects = _resumed(spec, _left_by(spec), {}, {"s": KILLED})
    assert of_kind(effects, StartChild) == [StartChild("s", 2, adopt=True, restart=True)]


def test_orphans_of_a_supervisor_that_was_waiting_are_still_adopted() -> None:
    waiting = ChildSpec("s", type=ChildType.SUPERVISOR, on_crash=OnSupervisorCrash.ADOPT, backoff=Backoff(immediate=0))
    bench = Bench(waiting)
    bench.boot()
    bench.exit("s", KILLED)
    record = bench.machine.record()
    assert record.children[0].orphans
    _, effects = _resumed(_spec(waiting), record, {}, {})
    assert of_kind(effects, StartChild) == [StartChild("s", 2, adopt=True, restart=True)]


def test_orders_wait_until_the_take_over_is_done() -> None:
    spec = _spec(ChildSpec("a"))
    machine, _ = _resumed(spec, _left_by(spec), {}, {})
    assert machine.step(AdminCalled("r", Call.COUNT_CHILDREN), 105.0) == []
    effects = machine.step(ChildStarted("a", 2), 105.0)
    assert [reply.ref for reply in of_kind(effects, Reply)] == ["r"]


def test_a_supervisor_below_that_vanished_unseen_is_adopted_or_its_subtree_reaped() -> None:
    """Its exit was on its way when its own supervisor crashed: nobody knows how it ended."""
    _, effects = _resumed(_spec(ADOPTED), _left_by(_spec(ADOPTED)), {}, {})
    assert of_kind(effects, StartChild) == [StartChild("s", 2, adopt=True, restart=True)]
    _, effects = _resumed(_spec(REAPED), _left_by(_spec(REAPED)), {}, {})
    assert of_kind(effects, ReapSubtree) == [ReapSubtree("s")]
    assert of_kind(effects, StartChild) == [StartChild("s", 2, restart=True)]


def test_what_was_started_by_hand_is_taken_over_with_its_spec() -> None:
    bench = Bench(ChildSpec("a"))
    bench.boot()
    by_hand = ChildSpec("b", Restart.TRANSIENT, shutdown=1.0)
    bench.send(AdminCalled("r", Call.START_CHILD, spec=by_hand))
    bench.bring_up()
    machine, effects = _resumed(_spec(ChildSpec("a")), bench.machine.record(), {"a": 1, "b": 1}, {})
    assert of_kind(effects, StartChild) == []
    assert machine.children["b"].spec == by_hand
    assert [row.spec for row in machine.record().children] == [None, by_hand]
