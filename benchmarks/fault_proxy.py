"""What the fault proxy costs while no fault is in it: ``python -m benchmarks.fault_proxy [--json] [--samples N]``.

A sender, the forwarder and a sink, each in a process of its own, on uvloop as hosts are. The peer is a plain asyncio
forwarder (two stream pumps with ``drain``) in the same place, in turns. A round trip is 64 bytes to an echo and back.
"""

import asyncio
import contextlib
import multiprocessing
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import uvloop

from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import measure, parser, setting
from supervisors.faults.network.endpoints import Endpoint
from supervisors.faults.network.proxy import NetworkProxy

SAMPLES = 5
_BYTES = 1 << 30
_TRIPS = 3000
_PLAIN = "a plain asyncio forwarder, in turns"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo to who begins with a short message; of a long stream say only how much it was."""
    total = 0
    echo = False
    while data := await reader.read(1 << 20):
        echo = echo or (not total and len(data) <= 64)
        total += len(data)
        if echo:
            writer.write(data)
    writer.write(total.to_bytes(8, "big"))
    writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _serve(way: str, upstream: int, told: Connection) -> None:
    if way == "proxy":
        proxy = NetworkProxy(Endpoint("127.0.0.1", upstream))
        await proxy.open("127.0.0.1", 0)
        told.send(proxy.port)
    else:

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", upstream)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
            writer.close()
            back.close()

        server = await asyncio.start_server(_echo if way == "sink" else forward, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def _be(way: str, upstream: int, told: Connection) -> None:
    uvloop.run(_serve(way, upstream, told))


@contextlib.contextmanager
def _process(way: str, upstream: int = 0) -> Iterator[int]:
    """A server in a process of its own; gives its port."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_be, args=(way, upstream, its), daemon=True)
    process.start()
    try:
        yield int(mine.recv())
    finally:
        process.kill()
        process.join()


def _throughput(port: int, size: int) -> float:
    """Megabytes a second."""
    body = memoryview(bytes(1 << 18))
    with socket.create_connection(("127.0.0.1", port)) as end:
        began = time.monotonic()
        for _ in range(size // len(body)):
            end.sendall(body)
        end.shutdown(socket.SHUT_WR)
        assert int.from_bytes(end.recv(8), "big") == size
        return size / (time.monotonic() - began) / 1e6


def _trips(port: int, count: int) -> list[float]:
    """Microseconds each."""
    found = []
    with socket.create_connection(("127.0.0.1", port)) as end:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            end.sendall(bytes(64))
            assert len(end.recv(64)) == 64
            found.append((time.perf_counter() - began) * 1e6)
    return found


def run(samples: int) -> BenchReport:
    """Measure both, in turns."""
    carried: dict[str, list[float]] = {"proxy": [], "plain": []}
    trips: dict[str, list[float]] = {"proxy": [], "plain": []}
    with _process("sink") as sink, _process("proxy", sink) as proxy, _process("plain", sink) as plain:
        for _ in range(samples):
            for way, port in (("proxy", proxy), ("plain", plain)):
                carried[way].append(_throughput(port, _BYTES))
                trips[way] += _trips(port, _TRIPS)
    ours, peer = percentile(carried["proxy"], 50), percentile(carried["plain"], 50)
    rows = (
        Row("one stream through it", "MB/s", ours, samples, peer=peer, peer_name=_PLAIN, target=">= half the peer's",
            ok=ours >= peer / 2),
        timed_row("round trip of 64 bytes", "us", trips["proxy"], peer=trips["plain"], peer_name=_PLAIN),
    )  # fmt: skip
    return BenchReport("Fault proxy, no fault in it", rows, setting())


def main() -> None:
    """Read the command line, measure, print."""
    given = parser("fault_proxy", "what the fault proxy costs while no fault is in it", SAMPLES).parse_args()
    measure(lambda: run(given.samples), as_json=given.json)


if __name__ == "__main__":
    main()
