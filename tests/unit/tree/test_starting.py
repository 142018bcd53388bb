"""Start and ready time-outs, starts broken off by a shutdown, and what is never emitted twice."""

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, crash
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildExited,
    ChildReady,
    ChildStarted,
    Exit,
    KillChild,
    NoteKind,
    ReapSubtree,
    Reply,
    ReportStarted,
    ReportStartFailed,
    SetTimer,
    ShutdownOrdered,
    StartChild,
    StopChild,
)
from supervisors.tree.model import ChildSpec, ChildType, Strategy
from tests.unit.tree.harness import Bench, of_kind

KILLED = ExitReason(ExitKind.KILLED)


def test_start_timeout_kills_and_fails_the_boot() -> None:
    bench = Bench(ChildSpec("a", start_timeout=2.0))
    bench.send(Booted())
    effects = bench.fire(2.0)
    assert of_kind(effects, KillChild) == [KillChild("a", 1, "start_timeout")]
    assert not bench.machine.ended  # not before the process is gone for certain
    effects = bench.exit("a", KILLED)
    failed = of_kind(effects, ReportStartFailed)[0]
    assert (failed.id, failed.reason.kind, failed.reason.message) == ("a", ExitKind.INIT_ERROR, "no start within 2 s")


def test_ready_timeout_is_counted_from_started() -> None:
    bench = Bench(ChildSpec("a", start_timeout=2.0, ready_timeout=3.0))
    start_timer = of_kind(bench.send(Booted()), SetTimer)[0].token
    bench.now += 1.5
    effects = bench.started("a")
    assert CancelTimer(start_timer) in effects
    assert bench.state("a") == "starting"
    assert of_kind(bench.started("a"), ReportStarted) == []  # said twice
    effects = bench.fire(3.0)
    assert of_kind(effects, KillChild) == [KillChild("a", 1, "ready_timeout")]


def test_ready_makes_it_up() -> None:
    bench = Bench(ChildSpec("a", ready_timeout=3.0), ChildSpec("b"))
    bench.send(Booted())
    assert bench.started("a") != []
    assert bench.started_ids() == []  # the next sibling waits for ready
    effects = bench.send(ChildReady("a", 1))
    assert of_kind(effects, CancelTimer)
    assert bench.started_ids() == ["b"]
    assert ReportStarted() in bench.started("b")


def test_an_end_before_ready_is_a_failed_start() -> None:
    bench = Bench(ChildSpec("a", ready_timeout=3.0))
    bench.send(Booted())
    bench.started("a")
    failed = of_kind(bench.exit("a", crash("boom")), ReportStartFailed)[0]
    assert failed.reason.message == "ended before it was ready: crash: boom"


def test_a_timed_out_restart_is_tried_again() -> None:
    bench = Bench(ChildSpec("a", start_timeout=2.0), intensity=2, period=100)
    bench.boot()
    bench.exit("a", crash())
    bench.fire(2.0)
    bench.exit("a", KILLED)
    assert bench.started_ids() == ["a"]
    assert bench.incarnation("a") == 3


def test_shutdown_breaks_off_a_start() -> None:
    bench = Bench(ChildSpec("a"), ChildSpec("b"))
    bench.send(Booted())
    bench.started("a")
    reason = ExitReason(ExitKind.SHUTDOWN, "down")
    effects = bench.send(ShutdownOrdered(reason))
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["b"]
    effects = bench.exit("b", SHUTDOWN)
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["a"]
    assert of_kind(bench.exit("a", SHUTDOWN), Exit) == [Exit(reason)]


def test_shutdown_during_a_group_stop_starts_nothing_more() -> None:
    bench = Bench(ChildSpec("a"), ChildSpec("b"), strategy=Strategy.ONE_FOR_ALL)
    bench.boot()
    bench.exit("a", crash())
    bench.send(ShutdownOrdered(SHUTDOWN))
    effects = bench.exit("b", SHUTDOWN)
    assert of_kind(effects, StartChild) == []
    assert of_kind(effects, Exit) == [Exit(SHUTDOWN)]


def test_shutdown_goes_before_queued_events_and_their_callers_are_told() -> None:
    bench = Bench(ChildSpec("a"))
    bench.boot()
    bench.exit("a", crash())
    bench.send(AdminCalled("r1", Call.COUNT_CHILDREN))
    bench.send(ShutdownOrdered(SHUTDOWN))
    effects = bench.exit("a", SHUTDOWN)
    assert effects[-2:] == [Reply("r1", "noproc"), Exit(SHUTDOWN)]


def test_start_child_broken_off_by_a_shutdown_is_answered() -> None:
    bench = Bench()
    bench.boot()
    bench.send(AdminCalled("r1", Call.START_CHILD, spec=ChildSpec("a")))
    bench.send(ShutdownOrdered(SHUTDOWN))
    effects = bench.exit("a", SHUTDOWN)
    assert of_kind(effects, Reply)[0].error == "shutdown"
    assert of_kind(effects, Exit)


def test_events_of_older_incarnations_are_dropped() -> None:
    bench = Bench(ChildSpec("a"))
    bench.boot()
    bench.exit("a", crash())
    for event in (ChildStarted("a", 1), ChildExited("a", 1, crash()), ChildExited("gone", 1, crash())):
        assert bench.send(event) == []
    bench.started("a")
    assert (bench.state("a"), bench.incarnation("a")) == ("running", 2)


def test_nothing_after_the_end() -> None:
    bench = Bench(ChildSpec("a"))
    bench.boot()
    bench.send(ShutdownOrdered(SHUTDOWN))
    bench.exit("a", SHUTDOWN)
    assert bench.machine.ended
    assert bench.send(AdminCalled("r", Call.COUNT_CHILDREN)) == []
    assert bench.send(ShutdownOrdered(SHUTDOWN)) == []


def test_a_killed_supervisors_subtree_is_reaped_once() -> None:
    bench = Bench(ChildSpec("s", start_timeout=2.0, type=ChildType.SUPERVISOR))
    bench.send(Booted())
    bench.fire(2.0)
    assert of_kind(bench.exit("s", KILLED), ReapSubtree) == [ReapSubtree("s")]


def test_the_reason_of_giving_up_is_abnormal_and_says_why() -> None:
    """SUP-3, where OTP says ``shutdown``: a transient sub-supervisor must not vanish silently."""
    bench = Bench(ChildSpec("a"), intensity=0)
    bench.boot()
    effects = bench.exit("a", crash("boom"))
    reason = of_kind(effects, Exit)[0].reason
    assert (reason.kind, reason.is_abnormal) == (ExitKind.ESCALATED, True)
    assert reason.message == "intensity exceeded by a (crash: boom)"
    assert bench.notes(NoteKind.GAVE_UP)


def test_a_dead_child_whose_exit_is_still_queued_is_not_active() -> None:
    """As OTP, which asks whether the process is alive."""
    bench = Bench(ChildSpec("a"), ChildSpec("b"))
    bench.boot()
    bench.exit("a", crash())
    bench.send(AdminCalled("r", Call.COUNT_CHILDREN))
    bench.exit("b", crash())
    counts = of_kind(bench.started("a"), Reply)[0].counts
    assert counts is not None
    assert (counts.specs, counts.active) == (2, 1)
