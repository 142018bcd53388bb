"""What happened in the fake world, as one flat stream."""

from enum import StrEnum

import msgspec

from supervisors.core.paths import TreePath
from supervisors.core.reasons import ExitReason
from supervisors.tree.messages import NoteKind

Data = tuple[tuple[str, str | int | float | bool], ...]


class TraceKind(StrEnum):
    """Events of a trace. Those of a supervisor's own life carry its path, all others the child's."""

    STARTING = "starting"  #: ordered to start
    STARTED = "started"  #: start returned; has still to say it is ready
    READY = "ready"  #: up
    IGNORED = "ignored"  #: start answered ``ignore``
    HELD = "held"  #: start was not carried out: a person has to agree first
    RELEASED = "released"
    REJECTED = "rejected"
    START_FAILED = "start_failed"
    EXITED = "exited"  #: its supervisor saw it end by itself
    EXITED_UNSEEN = "exited_unseen"  #: it ended while its supervisor was down or hung
    HUNG = "hung"  #: fell silent; seen only when the beats are missed
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    RESTART_DECIDED = "restart_decided"
    RESTART_SCHEDULED = "restart_scheduled"
    GAVE_UP = "gave_up"  #: the supervisor at this path; ``child`` in the data says for whom
    ESCALATED = "escalated"  #: ... and its parent, if any, is told
    ADOPTED = "adopted"  #: the replacement at this path took over what still runs
    REAPED = "reaped"  #: ended because nobody will adopt it
    REPLY = "reply"  #: to an admin order
    SUPERVISOR_STARTED = "supervisor_started"
    SUPERVISOR_ENDED = "supervisor_ended"
    SKIPPED = "skipped"  #: a scripted fault found no process at this path


class TraceEvent(msgspec.Struct, frozen=True, gc=False):
    """One happening.

    Attributes:
        t: simulated monotonic seconds.
        path: whom it concerns.
        event: what happened.
        reason: why a life ended, where one did.
        incarnation: which life; 0 where none is meant.
        data: what else the supervisor said, as pairs.
    """

    t: float
    path: TreePath
    event: TraceKind
    reason: ExitReason | None = None
    incarnation: int = 0
    data: Data = ()


#: notes of the machine that appear in the trace under another name; CHILD_KILLED is told by the effect itself
KIND_OF_NOTE: dict[NoteKind, TraceKind] = {
    NoteKind.CHILD_STARTING: TraceKind.STARTING,
    NoteKind.CHILD_STARTED: TraceKind.STARTED,
    NoteKind.CHILD_READY: TraceKind.READY,
    NoteKind.CHILD_IGNORED: TraceKind.IGNORED,
    NoteKind.CHILD_HELD: TraceKind.HELD,
    NoteKind.HOLD_RELEASED: TraceKind.RELEASED,
    NoteKind.HOLD_REJECTED: TraceKind.REJECTED,
    NoteKind.CHILD_START_FAILED: TraceKind.START_FAILED,
    NoteKind.CHILD_EXITED: TraceKind.EXITED,
    NoteKind.CHILD_STOPPING: TraceKind.STOPPING,
    NoteKind.CHILD_STOPPED: TraceKind.STOPPED,
    NoteKind.RESTART_DECIDED: TraceKind.RESTART_DECIDED,
    NoteKind.RESTART_SCHEDULED: TraceKind.RESTART_SCHEDULED,
    NoteKind.GAVE_UP: TraceKind.GAVE_UP,
    NoteKind.ADOPTED: TraceKind.ADOPTED,
}
#: notes about the supervisor itself, not about the child they name
OWN_NOTES = frozenset({NoteKind.GAVE_UP, NoteKind.ADOPTED})
