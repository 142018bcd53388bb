"""N in a row before a verdict changes, suspect before lost (DET-9). Pure."""

from enum import StrEnum


class Freshness(StrEnum):
    """What is thought of a channel or a child's beats."""

    UNKNOWN = "unknown"  #: nothing to judge by yet
    FRESH = "fresh"
    SUSPECT = "suspect"  #: late, but not often enough in a row to be sure
    STALE = "stale"


class Hysteresis:
    """Turns single judgements into a verdict.

    Args:
        count: judgements in a row that change the verdict: ``count`` bad ones make it stale (the first makes it
            suspect), ``count`` good ones make a stale one fresh. A suspect is cleared by one good judgement.
    """

    __slots__ = ("_bad", "_good", "count", "verdict")

    def __init__(self, count: int = 3) -> None:
        self.count = count
        self.verdict = Freshness.UNKNOWN
        self._bad = 0
        self._good = 0

    def judge(self, late: bool) -> bool:
        """Take one judgement.

        Returns:
            True when the verdict changed.
        """
        before = self.verdict
        if late:
            self._good = 0
            self._bad += 1
            if self._bad >= self.count:
                self.verdict = Freshness.STALE
            elif before is not Freshness.STALE:
                self.verdict = Freshness.SUSPECT
        else:
            self._bad = 0
            self._good += 1
            if before is not Freshness.STALE or self._good >= self.count:
                self.verdict = Freshness.FRESH
        return self.verdict is not before

    def reset(self) -> None:
        """Forget everything."""
        self.verdict = Freshness.UNKNOWN
        self._bad = self._good = 0
