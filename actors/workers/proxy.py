"""A worker that stands in a network connection, so that the network can be broken on purpose.

    - id: wire
      actor: actors.workers.proxy:FaultProxy
      config: {port: 9443, upstream: "ws://127.0.0.1:8765"}
    - id: md
      actor: actors.connectors.binance:BinanceConnector
      config: {symbols: [BTCUSDT], url: "ws://127.0.0.1:9443", rest_url: "http://127.0.0.1:9443"}

and then

    rayvisor inject net_latency /wire --param delay=200ms --for 5s

It carries TCP, and whatever stands on it (WebSocket, HTTP, ZeroMQ over tcp); the upstream may be a unix socket too. TLS
passes through unread.
"""

import asyncio
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from actors.base import Actor
from supervisors.core.durations import Duration
from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import FaultKind
from supervisors.faults.kinds.network import KINDS
from supervisors.faults.network.endpoints import parse_endpoint
from supervisors.faults.network.proxy import BOUND, NetworkProxy
from supervisors.faults.order import FaultOrder


class ProxyConfig(BaseModel):
    """Config of ``FaultProxy``.

    Attributes:
        host: address to listen on.
        port: to listen on; fixed, so that clients find it again after a restart; 0 takes a free one (tests).
        upstream: where connections are led: ``host:port``, ``tcp://``, ``ws://``, ``http://``, ``ipc:///path``.
        bind_patience: seconds to try again while a predecessor still holds the port.
        connect_timeout: to reach the upstream (10 s external: GRD-2).
        buffer: bytes that may wait in one direction of one connection before its sender is held up.
        connections: at one time; more are reset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    upstream: str
    bind_patience: Duration = 10.0
    connect_timeout: Duration = Field(default=10.0, gt=0)
    buffer: int = Field(default=BOUND, ge=4096, le=1 << 30)
    connections: int = Field(default=10_000, ge=1, le=100_000)

    @field_validator("upstream")
    @classmethod
    def _is_endpoint(cls, text: str) -> str:
        try:
            parse_endpoint(text)
        except FaultError as error:
            raise ValueError(str(error)) from None
        return text


class FaultProxy(Actor):
    """Leads connections to ``upstream``; breaks them as the faults of the group ``network`` say.

    Methods for others: ``status()``.
    """

    Config = ProxyConfig
    config: ProxyConfig
    Faults: ClassVar[tuple[FaultKind, ...]] = KINDS
    proxy: NetworkProxy | None = None

    async def run(self) -> None:
        """Carry bytes, for ever.

        Raises:
            OSError: the address cannot be bound.
        """
        config = self.config
        proxy = NetworkProxy(
            parse_endpoint(config.upstream),
            self._fired,
            bound=config.buffer,
            connect_timeout=config.connect_timeout,
            most=config.connections,
        )
        await proxy.open(config.host, config.port, config.bind_patience)
        self.proxy = proxy
        try:
            self.ctx.ready()
            self.ctx.log.info(f"{config.host}:{proxy.port} leads to {proxy.upstream}")
            while True:
                self._export(proxy)
                await asyncio.sleep(1.0)
        finally:
            self.proxy = None
            await proxy.close()

    async def health(self) -> bool:
        """It listens, or refuses because it was told to."""
        return self.proxy is not None and (self.proxy.state().listening or bool(self.proxy.state().armed))

    def status(self) -> dict[str, object]:
        """How the proxy is doing. Counts are of this life; ``armed`` has the connections hit, by fault."""
        proxy = self.proxy
        if proxy is None:
            return {"incarnation": self.ctx.incarnation, "listening": False}
        state = proxy.state()
        return {
            "incarnation": self.ctx.incarnation,
            "listening": state.listening,
            "port": proxy.port,
            "upstream": str(proxy.upstream),
            "connections": state.connections,
            "accepted": state.accepted,
            "failed": state.failed,
            "reset": state.reset,
            "bytes_up": state.bytes_up,
            "bytes_down": state.bytes_down,
            "waiting": state.waiting,
            "armed": state.armed,
        }

    async def fault_armed(self, order: FaultOrder) -> None:
        """Put a fault of the network in.

        Raises:
            FaultError: the proxy does not listen yet (9053), or cannot carry it out.
        """
        if self.proxy is None:
            raise FaultError(f"{self.ctx.path} does not listen yet", code=9053, fix="try again once it is ready")
        await self.proxy.arm(order)

    async def fault_ended(self, fault_id: str) -> None:
        """Take a fault out, and see that it is gone.

        Raises:
            FaultError: a byte sent through the proxy does not come back (9054).
        """
        proxy = self.proxy
        if proxy is None:
            return
        await proxy.disarm(fault_id)
        if not await proxy.clear_of(fault_id):
            raise FaultError(
                f"{self.ctx.path} does not carry bytes after the end of {fault_id}",
                code=9054,
                fix="rayvisor restart the proxy",
            )

    def _fired(self, order: FaultOrder) -> None:
        self.ctx.note("fault_hit", id=order.id, fault=order.kind)

    def _export(self, proxy: NetworkProxy) -> None:
        state, metric = proxy.state(), self.ctx.metric
        metric("proxy_connections", float(state.connections))
        metric("proxy_waiting_bytes", float(state.waiting))
        metric("proxy_faults", float(len(state.armed)))
        metric("proxy_bytes", float(state.bytes_up), direction="up")
        metric("proxy_bytes", float(state.bytes_down), direction="down")
