"""A clock that moves only when told to."""

#: places kept of a second: nanoseconds, so that ten steps of 0.1 s end at 1.0 s and not just below it
PLACES = 9


class ManualClock:
    """A ``supervisors.core.clock.Clock`` for tests and simulations.

    Args:
        start: monotonic seconds it begins at.
        utc_start_ns: the wall clock at that moment, nanoseconds since the epoch.
    """

    __slots__ = ("_start", "_utc_start_ns", "now")

    def __init__(self, start: float = 0.0, utc_start_ns: int = 0) -> None:
        self._start = start
        self._utc_start_ns = utc_start_ns
        #: monotonic seconds; read it freely, move it with ``advance`` or ``move_to``
        self.now = start

    def monotonic(self) -> float:
        """Seconds; see ``Clock``."""
        return self.now

    def utc_ns(self) -> int:
        """Nanoseconds since the epoch; moves with ``monotonic``."""
        return self._utc_start_ns + round((self.now - self._start) * 1e9)

    def advance(self, seconds: float) -> None:
        """Move on by ``seconds``, rounded to whole nanoseconds.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock does not go back ({seconds} s)")
        self.now = round(self.now + seconds, PLACES)

    def move_to(self, at: float) -> None:
        """Move on to ``at``; a time already past changes nothing."""
        self.now = max(self.now, at)
