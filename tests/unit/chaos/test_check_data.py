"""What is decided and what stays open of journals that were pruned, and when a life counts as ended."""

import msgspec
import pytest

from supervisors.chaos.acting import acting_of
from supervisors.chaos.history import Journal, Operation, Result
from supervisors.chaos.invariants import Invariant, State, Verdict
from supervisors.trail.events import EventKind, TrailEvent
from tests.unit.chaos import story
from tests.unit.chaos.story import event, fail, good, heal, history, inject, start
from tests.unit.chaos.test_invariants import replaced, said


class TestPruned:
    """A journal of which only the end is left."""

    def found(self, ids: dict[str, int], *operations: Operation, trail: tuple[TrailEvent, ...] = ()) -> Verdict:
        journal = Journal("/ledger", 50, 51, ids=ids)
        made = replaced(journals=(journal,), operations=operations, trail=trail, tenures=())
        return said(made, Invariant.ACKNOWLEDGED_KEPT)

    def asked(self, count: int) -> list[Operation]:
        return [Operation(f"op-{n}", "/ledger", 10.0 + n, 10.5 + n, Result.OK) for n in range(count)]

    def test_when_nothing_can_be_told_it_is_not_held(self) -> None:
        found = self.found({}, *self.asked(100))
        assert (found.state, found.violations) == (State.NOT_CHECKABLE, ())
        assert "100 acknowledged events may be among those before 50" in found.missing[0]

    def test_what_was_asked_after_one_that_is_kept_has_to_be_there(self) -> None:
        found = self.found({"op-98": 1}, *self.asked(100))
        assert [one.text.split()[0] for one in found.violations] == ["op-99"]
        found = self.found({"op-98": 1, "op-99": 1}, *self.asked(100))
        assert (found.state, found.looked_at) == (State.HELD, 3), "two events and the journal"

    def test_what_was_asked_at_the_same_time_may_be_removed(self) -> None:
        together = [Operation(f"op-{n}", "/ledger", 10.0, 10.5, Result.OK) for n in range(2)]
        assert self.found({"op-1": 1}, *together).state is State.HELD

    def test_what_was_asked_after_a_checkpoint_behind_the_pruning_has_to_be_there(self) -> None:
        for sequence, state in ((49, State.VIOLATED), (48, State.NOT_CHECKABLE)):
            kept = event(5.0, EventKind.CHECKPOINT, "/ledger", 1, sequence=sequence)
            assert self.found({}, *self.asked(1), trail=(kept,)).state is state

    def test_a_sequence_that_the_reply_named_decides(self) -> None:
        one = self.asked(1)[0]
        for sequence, state in ((50, State.VIOLATED), (49, State.NOT_CHECKABLE)):
            assert self.found({}, msgspec.structs.replace(one, sequence=sequence)).state is state


class TestOneActs:
    def found(self, *events: TrailEvent) -> State:
        return said(history([*good(), *events]), Invariant.ONE_ACTS).state

    def test_a_life_of_before_the_run_counts_too(self) -> None:
        before = acting_of(story.boot())
        for ends, state in (([], State.VIOLATED), (fail(29.0, "/job", 1), State.HELD)):
            made = history([inject(28.0, "/job", life=1), *ends, *start(30.0, "/job", 2, 10, restart=True)])
            assert said(msgspec.structs.replace(made, acting=before), Invariant.ONE_ACTS).state is state

    def test_ready_told_again_within_a_life_is_right(self) -> None:
        assert self.found(event(30.0, EventKind.CHILD_READY, "/job", 1, epoch=6)) is State.HELD

    def test_a_notice_that_names_no_life_ends_the_one_there_is(self) -> None:
        gone = event(30.0, EventKind.CHILD_EXITED, "/job", reason=story.SHUTDOWN)
        assert self.found(gone, *start(31.0, "/job", 2, 10)) is State.HELD

    def test_a_promotion_that_came_to_nothing_before_a_hold(self) -> None:
        events = [*fail(30.0, "/ledger", 2), event(30.1, EventKind.PROMOTED, "/ledger", 3, epoch=10)]
        events += [event(30.2, EventKind.RECOVERY_RUNG_FAILED, "/ledger", 3, epoch=10)]
        events += [event(30.3, EventKind.CHILD_HELD, "/ledger", 3, epoch=10)]
        assert self.found(*events, *heal(35.0, "/ledger", 4, 11)) is State.HELD

    def test_another_start_of_the_system_counts_lives_anew(self) -> None:
        events = [event(30.0, EventKind.SYSTEM_STARTING, "/", writer="warden", adopt=False)]
        assert self.found(*events, *start(31.0, "/ledger", 1, 20)) is State.HELD

    @pytest.mark.parametrize(
        ("adopted", "lost", "pending", "state"),
        [(3, 0, 0, State.VIOLATED), (2, 1, 0, State.VIOLATED), (2, 0, 1, State.HELD), (2, 0, 0, State.HELD)],
    )
    def test_only_what_an_adopting_supervisor_does_not_account_for_has_no_event(
        self, adopted: int, lost: int, pending: int, state: State
    ) -> None:
        events = [event(30.0, EventKind.SUPERVISOR_STARTING, "/", 2, writer="/", adopt=True)]
        assert self.found(*events, *start(31.0, "/job", 2, 10, restart=True)) is State.HELD
        told = event(30.1, EventKind.SUPERVISOR_ADOPTED, "/", 2, writer="/", more={
            "adopted": adopted, "lost": lost, "pending": pending
        })  # fmt: skip
        assert self.found(*events, told, *start(31.0, "/job", 2, 10, restart=True)) is state
