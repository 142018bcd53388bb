"""A standby: follows its primary with the pure machine, and takes its place when it is told to."""

from collections import deque
from typing import TYPE_CHECKING, cast

from supervisors.core.reasons import ExitKind, ExitReason, init_error
from supervisors.simulate.dst.disk import Checkpoint, Rec
from supervisors.simulate.dst.ledger import Ledger
from supervisors.simulate.dst.model import BEAT, Worker
from supervisors.simulate.dst.process import Proc
from supervisors.state.replicating import promotion as m
from supervisors.state.replicating import standby as s

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

#: seconds until the supervisor is asked once more
_ASK_AGAIN = 0.1


class Standing(Ledger):
    """A process that stands by for one path, until it is promoted; then it is a ``Ledger`` like any other.

    Args:
        world: where it lives.
        proc: its process.
        worker: for whom it stands by.
    """

    def __init__(self, world: "World", proc: Proc, worker: Worker) -> None:
        super().__init__(world, proc, worker, 0, 0)
        self.side = world.parts.standby(BEAT, self.policy.journal.standby_timeout)
        self._primary_proc: Proc | None = None
        self._primary_epoch = 0
        self._fed: tuple[int, Proc] | None = None
        self._inbox: deque[tuple[int, object]] = deque()
        self._working = False
        self._restored_here = False
        self._restored_at = 0
        self._ordered = self._asks = False
        self._steps: m.PromotionSteps | None = None

    # ------------------------------------------------------------ following

    def _prepare(self) -> None:
        self._restore()

    def _restored(self) -> None:
        if self.over:
            return
        self.restore("")
        self._restored_here, self._restored_at = True, self.sequence
        self._step(s.Restored(self.sequence, self.last_epoch))
        if self._fed is not None:
            self.feed(*self._fed)
        self.world.kernel.after(BEAT, self.proc.deliver, self._beat, ())

    def feed(self, epoch: int, proc: Proc) -> None:
        """That is your primary now."""
        self._fed = epoch, proc
        if self._restored_here and not self._ordered:
            same = proc.node == self.proc.node
            if epoch >= self._primary_epoch:
                self._primary_proc, self._primary_epoch = proc, epoch
            self._step(s.Fed(epoch, str(proc.pid), same))

    def _beat(self) -> None:
        if not self.over and not self._ordered:
            self._step(s.Ticked())
            self.world.kernel.after(BEAT, self.proc.deliver, self._beat, ())

    def from_primary(self, what: str, epoch: int, data: tuple[object, ...]) -> None:
        """Records, or a piece of a checkpoint."""
        if self.over or self._ordered:
            return
        if what == "records":
            first, last, head, live, sent, records, before = cast(
                "tuple[int, int, int, bool, float, list[Rec], int]", data
            )
            self._step(s.RecordsCame(epoch, first, last, head, live, sent, records, before))
        else:
            sequence, offset, size, total, body = cast("tuple[int, int, int, int, Checkpoint]", data)
            self._step(s.PartCame(epoch, sequence, offset, size, total, body))

    def _step(self, event: object) -> None:
        now = self.world.clocks[self.proc.node].now()
        for effect in self.side.step(event, now):  # type: ignore[arg-type]
            match effect:
                case s.SendConfirm(epoch, received, applied):
                    self._answer("confirm", epoch, (received, applied))
                case s.ConfirmSoon():
                    self._step(s.ConfirmDue())
                case s.Apply(number, records):
                    self._take((number, records))
                case s.Report(state, applied, head, lag, _):
                    self.report("standby", (state, applied, head, lag))
                case s.SendJoin(epoch, applied):
                    self._answer("join", epoch, (applied,))
                case s.Load(number, sequence, body):
                    self._take((number, body if body is not None else Checkpoint(sequence, 0, (), 0.0)))
                case s.Unpack(sequence, pieces):
                    whole = pieces[0] if pieces else None
                    self._step(s.Unpacked(sequence, whole))
                case _:
                    pass

    def _answer(self, what: str, epoch: int, data: tuple[int, ...]) -> None:
        """To the life of that epoch."""
        proc = self._primary_proc
        if proc is not None and isinstance(proc.life, Ledger):
            host = str(self.proc.pid)
            self.world.net.send(self.proc.node, proc.node, proc, proc.life.from_standby, what, epoch, host, data)

    # ------------------------------------------------------------ applying

    def _take(self, found: tuple[int, object]) -> None:
        self._inbox.append(found)
        if not self._working:
            self._working = True
            self.world.kernel.after(0.0004, self.proc.deliver, self._work, ())

    def _work(self) -> None:
        self._working = False
        if not self.over and self._inbox:
            self._step(self._apply(self._inbox.popleft()))
            if self._inbox:
                self._working = True
                self.world.kernel.after(0.0002, self.proc.deliver, self._work, ())

    def _apply(self, found: tuple[int, object]) -> s.Progressed:
        number, what = found
        if isinstance(what, Checkpoint):
            self.state, self.sequence, self.last_epoch = list(what.state), what.sequence, 0
        else:
            records = cast("list[Rec]", what)
            self.state.extend(record.event for record in records)
            self.sequence, self.last_epoch = records[-1].sequence, records[-1].epoch
        return s.Progressed(number, self.sequence)

    # ------------------------------------------------------------ taking the place

    def promote(self, epoch: int, incarnation: int, holder: str, leased_at: float, ask: bool) -> None:
        """The order; ``ask``: before it acts, once it has everything."""
        if self._ordered or self.over:
            return
        self._ordered, self._asks = True, ask and self.world.parts.ask_home
        self.proc.standby = False
        self.epoch, self.incarnation, self.holder, self.leased_at = epoch, incarnation, holder, leased_at
        self.world.at_step(self.proc, "ordered", self._halt, ())

    def _halt(self) -> None:
        if self.over:
            return
        self._step(s.Halt())
        self.hold_lease(self.epoch)
        self.when_leased(self._begin)

    def _begin(self) -> None:
        if self.over:
            return
        if self.folder.last > self._restored_at and self.folder.fence < self.side.source:
            self.side.diverged = True  # a life that was taken for dead wrote here after we had read it
        self._steps = self.world.parts.promotion(self.side, self.epoch)
        self._carry(self._steps.begin())

    def _carry(self, effects: list[m.Effect]) -> None:
        steps = self._steps
        assert steps is not None
        for effect in effects:
            if self.over or not self.proc.alive:
                return
            match effect:
                case m.ApplyAll():
                    while self._inbox:
                        self._step(self._apply(self._inbox.popleft()))
                    self._carry(steps.step(m.Drained(self.sequence, self.last_epoch)))
                case m.LookAtDisk():
                    self._carry(steps.step(m.DiskSeen(self.folder.fence)))
                case m.LookAtRecord(sequence):
                    seen = m.RecordSeen(self.folder.last, self.folder.epoch_of(sequence))
                    self._carry(steps.step(seen))
                case m.SetAside():
                    self.folder.set_aside()
                case m.RestoreFromDisk():
                    self.restore("")
                    self._carry(steps.step(s.Restored(self.sequence, self.last_epoch)))
                case m.OpenJournal():
                    self.world.at_step(self.proc, "promoting", self._open_quickly, ())
                case m.Act():
                    self.world.at_step(self.proc, "caught_up", self._became, ())
                case m.Refuse(why, fenced):
                    self.failed(ExitReason(ExitKind.FENCED, why) if fenced else init_error(why))
                case _:
                    self.catch_up(effect)

    def _open_quickly(self) -> None:
        if not self.over and self.raise_fence():
            self.world.at_step(self.proc, "fenced", self._opened, ())

    def _opened(self) -> None:
        if not self.over and self._steps is not None:
            self._carry(self._steps.step(m.Opened(self.open_writer())))

    def _became(self) -> None:
        if self.over:
            return
        if self._asks:
            self.report("ask_act")
            self.world.kernel.after(_ASK_AGAIN, self.proc.deliver, self._ask_again, ())
        else:
            self._act()

    def _ask_again(self) -> None:
        if self._asks:
            self._became()

    def told_to_act(self, incarnation: int) -> None:
        """The supervisor has written down that the newest journal is here."""
        if self._asks and incarnation == self.incarnation:
            self._asks = False
            self.world.at_step(self.proc, "told_to_act", self._became, ())
