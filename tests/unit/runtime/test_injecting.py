"""The injector: checked first, written down, then done; all targets or none; nothing half-armed."""

import os
import signal
import threading
from pathlib import Path

import msgspec
import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.request import FaultRequest, RecordState, TargetSet
from supervisors.faults.undo import boot_time
from supervisors.runtime import watching
from supervisors.runtime.census import STOPPING
from supervisors.runtime.injecting import Injector
from supervisors.runtime.undoing import emergency_stop, revert_faults
from supervisors.signals.proc import read_evidence
from supervisors.signals.verdicts import Evidence
from supervisors.state.checkpoints import Checkpoint, CheckpointStore
from supervisors.state.disk import RealDisk
from supervisors.state.folders import checkpoint_folder
from supervisors.tree.child import ChildState

from .faulted import TOPOLOGY, FakeSystem, until


def _ask(fault: str, path: str, **fields: object) -> FaultRequest:
    return FaultRequest(fault, path, **fields)  # type: ignore[arg-type]


def _code(injector: Injector, request: FaultRequest) -> int:
    with pytest.raises(FaultError) as caught:
        injector.inject(request)
    return caught.value.code


def test_a_fault_in_a_host_is_armed_and_reverted(system: FakeSystem, injector: Injector) -> None:
    injection = injector.inject(_ask("delay", "/cell/a", params={"delay": "5ms"}, seconds=30.0, seed=4, first=2))
    order = system.host("/cell/a").armed[injection.id]
    assert (order.path, order.params["delay"], order.seconds, order.seed) == ("/cell/a", 0.005, 30.0, 4)
    assert (order.first, order.probability, order.most) == (2, 0.0, 0)
    record = injector.active()[0]
    assert record.state is RecordState.ARMED
    assert record.injected_at == injection.injected_at
    assert record.deadline == pytest.approx(boot_time() + 30.0, abs=2.0)
    assert record.tied == os.getpid()
    event = system.trail("fault_injected")[0]
    assert event.data["id"] == injection.id
    assert event.t <= injection.injected_at
    ended = injector.revert(injection.id)
    assert [one.state for one in ended] == [RecordState.REVERTED]
    assert system.host("/cell/a").armed == {}
    assert injector.active() == []
    assert system.trail("fault_reverted")[0].data["ok"] is True


def test_the_record_is_there_before_anything_is_done(system: FakeSystem, injector: Injector) -> None:
    def stopped(records: object) -> None:
        raise KeyboardInterrupt

    injector._carrier.act = stopped  # type: ignore[method-assign]
    injector._reverter.revert = lambda record, why, **rest: record  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        injector.inject(_ask("delay", "/cell/a"))
    assert [record.state for record in system.log.active()] == [RecordState.PLANNED]
    assert system.host("/cell/a").asked == []


@pytest.mark.parametrize(("fault", "about"), [("lose_beats", "/cell/a"), ("slow_start", "/cell/a")])
def test_a_fault_at_the_supervisor_is_armed_there(
    system: FakeSystem, injector: Injector, fault: str, about: str
) -> None:
    injection = injector.inject(_ask(fault, "/cell/a"))
    order = system.host("/cell").armed[injection.id]
    assert (order.about, order.standing) == (about, fault == "slow_start")
    assert system.host("/cell/a").armed == {}
    injector.revert(injection.id)
    assert system.host("/cell").armed == {}


def test_a_fault_about_a_standby_names_its_process(system: FakeSystem, injector: Injector) -> None:
    injection = injector.inject(_ask("lose_beats", "/cell/kept", targets=TargetSet.STANDBYS))
    order = system.host("/cell").armed[injection.id]
    assert order.about == f"/cell/kept@{system.at('/cell/kept', 'standby')}"


def test_a_process_is_stopped_and_goes_on(system: FakeSystem, injector: Injector) -> None:
    injection = injector.inject(_ask("stop", "/cell/a"))
    hit = injection.records[0].hit
    # a signal is sent, not obeyed, when the sender goes on
    until(lambda: read_evidence(hit.pid, hit.start_time, None)[0] is Evidence.STOPPED, "stopped")
    injector.revert(injection.id)
    assert read_evidence(hit.pid, hit.start_time, None)[0] is not Evidence.STOPPED


def test_a_kill_is_over_once_the_process_is_gone(system: FakeSystem, injector: Injector) -> None:
    injection = injector.inject(_ask("kill", "/cell/a", params={"signal": "TERM"}))
    assert system.process("/cell/a").wait(5.0) == -signal.SIGTERM
    records = injector.wait_over(injection, 10.0)
    assert [(one.state, one.by) for one in records] == [(RecordState.REVERTED, "watchdog")]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (_ask("kil", "/cell/a"), 9002),
        (_ask("delay", "/cell/a", params={"dely": 1}), 9003),
        (_ask("delay", "/cell/a", params={"delay": "9h"}), 9004),
        (_ask("kill", "/cell/x"), 9006),
        (_ask("kill", "cell"), 9006),
        (_ask("raise", "/cell"), 9007),
        (_ask("shout", "/cell/a", params={"volume": 1}), 9007),
        (_ask("net_latency", "/cell/a"), 9007),
        (_ask("net_latency", "/own"), 9007),
        (_ask("net_latency", "/", targets=TargetSet.ALL), 9007),
        (_ask("raise", "/cell/a", params={"message": "\ud800"}), 9032),
        (_ask("kill", "/", targets=TargetSet.ALL), 9009),
        (_ask("slow_disk", "/cell/a"), 9011),
        (_ask("delay", "/cell/a", seconds=61.0), 9030),
        (_ask("delay", "/cell/a", seconds=0.0), 9031),
        (_ask("delay", "/cell/a", probability=1.5), 9031),
        (_ask("delay", "/cell/a", probability=0.0), 9031),
        (_ask("delay", "/cell/a", seed=2**64), 9004),
        (_ask("delay", "/cell/a", seed=-(2**64)), 9004),
        (_ask("delay", "/cell/a", first=2**63), 9004),
    ],
)
def test_bad_requests_leave_no_trace(system: FakeSystem, injector: Injector, request_: FaultRequest, code: int) -> None:
    assert _code(injector, request_) == code
    with pytest.raises(FaultError):
        injector.plan(request_)
    assert system.log.active() == []
    assert system.trail("fault_injected") == []


def test_a_plan_says_whom_and_does_nothing(system: FakeSystem, injector: Injector) -> None:
    found = injector.plan(_ask("kill", "/cell", targets=TargetSet.ONE, seed=1))
    assert len(found) == 1
    assert system.log.active() == []


def test_all_targets_or_none(system: FakeSystem, injector: Injector) -> None:
    system.host("/cell/b").refuse = 9023
    both = _ask("delay", "/cell", targets=TargetSet.RANDOM, count=2)
    seed = next(n for n in range(50) if {c.path for c in injector.plan(_with(both, n))} == {"/cell/a", "/cell/b"})
    assert _code(injector, _with(both, seed)) == 9023
    assert system.host("/cell/a").armed == {}
    assert "Disarm" in system.host("/cell/a").asked
    assert system.log.active() == []
    ends = {event.path: event.data.get("acted", True) for event in system.trail("fault_reverted")}
    assert ends == {"/cell/a": True, "/cell/b": False}, "it was armed at one, for a moment; the other never had it"


def _both(system: FakeSystem, injector: Injector, fault: str) -> FaultRequest:
    """A request that hits /cell/a and /cell/b."""
    asked = _ask(fault, "/cell", targets=TargetSet.RANDOM, count=2)
    seed = next(n for n in range(50) if {c.path for c in injector.plan(_with(asked, n))} == {"/cell/a", "/cell/b"})
    return _with(asked, seed)


@pytest.mark.parametrize("fault", ["exit", "raise"])
@pytest.mark.parametrize("how", ["refuses", "deaf"])
def test_what_cannot_be_undone_begins_nowhere_unless_all_would(
    system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch, fault: str, how: str
) -> None:
    from supervisors.runtime import carrying

    monkeypatch.setattr(carrying, "_ANSWER", 0.3 if how == "deaf" else 10.0)
    injector._reverter._patience = 0.2
    request = _both(system, injector, fault)
    system.host("/cell/b").would_refuse = 9022 if how == "refuses" else 0
    system.host("/cell/b").deaf = how == "deaf"
    assert _code(injector, request) == (9022 if how == "refuses" else 9014)
    assert "Arm" not in system.host("/cell/a").asked + system.host("/cell/b").asked
    assert {event.data["acted"] for event in system.trail("fault_reverted")} == {False}


@pytest.mark.parametrize("how", ["refuses", "deaf"])
def test_who_was_hit_all_the_same_is_named_and_has_a_cause(
    system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    from supervisors.runtime import carrying

    monkeypatch.setattr(carrying, "_ANSWER", 0.3 if how == "deaf" else 10.0)
    injector._reverter._patience = 0.2
    request, b = _both(system, injector, "exit"), system.host("/cell/b")
    act = injector._carrier.act

    def late(records: object) -> None:  # it said that it would
        b.refuse, b.deaf = (9022, False) if how == "refuses" else (0, True)
        act(records)  # type: ignore[arg-type]

    injector._carrier.act = late  # type: ignore[method-assign]
    with pytest.raises(FaultError) as caught:
        injector.inject(request)
    assert caught.value.code == (9022 if how == "refuses" else 9014)
    named = "1 of 2 are hit, or may be: /cell/a" if how == "refuses" else "2 of 2 are hit, or may be: /cell/a, /cell/b"
    assert named in caught.value.message
    # nobody knows of one that does not answer: what befalls it may be of this fault
    ends = {event.path: event.data.get("acted", True) for event in system.trail("fault_reverted")}
    assert ends == {"/cell/a": True, "/cell/b": how == "deaf"}


def test_a_signal_that_came_too_late_at_one_target(system: FakeSystem, injector: Injector) -> None:
    request = _both(system, injector, "kill")
    act = injector._carrier.act

    def late(records: object) -> None:
        system.process("/cell/b").kill()
        system.process("/cell/b").wait()
        act(records)  # type: ignore[arg-type]

    injector._carrier.act = late  # type: ignore[method-assign]
    with pytest.raises(FaultError, match=r"1 of 2 are hit, or may be: /cell/a") as caught:
        injector.inject(request)
    assert caught.value.code == 9013
    assert system.process("/cell/a").wait(5.0) == -signal.SIGKILL
    ends = {event.path: event.data.get("acted", True) for event in system.trail("fault_reverted")}
    assert ends == {"/cell/a": True, "/cell/b": False}


def test_an_order_says_until_when_it_holds(system: FakeSystem, injector: Injector) -> None:
    before = boot_time()
    first = injector.inject(_ask("delay", "/cell/a", seconds=30.0))
    order = system.host("/cell/a").armed[first.id]
    assert order.boot
    assert before < order.deadline < boot_time() + 3.1, "read later than it is waited for it must not act"
    standing = injector.inject(_ask("slow_start", "/cell/a", seconds=30.0))
    order = system.host("/cell").armed[standing.id]
    assert order.deadline >= standing.records[0].deadline, "later lives are handed it too"


def _with(request: FaultRequest, seed: int) -> FaultRequest:
    return msgspec.structs.replace(request, seed=seed)


def test_a_target_that_died_before_it_was_hit(system: FakeSystem, injector: Injector) -> None:
    act = injector._carrier.act

    def late(records: object) -> None:
        system.process("/cell/a").kill()
        system.process("/cell/a").wait()
        system.host("/cell/a").deaf = True
        act(records)  # type: ignore[arg-type]

    injector._carrier.act = late  # type: ignore[method-assign]
    assert _code(injector, _ask("delay", "/cell/a")) == 9013
    assert system.log.active() == []
    assert _code(injector, _ask("stop", "/cell/a")) == 9008


def test_a_target_that_does_not_answer(system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisors.runtime import carrying

    monkeypatch.setattr(carrying, "_ANSWER", 0.1)
    injector._reverter._patience = 0.2
    system.host("/cell/a").deaf = True
    assert _code(injector, _ask("delay", "/cell/a")) == 9014
    # nobody can say that it is not armed there: it is kept, and said
    assert [record.order.path for record in system.log.stuck()] == ["/cell/a"]


def test_a_killed_process_needs_no_answer(
    system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisors.runtime import carrying

    monkeypatch.setattr(carrying, "_ANSWER", 0.2)
    act = injector._carrier.act

    def die(records: object) -> None:
        system.host("/cell/a").deaf = True
        system.process("/cell/a").kill()
        act(records)  # type: ignore[arg-type]

    injector._carrier.act = die  # type: ignore[method-assign]
    injection = injector.inject(_ask("exit", "/cell/a"))
    assert injector.wait_over(injection, 10.0)[0].state is RecordState.REVERTED


def test_two_that_exclude_each_other(system: FakeSystem, injector: Injector) -> None:
    first = injector.inject(_ask("slow_start", "/cell/a"))
    assert _code(injector, _ask("fail_start", "/cell/a")) == 9010
    injector.inject(_ask("fail_start", "/cell/b"))
    injector.revert(first.id)
    injector.inject(_ask("fail_start", "/cell/a"))


def test_the_blast_radius_holds_over_several_injections(system: FakeSystem, injector: Injector) -> None:
    injector.inject(_ask("delay", "/cell/a", seconds=30.0))
    with Injector(system.data_dir) as other:
        other.inject(_ask("delay", "/cell/b", seconds=30.0))
        assert _code(injector, _ask("delay", "/cell/kept")) == 9009
        # one more at a target that is hit already hits nobody else
        injector.inject(_ask("drop", "/cell/a"))
    injector.inject(_ask("delay", "/cell/kept"))


def test_not_where_faults_are_off(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path, TOPOLOGY.replace("enabled: true", "enabled: false"))
    try:
        with Injector(system.data_dir) as injector:
            assert _code(injector, _ask("kill", "/cell/a")) == 9020
    finally:
        system.close()


@pytest.mark.parametrize("how", ["stopping", "starting", "dead"])
def test_not_into_a_system_that_is_not_up(system: FakeSystem, injector: Injector, how: str) -> None:
    if how == "stopping":
        system.store.put(**{STOPPING: "1"})
    elif how == "starting":
        system.place("/", ChildState.STARTING)
    else:
        system.process("/").kill()
        system.process("/").wait()
    assert _code(injector, _ask("delay", "/cell/a")) == 9022


def test_where_no_system_ever_was(tmp_path: Path) -> None:
    with pytest.raises(FaultError) as caught:
        Injector(tmp_path)
    assert caught.value.code == 9022
    assert emergency_stop(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_signals_do_not_reach_another_machine(system: FakeSystem, injector: Injector) -> None:
    row = system.store.host(system.at("/cell/a"))
    assert row is not None
    system.store.add_host(msgspec.structs.replace(row, local=False))
    assert _code(injector, _ask("stop", "/cell/a")) == 9012
    assert _code(injector, _ask("burn_cpu", "/cell/a")) == 9012
    assert system.log.active() == []
    injection = injector.inject(_ask("kill", "/cell/a"))
    assert system.host("/cell/a").armed[injection.id].kind == "exit"


def test_without_a_watchdog_nothing_is_done(
    system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "begin", lambda folder: None)
    monkeypatch.setattr(watching.ensure, "__defaults__", (0.1,))
    assert _code(injector, _ask("kill", "/cell/a")) == 9017
    assert system.process("/cell/a").poll() is None
    assert system.log.active() == []


def test_the_emergency_stop_reverts_all_and_stops_injectors(system: FakeSystem, injector: Injector) -> None:
    injector.inject(_ask("delay", "/cell/a"))
    injector.inject(_ask("stop", "/cell/b"))
    ended = emergency_stop(system.data_dir)
    assert {record.state for record in ended} == {RecordState.REVERTED}
    assert injector.aborted
    assert _code(injector, _ask("delay", "/cell/a")) == 9016
    with Injector(system.data_dir) as later:
        later.inject(_ask("delay", "/cell/a"))


def test_an_emergency_stop_in_the_middle_of_an_injection(system: FakeSystem, injector: Injector) -> None:
    act = injector._carrier.act

    def between(records: object) -> None:
        emergency_stop(system.data_dir)
        act(records)  # type: ignore[arg-type]

    injector._carrier.act = between  # type: ignore[method-assign]
    injection = injector.inject(_ask("delay", "/cell/a"))
    assert injection.records[0].state is RecordState.REVERTED
    assert system.host("/cell/a").armed == {}


def test_what_is_not_tied_outlives_its_injector(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        injection = injector.inject(_ask("delay", "/cell/a", seconds=50.0))
    assert list(system.host("/cell/a").armed) == [injection.id]
    assert [record.state for record in revert_faults(system.data_dir, injection.id)] == [RecordState.REVERTED]
    with pytest.raises(FaultError) as caught:
        revert_faults(system.data_dir, "f-none")
    assert caught.value.code == 9019


def test_two_injectors_at_once_never_pass_the_bound(system: FakeSystem) -> None:
    codes: list[int] = []

    def work(path: str) -> None:
        with Injector(system.data_dir, tied=False) as injector:
            try:
                injector.inject(_ask("delay", path, seconds=50.0))
            except FaultError as error:
                codes.append(error.code)

    threads = [threading.Thread(target=work, args=(path,)) for path in ("/cell/a", "/cell/b", "/cell/kept", "/own")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [9009, 9009]
    assert len(system.log.active()) == 2
    until(lambda: all(one.state is RecordState.REVERTED for one in emergency_stop(system.data_dir)), "reverted")


def test_kinds_of_an_actor_hit_that_actor(system: FakeSystem, injector: Injector) -> None:
    system.store.put(search=str(Path(__file__).parents[3]))
    assert injector.actor_kinds() == {"/own": ("shout",)}
    assert "shout" in injector.catalogue
    injection = injector.inject(_ask("shout", "/own", params={"volume": 3}))
    assert system.host("/own").armed[injection.id].params == {"volume": 3}
    injector.revert(injection.id)
    every = injector.inject(_ask("shout", "/", params={"volume": 3}, targets=TargetSet.ALL))
    assert every.targets == ("/own",), "of all below, those that have it"


def test_it_keeps_few_sockets(system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisors.runtime import faultplane

    monkeypatch.setattr(faultplane, "MOST", 1)
    for path in ("/cell/a", "/cell/b", "/cell/a"):
        injection = injector.inject(_ask("delay", path))
        assert injector.revert(injection.id)[0].state is RecordState.REVERTED
    assert list(injector._plane._used) == [system.host("/cell/a").endpoint]


def test_the_folder_of_a_copy_outlasts_a_power_loss(
    system: FakeSystem, injector: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisors.runtime import carrying

    synced: list[Path] = []

    class Noted(RealDisk):
        def fsync_dir(self, path: Path) -> None:
            synced.append(path)
            super().fsync_dir(path)

    monkeypatch.setattr(carrying, "REAL_DISK", Noted())
    CheckpointStore(checkpoint_folder(system.data_dir, "/cell/kept")).save(Checkpoint(1, 1, 1, 1, "a:A", 1, b"state"))
    injection = injector.inject(_ask("corrupt_checkpoint", "/cell/kept"))
    copy = Path(injection.records[0].undo["copy"])
    # each folder on the way to the copy is in the one above it, on the disk, before the record names the copy
    assert {copy.parent, copy.parent.parent, copy.parent.parent.parent} <= set(synced)
