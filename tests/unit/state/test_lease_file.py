"""What only the file store has to stand: reboots, moved folders, damage, full disks, stopped processes (STA-4)."""

import errno
import fcntl
import os
import random
import threading
import time
from pathlib import Path

import pytest

from supervisors.core.errors import StateError, StoreUnavailable
from supervisors.state.lease_file import FileLeaseStore, file_name
from supervisors.state.leases import BOOT_CLOCK, Grant, Held, open_lease_store
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk

TTL = 5.0


def granted(answer: Grant | Held) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def held(answer: Grant | Held) -> Held:
    assert isinstance(answer, Held), answer
    return answer


# ---------------------------------------------------------------- reboots and other machines


def test_leases_of_an_earlier_boot_are_over_and_their_tokens_are_not_forgotten(tmp_path: Path) -> None:
    before = FileLeaseStore(tmp_path, clock=ManualClock(90_000.0), boot="b1", machine="m")
    grant = granted(before.acquire("/a", "one", TTL))
    clock = ManualClock(3.0)
    after = FileLeaseStore(tmp_path, clock=clock, boot="b2", machine="m")
    row = after.read("/a")
    assert row is not None
    assert row.left == 0
    assert not after.renew("/a", "one", grant.token, TTL)
    assert granted(after.acquire("/a", "two", TTL)).token == 2


@pytest.mark.parametrize("machine", ["other", ""])
def test_a_lease_of_another_machine_counts_from_when_it_is_first_met(tmp_path: Path, machine: str) -> None:
    there = FileLeaseStore(tmp_path, clock=ManualClock(90_000.0), boot="b1", machine=machine)
    grant = granted(there.acquire("/a", "one", TTL))
    clock = ManualClock(3.0)
    here = FileLeaseStore(tmp_path, clock=clock, boot="b2", machine="m")
    assert held(here.acquire("/a", "two", TTL)).left == TTL
    clock.advance(TTL - 0.1)
    assert held(here.acquire("/a", "two", TTL)).left == pytest.approx(0.1)
    assert not there.renew("/a", "one", grant.token, TTL)  # it is told that it is its no more
    clock.advance(0.2)
    assert granted(here.acquire("/a", "two", TTL)).token == 2


def test_one_proved_dead_on_another_machine_is_replaced_at_once(tmp_path: Path) -> None:
    granted(FileLeaseStore(tmp_path, boot="b1", machine="x").acquire("/a", "one", TTL))
    here = FileLeaseStore(tmp_path, boot="b2", machine="m")
    assert granted(here.acquire("/a", "two", TTL, proved_dead="one")).token == 2


def test_a_row_from_a_clock_far_ahead_does_not_keep_others_out_for_ever(tmp_path: Path) -> None:
    """Two containers of one machine may have boot clocks of their own."""
    granted(FileLeaseStore(tmp_path, clock=ManualClock(9e6), boot="b", machine="m").acquire("/a", "one", TTL))
    clock = ManualClock(10.0)
    here = FileLeaseStore(tmp_path, clock=clock, boot="b", machine="m")
    assert held(here.acquire("/a", "two", TTL)).left == TTL
    clock.advance(TTL + 0.1)
    granted(here.acquire("/a", "two", TTL))


def test_the_boot_clock_counts_on(tmp_path: Path) -> None:
    first = BOOT_CLOCK.monotonic()
    assert BOOT_CLOCK.monotonic() >= first > 0
    assert first >= time.monotonic() - 0.1  # sleep is counted in
    assert abs(BOOT_CLOCK.utc_ns() - time.time_ns()) < 10**9


# ---------------------------------------------------------------- damage


def prepared(folder: Path) -> tuple[FileLeaseStore, Path, int]:
    """Three grants, the last renewed twice."""
    store = FileLeaseStore(folder, clock=ManualClock(50.0), boot="b", machine="m")
    for holder in ("one", "two", "three"):
        grant = granted(store.acquire("/a", holder, TTL, proved_dead={"two": "one", "three": "two"}.get(holder, "")))
    for _ in range(2):
        assert store.renew("/a", "three", 3, TTL)
    return store, folder / file_name("/a"), grant.token


def test_no_damage_of_one_place_makes_a_token_come_again_or_frees_the_lease(tmp_path: Path) -> None:
    store, file, token = prepared(tmp_path)
    whole = file.read_bytes()
    for byte in range(len(whole)):
        hurt = bytearray(whole)
        hurt[byte] ^= 1 << (byte % 8)
        file.write_bytes(hurt)
        told = 0
        try:
            held(store.acquire("/a", "rival", TTL))
            mine = granted(store.acquire("/a", "mine", TTL, proved_dead="three")).token
        except StoreUnavailable as error:
            told = error.code
        assert told in {7022, 7023} or mine > token, byte


def test_a_file_cut_short_never_gives_a_token_again(tmp_path: Path) -> None:
    store, file, _ = prepared(tmp_path)
    whole = file.read_bytes()
    for length in range(1, len(whole)):
        file.write_bytes(whole[:length].ljust(len(whole), b"\x00"))
        told = 0
        try:
            answer = store.acquire("/a", "rival", TTL, proved_dead="three")
        except StoreUnavailable as error:
            told = error.code
        # zeros where both grants were are what a file without any looks like; no crash makes them, both were synced
        least = 1 if length < 1024 + 512 else 4
        assert told == 7022 or isinstance(answer, Held) or answer.token >= least, length


def test_both_grants_lost_is_never_taken_for_a_free_lease(tmp_path: Path) -> None:
    store, file, _ = prepared(tmp_path)
    data = bytearray(file.read_bytes())
    data[1024:2048] = random.Random(1).randbytes(1024)
    file.write_bytes(data)
    for call in (
        lambda: store.acquire("/a", "x", TTL),
        lambda: store.read("/a"),
        lambda: store.renew("/a", "x", 1, TTL),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert caught.value.code == 7022


def test_a_newer_format_is_told(tmp_path: Path) -> None:
    store, file, _ = prepared(tmp_path)
    data = bytearray(file.read_bytes())
    data[8] = 2
    file.write_bytes(data)
    with pytest.raises(StoreUnavailable, match="format 2") as caught:
        store.rows()
    assert caught.value.code == 7023


def test_a_file_of_another_path_is_told(tmp_path: Path) -> None:
    store, file, _ = prepared(tmp_path)
    (tmp_path / file_name("/b")).write_bytes(file.read_bytes())
    with pytest.raises(StoreUnavailable, match="lease of /a"):
        store.acquire("/b", "x", TTL)


@pytest.mark.parametrize("size", [0, 1, 1024, 3071])
def test_a_file_whose_maker_died_is_made_again(tmp_path: Path, size: int) -> None:
    store = FileLeaseStore(tmp_path)
    (tmp_path / file_name("/a")).write_bytes(bytes(size))
    assert store.read("/a") is None
    assert store.rows() == []
    assert not store.renew("/a", "one", 1, TTL)
    assert granted(store.acquire("/a", "one", TTL)).token == 1


def test_a_deleted_folder_ends_all_leases(tmp_path: Path) -> None:
    store, file, _ = prepared(tmp_path / "leases")
    file.unlink()
    assert not store.renew("/a", "three", 3, TTL)
    file.parent.rmdir()
    assert not store.renew("/a", "three", 3, TTL)
    assert granted(store.acquire("/a", "four", TTL, floor=4)).token == 4


# ---------------------------------------------------------------- failing disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "fsync_dir", "fdatasync"])
def test_a_disk_that_fails_is_an_unavailable_store(tmp_path: Path, call: str, code: int) -> None:
    disk = FaultyDisk()
    store = FileLeaseStore(tmp_path / "leases", disk=disk)
    disk.fail(call, code, part=0.5)
    with pytest.raises(StoreUnavailable, match=os.strerror(code)):
        store.acquire("/a", "one", TTL)
    before = len(list(Path("/proc/self/fd").iterdir()))
    first = granted(store.acquire("/a", "one", TTL))
    held(store.acquire("/a", "two", TTL))
    disk.fail("write", code, part=0.5)
    with pytest.raises(StoreUnavailable):
        store.renew("/a", "one", first.token, TTL)
    row = store.read("/a")
    assert row is not None
    assert (row.holder, row.token) == ("one", first.token)
    assert store.renew("/a", "one", first.token, TTL)
    disk.fail("fdatasync", code)
    with pytest.raises(StoreUnavailable):
        store.acquire("/a", "two", TTL, proved_dead="one")
    assert granted(store.acquire("/a", "two", TTL, proved_dead="one")).token > first.token
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("part", [0.005, 0.05, 0.1])
def test_a_grant_cut_short_leaves_the_one_before_it_and_its_token_is_passed_over(tmp_path: Path, part: float) -> None:
    disk = FaultyDisk()
    store = FileLeaseStore(tmp_path, disk=disk)
    last = ""
    for number in range(1, 6):
        last, replaced = f"life {number}", last
        grant = granted(store.acquire("/a", last, TTL, proved_dead=replaced))
    assert grant.token == 5
    disk.fail("write", part=part)
    with pytest.raises(StoreUnavailable):
        store.acquire("/a", "cut short", TTL, proved_dead=last)
    row = store.read("/a")
    assert row is not None
    assert (row.holder, row.token) == (last, 5)
    assert store.renew("/a", last, 5, TTL)
    assert granted(store.acquire("/a", "next", TTL, proved_dead=last)).token == 7


@pytest.mark.parametrize("seed", range(30))
def test_an_answered_token_outlasts_the_power(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    disk = FaultyDisk()
    known = 0
    for _ in range(8):
        store = FileLeaseStore(tmp_path, disk=disk, machine="m")
        grant = granted(store.acquire("/a", f"life {known}", TTL))
        assert grant.token > known
        known = grant.token
        for _ in range(chance.randrange(4)):
            assert store.renew("/a", grant.holder, grant.token, TTL)
        if chance.random() < 0.3:
            store.release("/a", grant.holder, grant.token)
        if chance.random() < 0.5:
            disk.fail("fdatasync")
            with pytest.raises(StoreUnavailable):
                store.acquire("/a", "cut off", TTL, proved_dead=grant.holder)
            disk.heal()
        disk.power_failure(chance)


# ---------------------------------------------------------------- locks


def test_a_process_stopped_with_the_lock_costs_a_second_for_that_path_only(tmp_path: Path) -> None:
    store = FileLeaseStore(tmp_path)
    granted(store.acquire("/a", "one", TTL))
    with (tmp_path / file_name("/a")).open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked for more than 1 s"):
            store.renew("/a", "one", 1, TTL)
        assert 0.9 < time.monotonic() - before < 2.0
        assert store.read("/a") is not None
        granted(store.acquire("/b", "one", TTL))
    assert store.renew("/a", "one", 1, TTL)


def test_a_fork_in_the_middle_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A child forked by another thread shares the descriptor; unlocking is for both."""
    store = FileLeaseStore(tmp_path)
    granted(store.acquire("/a", "one", TTL))
    inside, outside = os.pipe()
    with store._locked("/a", create=False):
        pid = os.fork()
        if pid == 0:
            os.read(inside, 1)
            os._exit(0)
    try:
        before = time.monotonic()
        assert store.renew("/a", "one", 1, TTL)
        assert time.monotonic() - before < 0.5
    finally:
        os.write(outside, b"x")
        os.waitpid(pid, 0)
        os.close(inside)
        os.close(outside)


def test_a_folder_removed_while_waiting_for_the_lock(tmp_path: Path) -> None:
    """Who waited must not go on with a file that nobody else will find."""
    store = FileLeaseStore(tmp_path)
    granted(store.acquire("/a", "one", TTL))
    file = tmp_path / file_name("/a")
    answers: list[Grant | Held] = []
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: answers.append(store.acquire("/a", "two", TTL, floor=9)))
        waiting.start()
        file.unlink()
    waiting.join(30)
    assert granted(answers[0]).token == 9
    assert granted(store.acquire("/a", "two", TTL)).token == 10


def test_reading_takes_no_lock_and_sees_no_nonsense(tmp_path: Path) -> None:
    store = FileLeaseStore(tmp_path)
    token = granted(store.acquire("/a", "h", 60.0)).token
    ended = threading.Event()

    def write() -> None:
        nonlocal token
        while not ended.is_set():
            token = granted(store.acquire("/a", "h", 60.0)).token
            for _ in range(20):
                assert store.renew("/a", "h", token, 60.0)

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    for _ in range(3000):
        row = store.read("/a")
        assert row is not None
        assert row.token >= seen
        seen = row.token
    ended.set()
    writer.join(30)
    assert seen <= token


# ---------------------------------------------------------------- opening


def test_opening_by_name(tmp_path: Path) -> None:
    store = open_lease_store("file", tmp_path)
    granted(store.acquire("/cell/md", "one", TTL))
    assert [file.name for file in (tmp_path / "leases").iterdir()] == ["cell~md.lease"]
    for url in ("mysql://x", "etcd", ""):
        with pytest.raises(StateError, match="is no lease store") as caught:
            open_lease_store(url, tmp_path)
        assert caught.value.code == 7021


def test_a_url_that_is_not_understood_does_not_show_its_password(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        open_lease_store("postgresql://user:geheim@host:notaport/db?nonsense=1", tmp_path)
    assert caught.value.code == 7021
    assert "geheim" not in str(caught.value)
    store = open_lease_store("postgresql://user:geheim@127.0.0.1:1/db", tmp_path)
    with pytest.raises(StoreUnavailable) as refused:
        store.read("/a")
    assert refused.value.code == 7007
    assert "geheim" not in str(refused.value)


def test_without_psycopg_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(StateError) as caught:
        open_lease_store("postgresql://host/db", tmp_path)
    assert caught.value.code == 7020
    assert "pip install" in caught.value.fix
