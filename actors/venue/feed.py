"""A simulated exchange feed: a seeded random walk over the same protocol, so a connector uses it unchanged.

- id: feed
  actor: actors.venue.feed:SimulatedFeed
  config: {port: 8766, symbol: BTCUSDT, trade_rate: 20}
"""

import asyncio
import random
from typing import Annotated

from pydantic import Field, StringConstraints

from actors.venue.base import ServerConfig, VenueActor
from actors.venue.server import Market
from actors.venue.walk import MarketWalk
from supervisors.core.durations import Duration


class FeedConfig(ServerConfig):
    """Config of ``SimulatedFeed``.

    Attributes:
        symbol: the one symbol it trades.
        seed: of the random walk.
        trade_rate: trades per second on average.
        depth_interval: seconds between deltas.
        quotes: send ``bookTicker`` frames too.
    """

    port: int = Field(default=8766, ge=0, le=65535)
    symbol: Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z0-9]{2,30}$")] = "BTCUSDT"
    seed: int = 7
    trade_rate: float = Field(default=20.0, gt=0, le=10_000)
    depth_interval: Duration = Field(default=0.1, ge=0.001)
    quotes: bool = True


class _Served:
    def __init__(self, walk: MarketWalk) -> None:
        self._walk = walk

    def knows(self, symbol: str) -> bool:
        return symbol == self._walk.symbol

    def snapshot(self, limit: int) -> bytes:
        return self._walk.snapshot(limit)


class SimulatedFeed(VenueActor):
    """A venue with one random-walking market. See ``VenueActor`` for its methods."""

    Config = FeedConfig
    config: FeedConfig
    walk: MarketWalk

    async def open_market(self) -> Market:
        """Make the market."""
        self._rng = random.Random(self.config.seed)
        # ids begin with the wall clock, so that they rise over restarts as a venue's do; nothing is timed by it
        base = self.ctx.clock.utc_ns() // 1_000_000
        self.walk = MarketWalk(self.config.symbol, self._rng, first_update_id=base * 1000, first_trade_id=base)
        return _Served(self.walk)

    async def play(self) -> None:
        """Send trades and deltas, for ever."""
        low = self.config.symbol.lower()
        trade, depth, quote = f"{low}@trade", f"{low}@depth@100ms", f"{low}@bookTicker"
        walk, publish, config = self.walk, self.server.publish, self.config
        next_trade = next_depth = self._now()
        while True:
            now = self._now()
            ms = self.ctx.clock.utc_ns() // 1_000_000
            while next_trade <= now:
                publish(trade, walk.trade(ms))
                next_trade += self._rng.expovariate(config.trade_rate)
                if next_trade < now - 1.0:  # held up: go on from here
                    next_trade = now
            if next_depth <= now:
                publish(depth, walk.depth(ms))
                if config.quotes:
                    publish(quote, walk.quote())
                next_depth = max(next_depth + config.depth_interval, now - config.depth_interval)
            await asyncio.sleep(max(0.001, min(next_trade, next_depth) - self._now()))

    def status(self) -> dict[str, object]:
        """The server's state and the market's ids."""
        status = super().status()
        walk: MarketWalk | None = getattr(self, "walk", None)
        if walk is not None:
            status |= {"symbol": walk.symbol, "last_update_id": walk.update_id, "last_trade_id": walk.trade_id}
        return status
