"""The machine's invariants under any interleaving of what children and callers may do.

The shell here answers nothing by itself: starts, stops and timers are answered whenever hypothesis chooses, exits and
orders come in between, and the supervisor itself may crash and be replaced at any point with any of its children left.
Starts may be held, released and rejected; concurrent children start in the background.
"""

from collections import deque
from dataclasses import dataclass, field
from math import floor

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import DataObject

from supervisors.core.reasons import SHUTDOWN, ExitReason, init_error
from supervisors.tree.child import ChildState
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    Exit,
    HoldRejected,
    HoldReleased,
    KillChild,
    Note,
    NoteKind,
    ReapSubtree,
    Reply,
    ReportStartFailed,
    SetTimer,
    ShutdownOrdered,
    StartChild,
    StopChild,
    TimerFired,
)
from supervisors.tree.model import (
    ALONE,
    Budget,
    ChildType,
    Restart,
    SupervisorFlags,
    SupervisorSpec,
)
from tests.property.tree_specs import REASONS, child_specs, supervisor_specs

CALLS = tuple(call for call in Call if call is not Call.CHANGE_SPECS)
#: the model's answers to a start
ANSWERS = (*["started"] * 6, "ready", "failed", "ignored", "exited", "held", "held")


@dataclass
class Process:
    """One live process of the model."""

    id: str
    incarnation: int
    up: bool = False
    told: bool = False
    #: its start is over: not before it has said so, where that is asked for
    ready: bool = False


@dataclass
class Seen:
    """What the shell has been told, for checks over time."""

    highest: dict[str, int] = field(default_factory=dict)
    #: restarts decided, by the name of the budget they were charged to
    decided: dict[str, list[int]] = field(default_factory=dict)
    #: restarts of a child alone that are allowed and not made yet
    permits: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    #: held starts somebody has answered for, as child and incarnation
    answered_for: set[tuple[str, int]] = field(default_factory=set)
    #: children some order was to start or stop
    ordered: set[str] = field(default_factory=set)
    #: children some order was to start
    by_hand: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    orphaned: set[str] = field(default_factory=set)
    #: stops ordered since the last start
    stops: list[str] = field(default_factory=list)


class TreeMachine(RuleBasedStateMachine):
    """Shell, callers and children of one supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.processes: dict[str, Process] = {}
        self.timers: dict[int, float] = {}
        self.seen = Seen()
        self.over = False
        self.refs = 0
        self.spec = SupervisorSpec()
        self.machine = SupervisorMachine(self.spec)

    @initialize(spec=supervisor_specs(), all_well=st.sampled_from((True, True, True, False)))
    def boot(self, spec: SupervisorSpec, all_well: bool) -> None:
        self.spec = spec
        self.machine = SupervisorMachine(spec, jitter=lambda: 0.5)
        self.send(Booted())
        if all_well:
            self.bring_up()

    # ------------------------------------------------------------ the shell

    def send(self, event: Event) -> None:
        order = list(self.machine.children)
        self.carry_out(self.machine.step(event, self.now), order)

    def carry_out(self, effects: list[Effect], order: list[str]) -> None:
        for effect in effects:
            assert not self.over, f"{effect} after the end"
            match effect:
                case StartChild():
                    self.start(effect)
                case StopChild(child_id, incarnation, _):
                    process = self.processes[child_id]
                    assert (process.incarnation, process.told) == (incarnation, False)
                    process.told = True
                    self.note_stop(process)
                case KillChild(child_id, incarnation, why):
                    process = self.processes[child_id]
                    assert process.incarnation == incarnation
                    process.told = True
                    if why == "brutal_kill":
                        self.note_stop(process)
                case SetTimer(token, at):
                    assert token not in self.timers
                    assert at >= self.now
                    self.timers[token] = at
                case CancelTimer(token):
                    self.timers.pop(token, None)
                case Reply(ref):
                    assert ref in self.seen.asked
                    assert ref not in self.seen.answered, "two replies"
                    self.seen.answered.add(ref)
                    self.seen.stops.clear()  # what an order stopped
                case ReapSubtree(child_id):
                    self.seen.orphaned.discard(child_id)
                case Exit() | ReportStartFailed():
                    self.end(order)
                case Note(kind=NoteKind.RESTART_DECIDED):
                    self.decide(effect)
                case Note(kind=NoteKind.CHILD_HELD):
                    self.seen.held.add(effect.id)
                case Note(kind=NoteKind.HOLD_RELEASED | NoteKind.HOLD_REJECTED):
                    self.let_go(effect)
                case _:
                    pass

    def start(self, order: StartChild) -> None:
        assert order.id not in self.processes, "two processes"
        assert order.incarnation > self.seen.highest.get(order.id, 0), "incarnations only grow"
        assert order.adopt or order.id not in self.seen.orphaned, "its old children still run"
        assert order.id not in self.seen.held, "nobody agreed"
        if self.machine.flags.strategy not in ALONE and order.id not in self.seen.by_hand and not order.adopt:
            ids = list(self.machine.children)
            assert not self.seen.held.intersection(ids[: ids.index(order.id)]), "one before it in its group is held"
        if order.restart and self.machine.flags.strategy in ALONE:
            self.seen.permits[order.id] = self.seen.permits.get(order.id, 0) - 1
            assert self.seen.permits[order.id] >= 0, "a restart nobody decided"
        self.seen.orphaned.discard(order.id)
        self.seen.highest[order.id] = order.incarnation
        self.seen.stops.clear()
        self.processes[order.id] = Process(order.id, order.incarnation)

    def note_stop(self, process: Process) -> None:
        if process.ready:
            self.seen.stops.append(process.id)  # not a start that was broken off: that goes before the others

    def decide(self, note: Note) -> None:
        """Count restarts apart from the machine: never more than the intensity within the period."""
        flags = self.machine.flags
        name = str(dict(note.data).get("budget", ""))
        limit: SupervisorFlags | Budget = flags
        for budget in flags.budgets:
            if note.reason is not None:
                assert (note.reason.kind in budget.kinds) == (name == budget.name)
            limit = budget if name == budget.name else limit
        stamps = self.seen.decided.setdefault(name, [])
        stamps.append(floor(self.now))
        assert len([stamp for stamp in stamps if stamp >= floor(self.now) - limit.period]) <= limit.intensity
        self.permit(note.id)

    def permit(self, child_id: str) -> None:
        self.seen.permits[child_id] = self.seen.permits.get(child_id, 0) + 1

    def let_go(self, note: Note) -> None:
        """A hold is over: only because somebody asked for it."""
        assert note.id in self.seen.held
        self.seen.held.discard(note.id)
        match dict(note.data).get("by"):
            case None:
                assert (note.id, note.incarnation) in self.seen.answered_for, "nobody agreed"
            case "group_restart":
                assert note.kind is NoteKind.HOLD_REJECTED
            case _:
                assert note.id in self.seen.ordered, "nobody agreed"
        if note.kind is NoteKind.HOLD_RELEASED:
            self.permit(note.id)

    def end(self, order: list[str]) -> None:
        assert not self.processes, "left a process"
        assert not self.timers, "left a timer"
        assert not self.seen.orphaned, "left a subtree"
        assert self.seen.asked == self.seen.answered, "left a caller without answer"
        if not self.machine.is_simple:
            places = [order.index(child_id) for child_id in self.seen.stops if child_id in order]
            assert places == sorted(places, reverse=True), "not in reverse start order"
        self.over = True

    # ------------------------------------------------------------ what may happen

    def some(self, data: DataObject, *, up: bool | None = None, told: bool | None = None) -> Process | None:
        found = [p for p in self.processes.values() if (up is None or p.up is up) and (told is None or p.told is told)]
        return data.draw(st.sampled_from(found)) if found else None

    def gone(self, process: Process, reason: ExitReason) -> ChildExited:
        del self.processes[process.id]
        child = self.machine.children.get(process.id)
        assert child is not None
        if child.spec.type is ChildType.SUPERVISOR and reason.is_abrupt:
            self.seen.orphaned.add(process.id)
        return ChildExited(process.id, process.incarnation, reason)

    def exit_of(self, process: Process, reason: ExitReason) -> ChildExited:
        """It ends; a concurrent child's recovery begins at once if nothing stands against it."""
        machine, child = self.machine, self.machine.children[process.id]
        at_once = (
            machine.booted
            and not machine.closing
            and machine.mailbox.shutdown is None
            and machine.is_concurrent(child)
            and child.state is ChildState.RUNNING
            and child.spec.restart is Restart.PERMANENT
            and child.spec.max_consecutive is None
            and machine.window_for(reason.kind)[1].has_room(self.now)
        )
        event = self.gone(process, reason)
        self.send(event)
        assert not at_once or child.state in (ChildState.STARTING, ChildState.RESTARTING), "it waits for something"
        return event

    @precondition(lambda self: any(not p.up for p in self.processes.values()))
    @rule(data=st.data(), answer=st.sampled_from(ANSWERS))
    def answer_start(self, data: DataObject, answer: str) -> None:
        process = self.some(data, up=False)
        assert process is not None
        event: Event
        match answer:
            case "started":
                process.up = True
                process.ready = self.machine.children[process.id].spec.ready_timeout is None
                event = ChildStarted(process.id, process.incarnation)
            case "ready":
                process.up = process.ready = True
                event = ChildReady(process.id, process.incarnation)
            case "failed":
                del self.processes[process.id]
                event = ChildStartFailed(process.id, process.incarnation, init_error("no"))
            case "ignored":
                del self.processes[process.id]
                event = ChildIgnored(process.id, process.incarnation)
            case "held":
                del self.processes[process.id]
                event = ChildHeld(process.id, process.incarnation, "no")
            case _:
                event = self.gone(process, data.draw(st.sampled_from(REASONS)))
        self.send(event)

    @precondition(lambda self: any(not p.up for p in self.processes.values()))
    @rule()
    def bring_up(self) -> None:
        """All that starts, and what starts after it, comes up."""
        while starting := [p for p in self.processes.values() if not p.up and not p.told]:
            starting[0].up = starting[0].ready = True
            self.send(ChildReady(starting[0].id, starting[0].incarnation))

    @precondition(lambda self: any(p.up for p in self.processes.values()))
    @rule(data=st.data())
    def say_ready(self, data: DataObject) -> None:
        process = self.some(data, up=True)
        assert process is not None
        process.ready = True
        self.send(ChildReady(process.id, process.incarnation))

    @precondition(lambda self: any(p.up for p in self.processes.values()))
    @rule(data=st.data(), reason=st.sampled_from(REASONS), twice=st.booleans())
    def exit(self, data: DataObject, reason: ExitReason, twice: bool) -> None:
        process = self.some(data, up=True)
        assert process is not None
        event = self.exit_of(process, reason)
        if twice and not self.over:
            self.send(event)

    @precondition(lambda self: any(p.told for p in self.processes.values()))
    @rule(data=st.data(), reason=st.sampled_from(REASONS))
    def answer_stop(self, data: DataObject, reason: ExitReason) -> None:
        process = self.some(data, told=True)
        assert process is not None
        self.send(self.gone(process, reason))

    @precondition(lambda self: bool(self.timers))
    @rule()
    def fire(self) -> None:
        token = min(self.timers, key=lambda t: (self.timers[t], t))
        self.now = max(self.now, self.timers.pop(token))
        self.send(TimerFired(token))

    @rule(seconds=st.sampled_from((0.3, 1.0, 7.0, 11.0)))
    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.timers and min(self.timers.values()) <= until:
            self.fire()
        self.now = max(until, self.now)

    @precondition(lambda self: not self.over)
    @rule(data=st.data(), call=st.sampled_from(CALLS))
    def order(self, data: DataObject, call: Call) -> None:
        self.refs += 1
        ref = f"r{self.refs}"
        ids = [*self.machine.children, "x", "t.1"]
        child_id = data.draw(st.sampled_from(ids))
        spec = None
        if call is Call.START_CHILD and not self.machine.is_simple:
            spec = data.draw(child_specs(child_id, self.machine.flags))
        elif call is Call.START_CHILD and data.draw(st.booleans()):
            child_id = ""
        self.seen.asked.add(ref)
        if call in (Call.RESTART_CHILD, Call.START_CHILD):
            self.seen.by_hand.add(child_id)
        if call in (Call.RESTART_CHILD, Call.TERMINATE_CHILD):
            self.seen.ordered.add(child_id)
        self.send(AdminCalled(ref, call, child_id, spec))

    @precondition(lambda self: not self.over and self.seen.held)
    @rule(data=st.data(), agree=st.booleans())
    def answer_hold(self, data: DataObject, agree: bool) -> None:
        child_id = data.draw(st.sampled_from(sorted(self.seen.held)))
        incarnation = self.machine.children[child_id].incarnation
        self.seen.answered_for.add((child_id, incarnation))
        self.send(HoldReleased(child_id, incarnation) if agree else HoldRejected(child_id, incarnation))

    @precondition(lambda self: not self.over)
    @rule(child_id=st.sampled_from("abcde"), agree=st.booleans())
    def answer_for_none_held(self, child_id: str, agree: bool) -> None:
        if child_id not in self.seen.held and not self.machine.is_busy:
            self.send(HoldReleased(child_id) if agree else HoldRejected(child_id))

    @precondition(lambda self: not self.over)
    @rule(rarely=st.integers(0, 4))
    def shut_down(self, rarely: int) -> None:
        if rarely == 4:
            self.send(ShutdownOrdered(SHUTDOWN))

    @precondition(lambda self: not self.over)
    @rule(data=st.data(), rarely=st.integers(0, 3))
    def crash_and_replace(self, data: DataObject, rarely: int) -> None:
        """The supervisor's process is lost; whatever subset of its children is left is adopted."""
        if rarely != 3:
            return
        record = self.machine.record()
        held = self.held_unrecorded(data)
        alive: dict[str, int] = {}
        lost: dict[str, ExitReason] = {}
        for process in list(self.processes.values()):
            if process.up and not process.told and data.draw(st.booleans()):
                alive[process.id] = process.incarnation
                process.ready = True
                continue
            del self.processes[process.id]
            if process.up and data.draw(st.booleans()):
                lost[process.id] = data.draw(st.sampled_from(REASONS))
        self.timers.clear()
        self.seen.asked = set(self.seen.answered)
        for child_id, reason in lost.items():
            if self.machine.children[child_id].spec.type is ChildType.SUPERVISOR and reason.is_abrupt:
                self.seen.orphaned.add(child_id)
        self.seen.stops.clear()
        self.machine = SupervisorMachine(self.spec, jitter=lambda: 0.5)
        ids = {*self.machine.children, *(row.id for row in record.children)}
        self.seen.permits = dict.fromkeys(ids, 1)  # what is merely missing is started
        effects = self.machine.resume(record, alive, lost, self.now, held)
        self.carry_out(effects, list(self.machine.children))

    def held_unrecorded(self, data: DataObject) -> set[str]:
        """Starts answered with a hold that the supervisor did not live to write down."""
        held = set()
        for process in list(self.processes.values()):
            is_worker = self.machine.children[process.id].spec.type is ChildType.WORKER
            if is_worker and not process.up and not process.told and data.draw(st.booleans()):
                del self.processes[process.id]
                held.add(process.id)
        self.seen.held |= held
        return held

    # ------------------------------------------------------------ what always holds

    @invariant()
    def states_tell_the_truth(self) -> None:
        if self.over:
            return
        for child in self.machine.children.values():
            process = self.processes.get(child.id)
            if process is not None:
                assert child.has_process, child
                assert process.incarnation == child.incarnation
            if child.id in self.machine.recovering:
                assert child.spec.concurrent
                assert child.state in (ChildState.STARTING, ChildState.STOPPING), child
            elif not self.machine.is_busy:
                assert child.state not in (ChildState.STARTING, ChildState.STOPPING), child
                assert (process is not None) == (child.state is ChildState.RUNNING), child
            assert (child.id in self.seen.held) == (child.state is ChildState.HELD), child
            if child.waits_for:
                assert child.state is ChildState.UNDEFINED, child
                assert child.wanted
        assert set(self.processes) <= set(self.machine.children)

    @invariant()
    def waits_only_for_what_may_come(self) -> None:
        if self.machine.is_busy and not self.over:
            states = {child.id: child.state for child in self.machine.children.values()}
            starting = any(states[p.id] is ChildState.STARTING for p in self.processes.values())  # up, but not ready
            assert starting or any(p.told for p in self.processes.values()) or self.timers

    @invariant()
    def orders_are_answered_when_nothing_is_under_way(self) -> None:
        if not self.machine.is_busy and not self.over:
            assert self.seen.asked == self.seen.answered

    def teardown(self) -> None:
        """From wherever this run left it, a shutdown comes to its end."""
        if self.over:
            return
        self.send(ShutdownOrdered(SHUTDOWN))
        waiting = deque(range(1000))
        while not self.over:
            assert waiting, "the shutdown does not end"
            waiting.popleft()
            told = [p for p in self.processes.values() if p.told]
            if told:
                self.send(self.gone(told[0], SHUTDOWN))
            else:
                self.fire()


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
