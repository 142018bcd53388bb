"""The header of a published item: who published it, and where it stands in its topic's order.

    incarnation  8 bytes
    flags        1 byte
    mark         8 bytes, when ``MARKED``
    prev         8 bytes, when ``HANDOVER``: the mark before it in its topic; ``NOTHING_BEFORE`` for the first

``HANDOVER`` is set for some seconds after a standby was promoted; see ``supervisors.runtime.handover``.
"""

import struct

MARKED = 1
#: the publisher was promoted a moment ago: readers compare marks
HANDOVER = 2
#: sent again from the buffer
REPLAY = 4
#: nothing older of its topic can be had
EDGE = 8

NOTHING_BEFORE = -(2**63)

_PLAIN = struct.Struct(">QB")
_WITH_MARK = struct.Struct(">QBq")
_FULL = struct.Struct(">QBqq")
_KNOWN = MARKED | HANDOVER | REPLAY | EDGE

Header = tuple[int, int, int | None, int]


def plain_header(incarnation: int) -> bytes:
    """Of an item without a mark."""
    return _PLAIN.pack(incarnation, 0)


def mark_prefix(incarnation: int) -> bytes:
    """What the header of a marked item begins with; the mark follows as 8 bytes, signed, big end first."""
    return _PLAIN.pack(incarnation, MARKED)


def full_header(incarnation: int, flags: int, mark: int, prev: int) -> bytes:
    """Of a marked item during a handover."""
    return _FULL.pack(incarnation, flags | MARKED | HANDOVER, mark, prev)


def read_header(header: bytes) -> Header | None:
    """Incarnation, flags, mark and prev; None when it is no header."""
    size = len(header)
    if size == 17:
        incarnation, flags, mark = _WITH_MARK.unpack(header)
        return (incarnation, flags, mark, NOTHING_BEFORE) if flags == MARKED else None
    if size == 9:
        incarnation, flags = _PLAIN.unpack(header)
        return (incarnation, 0, None, NOTHING_BEFORE) if flags == 0 else None
    if size != 25:
        return None
    incarnation, flags, mark, prev = _FULL.unpack(header)
    if flags & ~_KNOWN or flags & (MARKED | HANDOVER) != MARKED | HANDOVER:
        return None
    return incarnation, flags, mark, prev
