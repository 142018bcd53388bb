"""The ``Context`` an actor is given: ``actors.context.Context`` over this host's plane, Ray and the goal state."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec
import zmq

from supervisors.core.clock import Clock
from supervisors.core.errors import NotActing
from supervisors.core.paths import TreePath
from supervisors.runtime.calls import Caller, Place
from supervisors.runtime.pubsub import Publisher, SubscriptionStream
from supervisors.signals.messages import EvidenceGiven, Message, Noted, Ready

if TYPE_CHECKING:
    from loguru import Logger

Scalar = str | int | float | bool
#: what others subscribe to who want to know how much this path trades (REC-6)
SIZE_TOPIC = "rayvisor.size_multiplier"


class Journal(Protocol):
    """``actors.context.Journal``."""

    @property
    def sequence(self) -> int: ...
    async def append(self, event: object) -> object: ...
    async def checkpoint(self) -> int: ...


class OutHooks(Protocol):
    """What faults do to what an actor sends; see ``supervisors.runtime.faulthooks``."""

    def call_out(
        self,
        caller: Caller,
        path: str,
        method: str,
        arguments: tuple[tuple[object, ...], dict[str, object]],
        timeout: float,
        once: bool,
    ) -> Awaitable[object]: ...
    def cast_out(
        self, caller: Caller, path: str, method: str, arguments: tuple[tuple[object, ...], dict[str, object]]
    ) -> None: ...
    def publish(
        self, send: Callable[[str, bytes, int | None], None], topic: str, payload: bytes, mark: int | None
    ) -> None: ...


class HostContext:
    """One incarnation's view of the world.

    Args:
        path, incarnation, epoch: its place and life.
        clock: real time.
        log: opens the bound logger.
        data_dir: of the system.
        caller: makes calls.
        resolve: where a path is now.
        ask_children: what the supervisor at a path says of its children.
        publisher: this host's PUB socket.
        zmq_context: for subscriptions.
        report: takes messages for the supervisor; thread-safe.
    """

    def __init__(
        self,
        *,
        path: TreePath,
        incarnation: int,
        epoch: int,
        clock: Clock,
        log: Callable[[], "Logger"],
        data_dir: str,
        caller: Caller,
        resolve: Callable[[str], Awaitable[Place]],
        ask_children: Callable[[str], Awaitable[list[Mapping[str, object]]]],
        publisher: Publisher,
        zmq_context: "zmq.Context[zmq.Socket[bytes]]",
        report: Callable[[Message], None],
    ) -> None:
        self.path = path
        self.incarnation = incarnation
        self.epoch = epoch
        self.clock = clock
        self._log = log
        self.data_dir = data_dir
        #: gauges set since the host last sent them
        self.metrics: dict[str, float] = {}
        self._caller = caller
        self._resolve = resolve
        self._ask_children = ask_children
        #: this host's PUB socket; its gate is shut while the life stands by
        self.publisher = publisher
        self._zmq = zmq_context
        self._report = report
        #: False while this life stands by, and once it is fenced: its outputs go nowhere
        self.acting = True
        self._fenced = False
        self._multiplier = 1.0
        self._journal: Journal | None = None
        self._resized: set[asyncio.Queue[float]] = set()
        #: set while a fault is armed in this process
        self.faults: OutHooks | None = None

    @property
    def log(self) -> "Logger":
        """See ``actors.context.Context``."""
        return self._log()

    @property
    def journal(self) -> "Journal":
        """See ``actors.context.Context``."""
        if self._journal is None:
            raise NotActing(
                f"{self.path} has no journal",
                code=7030,
                fix="it needs `recovery` in the topology and `apply` in its class; a standby has none before it acts",
            )
        return self._journal

    @property
    def size_multiplier(self) -> float:
        """See ``actors.context.Context``."""
        return self._multiplier

    async def size_multipliers(self) -> AsyncIterator[float]:
        """See ``actors.context.Context``."""
        queue: asyncio.Queue[float] = asyncio.Queue()
        self._resized.add(queue)
        try:
            yield self._multiplier
            while True:
                yield await queue.get()
        finally:
            self._resized.discard(queue)

    def evidence(self, name: str, value: float) -> None:
        """See ``actors.context.Context``."""
        self._report(EvidenceGiven(self.path, self.incarnation, name, float(value)))

    # ------------------------------------------------------------ called by the host, in the actor's loop

    def stand_by(self) -> None:
        """This life does not act until it is promoted."""
        self.acting = False
        self.publisher.shut()

    def set_acting(self, incarnation: int, epoch: int) -> None:
        """This life acts from now on: as that incarnation, under that epoch. One that was fenced never does again."""
        if self._fenced:
            return
        self.incarnation, self.epoch = incarnation, epoch
        self.acting = True
        self.publisher.open_gate(incarnation)

    def set_fenced(self) -> None:
        """This life is over, whatever it still does. From any thread."""
        self._fenced = True
        self.acting = False
        self.publisher.open = False

    def set_multiplier(self, multiplier: float) -> None:
        """The size to trade changed."""
        if multiplier != self._multiplier:
            self._multiplier = multiplier
            for queue in self._resized:
                queue.put_nowait(multiplier)
            self.publish(SIZE_TOPIC, repr(multiplier).encode())

    def set_journal(self, journal: "Journal") -> None:
        """The journal of an actor that has one, once it is restored."""
        self._journal = journal

    # ------------------------------------------------------------ what actors call

    def ready(self) -> None:
        """See ``actors.context.Context``."""
        self._report(Ready(self.path, self.incarnation))

    def call(
        self, path: str, method: str, *args: object, timeout: float = 3.0, once: bool = False, **kwargs: object
    ) -> Awaitable[object]:
        """See ``actors.context.Context``."""
        if not self.acting:
            raise NotActing(
                f"{self.path} does not act: its call of {path}.{method} goes nowhere",
                code=7006,
                fix="look at ctx.acting before you call; `promoted` is where a standby begins",
            )
        if self.faults is not None:
            return self.faults.call_out(self._caller, path, method, (args, kwargs), timeout, once)
        return self._caller.call(path, method, args, kwargs, timeout, once)

    def cast(self, path: str, method: str, *args: object, **kwargs: object) -> None:
        """See ``actors.context.Context``."""
        if not self.acting:
            return
        if self.faults is not None:
            self.faults.cast_out(self._caller, path, method, (args, kwargs))
        else:
            self._caller.cast(path, method, args, kwargs)

    def publish(self, topic: str, payload: bytes, mark: int | None = None) -> None:
        """See ``actors.context.Context``."""
        if self.faults is not None:
            self.faults.publish(self.publisher.publish, topic, payload, mark)
        else:
            self.publisher.publish(topic, payload, mark)

    def subscribe(self, path: str, topic: str = "") -> SubscriptionStream:
        """See ``actors.context.Context``."""
        return SubscriptionStream(self._zmq, path, topic, self._resolve)

    async def children(self, path: str) -> list[Mapping[str, object]]:
        """See ``actors.context.Context``."""
        return await self._ask_children(path)

    def metric(self, name: str, value: float, **labels: str) -> None:
        """See ``actors.context.Context``."""
        if not self.acting:
            return
        key = name
        if labels:
            key += "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}"
        self.metrics[key] = float(value)

    def note(self, kind: str, **data: Scalar) -> None:
        """See ``actors.context.Context``."""
        if self.acting:
            self._report(Noted(self.path, self.incarnation, f"actor_{kind}", data))


async def children_of(body: bytes) -> list[Mapping[str, object]]:
    """The children in an encoded ``SupervisorStatus``."""
    await asyncio.sleep(0)
    status = msgspec.json.decode(body, type=dict[str, object])
    children = status.get("children", [])
    return msgspec.convert(children, list[Mapping[str, object]])
