"""supervisor_SUITE, group strategies."""

from supervisors.core.reasons import SHUTDOWN
from supervisors.tree.messages import Call, ChildIgnored, StartChild
from tests.conformance.build import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    SIMPLE,
    TEMPORARY,
    kid,
    rig_of,
    running,
    sup,
)
from tests.conformance.rig import CRASH, NORMAL, Process, Rig

#: what the escalation cases of OTP's suite allow; with one failing start after another it is used up
ESCALATION = 4


def test_one_for_one() -> None:
    rig = running(ONE_FOR_ONE, kid("a"), kid("b"))
    rig.exit("/a", CRASH)
    assert rig.take_trace() == ["exit /a crash", "start /a"]  # the sibling is not touched
    rig.exit("/b", CRASH)
    assert rig.is_up
    rig.exit("/a", CRASH)  # the third at intensity 2
    assert rig.ended == SHUTDOWN


def _escalates(rig: Rig) -> list[str]:
    rig.script_start("/a", *["fail"] * 10)
    rig.exit("/a", CRASH)
    assert rig.ended == SHUTDOWN
    assert not rig.processes
    return rig.take_trace()


def test_one_for_one_escalation() -> None:
    trace = _escalates(running(ONE_FOR_ONE, kid("a"), kid("b"), intensity=ESCALATION))
    tries = ["start /a", "fail /a"] * ESCALATION
    assert trace == ["exit /a crash", *tries, "order /b shutdown", "end /b shutdown", "down shutdown"]


def test_one_for_all_escalation() -> None:
    """The sibling is stopped by the first restart and never comes back."""
    trace = _escalates(running(ONE_FOR_ALL, kid("a"), kid("b"), intensity=ESCALATION))
    tries = ["start /a", "fail /a"] * ESCALATION
    assert trace == ["exit /a crash", "order /b shutdown", "end /b shutdown", *tries, "down shutdown"]


def test_rest_for_one_escalation() -> None:
    trace = _escalates(running(REST_FOR_ONE, kid("a"), kid("b"), intensity=ESCALATION))
    assert trace.count("fail /a") == ESCALATION
    assert trace[1:3] == ["order /b shutdown", "end /b shutdown"]
    assert "start /b" not in trace


def test_simple_one_for_one_escalation() -> None:
    rig = running(SIMPLE, kid("t"), intensity=ESCALATION)
    rig.order("", Call.START_CHILD, "one")
    rig.order("", Call.START_CHILD, "two")
    rig.take_trace()
    rig.script_start("/one", *["fail"] * 10)
    rig.exit("/one", CRASH)
    tries = ["start /one", "fail /one"] * ESCALATION
    assert rig.trace == ["exit /one crash", *tries, "order /two shutdown", "end /two shutdown", "down shutdown"]


def test_one_for_all() -> None:
    rig = running(ONE_FOR_ALL, kid("a"), kid("b"))
    rig.exit("/a", CRASH)
    assert rig.take_trace() == ["exit /a crash", "order /b shutdown", "end /b shutdown", "start /a", "start /b"]
    rig.exit("/b", CRASH)
    assert (rig.incarnation("/a"), rig.incarnation("/b")) == (3, 3)
    rig.exit("/a", CRASH)
    assert rig.ended == SHUTDOWN


def test_one_for_all_other_child_fails_restart() -> None:
    rig = running(ONE_FOR_ALL, kid("a"), kid("b"), intensity=3)
    rig.script_start("/b", "fail")
    rig.exit("/a", CRASH)
    assert rig.trace == [
        "exit /a crash",
        "order /b shutdown",
        "end /b shutdown",
        "start /a",
        "start /b",
        "fail /b",
        "order /a shutdown",  # the restarted first one goes again before both come back
        "end /a shutdown",
        "start /a",
        "start /b",
    ]


def test_rest_for_one() -> None:
    rig = running(REST_FOR_ONE, kid("a"), kid("b"), kid("c"))
    rig.exit("/b", CRASH)
    assert rig.take_trace() == ["exit /b crash", "order /c shutdown", "end /c shutdown", "start /b", "start /c"]
    assert rig.incarnation("/a") == 1
    rig.exit("/c", CRASH)
    rig.exit("/c", CRASH)
    assert rig.ended == SHUTDOWN


def test_rest_for_one_other_child_fails_restart() -> None:
    rig = running(REST_FOR_ONE, kid("a"), kid("b"), intensity=3)
    rig.script_start("/b", "fail")
    rig.exit("/a", CRASH)
    assert rig.trace == [
        "exit /a crash",
        "order /b shutdown",
        "end /b shutdown",
        "start /a",
        "start /b",
        "fail /b",
        "start /b",  # only the second is tried again
    ]
    assert rig.incarnation("/a") == 2


def test_simple_one_for_one() -> None:
    rig = running(SIMPLE, kid("t"))
    one, two = (rig.order("", Call.START_CHILD).id for _ in range(2))
    rig.exit(f"/{one}", CRASH)
    assert (rig.incarnation(f"/{one}"), rig.incarnation(f"/{two}")) == (2, 1)
    rig.exit(f"/{two}", CRASH)
    rig.exit(f"/{one}", CRASH)
    assert rig.ended == SHUTDOWN


def test_simple_one_for_one_extra() -> None:
    """Extra arguments come back with every restart."""
    seen: list[str] = []

    class Watching(Rig):
        def _start(self, above: Process, order: StartChild, path: str) -> None:
            seen.append(order.args)
            super()._start(above, order, path)

    rig = Watching({"": sup(SIMPLE, kid("t"))})
    rig.start()
    name = rig.order("", Call.START_CHILD, args="extra").id
    rig.exit(f"/{name}", CRASH)
    assert seen == ["extra", "extra"]


def test_simple_one_for_one_shutdown() -> None:
    """Children that take a second to stop are waited for, all at once."""
    rig = running(SIMPLE, kid("t", shutdown=5.0), deaf=["/*"])
    for _ in range(4):
        rig.order("", Call.START_CHILD)
    began = rig.now
    rig.shutdown()
    assert 1.0 <= rig.now - began <= 5.0
    assert rig.ended == SHUTDOWN


def test_simple_one_for_one_corruption() -> None:
    """The arguments of a temporary child end with it."""
    rig = running(SIMPLE, kid("t", TEMPORARY))
    rig.order("", Call.START_CHILD, "one", args="secret")
    rig.order("", Call.START_CHILD, "two", args="plain")
    rig.exit("/one", CRASH)
    assert [row.args for row in rig.machine().record().children] == ["plain"]
    rig.order("", Call.START_CHILD, "one")
    assert rig.machine().children["one"].args == ""


def test_simple_one_for_one_restart_ignore() -> None:
    """A dynamic child that answers ignore when it is restarted is gone (OTP from 26 on)."""

    class Ignoring(Rig):
        def _answer_start(self, above: Process, order: StartChild, outcome: str) -> None:
            if order.restart:
                self._send(above, ChildIgnored(order.id, order.incarnation))
            else:
                super()._answer_start(above, order, outcome)

    rig = Ignoring({"": sup(SIMPLE, kid("t"))})
    rig.start()
    rig.order("", Call.START_CHILD, "one")
    rig.exit("/one", NORMAL)
    assert rig.counts() == [1, 0, 0, 0]
    assert rig.states() == {}
    assert rig_of(sup(SIMPLE, kid("t"))).counts() == [1, 0, 0, 0]
