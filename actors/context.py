"""What a running actor is given: its place in the tree and the ways out of its process.

The supervisor's host builds the real one; ``actors.testing.FakeContext`` is the double for unit tests.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from loguru import Logger

from supervisors.core.clock import Clock
from supervisors.core.paths import TreePath

T = TypeVar("T")


class Message(Protocol):
    """One published item as a subscriber sees it."""

    @property
    def topic(self) -> str:
        """The topic it was published under."""
        ...

    @property
    def payload(self) -> bytes:
        """The bytes the publisher gave."""
        ...

    @property
    def incarnation(self) -> int:
        """The publisher's incarnation when it published."""
        ...


class Subscription(Protocol):
    """An endless stream of one publisher's items; goes on across the publisher's restarts."""

    def __aiter__(self) -> AsyncIterator[Message]: ...

    async def get(self) -> Message:
        """The next item; waits for as long as it takes."""
        ...

    def close(self) -> None:
        """End the stream and free its socket."""
        ...


class Journal(Protocol):
    """The durable record of an actor's state changes."""

    @property
    def sequence(self) -> int:
        """Sequence of the last event applied; 0 before the first."""
        ...

    async def append(self, event: object) -> object:
        """Write ``event``, have it acknowledged as the topology asks (``ack``), apply it; gives what ``apply`` gave.

        ``event`` is anything msgspec encodes; ``apply`` sees it decoded as the class's ``Event``.

        Raises:
            JournalFailed: it was not made durable, acknowledged or applied; it may be tried again.
            Fenced: a newer life holds this place.
            NotActing: this life is a standby, or its lease ran out.
        """
        ...

    async def checkpoint(self) -> int:
        """Take a checkpoint now; gives the sequence it stands at.

        Raises:
            CheckpointError: it could not be written.
        """
        ...


class Context(Protocol):
    """An actor's view of the world. One per incarnation; never shared between processes."""

    @property
    def path(self) -> TreePath:
        """Where in the tree this actor stands, e.g. ``/cell/md``."""
        ...

    @property
    def incarnation(self) -> int:
        """How many lives this path has had, this one included (1 is the first)."""
        ...

    @property
    def epoch(self) -> int:
        """The fencing token of this life: greater than that of every earlier one."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock to use for anything that is timed."""
        ...

    @property
    def log(self) -> "Logger":
        """A loguru logger bound to path, incarnation and epoch."""
        ...

    @property
    def data_dir(self) -> str:
        """The system's data directory (an absolute path on this node)."""
        ...

    @property
    def journal(self) -> Journal:
        """The journal of an actor that has ``apply``.

        Raises:
            NotActing: this actor journals nothing, or is not restored yet.
        """
        ...

    @property
    def acting(self) -> bool:
        """False while this life is a standby, and once it is fenced: what it publishes, calls or notes goes nowhere."""
        ...

    @property
    def size_multiplier(self) -> float:
        """How much of the normal size to trade, 0.0 to 1.0, while a recovery is ramped up (REC-6)."""
        ...

    def size_multipliers(self) -> AsyncIterator[float]:
        """The multiplier now, then each change of it."""
        ...

    def evidence(self, name: str, value: float) -> None:
        """Give evidence for recovery decisions of the whole system: ``volatility_ratio``, ``market_open``,
        ``corruption_suspected`` (about this path).
        """
        ...

    def ready(self) -> None:
        """Say that this actor is ready, where the topology gives it a ``ready_timeout`` (else ready = started)."""
        ...

    def call(
        self, path: str, method: str, *args: object, timeout: float = 3.0, once: bool = False, **kwargs: object
    ) -> Awaitable[object]:
        """Call a method of the child at ``path``, whichever incarnation of it lives (SUP-9).

        A child that is unavailable is tried again and a dead one's next incarnation is waited for, both within
        ``timeout`` seconds (3 s: GRD-2, internal). With ``once`` a call that its target may already have begun
        is not repeated.

        Raises:
            CallTimeout: no answer within ``timeout``.
            ChildUnavailable: it could not be reached within ``timeout``.
            ChildDead: no incarnation came within ``timeout``, or none will come.
            OutcomeUnknown: with ``once``, the child died while it had the call.
        """
        ...

    def cast(self, path: str, method: str, *args: object, **kwargs: object) -> None:
        """Call a method and neither wait for its answer nor learn whether it arrived."""
        ...

    def publish(self, topic: str, payload: bytes, mark: int | None = None) -> None:
        """Send one item to all who subscribe to this path and topic; never blocks, drops for a slow reader.

        ``mark``: the item's place in its topic's order as the outside world numbers it (a trade id, an update id),
        growing. A live standby that is promoted uses it to go on exactly where its primary ended.
        """
        ...

    def subscribe(self, path: str, topic: str = "") -> Subscription:
        """Receive what the child at ``path`` publishes under topics that begin with ``topic``."""
        ...

    async def children(self, path: str) -> list[Mapping[str, object]]:
        """What the supervisor at ``path`` says of its children: id, state, incarnation, restarts, beat_age, ..."""
        ...

    def metric(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge that the node's metrics endpoint exports as ``rayvisor_actor_<name>`` with this path."""
        ...

    def note(self, kind: str, **data: str | int | float | bool) -> None:
        """Put an event of this actor's own on the trail (kind becomes ``actor_<kind>``)."""
        ...
