"""The machine's invariants under any interleaving of what children and callers may do.

The shell here answers nothing by itself: starts, stops and timers are answered whenever hypothesis chooses, exits and
orders come in between, and the supervisor itself may crash and be replaced at any point with any of its children left.
"""

from collections import deque
from dataclasses import dataclass, field
from math import floor

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import DataObject, DrawFn

from supervisors.core.reasons import NORMAL, SHUTDOWN, ExitKind, ExitReason, crash, init_error
from supervisors.tree.child import ChildState
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildExited,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    Exit,
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
    BRUTAL_KILL,
    INFINITY,
    AutoShutdown,
    Backoff,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)

REASONS = (NORMAL, SHUTDOWN, crash("boom"), ExitReason(ExitKind.KILLED), ExitReason(ExitKind.ESCALATED))
CALLS = tuple(call for call in Call if call is not Call.CHANGE_SPECS)
#: the model's answers to a start
ANSWERS = (*["started"] * 6, "ready", "failed", "ignored", "exited")


@st.composite
def child_specs(draw: DrawFn, child_id: str, flags: SupervisorFlags) -> ChildSpec:
    """Any valid child below a supervisor with ``flags``."""
    restart = draw(st.sampled_from(Restart))
    may_be = flags.auto_shutdown is not AutoShutdown.NEVER and restart is not Restart.PERMANENT
    return ChildSpec(
        child_id,
        restart,
        shutdown=draw(st.sampled_from((1.0, 5.0, BRUTAL_KILL, INFINITY))),
        type=draw(st.sampled_from(ChildType)),
        significant=may_be and draw(st.booleans()),
        start_timeout=draw(st.sampled_from((INFINITY, 2.0))),
        ready_timeout=draw(st.sampled_from((None, None, 3.0, INFINITY))),
        backoff=draw(st.sampled_from((None, Backoff(), Backoff(base=1.0, immediate=0, jitter=0.0)))),
        max_consecutive=draw(st.sampled_from((None, None, 1, 3))),
        on_crash=draw(st.sampled_from(OnSupervisorCrash)),
    )


@st.composite
def supervisor_specs(draw: DrawFn) -> SupervisorSpec:
    """Any supervisor with up to five children."""
    flags = SupervisorFlags(
        draw(st.sampled_from(Strategy)),
        draw(st.integers(0, 4)),
        draw(st.integers(1, 10)),
        draw(st.sampled_from(AutoShutdown)),
        max_children=draw(st.sampled_from((None, 3))),
    )
    ids = "t" if flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE else "abcde"[: draw(st.integers(0, 5))]
    return SupervisorSpec(flags, tuple(draw(child_specs(i, flags)) for i in ids))


@dataclass
class Process:
    """One live process of the model."""

    id: str
    incarnation: int
    up: bool = False
    told: bool = False


@dataclass
class Seen:
    """What the shell has been told, for checks over time."""

    highest: dict[str, int] = field(default_factory=dict)
    decided: list[int] = field(default_factory=list)
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
                    self.decide()
                case _:
                    pass

    def start(self, order: StartChild) -> None:
        assert order.id not in self.processes, "two processes"
        assert order.incarnation > self.seen.highest.get(order.id, 0), "incarnations only grow"
        assert order.adopt or order.id not in self.seen.orphaned, "its old children still run"
        self.seen.orphaned.discard(order.id)
        self.seen.highest[order.id] = order.incarnation
        self.seen.stops.clear()
        self.processes[order.id] = Process(order.id, order.incarnation)

    def note_stop(self, process: Process) -> None:
        if process.up:
            self.seen.stops.append(process.id)  # not a start that was broken off: that goes before the others

    def decide(self) -> None:
        """Count restarts apart from the machine: never more than the intensity within the period."""
        self.seen.decided.append(floor(self.now))
        flags = self.machine.flags
        recent = [stamp for stamp in self.seen.decided if stamp >= floor(self.now) - flags.period]
        assert len(recent) <= flags.intensity

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

    @precondition(lambda self: any(not p.up for p in self.processes.values()))
    @rule(data=st.data(), answer=st.sampled_from(ANSWERS))
    def answer_start(self, data: DataObject, answer: str) -> None:
        process = self.some(data, up=False)
        assert process is not None
        event: Event
        match answer:
            case "started":
                process.up = True
                event = ChildStarted(process.id, process.incarnation)
            case "ready":
                process.up = True
                event = ChildReady(process.id, process.incarnation)
            case "failed":
                del self.processes[process.id]
                event = ChildStartFailed(process.id, process.incarnation, init_error("no"))
            case "ignored":
                del self.processes[process.id]
                event = ChildIgnored(process.id, process.incarnation)
            case _:
                event = self.gone(process, data.draw(st.sampled_from(REASONS)))
        self.send(event)

    @precondition(lambda self: any(not p.up for p in self.processes.values()))
    @rule()
    def bring_up(self) -> None:
        """All that starts, and what starts after it, comes up."""
        while starting := [p for p in self.processes.values() if not p.up and not p.told]:
            starting[0].up = True
            self.send(ChildReady(starting[0].id, starting[0].incarnation))

    @precondition(lambda self: any(p.up for p in self.processes.values()))
    @rule(data=st.data())
    def say_ready(self, data: DataObject) -> None:
        process = self.some(data, up=True)
        assert process is not None
        self.send(ChildReady(process.id, process.incarnation))

    @precondition(lambda self: any(p.up for p in self.processes.values()))
    @rule(data=st.data(), reason=st.sampled_from(REASONS), twice=st.booleans())
    def exit(self, data: DataObject, reason: ExitReason, twice: bool) -> None:
        process = self.some(data, up=True)
        assert process is not None
        event = self.gone(process, reason)
        self.send(event)
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
        self.send(AdminCalled(ref, call, child_id, spec))

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
        alive: dict[str, int] = {}
        lost: dict[str, ExitReason] = {}
        for process in list(self.processes.values()):
            if process.up and not process.told and data.draw(st.booleans()):
                alive[process.id] = process.incarnation
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
        effects = self.machine.resume(record, alive, lost, self.now)
        self.carry_out(effects, list(self.machine.children))

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
            if not self.machine.is_busy:
                assert child.state not in (ChildState.STARTING, ChildState.STOPPING), child
                assert (process is not None) == (child.state is ChildState.RUNNING), child
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
