"""Helpers of this room's tests: waiting, and a naive order book to compare with."""

import asyncio
import json
import time
from collections.abc import Callable
from decimal import Decimal

from actors.connectors.binance_session import BinanceSession
from actors.connectors.effects import Connected, Effect, FetchSnapshot, Send, SnapshotArrived

ACK = b'{"result":null,"id":1}'


class RealClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc_ns(self) -> int:
        return time.time_ns()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.005)


class NaiveBook:
    """An order book by the stdlib alone: dicts of Decimal, no order kept."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.last_id = 0

    def load(self, raw: bytes) -> None:
        body = json.loads(raw)
        self.last_id = body["lastUpdateId"]
        self.bids, self.asks = {}, {}
        self._side(self.bids, body["bids"])
        self._side(self.asks, body["asks"])

    def apply(self, data: dict[str, object]) -> None:
        last, bids, asks = data["u"], data["b"], data["a"]
        assert isinstance(last, int)
        if last <= self.last_id:
            return
        self._side(self.bids, bids)
        self._side(self.asks, asks)
        self.last_id = last

    @staticmethod
    def _side(side: dict[Decimal, Decimal], levels: object) -> None:
        assert isinstance(levels, list)
        for price, quantity in levels:
            if Decimal(quantity) == 0:
                side.pop(Decimal(price), None)
            else:
                side[Decimal(price)] = Decimal(quantity)

    def units(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Both sides, best first, in units of 1e-8."""
        bids = sorted(((int(p * 10**8), int(q * 10**8)) for p, q in self.bids.items()), reverse=True)
        asks = sorted((int(p * 10**8), int(q * 10**8)) for p, q in self.asks.items())
        return bids, asks


def connect(session: BinanceSession, now: float) -> list[Effect]:
    """Connect a session and acknowledge what it asks for."""
    effects = [*session.step(Connected(), now)]
    for send in [effect for effect in effects if isinstance(effect, Send)]:
        effects += session.frame(b'{"result":null,"id":%d}' % json.loads(send.payload)["id"], now)
    return effects


def play(session: BinanceSession, lines: list[tuple[int, bytes]], *, drop: int = -1) -> list[Effect]:
    """Feed a capture to a session, its snapshot where one was asked for; leave out line ``drop``."""
    effects: list[Effect] = connect(session, lines[0][0] / 1e9)
    generation = 0
    for index, (stamp, raw) in enumerate(lines):
        now = stamp / 1e9
        if index == drop:
            continue
        if raw.startswith(b'{"lastUpdateId"'):
            new = session.step(SnapshotArrived("BTCUSDT", generation, raw), now)
        else:
            new = session.frame(raw, now)
        for effect in new:
            if isinstance(effect, FetchSnapshot):
                generation = effect.generation
        effects += new
    return effects
