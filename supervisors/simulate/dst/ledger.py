"""A life with a journal: restores, becomes the writer, takes events, acknowledges, feeds standbys, checkpoints."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisors.core.reasons import ExitKind, ExitReason, crash
from supervisors.recovery.policy import RecoverySpec, Rung
from supervisors.simulate.dst.disk import Checkpoint, Disk, Fenced, Folder, Rec, Refused, Writer
from supervisors.simulate.dst.life import Life
from supervisors.simulate.dst.model import BEAT, Worker
from supervisors.simulate.dst.process import Proc
from supervisors.state.replicating import primary as p
from supervisors.state.replicating.promotion import BeginJournalAt, ReplayDisk, take_over

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

#: answers one append: acknowledged or not
Reply = Callable[[bool], None]
#: what a record and a checkpoint count as, in bytes
RECORD, STATE = 100, 3000


class Ledger(Life):
    """One life of one worker that keeps a journal; the arguments are those of ``Life``."""

    def __init__(
        self,
        world: "World",
        proc: Proc,
        worker: Worker,
        incarnation: int,
        epoch: int,
        *,
        rung: str = "",
        holder: str = "",
        leased_at: float | None = None,
    ) -> None:
        super().__init__(world, proc, worker, incarnation, epoch, rung=rung, holder=holder, leased_at=leased_at)
        assert worker.recovery is not None
        self.policy: RecoverySpec = worker.recovery
        self.disk: Disk = world.disks[proc.node]
        self.folder: Folder = self.disk.folder(self.path)
        #: events applied, in order, and what the last one's sequence is
        self.state: list[int] = []
        self.sequence = 0
        #: who wrote that record; 0: unknown
        self.last_epoch = 0
        self.writer: Writer | None = None
        self.primary: p.PrimarySide[object] | None = None
        self._queue: list[tuple[int, Reply]] = []
        self._flying: list[tuple[int, Reply]] = []
        self._pending: deque[tuple[Rec, Reply]] = deque()
        self._acknowledged = 0
        self._checkpointed = 0
        self._checkpointing = False
        self._packed: dict[int, Checkpoint] = {}
        #: standbys the supervisor was told are in sync; those it was told are not, and has not answered for
        self._told: set[str] = set()
        self._untold: dict[str, int] = {}
        self._words = 0
        self._ticking = False

    # ------------------------------------------------------------ becoming the writer

    def _prepare(self) -> None:
        self.hold_lease(self.epoch)
        self.when_leased(self._restore)

    def when_leased(self, then: Callable[[], None]) -> None:
        """As soon as it holds its lease."""
        keeper = self.keeper
        if keeper is None or keeper.may_act:
            then()
        else:
            keeper.waiting = then

    def _restore(self) -> None:
        self.world.kernel.after(0.002 + 0.00002 * len(self.state), self.proc.deliver, self._restored, ())

    def _restored(self) -> None:
        if self.over:
            return
        self.restore(self.rung)
        self.world.at_step(self.proc, "restored", self._fence, ())

    def restore(self, rung: str) -> None:
        """From this node's disk: all of the journal (cold), or newest checkpoint and tail."""
        folder = self.folder
        self.state, self.sequence, self.last_epoch = [], 0, 0
        found = folder.checkpoint() if rung != Rung.COLD or folder.begin > 1 else None
        if found is not None and found.sequence >= folder.begin - 1:
            self.state, self.sequence = list(found.state), found.sequence
        self.replay()

    def replay(self) -> None:
        """Apply what the journal holds behind the state."""
        records = self.folder.records(self.sequence)
        if records:
            self.state.extend(record.event for record in records)
            self.sequence, self.last_epoch = records[-1].sequence, records[-1].epoch

    def _fence(self) -> None:
        if self.over or not self.raise_fence():
            return
        self.world.kernel.after(self.disk.sync_time(), self.proc.deliver, self._open, ())

    def raise_fence(self) -> bool:
        """Keep older writers out; False when it is too late itself, or the disk refuses."""
        try:
            if self.disk.failing or self.disk.full:
                raise Refused("the disk refused")
            self.folder.raise_fence(self.epoch, check=self.world.parts.fence)
        except Fenced as error:
            self.failed(ExitReason(ExitKind.FENCED, str(error)))
            return False
        except Refused as error:
            self.failed(ExitReason(ExitKind.INIT_ERROR, str(error)))
            return False
        return True

    def _open(self) -> None:
        if self.over:
            return
        self.open_writer()
        self.world.at_step(self.proc, "opened", self._take_over, ())

    def open_writer(self) -> int:
        """The end is found, a segment begun; the last sequence the journal holds."""
        control = self.folder.control
        torn = control is not None and not control.exact
        self.writer = self.folder.open(self.epoch, cut=self.world.parts.cut if torn else 0)
        return self.writer.durable

    def _take_over(self) -> None:
        if self.over or self.writer is None:
            return
        for effect in take_over(self.writer.durable, self.sequence):
            self.catch_up(effect)
        self.ready()

    def catch_up(self, effect: object) -> None:
        """Bring state and journal together."""
        assert self.writer is not None
        if isinstance(effect, ReplayDisk):
            self.replay()
        elif isinstance(effect, BeginJournalAt):
            self.folder.checkpoints.append(self._snapshot())
            self.writer.begin_at(self.sequence)

    def _act(self) -> None:
        if self.over:
            return
        self.become_primary()
        super()._act()

    def become_primary(self) -> None:
        """From now on standbys may join."""
        journal = self.policy.journal
        self.primary = self.world.parts.primary(
            self.epoch, journal.ack, journal.standby_timeout, base=self.sequence, base_epoch=self.last_epoch
        )
        self._acknowledged = self.sequence
        self._checkpointed = self.sequence

    # ------------------------------------------------------------ appending

    def append(self, event: int, reply: Reply) -> None:
        """A client's call."""
        if self.writer is None or self.primary is None or not self.may_act():
            reply(False)
            return
        self.world.at_step(self.proc, "checked", self._submit, (event, reply))

    def _submit(self, event: int, reply: Reply) -> None:
        if self.over:
            return
        self._queue.append((event, reply))
        if not self._flying:
            self._commit()

    def _commit(self) -> None:
        writer, disk = self.writer, self.disk
        assert writer is not None
        batch, self._queue = self._queue, []
        if self.world.parts.fence and writer.newer():
            self._fenced(writer.newer())
            return
        try:
            records = writer.write([event for event, _ in batch], full=disk.full > 0)
        except Refused:
            for _, reply in batch:
                reply(False)
            return
        self._flying = batch
        segment, kernel = writer.segment, self.world.kernel
        when = kernel.now + disk.sync_time()
        kernel.at(when, self.world.disk_synced, disk, segment, records[-1].sequence)
        kernel.at(when, self.proc.deliver, self._returned, (writer, records))
        if not self.world.parts.sync_first:
            self._counted(writer, records)

    def _returned(self, writer: Writer, records: list[Rec]) -> None:
        """The sync returned."""
        if self.over:
            return
        if self.disk.failing and self.world.parts.heed_sync:
            writer.void()
            batch, self._flying = self._flying, []
            for _, reply in batch:
                reply(False)
            self._next()
            return
        if self.world.parts.sync_first:
            self.world.at_step(self.proc, "synced", self._counted, (writer, records))
        else:
            self._flying = []
            self._next()

    def _next(self) -> None:
        if self._queue and not self._flying:
            self._commit()

    def _counted(self, writer: Writer, records: list[Rec]) -> None:
        """The mark is moved, then the fence looked at: only now the batch counts."""
        if self.over or self.primary is None:
            return
        first, last = records[0].sequence, records[-1].sequence
        writer.mark(last)
        newer = writer.newer()
        if newer:
            if self.world.parts.fence:
                self._fenced(newer)
                return
            self.world.oracle.accepted_late(self, newer)
        writer.durable = last
        batch = self._flying
        if self.world.parts.sync_first:
            self._flying = []
        self._pending.extend(zip(records, (reply for _, reply in batch), strict=True))
        if self.primary.busy:
            self.step_primary(p.Committed(first, last, RECORD * len(records), records))
        if (not self.primary.busy and not self._untold) or self.policy.journal.ack.value == "disk":
            self._acknowledge(last)
        if self.world.parts.sync_first:
            self._next()

    def _fenced(self, newer: int) -> None:
        self.end(ExitReason(ExitKind.FENCED, f"epoch {self.epoch} was replaced by {newer}"), orderly=False)

    def _acknowledge(self, upto: int) -> None:
        """All up to there is acknowledged: apply and answer."""
        if self.over:
            return
        self._acknowledged = max(self._acknowledged, upto)
        if self._untold:
            return
        pending, acting = self._pending, self.may_act()
        while pending and pending[0][0].sequence <= self._acknowledged:
            record, reply = pending.popleft()
            self.state.append(record.event)
            self.sequence, self.last_epoch = record.sequence, record.epoch
            if acting:
                self.world.oracle.acknowledged(self, record)
            reply(acting)
        if self.sequence - self._checkpointed >= self.policy.checkpoint.events:
            self._checkpoint()

    # ------------------------------------------------------------ standbys

    def step_primary(self, event: p.Event[object]) -> None:
        """Feed the primary's machine and carry out what it says."""
        side = self.primary
        if side is None or self.over:
            return
        now = self.world.clocks[self.proc.node].now()
        for effect in side.step(event, now):
            match effect:
                case p.SendRecords(host, first, last, head, live, body, before):
                    self._send(host, "records", first, last, head, live, now, body or (), before)
                case p.Acknowledge(upto):
                    self._acknowledge(upto)
                case p.ReadBacklog(host, number, after):
                    self._later(self._read, host, number, after)
                case p.PackSnapshot(host, number, after):
                    self._later(self._pack, host, number, after)
                case p.SendPart(host, number, sequence, offset, size, total):
                    self._send(host, "part", sequence, offset, size, total, self._packed.get(number))
                case p.Note("lagging", host, why):
                    self._tell_lagging(host, why)
                case p.Forget(_, number):
                    self._packed.pop(number, None)
        self._tell_synced()
        if not side.busy and self._acknowledged < self.writer_durable:
            self._acknowledge(self.writer_durable)
        if side.busy and not self._ticking:
            self._ticking = True
            self.world.kernel.after(BEAT, self.proc.deliver, self._tick, ())

    @property
    def writer_durable(self) -> int:
        """The last sequence that counts."""
        return self.writer.durable if self.writer is not None else 0

    def _later(self, call: Callable[..., None], *args: object) -> None:
        self.world.kernel.after(0.001, self.proc.deliver, call, args)

    def _tick(self) -> None:
        self._ticking = False
        if not self.over and self.primary is not None and self.primary.busy:
            self.step_primary(p.Ticked())

    def _read(self, host: str, number: int, after: int) -> None:
        if self.disk.failing:
            self.step_primary(p.ReadFailed(host, number, "the disk refused"))
            return
        head = self.writer_durable
        if after < self.folder.begin - 1:
            self.step_primary(p.BacklogGone(host, number))
            return
        records = [record for record in self.folder.records(after)[:50] if record.sequence <= head]
        first, last = (records[0].sequence, records[-1].sequence) if records else (after + 1, after)
        self.step_primary(p.BacklogRead(host, number, first, last, RECORD * len(records), records, head))

    def _pack(self, host: str, number: int, after: int) -> None:
        found = self.folder.checkpoint()
        if found is None or found.sequence <= after:
            self.step_primary(p.SnapshotPacked(host, number, 0, 0))
            return
        self._packed[number] = found
        self.step_primary(p.SnapshotPacked(host, number, found.sequence, STATE))

    def _send(self, host: str, what: str, *data: object) -> None:
        target = self.world.procs.get(int(host))
        if target is not None and isinstance(target.life, Ledger):
            self.world.net.send(self.proc.node, target.node, target, target.life.from_primary, what, self.epoch, data)

    def from_primary(self, what: str, epoch: int, data: tuple[object, ...]) -> None:
        """Of a standby."""

    def from_standby(self, what: str, epoch: int, host: str, data: tuple[int, ...]) -> None:
        """A standby joins or confirms; what is meant for another life is not ours."""
        if self.over or self.primary is None or epoch != self.epoch:
            return
        if what == "join":
            self.step_primary(p.Joined(host, data[0], self.writer_durable))
        else:
            self.step_primary(p.Confirmed(host, data[0], data[1]))

    def unfollow(self, host: str) -> None:
        """The supervisor says that this standby is dead, and has it on its list no more."""
        self.step_primary(p.Unfollowed(host))
        self.noted_lagging(host)

    # ------------------------------------------------------------ the supervisor's word

    def _tell_synced(self) -> None:
        """Which standbys are waited for and have all that was acknowledged: the supervisor promotes no other."""
        assert self.primary is not None
        for host, peer in self.primary.followers.items():
            if peer.in_sync and host not in self._told and peer.received >= self._acknowledged:
                self._told.add(host)
                self._untold.pop(host, None)
                self.report("in_sync", (host, self._word()))

    def _word(self) -> int:
        """Words overtake one another: the one of the greatest number holds."""
        self._words += 1
        return self._words

    def _tell_lagging(self, host: str, why: str) -> None:
        """Nothing is acknowledged without it before the supervisor has written down that it is not to be promoted."""
        if self.world.parts.word and host in self._told:
            self._untold[host] = self._word()
            self._say_lagging(host, self._words)
        elif not self.world.parts.word:
            self.report("lagging", (host, self._word()))
        self._told.discard(host)

    def _say_lagging(self, host: str, number: int) -> None:
        if self._untold.get(host) == number and not self.over:
            self.report("lagging", (host, number))
            self.world.kernel.after(0.25, self.proc.deliver, self._say_lagging, (host, number))

    def noted_lagging(self, host: str, number: int = 0) -> None:
        """The supervisor has written it down; number 0: it is dead."""
        if host in self._untold and number in (0, self._untold[host]):
            del self._untold[host]
            if not self._untold and self.primary is not None:
                if not self.primary.busy:
                    self._acknowledged = max(self._acknowledged, self.writer_durable)
                self._acknowledge(self._acknowledged)

    def attach(self, boss: Proc) -> None:
        """A new supervisor is told who is in sync."""
        super().attach(boss)
        for host in sorted(self._told):
            self.report("in_sync", (host, self._word()))

    # ------------------------------------------------------------ checkpoints

    def _snapshot(self) -> Checkpoint:
        return Checkpoint(self.sequence, self.epoch, tuple(self.state), self.world.kernel.now)

    def _checkpoint(self) -> None:
        if not self._checkpointing:
            self._checkpointing = True
            self.world.at_step(self.proc, "checkpoint", self._write_checkpoint, (self._snapshot(),))

    def _write_checkpoint(self, snapshot: Checkpoint) -> None:
        takes = 0.002 + self.disk.sync_time()
        self.world.kernel.after(takes, self.proc.deliver, self._checkpoint_written, (snapshot,))

    def _checkpoint_written(self, snapshot: Checkpoint) -> None:
        self._checkpointing = False
        if self.over or self.disk.failing or self.disk.full:
            return
        self.world.at_step(self.proc, "renamed", self._checkpoint_there, (snapshot,))

    def _checkpoint_there(self, snapshot: Checkpoint) -> None:
        folder = self.folder
        self._checkpointed = snapshot.sequence
        folder.checkpoints.append(snapshot)
        folder.checkpoints.sort(key=lambda one: (one.epoch, one.sequence))
        del folder.checkpoints[:-3]
        oldest = min(one.sequence for one in folder.checkpoints)
        writer = self.writer
        if writer is None or writer.newer():
            return
        while len(folder.segments) > 1 and folder.segments[1].first - 1 <= oldest and len(folder.checkpoints) == 3:
            folder.begin = folder.segments[1].first
            del folder.segments[0]

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """In order: a last checkpoint, the journal closed."""
        if self.over:
            return
        if self.writer is not None and self.primary is not None:
            if self.may_act() and not self.disk.failing and not self.disk.full and self.sequence > self._checkpointed:
                self._checkpoint_there(self._snapshot())
            self.writer.close()
        super().close()

    def end(self, reason: ExitReason, *, orderly: bool, what: str = "exited") -> None:
        """See ``Life``; nobody is answered any more."""
        if self.over:
            return
        super().end(reason, orderly=orderly, what=what)
        for _, reply in [*self._queue, *self._flying, *self._pending]:
            reply(False)
        self._queue, self._flying = [], []
        self._pending.clear()

    def defect(self, why: str) -> None:
        """Its state would differ from its journal."""
        self.end(crash(why), orderly=False)
