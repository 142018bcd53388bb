"""A market that walks at random: an order book and trades, written as Binance frames. Pure; randomness is given."""

from typing import TYPE_CHECKING

import msgspec

from actors.connectors.units import SCALE, format_units

if TYPE_CHECKING:
    from random import Random

_TICK = SCALE // 100
_encode = msgspec.json.encode
_Pair = tuple[str, str]


class MarketWalk:
    """One symbol's market. Every frame it gives is consistent with those before it.

    Args:
        symbol: in upper case.
        rng: the only source of chance; the same seed gives the same market.
        first_update_id: id of the first change of the book.
        first_trade_id: id of the first trade.
        price: middle price to begin with, in ticks of 0.01.
        depth: levels kept on each side.
    """

    def __init__(
        self,
        symbol: str,
        rng: "Random",
        *,
        first_update_id: int = 1,
        first_trade_id: int = 1,
        price: int = 6_000_000,
        depth: int = 200,
    ) -> None:
        self.symbol = symbol
        self._low = symbol.lower()
        self._rng = rng
        self._mid = price
        self._depth = depth
        self.update_id = first_update_id - 1
        self._told_id = self.update_id
        self.trade_id = first_trade_id - 1
        # quantity in units of 1e-8 by price in ticks
        self._bids = {price - step: self._quantity() for step in range(1, depth + 1)}
        self._asks = {price + step: self._quantity() for step in range(1, depth + 1)}
        self._changed: dict[tuple[bool, int], int] = {}

    def _quantity(self) -> int:
        return self._rng.randrange(1, 500_000) * 1000

    def _set(self, bid: bool, price: int, quantity: int) -> None:
        side = self._bids if bid else self._asks
        if quantity:
            side[price] = quantity
        elif side.pop(price, None) is None:
            return
        self.update_id += 1
        self._changed[bid, price] = quantity

    def _move(self) -> None:
        """Let the middle walk and fill and clear the levels around it."""
        self._mid = max(10 * self._depth, self._mid + self._rng.randint(-3, 3))
        for price in sorted(p for p in self._bids if p >= self._mid or p < self._mid - 2 * self._depth):
            self._set(True, price, 0)
        for price in sorted(p for p in self._asks if p <= self._mid or p > self._mid + 2 * self._depth):
            self._set(False, price, 0)
        for step in (1, 2, 3):
            if self._mid - step not in self._bids:
                self._set(True, self._mid - step, self._quantity())
            if self._mid + step not in self._asks:
                self._set(False, self._mid + step, self._quantity())
        for _ in range(self._rng.randint(2, 12)):
            bid = self._rng.random() < 0.5
            distance = 4 + int(self._rng.expovariate(0.05))
            if distance <= self._depth:
                gone = self._rng.random() < 0.3
                self._set(bid, self._mid + (-distance if bid else distance), 0 if gone else self._quantity())

    def depth(self, event_ms: int) -> bytes:
        """Move on, and the change of the book since the last call as a combined-stream frame."""
        self._move()
        if not self._changed:  # a venue sends nothing then; one touched level keeps the rhythm
            self._set(True, self._mid - 1, self._quantity())
        bids = [_pair(price, quantity) for (bid, price), quantity in self._changed.items() if bid]
        asks = [_pair(price, quantity) for (bid, price), quantity in self._changed.items() if not bid]
        data = {
            "e": "depthUpdate",
            "E": event_ms,
            "s": self.symbol,
            "U": self._told_id + 1,
            "u": self.update_id,
            "b": bids,
            "a": asks,
        }
        self._changed.clear()
        self._told_id = self.update_id
        return _encode({"stream": f"{self._low}@depth@100ms", "data": data})

    def trade(self, event_ms: int) -> bytes:
        """A trade at the best price of one side, as a combined-stream frame."""
        self.trade_id += 1
        sell = self._rng.random() < 0.5
        price = max(self._bids) if sell else min(self._asks)
        data = {
            "e": "trade",
            "E": event_ms,
            "s": self.symbol,
            "t": self.trade_id,
            "p": format_units(price * _TICK),
            "q": format_units(self._rng.randrange(1, 5000) * 100_000),
            "T": event_ms,
            "m": sell,
            "M": True,
        }
        return _encode({"stream": f"{self._low}@trade", "data": data})

    def quote(self) -> bytes:
        """Best bid and ask, as a combined-stream frame."""
        bid, ask = max(self._bids), min(self._asks)
        data = {
            "u": self.update_id,
            "s": self.symbol,
            "b": format_units(bid * _TICK),
            "B": format_units(self._bids[bid]),
            "a": format_units(ask * _TICK),
            "A": format_units(self._asks[ask]),
        }
        return _encode({"stream": f"{self._low}@bookTicker", "data": data})

    def snapshot(self, limit: int) -> bytes:
        """The REST depth answer for the present book."""
        bids = sorted(self._bids.items(), reverse=True)[:limit]
        asks = sorted(self._asks.items())[:limit]
        return _encode(
            {
                "lastUpdateId": self.update_id,
                "bids": [_pair(price, quantity) for price, quantity in bids],
                "asks": [_pair(price, quantity) for price, quantity in asks],
            }
        )


def _pair(price: int, quantity: int) -> _Pair:
    return format_units(price * _TICK), format_units(quantity)
