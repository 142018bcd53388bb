"""Stops, shutdowns and supervisor crashes in the middle of each phase of a recovery."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from supervisors.core.reasons import SHUTDOWN
from supervisors.recovery.messages import Outcome
from supervisors.recovery.policy import Condition, RampSpec, RampStep, RecoverySpec, Rule, Rung, ValidationStep
from supervisors.recovery.progress import State
from supervisors.runtime.casebook import kept_case
from supervisors.signals.agent_messages import Gone
from supervisors.signals.messages import Exited
from supervisors.trail.events import EventKind
from supervisors.tree.messages import Call, ShutdownOrdered

from .conftest import Make
from .shells import World, policy
from .stage import DIES, SILENT, WIRE, FakeSocket

_RAMP = RampSpec((RampStep(0.0, 10.0), RampStep(0.1, 10.0), RampStep(1.0)))
_CHECK = ValidationStep("well", "/watch", "well", attempts=1, timeout=1.0)
_HELD = policy(rules=(Rule(Condition.ALWAYS, Rung.MANUAL),))
_WARM = policy(Rung.WARM, Rung.COLD, rules=(Rule(Condition.ALWAYS, Rung.WARM),))


class Phase:
    """A moment of a recovery, with the policy that leads there."""

    def __init__(self, name: str, spec: RecoverySpec, reach: Callable[[World], None], spares: int = 9) -> None:
        self.name, self.spec, self.reach, self.spares = name, spec, reach, spares

    def __repr__(self) -> str:
        return self.name

    def world(self, make: Make) -> World:
        world = make({"a": self.spec, "b": policy()}, spares=self.spares)
        self.reach(world)
        return world


def _waits_for_a_host(world: World) -> None:
    for _ in range(2):  # the pool is empty
        world.store.claim_spare("/elsewhere", "")
    world.executor.parked.add("make")
    world.acting("a").die()
    world.until(lambda: world.state("a") == "starting")
    world.run(0.1)


def _waits_for_a_lease(world: World) -> None:
    world.leases.down = True
    world.acting("a").die()
    world.run(0.5)


def _starts(world: World) -> None:
    world.plans_for("a", "worker", SILENT)
    world.acting("a").die()
    world.run(0.5)


def _is_promoted(world: World) -> None:
    world.plans_for("a", "promote", SILENT)
    world.acting("a").die()
    world.run(0.5)


def _is_checked(world: World) -> None:
    world.executor.parked.add("run")
    world.acting("a").die()
    world.up("a", 1)
    world.run(0.1)
    assert world.case_state("a") is State.VALIDATING


def _ramps(world: World) -> None:
    world.acting("a").die()
    world.up("a", 1)
    world.run(15.0)
    assert world.acting("a").size == 0.1


def _is_kept(world: World) -> None:
    world.plans_for("a", "worker", DIES)
    world.threads.parked.add("keep_it")
    world.acting("a").die()
    world.until(lambda: world.lines("a", EventKind.RECOVERY_RUNG_FAILED))
    world.run(0.1)


def _is_held(world: World) -> None:
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")


PHASES = [
    Phase("waits for a host", policy(Rung.COLD), _waits_for_a_host, 2),
    Phase("waits for a lease", policy(Rung.COLD), _waits_for_a_lease),
    Phase("waits for the lease of a promotion", policy(standbys=1), _waits_for_a_lease),
    Phase("starts", policy(Rung.COLD), _starts),
    Phase("is promoted", policy(standbys=1), _is_promoted),
    Phase("is checked", policy(Rung.COLD, validate=(_CHECK,)), _is_checked),
    Phase("ramps", policy(Rung.COLD, ramp=_RAMP), _ramps),
    Phase("is kept", _WARM, _is_kept),
    Phase("is held", _HELD, _is_held),
]
each_phase = pytest.mark.parametrize("phase", PHASES, ids=repr)


def heal(world: World) -> None:
    world.leases.down = False
    world.plans.clear()
    world.executor.go()
    world.threads.go()


# ---------------------------------------------------------------- orders


@each_phase
def test_terminate_child(make: Make, phase: Phase) -> None:
    """Before: a child whose next rung waited for its failed state could not be stopped at all."""
    world = phase.world(make)
    case = world.hand("a").case
    replies = world.order(Call.TERMINATE_CHILD, "a")
    world.run(3.0)
    assert [reply.error for reply in replies] == [""]
    assert world.state("a") == "undefined"
    assert case.outcome is Outcome.WITHDRAWN
    heal(world)
    world.check()
    assert world.state("a") == "undefined"
    world.order(Call.RESTART_CHILD, "a")
    world.run(1.0)
    assert world.state("a") == "running"
    assert world.acting("a").size == 1.0
    world.check()


@each_phase
def test_shutdown(make: Make, phase: Phase) -> None:
    """Before: hosts that were found too late were left, and cases of a supervisor that had ended stayed open."""
    world = phase.world(make)
    world.shell.step(ShutdownOrdered(SHUTDOWN))
    world.run(5.0)
    assert [type(message) for message in world.finished] == [Exited]
    heal(world)
    world.check()
    record = kept_case(world.store, world.shell.child_path("a"), world.shell.log)
    assert record is not None
    # what waits for a person is not given up with its supervisor
    assert record.closed is (None if record.hold is not None else Outcome.WITHDRAWN)
    assert (record.hold is not None) == (phase.name == "is held")


def test_what_is_held_waits_on_under_the_next_supervisor_of_the_same_run(make: Make) -> None:
    """Before: a supervisor that gave up was restarted, and started the held child without anybody's approval."""
    world = make({"a": _HELD, "b": policy()})
    world.store.put(started_utc="17")
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    hold = world.hand("a").case.hold_id
    for fresh in (1, 2):  # also when it ends again before it was answered
        world.shell.step(ShutdownOrdered(SHUTDOWN))
        world.run(5.0)
        world.rules.open.clear()
        world.shell = world._shell()
        world.boot()
        assert (world.state("a"), world.state("b"), fresh) == ("held", "running", fresh)
    assert world.hand("a").case.hold_id == hold
    world.shell.recovering.answer(hold, "ada", "looked at", "", approve=True)
    world.until(lambda: world.state("a") == "running")
    world.check()


def test_what_was_held_in_an_earlier_run_is_started(make: Make) -> None:
    world = make({"a": _HELD})
    world.store.put(started_utc="17")
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    world.shell.step(ShutdownOrdered(SHUTDOWN))
    world.run(5.0)
    world.store.put(started_utc="18")
    world.rules.open.clear()
    world.shell = world._shell()
    world.boot()
    assert world.state("a") == "running"
    world.check()


def test_a_standby_that_is_to_stop_before_its_lease_is_granted_never_acts(make: Make) -> None:
    """Before: it began to act while its end was wanted."""
    world = make({"a": policy(standbys=1)})
    standby = world.standby("a")
    world.leases.down = True
    world.acting("a").die()
    world.run(0.3)
    world.order(Call.TERMINATE_CHILD, "a")
    world.leases.down = False
    world.check()
    assert (standby.acting, standby.alive, world.state("a")) == (False, False, "undefined")


def test_a_host_that_is_made_while_its_supervisor_ends_is_ended(make: Make) -> None:
    world = make({"a": policy(standbys=1)}, spares=1)
    world.executor.parked.add("make")
    world.standby("a").die()
    world.acting("a").die()
    world.run(0.1)
    world.shell.step(ShutdownOrdered(SHUTDOWN))
    world.executor.go()
    world.check()
    assert not any(host.alive for host in world.hosts.values())


# ---------------------------------------------------------------- the supervisor crashes


@each_phase
def test_a_replaced_supervisor_goes_on(make: Make, phase: Phase) -> None:
    world = phase.world(make)
    before = world.state("a")
    sizes = [host.size for host in world.hosts.values() if host.alive and host.acting and host.path == "/desk/a"]
    holds = world.hand("a").case.hold_id
    world.crash_supervisor()
    world.run(0.2)
    heal(world)
    world.replace_supervisor()
    world.run(1.0)
    if before == "held":
        assert (world.state("a"), world.hand("a").case.hold_id) == ("held", holds)
        world.shell.recovering.answer(holds, "ada", "", "", approve=True)
        world.run(1.0)
    assert world.state("a") == "running"
    if before == "running":
        assert world.incarnation("a") == 2
        assert world.acting("a").size == sizes[0]
    world.check(60.0)
    assert world.acting("a").size == 1.0
    assert world.case_state("a") is State.RECOVERED


@each_phase
def test_a_replaced_supervisor_finds_it_dead(make: Make, phase: Phase) -> None:
    world = phase.world(make)
    world.crash_supervisor()
    for host in list(world.hosts.values()):
        if host.path == "/desk/a":
            host.die()
    heal(world)
    world.run(0.2)
    world.replace_supervisor()
    world.run(2.0)
    hold = world.hand("a").case.hold_id
    if hold:
        world.shell.recovering.answer(hold, "ada", "", "", approve=True)
    world.run(1.0)
    assert world.state("a") == "running"
    world.check(60.0)


@pytest.mark.parametrize("phase", [PHASES[0], PHASES[1], PHASES[3], PHASES[7]], ids=repr)
def test_an_attempt_that_its_supervisor_did_not_survive_has_not_failed(make: Make, phase: Phase) -> None:
    """Before: a rung counted as failed because its supervisor had crashed."""
    world = phase.world(make)
    before = len(world.lines("a", EventKind.RECOVERY_RUNG_FAILED))
    world.crash_supervisor()
    heal(world)
    world.run(5.0)
    world.replace_supervisor()
    world.run(1.0)
    assert world.state("a") == "running"
    assert len(world.lines("a", EventKind.RECOVERY_RUNG_FAILED)) == before
    assert world.hand("a").case.number == before + 1
    world.check()


def test_a_child_that_died_with_its_supervisor_is_replaced_by_its_standby(make: Make) -> None:
    world = make({"a": policy(standbys=1)})
    standby = world.standby("a")
    world.crash_supervisor()
    world.acting("a").die()
    world.run(0.3)
    world.replace_supervisor()
    world.up("a", 1)
    assert world.acting("a") is standby
    assert standby.rung == "hot"
    world.check()


def test_a_child_that_dies_just_after_it_was_adopted_is_replaced_by_its_standby(make: Make) -> None:
    """Before: its death was decided on before its standby, adopted as well, had told how it stood."""
    world = make({"a": policy(standbys=1)})
    standby = world.standby("a")
    world.crash_supervisor()
    world.run(0.3)
    world.replace_supervisor()
    world.acting("a").die()
    world.up("a", 1)
    assert world.acting("a") is standby
    assert standby.rung == "hot"
    world.check()


def test_two_notices_of_one_end_are_one_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: the second one, read while the standby was being heard, buried the child and told the machine as well."""
    world = make({"a": policy(standbys=1)})
    world.crash_supervisor()
    world.run(0.3)
    world.replace_supervisor()
    monkeypatch.setattr(world.shell.detection.agents, "is_agent", lambda sender: sender == "agent")
    dead = world.acting("a")
    dead.die()
    socket = cast(FakeSocket, world.shell.socket)
    world.later(WIRE * 1.1, lambda: socket.arrive("agent", Gone(dead.row.id, "pidfd")))
    world.up("a", 1)
    assert len(world.lines("a", EventKind.FIRST_SIGNAL)) == 1
    assert len(world.lines("a", EventKind.CHILD_EXITED)) == 1
    world.check()


def test_a_process_that_was_claimed_and_assigned_to_nobody_is_ended(make: Make) -> None:
    """Before: it idled on, when its supervisor was killed between the two."""
    world = make({"a": policy(standbys=1), "b": None})
    kept = [world.acting("a"), world.standby("a"), world.acting("b"), world.host("/desk/a/below", "claimed")]
    kept.append(world.host("/desk", "claimed"))
    claimed = world.host("/desk/b", "claimed")
    world.crash_supervisor()
    world.run(0.3)
    world.replace_supervisor()
    world.run(1.0)
    assert not claimed.alive
    assert all(host.alive for host in kept)
    assert world.store.host(claimed.row.id) is None
    world.check()


def test_a_standby_that_is_dead_is_not_waited_for(make: Make) -> None:
    """Before: a replaced supervisor stood still for half a second, listening for a standby that was dead."""
    world = make({"a": policy(standbys=1), "b": policy()})
    world.crash_supervisor()
    world.standby("a").die()
    world.acting("a").die()
    world.run(0.1)
    began = world.clock.now
    world.replace_supervisor()
    assert world.clock.now - began < 0.01
    world.up("a", 1)
    world.check()


@pytest.mark.parametrize("approve", [True, False])
def test_an_answer_that_the_machine_had_not_got_to(make: Make, approve: bool) -> None:
    """Before: with the supervisor's crash the answer was lost, and nobody could give another one."""
    world = make({"a": _HELD, "b": None}, start_timeout=30.0)
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    hold = world.hand("a").case.hold_id
    world.shell.machine.step = lambda event, now: []  # type: ignore[method-assign]
    world.shell.recovering.answer(hold, "ada", "", "", approve=approve)
    world.crash_supervisor()
    world.run(0.1)
    world.replace_supervisor()
    world.run(2.0)
    assert world.state("a") == ("running" if approve else "undefined")
    world.check()


def test_a_case_of_an_earlier_run_is_not_gone_on_with(make: Make, tmp_path: Path) -> None:
    """Before: a supervisor that crashed before its child failed again found the hold of a run that was over."""
    world = make({"a": _HELD})
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    world.crash_supervisor()
    world.run(1.0)
    for host in world.hosts.values():
        host.die()
    world.rules.open.clear()
    world.rules.epochs.clear()
    world.shell = world._shell()
    world.boot()  # afresh, not adopting
    assert world.state("a") == "running"
    world.crash_supervisor()
    world.acting("a").die()
    world.run(0.1)
    world.replace_supervisor()
    world.run(1.0)
    assert world.state("a") == "held"
    assert world.hand("a").case.hold_id == "/desk/a#3:1"
    world.check()


def test_failed_recoveries_are_counted_across_a_restart_of_the_supervisor(make: Make) -> None:
    rules = (Rule(Condition.FAILED_RECOVERIES, Rung.MANUAL, at_least=1), Rule(Condition.ALWAYS, Rung.WARM))
    world = make({"a": policy(Rung.WARM, Rung.COLD, rules=rules)})
    world.plans_for("a", "worker", DIES)
    world.acting("a").die()
    world.up("a", 1)
    world.shell.step(ShutdownOrdered(SHUTDOWN))
    world.run(5.0)
    world.rules.open.clear()
    world.shell = world._shell()
    world.boot()
    world.acting("a").die()
    world.until(lambda: world.state("a") == "held")
    world.check()


# ---------------------------------------------------------------- standbys


def test_standbys_go_with_their_child(make: Make) -> None:
    world = make({"a": policy(standbys=1), "b": policy(standbys=2)})
    world.order(Call.TERMINATE_CHILD, "a")
    world.run(0.01)
    assert not any(h.alive and not h.dying and h.standby and h.path == "/desk/a" for h in world.hosts.values())
    world.check()


def test_a_policy_with_fewer_standbys(make: Make) -> None:
    """Before: only a policy without any ended those that were there."""
    world = make({"a": policy(standbys=2)})
    standing = [host for host in world.hosts.values() if host.standby]
    assert len(standing) == 2
    standing[0].syncs = False
    standing[0]._tell("syncing")
    world.run(0.01)
    for wanted in (1, 0):
        worker = world.part.workers["a"]
        world.part.workers["a"] = type(worker)(worker.path, worker.actor, recovery=policy(standbys=wanted))
        world.run(2.0)
        assert [host for host in standing if host.alive] == standing[1:][:wanted]
    world.check()


def test_what_the_factory_raises_does_not_end_the_keeping_of_standbys(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: an exception of Ray's own counted as a standby in the making for ever."""
    world = make({"a": policy(standbys=1)}, spares=1)
    create = world.factory.create

    def raises(*arguments: object, **more: object) -> None:
        raise RuntimeError("Ray says no")

    monkeypatch.setattr(world.factory, "create", raises)
    world.standby("a").die()
    world.run(5.0)
    monkeypatch.setattr(world.factory, "create", create)
    world.run(40.0)
    assert world.standby("a").state == "synced"
    world.check()
