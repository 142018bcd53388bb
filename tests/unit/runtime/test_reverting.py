"""Reverting: undone and seen gone, tried again within bounds, once, and said when it cannot be."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.faults.contender import RIVAL, Contest
from supervisors.faults.order import FaultOrder
from supervisors.faults.request import FaultRecord, FaultRequest, Hit, RecordState
from supervisors.faults.undo import CLAIM, UndoLog
from supervisors.runtime import helper, strays, watching
from supervisors.runtime.contending import contest_in, noted
from supervisors.runtime.injecting import Injector
from supervisors.runtime.reverting import HELPER, HELPER_START, PATIENCE, Reverter
from supervisors.runtime.store import GoalStore
from supervisors.runtime.undoing import emergency_stop
from supervisors.signals.proc import pid_alive, process_start_time, read_evidence
from supervisors.signals.verdicts import Evidence
from supervisors.state.disk import RealDisk
from supervisors.state.leases import Grant, open_lease_store
from supervisors.testing.disk import FaultyDisk

from .faulted import FakeSystem, until


@pytest.fixture
def reverter(system: FakeSystem) -> Iterator[Reverter]:
    made = Reverter(system.data_dir, system.log, "tester", patience=1.0)
    yield made
    made.close()


def _injected(system: FakeSystem, fault: str, path: str = "/cell/a", **params: str | float) -> FaultRecord:
    with Injector(system.data_dir, tied=False) as injector:
        request = FaultRequest(fault, path, params, seconds=50.0)
        return injector.inject(request).records[0]


def test_a_process_that_is_gone_holds_no_fault(system: FakeSystem, reverter: Reverter) -> None:
    record = _injected(system, "delay")
    system.host("/cell/a").deaf = True
    system.process("/cell/a").kill()
    system.process("/cell/a").wait()
    began = time.monotonic()
    assert reverter.revert(record, "asked").state is RecordState.REVERTED
    assert time.monotonic() - began < PATIENCE / 2


def test_a_process_that_keeps_it_makes_it_unrevertable_and_says_so(system: FakeSystem, reverter: Reverter) -> None:
    record = _injected(system, "delay")
    system.host("/cell/a").stubborn = True
    ended = reverter.revert(record, "asked")
    assert ended.state is RecordState.UNREVERTABLE
    assert "still has it armed" in ended.why
    assert system.host("/cell/a").asked.count("Disarm") > 2
    event = system.trail("fault_reverted")[-1]
    assert event.data["ok"] is False
    system.host("/cell/a").stubborn = False
    assert reverter.revert(record, "again").state is RecordState.REVERTED


def test_an_answer_that_comes_late_is_waited_for(system: FakeSystem, reverter: Reverter) -> None:
    record = _injected(system, "delay")
    host = system.host("/cell/a")
    host.stubborn = True
    system.loop.call_soon(lambda: _later(system, 0.4, lambda: setattr(host, "stubborn", False)))
    assert reverter.revert(record, "asked").state is RecordState.REVERTED


def test_an_actors_own_is_reverted_once_the_actor_says_so(system: FakeSystem, reverter: Reverter) -> None:
    record = _own(system)
    # it is off the host's board at once, and then the actor takes longer than other faults may
    system.host("/own").keeps = [(0, 0.8)]
    began = time.monotonic()
    assert reverter.revert(record, "asked").state is RecordState.REVERTED
    assert time.monotonic() - began >= 0.8
    assert system.host("/own").asked.count("Disarm") == 1


def test_an_actors_own_that_did_not_end_is_tried_again_and_not_reverted(system: FakeSystem, reverter: Reverter) -> None:
    record = _own(system)
    system.host("/own").keeps = [(9023, 0.0)] * 1000
    ended = reverter.revert(record, "asked")
    assert ended.state is RecordState.UNREVERTABLE
    assert "(E9023)" in ended.why
    assert system.host("/own").asked.count("Disarm") > 2
    system.host("/own").keeps.clear()
    assert reverter.revert(record, "again").state is RecordState.REVERTED


def _own(system: FakeSystem) -> FaultRecord:
    system.store.put(search=str(Path(__file__).parents[3]))
    return _injected(system, "shout", "/own", volume=3)


def _later(system: FakeSystem, delay: float, callback: object) -> None:
    assert callable(callback)
    system.loop.call_later(delay, callback)


def test_a_standing_fault_is_taken_from_a_new_supervisor_and_a_new_life(system: FakeSystem, reverter: Reverter) -> None:
    record = _injected(system, "slow_start")
    order = system.host("/cell").armed[record.order.id]
    system.process("/cell").kill()
    system.process("/cell").wait()
    # its successor read the record, and handed it to the next life
    system.store.drop_host(system.at("/cell"))
    system.place("/cell")
    system.host("/cell").armed[order.id] = order
    system.host("/cell/a").armed[order.id] = order
    assert reverter.revert(record, "asked").state is RecordState.REVERTED
    assert system.host("/cell").armed == {}
    assert system.host("/cell/a").armed == {}


def test_nothing_runs_any_more(system: FakeSystem, reverter: Reverter) -> None:
    records = [_injected(system, "slow_start"), _injected(system, "lose_beats"), _injected(system, "stop", "/cell/b")]
    for process in system.processes.values():
        process.kill()
        process.wait()
    for host in system.hosts.values():
        host.deaf = True
    assert {one.state for one in reverter.revert_all(records, "asked")} == {RecordState.REVERTED}


def test_of_two_that_revert_at_once_one_writes(system: FakeSystem, reverter: Reverter) -> None:
    record = _injected(system, "delay")
    other = Reverter(system.data_dir, system.log, "other")
    try:
        ended = reverter.revert_all([record, record], "asked")
        again = other.revert(record, "asked too")
    finally:
        other.close()
    assert {one.state for one in ended} == {RecordState.REVERTED}
    assert again.by == "tester"
    assert len(system.trail("fault_reverted")) == 1


def test_a_helper_is_ended_and_seen_gone(
    system: FakeSystem, reverter: Reverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[str] = []
    monkeypatch.setattr(helper, "clean", lambda record, data_dir: cleaned.append(record.order.id))
    monkeypatch.setattr(helper, "probe", lambda record, data_dir: bool(cleaned))
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = process_start_time(process.pid) or 0
        undo = {HELPER: str(process.pid), HELPER_START: str(start)}
        record = FaultRecord(FaultOrder("f-h", "burn_cpu", "/cell/a"), "node", _hit(system), undo=undo)
        system.log.plan(lambda active: [record])
        assert not reverter.over(record)
        assert reverter.revert(record, "asked").state is RecordState.REVERTED
        assert not pid_alive(process.pid, start)
    assert cleaned == ["f-h"]
    assert reverter.over(record) == "its helper is gone"


def _plan(system: FakeSystem, record: FaultRecord) -> None:
    system.log.plan(lambda active: [record])


def _hit(system: FakeSystem) -> Hit:
    return Hit(system.at("/cell/a"), 1, 1, "")


def test_when_a_fault_is_over_by_itself(system: FakeSystem, reverter: Reverter) -> None:
    delay, stands, lost, once = (
        _injected(system, "delay"),
        _injected(system, "slow_start"),
        _injected(system, "lose_beats"),
        _injected(system, "suspect"),
    )
    assert not any(reverter.over(record) for record in (delay, stands, lost, once))
    system.process("/cell/a").kill()
    system.process("/cell/a").wait()
    assert reverter.over(delay) == "its process is gone"
    assert reverter.over(once)
    assert not reverter.over(stands)
    assert not reverter.over(lost)
    system.process("/cell").kill()
    system.process("/cell").wait()
    assert reverter.over(lost) == "the supervisor's process is gone"
    assert not reverter.over(stands)


def test_a_record_that_came_to_nothing(system: FakeSystem, reverter: Reverter) -> None:
    for where, kind in (("files", "corrupt_page"), ("node", "burn_cpu"), ("supervisor", "suspect"), ("odd", "x")):
        record = FaultRecord(FaultOrder(f"f-{where}", kind, "/cell/kept"), where, _hit(system))
        _plan(system, record)
        wanted = RecordState.UNREVERTABLE if where == "odd" else RecordState.REVERTED
        assert reverter.revert(record, "asked").state is wanted


def test_one_that_is_broken_off_is_taken_on_by_the_next(system: FakeSystem, reverter: Reverter) -> None:
    record = _injected(system, "delay")

    def interrupted(record: FaultRecord) -> str | None:
        raise KeyboardInterrupt

    reverter._tries["host"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        reverter.revert(record, "asked")
    left = system.log.get(record.order.id)
    assert left is not None
    if left.state is not RecordState.REVERTED:  # the watchdog goes on with it at once
        assert left.state is RecordState.REVERTING
    other = Reverter(system.data_dir, UndoLog(system.log.folder), "other", patience=5.0)
    try:
        assert other.revert(record, "again").state is RecordState.REVERTED
    finally:
        other.close()
    assert system.host("/cell/a").armed == {}


@pytest.mark.parametrize("error", [sqlite3.DatabaseError("malformed"), TypeError("odd"), RuntimeError("odd")])
def test_whatever_stands_in_the_way_is_told_and_not_raised(
    system: FakeSystem, reverter: Reverter, error: Exception
) -> None:
    record = _injected(system, "delay")

    def fails(record: FaultRecord) -> str | None:
        raise error

    reverter._tries["host"] = fails
    ended = reverter.revert(record, "asked")
    assert ended.state is RecordState.UNREVERTABLE
    assert f"{type(error).__name__}: {error}" in ended.why


@pytest.mark.parametrize("kind", ["stop", "delay"])
def test_a_disk_that_takes_nothing_keeps_nothing_from_being_undone(system: FakeSystem, kind: str) -> None:
    record = _injected(system, kind)
    pid, start = record.hit.pid, record.hit.start_time
    disk = FaultyDisk()
    reverter = Reverter(system.data_dir, UndoLog(system.log.folder, disk), "tester", patience=1.0)
    disk.fail("open", errno.EROFS, times=-1)
    try:
        ended = reverter.revert(record, "asked")
        assert ended.state is RecordState.UNREVERTABLE
        assert "asked; it was undone; not written down" in ended.why
        assert "Read-only file system" in ended.why
        assert read_evidence(pid, start, None)[0] is not Evidence.STOPPED
        assert system.host("/cell/a").armed == {}
        left = system.log.get(record.order.id)
        assert left is not None
        assert left.state is RecordState.ARMED
        disk.heal()
        assert reverter.revert(record, "again").state is RecordState.REVERTED
    finally:
        reverter.close()


def test_the_emergency_stop_needs_no_disk(system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    _injected(system, "delay")
    _injected(system, "slow_start")
    watchdog, start = watching.watcher(system.data_dir)
    os.kill(watchdog, signal.SIGKILL)  # its disk is a good one
    until(lambda: not pid_alive(watchdog, start), "killed")

    def refuses(disk: object, path: Path, flags: int, mode: int = 0o600) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(RealDisk, "open", refuses)
        ended = emergency_stop(system.data_dir)
        # a watchdog that comes up meanwhile may have been faster
        assert {one.state for one in ended} <= {RecordState.UNREVERTABLE, RecordState.REVERTED}
        assert all("not written down" in one.why for one in ended if one.state is RecordState.UNREVERTABLE)
    assert system.host("/cell/a").armed == {}
    assert system.host("/cell").armed == {}


def test_a_goal_state_that_cannot_be_read_keeps_nobody_from_being_told(
    system: FakeSystem, reverter: Reverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _injected(system, "slow_start")
    life = system.host("/cell/a")
    order = system.host("/cell").armed[record.order.id]
    life.armed[order.id] = order
    supervisor = system.host("/cell")

    def damaged(store: GoalStore, path: str) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(GoalStore, "place", damaged)
    monkeypatch.setattr(strays, "stray_processes", lambda data_dir, known: ["process 1: ray::Host"])
    ended = reverter.revert(record, "asked")
    assert ended.state is RecordState.UNREVERTABLE
    assert "the goal state cannot be read: database disk image is malformed" in ended.why
    assert (supervisor.armed, life.armed) == ({}, {})
    # nothing of the system runs any more: nobody holds it
    monkeypatch.setattr(strays, "stray_processes", lambda data_dir, known: [])
    assert reverter.revert(record, "again").state is RecordState.REVERTED


def test_of_a_standing_fault_all_are_told_whatever_becomes_of_one(
    system: FakeSystem, reverter: Reverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _injected(system, "slow_start")
    life = system.host("/cell/a")
    life.armed[record.order.id] = record.order

    def fails(record: FaultRecord) -> str | None:
        raise ValueError("odd")

    monkeypatch.setattr(reverter, "_supervisor", fails)
    ended = reverter.revert(record, "asked")
    assert "ValueError: odd" in ended.why
    assert life.armed == {}


def test_a_rival_is_cleaned_up_after_whatever_the_goal_state_says_now(system: FakeSystem, reverter: Reverter) -> None:
    """A reload has taken the lease from the child, or the child itself, since the rival began."""
    contest = Contest("/cell/gone", "file", "s", 60.0)
    store = open_lease_store(contest.url, system.data_dir, system=contest.system)
    try:
        assert isinstance(store.acquire(contest.path, f"{RIVAL}f-c", 60.0), Grant)
        undo = noted({HELPER: "4194303", HELPER_START: "1"}, contest)
        record = FaultRecord(FaultOrder("f-c", "contend", contest.path), "node", _hit(system), undo=undo)
        _plan(system, record)
        ended = reverter.revert(record, "asked")
        assert ended.state is RecordState.REVERTED, ended.why
        row = store.read(contest.path)
        assert row is not None
        assert row.released
    finally:
        store.close()


def test_a_rival_that_never_asked_leaves_nothing(system: FakeSystem, reverter: Reverter) -> None:
    undo = {HELPER: "4194303", HELPER_START: "1"}
    record = FaultRecord(FaultOrder("f-c", "contend", "/cell/gone"), "node", _hit(system), undo=undo)
    _plan(system, record)
    assert reverter.revert(record, "asked").state is RecordState.REVERTED


def test_a_rival_notes_whose_lease_it_is_before_it_asks(tmp_path: Path) -> None:
    text = """
faults: {enabled: true}
tree:
  children:
    - {id: a, actor: "builtins:object", recovery: {lease: {expire: 7s, margin: 2s}}}
"""
    system = FakeSystem(tmp_path, text)
    try:
        order = FaultOrder("f-c", "contend", "/a", {"every": 0.01})
        record = FaultRecord(order, "node", Hit(system.at("/a"), 1, 1, ""), undo={HELPER: "1"})
        _plan(system, record)
        found: list[str] = []

        def stop() -> bool:
            found.append((system.log.folder / "f-c.json").read_text())
            return True

        helper._run(system.log, record, system.data_dir, stop)
        undo = json.loads(found[0])["undo"]
        assert undo[HELPER] == "1"
        now = system.log.get("f-c")
        assert now is not None
        contest = contest_in(now)
        assert contest is not None
        assert (contest.path, contest.ttl) == ("/a", 7.0)
        assert CLAIM not in undo
        system.log.close("f-c", "person", "x", ok=True, at=1.0)
        found.clear()
        helper._run(system.log, record, system.data_dir, stop)
        assert found == [], "what is undone is not begun"
    finally:
        system.close()
