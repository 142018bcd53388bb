"""A promotion, step by step (STA-3, STA-4)."""

from dataclasses import dataclass

import pytest

from supervisors.state.replicating.promotion import (
    Act,
    ApplyAll,
    BeginJournalAt,
    DiskSeen,
    Drained,
    LookAtDisk,
    LookAtRecord,
    Opened,
    OpenJournal,
    PromotionSteps,
    RecordSeen,
    Refuse,
    ReplayDisk,
    RestoreFromDisk,
    SetAside,
    TakeCheckpoint,
)
from supervisors.state.replicating.standby import Restored

NEW = 9


@dataclass
class Halted:
    """A standby that has 20 events and applied 18 of them; the last is of epoch 5."""

    received: int = 20
    applied: int = 18
    source: int = 5
    shared: int = 5
    diverged: bool = False
    newest: int = 5
    restored: int = 20


def drained(standby: Halted) -> PromotionSteps:
    steps = PromotionSteps(standby, NEW)
    assert steps.begin() == [ApplyAll()]
    assert steps.step(Drained(20, 5)) == [LookAtDisk()]
    return steps


def test_the_journal_of_its_primary_is_the_truth() -> None:
    steps = drained(Halted())
    assert steps.step(DiskSeen(5)) == [OpenJournal(NEW)]
    assert steps.step(Opened(23)) == [ReplayDisk(20), Act(NEW, 23, 5)]


def test_with_all_of_it_received_nothing_is_left_to_do() -> None:
    steps = drained(Halted())
    steps.step(DiskSeen(5))
    assert steps.step(Opened(20)) == [Act(NEW, 20, 2)]


@pytest.mark.parametrize(("fence", "last"), [(0, 0), (4, 12), (4, 20)])
def test_on_another_disk_the_journal_goes_on_behind_a_checkpoint(fence: int, last: int) -> None:
    steps = drained(Halted())
    assert steps.step(DiskSeen(fence)) == [LookAtRecord(20)]
    assert steps.step(RecordSeen(last, 5 if last == 20 else 0)) == [OpenJournal(NEW)]
    if last < 20:
        assert steps.step(Opened(last)) == [TakeCheckpoint(20), BeginJournalAt(20), Act(NEW, 20, 2)]


@pytest.mark.parametrize(
    ("diverged", "restored", "last", "epoch"),
    [(True, 20, 12, 0), (False, 20, 21, 5), (False, 20, 20, 4), (False, 20, 20, 0), (False, 11, 12, 0)],
)
def test_what_is_not_the_beginning_of_what_it_has_is_put_away(
    diverged: bool, restored: int, last: int, epoch: int
) -> None:
    """It had gone another way; or a life added to it, after we read it, what our primary may never have had."""
    steps = drained(Halted(diverged=diverged, restored=restored))
    steps.step(DiskSeen(4))
    assert steps.step(RecordSeen(last, epoch)) == [SetAside(), OpenJournal(NEW)]
    assert steps.step(Opened(0)) == [TakeCheckpoint(20), BeginJournalAt(20), Act(NEW, 20, 2)]


@pytest.mark.parametrize(("last", "epoch"), [(21, 6), (19, 0), (30, 0)])
def test_a_life_it_never_followed_wrote_here_another_history(last: int, epoch: int) -> None:
    """Event 20 is ours of epoch 5; epoch 6 took over at 18 and wrote its own 19 and 20."""
    steps = drained(Halted())
    assert steps.step(DiskSeen(6)) == [LookAtRecord(20)]
    assert steps.step(RecordSeen(last, epoch)) == [RestoreFromDisk()]
    assert steps.step(Restored(last, 6)) == [OpenJournal(NEW)]
    assert steps.step(Opened(last)) == [Act(NEW, last, 2 + max(0, last - 20))]


def test_or_the_same_and_more() -> None:
    steps = drained(Halted(newest=6))
    assert steps.step(DiskSeen(6)) == [LookAtRecord(20)]
    assert steps.step(RecordSeen(30, 5)) == [OpenJournal(NEW)]
    assert steps.step(Opened(30)) == [ReplayDisk(20), Act(NEW, 30, 12)]


def test_a_primary_that_was_heard_but_whose_history_was_not_seen_may_have_another() -> None:
    steps = drained(Halted(source=6, shared=5, newest=6))
    assert steps.step(DiskSeen(6)) == [LookAtRecord(20)]


def test_one_never_fed_takes_what_is_on_its_disk() -> None:
    steps = PromotionSteps(Halted(20, 20, source=0, shared=0, newest=0), NEW)
    steps.begin()
    assert steps.step(Drained(20, 5)) == [LookAtDisk()]
    assert steps.step(DiskSeen(5)) == [LookAtRecord(20)]
    assert steps.step(RecordSeen(23, 5)) == [OpenJournal(NEW)]
    assert steps.step(Opened(23)) == [ReplayDisk(20), Act(NEW, 23, 3)]


def test_also_when_another_life_put_away_what_it_began_from() -> None:
    steps = PromotionSteps(Halted(20, 20, source=0, shared=0, newest=0), NEW)
    steps.begin()
    steps.step(Drained(20, 5))
    assert steps.step(DiskSeen(7)) == [LookAtRecord(20)]
    assert steps.step(RecordSeen(18, 0)) == [RestoreFromDisk()]


def test_a_standby_that_has_nothing_takes_what_is_there() -> None:
    steps = PromotionSteps(Halted(0, 0, source=0, shared=0, newest=0), NEW)
    steps.begin()
    steps.step(Drained(0, 0))
    assert steps.step(DiskSeen(7)) == [OpenJournal(NEW)]


@pytest.mark.parametrize("newest", [NEW, NEW + 1])
def test_an_older_epoch_never_acts(newest: int) -> None:
    (refused,) = PromotionSteps(Halted(newest=newest), NEW).begin()
    assert isinstance(refused, Refuse)
    assert refused.fenced


def test_one_that_failed_does_not_act() -> None:
    assert PromotionSteps(Halted(), NEW, "apply raised").begin() == [
        Refuse("the standby had failed: apply raised", False)
    ]


def test_one_that_did_not_apply_all_it_received_does_not_act() -> None:
    steps = PromotionSteps(Halted(), NEW)
    steps.begin()
    assert steps.step(Drained(19, 5)) == [Refuse("event 20 was received, event 19 applied", False)]
