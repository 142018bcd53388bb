"""One life's hold on its lease: the pure ``LeaseHolder`` with the store behind a network."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisors.recovery.policy import LeaseSpec, StoreLoss
from supervisors.simulate.dst.process import Proc
from supervisors.state.lease import (
    AskPeers,
    Event,
    Granted,
    PeersSaid,
    Refused,
    Renew,
    Renewed,
    StopActing,
    StoreFailed,
    Ticked,
)

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

_NEVER = float("-inf")


class Keeper:
    """Keeps the lease of one path for one life.

    Args:
        world: time and the store.
        proc: of the life; while it is stopped nothing is kept.
        path, holder, token, spec: as granted.
        lost: told once why acting must stop.
        asked_at: when it was asked for, by this node's clock; None: only a renewal of its own counts.
    """

    def __init__(
        self,
        world: "World",
        proc: Proc,
        path: str,
        holder: str,
        token: int,
        spec: LeaseSpec,
        lost: Callable[[str], None],
        asked_at: float | None,
    ) -> None:
        self._world = world
        self._proc = proc
        self._path = path
        self._holder = holder
        self._token = token
        self._spec = spec
        self._lost = lost
        self._clock = world.clocks[proc.node]
        self._machine = world.parts.holder(spec, self._clock.now())
        self._asked_at = asked_at
        self._until = _NEVER
        self._wake = float("inf")
        self._over = False
        #: told as soon as it may act
        self.waiting: Callable[[], None] | None = None
        #: this clock when the supervisor's last word that nobody else acts was asked for
        self.agreed_at = _NEVER

    @property
    def may_act(self) -> bool:
        """True while this life may have effects outside itself."""
        return self._clock.now() < self._until

    def start(self) -> None:
        """Begin to renew."""
        if self._asked_at is not None:
            self._take(Granted(self._token, self._asked_at))
        self._take(Ticked())

    def stop(self, *, release: bool) -> None:
        """End acting and renewing."""
        held = self._until > _NEVER
        self._over, self._until = True, _NEVER
        if release and held:
            service = self._world.store
            service.ask(
                self._proc,
                lambda: service.release(self._path, self._holder, self._token),
                lambda _: None,
                told=False,
            )

    def _take(self, event: Event) -> None:
        if self._over:
            return
        machine, clock = self._machine, self._clock
        for effect in machine.step(event, clock.now()):
            if isinstance(effect, Renew):
                self._renew(effect.sent_at)
            elif isinstance(effect, AskPeers):
                spec, now = self._spec, clock.now()
                agree = now - self.agreed_at < spec.expire - spec.margin - spec.renew
                self._world.kernel.after(0.0, self._proc.deliver, self._take, (PeersSaid(agree, now),))
            elif isinstance(effect, StopActing):
                self._until = _NEVER
                if self._world.parts.keep_deadline:
                    self._lost(effect.why)
                return
        self._follow()

    def _follow(self) -> None:
        """How long it may act, and when to look again."""
        if self._over:
            return
        machine, clock = self._machine, self._clock
        self._until = machine.until
        waiting = self.waiting
        if waiting is not None and self.may_act:
            self.waiting = None
            waiting()
        wake = clock.when(machine.wake_at)
        if wake < self._wake:
            self._wake = wake
            self._world.kernel.at(wake + 1e-6, self._proc.deliver, self._woke, (wake,))

    def _woke(self, wake: float) -> None:
        if wake == self._wake:
            self._wake = float("inf")
            self._take(Ticked())

    def _renew(self, sent_at: float) -> None:
        service = self._world.store
        path, holder, token, ttl = self._path, self._holder, self._token, self._spec.expire

        def answered(answer: object) -> None:
            if answer is None:
                self._take(StoreFailed(sent_at, "the store does not answer"))
            elif answer:
                self._take(Renewed(sent_at))
            else:
                self._take(Refused("another holder has the lease"))

        service.ask(self._proc, lambda: service.renew(path, holder, token, ttl), answered)

    @property
    def asks_peers(self) -> bool:
        """Its supervisor is to be asked for its word."""
        return self._spec.on_store_loss is StoreLoss.CONTINUE
