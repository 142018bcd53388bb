"""A replaced supervisor takes over what its crashed predecessor left (SUP-8); OTP has nothing like it."""

from collections.abc import Collection
from dataclasses import dataclass, field

from supervisors.core.reasons import ExitReason
from supervisors.tree.child import WITH_PROCESS, Child, ChildRecord, ChildState, SupervisorRecord
from supervisors.tree.messages import ChildExited, NoteKind, ReportStarted
from supervisors.tree.model import ChildType, Restart
from supervisors.tree.restarting import schedule_retry, start_alone
from supervisors.tree.starting import adopts, forget_ignored, held_before, let_wait, start_one
from supervisors.tree.state import Operation, SupervisorState
from supervisors.tree.stopping import end_process, stop_children


@dataclass(slots=True)
class Inheritance:
    """What ``restore`` found: nothing of it has been acted on yet.

    Attributes:
        superseded: ids with the incarnation recorded for them, whose running process is of an older one.
        fated: ids that run and were to be restarted with their group, in start order.
        pending: ids to start without counting a restart.
        exits: ends the predecessor did not live to see.
        held: children for which a person has not answered yet.
    """

    superseded: dict[str, int] = field(default_factory=dict)
    fated: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    exits: list[ChildExited] = field(default_factory=list)
    held: int = 0


def restore(
    state: SupervisorState,
    record: SupervisorRecord,
    alive: dict[str, int],
    lost: dict[str, ExitReason],
    held: Collection[str],
) -> Inheritance:
    """Bring the children to where record and living processes say they are; see ``SupervisorMachine.resume``."""
    found = Inheritance()
    state.window.restore(record.stamps)
    state.budgets.restore(record.budgets)
    state.floor, state.next_dynamic = record.floor, record.next_dynamic
    if state.is_simple:
        for row in record.children:
            state.reserve_dynamic_id(row.id)
    if (record.children or record.floor) and not state.is_simple:
        rows = {row.id for row in record.children}
        for child_id in [child_id for child_id in state.children if child_id not in rows and child_id not in alive]:
            state.forget(state.children[child_id])  # its predecessor had forgotten it: temporary and ended, or deleted
    vanished: set[str] = set()
    holds = set(held)
    for row in sorted(record.children, key=lambda row: row.order):
        _restore_row(state, row)
        if row.state == ChildState.HELD:
            holds.add(row.id)
        if row.state in WITH_PROCESS and row.id not in alive and row.id not in lost:
            vanished.add(row.id)
    for child in list(state.children.values()):
        incarnation = alive.get(child.id)
        if incarnation is not None:
            if incarnation < child.incarnation:
                found.superseded[child.id] = child.incarnation
            elif child.fated:
                found.fated.append(child.id)
            child.state = ChildState.STOPPING if child.id in found.superseded else ChildState.RUNNING
            child.incarnation, child.waits_for = incarnation, ""
            child.wanted, child.orphans = True, False
            continue
        if child.id in holds and child.wanted and child.spec.type is ChildType.WORKER:
            state.set_state(child, ChildState.HELD)
            found.held += 1
            continue
        if child.wanted and _waits_still(state, child):
            continue
        if child.id in vanished and child.spec.type is ChildType.SUPERVISOR:
            # nobody knows how it ended: its own children may run
            child.orphans = True
        if not child.wanted:
            state.reap_orphans(child)
        elif child.id in lost:
            child.state = ChildState.RUNNING
            found.exits.append(ChildExited(child.id, child.incarnation, lost[child.id]))
        elif child.spec.restart is Restart.TEMPORARY and child.incarnation > 0:
            state.forget(child)  # its one life is over
        else:
            if not adopts(child):
                state.reap_orphans(child)
            found.pending.append(child.id)
    holds_any = {"held": found.held} if found.held else {}
    numbers = {"adopted": len(alive), "lost": len(found.exits), "pending": len(found.pending), **holds_any}
    state.note(NoteKind.ADOPTED, None, None, **numbers)
    return found


def _waits_still(state: SupervisorState, child: Child) -> bool:
    """False once the child it waits for has been released: then it is to start."""
    held = state.children.get(child.waits_for)
    if child.waits_for and (held is None or held.state is ChildState.HELD or not held.wanted):
        return True
    child.waits_for = ""
    return False


def take_over(state: SupervisorState, found: Inheritance) -> Operation:
    """End processes of older incarnations, start what should run; a failed start is retried, not fatal.

    Concurrent children start at once and are not waited for. In a group, none starts behind a held child, and those
    that were to be restarted with their group are stopped first, as the predecessor would have done.
    """
    pending = _begin_concurrent(state, found.pending) + found.fated
    yield from stop_children(state, found.fated)
    for child_id, incarnation in found.superseded.items():
        child = state.children[child_id]
        yield from end_process(state, child, "superseded")
        child.incarnation = incarnation
        if child.wanted:
            pending += _begin_concurrent(state, [child_id])
    due = set(pending)
    for child_id in [child_id for child_id in state.children if child_id in due]:
        child = state.children[child_id]
        held = held_before(state, child)
        if held is not None and not adopts(child):
            let_wait(state, held, [child_id])
            continue
        failure = yield from start_one(state, child, restart=True)
        if failure is not None and failure.interrupted:
            return
        if failure is not None:
            schedule_retry(state, failure)
        else:
            forget_ignored(state, child)
    state.emit(ReportStarted())


def _begin_concurrent(state: SupervisorState, ids: list[str]) -> list[str]:
    """Start the concurrent ones of these in the background; the others."""
    for child_id in ids:
        child = state.children[child_id]
        if state.is_concurrent(child):
            state.background.begin(child_id, start_alone(state, child, restart=True))
    return [child_id for child_id in ids if not state.is_concurrent(state.children[child_id])]


def _restore_row(state: SupervisorState, row: ChildRecord) -> None:
    child = state.children.get(row.id)
    spec = row.spec or state.template
    if child is None:
        if spec is None:
            state.floor = max(state.floor, row.incarnation)
            return  # its spec is gone from the topology
        child = state.children[row.id] = Child(spec, row.id)
    if row.spec is not None:
        child.spec, child.by_hand = row.spec, True
    child.incarnation = row.incarnation
    child.failures = row.failures
    child.up_since = row.up_since
    child.wanted = row.wanted
    child.args = row.args
    child.restarts = row.restarts
    child.orphans = row.orphans
    child.waits_for = row.waits_for
    child.excused = row.excused
    child.fated = row.fated
    state.dirty.add(row.id)
