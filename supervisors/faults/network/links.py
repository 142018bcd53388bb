"""One connection through the proxy: two sockets, and a lane each way while a fault is in it.

Without a fault bytes go from one socket straight to the other. A side that is read faster than the other is written to,
or whose lane is full, is not read until there is room: what waits is bounded, and the sender feels it.
"""

import asyncio
import os
import random
import socket
import struct
import time
from collections.abc import Iterable
from typing import Protocol, cast

from supervisors.faults.network.toxics import PLAIN, Direction, Hole, Lane, shape_of
from supervisors.faults.order import FaultOrder

#: reading begins again when so much of the bound is free
_LOW = 0.5
#: bytes put into a socket's buffer in one go
_GULP = 1 << 18
_LINGER_0 = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """The proxy, as a connection sees it."""

    loop: asyncio.AbstractEventLoop
    #: bytes that may wait in one direction of one connection
    bound: int
    #: bytes carried, by direction
    moved: dict[Direction, int]

    def opened(self, link: "Link") -> None:
        """A client came."""
        ...

    def over(self, link: "Link") -> None:
        """Both sockets are gone."""
        ...


class Side(asyncio.Protocol):
    """One socket of a connection. What it reads goes in ``direction``, to the other side."""

    other: "Side"

    def __init__(self, link: "Link", direction: Direction) -> None:
        self.link = link
        self.direction = direction
        self.transport: asyncio.Transport | None = None
        self.lane: Lane | None = None
        self.carried = 0
        self.gone = False
        self._reading = True
        self._writable = True
        self._ended = False
        self._end_written = False
        self._timer: asyncio.TimerHandle | None = None

    # ---- what the loop calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.link.made(self)

    def data_received(self, data: bytes) -> None:
        self.carried += len(data)
        owner = self.link.owner
        owner.moved[self.direction] += len(data)
        lane, other = self.lane, self.other.transport
        if lane is None and other is not None:
            other.write(data)
            return
        if lane is None:
            lane = self.lane = Lane(PLAIN, self.link.draw, self.carried - len(data))
        lane.feed(data, time.monotonic())
        self.pump()

    def eof_received(self) -> bool:
        self._ended = True
        if self.lane is None and self.other.transport is not None:
            self.other.write_end()
        else:
            lane = self.lane or Lane(PLAIN, self.link.draw, self.carried)
            self.lane = lane
            lane.finish(time.monotonic())
            self.pump()
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.stop_timer()
        self.link.lost(self, exc)

    def pause_writing(self) -> None:
        self._writable = False
        self.other.steer()

    def resume_writing(self) -> None:
        self._writable = True
        self.other.pump()
        self.other.steer()

    # ---- the lane -----------------------------------------------------------------------------------------------

    def reshape(self, orders: Iterable[FaultOrder]) -> None:
        """Put the faults in ``orders``, and no others, into this direction."""
        shape = shape_of(orders, self.direction)
        now = time.monotonic()
        if self.lane is None:
            if shape == PLAIN:
                return
            self.lane = Lane(shape, self.link.draw, self.carried)
            if self._ended and not self.other._end_written:
                self.lane.finish(now)
        elif shape != self.lane.shape:
            if shape.hole is Hole.NONE and self.lane.lost:
                self.link.reset()  # a stream with a hole must never go on
                return
            self.lane.reshape(shape, now)
        self.pump()

    def pump(self) -> None:
        """Hand on what is due, and see to the rest when it is."""
        lane, other = self.lane, self.other
        self.stop_timer()
        if lane is None or other.transport is None or other.gone:
            self.steer()
            return
        now = time.monotonic()  # the time of uvloop is cut to whole milliseconds, and a delay must not be shorter
        while other._writable and (pieces := lane.take(now, _GULP)):
            if lane.shape.size:
                for piece in pieces:
                    other.transport.write(piece)
            else:
                other.transport.writelines(pieces)
        if lane.full:
            self.link.close()
            return
        if lane.ended(now):
            self.lane = None
            other.write_end()
        elif lane.empty and lane.shape == PLAIN:
            self.lane = None
        elif other._writable and (at := lane.next_at()) is not None:
            self._timer = self.link.owner.loop.call_later(max(0.0, at - now), self.pump)
        self.steer()

    def steer(self) -> None:
        """Read, or do not, as there is room for what is read."""
        transport = self.transport
        if transport is None or self.gone or transport.is_closing():
            return
        bound = self.link.owner.bound
        waiting = self.lane.waiting if self.lane is not None else 0
        full = waiting >= bound if self._reading else waiting > bound * _LOW
        lost = self.lane is not None and self.lane.shape.hole is Hole.LOST  # a hole takes everything
        read = not full and (lost or (self.other.transport is not None and self.other._writable))
        if read and not self._reading:
            self._reading = True
            transport.resume_reading()
        elif not read and self._reading:
            self._reading = False
            transport.pause_reading()

    def stop_timer(self) -> None:
        """Forget what was to be done later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- the socket ---------------------------------------------------------------------------------------------

    def write_end(self) -> None:
        """No more bytes go to this side; once that is so both ways the connection is over."""
        self._end_written = True
        if self.transport is not None and not self.gone:
            if self.other._end_written:
                self.link.close()
            elif self.transport.can_write_eof():
                self.transport.write_eof()

    def reset(self) -> None:
        """Close the socket with a RST."""
        if self.transport is not None and not self.gone:
            found = self.transport.get_extra_info("socket")
            if found is not None and found.family != socket.AF_UNIX:
                # of a copy of the descriptor, since not every loop gives a whole socket object
                with socket.socket(fileno=os.dup(found.fileno())) as copy:
                    copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            self.transport.abort()


class Link:
    """One connection.

    Args:
        owner: the proxy.
        number: which connection of the proxy it is; 1 is the first.
    """

    def __init__(self, owner: Owner, number: int) -> None:
        self.owner = owner
        self.number = number
        self._chance: random.Random | None = None
        self.client = Side(self, Direction.UP)
        self.server = Side(self, Direction.DOWN)
        self.client.other, self.server.other = self.server, self.client
        #: faults that hit it, by id
        self.hit: dict[str, FaultOrder] = {}
        self.ending = False
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()

    def draw(self) -> float:
        """Chance of this connection, from 0.0 to below 1.0: of the seed of the first fault that hit it."""
        if self._chance is None:
            seed = next((order.seed for order in self.hit.values()), 0)
            self._chance = random.Random(f"{seed}/{self.number}")
        return self._chance.random()

    def made(self, side: Side) -> None:
        """A socket is there."""
        if side is self.client:
            side.steer()  # not read until there is somewhere for it to go
            self.owner.opened(self)
        elif self.ending or self.client.gone:
            side.reset()
        else:
            self.client.pump()
            self.client.steer()

    def reshape(self) -> None:
        """Bring both directions to the faults that hit it now."""
        orders = tuple(self.hit.values())
        for side in (self.client, self.server):
            if not self.ending:
                side.reshape(orders)
        self._changed.set()

    async def way_up(self) -> None:
        """Wait until something may pass to the server."""
        while (lane := self.client.lane) is not None and lane.shape.hole is not Hole.NONE:
            self._changed.clear()
            await self._changed.wait()

    def lost(self, side: Side, error: Exception | None) -> None:
        """One socket is gone: with an error the other is reset as well, else it is closed when all is written."""
        other = side.other
        if other.transport is not None and not other.gone:
            if error is not None and not self.ending:
                other.reset()
            elif side.lane is None or side.lane.empty:
                other.transport.close()
        if side.gone and (other.gone or other.transport is None):
            for timer in self.timers.values():
                timer.cancel()
            self.timers.clear()
            self.owner.over(self)

    def close(self) -> None:
        """Close both sockets, what is in their buffers is still sent."""
        self.ending = True
        for side in (self.client, self.server):
            side.stop_timer()
            if side.transport is not None and not side.gone:
                side.transport.close()

    def reset(self, direction: str = "both") -> None:
        """Reset it: ``up`` towards the server only, ``down`` towards the client only; the other end is closed."""
        self.ending = True
        for side, way in ((self.client, Direction.DOWN), (self.server, Direction.UP)):
            side.stop_timer()
            if direction in ("both", way):
                side.reset()
            elif side.transport is not None and not side.gone:
                side.transport.close()
