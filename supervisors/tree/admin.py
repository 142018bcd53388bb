"""The orders of OTP's supervisor API: start_child, terminate_child, restart_child, delete_child and the questions."""

from supervisors.tree.child import Child, ChildState
from supervisors.tree.holding import lived_before, start_with_waiting
from supervisors.tree.messages import AdminCalled, Call, ChildCounts, ChildInfo, NoteKind, Reply
from supervisors.tree.model import ChildSpec, ChildType, Strategy, check_specs, spec_errors
from supervisors.tree.restarting import schedule_retry
from supervisors.tree.starting import forget_ignored, start_one
from supervisors.tree.state import Operation, StartFailure, SupervisorState
from supervisors.tree.stopping import stop_one


def handle_admin(state: SupervisorState, event: AdminCalled) -> Operation | None:
    """Carry out one order; the reply is emitted when it is done."""
    match event.call:
        case Call.START_CHILD:
            return _start_dynamic(state, event) if state.is_simple else _start_child(state, event)
        case Call.TERMINATE_CHILD:
            return _terminate_child(state, event)
        case Call.RESTART_CHILD:
            return _restart_child(state, event)
        case Call.DELETE_CHILD:
            state.emit(_delete_child(state, event))
        case Call.WHICH_CHILDREN:
            state.emit(Reply(event.ref, children=which_children(state)))
        case Call.COUNT_CHILDREN:
            state.emit(Reply(event.ref, counts=count_children(state)))
        case Call.GET_CHILDSPEC:
            state.emit(_get_childspec(state, event))
        case Call.CHANGE_SPECS:
            state.emit(_change_specs(state, event))
    return None


def which_children(state: SupervisorState) -> tuple[ChildInfo, ...]:
    """All children in start order (OTP lists them the other way round)."""
    return tuple(ChildInfo(c.id, c.state.value, c.spec.type.value, c.incarnation) for c in state.children.values())


def count_children(state: SupervisorState) -> ChildCounts:
    """Counts as OTP defines them; a simple_one_for_one supervisor has one spec, the template."""
    children = state.children.values()
    dead = 0 if state.is_simple else sum(1 for c in children if state.mailbox.has_exit(c.id))
    supervisors = sum(1 for c in children if c.spec.type is ChildType.SUPERVISOR)
    return ChildCounts(
        specs=1 if state.is_simple else len(state.children),
        active=sum(1 for c in children if c.has_process) - dead,
        supervisors=supervisors,
        workers=len(state.children) - supervisors,
    )


def _start_child(state: SupervisorState, event: AdminCalled) -> Operation:
    spec = event.spec
    if spec is None:
        state.emit(Reply(event.ref, "missing_spec"))
        return
    if errors := spec_errors(state.flags, spec):
        state.emit(Reply(event.ref, errors[0], spec.id))
        return
    present = state.children.get(spec.id)
    if present is not None:
        error = "already_started" if present.has_process else "already_present"
        state.emit(Reply(event.ref, error, spec.id, present.incarnation))
        return
    if state.flags.max_children is not None and len(state.children) >= state.flags.max_children:
        state.emit(Reply(event.ref, "max_children", spec.id))
        return
    yield from _bring_up(state, Child(spec, spec.id, incarnation=state.floor, by_hand=True), event.ref)


def _start_dynamic(state: SupervisorState, event: AdminCalled) -> Operation:
    assert state.template is not None
    cap = state.flags.max_children
    if cap is not None and len(state.children) >= cap:
        state.emit(Reply(event.ref, "max_children"))
        return
    if event.id in state.children:
        state.emit(Reply(event.ref, "already_started", event.id, state.children[event.id].incarnation))
        return
    if event.id:
        state.reserve_dynamic_id(event.id)
        child = Child(state.template, event.id, incarnation=state.floor, args=event.args)
    else:
        child = Child(state.template, state.new_dynamic_id(), args=event.args)
    yield from _bring_up(state, child, event.ref)


def _bring_up(state: SupervisorState, child: Child, ref: str) -> Operation:
    """A new child joins only when it has a process, or is ignored and neither temporary nor dynamic (OTP).

    One that is held joins: it will have a process when a person agrees.
    """
    state.add_child(child)
    failure = yield from start_one(state, child, restart=False)
    if failure is not None:
        state.forget(child)
        state.emit(_failed(ref, failure))
        return
    forget_ignored(state, child)
    state.emit(Reply(ref, id=child.id, incarnation=child.incarnation if child.has_process else 0))


def _failed(ref: str, failure: StartFailure) -> Reply:
    return Reply(ref, "shutdown" if failure.interrupted else "start_error", failure.id, reason=failure.reason)


def _terminate_child(state: SupervisorState, event: AdminCalled) -> Operation:
    child = state.children.get(event.id)
    if child is None:
        named_template = state.template is not None and event.id == state.template.id
        state.emit(Reply(event.ref, "simple_one_for_one" if named_template else "not_found", event.id))
        return
    yield from stop_one(state, child)
    if child.state is ChildState.HELD:
        state.note(NoteKind.HOLD_REJECTED, child, by=event.call.value)
    state.drop(child)
    state.emit(Reply(event.ref, id=event.id))


def _restart_child(state: SupervisorState, event: AdminCalled) -> Operation:
    child = state.children.get(event.id)
    error = _not_stopped(state, child)
    if child is None or error:
        state.emit(Reply(event.ref, error, event.id))
        return
    was_held = child.state is ChildState.HELD
    if was_held:
        state.note(NoteKind.HOLD_RELEASED, child, by=event.call.value)
    failure = yield from start_with_waiting(state, child, restart=was_held and lived_before(child))
    if failure is not None:
        _not_all_up(state, child, failure, was_held)
        if failure.id == child.id or failure.interrupted:
            state.emit(_failed(event.ref, failure))
            return
    state.emit(Reply(event.ref, id=child.id, incarnation=child.incarnation if child.has_process else 0))


def _not_all_up(state: SupervisorState, child: Child, failure: StartFailure, was_held: bool) -> None:
    if failure.id == child.id and not was_held:
        child.wanted = False  # it stays as the hand that stopped it left it
    else:
        schedule_retry(state, failure)  # a hold that is over, or one that waited for it: as any restart that failed


def _delete_child(state: SupervisorState, event: AdminCalled) -> Reply:
    child = state.children.get(event.id)
    error = _not_stopped(state, child)
    if child is not None and child.state is ChildState.HELD:
        error = "restarting"
    if child is None or error:
        return Reply(event.ref, error, event.id)
    state.forget(child)
    return Reply(event.ref, id=event.id)


def _not_stopped(state: SupervisorState, child: Child | None) -> str:
    """OTP's word for why a child may be neither restarted nor deleted by hand; empty when it may.

    A held child may be restarted, which releases it.
    """
    if state.is_simple:
        return "simple_one_for_one"
    if child is None:
        return "not_found"
    if child.state is ChildState.RESTARTING:
        return "restarting"
    return "running" if child.has_process else ""


def _get_childspec(state: SupervisorState, event: AdminCalled) -> Reply:
    child = state.children.get(event.id)
    if child is not None:
        return Reply(event.ref, id=event.id, spec=child.spec)
    if state.template is not None and event.id == state.template.id:
        return Reply(event.ref, id=event.id, spec=state.template)
    return Reply(event.ref, "not_found", event.id)


def _change_specs(state: SupervisorState, event: AdminCalled) -> Reply:
    """OTP's code_change: new flags and specs take effect; nothing is started or stopped by it."""
    flags = event.flags or state.flags
    if (flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE) != state.is_simple:
        return Reply(event.ref, "bad_strategy_change")
    if errors := check_specs(flags, event.specs):
        return Reply(event.ref, errors[0])
    if state.is_simple:
        state.template = event.specs[0]
        for child in state.children.values():
            child.spec, child.by_hand = state.template, True
    else:
        state.children = _merged(state.children, event.specs, state.floor)
    state.flags = flags
    state.window.intensity, state.window.period = flags.intensity, flags.period
    state.budgets.replace(flags.budgets)
    state.dirty.update(state.children)
    return Reply(event.ref)


def _merged(children: dict[str, Child], specs: tuple[ChildSpec, ...], floor: int) -> dict[str, Child]:
    """New specs in their order, then the children that no spec names any more, which stay as they are."""
    merged: dict[str, Child] = {}
    for spec in specs:
        child = children.get(spec.id)
        if child is None:
            child = Child(spec, spec.id, incarnation=floor, wanted=False)
        child.spec, child.by_hand = spec, True
        merged[spec.id] = child
    for child_id, child in children.items():
        merged.setdefault(child_id, child)
    return merged
