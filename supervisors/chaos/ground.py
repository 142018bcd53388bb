"""What a run stands on: the ports of a system, and of the time and threads of the runner."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from supervisors.chaos.history import Leftovers
from supervisors.chaos.invariants import Verdict
from supervisors.chaos.messages import Event
from supervisors.chaos.systems import Known
from supervisors.core.clock import Clock
from supervisors.faults.request import FaultRequest
from supervisors.spec.compiled import SupervisorPart
from supervisors.trail.events import TrailEvent
from supervisors.trail.status import SystemStatus


class Hits(msgspec.Struct, frozen=True):
    """A fault that was injected: ids to revert it by, and whom it hits."""

    ids: tuple[str, ...]
    targets: tuple[str, ...]
    at: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """What a call came to: its value, and the life that gave it with its epoch; 0: not known."""

    value: object = None
    incarnation: int = 0
    epoch: int = 0


class Ground(Protocol):
    """A running system, as a run needs it. Every method may be called from several threads at once."""

    @property
    def data_dir(self) -> Path:
        """Of the system."""
        ...

    @property
    def known(self) -> Known:
        """What is known of the system."""
        ...

    @property
    def aborted(self) -> str:
        """Who ordered an emergency stop, empty when nobody did."""
        ...

    def inject(self, request: FaultRequest, max_targets: int | None) -> Hits:
        """Inject a fault; at most so many targets under fault at once, of this run.

        Raises:
            FaultError: it was refused; nothing of it acts.
        """
        ...

    def revert(self, ids: Sequence[str] | None, why: str) -> tuple[str, ...]:
        """Revert faults by id, None: all of this run; the ids of those that could not be undone."""
        ...

    def active(self) -> frozenset[str]:
        """Ids (as in ``Hits``) of this run's faults that are not over yet."""
        ...

    def status(self) -> SystemStatus:
        """The whole system now."""
        ...

    def call(self, path: str, method: str, args: Sequence[object], timeout: float) -> object:
        """Call an actor.

        Raises:
            Exception: what the call, or the actor's method, raised.
        """
        ...

    def ask(self, path: str, method: str, args: Sequence[object], timeout: float) -> Answer:
        """Call an actor, and learn which life of it answered.

        Raises:
            Exception: as ``call``.
        """
        ...

    def metrics(self) -> str:
        """What ``/metrics`` serves."""
        ...

    def trail(self) -> Sequence[TrailEvent]:
        """All events since the run began."""
        ...

    def verdicts(self) -> Sequence[Verdict]:
        """What the history checker says of the run so far."""
        ...

    def parts(self) -> Sequence[SupervisorPart]:
        """The compiled supervisors."""
        ...

    def leftovers(self) -> Leftovers:
        """What is left of faults and of processes that nothing accounts for."""
        ...


class Works(Protocol):
    """Time and threads of a runner."""

    @property
    def clock(self) -> Clock:
        """The machine's."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass in this thread."""
        ...

    def spawn(self, job: Callable[[], None], name: str) -> None:
        """Run ``job`` beside."""
        ...

    def post(self, event: Event) -> None:
        """Hand an event to the runner. From any thread."""
        ...

    def take(self, timeout: float) -> Event | None:
        """The next event, or None when there was none for ``timeout`` seconds."""
        ...
