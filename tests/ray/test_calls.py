"""Calls, casts and subscriptions that survive restarts (SUP-9)."""

import os
import signal
import threading
import time

import pytest

from .harness import CallFailed, Running, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

_TARGET = "/one/victim"
_ASKER = "/one/sibling"


def life(system: Running) -> int:
    found = system.ask(_TARGET, "life")
    assert isinstance(found, list)
    return int(found[1])


def test_a_call_over_a_restart_reaches_the_next_incarnation(healthy: Running) -> None:
    before = healthy.ready(_TARGET)
    healthy.ask(_TARGET, "life")  # who calls has found it
    timer = threading.Timer(0.3, os.kill, (before.pid, signal.SIGKILL))
    timer.start()
    # the first incarnation has the call when it dies; it is repeated to the second
    answer = healthy.ask(_TARGET, "wait", 1.0, timeout=15.0)
    timer.join()
    assert answer == before.incarnation + 1


def test_a_call_between_children_survives_as_well(healthy: Running) -> None:
    before = healthy.kill(_TARGET)
    answer = healthy.ask(_ASKER, "ask", _TARGET, "life")
    assert isinstance(answer, list)
    assert answer[1] == before.incarnation + 1


def test_once_is_not_repeated(healthy: Running) -> None:
    with pytest.raises(CallFailed) as failure:
        healthy.ask(_TARGET, "hang_up", timeout=15.0, once=True)
    assert failure.value.kind == "OutcomeUnknown"


def test_once_is_not_spent_on_an_incarnation_that_is_known_to_be_gone(healthy: Running) -> None:
    healthy.ask(_TARGET, "life")  # the caller remembers this incarnation
    before = healthy.kill(_TARGET)
    healthy.ready(_TARGET, before.incarnation)
    answer = healthy.ask(_TARGET, "life", once=True)
    assert isinstance(answer, list)
    assert answer[1] == before.incarnation + 1


def test_a_call_has_a_deadline(healthy: Running) -> None:
    began = time.monotonic()
    with pytest.raises(CallFailed) as failure:
        healthy.ask(_TARGET, "wait", 30.0, timeout=0.7)
    assert failure.value.kind == "CallTimeout"
    assert 0.69 < time.monotonic() - began < 15.0


def test_a_path_where_nothing_runs_is_told_at_once(healthy: Running) -> None:
    began = time.monotonic()
    with pytest.raises(CallFailed) as failure:
        healthy.ask("/one/nobody", "life", timeout=20.0)
    assert failure.value.kind == "ChildDead"
    assert time.monotonic() - began < 15.0
    assert healthy.ask(_ASKER, "ask", "/one/nobody", "life") == "ChildDead"


@pytest.mark.parametrize(
    ("method", "kind", "says"),
    [
        ("refuse", "LookupError", "no such order"),
        ("_soon", "AttributeError", "private"),
        ("no_such_method", "AttributeError", "it has:"),
    ],
)
def test_what_the_method_raises_is_the_answer(healthy: Running, method: str, kind: str, says: str) -> None:
    before = healthy.ready(_TARGET)
    with pytest.raises(CallFailed) as failure:
        healthy.ask(_TARGET, method)
    assert kind in failure.value.kind + str(failure.value)
    assert says in str(failure.value)
    assert healthy.ready(_TARGET).pid == before.pid


def test_a_call_to_a_hung_child_gets_through_after_its_restart(healthy: Running) -> None:
    before = healthy.kill(_TARGET, signal.SIGSTOP)
    assert life(healthy) == before.incarnation + 1


def test_casts_arrive(healthy: Running) -> None:
    before = healthy.ask("/one/counter", "count")
    assert isinstance(before, int)
    assert healthy.ask("/one/counter", "cast_to", "/one/counter", "add") is None
    until(lambda: healthy.ask("/one/counter", "count") == before + 1, "the cast arrives")
    # nobody there: the caster does not learn of it, and lives on
    healthy.ask("/one/counter", "cast_to", "/one/nobody", "add")
    assert healthy.ask("/one/counter", "count") == before + 1


def test_a_subscription_goes_on_across_the_publishers_restart(healthy: Running) -> None:
    subscriber, before = healthy.ready("/one/subscriber"), healthy.ready("/one/publisher")

    def hears(incarnation: int) -> bool:
        found = healthy.ask("/one/subscriber", "seen")
        assert isinstance(found, list)
        return incarnation in found

    until(lambda: hears(before.incarnation), "the first publisher is heard")
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: hears(before.incarnation + 1), "its next life is heard")
    assert healthy.ask("/one/subscriber", "wrong") == []
    assert healthy.ready("/one/subscriber").pid == subscriber.pid
