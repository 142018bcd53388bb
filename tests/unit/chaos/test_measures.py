"""Times are measured from when a fault acted; what is not to be measured is counted apart, never dropped."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.chaos.attribution import Fate, effects
from supervisors.chaos.history import DEFAULT_RTO, History
from supervisors.chaos.measures import FaultTimes, measure, spread
from supervisors.trail.events import EventKind, TrailEvent
from tests.unit.chaos import story
from tests.unit.chaos.story import event, fail, good, heal, history, inject, revert, stop


def one(*events: TrailEvent) -> FaultTimes:
    """What is measured of the only fault among these events."""
    (found,) = measure(history([*story.boot(), *events])).faults
    return found


def test_times_are_from_the_injection() -> None:
    first, second = measure(history()).faults
    assert (first.detect_ms, first.decide_ms, first.recover_ms) == (5.0, 8.0, 50.0)
    assert (first.signal, first.verdict, first.rung, first.fate) == ("futex", "dead", "hot", Fate.RECOVERED)
    assert (first.rto_ms, first.late, first.reverted, first.revert_ms) == (1000.0, False, True, 1.5)
    assert (second.kind, second.rto_ms) == ("kill", DEFAULT_RTO * 1e3)


def test_all_together() -> None:
    every = measure(history()).all
    assert every.detect is not None
    assert every.recover is not None
    assert (every.faults, every.detect.n, every.detect.mean_ms, every.recover.n) == (2, 2, 3.5, 2)
    assert (every.late, every.undetected, every.apart, every.rto_ms) == (0, 0, {}, 1000.0)


def test_an_armed_fault_is_measured_from_its_first_effect() -> None:
    events = [
        inject(10.0, "/ledger", "crash_between", "f-1", life=1),
        *fail(12.01, "/ledger", 1),
        *heal(12.1, "/ledger", 2, 9),
    ]
    told = event(12.0, EventKind.FAULT_FIRED, "/ledger", id="f-1")
    assert one(*events, told).detect_ms == pytest.approx(10.0)
    # the host knows better when it acted than whoever wrote it down
    late = event(12.3, EventKind.FAULT_FIRED, "/ledger", id="f-1", at=12.005)
    assert one(*events, late).detect_ms == pytest.approx(5.0)
    # told of after the failure was seen, and without its time: only the arming is known
    late = event(12.3, EventKind.FAULT_FIRED, "/ledger", id="f-1")
    assert one(*events, late).detect_ms == pytest.approx(2010.0)


def test_what_is_felt_at_its_end_is_measured_from_there() -> None:
    events = [inject(10.0, "/ledger", "lose_sync", "f-1", life=1, seconds=2.0), *fail(12.004, "/ledger", 1)]
    assert one(*events, *heal(12.1, "/ledger", 2, 9)).detect_ms == pytest.approx(4.0)
    # its first effect is a sync that does nothing: no failure yet
    fired = event(10.5, EventKind.FAULT_FIRED, "/ledger", id="f-1")
    assert one(*events, fired, *heal(12.1, "/ledger", 2, 9)).detect_ms == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("events", "fate"),
    [
        ([inject(10.0, "/job", "delay")], Fate.NOT_DETECTABLE),
        ([inject(10.0, "/ledger", "crash_between")], Fate.NO_EFFECT),
        ([inject(10.0, "/job", "nobody_knows")], Fate.UNKNOWN_KIND),
        ([inject(10.0, "/job", "stop", seconds=0.1), revert(10.1, "/job", "stop")], Fate.BRIEF),
        ([*fail(9.9, "/job", 1), inject(10.0, "/job"), *heal(30.0, "/job", 2, 9)], Fate.MASKED),
        ([inject(10.0, "/job", life=1), *stop(10.1, "/job", 1)], Fate.MASKED),
        ([inject(10.0, "/job", life=1)], Fate.UNDETECTED),
        ([inject(10.0, "/job", life=1), *fail(10.1, "/job", 1)], Fate.OPEN),
        (
            [inject(10.0, "/job", life=1), *fail(10.1, "/job", 1), event(10.2, EventKind.CHILD_HELD, "/job", 1)],
            Fate.HELD,
        ),
        (
            [inject(10.0, "/job", life=1), *fail(10.1, "/job", 1), event(10.2, EventKind.GAVE_UP, "/job", 1)],
            Fate.GAVE_UP,
        ),
        ([inject(10.0, "/job", life=1), *fail(10.1, "/job", 1), *heal(10.2, "/job", 2, 9)], Fate.RECOVERED),
    ],
)
def test_every_fault_has_a_fate(events: list[TrailEvent], fate: Fate) -> None:
    made = measure(history([*story.boot(), *events]))
    assert [found.fate for found in made.faults] == [fate]
    assert made.all.faults == 1
    kind = made.kinds[0]
    apart = {} if fate in (Fate.RECOVERED, Fate.OPEN, Fate.HELD, Fate.GAVE_UP, Fate.UNDETECTED) else {fate.value: 1}
    assert kind.apart == apart
    assert kind.undetected == (fate is Fate.UNDETECTED)
    assert made.faults[0].why or not apart


class TestBorrowedSignals:
    def test_the_next_faults_signal_is_not_an_earlier_ones(self) -> None:
        events = [inject(10.0, "/job", name="f-1", life=1), inject(30.0, "/job", name="f-2", life=1)]
        events += [*fail(30.01, "/job", 1), *heal(30.1, "/job", 2, 9)]
        first, second = measure(history([*story.boot(), *events])).faults
        assert (first.fate, second.fate, second.detect_ms) == (Fate.UNDETECTED, Fate.RECOVERED, 10.0)

    def test_one_soon_after_leaves_it_open_whose_it_is(self) -> None:
        events = [inject(10.0, "/job", name="f-1", life=1), inject(13.0, "/job", name="f-2", life=1)]
        events += [*fail(13.01, "/job", 1), *heal(13.1, "/job", 2, 9)]
        first, second = measure(history([*story.boot(), *events])).faults
        assert (first.fate, second.fate) == (Fate.MASKED, Fate.RECOVERED)

    def test_two_at_once_share_a_signal(self) -> None:
        events = [inject(10.0, "/job", name="f-1", life=1), inject(10.001, "/job", name="f-2", life=1)]
        events += [*fail(10.01, "/job", 1), *heal(10.1, "/job", 2, 9)]
        assert {found.fate for found in measure(history([*story.boot(), *events])).faults} == {Fate.RECOVERED}


def test_an_unexpected_signal_is_told() -> None:
    found = one(inject(10.0, "/job", life=1), *fail(10.1, "/job", 1, signal="stalled_loop"), *heal(10.2, "/job", 2, 9))
    assert "stalled_loop" in found.why
    assert found.fate is Fate.RECOVERED


class TestPromises:
    def test_later_than_promised(self) -> None:
        slow = one(inject(10.0, "/ledger", life=1), *fail(10.1, "/ledger", 1), *heal(11.5, "/ledger", 2, 9))
        assert (slow.late, slow.rto_ms) == (True, 1000.0)

    def test_not_back_when_it_had_passed(self) -> None:
        events = [inject(10.0, "/ledger", life=1), *fail(10.1, "/ledger", 1)]
        assert one(*events).late
        soon = msgspec.structs.replace(history([*story.boot(), *events]), ended=10.5)
        assert not measure(soon).faults[0].late

    def test_no_promise_is_never_late(self) -> None:
        children = tuple(msgspec.structs.replace(child, rto=None) for child in story.TREE[0].children)
        tree = (msgspec.structs.replace(story.TREE[0], children=children),)
        events = [inject(10.0, "/ledger", life=1), *fail(10.1, "/ledger", 1)]
        found = measure(msgspec.structs.replace(history([*story.boot(), *events]), tree=tree)).faults[0]
        assert (found.rto_ms, found.late) == (None, False)


def test_each_target_counts() -> None:
    events = [inject(10.0, "/cell/a", targets='["/cell/a", "/cell/b"]', life=1)]
    events += [
        *fail(10.002, "/cell/a", 1),
        *fail(10.004, "/cell/b", 1),
        *heal(10.1, "/cell/a", 2, 8),
        *heal(10.2, "/cell/b", 2, 9),
    ]
    made = measure(history([*story.boot(), *events]))
    assert [(found.target, found.detect_ms) for found in made.faults] == [("/cell/a", 2.0), ("/cell/b", 4.0)]


def test_an_empty_history_has_no_times() -> None:
    made = measure(msgspec.structs.replace(history(), faults=()))
    assert (made.faults, made.kinds, made.all.detect) == ((), (), None)


@given(st.lists(st.floats(min_value=0, max_value=1e9, allow_nan=False), min_size=1, max_size=300))
def test_percentiles_are_values_that_were_measured(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found.n == len(values)
    assert {found.p50_ms, found.p99_ms, found.max_ms} <= set(values)
    assert found.p50_ms <= found.p99_ms <= found.max_ms == max(values)
    assert sum(value <= found.p99_ms for value in values) >= 0.99 * len(values)
    assert sum(value <= found.p50_ms for value in values) >= 0.5 * len(values)


@given(st.permutations(good()))
def test_the_order_of_the_lines_does_not_matter(events: list[TrailEvent]) -> None:
    shuffled: History = msgspec.structs.replace(history(), trail=tuple(events))
    assert measure(shuffled) == measure(history())


def test_a_death_is_of_the_kill_and_not_of_what_blocked_the_loop_before() -> None:
    blocked = inject(30.0, "/job", "block_loop", "f-3", life=1)
    killed = inject(33.0, "/job", "kill", "f-4", life=1)
    events = [
        blocked,
        revert(30.7, "/job", "block_loop", "f-3"),
        killed,
        *fail(33.01, "/job", 1),
        *heal(33.2, "/job", 2, 12),
    ]
    found = {one.fault.id: one.fate for one in effects(history([*good(), *events]))}
    assert (found["f-3"], found["f-4"]) == (Fate.MASKED, Fate.RECOVERED)
