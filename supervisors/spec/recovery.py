"""How a worker is brought back: the models behind ``recovery`` and ``budgets``.

``supervisors.recovery.policy`` holds what they are compiled to. A section that is not written has the values here;
``recovery`` itself is off until it is written, and ``recovery: {standbys: 1}`` makes a hot standby.
"""

import zoneinfo
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from supervisors.core.durations import Duration
from supervisors.core.reasons import ExitKind
from supervisors.recovery.policy import AckMode, Condition, FailureClass, Phase, Rung, StandbyKind, StoreLoss
from supervisors.spec.fields import ChildId, Flag, PathText, Period, Size, SpecModel, WholeNumber

#: least size of a journal's segment: below it files are made faster than they are read
MIN_SEGMENT = 4096
_MIDNIGHT = "24:00"


class Day(StrEnum):
    """A day of the week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


DAYS = tuple(Day)


def minutes_of(time_of_day: str) -> int:
    """Minutes since midnight of a checked time of day; ``24:00`` is 1440."""
    hours, _, minutes = time_of_day.partition(":")
    return int(hours) * 60 + int(minutes)


def _time_of_day(value: str) -> str:
    hours, colon, minutes = value.strip().partition(":")
    is_time = bool(colon) and len(hours) in (1, 2) and len(minutes) == 2 and (hours + minutes).isdecimal()
    if is_time and (hours + minutes).isascii() and int(minutes) < 60:
        clean = f"{int(hours):02}:{minutes}"
        if int(hours) < 24 or clean == _MIDNIGHT:
            return clean
    raise PydanticCustomError("time_of_day", "{what} is no time of day", {"what": repr(value)[:40]})


def _timezone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise PydanticCustomError("timezone", "{what} is no known time zone", {"what": repr(value)[:60]}) from error
    return value


def _method(value: str) -> str:
    if not (value.isidentifier() and value.isascii()) or value.startswith("_"):
        raise PydanticCustomError("method", "{what} names no public method", {"what": repr(value)[:60]})
    return value


#: a time that is not nothing
PositiveTime = Annotated[Duration, Field(gt=0)]
TimeOfDay = Annotated[
    str,
    AfterValidator(_time_of_day),
    WithJsonSchema({"type": "string", "pattern": r"^(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00)$"}),
]
TimeZone = Annotated[str, AfterValidator(_timezone), WithJsonSchema({"type": "string", "minLength": 1})]
MethodName = Annotated[
    str, AfterValidator(_method), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]*$"})
]


class BudgetSettings(SpecModel):
    """A window of its own for restarts of some kinds (SUP-10)."""

    kinds: Annotated[tuple[ExitKind, ...], Field(min_length=1)]
    """Kinds of exit that are charged here, and not to ``intensity``."""
    intensity: Annotated[WholeNumber, Field(ge=0)] = 10
    """Restarts of these kinds allowed within ``period``. Default 10: a lost node takes many children along at once."""
    period: Period = 60
    """The window, in whole seconds. Default 60s: longer than a node takes to come back under another name."""


class RungTimeouts(SpecModel):
    """How long one rung may take before the next one is tried."""

    hot: PositiveTime = 2.0
    """Default 2s: a promotion takes milliseconds; one that takes seconds will not come about."""
    warm: PositiveTime = 30.0
    """Default 30s, the recovery time promised for a service (REC-9): snapshot and tail are read in less."""
    cold: PositiveTime = 300.0
    """Default 5m: a journal of hours may have to be replayed from its beginning."""


class RuleSettings(SpecModel):
    """``when`` holds: take ``then``. A rule whose rung is not on the ladder is passed over."""

    when: Condition
    """What the rule looks at: standby_synced, checkpoint_fresh, failure_class, corruption_suspected,
    failed_recoveries, volatility, failures_at_once, market_open, rto_left or always."""
    then: Rung
    """hot, warm, cold or manual."""
    max_lag: Duration = 1.0
    """standby_synced: the standby is behind by no more than this. Default 1s: what is acknowledged it has anyway."""
    max_age: PositiveTime | None = None
    """checkpoint_fresh: the newest valid checkpoint is no older. Default null: as ``checkpoint.fresh_for`` says."""
    classes: Annotated[tuple[FailureClass, ...], Field(min_length=1)] | None = None
    """failure_class: crash, killed, hung, oom, node, fenced or escalated; must be written there. Default null."""
    at_least: Annotated[WholeNumber, Field(ge=1)] = 3
    """failed_recoveries, failures_at_once: this many. Default 3 (REC-1)."""
    within: PositiveTime | None = None
    """failed_recoveries, failures_at_once: in this time. Default null: 1h for recoveries, 10s for failures at once."""
    above: Annotated[float, Field(gt=0)] = 2.0
    """volatility: this many times its average. Default 2 (REC-1)."""
    below: Duration = 0.0
    """rto_left: less than this is left of ``rto``. Default 0s: all of it is spent."""


class CheckpointSettings(SpecModel):
    """When snapshots are taken, and how long one counts as fresh."""

    every: PositiveTime = 60.0
    """Time between snapshots. Default 60s (STA-2)."""
    events: Annotated[WholeNumber, Field(ge=1)] = 1_000_000
    """Events after which one is taken sooner. Default 1000000 (STA-2): replayed in under 4 s."""
    fresh_for: PositiveTime = 300.0
    """Age up to which the newest one is good for a warm start. Default 5m (REC-1)."""
    keep: Annotated[WholeNumber, Field(ge=1)] = 3
    """Checkpoints kept. Default 3: a damaged one is passed over for the one before it."""
    verify_every: PositiveTime | None = 3600.0
    """Time between full replays in the background whose result is compared with the state. Default 1h.
    null: never."""


class JournalSettings(SpecModel):
    """The record of an actor's events."""

    ack: AckMode = AckMode.AUTO
    """When an event counts as acknowledged. auto: both where there are standbys, else disk; disk: synced to this
    node's disk; standby: received by a standby; both; async: written, not synced. Default auto: nothing that was
    acknowledged is lost with a process, a disk's cache or, with standbys, a node."""
    segment: Annotated[Size, Field(ge=MIN_SEGMENT)] = 64_000_000
    """Size at which a file is closed and a new one begun. Default 64MB: quick to scan, few to list."""
    retain: PositiveTime | None = None
    """Age at which what lies behind the oldest checkpoint kept may be deleted. Default null: kept for ever, so that
    a cold start can replay all of it."""
    standby_timeout: PositiveTime = 1.0
    """A standby that has not confirmed for this long is out of sync and no longer waited for. Default 1s: a standby
    that hangs must not stop its primary."""


class LeaseSettings(SpecModel):
    """The right to act, held by one at a time (STA-4)."""

    renew: PositiveTime = 1.0
    """Time between renewals. Default 1s (STA-4)."""
    expire: PositiveTime = 5.0
    """Time without renewal after which another may take it. Default 5s (STA-4): four renewals may fail."""
    margin: PositiveTime = 1.0
    """The holder stops acting this long before its lease ends. Default 1s: more than two clocks drift apart in
    5 s."""
    on_store_loss: StoreLoss = StoreLoss.HOLD
    """The store cannot be reached. hold: stop acting when the lease runs out; continue_if_all_peers_agree: act on
    while the supervisor, which sees all peers, agrees. Default hold: in doubt, stop."""


class MarketHoursSettings(SpecModel):
    """When the market is open. ``{}`` is always: crypto markets never close."""

    timezone: TimeZone = "UTC"
    """Time zone of ``open`` and ``close``, such as America/New_York. Default UTC."""
    open: TimeOfDay = "00:00"
    """Local time of day, quoted: "09:30". Default "00:00"."""
    close: TimeOfDay = _MIDNIGHT
    """Local time of day; before ``open`` it is on the next day. Default "24:00"."""
    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    """Days on which it opens: mon, tue, wed, thu, fri, sat, sun. Default all."""


class ApprovalSettings(SpecModel):
    """When a person has to say yes (REC-2). Manual always needs one."""

    timeout: PositiveTime = 300.0
    """Time until the question is told to be unanswered; holding goes on. Default 5m (REC-2)."""
    market_hours: MarketHoursSettings | None = None
    """While the market is open, every rung but hot needs approval too. Default null: no rung but manual does."""


class RampStepSettings(SpecModel):
    """One step on the way back to full size."""

    size: Annotated[float, Field(ge=0, le=1)]
    """Part of the normal size to trade, from 0 (watch only) to 1."""
    lasting: Duration = Field(default=0.0, alias="for")
    """Time it lasts; the last step lasts for good. Default 0s."""


class RampSettings(SpecModel):
    """Back to full size in steps (REC-6)."""

    steps: Annotated[tuple[RampStepSettings, ...], Field(min_length=1)] = (
        RampStepSettings.model_validate({"size": 0.0, "for": 120.0}),
        RampStepSettings.model_validate({"size": 0.1, "for": 300.0}),
        RampStepSettings.model_validate({"size": 1.0}),
    )
    """Steps in order; sizes grow and end at 1. Default 2 min watching, 5 min at a tenth, then all (REC-6)."""
    after: Annotated[tuple[Rung, ...], Field(min_length=1)] = (Rung.WARM, Rung.COLD, Rung.MANUAL)
    """Rungs it follows. Default all but hot: a standby that was in sync knows what its primary knew."""


class ValidationSettings(SpecModel):
    """One check after a recovery (REC-5): a method of another worker, which answers ``{"ok": ..., "why": ...}``."""

    name: ChildId
    """Name of the step in progress, trail and alerts."""
    worker: PathText
    """Path of the worker that checks."""
    method: MethodName
    """Its method; called with the recovered path and ``args``."""
    phase: Phase = Phase.IMMEDIATE
    """immediate (within 60 s), short (5 min) or medium (30 min). Default immediate: before it acts again."""
    timeout: PositiveTime = 5.0
    """Time for one attempt. Default 5s: a round to a venue and back takes less than one."""
    attempts: Annotated[WholeNumber, Field(ge=1)] = 3
    """Attempts until it has failed. Default 3: data may take a moment to flow again."""
    pause: Duration = 0.5
    """Time between attempts. Default 500ms."""
    required: Flag = True
    """Its failure fails the recovery (immediate) or stops the ramp (later). Default true: a check nobody needs need
    not be written."""
    args: dict[str, JsonValue] = {}
    """Keyword arguments for the method. Default none."""


class RecoverySettings(SpecModel):
    """How one worker is brought back (REC-1 to REC-6, STA-1 to STA-4)."""

    ladder: tuple[Rung, ...] = (Rung.HOT, Rung.WARM, Rung.COLD)
    """Rungs that may be tried, fastest first: some of hot, warm, cold; manual always ends it. Default all three."""
    standbys: Annotated[WholeNumber, Field(ge=0, le=16)] = 0
    """Standbys kept in step. Default 0: each is a process of its own."""
    standby: StandbyKind = StandbyKind.AUTO
    """journal: it applies what its primary journals; live: a shadow with inputs of its own and its outputs shut.
    Default auto: journal for an actor that has ``apply``, live for every other."""
    rto: PositiveTime | None = 30.0
    """Time from failure to recovered that is promised, and measured against. Default 30s (REC-9). null: none."""
    rung_timeout: RungTimeouts = RungTimeouts()
    """How long one rung may take before the next one is tried."""
    rules: Annotated[tuple[RuleSettings, ...], Field(min_length=1)] | None = None
    """Which rung is tried first: the first rule that holds. Default null, the order of REC-1: standby_synced: hot;
    checkpoint_fresh: warm; corruption_suspected, failed_recoveries, volatility: manual; else cold."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """When snapshots are taken."""
    journal: JournalSettings = JournalSettings()
    """The record of its events."""
    lease: LeaseSettings | None = LeaseSettings()
    """The right to act. null: none, for a worker of which two may act at once."""
    approval: ApprovalSettings = ApprovalSettings()
    """When a person has to say yes."""
    ramp: RampSettings | None = None
    """Back to full size in steps. Default null: at full size at once; ``{}``: the steps of REC-6."""
    checks: tuple[ValidationSettings, ...] = Field(default=(), alias="validate")
    """Checks after a recovery. Default none."""
    keep_failed: Annotated[WholeNumber, Field(ge=0)] = 10
    """Failed states (logs, state, stacks) kept for this worker, newest first. Default 10."""
