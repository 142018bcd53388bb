"""What a supervisor believes of one peer, from its beats, from notices and from what ``/proc`` says. Pure.

Three rules run through it (DET-3, DET-9):

* a **certain** signal makes *dead* at once, a **weak** one makes a *suspect*, and silence alone never proves death;
* the observer measures how late it runs itself and widens every time-out by that: a peer must not pay for it;
* the **first** signal of an episode is kept, with its time, while the verdict grows worse: it is what gets recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

#: how long a peak of the observer's lag is remembered, seconds: at least one of these, at most two
LAG_MEMORY = 1.0
#: least time between two questions for evidence on one silent peer, seconds: reading ``/proc`` costs up to 1 ms
EVIDENCE_EVERY = 0.05
#: the same, once the peer is known to hang and the supervisor is expected to act
EVIDENCE_EVERY_HUNG = 0.2
#: a starved process gets this many times ``hang_after`` before it counts as hung
STARVED_STRETCH = 3.0
#: and one that starts this many times: an import or a restore may hold the interpreter for seconds, and a start has
#: a limit of its own (``start_timeout``, 30 s by default), as in OTP
STARTING_STRETCH = 10.0


class Verdict(StrEnum):
    """What is believed of a peer, from best to worst. ``DEAD`` is final."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"  #: something is wrong; nothing is proved
    UNAVAILABLE = "unavailable"  #: on another machine and silent: dead, or cut off
    HUNG = "hung"  #: there, but makes no progress
    DEAD = "dead"


class Signal(StrEnum):
    """What told. In the order in which they usually fire."""

    EXIT_NOTICE = "exit_notice"  #: the host itself said it ends
    FUTEX = "futex"  #: the kernel marked the robust futex of the host's beacon, and it was then killed
    PIDFD = "pidfd"  #: the kernel says the process ended
    SOCKET = "socket"  #: the beacon's socket closed (weak: a forked child may hold it, or it was closed)
    MISSED_BEATS = "missed_beats"
    STALLED_LOOP = "stalled_loop"  #: beats arrive, but the progress counter stands still
    HEALTH = "health"  #: the peer's own health check failed (weak; ends with ``clear``, not with a beat)
    RAY = "ray"  #: Ray's own notice: late, and the truth of record
    CONNECTION_LOST = "connection_lost"


class Evidence(StrEnum):
    """What ``/proc`` says of a process on this machine (``proc.read_evidence``)."""

    RUNNING = "running"  #: runs, or is about to
    STARVED = "starved"  #: wants to run, and the machine gives it no time
    SLEEPING = "sleeping"
    STOPPED = "stopped"  #: SIGSTOP, or held by a debugger
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class HeartbeatRule:
    """Time-outs in seconds (DET-1: 100 ms x 3; at node level 1 s x 3). Each is widened by the observer's lag.

    Raises:
        ValueError: a time is not above 0, ``missed`` is below 1, or a later stage would come before the silence
            that opens it.
    """

    interval: float = 0.1  #: a beat each
    missed: int = 3  #: this many missing beats make a suspect
    hang_after: float = 2.0  #: silence, or a progress counter that stands still, that makes a local peer hung
    unavailable_after: float = 1.0  #: silence that makes a remote peer unavailable

    def __post_init__(self) -> None:
        if self.interval <= 0 or self.missed < 1:
            raise ValueError("interval must be above 0 and missed at least 1")
        if min(self.hang_after, self.unavailable_after) < self.silence:
            raise ValueError(f"hang_after and unavailable_after want at least interval x missed ({self.silence:g} s)")

    @property
    def silence(self) -> float:
        """Seconds without a beat that count as failed: 0.3 by default (DET-1)."""
        return self.interval * self.missed


@dataclass(frozen=True, slots=True)
class Change:
    """A verdict that changed. ``signal`` and ``at`` tell the first signal of the episode, not the latest."""

    verdict: Verdict
    previous: Verdict
    signal: Signal
    at: float  #: when ``signal`` fired, monotonic seconds
    now: float  #: when the verdict changed, monotonic seconds
    why: str  #: for people, with the numbers it rests on


_RANK = {verdict: rank for rank, verdict in enumerate(Verdict)}
_CERTAIN = frozenset({Signal.EXIT_NOTICE, Signal.RAY})
#: certain only of a process on this machine; the kernel says nothing of others
_CERTAIN_HERE = frozenset({Signal.FUTEX, Signal.PIDFD})


class PeerVerdict:
    """The verdict on one life of one peer. Make a new one for the next life.

    Args:
        rule: the time-outs.
        now: monotonic seconds; silence is counted from here until the first beat.
        local: the peer runs on this machine, so that ``/proc`` and the death watch can speak of it.
        starting: it imports, starts or restores until ``started`` is called; unless it is stopped or gone, it counts
            as hung only after ``STARTING_STRETCH`` times ``hang_after``.
    """

    __slots__ = (
        "_ask_from", "_beat_at", "_first", "_first_at", "_lag_now", "_lag_old", "_lag_until", "_limit", "_local",
        "_loop_hung", "_progress", "_quiet", "_rule", "_stalled", "_stretch", "_verdict",
    )  # fmt: skip

    def __init__(self, rule: HeartbeatRule, now: float, local: bool, starting: bool = False) -> None:
        self._rule = rule
        self._local = local
        self._verdict = Verdict.HEALTHY
        self._beat_at = now
        self._progress = -1
        self._stalled = 0.0  # seconds in which beats came and progress did not
        self._loop_hung = False  # hung, or said to be, for want of progress: then a beat alone heals nothing
        self._first: Signal | None = None
        self._first_at = now
        self._lag_now = self._lag_old = 0.0
        self._lag_until = now + LAG_MEMORY
        self._limit = rule.silence
        self._quiet = True  # nothing to look into besides the silence
        self._ask_from = now
        self._stretch = STARTING_STRETCH if starting else 1.0

    @property
    def verdict(self) -> Verdict:
        """What is believed now."""
        return self._verdict

    @property
    def first_signal(self) -> Signal | None:
        """The signal that opened the running episode; None while healthy."""
        return self._first

    @property
    def lag(self) -> float:
        """Seconds by which each time-out is widened now: the observer's greatest lag of the last 1-2 s (DET-9)."""
        return max(self._lag_now, self._lag_old)

    def starts(self) -> None:
        """It begins to start once more: a standby that takes over (see ``starting``)."""
        self._stretch = STARTING_STRETCH

    def started(self, now: float) -> None:
        """Its start is over: ``hang_after`` counts as it is from ``now``, and so does a loop that stands still."""
        if self._stretch != 1.0:
            self._stretch, self._stalled, self._beat_at = 1.0, 0.0, max(self._beat_at, now)

    def beat_age(self, now: float) -> float:
        """Seconds since the last beat arrived."""
        return now - self._beat_at

    def beat(self, now: float, progress: int, busy: bool = False) -> Change | None:
        """A beat arrived. It heals whatever silence or a lost connection had brought, except death.

        Args:
            now: monotonic seconds of the arrival.
            progress: the counter of the peer's own loop; only equality with the last one matters.
            busy: reserved: the peer says that it knows it is busy.
        """
        if self._verdict is Verdict.DEAD:
            return None
        gap, self._beat_at = now - self._beat_at, now
        if progress != self._progress:
            self._progress = progress
            self._stalled = 0.0
            self._loop_hung = False
        elif gap <= self._limit:  # a longer gap was silence: the loop may have been stopped along with the beats
            self._stalled += max(gap, 0.0)
        if self._verdict is not Verdict.HEALTHY:
            return self._heal_by_beat(now, gap)
        return self._stall(now) if self._stands_still() else None

    def notice(self, signal: Signal, now: float) -> Change | None:
        """Another signal fired. Certain ones make the peer dead; the next tick looks into the weak ones."""
        if signal in _CERTAIN or (self._local and signal in _CERTAIN_HERE):
            return self._worsen(Verdict.DEAD, signal, now, f"{signal} notice, which is certain")
        if signal is Signal.STALLED_LOOP:
            self._loop_hung = True
            return self._worsen(Verdict.HUNG, signal, now, "reported by the peer's own host")
        if self._verdict is not Verdict.DEAD:
            self._quiet = False
            self._ask_from = now
        return self._worsen(Verdict.SUSPECT, signal, now, f"{signal} notice, which alone proves nothing")

    def clear(self, signal: Signal, now: float) -> Change | None:
        """``signal`` no longer holds (a health check passes again). Heals the suspicion that it alone had opened."""
        if self._verdict is Verdict.SUSPECT and self._first is signal and self.beat_age(now) <= self._limit:
            return self._heal(now, f"{signal} is well again")
        return None

    def tick(self, now: float, observer_lag: float, evidence: Callable[[], Evidence]) -> Change | None:
        """Look at the clock; call it 20-50 times per second (0.2 us while the peer is healthy).

        Args:
            now: monotonic seconds.
            observer_lag: seconds by which this very tick runs late, 0 or more.
            evidence: asked only of silent local peers, at most every 50 ms.
        """
        if observer_lag > self._lag_now or now >= self._lag_until:
            self._note_lag(now, observer_lag)
        silent = now - self._beat_at > self._limit
        if (not silent and self._quiet) or self._verdict is Verdict.DEAD:
            return None
        if self._local and now >= self._ask_from:
            return self._look(now, silent, evidence())
        if silent:
            return self._judge_silence(now, None)
        self._quiet = self._quiet or not self._local
        return None

    def _look(self, now: float, silent: bool, found: Evidence) -> Change | None:
        self._quiet = True
        hung = self._verdict is Verdict.HUNG
        self._ask_from = now + (EVIDENCE_EVERY_HUNG if hung else EVIDENCE_EVERY)
        if found is Evidence.GONE:
            signal = self._first or Signal.MISSED_BEATS
            return self._worsen(Verdict.DEAD, signal, now, f"the process is gone; {self._beats(now)}")
        return self._judge_silence(now, found) if silent else None

    def _judge_silence(self, now: float, found: Evidence | None) -> Change | None:
        """``found`` is None when nothing was asked: of a remote peer, and between two questions on a local one."""
        rule, lag, age = self._rule, self.lag, self.beat_age(now)
        if not self._local:
            if age > rule.unavailable_after + lag:
                return self._silence(Verdict.UNAVAILABLE, now, "not on this machine")
            return self._silence(Verdict.SUSPECT, now, "not on this machine")
        if found is Evidence.STOPPED:
            return self._silence(Verdict.HUNG, now, "the process is stopped")
        if found is not None:
            stretch = max(self._stretch, STARVED_STRETCH if found is Evidence.STARVED else 1.0)
            if age > stretch * rule.hang_after + lag:
                return self._silence(Verdict.HUNG, now, f"the process is {found}")
        return self._silence(Verdict.SUSPECT, now, f"the process is {found or Evidence.UNKNOWN}")

    def _silence(self, verdict: Verdict, now: float, what: str) -> Change | None:
        if _RANK[verdict] <= _RANK[self._verdict]:
            return None  # before the text is made: this runs on each tick of a silent peer
        return self._worsen(verdict, Signal.MISSED_BEATS, now, f"{what}; {self._beats(now)}")

    def _stands_still(self) -> bool:
        return self._stalled >= self._stretch * self._rule.hang_after + self.lag

    def _stall(self, now: float) -> Change | None:
        self._loop_hung = True
        why = f"beats arrive, but progress stood at {self._progress} for {self._stalled:.3f} s"
        return self._worsen(Verdict.HUNG, Signal.STALLED_LOOP, now, f"{why} ({self._limits()})")

    def _heal_by_beat(self, now: float, gap: float) -> Change | None:
        if self._first is Signal.HEALTH and self._verdict is Verdict.SUSPECT:
            if self._stands_still():
                return self._stall(now)
            return None  # beats say nothing about a failed check
        if self._loop_hung:
            return None  # still no progress
        return self._heal(now, f"a beat after {gap:.3f} s, progress {self._progress}")

    def _heal(self, now: float, why: str) -> Change:
        previous, signal, at = self._verdict, self._first, self._first_at
        self._verdict, self._first = Verdict.HEALTHY, None
        return Change(Verdict.HEALTHY, previous, signal or Signal.MISSED_BEATS, at, now, why)

    def _worsen(self, verdict: Verdict, signal: Signal, now: float, why: str) -> Change | None:
        previous = self._verdict
        if _RANK[verdict] <= _RANK[previous]:
            return None
        if self._first is None:
            self._first, self._first_at = signal, now
        self._verdict = verdict
        return Change(verdict, previous, self._first, self._first_at, now, why)

    def _note_lag(self, now: float, observer_lag: float) -> None:
        if now >= self._lag_until:
            # after a pause longer than the memory the old peak is forgotten as well
            self._lag_old = self._lag_now if now < self._lag_until + LAG_MEMORY else 0.0
            self._lag_now = max(observer_lag, 0.0)
            self._lag_until = now + LAG_MEMORY
        else:
            self._lag_now = max(self._lag_now, observer_lag)
        self._limit = self._rule.silence + self.lag

    def _beats(self, now: float) -> str:
        return f"no beat for {self.beat_age(now):.3f} s ({self._limits()})"

    def _limits(self) -> str:
        rule = self._rule
        return f"limits {rule.silence:g}/{self._stretch * rule.hang_after:g} s, observer lag {self.lag:.3f} s"
