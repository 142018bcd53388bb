"""The primary's side of replication, carried out: sockets, turns, and the disk the backlog is read from.

What is decided is in ``supervisors.state.replicating.primary``. Everything here belongs to the plane's thread but
``busy`` and ``close``; the disk is read by a helper thread.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import google_crc32c
import msgspec

from supervisors.core.clock import Clock
from supervisors.core.errors import StateError
from supervisors.recovery.policy import JournalSpec
from supervisors.runtime.restoring import superseded
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Applied, Join, Message, Records, SnapshotPart
from supervisors.state.checkpoints import CheckpointStore
from supervisors.state.disk import Disk
from supervisors.state.journal import JournalReader, Removed
from supervisors.state.replicating import primary as p

Scalar = str | int | float | bool
T = TypeVar("T")

#: bytes a standby may be sent beyond what it applied
WINDOW = 8_000_000
#: bytes of the newest batches kept, so that a standby fed from the disk finds its way into the stream
_RECENT = 4_000_000
_PART = 1_000_000
_CRC_BYTES = 4


class _Opened:
    """What one standby's backlog is read from. The reader belongs to the helper thread."""

    __slots__ = ("packed", "reader")

    def __init__(self) -> None:
        self.reader: JournalReader | None = None
        #: a checkpoint as it travels
        self.packed = b""

    def close(self) -> None:
        """In the helper, after what it was still asked for."""
        if self.reader is not None:
            self.reader.close()


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
        base, base_epoch: last sequence of the state this life began with, and the epoch of that record (0: unknown).
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
        base: int = 0,
        base_epoch: int = 0,
        interval: float = 0.1,
    ) -> None:
        self._path = path
        self._epoch = epoch
        self._journal = journal
        self._store = CheckpointStore(checkpoints, disk)
        self._plane = plane
        self._send = send
        self._clock = clock
        self._committed_head = head
        self._acknowledge = acknowledge
        self._noted = noted
        self._disk = disk
        self._interval = min(interval, spec.standby_timeout / 4)
        self._side: p.PrimarySide[bytes] = p.PrimarySide(
            epoch,
            spec.ack,
            spec.standby_timeout,
            base=base,
            base_epoch=base_epoch,
            limits=p.Limits(window=WINDOW, recent=_RECENT, part=_PART),
        )
        self._senders: dict[str, bytes] = {}
        #: by number of the following
        self._opened: dict[int, _Opened] = {}
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
        self._step(p.Closed())
        if self._helper is not None:
            self._helper.shutdown(wait=False)

    # ------------------------------------------------------------ what the journal tells

    def committed(self, first: int, last: int, frames: bytes) -> None:
        """A batch is committed: on the disk as far as ``AckMode`` asks for it."""
        self._step(p.Committed(first, last, len(frames), frames))

    def synced(self, last: int) -> None:
        """With ``AckMode.STANDBY``: the disk has followed up to ``last``."""
        self._step(p.Synced(last))

    # ------------------------------------------------------------ what standbys say

    def joined(self, sender: bytes, message: Join) -> None:
        """A standby asks for what follows ``message.applied``; from here, or again."""
        if self._closed:
            return
        self.busy = True
        head = self._committed_head()  # read after ``busy``: no batch falls between
        self._senders[message.host] = sender
        self._step(p.Joined(message.host, message.applied, head))
        if not self._turning:
            self._turning = True
            self._plane.call_later(self._interval, self._turn)

    def applied(self, message: Applied) -> None:
        """A standby confirms; a negative ``received`` counts bytes of a snapshot."""
        self._step(p.Confirmed(message.host, message.received, message.applied))

    def unfollow(self, host: str) -> None:
        """That standby is dead."""
        self._step(p.Unfollowed(host))

    def _turn(self) -> None:
        if self._closed or not self._side.busy:
            self._turning = False
            return
        self._step(p.Ticked())
        self._plane.call_later(self._interval, self._turn)

    # ------------------------------------------------------------ what was decided

    def _step(self, event: p.Event[bytes]) -> None:
        effects = self._side.step(event, self._clock.monotonic())
        self.busy = self._side.busy
        for effect in effects:
            match effect:
                case p.SendRecords(host, first, last, head, live, body, before):
                    now = self._clock.monotonic()
                    records = Records(self._path, self._epoch, first, last, head, now, live, body or b"", before)
                    self._send(self._senders[host], records)
                case p.Acknowledge(upto):
                    self._acknowledge(upto)
                case p.ReadBacklog(host, number, after):
                    self._fetch(partial(self._read, self._opens(number), after), partial(self._was_read, host, number))
                case p.PackSnapshot(host, number, after):
                    self._fetch(
                        partial(self._pack, self._opens(number), after), partial(self._was_packed, host, number)
                    )
                case p.SendPart(host, number, sequence, offset, size, total):
                    packed = self._opens(number).packed[offset : offset + size]
                    part = SnapshotPart(self._path, self._epoch, sequence, offset, total, packed)
                    self._send(self._senders[host], part)
                case p.Note(state, host, why, behind):
                    self._noted({"state": state, "host": host, "why": why, "behind": behind})
                case p.Forget(host, number):
                    self._free(host, number)

    # ------------------------------------------------------------ the disk

    def _opens(self, number: int) -> _Opened:
        return self._opened.setdefault(number, _Opened())

    def _free(self, host: str, number: int) -> None:
        if host not in self._side.followers:
            self._senders.pop(host, None)
        opened = self._opened.pop(number, None)
        if opened is not None and self._helper is not None:
            self._helper.submit(opened.close)

    def _fetch(self, work: Callable[[], T], done: Callable[["Future[T]"], None]) -> None:
        if self._helper is None:
            self._helper = ThreadPoolExecutor(1, thread_name_prefix="backlog")
        future = self._helper.submit(work)
        future.add_done_callback(lambda found: self._plane.call_soon(lambda: done(found)))

    def _read(self, opened: _Opened, after: int) -> tuple[int, int, bytes] | None:
        """In the helper: the next records; None where they are no longer kept."""
        if opened.reader is None:
            opened.reader = JournalReader(self._journal, disk=self._disk)
        try:
            return opened.reader.frames(after, _PART)
        except Removed:
            return None

    def _was_read(self, host: str, number: int, found: "Future[tuple[int, int, bytes] | None]") -> None:
        try:
            read = found.result()
        except StateError as error:
            self._step(p.ReadFailed(host, number, f"its backlog cannot be read: {error.message}"))
            return
        if read is None:
            self._step(p.BacklogGone(host, number))
            return
        first, last, frames = read
        self._step(p.BacklogRead(host, number, first, last, len(frames), frames, self._committed_head()))

    def _pack(self, opened: _Opened, after: int) -> tuple[int, int]:
        """In the helper: the newest valid checkpoint as it travels; sequence 0: there is none behind ``after``."""
        reader = JournalReader(self._journal, disk=self._disk)
        try:
            checkpoint, _ = self._store.newest_valid(refuse=superseded(reader))
        finally:
            reader.close()
        if checkpoint is None or checkpoint.sequence <= after:
            return 0, 0
        packed = msgspec.msgpack.encode(checkpoint)
        opened.packed = google_crc32c.value(packed).to_bytes(_CRC_BYTES, "big") + packed
        return checkpoint.sequence, len(opened.packed)

    def _was_packed(self, host: str, number: int, found: "Future[tuple[int, int]]") -> None:
        try:
            sequence, total = found.result()
        except StateError as error:
            self._step(p.ReadFailed(host, number, f"no checkpoint can be read: {error.message}"))
            return
        self._step(p.SnapshotPacked(host, number, sequence, total))
