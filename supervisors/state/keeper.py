"""Keeps one life's lease: renews it in threads of its own and tells when acting must stop (STA-4).

Two threads: one runs the pure ``LeaseHolder`` and tells what it decides, the other waits for the store. So a store that
hangs, on whatever disk or network, delays nothing here: acting ends at the deadline. ``may_act`` compares the clock
with the deadline on each look, so it is right even while both threads are starved.

``peers_agree`` (for ``on_store_loss: continue_if_all_peers_agree``) replaces the store while that is unreachable, so it
has to promise what the store would. It may be True only while

* the one supervisor that grants leases of this path has said within the last ``expire - margin - renew`` seconds,
  counted from when it *sent* that, that this life is its child and acts;
* that supervisor (and one that replaces it) lets no other life act until ``expire`` after it last said so, unless this
  one is proved dead;
* nobody else grants leases of this path: never with a second system on the same store and path.

An answer counts for ``renew`` seconds, so all in all a word of the supervisor lasts as long as a lease. The store's own
refusal ends acting at once, whatever the peers say. In doubt, False: acting then ends at the deadline.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from supervisors.core.clock import Clock
from supervisors.core.errors import StoreUnavailable
from supervisors.recovery.policy import LeaseSpec
from supervisors.state.lease import (
    AskPeers,
    Effect,
    Event,
    Granted,
    LeaseHolder,
    PeersSaid,
    Refused,
    Renew,
    Renewed,
    StopActing,
    StoreBack,
    StoreDown,
    StoreFailed,
    Ticked,
)
from supervisors.state.leases import BOOT_CLOCK, LeaseStore

_NEVER = float("-inf")


class LeaseKeeper:
    """Keeps the lease of ``path`` for one life.

    Args:
        store: used from the keeper's own thread; not closed.
        path: whose lease.
        holder: as it was granted to.
        token: as granted.
        spec: the times.
        clock: ``BOOT_CLOCK``; another one only in tests.
        lost: told once, from the keeper's thread, why acting must stop; ``may_act`` is False by then, for good.
        noted: for the trail: ``store_down`` and ``store_back`` (once each per outage) and ``lost``, with data.
        peers_agree: see the module; asked from the keeper's thread, must answer at once.
        asked_at: ``Grant.asked_at``, if the lease was asked for on this machine: it may act from the start. None: only
            after a first renewal of its own was answered.
    """

    def __init__(
        self,
        store: LeaseStore,
        path: str,
        holder: str,
        token: int,
        spec: LeaseSpec,
        clock: Clock = BOOT_CLOCK,
        *,
        lost: Callable[[str], None],
        noted: Callable[[str, Mapping[str, str | int | float | bool]], None],
        peers_agree: Callable[[], bool] = lambda: False,
        asked_at: float | None = None,
    ) -> None:
        self._store = store
        self._path = path
        self._holder = holder
        self.token = token
        self._spec = spec
        self._clock = clock
        self._lost = lost
        self._noted = noted
        self._peers_agree = peers_agree
        self._machine = LeaseHolder(spec, clock.monotonic())
        self._changed = threading.Condition()
        self._heard: list[Event] = [Granted(token, asked_at)] if asked_at is not None else []
        self._to_ask: Renew | None = None
        self._told: list[Effect] = []
        self._ended = False
        #: what ``may_act`` compares the clock with; a float is replaced in one step
        self._until = _NEVER
        self._keep = threading.Thread(target=self._run, name=f"lease {path}", daemon=True)
        self._ask = threading.Thread(target=self._run_asking, name=f"lease store {path}", daemon=True)

    @property
    def may_act(self) -> bool:
        """True while this life may have effects outside itself. Cheap; from any thread."""
        return self._clock.monotonic() < self._until

    @property
    def until(self) -> float:
        """Seconds of the clock before which it may act unless told otherwise; minus infinity when it may not."""
        return self._until

    def start(self) -> None:
        """Begin to renew. With ``asked_at`` it may act when this returns, if that was not too long ago."""
        self._told = self._take_in()
        self._ask.start()
        self._keep.start()

    def stop(self, release: bool = True, timeout: float = 1.5) -> None:
        """End acting and renewing; give the lease back if told to. ``lost`` and ``noted`` are not called any more.

        Waits ``timeout`` seconds for a call to the store that is under way; a lease not given back runs out.
        """
        with self._changed:
            held = self._until > _NEVER
            self._ended = True
            self._until = _NEVER
            self._changed.notify_all()
        for thread in (self._keep, self._ask):
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(timeout)
        if release and held and not self._ask.is_alive():
            with suppress(StoreUnavailable):
                self._store.release(self._path, self._holder, self.token)

    # ------------------------------------------------------------ the keeping thread

    def _run(self) -> None:
        self._tell(self._told)
        while not self._ended:
            self._tell(self._take_in())
            with self._changed:
                if not self._heard:
                    self._changed.wait(max(0.0, self._left()))

    def _left(self) -> float:
        return min(threading.TIMEOUT_MAX, self._machine.wake_at - self._clock.monotonic())

    def _take_in(self) -> list[Effect]:
        """Step the machine with what was heard and the time."""
        effects: list[Effect] = []
        with self._changed:
            for event in (*self._heard, Ticked()):
                effects += self._machine.step(event, self._clock.monotonic())
            self._heard.clear()
            if not self._ended:
                self._until = self._machine.until
            for effect in effects:
                if isinstance(effect, Renew):
                    self._to_ask = effect
                    self._changed.notify_all()
        return effects

    def _tell(self, effects: list[Effect]) -> None:
        """Carry out what concerns others; no lock is held."""
        for effect in effects:
            if self._ended:
                return
            match effect:
                case StopActing(why):
                    self._noted("lost", {"token": self.token, "why": why})
                    self._lost(why)
                case StoreDown(why):
                    self._noted("store_down", {"token": self.token, "why": why})
                case StoreBack(after):
                    self._noted("store_back", {"token": self.token, "after_s": round(after, 3)})
                case AskPeers():
                    asked_at = self._clock.monotonic()
                    self._hear(PeersSaid(self._peers_agree(), asked_at))
                case Renew():
                    pass

    def _hear(self, event: Event) -> None:
        with self._changed:
            self._heard.append(event)
            self._changed.notify_all()

    # ------------------------------------------------------------ the asking thread

    def _run_asking(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._to_ask is not None)
                if self._ended or self._to_ask is None:
                    return
                sent_at = self._to_ask.sent_at
                self._to_ask = None
            self._hear(self._answer(sent_at))

    def _answer(self, sent_at: float) -> Event:
        try:
            ours = self._store.renew(self._path, self._holder, self.token, self._spec.expire)
        except StoreUnavailable as error:
            return StoreFailed(sent_at, error.message)
        return Renewed(sent_at) if ours else Refused("another holder has the lease, or it was taken back")
