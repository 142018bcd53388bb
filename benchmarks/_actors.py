"""Children of the benchmarks' systems. They do next to nothing."""

import asyncio
import os
import time

from actors.base import Actor
from benchmarks._bare import Echoes, time_calls


class Idle(Actor):
    """Answers ``echo``, beats, and waits."""

    async def echo(self, value: int) -> int:
        return value

    async def pid(self) -> int:
        return os.getpid()


class Raiser(Idle):
    """Crashes when told; the message says when, by the machine's monotonic clock."""

    async def run(self) -> None:
        self._told = asyncio.Event()
        await self._told.wait()
        raise RuntimeError(f"{time.monotonic():.9f}")

    async def fail(self) -> None:
        # let the answer leave first: what is timed is the crash, not the call
        asyncio.get_running_loop().call_later(0.05, self._told.set)


class Caller(Idle):
    """Times calls from inside an actor."""

    async def time_ours(self, path: str, count: int) -> list[float]:
        return await time_calls(lambda number: self.ctx.call(path, "echo", number), count)

    async def time_raw(self, target: Echoes, count: int) -> list[float]:
        return await time_calls(target.echo.remote, count)
