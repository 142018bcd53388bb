"""A system that is none, and time that moves only when somebody waits: what runs are carried out on in tests."""

import heapq
from collections.abc import Callable, Sequence
from pathlib import Path

from supervisors.chaos.ground import Answer, Hits
from supervisors.chaos.history import Leftovers
from supervisors.chaos.messages import Event
from supervisors.chaos.systems import Known, PlaceFacts
from supervisors.chaos.verdicts import Invariant, State, Verdict
from supervisors.core.errors import FaultError
from supervisors.faults.request import FaultRequest
from supervisors.spec.compiled import SupervisorPart
from supervisors.testing.clock import ManualClock
from supervisors.trail.events import TrailEvent
from supervisors.trail.status import ChildStatus, StandbyStatus, SupervisorStatus, SystemStatus


class FakeWorks:
    """Jobs are done at once, one after another; waiting moves the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self._inbox: list[Event] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, job: Callable[[], None]) -> None:
        """Something happens at a time."""
        heapq.heappush(self._later, (when, len(self._later), job))

    def sleep(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self._later and self._later[0][0] <= until:
            when, _, job = heapq.heappop(self._later)
            self.clock.move_to(when)
            job()
        self.clock.move_to(until)

    def spawn(self, job: Callable[[], None], name: str) -> None:
        del name
        job()

    def post(self, event: Event) -> None:
        self._inbox.append(event)

    def take(self, timeout: float) -> Event | None:
        if not self._inbox:
            self.sleep(timeout)
        return self._inbox.pop(0) if self._inbox else None


class FakeGround:
    """One worker with a standby, whose health tests decide."""

    def __init__(self, data_dir: Path, works: FakeWorks) -> None:
        self.data_dir = data_dir
        self.known = Known(places={"/": PlaceFacts("/", supervisor=True), "/a": PlaceFacts("/a", standbys=1, rto=2.0)})
        self.aborted = ""
        self.works = works
        self.state = "ready"
        self.standby = "synced"
        self.events: list[TrailEvent] = []
        self.requests: list[FaultRequest] = []
        self.reverts: list[Sequence[str] | None] = []
        self.calls: list[tuple[str, str, list[object]]] = []
        self.stuck: tuple[str, ...] = ()
        self.refuse = False
        self.answer: object = None
        self.life, self.epoch = 0, 0
        self.on_inject: Callable[[], None] = lambda: None

    def inject(self, request: FaultRequest, max_targets: int | None) -> Hits:
        del max_targets
        if self.refuse:
            raise FaultError("nothing runs there", code=9008)
        self.requests.append(request)
        self.on_inject()
        return Hits((f"f-{len(self.requests)}",), (request.path,), self.works.clock.now)

    def revert(self, ids: Sequence[str] | None, why: str) -> tuple[str, ...]:
        del why
        self.reverts.append(ids)
        return self.stuck if ids is None else ()

    def active(self) -> frozenset[str]:
        return frozenset()

    def status(self) -> SystemStatus:
        standbys = [StandbyStatus(2, "n", self.standby, 0.0)]
        child = ChildStatus("/a", "a", state=self.state, pid=1, incarnation=1, standbys=standbys)
        return SystemStatus("t", supervisors=[SupervisorStatus("/", pid=9, children=[child])])

    def call(self, path: str, method: str, args: Sequence[object], timeout: float) -> object:
        del timeout
        self.calls.append((path, method, list(args)))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def ask(self, path: str, method: str, args: Sequence[object], timeout: float) -> Answer:
        return Answer(self.call(path, method, args, timeout), self.life, self.epoch)

    def metrics(self) -> str:
        return "# TYPE restarts counter\n" + 'restarts_total{path="/a"} 3.0\nrestarts_total{path="/b"} 4.0\n'

    def trail(self) -> Sequence[TrailEvent]:
        return list(self.events)

    def verdicts(self) -> Sequence[Verdict]:
        return (Verdict(Invariant.ONE_ACTS, "one acts", State.HELD, 1),)

    def parts(self) -> Sequence[SupervisorPart]:
        return ()

    def leftovers(self) -> Leftovers:
        return Leftovers()
