"""REC-1: which rung, by which rule, on what evidence. Pure.

Rules are looked at in their order and the first that holds decides. A rule is passed over, without asking for any
evidence, when its rung is not on the ladder or cannot be taken at all; manual can always be taken. Evidence that is
not known never makes a rule hold. Bounds: a standby's lag at most ``max_lag``; a checkpoint younger than ``max_age``;
counts of ``at_least``; volatility over ``above``; RTO under ``below``.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import msgspec

from supervisors.core.errors import RayvisorError
from supervisors.recovery.evidence import (
    CheckpointEvidence,
    CorruptionEvidence,
    CountEvidence,
    EvidenceSource,
    FailureEvidence,
    MarketEvidence,
    RtoEvidence,
    StandbyEvidence,
    VolatilityEvidence,
)
from supervisors.recovery.policy import Condition, RecoverySpec, Rule, Rung

Value = str | int | float | bool | None
_E = TypeVar("_E")


class Checked(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule that was looked at.

    Attributes:
        when: its condition.
        then: the rung it stands for.
        held: True: it decided; False: it did not hold; None: it could not be told, or was passed over.
        saw: the evidence it saw, empty when none was asked for.
        bound: what the evidence was held against.
        why: why it was passed over, or where evidence came from or was missing.
    """

    when: Condition
    then: Rung
    held: bool | None
    saw: dict[str, Value] = {}
    bound: dict[str, Value] = {}
    why: str = ""


_encoder = msgspec.json.Encoder()


class Decision(msgspec.Struct, frozen=True):
    """A rung, one line of why, and every rule that was looked at, in order. ``at``: monotonic seconds."""

    rung: Rung
    because: str
    trace: tuple[Checked, ...]
    at: float

    def to_json(self) -> str:
        """The trace as compact JSON: an array of ``Checked`` objects."""
        return _encoder.encode(self.trace).decode()


def decide(spec: RecoverySpec, source: EvidenceSource, now: float) -> Decision:
    """The rung of the first rule that holds; without one cold if the ladder has it, else manual.

    Args:
        spec: the child's policy.
        source: asked for what the rules need, as far as they are looked at.
        now: monotonic seconds.
    """
    asked = _Asked(spec, source)
    trace: list[Checked] = []
    for rule in spec.rules:
        passed = impossible(spec, rule.then)
        if passed:
            trace.append(Checked(rule.when, rule.then, None, why=passed))
            continue
        checked = _TESTS[rule.when](rule, asked)
        trace.append(checked)
        if checked.held:
            return Decision(rule.then, _because(checked), tuple(trace), now)
    if Rung.COLD in spec.ladder:
        return Decision(Rung.COLD, "no rule held: cold ends the ladder", tuple(trace), now)
    return Decision(Rung.MANUAL, "no rule held and cold is not on the ladder", tuple(trace), now)


def impossible(spec: RecoverySpec, rung: Rung) -> str:
    """Why ``spec`` never allows this rung, or an empty string."""
    if rung is Rung.MANUAL:
        return ""
    if rung not in spec.ladder:
        return f"{rung} is not on the ladder"
    if rung is Rung.HOT and spec.standbys == 0:
        return "no standby is kept"
    return ""


def _because(checked: Checked) -> str:
    saw = ", ".join(f"{name} {_text(value)}" for name, value in checked.saw.items() if value not in (None, ""))
    bound = ", ".join(f"{name} {_text(value)}" for name, value in checked.bound.items())
    return checked.when.value + (f": {saw}" if saw else "") + (f" ({bound})" if bound else "")


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class _Asked:
    """The source, asked at most once for each thing; what fails for reasons of the outside is not known."""

    def __init__(self, spec: RecoverySpec, source: EvidenceSource) -> None:
        self.spec = spec
        self.source = source
        self._answers: dict[tuple[Condition, float], object] = {}

    def of(self, when: Condition, ask: Callable[[], _E], missing: Callable[[str], _E], key: float = 0.0) -> _E:
        answer = self._answers.get((when, key))
        if answer is None:
            try:
                answer = ask()
            except (OSError, RayvisorError) as error:
                answer = missing(str(error) or type(error).__name__)
            self._answers[when, key] = answer
        return cast("_E", answer)


def _number(value: float | None) -> float | None:
    """None for what is no number: NaN is not knowing."""
    return value if value == value else None  # noqa: PLR0124 - NaN alone differs from itself


def _standby(rule: Rule, asked: _Asked) -> Checked:
    seen = asked.of(rule.when, asked.source.standby, lambda why: StandbyEvidence(why=why))
    lag = _number(seen.lag)
    held = seen.synced if not seen.synced else None if lag is None else lag <= rule.max_lag
    saw: dict[str, Value] = {"synced": seen.synced, "lag": lag, "host": seen.host}
    return Checked(rule.when, rule.then, held, saw, {"max_lag": rule.max_lag}, seen.why)


def _checkpoint(rule: Rule, asked: _Asked) -> Checked:
    seen = asked.of(rule.when, asked.source.checkpoint, lambda why: CheckpointEvidence(why=why))
    age = _number(seen.age)
    held = seen.valid if not seen.valid else None if age is None else age < rule.max_age
    saw: dict[str, Value] = {"valid": seen.valid, "age": age, "sequence": seen.sequence}
    return Checked(rule.when, rule.then, held, saw, {"max_age": rule.max_age}, seen.why)


def _failure(rule: Rule, asked: _Asked) -> Checked:
    seen = asked.of(rule.when, asked.source.failure, lambda why: FailureEvidence(why=why))
    held = None if seen.kind is None else seen.kind in rule.classes
    bound: dict[str, Value] = {"classes": " ".join(rule.classes)}
    return Checked(rule.when, rule.then, held, {"kind": seen.kind}, bound, seen.why)


def _corruption(rule: Rule, asked: _Asked) -> Checked:
    seen = asked.of(rule.when, asked.source.corruption, lambda why: CorruptionEvidence(why=why))
    return Checked(rule.when, rule.then, seen.suspected, {"suspected": seen.suspected}, why=seen.why)


def _count(rule: Rule, asked: _Asked, ask: Callable[[float], CountEvidence]) -> Checked:
    seen = asked.of(rule.when, lambda: ask(rule.within), lambda why: CountEvidence(why=why), rule.within)
    held = None if seen.count is None else seen.count >= rule.at_least
    bound: dict[str, Value] = {"at_least": rule.at_least, "within": rule.within}
    return Checked(rule.when, rule.then, held, {"count": seen.count}, bound, seen.why)


def _failed_recoveries(rule: Rule, asked: _Asked) -> Checked:
    return _count(rule, asked, asked.source.failed_recoveries)


def _failures_at_once(rule: Rule, asked: _Asked) -> Checked:
    return _count(rule, asked, asked.source.failures_at_once)


def _volatility(rule: Rule, asked: _Asked) -> Checked:
    seen = asked.of(rule.when, asked.source.volatility, lambda why: VolatilityEvidence(why=why))
    ratio = _number(seen.ratio)
    held = None if ratio is None else ratio > rule.above
    return Checked(rule.when, rule.then, held, {"ratio": ratio}, {"above": rule.above}, seen.why)


def _market(rule: Rule, asked: _Asked) -> Checked:
    hours = asked.spec.approval.market_hours
    if hours is None:
        return Checked(rule.when, rule.then, None, why="no market hours are declared")
    seen = asked.of(rule.when, lambda: asked.source.market_open(hours), lambda why: MarketEvidence(why=why))
    return Checked(rule.when, rule.then, seen.open, {"open": seen.open}, why=seen.why)


def _rto(rule: Rule, asked: _Asked) -> Checked:
    seen = asked.of(rule.when, asked.source.rto_left, lambda why: RtoEvidence(why=why))
    left = _number(seen.left)
    held = None if left is None else left < rule.below
    return Checked(rule.when, rule.then, held, {"left": left}, {"below": rule.below}, seen.why)


def _always(rule: Rule, asked: _Asked) -> Checked:
    return Checked(rule.when, rule.then, True)


_TESTS: Mapping[Condition, Callable[[Rule, _Asked], Checked]] = {
    Condition.STANDBY_SYNCED: _standby,
    Condition.CHECKPOINT_FRESH: _checkpoint,
    Condition.FAILURE_CLASS: _failure,
    Condition.CORRUPTION_SUSPECTED: _corruption,
    Condition.FAILED_RECOVERIES: _failed_recoveries,
    Condition.VOLATILITY: _volatility,
    Condition.FAILURES_AT_ONCE: _failures_at_once,
    Condition.MARKET_OPEN: _market,
    Condition.RTO_LEFT: _rto,
    Condition.ALWAYS: _always,
}
