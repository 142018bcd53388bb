"""Exit reasons as recovery and restart budgets see them (SUP-10). Pure."""

from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.recovery.policy import FailureClass

_CLASSES: dict[ExitKind, FailureClass] = {
    # a child that should be up and came to its end has failed by its own doing, however politely it went
    ExitKind.NORMAL: FailureClass.CRASH,
    ExitKind.SHUTDOWN: FailureClass.CRASH,
    ExitKind.INIT_ERROR: FailureClass.CRASH,
    ExitKind.CRASH: FailureClass.CRASH,
    ExitKind.KILLED: FailureClass.KILLED,
    ExitKind.OOM: FailureClass.OOM,
    ExitKind.HUNG: FailureClass.HUNG,
    ExitKind.NODE_LOST: FailureClass.NODE,
    ExitKind.UNAVAILABLE: FailureClass.NODE,
    ExitKind.FENCED: FailureClass.FENCED,
    ExitKind.ESCALATED: FailureClass.ESCALATED,
}

#: signals a process brings on itself; a reason that names one is a crash and no kill from outside
_OWN_SIGNALS = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP")


def failure_class(reason: ExitReason) -> FailureClass:
    """Why it failed, as far as rules and budgets care."""
    found = _CLASSES[reason.kind]
    if found is FailureClass.KILLED and any(name in reason.message for name in _OWN_SIGNALS):
        return FailureClass.CRASH
    return found
