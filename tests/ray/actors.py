"""Children for the tests on real Ray: each does one thing, well or badly, when it is told to."""

import asyncio
import ctypes
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import ray
from pydantic import BaseModel, ConfigDict

from actors.base import Actor
from actors.context import Context, Subscription
from examples.ledger import Ledger, LedgerConfig

Start = Literal["ok", "never", "never_ready", "raise", "ready"]
Stop = Literal["ok", "deaf", "note"]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Start = "ok"
    stop: Stop = "ok"
    name: str = ""
    flood: bool = False


class Worker(Actor):
    """Lives until it is told to end in one of many ways."""

    Config = Settings
    config: Settings

    async def start(self, ctx: Context) -> None:
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        match self.config.start:
            case "never":
                await asyncio.Event().wait()
            case "raise":
                raise RuntimeError("no connection to the venue")
            case "ready":
                ctx.ready()
            case _:
                pass

    async def run(self) -> None:
        if self.config.flood:
            asyncio.get_running_loop().create_task(self._flood())
        while True:
            try:
                await asyncio.shield(self._end)
            except asyncio.CancelledError:
                if self.config.stop != "deaf" or self._end.cancelled():
                    raise
                continue
            return

    async def stop(self) -> None:
        if self.config.stop == "note":
            self.ctx.note("put_away", name=self.config.name)

    async def _flood(self) -> None:
        while True:
            for number in range(2_000):
                self.ctx.log.info("a line that nobody reads, number {}", number)
            await asyncio.sleep(0.01)

    # ------------------------------------------------------------ endings; each begins after its call was answered

    def _soon(self, end: Callable[[], object]) -> int:
        asyncio.get_running_loop().call_later(0.05, end)
        return os.getpid()

    def fail(self) -> int:
        return self._soon(lambda: self._end.set_exception(ValueError("the book is crossed")))

    def finish(self) -> int:
        return self._soon(lambda: self._end.set_result(None))

    async def hang_up(self) -> None:
        """Ends the process while it has the call."""
        self._soon(lambda: os._exit(3))
        await asyncio.sleep(60.0)

    def exit_hard(self) -> int:
        return self._soon(lambda: os._exit(3))

    def segfault(self) -> int:
        return self._soon(lambda: ctypes.string_at(0))

    def block(self, seconds: float) -> int:
        return self._soon(lambda: time.sleep(seconds))

    def kill_self(self, number: int) -> int:
        return self._soon(lambda: os.kill(os.getpid(), number))

    # ------------------------------------------------------------ calls

    def life(self) -> list[int]:
        return [os.getpid(), self.ctx.incarnation, self.ctx.epoch]

    async def wait(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return self.ctx.incarnation

    def refuse(self) -> None:
        raise LookupError("no such order")

    async def ask(self, path: str, method: str, timeout: float = 10.0, once: bool = False) -> object:
        """What a call through this actor's own context answers; an error comes back as the name of its class."""
        from supervisors.core.errors import CallError

        try:
            return await self.ctx.call(path, method, timeout=timeout, once=once)
        except CallError as error:
            return type(error).__name__


class Counter(Actor):
    """Counts what it is told to, for casts."""

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        self._count = 0

    def add(self) -> int:
        self._count += 1
        self.ctx.metric("added", self._count)
        return self._count

    def count(self) -> int:
        return self._count

    def cast_to(self, path: str, method: str) -> None:
        self.ctx.cast(path, method)


class Publisher(Actor):
    """Publishes a number every 10 ms."""

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            self.ctx.publish("tick.a", str(number).encode())
            self.ctx.publish("other", b"not subscribed")
            await asyncio.sleep(0.01)

    def life(self) -> list[int]:
        return [os.getpid(), self.ctx.incarnation, self.ctx.epoch]


class SubscriberConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str


class Subscriber(Actor):
    """Notes from which incarnations of a publisher it received, and whether any topic was wrong."""

    Config = SubscriberConfig
    config: SubscriberConfig

    async def start(self, ctx: Context) -> None:
        self._seen: dict[int, int] = {}
        self._wrong: list[str] = []
        self._stream: Subscription = ctx.subscribe(self.config.to, "tick")

    async def run(self) -> None:
        async for message in self._stream:
            if message.topic != "tick.a":
                self._wrong.append(message.topic)
            self._seen[message.incarnation] = self._seen.get(message.incarnation, 0) + 1

    async def stop(self) -> None:
        self._stream.close()

    def seen(self) -> list[int]:
        """Incarnations heard, in ascending order."""
        return sorted(self._seen)

    def wrong(self) -> list[str]:
        return self._wrong


class Plain:
    """A class that knows nothing of rayvisor."""

    def __init__(self, begin: int = 0) -> None:
        self.value = begin

    def add(self, by: int) -> int:
        self.value += by
        return self.value

    def sleep(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()


@ray.remote
class Existing:
    """A Ray actor class as users have them."""

    def __init__(self, begin: int) -> None:
        self.value = begin

    async def double(self) -> int:
        await asyncio.sleep(0)
        self.value *= 2
        return self.value


class Ticker(Actor):
    """Publishes the number of each 5 ms of the machine's clock: every instance makes the same items by itself."""

    async def run(self) -> None:
        last = int(self.ctx.clock.monotonic() * 200)
        while True:
            await asyncio.sleep(0.005)
            now = int(self.ctx.clock.monotonic() * 200)
            for number in range(last + 1, now + 1):
                self.ctx.publish("tick", str(number).encode(), number)
            last = now

    def acting(self) -> bool:
        return self.ctx.acting


class TickReader(Actor):
    """Counts what it missed and what it saw twice."""

    async def run(self) -> None:
        self._seen: list[int] = []
        async for item in self.ctx.subscribe("/live/ticker", "tick"):
            self._seen.append(int(item.payload))

    def found(self) -> dict[str, int]:
        seen = self._seen
        missed = sum(b - a - 1 for a, b in itertools.pairwise(seen) if b > a + 1)
        return {"count": len(seen), "missed": missed, "wrong": sum(b <= a for a, b in itertools.pairwise(seen))}


class VersionConfig(LedgerConfig):
    file: str


class Versioned(Ledger):
    """A ledger whose ``STATE_VERSION`` is what a file says: each life may be other code than the last, without
    ``migrate``."""

    Config = VersionConfig  # type: ignore[assignment]  # a config of its own, as each actor class may have

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        assert isinstance(config, VersionConfig)
        type(self).STATE_VERSION = int(Path(config.file).read_text())
