"""Segments: the files records stand in, and which part of each counts.

``<first sequence>-<epoch>.seg``, both in decimal with leading zeros, so that names sort by sequence. A header of 64
bytes, then records, then zeros or nothing. A segment is made under another name and gets its own only when its header
is durable, so a segment with a damaged header is damage and never an unfinished one.

**What counts**: of segment (epoch, first) the records below the first sequence of every segment with a greater (epoch,
first). So a writer that was replaced, and woke up, cannot add to the journal: neither in its own file nor in a new one.
"""

import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisors.state.disk import Disk, write_all
from supervisors.state.journal.control import PREFIX, check_prefix, corrupt, prefix, sealed

VERSION = 1
HEADER_SIZE = 64
ENDLESS = 1 << 63
_MAGIC = b"RVJSEGM\0"
_FIELDS = struct.Struct("<QQqQQ4x")
_NAME = re.compile(r"(\d{20})-(\d{20})\.seg")
FRESH = ".seg.new"


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


def list_segments(folder: Path) -> list[Segment]:
    """All segments, oldest writer first, each with its limit; also those of which nothing counts."""
    found: list[tuple[int, int, str]] = []
    with suppress(FileNotFoundError):
        for entry in os.listdir(folder):  # noqa: PTH208 - names only
            match = _NAME.fullmatch(entry)
            if match:
                found.append((int(match[2]), int(match[1]), entry))
    found.sort()
    segments: list[Segment] = []
    limit = ENDLESS
    for epoch, first, entry in reversed(found):
        segments.append(Segment(first, epoch, limit, folder / entry))
        limit = min(limit, first)
    segments.reverse()
    return segments


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
