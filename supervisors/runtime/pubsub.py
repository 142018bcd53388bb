"""Publish and subscribe between children over ZeroMQ: market data and verdicts, never state that must not be lost.

A publisher is open (acts), shut (stands by: see ``gate``) or hands over: for some seconds after it was opened its items
bear marks for readers to compare (see ``handover``), and whoever asks is sent all that is kept once more. Readers are
connected to the standbys of a path beforehand, so that nothing is lost while they find the new one.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from supervisors.runtime.calls import Resolver
from supervisors.runtime.gate import KEEP_FOR, Gate, Kept
from supervisors.runtime.handover import Handover, Received
from supervisors.runtime.wire import EDGE, REPLAY, full_header, mark_prefix, plain_header, read_header

_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
#: items kept for a slow reader, then the oldest go
_MAX_WAITING = 200_000
_HIGH_WATER = 100_000
#: seconds between looks for a publisher that is away
_LOOK_EVERY = 0.01
#: seconds between looks for one that could not be reached, for a second; then ten times a second is no use either
_LOOK_SELDOM = 0.5
#: milliseconds. We connect anew ourselves, at once, to where the path is then. Never (-1) is no choice: ZeroMQ then
#: throws away what has arrived but was not read when a publisher dies.
_RECONNECT = 60_000
#: seconds between looks for readers who ask to be sent all again, during a handover
_LISTEN_EVERY = 0.005
#: the same when nothing can be sent again: the notices of subscribers are only thrown away
_TIDY_EVERY = 1.0
#: seconds for which items are sent again before the actor's loop gets its turn
_AT_ONCE = 0.002


class Publisher:
    """A host's PUB socket. Used from the actor's thread only.

    Args:
        context: the process's ZeroMQ context.
        addresses: what to bind, e.g. ``ipc://...`` and ``tcp://127.0.0.1:*``.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", *addresses: str) -> None:
        self._context = context
        self._socket: zmq.Socket[bytes] = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.LINGER, 100)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._incarnation = 0
        self._plain = plain_header(0)
        self._prefix = mark_prefix(0)
        self._gate: Gate | None = None
        self._shut = False
        self._until = 0.0
        self._primary: _Listener | None = None
        #: something is to be done before a plain send; written in the actor's thread only
        self._slow = True
        self._timer: asyncio.TimerHandle | None = None
        self._wanted: set[str] = set()
        self._again: Iterator[tuple[Kept, bool]] | None = None
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
        self._incarnation = incarnation
        self._plain = plain_header(incarnation)
        self._prefix = mark_prefix(incarnation)

    def publish(self, topic: str, payload: bytes, mark: int | None = None) -> None:
        """Send one item; never blocks."""
        if not self.open:
            return
        if self._slow:
            self._publish_slowly(topic, payload, mark)
            return
        # three plain sends cost a third of one send_multipart, and market data comes this way
        send = self._socket.send
        send(topic.encode(), _MORE)
        send(self._plain if mark is None else self._prefix + mark.to_bytes(8, "big", signed=True), _MORE)
        send(payload, _LAST)

    def close(self) -> None:
        """Close the socket."""
        self.open = False
        if self._primary is not None:
            self._primary.close()
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()

    # ------------------------------------------------------------ a standby's gate

    def shut(self) -> None:
        """Stand by: keep what has a mark, send nothing."""
        self._gate, self._shut, self._slow = Gate(), True, True

    def follow(self, endpoints: str) -> None:
        """Listen to what the primary publishes, to know what need not be sent again. In the actor's loop."""
        if not self._shut or self._gate is None:
            return
        if self._primary is not None:
            self._primary.close()
        endpoint = _nearest(endpoints)
        self._primary = _Listener(self._context, endpoint, self._gate) if endpoint else None

    @property
    def lag(self) -> float:
        """Seconds that a standby's own input is behind what its primary published."""
        gate = self._gate
        return gate.lag(time.monotonic()) if gate is not None else 0.0

    def open_gate(self, incarnation: int) -> None:
        """Act: send the overlap, then what comes. In the actor's loop."""
        self.set_incarnation(incarnation)
        gate = self._gate
        if gate is None or not self._shut or not self.open:
            return
        if self._primary is not None:
            self._primary.drain()
            self._primary.close()
            self._primary = None
        now = time.monotonic()
        self._shut = False
        self._until = now + KEEP_FOR
        self._asked()  # those who subscribed while it was shut get the overlap
        for item, edge in gate.overlap(now):
            self._send_again(item, edge=edge)
        self._tend()

    def _tend(self) -> None:
        """Read what subscribers say: unread it would pile up. During a handover serve those who ask."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.open:
            return
        self.tick()
        pause = _TIDY_EVERY
        if self._gate is not None and not self._shut:
            pause = 0.0 if self._again is not None else _LISTEN_EVERY
            if pause and time.monotonic() >= self._until:
                self._gate = None
                pause = _TIDY_EVERY
        self._timer = asyncio.get_running_loop().call_later(pause, self._tend)

    def tick(self) -> None:
        """Take what subscribers say; during a handover send again what they ask for, a little at a time."""
        asked = self._asked()
        gate = self._gate
        if gate is None or self._shut or not self.open:
            return
        self._wanted.update(asked)
        now = time.monotonic()
        if self._again is None:
            if not self._wanted:
                return
            # who asks while this is being sent may have missed its begin: it is served by the next one
            self._again = gate.all(now, tuple(self._wanted))
            self._wanted.clear()
        for item, edge in self._again:
            self._send_again(item, edge=edge)
            if time.monotonic() - now >= _AT_ONCE:
                return
        self._again = None

    def _asked(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                message = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return found
            if message[:1] == b"\x01":
                found.append(message[1:].decode(errors="replace"))

    def _publish_slowly(self, topic: str, payload: bytes, mark: int | None) -> None:
        """The first item, and every one of a gated publisher."""
        if self._timer is None:
            with contextlib.suppress(RuntimeError):  # used without a loop: by whoever measures
                self._timer = asyncio.get_running_loop().call_later(0.0, self._tend)
        gate = self._gate
        if gate is None:
            self._slow = False
            self.publish(topic, payload, mark)
        elif mark is None:
            if self._shut:
                gate.dropped += 1
            else:
                self._send(topic, self._plain, payload)
        else:
            prev = gate.keep(time.monotonic(), topic, mark, payload)
            if not self._shut:
                self._send(topic, full_header(self._incarnation, 0, mark, prev), payload)

    def _send_again(self, item: Kept, *, edge: bool) -> None:
        flags = REPLAY | (EDGE if edge else 0)
        self._send(item.topic, full_header(self._incarnation, flags, item.mark, item.prev), item.payload)

    def _send(self, topic: str, header: bytes, payload: bytes) -> None:
        send = self._socket.send
        send(topic.encode(), _MORE)
        send(header, _MORE)
        send(payload, _LAST)


class _Listener:
    """A standby's ear at its primary's publisher. In the actor's loop.

    Args:
        context: the process's ZeroMQ context.
        endpoint: the primary's.
        gate: told of each marked item.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, gate: Gate) -> None:
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, _HIGH_WATER)
        self._socket.setsockopt_string(zmq.SUBSCRIBE, "")
        self._socket.connect(endpoint)
        self._loop.add_reader(_descriptor(self._socket), self.drain)
        self._open = True
        self._again: asyncio.TimerHandle | None = None
        self._look()

    def _look(self) -> None:
        """The descriptor is edge triggered: what came while it was drained does not fire it."""
        if self._open:
            self.drain()
            self._again = self._loop.call_later(0.05, self._look)

    def drain(self) -> None:
        """Take all that has come."""
        while self._open:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            header = read_header(frames[1]) if len(frames) == 3 else None
            if header is not None and header[2] is not None:
                self._gate.heard(time.monotonic(), frames[0].decode(errors="replace"), header[2])

    def close(self) -> None:
        """Listen no more."""
        if self._open:
            self._open = False
            if self._again is not None:
                self._again.cancel()
            self._loop.remove_reader(_descriptor(self._socket))
            self._socket.close()


class SubscriptionStream:
    """``actors.context.Subscription``: follows one path's publisher across its restarts and promotions.

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
        self._handover = Handover(self._waiting.append, self._ask, time.monotonic)
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._connected: set[str] = set()
        self._lost: set[str] = set()
        #: since when an endpoint cannot be reached
        self._away: dict[str, float] = {}
        #: frames that were not ours
        self.malformed = 0
        self._socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, _HIGH_WATER)
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT)
        self._socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED)
        self._loop.add_reader(_descriptor(self._socket), self._drain)
        self._loop.add_reader(_descriptor(self._monitor), self._drain_monitor)
        self._expiring = False
        self._closed = False
        self._drain_monitor()  # its descriptor says nothing until it was once found empty
        self._follower = self._loop.create_task(self._follow())

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

    @property
    def missed(self) -> int:
        """Gaps after promotions that nobody could close."""
        return self._handover.missed

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
        """Be connected to where the path is and to its standbys; look again when one is lost, and each second."""
        incarnation = 0
        while True:
            self._changed.clear()
            place = await self._resolve(self._path)
            if self._closed:
                return  # wait_for swallows a cancellation that comes together with what it waits for
            if place.state == "running":
                if 0 < place.incarnation < incarnation:
                    self._handover.forget(place.incarnation)  # the path was deleted and made again
                incarnation = place.incarnation
                self._connect({place.pub, *place.standbys} - {""})
            elif self._lost:
                self._connect(self._connected - self._lost)
            if not self._connected:
                await asyncio.sleep(_LOOK_EVERY)
                continue
            pause = 1.0 if place.state == "running" else _LOOK_EVERY
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    def _connect(self, wanted: set[str]) -> None:
        if self._lost or self._connected - wanted:
            self._drain()  # ZeroMQ throws away what has arrived by a connection that is given up
        for endpoint in self._away.keys() - wanted:
            del self._away[endpoint]
        for endpoint in (self._connected - wanted) | self._lost:
            with contextlib.suppress(zmq.ZMQError):  # ZeroMQ may have given it up already
                self._socket.disconnect(endpoint)
            self._connected.discard(endpoint)
        self._lost.clear()
        for endpoint in wanted - self._connected:
            self._socket.connect(endpoint)
            self._connected.add(endpoint)

    def _ask(self, topic: str) -> None:
        """Have publishers that hand over send again all they keep of a topic: they see each subscription made."""
        self._socket.setsockopt_string(zmq.SUBSCRIBE, topic)

    def _drain(self) -> None:
        """The descriptor is edge triggered: take everything, or it will not fire again."""
        if self._closed:
            return
        take = self._handover.take
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            header = read_header(frames[1]) if len(frames) == 3 else None
            if header is None:
                self.malformed += 1
                continue
            incarnation, flags, mark, prev = header
            take(frames[0].decode(errors="replace"), frames[2], incarnation, flags, mark, prev)
        if self._waiting:
            self._arrived.set()
        if self._handover.holding and not self._expiring:
            self._expiring = True
            self._loop.call_later(0.05, self._expire)

    def _expire(self) -> None:
        self._expiring = False
        if not self._closed:
            self._handover.expire()
            self._drain()

    def _drain_monitor(self) -> None:
        while not self._closed:
            try:
                frames = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = parse_monitor_message(frames)
            endpoint = event["endpoint"].decode(errors="replace")
            if endpoint not in self._connected:
                continue
            self._lost.add(endpoint)
            if event["event"] == zmq.EVENT_DISCONNECTED:
                self._away.pop(endpoint, None)
                self._changed.set()
            else:
                now = time.monotonic()
                since = self._away.setdefault(endpoint, now)
                self._loop.call_later(_LOOK_EVERY if now - since < 1.0 else _LOOK_SELDOM, self._changed.set)


def _nearest(endpoints: str) -> str:
    """Of a publisher's endpoints the ipc one if its file is on this machine, else the last; empty when it has none."""
    words = endpoints.split()
    for word in words:
        if word.startswith("ipc://") and Path(word.removeprefix("ipc://")).exists():
            return word
    return words[-1] if words else ""


def _descriptor(socket: "zmq.Socket[bytes]") -> int:
    return int(socket.getsockopt(zmq.FD))
