"""A market data server that speaks Binance spot's protocol: streams over WebSocket and the REST depth endpoint.

``/stream`` and ``/stream?streams=a/b`` give combined frames, ``/ws`` and ``/ws/a`` bare ones; SUBSCRIBE, UNSUBSCRIBE
and LIST_SUBSCRIPTIONS are answered. As at the venue, a client is pinged each 20 s, cut when it does not answer within
60 s, and cut when it sends more than 5 messages in a second. A reader too slow for its feed is cut as well.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec
from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

PING_EACH = 20.0
PONG_WITHIN = 60.0
MESSAGES_PER_SECOND = 5
#: bytes waiting for one reader at which it is cut
SLOW_READER = 8 * 1024 * 1024
_JSON = {"Content-Type": "application/json;charset=UTF-8"}


class Market(Protocol):
    """What the server serves."""

    def knows(self, symbol: str) -> bool:
        """True for a symbol (upper case) that it has."""
        ...

    def snapshot(self, limit: int) -> bytes:
        """The body of a depth answer with at most ``limit`` levels per side."""
        ...


class _Request(msgspec.Struct):
    method: str
    id: int | str | None = None
    params: list[str] | None = None


_request = msgspec.json.Decoder(_Request)


class _Client(WSListener):
    """One connection."""

    def __init__(self, server: "MarketServer", streams: list[str], *, combined: bool) -> None:
        self.server = server
        self.streams = dict.fromkeys(streams)
        self.combined = combined
        self.transport: WSTransport | None = None
        self.answered_at = 0.0
        self._recent: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.answered_at = self.server.now()
        self.server.clients.add(self)
        self.server.index()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.server.clients.discard(self)
        self.server.index()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = self.server.now()
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()
            return
        if len(self._recent) == MESSAGES_PER_SECOND and now - self._recent[0] < 1.0:
            transport.send_close(WSCloseCode.POLICY_VIOLATION, b"too many messages")
            transport.disconnect()
            return
        self._recent.append(now)
        if frame.msg_type is WSMsgType.PONG:
            self.answered_at = now
        elif frame.msg_type is WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, self._answer(frame.get_payload_as_bytes()))

    def _answer(self, raw: bytes) -> bytes:
        try:
            request = _request.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return msgspec.json.encode({"error": {"code": 3, "msg": f"Invalid JSON: {error}"}})
        params = request.params or []
        result: list[str] | None = None
        if request.method == "SUBSCRIBE":
            self.streams.update(dict.fromkeys(params))
        elif request.method == "UNSUBSCRIBE":
            for name in params:
                self.streams.pop(name, None)
        elif request.method == "LIST_SUBSCRIPTIONS":
            result = list(self.streams)
        else:
            return msgspec.json.encode({"error": {"code": 2, "msg": "Invalid request"}, "id": request.id})
        self.server.index()
        return msgspec.json.encode({"result": result, "id": request.id})


class MarketServer:
    """The server. Faults can be put into what it sends, for tests and experiments.

    Args:
        market: what the REST endpoint serves.
        now: monotonic seconds.
    """

    def __init__(self, market: Market, now: Callable[[], float]) -> None:
        self.market = market
        self.now = now
        self.clients: set[_Client] = set()
        self.sent = 0
        self.rest_requests = 0
        self.slow_cut = 0
        self._by_stream: dict[str, list[_Client]] = {}
        self._server: asyncio.Server | None = None
        self._drops: dict[str, int] = {}
        self._garbles: dict[str, int] = {}
        self._mute_until: dict[str, float] = {}

    async def open(self, host: str, port: int, patience: float = 10.0) -> None:
        """Listen. A port still held by a predecessor that is just ending is tried again for ``patience`` seconds.

        Raises:
            OSError: the address cannot be had.
        """
        deadline = self.now() + patience
        while True:
            try:
                self._server = await ws_create_server(
                    self._route, host, port, websocket_handshake_timeout=5.0, reuse_address=True
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self.now() >= deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            RuntimeError: it does not listen.
        """
        if self._server is None or not self._server.sockets:
            raise RuntimeError("not listening")
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Cut all clients and stop listening."""
        if self._server is not None:
            self._server.close()
        for client in list(self.clients):
            if client.transport is not None:
                client.transport.disconnect(graceful=False)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def publish(self, stream: str, raw: bytes) -> None:
        """Send one combined-stream frame to who subscribes to ``stream``."""
        clients = self._by_stream.get(stream)
        if not clients:
            return
        if self._drops or self._garbles or self._mute_until:
            faulty = self._with_faults(stream, raw)
            if faulty is None:
                return
            raw = faulty
        for client in clients:
            transport = client.transport
            if transport is None or transport.is_disconnected:
                continue
            if transport.underlying_transport.get_write_buffer_size() > SLOW_READER:
                self.slow_cut += 1
                transport.disconnect(graceful=False)
                continue
            self.sent += 1
            transport.send(WSMsgType.TEXT, raw if client.combined else _bare(stream, raw))

    def announce_shutdown(self, event_ms: int) -> None:
        """Tell all clients that the server will close (Binance: ``serverShutdown``)."""
        raw = msgspec.json.encode({"e": "serverShutdown", "E": event_ms})
        for client in self.clients:
            if client.transport is not None:
                client.transport.send(WSMsgType.TEXT, raw)

    def disconnect_all(self) -> int:
        """Cut every client as a lost network would; they may come back at once. Returns how many."""
        clients = list(self.clients)
        for client in clients:
            if client.transport is not None:
                client.transport.disconnect(graceful=False)
        return len(clients)

    async def tend(self) -> None:
        """Ping the clients and cut those that do not answer; runs until cancelled."""
        while True:
            await asyncio.sleep(PING_EACH)
            for client in list(self.clients):
                if client.transport is None:
                    continue
                if self.now() - client.answered_at > PONG_WITHIN:
                    client.transport.disconnect(graceful=False)
                else:
                    client.transport.send_ping(str(int(self.now() * 1000)).encode())

    # ---- faults -------------------------------------------------------------------------------------------------

    def drop(self, kind: str, count: int) -> None:
        """Lose the next ``count`` frames whose stream contains ``kind`` (``depth``, ``trade``)."""
        self._drops[kind] = self._drops.get(kind, 0) + count

    def garble(self, kind: str, count: int) -> None:
        """Send the next ``count`` frames whose stream contains ``kind`` cut in half."""
        self._garbles[kind] = self._garbles.get(kind, 0) + count

    def mute(self, kind: str, seconds: float) -> None:
        """Send nothing of the streams that contain ``kind`` for ``seconds``; connections and pings go on."""
        self._mute_until[kind] = self.now() + seconds

    def _with_faults(self, stream: str, raw: bytes) -> bytes | None:
        now = self.now()
        self._mute_until = {kind: until for kind, until in self._mute_until.items() if until > now}
        if any(kind in stream for kind in self._mute_until):
            return None
        if _use_up(self._drops, stream):
            return None
        return raw[: len(raw) // 2] if _use_up(self._garbles, stream) else raw

    # ---- requests -----------------------------------------------------------------------------------------------

    def index(self) -> None:
        """Renew the list of readers per stream."""
        by_stream: dict[str, list[_Client]] = {}
        for client in self.clients:
            for stream in client.streams:
                by_stream.setdefault(stream, []).append(client)
        self._by_stream = by_stream

    def _route(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
        parts = urlsplit(request.path.decode("latin-1"))
        query = parse_qs(parts.query)
        if parts.path == "/stream":
            names = [name for name in query.get("streams", [""])[0].split("/") if name]
            return _Client(self, names, combined=True)
        if parts.path == "/ws" or parts.path.startswith("/ws/"):
            return _Client(self, [name for name in parts.path[4:].split("/") if name], combined=False)
        if parts.path == "/api/v3/ping":
            return _http(200, b"{}")
        if parts.path == "/api/v3/depth":
            self.rest_requests += 1
            return self._depth(query.get("symbol", [""])[0], query.get("limit", ["100"])[0])
        return None

    def _depth(self, symbol: str, limit: str) -> WSUpgradeResponseWithListener:
        if not self.market.knows(symbol):
            return _http(400, b'{"code":-1121,"msg":"Invalid symbol."}')
        if not limit.isdecimal() or not 1 <= int(limit) <= 5000:
            return _http(400, b'{"code":-1130,"msg":"Data sent for parameter \'limit\' is not valid."}')
        return _http(200, self.market.snapshot(int(limit)))


def _http(status: int, body: bytes) -> WSUpgradeResponseWithListener:
    if status == 200:
        response = WSUpgradeResponse.create_ok_response(body, _JSON)
    else:
        response = WSUpgradeResponse.create_error_response(status, body, _JSON)
    return WSUpgradeResponseWithListener(response, None)


def _bare(stream: str, raw: bytes) -> bytes:
    """The payload of a combined frame, as ``/ws`` gives it."""
    head = b'{"stream":"%b","data":' % stream.encode()
    return raw[len(head) : -1] if raw.startswith(head) else raw


def _use_up(faults: dict[str, int], stream: str) -> bool:
    for kind, left in list(faults.items()):
        if kind in stream:
            if left <= 1:
                del faults[kind]
            else:
                faults[kind] = left - 1
            return True
    return False
