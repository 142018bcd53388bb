"""Reverting: undone and seen gone, tried again within bounds, once, and said when it cannot be."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.faults.order import FaultOrder
from supervisors.faults.request import FaultRecord, FaultRequest, Hit, RecordState
from supervisors.runtime.injecting import Injector
from supervisors.runtime.reverting import HELPER, HELPER_START, Reverter
from supervisors.signals.proc import pid_alive, process_start_time

from .faulted import FakeSystem


@pytest.fixture
def system(tmp_path: Path) -> Iterator[FakeSystem]:
    made = FakeSystem(tmp_path)
    yield made
    made.close()


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
    assert time.monotonic() - began < 1.0


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
    from supervisors.runtime import helper

    cleaned: list[str] = []
    monkeypatch.setattr(helper, "clean", lambda order, data_dir: cleaned.append(order.id))
    monkeypatch.setattr(helper, "probe", lambda order, data_dir: bool(cleaned))
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
