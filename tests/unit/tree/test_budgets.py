"""Budgets (SUP-10): restarts of some kinds are charged to a window of their own."""

import msgspec
import pytest

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, crash, init_error
from supervisors.tree.budgets import Budgets
from supervisors.tree.child import ChildRecord, SupervisorRecord
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import AdminCalled, Call, Exit, NoteKind, Reply, SetTimer, StopChild
from supervisors.tree.model import Backoff, Budget, ChildSpec, Strategy, SupervisorFlags, SupervisorSpec
from tests.unit.tree.harness import Bench, of_kind

LOST = ExitReason(ExitKind.NODE_LOST, "node 7 is gone")
AWAY = ExitReason(ExitKind.UNAVAILABLE)
CRASH = crash("boom")
NODES = Budget((ExitKind.NODE_LOST, ExitKind.UNAVAILABLE), 2, 60)
MEMORY = Budget((ExitKind.OOM,), 1, 10)


class BudgetBench(Bench):
    """A bench whose supervisor has budgets: 2 restarts in 60 s for lost nodes, 1 in 10 s for want of memory."""

    def __init__(self, *children: ChildSpec, strategy: Strategy = Strategy.ONE_FOR_ONE, intensity: int = 1) -> None:
        super().__init__(*(children or (ChildSpec("a"), ChildSpec("b"))), strategy=strategy)
        flags = SupervisorFlags(strategy, intensity, 60, budgets=(NODES, MEMORY))
        self.spec = SupervisorSpec(flags, self.spec.children)
        self.machine = SupervisorMachine(self.spec, lambda: 0.0)
        self.boot()

    def decided(self) -> dict[str, object]:
        """The data of the last step's only decision."""
        (note,) = self.notes(NoteKind.RESTART_DECIDED)
        return dict(note.data)

    def restart(self, child_id: str, reason: ExitReason) -> None:
        """It ends and comes up again."""
        self.exit(child_id, reason)
        self.bring_up()


def test_a_budget_is_called_after_its_kinds() -> None:
    assert NODES.name == "node_lost+unavailable"


def test_a_lost_node_is_not_charged_to_the_supervisors_window() -> None:
    bench = BudgetBench()
    bench.exit("a", LOST)
    assert (bench.decided()["budget"], bench.decided()["window"]) == (NODES.name, "1/2 in 60s")
    bench.started("a")
    bench.exit("b", AWAY)
    assert bench.decided()["window"] == "2/2 in 60s"
    bench.started("b")
    bench.exit("a", CRASH)
    assert "budget" not in bench.decided()
    assert bench.decided()["window"] == "1/1 in 60s"


def test_giving_up_says_which_budget() -> None:
    bench = BudgetBench()
    bench.restart("a", LOST)
    bench.restart("b", LOST)
    bench.exit("a", AWAY)
    assert dict(bench.notes(NoteKind.GAVE_UP)[0].data) == {"why": "budget:node_lost+unavailable"}
    effects = bench.exit("b", SHUTDOWN)
    reason = of_kind(effects, Exit)[0].reason
    assert reason == ExitReason(ExitKind.ESCALATED, "budget:node_lost+unavailable exceeded by a (unavailable)")


def test_giving_up_over_the_window_says_intensity_as_ever() -> None:
    bench = BudgetBench()
    bench.restart("a", CRASH)
    bench.exit("a", CRASH)
    assert dict(bench.notes(NoteKind.GAVE_UP)[0].data) == {"why": "intensity"}


def test_an_entry_leaves_a_budget_as_it_leaves_the_window() -> None:
    bench = BudgetBench()
    for _ in range(4):
        bench.restart("a", ExitReason(ExitKind.OOM))
        bench.now += 11.0
    assert not bench.machine.ended


def test_a_budget_of_none_gives_up_at_once() -> None:
    bench = Bench(ChildSpec("a"))
    flags = SupervisorFlags(budgets=(Budget((ExitKind.OOM,), 0, 1),))
    bench.machine = SupervisorMachine(SupervisorSpec(flags, bench.spec.children))
    bench.boot()
    assert of_kind(bench.exit("a", ExitReason(ExitKind.OOM)), Exit)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_a_group_restart_is_charged_once_for_the_one_that_fell(strategy: Strategy) -> None:
    bench = BudgetBench(strategy=strategy)
    effects = bench.exit("a", LOST)
    assert [stop.id for stop in of_kind(effects, StopChild)] == ["b"]
    assert bench.decided()["window"] == "1/2 in 60s"
    bench.exit("b", SHUTDOWN)
    bench.bring_up()
    assert bench.machine.budgets.stamps == {NODES.name: (100,)}
    assert bench.machine.window.stamps == ()


# ---------------------------------------------------------------- retries


def test_a_failed_start_is_the_childs_own_fault() -> None:
    bench = BudgetBench()
    bench.exit("a", LOST)
    bench.fail("a", init_error("no"))
    assert "budget" not in bench.decided()
    assert (bench.machine.window.stamps, bench.machine.budgets.stamps) == ((100,), {NODES.name: (100,)})


def test_a_start_that_fails_for_a_lost_node_is_charged_to_the_budget() -> None:
    bench = BudgetBench()
    bench.exit("a", LOST)
    bench.fail("a", AWAY)
    assert bench.decided()["budget"] == NODES.name
    bench.exit("a", LOST)
    assert bench.machine.window.stamps == ()
    assert dict(bench.notes(NoteKind.GAVE_UP)[0].data) == {"why": "budget:node_lost+unavailable"}


def test_a_node_lost_before_the_child_was_ready_is_charged_to_the_budget() -> None:
    bench = BudgetBench()
    bench.exit("a", CRASH)
    bench.exit("a", LOST)
    assert bench.decided()["budget"] == NODES.name
    assert bench.machine.window.stamps == (100,)


def test_a_time_out_is_the_childs_own_fault() -> None:
    bench = BudgetBench(ChildSpec("a", start_timeout=5.0))
    bench.exit("a", LOST)
    bench.fire(5.0)
    bench.exit("a", LOST)
    assert "budget" not in bench.decided(), "it was killed, wherever the kill found it"


def test_what_a_retry_is_charged_to_is_known_after_its_backoff_too() -> None:
    bench = BudgetBench(ChildSpec("a", backoff=Backoff(jitter=0.0, immediate=1, base=0.5)))
    bench.exit("a", CRASH)
    timer = of_kind(bench.fail("a", LOST), SetTimer)[0]
    assert bench.machine.budgets.stamps == {}, "counted when it is due"
    bench.fire(timer.at - bench.now)
    assert bench.decided()["budget"] == NODES.name


def test_the_reason_of_an_exit_counts_not_that_of_an_earlier_start() -> None:
    bench = BudgetBench()
    bench.exit("a", LOST)
    bench.fail("a", LOST)
    bench.started("a")
    bench.exit("a", CRASH)
    assert "budget" not in bench.decided()


# ---------------------------------------------------------------- failures in a row


def test_max_consecutive_does_not_count_what_a_budget_was_charged() -> None:
    bench = BudgetBench(ChildSpec("a", max_consecutive=1), intensity=9)
    bench.restart("a", LOST)
    bench.restart("a", CRASH)
    bench.restart("a", LOST)
    assert (bench.machine.children["a"].failures, bench.machine.children["a"].excused) == (3, 2)
    bench.exit("a", CRASH)
    assert dict(bench.notes(NoteKind.GAVE_UP)[0].data) == {"why": "consecutive"}


def test_backoff_grows_with_every_failure() -> None:
    bench = BudgetBench(ChildSpec("a", backoff=Backoff(jitter=0.0, immediate=1, base=0.5)))
    bench.restart("a", LOST)
    bench.exit("a", LOST)
    assert bench.decided()["delay_ms"] == 500.0


def test_health_ends_the_row() -> None:
    bench = BudgetBench(ChildSpec("a", max_consecutive=1), intensity=9)
    bench.restart("a", LOST)
    bench.now += 10.0
    bench.restart("a", CRASH)
    assert (bench.machine.children["a"].failures, bench.machine.children["a"].excused) == (1, 0)


# ---------------------------------------------------------------- records and new flags


def test_a_replacement_inherits_what_was_charged() -> None:
    bench = BudgetBench(ChildSpec("a", max_consecutive=9))
    bench.restart("a", LOST)
    bench.restart("a", LOST)
    record = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.machine.record()), type=SupervisorRecord)
    assert record.budgets == {NODES.name: (100, 100)}
    bench.machine = SupervisorMachine(bench.spec)
    bench.machine.resume(record, {"a": 3}, {}, bench.now)
    assert bench.machine.children["a"].excused == 2
    bench.exit("a", LOST)
    assert dict(bench.notes(NoteKind.GAVE_UP)[0].data) == {"why": "budget:node_lost+unavailable"}


def test_records_of_older_versions_still_decode() -> None:
    old_child = {
        name: getattr(ChildRecord("a", 0, "running", 1, 0, 1.0, True, "", 0), name)
        for name in ChildRecord.__struct_fields__
        if name not in ("waits_for", "excused")
    }
    old = msgspec.msgpack.encode({"stamps": (1,), "children": [old_child], "floor": 0, "next_dynamic": 1})
    record = msgspec.msgpack.decode(old, type=SupervisorRecord)
    assert record.budgets == {}
    assert (record.children[0].waits_for, record.children[0].excused) == ("", 0)
    machine = SupervisorMachine(SupervisorSpec(SupervisorFlags(budgets=(NODES,)), (ChildSpec("a"),)))
    machine.resume(record, {"a": 1}, {}, 100.0)
    assert machine.budgets.stamps == {}


def test_new_flags_keep_what_was_charged_to_a_budget_of_the_same_name() -> None:
    bench = BudgetBench()
    bench.restart("a", LOST)
    bench.restart("a", ExitReason(ExitKind.OOM))
    wider = Budget(NODES.kinds, 5, 60)
    flags = SupervisorFlags(budgets=(wider,))
    effects = bench.send(AdminCalled("r", Call.CHANGE_SPECS, flags=flags, specs=bench.spec.children))
    assert of_kind(effects, Reply) == [Reply("r")]
    bench.exit("a", LOST)
    assert bench.decided()["window"] == "2/5 in 60s"
    bench.started("a")
    bench.exit("a", ExitReason(ExitKind.OOM))
    assert "budget" not in bench.decided()


def test_charged_for() -> None:
    budgets = Budgets((NODES,))
    found = budgets.charged_for(ExitKind.UNAVAILABLE)
    assert found is not None
    assert found[0] == NODES.name
    assert budgets.charged_for(ExitKind.CRASH) is None
    assert budgets.charged_for(None) is None


@pytest.mark.parametrize(
    ("budgets", "error"),
    [
        ((Budget(()),), "invalid_budget: a budget without kinds is never charged"),
        ((Budget((ExitKind.OOM,), -1),), "invalid_budget: oom: intensity >= 0 and period > 0 are whole numbers"),
        ((Budget((ExitKind.OOM,), 1, 0),), "invalid_budget: oom: intensity >= 0 and period > 0 are whole numbers"),
        ((MEMORY, Budget((ExitKind.HUNG, ExitKind.OOM))), "invalid_budget: oom is charged to one budget only"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(budgets: tuple[Budget, ...], error: str) -> None:
    with pytest.raises(ValueError, match=error.replace("+", r"\+")):
        SupervisorMachine(SupervisorSpec(SupervisorFlags(budgets=budgets)))


def test_beside_the_foreground_a_full_budget_waits_and_a_free_one_does_not() -> None:
    bench = BudgetBench(ChildSpec("a", concurrent=True), ChildSpec("b", concurrent=True), ChildSpec("x"), intensity=0)
    bench.send(AdminCalled("r", Call.TERMINATE_CHILD, "x"))
    bench.exit("a", LOST)
    assert bench.started_ids() == ["a"]
    assert bench.exit("b", CRASH) == [], "the supervisor's own window is full"
