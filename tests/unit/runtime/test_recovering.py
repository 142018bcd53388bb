"""How children come back, rung by rung: hot, warm, cold, manual; with ``Rules`` kept all the time."""

import json
from functools import partial

import pytest

from supervisors.core.reasons import ExitKind, ExitReason, crash
from supervisors.recovery.policy import Condition, LeaseSpec, RampSpec, RampStep, Rule, Rung, ValidationStep
from supervisors.recovery.progress import State
from supervisors.runtime import preserving, remains
from supervisors.trail.events import EventKind
from supervisors.tree.messages import Call
from supervisors.tree.model import Strategy

from .conftest import Make
from .shells import World, policy
from .stage import DEAF, DIES, IGNORES, SILENT

_RAMP = RampSpec((RampStep(0.0, 10.0), RampStep(0.1, 10.0), RampStep(1.0)))
_CHECK = ValidationStep("well", "/watch", "well", attempts=1, timeout=1.0)
_WARM = (Rule(Condition.ALWAYS, Rung.WARM),)
_HOT = (Rule(Condition.ALWAYS, Rung.HOT),)


def failed_rungs(world: World, child: str = "a") -> list[str]:
    return [str(line.data["rung"]) for line in world.lines(child, EventKind.RECOVERY_RUNG_FAILED)]


def kept(world: World, child: str = "a") -> list[dict[str, object]]:
    """The failed states on the disk, oldest first."""
    folders = sorted((world.folder / "failed" / f"desk~{child}").glob("*"))
    return [json.loads((folder / "failure.json").read_text()) for folder in folders]


# ---------------------------------------------------------------- hot


def test_a_synced_standby_is_promoted_and_another_one_is_made(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    standby, epoch = world.standby("a"), world.acting("a").epoch
    world.acting("a").die()
    world.up("a", 1)
    assert world.acting("a") is standby
    assert standby.epoch > epoch
    assert (world.incarnation("a"), world.rungs("a")) == (2, ["hot"])
    world.run(2.0)
    assert world.standby("a") is not standby
    assert world.standby("a").state == "synced"
    world.check()


def test_a_standby_that_dies_in_its_promotion_is_followed_by_the_next_rung(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    world.plans_for("a", "promote", DIES)
    before, began = world.acting("a").epoch, world.clock.now
    world.acting("a").die()
    world.up("a", 1)
    assert (world.incarnation("a"), world.rungs("a"), failed_rungs(world)) == (2, ["warm"], ["hot"])
    assert world.acting("a").epoch >= before + 2
    # before: told as the recovery of another failure, which began when the standby died
    (told,) = world.lines("a", EventKind.RECOVERED)
    assert told.failure == "/desk/a#1"
    assert told.data["total_ms"] == pytest.approx((world.clock.now - began) * 1e3, abs=1.0)
    world.check()


def test_a_deaf_standby_is_killed_for_certain_before_the_next_rung_begins(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    world.plans_for("a", "promote", SILENT)
    standby, began = world.standby("a"), world.clock.now
    world.acting("a").die()
    world.up("a", 1)
    assert 2.0 < world.clock.now - began < 2.2
    assert not standby.alive
    assert (world.rungs("a"), failed_rungs(world)) == (["warm"], ["hot"])
    world.check()


def test_both_die_together(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    world.standby("a").die()
    world.acting("a").die()
    world.up("a", 1)
    assert world.rungs("a") == ["cold"]  # by rule: nothing to promote, and no checkpoint
    world.check()


def test_hot_without_a_standby_in_sync_is_a_failed_rung_and_no_warm_one_in_disguise(make: Make) -> None:
    world = make({"a": policy(standbys=1, rules=_HOT)})
    world.standby("a").syncs = False
    world.shell.standbys.lagging(world.standby("a").row.id, "its primary waits for it no longer")
    world.acting("a").die()
    world.up("a", 1)
    assert (world.rungs("a"), failed_rungs(world)) == (["warm"], ["hot"])
    assert "lagging" in str(world.lines("a", EventKind.RECOVERY_RUNG_FAILED)[0].data["why"])
    assert "hot" not in [host.rung for host in world.hosts.values()]
    world.check()


def test_a_lagging_standby_is_not_promoted_by_rule(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    world.shell.standbys.lagging(world.standby("a").row.id, "its primary waits for it no longer")
    world.acting("a").die()
    world.up("a", 1)
    assert world.rungs("a") == ["cold"]
    world.check()


def test_one_that_is_waited_for_again_is_promoted(make: Make) -> None:
    """It goes on saying that it is in sync, as it did all the while; its primary says that it is so again."""
    world = make({"a": policy(standbys=1)})
    host = world.standby("a").row.id
    world.shell.standbys.lagging(host, "nothing confirmed for 1.02 s")
    assert [one.state for one in world.shell.standbys.status("a")] == ["lagging"]
    world.shell.standbys.waited_for(host)
    assert [one.state for one in world.shell.standbys.status("a")] == ["synced"]
    world.acting("a").die()
    world.up("a", 1)
    assert world.rungs("a") == ["hot"]
    world.check()


# ---------------------------------------------------------------- the ladder


def test_warm_fails_by_a_corrupt_journal_then_cold_then_a_person_is_asked(make: Make) -> None:
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM)})
    world.plans_for("a", "worker", "fails E7003 the journal is corrupt", "fails E7003 the journal is corrupt")
    world.acting("a").crash(crash("boom"))
    world.until(lambda: world.state("a") == "held")
    assert failed_rungs(world) == ["warm", "cold"]
    assert "E7003" in world.shell.recovering.told.corrupt["a"]
    world.run(1.0)
    assert ["E7003" in str(one["why"]) for one in kept(world)] == [True, True]
    assert [one["incarnation"] for one in kept(world)] == [2, 2]
    assert world.incarnation("a") == 2
    world.check()
    assert world.state("a") == "held"


def test_the_next_rung_waits_until_the_failed_state_is_kept(make: Make) -> None:
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM)})
    world.plans_for("a", "worker", DIES)
    world.threads.parked.add("keep_it")
    world.acting("a").die()
    world.until(lambda: failed_rungs(world))
    world.run(1.0)
    assert world.state("a") == "starting"
    world.threads.go()
    world.up("a", 1)
    world.check()


def test_each_failed_state_is_waited_for_when_two_are_being_kept(make: Make) -> None:
    """Before: the first of them that was done let the next rung begin."""
    world = make({"a": policy(Rung.WARM, rules=_WARM, keep_failed=10)})
    hand = world.hand("a")
    hand.preserving = 0
    world.threads.parked.add("keep_it")
    world.shell.recovering._keep_remains("a", hand, "one", wait=True)
    world.shell.recovering._keep_remains("a", hand, "two", wait=True)
    world.threads._waiting, second = world.threads._waiting[:1], world.threads._waiting[1:]
    world.threads.go()
    world.run(0.1)
    assert hand.preserving == 1
    world.threads._waiting = second
    world.threads.go()
    world.run(0.1)
    assert hand.preserving == 0
    world.check()


def test_a_disk_that_keeps_nothing_does_not_keep_a_child_down(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: anything but an ``OSError`` left the child waiting for ever."""
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM)})

    def full(*arguments: object) -> preserving.Preserved:
        raise ValueError("nothing works")

    monkeypatch.setattr(preserving, "preserve", full)
    world.plans_for("a", "worker", DIES)
    world.acting("a").die()
    world.up("a", 1)
    assert world.rungs("a") == ["cold"]
    assert "nothing works" in str(world.lines("a", EventKind.STATE_PRESERVED)[0].data["missing"])
    world.check()


def test_a_disk_that_hangs_does_not_keep_a_child_down(make: Make) -> None:
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM)})
    world.threads.parked.add("keep_it")
    world.plans_for("a", "worker", DIES)
    world.acting("a").die()
    began = world.clock.now
    world.up("a", 1)
    assert world.clock.now - began == pytest.approx(remains.KEEP_LIMIT, abs=0.1)
    world.threads.go()
    world.check()


def test_the_time_an_attempt_waits_does_not_count(make: Make) -> None:
    """Before: an attempt whose turn had not come could run out of time, and the next with it."""
    short = {"warm": 0.5, "cold": 0.5}
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM, rung_timeout=short)})
    world.threads.parked.add("keep_it")
    world.plans_for("a", "worker", DIES)
    world.acting("a").die()
    world.run(3.0)
    assert failed_rungs(world) == ["warm"]
    world.threads.go()
    world.up("a", 1)
    assert world.rungs("a") == ["cold"]
    world.check()


def test_the_time_a_rung_waits_for_a_process_is_not_its_own(make: Make) -> None:
    """Before: of twenty that failed at once on a slow machine some took longer than warm may, and went on to cold."""
    short = {"warm": 0.5, "cold": 0.5}
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM, rung_timeout=short)}, spares=1)
    world.executor.parked.add("make")
    world.acting("a").die()
    world.run(3.0)
    assert failed_rungs(world) == []
    world.plans_for("a", "worker", SILENT)
    world.executor.go()
    world.run(0.4)
    assert failed_rungs(world) == [], "it has its whole time"
    world.run(0.3)
    assert failed_rungs(world) == ["warm"], "and no more than that"
    world.up("a", 1)
    assert world.rungs("a") == ["cold"]
    world.check()


def test_an_attempt_that_never_began_does_not_begin_while_a_person_is_asked(make: Make) -> None:
    """Before: its time ran out while it waited for the end of a life elsewhere, and it began once that had ended."""
    short = {"warm": 0.5, "cold": 0.5}
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM, rung_timeout=short)}, spares=1)
    world.factory.remote = True
    world.plans_for("a", "worker", SILENT)
    world.acting("a").die()
    world.until(lambda: failed_rungs(world) == ["warm", "cold"])
    (far,) = [host for host in world.hosts.values() if not host.row.local]
    world.ray[far.row.id]("it is dead")
    world.run(600.0)  # longer than a person may take
    assert world.state("a") == "held"
    assert [host for host in world.hosts.values() if host.alive and host.path == "/desk/a"] == []
    world.check()


def test_no_host_can_be_had(make: Make) -> None:
    world = make({"a": policy(Rung.COLD)}, spares=1)
    world.factory.refuses = "no node"
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    assert failed_rungs(world) == ["cold"]
    world.check()


def test_whatever_the_factory_raises_ends_the_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: an exception of Ray's own was lost in the thread, and the start waited for ever."""
    world = make({"a": policy(Rung.COLD)}, spares=1)

    def raises(*arguments: object) -> None:
        raise RuntimeError("Ray says no")

    monkeypatch.setattr(world.factory, "acquire", raises)
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    world.check()


def test_a_host_that_takes_no_assignment_is_gone_before_another_one_gets_it(make: Make) -> None:
    """Before: it was killed in a thread while another host began under the same epoch."""
    world = make({"a": policy(Rung.COLD), "b": None})
    for child in ("a", "b"):
        world.plans_for(child, "worker", *[DEAF] * (2 if child == "a" else 1))  # a plain start has 3 s
        world.acting(child).die()
    world.run(10.0)
    assert [world.state(child) for child in "ab"] == ["running", "running"]
    assert [world.incarnation(child) for child in "ab"] == [2, 2]
    assert failed_rungs(world) == []
    world.check()


def test_three_hosts_that_take_no_assignment_are_a_failed_rung(make: Make) -> None:
    world = make({"a": policy(Rung.COLD, rung_timeout={"cold": 60.0})})
    world.plans_for("a", "worker", DEAF, DEAF, DEAF)
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    assert "E2034" in str(world.lines("a", EventKind.RECOVERY_RUNG_FAILED)[0].data["why"])
    world.check()


def test_an_attempt_that_ignores_its_start_closes_the_case(make: Make) -> None:
    world = make({"a": policy(Rung.COLD)})
    world.plans_for("a", "worker", IGNORES)
    hand = world.hand("a")
    world.acting("a").die()
    world.run(5.0)
    assert world.state("a") == "undefined"
    assert hand.case.closed
    world.check()


def test_the_machine_gives_up_a_start_while_the_last_rung_runs_out_of_time(make: Make) -> None:
    """Before: the machine was told of a hold for a start that was over."""
    world = make({"a": policy(Rung.COLD, rung_timeout={"cold": 3.0})}, start_timeout=3.0)
    world.leases.down = True
    world.acting("a").die()
    world.run(10.0)
    assert world.state("a") == "held"
    world.check()


# ---------------------------------------------------------------- hung


def test_a_hung_process_leaves_its_stack_in_every_recovery(make: Make) -> None:
    """Before: the stack was lost with the case of an earlier recovery, and kept only where a rung failed."""
    world = make({"a": policy(standbys=1)})
    for life in (1, 2):
        peer = world.shell.peers["a"]
        peer.kill_reason = ExitReason(ExitKind.HUNG, "no progress")
        world.shell.recovering.remains.before_kill(peer, partial(world.shell.kill, peer))
        world.up("a", life)
        world.until(lambda: world.hand("a").case.closed, 700.0)
        (stack,) = list((world.folder / "failed" / "desk~a").glob(f"*-{life}/stack.txt"))
        assert stack.read_text() == "a stack\n"


def test_a_hung_process_is_killed_whatever_becomes_of_its_stack(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: when all threads were busy, or the dump raised, it was never killed."""
    world = make({"a": policy(Rung.COLD), "b": policy(Rung.COLD)})

    def raises(pid: int, limit: float) -> str:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")

    world.threads.parked.add("dump")
    for child in "ab":
        peer = world.shell.peers[child]
        world.shell.recovering.remains.before_kill(peer, partial(world.shell.kill, peer))
        world.threads.parked.discard("dump")
        monkeypatch.setattr(preserving, "stack_of", raises)
    world.run(remains.DUMP_LIMIT + 0.1)
    assert [world.incarnation(child) for child in "ab"] == [2, 2]
    world.threads._waiting.clear()
    world.swallowed.clear()
    world.check()


# ---------------------------------------------------------------- checks and ramp


def test_a_required_check_that_fails_ends_the_life_and_takes_the_next_rung(make: Make) -> None:
    world = make({"a": policy(standbys=1, validate=(_CHECK,))})
    world.answers = lambda step, path: len(world.checks) > 1
    world.acting("a").die()
    world.until(lambda: len(world.checks) == 2)
    world.run(0.1)
    assert failed_rungs(world) == ["hot"]
    assert world.case_state("a") is State.RECOVERED
    assert world.acting("a").rung == "warm"
    world.check()


def test_an_answer_of_a_check_that_comes_after_the_child_died_counts_for_nothing(make: Make) -> None:
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=_WARM, validate=(_CHECK,))})
    world.executor.parked.add("run")
    world.acting("a").die()
    world.up("a", 1)
    world.acting("a").die()
    world.up("a", 2)
    answers = iter((False, True))
    world.answers = lambda step, path: next(answers)
    world.executor.go()
    world.run(1.0)
    assert world.case_state("a") is State.RECOVERED
    assert world.acting("a").rung == "cold"
    world.check()


def test_a_check_that_fails_while_a_siblings_fate_starts_the_child_anew(make: Make) -> None:
    """Before: the start that had no host yet ended without a word, and the supervisor waited for it for ever."""
    children = {"a": policy(Rung.COLD, validate=(_CHECK,)), "b": None}
    world = make(dict(children), strategy=Strategy.ONE_FOR_ALL)
    world.executor.parked.add("run")
    world.acting("a").die()
    world.up("b", 1)
    world.leases.down = True
    world.acting("b").die()
    world.run(10.0)
    world.leases.down = False
    assert world.state("a") == "held"
    world.executor.go()
    world.check()


def test_the_ramp_goes_on_step_by_step_and_begins_anew_when_it_fails_again(make: Make) -> None:
    world = make({"a": policy(Rung.COLD, ramp=_RAMP)})
    world.acting("a").die()
    world.up("a", 1)
    world.run(15.0)
    assert world.acting("a").sizes == [0.0, 0.0, 0.1]
    world.acting("a").die()
    world.up("a", 2)
    assert world.acting("a").size == 0.0
    world.run(30.0)
    assert world.acting("a").size == 1.0
    world.check(1000.0)
    assert world.hand("a").case.closed


def test_a_sibling_takes_a_ramping_child_with_it_and_the_size_stays(make: Make) -> None:
    world = make({"a": policy(Rung.COLD, ramp=_RAMP), "b": None}, strategy=Strategy.ONE_FOR_ALL)
    world.acting("a").die()
    world.up("a", 1)
    world.run(15.0)
    world.acting("b").die()
    world.up("a", 2)
    assert world.acting("a").sizes == [0.1]
    world.check(60.0)
    assert world.acting("a").size == 1.0


# ---------------------------------------------------------------- leases


def test_a_life_on_a_lost_node_keeps_its_lease_until_that_is_over(make: Make) -> None:
    world = make({"a": policy(Rung.COLD, lease=LeaseSpec(1.0, 5.0, 1.0))}, spares=0)
    world.factory.remote = True
    world.order(Call.TERMINATE_CHILD, "a")
    world.run(1.0)
    world.order(Call.RESTART_CHILD, "a")
    world.run(1.0)
    far = world.acting("a")
    assert not far.row.local
    world.factory.remote = False
    began = world.clock.now
    until = world.leases._rows["/desk/a"][2]
    far.alive = False  # cut off: nobody here can say what it does
    world.ray[far.row.id]("its node is lost")
    world.up("a", 2)
    assert world.clock.now >= until
    assert world.clock.now - began < 6.0
    world.check()


def test_a_lease_store_that_is_down_is_waited_for(make: Make) -> None:
    world = make({"a": policy(standbys=1, rung_timeout={"hot": 9.0})})
    world.leases.down = True
    world.acting("a").die()
    world.run(4.0)
    assert world.state("a") == "starting"
    world.leases.down = False
    world.up("a", 1)
    assert world.rungs("a") == ["hot"]
    world.check()


def test_the_time_a_promotion_waits_for_its_lease_is_not_its_own(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    standby = world.standby("a")
    world.leases.down = True
    world.acting("a").die()
    world.run(10.0)
    assert standby.alive, "a store that is silent says nothing about the standby"
    world.leases.down = False
    world.up("a", 1)
    assert failed_rungs(world) == []
    assert world.acting("a") is standby
    world.check()


# ---------------------------------------------------------------- many


def test_twenty_at_once(make: Make) -> None:
    children = {f"c{number}": policy(standbys=1) for number in range(20)}
    world = make(dict(children), spares=80)
    for number, child in enumerate(children):
        if number % 3 == 0:
            world.standby(child).die()
        if number % 4 == 0:
            world.plans_for(child, "promote", DIES)
        world.acting(child).die()
    began = world.clock.now
    for child in children:
        world.up(child, 1)
    assert world.clock.now - began < 1.0
    assert {world.incarnation(child) for child in children} == {2}
    world.check()


def test_a_recovery_that_is_stopped_by_hand_leaves_no_times_behind(make: Make) -> None:
    """Before: the start by hand an hour later was told as a recovery of an hour."""
    world = make({"a": policy(Rung.COLD)})
    world.plans_for("a", "worker", SILENT)
    world.acting("a").die()
    world.run(1.0)
    world.order(Call.TERMINATE_CHILD, "a")
    world.run(3600.0)
    world.order(Call.RESTART_CHILD, "a")
    world.up("a", 2)
    assert world.lines("a", EventKind.RECOVERED) == []
    assert world.shell.failures == {}
    world.check()
