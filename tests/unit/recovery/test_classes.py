"""Exit reasons as recovery sees them."""

import pytest

from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.recovery.classes import failure_class
from supervisors.recovery.policy import FailureClass


@pytest.mark.parametrize("kind", list(ExitKind))
def test_every_kind_has_a_class(kind: ExitKind) -> None:
    assert failure_class(ExitReason(kind)) in FailureClass


def test_the_classes_that_differ_from_the_kind() -> None:
    assert failure_class(ExitReason(ExitKind.INIT_ERROR)) is FailureClass.CRASH
    assert failure_class(ExitReason(ExitKind.NORMAL)) is FailureClass.CRASH
    assert failure_class(ExitReason(ExitKind.UNAVAILABLE)) is FailureClass.NODE
    assert failure_class(ExitReason(ExitKind.NODE_LOST)) is FailureClass.NODE
    assert failure_class(ExitReason(ExitKind.KILLED, "ended by a signal")) is FailureClass.KILLED
    assert failure_class(ExitReason(ExitKind.KILLED, "ended by SIGKILL")) is FailureClass.KILLED
    assert failure_class(ExitReason(ExitKind.KILLED, "ended by SIGSEGV")) is FailureClass.CRASH
    assert failure_class(ExitReason(ExitKind.OOM, "SIGABRT")) is FailureClass.OOM
