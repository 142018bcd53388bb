"""The disk that fails as told."""

import errno
import os
import random
from pathlib import Path

import pytest

from supervisors.state.disk import REAL_DISK, Disk, make_folder, write_all
from supervisors.testing.disk import FaultyDisk, blend

NEW = os.O_RDWR | os.O_CREAT


@pytest.mark.parametrize("disk", [REAL_DISK, FaultyDisk()], ids=["real", "faulty"])
def test_both_do_what_the_port_says(tmp_path: Path, disk: Disk) -> None:
    folder = tmp_path / "a" / "b"
    make_folder(disk, folder)
    fd = disk.open(folder / "one", NEW)
    write_all(disk, fd, b"hello", 3)
    disk.fdatasync(fd)
    disk.fsync(fd)
    assert disk.read(fd, 100, 0) == b"\0\0\0hello"
    disk.preallocate(fd, 1000)
    assert disk.size(fd) == 1000
    disk.truncate(fd, 4)
    disk.close(fd)
    disk.rename(folder / "one", folder / "two")
    disk.fsync_dir(folder)
    assert (folder / "two").read_bytes() == b"\0\0\0h"
    disk.unlink(folder / "two")
    with pytest.raises(FileNotFoundError):
        disk.unlink(folder / "two")
    assert len(disk.boot()) == 16
    assert disk.boot() == disk.boot() != bytes(16)


def test_short_writes_are_gone_on_with(tmp_path: Path) -> None:
    disk = FaultyDisk()
    fd = disk.open(tmp_path / "a", NEW)
    disk.room = 7
    with pytest.raises(OSError, match="No space"):
        write_all(disk, fd, b"0123456789", 0)
    assert disk.read(fd, 100, 0) == b"0123456"


def test_faults_come_when_and_where_told(tmp_path: Path) -> None:
    disk = FaultyDisk()
    one, two = disk.open(tmp_path / "one", NEW), disk.open(tmp_path / "two", NEW)
    disk.fail("write", errno.EIO, after=1, times=2, match="one", part=0.5)
    disk.write(two, b"x", 0)
    disk.write(one, b"x", 0)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            disk.write(one, b"abcd", 10)
    assert disk.write(one, b"x", 0) == 1
    assert disk.read(one, 100, 10) == b"ab"
    with pytest.raises(ValueError, match="none of"):
        disk.fail("dance")


def test_a_power_failure_takes_what_was_not_synced(tmp_path: Path) -> None:
    disk = FaultyDisk()
    fd = disk.open(tmp_path / "a", NEW)
    write_all(disk, fd, b"synced", 0)
    disk.fdatasync(fd)
    disk.fsync_dir(tmp_path)
    write_all(disk, fd, b"lost!!", 0)
    disk.close(fd)
    disk.close(disk.open(tmp_path / "b", NEW))
    disk.rename(tmp_path / "a", tmp_path / "c")
    boot = disk.boot()
    disk.power_failure()
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"a": b"synced"}
    assert disk.boot() != boot


def test_a_lying_disk_loses_what_it_says_to_have(tmp_path: Path) -> None:
    disk = FaultyDisk()
    fd = disk.open(tmp_path / "a", NEW)
    disk.fsync_dir(tmp_path)
    disk.lying = True
    write_all(disk, fd, b"gone", 0)
    disk.fdatasync(fd)
    disk.close(fd)
    disk.power_failure()
    assert (tmp_path / "a").read_bytes() == b""


def test_a_sync_after_a_failed_one_is_counted_and_does_nothing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    fd = disk.open(tmp_path / "a", NEW)
    disk.fsync_dir(tmp_path)
    write_all(disk, fd, b"gone", 0)
    disk.fail("fdatasync")
    with pytest.raises(OSError, match="Input/output"):
        disk.fdatasync(fd)
    disk.fdatasync(fd)
    assert disk.synced_again == 1
    disk.close(fd)
    disk.power_failure()
    assert (tmp_path / "a").read_bytes() == b""


def test_any_part_of_a_write_may_be_left() -> None:
    old, new = b"o" * 3000, b"n" * 3000
    seen = {blend(old, new, random.Random(seed)) for seed in range(50)}
    assert len(seen) > 40
    assert all(len(one) == 3000 and set(one) <= set(b"on") for one in seen)
    assert {len(blend(b"", new, random.Random(seed))) for seed in range(20)} == {0, 3000}
