"""The standby's side of replication, carried out: restore, follow the primary, apply what it sends, take its place.

What is decided is in ``supervisors.state.replicating``. The plane's thread receives, decodes and confirms; the actor's
loop applies, in slices. What was received is confirmed at once, before it is applied: it is in this process's memory
and will be applied before a promotion ends.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import google_crc32c
import msgspec
import zmq

from supervisors.core.errors import Fenced, JournalCorrupt, RecoveryError, StateError
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
from supervisors.state.journal import JournalReader, JournalWriter, Record, Removed, control, decode_frames
from supervisors.state.replicating import promotion as m
from supervisors.state.replicating import standby as s

#: seconds between looks whether the connection is made
_CONNECTING = 0.02
_CRC_BYTES = 4
#: bytes read to see whose one record is: more than a record's header
_LOOK = 4096
_READABLE = int(zmq.POLLIN)


@dataclass(frozen=True, slots=True)
class Promotion:
    """``sequence`` of the last applied event; ``behind``: events still to apply when the order came; ``seconds``."""

    sequence: int
    behind: int
    seconds: float


class _Batch(NamedTuple):
    """Records that wait to be applied. ``since``: when they were sent (or came, from another machine)."""

    records: Sequence[Record]
    since: float
    number: int


class _Snapshot(NamedTuple):
    """A state that replaces ours; ``checkpoint`` None: the one the object was born with."""

    checkpoint: Checkpoint | None
    number: int


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
        self._readiness = Readiness(
            journal.journal_folder,
            journal.disk,
            journal.spec.journal.segment_bytes,
            lambda why: journal.note("journal", what="not_prepared", why=why),
        )
        #: the state the object was made with
        self._born = self._replica.state()
        #: of the plane's thread until it is halted, then of the loop
        self._side: s.StandbySide[Record, bytes, Checkpoint] = s.StandbySide(
            beat_interval, journal.spec.journal.standby_timeout
        )
        # the plane's thread
        self._socket: zmq.Socket[bytes] | None = None
        self._ticking = False
        # handed from there to the loop
        self._inbox: deque[_Batch | _Snapshot] = deque()
        self._waking = False
        # the actor's loop
        self._events: list[object] = []
        self._at = 0
        self._batch: _Batch | None = None
        self._done = 0  #: number of the last one applied
        self._failed: BaseException | None = None

    @property
    def received(self) -> int:
        """Last sequence in memory."""
        return self._side.received

    @property
    def lag(self) -> float:
        """Seconds the state is behind what was received: the age of the oldest event not yet applied."""
        return self._side.lag(self._journal.clock.monotonic())

    # ------------------------------------------------------------ the actor's loop

    async def restore(self) -> Restored:
        """As far as this machine's disk goes; once, before the first ``feed``.

        Raises:
            StateError, RecoveryError: as ``ActorJournal.restore``.
        """
        restored = await self._journal.restore("")
        replica, epoch = self._replica, self._replica.epoch
        if epoch == 0 and replica.sequence > 0:  # from a checkpoint: whose its last event was is in the journal
            look = partial(self._epoch_here, replica.sequence)
            replica.epoch = epoch = await self._journal.loop.run_in_executor(self._journal.helper, look)
        self._step(s.Restored(replica.sequence, epoch))
        return restored

    def _epoch_here(self, sequence: int) -> int:
        """Epoch of that record of this machine's journal; 0: it cannot be said."""
        try:
            with JournalReader(self._journal.journal_folder, disk=self._journal.disk) as reader:
                return _epoch_of(reader, sequence)
        except StateError:
            return 0

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
                    self._done = found.number
                    continue
                bodies = [record.body for record in found.records]
                self._events = self._replica.codec.decode_events(bodies, found.records[0].sequence)
                self._at, self._batch = 0, found
            self._at = self._replica.replay(self._events, self._at, until - time.perf_counter())
            if self._at < len(self._events):
                return True
            self._replica.epoch = self._batch.records[-1].epoch
            self._done = self._batch.number
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
        self._plane.call_soon(partial(self._step, s.Failed(str(error))))
        self._journal.fatal(error)

    # ------------------------------------------------------------ promotion, in the actor's loop

    async def promote(self, epoch: int, incarnation: int) -> Promotion:
        """The primary is dead for certain: apply all, become the writer.

        Where the journal on this machine is the primary's it is authoritative: what it holds beyond what was received
        is applied too. Where it is not (another node), a checkpoint is made and the journal begun behind it.

        Raises:
            JournalCorrupt, JournalFailed, Fenced, CheckpointError, RecoveryError: this standby cannot take its place.
        """
        began = time.perf_counter()
        if not self._side.halted:
            await self._halt_from_loop()
        self._step(s.Progressed(self._done, self._replica.sequence))
        steps = m.PromotionSteps(self._side, epoch, "" if self._failed is None else str(self._failed))
        writer: JournalWriter | None = None
        todo = deque(steps.begin())
        while todo:
            answer: m.Event | None = None
            match todo.popleft():
                case m.ApplyAll():
                    while self._work(SLICE):  # noqa: ASYNC110 - not waiting: letting others run
                        await asyncio.sleep(0)
                    answer = m.Drained(self._replica.sequence, self._side.epoch)
                case m.LookAtDisk():
                    state = control.load(self._journal.disk, self._journal.journal_folder)
                    answer = m.DiskSeen(state.fence.epoch if state is not None else 0)
                case m.LookAtRecord(sequence):
                    answer = self._look_at_record(sequence)
                case m.SetAside():
                    self._set_aside()
                case m.RestoreFromDisk():
                    self._load(None)
                    await self._journal.restore("")
                    answer = s.Restored(self._replica.sequence, self._replica.epoch)
                case m.OpenJournal():
                    writer = self._journal.open_quickly(epoch, self._readiness.take())
                    answer = m.Opened(writer.durable)
                case m.Refuse(why, fenced):
                    raise self._refused(why, fenced) from self._failed
                case m.Act() if writer is not None:
                    # replays, or begins the journal behind a checkpoint, as was decided
                    await self._journal.take_over(writer, epoch, incarnation)
            if answer is not None:
                todo.extend(steps.step(answer))
        return Promotion(self._replica.sequence, steps.behind, time.perf_counter() - began)

    def _refused(self, why: str, fenced: bool) -> StateError | RecoveryError:
        path = self._journal.path
        if fenced:
            return Fenced(f"{path}: {why}", fix="this life must end; the newer one goes on")
        return RecoveryError(why, code=8022)

    async def _halt_from_loop(self) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def halt() -> None:
            self.halt()
            loop.call_soon_threadsafe(done.set_result, None)

        self._plane.call_soon(halt)
        await done

    def _look_at_record(self, sequence: int) -> m.RecordSeen:
        with JournalReader(self._journal.journal_folder, disk=self._journal.disk) as reader:
            last = reader.head
            return m.RecordSeen(last, _epoch_of(reader, sequence) if 0 < sequence <= last else 0)

    def _set_aside(self) -> None:
        """Put away what an earlier life left on this machine."""
        journal = self._journal
        mark = f".aside-{journal.clock.utc_ns()}"
        for folder in (journal.journal_folder, journal.checkpoint_folder):
            if folder.is_dir():
                folder.rename(folder.with_name(folder.name + mark))
        journal.forget_files()
        journal.note("journal", what="set_aside", file=f"{journal.journal_folder}{mark}")

    # ------------------------------------------------------------ the plane's thread

    def feed(self, message: Feed) -> None:
        """This is your primary now; again after each change."""
        same_machine = not message.endpoint.startswith("tcp://") or "//127." in message.endpoint
        self._step(s.Fed(message.epoch, message.endpoint, same_machine))
        if not self._ticking and not self._side.halted:
            self._ticking = True
            self._turn()

    def halt(self) -> None:
        """On ``Promote``: take what has arrived, receive no more. ``promote`` does it when it was not done."""
        if self._side.halted:
            return
        socket = self._socket
        while socket is not None and socket is self._socket and int(socket.get(zmq.EVENTS)) & _READABLE:
            self._plane.drain(socket)
        self._step(s.Halt())

    def close(self) -> None:
        """Stop following."""
        self._step(s.Halt())
        self._readiness.close()

    def _turn(self) -> None:
        """Each beat."""
        if self._side.halted:
            self._ticking = False
            return
        self._step(s.Ticked())
        self._plane.call_later(self._interval, self._turn)

    def _was_applied(self) -> None:
        if not self._side.halted:
            self._step(s.Progressed(self._done, self._replica.sequence))

    def _arrived(self, frames: list[bytes]) -> None:
        if len(frames) != 1:
            return
        try:
            message = decode(frames[0])
        except MalformedFrame:
            return  # a gap then, which is found
        if isinstance(message, Records):
            self._got_records(message)
        elif isinstance(message, SnapshotPart):
            body = message.body
            self._step(s.PartCame(message.epoch, message.sequence, message.offset, len(body), message.total, body))

    def _got_records(self, message: Records) -> None:
        records: Sequence[Record] = ()
        if message.body and self._side.wants(message.epoch, message.first):
            try:
                records = decode_frames(message.body)
            except JournalCorrupt as error:
                self._step(s.Damaged(error.message))
                return
        m = message
        self._step(s.RecordsCame(m.epoch, m.first, m.last, m.head, m.live, m.sent, records, m.before))

    # ------------------------------------------------------------ what was decided

    def _step(self, event: s.Event[Record, bytes, Checkpoint]) -> None:
        for effect in self._side.step(event, self._journal.clock.monotonic()):
            match effect:
                case s.Apply(number, records, since):
                    self._inbox.append(_Batch(records, since, number))
                    self._wake()
                case s.ConfirmSoon():
                    self._plane.call_soon(partial(self._step, s.ConfirmDue()))
                case s.SendConfirm(_, received, applied):
                    self._send(Applied(self._journal.path, self._host, received, applied))
                case s.Report(state, applied, head, lag, why):
                    path = self._journal.path
                    self._journal.report(StandbyState(path, self._host, state, applied, head, lag, why))
                case s.Prepare(epoch):
                    self._readiness.look(self._journal.clock.monotonic(), epoch)
                case s.SendJoin(_, applied):
                    if not self._send(Join(self._journal.path, self._host, applied)):
                        self._step(s.Unsent())
                        self._plane.call_later(_CONNECTING, partial(self._step, s.Connected()))
                case s.Load(number, _, checkpoint):
                    self._inbox.append(_Snapshot(checkpoint, number))
                    self._wake()
                case s.Unpack(sequence, pieces):
                    self._step(s.Unpacked(sequence, _unpack(pieces)))
                case s.Note(state, why):
                    self._journal.note("standby", state=state, host=self._host, why=why)
                case s.Connect(epoch, endpoint):
                    self._connect(epoch, endpoint)
                case s.Disconnect():
                    self._disconnect()

    def _connect(self, epoch: int, endpoint: str) -> None:
        self._disconnect()
        socket = self._socket = self._plane.dealer()
        socket.setsockopt(zmq.IDENTITY, f"{self._host}~{epoch}".encode())
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits for a primary that is not there: we ask again
        socket.connect(endpoint)
        self._plane.on_readable(socket, self._arrived)

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


def _epoch_of(reader: JournalReader, sequence: int) -> int:
    """Epoch of that record; 0: it is not kept."""
    try:
        _, _, data = reader.frames(sequence - 1, _LOOK)
    except Removed:
        return 0
    return decode_frames(data)[0].epoch if data else 0


def _unpack(pieces: list[bytes]) -> Checkpoint | None:
    """The checkpoint that travelled so; None: it is damaged."""
    packed = b"".join(pieces)
    body = packed[_CRC_BYTES:]
    if google_crc32c.value(body) != int.from_bytes(packed[:_CRC_BYTES], "big"):
        return None
    return msgspec.msgpack.decode(body, type=Checkpoint)
