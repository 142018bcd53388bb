"""Holds, and what people answer: approve, reject, orders over the supervisor's head, children in groups."""

import pytest

from supervisors.core.errors import RecoveryError
from supervisors.recovery.messages import Outcome
from supervisors.recovery.policy import Condition, RecoverySpec, Rule, Rung
from supervisors.recovery.progress import State
from supervisors.runtime.reporting import words
from supervisors.trail.events import EventKind
from supervisors.tree.messages import Call
from supervisors.tree.model import Strategy

from .conftest import Make
from .shells import World, policy
from .stage import SILENT

_MANUAL = (Rule(Condition.ALWAYS, Rung.MANUAL),)


def manual(standbys: int = 0, **other: object) -> RecoverySpec:
    return policy(standbys=standbys, rules=_MANUAL, **other)


def held(make: Make, children: dict[str, RecoverySpec | None], child: str = "a", **options: object) -> World:
    """A world in which ``child`` failed and is held."""
    world = make(children, **options)
    world.acting(child).die()
    world.until(lambda: world.state(child) == "held")
    return world


def approve(world: World, hold: str, who: str = "ada", rung: str = "") -> str:
    return words(world.shell.recovering.answer(hold, who, "looked at", rung, approve=True))


def reject(world: World, hold: str, who: str = "ada") -> str:
    return words(world.shell.recovering.answer(hold, who, "flat", "", approve=False))


def test_held_until_somebody_approves_and_siblings_go_on(make: Make) -> None:
    world = held(make, {"a": manual(), "b": policy()})
    world.acting("b").die()
    world.up("b", 1)
    world.run(1000.0)
    assert world.state("a") == "held"
    assert approve(world, world.hand("a").case.hold_id)
    world.up("a", 2)
    assert world.acting("a").rung == "cold"
    world.check()


@pytest.mark.parametrize("rung", ["warm", "cold", "hot"])
def test_approve_with_a_rung(make: Make, rung: str) -> None:
    world = held(make, {"a": manual(standbys=1)})
    approve(world, world.hand("a").case.hold_id, rung=rung)
    world.up("a", 2)
    assert world.acting("a").rung == rung
    world.check()


def test_a_person_may_promote_a_standby_that_lags(make: Make) -> None:
    world = held(make, {"a": manual(standbys=1)})
    standby = world.standby("a")
    world.shell.standbys.lagging(standby.row.id, "too slow")
    approve(world, world.hand("a").case.hold_id, rung="hot")
    world.up("a", 2)
    assert world.acting("a") is standby
    world.check()


def test_who_agrees_to_what_is_proposed_promotes_no_standby_that_lags(make: Make) -> None:
    """Before: with warm and cold tried, hot was proposed, and agreeing to that lost acknowledged events."""
    world = held(make, {"a": policy(Rung.HOT, Rung.MANUAL, standbys=1, rules=_MANUAL)})
    standby = world.standby("a")
    world.shell.standbys.lagging(standby.row.id, "too slow")
    approve(world, world.hand("a").case.hold_id)
    world.until(lambda: world.state("a") == "held" and world.hand("a").case.hold_id.endswith(":2"))
    assert "lagging" in world.hand("a").case.progress(world.clock.now).message
    approve(world, world.hand("a").case.hold_id, rung="hot")
    world.up("a", 2)
    assert world.acting("a") is standby
    world.check()


def test_a_hold_outlasts_a_supervisor_that_nobody_adopts(make: Make) -> None:
    """Before: it crashed and all below it was ended; its next life started what waited for a person."""
    world = make({"a": manual()})
    world.store.put(started_utc="17")
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    hold = world.hand("a").case.hold_id
    world.crash_supervisor()
    world.start_supervisor_anew()
    assert world.state("a") == "held"
    assert world.hand("a").case.hold_id == hold
    approve(world, hold)
    world.until(lambda: world.state("a") == "running")
    world.check()


def test_hot_that_nobody_can_be_promoted_for_goes_on_down_the_ladder(make: Make) -> None:
    world = held(make, {"a": manual(standbys=1)})
    world.plans_for("a", "standby", *["silent"] * 9)
    world.standby("a").die()
    world.run(0.1)
    approve(world, world.hand("a").case.hold_id, rung="hot")
    world.up("a", 2)
    assert world.acting("a").rung == "warm"
    world.check()


def test_rejected_it_stays_down_until_somebody_restarts_it(make: Make) -> None:
    world = held(make, {"a": manual(standbys=1)})
    hold, hand = world.hand("a").case.hold_id, world.hand("a")
    reject(world, hold)
    world.run(10.0)
    assert (world.state("a"), hand.case.outcome) == ("undefined", Outcome.DROPPED)
    assert not any(host.standby and host.alive for host in world.hosts.values())
    world.check()
    world.order(Call.RESTART_CHILD, "a")
    world.up("a", 2)
    assert world.acting("a").size == 1.0
    world.check()


def test_the_first_of_two_operators_counts(make: Make) -> None:
    world = held(make, {"a": manual()})
    hold = world.hand("a").case.hold_id
    approve(world, hold, "ada")
    with pytest.raises(RecoveryError, match="already approved by ada") as refused:
        reject(world, hold, "bob")
    assert refused.value.code == 8004
    world.up("a", 2)
    with pytest.raises(RecoveryError, match="already approved by ada"):
        approve(world, hold, "bob")
    world.check()


@pytest.mark.parametrize(
    ("hold", "rung", "code"),
    [("/desk/a#9:9", "", 8002), ("/desk/b#1:1", "", 8002), ("nonsense", "", 8002), ("", "", 8002)],
)
def test_ids_that_nothing_is_held_under(make: Make, hold: str, rung: str, code: int) -> None:
    world = held(make, {"a": manual()})
    with pytest.raises(RecoveryError) as refused:
        approve(world, hold, rung=rung)
    assert refused.value.code == code
    assert world.state("a") == "held"
    world.check()


def test_rungs_that_are_none(make: Make) -> None:
    world = held(make, {"a": manual()})
    hold = world.hand("a").case.hold_id
    for rung in ("warmish", "manual", "hot"):
        with pytest.raises(RecoveryError) as refused:
            approve(world, hold, rung=rung)
        assert refused.value.code == 8003
    world.check()


def test_an_answer_while_nothing_is_held(make: Make) -> None:
    world = make({"a": policy()})
    with pytest.raises(RecoveryError) as refused:
        approve(world, "/desk/a#1:1")
    assert refused.value.code == 8005
    world.check()


def test_what_failed_is_kept_before_an_approval_is_acted_on(make: Make) -> None:
    """Before: of a decision for manual the state was kept while the next life might begin."""
    world = make({"a": manual()})
    world.threads.parked.add("keep_it")
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    approve(world, world.hand("a").case.hold_id)
    world.run(1.0)
    assert world.state("a") == "held"
    world.threads.go()
    world.up("a", 2)
    assert world.lines("a", EventKind.STATE_PRESERVED)[0].at < world.lines("a", EventKind.RECOVERED)[0].at
    world.check()


# ---------------------------------------------------------------- orders over the supervisor's head


@pytest.mark.parametrize("call", [Call.RESTART_CHILD, Call.TERMINATE_CHILD])
def test_orders_on_a_held_child_close_its_case(make: Make, call: Call) -> None:
    world = held(make, {"a": manual(standbys=1)})
    case, hold = world.hand("a").case, world.hand("a").case.hold_id
    replies = world.order(call, "a")
    world.run(5.0)
    assert [reply.error for reply in replies] == [""]
    assert case.outcome is Outcome.WITHDRAWN
    with pytest.raises(RecoveryError):
        approve(world, hold)
    assert world.state("a") == ("running" if call is Call.RESTART_CHILD else "undefined")
    world.check()
    if call is Call.TERMINATE_CHILD:
        world.order(Call.RESTART_CHILD, "a")
        world.up("a", 2)
        world.check()


def test_a_recovering_child_is_not_restarted_by_hand(make: Make) -> None:
    world = make({"a": policy()})
    world.plans_for("a", "worker", SILENT)
    world.acting("a").die()
    world.run(0.5)
    (reply,) = world.order(Call.RESTART_CHILD, "a")
    assert reply.error == "running"
    world.order(Call.TERMINATE_CHILD, "a")
    world.check()
    assert world.state("a") == "undefined"


def test_a_child_that_is_stopped_in_its_backoff_has_no_case_left(make: Make) -> None:
    """Before: the case went on, and its failure was decided upon at the next start by hand."""
    world = make({"a": manual()}, backoff=5.0)
    world.acting("a").die()
    world.run(1.0)
    assert world.state("a") == "restarting"
    world.order(Call.TERMINATE_CHILD, "a")
    world.run(20.0)
    world.order(Call.RESTART_CHILD, "a")
    world.up("a", 1)
    assert world.lines("a", EventKind.RECOVERY_DECIDED) == []
    world.check()


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
def test_a_hold_inside_a_group_keeps_those_behind_it_waiting(make: Make, strategy: Strategy) -> None:
    world = held(make, {"a": policy(standbys=1), "b": manual(), "c": policy(), "d": None}, "b", strategy=strategy)
    world.run(5.0)
    assert [world.state(child) for child in "abcd"] == ["running", "held", "undefined", "undefined"]
    world.check()
    world.acting("a").die()
    world.run(5.0)
    assert [world.state(child) for child in "abcd"] == ["running", "held", "undefined", "undefined"]
    approve(world, world.hand("b").case.hold_id)
    world.up("d", 1)
    assert [world.state(child) for child in "abcd"] == ["running"] * 4
    world.check()


def test_rejected_inside_a_group(make: Make) -> None:
    world = held(make, {"a": policy(), "b": manual(), "c": policy()}, "b", strategy=Strategy.REST_FOR_ONE)
    reject(world, world.hand("b").case.hold_id)
    world.check()
    assert [world.state(child) for child in "abc"] == ["running", "undefined", "undefined"]
    world.order(Call.RESTART_CHILD, "b")
    world.run(5.0)
    assert [world.state(child) for child in "abc"] == ["running"] * 3
    world.check()


# ---------------------------------------------------------------- dynamic children


def test_dynamic_children_recover_and_leave_nothing_behind(make: Make) -> None:
    """Before: cases, counters and rows of children that are gone stayed for ever."""
    world = make({"t": policy(standbys=1)}, strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    for number in range(6):
        world.order(Call.START_CHILD, f"d{number}")
    world.run(2.0)
    for number in range(6):
        world.acting(f"d{number}").die()
    world.run(2.0)
    assert {world.incarnation(f"d{number}") for number in range(6)} == {2}
    world.plans_for("d5", "standby", SILENT)
    for number in range(6):
        world.order(Call.TERMINATE_CHILD, f"d{number}")
    world.check()
    shell = world.shell
    assert shell.machine.children == {}
    assert (shell.recovering._hands, shell.recovering._failed, shell.failures) == ({}, {}, {})
    assert (shell.peers, shell.last_reasons, shell._orders) == ({}, {}, {})
    standbys = shell.standbys
    assert (standbys._by_child, standbys._not_before, standbys._failures, standbys._making) == ({}, {}, {}, {})
    assert [key for prefix in ("recovery:", "failed:") for key, _ in world.store.like(prefix)] == []


def test_a_dynamic_child_that_is_held_can_be_approved(make: Make) -> None:
    world = make({"t": manual()}, strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    world.order(Call.START_CHILD, "d")
    world.run(1.0)
    world.acting("d").die()
    world.until(lambda: world.state("d") == "held")
    world.check()
    approve(world, world.hand("d").case.hold_id)
    world.up("d", 2)
    assert world.case_state("d") is State.RECOVERED
    world.check()


def test_a_new_child_of_a_template_waits_for_nobody_elses_answer(make: Make) -> None:
    world = make({"t": manual()}, strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    world.store.put(started_utc="17")
    world.order(Call.START_CHILD, "d")
    world.run(1.0)
    world.acting("d").die()
    world.until(lambda: world.state("d") == "held")
    world.crash_supervisor()
    world.start_supervisor_anew()
    world.order(Call.START_CHILD, "d")
    world.until(lambda: world.state("d") == "running")
    world.check()
