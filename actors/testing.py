"""Doubles for unit tests of actors: a context that records, with scripted calls and a clock that stands still.

context = FakeContext(path="/cell/md")
actor = make(BinanceConnector, {"symbols": ["BTCUSDT"]}, context)
await actor.start(context)
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from loguru import logger

from actors.base import Actor
from actors.context import Message, Subscription
from supervisors.core.clock import Clock
from supervisors.core.errors import ChildDead
from supervisors.core.paths import TreePath

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
    notes: list[Noted] = field(default_factory=list)
    metrics: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    scripted_children: dict[str, Sequence[Mapping[str, object]] | Exception] = field(default_factory=dict)
    calls: list[tuple[str, str, tuple[object, ...]]] = field(default_factory=list)
    subscriptions: list[tuple[str, FakeSubscription]] = field(default_factory=list)
    ready_count: int = 0

    def __post_init__(self) -> None:
        if not self.data_dir:
            self.data_dir = tempfile.mkdtemp(prefix="rayvisor-test-")

    @property
    def log(self) -> "Logger":
        """A logger bound to the path."""
        return logger.bind(path=self.path)

    def ready(self) -> None:
        """Count it."""
        self.ready_count += 1

    def call(
        self, path: str, method: str, *args: object, timeout: float = 3.0, once: bool = False, **kwargs: object
    ) -> Awaitable[object]:
        """Answer as scripted."""
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
        self.calls.append((path, method, args))

    def publish(self, topic: str, payload: bytes) -> None:
        """Record it."""
        self.published.append((topic, payload))

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
        self.metrics[name, frozenset(labels.items())] = value

    def note(self, kind: str, **data: str | int | float | bool) -> None:
        """Record it."""
        self.notes.append(Noted(kind, data))

    def kinds(self) -> list[str]:
        """The kinds of all notes, in order."""
        return [note.kind for note in self.notes]


def make(kind: type[A], config: Mapping[str, object], context: FakeContext) -> A:
    """An actor as the host makes it: config validated, context set, ``start`` not yet called."""
    actor = kind(kind.Config.model_validate(dict(config)))
    actor.ctx = context
    return actor
