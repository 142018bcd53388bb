"""SUP-7: delays between restarts, their reset by health, the cap on failures in a row, and cancelling."""

import pytest

from supervisors.core.reasons import NORMAL, ExitKind, crash, init_error
from supervisors.tree.messages import AdminCalled, Call, CancelTimer, Exit, NoteKind, SetTimer, StopChild
from supervisors.tree.model import AutoShutdown, Backoff, ChildSpec, Restart, Strategy
from tests.unit.tree.harness import Bench, of_kind

BACKOFF = Backoff(base=0.1, cap=30.0, jitter=0.05, immediate=1, reset_after=10.0)
CRASH = crash("boom")


def test_delay_doubles_up_to_the_cap_plus_jitter() -> None:
    assert [BACKOFF.delay(n, 0.0) for n in range(1, 6)] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert BACKOFF.delay(12, 0.0) == 30.0
    assert BACKOFF.delay(10_000, 1.0) == pytest.approx(30.05)
    assert BACKOFF.delay(2, 0.5) == pytest.approx(0.125)


def test_first_restart_is_immediate_later_ones_wait() -> None:
    bench = Bench(ChildSpec("a", backoff=BACKOFF), jitter=0.5)
    bench.boot()
    bench.exit("a", CRASH)
    assert bench.started_ids() == ["a"]
    bench.started("a")
    for delay in (0.125, 0.225, 0.425):
        bench.exit("a", CRASH)
        assert bench.state("a") == "restarting"
        assert bench.started_ids() == []
        assert bench.machine.children["a"].next_at == pytest.approx(bench.now + delay)
        bench.fire(delay)
        assert bench.started_ids() == ["a"]
        bench.started("a")
        assert bench.machine.children["a"].next_at is None


def test_a_failed_start_waits_too_and_counts_when_it_is_due() -> None:
    bench = Bench(ChildSpec("a", backoff=BACKOFF), intensity=2, period=1000)
    bench.boot()
    bench.exit("a", CRASH)
    bench.fail("a", init_error("no"))
    assert bench.machine.window.count(bench.now) == 1
    bench.fire(0.1)
    assert bench.machine.window.count(bench.now) == 2
    bench.fail("a", init_error("no"))
    bench.fire(0.2)
    assert of_kind(bench.effects, Exit)[0].reason.kind is ExitKind.ESCALATED


def test_proven_health_begins_anew() -> None:
    bench = Bench(ChildSpec("a", backoff=BACKOFF))
    bench.boot()
    for _ in range(2):
        bench.exit("a", CRASH)
        if not bench.started_ids():
            bench.fire(0.1)
        bench.started("a")
    bench.now += 9.9
    bench.exit("a", CRASH)
    bench.fire(0.2)
    bench.started("a")
    bench.now += 10.0
    bench.exit("a", CRASH)
    assert bench.started_ids() == ["a"]
    assert bench.machine.children["a"].failures == 1


def test_terminate_cancels_the_wait() -> None:
    bench = Bench(ChildSpec("a", backoff=Backoff(immediate=0, jitter=0.0)))
    bench.boot()
    token = of_kind(bench.exit("a", CRASH), SetTimer)[0].token
    effects = bench.send(AdminCalled("r", Call.TERMINATE_CHILD, "a"))
    assert of_kind(effects, CancelTimer) == [CancelTimer(token)]
    assert bench.state("a") == "undefined"
    assert bench.fire(0.1) == []  # fired before it could be cancelled
    assert bench.state("a") == "undefined"


def test_siblings_run_on_while_a_group_restart_waits() -> None:
    slow = Backoff(immediate=0, jitter=0.0)
    bench = Bench(ChildSpec("a", backoff=slow), ChildSpec("b"), strategy=Strategy.ONE_FOR_ALL)
    bench.boot()
    assert of_kind(bench.exit("a", CRASH), StopChild) == []
    assert bench.state("b") == "running"
    assert [stop.id for stop in of_kind(bench.fire(0.1), StopChild)] == ["b"]


def test_a_siblings_group_restart_takes_the_waiting_child_along() -> None:
    slow = Backoff(immediate=0, jitter=0.0)
    bench = Bench(ChildSpec("a", backoff=slow), ChildSpec("b"), strategy=Strategy.ONE_FOR_ALL)
    bench.boot()
    token = of_kind(bench.exit("a", CRASH), SetTimer)[0].token
    effects = bench.exit("b", CRASH)
    assert CancelTimer(token) in effects
    assert bench.started_ids() == ["a"]
    bench.bring_up()
    assert (bench.state("a"), bench.state("b")) == ("running", "running")


@pytest.mark.parametrize("cap", [1, 3])
def test_cap_on_failures_in_a_row(cap: int) -> None:
    """The window never fills at one failure in 5 s; the cap makes the supervisor give up all the same."""
    bench = Bench(ChildSpec("a", max_consecutive=cap), intensity=3, period=1)
    bench.boot()
    for _ in range(cap):
        bench.now += 5.0
        bench.exit("a", CRASH)
        bench.started("a")
    bench.now += 5.0
    effects = bench.exit("a", CRASH)
    assert dict(bench.notes(NoteKind.GAVE_UP)[0].data) == {"why": "consecutive"}
    reason = of_kind(effects, Exit)[0].reason
    assert (reason.kind, reason.is_abnormal) == (ExitKind.ESCALATED, True)
    assert reason.message == "consecutive exceeded by a (crash: boom)"


def test_health_ends_the_row_without_a_backoff_too() -> None:
    bench = Bench(ChildSpec("a", max_consecutive=1), intensity=3, period=1)
    bench.boot()
    for _ in range(5):
        bench.now += 10.0
        bench.exit("a", CRASH)
        bench.started("a")
    assert not bench.machine.ended


def test_a_significant_child_that_waits_is_not_gone() -> None:
    """OTP: ``all_significant`` waits for those restarting too."""
    children = [ChildSpec(name, Restart.TRANSIENT, significant=True, backoff=Backoff(immediate=0)) for name in "ab"]
    bench = Bench(*children, auto=AutoShutdown.ALL_SIGNIFICANT)
    bench.boot()
    bench.exit("a", CRASH)
    bench.exit("b", NORMAL)
    assert not bench.machine.ended
    bench.fire(0.1)
    bench.started("a")
    assert of_kind(bench.exit("a", NORMAL), Exit)[0].reason.kind is ExitKind.SHUTDOWN
