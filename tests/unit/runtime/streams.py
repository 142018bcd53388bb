"""Helpers for tests of publishers and streams over real sockets."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import zmq

from supervisors.runtime.calls import Place
from supervisors.runtime.pubsub import Publisher, SubscriptionStream

TOPIC = "trade.btcusdt"
ZmqContext = zmq.Context[zmq.Socket[bytes]]


class Greets(Protocol):
    """A publisher, here or in another process."""

    def publish(self, topic: str, payload: bytes) -> None: ...


class Whereabouts:
    """A path whose place the test moves."""

    def __init__(self) -> None:
        self.place = Place("gone")
        self.looks = 0

    async def resolve(self, path: str) -> Place:
        self.looks += 1
        return self.place


async def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


class Numbers:
    """A stream and the numbers it has had; 0 is a greeting."""

    def __init__(self, context: ZmqContext, where: Whereabouts, topic: str = "trade.") -> None:
        self.stream = SubscriptionStream(context, "/md", topic, where.resolve)
        self.got: list[int] = []
        self.greetings = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for item in self.stream:
            number = int(item.payload)
            if number:
                self.got.append(number)
            else:
                self.greetings += 1

    async def greeted(self, publisher: Greets) -> None:
        """Wait until what this publisher sends arrives."""
        seen = self.greetings
        while self.greetings == seen:
            publisher.publish(TOPIC, b"0")
            await asyncio.sleep(0.002)

    def close(self) -> None:
        self._task.cancel()
        self.stream.close()


def publisher(context: ZmqContext, folder: Path, name: str, life: int = 0) -> Publisher:
    """One with an incarnation, or one that stands by (0)."""
    made = Publisher(context, f"ipc://{folder}/{name}")
    if life:
        made.set_incarnation(life)
    else:
        made.shut()
    return made


def send(to: Publisher, *numbers: int) -> None:
    for number in numbers:
        to.publish(TOPIC, b"%d" % number, number)
