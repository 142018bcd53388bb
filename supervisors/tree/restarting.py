"""What follows a child's exit: restart it alone or with its siblings, now or later, shut down, or give up."""

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason
from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import ChildExited, NoteKind, ReapSubtree, RetryDue
from supervisors.tree.model import AutoShutdown, ChildType, OnSupervisorCrash, Restart, Strategy
from supervisors.tree.starting import adopts, start_children, start_one
from supervisors.tree.state import Operation, SupervisorState
from supervisors.tree.stopping import stop_all, stop_children

#: seconds of health that end a run of failures where a child has no backoff of its own (SUP-7's default)
RESET_AFTER = 10.0

_ALONE = (Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE)


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
        child.failures = 0
    restart = child.spec.restart
    if restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and event.reason.is_abnormal):
        yield from _restart(state, child, event.reason, wait=True)
        return
    state.drop(child)
    if _auto_shutdown_due(state, child):
        state.note(NoteKind.GAVE_UP, child, event.reason, why="auto_shutdown")
        yield from stop_all(state)
        state.end(SHUTDOWN)


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


def schedule_retry(state: SupervisorState, child: Child) -> None:
    """A restart failed: OTP sends itself a message to try again; with a backoff that message comes later."""
    delay = _delay(state, child, child.failures + 1)
    if delay > 0:
        _schedule(state, child, delay, uncounted=True)
        return
    state.set_state(child, ChildState.RESTARTING)
    state.mailbox.put(RetryDue(child.id))


def _restart(state: SupervisorState, child: Child, reason: ExitReason | None, *, wait: bool) -> Operation:
    child.failures += 1
    if not state.window.add(state.now):
        yield from _give_up(state, "intensity", child, reason)
        return
    cap = child.spec.max_consecutive
    if cap is not None and child.failures > cap:
        yield from _give_up(state, "consecutive", child, reason)
        return
    delay = _delay(state, child, child.failures) if wait else 0.0
    _note_decision(state, child, reason, delay)
    if delay > 0:
        _schedule(state, child, delay, uncounted=False)
    else:
        yield from _restart_now(state, child)


def _restart_now(state: SupervisorState, child: Child) -> Operation:
    strategy = _strategy_for(state, child)
    if strategy in _ALONE:
        failure = yield from start_one(state, child, restart=True)
        if failure is not None and not failure.interrupted:
            schedule_retry(state, child)
        elif failure is None and child.state is ChildState.UNDEFINED and state.is_simple:
            state.forget(child)  # ignored on restart: OTP keeps no dynamic child without a process
        return
    ids = _group(state, child, strategy)
    yield from stop_children(state, ids)
    failure = yield from start_children(state, [i for i in ids if i in state.children], restart=True)
    if failure is not None and not failure.interrupted:
        schedule_retry(state, state.children[failure.id])


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
    return all(not other.spec.significant or other.state is ChildState.UNDEFINED for other in state.children.values())


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


def _note_decision(state: SupervisorState, child: Child, reason: ExitReason | None, delay: float) -> None:
    strategy = _strategy_for(state, child)
    state.note(
        NoteKind.RESTART_DECIDED,
        child,
        reason,
        strategy=strategy.value,
        adopt=adopts(child),
        targets=child.id if strategy in _ALONE else _some(_group(state, child, strategy)),
        delay_ms=round(delay * 1e3, 3),
        failures=child.failures,
        window=f"{state.window.count(state.now)}/{state.flags.intensity} in {state.flags.period}s",
    )


def _some(ids: list[str]) -> str:
    return " ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
