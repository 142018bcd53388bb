"""Starting children in order, each up before the next begins, bounded by time-outs and broken off by a shutdown."""

from collections.abc import Generator, Sequence

from supervisors.core.reasons import ExitKind, ExitReason, init_error
from supervisors.tree.background import Wait
from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import (
    ChildExited,
    ChildHeld,
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
from supervisors.tree.state import StartFailure, SupervisorState
from supervisors.tree.stopping import end_process, stop_one

#: a start under way; its result is None when it went well
Start = Generator[Wait, Event, StartFailure | None]


def adopts(child: Child) -> bool:
    """True when this crashed supervisor's replacement is to take over the children that still run (SUP-8)."""
    return child.orphans and child.spec.on_crash is OnSupervisorCrash.ADOPT


def start_children(state: SupervisorState, ids: Sequence[str], *, restart: bool) -> Start:
    """Start these in order; the first failure ends it, what started stays up.

    In a group, those after a held child wait for it; a child that is held already is not touched.
    """
    before = held_before(state, state.children[ids[0]]) if ids else None
    if before is not None:
        let_wait(state, before, ids)
        return None
    for place, child_id in enumerate(ids):
        child = state.children[child_id]
        if child.state is not ChildState.HELD:
            failure = yield from start_one(state, child, restart=restart)
            if failure is not None:
                return failure
        if child.state is ChildState.HELD and state.is_group:
            let_wait(state, child, ids[place + 1 :])
            return None
        forget_ignored(state, child)
    return None


def forget_ignored(state: SupervisorState, child: Child) -> None:
    """Its start is over: OTP keeps no temporary or dynamic child without a process."""
    if child.state is ChildState.UNDEFINED and (state.is_simple or child.spec.restart is Restart.TEMPORARY):
        state.forget(child)


def held_before(state: SupervisorState, child: Child) -> Child | None:
    """The first held child before this one in its group; None when there is none, or no group."""
    if not state.is_group:
        return None
    for other in state.children.values():
        if other is child:
            return None
        if other.state is ChildState.HELD:
            return other
    return None


def let_wait(state: SupervisorState, held: Child, ids: Sequence[str]) -> None:
    """These are to start when ``held`` is up; those held themselves go on waiting for their own release."""
    for child_id in ids:
        child = state.children[child_id]
        if child.state is not ChildState.HELD:
            child.waits_for, child.wanted = held.id, True
            state.dirty.add(child_id)


def start_one(state: SupervisorState, child: Child, *, restart: bool) -> Start:
    """Start one child and wait until it is up; None also when it was ignored or held (then it has no process)."""
    if state.mailbox.shutdown is not None:
        return StartFailure(child.id, state.mailbox.shutdown.reason, interrupted=True)
    state.cancel_backoff(child)
    adopt, child.orphans = adopts(child), False
    child.incarnation += 1
    child.wanted, child.waits_for, child.fated = True, "", False
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
            case ChildHeld(_, _, why) if child.spec.type is ChildType.WORKER:
                state.cancel_timer(timer)
                state.hold(child, why)
                return None
            case ChildHeld():
                state.cancel_timer(timer)
                return _failed(state, child, init_error("a supervisor cannot be held"), adopt)
            case ChildStartFailed(_, _, reason):
                state.cancel_timer(timer)
                return _failed(state, child, reason, adopt, kind=reason.kind)
            case ChildExited(_, _, reason):
                state.cancel_timer(timer)
                failure = init_error(f"ended before it was ready: {reason}", reason.detail)
                return _failed(state, child, failure, adopt, kind=reason.kind)
            case TimerFired():
                yield from end_process(state, child, f"{phase}_timeout")
                if child.state is ChildState.HELD:
                    return None  # the answer was on its way
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
    state: SupervisorState,
    child: Child,
    reason: ExitReason,
    adopt: bool,
    *,
    reap: bool = True,
    kind: ExitKind = ExitKind.INIT_ERROR,
) -> StartFailure:
    state.set_state(child, ChildState.UNDEFINED)
    if reap and adopt:
        child.orphans = True  # no healthy child dies because its supervisor's replacement did not come up (SUP-8)
    elif reap and child.spec.type is ChildType.SUPERVISOR:
        state.emit(ReapSubtree(child.id))
    state.note(NoteKind.CHILD_START_FAILED, child, reason)
    return StartFailure(child.id, reason, kind=kind)
