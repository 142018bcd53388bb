"""The orders of OTP's supervisor API: start_child, terminate_child, restart_child, delete_child and the questions."""

from collections.abc import Generator

from supervisors.tree.child import Child, ChildState
from supervisors.tree.machine import StartFailure, SupervisorMachine, Wait
from supervisors.tree.messages import AdminCalled, Call, ChildCounts, ChildInfo, Event, Reply
from supervisors.tree.model import ChildSpec, ChildType, Restart, Strategy, spec_errors

Operation = Generator[Wait, Event, None]


def handle_admin(machine: SupervisorMachine, event: AdminCalled) -> Operation | None:
    """Carry out one order; the reply is emitted when it is done."""
    match event.call:
        case Call.START_CHILD:
            return _start_dynamic(machine, event) if machine.is_simple else _start_child(machine, event)
        case Call.TERMINATE_CHILD:
            return _terminate_child(machine, event)
        case Call.RESTART_CHILD:
            return _restart_child(machine, event)
        case Call.DELETE_CHILD:
            machine.emit(_delete_child(machine, event))
        case Call.WHICH_CHILDREN:
            machine.emit(Reply(event.ref, children=which_children(machine)))
        case Call.COUNT_CHILDREN:
            machine.emit(Reply(event.ref, counts=count_children(machine)))
        case Call.GET_CHILDSPEC:
            machine.emit(_get_childspec(machine, event))
        case Call.CHANGE_SPECS:
            machine.emit(_change_specs(machine, event))
    return None


def which_children(machine: SupervisorMachine) -> tuple[ChildInfo, ...]:
    """All children in start order (OTP lists them the other way round)."""
    return tuple(ChildInfo(c.id, c.state.value, c.spec.type.value, c.incarnation) for c in machine.children.values())


def count_children(machine: SupervisorMachine) -> ChildCounts:
    """Counts as OTP defines them; a simple_one_for_one supervisor has one spec, the template."""
    children = machine.children.values()
    supervisors = sum(1 for c in children if c.spec.type is ChildType.SUPERVISOR)
    return ChildCounts(
        specs=1 if machine.is_simple else len(machine.children),
        active=sum(1 for c in children if c.has_process),
        supervisors=supervisors,
        workers=len(machine.children) - supervisors,
    )


def _start_child(machine: SupervisorMachine, event: AdminCalled) -> Operation:
    spec = event.spec
    if spec is None:
        machine.emit(Reply(event.ref, "missing_spec"))
        return
    if errors := spec_errors(machine.flags, spec):
        machine.emit(Reply(event.ref, errors[0], spec.id))
        return
    present = machine.children.get(spec.id)
    if present is not None:
        error = "already_started" if present.has_process else "already_present"
        machine.emit(Reply(event.ref, error, spec.id, present.incarnation))
        return
    if machine.flags.max_children is not None and len(machine.children) >= machine.flags.max_children:
        machine.emit(Reply(event.ref, "max_children", spec.id))
        return
    yield from _bring_up(machine, Child(spec, spec.id), event.ref)


def _start_dynamic(machine: SupervisorMachine, event: AdminCalled) -> Operation:
    assert machine.template is not None
    cap = machine.flags.max_children
    if cap is not None and len(machine.children) >= cap:
        machine.emit(Reply(event.ref, "max_children"))
        return
    if event.id in machine.children:
        machine.emit(Reply(event.ref, "already_started", event.id, machine.children[event.id].incarnation))
        return
    child = Child(machine.template, event.id or machine.new_dynamic_id(), args=event.args)
    yield from _bring_up(machine, child, event.ref)


def _bring_up(machine: SupervisorMachine, child: Child, ref: str) -> Operation:
    """A new child joins only when it has a process, or is ignored and neither temporary nor dynamic (OTP)."""
    machine.children[child.id] = child
    failure = yield from machine.start_one(child, restart=False)
    if failure is not None:
        machine.forget(child)
        machine.emit(_failed(ref, failure))
        return
    if not child.has_process and (child.spec.restart is Restart.TEMPORARY or machine.is_simple):
        machine.forget(child)
    machine.emit(Reply(ref, id=child.id, incarnation=child.incarnation if child.has_process else 0))


def _failed(ref: str, failure: StartFailure) -> Reply:
    return Reply(ref, "shutdown" if failure.interrupted else "start_error", failure.id, reason=failure.reason)


def _terminate_child(machine: SupervisorMachine, event: AdminCalled) -> Operation:
    child = machine.children.get(event.id)
    if child is None:
        machine.emit(Reply(event.ref, "not_found", event.id))
        return
    yield from machine.stop_one(child)
    machine.drop(child)
    machine.emit(Reply(event.ref, id=event.id))


def _restart_child(machine: SupervisorMachine, event: AdminCalled) -> Operation:
    child = machine.children.get(event.id)
    error = _not_stopped(machine, child)
    if child is None or error:
        machine.emit(Reply(event.ref, error, event.id))
        return
    failure = yield from machine.start_one(child, restart=False)
    if failure is not None:
        machine.emit(_failed(event.ref, failure))
        return
    machine.emit(Reply(event.ref, id=child.id, incarnation=child.incarnation if child.has_process else 0))


def _delete_child(machine: SupervisorMachine, event: AdminCalled) -> Reply:
    child = machine.children.get(event.id)
    error = _not_stopped(machine, child)
    if child is None or error:
        return Reply(event.ref, error, event.id)
    machine.forget(child)
    return Reply(event.ref, id=event.id)


def _not_stopped(machine: SupervisorMachine, child: Child | None) -> str:
    """OTP's word for why a child may be neither restarted nor deleted by hand; empty when it may."""
    if machine.is_simple:
        return "simple_one_for_one"
    if child is None:
        return "not_found"
    if child.state is ChildState.RESTARTING:
        return "restarting"
    return "running" if child.has_process else ""


def _get_childspec(machine: SupervisorMachine, event: AdminCalled) -> Reply:
    child = machine.children.get(event.id)
    if child is None:
        return Reply(event.ref, "not_found", event.id)
    return Reply(event.ref, id=event.id, spec=child.spec)


def _change_specs(machine: SupervisorMachine, event: AdminCalled) -> Reply:
    """OTP's code_change: new flags and specs take effect; nothing is started or stopped by it."""
    flags = event.flags or machine.flags
    if (flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE) != machine.is_simple:
        return Reply(event.ref, "bad_strategy_change")
    for spec in event.specs:
        if errors := spec_errors(flags, spec):
            return Reply(event.ref, errors[0], spec.id)
    if machine.is_simple:
        if len(event.specs) != 1:
            return Reply(event.ref, "bad_start_spec")
        machine.template = event.specs[0]
        for child in machine.children.values():
            child.spec = machine.template
    else:
        machine.children = _merged(machine.children, event.specs)
    machine.flags = flags
    machine.window.intensity, machine.window.period = flags.intensity, flags.period
    machine.dirty.update(machine.children)
    return Reply(event.ref)


def _merged(children: dict[str, Child], specs: tuple[ChildSpec, ...]) -> dict[str, Child]:
    """New specs in their order, then the children that no spec names any more, which stay as they are."""
    merged: dict[str, Child] = {}
    for spec in specs:
        child = children.get(spec.id)
        if child is None:
            child = Child(spec, spec.id, wanted=False)
        child.spec = spec
        merged[spec.id] = child
    for child_id, child in children.items():
        merged.setdefault(child_id, child)
    return merged
