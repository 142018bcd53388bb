"""The machine's invariants where many start at once, and where starts are often held; see ``test_tree``."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from hypothesis.strategies import DataObject, DrawFn

from supervisors.core.reasons import SHUTDOWN, ExitReason, crash, init_error
from supervisors.tree.child import ChildState
from supervisors.tree.messages import (
    AdminCalled,
    Call,
    ChildHeld,
    ChildStarted,
    ChildStartFailed,
)
from supervisors.tree.model import (
    ChildSpec,
    ChildType,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)
from tests.property.test_tree import TreeMachine
from tests.property.tree_specs import BUDGETS, REASONS, child_specs


@st.composite
def concurrent_specs(draw: DrawFn) -> SupervisorSpec:
    """Concurrent workers only, little room in the window."""
    flags = SupervisorFlags(
        draw(st.sampled_from((Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE))),
        draw(st.sampled_from((0, 0, 2, 9))),
        draw(st.integers(1, 10)),
        budgets=draw(st.sampled_from(BUDGETS[1:])),
    )
    ids = "t" if flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE else "abc"
    common = draw(child_specs("t", SupervisorFlags()))
    common = replace(
        common,
        restart=draw(st.sampled_from((Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT))),
        type=ChildType.WORKER,
        concurrent=True,
        shutdown=5.0,
        max_consecutive=draw(st.sampled_from((None, None, None, 1))),
    )
    return SupervisorSpec(flags, tuple(replace(common, id=i) for i in ids))


class ConcurrentMachine(TreeMachine):
    """Several starts in the background beside a foreground that is often busy."""

    @initialize(spec=concurrent_specs(), all_well=st.just(True))
    def boot(self, spec: SupervisorSpec, all_well: bool) -> None:
        super().boot(spec, all_well)

    @precondition(lambda self: not self.over and any(p.ready for p in self.processes.values()))
    @rule(data=st.data(), others=st.integers(1, 3), reason=st.sampled_from(REASONS[2:]), fail=st.booleans())
    def crash_beside_a_stop(self, data: DataObject, others: int, reason: ExitReason, fail: bool) -> None:
        """One is being stopped by order; meanwhile others crash, and may fail to start again."""
        ids = sorted(p.id for p in self.processes.values() if p.ready)
        stopped = data.draw(st.sampled_from(ids))
        self.refs += 1
        ref = f"r{self.refs}"
        self.seen.asked.add(ref)
        self.seen.ordered.add(stopped)
        self.send(AdminCalled(ref, Call.TERMINATE_CHILD, stopped))
        for process in [p for p in self.processes.values() if p.ready and not p.told][:others]:
            self.exit_of(process, reason)
        if fail and self.machine.recovering:
            self.fail_start(min(self.machine.recovering))

    @precondition(lambda self: not self.over and self.machine.recovering and self.timers)
    @rule()
    def time_out(self) -> None:
        self.fire()

    def fail_start(self, child_id: str) -> None:
        """A start in the background fails: its retry does not wait for the foreground either."""
        process, child, machine = self.processes[child_id], self.machine.children[child_id], self.machine
        if process.told:
            return
        at_once = not machine.closing and machine.mailbox.shutdown is None and machine.window.has_room(self.now)
        at_once = at_once and child.spec.max_consecutive is None
        del self.processes[child_id]
        self.send(ChildStartFailed(child_id, process.incarnation, init_error("no")))
        assert not at_once or child.timer or child.state is ChildState.STARTING, "it waits for something"


@st.composite
def group_specs(draw: DrawFn) -> SupervisorSpec:
    """Workers in a group, with room to fail."""
    flags = SupervisorFlags(draw(st.sampled_from((Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE))), 9, 5)
    restarts = st.sampled_from((Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY))
    return SupervisorSpec(flags, tuple(ChildSpec(i, draw(restarts)) for i in "abcd"))


class HeldGroupMachine(TreeMachine):
    """Groups in which starts are often held."""

    @initialize(spec=group_specs(), all_well=st.booleans())
    def boot(self, spec: SupervisorSpec, all_well: bool) -> None:
        super().boot(spec, all_well)

    @precondition(lambda self: any(p.ready for p in self.processes.values()))
    @rule(data=st.data(), up_first=st.integers(0, 3))
    def crash_and_hold(self, data: DataObject, up_first: int) -> None:
        """One crashes; of those that start for it, the one after ``up_first`` others is held."""
        process = self.some(data, up=True)
        assert process is not None
        self.exit_of(process, crash("boom"))
        while told := [p for p in self.processes.values() if p.told]:
            self.send(self.gone(told[0], SHUTDOWN))
        while starting := [p for p in self.processes.values() if not p.up]:
            if up_first == 0:
                del self.processes[starting[0].id]
                self.send(ChildHeld(starting[0].id, starting[0].incarnation))
                return
            up_first -= 1
            starting[0].up = starting[0].ready = True
            self.send(ChildStarted(starting[0].id, starting[0].incarnation))


TestConcurrent = ConcurrentMachine.TestCase
TestConcurrent.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestHeldGroup = HeldGroupMachine.TestCase
TestHeldGroup.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
