"""Tokens reserved beforehand: a grant that does not wait for the disk, and never the same token twice (STA-4)."""

import errno
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from supervisors.core.errors import StoreUnavailable
from supervisors.state.lease_file import FileLeaseStore, file_name
from supervisors.state.leases import Grant
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk

TTL = 5.0
#: what files of earlier versions end after
OLD_SIZE = 3072


def store_on(folder: Path, disk: FaultyDisk) -> FileLeaseStore:
    return FileLeaseStore(folder, clock=ManualClock(50.0), disk=disk, machine="m")


class Lives:
    """One life after the other, each proved dead before the next one asks."""

    def __init__(self, folder: Path, disk: FaultyDisk) -> None:
        self.folder = folder
        self.disk = disk
        self.holder = ""
        self.known = 0
        self.asked = 0

    def acquire(self, floor: int = 0) -> int:
        self.asked += 1
        name = f"life {self.asked}"
        answer = store_on(self.folder, self.disk).acquire("/a", name, TTL, proved_dead=self.holder, floor=floor)
        assert isinstance(answer, Grant), answer
        assert answer.token > self.known, "given before"
        self.holder, self.known = name, answer.token
        return answer.token

    def reserve(self, count: int = 8) -> None:
        store_on(self.folder, self.disk).reserve("/a", count)

    def renew(self) -> None:
        assert store_on(self.folder, self.disk).renew("/a", self.holder, self.known, TTL)

    def end(self, chance: random.Random | None) -> None:
        """The machine stops and starts."""
        self.disk.at = lambda call, path: None
        self.disk.power_failure(chance)
        self.holder = ""


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path / "leases", FaultyDisk())


def test_one_grant_after_a_reservation_waits_for_no_sync(lives: Lives) -> None:
    lives.acquire()
    lives.reserve()
    before = dict(lives.disk.calls)
    assert lives.acquire() == 2
    assert [lives.disk.calls[call] - before[call] for call in ("fdatasync", "fsync", "fsync_dir")] == [0, 0, 0]
    row = store_on(lives.folder, lives.disk).read("/a")
    assert row is not None
    assert (row.holder, row.token, row.left) == ("life 2", 2, TTL)
    lives.renew()
    assert lives.acquire() == 3, "nothing is passed over while the machine runs"
    assert lives.disk.calls["fdatasync"] - before["fdatasync"] == 1, "the grant before it must be durable"
    lives.reserve()
    before = dict(lives.disk.calls)
    assert lives.acquire() == 4
    assert lives.disk.calls["fdatasync"] == before["fdatasync"]


@pytest.mark.parametrize("seed", [None, *range(10)])
def test_a_grant_lost_with_the_power_is_passed_over(lives: Lives, seed: int | None) -> None:
    lives.acquire()
    lives.reserve(8)
    assert lives.acquire() == 2
    lives.end(None if seed is None else random.Random(seed))
    assert lives.acquire() == 10


def test_a_floor_above_what_is_reserved_is_synced(lives: Lives) -> None:
    lives.acquire()
    lives.reserve(3)
    before = lives.disk.calls["fdatasync"]
    assert lives.acquire(floor=5) == 5
    assert lives.disk.calls["fdatasync"] == before + 1
    lives.end(None)
    assert lives.acquire() == 6


def test_what_was_reserved_before_a_start_of_the_machine_is_of_no_more_use(lives: Lives) -> None:
    lives.acquire()
    lives.reserve(4)
    lives.end(None)
    before = lives.disk.calls["fdatasync"]
    assert lives.acquire() == 6
    assert lives.disk.calls["fdatasync"] == before + 1


class Cut(BaseException):
    """The process ends here."""


def _walk(lives: Lives) -> None:
    lives.acquire()
    lives.reserve(2)
    lives.renew()
    lives.acquire()
    lives.renew()
    lives.acquire()
    lives.reserve(2)
    lives.reserve(2)
    lives.acquire()
    lives.reserve(2)
    lives.acquire()


@pytest.mark.parametrize("seed", [None, *range(12)])
@pytest.mark.parametrize("killed_first", [False, True])
def test_the_power_fails_at_any_call(tmp_path: Path, seed: int | None, killed_first: bool) -> None:
    """``killed_first``: only the process ends there; others go on, and the power fails later."""
    at, ended = 0, False
    while not ended:
        lives = Lives(tmp_path / str(at), FaultyDisk())
        chance = None if seed is None else random.Random(seed)
        ended = _stop_at(lives, at, partial(_walk, lives))
        if killed_first:
            lives.acquire()
            if at % 3 == 0:
                lives.reserve(2)
            if at % 3 == 1:
                lives.reserve(2)
                lives.acquire()
        lives.end(chance)
        lives.acquire()
        lives.reserve(2)
        lives.acquire()
        lives.end(chance)
        lives.acquire()
        at += 1
    assert at > 20


def _stop_at(lives: Lives, at: int, work: Callable[[], None]) -> bool:
    """Carry out ``work`` up to the call number ``at``; True when that is never reached."""
    left = at

    def stop(call: str, path: Path) -> None:
        nonlocal left
        if left == 0:
            raise Cut
        left -= 1

    lives.disk.at = stop
    try:
        work()
    except Cut:
        return False
    finally:
        lives.disk.at = lambda call, path: None
        lives.holder = f"life {lives.asked}"  # it may have been granted and not told
        row = store_on(lives.folder, lives.disk).read("/a")
        lives.holder = row.holder if row is not None else ""
    return True


@pytest.mark.parametrize("call", ["write", "fdatasync", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("after", [0, 1])
def test_a_reservation_that_fails_is_none(lives: Lives, call: str, code: int, after: int) -> None:
    lives.acquire()
    lives.disk.fail(call, code, after=after, part=0.01)
    failed = (call, after) in {("write", 0), ("write", 1), ("fdatasync", 0), ("open", 0)}
    if failed:
        with pytest.raises(StoreUnavailable, match=os.strerror(code)):
            lives.reserve()
    else:
        lives.reserve()
    lives.disk.heal()
    before = lives.disk.calls["fdatasync"]
    lives.acquire()
    assert lives.disk.calls["fdatasync"] == before + failed


def test_a_kept_copy_is_only_believed_when_the_other_one_was_synced(lives: Lives) -> None:
    """The process is killed between the write and the sync of a reservation: the page cache has it, the disk not."""
    lives.acquire()
    assert not _stop_at(lives, 2, lives.reserve)  # open, write; not the sync
    lives.acquire()
    lives.end(None)
    lives.acquire()


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_copy_that_is_durable_is_never_written_over(tmp_path: Path, rounds: int) -> None:
    """The power fails in a reservation: it may take the promise being written, and the grant the last one covers."""
    lives = Lives(tmp_path, FaultyDisk())
    lives.acquire()
    for _ in range(rounds):
        lives.reserve(2)
    lives.acquire()
    assert not _stop_at(lives, 2, lives.reserve)  # open, write; not the sync
    file = tmp_path / file_name("/a")
    cached = file.read_bytes()
    lives.end(None)
    durable = file.read_bytes()
    places = [at for at in range(0, len(cached), 512) if cached[at : at + 512] != durable[at : at + 512]]
    assert len(places) >= 2
    for place in places:  # the rest of what was not synced is lost, this is cut short
        file.write_bytes(durable[:place] + cached[place : place + 4] + durable[place + 4 :])
        answer = store_on(tmp_path, lives.disk).acquire("/a", "next", TTL)
        assert isinstance(answer, Grant)
        assert answer.token > lives.known, place


@pytest.mark.parametrize("header", [b"\x00" * 1024, b"RVLEASE\x00\x01\x00".ljust(1024, b"\x00"), b"?" * 1024])
def test_a_header_cut_short_by_the_power_is_written_again(tmp_path: Path, header: bytes) -> None:
    (tmp_path / file_name("/a")).write_bytes(header.ljust(4096, b"\x00"))
    store = FileLeaseStore(tmp_path, disk=FaultyDisk())
    assert store.read("/a") is None
    assert store.rows() == []
    for token in (1, 2):
        answer = store.acquire("/a", "one", TTL)
        assert isinstance(answer, Grant)
        assert answer.token == token
    assert [row.path for row in store.rows()] == ["/a"]


def test_files_of_earlier_versions_are_read_and_grow(tmp_path: Path) -> None:
    disk = FaultyDisk()
    lives = Lives(tmp_path, disk)
    lives.acquire()
    lives.acquire()
    file = tmp_path / file_name("/a")
    file.write_bytes(file.read_bytes()[:OLD_SIZE])
    assert lives.acquire() == 3
    assert file.stat().st_size == OLD_SIZE
    lives.reserve(5)
    assert lives.acquire() == 4
    lives.end(None)
    assert lives.acquire() == 9


def test_a_path_never_leased_cannot_be_reserved(lives: Lives) -> None:
    lives.reserve()
    assert not lives.folder.exists()
    assert lives.acquire() == 1


def test_a_machine_that_does_not_tell_its_starts_apart_syncs_each_grant(tmp_path: Path) -> None:
    disk = FaultyDisk()
    store = FileLeaseStore(tmp_path, disk=disk, boot="0" * 32)
    store.acquire("/a", "one", TTL)
    store.reserve("/a")
    before = disk.calls["fdatasync"]
    assert isinstance(store.acquire("/a", "two", TTL, proved_dead="one"), Grant)
    assert disk.calls["fdatasync"] == before + 1


@pytest.mark.parametrize("restarted", [False, True])
def test_no_damage_of_one_place_makes_a_token_come_again(tmp_path: Path, restarted: bool) -> None:
    disk = FaultyDisk()
    lives = Lives(tmp_path, disk)
    for _ in range(3):
        lives.acquire()
        lives.reserve()
    lives.acquire()
    file = tmp_path / file_name("/a")
    whole = file.read_bytes()
    boot = "b2" if restarted else disk.boot().hex()
    store = FileLeaseStore(tmp_path, clock=ManualClock(50.0), disk=disk, boot=boot)
    for byte in range(len(whole)):
        hurt = bytearray(whole)
        hurt[byte] ^= 1 << (byte % 8)
        file.write_bytes(hurt)
        token = code = 0
        try:
            for dead in ("life 4", "life 3"):  # without the last grant the one before it counts
                answer = store.acquire("/a", "next", TTL, proved_dead=dead)
                token = max(token, answer.token if isinstance(answer, Grant) else 0)
        except StoreUnavailable as error:
            code = error.code
        assert code in {7022, 7023} or token > lives.known, byte
