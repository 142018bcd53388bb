"""supervisor_SUITE, groups sup_start and sup_start_map."""

import pytest

from supervisors.core.reasons import SHUTDOWN, init_error
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    ChildIgnored,
    ChildStartFailed,
    Reply,
    ReportStartFailed,
    StartChild,
)
from supervisors.tree.model import ChildSpec, ChildType, Restart, check_specs
from tests.conformance.build import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    PERMANENT,
    SIMPLE,
    TEMPORARY,
    kid,
    rig_of,
    running,
    sub,
    sup,
)
from tests.conformance.rig import BOOM, Process, Rig


def test_sup_start_normal() -> None:
    rig = running(ONE_FOR_ONE)
    assert rig.counts() == [0, 0, 0, 0]
    rig.shutdown()
    assert rig.ended == SHUTDOWN


def test_sup_start_ignore_init() -> None:
    rig = Rig({"": sup(ONE_FOR_ONE, sub("s")), "/s": sup(ONE_FOR_ONE, kid("a"))})
    rig.script_start("/s", "ignore")
    rig.start()
    assert rig.trace == ["start /s", "ignore /s"]  # no exit is seen, no child of it started
    assert rig.counts() == [1, 0, 1, 0]


def test_sup_start_ignore_child() -> None:
    rig = Rig({"": sup(ONE_FOR_ONE, kid("a"), kid("b"))})
    rig.script_start("/a", "ignore")
    rig.start()
    assert rig.states() == {"a": "undefined", "b": "running"}
    assert rig.counts() == [2, 1, 0, 2]


def test_sup_start_ignore_temporary_child() -> None:
    rig = Rig({"": sup(ONE_FOR_ONE, kid("a", TEMPORARY), kid("b"))})
    rig.script_start("/a", "ignore")
    rig.start()
    assert rig.states() == {"b": "running"}
    assert rig.counts() == [1, 1, 0, 1]


def test_sup_start_ignore_temporary_child_start_child() -> None:
    rig = running(ONE_FOR_ONE, kid("b"))
    rig.script_start("/a", "ignore")
    reply = rig.order("", Call.START_CHILD, spec=kid("a", TEMPORARY))
    assert (reply.error, reply.incarnation) == ("", 0)
    assert rig.states() == {"b": "running"}
    assert rig.counts() == [1, 1, 0, 1]


def test_sup_start_ignore_temporary_child_start_child_simple() -> None:
    _ignored_dynamic_child(TEMPORARY)


def test_sup_start_ignore_permanent_child_start_child_simple() -> None:
    _ignored_dynamic_child(PERMANENT)


def _ignored_dynamic_child(restart: Restart) -> None:
    rig = _Ignoring({"": sup(SIMPLE, kid("t", restart))})
    rig.start()
    assert rig.order("", Call.START_CHILD).incarnation == 0
    assert rig.order("", Call.START_CHILD, args="run").incarnation == 1
    assert rig.counts() == [1, 1, 0, 1]
    rig.shutdown()
    assert rig.ended == SHUTDOWN


class _Ignoring(Rig):
    """Dynamic children answer ``ignore`` unless their arguments say otherwise."""

    def _answer_start(self, above: Process, order: StartChild, outcome: str) -> None:
        if order.args:
            super()._answer_start(above, order, outcome)
        else:
            self._send(above, ChildIgnored(order.id, order.incarnation))


def test_sup_start_fail() -> None:
    """What made a supervisor's own start fail is told to its parent as it was."""
    machine = SupervisorMachine(sup(ONE_FOR_ONE, sub("s")))
    machine.step(Booted(), 0.0)
    effects = machine.step(ChildStartFailed("s", 1, init_error("ValueError: no", "traceback")), 0.0)
    assert [e for e in effects if isinstance(e, ReportStartFailed)] == [
        ReportStartFailed("s", init_error("ValueError: no", "traceback"))
    ]


def test_sup_start_child_returns_error() -> None:
    rig = running(ONE_FOR_ONE)
    rig.script_start("/a", "fail")
    reply = rig.order("", Call.START_CHILD, spec=kid("a"))
    assert (reply.error, reply.reason) == ("start_error", BOOM)
    assert rig.counts() == [0, 0, 0, 0]


def test_sup_start_restart_child_returns_error() -> None:
    rig = running(ONE_FOR_ONE, kid("a"))
    rig.order("", Call.TERMINATE_CHILD, "a")
    rig.script_start("/a", "fail")
    reply = rig.order("", Call.RESTART_CHILD, "a")
    assert (reply.error, reply.reason) == ("start_error", BOOM)
    assert rig.states() == {"a": "undefined"}
    assert not rig.machine().children["a"].wanted


def test_sup_start_child_returns_error_simple() -> None:
    rig = running(SIMPLE, kid("t"))
    rig.script_start("/t.1", "fail")
    reply = rig.order("", Call.START_CHILD)
    assert (reply.error, reply.reason) == ("start_error", BOOM)
    assert rig.counts() == [1, 0, 0, 0]


def test_sup_start_map() -> None:
    """Defaults are OTP's; an id that is not there is ``not_found``."""
    rig = running(ONE_FOR_ONE)
    rig.order("", Call.START_CHILD, spec=ChildSpec("a"))
    spec = rig.order("", Call.GET_CHILDSPEC, "a").spec
    assert spec is not None
    assert (spec.restart, spec.shutdown, spec.type, spec.significant) == (PERMANENT, 5.0, ChildType.WORKER, False)
    assert rig.order("", Call.GET_CHILDSPEC, "b").error == "not_found"


def test_sup_start_map_simple() -> None:
    rig = running(SIMPLE, kid("t"))
    dynamic = rig.order("", Call.START_CHILD).id
    assert rig.order("", Call.GET_CHILDSPEC, dynamic).spec == kid("t")
    assert rig.order("", Call.GET_CHILDSPEC, "t").spec == kid("t")
    assert rig.order("", Call.GET_CHILDSPEC, "other").error == "not_found"


def test_sup_start_map_faulty_specs() -> None:
    """No id, no child spec, one that is invalid, one too many for simple_one_for_one."""
    for root in (
        sup(ONE_FOR_ONE, kid("")),
        sup(ONE_FOR_ALL, kid("a", shutdown=-1.0)),
        sup(ONE_FOR_ONE, kid("a", significant=True)),
        sup(SIMPLE),
        sup(SIMPLE, kid("a"), kid("b")),
    ):
        assert check_specs(root.flags, root.children)
        with pytest.raises(ValueError, match=r"missing_id|invalid_shutdown|bad_combination|bad_start_spec"):
            SupervisorMachine(root)
    machine = SupervisorMachine(sup(ONE_FOR_ONE))
    assert Reply("r", "missing_spec") in machine.step(AdminCalled("r", Call.START_CHILD), 0.0)
    assert rig_of(sup(ONE_FOR_ONE, kid("a"))).counts() == [1, 1, 0, 1]
