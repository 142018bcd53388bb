"""Which events need not wait until the operation in the foreground is done: those of concurrent children.

A foreground operation may wait for seconds (the stop of another child, the start of one added by hand). A concurrent
child's recovery has nothing to do with it and begins at once, as long as it does not need the foreground itself: a
restart that would make the supervisor give up waits its turn.
"""

from supervisors.tree.child import Child, ChildState
from supervisors.tree.messages import ChildExited, Event, HoldRejected, HoldReleased, RetryDue, TimerFired
from supervisors.tree.restarting import has_room, is_restarted
from supervisors.tree.state import SupervisorState


def overtakes(state: SupervisorState, event: Event) -> bool:
    """True when ``event`` can be worked off beside the foreground; its operation then waits for nothing."""
    if not state.booted or state.closing or state.mailbox.shutdown is not None:
        return False
    match event:
        case ChildExited(child_id, incarnation, reason):
            child = _concurrent(state, child_id)
            if child is None or child.state is not ChildState.RUNNING or child.incarnation != incarnation:
                return False
            return is_restarted(child, reason) and has_room(state, child, reason.kind)
        case RetryDue(child_id):
            child = _concurrent(state, child_id)
            return child is not None and has_room(state, child, child.failed_with)
        case TimerFired(token):
            child_id, uncounted = state.backoffs.get(token, ("", False))
            child = _concurrent(state, child_id)
            return child is not None and (not uncounted or has_room(state, child, child.failed_with))
        case HoldReleased(child_id) | HoldRejected(child_id):
            return _concurrent(state, child_id) is not None
        case _:
            return False


def _concurrent(state: SupervisorState, child_id: str) -> Child | None:
    child = state.children.get(child_id)
    return child if child is not None and state.is_concurrent(child) else None
