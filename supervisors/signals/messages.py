"""Everything that travels on the plane, versioned and typed. No pickle: a frame can do nothing but be data.

A frame is one version byte followed by a msgpack array with a type tag. ``decode`` refuses what it does not know
with ``MalformedFrame``; receivers count it and go on.
"""

import msgspec

from supervisors.core.reasons import ExitReason

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


# ---------------------------------------------------------------- supervisor -> host


class Attach(msgspec.Struct, tag="A", array_like=True, frozen=True):
    """The sender is now the supervisor of what this host carries: beat to it."""

    supervisor: str
    incarnation: int


class Assign(msgspec.Struct, tag="S", array_like=True, frozen=True):
    """Become incarnation ``incarnation`` of ``path``. ``part`` is an encoded WorkerSpec or SupervisorPart."""

    path: str
    incarnation: int
    epoch: int
    kind: str
    part: bytes
    system: bytes
    adopt: bool = False
    restart: bool = False


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


# ---------------------------------------------------------------- supervisor <-> node agent


class Watch(msgspec.Struct, tag="w", array_like=True, frozen=True):
    """Agent of another node: tell me when this host's process ends."""

    host: str
    pid: int
    start_time: int


class KillProcess(msgspec.Struct, tag="k", array_like=True, frozen=True):
    """Agent: end this host's process at once."""

    host: str
    pid: int
    start_time: int


class Look(msgspec.Struct, tag="l", array_like=True, frozen=True):
    """Agent: what does the machine say of this host's process?"""

    host: str
    pid: int
    start_time: int


class Gone(msgspec.Struct, tag="g", array_like=True, frozen=True):
    """From an agent: the process ended; ``signal`` says how it was seen."""

    host: str
    signal: str


class Looked(msgspec.Struct, tag="L", array_like=True, frozen=True):
    """From an agent: an ``Evidence``."""

    host: str
    evidence: str


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
