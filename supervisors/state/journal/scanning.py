"""Going through one segment: whole records in order, and what it means when there is none."""

import os
from typing import Self

from supervisors.core.errors import JournalCorrupt
from supervisors.state.disk import Disk
from supervisors.state.journal.control import corrupt
from supervisors.state.journal.findings import Finding, FindingKind
from supervisors.state.journal.format import HEADER_BYTES, Record, proof_of_loss, scan, wanted
from supervisors.state.journal.segments import HEADER_SIZE, Segment, read_header

CHUNK = 1 << 20


class Cursor:
    """A place in an open segment: before the record ``sequence``, at ``offset``.

    Raises:
        JournalCorrupt, JournalFailed: as ``read_header``.
        OSError: the file is gone, or cannot be read.
    """

    __slots__ = ("_disk", "_fd", "created_utc_ns", "offset", "segment", "sequence")

    def __init__(self, disk: Disk, segment: Segment) -> None:
        self._disk = disk
        self.segment = segment
        self.offset = HEADER_SIZE
        self.sequence = segment.first
        self._fd = disk.open(segment.path, os.O_RDONLY)
        try:
            self.created_utc_ns = read_header(disk, self._fd, segment)
        except BaseException:
            disk.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, last: int, records: list[Record] | None = None, size: int = CHUNK) -> bytes:
        """Pass whole records with sequence <= ``last`` in the next ``size`` bytes, at least one if it is whole.

        Returns:
            Their bytes; none when the record ``sequence`` is not there.
        """
        data = self._disk.read(self._fd, size, self.offset)
        end, sequence = scan(data, 0, self.sequence, last, records)
        if not end and sequence <= last and (need := wanted(data, 0)) > len(data) == size:
            data = self._disk.read(self._fd, need, self.offset)
            end, sequence = scan(data, 0, self.sequence, self.sequence, records)
        self.offset += end
        self.sequence = sequence
        return data[:end]

    def run(self, last: int) -> None:
        """Pass all records up to ``last`` that are there."""
        while self.sequence <= last and self.step(last):
            pass

    def rest(self) -> bytes:
        """What stands behind this place, without the zeros at its end."""
        parts: list[bytes] = []
        offset = self.offset
        while data := self._disk.read(self._fd, CHUNK, offset):
            parts.append(data)
            offset += len(data)
        return b"".join(parts).rstrip(b"\0")

    def damage(self, why: str = "it is damaged or missing") -> JournalCorrupt:
        """The error for the record at this place."""
        return corrupt(self.segment.path, self.offset, self.sequence, why)

    def torn(self) -> Finding | None:
        """What a write that was cut short left here; None when nothing is here.

        Raises:
            JournalCorrupt: what is broken here was durable once.
        """
        rest = self.rest()
        if not rest:
            return None
        later = proof_of_loss(rest, 0, self.sequence, self.segment.epoch)
        if later is not None:
            raise self.damage(f"it is damaged: record {later}, written after it was durable, stands behind it")
        return self.finding(FindingKind.TORN, len(rest), "the last write was cut short")

    def beyond(self) -> Finding | None:
        """What a writer left here that was not acknowledged, whole records or not; None when nothing is here."""
        rest = self.rest()
        if not rest:
            return None
        _, sequence = scan(rest + bytes(HEADER_BYTES), 0, self.sequence, self.sequence + len(rest), None)
        if count := sequence - self.sequence:
            text = f"{count} records that were written and not acknowledged"
            return self.finding(FindingKind.UNACKNOWLEDGED, len(rest), text)
        return self.finding(FindingKind.TORN, len(rest), "the last write was cut short")

    def finding(self, kind: FindingKind, size: int, text: str) -> Finding:
        """A finding about ``size`` bytes at this place."""
        return Finding(kind, str(self.segment.path), self.offset, size, self.sequence, text)

    def size(self) -> int:
        """Bytes in the file."""
        return self._disk.size(self._fd)

    def close(self) -> None:
        """Free the file."""
        if self._fd >= 0:
            self._disk.close(self._fd)
        self._fd = -1
