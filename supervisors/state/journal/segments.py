"""Segments: the files records stand in, and which part of each counts.

``<first sequence>-<epoch>.seg``, both in decimal with leading zeros, so that names sort by sequence. A header of 64
bytes, then records, then zeros or nothing. A segment is made under another name and gets its own only when its header
is durable, so a segment with a damaged header is damage and never an unfinished one.

**Without its name**: the first segment of a promoted standby is made beforehand (``preparing``). It gets its own name
between the sync of its first records and their acknowledgement, and a power failure may take that name back. So in the
files ``takeover-<boot>-<owner>.segment`` of another start of the machine the header says which segment it is. One whose
header is not whole was never acknowledged; of this start they are not looked at, as each has its name before it counts.

**What counts**: of segment (epoch, first) the records below the first sequence of every segment with a greater (epoch,
first). So a writer that was replaced, and woke up, cannot add to the journal: neither in its own file nor in a new one.
"""

import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisors.state.disk import REAL_DISK, Disk, write_all
from supervisors.state.journal.control import PREFIX, check_prefix, corrupt, prefix, sealed
from supervisors.state.journal.format import HEADER, HEADER_BYTES, proof_of_loss, scan

VERSION = 1
HEADER_SIZE = 64
ENDLESS = 1 << 63
_MAGIC = b"RVJSEGM\0"
_FIELDS = struct.Struct("<QQqQQ4x")
_NAME = re.compile(r"(\d{20})-(\d{20})\.seg")
#: room is taken from the disk in steps of this, so that most syncs have no metadata to write
STEP = 8 * 1024 * 1024
FRESH = ".seg.new"
#: files of a takeover that is prepared: the machine's start, whose, and which
TAKEOVER = re.compile(r"takeover-([0-9a-f]{32})-(\w+)\.(segment|control)", re.ASCII)


class Segment(NamedTuple):
    """One file. Its records with sequence < ``limit`` count."""

    first: int
    epoch: int
    limit: int
    path: Path

    @property
    def last(self) -> int:
        """The last sequence that may count."""
        return self.limit - 1


def name(first: int, epoch: int) -> str:
    """The file name of a segment."""
    return f"{first:020d}-{epoch:020d}.seg"


def list_segments(folder: Path, disk: Disk = REAL_DISK) -> list[Segment]:
    """All segments, oldest writer first, each with its limit; also those of which nothing counts.

    Raises:
        JournalFailed: another version's.
        OSError: the disk refused to read one that lost its name.
    """
    found: dict[tuple[int, int], str] = {}
    nameless: list[str] = []
    with suppress(FileNotFoundError):
        for entry in os.listdir(folder):  # noqa: PTH208 - names only
            if match := _NAME.fullmatch(entry):
                found[int(match[2]), int(match[1])] = entry
            elif (match := TAKEOVER.fullmatch(entry)) and match[3] == "segment" and match[1] != disk.boot().hex():
                nameless.append(entry)
    try:
        for entry in sorted(nameless):
            if (key := identify(disk, folder / entry)) is not None:
                found.setdefault(key, entry)  # one with the name was made after the other one failed
    except FileNotFoundError:
        return list_segments(folder, disk)  # it got its name meanwhile
    segments: list[Segment] = []
    limit = ENDLESS
    for (epoch, first), entry in sorted(found.items(), reverse=True):
        segments.append(Segment(first, epoch, limit, folder / entry))
        limit = min(limit, first)
    segments.reverse()
    return segments


def identify(disk: Disk, path: Path) -> tuple[int, int] | None:
    """``(epoch, first)`` of a segment without its name; None when nothing in it was ever acknowledged.

    Raises:
        JournalFailed: another version's.
        OSError: it is gone, or cannot be read.
    """
    fd = disk.open(path, os.O_RDONLY)
    try:
        data = disk.read(fd, HEADER_SIZE, 0)
        if not any(data):
            return None
        fields = data[PREFIX.size :]
        if not check_prefix(data, _MAGIC, VERSION, path) and sealed(fields[: _FIELDS.size]) == fields:
            first, epoch = _FIELDS.unpack_from(fields)[:2]
            return int(epoch), int(first)
        data = disk.read(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)
    # cut short, unless a record tells that the first ones were durable: then it is damage, which whoever reads it meets
    if len(data) < HEADER_SIZE + HEADER_BYTES:
        return None
    _, _, first, epoch, *_ = HEADER.unpack_from(data, HEADER_SIZE)
    end, sequence = scan(data, HEADER_SIZE, first, first, None)
    proved = sequence > first and proof_of_loss(data, end, first, epoch) is not None
    return (int(epoch), int(first)) if proved else None


def counting(segments: list[Segment], begin: int) -> list[Segment]:
    """Those that hold records of the journal from ``begin`` on, or will; by first sequence."""
    return [one for one in segments if one.first < one.limit and one.limit > begin]


def encode_header(first: int, epoch: int, created_utc_ns: int) -> bytes:
    """The first bytes of a segment."""
    return prefix(_MAGIC, VERSION) + sealed(_FIELDS.pack(first, epoch, created_utc_ns, 0, 0))


def read_header(disk: Disk, fd: int, segment: Segment) -> int:
    """Check the header of an open segment; gives when it was made, nanoseconds since 1970.

    Raises:
        JournalCorrupt: it is damaged or belongs to a file of another name.
        JournalFailed: another version's.
        OSError: it cannot be read.
    """
    data = disk.read(fd, HEADER_SIZE, 0)
    why = check_prefix(data, _MAGIC, VERSION, segment.path)
    fields = data[PREFIX.size :]
    if not why and (len(data) < HEADER_SIZE or sealed(fields[: _FIELDS.size]) != fields):
        why = "its header is damaged"
    if why:
        raise corrupt(segment.path, 0, segment.first, why)
    first, epoch, created, _, _ = _FIELDS.unpack_from(fields)
    if (first, epoch) != (segment.first, segment.epoch):
        raise corrupt(segment.path, 0, segment.first, f"its header is that of {name(first, epoch)}")
    return int(created)


def create(disk: Disk, folder: Path, first: int, epoch: int, utc_ns: int) -> tuple[int, Path]:
    """A new segment, open for writing, in place of one with the same name. Its name is not durable yet.

    Raises:
        OSError: the disk refused; nothing has changed.
    """
    path = folder / name(first, epoch)
    fresh = path.with_suffix(FRESH)
    with suppress(FileNotFoundError):
        disk.unlink(fresh)  # never the same file again: a sync of it may have failed
    fd = disk.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        write_all(disk, fd, encode_header(first, epoch, utc_ns), 0)
        disk.fsync(fd)
        disk.rename(fresh, path)
    except OSError:
        disk.close(fd)
        with suppress(OSError):
            disk.unlink(fresh)
        raise
    return fd, path


def unfinished(folder: Path) -> list[Path]:
    """Files of an opening or rotation that was cut short."""
    return sorted((*folder.glob(f"*{FRESH}"), *folder.glob("*.new"))) if folder.is_dir() else []
