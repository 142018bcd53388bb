"""The standby's side of replication, step by step (STA-3)."""

from typing import NamedTuple, TypeVar

import pytest

from supervisors.state.replicating.standby import (
    Apply,
    ConfirmDue,
    ConfirmSoon,
    Connect,
    Connected,
    Damaged,
    Disconnect,
    Effect,
    Event,
    Failed,
    Fed,
    Halt,
    Load,
    Note,
    PartCame,
    Prepare,
    Progressed,
    RecordsCame,
    Report,
    Restored,
    SendConfirm,
    SendJoin,
    StandbySide,
    Ticked,
    Unpack,
    Unpacked,
    Unsent,
)

T = TypeVar("T")
BEAT, TIMEOUT = 0.1, 1.0
EPOCH = 5


class Rec(NamedTuple):
    sequence: int
    epoch: int


Did = list[Effect[Rec, str, str]]


class Standby:
    """One machine, fed by epoch 5."""

    def __init__(self, sequence: int = 0, epoch: int = 0, fed: int = EPOCH) -> None:
        self.side: StandbySide[Rec, str, str] = StandbySide(BEAT, TIMEOUT)
        self.now = 100.0
        self.tell(Restored(sequence, epoch))
        self.began = self.tell(Fed(fed, "there", True))

    def tell(self, event: Event[Rec, str, str], after: float = 0.0) -> Did:
        self.now += after
        return self.side.step(event, self.now)

    def came(
        self,
        first: int,
        last: int,
        *,
        head: int = 0,
        live: bool = True,
        epoch: int = EPOCH,
        by: int = EPOCH,
        before: int = 0,
        after: float = 0.0,
    ) -> Did:
        """Records ``first`` to ``last`` of ``epoch``, sent by ``by``."""
        records = [Rec(number, epoch) for number in range(first, last + 1)]
        self.now += after
        return self.tell(RecordsCame(by, first, last, head or last, live, self.now, records, before))

    def apply_all(self) -> Did:
        number = self.side.waiting[-1][0] if self.side.waiting else self.side._number
        return self.tell(Progressed(number, self.side.received))


def only(did: Did, kind: type[T]) -> T:
    (found,) = [one for one in did if isinstance(one, kind)]
    return found


def none(did: Did, *kinds: type[object]) -> bool:
    return not any(isinstance(one, kinds) for one in did)


def synced(sequence: int = 3) -> Standby:
    standby = Standby()
    standby.came(1, sequence)
    standby.tell(ConfirmDue())
    assert only(standby.apply_all(), Report).state == "synced"
    return standby


def unsure(sequence: int = 3, epoch: int = 4) -> Standby:
    """It has events of an older life, and what the primary has in their place is not known."""
    standby = Standby(sequence, epoch)
    assert standby.began[:2] == [Connect(EPOCH, "there"), SendJoin(EPOCH, sequence)]
    return standby


# ---------------------------------------------------------------- following


def test_records_are_confirmed_at_once_and_applied_in_their_order() -> None:
    standby = Standby()
    assert standby.began[:2] == [Connect(EPOCH, "there"), SendJoin(EPOCH, 0)]
    assert standby.came(1, 3) == [Apply(1, [Rec(1, 5), Rec(2, 5), Rec(3, 5)], 100.0), ConfirmSoon()]
    assert standby.came(4, 4) == [Apply(2, [Rec(4, 5)], 100.0)], "confirmed together"
    assert standby.tell(ConfirmDue()) == [SendConfirm(EPOCH, 4, 0)]
    assert not standby.side.synced
    assert standby.tell(Progressed(1, 3)) == [ConfirmSoon()], "the primary may wait for room"
    assert standby.tell(ConfirmDue()) == [SendConfirm(EPOCH, 4, 3)]
    assert standby.tell(Progressed(2, 4)) == [Report("synced", 4, 4, 0.0, "")]


def test_what_comes_twice_is_taken_once() -> None:
    standby = synced()
    assert standby.came(2, 3) == [ConfirmSoon()]
    assert only(standby.came(2, 5), Apply).records == [Rec(4, 5), Rec(5, 5)]


def test_a_gap_is_asked_for_and_what_is_on_its_way_is_not_taken() -> None:
    standby = synced()
    did = standby.came(5, 6)
    assert only(did, SendJoin) == SendJoin(EPOCH, 3)
    assert only(did, Report).why == "events 4 to 4 were lost on the way"
    assert only(did, Report).state == "syncing"
    assert standby.came(7, 7) == [], "asked already"
    assert only(standby.came(3, 7), Apply).records == [Rec(4, 5), Rec(5, 5), Rec(6, 5), Rec(7, 5)]


def test_the_last_one_lost_shows_in_a_word_that_the_primary_lives() -> None:
    standby = synced()
    assert only(standby.came(5, 4, head=4), SendJoin) == SendJoin(EPOCH, 3)


def test_damaged_records_are_asked_for_again() -> None:
    standby = synced()
    assert only(standby.tell(Damaged("record 4 is damaged")), SendJoin) == SendJoin(EPOCH, 3)
    assert not standby.side.synced


def test_a_backlog_is_not_the_stream() -> None:
    standby = Standby()
    standby.came(1, 3, head=9, live=False)
    assert none(standby.apply_all(), Report)
    standby.came(4, 9, head=9, live=False)
    assert none(standby.apply_all(), Report)
    assert only(standby.came(10, 9, head=9), Report).state == "synced"


def test_whoever_falls_out_of_the_stream_is_not_synced_before_it_is_in_it_again() -> None:
    standby = synced()
    standby.came(4, 6, head=9, live=False)
    assert not standby.side.synced


def test_a_word_of_another_life_is_not_heard() -> None:
    standby = synced()
    assert standby.came(4, 4, by=4) == []
    assert standby.tell(PartCame(6, 9, 0, 1, 1, "x")) == []
    assert not standby.side.wants(4, 4)
    assert standby.side.source == EPOCH
    assert standby.tell(Fed(4, "elsewhere", True)) == [], "overtaken on its way"
    assert standby.tell(Fed(EPOCH, "there", True)) == []
    assert only(standby.tell(Fed(6, "elsewhere", True)), Connect) == Connect(6, "elsewhere")


# ---------------------------------------------------------------- whose history


def test_the_same_history_goes_on() -> None:
    standby = unsure()
    assert standby.side.shared == 0
    did = standby.tell(RecordsCame(EPOCH, 3, 4, 4, True, 100.0, [Rec(3, 4), Rec(4, 5)]))
    assert only(did, Apply).records == [Rec(4, 5)]
    assert standby.side.shared == EPOCH


@pytest.mark.parametrize("before", [False, True])
def test_another_history_is_forgotten_and_begun_anew(before: bool) -> None:
    standby = unsure()
    did = standby.came(4, 4, before=3) if before else standby.came(3, 4, epoch=5)
    assert only(did, Load) == Load(1, 0, None)
    assert only(did, SendJoin) == SendJoin(EPOCH, 0)
    assert "event 3 is of epoch 4 here" in only(did, Note).why
    assert standby.side.diverged
    assert standby.tell(ConfirmDue()) == [], "nothing is confirmed"
    did = standby.came(1, 2, head=2)
    assert only(did, Apply).number == 2
    assert none(standby.tell(Progressed(0, 3)), Report), "the old state is not the new one"
    assert standby.tell(ConfirmDue()) == [SendConfirm(EPOCH, 2, 2)]
    assert only(standby.tell(Progressed(2, 2)), Report).state == "synced"


def test_more_than_the_primary_has_is_another_history() -> None:
    standby = unsure()
    did = standby.came(3, 2, head=2, live=False)
    assert only(did, Note).why == "event 3 was received, the primary has 2"
    assert only(did, Load) == Load(1, 0, None)


def test_but_not_when_it_is_known_for_the_same_then_it_was_overtaken() -> None:
    standby = synced(9)
    assert standby.came(3, 4, head=4) == []
    assert standby.came(5, 4, head=4) == []
    assert standby.side.head == 9
    assert standby.side.synced


def test_the_primary_that_wrote_our_last_record_has_our_history() -> None:
    standby = Standby(3, EPOCH)
    assert standby.side.shared == EPOCH
    assert standby.came(3, 2, head=2, live=False) == []


def test_nothing_is_confirmed_before_it_is_known() -> None:
    standby = unsure()
    assert standby.came(4, 3, head=3, live=False) == [], "it only lives"
    assert standby.came(3, 2, head=3) == [], "and what it has is still to come"
    assert standby.tell(ConfirmDue()) == []
    assert standby.came(1, 2, head=3) == [], "older than our last one"
    assert standby.side.shared == 0
    assert none(standby.tell(Ticked(), 0.1), SendConfirm, ConfirmSoon)


def test_a_word_that_it_lives_may_say_whose_the_last_record_is() -> None:
    standby = unsure()
    assert ConfirmSoon() in standby.came(4, 3, head=3, before=4)
    assert standby.side.synced
    assert only(unsure().came(4, 3, head=3, before=3), Load) == Load(1, 0, None)


@pytest.mark.parametrize("last", [4, 3])
def test_what_nobody_can_say_is_not_taken_on_trust(last: int) -> None:
    """The primary's journal begins just behind our last record; 3 may have been another one there."""
    standby = unsure()
    did = standby.came(4, last)
    assert only(did, Note).why == "event 3 is of epoch 4 here, of unknown at the primary"
    assert only(did, Load) == Load(1, 0, None)
    assert only(did, SendJoin) == SendJoin(EPOCH, 0)
    assert none(did, Apply)


def test_nor_when_all_we_know_is_a_checkpoint_on_this_disk() -> None:
    standby = unsure(3, epoch=0)
    did = standby.came(3, 4, epoch=4)
    assert only(did, Note).why == "event 3 is of epoch unknown here, of 4 at the primary"
    assert only(did, Load) == Load(1, 0, None)


def test_of_a_checkpoints_last_event_it_is_known_who_cannot_have_written_it() -> None:
    standby = Standby()
    standby.tell(PartCame(EPOCH, 80, 0, 5, 5, "a"))
    standby.tell(Unpacked(80, "state"))
    standby.tell(Fed(7, "elsewhere", True))
    assert only(standby.came(80, 81, epoch=6, by=7), Load) == Load(2, 0, None)
    standby = Standby()
    standby.tell(Unpacked(80, "state"))
    standby.tell(Fed(7, "elsewhere", True))
    assert only(standby.came(80, 81, epoch=5, by=7), Apply).records == [Rec(81, 5)]


# ---------------------------------------------------------------- checkpoints


def test_a_checkpoint_replaces_the_state() -> None:
    standby = Standby()
    assert standby.tell(PartCame(EPOCH, 80, 0, 5, 12, "a")) == [SendConfirm(EPOCH, -5, 0)]
    assert standby.tell(PartCame(EPOCH, 80, 0, 5, 12, "a")) == [], "twice"
    assert standby.tell(PartCame(EPOCH, 90, 5, 5, 12, "z")) == [], "of another one"
    assert standby.tell(PartCame(EPOCH, 80, 10, 2, 12, "c")) == [], "one is missing"
    assert standby.tell(PartCame(EPOCH, 80, 5, 5, 12, "b")) == [SendConfirm(EPOCH, -10, 0)]
    did = standby.tell(PartCame(EPOCH, 80, 10, 2, 12, "c"))
    assert did == [SendConfirm(EPOCH, -12, 0), Unpack(80, ["a", "b", "c"])]
    did = standby.tell(Unpacked(80, "state"))
    assert did[:2] == [Load(1, 80, "state"), SendJoin(EPOCH, 80)]
    assert only(standby.came(81, 81), Apply).number == 2


def test_what_an_earlier_primary_had_is_not_waited_for() -> None:
    standby = synced(9)
    standby.tell(Fed(7, "elsewhere", True))
    standby.came(9, 8, head=5, live=False, by=7)
    standby.tell(Unpacked(4, "state"))
    standby.came(5, 5, epoch=7, by=7)
    assert only(standby.apply_all(), Report) == Report("synced", 5, 5, 0.0, "")


def test_one_that_is_damaged_is_asked_for_again() -> None:
    standby = Standby()
    assert standby.tell(Unpacked(80, None)) == [SendJoin(EPOCH, 0)]


def test_one_that_is_older_than_what_we_have_is_not_taken() -> None:
    standby = synced(9)
    assert standby.tell(PartCame(EPOCH, 8, 0, 5, 5, "a")) == []
    assert none(standby.tell(Unpacked(8, "state")), Load)
    assert standby.side.received == 9


def test_a_transfer_that_stands_still_is_begun_anew() -> None:
    standby = Standby()
    standby.tell(PartCame(EPOCH, 80, 0, 5, 12, "a"))
    for _ in range(60):
        standby.came(1, 0, head=90, live=False, after=BEAT)
        if not none(did := standby.tell(Ticked()), SendJoin):
            break
    assert only(did, SendJoin) == SendJoin(EPOCH, 0)
    assert standby.now > 105.0
    assert standby.tell(PartCame(EPOCH, 80, 0, 5, 12, "a")) == [SendConfirm(EPOCH, -5, 0)]


# ---------------------------------------------------------------- silence


def test_no_answer_is_asked_for_again() -> None:
    standby = Standby()
    assert none(standby.tell(Ticked(), 0.15), SendJoin)
    assert only(standby.tell(Ticked(), 0.1), SendJoin) == SendJoin(EPOCH, 0)


def test_without_a_connection_one_question_waits() -> None:
    standby = Standby()
    standby.tell(Unsent())
    assert none(standby.tell(Ticked(), 0.5), SendJoin)
    assert none(standby.tell(Fed(6, "elsewhere", True)), SendJoin)
    assert standby.tell(Connected()) == [SendJoin(6, 0)]
    standby.came(1, 1, by=6)
    assert standby.tell(Connected()) == [], "answered"


def test_a_stream_that_ends_is_joined_again_and_stays_synced() -> None:
    standby = synced()
    assert none(standby.tell(Ticked(), 0.9), SendJoin)
    did = standby.tell(Ticked(), 0.2)
    assert only(did, SendJoin) == SendJoin(EPOCH, 3)
    assert standby.side.synced, "it may be dead: that is for others to say"


# ---------------------------------------------------------------- what it tells


def test_each_beat_it_confirms_and_reports() -> None:
    standby = synced()
    assert standby.tell(Ticked(), 0.1) == [ConfirmSoon(), Report("synced", 3, 3, 0.0, ""), Prepare(EPOCH)]


def test_events_that_wait_too_long_are_told() -> None:
    standby = synced()
    standby.came(4, 4)
    assert standby.tell(Ticked(), 0.5)[-2] == Report("synced", 3, 4, 0.5, "")
    assert standby.side.lag(standby.now) == 0.5
    standby.came(5, 4, head=4)
    did = standby.tell(Ticked(), 0.6)
    said = only(did[-1:], Report)
    assert (said.state, said.why) == ("syncing", "events wait too long to be applied")
    assert said.lag == pytest.approx(1.1)
    assert only(standby.apply_all(), Report).state == "synced"


def test_on_another_machine_the_wait_begins_when_it_came() -> None:
    standby = Standby()
    standby.tell(Fed(6, "elsewhere", False))
    did = standby.tell(RecordsCame(6, 1, 1, 1, True, 7.0, [Rec(1, 6)]))
    assert only(did, Apply).since == standby.now


def test_a_state_that_cannot_take_it_has_failed() -> None:
    standby = synced()
    assert standby.tell(Failed("apply raised")) == [Report("failed", 3, 3, 0.0, "apply raised")]


def test_halted_it_takes_nothing_more() -> None:
    standby = synced()
    standby.came(4, 5)
    assert standby.tell(Halt()) == [Disconnect()]
    assert standby.came(6, 6) == []
    assert not standby.side.wants(EPOCH, 6)
    assert standby.tell(Halt()) + standby.tell(Ticked()) + standby.tell(Fed(6, "elsewhere", True)) == []
    assert standby.tell(Progressed(2, 5)) == []
    assert (standby.side.received, standby.side.applied) == (5, 5)
