"""Starting children in order, each up before the next begins, bounded by time-outs and broken off by a shutdown."""

from collections.abc import Generator, Iterable

from supervisors.core.reasons import ExitReason, init_error
from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import (
    ChildExited,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Event,
    NoteKind,
    ReapSubtree,
    ShutdownOrdered,
    StartChild,
    TimerFired,
)
from supervisors.tree.model import INFINITY, ChildType, OnSupervisorCrash, Restart
from supervisors.tree.state import StartFailure, SupervisorState, Wait
from supervisors.tree.stopping import end_process, stop_one

#: a start under way; its result is None when it went well
Start = Generator[Wait, Event, StartFailure | None]


def adopts(child: Child) -> bool:
    """True when this crashed supervisor's replacement is to take over the children that still run (SUP-8)."""
    return child.orphans and child.spec.on_crash is OnSupervisorCrash.ADOPT


def start_children(state: SupervisorState, ids: Iterable[str], *, restart: bool) -> Start:
    """Start these in order; the first failure ends it, what started stays up."""
    for child_id in ids:
        child = state.children[child_id]
        failure = yield from start_one(state, child, restart=restart)
        if failure is not None:
            return failure
        if child.state is ChildState.UNDEFINED and child.spec.restart is Restart.TEMPORARY:
            state.forget(child)  # ignored: OTP keeps no spec of a temporary child without a process
    return None


def start_one(state: SupervisorState, child: Child, *, restart: bool) -> Start:
    """Start one child and wait until it is up; None also when it was ignored (then it has no process)."""
    if state.mailbox.shutdown is not None:
        return StartFailure(child.id, state.mailbox.shutdown.reason, interrupted=True)
    state.cancel_backoff(child)
    adopt, child.orphans = adopts(child), False
    child.incarnation += 1
    child.wanted = True
    state.set_state(child, ChildState.STARTING)
    state.note(NoteKind.CHILD_STARTING, child, restart=restart)
    state.emit(StartChild(child.id, child.incarnation, child.args, adopt, restart))
    failure = yield from _await_start(state, child, adopt)
    if failure is None and child.state is ChildState.RUNNING and restart:
        child.restarts += 1
    return failure


def _await_start(state: SupervisorState, child: Child, adopt: bool) -> Start:
    phase, limit = "start", child.spec.start_timeout
    timer = _limit(state, limit)
    while True:
        event = yield Wait({child.id}, {timer} if timer else set(), interruptible=True)
        match event:
            case ChildStarted() if child.spec.ready_timeout is not None and phase == "start":
                state.cancel_timer(timer)
                state.note(NoteKind.CHILD_STARTED, child)
                phase, limit = "ready", child.spec.ready_timeout
                timer = _limit(state, limit)
            case ChildStarted() if phase == "ready":
                pass  # said twice
            case ChildStarted() | ChildReady():
                state.cancel_timer(timer)
                child.up_since = state.now
                state.set_state(child, ChildState.RUNNING)
                state.note(NoteKind.CHILD_READY, child)
                return None
            case ChildIgnored():
                state.cancel_timer(timer)
                child.wanted = False
                state.set_state(child, ChildState.UNDEFINED)
                state.note(NoteKind.CHILD_IGNORED, child)
                return None
            case ChildStartFailed(_, _, reason):
                state.cancel_timer(timer)
                return _failed(state, child, reason, adopt)
            case ChildExited(_, _, reason):
                state.cancel_timer(timer)
                return _failed(state, child, init_error(f"ended before it was ready: {reason}", reason.detail), adopt)
            case TimerFired():
                yield from end_process(state, child, f"{phase}_timeout")
                return _failed(state, child, init_error(f"no {phase} within {limit:g} s"), adopt, reap=False)
            case ShutdownOrdered(reason):
                state.cancel_timer(timer)
                state.mailbox.put(event)
                yield from stop_one(state, child)
                return StartFailure(child.id, reason, interrupted=True)
            case _:
                pass


def _limit(state: SupervisorState, seconds: float) -> int:
    return state.set_timer(state.now + seconds) if seconds != INFINITY else 0


def _failed(
    state: SupervisorState, child: Child, reason: ExitReason, adopt: bool, *, reap: bool = True
) -> StartFailure:
    state.set_state(child, ChildState.UNDEFINED)
    if reap and adopt:
        child.orphans = True  # no healthy child dies because its supervisor's replacement did not come up (SUP-8)
    elif reap and child.spec.type is ChildType.SUPERVISOR:
        state.emit(ReapSubtree(child.id))
    state.note(NoteKind.CHILD_START_FAILED, child, reason)
    return StartFailure(child.id, reason)
