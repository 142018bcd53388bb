"""Held children when their supervisor crashes: what was held stays held, what waited goes on waiting."""

import pytest

from supervisors.core.reasons import SHUTDOWN, crash
from supervisors.tree.messages import (
    Booted,
    ChildExited,
    ChildStarted,
    Effect,
    HoldRejected,
    HoldReleased,
    KillChild,
    NoteKind,
    ReportStarted,
    ShutdownOrdered,
    StartChild,
)
from supervisors.tree.model import (
    ChildSpec,
    Restart,
    Strategy,
)
from tests.unit.tree.harness import Bench, of_kind
from tests.unit.tree.holds import ABC, ALL, GROUPS, REST, held, up_to_hold


def _replaced(bench: Bench, alive: dict[str, int], *, held: tuple[str, ...] = ()) -> tuple[Bench, list[Effect]]:
    after = Bench(*bench.spec.children, strategy=bench.spec.flags.strategy)
    after.now = bench.now
    after.effects = after.machine.resume(bench.machine.record(), alive, {}, bench.now, held)
    return after, after.effects


def test_a_held_child_stays_held_and_is_counted_in_the_note() -> None:
    bench, effects = _replaced(up_to_hold(), {"a": 1, "c": 1})
    assert of_kind(effects, StartChild) == []
    assert of_kind(effects, ReportStarted)
    assert bench.state("b") == "held"
    note = bench.notes(NoteKind.ADOPTED)[0]
    assert dict(note.data) == {"adopted": 2, "lost": 0, "pending": 0, "held": 1}
    assert of_kind(bench.send(HoldReleased("b")), StartChild) == [StartChild("b", 3, restart=True)]


def test_a_released_child_that_came_up_unrecorded_is_adopted() -> None:
    bench, effects = _replaced(up_to_hold(), {"a": 1, "b": 3, "c": 1})
    assert (bench.state("b"), bench.incarnation("b")) == ("running", 3)
    assert of_kind(effects, StartChild) == []


@pytest.mark.parametrize("restart", list(Restart))
def test_held_although_the_predecessor_did_not_live_to_write_it_down(restart: Restart) -> None:
    bench = Bench(ChildSpec("a"), ChildSpec("b", restart))
    bench.send(Booted())
    bench.started("a")
    assert bench.state("b") == "starting"
    after, effects = _replaced(bench, {"a": 1}, held=("b",))
    assert of_kind(effects, StartChild) == []
    assert after.state("b") == "held"
    assert "b" in after.machine.dirty, "now it is written down"


def test_one_nobody_says_is_held_is_started_and_may_be_held_then() -> None:
    bench = Bench(ChildSpec("a"), ChildSpec("b"))
    bench.send(Booted())
    bench.started("a")
    after, effects = _replaced(bench, {"a": 1})
    assert [start.id for start in of_kind(effects, StartChild)] == ["b"]
    assert of_kind(held(after, "b"), ReportStarted)
    assert after.state("b") == "held"


def test_a_rejected_child_is_not_held_again_by_an_old_answer() -> None:
    bench = up_to_hold()
    bench.send(HoldRejected("b"))
    after, effects = _replaced(bench, {"a": 1, "c": 1}, held=("b",))
    assert of_kind(effects, StartChild) == []
    assert after.state("b") == "undefined"


@GROUPS
def test_those_that_wait_go_on_waiting(strategy: Strategy) -> None:
    after, effects = _replaced(up_to_hold(strategy=strategy), {"a": after_restart(strategy)})
    assert of_kind(effects, StartChild) == []
    assert [after.state(name) for name in "abc"] == ["running", "held", "undefined"]
    after.send(HoldReleased("b"))
    after.bring_up()
    assert [after.state(name) for name in "abc"] == ["running"] * 3


def after_restart(strategy: Strategy) -> int:
    """Incarnation of ``a`` after the group of ``b`` was restarted."""
    return 2 if strategy is ALL else 1


def test_those_that_waited_start_when_the_release_had_come_through() -> None:
    after, effects = _replaced(up_to_hold(strategy=REST), {"a": 1, "b": 3})
    assert [start.id for start in of_kind(effects, StartChild)] == ["c"]
    assert after.machine.children["c"].waits_for == ""


def test_none_starts_behind_one_that_was_held_unrecorded() -> None:
    bench = Bench(*ABC, strategy=REST)
    bench.send(Booted())
    bench.started("a")
    after, effects = _replaced(bench, {"a": 1}, held=("b",))
    assert of_kind(effects, StartChild) == []
    assert after.machine.children["c"].waits_for == "b"


def test_the_rest_of_a_rejected_child_stays_down_after_a_crash() -> None:
    bench = up_to_hold(strategy=REST)
    bench.send(HoldRejected("b"))
    after, effects = _replaced(bench, {"a": 1})
    assert of_kind(effects, StartChild) == []
    assert [after.state(name) for name in "abc"] == ["running", "undefined", "undefined"]


def test_a_crash_in_the_middle_of_a_shutdown_starts_no_held_child() -> None:
    bench = up_to_hold()
    bench.send(ShutdownOrdered(SHUTDOWN))
    assert bench.state("c") == "stopping"
    after, effects = _replaced(bench, {"a": 1})
    assert [start.id for start in of_kind(effects, StartChild)] == ["c"]
    assert after.state("b") == "held"


def test_an_older_life_that_still_runs_is_ended_although_its_end_was_queued() -> None:
    """Its exit came while another one's was waited for: that is the end, and there is nothing to wait for."""
    bench = Bench(ChildSpec("a"), ChildSpec("b"))
    bench.boot()
    for name in "ab":
        bench.exit(name, crash())
        bench.started(name)
    after, effects = _replaced(bench, {"a": 1, "b": 1})
    assert of_kind(effects, KillChild) == [KillChild("a", 1, "superseded")]
    after.send(ChildExited("b", 1, crash()))
    effects = after.send(ChildExited("a", 1, crash()))
    assert of_kind(effects, KillChild) == []
    assert of_kind(effects, StartChild) == [StartChild("a", 3, restart=True)]
    assert of_kind(after.send(ChildStarted("a", 3)), StartChild) == [StartChild("b", 3, restart=True)]
