"""What the tests of the journal share."""

import errno
import os
from pathlib import Path

from supervisors.state.journal import JournalReader, JournalWriter, Prepared, Record, prepare
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk

CLOCK = ManualClock(100.0, 1_700_000_000_000_000_000)
NO_SPACE = errno.ENOSPC


def opened(
    folder: Path,
    epoch: int,
    disk: FaultyDisk,
    *,
    segment_bytes: int = 8192,
    sync: bool = True,
    quick: bool = False,
    prepared: Prepared | None = None,
) -> JournalWriter:
    return JournalWriter.open(
        folder, epoch, clock=CLOCK, disk=disk, segment_bytes=segment_bytes, sync=sync, quick=quick, prepared=prepared
    )


def ready(folder: Path, disk: FaultyDisk) -> Prepared:
    made = prepare(folder, disk=disk, segment_bytes=8192)
    assert made is not None
    return made


def takeovers(folder: Path) -> list[str]:
    """Endings of the files that standbys keep ready."""
    return sorted(file.suffix for file in folder.glob("takeover-*"))


def bodies(first: int, count: int, size: int = 40) -> list[bytes]:
    return [f"{number:08d}".encode().ljust(size, b".") for number in range(first, first + count)]


def read(folder: Path, disk: FaultyDisk, after: int = 0) -> list[Record]:
    with JournalReader(folder, disk=disk) as reader:
        return list(reader.read(after))


def numbers(folder: Path, disk: FaultyDisk, after: int = 0) -> list[int]:
    """Sequences, checked against what the bodies say."""
    records = read(folder, disk, after)
    for record in records:
        assert int(record.body[:8]) == record.sequence
    return [record.sequence for record in records]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


def flip(file: Path, bit: int) -> None:
    fd = os.open(file, os.O_RDWR)
    try:
        byte = os.pread(fd, 1, bit // 8)[0] ^ (1 << bit % 8)
        os.pwrite(fd, bytes([byte]), bit // 8)
    finally:
        os.close(fd)
