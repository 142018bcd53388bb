"""Stopping children: one after another in reverse start order, dynamic ones all at once on one timer (OTP)."""

from supervisors.core.reasons import SHUTDOWN
from supervisors.tree.background import Wait
from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import (
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildStartFailed,
    KillChild,
    NoteKind,
    ReapSubtree,
    StopChild,
    TimerFired,
)
from supervisors.tree.model import BRUTAL_KILL, INFINITY, ChildType, Restart
from supervisors.tree.state import Operation, SupervisorState

#: events that say no process is left
Ending = ChildExited | ChildStartFailed | ChildIgnored | ChildHeld


def stop_all(state: SupervisorState) -> Operation:
    """Stop every child for good; temporary and dynamic ones are forgotten."""
    state.closing = True
    if state.is_simple:
        yield from _stop_parallel(state)
    else:
        yield from stop_children(state, list(state.children))


def stop_children(state: SupervisorState, ids: list[str]) -> Operation:
    """Stop these in reverse order, each one's time-out on its own; temporary ones are forgotten."""
    for child_id in reversed(ids):
        child = state.children[child_id]
        yield from stop_one(state, child)
        if child.spec.restart is Restart.TEMPORARY:
            state.forget(child)


def stop_one(state: SupervisorState, child: Child) -> Operation:
    """Stop one child and wait for its end; cancels a pending restart. No effect without a process.

    A start in the background is broken off. A held child stays held: what becomes of the hold, the caller says.
    """
    state.cancel_backoff(child)
    state.reap_orphans(child)
    if child.state is ChildState.RESTARTING:
        state.set_state(child, ChildState.UNDEFINED)
    if not child.has_process or _flush_exit(state, child):
        return
    if _break_off(state, child):
        yield from _await_end(state, child)
        return
    _order_stop(state, child)
    timed = child.spec.shutdown not in (BRUTAL_KILL, INFINITY)
    timer = state.set_timer(state.now + child.spec.shutdown) if timed else 0
    while child.has_process:
        event = yield Wait({child.id}, {timer} if timer else set())
        if isinstance(event, Ending):
            state.cancel_timer(timer)
            _stopped(state, child, event, killed=child.spec.shutdown == BRUTAL_KILL)
        elif isinstance(event, TimerFired):
            yield from end_process(state, child, "stop_timeout")


def end_process(state: SupervisorState, child: Child, why: str) -> Operation:
    """Kill one child's process and wait until it is gone; an end that is queued already is that end."""
    if _flush_exit(state, child):
        return
    state.set_state(child, ChildState.STOPPING)
    _kill(state, child, why)
    yield from _await_end(state, child)


def _await_end(state: SupervisorState, child: Child) -> Operation:
    """It has been killed: wait until it is gone."""
    while child.has_process:
        event = yield Wait({child.id}, set())
        if isinstance(event, Ending):
            _stopped(state, child, event, killed=True)


def _break_off(state: SupervisorState, child: Child) -> bool:
    """End a start in the background, if there is one; True when it had come to kill the child (start_timeout)."""
    timers = state.background.break_off(child.id)
    if timers is None:
        return False
    for token in timers:
        state.cancel_timer(token)
    return child.state is ChildState.STOPPING


def _order_stop(state: SupervisorState, child: Child) -> None:
    state.note(NoteKind.CHILD_STOPPING, child)
    state.set_state(child, ChildState.STOPPING)
    if child.spec.shutdown == BRUTAL_KILL:
        _kill(state, child, "brutal_kill")
    else:
        state.emit(StopChild(child.id, child.incarnation, child.spec.shutdown))


def _kill(state: SupervisorState, child: Child, why: str) -> None:
    state.emit(KillChild(child.id, child.incarnation, why))
    state.note(NoteKind.CHILD_KILLED, child, why=why)


def _stopped(state: SupervisorState, child: Child, event: Ending, *, killed: bool = False) -> None:
    if isinstance(event, ChildHeld):
        _held_meanwhile(state, child, event)
        return
    state.set_state(child, ChildState.UNDEFINED)
    reason = SHUTDOWN if isinstance(event, ChildIgnored) else event.reason
    if child.spec.type is ChildType.SUPERVISOR and (killed or reason.is_abrupt):
        state.emit(ReapSubtree(child.id))
    state.note(NoteKind.CHILD_STOPPED, child, reason)


def _held_meanwhile(state: SupervisorState, child: Child, event: ChildHeld) -> None:
    """Its answer crossed our order: no process was made, and none may be by a replaced supervisor either."""
    if child.spec.type is ChildType.WORKER:
        state.hold(child, event.why)
        return
    state.set_state(child, ChildState.UNDEFINED)
    state.note(NoteKind.CHILD_STOPPED, child, SHUTDOWN)


def _flush_exit(state: SupervisorState, child: Child) -> bool:
    """An exit that is queued already is the end we were about to ask for."""
    event = state.mailbox.consume_exit(child.id, child.incarnation)
    if event is None:
        return False
    _stopped(state, child, event)
    return True


def _stop_parallel(state: SupervisorState) -> Operation:
    waiting: dict[str, Child] = {}
    to_tell: list[Child] = []
    for child in state.children.values():
        state.cancel_backoff(child)
        if child.has_process and not _flush_exit(state, child):
            waiting[child.id] = child
            if not _break_off(state, child):
                to_tell.append(child)
    for child in to_tell:
        _order_stop(state, child)
    limit = state.template.shutdown if state.template is not None else INFINITY
    timer = state.set_timer(state.now + limit) if waiting and limit not in (BRUTAL_KILL, INFINITY) else 0
    killed = limit == BRUTAL_KILL
    ids = set(waiting)
    while waiting:
        event = yield Wait(ids, {timer} if timer else set())
        if isinstance(event, Ending):
            _stopped(state, waiting.pop(event.id), event, killed=killed)
            ids.discard(event.id)
        elif isinstance(event, TimerFired):
            timer, killed = 0, True
            for child in waiting.values():
                _kill(state, child, "stop_timeout")
    state.cancel_timer(timer)
    for child in list(state.children.values()):
        state.forget(child)
