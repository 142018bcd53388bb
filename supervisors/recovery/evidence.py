"""What a recovery decision may ask for, and how the answers look (REC-1). Pure.

Each answer has a value that may be ``None``: not known. What is not known never makes a rule hold. ``why`` says, for
the trail, where a value comes from or why there is none.
"""

from typing import Protocol

import msgspec

from supervisors.recovery.policy import FailureClass, MarketHours
from supervisors.recovery.progress import History


class StandbyEvidence(msgspec.Struct, frozen=True):
    """The best standby there is. ``lag``: seconds behind its primary when that was last known."""

    synced: bool | None = None
    lag: float | None = None
    host: str = ""
    why: str = ""


class CheckpointEvidence(msgspec.Struct, frozen=True):
    """The newest checkpoint. ``valid``: its checksum was looked at; ``age``: seconds."""

    valid: bool | None = None
    age: float | None = None
    sequence: int = 0
    why: str = ""


class FailureEvidence(msgspec.Struct, frozen=True):
    """Why the child failed, as ``classes.failure_class`` sees it."""

    kind: FailureClass | None = None
    why: str = ""


class CorruptionEvidence(msgspec.Struct, frozen=True):
    """True when a journal or checkpoint of the child is known to be damaged."""

    suspected: bool | None = None
    why: str = ""


class CountEvidence(msgspec.Struct, frozen=True):
    """How many there were within the time asked for."""

    count: int | None = None
    why: str = ""


class VolatilityEvidence(msgspec.Struct, frozen=True):
    """Volatility now over its average."""

    ratio: float | None = None
    why: str = ""


class MarketEvidence(msgspec.Struct, frozen=True):
    """Is the market open now?"""

    open: bool | None = None
    why: str = ""


class RtoEvidence(msgspec.Struct, frozen=True):
    """Seconds left of the child's RTO, negative once it has passed; None without an RTO."""

    left: float | None = None
    why: str = ""


class EvidenceSource(Protocol):
    """Where a decision gets its evidence. Each method is called only when a rule needs it, at most once a decision.

    A method that fails for a reason of the outside (``OSError``, ``RayvisorError``) counts as not knowing.
    """

    def standby(self) -> StandbyEvidence: ...

    def checkpoint(self) -> CheckpointEvidence: ...

    def failure(self) -> FailureEvidence: ...

    def corruption(self) -> CorruptionEvidence: ...

    def failed_recoveries(self, within: float) -> CountEvidence:
        """Attempts of this path that failed within the last ``within`` seconds. ``RecoveryCase`` counts them itself."""
        ...

    def volatility(self) -> VolatilityEvidence: ...

    def failures_at_once(self, within: float) -> CountEvidence:
        """Children of this system that failed within the last ``within`` seconds."""
        ...

    def market_open(self, hours: MarketHours) -> MarketEvidence: ...

    def rto_left(self) -> RtoEvidence:
        """Counted from the failure. ``RecoveryCase`` answers it itself."""
        ...


class UnknownEvidence:
    """Knows nothing: for a case that goes on without a source, and a base for sources that know little."""

    def standby(self) -> StandbyEvidence:
        return StandbyEvidence()

    def checkpoint(self) -> CheckpointEvidence:
        return CheckpointEvidence()

    def failure(self) -> FailureEvidence:
        return FailureEvidence()

    def corruption(self) -> CorruptionEvidence:
        return CorruptionEvidence()

    def failed_recoveries(self, within: float) -> CountEvidence:
        return CountEvidence()

    def volatility(self) -> VolatilityEvidence:
        return VolatilityEvidence()

    def failures_at_once(self, within: float) -> CountEvidence:
        return CountEvidence()

    def market_open(self, hours: MarketHours) -> MarketEvidence:
        return MarketEvidence()

    def rto_left(self) -> RtoEvidence:
        return RtoEvidence()


class CaseEvidence:
    """A source with what the case knows best itself: its failed attempts and the time since the failure."""

    def __init__(
        self, source: EvidenceSource, history: History, failed_at: float, rto: float | None, now: float
    ) -> None:
        self._history = history
        self._failed_at = failed_at
        self._rto = rto
        self._now = now
        self.standby = source.standby
        self.checkpoint = source.checkpoint
        self.failure = source.failure
        self.corruption = source.corruption
        self.volatility = source.volatility
        self.failures_at_once = source.failures_at_once
        self.market_open = source.market_open

    def failed_recoveries(self, within: float) -> CountEvidence:
        return CountEvidence(self._history.failed_within(within, self._now))

    def rto_left(self) -> RtoEvidence:
        if self._rto is None:
            return RtoEvidence(why="no rto is promised")
        return RtoEvidence(self._failed_at + self._rto - self._now)
