"""What the primary's side of replication is told, and what it has done."""

from typing import Generic, TypeVar

import msgspec

B = TypeVar("B")


class Limits(msgspec.Struct):
    """Bounds of what one standby costs. Bytes and seconds."""

    #: a standby may be sent this much beyond what it applied
    window: int = 8_000_000
    #: frames it may be sent so: below ZeroMQ's bound of 1000 for one peer, where it would drop them
    frames: int = 500
    #: of the newest batches kept, so that a standby fed from the disk finds its way into the stream
    recent: int = 4_000_000
    #: of one read from the disk, and of one piece of a checkpoint
    part: int = 1_000_000
    #: without a word for this long a standby is forgotten; it joins anew
    forget: float = 10.0
    #: most that a standby which lagged again and again has to keep up before it is waited for
    probation: float = 60.0


# ---------------------------------------------------------------- events


class Joined(msgspec.Struct, frozen=True):
    """A standby asks for what follows ``applied``, from here or again; ``head``: the last sequence committed now."""

    host: str
    applied: int
    head: int


class Committed(msgspec.Struct, Generic[B], frozen=True):
    """Records ``first`` to ``last``, ``size`` bytes, are on the disk as far as ``AckMode`` asks for it."""

    first: int
    last: int
    size: int
    body: B


class Synced(msgspec.Struct, frozen=True):
    """With ``AckMode.STANDBY``: the disk has followed up to ``last``."""

    last: int


class Confirmed(msgspec.Struct, frozen=True):
    """A standby has ``received`` in memory, ``applied`` in its state; negative ``received``: bytes of a checkpoint."""

    host: str
    received: int
    applied: int


class Unfollowed(msgspec.Struct, frozen=True):
    """That standby is dead."""

    host: str


class Ticked(msgspec.Struct, frozen=True):
    """Time passed; several times within ``timeout`` while ``PrimarySide.busy``."""


class BacklogRead(msgspec.Struct, Generic[B], frozen=True):
    """Answer to ``ReadBacklog``; ``size`` 0: nothing to be read yet. ``head``: what is committed now, by this life.

    Records behind ``head`` are not ours to send: another life writes in our journal.
    """

    host: str
    number: int
    first: int
    last: int
    size: int
    body: B
    head: int


class BacklogGone(msgspec.Struct, frozen=True):
    """Answer to ``ReadBacklog``: those records are no longer kept."""

    host: str
    number: int


class SnapshotPacked(msgspec.Struct, frozen=True):
    """Answer to ``PackSnapshot``: ``total`` bytes that stand at ``sequence``; 0: there is none."""

    host: str
    number: int
    sequence: int
    total: int


class ReadFailed(msgspec.Struct, frozen=True):
    """Answer to ``ReadBacklog`` and ``PackSnapshot``: the disk refused."""

    host: str
    number: int
    why: str


class Closed(msgspec.Struct, frozen=True):
    """Feed nobody any more."""


# ---------------------------------------------------------------- effects


class SendRecords(msgspec.Struct, Generic[B], frozen=True):
    """To a standby; ``body`` None says that we live, where our journal ends, and what it should have by now.

    ``before``: epoch of the record before ``first``; 0: unknown.
    """

    host: str
    first: int
    last: int
    head: int
    live: bool
    body: B | None
    before: int


class SendPart(msgspec.Struct, frozen=True):
    """To a standby: ``size`` bytes from ``offset`` of what was packed for ``number``."""

    host: str
    number: int
    sequence: int
    offset: int
    size: int
    total: int


class ReadBacklog(msgspec.Struct, frozen=True):
    """Read some records that follow ``after``: at most ``Limits.part`` bytes, at least one record if there is one."""

    host: str
    number: int
    after: int


class PackSnapshot(msgspec.Struct, frozen=True):
    """Make the newest valid checkpoint ready to be sent, if it stands behind ``after``."""

    host: str
    number: int
    after: int


class Acknowledge(msgspec.Struct, frozen=True):
    """All up to ``upto`` is acknowledged; with ``AckMode.BOTH`` and ``STANDBY``. Grows."""

    upto: int


class Note(msgspec.Struct, frozen=True):
    """For trail and supervisor: the standby left the set in sync (``lagging``), or came into it (``synced``)."""

    state: str
    host: str
    why: str
    behind: int


class Forget(msgspec.Struct, frozen=True):
    """Free what was opened or packed for ``number``."""

    host: str
    number: int


Event = (
    Joined
    | Committed[B]
    | Synced
    | Confirmed
    | Unfollowed
    | Ticked
    | BacklogRead[B]
    | BacklogGone
    | SnapshotPacked
    | ReadFailed
    | Closed
)
Effect = SendRecords[B] | SendPart | ReadBacklog | PackSnapshot | Acknowledge | Note | Forget
