"""A reader over promotions: whatever was lost, late, repeated or out of turn, each marked item once and in order."""

from collections.abc import Iterator
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.runtime.gate import Gate, Kept
from supervisors.runtime.handover import HOLD, Handover, Received
from supervisors.runtime.wire import EDGE, HANDOVER, MARKED, NOTHING_BEFORE, REPLAY

TOPIC = "trade.btcusdt"


class Reader:
    """A ``Handover`` and what it took."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.now = 100.0
        self.asked: list[str] = []
        self.handover = Handover(self._deliver, self.asked.append, lambda: self.now)

    def _deliver(self, item: Received) -> None:
        self.got.append(int(item.payload))

    def plain(self, life: int, *numbers: int) -> None:
        """Items without marks."""
        for number in numbers:
            self.handover.take(TOPIC, b"%d" % number, life, 0, None)

    def marked(self, life: int, *marks: int) -> None:
        for mark in marks:
            self.handover.take(TOPIC, b"%d" % mark, life, MARKED, mark)

    def full(self, life: int, mark: int, prev: int, flags: int = 0) -> None:
        self.handover.take(TOPIC, b"%d" % mark, life, MARKED | HANDOVER | flags, mark, prev)


class Sender:
    """A promoted publisher as ``Publisher.tick`` works, without its socket. One reader's connection to it."""

    def __init__(self, life: int, reader: Reader) -> None:
        self.life = life
        self.reader = reader
        self.gate = Gate()
        self.connected = False
        self.wanted = False
        self.again: Iterator[tuple[Kept, bool]] | None = None

    def keep(self, mark: int) -> None:
        self.gate.keep(100.0, TOPIC, mark, b"%d" % mark)

    def open(self) -> None:
        for item, edge in self.gate.overlap(100.0):
            self._send(item.mark, item.prev, REPLAY | (EDGE if edge else 0))

    def live(self, mark: int) -> None:
        prev = self.gate.keep(100.0, TOPIC, mark, b"%d" % mark)
        self._send(mark, prev, 0)

    def connect(self) -> None:
        if not self.connected:
            self.connected = self.wanted = True

    def tick(self, count: int) -> bool:
        """Send some again; False when there is nothing to send."""
        if self.reader.asked and self.connected:
            self.reader.asked.clear()
            self.wanted = True
        if self.again is None:
            if not self.wanted:
                return False
            self.wanted = False
            self.again = self.gate.all(100.0, TOPIC)
        for _ in range(count):
            found = next(self.again, None)
            if found is None:
                self.again = None
                break
            self._send(found[0].mark, found[0].prev, REPLAY | (EDGE if found[1] else 0))
        return True

    def _send(self, mark: int, prev: int, flags: int) -> None:
        if self.connected:
            self.reader.full(self.life, mark, prev, flags)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_every_interleaving_gives_each_item_once_and_in_order(data: st.DataObject) -> None:
    """The primary published 25 items; this reader had some, has others still to come, and lost the rest."""
    reader = Reader()
    sender = Sender(2, reader)
    had = data.draw(st.integers(0, 25), "had")
    coming = list(range(had + 1, data.draw(st.integers(had, 25), "coming") + 1))
    own = data.draw(st.integers(0, 40), "own feed")
    heard = data.draw(st.integers(0, min(25, own)), "heard")
    step = data.draw(st.sampled_from((1, 2, 7)), "step")
    reader.marked(1, *(mark * step for mark in range(1, had + 1)))
    for mark in range(1, own + 1):
        sender.keep(mark * step)
    if heard:
        sender.gate.heard(100.0, TOPIC, heard * step)
    if data.draw(st.booleans(), "connected before"):
        sender.connected = True
    sender.open()
    fresh = iter(range(own + 1, 61))
    for act in data.draw(st.lists(st.sampled_from(("live", "tick", "connect", "coming")), max_size=60), "acts"):
        if act == "live":
            for mark in islice(fresh, 1):
                sender.live(mark * step)
        elif act == "tick":
            sender.tick(3)
        elif act == "connect":
            sender.connect()
        elif coming:
            reader.marked(1, coming.pop(0) * step)
    sender.connect()
    for mark in fresh:
        sender.live(mark * step)
    while sender.tick(5):
        pass
    assert reader.got == [mark * step for mark in range(1, 61)]
    assert reader.handover.missed == 0
    assert not reader.handover.holding


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=4), st.integers(0, 10))
def test_one_promotion_after_another(lives: list[tuple[int, int]], had: int) -> None:
    """Each life sends some items, of which the reader loses the last ones; all standbys have the same input."""
    reader = Reader()
    reader.marked(1, *range(1, had + 1))
    standbys = [Sender(life, reader) for life in range(2, len(lives) + 2)]
    sent = 0

    def item(active: Sender | None, lost: bool) -> None:
        nonlocal sent
        sent += 1
        for standby in standbys:
            if standby is active:
                standby.connected = not lost
                standby.live(sent)
            elif active is None or standby.life > active.life:
                standby.keep(sent)

    for _ in range(10):
        item(None, lost=False)
    for sender, (some, lost) in zip(standbys, lives, strict=True):
        sender.connected = True
        sender.open()
        for number in range(some):
            item(sender, lost=number >= some - lost)
        while sender.connected and sender.tick(5):
            pass
    last = standbys[-1]
    last.connected = True
    item(last, lost=False)
    while last.tick(5):
        pass
    assert reader.got == list(range(1, sent + 1))


def test_a_gap_that_nobody_closes_is_counted_and_left() -> None:
    reader = Reader()
    reader.marked(1, 1, 2, 3)
    reader.full(2, 8, 7)
    reader.plain(2, 0)
    reader.full(2, 9, 8)
    assert reader.got == [1, 2, 3]
    assert reader.asked == [TOPIC]
    reader.now += HOLD - 0.01
    reader.handover.expire()
    assert reader.got == [1, 2, 3]
    reader.now += 0.02
    reader.handover.expire()
    assert reader.got == [1, 2, 3, 8, 0, 9], "in the order in which they were sent"
    assert reader.handover.missed == 1
    reader.full(2, 10, 9)
    assert reader.got[-1] == 10


def test_a_gap_at_the_edge_of_what_is_kept_is_counted_and_not_waited_for() -> None:
    reader = Reader()
    reader.marked(1, 1, 2, 3)
    reader.full(2, 8, 7, REPLAY | EDGE)
    assert (reader.got, reader.handover.missed, reader.asked) == ([1, 2, 3, 8], 1, [])


def test_items_after_the_handover_wait_behind_a_gap() -> None:
    reader = Reader()
    reader.marked(1, 1)
    reader.full(2, 5, 4)
    reader.marked(2, 6)
    reader.full(2, 2, 1, REPLAY | EDGE)
    assert reader.got == [1, 2], "nobody said what is before 6: it waits for 5, which waits for 4"
    for mark in (3, 4, 5):
        reader.full(2, mark, mark - 1, REPLAY)
    assert reader.got == [1, 2, 3, 4, 5, 6]


def test_a_life_that_is_over_is_not_heard() -> None:
    reader = Reader()
    reader.marked(1, 1)
    reader.full(2, 2, 1)
    reader.marked(1, 3)
    reader.plain(1, 0)
    assert (reader.got, reader.handover.stale) == ([1, 2], 2)


def test_a_venue_whose_ids_began_anew_is_heard_once_a_live_item_was_taken() -> None:
    reader = Reader()
    reader.marked(1, 100)
    reader.full(2, 101, 100)
    reader.full(2, 1, 101)
    reader.full(2, 2, 1)
    reader.full(2, 2, 1, REPLAY)
    assert reader.got == [100, 101, 1, 2]


def test_a_venue_whose_ids_began_anew_at_the_promotion_is_heard_when_it_is_over() -> None:
    reader = Reader()
    reader.marked(1, 100)
    reader.full(2, 1, NOTHING_BEFORE, EDGE)
    reader.full(2, 2, 1)
    assert reader.got == [100]
    reader.marked(2, 3, 4)
    assert reader.got == [100, 3, 4]


def test_a_restart_without_a_standby_compares_nothing() -> None:
    reader = Reader()
    reader.marked(1, 100, 101)
    reader.marked(2, 1, 2)
    assert reader.got == [100, 101, 1, 2]


def test_a_second_promotion_while_a_gap_is_open_loses_nothing() -> None:
    reader = Reader()
    reader.marked(1, 1)
    reader.full(2, 5, 4)
    reader.full(3, 1, NOTHING_BEFORE, REPLAY | EDGE)
    for mark in (2, 3, 4, 5, 6):
        reader.full(3, mark, mark - 1, REPLAY)
    assert reader.got == [1, 2, 3, 4, 5, 6]


def test_a_plain_restart_while_a_gap_is_open_gives_what_was_held() -> None:
    reader = Reader()
    reader.marked(1, 1)
    reader.full(2, 5, 4)
    reader.marked(3, 9)
    assert (reader.got, reader.handover.missed) == ([1, 5, 9], 1)


def test_lives_that_are_counted_anew_are_heard() -> None:
    reader = Reader()
    reader.marked(7, 100)
    reader.marked(1, 1)
    assert reader.got == [100]
    reader.handover.forget(1)
    reader.full(1, 1, NOTHING_BEFORE, EDGE)
    assert reader.got == [100, 1]
