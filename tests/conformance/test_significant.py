"""supervisor_SUITE, group significant."""

import pytest

from supervisors.core.reasons import SHUTDOWN, ExitReason
from supervisors.tree.messages import Call
from supervisors.tree.model import AutoShutdown, SupervisorFlags
from tests.conformance.build import (
    ALL,
    ANY,
    NEVER,
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
from tests.conformance.rig import CRASH, KILLED, NORMAL, Rig

REASONS = (NORMAL, SHUTDOWN, CRASH, KILLED)


@pytest.mark.parametrize("mode", [ANY, ALL])
@pytest.mark.parametrize("reason", REASONS)
def test_nonsignificant_temporary(mode: AutoShutdown, reason: ExitReason) -> None:
    rig = running(ONE_FOR_ONE, kid("a", TEMPORARY), kid("b", TEMPORARY), auto=mode)
    rig.exit("/a", reason)
    rig.exit("/b", reason)
    assert rig.is_up


@pytest.mark.parametrize("mode", [ANY, ALL])
def test_nonsignificant_transient(mode: AutoShutdown) -> None:
    rig = running(ONE_FOR_ONE, kid("a", TRANSIENT), auto=mode)
    rig.exit("/a", CRASH)
    rig.exit("/a", NORMAL)
    assert rig.is_up
    assert rig.counts() == [1, 0, 0, 1]


@pytest.mark.parametrize("reason", REASONS)
def test_significant_temporary(reason: ExitReason) -> None:
    children = [kid(name, TEMPORARY, significant=True) for name in "ab"]
    rig = running(ONE_FOR_ONE, *children, kid("c"), auto=ANY)
    rig.order("", Call.TERMINATE_CHILD, "a")
    assert rig.is_up  # an order is no exit
    rig.exit("/b", reason)
    assert rig.ended == SHUTDOWN
    rig = running(ONE_FOR_ONE, *children, kid("c"), auto=ALL)
    rig.exit("/a", reason)
    assert rig.is_up
    rig.exit("/b", reason)
    assert rig.ended == SHUTDOWN


def test_significant_transient() -> None:
    children = [kid(name, TRANSIENT, significant=True) for name in "ab"]
    rig = running(ONE_FOR_ONE, *children, auto=ANY)
    rig.exit("/a", KILLED)
    rig.exit("/a", CRASH)
    assert rig.is_up
    assert rig.incarnation("/a") == 3
    rig.exit("/a", NORMAL)
    assert rig.ended == SHUTDOWN
    rig = running(ONE_FOR_ONE, *children, auto=ALL)
    rig.exit("/a", NORMAL)
    assert rig.is_up
    rig.exit("/b", SHUTDOWN)
    assert rig.ended == SHUTDOWN


def test_significant_simple() -> None:
    with pytest.raises(ValueError, match="bad_combination"):
        Rig({"": sup(SIMPLE, kid("t", TEMPORARY, significant=True), auto=NEVER)}).start()
    rig = running(SIMPLE, kid("t", TEMPORARY, significant=True), auto=ALL)
    rig.order("", Call.START_CHILD, "one")
    rig.order("", Call.START_CHILD, "two")
    rig.exit("/one", CRASH)
    assert rig.is_up
    rig.exit("/two", NORMAL)
    assert rig.ended == SHUTDOWN


@pytest.mark.parametrize("mode", [ANY, ALL])
def test_significant_bystander(mode: AutoShutdown) -> None:
    """Stopped because a sibling failed: that triggers nothing."""
    for strategy in (ONE_FOR_ALL, REST_FOR_ONE):
        rig = running(strategy, kid("a"), kid("b", TEMPORARY, significant=True), auto=mode)
        rig.exit("/a", CRASH)
        assert rig.is_up
        assert rig.states() == {"a": "running"}


def test_significant_escalation() -> None:
    """A sub-supervisor's own end counts above only if it is significant there."""
    below = sup(ONE_FOR_ONE, kid("a", TEMPORARY, significant=True), auto=ANY)
    rig = rig_of(sup(ONE_FOR_ONE, sub("s", TRANSIENT, significant=True), kid("b"), auto=ANY), s=below)
    rig.exit("/s/a", NORMAL)
    assert rig.ended == SHUTDOWN
    rig = rig_of(sup(ONE_FOR_ONE, sub("s", TRANSIENT), kid("b"), auto=ANY), s=below)
    rig.exit("/s/a", NORMAL)
    assert rig.is_up
    assert rig.states() == {"s": "undefined", "b": "running"}


def _upgraded(before: AutoShutdown, after: AutoShutdown) -> Rig:
    """Two children, significant wherever they may be, after a live change of the mode."""
    rig = running(
        ONE_FOR_ONE, *[kid(name, TEMPORARY, significant=before is not NEVER) for name in "abc"], kid("d"), auto=before
    )
    specs = tuple(kid(name, TEMPORARY, significant=after is not NEVER) for name in "abc")
    flags = SupervisorFlags(ONE_FOR_ONE, 2, 3600, after)
    assert rig.order("", Call.CHANGE_SPECS, flags=flags, specs=(*specs, kid("d"))).error == ""
    assert rig.counts() == [4, 4, 0, 4]  # nothing starts or stops by it
    return rig


def _ends_after(rig: Rig, exits: int) -> None:
    for number, name in enumerate("abc", start=1):
        rig.exit(f"/{name}", NORMAL)
        assert (rig.ended == SHUTDOWN) == (number >= exits), number


def test_significant_upgrade_never_any() -> None:
    _ends_after(_upgraded(NEVER, ANY), 1)


def test_significant_upgrade_any_never() -> None:
    _ends_after(_upgraded(ANY, NEVER), 4)


def test_significant_upgrade_never_all() -> None:
    _ends_after(_upgraded(NEVER, ALL), 3)


def test_significant_upgrade_all_never() -> None:
    _ends_after(_upgraded(ALL, NEVER), 4)


def test_significant_upgrade_any_all() -> None:
    _ends_after(_upgraded(ANY, ALL), 3)


def test_significant_upgrade_all_any() -> None:
    _ends_after(_upgraded(ALL, ANY), 1)


def test_significant_upgrade_child() -> None:
    rig = running(ONE_FOR_ONE, kid("a", TEMPORARY), kid("b", TEMPORARY), auto=ANY)
    specs = (kid("a", TEMPORARY, significant=True), kid("b", TEMPORARY))
    assert rig.order("", Call.CHANGE_SPECS, specs=specs).error == ""
    rig.exit("/b", CRASH)
    assert rig.is_up
    rig.exit("/a", CRASH)
    assert rig.ended == SHUTDOWN
    rig = running(ONE_FOR_ONE, kid("a", TEMPORARY))
    assert "bad_combination" in rig.order("", Call.CHANGE_SPECS, specs=specs).error
    assert rig.order("", Call.GET_CHILDSPEC, "a").spec == kid("a", TEMPORARY)  # all or nothing
