"""supervisor_SUITE, group sup_stop."""

from itertools import product

import pytest

from supervisors.core.reasons import SHUTDOWN, ExitReason
from supervisors.tree.messages import Call
from supervisors.tree.model import BRUTAL_KILL, INFINITY, Restart
from tests.conformance.build import ONE_FOR_ONE, SIMPLE, kid, running
from tests.conformance.rig import CRASH, KILLED, NORMAL, SHUTDOWN_X, word


def test_sup_stop_infinity() -> None:
    rig = running(ONE_FOR_ONE, kid("a", shutdown=INFINITY), kid("b", shutdown=INFINITY))
    rig.shutdown()
    assert rig.trace == [
        "order /b shutdown",
        "end /b shutdown",
        "order /a shutdown",
        "end /a shutdown",
        "down shutdown",
    ]


def test_sup_stop_timeout() -> None:
    """A sleeper is killed after its time, 1,000 ms; the other ends as told."""
    rig = running(ONE_FOR_ONE, kid("a", shutdown=5.0), kid("sleeper", shutdown=1.0), deaf=["/sleeper"])
    began = rig.now
    rig.shutdown()
    assert rig.now - began == pytest.approx(1.0)
    assert rig.trace == [
        "order /sleeper shutdown",
        "order /sleeper kill",
        "end /sleeper killed",
        "order /a shutdown",
        "end /a shutdown",
        "down shutdown",
    ]


def test_sup_stop_timeout_dynamic() -> None:
    """All are told at once and share one timer."""
    rig = running(SIMPLE, kid("t", shutdown=1.0), deaf=["/*"])
    for _ in range(3):
        rig.order("", Call.START_CHILD)
    rig.processes["/t.2"].deaf = False
    rig.take_trace()
    began = rig.now
    rig.shutdown()
    assert rig.now - began == pytest.approx(1.0)
    assert rig.trace == [
        "order /t.1 shutdown",
        "order /t.2 shutdown",
        "order /t.3 shutdown",
        "end /t.2 shutdown",
        "order /t.1 kill",
        "order /t.3 kill",
        "end /t.1 killed",
        "end /t.3 killed",
        "down shutdown",
    ]


def test_sup_stop_brutal_kill() -> None:
    rig = running(ONE_FOR_ONE, kid("a", shutdown=BRUTAL_KILL))
    rig.shutdown()
    assert rig.trace == ["order /a kill", "end /a killed", "down shutdown"]


def test_sup_stop_brutal_kill_dynamic() -> None:
    rig = running(SIMPLE, kid("t", shutdown=BRUTAL_KILL))
    for _ in range(2):
        rig.order("", Call.START_CHILD)
    rig.take_trace()
    rig.shutdown()
    assert rig.trace == ["order /t.1 kill", "order /t.2 kill", "end /t.1 killed", "end /t.2 killed", "down shutdown"]


REASONS = (NORMAL, SHUTDOWN, SHUTDOWN_X, CRASH, KILLED)


@pytest.mark.parametrize(("restart", "reason"), list(product(Restart, REASONS)))
def test_sup_stop_race(restart: Restart, reason: ExitReason) -> None:
    """A child ends by itself while another is being stopped; its reason is kept and nothing is restarted."""
    rig = running(ONE_FOR_ONE, kid("racer", restart), kid("slow"))
    rig.script_stop("/slow", "hold")
    rig.shutdown()
    rig.exit("/racer", reason)
    rig.release("ok")
    assert rig.trace == ["order /slow shutdown", "end /slow shutdown", f"end /racer {word(reason)}", "down shutdown"]


@pytest.mark.parametrize(("restart", "reason"), list(product(Restart, REASONS)))
def test_sup_stop_non_shutdown_exit_dynamic(restart: Restart, reason: ExitReason) -> None:
    rig = running(SIMPLE, kid("t", restart))
    for _ in range(3):
        rig.order("", Call.START_CHILD)
    rig.take_trace()
    rig.script_stop("/t.1", "hold")
    rig.script_stop("/t.2", "fail")
    rig.shutdown()
    assert "end /t.2 crash" in rig.trace
    rig.held = None
    rig.exit("/t.1", reason)
    assert rig.trace[-2:] == [f"end /t.1 {word(reason)}", "down shutdown"]
    assert rig.ended == SHUTDOWN
