"""Each kind of network fault, at a proxy that is a child of a real system, before a real server: seen, and undone."""

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.request import FaultRequest, RecordState
from supervisors.runtime.injecting import Injector
from supervisors.trail.events import EventKind

from .conftest import _run
from .harness import Running

pytestmark = pytest.mark.ray

WIRE = "/wire"

TOPOLOGY = """
system: wires
metrics: {{enabled: false}}
faults: {{enabled: true}}
tree:
  children:
    - id: wire
      actor: actors.workers.proxy:FaultProxy
      config: {{port: 0, upstream: "127.0.0.1:{port}"}}
"""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except OSError:
            pass  # reset, as told


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


class Wire:
    """The proxy's port, and a hand to break it with."""

    def __init__(self, system: Running, injector: Injector) -> None:
        self.system = system
        self.injector = injector
        self.port = 0
        self.look()

    def look(self) -> None:
        """Each life listens at a port of its own choice."""
        status = self.system.ask(WIRE, "status")
        assert isinstance(status, dict)
        self.port = status["port"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20.0)


@pytest.fixture(scope="module")
def wire(short_folder: Path) -> Iterator[Wire]:
    with _Server(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            for system in _run(short_folder, "wires", TOPOLOGY.format(port=server.server_address[1])):
                system.ready(WIRE)
                with Injector(system.data_dir) as injector:
                    yield Wire(system, injector)
        finally:
            server.shutdown()


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def _took(client: socket.socket, data: bytes) -> float:
    """Seconds until all of it came back."""
    began = time.monotonic()
    client.sendall(data)
    assert _read(client, len(data)) == data
    return time.monotonic() - began


def _silent(client: socket.socket) -> bool:
    client.settimeout(0.3)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(20.0)
    return False


def _late(wire: Wire, client: socket.socket) -> None:
    assert _took(client, b"a") >= 0.3


def _narrow(wire: Wire, client: socket.socket) -> None:
    assert _took(client, b"x" * 20_000) >= 0.8


def _held(wire: Wire, client: socket.socket) -> None:
    client.sendall(b"late")
    assert _silent(client)


def _reset(wire: Wire, client: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def _lingering(wire: Wire, client: socket.socket) -> None:
    began = time.monotonic()
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    assert time.monotonic() - began >= 0.5


def _sliced(wire: Wire, client: socket.socket) -> None:
    client.sendall(b"x" * 200)
    sizes: list[int] = []
    while sum(sizes) < 200:
        sizes.append(len(client.recv(1000)))
    assert len(sizes) > 5


def _limited(wire: Wire, client: socket.socket) -> None:
    client.sendall(b"abcdefgh")
    assert _read(client, 100) == b"abcd"


def _refused(wire: Wire, client: socket.socket) -> None:
    with pytest.raises(ConnectionRefusedError):
        wire.connect()


#: by kind: its parameters, and how it shows at a connection that was open before
SHOWN: dict[str, tuple[dict[str, str | int], Callable[[Wire, socket.socket], None]]] = {
    "net_latency": ({"delay": "300ms", "direction": "down"}, _late),
    "net_bandwidth": ({"rate": "20KB/s", "direction": "up"}, _narrow),
    "net_black_hole": ({"bytes": "held"}, _held),
    "net_one_way": ({"direction": "up", "bytes": "held"}, _held),
    "net_reset": ({"whom": "existing"}, _reset),
    "net_slow_close": ({"delay": "500ms", "direction": "down"}, _lingering),
    "net_slice": ({"size": 10, "delay": "40ms", "direction": "down"}, _sliced),
    "net_limit": ({"size": 4, "direction": "down"}, _limited),
    "net_refuse": ({}, _refused),
}


def test_each_kind_is_here() -> None:
    assert sorted(SHOWN) == sorted(kind.name for kind in CATALOGUE if kind.group == "network")


@pytest.mark.parametrize("kind", SHOWN)
def test_it_shows_and_is_undone(wire: Wire, kind: str) -> None:
    params, shows = SHOWN[kind]
    before = wire.system.ready(WIRE)
    with closing(wire.connect()) as client:
        injection = wire.injector.inject(FaultRequest(kind, WIRE, dict(params), seconds=50.0))
        shows(wire, client)
        (record,) = wire.injector.revert(injection.id)
        assert record.state is RecordState.REVERTED, record.why
        if params.get("bytes") == "held":
            assert _read(client, 4) == b"late"
    with closing(wire.connect()) as client:
        assert min(_took(client, b"a") for _ in range(5)) < 0.2
    kinds = [event.kind for event in wire.system.trail(WIRE) if event.data.get("id") == injection.id]
    assert kinds[0] == EventKind.FAULT_INJECTED
    assert kinds[-1] == EventKind.FAULT_REVERTED
    assert wire.system.ready(WIRE).incarnation == before.incarnation, "the proxy itself is well"


def test_a_proxy_that_is_killed_under_a_fault_comes_back_without_it(wire: Wire) -> None:
    before = wire.system.ready(WIRE)
    injection = wire.injector.inject(FaultRequest("net_black_hole", WIRE, {}, seconds=50.0))
    wire.injector.inject(FaultRequest("kill", WIRE))
    after = wire.system.ready(WIRE, before.incarnation)
    records = wire.injector.wait_over(injection, 20.0)
    assert [(one.state, one.why) for one in records] == [(RecordState.REVERTED, "its process is gone")]
    wire.look()
    with closing(wire.connect()) as client:
        assert _took(client, b"a") < 5.0
    assert after.incarnation == before.incarnation + 1
