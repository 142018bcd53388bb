"""What goes into a recovery case (events, past tense) and what comes out (effects, imperative). Pure.

Times are monotonic seconds, durations seconds.
"""

from dataclasses import dataclass
from enum import StrEnum

from supervisors.core.reasons import ExitReason
from supervisors.recovery.decision import Decision
from supervisors.recovery.evidence import EvidenceSource
from supervisors.recovery.policy import Phase, Rung, ValidationStep
from supervisors.recovery.progress import Progress

# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class FailureSeen:
    """A life of the child ended, or its supervisor gave it up as dead.

    ``id`` names the failure for people and the trail (``failure_id(path, incarnation)``); ``at``: when the first sign
    of it was seen (None: now). What comes for a life that is already known to have failed is dropped.
    """

    id: str
    incarnation: int
    reason: ExitReason
    source: EvidenceSource
    at: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptBegun:
    """The attempt in hand really begins now (after a backoff, say): its time-out counts from here. May be left out."""

    attempt: int = 0


@dataclass(frozen=True, slots=True)
class AttemptSucceeded:
    """The child is up and ready. ``incarnation``: the life that came up; ``attempt``: ``Attempt.number``, 0: the one
    in hand.
    """

    rung: Rung
    incarnation: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The rung did not bring it up and no process of it is left."""

    rung: Rung
    why: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step inside the attempt in hand is done: ``fence``, ``promote``, ``restore`` or ``start``."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Approved:
    """A person lets hold ``id`` go; ``rung`` None: the one proposed."""

    id: str
    who: str
    why: str = ""
    rung: Rung | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A person decides that the child stays down."""

    id: str
    who: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Validated:
    """The answer to ``Validate`` (``run`` as there; 0: the one in hand, if it is of this name)."""

    step: str
    ok: bool
    why: str = ""
    run: int = 0


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer asked for by ``SetTimer`` is due."""

    token: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The child is no longer wanted up (terminated, deleted, its supervisor ends): the case ends as it is."""

    why: str


Event = (
    FailureSeen
    | AttemptBegun
    | AttemptSucceeded
    | AttemptFailed
    | StepDone
    | Approved
    | Rejected
    | Validated
    | TimerFired
    | Withdrawn
)

# ---------------------------------------------------------------- effects


class Answer(StrEnum):
    """What became of a hold."""

    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"  #: nobody answered in time; the hold goes on and can still be answered


class Outcome(StrEnum):
    """How a case ended."""

    RECOVERED = "recovered"  #: healthy again, ramp and checklists done
    DROPPED = "dropped"  #: a person rejected it: the child stays down
    WITHDRAWN = "withdrawn"  #: nobody wants the child up any more


@dataclass(frozen=True, slots=True)
class Decided:
    """Write it to the trail."""

    failure: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Attempt:
    """Bring the child up by ``rung`` and answer ``AttemptSucceeded`` or ``AttemptFailed``.

    ``timeout``: the case itself gives up after it (``Preserve``, ``Abandon``). ``multiplier``: the size the child is
    to start with. ``number`` counts the attempts of the case from 1.
    """

    rung: Rung
    timeout: float
    number: int
    multiplier: float


@dataclass(frozen=True, slots=True)
class Preserve:
    """Keep logs, state and stack dump of the failed life before anything of it is touched (REC-3)."""

    why: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """End whatever the attempt in hand has running, for certain, before what follows is carried out.

    The end of that life is not to be told as ``FailureSeen`` (it is dropped if ``AttemptSucceeded`` gave its
    incarnation).
    """

    why: str


@dataclass(frozen=True, slots=True)
class RungFailed:
    """The rung failed; ``next`` is tried now (MANUAL: a hold follows)."""

    rung: Rung
    why: str
    next: Rung


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the child down until a person answers hold ``id``."""

    id: str
    why: str
    proposed: Rung


@dataclass(frozen=True, slots=True)
class AskApproval:
    """Page a person (P0): they have ``timeout`` seconds until the answer counts as ``timed_out``."""

    id: str
    why: str
    proposed: Rung
    timeout: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of hold ``id``; ``rung`` None unless approved."""

    id: str
    answer: Answer
    who: str
    why: str
    rung: Rung | None


@dataclass(frozen=True, slots=True)
class Release:
    """The hold is over: the ``Attempt`` that follows may be carried out; ``named``: the person named this rung."""

    rung: Rung
    named: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Rejected: the child stays down and is no longer wanted."""

    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Validate:
    """Run this step now; ``attempt`` counts from 1. Answer ``Validated``. ``run`` is never used twice in a case."""

    step: ValidationStep
    attempt: int
    run: int


@dataclass(frozen=True, slots=True)
class StepValidated:
    """A try of a step was answered: write it to the trail. ``final``: it is not tried again at once.

    ``required`` and ``final`` and not ``ok``: the recovery failed (immediate) or the ramp stands still (later phases).
    """

    step: str
    phase: Phase
    ok: bool
    why: str
    attempt: int
    seconds: float
    required: bool
    final: bool


@dataclass(frozen=True, slots=True)
class Resize:
    """The child trades ``multiplier`` times its normal size from now on; ``lasting`` 0: until told otherwise."""

    multiplier: float
    lasting: float


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send ``TimerFired(token)`` at ``at``."""

    token: int
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer."""

    token: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """The newest snapshot; those of one step come after everything that is to be done, in order."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Closed:
    """The case is over; nothing follows, ever. Its ``History`` goes into the next one."""

    outcome: Outcome
    why: str


Effect = (
    Decided
    | Attempt
    | Preserve
    | Abandon
    | RungFailed
    | Hold
    | AskApproval
    | Answered
    | Release
    | Drop
    | Validate
    | StepValidated
    | Resize
    | SetTimer
    | CancelTimer
    | Progressed
    | Closed
)
