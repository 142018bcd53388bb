"""The words of a topology that running processes need too; apart from the models, since hosts start without pydantic's.

Building the models costs 0.15 s of a core, which each of a system's processes would pay at its start.
"""

from enum import StrEnum


class Transport(StrEnum):
    """What the signal plane runs over. ``auto``: ipc on one node, tcp between nodes."""

    AUTO = "auto"
    IPC = "ipc"
    TCP = "tcp"


class DeathWatch(StrEnum):
    """How the death of a process on the same node is seen. ``auto``: the fastest the system offers."""

    AUTO = "auto"
    FUTEX = "futex"
    PIDFD = "pidfd"
    SOCKET = "socket"


class LogLevel(StrEnum):
    """Least severity that is logged."""

    TRACE = "TRACE"
    DEBUG = "DEBUG"
    INFO = "INFO"
    SUCCESS = "SUCCESS"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


class Environment(StrEnum):
    """What a system is for: it decides whether faults may be enabled."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
