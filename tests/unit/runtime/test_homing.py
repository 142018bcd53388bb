"""A child whose journal is on another node's disk: it goes on from the newest one, or a person says otherwise."""

import sqlite3
from pathlib import Path

import msgspec
import pytest
import ray

from supervisors.core.reasons import crash
from supervisors.recovery.home import ANYWHERE, Home, is_new, why_not
from supervisors.recovery.policy import Condition, Rule, Rung
from supervisors.runtime import factory
from supervisors.runtime.evidence import ShellEvidence
from supervisors.runtime.homing import HOME, home_of, put_home
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals.messages import AskAct
from supervisors.spec.compiled import PlacementSpec
from supervisors.trail.events import EventKind
from supervisors.tree.messages import Call
from supervisors.tree.model import Strategy

from .conftest import Make
from .players import FakeHost
from .shells import World, policy
from .stage import DIES, NEVER_ASKS

FREE = PlacementSpec(resources={"disk": 1.0})
_WARM = (Rule(Condition.ALWAYS, Rung.WARM),)


def test_the_rule() -> None:
    here = Home("a", "node of a")
    assert [is_new(home, "a") for home in (None, ANYWHERE, here)] == [True, True, False]
    assert is_new(here, "b")
    assert not is_new(None, ""), "where no disk has an id nothing is told apart"
    assert why_not(here, "a") == why_not(None, "b") == why_not(ANYWHERE, "b") == ""
    assert "node node of" in why_not(here, "b")
    assert why_not(here, "")


def home(world: World) -> str:
    """The disk that is written down."""
    found = home_of(world.store, "/desk/a")
    return found.volume if found is not None else ""


def failures(world: World) -> list[str]:
    return [str(line.data["why"]) for line in world.lines("a", EventKind.RECOVERY_RUNG_FAILED)]


def elsewhere(make: Make) -> World:
    """A child that acted on the far node, which cannot be had any more."""
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM)}, placement=FREE, spares=0, apart=True)
    world.order(Call.TERMINATE_CHILD, "a")
    world.run(1.0)
    world.store.forget(HOME + "/desk/a")
    world.factory.remote = True
    world.order(Call.RESTART_CHILD, "a")
    world.run(1.0)
    assert home(world) == "disk far"
    world.factory.remote = False
    far = world.acting("a")
    far.alive = False
    world.ray[far.row.id]("its node is lost")
    return world


def test_an_older_journal_is_refused_rung_by_rung_and_a_person_is_asked(make: Make) -> None:
    world = elsewhere(make)
    world.until(lambda: world.state("a") == "held")
    assert ["on another disk, that of node far" in why for why in failures(world)] == [True, True]
    assert home(world) == "disk far"
    assert world.factory.near[-2:] == ["far", "far"], "it was to be there, had that been possible"
    world.check()


def test_the_checkpoint_on_this_disk_says_nothing_about_it(make: Make) -> None:
    world = elsewhere(make)
    evidence = ShellEvidence(world.shell, "a", crash("x")).checkpoint()
    assert evidence.valid is None
    assert "of node far" in evidence.why
    world.until(lambda: world.state("a") == "held")


def test_who_agrees_without_naming_a_rung_changes_nothing(make: Make) -> None:
    world = elsewhere(make)
    world.until(lambda: world.state("a") == "held")
    world.shell.recovering.answer(world.hand("a").case.hold_id, "op", "", approve=True)
    world.run(5.0)
    assert world.state("a") == "held"
    assert home(world) == "disk far"
    world.check()


def test_a_person_who_names_the_rung_goes_on_from_here(make: Make) -> None:
    world = elsewhere(make)
    world.until(lambda: world.state("a") == "held")
    world.shell.recovering.answer(world.hand("a").case.hold_id, "op", "it is lost", "cold", approve=True)
    world.up("a", 1)
    assert home(world) == "disk here"
    world.acting("a").die()
    world.up("a", world.incarnation("a"))
    assert world.rungs("a")[-1] == "warm"
    world.check()


def apart(make: Make, *rungs: Rung) -> World:
    """A child that acts here, with a standby in sync on the far node."""
    world = make({"a": policy(Rung.HOT, *rungs, standbys=1)}, placement=FREE, spares=0, apart=True)
    world.factory.remote = True
    world.standby("a").die()
    world.until(lambda: any(host.standby and host.alive and host.state == "synced" for host in world.hosts.values()))
    world.run(0.5)
    world.factory.remote = False
    assert not world.standby("a").row.local
    assert home(world) == "disk here"
    return world


def lose(world: World, host: FakeHost) -> None:
    """Its node is lost, which Ray tells."""
    host.alive = False
    world.ray[host.row.id]("its node is lost")


def test_a_promoted_standby_has_the_newest_journal_from_then_on(make: Make) -> None:
    world = apart(make, Rung.WARM, Rung.COLD)
    world.factory.alone = True
    world.acting("a").die()
    world.up("a", 1)
    assert world.rungs("a") == ["hot"]
    assert home(world) == "disk far"
    lose(world, world.acting("a"))
    world.until(lambda: world.state("a") == "held")
    assert "on another disk, that of node far" in failures(world)[-1]
    assert world.factory.near == ["", "far"]


@pytest.mark.parametrize("plan", [NEVER_ASKS, DIES, "fails"])
def test_a_promotion_that_did_not_get_so_far_leaves_the_newest_journal_here(make: Make, plan: str) -> None:
    world = apart(make, Rung.WARM)
    standby = world.standby("a")
    world.plans_for("a", "promote", plan)
    world.acting("a").die()
    world.until(lambda: not standby.alive)
    world.ray[standby.row.id]("it is dead")
    world.up("a", 1)
    assert world.rungs("a") == ["warm"]
    assert home(world) == "disk here"
    world.check()


def test_who_asks_when_it_is_given_up_is_not_answered(make: Make) -> None:
    world = apart(make, Rung.WARM)
    standby = world.standby("a")
    world.plans_for("a", "promote", NEVER_ASKS)
    world.acting("a").die()
    world.until(lambda: standby.path != "" and standby.incarnation == 2)
    world.until(lambda: not standby.alive or standby.dying)
    assert standby._sup is not None
    standby._sup.arrive(standby.row.id, AskAct("/desk/a", 2))
    world.run(0.01)
    assert home(world) == "disk here"
    assert not standby.acting
    world.ray[standby.row.id]("it is dead")
    world.up("a", 1)


def test_it_is_written_down_before_a_supervisor_that_crashes_then_can_answer(make: Make) -> None:
    world = apart(make, Rung.WARM)
    world.factory.alone = True
    standby = world.standby("a")
    world.acting("a").die()
    world.until(lambda: home(world) == "disk far")
    assert not standby.acting, "the answer is on its way"
    world.crash_supervisor()
    world.replace_supervisor()
    world.until(lambda: not standby.alive or world.state("a") == "running")
    world.run(5.0)
    assert home(world) == "disk far"
    assert world.rules.broken == []


def test_a_standby_on_the_same_disk_does_not_ask(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    assert not world.shell.homing.promoted(world.shell.standbys._by_child["a"][0].peer)
    world = apart(make, Rung.WARM)
    assert world.shell.homing.promoted(world.shell.standbys._by_child["a"][0].peer)


def test_what_cannot_be_read_is_no_reason_to_refuse(make: Make) -> None:
    world = make({"a": policy(Rung.WARM, rules=_WARM)})
    world.store.put(**{HOME + "/desk/a": "?"})
    world.acting("a").die()
    world.up("a", 1)
    assert home(world) == "disk here"
    world.check()


def test_a_sibling_takes_it_with_it_and_it_goes_on_where_it_was(make: Make) -> None:
    world = make(
        {"a": policy(Rung.WARM, rules=_WARM), "b": None}, strategy=Strategy.ONE_FOR_ALL, placement=FREE, spares=0
    )
    world.acting("b").die()
    world.up("a", 1)
    assert "here" in world.factory.near
    world.check()


def test_the_home_stays_as_long_as_the_journal(make: Make) -> None:
    """An id comes again, in a rollback or of a dynamic child, and finds the journal that is there."""
    world = make({"a": policy(Rung.WARM)})
    assert home(world) == "disk here"
    world.order(Call.TERMINATE_CHILD, "a")
    world.run(1.0)
    world.order(Call.DELETE_CHILD, "a")
    world.run(1.0)
    assert home(world) == "disk here"


def test_a_start_that_follows_from_no_failure_is_held_and_its_siblings_go_on(make: Make) -> None:
    """Before: it failed to start, again and again, until the whole system was down."""
    world = make({"a": policy(Rung.WARM, rules=_WARM), "b": None}, placement=FREE, spares=0, apart=True)
    put_home(world.store, "/desk/a", Home("disk far", "far", "10.0.0.2"))
    world.crash_supervisor()
    world.start_supervisor_anew()
    world.until(lambda: world.state("a") == "held")
    assert world.state("b") == "running"
    assert world.shell.machine.booted
    world.shell.recovering.answer(world.hand("a").case.hold_id, "op", "it is lost", "warm", approve=True)
    world.until(lambda: world.state("a") == "running")
    assert home(world) == "disk here"
    world.check()


def test_a_rung_is_named_in_vain_by_who_could_not_know(make: Make) -> None:
    """It was held for something else; that a newer journal is elsewhere was never said."""
    always = (Rule(Condition.ALWAYS, Rung.MANUAL),)
    world = make({"a": policy(Rung.WARM, rules=always)}, placement=FREE, spares=0, apart=True)
    put_home(world.store, "/desk/a", Home("disk far", "far", "10.0.0.2"))
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    world.shell.recovering.answer(world.hand("a").case.hold_id, "op", "", "warm", approve=True)
    world.until(lambda: bool(failures(world)))
    world.until(lambda: world.state("a") == "held")
    assert "of node far" in failures(world)[-1]
    world.shell.recovering.answer(world.hand("a").case.hold_id, "op", "it is lost", "warm", approve=True)
    world.until(lambda: world.state("a") == "running")
    assert home(world) == "disk here"


def test_a_life_that_does_not_get_so_far_is_no_home(make: Make) -> None:
    world = make({"a": policy(Rung.WARM, rules=_WARM)}, placement=FREE, spares=0, apart=True)
    world.store.forget(HOME + "/desk/a")
    world.factory.remote = True
    world.plans_for("a", "worker", "fails", "fails")
    world.acting("a").die()
    world.until(lambda: len(world.factory.near) > 1)
    world.run(0.1)
    assert home(world) == ""


def test_a_disk_without_an_id_is_never_agreed_to_where_one_with_an_id_was(make: Make) -> None:
    world = apart(make, Rung.WARM)
    standby = world.standby("a")
    peer = world.shell.standbys._by_child["a"][0].peer
    assert peer.host is not None
    peer.host = msgspec.structs.replace(peer.host, volume="")
    world.acting("a").die()
    world.until(lambda: not standby.alive)
    assert home(world) == "disk here"
    assert not standby.acting
    world.ray[standby.row.id]("it is dead")
    world.up("a", 1)


def test_a_node_that_came_up_anew_is_known_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def node(name: str, address: str, alive: bool = True) -> dict[str, object]:
        return {"NodeID": name, "NodeManagerAddress": address, "NodeName": name, "Resources": {}, "Alive": alive}

    home = Home("disk", "old", "10.0.0.2")
    monkeypatch.setattr(ray, "nodes", lambda: [node("a", "10.0.0.1"), node("new", "10.0.0.2")])
    assert factory._find(home) == "new"
    assert factory._find(Home("disk", "a")) == "a"
    assert factory._find(Home("disk", "old", "10.0.0.3")) == factory._find(Home("disk", "old")) == ""
    monkeypatch.setattr(ray, "nodes", lambda: [node("old", "10.0.0.2", alive=False)])
    assert factory._find(home) == ""


def test_a_file_of_an_earlier_version_is_mended(tmp_path: Path) -> None:
    store = GoalStore(tmp_path)
    store.add_host(HostRow("h1", "host-h1"))
    with sqlite3.connect(tmp_path / "goals.sqlite") as connection:
        connection.execute("ALTER TABLE hosts DROP COLUMN volume")
    store.close()
    store = GoalStore(tmp_path)
    assert store.hosts() == [HostRow("h1", "host-h1")]
    store.close()


def test_without_a_policy_nothing_is_noted(make: Make) -> None:
    world = make({"a": None})
    world.acting("a").die()
    world.up("a", 1)
    assert home(world) == ""
    world.check()
