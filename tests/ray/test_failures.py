"""Every way a child can end: what is seen, what is decided, and that nobody else is touched."""

import signal
import time
from dataclasses import dataclass

import pytest

from supervisors.core.reasons import ExitKind
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.failures import FailureFold, Outcome

from .harness import Running, gone, in_order, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

_VICTIM = "/one/victim"
#: what the trail of a failure that was healed says, in this order
_COMPLETE = (
    EventKind.FIRST_SIGNAL,
    EventKind.VERDICT,
    EventKind.CHILD_EXITED,
    EventKind.RESTART_DECIDED,
    EventKind.CHILD_STARTING,
    EventKind.CHILD_READY,
    EventKind.RECOVERED,
)


@dataclass(frozen=True)
class Fault:
    method: str
    kind: ExitKind
    verdict: str
    signals: tuple[str, ...]
    arguments: tuple[object, ...] = ()
    says: str = ""
    within: float = 30.0


_DEATH = ("futex", "pidfd", "socket")
#: the stack is written first, which may take longer than three beats where the machine is busy
_SLOW_DEATH = (*_DEATH, "missed_beats")
FAULTS = {
    "SIGKILL": Fault("kill_self", ExitKind.KILLED, "dead", _DEATH, (int(signal.SIGKILL),)),
    "exception": Fault("fail", ExitKind.CRASH, "dead", ("exit_notice",), says="ValueError: the book is crossed"),
    "SIGSTOP": Fault("kill_self", ExitKind.HUNG, "hung", ("missed_beats",), (int(signal.SIGSTOP),)),
    "blocked loop": Fault("block", ExitKind.HUNG, "hung", ("stalled_loop",), (60,)),
    "os._exit": Fault("exit_hard", ExitKind.KILLED, "dead", _DEATH),
    "segfault": Fault("segfault", ExitKind.CRASH, "dead", _SLOW_DEATH, says="Segmentation fault"),
    "SIGTERM": Fault("kill_self", ExitKind.KILLED, "dead", _DEATH, (int(signal.SIGTERM),)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failed_child_is_replaced_and_its_siblings_go_on(healthy: Running, name: str) -> None:
    fault = FAULTS[name]
    before, others = healthy.ready(_VICTIM), healthy.pids()
    others.pop(_VICTIM)
    since = time.monotonic()
    healthy.end(_VICTIM, fault.method, *fault.arguments)

    after = healthy.ready(_VICTIM, before.incarnation)
    recovered = healthy.event(EventKind.RECOVERED, _VICTIM, since)

    until(lambda: gone(before.pid), "its process is gone")
    assert after.incarnation == before.incarnation + 1
    assert after.epoch > before.epoch
    now = healthy.pids()
    assert {path: now.get(path) for path in others} == others
    failure = f"{_VICTIM}#{before.incarnation}"
    events = [event for event in healthy.trail(_VICTIM, since) if event.failure == failure]
    assert in_order([event.kind for event in events], _COMPLETE), [event.kind for event in events]
    exited = _one(events, EventKind.CHILD_EXITED)
    assert exited.reason is not None
    assert exited.reason.kind is fault.kind
    assert fault.says in exited.reason.message
    verdicts = [event.data["verdict"] for event in events if event.kind == EventKind.VERDICT]
    assert verdicts[-1] == fault.verdict
    assert _one(events, EventKind.FIRST_SIGNAL).data["signal"] in fault.signals
    assert recovered.t - _one(events, EventKind.FIRST_SIGNAL).t < fault.within
    fold = FailureFold()
    fold.add_all(healthy.trail(since=since))
    record = next(one for one in fold.failures if one.id == failure)
    assert record.outcome is Outcome.HEALED
    assert record.detect_ms is not None


def _one(events: list[TrailEvent], kind: EventKind) -> TrailEvent:
    found = [event for event in events if event.kind == kind]
    assert len(found) == 1, [event.kind for event in events]
    return found[0]


def test_a_blocked_loop_shorter_than_hang_after_is_left_alone(healthy: Running) -> None:
    before = healthy.ready(_VICTIM)
    healthy.ask(_VICTIM, "block", 0.5)
    # the call waits for the loop: it is answered once the block is over
    assert healthy.ask(_VICTIM, "wait", 0.2) == before.incarnation
    assert healthy.ready(_VICTIM).pid == before.pid


def test_a_permanent_child_that_returns_is_restarted(healthy: Running) -> None:
    before, since = healthy.ready(_VICTIM), time.monotonic()
    healthy.end(_VICTIM, "finish")
    healthy.ready(_VICTIM, before.incarnation)
    exited = healthy.event(EventKind.CHILD_EXITED, _VICTIM, since)
    assert exited.reason is not None
    assert exited.reason.kind is ExitKind.NORMAL
    assert EventKind.FIRST_SIGNAL not in healthy.kinds(_VICTIM, since), "a normal end is no failure"


def test_a_transient_child_restarts_after_a_crash_and_rests_after_a_return(healthy: Running) -> None:
    path = "/one/transient"
    before = healthy.ready(path)
    healthy.end(path, "fail")
    after = healthy.ready(path, before.incarnation)
    since = time.monotonic()
    healthy.end(path, "finish")
    until(lambda: (found := healthy.find(path)) and found.state == "stopped", f"{path} rests")
    until(lambda: gone(after.pid), "its process is gone")
    assert EventKind.CHILD_STARTING not in healthy.kinds(path, since)


@pytest.mark.parametrize(("path", "method"), [("/one/temporary", "fail"), ("/one/brief", "finish")])
def test_a_temporary_child_is_never_restarted(healthy: Running, path: str, method: str) -> None:
    before, since = healthy.ready(path), time.monotonic()
    healthy.end(path, method)
    until(lambda: not healthy.is_known(path), f"{path} is forgotten")
    until(lambda: gone(before.pid), "its process is gone")
    assert EventKind.CHILD_STARTING not in healthy.kinds(path, since)
