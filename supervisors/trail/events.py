"""What the trail holds: one event per line of JSON. Pure: no file, no clock.

Every part of a running system writes the same kind of event to the same stream (DESIGN.md §8); metrics, failure
records, the live view and the audit are readers of it.
"""

from enum import StrEnum

import msgspec

from supervisors.core.errors import RayvisorError
from supervisors.core.reasons import ExitReason

#: Version of the event format this code writes; it reads this one and all before it.
SCHEMA = 1
#: Longest encoded event in bytes. Longer texts are cut, so that one write stays one small append.
MAX_LINE = 65_536
#: What the longest text of an event is cut to when the event would be longer than ``MAX_LINE``.
_CUT = 4_096
#: How every encoded event begins: ``t`` is the first field and has no default.
_START = b'{"t":'

Scalar = str | int | float | bool | None


class TrailError(RayvisorError):
    """The trail could not be read: it was written by a newer version, or its folder is unusable."""

    default_code = 6001


class EventKind(StrEnum):
    """The kinds the framework writes. Actors may add kinds of their own, named ``actor_<anything>``."""

    SYSTEM_STARTING = "system_starting"
    SYSTEM_STARTED = "system_started"
    SYSTEM_STOPPING = "system_stopping"
    SYSTEM_STOPPED = "system_stopped"
    SUPERVISOR_STARTING = "supervisor_starting"
    SUPERVISOR_STARTED = "supervisor_started"
    SUPERVISOR_ADOPTED = "supervisor_adopted"  #: data: adopted, lost (numbers of children; SUP-8)
    CHILD_STARTING = "child_starting"
    CHILD_STARTED = "child_started"
    CHILD_READY = "child_ready"
    CHILD_IGNORED = "child_ignored"  #: its start said it has nothing to do (OTP ``ignore``)
    CHILD_START_FAILED = "child_start_failed"
    FIRST_SIGNAL = "first_signal"  #: data: signal (see ``Signal``), lag_ms (DESIGN.md §6)
    VERDICT = "verdict"  #: data: verdict
    CHILD_EXITED = "child_exited"
    RESTART_DECIDED = "restart_decided"  #: data: strategy, targets, delay_ms, failures, window, budget (SUP-10)
    RESTART_SCHEDULED = "restart_scheduled"  #: data: next_at (monotonic seconds; SUP-7)
    CHILD_HELD = "child_held"  #: no process before a person agrees; data: why (REC-2)
    HOLD_RELEASED = "hold_released"  #: data: by (an order, where it was one)
    HOLD_REJECTED = "hold_rejected"  #: data: by (an order, where it was one)
    CHILD_STOPPING = "child_stopping"
    CHILD_STOPPED = "child_stopped"
    CHILD_KILLED = "child_killed"
    GAVE_UP = "gave_up"  #: data: why = intensity | budget:<name> | consecutive | auto_shutdown | start_failed (SUP-3)
    ESCALATED = "escalated"
    ADMIN = "admin"  #: data: call, result
    RECOVERED = "recovered"  #: data: detect_ms, decide_ms, start_ms, total_ms, spare
    RECOVERY_DECIDED = "recovery_decided"  #: data: rung, because, trace (JSON), decide_us (REC-1)
    RECOVERY_STATE = "recovery_state"  #: data: state (REC-4), percent, step, eta_s
    RECOVERY_STEP = "recovery_step"  #: data: step, rung, ok, ms, why
    RECOVERY_RUNG_FAILED = "recovery_rung_failed"  #: data: rung, why, next (REC-3)
    RECOVERY_HELD = "recovery_held"  #: data: id, why, proposed, timeout_s (REC-2)
    RECOVERY_ANSWERED = "recovery_answered"  #: data: id, answer (approved | rejected | timed_out), who, why, rung
    STATE_PRESERVED = "state_preserved"  #: data: folder, items, ms
    VALIDATED = "validated"  #: data: step, phase, ok, why, attempt, ms (REC-5)
    RAMPED = "ramped"  #: data: size, lasting_s (REC-6)
    PROMOTED = "promoted"  #: data: kind, sequence, behind, promote_ms
    STANDBY = "standby"  #: data: state (starting | syncing | synced | lagging | lost), pid or host, why, lag_ms
    CHECKPOINT = "checkpoint"  #: data: sequence, bytes, ms; or what (failed | prune_failed), why
    JOURNAL = (
        "journal"  #: data: what (torn_tail_cut | corrupt | failed | usable | fenced | ...), file, offset, sequence
    )
    LEASE = "lease"  #: data: what (acquired | lost | store_down | store_back), token
    TOPOLOGY_APPLIED = "topology_applied"  #: data: who, added, removed, changed, moved, digest
    SPARE_STARTED = "spare_started"
    SPARE_CLAIMED = "spare_claimed"
    ORPHAN_ENDED = "orphan_ended"
    NODE_LOST = "node_lost"
    FAULT_INJECTED = "fault_injected"  #: data: fault, id, params (JSON), seconds, run, pid; written just before it acts
    FAULT_FIRED = "fault_fired"  #: an armed fault had its first effect; data: id, fault
    FAULT_REVERTED = "fault_reverted"  #: data: id, fault, ok, ms, by (injector | watchdog | host | person), why
    CHAOS_RUN = "chaos_run"  #: data: run, what (started | aborted | ended), outcome, why
    TRAIL_GAP = "trail_gap"  #: data: dropped (events a writer could not keep), error


class Signal(StrEnum):
    """What told of a failure first (DESIGN.md §6); the ``signal`` of a ``first_signal`` event."""

    EXIT_NOTICE = "exit_notice"
    FUTEX = "futex"
    PIDFD = "pidfd"
    SOCKET = "socket"
    MISSED_BEATS = "missed_beats"
    STALLED_LOOP = "stalled_loop"
    HEALTH = "health"
    RAY = "ray"


class TrailEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened.

    Attributes:
        t: monotonic seconds, comparable between processes of one machine since its boot.
        utc: wall clock, nanoseconds since 1970: for people only.
        kind: an ``EventKind``, or ``actor_<anything>``.
        path: the place in the tree it happened to.
        incarnation: which life of the path, 0 when none is meant.
        epoch: fencing token of that life, 0 when none is meant.
        writer: who wrote it: the path of a supervisor or ``warden``.
        failure: joins all events of one failure, see ``failure_id``; empty when it belongs to none.
        reason: why a child ended.
        data: what else the kind carries.
        v: version of the event format.
    """

    t: float
    utc: int
    kind: str
    path: str
    incarnation: int = 0
    epoch: int = 0
    writer: str = ""
    failure: str = ""
    reason: ExitReason | None = None
    data: dict[str, Scalar] = {}
    v: int = SCHEMA


class SequencedEvent(msgspec.Struct, frozen=True):
    """An event with its number in the whole trail: 0 for the first line ever; unreadable lines take a number too."""

    seq: int
    event: TrailEvent


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(TrailEvent)


def encode(event: TrailEvent) -> bytes:
    """One line with its newline, at most about ``MAX_LINE`` bytes.

    Never fails on the values: what JSON cannot carry is written as text, what is too long is cut.
    """
    try:
        line = _encoder.encode(event)
    except (TypeError, ValueError, OverflowError):  # lone surrogates, numbers past 64 bits, foreign types
        line = _encoder.encode(_tame(event))
    if len(line) > MAX_LINE:
        line = _encoder.encode(_tame(event))
    return line + b"\n"


def decode(line: bytes) -> TrailEvent:
    """The event of one line; fields this version does not know are ignored.

    Raises:
        ValueError: the line is no event, or one of a newer version.
    """
    event = _decoder.decode(line)  # msgspec.DecodeError is a ValueError
    if event.v > SCHEMA:
        raise ValueError(f"event of version {event.v}; this rayvisor reads up to {SCHEMA}")
    return event


def salvage(line: bytes) -> TrailEvent | None:
    """The whole event at the end of a line that begins with the torn one of a killed writer, or None."""
    at = line.rfind(_START)
    while at > 0:
        try:
            return decode(line[at:])
        except ValueError:
            at = line.rfind(_START, 0, at)
    return None


def _tame(event: TrailEvent) -> TrailEvent:
    reason = event.reason
    if reason is not None:
        # the end of a traceback says more than its beginning
        reason = ExitReason(reason.kind, _text(reason.message), _text(reason.detail[-_CUT:]))
    data: dict[str, Scalar] = {_text(str(key)): _scalar(value) for key, value in list(event.data.items())[:64]}
    while data and sum(len(str(value)) for value in data.values()) > MAX_LINE // 4:
        data.popitem()
    return msgspec.structs.replace(
        event, kind=_text(event.kind), path=_text(event.path), failure=_text(event.failure), reason=reason, data=data
    )


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    return _text(str(value))


def _text(text: str) -> str:
    return str(text)[:_CUT].encode("utf-8", "replace").decode("utf-8")
