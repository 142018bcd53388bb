"""What a recoverable worker has beside its body: its journal, its part as primary or standby, its lease.

A *journal* standby applies its primary's events and starts its body when it is promoted. A *live* standby runs its body
from the beginning with its outputs shut; promotion opens them.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.core.clock import Clock
from supervisors.core.errors import Fenced, RecoveryError
from supervisors.core.reasons import ExitKind, ExitReason, crash
from supervisors.faults.board import NO_FAULTS, FaultSlot
from supervisors.faults.disk import FaultDisk
from supervisors.faults.leases import FaultLeases
from supervisors.recovery.policy import LeaseSpec, RecoverySpec, StandbyKind, StoreLoss
from supervisors.runtime.boot import HostBoot
from supervisors.runtime.context import HostContext
from supervisors.runtime.following import Follower
from supervisors.runtime.journaling import ActorJournal
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import (
    Agree,
    Applied,
    AskAct,
    AskAgree,
    Exited,
    Feed,
    Join,
    MayAct,
    Message,
    Promote,
    Promoted,
    Ready,
    Records,
    Resize,
    SnapshotPart,
    StandbyState,
    StateNoted,
    Unfollow,
)
from supervisors.spec.compiled import WorkerSpec
from supervisors.state.disk import REAL_DISK
from supervisors.state.folders import state_folder
from supervisors.state.keeper import LeaseKeeper
from supervisors.state.leases import BOOT_CLOCK, LeaseStore, open_lease_store
from supervisors.trail.events import EventKind

if TYPE_CHECKING:
    from loguru import Logger

_LOOK_EVERY = 0.002
#: seconds until the supervisor is asked once more
_ASK_AGAIN = 0.1


class Life:
    """One life of one worker with a recovery policy; also of one that stands by.

    Args:
        spec: of the worker; ``spec.recovery`` is set.
        standby: it stands by.
        rung: how it restores its state: warm, cold, or empty at a first start.
        elsewhere: why it must not go on from the journal here; empty: it may.
        ask: it is to ask before it acts, once everything is on this disk.
        leased_at: seconds of the boot clock when its lease was asked for, 0 without one; holder: under which name.
        boot: of this host.
        state: where leases are kept (``SystemSpec.state``).
        plane, loop: of this host: its plane's thread and the actor's loop.
        context: of the worker.
        clock: real time.
        report: takes messages for the supervisor, from any thread.
        send: sends to a host by its ROUTER identity, in the plane's thread.
        finish: ends this host with a last message, from any thread.
        log: opens the logger.
        faults: of this process; None: the topology allows none, and nothing is put in their way.
    """

    def __init__(
        self,
        *,
        spec: WorkerSpec,
        standby: bool,
        rung: str,
        elsewhere: str,
        ask: bool,
        leased_at: float,
        holder: str,
        boot: HostBoot,
        state: str,
        plane: PlaneLoop,
        loop: asyncio.AbstractEventLoop,
        context: HostContext,
        clock: Clock,
        report: Callable[[Message], None],
        send: Callable[[bytes, Message], None],
        finish: Callable[[Message], None],
        log: "Callable[[], Logger]",
        faults: FaultSlot | None = None,
    ) -> None:
        assert spec.recovery is not None
        self._spec = spec
        self._policy: RecoverySpec = spec.recovery
        self._boot = boot
        self._state = state
        self._plane = plane
        self._loop = loop
        self._context = context
        self._clock = clock
        self._report = report
        self._send = send
        self._finish = finish
        self._log = log
        self._faults = faults
        self._rung = rung
        self._elsewhere = elsewhere
        self._ask = ask
        self._leased_at = leased_at
        self._holder = holder
        self._journal: ActorJournal | None = None
        self._follower: Follower | None = None
        self._keeper: LeaseKeeper | None = None
        self._store: LeaseStore | None = None
        self._fed: Feed | None = None
        self._order: Promote | None = None
        self._ordered = asyncio.Event()
        self._told_to_act = asyncio.Event()
        self._ordered_at = 0.0
        #: boot clock when the supervisor's last word that nobody else acts was asked for
        self._agreed_at = float("-inf")
        self._ready = spec.ready_timeout is None
        self._up = False
        #: it stands by and was not promoted yet
        self.standby = standby
        #: it stands by with a running body (known once the class is)
        self.shadow = False

    # ------------------------------------------------------------ the actor's loop

    async def begin(self, target: object) -> None:
        """Before ``start``: restore the state and become the writer; a standby follows until it is promoted.

        Raises:
            StateError, RecoveryError: the state cannot be had in this way.
        """
        journalled = callable(getattr(target, "apply", None))
        if self._policy.lease is not None:
            self._open_store()  # what it imports is not to be imported during a promotion
        if self.standby and self._policy.standby not in (
            StandbyKind.AUTO,
            StandbyKind.JOURNAL if journalled else StandbyKind.LIVE,
        ):
            raise RecoveryError(
                f"{self._spec.actor} cannot be a {self._policy.standby} standby: it has {'an' if journalled else 'no'}"
                " `apply`",
                code=8010,
                fix="leave `standby: auto`",
            )
        if not journalled:
            if self.standby:
                self.shadow = True
                self._shadow_feed()
                return
            self._hold_lease(self._context.epoch)
            return
        if self._elsewhere:
            raise RecoveryError(
                self._elsewhere,
                code=8023,
                fix="bring that node back and approve; to go on without what only it has, name the rung"
                " (rayvisor recovery approve ID --rung warm)",
            )
        journal = self._journal = self._make_journal(target)
        if self.standby:
            await self._follow(journal)
            return
        self._hold_lease(self._context.epoch)
        await self._until_leased()
        restored = await journal.restore(self._rung)
        await journal.open(self._context.epoch)
        if self._ask:
            await self._until_told(self._context.incarnation)
        self._context.set_journal(journal)
        self._note_restored(restored.sequence, restored.from_checkpoint, restored.events, restored.seconds)

    def _make_journal(self, target: object) -> ActorJournal:
        return ActorJournal(
            path=self._spec.path,
            incarnation=self._context.incarnation,
            target=target,
            spec=self._policy,
            folder=state_folder(Path(self._boot.data_dir), self._spec.path),
            actor=self._spec.actor,
            config=self._spec.config,
            plane=self._plane,
            loop=self._loop,
            clock=self._clock,
            report=self._report,
            send=self._send,
            fatal=self._fatal,
            may_act=self.may_act,
            log=self._log,
            disk=REAL_DISK if self._faults is None else FaultDisk(REAL_DISK, self._faults),
            faults=self._faults or NO_FAULTS,
        )

    async def _follow(self, journal: ActorJournal) -> None:
        follower = Follower(journal, self._boot.host, self._spec.heartbeat.interval)
        await follower.restore()

        def begin() -> None:
            self._follower = follower
            if self._fed is not None:
                follower.feed(self._fed)

        self._plane.call_soon(begin)
        await self._ordered.wait()
        order = self._order
        assert order is not None
        self._hold_lease(order.epoch)
        await self._until_leased()
        promotion = await follower.promote(order.epoch, order.incarnation)
        if order.ask:
            await self._until_told(order.incarnation)
        self._act(order)
        self._context.set_journal(journal)
        elapsed = self._clock.monotonic() - self._ordered_at
        sequence, behind = promotion.sequence, promotion.behind
        self._report(Promoted(order.path, order.incarnation, "journal", sequence, behind, elapsed))

    async def _until_told(self, incarnation: int) -> None:
        """Everything is on this disk, which is not the one of the life before: the supervisor is to know that first."""
        while not self._told_to_act.is_set():
            self._report(AskAct(self._spec.path, incarnation))
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASK_AGAIN):
                    await self._told_to_act.wait()

    async def promoted(self) -> None:
        """Of a shadow: wait until it acts."""
        await self._ordered.wait()
        order = self._order
        assert order is not None
        self._report(Promoted(order.path, order.incarnation, "live", 0, 0, self._clock.monotonic() - self._ordered_at))

    def started(self) -> None:
        """``start`` returned."""
        self._up = True
        if self.shadow and self.standby:
            self._tell_shadow()

    def said_ready(self, message: Ready) -> None:
        """``ctx.ready()`` of a shadow: it could act now."""
        if self.shadow and self._order is None:
            self._ready = True
            self._tell_shadow()
        else:
            self._report(message)

    @property
    def was_ready(self) -> bool:
        """A shadow had said that it is ready before it was promoted."""
        return self.shadow and self._ready

    async def end(self, *, orderly: bool) -> None:
        """The body is over: a last checkpoint after an orderly end, the files closed, the lease given back."""
        if self._follower is not None:
            self._plane.call_soon(self._follower.close)
        if self._journal is not None and not self.standby:
            await self._journal.close(checkpoint=orderly)
        if self._keeper is not None:
            keeper = self._keeper
            await self._loop.run_in_executor(None, lambda: keeper.stop(release=orderly))

    def _note_restored(self, sequence: int, checkpoint: int, events: int, seconds: float) -> None:
        if sequence == 0 and not self._rung:
            return
        data: dict[str, str | int | float | bool] = {
            "what": "restored",
            "sequence": sequence,
            "checkpoint": checkpoint,
            "events": events,
            "ms": round(seconds * 1e3, 3),
            "rung": self._rung,
        }
        self._report(StateNoted(self._spec.path, self._context.incarnation, EventKind.JOURNAL.value, data))

    # ------------------------------------------------------------ acting

    def may_act(self) -> bool:
        """False for a standby and once the lease ran out; cheap."""
        return self._context.acting and (self._keeper is None or self._keeper.may_act)

    def _act(self, order: Promote) -> None:
        self.standby = False
        self._context.set_acting(order.incarnation, order.epoch)
        self._context.set_multiplier(order.multiplier)

    def _hold_lease(self, epoch: int) -> None:
        spec = self._policy.lease
        if spec is not None and self._leased_at:
            self._keeper = self._make_keeper(spec, epoch)
            self._keeper.start()
            if spec.on_store_loss is StoreLoss.CONTINUE:
                self._plane.call_soon(lambda: self._plane.every(spec.renew, self._ask_agree))

    def _open_store(self) -> LeaseStore:
        if self._store is None:
            store = open_lease_store(self._state, Path(self._boot.data_dir), system=self._boot.system)
            self._store = store if self._faults is None else FaultLeases(store, self._faults)
        return self._store

    async def _until_leased(self) -> None:
        """On another machine the lease counts from a renewal of its own, not from when the supervisor asked for it."""
        while self._keeper is not None and not self._keeper.may_act:  # noqa: ASYNC110 - another thread tells
            await asyncio.sleep(_LOOK_EVERY)

    def _make_keeper(self, spec: LeaseSpec, epoch: int) -> LeaseKeeper:
        return LeaseKeeper(
            self._open_store(),
            self._spec.path,
            self._holder,
            epoch,
            spec,
            lost=self._lease_lost,
            noted=self._lease_noted,
            peers_agree=self._peers_agree,
            # the time at which it was asked for says nothing to the clock of another machine
            asked_at=self._leased_at if self._boot.local else None,
        )

    def _lease_lost(self, why: str) -> None:
        self._context.set_fenced()
        self._fatal_reason(ExitReason(ExitKind.FENCED, why))

    def _lease_noted(self, what: str, data: Mapping[str, str | int | float | bool]) -> None:
        self._report(
            StateNoted(self._spec.path, self._context.incarnation, EventKind.LEASE.value, {"what": what, **data})
        )

    def _ask_agree(self) -> None:
        if self.may_act():
            self._report(AskAgree(self._spec.path, self._context.incarnation, BOOT_CLOCK.monotonic()))

    def _peers_agree(self) -> bool:
        spec = self._policy.lease
        return spec is not None and BOOT_CLOCK.monotonic() - self._agreed_at < spec.expire - spec.margin - spec.renew

    def _fatal(self, error: BaseException) -> None:
        """Its state would differ from its journal, or a newer life holds its place: this life is over."""
        self._context.set_fenced()
        message = f"{type(error).__name__}: {error}"
        self._fatal_reason(ExitReason(ExitKind.FENCED, message) if isinstance(error, Fenced) else crash(message))

    def _fatal_reason(self, reason: ExitReason) -> None:
        self._finish(Exited(self._spec.path, self._context.incarnation, reason, 0.0))

    # ------------------------------------------------------------ the plane's thread

    def received(self, sender: bytes, message: Message) -> bool:
        """What the supervisor and standbys say about state; False when it is none of that."""
        match message:
            case Join() if self._journal is not None:
                self._journal.joined(sender, message)
            case Applied() if self._journal is not None:
                self._journal.applied(message)
            case Unfollow(_, host) if self._journal is not None:
                self._journal.unfollow(host)
            case Feed():
                self._fed = message
                if self._follower is not None:
                    self._follower.feed(message)
                elif self.shadow:
                    self._shadow_feed()
            case Promote() if self._order is None:
                self._promote(message)
            case MayAct(_, incarnation) if incarnation == self._acts_as:
                self._loop.call_soon_threadsafe(self._told_to_act.set)
            case Resize(_, _, multiplier):
                self._loop.call_soon_threadsafe(self._context.set_multiplier, multiplier)
            case Agree(_, incarnation, asked) if incarnation == self._context.incarnation:
                self._agreed_at = max(self._agreed_at, asked)
            case Join() | Applied() | Unfollow() | Records() | SnapshotPart() | Promote() | MayAct() | Agree():
                return True  # late words about what is over
            case _:
                return False
        return True

    @property
    def _acts_as(self) -> int:
        """The incarnation that acts, or is to."""
        return self._order.incarnation if self._order is not None else self._context.incarnation

    def _promote(self, order: Promote) -> None:
        self._order = order
        self._ordered_at = self._clock.monotonic()
        self._leased_at, self._holder = order.leased_at, order.holder
        if self._follower is not None:
            self._follower.halt()
        self._loop.call_soon_threadsafe(self._begin_to_act, order)

    def _begin_to_act(self, order: Promote) -> None:
        """In the actor's loop: a shadow's outputs open before anything else happens."""
        if self.shadow:
            self._act(order)
            self._hold_lease(order.epoch)
        self._ordered.set()

    def _shadow_feed(self) -> None:
        if self._fed is not None:
            self._loop.call_soon_threadsafe(self._context.publisher.follow, self._fed.pub)

    def tell(self) -> None:
        """Each beat: how this shadow keeps up."""
        if self.shadow and self.standby:
            self._tell_shadow()

    def _tell_shadow(self) -> None:
        state = "synced" if self._up and self._ready else "syncing"
        lag = self._context.publisher.lag if state == "synced" else 0.0
        self._report(StandbyState(self._spec.path, self._boot.host, state, 0, 0, lag))
