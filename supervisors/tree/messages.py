"""What goes into a supervisor's machine (events, past tense) and what comes out (effects, imperative)."""

from dataclasses import dataclass
from enum import StrEnum

from supervisors.core.reasons import ExitReason
from supervisors.tree.model import ChildSpec, SupervisorFlags

# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Booted:
    """The supervisor process is up: start the children in order."""


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """``start`` returned. It is up, unless its spec has a ``ready_timeout``: then it has still to say so."""

    id: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildReady:
    """The child said it is ready."""

    id: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildIgnored:
    """``start`` answered ``ignore``: no process, and that is no failure."""

    id: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildStartFailed:
    """``start`` raised, or the process could not be made. No process is left."""

    id: str
    incarnation: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class ChildHeld:
    """``start`` is not carried out before a person has agreed (REC-2): no process, and that is no failure.

    Only workers can be held; of a supervisor it counts as a failed start.
    """

    id: str
    incarnation: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class HoldReleased:
    """A person agreed: start the held child, then those that wait for it. Void when it is not held (any more).

    ``incarnation``: of the start that was held, so that an answer that was late cannot end a later hold; 0: any.
    """

    id: str
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class HoldRejected:
    """A person refused: the held child stays down, as one stopped by hand. Void when it is not held (any more).

    ``incarnation``: as in ``HoldReleased``.
    """

    id: str
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class ChildExited:
    """The process is gone for certain."""

    id: str
    incarnation: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer asked for by ``SetTimer`` is due."""

    token: int


@dataclass(frozen=True, slots=True)
class ShutdownOrdered:
    """The parent wants this supervisor to end."""

    reason: ExitReason


class Call(StrEnum):
    """The orders OTP calls start_child, terminate_child, ..."""

    START_CHILD = "start_child"
    TERMINATE_CHILD = "terminate_child"
    RESTART_CHILD = "restart_child"
    DELETE_CHILD = "delete_child"
    WHICH_CHILDREN = "which_children"
    COUNT_CHILDREN = "count_children"
    GET_CHILDSPEC = "get_childspec"
    CHANGE_SPECS = "change_specs"


@dataclass(frozen=True, slots=True)
class AdminCalled:
    """An order with the reference its reply carries.

    Attributes:
        ref: opaque to the machine.
        call: which order.
        id: the child meant; for ``start_child`` under simple_one_for_one the wished id, or empty for the next free.
        spec: for ``start_child`` of a static supervisor.
        args: for ``start_child`` under simple_one_for_one: opaque extra arguments, kept with the child.
        flags, specs: for ``change_specs`` (OTP's code_change).
    """

    ref: str
    call: Call
    id: str = ""
    spec: ChildSpec | None = None
    args: str = ""
    flags: SupervisorFlags | None = None
    specs: tuple[ChildSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryDue:
    """OTP's ``try_again_restart``: a message of the machine to itself."""

    id: str


Event = (
    Booted
    | ChildStarted
    | ChildReady
    | ChildIgnored
    | ChildStartFailed
    | ChildHeld
    | ChildExited
    | TimerFired
    | ShutdownOrdered
    | AdminCalled
    | RetryDue
    | HoldReleased
    | HoldRejected
)

# ---------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class StartChild:
    """Bring up incarnation ``incarnation`` of child ``id``; answer Started, Ignored, StartFailed, Held or Exited.

    ``adopt``: it is a supervisor that crashed; its children may still run and are to be adopted (SUP-8).
    """

    id: str
    incarnation: int
    args: str = ""
    adopt: bool = False
    restart: bool = False


@dataclass(frozen=True, slots=True)
class StopChild:
    """Tell the child to end by itself; ``timeout`` seconds until ``KillChild`` follows."""

    id: str
    incarnation: int
    timeout: float


@dataclass(frozen=True, slots=True)
class KillChild:
    """End the child's process at once; ``why`` is brutal_kill, stop_timeout or start_timeout."""

    id: str
    incarnation: int
    why: str


@dataclass(frozen=True, slots=True)
class ReapSubtree:
    """End every process below the crashed supervisor ``id``: nobody will adopt them.

    Carried out before the record of its step is saved: that record no longer asks for it (INV-3).
    """

    id: str


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Send ``TimerFired(token)`` at ``at`` (monotonic seconds)."""

    token: int
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer."""

    token: int


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A row of which_children: ``state`` is running, restarting, starting, stopping, held or undefined.

    In OTP's words ``held`` is ``restarting``: no process, and not left to itself.
    """

    id: str
    state: str
    type: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """OTP's count_children. ``active`` counts those with a process."""

    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to ``AdminCalled``: ``error`` is empty or OTP's word (``not_found``, ``running``, ...)."""

    ref: str
    error: str = ""
    id: str = ""
    incarnation: int = 0
    reason: ExitReason | None = None
    children: tuple[ChildInfo, ...] = ()
    counts: ChildCounts | None = None
    spec: ChildSpec | None = None


@dataclass(frozen=True, slots=True)
class ReportStarted:
    """All children are up: tell the parent."""


@dataclass(frozen=True, slots=True)
class ReportStartFailed:
    """Child ``id`` failed at the initial start; those started before it are stopped."""

    id: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Exit:
    """All children are stopped: end this supervisor with ``reason``."""

    reason: ExitReason


class NoteKind(StrEnum):
    """Decisions worth a place on the trail."""

    CHILD_STARTING = "child_starting"
    CHILD_STARTED = "child_started"
    CHILD_READY = "child_ready"
    CHILD_IGNORED = "child_ignored"
    CHILD_START_FAILED = "child_start_failed"
    CHILD_EXITED = "child_exited"
    CHILD_STOPPING = "child_stopping"
    CHILD_STOPPED = "child_stopped"
    CHILD_KILLED = "child_killed"
    RESTART_DECIDED = "restart_decided"
    RESTART_SCHEDULED = "restart_scheduled"
    CHILD_HELD = "child_held"
    HOLD_RELEASED = "hold_released"
    HOLD_REJECTED = "hold_rejected"
    GAVE_UP = "gave_up"
    ADOPTED = "supervisor_adopted"


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the trail."""

    kind: NoteKind
    id: str = ""
    incarnation: int = 0
    reason: ExitReason | None = None
    data: tuple[tuple[str, str | int | float | bool], ...] = ()


Effect = (
    StartChild
    | StopChild
    | KillChild
    | ReapSubtree
    | SetTimer
    | CancelTimer
    | Reply
    | ReportStarted
    | ReportStartFailed
    | Exit
    | Note
)
