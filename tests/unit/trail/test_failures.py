import msgspec
import pytest

from supervisors.core.reasons import NORMAL, ExitKind, ExitReason, crash
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.failures import FailureFold, FailureTrail, Outcome, render, to_json
from supervisors.trail.taxonomy import FailureType, Severity, classify
from tests.unit.trail.support import event

F = "/cell/md#3"
KILLED = ExitReason(ExitKind.KILLED, "signal 9")


def story() -> FailureFold:
    fold = FailureFold()
    fold.add_all(
        [
            event(EventKind.FAULT_INJECTED, "/cell/md", 10.0, incarnation=3, data={"fault": "kill"}),
            event(EventKind.FIRST_SIGNAL, "/cell/md", 10.002, incarnation=3, failure=F, data={"signal": "futex"}),
            event(EventKind.VERDICT, "/cell/md", 10.003, incarnation=3, failure=F, data={"verdict": "dead"}),
            event(EventKind.CHILD_EXITED, "/cell/md", 10.0035, incarnation=3, failure=F, reason=KILLED),
            event(
                EventKind.RESTART_DECIDED, "/cell", 10.004, failure=F, data={"strategy": "one_for_all", "targets": 1}
            ),
            event(EventKind.CHILD_STOPPED, "/cell/sib", 10.01, incarnation=1, failure=F),
            event(EventKind.CHILD_READY, "/cell/sib", 10.1, incarnation=2, failure=F),
        ]
    )
    return fold


def test_a_failure_from_fault_to_recovery() -> None:
    fold = story()
    assert [one.outcome for one in fold.failures] == [Outcome.OPEN]
    (found,) = fold.failures
    fold.add(event(EventKind.CHILD_READY, "/cell/md", 10.15, incarnation=4))
    assert found.outcome is Outcome.HEALED
    assert found.recover_ms == 150.0
    numbers = {"detect_ms": 2.0, "decide_ms": 0.5, "total_ms": 151.25, "spare": True}
    fold.add(event(EventKind.RECOVERED, "/cell/md", 10.151, incarnation=4, failure=F, data=dict(numbers)))
    assert (found.id, found.path, found.incarnation) == (F, "/cell/md", 3)
    assert (found.first_signal, found.verdict, found.reason) == ("futex", "dead", KILLED)
    assert (found.detect_ms, found.decide_ms, found.recover_ms) == (2.0, 0.5, 151.0)  # from the injection on
    assert found.decision == "strategy=one_for_all targets=1"
    text = render(found)
    assert text.splitlines()[0] == (
        "/cell/md#3  healed in 151.0 ms  (detected 2.0 ms, decided 0.5 ms)  killed: signal 9"
    )
    assert "child stopped /cell/sib" in text
    assert len(text.splitlines()) == 1 + len(found.steps)
    assert msgspec.json.decode(to_json(found), type=FailureTrail) == found


def test_times_without_the_supervisors_own_numbers() -> None:
    (found,) = story().failures
    assert found.detect_ms is not None
    assert found.decide_ms is not None
    assert abs(found.detect_ms - 2.0) < 1e-6
    assert abs(found.decide_ms - 2.0) < 1e-6


def test_held_gave_up_and_healed_by_a_later_life() -> None:
    fold = FailureFold()
    fold.add(event(EventKind.CHILD_EXITED, "/a", 1.0, incarnation=1, reason=crash("x")))
    fold.add(event(EventKind.RESTART_DECIDED, "/a", 1.1, incarnation=1, data={"targets": 0}))
    fold.add(event(EventKind.CHILD_START_FAILED, "/b", 1.0, incarnation=1, reason=crash("y")))
    fold.add(event(EventKind.GAVE_UP, "/", 1.0, failure="/b#1", data={"why": "intensity"}))
    assert [one.outcome for one in fold.failures] == [Outcome.HELD, Outcome.GAVE_UP]
    assert fold.failures[1].decision == "why=intensity"
    fold.add(event(EventKind.CHILD_READY, "/b", 3.0, incarnation=2))
    assert fold.failures[1].outcome is Outcome.HEALED
    assert fold.failures[1].recover_ms == 2000.0


def test_what_is_no_failure() -> None:
    fold = FailureFold()
    assert fold.add(event(EventKind.CHILD_EXITED, "/a", incarnation=1, reason=NORMAL)) is None
    assert fold.add(event(EventKind.CHILD_READY, "/a", incarnation=1)) is None
    assert fold.add(event(EventKind.VERDICT, "/a", incarnation=1)) is None
    assert fold.failures == []


def test_an_orderly_end_is_held_until_a_restart_is_decided() -> None:
    fold = FailureFold()
    fold.add(event(EventKind.FIRST_SIGNAL, "/a", 1.0, incarnation=1, data={"signal": "exit_notice", "lag_ms": 0.5}))
    fold.add(event(EventKind.CHILD_EXITED, "/a", 1.0, incarnation=1, reason=NORMAL))
    assert [(one.outcome, one.detect_ms) for one in fold.failures] == [(Outcome.HELD, 0.5)]
    fold.add(event(EventKind.RESTART_DECIDED, "/a", 1.0, incarnation=1, data={"targets": "a"}))
    assert [one.outcome for one in fold.failures] == [Outcome.OPEN]


def test_memory_is_bounded() -> None:
    fold = FailureFold(keep=10)
    for number in range(100):
        fold.add(event(EventKind.CHILD_EXITED, "/a", incarnation=number, reason=crash("x\ny")))
    for _ in range(200):
        fold.add(event("actor_note", "/a", incarnation=99, failure="/a#99"))
    assert len(fold.failures) == 10
    newest = fold.failures[-1]
    assert len(newest.steps) + newest.more_steps == 201
    assert "more steps" in render(newest)
    assert all(len(line) <= 40 for line in render(newest, width=40).splitlines())


def test_taxonomy() -> None:
    assert classify(event("child_exited", reason=KILLED)) == (FailureType.SYSTEM, Severity.HIGH)
    own = event("child_exited", reason=crash(), data={"type": "exchange", "severity": "low"})
    assert classify(own) == (FailureType.EXCHANGE, Severity.LOW)
    odd = event("child_exited", reason=crash(), data={"type": "no such"})
    assert classify(odd) == (FailureType.STRATEGY, Severity.HIGH)
    assert classify(event("child_exited", reason=NORMAL)) is None
    for kind in ExitKind:
        intended = kind in (ExitKind.NORMAL, ExitKind.SHUTDOWN)
        assert (classify(event("child_exited", reason=ExitReason(kind))) is None) == intended


def _fault(kind: EventKind, t: float, fault: str, life: int = 1) -> TrailEvent:
    return TrailEvent(t, 0, kind, "/md", life, failure=f"/md#{life}", data={"fault": fault, "id": f"f-{fault}"})


def test_a_fault_that_breaks_nothing_is_no_failure_and_does_not_date_the_next_one() -> None:
    """Before: a delay of messages stayed open for ever, and a kill later on was timed from it."""
    fold = FailureFold()
    fold.add(_fault(EventKind.FAULT_INJECTED, 1.0, "delay"))
    fold.add(_fault(EventKind.FAULT_FIRED, 1.1, "delay"))
    fold.add(_fault(EventKind.FAULT_REVERTED, 2.0, "delay"))
    assert fold.failures == []
    fold.add(_fault(EventKind.FAULT_INJECTED, 20.0, "kill"))
    fold.add(TrailEvent(20.002, 0, EventKind.FIRST_SIGNAL, "/md", 1, failure="/md#1", data={"signal": "futex"}))
    fold.add(_fault(EventKind.FAULT_REVERTED, 20.05, "kill"))
    [failure] = fold.failures
    assert failure.detect_ms == 2.0
    assert failure.injected == "fault=kill id=f-kill"
    assert [step.kind for step in failure.steps] == ["fault_injected", "first_signal", "fault_reverted"]


def test_of_two_faults_that_last_the_newer_one_dates_the_failure() -> None:
    fold = FailureFold()
    fold.add(_fault(EventKind.FAULT_INJECTED, 1.0, "delay"))
    fold.add(_fault(EventKind.FAULT_INJECTED, 5.0, "stop"))
    fold.add(TrailEvent(5.3, 0, EventKind.FIRST_SIGNAL, "/md", 1, failure="/md#1", data={"signal": "missed_beats"}))
    assert fold.failures[0].detect_ms == pytest.approx(300.0)


def test_a_signal_sent_by_hand_dates_the_failure_also_where_a_fault_was_there_before() -> None:
    """Before: the kill was timed from a page that had been corrupted seconds earlier."""
    fold = FailureFold()
    fold.add(_fault(EventKind.FAULT_INJECTED, 1.0, "corrupt_page"))
    fold.add(TrailEvent(5.0, 0, EventKind.FAULT_INJECTED, "/md", 1, failure="/md#1", data={"fault": "SIGKILL"}))
    fold.add(TrailEvent(5.002, 0, EventKind.FIRST_SIGNAL, "/md", 1, failure="/md#1", data={"signal": "futex"}))
    assert fold.failures[0].injected == "fault=SIGKILL"
    assert fold.failures[0].detect_ms == pytest.approx(2.0)
