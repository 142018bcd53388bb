"""A source whose answers are given and whose questions are written down, and a case driven by hand."""

from typing import TypeVar

from supervisors.core.reasons import ExitReason, crash
from supervisors.recovery.case import RecoveryCase
from supervisors.recovery.evidence import (
    CheckpointEvidence,
    CorruptionEvidence,
    CountEvidence,
    FailureEvidence,
    MarketEvidence,
    RtoEvidence,
    StandbyEvidence,
    VolatilityEvidence,
)
from supervisors.recovery.messages import (
    AttemptSucceeded,
    Effect,
    Event,
    FailureSeen,
    SetTimer,
    TimerFired,
    Validate,
    Validated,
)
from supervisors.recovery.policy import FailureClass, MarketHours, RecoverySpec, Rung
from supervisors.recovery.progress import History

E = TypeVar("E")
PATH = "/cell/md"


class Known:
    """Evidence as given; ``asked`` keeps the names of the methods that were called, in order."""

    def __init__(
        self,
        *,
        synced: bool | None = False,
        lag: float | None = 0.0,
        valid: bool | None = False,
        age: float | None = 0.0,
        kind: FailureClass | None = FailureClass.CRASH,
        suspected: bool | None = False,
        failed: int | None = 0,
        ratio: float | None = 1.0,
        at_once: int | None = 1,
        market: bool | None = False,
        left: float | None = 10.0,
    ) -> None:
        self._standby = StandbyEvidence(synced, lag, "h1")
        self._checkpoint = CheckpointEvidence(valid, age, 7)
        self._failure = FailureEvidence(kind)
        self._corruption = CorruptionEvidence(suspected)
        self._failed = CountEvidence(failed)
        self._volatility = VolatilityEvidence(ratio)
        self._at_once = CountEvidence(at_once)
        self._market = MarketEvidence(market)
        self._rto = RtoEvidence(left)
        self.asked: list[str] = []
        self.within: list[float] = []

    def standby(self) -> StandbyEvidence:
        self.asked.append("standby")
        return self._standby

    def checkpoint(self) -> CheckpointEvidence:
        self.asked.append("checkpoint")
        return self._checkpoint

    def failure(self) -> FailureEvidence:
        self.asked.append("failure")
        return self._failure

    def corruption(self) -> CorruptionEvidence:
        self.asked.append("corruption")
        return self._corruption

    def failed_recoveries(self, within: float) -> CountEvidence:
        self.asked.append("failed_recoveries")
        self.within.append(within)
        return self._failed

    def volatility(self) -> VolatilityEvidence:
        self.asked.append("volatility")
        return self._volatility

    def failures_at_once(self, within: float) -> CountEvidence:
        self.asked.append("failures_at_once")
        self.within.append(within)
        return self._at_once

    def market_open(self, hours: MarketHours) -> MarketEvidence:
        self.asked.append("market_open")
        return self._market

    def rto_left(self) -> RtoEvidence:
        self.asked.append("rto_left")
        return self._rto


class Driven:
    """A case with a clock of its own; ``all`` keeps every effect."""

    def __init__(self, spec: RecoverySpec, history: History | None = None, now: float = 1000.0) -> None:
        self.case = RecoveryCase(PATH, spec, history)
        self.now = now
        self.all: list[Effect] = []
        self.last: list[Effect] = []

    def step(self, event: Event, after: float = 0.0) -> list[Effect]:
        self.now += after
        self.last = self.case.step(event, self.now)
        self.all += self.last
        return self.last

    def fail(
        self, incarnation: int = 1, source: Known | None = None, reason: ExitReason | None = None, after: float = 0.0
    ) -> list[Effect]:
        why = crash("boom") if reason is None else reason
        known = Known() if source is None else source
        return self.step(FailureSeen(f"{PATH}#{incarnation}", incarnation, why, known), after)

    def up(self, rung: Rung, incarnation: int = 2, after: float = 1.0) -> list[Effect]:
        return self.step(AttemptSucceeded(rung, incarnation, self.case.number), after)

    def fire(self, purpose: str) -> list[Effect]:
        """The timer of this purpose, when it is due."""
        timer = self.case.record().timers[purpose]
        self.now = max(self.now, timer.at)
        return self.step(TimerFired(timer.token))

    def check(self, ok: bool = True, why: str = "", after: float = 0.1) -> list[Effect]:
        """Answer the check in hand."""
        asked = one(self.all, Validate, last=True)
        return self.step(Validated(asked.step.name, ok, why, asked.run), after)

    def timers(self) -> set[str]:
        return set(self.case.record().timers)


def of(effects: list[Effect], kind: type[E]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def one(effects: list[Effect], kind: type[E], *, last: bool = False) -> E:
    found = of(effects, kind)
    assert found, f"no {kind.__name__} in {effects}"
    assert last or len(found) == 1, found
    return found[-1]


def names(effects: list[Effect], *, timers: bool = False) -> list[str]:
    """What was to be done, by name, in order; timers left out."""
    skipped = set() if timers else {"SetTimer", "CancelTimer", "Progressed"}
    return [type(effect).__name__ for effect in effects if type(effect).__name__ not in skipped]


def at_of(effects: list[Effect]) -> list[float]:
    return [timer.at for timer in of(effects, SetTimer)]
