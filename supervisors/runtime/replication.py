"""The primary's side of replication: which standbys follow, what each has, and what therefore is acknowledged.

Everything here belongs to the plane's thread but ``busy`` and ``close``. A standby that keeps up is sent each batch as
it was committed. One that does not is fed from the disk by a helper thread, never more than ``WINDOW`` bytes ahead of
what it applied: memory stays bounded however long it lags. ZeroMQ may drop frames; the standby sees the gap and joins
again.

A standby is *in sync* once it has everything, and leaves when it has not confirmed a batch, or anything at all, for
``JournalSpec.standby_timeout``; acknowledgements wait for those in sync only. To come back it has to catch up.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import google_crc32c
import msgspec

from supervisors.core.clock import Clock
from supervisors.core.errors import StateError
from supervisors.recovery.policy import AckMode, JournalSpec
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Applied, Join, Message, Records, SnapshotPart
from supervisors.state.checkpoints import CheckpointStore
from supervisors.state.disk import Disk
from supervisors.state.journal import JournalReader, Removed

Scalar = str | int | float | bool
T = TypeVar("T")

#: bytes a standby may be sent beyond what it applied
WINDOW = 8_000_000
#: frames it may be sent so: below ZeroMQ's bound of 1000 for one peer, where it would drop them
_FRAMES = 500
#: bytes of the newest batches kept, so that a standby fed from the disk finds its way into the stream
_RECENT = 4_000_000
_PART = 1_000_000
#: seconds without a word after which a standby is forgotten; it joins anew
_FORGET = 10.0
#: most seconds a standby that lagged again and again has to keep up before it is waited for
_PROBATION = 60.0
_CRC_BYTES = 4


class _Follower:
    """One standby as its primary knows it."""

    def __init__(self, sender: bytes, host: str, applied: int, head: int, now: float) -> None:
        self.sender = sender
        self.host = host
        #: last sequence sent. One record less than asked for: with it the standby sees that both have the same history
        self.sent = max(0, applied - 1)
        self.received = applied
        self.heard = now
        #: it gets each batch as it is committed; else it is fed from the disk
        self.live = False
        self.in_sync = False
        #: it is in sync once it has this
        self.goal = head
        #: since when it has been live
        self.live_since = now
        #: (last sequence, when committed), until received; only while it is in sync
        self.unconfirmed: deque[tuple[int, float]] = deque()
        #: (last sequence, bytes), until applied
        self.unapplied: deque[tuple[int, int]] = deque()
        self.window = 0
        self.reading = False
        self.quiet = False
        self.snapshot: Iterator[SnapshotPart] | None = None
        self.snapshot_sent = 0
        self.snapshot_received = 0
        self.reader: JournalReader | None = None

    @property
    def has_room(self) -> bool:
        return self.window < WINDOW and len(self.unapplied) < _FRAMES

    def was_sent(self, last: int, size: int) -> None:
        self.sent = last
        self.window += size
        self.unapplied.append((last, size))
        self.quiet = False

    def confirms(self, received: int, applied: int, now: float) -> None:
        self.heard = now
        self.received = max(self.received, received)
        while self.unconfirmed and self.unconfirmed[0][0] <= received:
            self.unconfirmed.popleft()
        while self.unapplied and self.unapplied[0][0] <= applied:
            self.window -= self.unapplied.popleft()[1]

    def late(self, now: float, timeout: float) -> float:
        """Seconds it is overdue by more than ``timeout``; 0.0: it is not."""
        since = min(self.heard, self.unconfirmed[0][1]) if self.unconfirmed else self.heard
        return now - since if now - since > timeout else 0.0


class Replicator:
    """Feeds the standbys of one journal.

    Args:
        path, epoch: of the primary.
        journal, checkpoints: the folders.
        spec: how appends are acknowledged, how long a standby may be silent.
        plane: in whose thread everything runs.
        send: sends to a ROUTER identity; in that thread.
        clock: seconds comparable with a standby's on the same machine.
        head: the last committed sequence; from any thread.
        acknowledge: told up to where events are acknowledged, when standbys have a say in it.
        noted: for the trail: data of a ``standby`` event.
        disk: where the backlog is read from.
        interval: seconds between turns.
    """

    def __init__(
        self,
        *,
        path: str,
        epoch: int,
        journal: Path,
        checkpoints: Path,
        spec: JournalSpec,
        plane: PlaneLoop,
        send: Callable[[bytes, Message], None],
        clock: Clock,
        head: Callable[[], int],
        acknowledge: Callable[[int], None],
        noted: Callable[[dict[str, Scalar]], None],
        disk: Disk,
        interval: float = 0.1,
    ) -> None:
        self._path = path
        self._epoch = epoch
        self._journal = journal
        self._store = CheckpointStore(checkpoints, disk)
        self._ack = spec.ack
        self._timeout = spec.standby_timeout
        self._plane = plane
        self._send = send
        self._clock = clock
        self._committed_head = head
        self._acknowledge = acknowledge
        self._noted = noted
        self._disk = disk
        self._interval = min(interval, spec.standby_timeout / 4)
        self._followers: dict[str, _Follower] = {}
        #: seconds a standby that lagged has to keep up before it counts again, by host
        self._probation: dict[str, float] = {}
        self._recent: deque[tuple[int, int, bytes]] = deque()
        self._recent_bytes = 0
        self._head = 0
        #: where events are on this disk (synced), when that is not what ``committed`` says
        self._synced = 0
        self._acknowledged = 0
        self._turning = False
        self._closed = False
        self._helper: ThreadPoolExecutor | None = None
        #: there are standbys: batches have to be told to ``committed``
        self.busy = False

    # ------------------------------------------------------------ from any thread

    def close(self) -> None:
        """Feed nobody any more."""
        self._closed = True
        self._plane.call_soon(self._closing)

    def _closing(self) -> None:
        for host in list(self._followers):
            self._drop(host)
        if self._helper is not None:
            self._helper.shutdown(wait=False)

    # ------------------------------------------------------------ what the journal tells

    def committed(self, first: int, last: int, frames: bytes) -> None:
        """A batch is committed: on the disk as far as ``AckMode`` asks for it."""
        self._head = max(self._head, last)
        self._recent.append((first, last, frames))
        self._recent_bytes += len(frames)
        while self._recent_bytes > _RECENT and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popleft()[2])
        now = self._clock.monotonic()
        for follower in self._followers.values():
            if follower.in_sync:
                follower.unconfirmed.append((last, now))
            if follower.live and first == follower.sent + 1 and follower.has_room:
                self._send_records(follower, first, last, frames, live=True)
            else:
                follower.live = False
                self._feed(follower)
        self._settle()

    def synced(self, last: int) -> None:
        """With ``AckMode.STANDBY``: the disk has followed up to ``last``."""
        self._synced = max(self._synced, last)
        self._settle()

    # ------------------------------------------------------------ what standbys say

    def joined(self, sender: bytes, message: Join) -> None:
        """A standby asks for what follows ``message.applied``; from here, or again."""
        if self._closed:
            return
        known = self._followers.pop(message.host, None)
        self.busy = True
        self._head = max(self._head, self._committed_head())  # read after ``busy``: no batch falls between
        follower = _Follower(sender, message.host, message.applied, self._head, self._clock.monotonic())
        self._followers[message.host] = follower
        if known is not None:
            self._free(known)
            if known.in_sync:
                self._lagging(known, "it joined again")
        if message.applied > self._head:
            self._send_nothing(follower)  # it sees from the head that it has what we never had
        else:
            self._feed(follower)
        self._settle()
        if not self._turning:
            self._turning = True
            self._plane.call_later(self._interval, self._turn)

    def applied(self, message: Applied) -> None:
        """A standby confirms; a negative ``received`` counts bytes of a snapshot."""
        follower = self._followers.get(message.host)
        if follower is None:
            return
        if message.received < 0:
            follower.heard = self._clock.monotonic()
            follower.snapshot_received = max(follower.snapshot_received, -message.received)
            self._feed(follower)
            return
        follower.confirms(min(message.received, self._head), message.applied, self._clock.monotonic())
        if not follower.live:
            self._feed(follower)
        self._check_sync(follower)
        self._settle()

    def unfollow(self, host: str) -> None:
        """That standby is dead."""
        self._probation.pop(host, None)
        if host in self._followers:
            self._drop(host)
            self._settle()

    # ------------------------------------------------------------ feeding

    def _feed(self, follower: _Follower) -> None:
        """Send from memory or fetch from the disk what it lacks and has room for."""
        if follower.snapshot is not None:
            self._feed_snapshot(follower)
            return
        if follower.reading:
            return
        if self._recent and self._recent[0][0] <= follower.sent + 1:
            for first, last, frames in self._recent:
                if last > follower.sent:
                    if not follower.has_room:
                        return
                    self._send_records(follower, first, last, frames, live=last == self._head)
        if follower.sent >= self._head:
            if not follower.live:
                follower.live, follower.live_since = True, self._clock.monotonic()
            self._send_nothing(follower)
            self._check_sync(follower)
        elif follower.has_room:
            follower.reading = True
            self._fetch(partial(self._read, follower, follower.sent), partial(self._was_read, follower))

    def _feed_snapshot(self, follower: _Follower) -> None:
        parts = follower.snapshot
        if parts is None:
            return
        room = WINDOW - (follower.snapshot_sent - follower.snapshot_received)
        for part in islice(parts, max(0, room // _PART)):
            follower.snapshot_sent = part.offset + len(part.body)
            follower.quiet = False
            self._send(follower.sender, part)

    def _fetch(self, work: Callable[[], T], done: Callable[["Future[T]"], None]) -> None:
        if self._helper is None:
            self._helper = ThreadPoolExecutor(1, thread_name_prefix="backlog")
        future = self._helper.submit(work)
        future.add_done_callback(lambda found: self._plane.call_soon(lambda: done(found)))

    def _read(self, follower: _Follower, after: int) -> tuple[int, int, bytes]:
        """In the helper: the next records, or an empty answer with first 0 where they are no longer kept."""
        if follower.reader is None:
            follower.reader = JournalReader(self._journal, disk=self._disk)
        for start in (after, after + 1):  # the record it has already may be the newest one removed
            try:
                return follower.reader.frames(start, _PART)
            except Removed:
                continue
        return 0, 0, b""

    def _was_read(self, follower: _Follower, found: "Future[tuple[int, int, bytes]]") -> None:
        if self._followers.get(follower.host) is not follower:
            self._free(follower)
            return
        follower.reading = False
        try:
            first, last, frames = found.result()
        except StateError as error:
            self._lagging(follower, f"its backlog cannot be read: {error.message}")
            self._drop(follower.host)
            return
        if first == 0:
            follower.reading = True
            self._fetch(partial(self._pack, follower.received), partial(self._was_packed, follower))
        elif frames:
            self._head = max(self._head, last)
            self._send_records(follower, first, last, frames, live=False)
            self._feed(follower)
        # else: committed and not yet to be read; the next batch or turn tries again

    def _pack(self, after: int) -> tuple[int, bytes]:
        """In the helper: the newest valid checkpoint as it travels; sequence 0: there is none behind ``after``."""
        checkpoint, _ = self._store.newest_valid()
        if checkpoint is None or checkpoint.sequence <= after:
            return 0, b""
        packed = msgspec.msgpack.encode(checkpoint)
        return checkpoint.sequence, google_crc32c.value(packed).to_bytes(_CRC_BYTES, "big") + packed

    def _was_packed(self, follower: _Follower, found: "Future[tuple[int, bytes]]") -> None:
        if self._followers.get(follower.host) is not follower:
            return
        follower.reading = False
        try:
            sequence, packed = found.result()
        except StateError as error:
            sequence, packed = 0, error.message.encode()
        if sequence == 0:
            self._lagging(follower, "neither the journal nor a checkpoint reaches back to it")
            self._drop(follower.host)
            return
        total = len(packed)
        follower.snapshot = iter(
            SnapshotPart(self._path, self._epoch, sequence, at, total, packed[at : at + _PART])
            for at in range(0, total, _PART)
        )
        self._feed_snapshot(follower)

    def _send_records(self, follower: _Follower, first: int, last: int, frames: bytes, *, live: bool) -> None:
        now = self._clock.monotonic()
        self._send(follower.sender, Records(self._path, self._epoch, first, last, self._head, now, live, frames))
        follower.was_sent(last, len(frames))

    def _send_nothing(self, follower: _Follower) -> None:
        """Says that we live, where our journal ends, and what the standby should have by now."""
        sent, now = follower.sent, self._clock.monotonic()
        nothing = Records(self._path, self._epoch, sent + 1, sent, self._head, now, follower.live, b"")
        self._send(follower.sender, nothing)
        follower.quiet = False

    # ------------------------------------------------------------ in sync or not

    def _turn(self) -> None:
        if self._closed or not self._followers:
            self._turning = False
            return
        now = self._clock.monotonic()
        for host, follower in list(self._followers.items()):
            late = follower.late(now, self._timeout)
            if follower.in_sync and late:
                self._lagging(follower, f"nothing confirmed for {late:.2f} s")
            if now - follower.heard > max(_FORGET, self._timeout):
                self._drop(host)
                continue
            if follower.quiet:
                self._send_nothing(follower)
            follower.quiet = True
            if not follower.live:
                self._feed(follower)
            self._check_sync(follower)
        self._settle()
        self._plane.call_later(self._interval, self._turn)

    def _check_sync(self, follower: _Follower) -> None:
        now = self._clock.monotonic()
        if follower.in_sync or not follower.live or follower.received < follower.goal:
            return
        if now - follower.heard <= self._timeout and now - follower.live_since >= self._probation.get(follower.host, 0):
            follower.in_sync = True
            if follower.received < self._head:
                follower.unconfirmed.append((self._head, now))

    def _lagging(self, follower: _Follower, why: str) -> None:
        """It leaves the set in sync; the next time it has to keep up for longer before it is waited for again."""
        if follower.in_sync:
            known = self._probation.get(follower.host, self._timeout / 2)
            self._probation[follower.host] = min(2 * known, max(_PROBATION, self._timeout))
        follower.in_sync = False
        follower.goal = self._head
        follower.live_since = self._clock.monotonic()
        follower.unconfirmed.clear()
        self._noted({"state": "lagging", "host": follower.host, "why": why, "behind": self._head - follower.received})

    def _drop(self, host: str) -> None:
        self._free(self._followers.pop(host))
        self.busy = bool(self._followers)
        if not self.busy:
            self._recent.clear()
            self._recent_bytes = 0

    def _free(self, follower: _Follower) -> None:
        if follower.reader is not None and not follower.reading and self._helper is not None:
            reader, follower.reader = follower.reader, None
            self._helper.submit(reader.close)

    def _settle(self) -> None:
        """Tell up to where events are acknowledged now."""
        received = [follower.received for follower in self._followers.values() if follower.in_sync]
        if self._ack is AckMode.BOTH:
            upto = min([self._head, *received])
        elif self._ack is AckMode.STANDBY:
            upto = min(self._head, max(received)) if received else self._synced
        else:
            return
        if upto > self._acknowledged:
            self._acknowledged = upto
            self._acknowledge(upto)
