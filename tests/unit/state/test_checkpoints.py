"""Checkpoints: whole or not there, any damage found, older ones untouched by whatever fails (STA-2)."""

import errno
import os
import pickle
import random
import struct
import threading
from hashlib import sha256
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.core.errors import CheckpointError
from supervisors.state.checkpoints import FORMAT, Checkpoint, CheckpointInfo, CheckpointStore
from supervisors.testing.disk import FaultyDisk


def checkpoint(sequence: int, epoch: int = 1, body: bytes = b"state", schema: int = 1) -> Checkpoint:
    return Checkpoint(sequence, epoch, 1_700_000_000_000_000_000 + sequence, 5 * sequence, "m:C", schema, body)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "checkpoints"


@pytest.fixture
def store(folder: Path) -> CheckpointStore:
    return CheckpointStore(folder)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# ---------------------------------------------------------------- what is saved is loaded


def test_there_is_none_at_first(store: CheckpointStore) -> None:
    assert store.list() == []
    assert store.newest_valid() == (None, [])
    assert store.newest_info(verify=True) is None
    assert store.prune(1) == []


def test_what_is_saved_is_loaded(store: CheckpointStore) -> None:
    saved = checkpoint(7, epoch=3, body=bytes(range(256)) * 1000, schema=4)
    info = store.save(saved)
    assert (info.sequence, info.epoch, info.schema, info.bytes, info.actor) == (7, 3, 4, 256_000, "m:C")
    assert info.digest == sha256(saved.body).hexdigest()
    assert store.load(info) == saved
    assert store.list() == [info]
    assert store.newest_valid() == (saved, [])
    assert store.newest_info(verify=True) == store.newest_info(verify=False) == info


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Checkpoint,
        sequence=st.integers(0, 2**63 - 1),
        epoch=st.integers(0, 2**63 - 1),
        utc_ns=st.integers(-(2**62), 2**62),
        monotonic_ns=st.integers(0, 2**62),
        actor=st.text(max_size=200),
        schema=st.integers(0, 2**31),
        body=st.binary(max_size=5000),
    )
)
def test_any_checkpoint_comes_back(tmp_path_factory: pytest.TempPathFactory, given: Checkpoint) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("any"))
    assert store.load(store.save(given)) == given


def test_the_newest_is_of_the_greatest_epoch_then_sequence(store: CheckpointStore) -> None:
    for sequence, epoch in ((10, 1), (30, 1), (20, 2), (9, 2)):
        store.save(checkpoint(sequence, epoch))
    assert [(info.epoch, info.sequence) for info in store.list()] == [(2, 20), (2, 9), (1, 30), (1, 10)]
    newest, _ = store.newest_valid()
    assert newest == checkpoint(20, 2)


def test_one_the_journal_refuses_is_passed_over(store: CheckpointStore) -> None:
    store.save(checkpoint(10))
    store.save(checkpoint(30))
    newest, passed = store.newest_valid(refuse=lambda info: "beyond epoch 1" if info.sequence > 20 else "")
    assert newest == checkpoint(10)
    assert len(passed) == 1
    assert "beyond epoch 1" in passed[0]


def test_saving_the_same_place_again_replaces_it(store: CheckpointStore, folder: Path) -> None:
    store.save(checkpoint(1, body=b"a"))
    info = store.save(checkpoint(1, body=b"b"))
    assert store.load(info).body == b"b"
    assert len(names(folder)) == 1


def test_an_info_of_one_that_was_replaced_is_refused(store: CheckpointStore) -> None:
    info = store.save(checkpoint(1, body=b"a"))
    store.save(checkpoint(1, body=b"b"))
    with pytest.raises(CheckpointError, match="replaced"):
        store.load(info)


# ---------------------------------------------------------------- damage


def valid(store: CheckpointStore, info: CheckpointInfo) -> bool:
    """Whether any way of reading takes the newest file for whole; all ways must agree."""
    newest, passed = store.newest_valid()
    whole = newest is not None and newest.sequence == info.sequence
    assert whole == (passed == [])
    found = store.newest_info(verify=True)
    assert whole == (found is not None and found.sequence == info.sequence)
    return whole


def test_every_flipped_bit_is_found(store: CheckpointStore) -> None:
    older = store.save(checkpoint(1, body=b"older"))
    info = store.save(checkpoint(2, body=b"some state, \x00\xff and the end"))
    data = info.file.read_bytes()
    assert valid(store, info)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        info.file.write_bytes(flipped)
        with pytest.raises(CheckpointError) as caught:
            store.load(info)
        assert caught.value.code == 7004, f"bit {bit}: {caught.value}"
        newest, passed = store.newest_valid()
        assert newest == store.load(older), f"bit {bit}"
        assert len(passed) == 1
        assert str(info.file) in passed[0]
        assert store.newest_info(verify=True) == older


def test_every_cut_is_found(store: CheckpointStore) -> None:
    older = store.save(checkpoint(1, body=b"older"))
    info = store.save(checkpoint(2, body=b"some state"))
    data = info.file.read_bytes()
    for length in range(len(data)):
        info.file.write_bytes(data[:length])
        assert store.newest_valid()[0] == store.load(older), f"{length} bytes left"
        assert not valid(store, info)
        assert store.list() == [older], "what is cut is not even listed"
    info.file.write_bytes(data + b"\x00")
    assert not valid(store, info)
    info.file.write_bytes(data)
    assert valid(store, info)


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_other_damage_is_found(store: CheckpointStore, size: int) -> None:
    chance = random.Random(size)
    info = store.save(checkpoint(2, body=chance.randbytes(size)))
    data = info.file.read_bytes()
    for _ in range(100):
        hurt = bytearray(data)
        start = chance.randrange(len(data))
        end = min(len(data), start + chance.choice([1, 2, 8, 512]))
        hurt[start:end] = chance.choice([bytes(end - start), b"\xff" * (end - start), chance.randbytes(end - start)])
        if hurt != data:
            info.file.write_bytes(hurt)
            assert not valid(store, info)


def test_a_body_that_fits_its_checksum_and_not_its_digest_is_found(store: CheckpointStore) -> None:
    info = store.save(checkpoint(2, body=b"0123"))
    data = bytearray(info.file.read_bytes())
    data[-8:-4] = b"9999"
    data[-4:] = google_crc32c.value(b"9999").to_bytes(4, "little")
    info.file.write_bytes(data)
    with pytest.raises(CheckpointError, match="digest"):
        store.load(info)


def test_a_file_under_the_name_of_another_is_found(store: CheckpointStore) -> None:
    info = store.save(checkpoint(2))
    other = store.save(checkpoint(3))
    other.file.write_bytes(info.file.read_bytes())
    newest, passed = store.newest_valid()
    assert newest == checkpoint(2)
    assert "name of another" in passed[0]


def test_when_all_are_damaged_each_is_named(store: CheckpointStore) -> None:
    infos = [store.save(checkpoint(number)) for number in (1, 2, 3)]
    for info in infos:
        info.file.write_bytes(b"nothing")
    newest, passed = store.newest_valid()
    assert newest is None
    assert [str(info.file) in why for info, why in zip(reversed(infos), passed, strict=True)] == [True] * 3
    assert store.list() == []


def test_one_that_cannot_be_read_is_passed_over(folder: Path) -> None:
    disk = FaultyDisk()
    store = CheckpointStore(folder, disk)
    store.save(checkpoint(1))
    store.save(checkpoint(2))
    disk.fail("read", errno.EIO, match=f"{2:020d}", times=-1)
    newest, passed = store.newest_valid()
    assert newest == checkpoint(1)
    assert "cannot be read" in passed[0]


# ---------------------------------------------------------------- versions


def test_a_newer_format_is_a_clear_error(store: CheckpointStore) -> None:
    store.save(checkpoint(1))
    info = store.save(checkpoint(2))
    data = bytearray(info.file.read_bytes())
    data[8:10] = struct.pack("<H", FORMAT + 1)
    data[14:18] = google_crc32c.value(bytes(data[:14])).to_bytes(4, "little")
    info.file.write_bytes(data)
    for read in (lambda: store.load(info), store.newest_valid):
        with pytest.raises(CheckpointError, match="format 2") as caught:
            read()
        assert caught.value.code == 7030
        assert caught.value.fix


def test_another_schema_is_a_clear_error_and_no_reason_to_go_back(store: CheckpointStore) -> None:
    store.save(checkpoint(1, schema=1))
    info = store.save(checkpoint(2, schema=2))
    for read in (lambda: store.load(info, schema=1), lambda: store.newest_valid(schema=1)):
        with pytest.raises(CheckpointError, match="schema 2") as caught:
            read()
        assert caught.value.code == 7031
    assert store.load(info, schema=2) == checkpoint(2, schema=2)
    assert store.newest_valid(schema=2)[0] == checkpoint(2, schema=2)


def test_errors_travel(store: CheckpointStore) -> None:
    info = store.save(checkpoint(1))
    info.file.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        store.load(info)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (CheckpointError, str(caught.value))
    assert "E7004" in str(again)


# ---------------------------------------------------------------- failing disks

_STEPS = [("open", 0), ("write", 0), ("write", 1), ("write", 2), ("fsync", 0), ("rename", 0), ("fsync_dir", 0)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("call", "after"), _STEPS)
def test_a_failed_save_changes_nothing(folder: Path, call: str, after: int, code: int) -> None:
    disk = FaultyDisk()
    store = CheckpointStore(folder, disk)
    store.save(checkpoint(1))
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    disk.fail(call, code, after=after, part=0.5)
    with pytest.raises(CheckpointError) as caught:
        store.save(checkpoint(2, body=b"x" * 10_000))
    assert caught.value.code == 7032
    assert os.strerror(code) in caught.value.message
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    assert store.newest_valid() == (checkpoint(1), [])
    info = store.save(checkpoint(2))
    assert store.load(info) == checkpoint(2)


def test_a_full_disk_leaves_the_older_ones(folder: Path) -> None:
    disk = FaultyDisk()
    store = CheckpointStore(folder, disk)
    store.save(checkpoint(1))
    for room in (0, 1, 17, 18, 100, 5000):
        disk.room = room
        with pytest.raises(CheckpointError):
            store.save(checkpoint(2, body=b"x" * 10_000))
        assert len(names(folder)) == 1
    disk.heal()
    assert store.load(store.save(checkpoint(2))) == checkpoint(2)


def test_replacing_one_and_failing_leaves_a_whole_one(folder: Path) -> None:
    for call in ("open", "write", "fsync", "rename", "fsync_dir"):
        disk = FaultyDisk()
        store = CheckpointStore(folder, disk)
        store.save(checkpoint(1))
        disk.fail(call)
        with pytest.raises(CheckpointError):
            store.save(checkpoint(1))
        assert store.newest_valid() == (checkpoint(1), []), call
        assert len(names(folder)) == 1


def test_no_descriptor_is_left_open(folder: Path) -> None:
    disk = FaultyDisk()
    store = CheckpointStore(folder, disk)
    info = store.save(checkpoint(1))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for call, after in _STEPS:
        disk.fail(call, after=after)
        with pytest.raises(CheckpointError):
            store.save(checkpoint(2))
        disk.heal()
    disk.fail("read")
    with pytest.raises(CheckpointError):
        store.load(info)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("seed", range(25))
def test_power_failing_at_any_step_leaves_the_older_ones(folder: Path, seed: int) -> None:
    class Dark(Exception):
        pass

    chance = random.Random(seed)
    disk = FaultyDisk()
    store = CheckpointStore(folder, disk)
    store.save(checkpoint(1))
    steps = 0
    last = chance.randrange(6)

    def count(call: str, path: Path) -> None:
        nonlocal steps
        steps += 1
        if steps > last:
            raise Dark

    disk.before = count
    acknowledged = False
    try:
        store.save(checkpoint(2, body=b"y" * 5000))
        acknowledged = True
    except Dark:
        pass
    disk.before = lambda call, path: None
    disk.power_failure(chance)
    newest, passed = CheckpointStore(folder, disk).newest_valid()
    assert newest in (
        (checkpoint(2, body=b"y" * 5000),) if acknowledged else (checkpoint(1), checkpoint(2, body=b"y" * 5000))
    )
    assert passed == []


def test_what_a_dead_writer_left_is_swept_and_what_a_newer_one_writes_is_not(
    store: CheckpointStore, folder: Path
) -> None:
    folder.mkdir(parents=True)
    dead, own, newer = (folder / f"{9:020d}-{epoch:020d}.unfinished" for epoch in (1, 2, 3))
    strange = folder / "notes.unfinished"
    for file in (dead, own, newer, strange):
        file.write_bytes(b"half")
    store.save(checkpoint(9, epoch=2))
    assert not dead.exists()
    assert not own.exists()
    assert newer.exists()
    assert strange.exists()
    assert [info.sequence for info in store.list()] == [9]


def test_threads_may_save_at_once(store: CheckpointStore) -> None:
    threads = [
        threading.Thread(target=lambda number=number: store.save(checkpoint(number % 3, body=b"z" * 20_000)))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [info.sequence for info in store.list()] == [2, 1, 0]
    assert store.newest_valid()[1] == []


# ---------------------------------------------------------------- pruning


def test_prune_keeps_the_newest_whole_ones(store: CheckpointStore, folder: Path) -> None:
    infos = [store.save(checkpoint(number)) for number in range(1, 8)]
    infos[6].file.write_bytes(b"damaged")
    infos[4].file.write_bytes(infos[4].file.read_bytes()[:-1] + b"\x00")
    kept = store.prune(3)
    assert kept == [infos[5], infos[3], infos[2]]
    # the damaged ones among them stay as evidence
    assert names(folder) == sorted(info.file.name for info in infos[2:])
    assert store.prune(3) == kept


def test_prune_deletes_nothing_while_there_are_too_few(store: CheckpointStore, folder: Path) -> None:
    infos = [store.save(checkpoint(number)) for number in (1, 2, 3)]
    for info in infos[1:]:
        info.file.write_bytes(b"damaged")
    assert store.prune(2) == [infos[0]]
    assert len(names(folder)) == 3


def test_a_file_that_cannot_be_deleted_stays(folder: Path) -> None:
    disk = FaultyDisk()
    store = CheckpointStore(folder, disk)
    for number in (1, 2, 3):
        store.save(checkpoint(number))
    disk.fail("unlink", errno.EACCES)
    assert [info.sequence for info in store.prune(1)] == [3]
    assert len(names(folder)) == 2
    with pytest.raises(ValueError, match="at least one"):
        store.prune(0)


def test_files_of_others_are_left_alone(store: CheckpointStore, folder: Path) -> None:
    store.save(checkpoint(1))
    (folder / "README.checkpoint").write_text("mine")
    store.prune(1)
    assert len(store.list()) == 1
    assert (folder / "README.checkpoint").exists()
