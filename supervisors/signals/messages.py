"""Everything that travels on the plane, versioned and typed. No pickle: a frame can do nothing but be data.

A frame is one version byte followed by a msgpack array with a type tag. ``decode`` refuses what it does not know
with ``MalformedFrame``; receivers count it and go on.
"""

import msgspec

from supervisors.core.reasons import ExitReason
from supervisors.signals.agent_messages import Gone, KillProcess, Look, Looked, Watch
from supervisors.signals.fault_messages import Arm, AskFaults, Disarm, FaultFired, FaultsNow

VERSION = 1
_PREFIX = bytes([VERSION])


class MalformedFrame(ValueError):
    """A frame of another version, an unknown type or the wrong shape."""


# ---------------------------------------------------------------- host -> supervisor


class Beat(msgspec.Struct, tag="b", array_like=True, frozen=True):
    """Each ``interval`` (DET-1). ``progress`` counts turns of the actor's own loop, ``sent`` is monotonic seconds."""

    path: str
    incarnation: int
    sequence: int
    sent: float
    progress: int
    load: float
    rss: int
    threads: int
    utc_ns: int


class Hello(msgspec.Struct, tag="h", array_like=True, frozen=True):
    """Answer to ``Attach`` and ``Assign``: who this host is and what it carries."""

    host: str
    pid: int
    path: str
    incarnation: int
    state: str
    reason: ExitReason | None = None


class Started(msgspec.Struct, tag="s", array_like=True, frozen=True):
    """``start`` returned (for a supervisor: its children are up)."""

    path: str
    incarnation: int


class Ready(msgspec.Struct, tag="r", array_like=True, frozen=True):
    """The actor called ``ctx.ready()``."""

    path: str
    incarnation: int


class Ignored(msgspec.Struct, tag="i", array_like=True, frozen=True):
    """``start`` raised ``Ignore``; the host ends."""

    path: str
    incarnation: int


class StartFailed(msgspec.Struct, tag="f", array_like=True, frozen=True):
    """``start`` raised; the host ends."""

    path: str
    incarnation: int
    reason: ExitReason


class Exited(msgspec.Struct, tag="x", array_like=True, frozen=True):
    """The child ended; the host ends. ``at``: monotonic seconds."""

    path: str
    incarnation: int
    reason: ExitReason
    at: float


class Noted(msgspec.Struct, tag="n", array_like=True, frozen=True):
    """An actor's own event for the trail."""

    path: str
    incarnation: int
    kind: str
    data: dict[str, str | int | float | bool]


class Metrics(msgspec.Struct, tag="m", array_like=True, frozen=True):
    """Gauges an actor set since the last time; keys are ``name`` or ``name{label="value"}``."""

    path: str
    incarnation: int
    values: dict[str, float]


class StandbyState(msgspec.Struct, tag="sb", array_like=True, frozen=True):
    """A standby tells how it keeps up: each beat interval, and at once when ``state`` changes.

    ``state``: starting, syncing, synced or failed. ``applied``, ``head``: sequences of the journal (0 for a live
    standby). ``lag``: seconds behind the primary.
    """

    path: str
    host: str
    state: str
    applied: int = 0
    head: int = 0
    lag: float = 0.0
    why: str = ""


class Promoted(msgspec.Struct, tag="pd", array_like=True, frozen=True):
    """The standby acts: ``sequence`` its last applied event, ``behind`` events it still had to apply."""

    path: str
    incarnation: int
    kind: str
    sequence: int
    behind: int
    elapsed: float


class AskAct(msgspec.Struct, tag="ka", array_like=True, frozen=True):
    """A life on another disk than the one before it has everything there, durable; ``MayAct`` is the answer."""

    path: str
    incarnation: int


class Checkpointed(msgspec.Struct, tag="ck", array_like=True, frozen=True):
    """A checkpoint is on the disk."""

    path: str
    incarnation: int
    sequence: int
    bytes: int
    elapsed: float


class StateNoted(msgspec.Struct, tag="sn", array_like=True, frozen=True):
    """The journal, a checkpoint or the lease has something for the trail; ``kind`` is an ``EventKind``."""

    path: str
    incarnation: int
    kind: str
    data: dict[str, str | int | float | bool]


class EvidenceGiven(msgspec.Struct, tag="ev", array_like=True, frozen=True):
    """An actor gives evidence for recovery decisions, e.g. ``volatility_ratio`` (REC-1)."""

    path: str
    incarnation: int
    name: str
    value: float


# ---------------------------------------------------------------- supervisor -> host


class Feed(msgspec.Struct, tag="fd", array_like=True, frozen=True):
    """To a standby: this is your primary now (its plane endpoint and its publisher's)."""

    path: str
    incarnation: int
    epoch: int
    host: str
    endpoint: str
    pub: str


class Promote(msgspec.Struct, tag="pr", array_like=True, frozen=True):
    """To a standby: your primary is dead for certain; become this incarnation and act.

    ``leased_at``: seconds of the launching machine's boot clock when the lease was asked for, 0 without a lease;
    ``holder``: the name it is held under. ``ask``: say ``AskAct`` when everything is on your disk, act on ``MayAct``.
    """

    path: str
    incarnation: int
    epoch: int
    leased_at: float = 0.0
    multiplier: float = 1.0
    holder: str = ""
    ask: bool = False


class MayAct(msgspec.Struct, tag="ma", array_like=True, frozen=True):
    """To a life that asked: it is written down that the newest journal is on your disk from now on; act."""

    path: str
    incarnation: int


class Unfollow(msgspec.Struct, tag="uf", array_like=True, frozen=True):
    """To a primary: this standby is gone, wait for it no longer."""

    path: str
    host: str


class AskAgree(msgspec.Struct, tag="aa", array_like=True, frozen=True):
    """A primary asks whether its supervisor has nobody else act at its path; ``asked``: seconds of its boot clock."""

    path: str
    incarnation: int
    asked: float


class Agree(msgspec.Struct, tag="ag", array_like=True, frozen=True):
    """The answer: nobody else acts, and nobody will be let act for ``expire`` seconds unless this life is proved dead.

    ``asked`` is what the question said: the word counts from when it was asked for, not from when it came.
    """

    path: str
    incarnation: int
    asked: float


class Resize(msgspec.Struct, tag="rs", array_like=True, frozen=True):
    """To a primary: trade this multiple of the normal size from now on (REC-6)."""

    path: str
    incarnation: int
    multiplier: float


# ---------------------------------------------------------------- standby <-> primary


class Join(msgspec.Struct, tag="jn", array_like=True, frozen=True):
    """Standby to primary: send me what follows ``applied``."""

    path: str
    host: str
    applied: int


class Records(msgspec.Struct, tag="rc", array_like=True, frozen=True):
    """Primary to standby: encoded journal records ``first`` .. ``last``; ``head`` is the primary's last durable one.

    ``sent``: the primary's monotonic seconds; ``live`` False while the backlog is being sent. An empty ``body`` only
    says that the primary is there. ``before``: epoch of the record before ``first``; 0: unknown.
    """

    path: str
    epoch: int
    first: int
    last: int
    head: int
    sent: float
    live: bool
    body: bytes
    before: int = 0


class SnapshotPart(msgspec.Struct, tag="sp", array_like=True, frozen=True):
    """Primary to a standby that is too far behind for the journal: a piece of a checkpoint (CRC32C, then msgpack)."""

    path: str
    epoch: int
    sequence: int
    offset: int
    total: int
    body: bytes


class Applied(msgspec.Struct, tag="ap", array_like=True, frozen=True):
    """Standby to primary: all up to ``received`` is in my memory, all up to ``applied`` in my state.

    A negative ``received`` counts bytes of a ``SnapshotPart`` transfer.
    """

    path: str
    host: str
    received: int
    applied: int


# ---------------------------------------------------------------- supervisor -> host: lives


class Attach(msgspec.Struct, tag="A", array_like=True, frozen=True):
    """The sender is now the supervisor of what this host carries: beat to it."""

    supervisor: str
    incarnation: int


class Assign(msgspec.Struct, tag="S", array_like=True, frozen=True):
    """Become incarnation ``incarnation`` of ``path``. ``part`` is an encoded WorkerSpec or SupervisorPart.

    ``kind``: worker, supervisor or standby. ``rung``: warm or cold where a recovery decided, else empty.
    """

    path: str
    incarnation: int
    epoch: int
    kind: str
    part: bytes
    system: bytes
    adopt: bool = False
    restart: bool = False
    rung: str = ""
    multiplier: float = 1.0
    leased_at: float = 0.0
    holder: str = ""
    #: faults that outlast lives of this path: a msgpack list of ``faults.order.ArmedState``
    faults: bytes = b""
    #: why it must not go on from a journal on this disk; empty: it may
    elsewhere: str = ""
    #: when it journals: say ``AskAct`` when everything is on your disk, act on ``MayAct``
    ask: bool = False


class Stop(msgspec.Struct, tag="T", array_like=True, frozen=True):
    """End within ``timeout`` seconds (``-1``: as long as it takes)."""

    path: str
    incarnation: int
    timeout: float


class Retire(msgspec.Struct, tag="E", array_like=True, frozen=True):
    """An idle spare is no longer needed."""


class Preload(msgspec.Struct, tag="P", array_like=True, frozen=True):
    """Idle spare: import these modules now, so that nobody waits for it later."""

    modules: tuple[str, ...]


class ExitSeen(msgspec.Struct, tag="X", array_like=True, frozen=True):
    """Your exit notice arrived: end now."""

    path: str
    incarnation: int


# ---------------------------------------------------------------- questions and answers


class Resolve(msgspec.Struct, tag="q", array_like=True, frozen=True):
    """Which host carries ``path`` now?"""

    ref: int
    path: str


class Resolved(msgspec.Struct, tag="Q", array_like=True, frozen=True):
    """``state``: running, gone (will come back), or never (no such child, or it will not come back)."""

    ref: int
    path: str
    state: str
    host: str = ""
    actor: str = ""
    incarnation: int = 0
    epoch: int = 0
    endpoint: str = ""
    standbys: tuple[str, ...] = ()


class AskStatus(msgspec.Struct, tag="c", array_like=True, frozen=True):
    """Tell me about ``path`` and its children. Answered by ``Status``."""

    ref: int
    path: str


class Status(msgspec.Struct, tag="C", array_like=True, frozen=True):
    """``body`` is a JSON encoded ``SupervisorStatus``; empty when the path is no supervisor known here."""

    ref: int
    body: bytes


class Order(msgspec.Struct, tag="o", array_like=True, frozen=True):
    """An administrator's order: start_child, terminate_child, restart_child, delete_child, stop, ..."""

    ref: int
    call: str
    id: str = ""
    args: str = ""
    who: str = ""


class Ordered(msgspec.Struct, tag="O", array_like=True, frozen=True):
    """The answer to an ``Order``; ``error`` empty or OTP's word."""

    ref: int
    error: str = ""
    id: str = ""
    incarnation: int = 0
    detail: str = ""


Message = (
    Beat
    | Hello
    | Started
    | Ready
    | Ignored
    | StartFailed
    | Exited
    | Noted
    | Metrics
    | StandbyState
    | Promoted
    | Checkpointed
    | StateNoted
    | EvidenceGiven
    | Feed
    | Promote
    | AskAct
    | MayAct
    | Unfollow
    | AskAgree
    | Agree
    | Resize
    | Join
    | Records
    | SnapshotPart
    | Applied
    | Attach
    | Assign
    | Stop
    | Retire
    | Preload
    | ExitSeen
    | Watch
    | KillProcess
    | Look
    | Gone
    | Looked
    | Resolve
    | Resolved
    | AskStatus
    | Status
    | Order
    | Ordered
    | Arm
    | Disarm
    | AskFaults
    | FaultsNow
    | FaultFired
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """One frame."""
    return _PREFIX + _ENCODER.encode(message)


def decode(frame: bytes) -> Message:
    """Read one frame.

    Raises:
        MalformedFrame: it is not one of ours.
    """
    if frame[:1] != _PREFIX:
        raise MalformedFrame(f"version {frame[:1].hex() or 'none'}, this is version {VERSION}")
    try:
        return _DECODER.decode(memoryview(frame)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedFrame(str(error)) from error
