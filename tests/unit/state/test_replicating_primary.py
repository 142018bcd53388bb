"""The primary's side of replication, step by step (STA-3)."""

from typing import TypeVar

import pytest

from supervisors.recovery.policy import AckMode
from supervisors.state.replicating.primary import (
    Acknowledge,
    BacklogGone,
    BacklogRead,
    Closed,
    Committed,
    Confirmed,
    Effect,
    Event,
    Forget,
    Joined,
    Limits,
    Note,
    PackSnapshot,
    PrimarySide,
    ReadBacklog,
    ReadFailed,
    SendPart,
    SendRecords,
    SnapshotPacked,
    Synced,
    Ticked,
    Unfollowed,
)

T = TypeVar("T")
EPOCH = 5
TIMEOUT = 1.0


class Primary:
    """One machine, and what it did last."""

    def __init__(self, ack: AckMode = AckMode.BOTH, **options: object) -> None:
        self.side: PrimarySide[str] = PrimarySide(EPOCH, ack, TIMEOUT, **options)  # type: ignore[arg-type]
        self.now = 0.0

    def tell(self, event: Event[str], after: float = 0.0) -> list[Effect[str]]:
        self.now += after
        return self.side.step(event, self.now)

    def commit(self, first: int, last: int, size: int = 10) -> list[Effect[str]]:
        return self.tell(Committed(first, last, size, f"{first}-{last}"))

    def in_sync(self, host: str = "b") -> bool:
        return self.side.followers[host].in_sync


def sent(effects: list[Effect[str]]) -> list[tuple[int, int, bool, str | None]]:
    return [(one.first, one.last, one.live, one.body) for one in effects if isinstance(one, SendRecords)]


def acknowledged(effects: list[Effect[str]]) -> list[int]:
    return [one.upto for one in effects if isinstance(one, Acknowledge)]


def only(effects: list[Effect[str]], kind: type[T]) -> T:
    (found,) = [one for one in effects if isinstance(one, kind)]
    return found


def following(ack: AckMode = AckMode.BOTH, **options: object) -> Primary:
    """A primary with three events and a standby in sync."""
    primary = Primary(ack, **options)
    primary.tell(Joined("b", 0, 0))
    primary.commit(1, 3)
    primary.tell(Confirmed("b", 3, 3))
    assert primary.in_sync()
    return primary


# ---------------------------------------------------------------- acknowledging


def test_with_both_the_slowest_in_sync_decides() -> None:
    primary = following()
    primary.tell(Joined("c", 0, 3))
    primary.tell(Confirmed("c", 3, 3))
    effects = primary.commit(4, 6)
    assert sorted(one.host for one in effects if isinstance(one, SendRecords)) == ["b", "c"]
    assert acknowledged(effects) == []
    assert acknowledged(primary.tell(Confirmed("b", 6, 0))) == []
    assert acknowledged(primary.tell(Confirmed("c", 5, 0))) == [5]
    assert acknowledged(primary.tell(Confirmed("c", 6, 0))) == [6]


def test_with_standby_the_fastest_decides_and_the_disk_while_there_is_none() -> None:
    primary = following(AckMode.STANDBY)
    assert acknowledged(primary.commit(4, 4)) == []
    assert acknowledged(primary.tell(Synced(4))) == []
    assert acknowledged(primary.tell(Confirmed("b", 4, 3))) == [4]
    primary.commit(5, 5)
    assert acknowledged(primary.tell(Unfollowed("b"))) == [], "nobody has it for certain"
    assert acknowledged(primary.tell(Synced(5))) == [5]


@pytest.mark.parametrize("ack", [AckMode.DISK, AckMode.ASYNC])
def test_without_a_say_of_standbys_nothing_is_acknowledged_here(ack: AckMode) -> None:
    primary = following(ack)
    assert acknowledged(primary.commit(4, 4) + primary.tell(Confirmed("b", 4, 4))) == []


def test_a_standby_never_has_more_than_there_is() -> None:
    primary = following()
    primary.tell(Confirmed("b", 900, 900))
    assert acknowledged(primary.commit(4, 4)) == []


@pytest.mark.parametrize("ack", [AckMode.BOTH, AckMode.STANDBY])
def test_what_a_standby_says_on_joining_counts_for_nothing(ack: AckMode) -> None:
    """It may be of another history: events 4 and 5 of a life before ours."""
    primary = Primary(ack, base=3, base_epoch=4)
    effects = primary.tell(Joined("b", 5, 5))
    effects += primary.tell(BacklogRead("b", 1, 5, 5, 10, "5", 5))
    effects += primary.tell(Ticked(), 0.1)
    assert not primary.in_sync()
    if ack is AckMode.STANDBY:
        assert acknowledged(effects) == []
    assert acknowledged(primary.tell(Confirmed("b", 5, 5))) == ([5] if ack is AckMode.STANDBY else [])
    assert primary.in_sync()


def test_a_standby_that_is_ahead_is_fed_nothing_and_never_in_sync() -> None:
    primary = Primary()
    effects = primary.tell(Joined("b", 10, 5))
    assert [(one.head, one.live, one.body) for one in effects if isinstance(one, SendRecords)] == [(5, False, None)]
    for number in range(6, 10):
        assert acknowledged(primary.commit(number, number)) == [number], "the disk alone"
        primary.tell(Ticked(), 0.1)
        assert not primary.in_sync()
    assert sent(primary.commit(10, 10)) == [(10, 10, True, "10-10"), (11, 10, True, None)], "it sees that it is another"
    assert not primary.in_sync()


# ---------------------------------------------------------------- in sync or not


def test_one_that_confirms_nothing_is_waited_for_as_long_as_agreed() -> None:
    primary = following()
    primary.commit(4, 4)
    assert acknowledged(primary.tell(Ticked(), TIMEOUT)) == []
    effects = primary.tell(Ticked(), 0.01)
    assert acknowledged(effects) == [4]
    note = only(effects, Note)
    assert (note.state, note.host, note.behind) == ("lagging", "b", 1)
    assert not primary.in_sync()
    assert acknowledged(primary.commit(5, 5)) == [5]


def test_one_that_never_noticed_that_it_lagged_is_said_to_be_waited_for_again() -> None:
    """Before: nobody said so, and its supervisor took it for one that lags for as long as its primary lived."""
    primary = following()
    primary.commit(4, 4)
    assert only(primary.tell(Ticked(), TIMEOUT + 0.01), Note).state == "lagging"
    effects = [effect for _ in range(5) for effect in primary.tell(Confirmed("b", 4, 4), TIMEOUT / 2)]
    assert primary.in_sync()
    assert [(note.state, note.host) for note in effects if isinstance(note, Note)] == [("synced", "b")]


def test_one_that_talks_but_does_not_confirm_the_batch_is_late_as_well() -> None:
    primary = following()
    primary.commit(4, 4)
    for _ in range(11):
        primary.tell(Ticked(), 0.1)
        primary.tell(Confirmed("b", 3, 3))
    assert not primary.in_sync()


def test_one_that_lagged_has_to_keep_up_for_longer_each_time() -> None:
    primary = following(limits=Limits(probation=3.0))
    for wait in (1.0, 2.0, 3.0, 3.0):
        primary.tell(Ticked(), TIMEOUT + 0.01)
        assert not primary.in_sync()
        for _ in range(round(wait / 0.5) - 1):
            primary.tell(Confirmed("b", 3, 3), 0.5)
            assert not primary.in_sync()
        primary.tell(Confirmed("b", 3, 3), 0.51)
        assert primary.in_sync()
    primary.tell(Unfollowed("b"))
    primary.tell(Joined("b", 0, 3))
    primary.tell(BacklogRead("b", 2, 1, 3, 30, "1-3", 3))
    primary.tell(Confirmed("b", 3, 3))
    assert primary.in_sync(), "a new one of that name starts anew"


def test_once_waited_for_it_is_late_with_what_it_lacks_then() -> None:
    primary = Primary()
    primary.tell(Joined("b", 0, 0))
    primary.tell(Unfollowed("b"))
    primary.tell(Joined("b", 0, 3))
    primary.tell(BacklogRead("b", 2, 1, 3, 30, "1-3", 3))
    primary.commit(4, 4)
    primary.tell(Confirmed("b", 3, 3))
    assert primary.in_sync()
    for _ in range(6):
        primary.tell(Confirmed("b", 3, 3), 0.2)
    primary.tell(Ticked())
    assert not primary.in_sync()


def test_one_not_heard_at_all_is_forgotten() -> None:
    primary = following()
    primary.tell(Ticked(), 10.0)
    assert list(primary.side.followers) == ["b"]
    assert only(primary.tell(Ticked(), 0.1), Forget) == Forget("b", 1)
    assert not primary.side.busy
    assert primary.tell(Confirmed("b", 3, 3)) == []


def test_joining_again_ends_being_in_sync() -> None:
    primary = following()
    effects = primary.tell(Joined("b", 3, 3))
    assert only(effects, Forget) == Forget("b", 1)
    assert only(effects, Note).why == "it joined again"
    assert not primary.in_sync()


def test_closed_it_feeds_nobody() -> None:
    primary = following()
    assert primary.tell(Closed()) == [Forget("b", 1)]
    assert primary.tell(Joined("b", 3, 3)) == []
    assert not primary.side.busy


# ---------------------------------------------------------------- feeding


def test_it_says_that_it_lives_when_there_is_nothing_else_to_say() -> None:
    primary = following()
    assert sent(primary.tell(Ticked(), 0.1)) == []
    assert sent(primary.tell(Ticked(), 0.1)) == [(4, 3, True, None)]
    primary.commit(4, 4)
    assert sent(primary.tell(Ticked(), 0.1)) == []


def test_a_standby_joins_from_memory_with_the_record_it_has() -> None:
    primary = following()
    primary.commit(4, 5)
    assert sent(primary.tell(Joined("c", 4, 5))) == [(4, 5, True, "4-5"), (6, 5, True, None)]


def test_a_standby_joins_from_the_disk_and_finds_its_way_into_the_stream() -> None:
    primary = Primary()
    assert only(primary.tell(Joined("b", 7, 9)), ReadBacklog) == ReadBacklog("b", 1, 6)
    assert sent(primary.commit(10, 10)) == []
    assert sent(primary.tell(BacklogRead("b", 1, 7, 8, 20, "7-8", 10))) == [(7, 8, False, "7-8")]
    assert sent(primary.tell(BacklogRead("b", 1, 9, 9, 10, "9", 10))) == [
        (9, 9, False, "9"),
        (10, 10, True, "10-10"),
        (11, 10, True, None),
    ]
    assert sent(primary.commit(11, 11)) == [(11, 11, True, "11-11")]


def test_an_answer_for_an_earlier_joining_is_not_used() -> None:
    primary = Primary()
    primary.tell(Joined("b", 7, 9))
    assert only(primary.tell(Joined("b", 0, 9)), ReadBacklog) == ReadBacklog("b", 2, 0)
    for late in (
        BacklogRead("b", 1, 7, 9, 30, "7-9", 9),
        BacklogGone("b", 1),
        SnapshotPacked("b", 1, 9, 90),
        ReadFailed("b", 1, "the disk"),
    ):
        assert primary.tell(late) == []
    assert primary.side.followers["b"].reading


def test_what_cannot_be_read_yet_is_tried_again() -> None:
    primary = Primary()
    primary.tell(Joined("b", 0, 3))
    assert primary.tell(BacklogRead("b", 1, 1, 0, 0, "", 3)) == []
    assert only(primary.tell(Ticked(), 0.1), ReadBacklog) == ReadBacklog("b", 1, 0)


def test_records_that_another_life_wrote_in_our_journal_are_not_sent() -> None:
    primary = Primary()
    primary.tell(Joined("b", 0, 3))
    assert sent(primary.tell(BacklogRead("b", 1, 1, 4, 40, "1-4", 3))) == []
    assert primary.side.head == 3


def test_one_that_does_not_apply_is_sent_a_window() -> None:
    primary = following(limits=Limits(window=30, recent=10))
    for number in range(4, 9):
        primary.commit(number, number)
    assert primary.side.followers["b"].sent == 6, "10 bytes each"
    assert primary.side.recent_bytes == 10
    primary.tell(Confirmed("b", 6, 3))
    assert primary.side.followers["b"].sent == 6
    assert only(primary.tell(Confirmed("b", 6, 4)), ReadBacklog) == ReadBacklog("b", 1, 6)
    assert sent(primary.tell(BacklogRead("b", 1, 7, 7, 10, "7", 8))) == [(7, 7, False, "7")]
    assert sent(primary.tell(Confirmed("b", 7, 6))) == [(8, 8, True, "8-8"), (9, 8, True, None)]


def test_nor_more_frames_than_the_network_takes() -> None:
    primary = following(limits=Limits(frames=2))
    for number in range(4, 9):
        primary.commit(number, number)
    assert primary.side.followers["b"].sent == 5


def test_a_batch_told_after_the_last_standby_left_makes_no_hole() -> None:
    """The committer saw a standby; when its word arrives there is none, and those that follow are not told."""
    primary = following()
    primary.tell(Unfollowed("b"))
    primary.commit(4, 4)
    primary.tell(Joined("b", 3, 6))
    primary.commit(7, 7)
    effects = primary.tell(BacklogRead("b", 2, 3, 6, 40, "3-6", 7))
    assert [(first, last) for first, last, _, body in sent(effects) if body] == [(3, 6), (7, 7)]


def test_a_hole_in_the_batches_told_forgets_those_before_it() -> None:
    primary = following()
    primary.commit(4, 4)
    primary.commit(7, 7)
    assert primary.side.recent_bytes == 10


# ---------------------------------------------------------------- from a checkpoint


def gone(**options: object) -> Primary:
    """Of what the standby lacks nothing is kept."""
    primary = Primary(**options)  # type: ignore[arg-type]
    primary.tell(Joined("b", 7, 90))
    assert only(primary.tell(BacklogGone("b", 1)), ReadBacklog) == ReadBacklog("b", 1, 7), "the record it has is gone"
    assert primary.tell(BacklogGone("b", 1)) == [PackSnapshot("b", 1, 7)]
    return primary


def test_a_checkpoint_goes_in_pieces_as_they_are_received() -> None:
    primary = gone(limits=Limits(window=20, part=10))
    effects = primary.tell(SnapshotPacked("b", 1, 80, 35))
    assert effects == [SendPart("b", 1, 80, 0, 10, 35), SendPart("b", 1, 80, 10, 10, 35)]
    assert primary.tell(Confirmed("b", -10, 0)) == [SendPart("b", 1, 80, 20, 10, 35)]
    assert primary.tell(Confirmed("b", -10, 0)) == []
    assert primary.tell(Confirmed("b", -30, 0)) == [SendPart("b", 1, 80, 30, 5, 35)]
    assert not primary.in_sync()
    assert only(primary.tell(Joined("b", 80, 90)), ReadBacklog) == ReadBacklog("b", 2, 79)


def test_without_one_it_is_given_up() -> None:
    primary = gone()
    effects = primary.tell(SnapshotPacked("b", 1, 0, 0))
    assert only(effects, Note).why == "neither the journal nor a checkpoint reaches back to it"
    assert only(effects, Note).behind == 83
    assert not primary.side.busy


def test_when_the_disk_refuses_it_is_given_up() -> None:
    primary = Primary()
    primary.tell(Joined("b", 0, 3))
    assert only(primary.tell(ReadFailed("b", 1, "the disk")), Note).why == "the disk"
    assert not primary.side.busy


# ---------------------------------------------------------------- whose history


def before(effects: list[Effect[str]]) -> list[int]:
    return [one.before for one in effects if isinstance(one, SendRecords)]


def test_it_tells_whose_the_record_before_is() -> None:
    primary = Primary(base=3, base_epoch=4)
    primary.tell(Joined("b", 2, 3))
    assert before(primary.tell(BacklogRead("b", 1, 2, 3, 20, "2-3", 3))) == [0, 4]
    assert before(primary.commit(4, 4)) == [4]
    assert before(primary.commit(5, 5)) == [EPOCH]
    assert before(Primary(base=3).tell(Joined("b", 9, 3))) == [0], "there is none"


def test_a_standby_that_has_all_before_our_journal_begins_is_live_at_once() -> None:
    primary = Primary(base=3, base_epoch=4)
    primary.tell(Joined("b", 3, 3))
    primary.tell(BacklogGone("b", 1))
    effects = primary.tell(BacklogRead("b", 1, 4, 3, 0, "", 3))
    assert sent(effects) == [(4, 3, True, None)]
    assert before(effects) == [4]
    primary.tell(Confirmed("b", 3, 3))
    assert primary.in_sync()
