"""The journal's writer: appending, rotation, failing disks, two writers."""

import errno
import random
from contextlib import suppress
from pathlib import Path

import pytest

from supervisors.core.errors import Fenced, JournalCorrupt, JournalFailed
from supervisors.state.journal import FindingKind, JournalReader, JournalWriter
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk
from tests.unit.state.journal.rig import bodies, numbers, opened, read, segments


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "a" / "journal"


def test_what_was_appended_is_read(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 3, disk)
    assert writer.durable == writer.head == 0
    assert writer.append([b"one", b""])[:2] == (1, 2)
    assert writer.append([b"three"])[:2] == (3, 3)
    found = [(record.sequence, record.epoch, record.body) for record in read(folder, disk)]
    assert found == [(1, 3, b"one"), (2, 3, b""), (3, 3, b"three")]
    assert read(folder, disk, 2)[0].body == b"three"
    assert read(folder, disk, 3) == []
    writer.close()
    assert len(read(folder, disk)) == 3


def test_times_are_those_of_the_batch(folder: Path, disk: FaultyDisk) -> None:
    clock = ManualClock(5.5, 1_000)
    writer = JournalWriter.open(folder, 1, clock=clock, disk=disk)
    writer.append([b"a"])
    record = read(folder, disk)[0]
    assert (record.monotonic_ns, record.utc_ns) == (5_500_000_000, 1_000)


def test_a_wall_clock_that_is_set_changes_nothing(folder: Path, disk: FaultyDisk) -> None:
    for epoch, utc in enumerate((10**18, 5, -(10**9), 2 * 10**18), 1):
        writer = JournalWriter.open(folder, epoch, clock=ManualClock(1000.0 / epoch, utc), disk=disk, segment_bytes=400)
        for number in range(epoch * 10 - 9, epoch * 10 + 1):
            writer.append(bodies(number, 1))
        writer.abandon()
    assert numbers(folder, disk) == list(range(1, 41))
    assert JournalReader(folder, disk=disk).verify().ok


def test_segments_are_rotated(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, segment_bytes=500)
    for number in range(1, 31):
        writer.append(bodies(number, 1))
    assert len(segments(folder)) > 3
    assert all(file.stat().st_size <= 500 for file in segments(folder)[:-1])
    assert numbers(folder, disk) == list(range(1, 31))
    writer.append(bodies(31, 200))  # larger than a segment
    assert numbers(folder, disk) == list(range(1, 231))


@pytest.mark.parametrize("ending", ["close", "abandon"])
def test_the_next_epoch_goes_on(folder: Path, disk: FaultyDisk, ending: str) -> None:
    for epoch in range(1, 6):
        writer = opened(folder, epoch * 10, disk)
        assert writer.durable == (epoch - 1) * 3
        assert writer.findings == []
        writer.append(bodies(epoch * 3 - 2, 3))
        getattr(writer, ending)()
    assert numbers(folder, disk) == list(range(1, 16))
    assert [r.epoch for r in read(folder, disk)][::3] == [10, 20, 30, 40, 50]


def test_many_openings_without_a_record_leave_one_segment(folder: Path, disk: FaultyDisk) -> None:
    for epoch in range(1, 20):
        opened(folder, epoch, disk).abandon()
    assert len(segments(folder)) == 1
    writer = opened(folder, 20, disk)
    writer.append(bodies(1, 1))
    assert numbers(folder, disk) == [1]


def test_an_equal_epoch_only_after_an_orderly_end(folder: Path, disk: FaultyDisk) -> None:
    opened(folder, 7, disk).close()
    writer = opened(folder, 7, disk)
    writer.append(bodies(1, 2))
    with pytest.raises(Fenced, match="did not end in order"):
        opened(folder, 7, disk)
    with pytest.raises(Fenced, match="of epoch 7"):
        opened(folder, 6, disk)
    writer.append(bodies(3, 1))  # the refused ones changed nothing
    writer.close()
    writer.close()
    with pytest.raises(JournalFailed, match="closed"):
        writer.append([b"late"])
    assert opened(folder, 7, disk).durable == 3


def test_quick_opening_trusts_the_mark_on_this_boot_only(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 5))
    writer.abandon()
    reads = disk.calls["read"]
    quick = opened(folder, 2, disk, quick=True)
    assert quick.durable == 5
    fast = disk.calls["read"] - reads
    quick.append(bodies(6, 5))
    quick.abandon()
    reads = disk.calls["read"]
    slow = opened(folder, 3, disk)
    assert slow.durable == 10
    assert fast < disk.calls["read"] - reads
    slow.abandon()
    disk.power_failure()
    assert opened(folder, 4, disk, quick=True).durable == 10
    assert numbers(folder, disk) == list(range(1, 11))


# ---------------------------------------------------------------- failing disks


@pytest.mark.parametrize("call", ["write", "fdatasync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("cut", [True, False])
def test_a_failed_append_is_never_read(
    folder: Path, disk: FaultyDisk, call: str, code: int, part: float, cut: bool
) -> None:
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 3))
    disk.fail(call, code, part=part, match=".seg")
    if not cut:
        disk.fail("truncate")
        disk.fail("open", match=".seg.new")
    with pytest.raises(JournalFailed, match="refused") as caught:
        writer.append([b"00000004 void", b"00000005 void"])
    assert caught.value.code == 7002
    assert writer.durable == 3
    assert numbers(folder, disk) == [1, 2, 3]
    assert writer.append(bodies(4, 2))[:2] == (4, 5)
    assert numbers(folder, disk) == [1, 2, 3, 4, 5]
    assert disk.synced_again == 0
    assert JournalReader(folder, disk=disk).verify().ok
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("call", ["write", "fdatasync"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_failed_append_of_a_process_that_is_killed_is_not_read_by_the_next(
    folder: Path, disk: FaultyDisk, call: str, cut: bool
) -> None:
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 3))
    disk.fail(call, part=1.0, match=".seg")
    if not cut:
        disk.fail("truncate")
        disk.fail("open", match=".seg.new")
    with pytest.raises(JournalFailed):
        writer.append([b"00000004 void"])
    writer.abandon()
    following = opened(folder, 2, disk)
    assert following.durable == 3
    assert [one.kind for one in following.findings] == ([] if cut else [FindingKind.UNACKNOWLEDGED])
    following.append(bodies(4, 1))
    assert numbers(folder, disk) == [1, 2, 3, 4]
    assert JournalReader(folder, disk=disk).verify().findings == ()


@pytest.mark.parametrize("seed", range(20))
def test_what_was_told_to_have_failed_does_not_come_back_with_the_power(
    folder: Path, disk: FaultyDisk, seed: int
) -> None:
    """The sync fails, all of the write reaches the disk later, the cut does not: the new segment makes it void."""
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 3))
    disk.fail("fdatasync", match=".seg")
    with pytest.raises(JournalFailed):
        writer.append([b"00000004 void"])
    writer.abandon()
    disk.power_failure(random.Random(seed))
    assert numbers(folder, disk) == [1, 2, 3]
    assert opened(folder, 2, disk).durable == 3


def test_a_failed_first_append_of_a_segment_is_replaced(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk)
    follower = JournalReader(folder, disk=disk)
    assert list(follower.read()) == []
    for _ in range(3):
        disk.fail("fdatasync", match=".seg")
        with pytest.raises(JournalFailed):
            writer.append([b"00000001 void"])
        assert list(follower.read()) == []
    writer.append(bodies(1, 1))
    assert [r.sequence for r in follower.read()] == [1]
    assert len(segments(folder)) == 1
    assert disk.synced_again == 0


def test_a_full_disk_and_space_again(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, segment_bytes=1000)
    disk.room = 700
    durable = 0
    for number in range(1, 40):
        if number <= 3:
            writer.append(bodies(number, 1))
        else:
            with suppress(JournalFailed):
                writer.append(bodies(writer.durable + 1, 1))
        durable = writer.durable
        assert numbers(folder, disk) == list(range(1, durable + 1))
    assert 4 <= durable < 20
    with pytest.raises(JournalFailed, match="No space"):
        writer.append(bodies(durable + 1, 1))
    disk.heal()
    writer.append(bodies(durable + 1, 5))
    assert numbers(folder, disk) == list(range(1, durable + 6))
    writer.abandon()
    disk.power_failure()
    assert opened(folder, 2, disk).durable == durable + 5


def test_no_room_taken_in_advance_is_no_failure(folder: Path, disk: FaultyDisk) -> None:
    disk.fail("preallocate", errno.EOPNOTSUPP, times=-1)
    writer = opened(folder, 1, disk, segment_bytes=600)
    for number in range(1, 30):
        writer.append(bodies(number, 1))
    assert numbers(folder, disk) == list(range(1, 30))


@pytest.mark.parametrize("call", ["open", "write", "fdatasync", "fsync", "fsync_dir", "rename"])
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("fresh", [True, False])
def test_an_opening_that_fails_may_be_tried_again(
    folder: Path, disk: FaultyDisk, call: str, after: int, fresh: bool
) -> None:
    if not fresh:
        old = opened(folder, 1, disk)
        old.append(bodies(1, 3))
        old.abandon()
    disk.fail(call, after=after)
    try:
        writer = opened(folder, 2, disk)
    except JournalFailed:
        disk.heal()
        writer = opened(folder, 2, disk)
    disk.heal()
    durable = 0 if fresh else 3
    assert writer.durable == durable
    writer.append(bodies(durable + 1, 2))
    assert numbers(folder, disk) == list(range(1, durable + 3))
    writer.abandon()
    disk.power_failure()
    assert opened(folder, 3, disk).durable == durable + 2
    assert JournalReader(folder, disk=disk).verify().ok


@pytest.mark.parametrize("call", ["open", "write", "fsync", "fsync_dir", "rename"])
def test_a_rotation_that_fails_is_tried_again(folder: Path, disk: FaultyDisk, call: str) -> None:
    writer = opened(folder, 1, disk, segment_bytes=300)
    writer.append(bodies(1, 2))
    disk.fail(call, match=".seg" if call != "fsync_dir" else "")
    with pytest.raises(JournalFailed):
        writer.append(bodies(3, 3))
    writer.append(bodies(3, 3))
    assert numbers(folder, disk) == [1, 2, 3, 4, 5]
    assert [one.name for one in folder.glob("*.new")] == []


def test_without_sync_a_power_failure_is_no_corruption(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, sync=False, segment_bytes=500)
    syncs = disk.calls["fdatasync"]
    for number in range(1, 5):
        writer.append(bodies(number, 1))
    assert disk.calls["fdatasync"] == syncs
    assert numbers(folder, disk) == [1, 2, 3, 4]
    writer.abandon()
    assert numbers(folder, disk) == [1, 2, 3, 4], "a process that ends takes nothing with it"
    disk.power_failure()
    following = opened(folder, 2, disk, sync=False)
    assert following.durable == 0


def test_unsynced_records_of_an_earlier_writer_are_synced_before_they_count(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, sync=False)
    writer.append(bodies(1, 4))
    writer.abandon()
    opened(folder, 2, disk).abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4]


# ---------------------------------------------------------------- begin_at


def test_a_journal_that_begins_behind_a_snapshot(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk)
    writer.begin_at(100)
    writer.begin_at(100)
    assert writer.durable == 100
    assert JournalReader(folder, disk=disk).head == 100
    assert writer.append(bodies(101, 2))[:2] == (101, 102)
    assert numbers(folder, disk, 100) == [101, 102]
    with pytest.raises(JournalFailed, match="holds events up to 102") as caught:
        writer.begin_at(50)
    assert caught.value.code == 7013
    writer.abandon()
    disk.power_failure()
    again = opened(folder, 2, disk)
    assert again.durable == 102
    again.begin_at(200)  # this node was away for long
    again.append(bodies(201, 1))
    assert numbers(folder, disk, 200) == [201]
    assert JournalReader(folder, disk=disk).begin == 201
    assert JournalReader(folder, disk=disk).verify().ok


@pytest.mark.parametrize("call", ["open", "write", "fdatasync", "fsync", "fsync_dir", "rename"])
@pytest.mark.parametrize("power", [True, False])
def test_a_beginning_that_fails_half_way(folder: Path, disk: FaultyDisk, call: str, power: bool) -> None:
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 3))
    disk.fail(call)
    try:
        writer.begin_at(100)
    except JournalFailed:
        with pytest.raises(JournalFailed):
            writer.append(bodies(101, 1))
    writer.abandon()
    disk.heal()
    if power:
        disk.power_failure()
    again = opened(folder, 2, disk)
    assert again.durable in {3, 100}
    assert JournalReader(folder, disk=disk).begin <= again.durable + 1, "what it writes would not be part of it"
    again.begin_at(100)
    again.append(bodies(101, 1))
    assert numbers(folder, disk, 100) == [101]


# ---------------------------------------------------------------- versions


@pytest.mark.parametrize("file", ["control", "segment"])
def test_another_version_is_refused_and_not_touched(folder: Path, disk: FaultyDisk, file: str) -> None:
    from supervisors.state.journal.control import prefix

    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 3))
    writer.close()
    path = folder / "control" if file == "control" else segments(folder)[0]
    data = path.read_bytes()
    path.write_bytes(prefix(data[:8], 2) + data[16:])
    before = {one.name: one.read_bytes() for one in folder.iterdir() if file == "control" or one.name != "control"}
    for attempt in (lambda: opened(folder, 2, disk), lambda: read(folder, disk)):
        with pytest.raises(JournalFailed, match="version 2") as caught:
            attempt()
        assert caught.value.code == 7010
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_damage_is_not_cut(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 3))
    writer.abandon()
    file = segments(folder)[0]
    data = bytearray(file.read_bytes())
    data[70] ^= 1
    file.write_bytes(data)
    with pytest.raises(JournalCorrupt, match="record 1"):
        opened(folder, 2, disk)
    assert file.read_bytes() == bytes(data)
