"""Held children in groups: those after a held one wait with it."""

from supervisors.core.reasons import NORMAL, crash, init_error
from supervisors.tree.messages import (
    Booted,
    Call,
    HoldRejected,
    HoldReleased,
    NoteKind,
    Reply,
)
from supervisors.tree.model import (
    AutoShutdown,
    ChildSpec,
    Restart,
)
from tests.unit.tree.harness import Bench, of_kind
from tests.unit.tree.holds import ABC, ALL, REST, held, hold_when_started, order, up_to_hold


def test_those_after_it_wait_and_come_up_in_order() -> None:
    bench = up_to_hold(*(ChildSpec(name) for name in "abcd"), strategy=REST)
    assert [bench.state(name) for name in "abcd"] == ["running", "held", "undefined", "undefined"]
    bench.send(HoldReleased("b"))
    for name in "bcd":
        assert bench.started_ids() == [name]
        bench.started(name)
    assert [bench.state(name) for name in "abcd"] == ["running"] * 4


def test_a_group_restart_does_not_start_a_held_child() -> None:
    bench = up_to_hold(strategy=ALL)
    assert [bench.state(name) for name in "abc"] == ["running", "held", "undefined"]
    bench.exit("a", crash())
    assert bench.started_ids() == ["a"]
    bench.started("a")
    assert bench.started_ids() == []
    assert [bench.state(name) for name in "abc"] == ["running", "held", "undefined"]
    bench.send(HoldReleased("b"))
    bench.bring_up()
    assert [bench.state(name) for name in "abc"] == ["running"] * 3


def test_a_group_restart_forgets_a_held_temporary_child() -> None:
    bench = Bench(ChildSpec("a"), ChildSpec("b", Restart.TEMPORARY), ChildSpec("c"), strategy=ALL)
    bench.send(Booted())
    bench.started("a")
    held(bench, "b")
    bench.exit("a", crash())
    assert dict(bench.notes(NoteKind.HOLD_REJECTED)[0].data) == {"by": "group_restart"}
    bench.bring_up()
    assert list(bench.machine.children) == ["a", "c"]
    assert bench.state("c") == "running"


def test_a_child_released_behind_a_held_one_waits_for_it() -> None:
    bench = Bench(*(ChildSpec(name) for name in "abcd"), strategy=REST)
    bench.boot()
    bench.exit("c", crash())
    hold_when_started(bench, "c")
    bench.exit("b", crash())
    held(bench, "b")
    assert [bench.state(name) for name in "abcd"] == ["running", "held", "held", "undefined"]
    bench.send(HoldReleased("c"))
    assert bench.started_ids() == []
    assert [bench.machine.children[name].waits_for for name in "cd"] == ["b", "b"]
    bench.send(HoldReleased("b"))
    for name in "bcd":
        assert bench.started_ids() == [name]
        bench.started(name)


def test_a_held_child_behind_a_released_one_goes_on_waiting_for_its_own_release() -> None:
    bench = Bench(*ABC, strategy=REST)
    bench.boot()
    bench.exit("b", crash())
    hold_when_started(bench, "b")
    bench.exit("a", crash())
    held(bench, "a")
    assert [bench.state(name) for name in "abc"] == ["held", "held", "undefined"]
    bench.send(HoldReleased("a"))
    bench.started("a")
    assert [bench.state(name) for name in "abc"] == ["running", "held", "undefined"]
    assert bench.machine.children["c"].waits_for == "b"


def test_the_rest_of_a_rejected_child_stays_down_until_somebody_starts_it() -> None:
    bench = up_to_hold(strategy=REST)
    bench.send(HoldRejected("b"))
    assert bench.started_ids() == []
    assert [bench.state(name) for name in "abc"] == ["running", "undefined", "undefined"]
    order(bench, Call.RESTART_CHILD, "b")
    bench.started("b")
    assert bench.started_ids() == ["c"]
    bench.started("c")
    assert of_kind(bench.effects, Reply) == [Reply("r", id="b", incarnation=3)]


def test_a_waiting_child_can_be_started_by_hand_alone() -> None:
    bench = up_to_hold(strategy=REST)
    order(bench, Call.RESTART_CHILD, "c")
    bench.started("c")
    assert [bench.state(name) for name in "abc"] == ["running", "held", "running"]
    bench.send(HoldReleased("b"))
    bench.started("b")
    assert bench.started_ids() == []


def test_a_waiting_child_that_was_stopped_by_hand_does_not_start() -> None:
    bench = up_to_hold(strategy=REST)
    order(bench, Call.TERMINATE_CHILD, "c")
    bench.send(HoldReleased("b"))
    bench.started("b")
    assert (bench.started_ids(), bench.state("c")) == ([], "undefined")


def test_a_waiting_significant_child_is_not_gone() -> None:
    children = [ChildSpec(name, Restart.TRANSIENT, significant=True) for name in "abc"]
    bench = Bench(*children, strategy=REST, auto=AutoShutdown.ALL_SIGNIFICANT)
    bench.boot()
    bench.exit("b", crash())
    hold_when_started(bench, "b")
    order(bench, Call.TERMINATE_CHILD, "b")
    bench.exit("a", NORMAL)
    assert not bench.machine.ended
    assert bench.machine.children["c"].waits_for == "b"


def test_the_failure_of_one_that_waited_restarts_the_group_as_ever() -> None:
    bench = up_to_hold(strategy=REST)
    bench.send(HoldReleased("b"))
    bench.started("b")
    bench.fail("c", init_error("no"))
    assert bench.started_ids() == ["c"]
    assert bench.machine.window.count(bench.now) == 2


def test_one_started_by_hand_behind_a_held_child_waits_when_it_has_ended_by_itself() -> None:
    bench = up_to_hold(*(ChildSpec(name) for name in "abcd"), strategy=REST)
    order(bench, Call.RESTART_CHILD, "c")
    bench.started("c")
    bench.exit("c", crash())
    assert bench.started_ids() == []
    assert [bench.machine.children[name].waits_for for name in "cd"] == ["b", "b"]
    bench.send(HoldReleased("b"))
    bench.bring_up()
    assert [bench.state(name) for name in "abcd"] == ["running"] * 4
