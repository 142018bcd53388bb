"""Reading: following a live writer, frames, retention, readers and writers in other processes."""

import os
import random
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from supervisors.core.errors import JournalCorrupt, JournalFailed
from supervisors.state.journal import (
    FindingKind,
    JournalReader,
    JournalWriter,
    Record,
    Removed,
    decode_frames,
    retain,
)
from supervisors.testing.disk import FaultyDisk
from tests.unit.state.journal.rig import CLOCK, bodies, numbers, opened, read, segments

ROOT = Path(__file__).parents[4]


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_a_journal_that_is_not_there_is_empty(folder: Path, disk: FaultyDisk) -> None:
    reader = JournalReader(folder, disk=disk)
    assert (reader.begin, reader.head) == (1, 0)
    assert list(reader.read()) == []
    assert reader.frames(0) == (1, 0, b"")
    assert reader.verify().ok
    assert not folder.exists()


@pytest.mark.parametrize("power", [False, True])
def test_head_and_read_from_anywhere(folder: Path, disk: FaultyDisk, power: bool) -> None:
    writer = opened(folder, 1, disk, segment_bytes=600)
    for number in range(1, 41, 2):
        writer.append(bodies(number, 2))
    writer.abandon()
    if power:
        disk.power_failure()
    with JournalReader(folder, disk=disk) as reader:
        assert reader.head == 40
        order = list(range(45))
        random.Random(3).shuffle(order)
        for after in order:  # one reader, forwards and backwards
            assert [r.sequence for r in reader.read(after)] == list(range(after + 1, 41))
        iterator = reader.read(5)
        assert next(iterator).sequence == 6
        assert [r.sequence for r in reader.read(38)] == [39, 40]


def test_frames(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, segment_bytes=900)
    for number in range(1, 51):
        writer.append(bodies(number, 1, 40 if number != 20 else 500))
    reader = JournalReader(folder, disk=disk)
    after = 0
    found: list[Record] = []
    while True:
        first, last, data = reader.frames(after, 300)
        assert first == after + 1
        if last < first:
            assert data == b""
            break
        records = decode_frames(data)
        assert (records[0].sequence, records[-1].sequence) == (first, last)
        assert len(data) <= 300 or len(records) == 1
        found += records
        after = last
    assert found == read(folder, disk)
    reader.close()


def test_frames_are_cheap_to_follow(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, segment_bytes=10**6)
    reader = JournalReader(folder, disk=disk)
    costs = []
    for number in range(1, 200):
        writer.append(bodies(number, 1))
        before = disk.calls["read"]
        assert reader.frames(number - 1)[:2] == (number, number)
        costs.append(disk.calls["read"] - before)
    assert max(costs[1:]) <= 2, "the control file, and the record"


@pytest.mark.parametrize("change", ["flip", "cut", "order", "gap", "twice"])
def test_frames_that_are_not_right(folder: Path, disk: FaultyDisk, change: str) -> None:
    writer = opened(folder, 1, disk)
    parts = [writer.append(bodies(number, 1))[2] for number in range(1, 4)]
    whole = b"".join(parts)
    assert len(decode_frames(whole)) == 3
    assert decode_frames(b"") == []
    if change == "flip":
        for bit in range(len(whole) * 8):
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises(JournalCorrupt):
                decode_frames(bytes(data))
        return
    if change == "cut":
        for size in range(1, len(whole)):
            if size % len(parts[0]):
                with pytest.raises(JournalCorrupt):
                    decode_frames(whole[:size])
        return
    chosen = {"order": (1, 0, 2), "gap": (0, 2), "twice": (0, 0, 1)}[change]
    with pytest.raises(JournalCorrupt):
        decode_frames(b"".join(parts[index] for index in chosen))


def test_a_record_larger_than_a_chunk(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, segment_bytes=10**7)
    sent = [os.urandom(size) for size in (3_000_000, 10, 1_048_532, 1_048_533, 5)]
    for body in sent:
        writer.append([body])
    assert [r.body for r in read(folder, disk)] == sent
    assert JournalReader(folder, disk=disk).verify().ok


def test_what_is_not_acknowledged_is_not_read(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 2))
    seen: list[list[int]] = []
    disk.before = lambda call, path: seen.append(numbers(folder, FaultyDisk())) if call == "fdatasync" else None
    writer.append(bodies(3, 2))
    assert seen == [[1, 2]]
    assert numbers(folder, FaultyDisk()) == [1, 2, 3, 4]


def test_a_file_that_was_replaced_under_the_reader(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk)
    writer.append(bodies(1, 3))
    writer.close()
    opened(folder, 1, disk).close()
    disk.power_failure()
    with JournalReader(folder, disk=disk) as reader:
        assert [r.sequence for r in reader.read()] == [1, 2, 3]
        opened(folder, 1, disk).append(bodies(4, 1))  # its segment has the name of the empty one that was read
        assert [r.sequence for r in reader.read(3)] == [4]


def test_a_reader_follows_a_live_writer_over_rotations_and_lives(folder: Path) -> None:
    """In real time, two threads: every record once and in order, whatever the reader meets half-way."""
    last = 3000
    failures: list[BaseException] = []

    def write() -> None:
        number, epoch = 1, 0
        chance = random.Random(1)
        try:
            while number <= last:
                epoch += 1
                writer = JournalWriter.open(folder, epoch, clock=CLOCK, segment_bytes=4000, sync=epoch % 2 == 0)
                for _ in range(40):
                    count = min(chance.randrange(1, 20), last + 1 - number)
                    if count:
                        writer.append(bodies(number, count))
                    number += count
                writer.close() if epoch % 3 else writer.abandon()
        except BaseException as error:
            failures.append(error)
            raise

    thread = threading.Thread(target=write)
    thread.start()
    after = 0
    with JournalReader(folder) as reader, JournalReader(folder) as framed:
        done = False
        while not done:
            done = not thread.is_alive()
            for record in reader.read(after):
                after += 1
                assert record.sequence == after
                assert int(record.body[:8]) == after
        while (part := framed.frames(sum_of := getattr(framed, "at", 0), 2000))[2]:
            assert decode_frames(part[2])[0].sequence == sum_of + 1
            framed.at = part[1]  # type: ignore[attr-defined]
        assert framed.at == last  # type: ignore[attr-defined]
    thread.join()
    assert failures == []
    assert after == last


# ---------------------------------------------------------------- retention


def test_retention(folder: Path, disk: FaultyDisk) -> None:
    writer = opened(folder, 1, disk, segment_bytes=400)
    for number in range(1, 31):
        writer.append(bodies(number, 1))
    starts = [int(file.name[:20]) for file in segments(folder)]
    now = CLOCK.utc_ns()
    assert retain(folder, 31, 5.0, utc_ns=now, disk=disk) == [], "not old enough"
    oldest = segments(folder)[0].name
    assert retain(folder, starts[2] - 1, 0, utc_ns=now, disk=disk) == [oldest]
    reader = JournalReader(folder, disk=disk)
    assert reader.begin == starts[1]
    with pytest.raises(Removed, match=f"events 1 to {starts[1] - 1}") as caught:
        list(reader.read(0))
    assert caught.value.code == 7012
    with pytest.raises(Removed):
        reader.frames(starts[1] - 2)
    assert numbers(folder, disk, starts[1] - 1) == list(range(starts[1], 31))
    writer.append(bodies(31, 1))  # the live writer goes on
    assert len(retain(folder, 10**6, 0, utc_ns=now, disk=disk)) == len(starts) - 2
    assert len(segments(folder)) == 1, "the newest stays"
    assert reader.begin == starts[-1]
    assert reader.verify().ok
    writer.abandon()
    disk.power_failure()
    assert opened(folder, 2, disk).durable == 31
    assert retain(folder / "none", 5, 0, utc_ns=now, disk=disk) == []


@pytest.mark.parametrize("call", ["open", "write", "fdatasync", "unlink", "fsync_dir"])
def test_retention_on_a_failing_disk(folder: Path, disk: FaultyDisk, call: str) -> None:
    writer = opened(folder, 1, disk, segment_bytes=400)
    for number in range(1, 21):
        writer.append(bodies(number, 1))
    disk.fail(call, after=2 if call == "open" else 0)
    with pytest.raises(JournalFailed):
        retain(folder, 15, 0, utc_ns=CLOCK.utc_ns(), disk=disk)
    writer.abandon()
    disk.power_failure()
    begin = JournalReader(folder, disk=disk).begin
    assert begin <= 15
    assert numbers(folder, disk, begin - 1) == list(range(begin, 21))
    retain(folder, 15, 0, utc_ns=CLOCK.utc_ns(), disk=disk)
    begin = JournalReader(folder, disk=disk).begin
    assert 10 < begin <= 15
    assert int(segments(folder)[0].name[:20]) == begin
    assert JournalReader(folder, disk=disk).verify().ok


# ---------------------------------------------------------------- processes

WRITER = """
import os, sys
from pathlib import Path
from supervisors.runtime.clock import SystemClock
from supervisors.state.journal import JournalWriter
folder, epoch, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
writer = JournalWriter.open(folder, epoch, clock=SystemClock(), segment_bytes=100_000)
while True:
    first = writer.durable + 1
    writer.append([b"%08d" % number + bytes(size) for number in range(first, first + 1 + first % 5)])
    os.write(1, b"%d\\n" % writer.durable)
"""


@pytest.mark.parametrize("size", [10, 20_000])
def test_killed_at_any_moment(folder: Path, size: int) -> None:
    """A real process, SIGKILL: what it said to be durable is there, and nothing else but whole records in order."""
    chance = random.Random(size)
    told = 0
    for epoch in range(1, 9):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(epoch), str(size)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        try:
            for _ in range(chance.randrange(1, 60)):
                told = int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().splitlines()
            process.stdout.close()
            process.wait()
        told = max([told, *(int(line) for line in rest)])
        found = numbers(folder, FaultyDisk())  # another boot: it sees what is whole
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= told
        with JournalReader(folder) as reader:
            assert reader.verify().ok
            same = [record.sequence for record in reader.read()]
        assert same == found[: len(same)]
        assert len(same) >= told
        told = len(same)


def test_a_process_frozen_and_replaced(folder: Path) -> None:
    """SIGSTOP, a newer writer, SIGCONT: the older process ends with Fenced and the journal is the newer one's."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), "1", "10"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    for _ in range(20):
        told = int(process.stdout.readline())
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    writer = JournalWriter.open(folder, 2, clock=CLOCK)
    taken = writer.durable
    assert taken >= told
    writer.append([b"%08d new" % (taken + 1)])
    process.send_signal(signal.SIGCONT)
    out, error = process.communicate(timeout=20)
    assert b"Fenced" in error
    assert max([told, *(int(line) for line in out.splitlines())]) <= taken
    writer.append([b"%08d new" % (taken + 2)])
    with JournalReader(folder) as reader:
        records = list(reader.read())
        report = reader.verify()
    assert [record.epoch for record in records] == [1] * taken + [2, 2]
    assert all(a.sequence + 1 == b.sequence for a, b in pairwise(records))
    assert report.ok
    assert {one.kind for one in report.findings} <= {FindingKind.FENCED}
    writer.close()
