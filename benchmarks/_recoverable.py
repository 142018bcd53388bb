"""Actors the recovery benchmarks kill."""

import asyncio
import os
import struct
import time
from pathlib import Path

import msgspec
from pydantic import BaseModel, ConfigDict

from actors.base import Actor
from actors.connectors.messages import Trade
from supervisors.core.errors import JournalFailed

#: one acknowledged append: epoch, sequence, source, number, monotonic ns
ACKNOWLEDGED = struct.Struct("<QQQQQ")
#: one trade as a consumer got it: trade id, publisher's incarnation, monotonic ns
CONSUMED = struct.Struct("<QQQ")


class AppenderConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    every: float = 0.001
    #: events journalled before the first life is ready, and bytes of each
    fill: int = 0
    size: int = 100


class Appender(Actor):
    """Appends all the time and says when the first append of each life was acknowledged."""

    Config = AppenderConfig
    Event = bytes
    State = list[int]
    config: AppenderConfig

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        self._values: list[int] = []

    def apply(self, event: bytes) -> int:
        self._values.append(len(event))
        return len(self._values)

    def snapshot(self) -> list[int]:
        return self._values

    def restore(self, state: list[int]) -> None:
        self._values = state

    async def fill(self, count: int) -> int:
        """Journal ``count`` events; gives how many there are."""
        body = b"x" * self.config.size
        for begin in range(0, count, 1000):
            await asyncio.gather(*(self.ctx.journal.append(body) for _ in range(min(1000, count - begin))))
        return len(self._values)

    async def checkpoint(self) -> int:
        return await self.ctx.journal.checkpoint()

    def count(self) -> int:
        return len(self._values)

    async def run(self) -> None:
        body = b"x" * self.config.size
        await self.ctx.journal.append(body)
        self.ctx.note("acknowledged", at=time.monotonic(), sequence=self.ctx.journal.sequence)
        while True:
            await asyncio.sleep(self.config.every)
            await self.ctx.journal.append(body)


class WitnessConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    history: Path
    every: float = 0.001


class Posted(msgspec.Struct, array_like=True, frozen=True):
    """Event ``number`` of ``source``; each source counts from 1."""

    source: int
    number: int


class Witness(Actor):
    """Writes down each acknowledged append, so that a checker can compare it with the journal."""

    Config = WitnessConfig
    Event = Posted
    State = dict[int, list[int]]
    config: WitnessConfig

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        #: source to its last number and how many were applied
        self._sources: dict[int, list[int]] = {}
        self._twice = 0

    def apply(self, event: Posted) -> int:
        last = self._sources.setdefault(event.source, [0, 0])
        if event.number <= last[0]:
            self._twice += 1
        last[0] = max(last[0], event.number)
        last[1] += 1
        return event.number

    def snapshot(self) -> dict[int, list[int]]:
        return self._sources

    def restore(self, state: dict[int, list[int]]) -> None:
        self._sources = state

    async def post(self, source: int, number: int) -> int:
        """One event of a client; a repeat changes nothing."""
        last = self._sources.get(source)
        if last is None or number > last[0]:
            await self._append(source, number)
        return number

    async def checkpoint(self) -> int:
        return await self.ctx.journal.checkpoint()

    def state(self) -> dict[str, object]:
        return {"twice": self._twice, "events": sum(last[1] for last in self._sources.values())}

    async def _append(self, source: int, number: int) -> None:
        await self.ctx.journal.append(Posted(source, number))
        row = (self.ctx.epoch, self.ctx.journal.sequence, source, number, time.monotonic_ns())
        os.write(self._history, ACKNOWLEDGED.pack(*row))

    async def run(self) -> None:
        name = self.config.history / f"actor-{self.ctx.epoch}"
        self._history = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        number = 0
        while True:
            number += 1
            try:
                await self._append(self.ctx.epoch, number)
            except JournalFailed:
                await asyncio.sleep(0.01)
            await asyncio.sleep(self.config.every)

    async def start(self, ctx: object) -> None:
        self._history = os.open(os.devnull, os.O_WRONLY)


class ConsumerConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    topic: str
    history: Path


class Consumer(Actor):
    """Writes down every trade it receives."""

    Config = ConsumerConfig
    config: ConsumerConfig

    async def run(self) -> None:
        file = os.open(self.config.history, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        decode = msgspec.msgpack.Decoder(Trade).decode
        stream = self.ctx.subscribe(self.config.target, self.config.topic)
        async for message in stream:
            os.write(file, CONSUMED.pack(decode(message.payload).id, message.incarnation, time.monotonic_ns()))
