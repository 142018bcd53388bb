"""How a record stands in a segment: 44 bytes of header, then the body; every bit of both under one CRC32C.

    crc        u32   of all that follows
    length     u32   of the body
    sequence   u64
    epoch      u64   of the writer
    monotonic  i64   nanoseconds, when its batch was written
    utc        i64   nanoseconds since 1970
    behind     u32   sequence - behind: the first record of its batch; all before that were durable when it was written

Little endian. Zeros, as in room that is taken and not yet written, are no record: the CRC of zeros is not zero.
``behind`` tells a torn write from damage after a power failure: a whole record whose batch begins behind a broken one
proves that the broken one was durable once.
"""

import struct
from collections.abc import Sequence

import msgspec
from google_crc32c import value as checksum

from supervisors.core.errors import JournalCorrupt

HEADER = struct.Struct("<IIQQqqI")
HEADER_BYTES = HEADER.size
_CRC = struct.Struct("<I")
_REST = struct.Struct("<IQQqqI")
_EPOCH = struct.Struct("<Q")
_EPOCH_AT = 16
#: longest body
MAX_BODY = 16 * 1024 * 1024
#: ``behind`` of records that were written without sync: nothing is known of those before them
UNKNOWN = 0xFFFF_FFFF
#: a sequence farther than this from the expected one is no record of this journal
_FAR = 1 << 32


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One event. ``monotonic_ns`` and ``utc_ns``: when its batch was written, on the writer's clocks."""

    sequence: int
    epoch: int
    monotonic_ns: int
    utc_ns: int
    body: bytes


def encode(bodies: Sequence[bytes], first: int, epoch: int, monotonic_ns: int, utc_ns: int, *, synced: bool) -> bytes:
    """The records of one batch, the first with sequence ``first``."""
    parts: list[bytes] = []
    add, rest, crc = parts.append, _REST.pack, _CRC.pack
    for index, body in enumerate(bodies):
        covered = rest(len(body), first + index, epoch, monotonic_ns, utc_ns, index if synced else UNKNOWN) + body
        add(crc(checksum(covered)))
        add(covered)
    return b"".join(parts)


def scan(data: bytes, position: int, sequence: int, last: int, records: list[Record] | None) -> tuple[int, int]:
    """Go over whole records from ``position``, the first of which must have ``sequence``, up to ``last``.

    Returns:
        Where it ended, and the sequence expected there. It ends behind ``last``, or before the first thing that is not
        the record expected, whole in ``data``. ``records``, if given, gets what was passed.
    """
    size = len(data)
    unpack, header = HEADER.unpack_from, HEADER_BYTES
    while sequence <= last:
        start = position + header
        if start > size:
            break
        crc, length, number, epoch, monotonic_ns, utc_ns, _ = unpack(data, position)
        end = start + length
        if number != sequence or end > size or checksum(data[position + 4 : end]) != crc:
            break
        if records is not None:
            records.append(Record(number, epoch, monotonic_ns, utc_ns, data[start:end]))
        position = end
        sequence += 1
    return position, sequence


def wanted(data: bytes, position: int) -> int:
    """How many bytes the record at ``position`` has if its header is right; 0 when there is none or it is too long."""
    if position + HEADER_BYTES > len(data):
        return HEADER_BYTES
    length: int = HEADER.unpack_from(data, position)[1]
    return HEADER_BYTES + length if length <= MAX_BODY else 0


def proof_of_loss(data: bytes, position: int, sequence: int, epoch: int) -> int | None:
    """The sequence of a whole record behind ``position`` written when ``sequence`` was already durable, or None.

    With one, what is broken at ``position`` is damage; with none, it may be a write that was cut short.
    """
    pattern = _EPOCH.pack(epoch)
    at = position
    while (at := data.find(pattern, at)) >= 0:
        start = at - _EPOCH_AT
        at += 1
        if start < position or start + HEADER_BYTES > len(data):
            continue
        crc, length, number, _, _, _, behind = HEADER.unpack_from(data, start)
        end = start + HEADER_BYTES + length
        if (
            sequence < number < sequence + _FAR
            and behind != UNKNOWN
            and number - behind > sequence
            and end <= len(data)
            and checksum(data[start + 4 : end]) == crc
        ):
            return int(number)
    return None


def decode_frames(data: bytes) -> list[Record]:
    """Records of ``data``, as ``JournalReader.frames`` or ``GroupCommitter`` gave it; CRCs and sequence are checked.

    Raises:
        JournalCorrupt: a record is damaged, cut short or out of sequence.
    """
    if not data:
        return []
    records: list[Record] = []
    first = int(HEADER.unpack_from(data, 0)[2]) if len(data) >= HEADER_BYTES else 0
    position, sequence = scan(data, 0, first, first + len(data), records)
    if position != len(data):
        raise JournalCorrupt(
            f"record {sequence} at offset {position} of {len(data)} received bytes is damaged",
            fix="ask for the records again",
        )
    return records
