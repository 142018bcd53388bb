"""Concurrent children: their restarts keep nobody waiting, and nothing in the foreground keeps them waiting."""

import pytest

from supervisors.core.reasons import NORMAL, SHUTDOWN, ExitKind, ExitReason, crash, init_error
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Exit,
    HoldRejected,
    HoldReleased,
    KillChild,
    NoteKind,
    Reply,
    ReportStarted,
    ReportStartFailed,
    SetTimer,
    ShutdownOrdered,
    StartChild,
    StopChild,
    TimerFired,
)
from supervisors.tree.model import (
    BRUTAL_KILL,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorFlags,
)
from tests.unit.tree.harness import Bench, of_kind

SIMPLE = Strategy.SIMPLE_ONE_FOR_ONE
PLAIN = ChildSpec("x")
#: waits 0.2 s from the second failure in a row on
SLOW = Backoff(jitter=0.0, immediate=1, base=0.2)


def spec(child_id: str, **settings: object) -> ChildSpec:
    return ChildSpec(child_id, concurrent=True, **settings)  # type: ignore[arg-type]


def up(*children: ChildSpec, intensity: int = 100, strategy: Strategy = Strategy.ONE_FOR_ONE) -> Bench:
    bench = Bench(*(children or (spec("a"), spec("b"), PLAIN)), intensity=intensity, strategy=strategy)
    bench.send(Booted())
    while starts := of_kind(bench.effects, StartChild):
        bench.send(ChildReady(starts[-1].id, 1))
    return bench


def starting(bench: Bench, *ids: str) -> Bench:
    """These have crashed and start in the background."""
    for child_id in ids:
        bench.exit(child_id, crash())
        assert bench.started_ids() == [child_id]
    return bench


def busy(bench: Bench) -> Bench:
    """The foreground waits for the stop of ``x``."""
    bench.send(AdminCalled("stop x", Call.TERMINATE_CHILD, "x"))
    assert bench.machine.is_busy
    return bench


def stop_order(bench: Bench, effects: list[Effect]) -> list[str]:
    """Answers every stop; who was told, in order."""
    told = []
    while stops := of_kind(effects, StopChild):
        told += [stop.id for stop in stops]
        effects = [effect for stop in stops for effect in bench.exit(stop.id, SHUTDOWN)]
    return told


# ---------------------------------------------------------------- beside each other


def test_several_recover_at_once() -> None:
    bench = starting(up(), "a", "b")
    assert bench.machine.recovering == {"a", "b"}
    assert not bench.machine.is_busy
    bench.started("b")
    bench.started("a")
    assert [bench.state(name) for name in "ab"] == ["running", "running"]
    assert bench.machine.recovering == frozenset()
    assert [bench.machine.children[name].restarts for name in "ab"] == [1, 1]


def test_without_it_one_waits_for_the_other() -> None:
    bench = up(ChildSpec("a"), ChildSpec("b"))
    bench.exit("a", crash())
    assert bench.exit("b", crash()) == []
    assert of_kind(bench.started("a"), StartChild) == [StartChild("b", 2, restart=True)]


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_it_means_nothing_in_a_group(strategy: Strategy) -> None:
    bench = up(spec("a"), spec("b"), strategy=strategy)
    bench.exit("a", crash())
    assert bench.machine.is_busy
    assert bench.machine.recovering == frozenset()


def test_a_plain_sibling_is_restarted_meanwhile() -> None:
    bench = starting(up(), "a")
    bench.exit("x", crash())
    assert bench.started_ids() == ["x"]
    assert bench.machine.is_busy
    bench.started("a")
    assert bench.state("a") == "running"
    bench.started("x")
    assert not bench.machine.is_busy


def test_dynamic_children_recover_at_once() -> None:
    bench = up(spec("t"), strategy=SIMPLE)
    for number in (1, 2):
        bench.send(AdminCalled(f"r{number}", Call.START_CHILD))
        assert bench.machine.is_busy, "an order is answered when it is done"
        bench.started(f"t.{number}")
    starting(bench, "t.1", "t.2")
    bench.started("t.2")
    bench.send(ChildIgnored("t.1", 2))
    assert list(bench.machine.children) == ["t.2"]


def test_boot_stays_in_order() -> None:
    bench = Bench(spec("a"), spec("b"))
    bench.send(Booted())
    assert bench.started_ids() == ["a"]
    bench.started("a")
    bench.exit("a", crash())
    assert bench.started_ids() == [], "not before all are up: it may fail yet"
    effects = bench.started("b")
    assert of_kind(effects, ReportStarted)
    assert bench.started_ids() == ["a"]


def test_a_boot_that_fails_restarts_nothing() -> None:
    bench = Bench(spec("a"), spec("b"))
    bench.send(Booted())
    bench.started("a")
    bench.exit("a", crash())
    assert of_kind(bench.fail("b", init_error("no")), ReportStartFailed)
    assert of_kind(bench.effects, StartChild) == []


# ---------------------------------------------------------------- beside a busy foreground


def test_progress_is_not_delayed_by_the_foreground() -> None:
    bench = busy(starting(up(spec("a", ready_timeout=9.0), PLAIN), "a"))
    bench.started("a")
    assert bench.notes(NoteKind.CHILD_STARTED)
    bench.send(ChildReady("a", 2))
    assert (bench.state("a"), bench.machine.is_busy) == ("running", True)


def test_a_recovery_begins_beside_the_foreground() -> None:
    bench = starting(busy(up()), "a", "b")
    assert bench.machine.is_busy
    bench.started("a")
    assert of_kind(bench.exit("x", SHUTDOWN), Reply) == [Reply("stop x", id="x")]
    bench.started("b")
    assert [bench.state(name) for name in "abx"] == ["running", "running", "undefined"]


def test_a_failed_start_is_tried_again_beside_the_foreground() -> None:
    bench = starting(busy(up()), "a")
    bench.fail("a", init_error("no"))
    assert bench.started_ids() == ["a"]
    assert bench.machine.window.count(bench.now) == 2


def test_a_backoff_ends_beside_the_foreground() -> None:
    bench = busy(up(spec("a", backoff=SLOW), PLAIN))
    starting(bench, "a")
    timer = of_kind(bench.fail("a", init_error("no")), SetTimer)[0]
    assert bench.state("a") == "restarting"
    bench.now = timer.at
    bench.send(TimerFired(timer.token))
    assert (bench.started_ids(), bench.machine.is_busy) == (["a"], True)


def test_a_plain_childs_exit_waits_its_turn() -> None:
    bench = busy(up(ChildSpec("a"), PLAIN))
    assert bench.exit("a", crash()) == []
    assert of_kind(bench.exit("x", SHUTDOWN), StartChild) == [StartChild("a", 2, restart=True)]


def test_an_end_that_is_no_restart_waits_its_turn() -> None:
    bench = busy(up(spec("a", restart=Restart.TRANSIENT), PLAIN))
    assert bench.exit("a", NORMAL) == []
    assert bench.state("a") == "running"
    bench.exit("x", SHUTDOWN)
    assert bench.state("a") == "undefined"


def test_a_release_begins_beside_the_foreground_and_the_first_answer_counts() -> None:
    bench = starting(up(), "a", "b")
    bench.send(ChildHeld("a", 2, "manual"))
    bench.send(ChildHeld("b", 2, "manual"))
    assert [bench.state(name) for name in "ab"] == ["held", "held"]
    busy(bench)
    assert of_kind(bench.send(HoldReleased("a")), StartChild) == [StartChild("a", 3, restart=True)]
    bench.send(HoldRejected("b"))
    bench.send(HoldReleased("b"))
    assert (bench.state("a"), bench.state("b")) == ("starting", "undefined")


def test_a_restart_that_makes_it_give_up_waits_its_turn() -> None:
    bench = busy(up(spec("a"), PLAIN, intensity=0))
    assert bench.exit("a", crash()) == []
    assert not bench.machine.closing
    effects = bench.exit("x", SHUTDOWN)
    assert of_kind(effects, Reply) == [Reply("stop x", id="x")]
    assert dict(bench.notes(NoteKind.GAVE_UP)[0].data) == {"why": "intensity"}
    assert of_kind(effects, Exit)


@pytest.mark.parametrize("healthy", [False, True])
def test_the_cap_on_failures_in_a_row_waits_its_turn_too(healthy: bool) -> None:
    bench = starting(up(spec("a", max_consecutive=1), PLAIN), "a")
    bench.started("a")
    busy(bench)
    bench.now += 60.0 if healthy else 1.0
    bench.exit("a", crash())
    assert bench.started_ids() == (["a"] if healthy else [])
    bench.exit("x", SHUTDOWN)
    assert bench.machine.ended is not healthy


def test_nothing_begins_behind_a_shutdown() -> None:
    bench = busy(up())
    bench.send(ShutdownOrdered(SHUTDOWN))
    assert bench.exit("a", crash()) == []
    assert stop_order(bench, bench.exit("x", SHUTDOWN)) == ["b"]
    assert bench.machine.ended


def test_nothing_begins_while_it_gives_up() -> None:
    bench = up(spec("a"), spec("b"), spec("c"), intensity=0)
    effects = bench.exit("c", crash())
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["b"]
    bench.machine.window.intensity = 9
    assert bench.exit("a", crash()) == []
    assert of_kind(bench.exit("b", SHUTDOWN), Exit)


# ---------------------------------------------------------------- how a start in the background ends


def test_a_start_time_out() -> None:
    bench = up(spec("a", start_timeout=5.0), PLAIN)
    bench.exit("a", crash())
    assert of_kind(bench.fire(5.0), KillChild) == [KillChild("a", 2, "start_timeout")]
    assert bench.state("a") == "stopping"
    bench.exit("a", ExitReason(ExitKind.KILLED))
    assert str(bench.notes(NoteKind.CHILD_START_FAILED)[0].reason) == "init_error: no start within 5 s"
    assert bench.started_ids() == ["a"]


def test_a_ready_time_out() -> None:
    bench = up(spec("a", start_timeout=5.0, ready_timeout=2.0), PLAIN)
    starting(bench, "a")
    first = of_kind(bench.effects, SetTimer)[0].token
    assert CancelTimer(first) in bench.started("a")
    assert of_kind(bench.fire(2.0), KillChild) == [KillChild("a", 2, "ready_timeout")]


def test_an_end_before_it_is_ready() -> None:
    bench = starting(up(), "a")
    bench.exit("a", crash("boom"))
    reason = bench.notes(NoteKind.CHILD_START_FAILED)[0].reason
    assert reason is not None
    assert reason.message == "ended before it was ready: crash: boom"
    assert bench.started_ids() == ["a"]


def test_a_start_that_fails_again_and_again_makes_it_give_up() -> None:
    bench = starting(up(intensity=2), "a")
    bench.fail("a", init_error("no"))
    assert stop_order(bench, bench.fail("a", init_error("no"))) == ["x", "b"]
    assert bench.machine.ended


def test_ignored() -> None:
    bench = starting(up(), "a")
    bench.send(ChildIgnored("a", 2))
    assert (bench.state("a"), bench.machine.children["a"].wanted) == ("undefined", False)
    assert bench.machine.recovering == frozenset()


def test_answers_of_an_older_life_are_dropped() -> None:
    bench = starting(up(), "a")
    bench.fail("a", init_error("no"))
    for event in (ChildStarted("a", 2), ChildStartFailed("a", 2, init_error()), ChildExited("a", 2, crash())):
        assert bench.send(event) == []
    assert bench.state("a") == "starting"


def test_a_crashed_supervisor_is_replaced_in_the_background() -> None:
    sub = spec("s", type=ChildType.SUPERVISOR, on_crash=OnSupervisorCrash.ADOPT)
    bench = up(sub, spec("t", type=ChildType.SUPERVISOR, on_crash=OnSupervisorCrash.ADOPT))
    for name in "st":
        effects = bench.exit(name, ExitReason(ExitKind.KILLED))
        assert of_kind(effects, StartChild) == [StartChild(name, 2, adopt=True, restart=True)]


# ---------------------------------------------------------------- stopping one


def test_terminate_child_breaks_the_start_off() -> None:
    bench = up(spec("a", start_timeout=5.0), spec("b"))
    timer = of_kind(bench.exit("a", crash()), SetTimer)[0].token
    effects = bench.send(AdminCalled("r", Call.TERMINATE_CHILD, "a"))
    assert of_kind(effects, StopChild) == [StopChild("a", 2, 5.0)]
    assert CancelTimer(timer) in effects
    assert bench.machine.recovering == frozenset()
    bench.started("a")
    assert bench.state("a") == "stopping", "its start came too late"
    assert of_kind(bench.exit("a", SHUTDOWN), Reply) == [Reply("r", id="a")]
    assert bench.state("a") == "undefined"


def test_terminate_child_of_one_that_is_being_killed_already_only_waits() -> None:
    bench = up(spec("a", start_timeout=5.0))
    bench.exit("a", crash())
    bench.fire(5.0)
    assert bench.send(AdminCalled("r", Call.TERMINATE_CHILD, "a")) == []
    assert of_kind(bench.exit("a", ExitReason(ExitKind.KILLED)), Reply) == [Reply("r", id="a")]
    assert (bench.state("a"), bench.started_ids()) == ("undefined", [])


def test_terminate_child_while_its_retry_waits() -> None:
    bench = starting(up(spec("a", backoff=SLOW)), "a")
    timer = of_kind(bench.fail("a", init_error("no")), SetTimer)[0].token
    assert CancelTimer(timer) in bench.send(AdminCalled("r", Call.TERMINATE_CHILD, "a"))
    assert bench.send(TimerFired(timer)) == []


@pytest.mark.parametrize(("call", "error"), [(Call.RESTART_CHILD, "running"), (Call.DELETE_CHILD, "running")])
def test_orders_to_a_child_that_starts_in_the_background(call: Call, error: str) -> None:
    bench = starting(up(), "a")
    assert of_kind(bench.send(AdminCalled("r", call, "a")), Reply) == [Reply("r", error, "a")]
    assert bench.state("a") == "starting"


def test_shutdown_stops_several_that_start_in_reverse_order() -> None:
    bench = starting(up(spec("a"), spec("b"), spec("c")), "a", "c")
    assert stop_order(bench, bench.send(ShutdownOrdered(SHUTDOWN))) == ["c", "b", "a"]
    assert bench.machine.ended


def test_a_start_may_end_while_another_one_is_being_stopped() -> None:
    bench = starting(up(spec("a"), spec("b"), spec("c")), "a", "b")
    bench.send(ShutdownOrdered(SHUTDOWN))
    assert bench.state("c") == "stopping"
    bench.fail("b", init_error("no"))
    assert bench.started_ids() == []
    bench.started("a")
    assert bench.state("a") == "running"
    assert stop_order(bench, bench.exit("c", SHUTDOWN)) == ["a"]
    assert bench.machine.ended


def test_giving_up_stops_all_that_start() -> None:
    bench = starting(up(spec("a"), spec("b"), spec("c"), intensity=2), "a", "b")
    assert stop_order(bench, bench.exit("c", crash())) == ["b", "a"]
    assert bench.machine.ended


def test_dynamic_children_that_start_are_stopped_together() -> None:
    bench = up(spec("t", start_timeout=5.0), strategy=SIMPLE)
    for number in (1, 2, 3):
        bench.send(AdminCalled(f"r{number}", Call.START_CHILD))
        bench.started(f"t.{number}")
    bench.exit("t.1", crash())
    bench.fire(5.0)
    bench.exit("t.2", crash())
    effects = bench.send(ShutdownOrdered(SHUTDOWN))
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["t.2", "t.3"], "t.1 has been killed already"
    for number in (3, 1, 2):
        bench.exit(f"t.{number}", SHUTDOWN)
    assert bench.machine.ended


def test_a_brutal_kill_of_one_that_starts() -> None:
    bench = starting(up(spec("a", shutdown=BRUTAL_KILL)), "a")
    effects = bench.send(ShutdownOrdered(SHUTDOWN))
    assert of_kind(effects, KillChild) == [KillChild("a", 2, "brutal_kill")]
    assert of_kind(bench.exit("a", ExitReason(ExitKind.KILLED)), Exit)


def test_auto_shutdown_while_another_one_starts() -> None:
    children = [spec(name, restart=Restart.TRANSIENT, significant=True) for name in "ab"]
    bench = Bench(*children, auto=AutoShutdown.ALL_SIGNIFICANT)
    bench.boot()
    starting(bench, "a")
    bench.exit("b", NORMAL)
    assert not bench.machine.ended, "a is to come back"
    bench.started("a")
    assert of_kind(bench.exit("a", NORMAL), Exit)


def test_new_flags_while_they_start() -> None:
    """Group rules from now on: what starts in the background belongs to the group."""
    bench = starting(up(spec("a"), spec("b"), spec("c")), "a")
    bench.send(
        AdminCalled("r", Call.CHANGE_SPECS, flags=SupervisorFlags(Strategy.ONE_FOR_ALL, 9), specs=bench.spec.children)
    )
    effects = bench.exit("c", crash())
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["b"]
    bench.exit("b", SHUTDOWN)
    assert bench.state("a") == "stopping"
    bench.exit("a", SHUTDOWN)
    bench.bring_up()
    assert [bench.state(name) for name in "abc"] == ["running"] * 3


# ---------------------------------------------------------------- a crash of the supervisor


def test_pending_starts_run_at_once_after_a_crash_and_are_not_waited_for() -> None:
    before = starting(up(spec("a"), spec("b"), ChildSpec("x")), "a", "b")
    bench = Bench(*before.spec.children)
    bench.effects = bench.machine.resume(before.machine.record(), {"x": 1}, {}, bench.now)
    assert bench.started_ids() == ["a", "b"]
    assert of_kind(bench.effects, ReportStarted)
    assert not bench.machine.is_busy
    bench.started("b")
    bench.fail("a", init_error("no"))
    assert bench.started_ids() == ["a"]
    assert bench.machine.window.count(bench.now) == 3, "two before the crash, and the retry"


def test_lost_ones_recover_while_a_plain_one_is_waited_for() -> None:
    before = up(spec("a"), spec("b"), ChildSpec("x"), ChildSpec("y"))
    bench = Bench(*before.spec.children)
    bench.effects = bench.machine.resume(before.machine.record(), {"y": 1}, {"a": crash(), "b": crash()}, bench.now)
    assert bench.started_ids() == ["x", "a", "b"]
    assert of_kind(bench.effects, ReportStarted) == []
    bench.started("a")
    assert of_kind(bench.started("x"), ReportStarted)
    bench.started("b")
    assert [bench.state(name) for name in "abxy"] == ["running"] * 4


def test_an_older_life_is_ended_before_its_successor_starts_in_the_background() -> None:
    before = starting(up(spec("a"), spec("b")), "a", "b")
    for name in "ab":
        before.started(name)
    bench = Bench(*before.spec.children)
    bench.effects = bench.machine.resume(before.machine.record(), {"a": 1, "b": 1}, {}, bench.now)
    assert of_kind(bench.effects, KillChild) == [KillChild("a", 1, "superseded")]
    assert bench.send(ChildExited("b", 1, crash())) == [], "no restart: it is to be ended anyway"
    bench.send(ChildExited("a", 1, crash()))
    assert [(start.id, start.incarnation) for start in of_kind(bench.effects, StartChild)] == [("a", 3), ("b", 3)]
    assert of_kind(bench.effects, ReportStarted)
