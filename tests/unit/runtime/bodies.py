"""Classes for the tests of the worker runner. The ``Actor`` mark is enough: ``actors`` need not be imported."""

import asyncio
import threading
import time
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from supervisors.core.errors import Ignore


class IgnoredSymbol(Exception):
    """A failure whose name begins like ours."""


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    how: str = "wait"


class Body:
    """An actor that starts, runs and stops in the way its config says."""

    __rayvisor_actor__: ClassVar[int] = 1
    Config = Settings

    def __init__(self, config: Settings) -> None:
        self.how = config.how
        self.ctx: object = None

    async def start(self, ctx: object) -> None:
        match self.how:
            case "start raises":
                raise OSError("no route")
            case "start exits":
                raise SystemExit(2)
            case "start ignores":
                raise Ignore("nothing to do")
            case "start fails alike":
                raise IgnoredSymbol("btcusdt")
            case "start never":
                await asyncio.Event().wait()
            case _:
                assert ctx is self.ctx

    async def run(self) -> None:
        match self.how:
            case "returns":
                return
            case "raises":
                raise ValueError("bad book")
            case "raises nothing to say":
                raise ValueError
            case "exits 0":
                raise SystemExit
            case "exits 3":
                raise SystemExit(3)
            case "memory":
                raise MemoryError
            case "interrupt":
                raise KeyboardInterrupt
            case "cancels itself":
                raise asyncio.CancelledError
            case _:
                await asyncio.Event().wait()

    async def stop(self) -> None:
        if self.how == "stop raises":
            raise RuntimeError("not put away")

    async def slow(self) -> str:
        await asyncio.sleep(0)
        return "slow"

    def quick(self, number: int, *, factor: int = 1) -> int:
        return number * factor

    def leave(self, code: int) -> None:
        raise SystemExit(code)

    def _private(self) -> None: ...

    attribute = 3


class Plain:
    """A class as anybody writes it; says which thread it was called in."""

    def __init__(self, name: str = "x") -> None:
        if name == "bad":
            raise ValueError("bad name")
        self.made_in = threading.get_ident()
        self.running = 0
        self.most = 0

    def where(self) -> tuple[int, int]:
        return self.made_in, threading.get_ident()

    def leave(self) -> None:
        raise SystemExit(4)

    def work(self, seconds: float) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(seconds)
        self.running -= 1
        return self.most


class PlainAsync:
    def __init__(self, begin: int = 1) -> None:
        self.value = begin

    async def double(self) -> int:
        await asyncio.sleep(0)
        self.value *= 2
        return self.value


not_a_class = 3
