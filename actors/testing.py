"""Doubles for unit tests of actors: a context that records, with scripted calls and a clock that stands still.

context = FakeContext(path="/cell/md")
actor = make(BinanceConnector, {"symbols": ["BTCUSDT"]}, context)
await actor.start(context)

An actor that keeps its state by events is given a journal in memory:

journal = FakeJournal(actor)
await actor.ctx.journal.append(Deposited(5))
"""

import asyncio
import inspect
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec
from loguru import logger

from actors.base import Actor, Journalled, Migrating
from actors.context import Journal, Message, Subscription
from supervisors.core.clock import Clock
from supervisors.core.errors import ChildDead, NotActing, RecoveryError
from supervisors.core.paths import TreePath
from supervisors.faults.catalogue import Catalogue
from supervisors.faults.order import FaultOrder, Scalar

if TYPE_CHECKING:
    from loguru import Logger

A = TypeVar("A", bound=Actor)


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def utc_ns(self) -> int:
        """Nanoseconds since the epoch: 14 November 2023 and on."""
        return int((1_700_000_000 + self.now) * 1e9)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` go by."""
        self.now += seconds


@dataclass(frozen=True)
class FakeMessage:
    """One published item."""

    topic: str
    payload: bytes
    incarnation: int = 1


class FakeSubscription:
    """A stream the test feeds."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.closed = False
        self.queue: asyncio.Queue[Message] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            yield await self.queue.get()

    async def get(self) -> Message:
        """The next item."""
        return await self.queue.get()

    def close(self) -> None:
        """End it."""
        self.closed = True


@dataclass(frozen=True)
class Noted:
    """One ``ctx.note``."""

    kind: str
    data: Mapping[str, str | int | float | bool]


#: what a scripted call answers: a value, an exception to raise, or a function of the arguments
Answer = Callable[..., object] | BaseException | object


_PATH = TreePath("/test")


@dataclass
class FakeContext:
    """A ``Context`` that records. Satisfies ``actors.context.Context``.

    Attributes:
        published: topic and payload of each item, in order.
        marks: the mark of each of them, in the same order; None where it had none.
        acting: set it False to see the actor as a standby: what it publishes, notes or casts is not recorded, a call
            raises ``NotActing``.
        size_multiplier: the present one; ``resize`` changes it and tells ``size_multipliers``.
        fake_journal: what ``journal`` gives; None raises ``NotActing``. ``FakeJournal(actor)`` sets it.
        data_dir: empty: a temporary folder, which goes with the context.
        given: evidence given, by name.
        notes: in order.
        metrics: the last value per name and labels.
        answers: scripted answers by path and method; a call to any other raises ``ChildDead``.
        scripted_children: what ``children(path)`` answers.
        calls: each call made: path, method, arguments.
        ready_count: how often ``ready`` was called.
    """

    path: TreePath = _PATH
    incarnation: int = 1
    epoch: int = 1
    clock: Clock = field(default_factory=ManualClock)
    data_dir: str = ""
    published: list[tuple[str, bytes]] = field(default_factory=list)
    marks: list[int | None] = field(default_factory=list)
    acting: bool = True
    size_multiplier: float = 1.0
    fake_journal: Journal | None = None
    given: dict[str, float] = field(default_factory=dict)
    notes: list[Noted] = field(default_factory=list)
    metrics: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    scripted_children: dict[str, Sequence[Mapping[str, object]] | Exception] = field(default_factory=dict)
    calls: list[tuple[str, str, tuple[object, ...]]] = field(default_factory=list)
    subscriptions: list[tuple[str, FakeSubscription]] = field(default_factory=list)
    ready_count: int = 0
    _sizes: list[asyncio.Queue[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.data_dir:
            self.data_dir = tempfile.mkdtemp(prefix="rayvisor-test-")
            weakref.finalize(self, shutil.rmtree, self.data_dir, ignore_errors=True)

    @property
    def log(self) -> "Logger":
        """A logger bound to the path."""
        return logger.bind(path=self.path)

    @property
    def journal(self) -> Journal:
        """``fake_journal``.

        Raises:
            NotActing: there is none.
        """
        if self.fake_journal is None:
            raise NotActing(f"{self.path}: no journal", fix="FakeJournal(actor) gives it one")
        return self.fake_journal

    async def size_multipliers(self) -> AsyncIterator[float]:
        """The multiplier now, then each that ``resize`` sets."""
        queue: asyncio.Queue[float] = asyncio.Queue()
        self._sizes.append(queue)
        yield self.size_multiplier
        while True:
            yield await queue.get()

    def resize(self, multiplier: float) -> None:
        """Change the size multiplier as a recovery does."""
        self.size_multiplier = multiplier
        for queue in self._sizes:
            queue.put_nowait(multiplier)

    def evidence(self, name: str, value: float) -> None:
        """Keep the last value."""
        if self.acting:
            self.given[name] = value

    def ready(self) -> None:
        """Count it."""
        self.ready_count += 1

    def call(
        self, path: str, method: str, *args: object, timeout: float = 3.0, once: bool = False, **kwargs: object
    ) -> Awaitable[object]:
        """Answer as scripted.

        Raises:
            NotActing: ``acting`` is False.
        """
        if not self.acting:
            raise NotActing(f"{self.path} calls {path}.{method}, but it is a standby")
        self.calls.append((path, method, args))
        return self._answer(path, method, args, kwargs)

    async def _answer(self, path: str, method: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if (path, method) not in self.answers:
            raise ChildDead(f"{path} has no scripted answer to {method}")
        answer = self.answers[path, method]
        if isinstance(answer, BaseException):
            raise answer
        return answer(*args, **kwargs) if callable(answer) else answer

    def cast(self, path: str, method: str, *args: object, **kwargs: object) -> None:
        """Record it as a call."""
        if self.acting:
            self.calls.append((path, method, args))

    def publish(self, topic: str, payload: bytes, mark: int | None = None) -> None:
        """Record it."""
        if self.acting:
            self.published.append((topic, payload))
            self.marks.append(mark)

    def subscribe(self, path: str, topic: str = "") -> Subscription:
        """A stream that ``feed`` fills."""
        subscription = FakeSubscription(topic)
        self.subscriptions.append((path, subscription))
        return subscription

    def feed(self, path: str, topic: str, payload: bytes = b"", incarnation: int = 1) -> None:
        """Let the child at ``path`` publish one item."""
        for at, subscription in self.subscriptions:
            if at == path and topic.startswith(subscription.topic) and not subscription.closed:
                subscription.queue.put_nowait(FakeMessage(topic, payload, incarnation))

    async def children(self, path: str) -> list[Mapping[str, object]]:
        """What was scripted (an exception is raised); none otherwise."""
        answer = self.scripted_children.get(path, ())
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def metric(self, name: str, value: float, **labels: str) -> None:
        """Keep the last value."""
        if self.acting:
            self.metrics[name, frozenset(labels.items())] = value

    def note(self, kind: str, **data: str | int | float | bool) -> None:
        """Record it."""
        if self.acting:
            self.notes.append(Noted(kind, data))

    def kinds(self) -> list[str]:
        """The kinds of all notes, in order."""
        return [note.kind for note in self.notes]


@dataclass(frozen=True)
class FakeCheckpoint:
    """What ``FakeJournal.checkpoint`` kept: the state's bytes, where they stand, and their ``STATE_VERSION``."""

    sequence: int
    version: int
    body: bytes


class FakeJournal:
    """A journal in memory: ``append`` applies at once; events and states go through msgspec as in the real one.

    It becomes the journal of the actor's ``FakeContext``.

    Args:
        actor: has ``apply``, ``snapshot`` and ``restore``.

    Attributes:
        records: the bytes of each event, in order; sequence 1 is the first.
        checkpoints: oldest first.

    Raises:
        RecoveryError: the actor lacks one of the three, or one is a coroutine function.
    """

    def __init__(self, actor: Actor) -> None:
        self.records: list[bytes] = []
        self.checkpoints: list[FakeCheckpoint] = []
        self._failures: deque[BaseException] = deque()
        self._follow(actor)

    def _follow(self, actor: Actor) -> None:
        name = type(actor).__name__
        if not isinstance(actor, Journalled):
            raise RecoveryError(f"{name} journals nothing", fix="give it apply, snapshot and restore")
        for method in (actor.apply, actor.snapshot, actor.restore):
            if inspect.iscoroutinefunction(method):
                raise RecoveryError(f"{name}.{method.__name__} is async", fix="make it a plain def")
        context = actor.ctx
        if isinstance(context, FakeContext):
            context.fake_journal = self
        self._actor: Journalled[object, object] = actor
        self._context = context
        self._kind = type(actor)

    @property
    def sequence(self) -> int:
        """Sequence of the last event; 0 before the first."""
        return len(self.records)

    @property
    def events(self) -> list[object]:
        """All events, decoded anew."""
        return [msgspec.msgpack.decode(body, type=self._kind.Event) for body in self.records]

    def fail_next(self, *errors: BaseException) -> None:
        """Let the next appends and checkpoints raise these, in order; nothing is written or applied then."""
        self._failures.extend(errors)

    async def append(self, event: object) -> object:
        """Write ``event`` down and apply it; gives what ``apply`` gave.

        Raises:
            NotActing: the context does not act.
            Exception: what ``fail_next`` or ``apply`` said; after the latter the event stands in the journal, as in the
                real one, which ends such a life.
        """
        self._may_go_on()
        body = msgspec.msgpack.encode(event)
        decoded: object = msgspec.msgpack.decode(body, type=self._kind.Event)
        self.records.append(body)
        return self._actor.apply(decoded)

    async def checkpoint(self) -> int:
        """Keep the state; gives the sequence it stands at."""
        self._may_go_on()
        body = msgspec.msgpack.encode(self._actor.snapshot(), order="deterministic")
        self.checkpoints.append(FakeCheckpoint(self.sequence, self._kind.STATE_VERSION, body))
        return self.sequence

    def recover(self, successor: Actor, *, warm: bool = True) -> int:
        """Bring another object to the journalled state, as a restart does; it has the journal from then on.

        Args:
            successor: made, not yet started; may be of a newer class.
            warm: begin with the newest checkpoint (one of an older version goes through ``migrate``); else all events.

        Returns:
            How many events were applied.

        Raises:
            RecoveryError: there is no ``migrate`` for the checkpoint's version.
        """
        self._follow(successor)
        done = 0
        if warm and self.checkpoints:
            newest = self.checkpoints[-1]
            self._actor.restore(self._state(newest, successor))
            done = newest.sequence
        for body in self.records[done:]:
            self._actor.apply(msgspec.msgpack.decode(body, type=self._kind.Event))
        return len(self.records) - done

    def _state(self, checkpoint: FakeCheckpoint, actor: Actor) -> object:
        found: object
        if checkpoint.version == self._kind.STATE_VERSION:
            found = msgspec.msgpack.decode(checkpoint.body, type=self._kind.State)
            return found
        if checkpoint.version > self._kind.STATE_VERSION or not isinstance(actor, Migrating):
            raise RecoveryError(
                f"state of version {checkpoint.version}, {self._kind.__name__} has {self._kind.STATE_VERSION}",
                fix="give the class migrate(version, state)",
            )
        found = msgspec.convert(
            actor.migrate(checkpoint.version, msgspec.msgpack.decode(checkpoint.body)), self._kind.State
        )
        return found

    def _may_go_on(self) -> None:
        if not self._context.acting:
            raise NotActing(f"{self._context.path}: a standby appends nothing")
        if self._failures:
            raise self._failures.popleft()


def make(kind: type[A], config: Mapping[str, object], context: FakeContext) -> A:
    """An actor as the host makes it: config validated, context set, ``start`` not yet called."""
    actor = kind(kind.Config.model_validate(dict(config)))
    actor.ctx = context
    return actor


@asynccontextmanager
async def armed(actor: Actor, fault: str, **params: Scalar) -> AsyncIterator[FaultOrder]:
    """Have one of the actor's own faults (``Faults``) armed while the block lasts, as its host would.

    Args:
        actor: with its context set.
        fault: name of the kind.
        params: as people write them, e.g. ``delay="200ms"``.

    Raises:
        FaultError: the actor has no such fault (9002), or a parameter is wrong (9003-9005).
    """
    kind = Catalogue(actor.Faults).find(fault)
    order = FaultOrder(f"f-{fault}", fault, str(actor.ctx.path), kind.read(params), kind.seconds, kind.hooks)
    await actor.fault_armed(order)
    try:
        yield order
    finally:
        await actor.fault_ended(order.id)


__all__ = ["FakeContext", "FakeJournal", "FakeMessage", "FakeSubscription", "ManualClock", "Noted", "armed", "make"]
