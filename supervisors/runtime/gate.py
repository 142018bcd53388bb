"""What a live standby keeps while its outputs are shut, and what it sends first when they are opened.

A standby has an input of its own, so it makes the same items as its primary, a little earlier or later. Those with a
mark it keeps for some seconds. A primary that is killed loses the last items that its socket had not sent yet, other
ones for each reader. So when the gate opens, the standby sends an overlap: all that its primary was not heard to
publish, and what it published just before. Readers drop what they have (``supervisors.runtime.handover``); one that
lacks more than the overlap, or that connects late, is sent all that is kept.

Items without a mark are dropped while the gate is shut: they are the actor's own words (a verdict, "the book is not
valid"), and only the actor can say whether they still hold. It says them anew in ``promoted``.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from supervisors.runtime.wire import NOTHING_BEFORE

#: seconds, items and bytes that are kept
KEEP_FOR = 5.0
KEEP_ITEMS = 100_000
KEEP_BYTES = 64_000_000
#: seconds before the primary's last sign of life that the overlap reaches back
OVERLAP = 0.25
#: items of one topic whose delay is followed
_PENDING = 10_000


class Kept(NamedTuple):
    """One item in the buffer; ``at`` in monotonic seconds, ``prev`` the mark before it in its topic."""

    at: float
    topic: str
    mark: int
    prev: int
    payload: bytes


class Gate:
    """The buffer of one publisher, and what is known of its primary. Times are given: no clock, no socket.

    Args:
        keep_for, keep_items, keep_bytes: the buffer's bounds.
        overlap: see ``OVERLAP``.
    """

    def __init__(
        self,
        keep_for: float = KEEP_FOR,
        keep_items: int = KEEP_ITEMS,
        keep_bytes: int = KEEP_BYTES,
        overlap: float = OVERLAP,
    ) -> None:
        self._keep_for = keep_for
        self._keep_items = keep_items
        self._keep_bytes = keep_bytes
        self._overlap = overlap
        self._kept: deque[Kept] = deque()
        self._bytes = 0
        self._last: dict[str, int] = {}
        self._bounds: dict[str, int] = {}
        self._pending: dict[str, deque[tuple[int, float]]] = {}
        #: items without a mark that went nowhere
        self.dropped = 0
        #: items that left the buffer before the primary was heard to publish them
        self.fell_out = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of payload in the buffer."""
        return self._bytes

    def keep(self, at: float, topic: str, mark: int, payload: bytes) -> int:
        """Keep an item of our own; gives the mark before it in its topic.

        Marks that begin anew (a venue that was restored) make what was kept of the topic worthless: it is forgotten.
        """
        last = self._last
        prev = last.get(topic, NOTHING_BEFORE)
        last[topic] = mark
        if mark < prev:
            self._forget(topic)
        kept = self._kept
        kept.append(Kept(at, topic, mark, prev, payload))
        self._bytes += len(payload)
        oldest = at - self._keep_for
        while kept[0].at < oldest or len(kept) > self._keep_items or self._bytes > self._keep_bytes:
            gone = kept.popleft()
            self._bytes -= len(gone.payload)
            if gone.mark > self._bounds.get(gone.topic, NOTHING_BEFORE):
                self.fell_out += 1
            if not kept:
                break
        pending = self._pending.get(topic)
        if pending is not None:
            while pending and pending[0][0] <= mark:
                pending.popleft()
        return prev

    def _forget(self, topic: str) -> None:
        self._kept = deque(item for item in self._kept if item.topic != topic)
        self._bytes = sum(len(item.payload) for item in self._kept)
        self._pending.pop(topic, None)
        self._bounds.pop(topic, None)

    # ------------------------------------------------------------ the primary

    def heard(self, at: float, topic: str, mark: int) -> None:
        """The primary published this."""
        self._bounds[topic] = mark
        if mark > self._last.get(topic, NOTHING_BEFORE):
            pending = self._pending.setdefault(topic, deque())
            if len(pending) < _PENDING:
                pending.append((mark, at))

    def lag(self, now: float) -> float:
        """Seconds since the primary published the oldest item that we have not had yet; 0 when we have all.

        May be called from another thread.
        """
        worst = 0.0
        for pending in list(self._pending.values()):
            try:
                worst = max(worst, now - pending[0][1])
            except IndexError:
                continue
        return worst

    # ------------------------------------------------------------ what is sent again

    def overlap(self, now: float) -> list[tuple[Kept, bool]]:
        """What to send when the gate opens, in order; True: nothing older of its topic is kept."""
        cuts: dict[str, float] = {}
        bounds, back = self._bounds, self._overlap
        for item in reversed(self._kept):
            if item.topic not in cuts and item.mark <= bounds.get(item.topic, NOTHING_BEFORE):
                cuts[item.topic] = item.at - back
        return [(item, edge) for item, edge in self.all(now) if item.at >= cuts.get(item.topic, item.at)]

    def all(self, now: float, prefixes: str | tuple[str, ...] = "") -> Iterator[tuple[Kept, bool]]:
        """All that is kept now of the topics with one of these prefixes, in order, as ``overlap`` gives it.

        What is kept after the first item was taken is not among it.
        """
        seen: set[str] = set()
        oldest = now - self._keep_for
        for item in tuple(self._kept):
            topic = item.topic
            if item.at >= oldest and topic.startswith(prefixes):
                yield item, topic not in seen
                seen.add(topic)
