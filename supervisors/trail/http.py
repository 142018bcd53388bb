"""The small HTTP server of a running system: /metrics /health /ready /status /trail (OBS-3). Read-only."""

import errno
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from urllib.parse import parse_qs, urlsplit

import msgspec
from loguru import logger
from prometheus_client.exposition import choose_encoder

from supervisors.core.errors import LaunchError
from supervisors.trail.events import SequencedEvent, TrailError
from supervisors.trail.metrics import TrailMetrics
from supervisors.trail.reader import read_all
from supervisors.trail.status import SystemStatus, report

#: Requests served at once; one more is turned away with 503.
MAX_REQUESTS = 16
#: Seconds a client may take to send its request or to take the answer.
CLIENT_TIMEOUT = 5.0
#: Seconds between two looks at the trail when nobody scrapes.
READ_EVERY = 1.0
#: Most events one /trail answer has.
MAX_TRAIL = 5_000
_JSON = "application/json"


class TrailPage(msgspec.Struct, frozen=True):
    """Answer of ``/trail``: events and the ``since`` of the next page."""

    events: list[SequencedEvent]
    next: int


class Problem(msgspec.Struct, frozen=True):
    """Answer to a request that cannot be served."""

    error: str


class _BadQuery(ValueError):
    pass


class StatusServer:
    """Serves until ``close``; listening when the constructor returns.

    Args:
        host: address to listen on.
        port: 0 for any free one, see ``port``.
        folder: ``data_dir/trail``.
        status: gives the present snapshot, or None when nobody can; called from several threads, must not block long.

    Raises:
        LaunchError: the port is taken (2041) or the address is not one of this machine (2042).
        TrailError: the trail was written by a newer version.
    """

    def __init__(self, host: str, port: int, folder: Path, status: Callable[[], SystemStatus | None]) -> None:
        self._status = status
        self._folder = folder
        try:
            self._server = _Server((host, port), self)
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise LaunchError(
                    f"port {port} on {host} is already in use",
                    code=2041,
                    fix="stop what listens there, or choose another port (0 takes a free one)",
                ) from None
            raise LaunchError(
                f"cannot listen on {host}:{port}: {error}",
                code=2042,
                fix="use an address of this machine and a port from 0 to 65535 that this user may open",
            ) from None
        try:
            self.metrics = TrailMetrics(folder, status)
        except TrailError:
            self._server.server_close()
            raise
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_on, name="trail-metrics", daemon=True)
        self._reader.start()
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="trail-http", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening, save the totals. Requests under way are cut off."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._stop.set()
        self._reader.join()
        self.metrics.close()

    def _read_on(self) -> None:
        """Keep the totals up to date though nobody scrapes: a segment may be deleted before the next scrape."""
        try:
            self.metrics.poll()
            while not self._stop.wait(READ_EVERY):
                self.metrics.poll()
        except (TrailError, OSError) as error:
            logger.error("metrics stopped reading the trail: {}", error)

    def answer(self, target: str, accept: str) -> tuple[int, str, bytes]:
        """Status code, content type and body for one GET."""
        try:
            return self._answer(target, accept)
        except (TrailError, OSError) as error:
            return 500, _JSON, msgspec.json.encode(Problem(str(error)))

    def _answer(self, target: str, accept: str) -> tuple[int, str, bytes]:
        try:
            url = urlsplit(target)
        except ValueError as error:
            return 400, _JSON, msgspec.json.encode(Problem(f"bad address: {error}"))
        match url.path:
            case "/metrics":
                encoder, content_type = choose_encoder(accept)
                return 200, content_type, encoder(self.metrics.registry)
            case "/health":
                health = report(self._status())
                return (200 if health.healthy else 503), _JSON, msgspec.json.encode(health)
            case "/ready":
                health = report(self._status())
                return (200 if health.ready else 503), _JSON, msgspec.json.encode(health)
            case "/status":
                status = self._status()
                if status is None:
                    return 503, _JSON, msgspec.json.encode(Problem("no status: the root supervisor does not answer"))
                return 200, _JSON, msgspec.json.encode(status)
            case "/trail":
                return self._trail(url.query)
            case _:
                known = "/metrics /health /ready /status /trail?since=N&limit=M"
                return 404, _JSON, msgspec.json.encode(Problem(f"no such page; there are {known}"))

    def _trail(self, query: str) -> tuple[int, str, bytes]:
        try:
            fields = parse_qs(query, strict_parsing=bool(query), max_num_fields=8)
            since = _whole(fields, "since", 0)
            limit = min(_whole(fields, "limit", 500), MAX_TRAIL)
            events = list(read_all(self._folder, since=since, limit=limit))
        except ValueError as error:
            return 400, _JSON, msgspec.json.encode(Problem(f"bad query: {error}"))
        return 200, _JSON, msgspec.json.encode(TrailPage(events, events[-1].seq + 1 if events else since))


def _whole(fields: dict[str, list[str]], name: str, default: int) -> int:
    if name not in fields:
        return default
    text = fields[name][-1]
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _BadQuery(f"{name} is a whole number from 0, not {text[:40]!r}")
    return int(text)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: StatusServer) -> None:
        self.owner = owner
        self._slots = threading.BoundedSemaphore(MAX_REQUESTS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer would ask DNS for the name of the machine here, which may take seconds
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "rayvisor", int(self.server_address[1])

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        if isinstance(request, socket.socket):
            request.settimeout(0.05)
            with suppress(OSError):
                request.recv(65_536)  # closing with the request unread would reset the connection under the answer
            with suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        # a client that went away is no news; a defect of ours is, with its traceback
        logger.opt(exception=True).debug("request from {} failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request per connection: an idle client must not hold a slot
    server_version = "rayvisor"
    sys_version = ""
    timeout = CLIENT_TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def _respond(self, *, with_body: bool) -> None:
        code, content_type, body = self.server.owner.answer(self.path, self.headers.get("Accept", ""))
        self.send_response(HTTPStatus(code))
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Requests are not logged: probes come every second."""
