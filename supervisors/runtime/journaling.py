"""The object behind ``ctx.journal``: append, acknowledge, apply, checkpoint, restore.

Who runs where: the actor's loop takes events in and applies them; the committer's thread writes them; the plane's
thread feeds standbys (``replication``); a helper thread does what nobody waits for on the hot path. What was committed
comes back to the loop once per batch. The state is always what the journal says: an event is applied when it is
acknowledged, in the order of sequences, once, whether or not its caller still waits.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from supervisors.core.clock import Clock
from supervisors.core.errors import Fenced, JournalFailed, NotActing, RecoveryError, StateError
from supervisors.faults.board import NO_FAULTS, FaultSlot
from supervisors.faults.order import Hook
from supervisors.recovery.policy import AckMode, RecoverySpec
from supervisors.runtime.checkpointing import Checkpointer
from supervisors.runtime.codec import StateCodec, is_journaled
from supervisors.runtime.replica import Replica
from supervisors.runtime.replication import Replicator
from supervisors.runtime.restoring import SLICE, Restored, Restorer, Tail, replay
from supervisors.runtime.trailing import TrailingSync
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Applied, Join, Message, StateNoted
from supervisors.state.disk import REAL_DISK, Disk
from supervisors.state.folders import CHECKPOINTS, JOURNAL
from supervisors.state.journal import Finding, GroupCommitter, JournalReader, JournalWriter, Prepared

if TYPE_CHECKING:
    from loguru import Logger

Scalar = str | int | float | bool

#: seconds between looks at what is due
_TICK = 1.0
#: seconds after a promotion until what it left to be done is done: the first events come first
_SETTLE_AFTER = 0.5


class _Pending(NamedTuple):
    """An event on its way to the disk and the standbys."""

    sequence: int
    event: object
    done: "asyncio.Future[object]"


class ActorJournal:
    """One life's journal.

    Args:
        path: of the actor.
        incarnation: of its life; 0 for a standby, which is told at its promotion.
        target: the user's object: ``apply(event)``, ``snapshot()``, ``restore(state)``; optionally
            ``migrate(version, state)``. Blank, as its class makes it.
        spec: checkpoints, acknowledgement, retention.
        folder: ``state_folder(data_dir, path)``.
        actor, config: import string and JSON config of the class: for the verification in the background.
        plane: whose thread calls ``joined``, ``applied`` and ``unfollow``.
        loop: the actor's own; everything async here, and ``append``, belongs to it.
        clock: times what is due, stamps records.
        report: takes messages for the supervisor; thread-safe.
        send: sends to the holder of a ROUTER identity; called in the plane's thread.
        fatal: ends this life with that error; thread-safe. Its state would differ from its journal, or it is fenced.
        may_act: False once the lease ran out; asked on each append and each acknowledgement.
        log: opens the logger.
        disk: where the files are.
        faults: of this process.
        tick: seconds between looks at what is due.

    Raises:
        RecoveryError: the class cannot be journalled (8020).
    """

    def __init__(
        self,
        *,
        path: str,
        incarnation: int,
        target: object,
        spec: RecoverySpec,
        folder: Path,
        actor: str,
        config: bytes,
        plane: PlaneLoop,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        report: Callable[[Message], None],
        send: Callable[[bytes, Message], None],
        fatal: Callable[[BaseException], None],
        may_act: Callable[[], bool],
        log: "Callable[[], Logger]",
        disk: Disk = REAL_DISK,
        faults: FaultSlot = NO_FAULTS,
        tick: float = _TICK,
    ) -> None:
        if not is_journaled(target):
            raise RecoveryError(
                f"{actor} has `apply` and lacks `snapshot` or `restore`", code=8020, fix="give it all three"
            )
        self.path = path
        self.incarnation = incarnation
        self.folder = folder
        self.journal_folder = folder / JOURNAL
        self.checkpoint_folder = folder / CHECKPOINTS
        self.spec = spec
        self.plane = plane
        self.loop = loop
        self.clock = clock
        self.disk = disk
        self._faults = faults
        self.report = report
        self.fatal = fatal
        self.replica = Replica(target, StateCodec(target))
        self.helper = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._send = send
        self._may_act = may_act
        self._log = log
        self._tick = tick
        self._ack = spec.journal.ack
        self._epoch = 0
        self._last_checkpoint = 0
        self._writer: JournalWriter | None = None
        self._committer: GroupCommitter | None = None
        self._replicator: Replicator | None = None
        self._trailing: TrailingSync | None = None
        self._checkpointer = Checkpointer(
            replica=self.replica,
            path=path,
            actor=actor,
            config=config,
            spec=spec,
            journal=self.journal_folder,
            checkpoints=self.checkpoint_folder,
            clock=clock,
            report=report,
            helper=self.helper,
            disk=disk,
            faults=faults,
        )
        self._pending: deque[_Pending] = deque()
        self._acknowledged = 0
        self._draining = False
        self._failing = False
        self._over: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._settling: asyncio.TimerHandle | None = None

    @property
    def sequence(self) -> int:
        """Sequence of the last event applied; 0 before the first."""
        return self.replica.sequence

    # ------------------------------------------------------------ becoming the writer

    async def restore(self, rung: str) -> Restored:
        """Bring the target to the journalled state: ``cold`` from nothing, else newest valid checkpoint and tail.

        Raises:
            JournalCorrupt: the journal is damaged, or ends before a checkpoint.
            CheckpointError: the journal needs a checkpoint to begin with and none is valid.
            JournalFailed: the disk refused.
            RecoveryError: ``apply`` or ``restore`` raised (8021), or the class cannot read an event or state (8020).
        """
        restorer = Restorer(self.replica, self.journal_folder, self.checkpoint_folder, self.disk, self.helper)
        restored = await restorer.restore(rung)
        self._last_checkpoint = restored.from_checkpoint
        for text in restored.findings:
            self.note("journal", what="restored_with", text=text)
        return restored

    async def open(self, epoch: int) -> None:
        """Become the writer. Events another life added since ``restore`` are applied first.

        Raises:
            Fenced: a newer epoch holds the journal.
            JournalCorrupt: its end is damaged.
            JournalFailed: the disk refused.
            RecoveryError: as ``restore``.
        """
        writer = await self.loop.run_in_executor(self.helper, partial(self._open_writer, epoch))
        await self.take_over(writer, epoch, self.incarnation)

    def open_quickly(self, epoch: int, prepared: Prepared | None = None) -> JournalWriter:
        """The writer, at once and in this thread: for a promoted standby, which knows what the journal holds.

        ``prepared`` is used up, also when it fails.

        Raises:
            Fenced, JournalCorrupt, JournalFailed: as ``open``.
        """
        return self._open_writer(epoch, quick=True, prepared=prepared)

    def _open_writer(self, epoch: int, *, quick: bool = False, prepared: Prepared | None = None) -> JournalWriter:
        journal = self.spec.journal
        return JournalWriter.open(
            self.journal_folder,
            epoch,
            clock=self.clock,
            disk=self.disk,
            segment_bytes=journal.segment_bytes,
            sync=journal.ack in (AckMode.DISK, AckMode.BOTH),
            quick=quick,
            prepared=prepared,
        )

    def forget_files(self) -> None:
        """What ``restore`` found is put away: no checkpoint is left."""
        self._last_checkpoint = 0

    async def take_over(self, writer: JournalWriter, epoch: int, incarnation: int) -> int:
        """Catch up with what the journal holds, then take events. How many events had to be caught up.

        A journal that ends before the state does (the state came from a checkpoint or from a primary with a disk of its
        own) begins anew behind it; a checkpoint of the state is durable before that.

        Raises:
            JournalCorrupt, JournalFailed, Fenced, CheckpointError, RecoveryError: this life cannot go on.
        """
        self._epoch, self.incarnation = epoch, incarnation
        self._writer = writer
        self._note_findings(writer.findings)
        behind = writer.durable - self.replica.sequence
        if behind > 0:
            reader = JournalReader(self.journal_folder, disk=self.disk)
            tail = Tail(reader, self.replica.codec, self.replica.sequence)
            try:
                await replay(self.replica, tail.next, self.helper)
            finally:
                await self.loop.run_in_executor(self.helper, reader.close)
        self._checkpointer.begin(epoch, incarnation, self._last_checkpoint)
        if behind < 0:
            if self._last_checkpoint != self.replica.sequence:
                self._last_checkpoint = await self._checkpointer.take()
            writer.begin_at(self.replica.sequence)
            self.note("journal", what="begun_at", sequence=self.replica.sequence)
        self._acknowledged = self.replica.sequence
        self._begin(writer)
        return max(0, behind)

    def _begin(self, writer: JournalWriter) -> None:
        self._replicator = Replicator(
            path=self.path,
            epoch=self._epoch,
            journal=self.journal_folder,
            checkpoints=self.checkpoint_folder,
            spec=self.spec.journal,
            plane=self.plane,
            send=self._send,
            clock=self.clock,
            head=lambda: writer.durable,
            acknowledge=self._acknowledge_soon,
            noted=lambda data: self.note("standby", **data),
            disk=self.disk,
            base=self.replica.sequence,
            base_epoch=self.replica.epoch,
        )
        if self._ack is AckMode.STANDBY:
            self._trailing = TrailingSync(self.journal_folder, self.disk, self._synced, self._sync_failed)
        self._committer = GroupCommitter(writer, committed=self._committed, failed=self._failed)
        self._settling = self.loop.call_later(_SETTLE_AFTER, self._settle, writer)
        self._look()

    def _settle(self, writer: JournalWriter) -> None:
        if self._committer is not None:
            self.helper.submit(lambda: self._note_findings(writer.settle()))

    # ------------------------------------------------------------ appending

    async def append(self, event: object) -> object:
        """See ``actors.context.Journal``.

        Raises:
            TypeError, msgspec.ValidationError: it cannot be encoded, or is no ``Event``; nothing is written.
        """
        if self._over is not None:
            raise NotActing(f"{self.path}: this life is over: {self._over}")
        committer = self._committer
        if committer is None or not self._may_act():
            raise NotActing(f"{self.path}: this life does not act", fix="append from the acting incarnation only")
        codec = self.replica.codec
        body = codec.encode_event(event)
        seen = codec.decode_event(body)  # what apply gets now is what it gets in a replay
        done: asyncio.Future[object] = self.loop.create_future()
        self._pending.append(_Pending(committer.submit(body), seen, done))
        return await done

    def _committed(self, first: int, last: int, frames: bytes) -> None:
        """In the committer's thread."""
        replicator, trailing = self._replicator, self._trailing
        assert replicator is not None
        if trailing is not None:
            trailing.urgent = not replicator.busy
            trailing.written(last)
        if replicator.busy:
            self.plane.call_soon(partial(replicator.committed, first, last, frames))
            if self._ack in (AckMode.BOTH, AckMode.STANDBY):
                return  # it says when
        elif self._ack is AckMode.STANDBY:
            return  # the disk says when
        self._acknowledge_soon(last)

    def _synced(self, last: int) -> None:
        """In the trailing sync's thread."""
        replicator = self._replicator
        if replicator is not None:
            self.plane.call_soon(partial(replicator.synced, last))

    def _sync_failed(self, error: OSError) -> None:
        self.note("journal", what="failed", why=str(error))
        self.loop.call_soon_threadsafe(
            self._end, JournalFailed(f"{self.path}: the disk did not follow: {error}", fix="look at the disk")
        )

    def _acknowledge_soon(self, last: int) -> None:
        """From any thread: all up to ``last`` is acknowledged."""
        try:
            self.loop.call_soon_threadsafe(self._acknowledge, last)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _acknowledge(self, last: int) -> None:
        self._acknowledged = max(self._acknowledged, last)
        if self._failing:
            self._failing = False
            self.note("journal", what="usable", sequence=last)
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        """Apply what is acknowledged, in order; lets others run when it takes long."""
        self._draining = False
        pending, replica, faults = self._pending, self.replica, self._faults
        apply = replica.target.apply
        acting = self._may_act()
        until = time.perf_counter() + SLICE
        while pending and pending[0].sequence <= self._acknowledged and self._over is None:
            if faults.board is not None:
                faults.crash_point(Hook.APPEND)
            sequence, event, done = pending.popleft()
            try:
                result = apply(event)
            except Exception as error:  # noqa: BLE001 - the user's: it is durable, so no state can be without it
                if not done.done():
                    done.set_exception(error)
                self._end(error)
                return
            replica.sequence, replica.epoch = sequence, self._epoch
            if done.done():
                pass  # its caller was cancelled
            elif acting:
                done.set_result(result)
            else:
                done.set_exception(NotActing(f"{self.path}: event {sequence} is kept; this life may not act any more"))
            if time.perf_counter() >= until and pending:
                self._draining = True
                self.loop.call_soon(self._drain)
                break
        self._checkpointer.look()

    def _failed(self, first: int, error: StateError) -> None:
        """In the committer's thread: all from ``first`` on is void."""
        try:
            self.loop.call_soon_threadsafe(self._void, first, error)
        except RuntimeError:
            return

    def _void(self, first: int, error: StateError) -> None:
        void: list[_Pending] = []
        while self._pending and self._pending[-1].sequence >= first:
            void.append(self._pending.pop())
        for one in reversed(void):
            if not one.done.done():
                one.done.set_exception(type(error)(error.message, code=error.code, fix=error.fix))
        if isinstance(error, Fenced):
            self.note("journal", what="fenced", why=error.message)
            self._end(error)
            return
        if not self._failing:
            self._failing = True
            self.note("journal", what="failed", sequence=first, why=error.message)
        if self._committer is not None:
            self._committer.resume()

    def _end(self, error: BaseException) -> None:
        """This life is over."""
        if self._over is not None:
            return
        self._over = error
        while self._pending:
            done = self._pending.popleft().done
            if not done.done():
                done.set_exception(NotActing(f"{self.path}: this life is over: {error}"))
        self.fatal(error)

    # ------------------------------------------------------------ checkpoints and the end

    async def checkpoint(self) -> int:
        """See ``actors.context.Journal``."""
        if self._committer is None:
            raise NotActing(f"{self.path}: this life does not act")
        return await self._checkpointer.take()

    def _look(self) -> None:
        if self._committer is None:
            return
        self._checkpointer.look()
        self._timer = self.loop.call_later(self._tick, self._look)

    async def close(self, checkpoint: bool = True) -> None:
        """An orderly end: appends are acknowledged, a last checkpoint is taken, files are closed. Never raises."""
        committer, self._committer = self._committer, None
        for timer in (self._timer, self._settling):
            if timer is not None:
                timer.cancel()
        if committer is not None:
            await self.loop.run_in_executor(self.helper, committer.flush)
            if self._pending:
                await asyncio.wait({one.done for one in self._pending}, timeout=self.spec.journal.standby_timeout + 1.0)
            if checkpoint and self._over is None and self.replica.sequence > 0:
                try:
                    await self._checkpointer.take()
                except StateError as error:
                    self.note("checkpoint", what="failed", why=error.message)
            await self._checkpointer.close()
            await self.loop.run_in_executor(self.helper, committer.close)
        if self._trailing is not None:
            await self.loop.run_in_executor(self.helper, self._trailing.close)
        if self._replicator is not None:
            self._replicator.close()
        self.helper.shutdown(wait=False)

    def _note_findings(self, findings: list[Finding]) -> None:
        for found in findings:
            self.note("journal", what=str(found.kind), file=found.file, offset=found.offset, sequence=found.sequence)

    def note(self, kind: str, **data: Scalar) -> None:
        """For the trail; from any thread."""
        self.report(StateNoted(self.path, self.incarnation, kind, data))

    # ------------------------------------------------------------ the plane's thread

    def joined(self, sender: bytes, message: Join) -> None:
        """A standby wants what follows ``message.applied``. One that comes before we write asks again."""
        if self._replicator is not None:
            self._replicator.joined(sender, message)

    def applied(self, message: Applied) -> None:
        """A standby confirms."""
        if self._replicator is not None:
            self._replicator.applied(message)

    def unfollow(self, host: str) -> None:
        """That standby is dead: wait for it no longer."""
        if self._replicator is not None:
            self._replicator.unfollow(host)
