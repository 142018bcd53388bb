"""supervisor_SUITE, group admin."""

from dataclasses import replace
from itertools import product

import pytest

from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import AdminCalled, Call
from supervisors.tree.model import (
    AutoShutdown,
    ChildSpec,
    ChildType,
    Restart,
    Strategy,
    SupervisorFlags,
    check_specs,
    spec_errors,
)
from tests.conformance.build import NEVER, ONE_FOR_ONE, PERMANENT, SIMPLE, kid, running, sup
from tests.conformance.rig import CRASH, KILLED


def test_child_adm() -> None:
    rig = running(ONE_FOR_ONE, kid("a"))
    assert rig.order("", Call.START_CHILD, spec=kid("a")).error == "already_started"
    assert rig.order("", Call.RESTART_CHILD, "a").error == "running"
    assert rig.order("", Call.DELETE_CHILD, "a").error == "running"
    assert rig.order("", Call.TERMINATE_CHILD, "a").error == ""
    assert rig.order("", Call.TERMINATE_CHILD, "a").error == ""  # twice is no error
    assert rig.states() == {"a": "undefined"}
    assert rig.order("", Call.START_CHILD, spec=kid("a")).error == "already_present"
    assert rig.order("", Call.RESTART_CHILD, "a").incarnation == 2
    rig.order("", Call.TERMINATE_CHILD, "a")
    assert rig.order("", Call.DELETE_CHILD, "a").error == ""
    for call in (Call.RESTART_CHILD, Call.DELETE_CHILD, Call.TERMINATE_CHILD, Call.GET_CHILDSPEC):
        assert rig.order("", call, "a").error == "not_found"
    assert rig.order("", Call.START_CHILD, spec=kid("a")).incarnation == 3  # not 1 again: incarnations only grow
    rig.script_stop("/a", "hold")
    rig.shutdown()
    assert rig.call("", AdminCalled("late", Call.WHICH_CHILDREN)) is None
    rig.release("ok")
    assert rig.replies["late"].error == "noproc"


def test_child_adm_simple() -> None:
    rig = running(SIMPLE, kid("t"))
    first = rig.order("", Call.START_CHILD).id
    second = rig.order("", Call.START_CHILD).id
    for call in (Call.RESTART_CHILD, Call.DELETE_CHILD):
        assert rig.order("", call, first).error == "simple_one_for_one"
    assert rig.order("", Call.TERMINATE_CHILD, "t").error == "simple_one_for_one"
    assert rig.order("", Call.TERMINATE_CHILD, first).error == ""
    assert rig.order("", Call.TERMINATE_CHILD, "somebody_else").error == "not_found"
    assert rig.states() == {second: "running"}
    assert rig.counts() == [1, 1, 0, 1]


#: fields no spec may have, with OTP's word for it
FAULTY = (
    (kid(""), "missing_id"),
    (kid(shutdown=-1.0), "invalid_shutdown"),
    (kid(shutdown=float("nan")), "invalid_shutdown"),
    (kid(significant=True), "bad_combination"),
)


def test_child_specs() -> None:
    """What ``check_childspecs`` refuses, without starting anything."""
    flags = SupervisorFlags()
    for child, error in FAULTY:
        assert spec_errors(flags, child)[0].startswith(error)
    assert check_specs(flags, (kid("a"), kid("a"))) == ["duplicate_child_name: a"]
    assert check_specs(flags, (kid("a"), kid("b"))) == []
    simple = replace(flags, strategy=SIMPLE)
    assert check_specs(simple, ())[0].startswith("bad_start_spec")
    assert check_specs(simple, (kid("a"), kid("b")))[0].startswith("bad_start_spec")
    with pytest.raises(ValueError, match="sometimes"):
        Restart("sometimes")
    with pytest.raises(ValueError, match="clerk"):
        ChildType("clerk")


def test_child_specs_map() -> None:
    """The same through ``start_child``, and the matrix of significant, auto_shutdown and restart."""
    rig = running(ONE_FOR_ONE)
    for child, error in FAULTY:
        assert rig.order("", Call.START_CHILD, spec=child).error.startswith(error)
    for mode, restart in product(AutoShutdown, Restart):
        rig = running(ONE_FOR_ONE, auto=mode)
        allowed = mode is not NEVER and restart is not PERMANENT
        reply = rig.order("", Call.START_CHILD, spec=kid("a", restart, significant=True))
        assert reply.error.startswith("" if allowed else "bad_combination"), (mode, restart)
        assert rig.counts() == ([1, 1, 0, 1] if allowed else [0, 0, 0, 0])
        assert rig.order("", Call.START_CHILD, spec=kid("b", restart)).error == ""


def test_sup_flags() -> None:
    for wrong in (SupervisorFlags(intensity=-1), SupervisorFlags(period=0), SupervisorFlags(period=-5)):
        assert check_specs(wrong, ())[0].startswith("invalid_intensity")
        with pytest.raises(ValueError, match="invalid_intensity"):
            SupervisorMachine(replace(sup(ONE_FOR_ONE), flags=wrong))
    with pytest.raises(ValueError, match="one_for_some"):
        Strategy("one_for_some")
    with pytest.raises(ValueError, match="perhaps"):
        AutoShutdown("perhaps")
    assert SupervisorFlags().auto_shutdown is NEVER


def test_multiple_restarts() -> None:
    """Intensity 1 in 1 s, ends 2.1 s apart: it goes on for ever."""
    rig = running(ONE_FOR_ONE, ChildSpec("a"), intensity=1, period=1)
    for lives in range(2, 6):
        rig.advance(2.1)
        rig.exit("/a", KILLED if lives % 2 else CRASH)
        assert rig.incarnation("/a") == lives
    assert rig.is_up
