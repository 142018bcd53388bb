"""Publish and subscribe between children over ZeroMQ: market data and verdicts, never state that must not be lost."""

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import AsyncIterator

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from supervisors.runtime.calls import Resolver

_HEADER = struct.Struct(">Q")
_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
#: items kept for a slow reader, then the oldest go
_MAX_WAITING = 200_000
_HIGH_WATER = 100_000
#: seconds between looks for a publisher that is away
_LOOK_EVERY = 0.01


class Received(msgspec.Struct, frozen=True):
    """``actors.context.Message``."""

    topic: str
    payload: bytes
    incarnation: int


class Publisher:
    """A host's PUB socket. Used from the actor's thread only.

    Args:
        context: the process's ZeroMQ context.
        addresses: what to bind, e.g. ``ipc://...`` and ``tcp://127.0.0.1:*``.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", *addresses: str) -> None:
        self._socket: zmq.Socket[bytes] = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 100)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        self._header = _HEADER.pack(0)
        endpoints = []
        for address in addresses:
            self._socket.bind(address)
            endpoints.append(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        #: what subscribers connect to, one for each address, with a space between
        self.endpoint = " ".join(endpoints)
        #: False once fenced or stopping: outputs go nowhere
        self.open = True

    def set_incarnation(self, incarnation: int) -> None:
        """Stamp what follows with this incarnation."""
        self._header = _HEADER.pack(incarnation)

    def publish(self, topic: str, payload: bytes) -> None:
        """Send one item; never blocks."""
        if self.open:
            # three plain sends cost a third of one send_multipart, and market data comes this way
            send = self._socket.send
            send(topic.encode(), _MORE)
            send(self._header, _MORE)
            send(payload, _LAST)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SubscriptionStream:
    """``actors.context.Subscription``: follows one path's publisher across its restarts.

    Args:
        context: the process's ZeroMQ context.
        path: whom to listen to.
        topic: prefix of the topics wanted.
        resolve: where a path is now.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", path: str, topic: str, resolve: Resolver) -> None:
        self._context = context
        self._path = path
        self._resolve = resolve
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Received] = deque(maxlen=_MAX_WAITING)
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._endpoint = ""
        #: frames that were not ours
        self.malformed = 0
        self._socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, _HIGH_WATER)
        self._socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self._socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)
        self._loop.add_reader(_descriptor(self._socket), self._drain)
        self._loop.add_reader(_descriptor(self._monitor), self._drain_monitor)
        self._follower = self._loop.create_task(self._follow())
        self._closed = False

    def __aiter__(self) -> AsyncIterator[Received]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Received]:
        while True:
            yield await self.get()

    async def get(self) -> Received:
        """The next item."""
        while not self._waiting:
            self._arrived.clear()
            self._drain()
            if self._waiting:
                break
            await self._arrived.wait()
        return self._waiting.popleft()

    def close(self) -> None:
        """End the stream."""
        if self._closed:
            return
        self._closed = True
        self._follower.cancel()
        self._loop.remove_reader(_descriptor(self._socket))
        self._loop.remove_reader(_descriptor(self._monitor))
        self._socket.disable_monitor()
        self._socket.close()

    async def _follow(self) -> None:
        """Connect to where the path is; look again when the connection is lost, and each second in any case."""
        while True:
            if self._lost.is_set():
                self._disconnect()
            place = await self._resolve(self._path)
            if place.state == "running" and place.pub and place.pub != self._endpoint:
                self._disconnect()
                self._lost.clear()
                self._socket.connect(place.pub)
                self._endpoint = place.pub
            if not self._endpoint:
                await asyncio.sleep(_LOOK_EVERY)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), 1.0)

    def _disconnect(self) -> None:
        if self._endpoint:
            with contextlib.suppress(zmq.ZMQError):  # ZeroMQ may have given it up already
                self._socket.disconnect(self._endpoint)
            self._endpoint = ""

    def _drain(self) -> None:
        """The descriptor is edge triggered: take everything, or it will not fire again."""
        if self._closed:
            return
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            if len(frames) != 3 or len(frames[1]) != _HEADER.size:
                self.malformed += 1
                continue
            (incarnation,) = _HEADER.unpack(frames[1])
            self._waiting.append(Received(frames[0].decode(errors="replace"), frames[2], incarnation))
        if self._waiting:
            self._arrived.set()

    def _drain_monitor(self) -> None:
        while not self._closed:
            try:
                frames = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if parse_monitor_message(frames)["event"] in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CONNECT_RETRIED):
                self._lost.set()


def _descriptor(socket: "zmq.Socket[bytes]") -> int:
    return int(socket.getsockopt(zmq.FD))
