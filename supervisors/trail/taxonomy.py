"""The failure taxonomy: which of five classes a failure belongs to, and how severe it is (GRD-5). Pure."""

from enum import StrEnum

from supervisors.core.reasons import ExitKind
from supervisors.trail.events import TrailEvent


class FailureType(StrEnum):
    """The five classes of failure (GRD-5)."""

    NETWORK = "network"
    EXCHANGE = "exchange"
    SYSTEM = "system"
    DATA = "data"
    STRATEGY = "strategy"


class Severity(StrEnum):
    """How much a failure endangers the system, lowest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


#: What an exit says by itself. A crash is the actor's own code (``strategy``) unless the event says better.
BY_EXIT: dict[ExitKind, tuple[FailureType, Severity]] = {
    ExitKind.INIT_ERROR: (FailureType.STRATEGY, Severity.MEDIUM),
    ExitKind.CRASH: (FailureType.STRATEGY, Severity.HIGH),
    ExitKind.KILLED: (FailureType.SYSTEM, Severity.HIGH),
    ExitKind.OOM: (FailureType.SYSTEM, Severity.CRITICAL),
    ExitKind.HUNG: (FailureType.SYSTEM, Severity.HIGH),
    ExitKind.NODE_LOST: (FailureType.SYSTEM, Severity.CRITICAL),
    ExitKind.FENCED: (FailureType.NETWORK, Severity.MEDIUM),
    ExitKind.UNAVAILABLE: (FailureType.NETWORK, Severity.HIGH),
    ExitKind.ESCALATED: (FailureType.SYSTEM, Severity.CRITICAL),
}

_TYPES = {str(one): one for one in FailureType}
_SEVERITIES = {str(one): one for one in Severity}


def classify(event: TrailEvent) -> tuple[FailureType, Severity] | None:
    """Class and severity of the failure that ``event`` tells of; None when its exit was no failure.

    ``data["type"]`` and ``data["severity"]`` of the event win over what the exit says.
    """
    if event.reason is None or event.reason.kind not in BY_EXIT:
        return None
    kind, severity = BY_EXIT[event.reason.kind]
    return (
        _TYPES.get(str(event.data.get("type")), kind),
        _SEVERITIES.get(str(event.data.get("severity")), severity),
    )
