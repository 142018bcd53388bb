"""supervisor_SUITE, groups termination, unlink and tree."""

import pytest

from supervisors.core.reasons import SHUTDOWN, ExitReason
from supervisors.tree.messages import Call
from supervisors.tree.model import Restart
from tests.conformance.build import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    SIMPLE,
    TEMPORARY,
    TRANSIENT,
    kid,
    rig_of,
    running,
    sub,
    sup,
)
from tests.conformance.rig import CRASH, KILLED, NORMAL, SHUTDOWN_X, Rig

SHUTDOWNS = (SHUTDOWN, SHUTDOWN_X)


def _after(restart: Restart, reason: ExitReason) -> Rig:
    rig = running(ONE_FOR_ONE, kid("a", restart))
    rig.exit("/a", reason)
    return rig


def _restarted(rig: Rig) -> None:
    assert rig.incarnation("/a") == 2
    assert rig.counts() == [1, 1, 0, 1]


def _kept(rig: Rig) -> None:
    assert rig.states() == {"a": "undefined"}
    assert rig.counts() == [1, 0, 0, 1]


def _gone(rig: Rig) -> None:
    assert rig.counts() == [0, 0, 0, 0]
    assert rig.order("", Call.RESTART_CHILD, "a").error == "not_found"


def test_permanent_normal() -> None:
    _restarted(_after(PERMANENT, NORMAL))


@pytest.mark.parametrize("reason", SHUTDOWNS)
def test_permanent_shutdown(reason: ExitReason) -> None:
    _restarted(_after(PERMANENT, reason))


def test_permanent_abnormal() -> None:
    _restarted(_after(PERMANENT, CRASH))


def test_transient_normal() -> None:
    _kept(_after(TRANSIENT, NORMAL))


@pytest.mark.parametrize("reason", SHUTDOWNS)
def test_transient_shutdown(reason: ExitReason) -> None:
    _kept(_after(TRANSIENT, reason))


def test_transient_abnormal() -> None:
    _restarted(_after(TRANSIENT, CRASH))


def test_temporary_normal() -> None:
    _gone(_after(TEMPORARY, NORMAL))


@pytest.mark.parametrize("reason", SHUTDOWNS)
def test_temporary_shutdown(reason: ExitReason) -> None:
    _gone(_after(TEMPORARY, reason))


def test_temporary_abnormal() -> None:
    _gone(_after(TEMPORARY, CRASH))


def test_faulty_application_shutdown() -> None:
    """What failed two levels down is what the one who started the whole is told."""
    rig = Rig({"": sup(ONE_FOR_ONE, kid("a"), sub("s")), "/s": sup(ONE_FOR_ONE, kid("b"), kid("c"))})
    rig.script_start("/s/c", "fail")
    rig.start()
    assert rig.start_failed is not None
    assert (rig.start_failed.id, rig.start_failed.reason.message) == ("s", "boom")
    assert rig.trace == [
        "start /a",
        "start /s",
        "start /s/b",
        "start /s/c",
        "fail /s/c",
        "order /s/b shutdown",
        "end /s/b shutdown",
        "fail /s",
        "order /a shutdown",
        "end /a shutdown",
        "start_failed",
    ]


def test_child_unlink() -> None:
    """A child whose end nobody told us of: stopping it does not hang (OTP: it had unlinked itself)."""
    rig = running(ONE_FOR_ONE, kid("a", shutdown=1.0), deaf=["/a"])
    assert rig.order("", Call.TERMINATE_CHILD, "a").error == ""
    assert rig.trace == ["order /a shutdown", "order /a kill", "end /a killed"]
    assert rig.states() == {"a": "undefined"}


def test_tree() -> None:
    rig = rig_of(
        sup(ONE_FOR_ALL, sub("s"), sub("d"), intensity=4),
        s=sup(ONE_FOR_ONE, kid("a"), kid("b"), intensity=1),
        d=sup(SIMPLE, kid("t")),
    )
    rig.order("/d", Call.START_CHILD, "one")
    rig.exit("/s/a", CRASH)
    assert rig.incarnation("/s/a") == 2
    rig.take_trace()
    rig.exit("/s/b", CRASH)  # /s gives up, the top restarts all
    assert rig.trace == [
        "exit /s/b crash",
        "order /s/a shutdown",
        "end /s/a shutdown",
        "exit /s shutdown",
        "order /d shutdown",
        "order /d/one shutdown",
        "end /d/one shutdown",
        "end /d shutdown",
        "start /s",
        "start /s/a",
        "start /s/b",
        "start /d",
    ]
    assert rig.counts() == [2, 2, 2, 0]
    assert rig.counts("/d") == [1, 0, 0, 0]  # dynamic children are lost
    rig.order("", Call.TERMINATE_CHILD, "s")
    assert rig.counts() == [2, 1, 2, 0]
    rig.exit("/d", KILLED)
    assert set(rig.processes) == {"", "/s", "/s/a", "/s/b", "/d"}  # the one stopped by hand is back with the group
