"""The fake world: what supervisors are told there is what they would be told by real processes."""

from collections.abc import Callable

import pytest

from supervisors.core.paths import ROOT, TreePath
from supervisors.core.reasons import NORMAL, SHUTDOWN, ExitKind, crash
from supervisors.testing import ManualClock, TraceEvent, World
from supervisors.testing.trace import TraceKind
from supervisors.tree.messages import AdminCalled, Call
from supervisors.tree.model import (
    INFINITY,
    Backoff,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)

A, B, S, SA, SB = (TreePath(p) for p in ("/a", "/b", "/s", "/s/a", "/s/b"))


def flat(*children: ChildSpec, strategy: Strategy = Strategy.ONE_FOR_ONE, intensity: int = 3) -> World:
    return World({ROOT: SupervisorSpec(SupervisorFlags(strategy, intensity, 5), children)})


def nested(
    on_crash: OnSupervisorCrash = OnSupervisorCrash.ADOPT,
    *,
    restart: Restart = Restart.PERMANENT,
    giveup_as_shutdown: bool = False,
    start_takes: float = 0.0,
    backoff: Backoff | None = None,
) -> World:
    sub = ChildSpec("s", restart, INFINITY, ChildType.SUPERVISOR, on_crash=on_crash)
    tree = {
        ROOT: SupervisorSpec(SupervisorFlags(intensity=5, period=300), (sub, ChildSpec("b"))),
        S: SupervisorSpec(SupervisorFlags(intensity=1), (ChildSpec("a", backoff=backoff), ChildSpec("b"))),
    }
    return World(tree, giveup_as_shutdown=giveup_as_shutdown, start_takes=start_takes)


def kinds(world: World, path: TreePath) -> list[str]:
    return [event.event.value for event in world.trace if event.path == path]


def times(world: World, path: TreePath, kind: TraceKind) -> list[float]:
    return [event.t for event in world.trace if event.path == path and event.event is kind]


def test_start_order_and_reverse_stop() -> None:
    world = flat(ChildSpec("a"), ChildSpec("b"))
    world.start()
    assert world.up() == (ROOT, A, B)
    world.shutdown()
    assert world.run_until_quiet()
    stopped = [event.path for event in world.trace if event.event is TraceKind.STOPPED]
    assert stopped == [B, A]
    assert world.ended == SHUTDOWN
    assert world.up() == ()


def test_exit_is_queued_until_time_runs() -> None:
    world = flat(ChildSpec("a"), ChildSpec("b"))
    world.start()
    assert world.exit_child(A, crash("boom"))
    assert world.exit_child(B, crash("boom"))
    assert not world.is_up(A)
    world.settle()
    assert (world.incarnation(A), world.incarnation(B)) == (2, 2)
    assert not world.exit_child(TreePath("/nobody"))
    assert world.trace[-1].event is TraceKind.SKIPPED


def test_starts_take_their_time() -> None:
    world = World(
        {ROOT: SupervisorSpec(SupervisorFlags(), (ChildSpec("a"), ChildSpec("b")))}, start_takes=0.5, stop_takes=0.25
    )
    world.start()
    assert world.up() == ()
    world.advance(0.5)
    assert world.up() == (A,)
    world.run_until_quiet()
    assert world.now == 1.0
    world.script(A).stop_takes = 2.0
    world.shutdown()
    world.run_until_quiet()
    assert world.now == 3.25


def test_failed_initial_start_ends_the_tree() -> None:
    world = flat(ChildSpec("a"), ChildSpec("b"))
    world.fail_starts(B, 1)
    world.start()
    assert world.ended is not None
    assert world.ended.kind is ExitKind.INIT_ERROR
    assert "b did not start" in world.ended.message
    assert world.up() == ()


def test_failing_restarts_give_up_at_intensity() -> None:
    world = flat(ChildSpec("a"), ChildSpec("b"), intensity=4)
    world.start()
    world.fail_starts(A)
    world.exit_child(A)
    world.run_until_quiet()
    assert kinds(world, A).count("start_failed") == 4
    assert world.ended is not None
    assert world.ended.kind is ExitKind.ESCALATED


def test_ignored_start_keeps_the_spec() -> None:
    world = flat(ChildSpec("a"), ChildSpec("b"))
    world.ignore_starts(A, 1)
    world.start()
    assert world.up() == (ROOT, B)
    assert [info.state for info in world.children(ROOT)] == ["undefined", "running"]
    reply = world.admin(ROOT, AdminCalled("1", Call.RESTART_CHILD, "a"))
    assert reply is not None
    assert reply.error == ""
    assert world.is_up(A)


def test_never_start_is_ended_by_its_timeout() -> None:
    world = flat(ChildSpec("a", start_timeout=2.0))
    world.start()
    world.never_start(A, 1)
    world.exit_child(A)
    world.run_until_quiet()
    assert times(world, A, TraceKind.KILLED) == [2.0]
    assert world.incarnation(A) == 3


def test_never_ready_is_ended_by_its_timeout() -> None:
    world = flat(ChildSpec("a", ready_timeout=1.0))
    world.script(A).ready_takes = 0.4
    world.start()
    world.run_until_quiet()
    assert times(world, A, TraceKind.READY) == [0.4]
    world.script(A).never_ready = True
    world.exit_child(A)
    world.advance(1.0)
    assert times(world, A, TraceKind.KILLED) == [1.4]


def test_ignored_stop_is_killed_when_time_is_up() -> None:
    world = flat(ChildSpec("a", shutdown=5.0))
    world.start()
    world.ignore_stop(A)
    world.shutdown()
    world.run_until_quiet()
    assert times(world, A, TraceKind.KILLED) == [5.0]
    assert world.ended == SHUTDOWN


def test_hang_is_seen_after_missed_beats() -> None:
    world = flat(ChildSpec("a"), ChildSpec("b"))
    world.start()
    world.hang(A)
    world.hang(B, detect_after=2.0)
    world.run_until_quiet()
    exits = {
        event.path: (event.t, event.reason.kind)
        for event in world.trace
        if event.event is TraceKind.EXITED and event.reason
    }
    assert exits == {A: (0.3, ExitKind.HUNG), B: (2.0, ExitKind.HUNG)}
    assert world.incarnation(A) == world.incarnation(B) == 2


def test_hung_child_is_killed_when_stopped_before_it_is_seen() -> None:
    world = flat(ChildSpec("a", shutdown=1.0))
    world.start()
    world.hang(A, detect_after=10.0)
    world.shutdown()
    world.run_until_quiet()
    assert times(world, A, TraceKind.KILLED) == [1.0]
    assert world.now == 1.0


def test_planned_lives_end_when_up() -> None:
    world = flat(ChildSpec("a"))
    world.script(A).plan_lives(0.5, crash("short life"), 2)
    world.start()
    world.run_until_quiet()
    assert times(world, A, TraceKind.EXITED) == [0.5, 1.0]
    assert world.incarnation(A) == 3


def test_exit_when_up_waits_for_the_backoff() -> None:
    world = flat(ChildSpec("a", backoff=Backoff(base=0.2, immediate=0, jitter=0.0)))
    world.start()
    world.exit_child(A)
    world.settle()
    assert not world.exit_child(A, when_up=True)
    world.run_until_quiet()
    assert times(world, A, TraceKind.EXITED) == [0.0, 0.2]


def test_subtree_escalates_and_comes_back() -> None:
    world = nested()
    world.start()
    for _ in range(2):
        world.exit_child(SA)
        world.settle()
    assert kinds(world, S)[-8:] == [
        "gave_up",
        "escalated",
        "supervisor_ended",
        "exited",
        "restart_decided",
        "starting",
        "supervisor_started",
        "ready",
    ]
    assert world.incarnation(S) == 2
    assert {SA, SB} <= set(world.up())


@pytest.mark.parametrize("as_shutdown", [False, True])
def test_transient_subtree_that_gives_up(as_shutdown: bool) -> None:
    """OTP lets it vanish; here giving up is abnormal, so that it is restarted."""
    world = nested(restart=Restart.TRANSIENT, giveup_as_shutdown=as_shutdown)
    world.start()
    for _ in range(2):
        world.exit_child(SA)
        world.settle()
    assert world.is_up(S) is not as_shutdown


def test_crashed_supervisor_is_adopted() -> None:
    world = nested()
    world.start()
    world.crash_supervisor(S)
    world.run_until_quiet()
    assert (world.incarnation(S), world.incarnation(SA), world.incarnation(SB)) == (2, 1, 1)
    assert "adopted" in kinds(world, S)
    world.exit_child(SA)
    world.settle()
    assert world.incarnation(SA) == 2


def test_crashed_supervisor_with_terminate_is_reaped() -> None:
    world = nested(OnSupervisorCrash.TERMINATE)
    world.start()
    world.crash_supervisor(S)
    world.run_until_quiet()
    assert "reaped" in kinds(world, SA)
    assert "adopted" not in kinds(world, S)
    assert {SA, SB} <= set(world.up())


def test_child_lost_while_its_supervisor_was_down() -> None:
    world = nested(start_takes=0.5)
    world.start()
    world.run_until_quiet()
    world.crash_supervisor(S)
    world.advance(0.1)
    world.exit_child(SA, crash("unseen"))
    world.run_until_quiet()
    assert kinds(world, SA)[-5:] == ["exited_unseen", "exited", "restart_decided", "starting", "ready"]
    assert world.incarnation(SB) == 1


def test_pending_backoff_is_started_by_the_replacement() -> None:
    world = nested(backoff=Backoff(base=10.0, immediate=0))
    world.start()
    world.exit_child(SA)
    world.settle()
    assert not world.is_up(SA)
    world.crash_supervisor(S)
    world.settle()
    assert world.is_up(SA)


def test_hung_child_of_a_crashed_supervisor_is_seen_by_the_replacement() -> None:
    world = nested(start_takes=1.0)
    world.start()
    world.run_until_quiet()
    begin = world.now
    world.hang(SA)
    world.crash_supervisor(S)
    world.run_until_quiet()
    assert times(world, SA, TraceKind.EXITED) == [begin + 1.3]


def test_hung_supervisor_is_replaced_and_its_children_adopted() -> None:
    world = nested()
    world.start()
    world.hang(S)
    world.exit_child(SB, crash("nobody listens"))
    world.run_until_quiet()
    assert world.incarnation(S) == 2
    assert world.incarnation(SA) == 1
    assert world.incarnation(SB) == 2
    assert times(world, SB, TraceKind.EXITED_UNSEEN) == [0.0]


def test_root_is_replaced_and_adopts() -> None:
    world = nested()
    world.start()
    world.crash_supervisor(ROOT)
    world.run_until_quiet()
    assert world.ended is None
    assert (world.incarnation(ROOT), world.incarnation(S), world.incarnation(B)) == (2, 1, 1)


def test_root_replaced_afresh_reaps_everything() -> None:
    spec = SupervisorSpec(SupervisorFlags(), (ChildSpec("a"),))
    world = World({ROOT: spec}, root_on_crash=OnSupervisorCrash.TERMINATE)
    world.start()
    world.crash_supervisor(ROOT)
    world.run_until_quiet()
    assert kinds(world, A) == ["starting", "ready", "reaped", "starting", "ready"]


def test_shutdown_between_two_lives_of_the_root() -> None:
    spec = SupervisorSpec(SupervisorFlags(), (ChildSpec("a"),))
    world = World({ROOT: spec}, start_takes=1.0)
    world.start()
    world.run_until_quiet()
    world.crash_supervisor(ROOT)
    world.settle()
    world.shutdown()
    assert world.run_until_quiet()
    assert world.ended == SHUTDOWN
    assert world.up() == ()


def test_killed_supervisor_takes_its_subtree_along() -> None:
    sub = ChildSpec("s", shutdown=0.0, type=ChildType.SUPERVISOR, on_crash=OnSupervisorCrash.ADOPT)
    world = World(
        {
            ROOT: SupervisorSpec(SupervisorFlags(), (sub,)),
            S: SupervisorSpec(SupervisorFlags(), (ChildSpec("a"),)),
        }
    )
    world.start()
    world.shutdown()
    world.run_until_quiet()
    assert "reaped" in kinds(world, SA)
    assert world.up() == ()


def test_orderly_end_of_a_supervisor_from_outside() -> None:
    world = nested(restart=Restart.TRANSIENT)
    world.start()
    world.exit_child(S, NORMAL)
    world.run_until_quiet()
    assert not world.is_up(S)
    assert not world.is_up(SA)
    assert world.ended is None


def test_dynamic_children_and_orders() -> None:
    flags = SupervisorFlags(Strategy.SIMPLE_ONE_FOR_ONE, max_children=3)
    world = World({ROOT: SupervisorSpec(flags, (ChildSpec("w"),))}, initial={ROOT: ("x", "y")})
    world.start()
    assert len(world.children(ROOT)) == 2
    reply = world.admin(ROOT, AdminCalled("1", Call.START_CHILD))
    assert reply is not None
    assert reply.error == ""
    refused = world.admin(ROOT, AdminCalled("2", Call.START_CHILD))
    assert refused is not None
    assert refused.error == "max_children"
    assert world.admin(A, AdminCalled("3", Call.WHICH_CHILDREN)) is None


def test_late_replies_are_kept() -> None:
    world = flat(ChildSpec("a", shutdown=1.0))
    world.start()
    world.ignore_stop(A)
    assert world.admin(ROOT, AdminCalled("stop", Call.TERMINATE_CHILD, "a")) is None
    world.run_until_quiet()
    assert world.replies["stop"].error == ""


def test_supervisors_can_be_added() -> None:
    world = nested()
    world.start()
    extra = ChildSpec("x", type=ChildType.SUPERVISOR)
    unknown = world.admin(ROOT, AdminCalled("1", Call.START_CHILD, "x", extra))
    assert unknown is not None
    assert unknown.error == "start_error"
    world.add_supervisor(TreePath("/x"), SupervisorSpec(SupervisorFlags(), (ChildSpec("y"),)))
    world.admin(ROOT, AdminCalled("2", Call.START_CHILD, "x", extra))
    assert world.is_up(TreePath("/x/y"))


def test_bad_use_is_refused() -> None:
    with pytest.raises(ValueError, match="supervisor at '/'"):
        World({})
    world = flat(ChildSpec("a"))
    world.start()
    with pytest.raises(ValueError, match="no supervisor"):
        world.crash_supervisor(A)
    with pytest.raises(ValueError, match="does not crash"):
        world.crash_supervisor(ROOT, NORMAL)
    assert not world.hang(B)


def test_trace_can_be_streamed_or_left_out() -> None:
    seen: list[TraceEvent] = []
    spec = {ROOT: SupervisorSpec(SupervisorFlags(), (ChildSpec("a"),))}
    streamed = World(spec, trace=False, sink=seen.append)
    streamed.start()
    both = World(spec, sink=seen.append)
    both.start()
    silent = World(spec, trace=False)
    silent.start()
    assert streamed.trace == silent.trace == []
    assert seen == both.trace * 2


def test_run_until_quiet_stops_at_its_limit() -> None:
    world = flat(ChildSpec("a"), intensity=10**9)
    world.script(A).plan_lives(1.0, crash("again"))
    world.start()
    assert not world.run_until_quiet(limit=10.0)
    assert world.now == 10.0


def test_a_world_without_time_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisors.testing import WorldStuck, engine

    monkeypatch.setattr(engine, "MOST_AT_ONCE", 1_000)
    world = flat(ChildSpec("a"), intensity=10**9)
    world.start()
    world.fail_starts(A)
    world.exit_child(A)
    with pytest.raises(WorldStuck):
        world.settle()


def test_the_trace_confirmed_on_real_otp() -> None:
    """one_for_all, intensity 3: d ended normally and a was stopped by hand; both are back (OTP 25)."""
    world = flat(
        ChildSpec("a"),
        ChildSpec("b"),
        ChildSpec("c", restart=Restart.TEMPORARY),
        ChildSpec("d", restart=Restart.TRANSIENT),
        strategy=Strategy.ONE_FOR_ALL,
    )
    world.start()
    world.exit_child(TreePath("/d"), NORMAL)
    world.settle()
    world.admin(ROOT, AdminCalled("1", Call.TERMINATE_CHILD, "a"))
    world.fail_starts(B, 1)
    before = len(world.trace)
    world.exit_child(B, crash())
    world.run_until_quiet()
    told = {
        TraceKind.STOPPED: "stop",
        TraceKind.READY: "start",
        TraceKind.START_FAILED: "fail",
    }
    seen = [f"{told[e.event]} {e.path[1:]}" for e in world.trace[before:] if e.event in told]
    assert seen == ["stop c", "start a", "fail b", "stop a", "start a", "start b", "start d"]


def test_manual_clock() -> None:
    clock = ManualClock(start=1.0, utc_start_ns=5)
    for _ in range(10):
        clock.advance(0.1)
    assert clock.monotonic() == 2.0
    assert clock.utc_ns() == 1_000_000_005
    clock.move_to(1.5)
    assert clock.now == 2.0
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_equal_calls_give_equal_traces() -> None:
    def run(build: Callable[[], World]) -> list[TraceEvent]:
        world = build()
        world.start()
        world.hang(SA)
        world.exit_child(B)
        world.crash_supervisor(S)
        world.run_until_quiet()
        return world.trace

    assert run(nested) == run(nested)


def test_a_held_start_has_no_process_until_it_is_released() -> None:
    world = flat(ChildSpec("a"), ChildSpec("b"))
    world.start()
    world.hold_starts(A, 1)
    world.exit_child(A)
    world.settle()
    assert (world.process(A), world.children(ROOT)[0].state) == (None, "held")
    assert world.release(A)
    world.settle()
    assert (world.is_up(A), world.incarnation(A)) == (True, 3)


def test_a_held_child_stays_held_when_its_supervisor_is_replaced() -> None:
    world = nested()
    world.start()
    world.hold_starts(SA, 1)
    world.exit_child(SA)
    world.settle()
    world.crash_supervisor(S)
    world.settle()
    assert world.incarnation(S) == 2
    assert [info.state for info in world.children(S)] == ["held", "running"]
    world.reject(SA)
    world.settle()
    assert world.children(S)[0].state == "undefined"


def test_an_answer_for_a_place_without_a_supervisor_is_skipped() -> None:
    world = flat(ChildSpec("a"))
    world.start()
    assert not world.release(SA)
    assert not world.reject(SA)
    assert [event.path for event in world.trace if event.event is TraceKind.SKIPPED] == [SA, SA]


def test_concurrent_children_take_the_time_of_one_start() -> None:
    for concurrent, seconds in ((True, 2.0), (False, 6.0)):
        names = "abc"
        world = flat(*(ChildSpec(name, concurrent=concurrent) for name in names))
        world.start()
        for name in names:
            world.script(TreePath(f"/{name}")).start_takes = 2.0
            world.exit_child(TreePath(f"/{name}"))
        world.run_until_quiet()
        assert world.now == seconds
        assert [world.incarnation(TreePath(f"/{name}")) for name in names] == [2, 2, 2]
