"""A step costs the same however many children there are (one_for_one): counted in calls, which no load changes."""

import gc
import sys
from types import FrameType

import pytest

from supervisors.core.reasons import crash
from supervisors.tree.messages import ChildExited, ChildStarted, Event
from supervisors.tree.model import ChildSpec, Strategy
from tests.unit.tree.harness import Bench


def _calls_of_a_restart(children: int, strategy: Strategy) -> int:
    bench = Bench(*[ChildSpec(f"c{n}") for n in range(children)], strategy=strategy)
    bench.boot()
    calls = 0

    def count(_frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        bench.exit(f"c{children // 2}", crash())
        bench.started(f"c{children // 2}")
    finally:
        sys.setprofile(before)
    assert bench.incarnation(f"c{children // 2}") == 2
    return calls


@pytest.mark.parametrize("children", [1000, 10_000])
def test_one_for_one_does_not_look_at_the_siblings(children: int) -> None:
    assert _calls_of_a_restart(children, Strategy.ONE_FOR_ONE) <= _calls_of_a_restart(10, Strategy.ONE_FOR_ONE)


def _most_calls_when_all_die_at_once(children: int) -> int:
    """The dearest single step while ``children`` concurrent children die, start and come up."""
    specs = [ChildSpec(f"c{n}", concurrent=True, start_timeout=30.0) for n in range(children)]
    bench = Bench(*specs, intensity=children, period=60)
    bench.boot()
    calls, most = 0, 0

    def count(_frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal calls
        calls += 1

    events: list[Event] = [ChildExited(f"c{n}", 1, crash()) for n in range(children)]
    events += [ChildStarted(f"c{n}", 2) for n in range(children)]
    before = sys.getprofile()
    gc.disable()  # others' callbacks at a collection would be counted
    try:
        for event in events:
            calls = 0
            sys.setprofile(count)
            bench.machine.step(event, bench.now)
            sys.setprofile(before)
            most = max(most, calls)
    finally:
        sys.setprofile(before)
        gc.enable()
    assert [child.incarnation for child in bench.machine.children.values()] == [2] * children
    return most


@pytest.mark.parametrize("children", [1000])
def test_a_thousand_deaths_at_once_cost_no_more_each_than_ten(children: int) -> None:
    assert _most_calls_when_all_die_at_once(children) <= _most_calls_when_all_die_at_once(10)
