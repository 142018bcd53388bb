"""supervisor_SUITE, the cases outside its groups."""

from time import process_time

import pytest

from supervisors.core.reasons import SHUTDOWN, init_error
from supervisors.tree.messages import AdminCalled, Call, ChildStartFailed, StartChild
from supervisors.tree.model import Restart, Strategy, SupervisorFlags
from tests.conformance.build import (
    ONE_FOR_ALL,
    ONE_FOR_ONE,
    REST_FOR_ONE,
    SIMPLE,
    TEMPORARY,
    TRANSIENT,
    kid,
    rig_of,
    running,
    sub,
    sup,
)
from tests.conformance.rig import CRASH, KILLED, NORMAL, Process, Rig


def test_count_children() -> None:
    rig = running(SIMPLE, kid("t", TEMPORARY))
    for _ in range(1000):
        rig.order("", Call.START_CHILD)
    assert rig.counts() == [1, 1000, 0, 1000]
    for number in range(1, 1001):
        rig.exit(f"/t.{number}", NORMAL)
    assert rig.counts() == [1, 0, 0, 0]


def test_count_children_supervisor() -> None:
    children = [sub(f"s{n}", TEMPORARY) for n in range(1000)] + [kid(f"w{n}", TEMPORARY) for n in range(1000)]
    below = {f"s{n}": sup(ONE_FOR_ONE) for n in range(1000)}
    rig = rig_of(sup(ONE_FOR_ONE, *children), (), **below)
    assert rig.counts() == [2000, 2000, 1000, 1000]
    for number in range(1000):
        rig.exit(f"/w{number}", CRASH)
    assert rig.counts() == [1000, 1000, 1000, 0]


def test_count_restarting_children() -> None:
    rig = running(SIMPLE, kid("t"), intensity=50)
    for name in ("a", "b", "c"):
        rig.order("", Call.START_CHILD, name)
    rig.script_start("/a", "fail", "hold")
    rig.script_start("/b", "fail", "fail", "fail")
    rig.script_start("/c", "hold")
    rig.exit("/c", CRASH)
    for name in ("a", "b"):
        rig.exit(f"/{name}", CRASH)
    order = AdminCalled("count", Call.COUNT_CHILDREN)
    assert rig.call("", order) is None
    rig.release("ok")  # a and b fail, the question is answered, then they are tried again
    counts = rig.replies["count"].counts
    assert counts is not None
    assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (1, 1, 0, 3)
    rig.release("ok")
    assert rig.counts() == [1, 3, 0, 3]


def test_do_not_save_start_parameters_for_temporary_children() -> None:
    """What a temporary child was started with is not kept beyond its life, nor its spec."""
    for strategy in (ONE_FOR_ONE, ONE_FOR_ALL, REST_FOR_ONE):
        rig = running(strategy)
        rig.order("", Call.START_CHILD, spec=kid("a", TEMPORARY), args="large")
        rig.exit("/a", NORMAL)
        assert rig.machine().record().children == ()
    rig = running(SIMPLE, kid("t", TEMPORARY))
    name = rig.order("", Call.START_CHILD, args="large").id
    rig.exit(f"/{name}", NORMAL)
    assert "large" not in repr(rig.machine().record())


def test_do_not_save_child_specs_for_temporary_children() -> None:
    rig = running(ONE_FOR_ALL, kid("a"))
    rig.order("", Call.START_CHILD, spec=kid("t", TEMPORARY))
    rig.order("", Call.TERMINATE_CHILD, "t")
    assert rig.order("", Call.GET_CHILDSPEC, "t").error == "not_found"
    rig.order("", Call.START_CHILD, spec=kid("t", TEMPORARY))
    rig.exit("/a", CRASH)
    assert rig.states() == {"a": "running"}


def _seconds_to_start_and_end(number: int) -> float:
    rig = running(SIMPLE, kid("t", TEMPORARY))
    began = process_time()
    for n in range(number):
        rig.order("", Call.START_CHILD, f"c{n}")
    for n in range(number):
        rig.exit(f"/c{n}", NORMAL)
    return process_time() - began


def test_simple_one_for_one_scale_many_temporary_children() -> None:
    """Ten times the children take at most fifty times the time (OTP's bound)."""
    small = min(_seconds_to_start_and_end(500) for _ in range(3))
    assert _seconds_to_start_and_end(5000) <= 50 * small


def test_temporary_bystander() -> None:
    for strategy in (ONE_FOR_ALL, REST_FOR_ONE):
        rig = running(strategy, kid("a"), kid("b", TEMPORARY))
        rig.exit("/a", CRASH)
        assert rig.states() == {"a": "running"}
        assert (rig.incarnation("/a"), rig.incarnation("/b")) == (2, 0)


def test_simple_global_supervisor() -> None:
    """Who is named by a path is found there again, whatever ended it: a kill, an exit, an order."""
    rig = rig_of(sup(ONE_FOR_ONE, sub("s"), intensity=10), s=sup(ONE_FOR_ONE, kid("a"), intensity=10))
    rig.exit("/s", KILLED)
    assert (rig.incarnation("/s"), rig.incarnation("/s/a")) == (2, 1)
    rig.exit("/s/a", KILLED)
    rig.exit("/s/a", NORMAL)
    assert rig.incarnation("/s/a") == 3
    rig.order("/s", Call.TERMINATE_CHILD, "a")
    assert rig.order("/s", Call.RESTART_CHILD, "a").incarnation == 4
    assert set(rig.processes) == {"", "/s", "/s/a"}


def _hanging(strategy: Strategy, name: str) -> Rig:
    """A child that will never start again, its supervisor between two tries with room for many."""
    if strategy is SIMPLE:
        rig = running(SIMPLE, kid("t"), intensity=10**6)
        rig.order("", Call.START_CHILD, name)
    else:
        rig = running(strategy, kid("a"), kid("b"), intensity=10**6)
    rig.script_start(f"/{name}", "hold", *["fail"] * 3, "hold")
    rig.exit(f"/{name}", CRASH)
    return rig


def _asked_meanwhile(rig: Rig, *orders: AdminCalled) -> list[str]:
    """Orders that come while a restart is under way, answered between two tries."""
    for order in orders:
        assert rig.call("", order) is None
    rig.release("fail")
    return [rig.replies[order.ref].error for order in orders]


@pytest.mark.parametrize("strategy", [ONE_FOR_ONE, ONE_FOR_ALL])
def test_hanging_restart_loop(strategy: Strategy) -> None:
    _static_restart_loop(strategy)


def test_hanging_restart_loop_rest_for_one() -> None:
    _static_restart_loop(REST_FOR_ONE)


def _static_restart_loop(strategy: Strategy) -> None:
    rig = _hanging(strategy, "a")
    assert _asked_meanwhile(
        rig,
        AdminCalled("start", Call.START_CHILD, spec=kid("a")),
        AdminCalled("restart", Call.RESTART_CHILD, "a"),
        AdminCalled("delete", Call.DELETE_CHILD, "a"),
        AdminCalled("terminate", Call.TERMINATE_CHILD, "a"),
    ) == ["already_present", "restarting", "restarting", ""]
    assert rig.held is None  # the loop is broken: no further try
    assert rig.states()["a"] == "undefined"
    assert rig.order("", Call.DELETE_CHILD, "a").error == ""
    rig.shutdown()
    assert rig.ended == SHUTDOWN


def test_hanging_restart_loop_simple() -> None:
    rig = _hanging(SIMPLE, "one")
    assert _asked_meanwhile(
        rig,
        AdminCalled("restart", Call.RESTART_CHILD, "one"),
        AdminCalled("delete", Call.DELETE_CHILD, "one"),
        AdminCalled("terminate", Call.TERMINATE_CHILD, "one"),
    ) == ["simple_one_for_one", "simple_one_for_one", ""]
    assert rig.held is None
    assert rig.counts() == [1, 0, 0, 0]
    rig.shutdown()
    assert rig.ended == SHUTDOWN


def test_code_change() -> None:
    """New flags take effect at once; the window keeps what it has counted."""
    rig = running(ONE_FOR_ONE, kid("a"), kid("b"), intensity=5)
    rig.exit("/a", CRASH)
    rig.exit("/a", CRASH)
    flags = SupervisorFlags(ONE_FOR_ALL, 3, 3600)
    assert rig.order("", Call.CHANGE_SPECS, flags=flags, specs=(kid("a"), kid("b"))).error == ""
    rig.exit("/a", CRASH)
    assert rig.incarnation("/b") == 2
    rig.exit("/a", CRASH)
    assert rig.ended == SHUTDOWN


def test_code_change_map() -> None:
    """A changed spec is used from then on; a new child is not started, a removed one not stopped."""
    rig = running(ONE_FOR_ONE, kid("a"), kid("b"), kid("c"))
    specs = (kid("n"), kid("b", TRANSIENT), kid("a"))
    assert rig.order("", Call.CHANGE_SPECS, specs=specs).error == ""
    assert rig.states() == {"n": "undefined", "b": "running", "a": "running", "c": "running"}  # in the new start order
    rig.exit("/b", NORMAL)
    assert rig.states()["b"] == "undefined"
    assert rig.order("", Call.RESTART_CHILD, "n").incarnation == 1
    assert rig.order("", Call.CHANGE_SPECS, specs=(kid("a"), kid("a"))).error.startswith("duplicate_child_name")
    assert rig.counts() == [4, 3, 0, 4]


def test_code_change_simple() -> None:
    """Running children follow the new template from their next exit on."""
    rig = running(SIMPLE, kid("t"))
    rig.order("", Call.START_CHILD, "one")
    assert rig.order("", Call.CHANGE_SPECS, specs=(kid("t", TRANSIENT),)).error == ""
    rig.exit("/one", CRASH)
    assert rig.incarnation("/one") == 2
    rig.exit("/one", NORMAL)
    assert rig.counts() == [1, 0, 0, 0]


def test_code_change_simple_map() -> None:
    rig = running(SIMPLE, kid("t"))
    for specs in ((), (kid("t"), kid("u"))):
        assert rig.order("", Call.CHANGE_SPECS, specs=specs).error.startswith("bad_start_spec")
    static = SupervisorFlags(ONE_FOR_ONE, 2, 3600)
    assert rig.order("", Call.CHANGE_SPECS, flags=static, specs=(kid("t"),)).error == "bad_strategy_change"
    assert rig.order("", Call.GET_CHILDSPEC, "t").spec == kid("t")


def test_order_of_children() -> None:
    names = ["d", "a", "e", "c", "b"]
    rig = Rig({"": sup(REST_FOR_ONE, *[kid(name) for name in names])})
    rig.start()
    assert rig.take_trace() == [f"start /{name}" for name in names]
    rig.exit("/e", CRASH)
    stopped = [line.split()[1] for line in rig.take_trace() if line.startswith("end ")]
    assert stopped == ["/b", "/c"]
    rig.shutdown()
    stopped = [line.split()[1] for line in rig.take_trace() if line.startswith("end ")]
    assert stopped == [f"/{name}" for name in reversed(names)]


def _seconds_to_boot_and_stop(number: int) -> float:
    children = [kid(f"c{n}", restart) for n, restart in zip(range(number), _restarts(number), strict=True)]
    rig = Rig({"": sup(ONE_FOR_ONE, *children)})
    began = process_time()
    rig.start()
    rig.shutdown()
    assert rig.ended == SHUTDOWN
    return process_time() - began


def _restarts(number: int) -> list[Restart]:
    kinds = list(Restart)
    return [kinds[n % len(kinds)] for n in range(number)]


def test_scale_start_stop_many_children() -> None:
    """A hundred times the children take about a hundred times the time: the bound leaves room for a busy machine."""
    small = min(_seconds_to_boot_and_stop(1000) for _ in range(3))
    assert _seconds_to_boot_and_stop(100_000) <= 300 * small


def test_already_started_outside_supervisor() -> None:
    """A start that finds somebody else's process under its name: who that is is in the error."""

    class Foreign(Rig):
        def _answer_start(self, above: Process, order: StartChild, outcome: str) -> None:
            reason = init_error("already_started by pid 4711")
            self._send(above, ChildStartFailed(order.id, order.incarnation, reason))

    rig = Foreign({"": sup(ONE_FOR_ONE)})
    rig.start()
    reply = rig.order("", Call.START_CHILD, spec=kid("a"))
    assert reply.error == "start_error"
    assert reply.reason is not None
    assert "4711" in reply.reason.message
    assert rig.counts() == [0, 0, 0, 0]


def test_which_children() -> None:
    rig = rig_of(sup(ONE_FOR_ONE, kid("a"), sub("s"), kid("c", TRANSIENT)), s=sup(ONE_FOR_ONE))
    rig.exit("/c", NORMAL)
    infos = rig.order("", Call.WHICH_CHILDREN).children
    assert [(i.id, i.state, i.type, i.incarnation) for i in infos] == [
        ("a", "running", "worker", 1),
        ("s", "running", "supervisor", 1),
        ("c", "undefined", "worker", 1),
    ]


def test_which_children_simple_one_for_one() -> None:
    rig = running(SIMPLE, kid("t"))
    names = [rig.order("", Call.START_CHILD).id for _ in range(3)]
    rig.order("", Call.TERMINATE_CHILD, names[1])
    infos = rig.order("", Call.WHICH_CHILDREN).children
    assert [(i.id, i.state, i.type) for i in infos] == [(n, "running", "worker") for n in (names[0], names[2])]
