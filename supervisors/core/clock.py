"""Time as an argument: what a room that needs the clock is given."""

from typing import Protocol


class Clock(Protocol):
    """A source of time. The shell injects a real one, tests and ``simulate`` a manual one."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; comparable between processes of one machine."""
        ...

    def utc_ns(self) -> int:
        """Wall clock in nanoseconds since the epoch: for people to read, never for time-outs."""
        ...
