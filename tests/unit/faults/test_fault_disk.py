"""Faults at the disk port: what journals and checkpoints meet, and what is left of them."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisors.core.errors import CheckpointError, Fenced, JournalFailed
from supervisors.faults.acts.state import ACTS
from supervisors.faults.board import FaultSlot
from supervisors.faults.disk import FaultDisk
from supervisors.runtime.clock import SystemClock
from supervisors.state.checkpoints import Checkpoint, CheckpointStore
from supervisors.state.disk import REAL_DISK
from supervisors.state.journal import GroupCommitter, JournalReader, JournalWriter, prepare, retain
from supervisors.testing.clock import ManualClock

from .arming import Rig


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "a" / "journal"


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return tmp_path / "a" / "checkpoints"


def opened(folder: Path, epoch: int, disk: FaultDisk, segment_bytes: int = 64_000_000) -> JournalWriter:
    return JournalWriter.open(folder, epoch, clock=ManualClock(5.0), disk=disk, segment_bytes=segment_bytes)


def read(folder: Path) -> list[bytes]:
    with JournalReader(folder) as reader:
        return [record.body for record in reader.read()]


def checkpoint(sequence: int, epoch: int = 1) -> Checkpoint:
    return Checkpoint(sequence, epoch, 1, 1, "a:A", 1, b"state %d" % sequence)


def content(folder: Path) -> dict[str, bytes]:
    """Files by name, but for the control file, whose mark moves through a memory map."""
    return {file.name: file.read_bytes().rstrip(b"\0") for file in folder.iterdir() if file.name != "control"}


# ---------------------------------------------------------------- nothing armed


def test_with_nothing_armed_a_call_is_one_call_more(tmp_path: Path) -> None:
    calls: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Callable[..., object]:
            def call(*arguments: object) -> object:
                calls.append(name)
                return getattr(REAL_DISK, name)(*arguments)

            return call

    disk = FaultDisk(Counting(), FaultSlot())  # type: ignore[arg-type]
    fd = disk.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert disk.write(fd, b"abc", 0) == 3
    disk.preallocate(fd, 10)
    disk.truncate(fd, 2)
    disk.fdatasync(fd)
    disk.fsync(fd)
    assert disk.size(fd) == 2
    assert disk.read(fd, 9, 0) == b"ab"
    disk.fsync_dir(tmp_path)
    disk.close(fd)
    disk.rename(tmp_path / "file", tmp_path / "other")
    disk.unlink(tmp_path / "other")
    assert disk.boot() == REAL_DISK.boot()
    assert calls == [
        *("open", "write", "preallocate", "truncate", "fdatasync", "fsync", "size", "read"),
        *("fsync_dir", "close", "rename", "unlink", "boot"),
    ]


# ---------------------------------------------------------------- slow, broken, full


def test_a_slow_disk_takes_its_time_and_lets_go_when_it_ends(journal: Path) -> None:
    rig = Rig()
    writer = opened(journal, 1, disk := FaultDisk(REAL_DISK, rig.slot))
    rig.arm("slow_disk", delay="20ms")
    began = time.monotonic()
    writer.append([b"one"])
    assert time.monotonic() - began >= 0.04, "a write and a sync"
    rig.end()
    rig.arm("slow_disk", "f-2", delay="60s")
    thread = threading.Thread(target=writer.append, args=([b"two"],))
    thread.start()
    while "f-2" not in rig.fired:
        time.sleep(0.001)
    rig.end("f-2")
    thread.join(5.0)
    assert not thread.is_alive(), "what waits goes on when the fault ends"
    assert read(journal) == [b"one", b"two"]
    del disk


def test_only_the_folder_that_is_meant_is_hit(journal: Path, checkpoints: Path) -> None:
    rig = Rig()
    disk = FaultDisk(REAL_DISK, rig.slot)
    writer, store = opened(journal, 1, disk), CheckpointStore(checkpoints, disk)
    rig.arm("fail_disk", what="checkpoints", call="all")
    writer.append([b"one"])
    with pytest.raises(CheckpointError):
        store.save(checkpoint(1))
    rig.end()
    rig.arm("fail_disk", "f-2", what="journal", call="all")
    store.save(checkpoint(1))
    with pytest.raises(JournalFailed):
        writer.append([b"two"])
    rig.end("f-2")
    writer.append([b"three"])
    assert read(journal) == [b"one", b"three"]
    assert [info.sequence for info in store.list()] == [1]


@pytest.mark.parametrize("call", ["open", "write", "preallocate", "truncate", "fdatasync", "fsync", "fsync_dir", "all"])
def test_a_call_that_fails_acknowledges_nothing_and_the_next_ones_do(journal: Path, call: str) -> None:
    rig = Rig()
    writer = opened(journal, 1, FaultDisk(REAL_DISK, rig.slot), segment_bytes=300)
    kept = []
    for number in range(20):
        if number % 4 == 3:
            rig.arm("fail_disk", f"f-{number}", call=call)
        body = b"%d" % number * 20
        try:
            writer.append([body])
            kept.append(body)
        except JournalFailed:
            assert number % 4 == 3
        rig.end(f"f-{number}")
    if call in ("write", "fdatasync", "all"):
        assert len(kept) == 15
    assert read(journal) == kept
    writer.close()
    assert JournalReader(journal).verify().ok


def test_reading_may_fail_too(journal: Path) -> None:
    rig = Rig()
    disk = FaultDisk(REAL_DISK, rig.slot)
    opened(journal, 1, disk).append([b"one"])
    rig.arm("fail_disk", call="read")
    with pytest.raises(JournalFailed):
        list(JournalReader(journal, disk=disk).read())
    rig.end()
    assert [record.body for record in JournalReader(journal, disk=disk).read()] == [b"one"]


def test_a_chance_decides_and_repeats_with_its_seed(tmp_path: Path) -> None:
    def failed(seed: int) -> list[int]:
        from msgspec.structs import replace

        from .arming import order_of

        rig = Rig()
        disk = FaultDisk(REAL_DISK, rig.slot)
        fd = disk.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        rig.give(replace(order_of("fail_disk", call="write"), probability=0.5, first=2, seed=seed))
        found = []
        for number in range(50):
            try:
                disk.write(fd, b"x", number)
            except OSError:
                found.append(number)
        disk.close(fd)
        return found

    assert failed(1) == failed(1) != failed(2)
    assert failed(1)[:2] == [0, 1]
    assert 10 < len(failed(1)) < 40


def test_a_full_disk_takes_what_it_has_room_for(tmp_path: Path) -> None:
    rig = Rig()
    disk = FaultDisk(REAL_DISK, rig.slot)
    fd = disk.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    rig.arm("full_disk", room=10)
    assert disk.write(fd, b"1234567", 0) == 7
    with pytest.raises(OSError, match="No space"):
        disk.preallocate(fd, 11)
    disk.preallocate(fd, 10)
    assert disk.write(fd, b"89abcdef", 7) == 3
    with pytest.raises(OSError, match="No space") as caught:
        disk.write(fd, b"b", 10)
    assert caught.value.errno == errno.ENOSPC
    rig.end()
    assert disk.write(fd, b"bcdef", 10) == 5
    assert (tmp_path / "file").read_bytes() == b"123456789abcdef"


def test_a_journal_on_a_full_disk_acknowledges_what_fits(journal: Path) -> None:
    rig = Rig()
    writer = opened(journal, 1, FaultDisk(REAL_DISK, rig.slot))
    rig.arm("full_disk", room="1KB", what="journal")
    kept = []
    with suppress(JournalFailed):
        for number in range(100):
            writer.append([b"%d" % number * 10])
            kept.append(b"%d" % number * 10)
    assert 5 < len(kept) < 20
    rig.end()
    writer.append([b"after"])
    assert read(journal) == [*kept, b"after"]


# ---------------------------------------------------------------- lost syncs


class Dead(BaseException):
    """The process was killed."""


def die() -> None:
    raise Dead


def lying(rig: Rig) -> FaultDisk:
    return FaultDisk(REAL_DISK, rig.slot, kill=die)


def fail_power(rig: Rig, fault_id: str = "f-1") -> None:
    """The fault ends, and with it the process."""
    armed = rig._board.find(fault_id)
    assert armed is not None
    for callback in armed.end():
        with pytest.raises(Dead):
            callback()


def test_what_was_synced_before_is_what_is_left(journal: Path, checkpoints: Path) -> None:
    rig = Rig()
    disk = lying(rig)
    writer, store = opened(journal, 1, disk), CheckpointStore(checkpoints, disk)
    for number in range(3):
        writer.append([b"kept %d" % number])
    store.save(checkpoint(2))
    before = content(journal), content(checkpoints)
    rig.arm("lose_sync")
    for number in range(5):
        writer.append([b"lost %d" % number])
    store.save(checkpoint(6))
    store.prune(1)
    assert len(read(journal)) == 8, "until then everybody sees it"
    fail_power(rig)
    assert (content(journal), content(checkpoints)) == before
    assert read(journal) == [b"kept 0", b"kept 1", b"kept 2"]
    report = JournalReader(journal).verify()
    assert report.ok
    assert not report.findings
    with pytest.raises(JournalFailed):
        writer.append([b"dead"])
    again = opened(journal, 2, FaultDisk(REAL_DISK, FaultSlot()))
    assert again.durable == 3
    again.append([b"new"])
    assert read(journal)[3:] == [b"new"]


@pytest.mark.parametrize("segment_bytes", [120, 300, 100_000])
def test_segments_begun_and_removed_meanwhile_are_taken_back(journal: Path, segment_bytes: int) -> None:
    rig = Rig()
    disk = lying(rig)
    writer = opened(journal, 1, disk, segment_bytes)
    bodies = [b"%03d" % number * 10 for number in range(30)]
    for body in bodies[:12]:
        writer.append([body])
    rig.arm("lose_sync")
    for body in bodies[12:]:
        writer.append([body])
        retain(journal, 10, 0.0, utc_ns=10**19, disk=disk)
    fail_power(rig)
    with JournalReader(journal) as reader:
        found = [record.body for record in reader.read(reader.begin - 1)]
        assert found == bodies[reader.begin - 1 : 12]
        assert reader.begin == 1
    assert JournalReader(journal).verify().ok
    writer.abandon()
    again = opened(journal, 2, FaultDisk(REAL_DISK, FaultSlot()))
    assert again.durable == 12


def test_changes_are_taken_back_newest_first(tmp_path: Path) -> None:
    rig = Rig()
    disk = lying(rig)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() * 10)
    rig.arm("lose_sync")
    fd = disk.open(tmp_path / "a", os.O_RDWR)
    disk.write(fd, b"12345", 8)
    disk.write(fd, b"67890", 5)
    disk.truncate(fd, 3)
    disk.preallocate(fd, 30)
    disk.write(fd, b"x", 25)
    disk.fsync(fd)
    disk.unlink(tmp_path / "b")
    disk.close(disk.open(tmp_path / "b", os.O_RDWR | os.O_CREAT))
    new = disk.open(tmp_path / "new", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    disk.write(new, b"new", 0)
    disk.rename(tmp_path / "new", tmp_path / "c")
    disk.write(new, b"er", 3)
    disk.unlink(tmp_path / "b")
    disk.close(disk.open(tmp_path / "b", os.O_RDWR | os.O_CREAT))
    disk.fsync_dir(tmp_path)
    assert (tmp_path / "c").read_bytes() == b"newer"
    fail_power(rig)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        name: name.encode() * 10 for name in ("a", "b", "c")
    }


def test_without_a_crash_nothing_is_lost(journal: Path) -> None:
    rig = Rig()
    writer = opened(journal, 1, lying(rig), 300)
    writer.append([b"one"])
    rig.arm("lose_sync", crash=False)
    for number in range(10):
        writer.append([b"more %d" % number * 9])
    rig.end()
    writer.append([b"after"])
    assert len(read(journal)) == 12


def test_syncs_are_not_made_while_they_are_lost_and_all_made_up_for(journal: Path) -> None:
    synced: list[str] = []

    class Watched(type(REAL_DISK)):  # type: ignore[misc]
        def fdatasync(self, fd: int) -> None:
            synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
            super().fdatasync(fd)

    rig = Rig()
    writer = opened(journal, 1, FaultDisk(Watched(), rig.slot, kill=die))
    writer.append([b"one"])
    assert synced
    synced.clear()
    rig.arm("lose_sync", crash=False)
    writer.append([b"two"])
    assert not synced
    assert rig.fired == ["f-1"]
    rig.end()
    until = time.monotonic() + 10.0
    while not any(name.endswith(".seg") for name in synced):
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_sync_that_gets_through_takes_all_before_it_along(journal: Path) -> None:
    from msgspec.structs import replace

    from .arming import order_of

    rig = Rig()
    writer = opened(journal, 1, lying(rig))
    rig.give(replace(order_of("lose_sync"), probability=0.0, first=3))
    for number in range(4):
        writer.append([b"%d" % number])
    fail_power(rig)
    assert read(journal) == [b"0", b"1", b"2", b"3"]


def test_a_takeover_met_by_lost_syncs_loses_only_its_own(journal: Path) -> None:
    first = opened(journal, 1, FaultDisk(REAL_DISK, FaultSlot()))
    first.append([b"old"])
    rig = Rig()
    disk = lying(rig)
    prepared = prepare(journal, disk=disk)
    assert prepared is not None
    first.abandon()
    writer = JournalWriter.open(journal, 2, clock=ManualClock(5.0), disk=disk, quick=True, prepared=prepared)
    rig.arm("lose_sync")
    writer.append([b"lost"])
    writer.settle()
    fail_power(rig)
    assert read(journal) == [b"old"]
    with pytest.raises(Fenced):
        opened(journal, 2, FaultDisk(REAL_DISK, FaultSlot()))
    again = opened(journal, 3, FaultDisk(REAL_DISK, FaultSlot()))
    again.append([b"new"])
    assert read(journal) == [b"old", b"new"]
    assert JournalReader(journal).verify().ok


@pytest.mark.parametrize("armed_first", [True, False])
def test_an_opening_under_lost_syncs_never_lowers_the_fence(journal: Path, armed_first: bool) -> None:
    stopped = opened(journal, 1, FaultDisk(REAL_DISK, FaultSlot()))
    stopped.append([b"old"])
    rig = Rig()
    if armed_first:
        rig.arm("lose_sync")
    writer = opened(journal, 2, lying(rig))
    if not armed_first:
        rig.arm("lose_sync")
    writer.append([b"lost"])
    fail_power(rig)
    with pytest.raises(Fenced):
        stopped.append([b"a stopped writer wakes up"])
    assert read(journal) == [b"old"]
    assert opened(journal, 3, FaultDisk(REAL_DISK, FaultSlot())).durable == 1


def test_what_a_newer_writer_took_over_is_its_own(journal: Path) -> None:
    rig = Rig()
    writer = opened(journal, 1, lying(rig))
    rig.arm("lose_sync")
    writer.append([b"lied about"])
    newer = opened(journal, 2, FaultDisk(REAL_DISK, FaultSlot()))
    newer.append([b"newer"])
    fail_power(rig)
    assert read(journal) == [b"lied about", b"newer"]


def test_a_process_killed_while_it_loses_leaves_a_whole_journal(journal: Path, tmp_path: Path) -> None:
    """Killed at any call of the dropping: what was durable before is there, and no damage."""

    class Killed(BaseException):
        pass

    class Stopping(type(REAL_DISK)):  # type: ignore[misc]
        left = -1

        def _count(self) -> None:
            if self.left == 0:
                raise Killed
            self.left -= 1

        def write(self, fd: int, data: bytes, offset: int) -> int:
            self._count()
            return int(super().write(fd, data, offset))

        def truncate(self, fd: int, size: int) -> None:
            self._count()
            super().truncate(fd, size)

        def rename(self, source: Path, target: Path) -> None:
            self._count()
            super().rename(source, target)

        def unlink(self, path: Path) -> None:
            self._count()
            super().unlink(path)

    stops = 0
    for at in range(200):
        folder = tmp_path / str(at) / "journal"
        rig = Rig()
        below = Stopping()
        writer = opened(folder, 1, FaultDisk(below, rig.slot, kill=die), 300)
        for number in range(6):
            writer.append([b"%03d" % number * 10])
        rig.arm("lose_sync")
        for number in range(6, 20):
            writer.append([b"%03d" % number * 10])
        below.left = at
        armed = rig._board.find("f-1")
        assert armed is not None
        (callback,) = armed.end()
        try:
            callback()
        except Killed:
            stops += 1
        except Dead:
            break
        found = read(folder)
        assert found[:6] == [b"%03d" % number * 10 for number in range(6)]
        assert opened(folder, 2, FaultDisk(REAL_DISK, FaultSlot())).durable >= 6
    assert stops > 10


def test_acknowledgements_of_a_committer_are_honest_up_to_the_lie(journal: Path) -> None:
    """A thread writes while the fault begins and ends: what it acknowledged before the fault is never lost."""
    for _ in range(5):
        folder = journal / "journal"
        rig = Rig(SystemClock())
        epoch = 1
        with JournalReader(folder) as reader:
            epoch = (plan.state.fence.epoch if (plan := reader.plan()) else 0) + 1
            head = reader.head
        writer = opened(folder, epoch, lying(rig), 2000)
        acknowledged: list[int] = []

        def committed(first: int, last: int, frames: bytes, to: list[int] = acknowledged) -> None:
            to.append(last)

        committer = GroupCommitter(writer, committed=committed, failed=lambda first, error: None)
        stop = threading.Event()

        def load(stop: threading.Event = stop, committer: GroupCommitter = committer) -> None:
            while not stop.is_set():
                try:
                    committer.submit(b"x" * 50)
                except JournalFailed:
                    return
                time.sleep(0.0005)

        thread = threading.Thread(target=load)
        thread.start()
        while not acknowledged:
            time.sleep(0.001)
        honest = acknowledged[-1]
        rig.arm("lose_sync")
        while acknowledged[-1] < honest + 50:
            time.sleep(0.001)
        fail_power(rig)
        stop.set()
        thread.join(5.0)
        committer.close()
        with JournalReader(folder) as reader:
            assert head < honest <= reader.head <= acknowledged[-1]
            assert [record.sequence for record in reader.read()] == list(range(1, reader.head + 1))


@pytest.mark.parametrize("crash", [True, False])
def test_the_power_fails_at_the_end_also_if_nothing_was_written(crash: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk never met the fault: the act ends the process, a moment later, as the disk's own end comes first."""
    killed: list[tuple[int, int]] = []
    later: list[tuple[float, Callable[[], None]]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    stage = SimpleNamespace(plane_later=lambda delay, callback: later.append((delay, callback)))
    end = ACTS["lose_sync"](Rig().arm("lose_sync", crash=crash), stage)
    assert (end is not None) == crash
    if end is not None:
        end()
        ((delay, callback),) = later
        assert delay > 0
        assert not killed
        callback()
        assert killed == [(os.getpid(), signal.SIGKILL)]
