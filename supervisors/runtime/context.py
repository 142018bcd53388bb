"""The ``Context`` an actor is given: ``actors.context.Context`` over this host's plane, Ray and the goal state."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
import zmq

from supervisors.core.clock import Clock
from supervisors.core.paths import TreePath
from supervisors.runtime.calls import Caller, Place
from supervisors.runtime.pubsub import Publisher, SubscriptionStream
from supervisors.signals.messages import Message, Noted, Ready

if TYPE_CHECKING:
    from loguru import Logger

Scalar = str | int | float | bool


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
        self._publisher = publisher
        self._zmq = zmq_context
        self._report = report

    @property
    def log(self) -> "Logger":
        """See ``actors.context.Context``."""
        return self._log()

    def ready(self) -> None:
        """See ``actors.context.Context``."""
        self._report(Ready(self.path, self.incarnation))

    def call(
        self, path: str, method: str, *args: object, timeout: float = 3.0, once: bool = False, **kwargs: object
    ) -> Awaitable[object]:
        """See ``actors.context.Context``."""
        return self._caller.call(path, method, args, kwargs, timeout, once)

    def cast(self, path: str, method: str, *args: object, **kwargs: object) -> None:
        """See ``actors.context.Context``."""
        self._caller.cast(path, method, args, kwargs)

    def publish(self, topic: str, payload: bytes) -> None:
        """See ``actors.context.Context``."""
        self._publisher.publish(topic, payload)

    def subscribe(self, path: str, topic: str = "") -> SubscriptionStream:
        """See ``actors.context.Context``."""
        return SubscriptionStream(self._zmq, path, topic, self._resolve)

    def children(self, path: str) -> Awaitable[list[Mapping[str, object]]]:
        """See ``actors.context.Context``."""
        return self._ask_children(path)

    def metric(self, name: str, value: float, **labels: str) -> None:
        """See ``actors.context.Context``."""
        key = name
        if labels:
            key += "{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}"
        self.metrics[key] = float(value)

    def note(self, kind: str, **data: Scalar) -> None:
        """See ``actors.context.Context``."""
        self._report(Noted(self.path, self.incarnation, f"actor_{kind}", data))


async def children_of(body: bytes) -> list[Mapping[str, object]]:
    """The children in an encoded ``SupervisorStatus``."""
    await asyncio.sleep(0)
    status = msgspec.json.decode(body, type=dict[str, object])
    children = status.get("children", [])
    return msgspec.convert(children, list[Mapping[str, object]])
