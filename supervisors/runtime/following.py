"""The standby's side of replication: restore, join the primary, apply what it sends, take its place.

The plane's thread receives, confirms and finds gaps; the actor's loop decodes and applies, in slices. What was received
is confirmed at once, before it is applied: it is in this process's memory and will be applied before a promotion ends.

Two histories are never mixed: on joining, the primary's first record is the last one we have, and its epoch must be the
same. A standby that has what its primary never had goes back to the state its object was born with and begins anew.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import google_crc32c
import msgspec
import zmq

from supervisors.core.errors import JournalCorrupt, RecoveryError
from supervisors.runtime.journaling import ActorJournal
from supervisors.runtime.readiness import Readiness
from supervisors.runtime.restoring import SLICE, Restored
from supervisors.signals.messages import (
    Applied,
    Feed,
    Join,
    MalformedFrame,
    Records,
    SnapshotPart,
    StandbyState,
    decode,
    encode,
)
from supervisors.state.checkpoints import Checkpoint
from supervisors.state.journal import JournalReader, Record, control, decode_frames

#: seconds between looks whether the connection is made
_CONNECTING = 0.02
#: beats without an answer after which we ask again
_ASK_AGAIN = 2
#: beats without a word from a primary whose stream we are in, after which we join again
_SILENT = 5
#: seconds without progress after which a transfer is begun anew
_STUCK = 5.0
_CRC_BYTES = 4
_READABLE = int(zmq.POLLIN)


@dataclass(frozen=True, slots=True)
class Promotion:
    """``sequence`` of the last applied event; ``behind``: events still to apply when the order came; ``seconds``."""

    sequence: int
    behind: int
    seconds: float


class _Batch(NamedTuple):
    """Records that wait to be applied. ``since``: when they were sent (or came, from another machine)."""

    records: list[Record]
    since: float


class _Snapshot(NamedTuple):
    """A state that replaces ours; ``checkpoint`` None: the one the object was born with."""

    checkpoint: Checkpoint | None


class Follower:
    """Keeps one target in step with its primary; reports ``StandbyState`` through the journal's ``report``.

    Args:
        journal: of the same target, made with incarnation 0; after ``promote`` it is the acting ``ctx.journal``.
        host: this standby's host name.
        beat_interval: seconds between reports.
    """

    def __init__(self, journal: ActorJournal, host: str, beat_interval: float) -> None:
        self._journal = journal
        self._replica = journal.replica
        self._plane = journal.plane
        self._host = host
        self._interval = beat_interval
        self._timeout = journal.spec.journal.standby_timeout
        self._readiness = Readiness(
            journal.journal_folder,
            journal.disk,
            journal.spec.journal.segment_bytes,
            lambda why: journal.note("journal", what="not_prepared", why=why),
        )
        #: the state the object was made with
        self._born = self._replica.state()
        # the plane's thread
        self._feed: Feed | None = None
        self._same_machine = True
        self._socket: zmq.Socket[bytes] | None = None
        self._received = 0  #: last sequence in memory
        self._epoch = 0  #: of that record; 0: unknown
        self._head = 0  #: the primary's
        self._source = 0  #: epoch of the primary last heard
        self._heard = 0.0
        self._asked = 0.0
        self._asking = False
        self._progress = 0.0
        self._in_stream = False
        self._live = False
        self._synced = False
        self._diverged = False
        self._confirming = False
        self._ticking = False
        self._halted = False
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._told = "starting"
        self._why = ""
        # handed from there to the loop
        self._inbox: deque[_Batch | _Snapshot] = deque()
        self._waking = False
        # the actor's loop
        self._events: list[object] = []
        self._at = 0
        self._batch: _Batch | None = None
        self._failed: BaseException | None = None

    # ------------------------------------------------------------ the actor's loop

    async def restore(self) -> Restored:
        """As far as this machine's disk goes; once, before the first ``feed``.

        Raises:
            StateError, RecoveryError: as ``ActorJournal.restore``.
        """
        restored = await self._journal.restore("")
        self._received, self._epoch = self._replica.sequence, self._replica.epoch
        return restored

    def _wake(self) -> None:
        """From the plane's thread: there is something to apply."""
        if not self._waking:
            self._waking = True
            try:
                self._journal.loop.call_soon_threadsafe(self._apply)
            except RuntimeError:
                return

    def _apply(self) -> None:
        """Apply for one slice; the rest in another turn of the loop."""
        self._waking = False
        if self._failed is not None:
            return
        try:
            more = self._work(SLICE)
        except RecoveryError as error:
            self._fail(error)
            return
        if more:
            self._wake_later()
        self._plane.call_soon(self._was_applied)

    def _wake_later(self) -> None:
        if not self._waking:
            self._waking = True
            self._journal.loop.call_soon(self._apply)

    def _work(self, budget: float) -> bool:
        """Apply what was received for about ``budget`` seconds; True if there is more.

        Raises:
            RecoveryError: the class cannot take it.
        """
        until = time.perf_counter() + budget
        while True:
            if self._batch is None:
                if not self._inbox:
                    return False
                found = self._inbox.popleft()
                if isinstance(found, _Snapshot):
                    self._load(found.checkpoint)
                    continue
                bodies = [record.body for record in found.records]
                self._events = self._replica.codec.decode_events(bodies, found.records[0].sequence)
                self._at, self._batch = 0, found
            self._at = self._replica.replay(self._events, self._at, until - time.perf_counter())
            if self._at < len(self._events):
                return True
            self._replica.epoch = self._batch.records[-1].epoch
            self._batch, self._events = None, []
            if time.perf_counter() >= until:
                return bool(self._inbox)

    def _load(self, checkpoint: Checkpoint | None) -> None:
        codec = self._replica.codec
        if checkpoint is None:
            self._replica.load(0, codec.version, self._born)
        else:
            self._replica.load(checkpoint.sequence, checkpoint.schema, checkpoint.body)

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        self._plane.call_soon(self._see_state)
        self._journal.fatal(error)

    async def promote(self, epoch: int, incarnation: int) -> Promotion:
        """The primary is dead for certain: apply all, become the writer.

        Where the journal on this machine is the primary's it is authoritative: what it holds beyond what was received
        is applied too. Where it is not (another node), a checkpoint is made and the journal begun behind it.

        Raises:
            JournalCorrupt, JournalFailed, Fenced, CheckpointError, RecoveryError: this standby cannot take its place.
        """
        began = time.perf_counter()
        if not self._halted:
            await self._halt_from_loop()
        if self._failed is not None:
            raise RecoveryError(f"the standby had failed: {self._failed}", code=8022) from self._failed
        behind = max(0, self._received - self._replica.sequence)
        while self._work(SLICE):  # noqa: ASYNC110 - not waiting: letting others run
            await asyncio.sleep(0)
        if not self._shares_disk():
            self._set_aside()
        writer = self._journal.open_quickly(epoch, self._readiness.take())
        behind += await self._journal.take_over(writer, epoch, incarnation)
        return Promotion(self._replica.sequence, behind, time.perf_counter() - began)

    async def _halt_from_loop(self) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def halt() -> None:
            self.halt()
            loop.call_soon_threadsafe(done.set_result, None)

        self._plane.call_soon(halt)
        await done

    def _shares_disk(self) -> bool:
        """Whether the journal here is the one our primary wrote: its fence is at least as new."""
        if self._source == 0:
            return True  # all we have is from here
        state = control.load(self._journal.disk, self._journal.journal_folder)
        return state is not None and state.fence.epoch >= self._source

    def _set_aside(self) -> None:
        """Put away what an earlier life left on this machine, if it is not the beginning of what we have."""
        journal = self._journal
        with JournalReader(journal.journal_folder, disk=journal.disk) as reader:
            if not self._diverged and reader.head <= self._replica.sequence:
                return
        mark = f".aside-{journal.clock.utc_ns()}"
        for folder in (journal.journal_folder, journal.checkpoint_folder):
            if folder.is_dir():
                folder.rename(folder.with_name(folder.name + mark))
        journal.forget_files()
        journal.note("journal", what="set_aside", file=f"{journal.journal_folder}{mark}")

    # ------------------------------------------------------------ the plane's thread: who the primary is

    def feed(self, message: Feed) -> None:
        """This is your primary now; again after each change."""
        known = self._feed
        if self._halted or (known and (known.endpoint, known.epoch) == (message.endpoint, message.epoch)):
            return
        self._feed = message
        self._same_machine = not message.endpoint.startswith("tcp://") or "//127." in message.endpoint
        self._disconnect()
        socket = self._socket = self._plane.dealer()
        socket.setsockopt(zmq.IDENTITY, f"{self._host}~{message.epoch}".encode())
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits for a primary that is not there: we ask again
        socket.connect(message.endpoint)
        self._plane.on_readable(socket, self._arrived)
        self._synced = False
        self._join("")
        if not self._ticking:
            self._ticking = True
            self._turn()

    def halt(self) -> None:
        """On ``Promote``: take what has arrived, receive no more. ``promote`` does it when it was not done."""
        if self._halted:
            return
        socket = self._socket
        while socket is not None and socket is self._socket and int(socket.get(zmq.EVENTS)) & _READABLE:
            self._plane.drain(socket)
        self._halted = True
        self._disconnect()

    def close(self) -> None:
        """Stop following."""
        self._halted = True
        self._disconnect()
        self._readiness.close()

    def _join(self, why: str) -> None:
        """Ask for what follows ``_received``; what is under way to us is out of the stream."""
        self._in_stream = self._live = False
        self._why = why
        self._parts, self._parts_bytes = [], 0
        self._asked = self._progress = self._journal.clock.monotonic()
        if not self._asking:
            self._ask()
        self._see_state()

    def _ask(self) -> None:
        """Send the question; again soon while there is no connection, which takes some milliseconds to make."""
        if self._halted or self._in_stream:
            self._asking = False
            return
        self._asking = not self._send(Join(self._journal.path, self._host, self._received))
        if self._asking:
            self._plane.call_later(_CONNECTING, self._ask)

    def _send(self, message: Join | Applied) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False  # not connected
        return True

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._plane.close_socket(self._socket)
            self._socket = None

    # ------------------------------------------------------------ the plane's thread: what it sends

    def _arrived(self, frames: list[bytes]) -> None:
        feed = self._feed
        if self._halted or feed is None or len(frames) != 1:
            return
        try:
            message = decode(frames[0])
        except MalformedFrame:
            return  # a gap then, which is found
        if not isinstance(message, Records | SnapshotPart) or message.epoch != feed.epoch:
            return
        self._source = message.epoch
        self._heard = self._journal.clock.monotonic()
        if isinstance(message, SnapshotPart):
            self._got_part(message)
        else:
            self._got_records(message)

    def _got_records(self, message: Records) -> None:
        if message.head < self._received:
            self._begin_anew(f"event {self._received} was received, the primary has {message.head}")
            return
        self._head = message.head
        if message.first > self._received + 1:
            if self._in_stream:
                self._synced = False
                self._join(f"events {self._received + 1} to {message.first - 1} were lost on the way")
            return  # out of the stream: what comes before our question was answered; see _turn for an answer lost
        if message.body:
            if not self._take(message):
                return
        elif not self._in_stream and not message.live:
            return  # it lives; what we asked for is still to come
        self._in_stream, self._live = True, message.live
        self._confirm()
        if not message.body:
            self._see_state()

    def _take(self, message: Records) -> bool:
        """Keep what is new of it; False if it cannot be."""
        try:
            records = decode_frames(message.body)
        except JournalCorrupt as error:
            self._synced = False
            self._join(error.message)
            return False
        known = self._received - message.first  # index of the last record we have
        if 0 <= known < len(records) and self._epoch not in (0, records[known].epoch):
            theirs = records[known].epoch
            self._begin_anew(f"event {self._received} is of epoch {self._epoch} here, of {theirs} at the primary")
            return False
        fresh = records[known + 1 :]
        if fresh:
            self._received, self._epoch = fresh[-1].sequence, fresh[-1].epoch
            self._progress = self._heard
            if not message.live:
                self._synced = False
            self._inbox.append(_Batch(fresh, message.sent if self._same_machine else self._heard))
            self._wake()
        return True

    def _begin_anew(self, why: str) -> None:
        """We have what the primary never had: forget all."""
        self._journal.note("standby", state="lagging", host=self._host, why=why)
        self._received = self._epoch = 0
        self._diverged, self._synced = True, False
        self._inbox.append(_Snapshot(None))
        self._wake()
        self._join(why)

    def _got_part(self, part: SnapshotPart) -> None:
        if part.offset != self._parts_bytes:
            return  # one was lost: see _turn
        self._synced = False
        self._progress = self._heard
        self._parts.append(part.body)
        self._parts_bytes += len(part.body)
        self._send(Applied(self._journal.path, self._host, -self._parts_bytes, 0))
        if self._parts_bytes < part.total:
            return
        packed = b"".join(self._parts)
        body = packed[_CRC_BYTES:]
        if google_crc32c.value(body) == int.from_bytes(packed[:_CRC_BYTES], "big"):
            checkpoint = msgspec.msgpack.decode(body, type=Checkpoint)
            self._received, self._epoch = checkpoint.sequence, 0
            self._inbox.append(_Snapshot(checkpoint))
            self._wake()
        self._join("")

    # ------------------------------------------------------------ the plane's thread: what we say

    def _confirm(self) -> None:
        """Confirm once for all that arrived together."""
        if not self._confirming:
            self._confirming = True
            self._plane.call_soon(self._confirm_now)

    def _confirm_now(self) -> None:
        self._confirming = False
        if not self._halted and self._in_stream:
            self._send(Applied(self._journal.path, self._host, self._received, self._replica.sequence))

    def _was_applied(self) -> None:
        if self._halted:
            return
        if not self._live or self._inbox:
            self._confirm()  # the primary may wait for room
        self._see_state()

    def _turn(self) -> None:
        """Each beat."""
        if self._halted:
            self._ticking = False
            return
        now = self._journal.clock.monotonic()
        silent = now - max(self._heard, self._asked)
        if self._in_stream:
            if silent > max(_SILENT * self._interval, self._timeout):
                # its process may be gone: that is for others to say, and does not make us fall behind
                self._join(f"nothing heard for {silent:.1f} s")
            else:
                self._confirm()
        elif not self._asking and (silent > _ASK_AGAIN * self._interval or now - self._progress > _STUCK):
            self._join(self._why)
        self._see_state()
        self._report()
        if self._synced:
            self._readiness.look(now, self._source)
        self._plane.call_later(self._interval, self._turn)

    @property
    def lag(self) -> float:
        """Seconds the state is behind what was received: the age of the oldest event not yet applied."""
        waiting = self._batch
        if waiting is None:
            try:
                first = self._inbox[0]
            except IndexError:
                return 0.0
            if isinstance(first, _Snapshot):
                return 0.0
            waiting = first
        return max(0.0, self._journal.clock.monotonic() - waiting.since)

    def _see_state(self) -> None:
        """Synced once all of a live stream is applied; no more when events are lost or wait too long to be applied."""
        if self._synced:
            if self.lag > self._timeout:
                self._synced, self._why = False, "events wait too long to be applied"
        elif self._live and self._replica.sequence >= self._head:
            self._synced, self._why = True, ""
        state = "failed" if self._failed is not None else "synced" if self._synced else "syncing"
        if state != self._told:
            self._told = state
            self._report()

    def _report(self) -> None:
        why = str(self._failed) if self._failed is not None else self._why
        path, applied = self._journal.path, self._replica.sequence
        self._journal.report(StandbyState(path, self._host, self._told, applied, self._head, self.lag, why))
