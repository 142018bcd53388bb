"""From ``recovery`` as written and resolved to the structs that processes are sent."""

import json

from pydantic import JsonValue

from supervisors.recovery.policy import (
    DEFAULT_RULES,
    AckMode,
    ApprovalSpec,
    CheckpointSpec,
    Condition,
    JournalSpec,
    LeaseSpec,
    MarketHours,
    RampSpec,
    RampStep,
    RecoverySpec,
    Rule,
    ValidationStep,
)
from supervisors.spec.recovery import (
    DAYS,
    LeaseSettings,
    MarketHoursSettings,
    RampSettings,
    RecoverySettings,
    RuleSettings,
    ValidationSettings,
    minutes_of,
)
from supervisors.spec.settings import WorkerSettings

#: fields of a rule that each condition looks at
USES: dict[Condition, tuple[str, ...]] = {
    Condition.STANDBY_SYNCED: ("max_lag",),
    Condition.CHECKPOINT_FRESH: ("max_age",),
    Condition.FAILURE_CLASS: ("classes",),
    Condition.CORRUPTION_SUSPECTED: (),
    Condition.FAILED_RECOVERIES: ("at_least", "within"),
    Condition.VOLATILITY: ("above",),
    Condition.FAILURES_AT_ONCE: ("at_least", "within"),
    Condition.MARKET_OPEN: (),
    Condition.RTO_LEFT: ("below",),
    Condition.ALWAYS: (),
}
#: seconds, where a rule says no ``within``: failures of one cause come close together, failed recoveries do not
_WITHIN = {Condition.FAILED_RECOVERIES: 3600.0, Condition.FAILURES_AT_ONCE: 10.0}


def start_limit(settings: WorkerSettings) -> float:
    """Seconds a start of this worker may take: with recovery, time for each rung of the ladder to be tried."""
    recovery = settings.recovery
    if recovery is None:
        return settings.start_timeout
    limits = recovery.rung_timeout
    return max(settings.start_timeout, sum(float(getattr(limits, rung, 0.0)) for rung in recovery.ladder))


def json_bytes(value: dict[str, JsonValue]) -> bytes:
    """Compact JSON, keys in the order of the alphabet so that equal values give equal digests.

    Raises:
        ValueError: it holds a number JSON cannot carry (``.inf``, ``.nan``), or text that is no Unicode.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def compile_recovery(settings: RecoverySettings | None) -> RecoverySpec | None:
    """What a worker's processes are sent of its recovery."""
    if settings is None:
        return None
    checkpoint, journal, approval = settings.checkpoint, settings.journal, settings.approval
    ack = journal.ack
    if ack is AckMode.AUTO:
        ack = AckMode.BOTH if settings.standbys else AckMode.DISK
    return RecoverySpec(
        ladder=settings.ladder,
        rules=compile_rules(settings),
        standbys=settings.standbys,
        standby=settings.standby,
        rto=settings.rto,
        rung_timeout=settings.rung_timeout.model_dump(),
        checkpoint=CheckpointSpec(
            checkpoint.every, checkpoint.events, checkpoint.fresh_for, checkpoint.keep, checkpoint.verify_every
        ),
        journal=JournalSpec(ack, journal.segment, journal.retain, journal.standby_timeout),
        lease=_lease(settings.lease),
        approval=ApprovalSpec(_market_hours(approval.market_hours), approval.timeout),
        ramp=_ramp(settings.ramp),
        validate=tuple(_step(step) for step in settings.checks),
        keep_failed=settings.keep_failed,
    )


def compile_rules(settings: RecoverySettings) -> tuple[Rule, ...]:
    """The rules in effect, each with all it looks at; what it does not look at has the struct's own values."""
    fresh = settings.checkpoint.fresh_for
    if settings.rules is None:
        return tuple(
            Rule(rule.when, rule.then, max_age=fresh) if rule.when is Condition.CHECKPOINT_FRESH else rule
            for rule in DEFAULT_RULES
        )
    return tuple(_rule(rule, fresh) for rule in settings.rules)


def _rule(rule: RuleSettings, fresh_for: float) -> Rule:
    when, then = rule.when, rule.then
    match when:
        case Condition.STANDBY_SYNCED:
            return Rule(when, then, max_lag=rule.max_lag)
        case Condition.CHECKPOINT_FRESH:
            return Rule(when, then, max_age=fresh_for if rule.max_age is None else rule.max_age)
        case Condition.FAILURE_CLASS:
            return Rule(when, then, classes=rule.classes or ())
        case Condition.FAILED_RECOVERIES | Condition.FAILURES_AT_ONCE:
            within = _WITHIN[when] if rule.within is None else rule.within
            return Rule(when, then, at_least=rule.at_least, within=within)
        case Condition.VOLATILITY:
            return Rule(when, then, above=rule.above)
        case Condition.RTO_LEFT:
            return Rule(when, then, below=rule.below)
        case _:
            return Rule(when, then)


def _lease(lease: LeaseSettings | None) -> LeaseSpec | None:
    return None if lease is None else LeaseSpec(lease.renew, lease.expire, lease.margin, lease.on_store_loss)


def _market_hours(hours: MarketHoursSettings | None) -> MarketHours | None:
    if hours is None:
        return None
    days = tuple(sorted({DAYS.index(day) for day in hours.days}))
    return MarketHours(hours.timezone, minutes_of(hours.open), minutes_of(hours.close), days)


def _ramp(ramp: RampSettings | None) -> RampSpec | None:
    if ramp is None:
        return None
    return RampSpec(tuple(RampStep(step.size, step.lasting) for step in ramp.steps), ramp.after)


def _step(step: ValidationSettings) -> ValidationStep:
    return ValidationStep(
        name=step.name,
        worker=step.worker,
        method=step.method,
        phase=step.phase,
        timeout=step.timeout,
        attempts=step.attempts,
        pause=step.pause,
        required=step.required,
        args=json_bytes(step.args),
    )
