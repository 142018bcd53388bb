"""The restart-intensity window, exactly as OTP's ``supervisor:add_restart`` counts it."""

from collections import deque
from dataclasses import dataclass, field
from math import floor


@dataclass(slots=True)
class IntensityWindow:
    """Restarts within the last ``period`` whole seconds.

    OTP reads ``erlang:monotonic_time(1)``: whole seconds, rounded down. An entry counts while
    ``now - entry <= period``, so a period of 5 s spans up to six ticks of the second hand. The cost of a question
    grows with the entries that have expired since the last ``add``, not with those that count.
    """

    intensity: int
    period: int
    _stamps: deque[int] = field(default_factory=deque)

    def add(self, now: float) -> bool:
        """Count one restart at ``now`` (monotonic seconds); False when the supervisor has to give up."""
        second, stamps = floor(now), self._stamps
        while stamps and stamps[-1] + self.period < second:
            stamps.pop()
        stamps.appendleft(second)
        return len(stamps) <= self.intensity

    def count(self, now: float) -> int:
        """Restarts that still count at ``now``."""
        second, expired = floor(now), 0
        for stamp in reversed(self._stamps):
            if stamp + self.period >= second:
                break
            expired += 1
        return len(self._stamps) - expired

    def has_room(self, now: float) -> bool:
        """True when ``add`` would allow one more at ``now``; counts nothing."""
        return self.count(now) < self.intensity

    @property
    def stamps(self) -> tuple[int, ...]:
        """Newest first; what a replaced supervisor inherits (SUP-8)."""
        return tuple(self._stamps)

    def restore(self, stamps: tuple[int, ...]) -> None:
        """Take over the window of a predecessor."""
        self._stamps = deque(stamps)
