"""Actors of the benchmarks: ours, and the bare Ray class they are compared with. Both do next to nothing."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.base import Actor


class Remote(Protocol):
    """One method of a Ray handle."""

    def remote(self, value: int) -> Awaitable[int]: ...


class Echoes(Protocol):
    """The handle of a bare Ray actor, as far as it is used here."""

    @property
    def echo(self) -> Remote: ...


async def time_calls(call: Callable[[int], Awaitable[object]], count: int) -> list[float]:
    """Microseconds of each of ``count`` calls, one after the other."""
    found = []
    for number in range(count):
        began = time.perf_counter_ns()
        answer = await call(number)
        found.append((time.perf_counter_ns() - began) / 1e3)
        assert answer == number
    return found


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


class Bare:
    """What Ray alone offers: an async actor, started with ``ray.remote(Bare)``."""

    async def echo(self, value: int) -> int:
        return value

    async def pid(self) -> int:
        return os.getpid()

    async def linger(self) -> None:
        """Never returns: its caller learns from Ray how this actor ended."""
        await asyncio.Event().wait()

    async def fail(self, delay: float) -> None:
        await asyncio.sleep(delay)
        raise RuntimeError(f"{time.monotonic():.9f}")

    async def time_raw(self, target: Echoes, count: int) -> list[float]:
        return await time_calls(target.echo.remote, count)
