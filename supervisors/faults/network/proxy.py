"""The proxy: it listens, leads each connection on, and puts armed faults into those that they hit."""

import asyncio
import errno
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from supervisors.core.errors import FaultError
from supervisors.faults.chance import Chance
from supervisors.faults.network.endpoints import Endpoint
from supervisors.faults.network.links import Link, Side
from supervisors.faults.network.toxics import Direction
from supervisors.faults.order import FaultOrder

#: bytes that may wait in one direction of one connection
BOUND = 1 << 20
_BACKLOG = 1024
_PROBE_WITHIN = 1.0


class _Echo(asyncio.Protocol):
    """What the proxy's own probes are led to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # not every loop's is one by inheritance

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@dataclass
class ArmedToxic:
    """One armed fault: its order, whom it hits of the connections, and how many it hit."""

    order: FaultOrder
    chance: Chance
    hit: int = 0


@dataclass(frozen=True)
class ProxyState:
    """What the proxy says of itself. Counts are since it was opened.

    Attributes:
        listening: False while connections are refused.
        connections: open ones; accepted: all so far; failed: those whose upstream could not be reached.
        bytes_up, bytes_down: read from clients, and from the upstream.
        waiting: bytes that wait in all connections.
        armed: connections hit so far, by fault id.
    """

    listening: bool
    connections: int
    accepted: int
    failed: int
    reset: int
    bytes_up: int
    bytes_down: int
    waiting: int
    armed: dict[str, int] = field(default_factory=dict)


class NetworkProxy:
    """A proxy in front of one TCP or unix endpoint.

    Args:
        upstream: where it leads.
        fired: told of a fault the first time it hits a connection (or refuses).
        bound: bytes that may wait in one direction of one connection before its sender is held up.
        connect_timeout: seconds to reach the upstream.
        most: connections at one time; more are reset.
    """

    def __init__(
        self,
        upstream: Endpoint,
        fired: Callable[[FaultOrder], None] = lambda order: None,
        *,
        bound: int = BOUND,
        connect_timeout: float = 10.0,
        most: int = 10_000,
    ) -> None:
        self.upstream = upstream
        self.bound = bound
        self.moved = {Direction.UP: 0, Direction.DOWN: 0}
        self._fired = fired
        self._connect_timeout = connect_timeout
        self._most = most
        self._armed: dict[str, ArmedToxic] = {}
        self._links: dict[Link, asyncio.Task[None] | None] = {}
        self._probes: set[tuple[str, int]] = set()
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None  # keeps the port while connections are refused
        self._echo: asyncio.Server | None = None
        self._address = ("", 0)
        self._accepted = self._failed = self._reset = self._number = 0
        self._opening = asyncio.Lock()

    # ---- its life -----------------------------------------------------------------------------------------------

    async def open(self, host: str, port: int, patience: float = 10.0) -> None:
        """Listen. A port still held by a predecessor that is just ending is tried again for ``patience`` seconds.

        Raises:
            OSError: the address cannot be had.
        """
        self.loop = asyncio.get_running_loop()
        self._address = (host, port)
        self._held = await self._bind(patience)
        self._address = (host, int(self._held.getsockname()[1]))
        # a probe must not reach the user's server: it is led to an echo of the proxy's own
        self._echo = await self.loop.create_server(_Echo, "127.0.0.1", 0)
        await self._listen()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._address[1]

    async def close(self) -> None:
        """Cut all connections and stop listening."""
        for server in (self._server, self._echo):
            if server is not None:
                server.close()
        self._server = self._echo = None
        if self._held is not None:
            self._held.close()
            self._held = None
        tasks = [task for task in self._links.values() if task is not None]
        for link in list(self._links):
            link.ending = True
            for side in (link.client, link.server):
                if side.transport is not None:
                    side.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bind(self, patience: float) -> socket.socket:
        host, port = self._address
        deadline = self.loop.time() + patience
        found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        while True:
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            try:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(address)
            except OSError as error:
                made.close()
                if error.errno != errno.EADDRINUSE or self.loop.time() >= deadline:
                    raise
                await asyncio.sleep(0.01)
            else:
                return made

    async def _listen(self) -> None:
        held, self._held = self._held, None
        assert held is not None
        try:
            self._server = await self.loop.create_server(self._client, sock=held, backlog=_BACKLOG)
        except OSError:
            held.close()
            raise

    def _refusing(self) -> bool:
        return any(toxic.order.kind == "net_refuse" for toxic in self._armed.values())

    async def _see_to_listener(self) -> None:
        """Listen or refuse, as what is armed says. A port that is bound and not listened on refuses, and stays ours.

        Raises:
            OSError: the port cannot be had again.
        """
        async with self._opening:
            if self._refusing() and self._server is not None:
                self._server.close()
                self._server = None
                self._held = await self._bind(2.0)
            elif not self._refusing() and self._server is None and self._address[0]:
                if self._held is None:
                    self._held = await self._bind(2.0)
                await self._listen()

    # ---- connections --------------------------------------------------------------------------------------------

    def _client(self) -> Side:
        self._number += 1
        return Link(self, self._number).client

    def opened(self, link: Link) -> None:
        """A client came: hit it with what is armed, then lead it on."""
        transport = link.client.transport
        assert transport is not None
        peer = transport.get_extra_info("peername")
        probe = peer is not None and tuple(peer[:2]) in self._probes
        if len(self._links) >= self._most:
            self._links[link] = None
            link.reset()
            return
        self._accepted += not probe
        self._links[link] = None
        for toxic in list(self._armed.values()):
            self._hit(link, toxic, new=True)
        if not link.ending:
            self._links[link] = self.loop.create_task(self._lead(link, probe=probe), name=f"proxy {link.number}")

    async def _lead(self, link: Link, *, probe: bool) -> None:
        """Connect to the upstream; a client that cannot be led on is reset, as when the server refuses."""
        await link.way_up()
        end = self.upstream
        try:
            async with asyncio.timeout(self._connect_timeout):
                if probe:
                    assert self._echo is not None
                    address = self._echo.sockets[0].getsockname()
                    await self.loop.create_connection(lambda: link.server, *address)
                elif end.path:
                    await self.loop.create_unix_connection(lambda: link.server, end.path)
                else:
                    await self.loop.create_connection(lambda: link.server, end.host, end.port)
        except (OSError, TimeoutError):
            self._failed += 1
            link.reset()

    def over(self, link: Link) -> None:
        """Both its sockets are gone."""
        task = self._links.pop(link, None)
        if task is not None and not task.done():
            task.cancel()

    # ---- faults -------------------------------------------------------------------------------------------------

    async def arm(self, order: FaultOrder) -> None:
        """Put a fault in; the same id twice is no error and changes nothing.

        Raises:
            FaultError: it is none of the network (9051), or the port cannot be given up (9052).
        """
        if not order.kind.startswith("net_"):
            raise FaultError(f"a proxy knows no fault {order.kind!r}", code=9051, fix="kinds of the group network")
        if order.id in self._armed:
            return
        toxic = ArmedToxic(order, Chance(order, random.Random(f"{order.seed}/{order.id}").random))
        self._armed[order.id] = toxic
        if order.kind == "net_refuse":
            try:
                await self._see_to_listener()
            except OSError as error:
                del self._armed[order.id]
                raise FaultError(f"port {self.port}: {error.strerror}", code=9052, fix="try again") from error
            self._tell(toxic)
        for link in sorted(self._links, key=lambda link: link.number):
            self._hit(link, toxic, new=False)

    async def disarm(self, fault_id: str) -> bool:
        """Take a fault out; False: it is not in.

        Raises:
            OSError: the port cannot be had again.
        """
        toxic = self._armed.pop(fault_id, None)
        for link in list(self._links):
            timer = link.timers.pop(fault_id, None)
            if timer is not None:
                timer.cancel()
            if link.hit.pop(fault_id, None) is not None:
                link.reshape()
        await self._see_to_listener()
        return toxic is not None

    def _tell(self, toxic: ArmedToxic) -> None:
        toxic.hit += 1
        if toxic.hit == 1:
            self._fired(toxic.order)

    def _hit(self, link: Link, toxic: ArmedToxic, *, new: bool) -> None:
        order = toxic.order
        whom = order.params.get("whom", "both")
        if link.ending or (order.kind == "net_reset" and whom not in ("both", "new" if new else "existing")):
            return
        if order.kind == "net_refuse":
            if order.flag("cut"):
                link.close()
            return
        if not toxic.chance.strikes():
            return
        self._tell(toxic)
        link.hit[order.id] = order
        if order.kind == "net_reset":
            self._later(link, order, order.number("after"), lambda: self._reset_link(link, order.text("direction")))
            return
        if order.kind == "net_black_hole" and order.number("close_after"):
            self._later(link, order, order.number("close_after"), link.close)
        link.reshape()

    def _later(self, link: Link, order: FaultOrder, seconds: float, act: Callable[[], None]) -> None:
        if seconds <= 0.0:
            act()
        else:
            link.timers[order.id] = self.loop.call_later(seconds, act)

    def _reset_link(self, link: Link, direction: str) -> None:
        self._reset += 1
        link.reset(direction)

    # ---- what it says of itself ---------------------------------------------------------------------------------

    def state(self) -> ProxyState:
        """How it is doing."""
        lanes = [side.lane for link in self._links for side in (link.client, link.server) if side.lane is not None]
        return ProxyState(
            self._server is not None,
            len(self._links),
            self._accepted,
            self._failed,
            self._reset,
            self.moved[Direction.UP],
            self.moved[Direction.DOWN],
            sum(lane.waiting for lane in lanes),
            {fault_id: toxic.hit for fault_id, toxic in self._armed.items()},
        )

    async def clear_of(self, fault_id: str) -> bool:
        """True when nothing of a fault is left: no connection has it, and (when no other is armed) a byte goes through.

        The byte takes the way of any client, listener and both directions, but is led to an echo of the proxy's own.
        """
        if fault_id in self._armed or any(fault_id in link.hit for link in self._links):
            return False
        return bool(self._armed) or await self.probe()

    async def probe(self) -> bool:
        """Send a byte through the proxy and see it come back within a second."""
        try:
            async with asyncio.timeout(_PROBE_WITHIN):
                return await self._round_trip()
        except (OSError, TimeoutError):
            return False

    async def _round_trip(self) -> bool:
        host, port = self._address
        found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        mine = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        name: tuple[str, int] | None = None
        try:
            local = "::1" if family is socket.AF_INET6 else "127.0.0.1"
            if host in ("0.0.0.0", "::", ""):
                address = (local, port)
            mine.bind((address[0], 0))  # known before it connects, so that it is told from a client
            name = mine.getsockname()[:2]
            assert name is not None
            self._probes.add(name)
            await self.loop.sock_connect(mine, address)
            await self.loop.sock_sendall(mine, b"?")
            return await self.loop.sock_recv(mine, 1) == b"?"
        finally:
            mine.close()
            if name is not None:
                self._probes.discard(name)
