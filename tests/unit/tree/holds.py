"""Benches with a held child."""

import pytest

from supervisors.core.reasons import SHUTDOWN, crash
from supervisors.tree.messages import (
    AdminCalled,
    Call,
    ChildHeld,
    Effect,
    Reply,
    StartChild,
    StopChild,
)
from supervisors.tree.model import (
    ChildSpec,
    Strategy,
)
from tests.unit.tree.harness import Bench, of_kind

ALL = Strategy.ONE_FOR_ALL
REST = Strategy.REST_FOR_ONE
GROUPS = pytest.mark.parametrize("strategy", [ALL, REST])
ABC = tuple(ChildSpec(name) for name in "abc")


def held(bench: Bench, child_id: str, why: str = "manual") -> list[Effect]:
    """The pending start of the child is held."""
    return bench.send(ChildHeld(child_id, bench.incarnation(child_id), why))


def order(bench: Bench, call: Call, child_id: str) -> Reply | None:
    """The reply to an order, if it came at once."""
    replies = of_kind(bench.send(AdminCalled("r", call, child_id)), Reply)
    return replies[0] if replies else None


def up_to_hold(*children: ChildSpec, of: str = "b", strategy: Strategy = Strategy.ONE_FOR_ONE) -> Bench:
    """All up, then ``of`` crashed and its restart is held; under the group strategies others are stopped for it."""
    bench = Bench(*(children or ABC), strategy=strategy)
    bench.boot()
    bench.exit(of, crash("boom"))
    hold_when_started(bench, of)
    return bench


def hold_when_started(bench: Bench, child_id: str) -> None:
    """Stops and starts are answered well, but the start of ``child_id`` is held."""
    while bench.machine.is_busy or bench.machine.recovering:
        stops, starts = of_kind(bench.effects, StopChild), of_kind(bench.effects, StartChild)
        if starts and starts[-1].id == child_id:
            held(bench, child_id)
            return
        if starts:
            bench.started(starts[-1].id)
        else:
            bench.exit(stops[-1].id, SHUTDOWN)
