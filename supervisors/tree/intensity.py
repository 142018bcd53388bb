"""The restart-intensity window, exactly as OTP's ``supervisor:add_restart`` counts it."""

from dataclasses import dataclass, field
from math import floor


@dataclass(slots=True)
class IntensityWindow:
    """Restarts within the last ``period`` whole seconds.

    OTP reads ``erlang:monotonic_time(1)``: whole seconds, rounded down. An entry counts while
    ``now - entry <= period``, so a period of 5 s spans up to six ticks of the second hand.
    """

    intensity: int
    period: int
    _stamps: list[int] = field(default_factory=list)

    def add(self, now: float) -> bool:
        """Count one restart at ``now`` (monotonic seconds); False when the supervisor has to give up."""
        second = floor(now)
        kept = [second]
        for stamp in self._stamps:
            if stamp + self.period < second:
                break
            kept.append(stamp)
        self._stamps = kept
        return len(kept) <= self.intensity

    def count(self, now: float) -> int:
        """Restarts that still count at ``now``."""
        second = floor(now)
        return sum(1 for stamp in self._stamps if stamp + self.period >= second)

    @property
    def stamps(self) -> tuple[int, ...]:
        """Newest first; what a replaced supervisor inherits (SUP-8)."""
        return tuple(self._stamps)

    def restore(self, stamps: tuple[int, ...]) -> None:
        """Take over the window of a predecessor."""
        self._stamps = list(stamps)
