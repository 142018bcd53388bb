"""The undo log: durable first, one state after another, undone once, and at work on a full disk."""

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.core.errors import FaultError
from supervisors.faults import undo
from supervisors.faults.order import FaultOrder
from supervisors.faults.request import FaultRecord, Hit, RecordState
from supervisors.faults.undo import UndoLog, boot_time
from supervisors.testing.disk import FaultyDisk

_ME = (os.getpid(), 7)


def _record(fault_id: str = "f-1", *, planned_at: float = 1.0, **fields: object) -> FaultRecord:
    order = FaultOrder(fault_id, "delay", "/a", {"delay": 0.2})
    return msgspec.structs.replace(
        FaultRecord(order, "host", Hit("h", 1, 2, "ipc://x"), planned_at=planned_at), **fields
    )


def _alive(pid: int, start: int) -> bool:
    return True


@pytest.fixture
def log(tmp_path: Path) -> UndoLog:
    return UndoLog(tmp_path / "faults")


def _plan(log: UndoLog, *records: FaultRecord) -> None:
    log.plan(lambda active: list(records))


def test_a_plan_is_durable_before_it_returns(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = UndoLog(tmp_path / "faults", disk)
    _plan(log, _record())
    disk.power_failure()
    assert [record.order.id for record in UndoLog(tmp_path / "faults").active()] == ["f-1"]


def test_all_of_an_injection_are_written_or_none(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.fail("fsync", errno.ENOSPC, after=1)
    log = UndoLog(tmp_path / "faults", disk)
    with pytest.raises(FaultError) as caught:
        _plan(log, _record("f-1.1"), _record("f-1.2"))
    assert caught.value.code == 9015
    assert log.active() == []
    assert log.unreadable() == []


def test_what_is_active_is_known_to_whoever_plans(log: UndoLog) -> None:
    _plan(log, _record("f-1"))

    def make(active: list[FaultRecord]) -> list[FaultRecord]:
        raise FaultError(f"{len(active)} already", code=9009)

    with pytest.raises(FaultError, match="1 already"):
        log.plan(make)
    assert len(log.active()) == 1


@pytest.mark.parametrize("fault_id", ["", "../x", "a/b", ".hidden", "f-1"])
def test_an_id_that_is_no_name_or_is_taken_is_refused(log: UndoLog, fault_id: str) -> None:
    _plan(log, _record("f-1"))
    with pytest.raises(FaultError) as caught:
        _plan(log, _record(fault_id))
    assert caught.value.code == 9015
    assert [record.order.id for record in log.active()] == ["f-1"]


def test_the_life_of_a_record(log: UndoLog) -> None:
    _plan(log, _record())
    armed = log.update("f-1", lambda now: msgspec.structs.replace(now, state=RecordState.ARMED, injected_at=3.0))
    assert armed is not None
    claimed = log.claim("f-1", _ME, _alive, "watchdog", "its time is over")
    assert claimed is not None
    assert claimed.state is RecordState.REVERTING
    closed = log.close("f-1", "watchdog", "its time is over", ok=True, at=9.0)
    assert closed is not None
    assert (closed.state, closed.by, closed.reverted_at, closed.injected_at) == (
        RecordState.REVERTED,
        "watchdog",
        9.0,
        3.0,
    )
    assert log.active() == []
    assert [record.order.id for record in log.done()] == ["f-1"]
    assert log.find("f-1") == [closed]


def test_a_fault_is_closed_once(log: UndoLog) -> None:
    _plan(log, _record())
    assert log.close("f-1", "injector", "asked", ok=True, at=1.0) is not None
    assert log.close("f-1", "watchdog", "late", ok=True, at=2.0) is None
    assert log.claim("f-1", _ME, _alive, "watchdog", "late") is None
    assert log.update("f-1", lambda now: now) is None
    assert log.done()[0].by == "injector"


def test_of_many_that_claim_at_once_one_gets_it(tmp_path: Path) -> None:
    _plan(UndoLog(tmp_path / "faults"), _record())
    got: list[int] = []

    def claim(number: int) -> None:
        if UndoLog(tmp_path / "faults").claim("f-1", (number, 1), _alive, "x", "y") is not None:
            got.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_claim_of_one_that_died_is_taken_over(log: UndoLog, tmp_path: Path) -> None:
    _plan(log, _record())
    assert log.claim("f-1", (99, 1), _alive, "injector", "asked") is not None
    other = UndoLog(tmp_path / "faults")
    assert other.claim("f-1", _ME, lambda pid, start: True, "watchdog", "x") is None
    taken = other.claim("f-1", _ME, lambda pid, start: (pid, start) != (99, 1), "watchdog", "x")
    assert taken is not None
    assert taken.by == "watchdog"


def test_what_could_not_be_reverted_stays_and_may_be_tried_again(log: UndoLog) -> None:
    _plan(log, _record())
    log.claim("f-1", _ME, _alive, "watchdog", "x")
    log.close("f-1", "watchdog", "x; not reverted: no answer", ok=False, at=1.0)
    assert log.active() == []
    assert [record.order.id for record in log.stuck()] == ["f-1"]
    assert log.claim("f-1", _ME, _alive, "person", "again") is not None
    assert log.active() == []
    assert [(record.why, record.given_up) for record in log.stuck()] == [("again", "x; not reverted: no answer")]
    assert log.close("f-1", "person", "again", ok=True, at=2.0) is not None
    assert log.stuck() == []


def test_an_unreadable_file_is_told_and_left(log: UndoLog) -> None:
    _plan(log, _record())
    broken = log.folder / "f-9.json"
    broken.write_text("{")
    assert [path for path, _ in log.unreadable()] == [broken]
    assert len(log.active()) == 1
    assert broken.exists()


def test_a_full_disk_takes_every_later_state_and_the_emergency_stop(tmp_path: Path) -> None:
    disk = FaultyDisk()
    log = UndoLog(tmp_path / "faults", disk)
    _plan(log, _record())
    # no new file, and no file that grows; what has its room already may be written over
    disk.fail("open", errno.ENOSPC, times=-1, match=".tmp")
    disk.fail("rename", errno.ENOSPC, times=-1)
    assert log.update("f-1", lambda now: msgspec.structs.replace(now, undo={"helper": "1" * 500})) is not None
    size = (log.folder / "f-1.json").stat().st_size
    assert size == 4096
    assert log.claim("f-1", _ME, _alive, "watchdog", "x") is not None
    assert log.close("f-1", "watchdog", "x", ok=True, at=1.0) is not None
    log.abort(boot_time())
    assert log.active() == []
    assert log.close("f-1", "person", "y", ok=True, at=1.0) is None
    assert log.unreadable() == []
    assert log.aborted_at() > 0


def test_an_abort_of_another_boot_is_none(log: UndoLog) -> None:
    _plan(log, _record())
    assert log.aborted_at() == 0.0
    log.abort(boot_time() + 1e6)
    assert log.aborted_at() == 0.0
    now = boot_time()
    log.abort(now)
    assert log.aborted_at() == pytest.approx(now)


def test_all_targets_of_an_injection_are_found_by_its_name(log: UndoLog) -> None:
    _plan(log, _record("f-1.1"), _record("f-1.2"), _record("f-12"))
    log.close("f-1.1", "injector", "asked", ok=True, at=1.0)
    assert sorted(record.order.id for record in log.find("f-1")) == ["f-1.1", "f-1.2"]
    assert [record.order.id for record in log.find("f-12")] == ["f-12"]
    assert log.find("f-2") == []


def test_only_the_newest_closed_ones_are_kept(log: UndoLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "DONE", 10)
    for number in range(15):
        _plan(log, _record(f"f-{number}"))
        os.utime(log.folder / f"f-{number}.json", (number, number))
        log.close(f"f-{number}", "injector", "asked", ok=True, at=float(number))
    kept = {record.order.id for record in log.done()}
    assert "f-14" in kept
    assert "f-0" not in kept
    assert len(kept) <= 11


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    log = UndoLog(tmp_path / "faults")
    assert log.active() == log.stuck() == log.done() == log.find("f-1") == []
    assert log.unreadable() == []
    assert log.update("f-1", lambda now: now) is None
    assert log.claim("f-1", _ME, _alive, "x", "y") is None
    assert log.close("f-1", "x", "y", ok=True, at=1.0) is None
    assert not log.folder.exists()


@pytest.fixture
def locked(log: UndoLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody was stopped while it had the lock, with a fault planned."""
    _plan(log, _record())
    monkeypatch.setattr(undo, "LOCK_PATIENCE", 0.05)
    monkeypatch.setattr(undo, "PLAN_PATIENCE", 0.05)
    descriptor = os.open(log.folder / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def _in_time(act: Callable[[], object]) -> object:
    """What ``act`` returned or raised; it must not hang."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(act())
        except FaultError as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive(), "it waits for the lock"
    return found[0]


@pytest.mark.usefixtures("locked")
def test_a_revert_goes_on_without_a_lock_that_nobody_gives_back(log: UndoLog) -> None:
    claimed = _in_time(lambda: log.claim("f-1", _ME, _alive, "watchdog", "x"))
    assert isinstance(claimed, FaultRecord)
    assert _in_time(lambda: log.close("f-1", "watchdog", "x", ok=True, at=1.0)) is not None
    assert log.unclosed() == []


@pytest.mark.usefixtures("locked")
def test_nothing_is_injected_without_the_lock(log: UndoLog) -> None:
    refused = _in_time(lambda: _plan(log, _record("f-2")))
    assert isinstance(refused, FaultError)
    assert refused.code == 9015
    assert [record.order.id for record in log.unclosed()] == ["f-1"]
    refused = _in_time(lambda: log.update("f-1", lambda now: msgspec.structs.replace(now, state=RecordState.ARMED)))
    assert isinstance(refused, FaultError)
    assert log.unclosed()[0].state is RecordState.PLANNED


def test_a_claim_runs_out_though_its_process_lives(
    log: UndoLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plan(log, _record())
    assert log.claim("f-1", (99, 1), _alive, "person", "asked") is not None
    other = UndoLog(tmp_path / "faults")
    now = boot_time()
    monkeypatch.setattr(undo, "boot_time", lambda: now + 0.9 * undo.CLAIM_PATIENCE)
    assert other.claim("f-1", _ME, _alive, "watchdog", "x") is None
    monkeypatch.setattr(undo, "boot_time", lambda: now + 1.1 * undo.CLAIM_PATIENCE)
    assert other.claim("f-1", _ME, _alive, "watchdog", "x") is not None
    # who had it goes on at last: it may say that it is undone, not that it is not
    assert log.close("f-1", "person", "asked; not reverted", ok=False, at=1.0) is None
    assert log.active()[0].by == "watchdog"
    assert log.close("f-1", "person", "asked", ok=True, at=1.0) is not None
    assert log.unclosed() == []


def test_a_claim_that_is_given_back_is_taken_at_once(log: UndoLog, tmp_path: Path) -> None:
    _plan(log, _record())
    log.claim("f-1", (99, 1), _alive, "person", "asked")
    other = UndoLog(tmp_path / "faults")
    other.release("f-1")
    assert other.claim("f-1", _ME, _alive, "watchdog", "x") is None
    log.release("f-1")
    assert log.active()[0].state is RecordState.REVERTING
    assert other.claim("f-1", _ME, _alive, "watchdog", "x") is not None


def test_whoever_plans_knows_of_what_is_stuck(log: UndoLog) -> None:
    _plan(log, _record())
    log.close("f-1", "watchdog", "no answer", ok=False, at=1.0)
    known: list[str] = []

    def make(unclosed: list[FaultRecord]) -> list[FaultRecord]:
        known.extend(record.order.id for record in unclosed)
        return []

    log.plan(make)
    assert known == ["f-1"]
