"""Whether a channel's data is old, for channels that differ in how often they speak. Pure."""

from collections import deque

from actors.detectors.hysteresis import Freshness, Hysteresis

#: intervals remembered per channel
_WINDOW = 256
#: intervals needed before the usual one is known
_ENOUGH = 20


class ChannelVerdict:
    """The judge of one channel.

    A channel is late when its last item is older than the greater of ``bound`` and ``quiet_factor`` times its usual
    interval, which is the 99th percentile of its last 256: quiet symbols are known by their own past, and one outage
    among 256 intervals does not teach it patience.

    Args:
        bound: seconds always allowed (market data: 1 s, DET-4).
        count: judgements in a row that change the verdict.
        quiet_factor: how much longer than usual is late.
    """

    __slots__ = (
        "_hysteresis",
        "_incarnation",
        "_intervals",
        "_new",
        "_usual",
        "bound",
        "items",
        "last",
        "quiet_factor",
    )

    def __init__(self, bound: float, *, count: int = 3, quiet_factor: float = 3.0) -> None:
        self.bound = bound
        self.quiet_factor = quiet_factor
        self.last: float | None = None
        self.items = 0
        self._hysteresis = Hysteresis(count)
        self._intervals: deque[float] = deque(maxlen=_WINDOW)
        self._usual = 0.0
        self._new = 0
        self._incarnation = 0

    def expect(self, now: float) -> None:
        """The channel ought to speak: its silence counts from ``now`` although nothing ever came."""
        if self.last is None:
            self.last = now

    def forgive(self, now: float) -> None:
        """Nobody looked until ``now``: silence counts from here, nothing is judged yet."""
        if self.last is not None:
            self.last = now
        self._hysteresis.reset()

    def arrived(self, now: float, incarnation: int = 0) -> None:
        """An item came, from that life of the publisher; the pause over a restart is no habit of the channel."""
        if self.items and self.last is not None and incarnation == self._incarnation:
            self._intervals.append(now - self.last)
            self._new += 1
        self._incarnation = incarnation
        self.last = now
        self.items += 1

    @property
    def usual(self) -> float:
        """The usual interval in seconds; 0 while it is not known."""
        if len(self._intervals) < _ENOUGH:
            return 0.0
        # sorting 256 numbers is not worth it for each item: the habit of a channel changes slowly
        if self._new >= _ENOUGH or self._usual == 0.0:
            self._new = 0
            ordered = sorted(self._intervals)
            self._usual = ordered[int(0.99 * (len(ordered) - 1))]
        return self._usual

    @property
    def allowed(self) -> float:
        """Seconds of silence allowed."""
        return max(self.bound, self.quiet_factor * self.usual)

    @property
    def verdict(self) -> Freshness:
        """The present verdict."""
        return self._hysteresis.verdict

    def age(self, now: float) -> float | None:
        """Seconds since the last item; None when none is known or expected."""
        return None if self.last is None else max(0.0, now - self.last)

    def observe(self, now: float, lag: float = 0.0) -> bool:
        """Judge once.

        Args:
            now: monotonic seconds.
            lag: by how much the observer itself is late; it widens the bound (DET-9).

        Returns:
            True when the verdict changed.
        """
        age = self.age(now)
        return age is not None and self._hysteresis.judge(age > self.allowed + lag)
