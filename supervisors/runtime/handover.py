"""A reader's side of a promotion: each marked item once and in order, whichever publisher it came from.

Readers are connected to the primary and to its standbys, which are silent. When a standby is promoted its items bear
the flag ``HANDOVER`` for some seconds. Of those, a reader

- drops what is not beyond the last mark it had of the topic;
- takes what follows on it: the item's ``prev`` is not beyond that mark;
- holds what does not follow, asks the publisher for all it has kept, and takes the held items once the gap is closed.
  A gap that nobody closes within ``HOLD`` seconds is counted in ``missed``, and the held items are taken.

Once a live item of the new publisher was taken, its live items are taken whatever their marks: a venue whose ids
began anew (it was restored) is therefore silenced for no longer than the publisher sends the flag (5 s). Items of an
earlier life than the newest seen are dropped: that life is over, or ought to be. Items without a mark are taken as they
come, behind those that are held. A restart without a standby sends no flags and costs nothing.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from supervisors.runtime.wire import EDGE, HANDOVER, NOTHING_BEFORE, REPLAY

#: seconds a gap may stay open
HOLD = 1.0
_MAX_HELD = 100_000


class Received(msgspec.Struct, frozen=True):
    """``actors.context.Message``."""

    topic: str
    payload: bytes
    incarnation: int


class _Hold:
    """Items of one topic behind a gap: (mark, prev, item); mark None: it has none; prev None: it was not told."""

    __slots__ = ("deadline", "items")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.items: deque[tuple[int | None, int | None, Received]] = deque()


class Handover:
    """Decides for one stream which items are taken. No socket, no clock of its own.

    Args:
        deliver: takes an item.
        ask: asks the publishers to send all they keep of a topic.
        now: monotonic seconds.
    """

    def __init__(
        self, deliver: Callable[[Received], None], ask: Callable[[str], None], now: Callable[[], float]
    ) -> None:
        self._deliver = deliver
        self._ask = ask
        self._now = now
        #: the newest life seen
        self.newest = 0
        #: when its last item came, monotonic seconds
        self.newest_at = 0.0
        self._last: dict[str, int] = {}
        self._caught: set[str] = set()
        self._held: dict[str, _Hold] = {}
        #: items dropped: had already
        self.repeated = 0
        #: items dropped: of a life that is over
        self.stale = 0
        #: gaps that nobody closed
        self.missed = 0

    def take(
        self, topic: str, payload: bytes, incarnation: int, flags: int, mark: int | None, prev: int = NOTHING_BEFORE
    ) -> None:
        """One item came."""
        if incarnation != self.newest:
            if incarnation < self.newest:
                self.stale += 1
                return
            self._switch(incarnation, handover=bool(flags & HANDOVER))
        item = Received(topic, payload, incarnation)
        if flags & HANDOVER and mark is not None:
            self._compare(item, flags, mark, prev)
        elif self._held and topic in self._held:
            self._hold(topic).items.append((mark, None, item))
        else:
            if mark is not None:
                self._last[topic] = mark
            self._deliver(item)

    def _switch(self, incarnation: int, *, handover: bool) -> None:
        if handover:
            self._held.clear()  # the new publisher sends these as well
        else:
            for topic in list(self._held):
                self._give_up(topic)
        self._caught.clear()
        self.newest = incarnation

    def forget(self, incarnation: int) -> None:
        """The path's lives are counted anew (it was deleted and made again): ``incarnation`` is the newest."""
        self._switch(incarnation, handover=False)
        self._last.clear()

    def _compare(self, item: Received, flags: int, mark: int, prev: int) -> None:
        topic = item.topic
        last = self._last.get(topic)
        replay = bool(flags & REPLAY)
        if last is not None and mark <= last and (replay or topic not in self._caught):
            self.repeated += 1
            return
        hold = self._held.get(topic)
        if hold is not None and not replay:
            hold.items.append((mark, prev, item))
            if len(hold.items) > _MAX_HELD:
                self._give_up(topic)
            return
        follows = last is not None and prev <= last
        if not follows and not flags & EDGE:
            # what is sent again and does not follow comes again, with what is before it
            hold = self._hold(topic)
            if not replay:
                hold.items.append((mark, prev, item))
            return
        if not follows and last is not None and prev > last:
            self.missed += 1
        self._last[topic] = mark
        if not replay:
            self._caught.add(topic)
        self._deliver(item)
        if hold is not None:
            hold.deadline = self._now() + HOLD
            self._close_gap(topic, hold)

    def _hold(self, topic: str) -> _Hold:
        hold = self._held.get(topic)
        if hold is None:
            hold = self._held[topic] = _Hold(self._now() + HOLD)
            self._ask(topic)
        return hold

    def _close_gap(self, topic: str, hold: _Hold) -> None:
        """Take the held items as far as they follow."""
        items = hold.items
        while items:
            mark, prev, item = items[0]
            if mark is not None:
                last = self._last[topic]
                if mark <= last and topic not in self._caught:
                    items.popleft()
                    self.repeated += 1
                    continue
                if prev is None:
                    if topic not in self._caught:
                        return
                elif prev > last:
                    return
                self._last[topic] = mark
                self._caught.add(topic)
            elif topic not in self._caught:
                return
            items.popleft()
            self._deliver(item)
        del self._held[topic]

    def _give_up(self, topic: str) -> None:
        hold = self._held.pop(topic)
        if not hold.items:
            return
        self.missed += 1
        for mark, _, item in hold.items:
            if mark is not None:
                self._last[topic] = mark
                self._caught.add(topic)
            self._deliver(item)

    @property
    def holding(self) -> bool:
        """Some item waits for a gap to be closed."""
        return bool(self._held)

    def expire(self) -> None:
        """Give up gaps that are open for too long."""
        now = self._now()
        for topic, hold in list(self._held.items()):
            if now >= hold.deadline:
                self._give_up(topic)
