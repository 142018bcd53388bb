"""The holder's side of a lease as a pure machine, and the rules its times must keep (STA-4).

A lease says who may act under a path. The store gives it for ``expire`` seconds; the holder asks for more each
``renew`` seconds and stops acting ``margin`` before it ends. Nobody compares two clocks: the holder measures a length
of time from when a request was **sent**, whoever waits for the lease to end measures one from when it saw or wrote the
answer to that request, which is later. So delay, loss, repetition and any difference between the clocks cannot make two
act; only the *rates* of the two clocks matter. With each rate off by at most ``s`` (a share, 0.001 = 1000 ppm):

    holder stops at most  (expire - margin) / (1 - s)  real seconds after the sending
    another may begin at least  expire / (1 + s)  real seconds after the store's receipt, which is later
    hence it is safe when  (expire - margin) * (1 + s) <= expire * (1 - s),  i.e.  margin >= expire * 2s / (1 + s)

``renew`` 1 s, ``expire`` 5 s, ``margin`` 1 s stand ``s`` up to 1/9. ``MAX_SKEW`` is 1/12: chrony slews a clock by up to
83333 ppm, ntpd by 500 ppm, a crystal is off by less than 200 ppm. What of ``margin`` is not needed for that (0.23 s of
1 s) is for effects already under way when the deadline comes. A thread stopped between looking at ``may_act`` and its
effect is caught by the fencing token alone, where the effect arrives.

An ended lease is over for good for this life, even if nobody else took it: the life is replaced under a new token.
"""

from enum import StrEnum

import msgspec

from supervisors.recovery.policy import LeaseSpec, StoreLoss

#: largest share by which the rate of a clock is taken to differ from real time
MAX_SKEW = 1 / 12

_NEVER = float("-inf")


# ---------------------------------------------------------------- what a store has to decide


def may_take(current: str, holder: str, proved_dead: str, over: bool) -> bool:
    """True if ``holder`` may be given the lease at once.

    Args:
        current: who holds it; empty: nobody.
        holder: who asks. One that asks again, since no answer came, replaces itself.
        proved_dead: a holder that is known to act no more; empty: none.
        over: the lease ended by the measure of whoever decides.
    """
    return over or current in {"", holder} or (proved_dead != "" and current == proved_dead)


def next_token(previous: int, floor: int) -> int:
    """The token of a new grant: greater than every earlier one of this path, and at least ``floor``."""
    return max(previous + 1, floor)


def check_timing(renew: float, expire: float, margin: float, skew: float = MAX_SKEW) -> str:
    """What is wrong with these times (seconds), or an empty string.

    Args:
        renew: between renewals.
        expire: after which the store gives the lease to another.
        margin: before that, the holder stops acting.
        skew: largest share by which a clock may run fast or slow.
    """
    if min(renew, expire) <= 0 or margin < 0:
        return "renew and expire must be more than 0, margin not less than 0"
    needed = expire * 2 * skew / (1 + skew)
    if margin < needed:
        return (
            f"margin {margin:g} s is too short for expire {expire:g} s: the holder might stop after another began, "
            f"with clocks off by {skew:.1%}; at least {needed:.3g} s"
        )
    if expire - margin < 2 * renew:
        return (
            f"renew {renew:g} s is too long: one lost renewal would end acting after expire - margin = "
            f"{expire - margin:g} s; at most {(expire - margin) / 2:.3g} s"
        )
    return ""


# ---------------------------------------------------------------- the holder


class Granted(msgspec.Struct, frozen=True):
    """The store gave this life ``token``; the request was sent at ``sent_at`` by the holder's own clock."""

    token: int
    sent_at: float


class Renewed(msgspec.Struct, frozen=True):
    """The store confirmed the lease; the request was sent at ``sent_at``."""

    sent_at: float


class Refused(msgspec.Struct, frozen=True):
    """The store says that the lease is no longer ours. Tokens never come back, so an old answer says it as well."""

    why: str


class StoreFailed(msgspec.Struct, frozen=True):
    """The request sent at ``sent_at`` brought no answer. That says nothing about who holds the lease."""

    sent_at: float
    why: str


class Ticked(msgspec.Struct, frozen=True):
    """Time passed."""


class PeersSaid(msgspec.Struct, frozen=True):
    """Answer to ``AskPeers``, which was carried out at ``asked_at``."""

    agree: bool
    asked_at: float


class Renew(msgspec.Struct, frozen=True):
    """Ask the store for another ``expire`` seconds; ``sent_at`` comes back with the answer."""

    sent_at: float


class AskPeers(msgspec.Struct, frozen=True):
    """Ask whether all peers agree that this life goes on without a store."""


class StopActing(msgspec.Struct, frozen=True):
    """The lease is lost for good; told once."""

    why: str


class StoreDown(msgspec.Struct, frozen=True):
    """The store stopped answering; told once until it is back."""

    why: str


class StoreBack(msgspec.Struct, frozen=True):
    """The store answers again, ``after`` seconds."""

    after: float


Event = Granted | Renewed | Refused | StoreFailed | Ticked | PeersSaid
Effect = Renew | AskPeers | StopActing | StoreDown | StoreBack


class HolderState(StrEnum):
    """Where a holder is."""

    WAITING = "waiting"  #: not confirmed yet: it does not act
    HOLDING = "holding"
    LOST = "lost"


class LeaseHolder:
    """One life's hold on one path. All times are seconds of one clock of the holder that never goes back.

    ``Granted`` or ``Renewed`` begin the hold. While the store is unreachable and the policy is
    ``continue_if_all_peers_agree``, an agreement counts for ``renew`` seconds from when it was asked for and is asked
    for four times as often; it only ever lengthens a hold that the store once confirmed and has not refused.

    Args:
        spec: the times and what to do when the store is lost.
        now: seconds; unless confirmed within ``expire - margin`` from here the lease counts as lost.
    """

    def __init__(self, spec: LeaseSpec, now: float) -> None:
        self._renew = spec.renew
        self._lasting = spec.expire - spec.margin
        self._goes_on = spec.on_store_loss is StoreLoss.CONTINUE
        self.state = HolderState.WAITING
        self.token = 0
        #: acting ends here unless the store renews (or, while it is down, the peers agree)
        self.deadline = now + self._lasting
        self._agreed_until = _NEVER
        self._ask_at = now
        self._asked: float | None = None
        self._ask_peers_at = now
        self._down_since: float | None = None

    # ------------------------------------------------------------ asking it

    @property
    def until(self) -> float:
        """Acting is allowed before this moment; minus infinity while it is not allowed at all."""
        return self._limit if self.state is HolderState.HOLDING else _NEVER

    def may_act(self, now: float) -> bool:
        """True while this life may have effects outside itself."""
        return now < self.until

    @property
    def _limit(self) -> float:
        if self._goes_on and self._down_since is not None and self.state is HolderState.HOLDING:
            return max(self.deadline, self._agreed_until)
        return self.deadline

    @property
    def wake_at(self) -> float:
        """When the next ``Ticked`` is due; infinity once the lease is lost."""
        if self.state is HolderState.LOST:
            return float("inf")
        times = [self._limit]
        if self._asked is None:
            times.append(self._ask_at)
        elif self._down_since is None:
            times.append(self._asked + self._renew)
        if self._goes_on and self._down_since is not None:
            times.append(self._ask_peers_at)
        return min(times)

    # ------------------------------------------------------------ telling it

    def step(self, event: Event, now: float) -> list[Effect]:
        """Take in what happened; gives what to do. ``now`` never goes back."""
        if self.state is HolderState.LOST:
            return []
        if isinstance(event, Refused):
            return self._lose(event.why)
        if now >= self._limit:
            return self._lose(self._ended())
        effects: list[Effect] = []
        match event:
            case Granted(token, sent_at):
                self.token = token
                self._confirmed(sent_at, now, effects)
            case Renewed(sent_at):
                self._confirmed(sent_at, now, effects)
            case StoreFailed(sent_at, why):
                if sent_at == self._asked:
                    self._asked = None
                    self._ask_at = now + self._renew / 4
                    self._is_down(now, why, effects)
            case PeersSaid(agree, asked_at):
                self._agreed_until = asked_at + self._renew if agree else _NEVER
            case Ticked():
                pass
        if now >= self._limit:  # an answer so late that what it grants is over, or the peers' agreement withdrawn
            return [*effects, *self._lose(self._ended())]
        self._ask(now, effects)
        return effects

    def _confirmed(self, sent_at: float, now: float, effects: list[Effect]) -> None:
        until = sent_at + self._lasting
        # the first confirmation alone begins the hold: waiting for it gives no right to act
        self.deadline = max(self.deadline, until) if self.state is HolderState.HOLDING else until
        self.state = HolderState.HOLDING
        if sent_at == self._asked:
            self._asked = None
        if self._asked is None:
            self._ask_at = max(self._ask_at, sent_at + self._renew)
        if self._down_since is not None:
            effects.append(StoreBack(now - self._down_since))
            self._down_since = None
            self._agreed_until = _NEVER
            self._ask_at = sent_at + self._renew

    def _is_down(self, now: float, why: str, effects: list[Effect]) -> None:
        if self._down_since is None:
            self._down_since = now
            self._ask_peers_at = now
            effects.append(StoreDown(why))

    def _ask(self, now: float, effects: list[Effect]) -> None:
        if self._asked is not None and now >= self._asked + self._renew:
            self._is_down(now, f"no answer for {now - self._asked:.3g} s", effects)
        if self._asked is None and now >= self._ask_at:
            self._asked = now
            effects.append(Renew(now))
        if self._goes_on and self._down_since is not None and now >= self._ask_peers_at:
            self._ask_peers_at = now + self._renew / 4
            effects.append(AskPeers())

    def _ended(self) -> str:
        if self.state is HolderState.WAITING:
            return "the lease was never confirmed"
        if self._down_since is None:
            return "the lease ran out: not renewed in time"
        return "the lease ran out: the store does not answer" + (", and not all peers agree" if self._goes_on else "")

    def _lose(self, why: str) -> list[Effect]:
        self.state = HolderState.LOST
        return [StopActing(why)]
