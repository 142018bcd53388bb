"""Whether a child's beats are late. Pure."""

from dataclasses import dataclass

from actors.detectors.hysteresis import Freshness, Hysteresis


@dataclass(frozen=True, slots=True)
class BeatSample:
    """What a supervisor says of one child.

    Attributes:
        id: the child's id.
        beat_age: seconds since its last beat; None when none came or none is expected.
        incarnation: which life.
        state: as the supervisor calls it.
    """

    id: str
    beat_age: float | None
    incarnation: int
    state: str = ""


class ChildBeats:
    """The judge of one child.

    Args:
        bound: seconds after which a beat is late.
        count: looks in a row that change the verdict.
    """

    __slots__ = ("_hysteresis", "bound", "sample")

    def __init__(self, bound: float, count: int) -> None:
        self.bound = bound
        self.sample = BeatSample("", None, 0)
        self._hysteresis = Hysteresis(count)

    @property
    def verdict(self) -> Freshness:
        """The present verdict."""
        return self._hysteresis.verdict

    def observe(self, sample: BeatSample, lag: float = 0.0) -> bool:
        """Judge once; the observer's ``lag`` in seconds widens the bound.

        A new incarnation begins with no verdict: a stale predecessor says nothing of it. A child of which no beat is
        expected (stopped, restarting) is not judged.

        Returns:
            True when the verdict changed.
        """
        before = self.verdict
        if sample.incarnation != self.sample.incarnation and before is not Freshness.STALE:
            self._hysteresis.reset()
        self.sample = sample
        if sample.beat_age is not None:
            self._hysteresis.judge(sample.beat_age > self.bound + lag)
        return self.verdict is not before
