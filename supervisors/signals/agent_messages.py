"""Plane messages between a supervisor and another node's agent; a part of ``supervisors.signals.messages``. Pure."""

import msgspec


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
