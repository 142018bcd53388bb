"""Held children (REC-2): no process is made of them before a person has agreed; OTP has nothing like it.

Under the group strategies those after a held child wait with it (``Child.waits_for``), because they were told that
what stands before them is up. Neither holding nor releasing is counted in a window.
"""

from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import HoldRejected, HoldReleased, NoteKind
from supervisors.tree.restarting import schedule_retry, start_alone
from supervisors.tree.starting import Start, forget_ignored, held_before, let_wait, start_children, start_one
from supervisors.tree.state import Operation, SupervisorState


def release(state: SupervisorState, answer: HoldReleased) -> Operation:
    """A person agreed: start the child and those that wait for it; a failed start is tried again.

    Where a held child stands before it in its group, it waits for that one from now on.
    """
    child = _meant(state, answer)
    if child is None:
        return
    state.note(NoteKind.HOLD_RELEASED, child)
    before = held_before(state, child)
    if before is not None:
        state.set_state(child, ChildState.UNDEFINED)
        let_wait(state, before, [child.id, *_waiting(state, child)])
    elif state.is_concurrent(child) and not _waiting(state, child):
        state.background.begin(child.id, start_alone(state, child, restart=lived_before(child)))
    else:
        failure = yield from start_with_waiting(state, child, restart=lived_before(child))
        if failure is not None:
            schedule_retry(state, failure)


def reject(state: SupervisorState, answer: HoldRejected) -> None:
    """A person refused: the child stays down, and so do those that wait for it, until they are started by hand."""
    child = _meant(state, answer)
    if child is not None:
        state.note(NoteKind.HOLD_REJECTED, child)
        state.drop(child)


def _meant(state: SupervisorState, answer: HoldReleased | HoldRejected) -> Child | None:
    """The child, if it is held, and held by the start the answer speaks of."""
    child = state.children.get(answer.id)
    if child is None or child.state is not ChildState.HELD:
        return None
    return child if answer.incarnation in (0, child.incarnation) else None


def start_with_waiting(state: SupervisorState, child: Child, *, restart: bool) -> Start:
    """Start a child that was held, then those that wait for it, in order; they go on waiting if it is held again."""
    failure = yield from start_one(state, child, restart=restart)
    if failure is not None or child.state is ChildState.HELD:
        return failure
    after = _waiting(state, child, with_held=state.is_group)
    forget_ignored(state, child)
    return (yield from start_children(state, after, restart=restart))


def _waiting(state: SupervisorState, held: Child, *, with_held: bool = False) -> list[str]:
    """Those that wait for ``held``; ``with_held``: and other held ones behind it, where a start comes to a stop."""
    if not with_held:
        return [child.id for child in state.children.values() if child.waits_for == held.id]
    ids = list(state.children)
    behind = [state.children[child_id] for child_id in ids[ids.index(held.id) + 1 :]]
    return [child.id for child in behind if child.waits_for == held.id or child.state is ChildState.HELD]


def lived_before(child: Child) -> bool:
    """True when the start that was held is not its first one."""
    return child.incarnation > 1
