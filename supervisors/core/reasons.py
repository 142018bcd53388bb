"""Why a child ended, normalised before any restart type is applied (SUP-2)."""

from enum import StrEnum

import msgspec


class ExitKind(StrEnum):
    """The kinds of exit. ``NORMAL`` and ``SHUTDOWN`` are the only ones that are not abnormal (OTP)."""

    NORMAL = "normal"  #: ``run`` returned
    SHUTDOWN = "shutdown"  #: ended on its supervisor's order
    INIT_ERROR = "init_error"  #: failed while starting
    CRASH = "crash"  #: ``run`` raised, or the process ended by itself with an error
    KILLED = "killed"  #: ended by a signal
    OOM = "oom"  #: ended for want of memory
    HUNG = "hung"  #: alive, but its loop made no progress; ended by its supervisor
    NODE_LOST = "node_lost"  #: its node is gone
    FENCED = "fenced"  #: a newer epoch holds its place
    UNAVAILABLE = "unavailable"  #: could not be reached nor proved dead in time
    ESCALATED = "escalated"  #: a supervisor gave up (OTP says ``shutdown`` here; we differ, docs/semantics.md)


class ExitReason(msgspec.Struct, frozen=True, omit_defaults=True):
    """One exit: its kind, a line for people and, where there is one, the traceback or exit status."""

    kind: ExitKind
    message: str = ""
    detail: str = ""

    @property
    def is_abnormal(self) -> bool:
        """True when a transient child is to be restarted for it (OTP: all but normal and shutdown)."""
        return self.kind not in (ExitKind.NORMAL, ExitKind.SHUTDOWN)

    @property
    def is_abrupt(self) -> bool:
        """True when the process went without running its own ending: its children may still run."""
        return self.kind in _ABRUPT

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else str(self.kind)


_ABRUPT = frozenset(
    {
        ExitKind.CRASH,
        ExitKind.KILLED,
        ExitKind.OOM,
        ExitKind.HUNG,
        ExitKind.NODE_LOST,
        ExitKind.UNAVAILABLE,
    }
)

NORMAL = ExitReason(ExitKind.NORMAL)
SHUTDOWN = ExitReason(ExitKind.SHUTDOWN)


def crash(message: str = "", detail: str = "") -> ExitReason:
    """A crash with its message and traceback."""
    return ExitReason(ExitKind.CRASH, message, detail)


def init_error(message: str = "", detail: str = "") -> ExitReason:
    """A failed start with its message and traceback."""
    return ExitReason(ExitKind.INIT_ERROR, message, detail)
