"""A supervisor that crashed in the middle of a group restart: its replacement finishes it (SUP-8)."""

from supervisors.core.reasons import SHUTDOWN, crash
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import Booted, ChildExited, ChildStarted, Effect, StartChild, StopChild
from supervisors.tree.model import ChildSpec, Restart, Strategy, SupervisorFlags, SupervisorSpec


def _machine(strategy: Strategy, *restarts: Restart) -> tuple[SupervisorSpec, SupervisorMachine]:
    children = tuple(ChildSpec(name, restart) for name, restart in zip("abcd", restarts, strict=False))
    spec = SupervisorSpec(SupervisorFlags(strategy), children)
    machine = SupervisorMachine(spec)
    machine.step(Booted(), 0.0)
    for child in children:
        machine.step(ChildStarted(child.id, 1), 0.0)
    return spec, machine


def _orders(effects: list[Effect]) -> list[str]:
    words = {StartChild: "start", StopChild: "stop"}
    return [f"{words[type(e)]} {e.id}" for e in effects if isinstance(e, StartChild | StopChild)]


def test_a_sibling_that_was_to_be_restarted_is_not_adopted() -> None:
    spec, old = _machine(Strategy.ONE_FOR_ALL, *[Restart.PERMANENT] * 3)
    assert _orders(old.step(ChildExited("b", 1, crash()), 1.0)) == ["stop c"]
    new = SupervisorMachine(spec)
    # c has ended, a still runs
    assert _orders(new.resume(old.record(), {"a": 1}, {}, 2.0)) == ["stop a"]
    assert _orders(new.step(ChildExited("a", 1, SHUTDOWN), 2.0)) == ["start a"]
    assert _orders(new.step(ChildStarted("a", 2), 2.0)) == ["start b"]
    assert _orders(new.step(ChildStarted("b", 2), 2.0)) == ["start c"]
    assert not any(child.fated for child in new.record().children[:2])


def test_they_are_stopped_in_reverse_order_and_those_before_the_failed_one_stay() -> None:
    spec, old = _machine(Strategy.REST_FOR_ONE, *[Restart.PERMANENT] * 4)
    old.step(ChildExited("b", 1, crash()), 1.0)
    new = SupervisorMachine(spec)
    assert _orders(new.resume(old.record(), {"a": 1, "c": 1, "d": 1}, {}, 2.0)) == ["stop d"]
    assert _orders(new.step(ChildExited("d", 1, SHUTDOWN), 2.0)) == ["stop c"]
    assert _orders(new.step(ChildExited("c", 1, SHUTDOWN), 2.0)) == ["start b"]
    assert new.children["a"].incarnation == 1


def test_a_temporary_sibling_is_stopped_and_forgotten() -> None:
    spec, old = _machine(Strategy.ONE_FOR_ALL, Restart.TEMPORARY, Restart.PERMANENT, Restart.PERMANENT)
    old.step(ChildExited("b", 1, crash()), 1.0)
    new = SupervisorMachine(spec)
    assert _orders(new.resume(old.record(), {"a": 1, "c": 1}, {}, 2.0)) == ["stop c"]
    assert _orders(new.step(ChildExited("c", 1, SHUTDOWN), 2.0)) == ["stop a"]
    assert _orders(new.step(ChildExited("a", 1, SHUTDOWN), 2.0)) == ["start b"]
    assert list(new.children) == ["b", "c"]


def test_once_it_is_over_a_crash_costs_nobody_a_restart() -> None:
    spec, old = _machine(Strategy.ONE_FOR_ALL, Restart.PERMANENT, Restart.PERMANENT)
    old.step(ChildExited("a", 1, crash()), 1.0)
    old.step(ChildExited("b", 1, SHUTDOWN), 1.0)
    old.step(ChildStarted("a", 2), 1.0)
    old.step(ChildStarted("b", 2), 1.0)
    new = SupervisorMachine(spec)
    assert _orders(new.resume(old.record(), {"a": 2, "b": 2}, {}, 2.0)) == []
