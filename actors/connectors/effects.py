"""What a session is told and what it orders. Pure data, shared by the sessions of all venues.

Events are in the past tense, effects in the imperative. ``now`` is never part of an event: it is given beside it.
"""

import msgspec


class Connected(msgspec.Struct, frozen=True):
    """The socket is open."""


class FrameReceived(msgspec.Struct, frozen=True, gc=False):
    """One whole text frame arrived."""

    raw: bytes


class SnapshotArrived(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``FetchSnapshot``; one of an older ``generation`` is ignored."""

    symbol: str
    generation: int
    raw: bytes


class SnapshotFailed(msgspec.Struct, frozen=True, gc=False):
    """A snapshot could not be had. ``retry_after``: seconds the venue asked us to wait (0: it did not say)."""

    symbol: str
    generation: int
    reason: str
    retry_after: float = 0.0


class Ticked(msgspec.Struct, frozen=True):
    """Time went on; to be sent each 50 to 100 ms while connected."""


class Disconnected(msgspec.Struct, frozen=True, gc=False):
    """The connection ended, or could not be made. ``roll``: a random number in [0, 1) for the jitter."""

    reason: str
    roll: float = 0.0


Event = Connected | FrameReceived | SnapshotArrived | SnapshotFailed | Ticked | Disconnected


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send a text frame."""

    payload: bytes


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Publish to whoever subscribes; ``mark``: the venue's own number of it (see ``Context.publish``)."""

    topic: str
    payload: bytes
    mark: int | None = None


class FetchSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Get the symbol's book over REST and answer with ``SnapshotArrived`` or ``SnapshotFailed``."""

    symbol: str
    generation: int


class Drop(msgspec.Struct, frozen=True, gc=False):
    """Close the connection, without waiting for the other side; ``Disconnected`` is to follow."""

    reason: str


class Reconnect(msgspec.Struct, frozen=True, gc=False):
    """Connect again at ``at`` (the monotonic clock's seconds)."""

    at: float
    reason: str


class Ready(msgspec.Struct, frozen=True, gc=False):
    """Subscribed, and every book valid, for the first time."""


class Note(msgspec.Struct, frozen=True, gc=False):
    """Something for the trail: ``kind`` and what it is about."""

    kind: str
    symbol: str = ""
    text: str = ""


Effect = Send | Publish | FetchSnapshot | Drop | Reconnect | Ready | Note
