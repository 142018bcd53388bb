"""Plane messages that arm faults and end them (FLT-1); a part of ``supervisors.signals.messages``. Pure."""

import msgspec


class Arm(msgspec.Struct, tag="fa", array_like=True, frozen=True):
    """To any process of a system whose topology allows faults: arm these (``faults.order.encode``), all or none."""

    ref: int
    orders: bytes


class Disarm(msgspec.Struct, tag="fx", array_like=True, frozen=True):
    """End a fault here; an empty ``id`` means all of them. One that is not here is no error."""

    ref: int
    id: str = ""


class AskFaults(msgspec.Struct, tag="fq", array_like=True, frozen=True):
    """Which faults are armed in your process? With ``orders`` also: would you arm these? Nothing is armed by it."""

    ref: int
    orders: bytes = b""


class FaultsNow(msgspec.Struct, tag="fn", array_like=True, frozen=True):
    """The answer to ``Arm``, ``Disarm`` and ``AskFaults``: what is armed here now (a msgpack list of ``ArmedState``).

    ``code``: 0, or that of the ``FaultError`` for which nothing was armed, nothing would be, or what was to end did
    not, with ``error`` and ``fix``.
    """

    ref: int
    body: bytes
    code: int = 0
    error: str = ""
    fix: str = ""


class FaultFired(msgspec.Struct, tag="ff", array_like=True, frozen=True):
    """Host to its supervisor: an armed fault acted, the first time or once more after a pause.

    ``seen`` occasions, ``fired`` effects so far; ``at``: monotonic seconds.
    """

    path: str
    incarnation: int
    id: str
    kind: str
    seen: int
    fired: int
    at: float
