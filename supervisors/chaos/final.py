"""How each child stands at the end: as the running system says, or as the trail's last word has it. Pure."""

from collections.abc import Iterable

from supervisors.chaos.history import FinalState
from supervisors.core.paths import ROOT
from supervisors.core.reasons import ExitReason
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.status import SystemStatus

#: what the last event of a child says about its state
_STATES = {
    EventKind.CHILD_STARTING: "starting",
    EventKind.CHILD_STARTED: "started",
    EventKind.CHILD_READY: "ready",
    EventKind.CHILD_IGNORED: "ignored",
    EventKind.CHILD_START_FAILED: "restarting",
    EventKind.RESTART_DECIDED: "restarting",
    EventKind.RESTART_SCHEDULED: "restarting",
    EventKind.CHILD_HELD: "held",
    EventKind.CHILD_STOPPING: "stopping",
    EventKind.CHILD_STOPPED: "stopped",
    EventKind.GAVE_UP: "gave_up",
}


def final_of_status(status: SystemStatus) -> tuple[FinalState, ...]:
    """Every supervisor and child of a running system; a supervisor that answers speaks for itself."""
    speaks = {one.path: one for one in status.supervisors if one.pid}
    found = [
        FinalState(one.path, one.state, one.incarnation, 0, one.pid)
        for one in status.supervisors
        if one.path == ROOT and one.path in speaks
    ]
    for supervisor in status.supervisors:
        for child in supervisor.children:
            own = speaks.get(child.path)
            state = own.state if own is not None and child.state in ("ready", "running") else child.state
            found.append(
                FinalState(
                    child.path,
                    state,
                    child.incarnation,
                    child.epoch,
                    child.pid,
                    child.verdict,
                    child.restarts,
                    child.recovery.state if child.recovery is not None else "",
                )
            )
    return tuple(found)


def final_of_trail(events: Iterable[TrailEvent]) -> tuple[FinalState, ...]:
    """The last word of the trail about each path."""
    last: dict[str, FinalState] = {}
    for event in events:
        state = _STATES.get(EventKind(event.kind)) if event.kind in frozenset(EventKind) else None
        if event.kind == EventKind.CHILD_EXITED:
            state = _after_exit(event.reason)
        if state is not None and event.path.startswith("/"):
            held = last.get(event.path)
            epoch = event.epoch or (held.epoch if held is not None else 0)
            last[event.path] = FinalState(event.path, state, event.incarnation, epoch, told_by="trail")
    return tuple(last[path] for path in sorted(last))


def _after_exit(reason: ExitReason | None) -> str:
    """Until a restart is decided: at rest, which is right for some restart types only."""
    return "dead" if reason is not None and reason.is_abnormal else "ended"
