"""A step costs the same however many children there are (one_for_one): counted in calls, which no load changes."""

import sys
from types import FrameType

import pytest

from supervisors.core.reasons import crash
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
