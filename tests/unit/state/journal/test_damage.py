"""Damage: every flipped bit is found, a cut is told from a torn tail, and nothing wrong is ever given as a record."""

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from supervisors.core.errors import JournalCorrupt, StateError
from supervisors.state.journal import FindingKind, JournalReader, Record
from supervisors.state.journal.control import SIZE, decode
from supervisors.state.journal.segments import HEADER_SIZE
from supervisors.testing.disk import FaultyDisk
from tests.unit.state.journal.rig import bodies, flip, numbers, opened, read, segments

SEGMENT = 8192


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def filled(folder: Path, disk: FaultyDisk, batches: int = 12, *, closed: bool = False) -> list[Record]:
    """A journal of one segment of 8 KB: batches of 1 to 4 records, then room not used; its writer was killed."""
    writer = opened(folder, 1, disk, segment_bytes=SEGMENT)
    number = 1
    for batch in range(batches):
        count = batch % 4 + 1
        writer.append(bodies(number, count, 100))
        number += count
    if closed:
        writer.close()
    else:
        writer.abandon()
        assert segments(folder)[0].stat().st_size == SEGMENT
    return read(folder, disk)


def read_until_error(folder: Path, disk: FaultyDisk) -> tuple[list[Record], str]:
    records: list[Record] = []
    with JournalReader(folder, disk=disk) as reader:
        try:
            records += reader.read()
        except JournalCorrupt as error:
            return _partial(folder, disk), error.message
        return records, " ".join(finding.kind for finding in reader.findings)


def _partial(folder: Path, disk: FaultyDisk) -> list[Record]:
    records: list[Record] = []
    with JournalReader(folder, disk=disk) as reader, suppress(JournalCorrupt):
        records.extend(reader.read())
    return records


def test_every_flipped_bit_of_a_segment_is_found(folder: Path, disk: FaultyDisk) -> None:
    whole = filled(folder, disk)
    file = segments(folder)[0]
    used = len(file.read_bytes().rstrip(b"\0"))
    assert used > SEGMENT // 2
    with JournalReader(folder, disk=disk) as reader:
        assert reader.verify().findings == ()
        for bit in range(SEGMENT * 8):
            flip(file, bit)
            report = reader.verify()
            assert report.findings, f"bit {bit}"
            assert report.ok == (bit // 8 >= used), f"bit {bit}"
            flip(file, bit)
        assert reader.verify().findings == ()
    assert read(folder, disk) == whole


@pytest.mark.parametrize("reboot", [False, True])
def test_no_flipped_bit_yields_another_record(folder: Path, disk: FaultyDisk, reboot: bool) -> None:
    whole = filled(folder, disk)
    if reboot:
        disk.power_failure()
    file = segments(folder)[0]
    used = len(file.read_bytes().rstrip(b"\0"))
    chance = random.Random(5)
    for bit in sorted(chance.sample(range(SEGMENT * 8), 4000)):
        flip(file, bit)
        records, told = read_until_error(folder, disk)
        assert records == whole[: len(records)], f"bit {bit}"
        if bit // 8 < used:
            assert len(records) < len(whole)
            last_batch = len(records) >= len(whole) - 4
            assert "offset" in told or (reboot and last_batch and told == FindingKind.TORN)
        else:
            assert records == whole
        flip(file, bit)


def test_every_flipped_bit_of_the_control_file_is_found(folder: Path, disk: FaultyDisk) -> None:
    whole = filled(folder, disk)
    file = folder / "control"
    assert file.stat().st_size == SIZE
    data = file.read_bytes()
    for bit in range(SIZE * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert decode(bytes(changed), file).damaged, f"bit {bit}"
        except JournalCorrupt:
            assert bit // 8 < 16, "all but the first bytes stands there twice"
    with JournalReader(folder, disk=disk) as reader:
        for bit in range(0, SIZE * 8, 61):
            flip(file, bit)
            findings = reader.verify().findings
            assert {finding.kind for finding in findings} in ({FindingKind.CONTROL}, {FindingKind.CORRUPT})
            records, _ = read_until_error(folder, disk)
            assert records == ([] if bit // 8 < 16 else whole), f"bit {bit}"
            flip(file, bit)


def test_a_damaged_copy_of_the_mark_costs_nothing(folder: Path, disk: FaultyDisk) -> None:
    """With one copy gone the mark may be old: what is whole behind it is kept, and not cut as not acknowledged."""
    for place in (1536, 2048):
        home = folder / str(place)
        whole = filled(home, disk)
        flip(home / "control", place * 8 + 70)
        writer = opened(home, 2, disk)
        assert writer.durable == len(whole)
        assert FindingKind.CONTROL in [finding.kind for finding in writer.findings]
        writer.append(bodies(len(whole) + 1, 1))
        assert len(read(home, disk)) == len(whole) + 1
        assert JournalReader(home, disk=disk).verify().findings == (), "the opening made a new control file"


def test_a_cut_at_every_byte_below_the_mark_is_corruption(folder: Path, disk: FaultyDisk) -> None:
    whole = filled(folder, disk, 5)
    file = segments(folder)[0]
    data = file.read_bytes()
    used = len(data.rstrip(b"\0"))
    ends = [HEADER_SIZE]
    for record in whole:
        ends.append(ends[-1] + 44 + len(record.body))
    for size in range(used):
        file.write_bytes(data[:size])
        expected = sum(1 for end in ends[1:] if end <= size)
        records, told = read_until_error(folder, disk)
        assert records == whole[:expected]
        assert str(file) in told
        if size >= HEADER_SIZE:
            assert f"offset {ends[expected]}, record {expected + 1}" in told
        with pytest.raises(JournalCorrupt):
            opened(folder, 2, disk)
        assert file.read_bytes() == data[:size], "nothing is cut further"
    for size in range(used, len(data), 97):
        file.write_bytes(data[:size])
        assert read_until_error(folder, disk) == (whole, "")


def test_a_cut_at_every_byte_behind_the_mark_is_a_torn_tail(tmp_path: Path, disk: FaultyDisk) -> None:
    """After a power failure: the mark is old, the last batch is whole, torn or gone."""
    folder = tmp_path / "journal"
    writer = opened(folder, 1, disk, segment_bytes=SEGMENT)
    writer.append(bodies(1, 3, 30))
    control = (folder / "control").read_bytes()
    writer.append(bodies(4, 6, 30))
    writer.abandon()
    file = segments(folder)[0]
    data = file.read_bytes().rstrip(b"\0")
    disk.power_failure()
    (folder / "control").write_bytes(control)
    record = 44 + 30
    start = HEADER_SIZE + 3 * record
    for size in range(start, len(data) + 1):
        for tail in (b"", bytes(200)):
            home = tmp_path / f"{size}-{len(tail)}"
            shutil.copytree(folder, home)
            kept = data[:size] + tail
            segments(home)[0].write_bytes(kept)
            expected = 3 + (size - start) // record
            torn = size % record != start % record
            with JournalReader(home, disk=disk) as reader:
                assert [r.sequence for r in reader.read()] == list(range(1, expected + 1))
                kinds = [finding.kind for finding in reader.findings]
                if any(kept[start + (expected - 3) * record :]):
                    assert torn
                    assert kinds == [FindingKind.TORN]
                    assert reader.findings[0].sequence == expected + 1
                else:
                    assert kinds == []
            following = opened(home, 2, disk)
            assert following.durable == expected
            assert [finding.kind for finding in following.findings] == kinds
            following.append(bodies(expected + 1, 2))
            following.abandon()
            assert numbers(home, disk) == list(range(1, expected + 3))
            assert JournalReader(home, disk=disk).verify().findings == ()
            shutil.rmtree(home)


def test_after_a_power_failure_damage_in_an_earlier_batch_is_no_torn_tail(folder: Path, disk: FaultyDisk) -> None:
    """Also where the mark that reached the disk is old: later batches prove that the damaged one was durable."""
    writer = opened(folder, 1, disk, segment_bytes=SEGMENT)
    control = (folder / "control").read_bytes()
    for batch in range(5):
        writer.append(bodies(batch * 3 + 1, 3, 30))
    writer.abandon()
    disk.power_failure()
    (folder / "control").write_bytes(control)
    assert len(read(folder, disk)) == 15
    file = segments(folder)[0]
    record = 44 + 30
    for number in range(1, 16):
        place = (HEADER_SIZE + (number - 1) * record + 50) * 8
        flip(file, place)
        if number <= 12:
            with pytest.raises(JournalCorrupt, match=f"record {number}"):
                read(folder, disk)
            with pytest.raises(JournalCorrupt, match=f"record {number}"):
                opened(folder, 2, disk)
        else:  # in the last batch nothing proves it
            assert len(read(folder, disk)) == number - 1
        flip(file, place)


def test_a_missing_file_is_named(tmp_path: Path, disk: FaultyDisk) -> None:
    folder = tmp_path / "journal"
    writer = opened(folder, 1, disk, segment_bytes=400)
    for number in range(1, 31):
        writer.append(bodies(number, 1))
    writer.abandon()
    files = segments(folder)
    assert len(files) > 4
    for index, file in enumerate(files):
        data = file.read_bytes()
        file.unlink()
        first = int(file.name[:20])
        assert not JournalReader(folder, disk=disk).verify().ok
        with pytest.raises(JournalCorrupt, match=str(first)):
            read(folder, disk)
        if index == len(files) - 1:
            with pytest.raises(JournalCorrupt):
                opened(folder, 2, disk)
        file.write_bytes(data)
    assert JournalReader(folder, disk=disk).verify().ok
    (folder / "control").rename(folder / "elsewhere")
    for attempt in (lambda: read(folder, disk), lambda: opened(folder, 2, disk)):
        with pytest.raises(JournalCorrupt, match=r"control.*missing"):
            attempt()
    report = JournalReader(folder, disk=disk).verify()
    assert not report.ok
    assert report.last == 30


def test_a_file_under_another_name_is_found(folder: Path, disk: FaultyDisk) -> None:
    filled(folder, disk)
    file = segments(folder)[0]
    file.rename(file.with_name(file.name.replace("0000001-", "0000002-", 1)))
    with pytest.raises(StateError):
        read(folder, disk)
    assert not JournalReader(folder, disk=disk).verify().ok


def test_a_flip_in_a_finished_segment_is_found_behind_its_end_too(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, segment_bytes=400)
    for number in range(1, 12):
        writer.append(bodies(number, 1))
    file = segments(folder)[0]
    with file.open("ab") as opened_file:
        opened_file.write(b"\0\0\1")
    assert numbers(folder, disk) == list(range(1, 12))
    assert [finding.kind for finding in JournalReader(folder, disk=disk).verify().findings] == [FindingKind.STRAY]
