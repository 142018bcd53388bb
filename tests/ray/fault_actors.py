"""Children to break on purpose, for the tests of faults on real Ray."""

import asyncio
import os

from actors.base import Actor
from actors.context import Context
from supervisors.faults.catalogue import FaultKind, Where
from supervisors.faults.order import FaultOrder
from supervisors.faults.values import Parameter, ValueType

TOPIC = "number"


class Victim(Actor):
    """Answers, asks its peer, publishes; its own fault makes it answer with another word."""

    Faults = (
        FaultKind(
            "slander",
            "test",
            Where.ACTOR,
            "It says something else.",
            "it says what it was told again",
            (Parameter("word", ValueType.TEXT, "no", "what it says"),),
        ),
    )

    def __init__(self, config: object) -> None:
        super().__init__(None)
        self._words: dict[str, str] = {}
        self.asked = 0

    async def fault_armed(self, order: FaultOrder) -> None:
        if order.text("word") == "refuse":
            raise ValueError("not that word")
        if order.text("word") == "late":
            await asyncio.sleep(30)
        self._words[order.id] = order.text("word")

    async def fault_ended(self, fault_id: str) -> None:
        self._words.pop(fault_id, None)

    async def echo(self, word: str) -> str:
        self.asked += 1
        return next(iter(self._words.values()), word)

    async def times(self) -> int:
        """How often ``echo`` was carried out."""
        return self.asked

    async def life(self) -> list[int]:
        return [os.getpid(), self.ctx.incarnation]

    async def ask(self, path: str, word: str, timeout: float = 2.0) -> str:
        """What ``echo`` of another says, or the class of its error."""
        try:
            return str(await self.ctx.call(path, "echo", word, timeout=timeout))
        except Exception as error:  # noqa: BLE001 - the test wants its name
            return type(error).__name__

    async def tell(self, path: str, word: str) -> None:
        self.ctx.cast(path, "echo", word)

    async def say(self, numbers: list[int]) -> None:
        for number in numbers:
            self.ctx.publish(TOPIC, str(number).encode())

    async def wall(self) -> list[float]:
        return [self.ctx.clock.monotonic(), self.ctx.clock.utc_ns() / 1e9]


class Listener(Actor):
    """Keeps what the victim publishes."""

    def __init__(self, config: object) -> None:
        super().__init__(None)
        self._heard: list[bytes] = []

    async def start(self, ctx: Context) -> None:
        self._stream = ctx.subscribe("/desk/victim", TOPIC)

    async def run(self) -> None:
        async for message in self._stream:
            self._heard.append(message.payload)

    async def heard(self) -> list[str]:
        return [one.decode(errors="replace") for one in self._heard]

    async def forget(self) -> None:
        self._heard.clear()
