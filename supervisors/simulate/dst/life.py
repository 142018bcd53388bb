"""One life of one worker: starts, acts, ends. What it keeps in a journal is in ``ledger``."""

from typing import TYPE_CHECKING

from supervisors.core.reasons import NORMAL, SHUTDOWN, ExitKind, ExitReason, crash
from supervisors.simulate.dst.keeping import Keeper
from supervisors.simulate.dst.model import LAUNCH, Worker
from supervisors.simulate.dst.process import Proc

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

#: seconds between repetitions of an exit notice, and how often it is said
_AGAIN, _TIMES = 0.2, 4


class Life:
    """What runs in a worker's process.

    Args:
        world: where it lives.
        proc: its process.
        worker: whose life.
        incarnation, epoch: which; 0 for a standby.
        rung: how it restores its state.
        holder, leased_at: of its lease; ``leased_at`` None: its clock cannot say.
    """

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
        self.world = world
        self.proc = proc
        self.worker = worker
        self.path = proc.path
        self.incarnation = incarnation
        self.epoch = epoch
        self.rung = rung
        self.holder = holder
        self.leased_at = leased_at
        self.keeper: Keeper | None = None
        #: the supervisor's process it reports to
        self.boss: Proc | None = None
        self.acting = False
        self.over = False
        self.stopping = False

    # ------------------------------------------------------------ start and end

    def begin(self) -> None:
        """The assignment has arrived."""
        self.report("hello")
        self.world.at_step(self.proc, "assigned", self._prepare, ())

    def _prepare(self) -> None:
        self.ready()

    def ready(self) -> None:
        """The state is there: ``start`` runs."""
        trouble = self.world.trouble(self.path)
        takes = 0.01 + 0.03 * self.world.draw(self.path)
        if trouble == "fail_start":
            self.world.kernel.after(
                takes, self.proc.deliver, self.failed, (ExitReason(ExitKind.INIT_ERROR, "told to"),)
            )
            return
        if trouble:
            takes += float(trouble)
        self.world.kernel.after(takes, self.proc.deliver, self.started, ())

    def started(self) -> None:
        """``start`` returned."""
        if not self.over:
            self.world.at_step(self.proc, "started", self._act, ())

    def _act(self) -> None:
        self.acting = True
        self.world.oracle.acts(self)
        self._say_started(_TIMES)

    def _say_started(self, left: int) -> None:
        """More than once: a start is waited for, if need be for ever."""
        if left and not self.over:
            self.report("started")
            self.world.kernel.after(0.5, self.proc.deliver, self._say_started, (left - 1,))

    def stop(self) -> None:
        """Told to end by itself."""
        if self.over or self.stopping:
            return
        self.stopping = True
        if self.world.trouble(self.path, stopping=True):
            return  # deaf
        takes = 0.005 + 0.02 * self.world.draw(self.path)
        self.world.kernel.after(takes, self.proc.deliver, self.close, ())

    def close(self) -> None:
        """In order."""
        self.end(SHUTDOWN, orderly=True)

    def finish(self, *, normal: bool) -> None:
        """The body returned, or raised."""
        self.end(NORMAL if normal else crash("raised"), orderly=normal)

    def failed(self, reason: ExitReason) -> None:
        """The start did not succeed."""
        self.end(reason, orderly=False, what="start_failed")

    def end(self, reason: ExitReason, *, orderly: bool, what: str = "exited") -> None:
        """This life is over: say so, and go."""
        if self.over:
            return
        self.over = True
        self.acting = False
        if self.keeper is not None:
            self.keeper.stop(release=orderly)
        if self.proc.left is None:
            self.proc.left = reason
        self.world.at_step(self.proc, "ending", self._say, (what, reason, _TIMES))

    def _say(self, what: str, reason: ExitReason, left: int) -> None:
        """Until it is heard, which is answered with a kill."""
        if left == 0:
            self.world.ended(self.proc, "ended by itself")
            return
        self.report(what, reason)
        self.world.kernel.after(_AGAIN, self.proc.deliver, self._say, (what, reason, left - 1))

    # ------------------------------------------------------------ its supervisor

    def attach(self, boss: Proc) -> None:
        """A supervisor (a new one, after a crash) is its own."""
        self.boss = boss

    def report(self, what: str, data: object = None) -> None:
        """To its supervisor; lost when that is gone."""
        boss = self.boss
        if boss is not None and boss.shell is not None:
            self.world.net.send(self.proc.node, LAUNCH, boss, boss.shell.heard, self.proc, self.incarnation, what, data)

    # ------------------------------------------------------------ acting

    def may_act(self) -> bool:
        """Whether it takes itself for the one that acts."""
        if not self.acting:
            return False
        if self.keeper is None or not self.world.parts.keep_deadline:
            return True
        return self.keeper.may_act

    def hold_lease(self, epoch: int) -> None:
        """Keep the lease it was given, if it has one."""
        recovery = self.worker.recovery
        if recovery is None or recovery.lease is None:
            return
        asked_at = self.leased_at if self.proc.node == LAUNCH else None
        self.keeper = Keeper(
            self.world, self.proc, self.path, self.holder, epoch, recovery.lease, self._lease_lost, asked_at
        )
        self.keeper.start()
        if self.keeper.asks_peers:
            self._ask_agree()

    def _ask_agree(self) -> None:
        keeper, recovery = self.keeper, self.worker.recovery
        if keeper is None or recovery is None or recovery.lease is None or self.over:
            return
        if keeper.may_act:
            self.report("agree", self.world.clocks[self.proc.node].now())
        self.world.kernel.after(recovery.lease.renew, self.proc.deliver, self._ask_agree, ())

    def agreed(self, asked: float) -> None:
        """The supervisor's word that nobody else acts."""
        if self.keeper is not None:
            self.keeper.agreed_at = max(self.keeper.agreed_at, asked)

    def _lease_lost(self, why: str) -> None:
        self.end(ExitReason(ExitKind.FENCED, why), orderly=False)
