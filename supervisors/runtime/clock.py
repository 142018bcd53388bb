"""The real clock."""

import time


class SystemClock:
    """``supervisors.core.clock.Clock`` on this machine's clocks."""

    def monotonic(self) -> float:
        """Seconds since boot, the same for every process of this machine."""
        return time.monotonic()

    def utc_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""
        return time.time_ns()
