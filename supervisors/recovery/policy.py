"""What a topology says of one child's recovery, resolved: frozen structs that processes are sent.

All times in seconds. The YAML models with their defaults and reasons stand in ``supervisors.spec.recovery``.
"""

from enum import StrEnum

import msgspec


class Rung(StrEnum):
    """How a failed child comes back, fastest first (REC-1, REC-3)."""

    HOT = "hot"  #: promote a synced standby
    WARM = "warm"  #: newest valid checkpoint, then the journal's tail
    COLD = "cold"  #: from nothing: the whole journal, or a plain restart for what journals nothing
    MANUAL = "manual"  #: hold until a person says what to do


#: the order of the ladder: a failed rung is followed by the next one the policy allows; manual always ends it
LADDER = (Rung.HOT, Rung.WARM, Rung.COLD, Rung.MANUAL)


class StandbyKind(StrEnum):
    """How a standby keeps up with its primary."""

    AUTO = "auto"  #: journal for an actor that has ``apply``, live for every other
    JOURNAL = "journal"  #: it applies the events its primary journals
    LIVE = "live"  #: a shadow with inputs of its own and its outputs shut


class AckMode(StrEnum):
    """When an appended event counts as acknowledged."""

    AUTO = "auto"  #: both where there are standbys, else disk
    DISK = "disk"  #: written and synced to this node's disk
    STANDBY = "standby"  #: received by a standby; the disk follows
    BOTH = "both"  #: disk and every standby in sync
    ASYNC = "async"  #: written, not synced: unsafe, a power loss takes acknowledged events with it


class StoreLoss(StrEnum):
    """What the lease holder does when the lease store cannot be reached (STA-4)."""

    HOLD = "hold"  #: stop acting when the lease runs out
    CONTINUE = "continue_if_all_peers_agree"  #: act on while the supervisor, which sees all peers, agrees


class FailureClass(StrEnum):
    """Why a child failed, as far as recovery and restart budgets care (SUP-10)."""

    CRASH = "crash"  #: its own code: exceptions, failed starts, segfaults
    KILLED = "killed"  #: ended by a signal from outside
    HUNG = "hung"
    OOM = "oom"
    NODE = "node"  #: node lost or unreachable: not the child's fault
    FENCED = "fenced"
    ESCALATED = "escalated"  #: a supervisor below gave up


class Condition(StrEnum):
    """What a rule looks at; each takes the fields of ``Rule`` named behind it."""

    STANDBY_SYNCED = "standby_synced"  #: max_lag (seconds)
    CHECKPOINT_FRESH = "checkpoint_fresh"  #: max_age (seconds); valid by its checksum
    FAILURE_CLASS = "failure_class"  #: classes
    CORRUPTION_SUSPECTED = "corruption_suspected"
    FAILED_RECOVERIES = "failed_recoveries"  #: at_least, within (seconds)
    VOLATILITY = "volatility"  #: above (ratio to the average)
    FAILURES_AT_ONCE = "failures_at_once"  #: at_least, within (seconds): children of this system
    MARKET_OPEN = "market_open"
    RTO_LEFT = "rto_left"  #: below (seconds) of the child's rto
    ALWAYS = "always"


class Rule(msgspec.Struct, frozen=True):
    """``when`` holds: take ``then``. A rule whose rung is not on the ladder is passed over (and the trace says so)."""

    when: Condition
    then: Rung
    max_lag: float = 1.0
    max_age: float = 300.0
    classes: tuple[FailureClass, ...] = ()
    at_least: int = 3
    within: float = 3600.0
    above: float = 2.0
    below: float = 0.0


#: REC-1: the order and the bounds of the document (003 §6.2, §6.4)
DEFAULT_RULES = (
    Rule(Condition.STANDBY_SYNCED, Rung.HOT),
    Rule(Condition.CHECKPOINT_FRESH, Rung.WARM),
    Rule(Condition.CORRUPTION_SUSPECTED, Rung.MANUAL),
    Rule(Condition.FAILED_RECOVERIES, Rung.MANUAL),
    Rule(Condition.VOLATILITY, Rung.MANUAL),
    Rule(Condition.ALWAYS, Rung.COLD),
)


class CheckpointSpec(msgspec.Struct, frozen=True):
    """When snapshots are taken and how long one counts as fresh (STA-2)."""

    every: float = 60.0
    events: int = 1_000_000
    fresh_for: float = 300.0
    keep: int = 3
    #: seconds between full replays compared by digest in the background; None: never
    verify_every: float | None = 3600.0


class JournalSpec(msgspec.Struct, frozen=True):
    """The journal of one child. ``ack`` is never AUTO once compiled; ``retain`` None: kept for ever."""

    ack: AckMode = AckMode.DISK
    segment_bytes: int = 64_000_000
    retain: float | None = None
    #: a standby that has not confirmed for this long is out of sync and no longer waited for
    standby_timeout: float = 1.0


class LeaseSpec(msgspec.Struct, frozen=True):
    """STA-4. The holder stops itself ``margin`` before its lease ends, by its own monotonic clock."""

    renew: float = 1.0
    expire: float = 5.0
    margin: float = 1.0
    on_store_loss: StoreLoss = StoreLoss.HOLD


class MarketHours(msgspec.Struct, frozen=True):
    """Local times of day in minutes since midnight; ``close`` before ``open`` spans midnight. Days: Monday is 0."""

    timezone: str = "UTC"
    open: int = 0
    close: int = 1440
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class ApprovalSpec(msgspec.Struct, frozen=True):
    """REC-2: manual always needs a person; with ``market_hours`` so do all rungs but hot while the market is open."""

    market_hours: MarketHours | None = None
    timeout: float = 300.0


class RampStep(msgspec.Struct, frozen=True):
    """Trade ``size`` times the normal size for ``lasting`` seconds (the last step: for good)."""

    size: float
    lasting: float = 0.0


class RampSpec(msgspec.Struct, frozen=True):
    """REC-6: 2 min watching, 5 min at a tenth, then all."""

    steps: tuple[RampStep, ...] = (RampStep(0.0, 120.0), RampStep(0.1, 300.0), RampStep(1.0))
    after: tuple[Rung, ...] = (Rung.WARM, Rung.COLD, Rung.MANUAL)


class Phase(StrEnum):
    """The three checklists of REC-5."""

    IMMEDIATE = "immediate"  #: within 60 s
    SHORT = "short"  #: within 5 min
    MEDIUM = "medium"  #: within 30 min


#: seconds after the recovery by which a checklist has to be done (003 §4.2)
PHASE_LIMITS = {Phase.IMMEDIATE: 60.0, Phase.SHORT: 300.0, Phase.MEDIUM: 1800.0}


class ValidationStep(msgspec.Struct, frozen=True):
    """One check: ``method`` of the worker at ``worker`` is called with the recovered path and ``args``.

    It answers ``{"ok": bool, "why": str}`` or raises. ``required``: its failure fails the recovery (immediate) or
    stops the ramp (later phases). Steps must be idempotent: a supervisor that is replaced repeats the one in hand.
    """

    name: str
    worker: str
    method: str
    phase: Phase = Phase.IMMEDIATE
    timeout: float = 5.0
    attempts: int = 3
    pause: float = 0.5
    required: bool = True
    args: bytes = b"{}"


class RecoverySpec(msgspec.Struct, frozen=True):
    """One child's recovery policy."""

    ladder: tuple[Rung, ...] = (Rung.HOT, Rung.WARM, Rung.COLD)
    rules: tuple[Rule, ...] = DEFAULT_RULES
    standbys: int = 0
    standby: StandbyKind = StandbyKind.AUTO
    #: seconds from failure to recovered that are promised; None: no promise
    rto: float | None = 30.0
    #: seconds one rung gets before the next is tried, by rung
    rung_timeout: dict[str, float] = msgspec.field(default_factory=lambda: {"hot": 2.0, "warm": 30.0, "cold": 300.0})
    checkpoint: CheckpointSpec = CheckpointSpec()
    journal: JournalSpec = JournalSpec()
    lease: LeaseSpec | None = LeaseSpec()
    approval: ApprovalSpec = ApprovalSpec()
    ramp: RampSpec | None = None
    validate: tuple[ValidationStep, ...] = ()
    #: failed states kept for this child
    keep_failed: int = 10
