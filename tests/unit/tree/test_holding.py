"""Held children (REC-2): no process before a person has agreed, whatever else happens."""

import pytest

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, crash, init_error
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildHeld,
    ChildIgnored,
    Exit,
    HoldRejected,
    HoldReleased,
    KillChild,
    Note,
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
    Backoff,
    ChildSpec,
    ChildType,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)
from tests.unit.tree.harness import Bench, of_kind
from tests.unit.tree.holds import ABC, GROUPS, REST, held, order, up_to_hold

# ---------------------------------------------------------------- the hold itself


def test_a_restart_that_is_held_has_no_process_and_says_why() -> None:
    bench = up_to_hold()
    assert bench.state("b") == "held"
    assert not bench.machine.children["b"].has_process
    assert dict(bench.notes(NoteKind.CHILD_HELD)[0].data) == {"why": "manual"}
    assert not bench.machine.is_busy


def test_the_start_time_out_is_not_running_while_it_is_held() -> None:
    bench = Bench(ChildSpec("a", start_timeout=5.0))
    timer = of_kind(bench.send(Booted()), SetTimer)[0]
    assert CancelTimer(timer.token) in held(bench, "a")
    assert bench.send(TimerFired(timer.token)) == []


def test_nothing_but_the_exit_is_charged() -> None:
    bench = up_to_hold()
    assert bench.machine.window.count(bench.now) == 1
    bench.send(HoldReleased("b"))
    bench.started("b")
    assert bench.machine.window.count(bench.now) == 1
    assert bench.machine.children["b"].failures == 1


def test_siblings_run_and_are_restarted_while_one_is_held() -> None:
    bench = up_to_hold()
    bench.exit("c", crash())
    assert bench.started_ids() == ["c"]
    bench.started("c")
    assert (bench.state("a"), bench.state("b"), bench.state("c")) == ("running", "held", "running")


def test_release_starts_it_as_a_restart() -> None:
    bench = up_to_hold()
    effects = bench.send(HoldReleased("b"))
    assert bench.notes(NoteKind.HOLD_RELEASED)[0].id == "b"
    assert of_kind(effects, StartChild) == [StartChild("b", 3, restart=True)]
    bench.started("b")
    assert (bench.state("b"), bench.machine.children["b"].restarts) == ("running", 1)


def test_release_of_a_first_start_is_no_restart() -> None:
    bench = Bench(ChildSpec("a"))
    bench.send(Booted())
    held(bench, "a")
    assert of_kind(bench.send(HoldReleased("a")), StartChild) == [StartChild("a", 2, restart=False)]


def test_it_may_be_held_again() -> None:
    bench = up_to_hold()
    bench.send(HoldReleased("b"))
    held(bench, "b", "validation failed")
    assert bench.state("b") == "held"
    bench.send(HoldReleased("b"))
    bench.started("b")
    assert bench.state("b") == "running"


def test_a_released_start_that_fails_is_tried_again_and_charged() -> None:
    bench = up_to_hold()
    bench.send(HoldReleased("b"))
    bench.fail("b", init_error("no"))
    assert bench.started_ids() == ["b"]
    assert bench.machine.window.count(bench.now) == 2


def test_a_released_start_that_fails_waits_for_its_backoff() -> None:
    bench = up_to_hold(ChildSpec("b", backoff=Backoff(jitter=0.0, immediate=1)))
    bench.send(HoldReleased("b"))
    bench.fail("b", init_error("no"))
    assert bench.state("b") == "restarting"
    assert [start.id for start in of_kind(bench.fire(0.1), StartChild)] == ["b"]


def test_reject_leaves_it_down_for_good() -> None:
    bench = up_to_hold()
    bench.send(HoldRejected("b"))
    assert bench.notes(NoteKind.HOLD_REJECTED)[0].id == "b"
    assert (bench.state("b"), bench.machine.children["b"].wanted) == ("undefined", False)
    assert bench.send(HoldReleased("b")) == []


def test_a_rejected_temporary_child_is_forgotten() -> None:
    bench = Bench(ChildSpec("a", Restart.TEMPORARY), ChildSpec("b"))
    bench.send(Booted())
    held(bench, "a")
    bench.started("b")
    assert bench.state("a") == "held"
    bench.send(HoldRejected("a"))
    assert "a" not in bench.machine.children


@pytest.mark.parametrize("answer", [HoldReleased("b"), HoldRejected("b"), HoldReleased("x"), HoldRejected("x")])
def test_an_answer_for_a_child_that_is_not_held_is_void(answer: HoldReleased | HoldRejected) -> None:
    bench = Bench(*ABC)
    bench.boot()
    assert bench.send(answer) == []
    assert bench.state("b") == "running"


def test_the_first_answer_counts() -> None:
    bench = up_to_hold()
    bench.send(HoldReleased("b"))
    assert bench.send(HoldRejected("b")) == []
    bench.started("b")
    assert bench.state("b") == "running"


def test_an_answer_to_an_earlier_hold_does_not_end_a_later_one() -> None:
    bench = up_to_hold(ChildSpec("a"), ChildSpec("b"), ChildSpec("c"), strategy=REST)
    order(bench, Call.RESTART_CHILD, "b")
    bench.send(HoldReleased("b", 2))
    bench.send(HoldRejected("b", 2))
    effects = held(bench, "b")
    assert (bench.state("b"), of_kind(effects, StartChild)) == ("held", [])
    assert of_kind(bench.send(HoldReleased("b", 3)), StartChild) == [StartChild("b", 4, restart=True)]


def test_a_hold_of_an_older_life_is_dropped() -> None:
    bench = up_to_hold()
    bench.send(HoldReleased("b"))
    assert bench.send(ChildHeld("b", 2)) == []
    assert bench.state("b") == "starting"


def test_a_supervisor_cannot_be_held() -> None:
    bench = Bench(ChildSpec("s", type=ChildType.SUPERVISOR))
    bench.boot()
    bench.exit("s", ExitReason(ExitKind.ESCALATED))
    held(bench, "s")
    reason = bench.notes(NoteKind.CHILD_START_FAILED)[0].reason
    assert reason == init_error("a supervisor cannot be held")
    assert bench.started_ids() == ["s"]


# ---------------------------------------------------------------- boot


def test_boot_goes_on_past_a_held_child_under_one_for_one() -> None:
    bench = Bench(*ABC)
    bench.send(Booted())
    bench.started("a")
    held(bench, "b")
    assert bench.started_ids() == ["c"]
    assert of_kind(bench.started("c"), ReportStarted)


@GROUPS
def test_boot_under_a_group_strategy_counts_as_started_and_the_rest_waits(strategy: Strategy) -> None:
    bench = Bench(*ABC, strategy=strategy)
    bench.send(Booted())
    bench.started("a")
    effects = held(bench, "b")
    assert bench.started_ids() == []
    assert of_kind(effects, ReportStarted)
    assert [bench.state(name) for name in "abc"] == ["running", "held", "undefined"]
    assert bench.machine.children["c"].waits_for == "b"
    bench.send(HoldReleased("b"))
    assert bench.started_ids() == ["b"]
    bench.started("b")
    assert bench.started_ids() == ["c"]
    bench.started("c")
    assert [bench.state(name) for name in "abc"] == ["running"] * 3


def test_a_failed_boot_ends_although_one_is_held() -> None:
    bench = Bench(*ABC)
    bench.send(Booted())
    held(bench, "a")
    bench.started("b")
    bench.fail("c", init_error("no"))
    assert of_kind(bench.effects, StopChild) == [StopChild("b", 1, 5.0)]
    assert of_kind(bench.exit("b", SHUTDOWN), ReportStartFailed)


# ---------------------------------------------------------------- orders


def test_which_children_and_count_children() -> None:
    bench = up_to_hold()
    reply = order(bench, Call.WHICH_CHILDREN, "")
    assert reply is not None
    assert [(info.id, info.state) for info in reply.children] == [("a", "running"), ("b", "held"), ("c", "running")]
    reply = order(bench, Call.COUNT_CHILDREN, "")
    assert reply is not None
    assert reply.counts is not None
    assert (reply.counts.specs, reply.counts.active, reply.counts.workers) == (3, 2, 3)


def test_terminate_child_rejects_the_hold() -> None:
    bench = up_to_hold()
    assert order(bench, Call.TERMINATE_CHILD, "b") == Reply("r", id="b")
    assert dict(bench.notes(NoteKind.HOLD_REJECTED)[0].data) == {"by": "terminate_child"}
    assert (bench.state("b"), bench.machine.children["b"].wanted) == ("undefined", False)
    assert order(bench, Call.DELETE_CHILD, "b") == Reply("r", id="b")


def test_restart_child_releases_it_and_answers_when_it_is_up() -> None:
    bench = up_to_hold()
    assert order(bench, Call.RESTART_CHILD, "b") is None
    assert dict(bench.notes(NoteKind.HOLD_RELEASED)[0].data) == {"by": "restart_child"}
    assert of_kind(bench.started("b"), Reply) == [Reply("r", id="b", incarnation=3)]


def test_restart_child_that_fails_says_so_and_the_child_is_tried_again() -> None:
    bench = up_to_hold()
    order(bench, Call.RESTART_CHILD, "b")
    effects = bench.fail("b", init_error("no"))
    assert [reply.error for reply in of_kind(effects, Reply)] == ["start_error"]
    assert bench.started_ids() == ["b"]


def test_restart_child_that_is_held_again_says_there_is_no_process() -> None:
    bench = up_to_hold()
    order(bench, Call.RESTART_CHILD, "b")
    assert of_kind(held(bench, "b"), Reply) == [Reply("r", id="b", incarnation=0)]
    assert bench.state("b") == "held"


def test_restart_child_broken_off_by_a_shutdown_is_answered() -> None:
    bench = up_to_hold(ChildSpec("b"))
    order(bench, Call.RESTART_CHILD, "b")
    bench.send(ShutdownOrdered(SHUTDOWN))
    effects = bench.exit("b", SHUTDOWN)
    assert [reply.error for reply in of_kind(effects, Reply)] == ["shutdown"]
    assert of_kind(effects, Exit)


def test_delete_child_and_start_child_of_a_held_child_are_refused() -> None:
    bench = up_to_hold()
    assert order(bench, Call.DELETE_CHILD, "b") == Reply("r", "restarting", "b")
    effects = bench.send(AdminCalled("r", Call.START_CHILD, "b", ChildSpec("b")))
    assert [reply.error for reply in of_kind(effects, Reply)] == ["already_present"]
    assert bench.state("b") == "held"


@pytest.mark.parametrize("restart", list(Restart))
def test_a_child_added_by_order_may_be_held(restart: Restart) -> None:
    bench = Bench(ChildSpec("a"))
    bench.boot()
    bench.send(AdminCalled("r", Call.START_CHILD, "n", ChildSpec("n", restart)))
    assert of_kind(held(bench, "n"), Reply) == [Reply("r", id="n", incarnation=0)]
    assert bench.state("n") == "held"
    bench.send(HoldReleased("n"))
    bench.started("n")
    assert bench.state("n") == "running"


def test_a_dynamic_child_may_be_held() -> None:
    bench = Bench(ChildSpec("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    bench.boot()
    bench.send(AdminCalled("r", Call.START_CHILD))
    held(bench, "t.1")
    assert bench.state("t.1") == "held"
    assert order(bench, Call.RESTART_CHILD, "t.1") == Reply("r", "simple_one_for_one", "t.1")
    bench.send(HoldReleased("t.1"))
    bench.started("t.1")
    bench.exit("t.1", crash())
    held(bench, "t.1")
    bench.send(HoldRejected("t.1"))
    assert not bench.machine.children


def test_a_released_dynamic_child_that_answers_ignore_is_removed() -> None:
    bench = Bench(ChildSpec("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    bench.boot()
    bench.send(AdminCalled("r", Call.START_CHILD))
    held(bench, "t.1")
    bench.send(HoldReleased("t.1"))
    bench.send(ChildIgnored("t.1", 2))
    assert not bench.machine.children


def test_an_answer_while_the_machine_is_busy_waits_its_turn() -> None:
    bench = up_to_hold()
    order(bench, Call.TERMINATE_CHILD, "a")
    bench.send(HoldReleased("b"))
    assert bench.state("b") == "held"
    assert "b" in [start.id for start in of_kind(bench.exit("a", SHUTDOWN), StartChild)]


# ---------------------------------------------------------------- the end


@GROUPS
def test_shutdown_while_held_has_nothing_to_stop_there(strategy: Strategy) -> None:
    bench = up_to_hold(strategy=strategy)
    effects = bench.send(ShutdownOrdered(SHUTDOWN))
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["a"]
    effects = bench.exit("a", SHUTDOWN)
    assert of_kind(effects, Exit) == [Exit(SHUTDOWN)]
    assert not of_kind(effects, Note)[1:], "no word of the held child"


def test_shutdown_with_held_dynamic_children_only() -> None:
    bench = Bench(ChildSpec("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    bench.boot()
    bench.send(AdminCalled("r", Call.START_CHILD))
    held(bench, "t.1")
    assert bench.send(ShutdownOrdered(SHUTDOWN)) == [Exit(SHUTDOWN)]


def test_a_hold_that_crosses_the_order_to_stop_is_an_end() -> None:
    bench = Bench(ChildSpec("a"), ChildSpec("b"))
    bench.boot()
    bench.exit("b", crash())
    bench.send(ShutdownOrdered(SHUTDOWN))
    assert bench.state("b") == "stopping"
    effects = held(bench, "b")
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["a"]
    assert bench.state("b") == "held", "a replacement must not start it either"


def test_a_hold_that_crosses_the_kill_for_a_time_out_is_a_hold() -> None:
    bench = Bench(ChildSpec("a", start_timeout=5.0))
    bench.boot()
    bench.exit("a", crash())
    assert of_kind(bench.fire(5.0), KillChild) == [KillChild("a", 2, "start_timeout")]
    held(bench, "a")
    assert bench.state("a") == "held"
    assert bench.started_ids() == []
    assert len(bench.machine.window.stamps) == 1


def test_new_flags_leave_a_hold_alone() -> None:
    bench = up_to_hold(strategy=REST)
    flags = SupervisorFlags(Strategy.ONE_FOR_ONE)
    bench.send(AdminCalled("r", Call.CHANGE_SPECS, flags=flags, specs=ABC))
    assert bench.state("b") == "held"
    bench.send(HoldReleased("b"))
    bench.bring_up()
    assert [bench.state(name) for name in "abc"] == ["running"] * 3


def test_a_machine_that_has_ended_hears_no_answer() -> None:
    machine = SupervisorMachine(SupervisorSpec())
    machine.step(Booted(), 1.0)
    machine.step(ShutdownOrdered(SHUTDOWN), 1.0)
    assert machine.step(HoldReleased("a"), 1.0) == []
