"""What the standby's side of replication is told, and what it has done."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec


class Numbered(Protocol):
    """A record: its number in the journal and the epoch of the life that wrote it."""

    @property
    def sequence(self) -> int: ...

    @property
    def epoch(self) -> int: ...


R = TypeVar("R", bound=Numbered)
P = TypeVar("P")
C = TypeVar("C")


# ---------------------------------------------------------------- events


class Restored(msgspec.Struct, frozen=True):
    """The state stands at ``sequence``, as far as this machine's disk goes; ``epoch`` of that record, 0: unknown."""

    sequence: int
    epoch: int


class Fed(msgspec.Struct, frozen=True):
    """The life of ``epoch`` is the primary now. ``same_clock``: its ``sent`` compares with our time."""

    epoch: int
    endpoint: str
    same_clock: bool


class RecordsCame(msgspec.Struct, Generic[R], frozen=True):
    """From the primary of ``epoch``: records ``first`` to ``last``; none: it lives, and ends with ``head``.

    ``before``: epoch of the record before ``first``, 0: unknown. ``sent``: seconds of its clock. ``live`` False: more
    of the backlog follows.
    """

    epoch: int
    first: int
    last: int
    head: int
    live: bool
    sent: float
    records: Sequence[R]
    before: int = 0


class PartCame(msgspec.Struct, Generic[P], frozen=True):
    """From the primary of ``epoch``: ``size`` of ``total`` bytes of a checkpoint at ``sequence``, from ``offset``."""

    epoch: int
    sequence: int
    offset: int
    size: int
    total: int
    body: P


class Damaged(msgspec.Struct, frozen=True):
    """Records that came are damaged."""

    why: str


class Unpacked(msgspec.Struct, Generic[C], frozen=True):
    """Answer to ``Unpack``; ``body`` None: it is damaged."""

    sequence: int
    body: C | None


class Progressed(msgspec.Struct, frozen=True):
    """All up to the ``Apply`` or ``Load`` numbered ``done`` is carried out, the state stands at ``applied``."""

    done: int
    applied: int


class Failed(msgspec.Struct, frozen=True):
    """The state cannot take what came."""

    why: str


class ConfirmDue(msgspec.Struct, frozen=True):
    """Answer to ``ConfirmSoon``: what arrived together was handled."""


class Unsent(msgspec.Struct, frozen=True):
    """``SendJoin`` found no connection; ``Connected`` follows soon."""


class Connected(msgspec.Struct, frozen=True):
    """There may be a connection now."""


class Ticked(msgspec.Struct, frozen=True):
    """Another beat."""


class Halt(msgspec.Struct, frozen=True):
    """Take no more: the primary is dead, or we are to end."""


# ---------------------------------------------------------------- effects


class Connect(msgspec.Struct, frozen=True):
    """To the primary of ``epoch``; what other connection there is is closed."""

    epoch: int
    endpoint: str


class Disconnect(msgspec.Struct, frozen=True):
    """From whom we followed."""


class SendJoin(msgspec.Struct, frozen=True):
    """To the life of ``epoch`` and no other: send what follows ``applied``."""

    epoch: int
    applied: int


class SendConfirm(msgspec.Struct, frozen=True):
    """To the life of ``epoch`` and no other; negative ``received``: bytes of a checkpoint."""

    epoch: int
    received: int
    applied: int


class ConfirmSoon(msgspec.Struct, frozen=True):
    """Give ``ConfirmDue`` once all that arrived together was handled."""


class Apply(msgspec.Struct, Generic[R], frozen=True):
    """Apply these, in the order of ``number``; they wait ``since`` then."""

    number: int
    records: Sequence[R]
    since: float


class Load(msgspec.Struct, Generic[C], frozen=True):
    """This state replaces ours; ``body`` None: the one the object was born with."""

    number: int
    sequence: int
    body: C | None


class Unpack(msgspec.Struct, Generic[P], frozen=True):
    """Check and decode a checkpoint that came in these pieces."""

    sequence: int
    pieces: list[P]


class Prepare(msgspec.Struct, frozen=True):
    """All is well: keep a takeover from the primary of ``epoch`` prepared."""

    epoch: int


class Note(msgspec.Struct, frozen=True):
    """For the trail."""

    state: str
    why: str


class Report(msgspec.Struct, frozen=True):
    """How we keep up: syncing, synced or failed; ``lag`` in seconds."""

    state: str
    applied: int
    head: int
    lag: float
    why: str


Event = (
    Restored
    | Fed
    | RecordsCame[R]
    | PartCame[P]
    | Damaged
    | Unpacked[C]
    | Progressed
    | Failed
    | ConfirmDue
    | Unsent
    | Connected
    | Ticked
    | Halt
)
Effect = (
    Connect
    | Disconnect
    | SendJoin
    | SendConfirm
    | ConfirmSoon
    | Apply[R]
    | Unpack[P]
    | Load[C]
    | Prepare
    | Note
    | Report
)
