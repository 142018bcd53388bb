"""The course of one injected fault, as it is shown: injected, first signal, verdict, decided, recovered, reverted."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from supervisors.core.errors import LaunchError
from supervisors.faults.order import Hook
from supervisors.faults.request import FaultRecord, FaultRequest, RecordState
from supervisors.runtime.injecting import Injection, Injector
from supervisors.runtime.observer import Observer
from supervisors.signals.proc import pid_alive
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.failures import describe
from supervisors.trail.reader import Follower
from supervisors.trail.status import LOST, READY, RUNNING, ChildStatus, SystemStatus

#: seconds a target has to be healthy again once the fault is over
HEAL = 60.0
_LOOK = 0.25
_LAST = 1.0
_SHOWN = frozenset(
    {
        EventKind.FIRST_SIGNAL,
        EventKind.VERDICT,
        EventKind.CHILD_EXITED,
        EventKind.RESTART_DECIDED,
        EventKind.RECOVERY_DECIDED,
        EventKind.CHILD_HELD,
        EventKind.RECOVERY_HELD,
        EventKind.GAVE_UP,
        EventKind.ESCALATED,
        EventKind.PROMOTED,
        EventKind.CHILD_READY,
        EventKind.RECOVERED,
        EventKind.SUPERVISOR_ADOPTED,
        EventKind.FAULT_FIRED,
        EventKind.FAULT_REVERTED,
    }
)


class Seen(msgspec.Struct, frozen=True):
    """One event of the course, milliseconds after the fault acted."""

    ms: float
    kind: str
    path: str
    text: str


class Ended(msgspec.Struct, frozen=True):
    """How one target's fault ended."""

    id: str
    path: str
    ok: bool
    by: str
    why: str


class Result(msgspec.Struct, frozen=True):
    """The whole course: ``not_healed`` says of each target that is not healthy how it is.

    ``acted``: False when the fault waited for an occasion that never came.
    """

    id: str
    fault: str
    targets: tuple[str, ...]
    injected_at: float
    arm_ms: float
    events: list[Seen]
    ended: list[Ended]
    reverted: bool
    not_healed: dict[str, str]
    acted: bool = True


class Course:
    """Injects one fault and follows it.

    Args:
        folder: the data directory.
        injector: that injects it.
        said: told of each thing that happens, as a line.
    """

    def __init__(self, folder: Path, injector: Injector, said: Callable[[str], None]) -> None:
        self._injector = injector
        self._said = said
        self._observer = Observer(folder)
        self._follower = Follower(folder / "trail", from_start=False)
        self._injection: Injection | None = None
        self._events: list[Seen] = []
        self._records: list[FaultRecord] = []
        self._not_healed: dict[str, str] = {}

    def close(self) -> None:
        """Let go of the system."""
        self._follower.close()
        self._observer.close()

    def begin(self, request: FaultRequest) -> Injection:
        """Inject it.

        Raises:
            FaultError: it was refused.
        """
        injection = self._injection = self._injector.inject(request)
        self._records = list(injection.records)
        self._said(f"injected {injection.kind} ({injection.id}) at {', '.join(injection.targets)}")
        return injection

    def watch(self) -> Result:
        """Follow it until it is over and its targets are healthy, or are not to be."""
        assert self._injection is not None
        over_at = 0.0
        while True:
            self._show()
            self._records = self._injector.wait_over(self._injection, _LOOK)
            if not all(record.ended for record in self._records):
                continue
            over_at = over_at or time.monotonic()
            self._not_healed, final = self._look()
            if not self._not_healed or final or time.monotonic() > over_at + HEAL:
                break
            time.sleep(0.05)
        self._last_words()
        return self.result()

    def _last_words(self) -> None:
        """A record is closed a moment before the trail is told."""
        deadline = time.monotonic() + _LAST
        while time.monotonic() < deadline:
            self._show()
            if sum(one.kind == EventKind.FAULT_REVERTED for one in self._events) >= len(self._records):
                return
            time.sleep(0.01)

    def result(self) -> Result:
        """As far as it is known."""
        injection = self._injection
        assert injection is not None
        ended = [
            Ended(one.order.id, one.order.path, one.state is RecordState.REVERTED, one.by, one.why)
            for one in self._records
        ]
        return Result(
            id=injection.id,
            fault=injection.kind,
            targets=injection.targets,
            injected_at=injection.injected_at,
            arm_ms=round(injection.arm_ms, 3),
            events=self._events,
            ended=ended,
            reverted=all(one.ok for one in ended),
            not_healed=self._not_healed,
            acted=not self._waits() or any(one.kind != EventKind.FAULT_REVERTED for one in self._events),
        )

    def _waits(self) -> bool:
        """True of a fault that acts on an occasion, which its process then tells of."""
        hooks = {hook for one in self._records for hook in one.order.hooks}
        return bool(hooks) and not hooks & {Hook.NOW, Hook.RUN, Hook.BEATS, Hook.CLOCK}

    # ------------------------------------------------------------ the trail

    def _show(self) -> None:
        assert self._injection is not None
        while events := self._follower.poll():
            for one in events:
                event = one.event
                if event.kind in _SHOWN and event.t >= self._injection.injected_at and self._is_about(event):
                    self._add(event)

    def _is_about(self, event: TrailEvent) -> bool:
        assert self._injection is not None
        if event.kind in (EventKind.FAULT_FIRED, EventKind.FAULT_REVERTED):
            name = str(event.data.get("id", ""))
            return name == self._injection.id or name.startswith(f"{self._injection.id}.")
        return event.path in self._injection.targets

    def _add(self, event: TrailEvent) -> None:
        assert self._injection is not None
        ms = (event.t - self._injection.injected_at) * 1000
        text = _words(event)
        self._events.append(Seen(round(ms, 3), event.kind, event.path, text))
        life = f"#{event.incarnation}" if event.incarnation else ""
        self._said(f"+{ms:9.1f} ms  {event.kind.replace('_', ' '):<17} {event.path}{life}  {text}".rstrip())

    # ------------------------------------------------------------ health

    def _look(self) -> tuple[dict[str, str], bool]:
        """What is not healthy, and whether waiting on is of no use."""
        try:
            status = self._observer.status()
        except LaunchError as error:
            return dict.fromkeys(self._injection.targets if self._injection else (), str(error)), False
        found: dict[str, str] = {}
        final = False
        for record in self._records:
            how = _health(record, status)
            if how:
                found[record.order.path] = how
                final = final or how in LOST
        return found, final


def _health(record: FaultRecord, status: SystemStatus) -> str:
    """How a target is, empty when it is well: one that was killed is not before a later life is ready."""
    path, hit = record.order.path, record.hit
    gone = hit.local and bool(hit.pid) and not pid_alive(hit.pid, hit.start_time)
    for supervisor in status.supervisors:
        if supervisor.path == path:
            if supervisor.state != RUNNING:
                return supervisor.state
            return "its end was not seen yet" if gone and supervisor.pid == hit.pid else ""
        for child in supervisor.children:
            if child.path == path and child.type == "worker":
                return _child(child, record, gone=gone)
    return "not answering"


def _child(child: ChildStatus, record: FaultRecord, *, gone: bool) -> str:
    hit = record.hit
    if hit.standby:
        if gone and any(standby.pid == hit.pid for standby in child.standbys):
            return "the end of its standby was not seen yet"
        if not child.standbys:
            return "it has no standby"
        return next(
            (f"its standby is {one.state}" for one in child.standbys if one.state not in ("synced", "live")), ""
        )
    if child.state != READY:
        return child.state
    return "its end was not seen yet" if gone and child.pid == hit.pid else ""


def _words(event: TrailEvent) -> str:
    """What matters of an event to somebody who looks on."""
    data = event.data
    match event.kind:
        case EventKind.FIRST_SIGNAL:
            return str(data.get("signal", ""))
        case EventKind.VERDICT:
            return str(data.get("verdict", ""))
        case EventKind.RECOVERY_DECIDED:
            return f"{data.get('rung', '')}: {data.get('because', '')}"
        case EventKind.FAULT_REVERTED:
            words = "reverted" if data.get("ok") else "not reverted"
            return f"{words} by {data.get('by', '')}: {data.get('why', '')}"
        case EventKind.RECOVERED:
            return f"in {data.get('total_ms', '?')} ms"
        case EventKind.FAULT_FIRED:
            return ""
        case _:
            return describe(event).split("\n", 1)[0]
