r"""The trail on disk: segments, their headers, and the seal that ends one.

    trail/trail-000001-000000000000.jsonl   sealed: segment 1, its first event is number 0
    trail/trail-000002-000000004711.jsonl   sealed
    trail/current.jsonl                     segment 3, appended to by all writers

A segment begins with a header line and, once rotated, ends with a **seal** line. The seal is what makes rotation
exact without any lock: it is appended after ``current`` was switched, so a line before it counts and a line after it
(a writer that was stopped between looking and writing) does not; that writer sees the switch and the seal, and
writes its line again to the new segment. Numbers are ordinals of non-empty lines before the seal over all segments,
readable or not, so every reader counts alike without having to understand each line.

Needs a local file system, where an append is atomic (ext4, xfs, tmpfs; not NFS).
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from supervisors.trail.events import SCHEMA, TrailError

CURRENT = "current.jsonl"
#: The seal begins with a newline of its own: it stays a line even after the torn line of a killed writer.
SEAL_LINE = b'{"seal":1}'
SEAL = b"\n" + SEAL_LINE + b"\n"
_CHUNK = 1 << 20
_FRESH = ".fresh-"
_SEALED = re.compile(r"trail-(\d{6,})-(\d{12,})\.jsonl")


class Header(msgspec.Struct, frozen=True):
    """First line of a segment.

    Attributes:
        schema: version of the format of the segment.
        segment: number of the segment, 1 for the first ever.
        base: number of its first event, as known when it was made: exact unless lines were still on their way to the
            segment before; the name of a sealed segment has the exact one.
    """

    schema: int
    segment: int
    base: int


class Sealed(msgspec.Struct, frozen=True, order=True):
    """A rotated segment: its number, the exact number of its first event, its file."""

    segment: int
    base: int
    path: str


_header_decoder = msgspec.json.Decoder(Header)


def sealed_name(segment: int, base: int) -> str:
    """File name of a rotated segment."""
    return f"trail-{segment:06d}-{base:012d}.jsonl"


def list_sealed(folder: Path) -> list[Sealed]:
    """The rotated segments kept, oldest first; empty when the folder does not exist."""
    found = []
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):  # noqa: PTH208 - names only, no Path per entry
            match = _SEALED.fullmatch(name)
            if match:
                found.append(Sealed(int(match[1]), int(match[2]), str(folder / name)))
    return sorted(found)


def read_header(fd: int) -> tuple[Header, int]:
    """The header of an open segment, and the offset of its first event.

    Raises:
        TrailError: no header is there, or the segment was written by a newer version.
    """
    line, newline, _ = os.pread(fd, 4096, 0).partition(b"\n")
    try:
        header = _header_decoder.decode(line)
    except ValueError:
        raise TrailError(
            f"a segment of the trail has no header: it begins with {line[:60]!r}",
            code=6002,
            fix="move the file out of the trail folder",
        ) from None
    if header.schema > SCHEMA:
        raise TrailError(
            f"segment {header.segment} of the trail has format version {header.schema}, this rayvisor reads {SCHEMA}",
            code=6003,
            fix="use the rayvisor that wrote it, or move the trail folder away",
        )
    return header, len(line) + len(newline)


def open_current(folder: Path, flags: int) -> int:
    """Open ``current.jsonl`` with ``flags``, making it with its header when there is none.

    Raises:
        OSError: the folder cannot be written.
    """
    current = folder / CURRENT
    while True:
        with suppress(FileNotFoundError):
            return os.open(current, flags | os.O_CLOEXEC)
        folder.mkdir(parents=True, exist_ok=True)
        sealed = list_sealed(folder)
        last = sealed[-1] if sealed else None
        header = Header(SCHEMA, last.segment + 1, base_after(last)[0]) if last else Header(SCHEMA, 1, 0)
        fresh = write_fresh(folder, header)
        # a link, unlike a rename, fails when another writer was first
        with suppress(FileExistsError, FileNotFoundError):
            os.link(fresh, current)
        fresh.unlink(missing_ok=True)


def write_fresh(folder: Path, header: Header) -> Path:
    """Write a segment of only a header under a name of this thread's own, for the caller to move in place."""
    path = folder / f"{_FRESH}{os.getpid()}-{os.urandom(4).hex()}"
    path.write_bytes(msgspec.json.encode(header) + b"\n")
    return path


def chunks(fd: int, start: int) -> Iterator[bytes]:
    """The bytes of an open file from ``start`` on."""
    while chunk := os.pread(fd, _CHUNK, start):
        yield chunk
        start += len(chunk)


def find_seal(fd: int, start: int) -> int | None:
    """Offset of the first seal at or behind ``start``, or None."""
    rest = b""
    for chunk in chunks(fd, start):
        data = rest + chunk
        at = data.find(SEAL)
        if at >= 0:
            return start - len(rest) + at
        rest = data[-(len(SEAL) - 1) :]
        start += len(chunk)
    return None


def count_lines(fd: int) -> tuple[int, bool]:
    """Non-empty lines of an open segment, without header, before its seal; and whether it has a seal.

    A last line without newline counts only before a seal, whose own newline ends it.
    """
    _, offset = read_header(fd)
    end = find_seal(fd, offset)
    count, rest = 0, b""
    for chunk in chunks(fd, offset):
        data = rest + (chunk if end is None else chunk[: max(end - offset, 0)])
        offset += len(chunk)
        *lines, rest = data.split(b"\n")
        count += sum(1 for line in lines if line)
        if end is not None and offset >= end:
            break
    return count + (1 if rest and end is not None else 0), end is not None


def base_after(segment: Sealed) -> tuple[int, bool]:
    """Number of the first event behind ``segment``; and whether that is exact because the segment has its seal."""
    fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        count, exact = count_lines(fd)
    finally:
        os.close(fd)
    return segment.base + count, exact


def current_base(folder: Path, header: Header) -> int:
    """Exact number of the first event of the current segment with ``header``."""
    for segment in reversed(list_sealed(folder)):
        if segment.segment == header.segment:  # a rotation was cut short: linked, not yet switched
            return segment.base
        if segment.segment == header.segment - 1:
            with suppress(FileNotFoundError):
                return max(base_after(segment)[0], header.base)
    return header.base


def seal(fd: int) -> None:
    """End an open, already switched segment. Doing it twice is harmless: the first seal counts."""
    if find_seal(fd, 0) is None:
        os.write(fd, SEAL)


def rotate(folder: Path, keep: int) -> None:
    """Switch to a new segment, seal the old one, and delete all but ``keep`` (>= 1) sealed ones.

    For one process only. Whatever step it is cut short at, ``finish_rotation`` or the next rotation completes it.

    Raises:
        OSError: the disk refused; the trail goes on in the segment it has.
    """
    finish_rotation(folder)
    for left_over in folder.glob(f"{_FRESH}*"):  # of a process that was killed in the middle
        left_over.unlink(missing_ok=True)
    current = folder / CURRENT
    fd = open_current(folder, os.O_RDWR | os.O_APPEND)
    try:
        header, _ = read_header(fd)
        base = current_base(folder, header)
        fresh = write_fresh(folder, Header(SCHEMA, header.segment + 1, base + count_lines(fd)[0]))
        with suppress(FileExistsError):
            os.link(current, folder / sealed_name(header.segment, base))
        fresh.rename(current)
        seal(fd)
    finally:
        os.close(fd)
    for old in list_sealed(folder)[: -max(keep, 1)]:
        Path(old.path).unlink(missing_ok=True)


def finish_rotation(folder: Path) -> None:
    """Seal the newest rotated segment when a rotation was cut short before it did."""
    sealed = list_sealed(folder)
    if not sealed:
        return
    fd = open_current(folder, os.O_RDONLY)
    try:
        header, _ = read_header(fd)
    finally:
        os.close(fd)
    if header.segment == sealed[-1].segment:
        return  # linked, not switched: still the current one
    fd = os.open(sealed[-1].path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        seal(fd)
    finally:
        os.close(fd)
