"""What the replayed and the simulated venue share: the server, its life, and the faults that can be ordered."""

import asyncio
from abc import ABC, abstractmethod

from pydantic import BaseModel, ConfigDict, Field

from actors.base import Actor
from actors.context import Context
from actors.venue.server import Market, MarketServer
from supervisors.core.durations import Duration


class ServerConfig(BaseModel):
    """Where a venue listens.

    Attributes:
        host: address to bind.
        port: fixed, so that clients find the venue again after a restart; 0 takes a free one (tests).
        bind_patience: seconds to try again while a predecessor still holds the port.
        shutdown_after: announce ``serverShutdown`` this many seconds after the start, and each time again.
        shutdown_grace: cut all clients this long after the announcement.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    bind_patience: Duration = 10.0
    shutdown_after: Duration | None = None
    shutdown_grace: Duration = 5.0


class VenueActor(Actor, ABC):
    """A venue that serves ``Market`` over Binance's protocol. Subclasses give ``open_market`` and ``play``.

    Methods for others: ``status()``, ``drop(kind, count)``, ``garble(kind, count)``, ``mute(kind, seconds)``,
    ``disconnect_all()``, ``announce_shutdown()``; ``kind`` is a part of a stream's name such as ``depth``.
    """

    config: ServerConfig
    server: MarketServer

    async def start(self, ctx: Context) -> None:
        """Nothing that takes time."""
        self._now = ctx.clock.monotonic
        self._began = self._now()

    @abstractmethod
    async def open_market(self) -> Market:
        """Make the market ready; may take its time."""

    @abstractmethod
    async def play(self) -> None:
        """Send frames, for as long as the market lasts."""

    async def run(self) -> None:
        """Serve for ever.

        Raises:
            OSError: the address cannot be bound.
        """
        market = await self.open_market()
        self.server = MarketServer(market, self._now)
        await self.server.open(self.config.host, self.config.port, self.config.bind_patience)
        self.ctx.ready()
        self.ctx.log.info(f"serving on {self.config.host}:{self.server.port}")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.server.tend())
                group.create_task(self._export())
                if self.config.shutdown_after is not None:
                    group.create_task(self._shut_down_each(self.config.shutdown_after))
                await self.play()
                self.ctx.note("replay_finished")
                await asyncio.Event().wait()
        finally:
            await self.server.close()

    def status(self) -> dict[str, object]:
        """How the venue is doing."""
        server: MarketServer | None = getattr(self, "server", None)
        if server is None:
            return {"incarnation": self.ctx.incarnation, "serving": False}
        return {
            "incarnation": self.ctx.incarnation,
            "serving": True,
            "port": server.port,
            "clients": len(server.clients),
            "sent": server.sent,
            "rest_requests": server.rest_requests,
            "slow_cut": server.slow_cut,
            "uptime_s": round(self._now() - self._began, 3),
        }

    def drop(self, kind: str, count: int = 1) -> None:
        """Lose the next ``count`` frames of streams that contain ``kind``."""
        self.server.drop(kind, count)

    def garble(self, kind: str, count: int = 1) -> None:
        """Send the next ``count`` frames of streams that contain ``kind`` cut in half."""
        self.server.garble(kind, count)

    def mute(self, kind: str, seconds: float) -> None:
        """Send nothing of streams that contain ``kind`` for ``seconds``, while connections and pings go on."""
        self.server.mute(kind, seconds)

    def disconnect_all(self) -> int:
        """Cut every client; returns how many."""
        return self.server.disconnect_all()

    def announce_shutdown(self) -> None:
        """Tell every client that the server is about to close."""
        self.server.announce_shutdown(self.ctx.clock.utc_ns() // 1_000_000)

    async def _shut_down_each(self, period: float) -> None:
        while True:
            await asyncio.sleep(period)
            self.announce_shutdown()
            await asyncio.sleep(self.config.shutdown_grace)
            self.server.disconnect_all()

    async def _export(self) -> None:
        while True:
            self.ctx.metric("clients", float(len(self.server.clients)))
            self.ctx.metric("frames_sent", float(self.server.sent))
            await asyncio.sleep(1.0)
