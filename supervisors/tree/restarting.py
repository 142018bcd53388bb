"""What follows a child's exit: restart it alone or with its siblings, now or later, shut down, or give up.

A restart is charged to the window its reason belongs to: the supervisor's, or a budget's (SUP-10).
"""

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason
from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import ChildExited, NoteKind, ReapSubtree, RetryDue
from supervisors.tree.model import ALONE, AutoShutdown, ChildType, OnSupervisorCrash, Restart, Strategy
from supervisors.tree.starting import adopts, forget_ignored, start_children, start_one
from supervisors.tree.state import Operation, StartFailure, SupervisorState
from supervisors.tree.stopping import stop_all, stop_children

#: seconds of health that end a run of failures where a child has no backoff of its own (SUP-7's default)
RESET_AFTER = 10.0


def child_exited(state: SupervisorState, event: ChildExited) -> Operation:
    """A child ended by itself: apply its restart type (SUP-2)."""
    child = state.children.get(event.id)
    if child is None or child.incarnation != event.incarnation or child.state is not ChildState.RUNNING:
        return
    state.set_state(child, ChildState.UNDEFINED)
    state.note(NoteKind.CHILD_EXITED, child, event.reason)
    if child.spec.type is ChildType.SUPERVISOR and event.reason.is_abrupt:
        if child.spec.on_crash is OnSupervisorCrash.ADOPT:
            child.orphans = True
        else:
            state.emit(ReapSubtree(child.id))
    if _proven_healthy(state, child):
        child.failures = child.excused = 0
    if is_restarted(child, event.reason):
        yield from _restart(state, child, event.reason, wait=True)
        return
    state.drop(child)
    if _auto_shutdown_due(state, child):
        state.note(NoteKind.GAVE_UP, child, event.reason, why="auto_shutdown")
        yield from stop_all(state)
        state.end(SHUTDOWN)


def is_restarted(child: Child, reason: ExitReason) -> bool:
    """What its restart type says about this end."""
    restart = child.spec.restart
    return restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and reason.is_abnormal)


def has_room(state: SupervisorState, child: Child, kind: ExitKind | None) -> bool:
    """True when one more restart because of ``kind`` would not make the supervisor give up; counts nothing."""
    budget, window = state.window_for(kind)
    if not window.has_room(state.now):
        return False
    cap = child.spec.max_consecutive
    healthy = child.state is ChildState.RUNNING and _proven_healthy(state, child)
    failures = 0 if healthy else child.failures - child.excused
    return bool(budget) or cap is None or failures < cap


def retry(state: SupervisorState, child_id: str) -> Operation:
    """OTP's ``try_again_restart``: counts as one more restart; void when the child is not restarting any more."""
    child = state.children.get(child_id)
    if child is None or child.state is not ChildState.RESTARTING or child.timer:
        return
    yield from _restart(state, child, None, wait=False)


def backoff_due(state: SupervisorState, token: int) -> Operation:
    """The wait before a restart is over (SUP-7)."""
    child_id, uncounted = state.backoffs.pop(token, ("", False))
    child = state.children.get(child_id)
    if child is None or child.timer != token:
        return
    child.timer = 0
    if uncounted:
        yield from _restart(state, child, None, wait=False)
    else:
        yield from _restart_now(state, child)


def start_alone(state: SupervisorState, child: Child, *, restart: bool) -> Operation:
    """Start one child that shares its fate with none; a failure is tried again."""
    failure = yield from start_one(state, child, restart=restart)
    if failure is not None:
        schedule_retry(state, failure)
    else:
        forget_ignored(state, child)


def schedule_retry(state: SupervisorState, failure: StartFailure) -> None:
    """A restart failed: OTP sends itself a message to try again; with a backoff that message comes later.

    Nothing is to be done for a start that was broken off.
    """
    if failure.interrupted:
        return
    child = state.children[failure.id]
    child.failed_with = failure.kind
    delay = _delay(state, child, child.failures + 1)
    if delay > 0:
        _schedule(state, child, delay, uncounted=True)
        return
    state.set_state(child, ChildState.RESTARTING)
    if state.is_concurrent(child):
        state.posted.append(RetryDue(child.id))
    else:
        state.mailbox.put(RetryDue(child.id))


def _restart(state: SupervisorState, child: Child, reason: ExitReason | None, *, wait: bool) -> Operation:
    kind = reason.kind if reason is not None else child.failed_with
    budget, window = state.window_for(kind)
    child.failures += 1
    child.excused += 1 if budget else 0
    if not window.add(state.now):
        yield from _give_up(state, f"budget:{budget}" if budget else "intensity", child, reason)
        return
    cap = child.spec.max_consecutive
    if cap is not None and not budget and child.failures - child.excused > cap:
        yield from _give_up(state, "consecutive", child, reason)
        return
    delay = _delay(state, child, child.failures) if wait else 0.0
    _note_decision(state, child, reason, delay, kind)
    if delay > 0:
        _schedule(state, child, delay, uncounted=False)
    else:
        yield from _restart_now(state, child)


def _restart_now(state: SupervisorState, child: Child) -> Operation:
    strategy = _strategy_for(state, child)
    if strategy in ALONE:
        start = start_alone(state, child, restart=True)
        if state.is_concurrent(child):
            state.background.begin(child.id, start)
        else:
            yield from start
        return
    ids = _group(state, child, strategy)
    for child_id in ids:
        state.children[child_id].fated = True
    state.dirty.update(ids)
    yield from stop_children(state, ids)
    failure = yield from start_children(state, [i for i in ids if i in state.children], restart=True)
    if failure is not None:
        schedule_retry(state, failure)


def _give_up(state: SupervisorState, why: str, child: Child, reason: ExitReason | None) -> Operation:
    # it stays wanted until the end: a crash in the middle of giving up must not lose it
    state.reap_orphans(child)
    state.set_state(child, ChildState.UNDEFINED)
    state.note(NoteKind.GAVE_UP, child, reason, why=why)
    cause = f" ({reason})" if reason is not None else ""
    yield from stop_all(state)
    state.end(ExitReason(ExitKind.ESCALATED, f"{why} exceeded by {child.id}{cause}"))


def _auto_shutdown_due(state: SupervisorState, child: Child) -> bool:
    if not child.spec.significant or state.flags.auto_shutdown is AutoShutdown.NEVER:
        return False
    if state.flags.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT:
        return True
    return not any(other.spec.significant and _is_to_come(other) for other in state.children.values())


def _is_to_come(child: Child) -> bool:
    """It is there, or will be: what waits for a held sibling has not ended."""
    return child.state is not ChildState.UNDEFINED or bool(child.waits_for)


def _strategy_for(state: SupervisorState, child: Child) -> Strategy:
    """A supervisor that is adopted comes back alone: its siblings were not touched by its crash."""
    return Strategy.ONE_FOR_ONE if adopts(child) else state.flags.strategy


def _group(state: SupervisorState, child: Child, strategy: Strategy) -> list[str]:
    ids = list(state.children)
    return ids[ids.index(child.id) :] if strategy is Strategy.REST_FOR_ONE else ids


def _schedule(state: SupervisorState, child: Child, delay: float, *, uncounted: bool) -> None:
    state.set_state(child, ChildState.RESTARTING)
    child.next_at = state.now + delay
    child.timer = state.set_timer(child.next_at)
    state.backoffs[child.timer] = (child.id, uncounted)
    state.note(NoteKind.RESTART_SCHEDULED, child, next_at=child.next_at, delay_ms=round(delay * 1e3, 3))


def _delay(state: SupervisorState, child: Child, failures: int) -> float:
    backoff = child.spec.backoff
    if backoff is None or failures <= backoff.immediate:
        return 0.0
    return backoff.delay(failures, state.jitter())


def _proven_healthy(state: SupervisorState, child: Child) -> bool:
    reset_after = child.spec.backoff.reset_after if child.spec.backoff is not None else RESET_AFTER
    return state.now - child.up_since >= reset_after


def _note_decision(
    state: SupervisorState, child: Child, reason: ExitReason | None, delay: float, kind: ExitKind | None
) -> None:
    strategy = _strategy_for(state, child)
    budget, window = state.window_for(kind)
    charged = {"budget": budget} if budget else {}
    state.note(
        NoteKind.RESTART_DECIDED,
        child,
        reason,
        strategy=strategy.value,
        adopt=adopts(child),
        targets=child.id if strategy in ALONE else _some(_group(state, child, strategy)),
        delay_ms=round(delay * 1e3, 3),
        failures=child.failures,
        window=f"{window.count(state.now)}/{window.intensity} in {window.period}s",
        **charged,
    )


def _some(ids: list[str]) -> str:
    return " ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
