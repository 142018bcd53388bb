"""The fault proxy between real sockets."""

import asyncio
import contextlib
import random
import socket
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
import uvloop
import zmq
import zmq.asyncio
from aiohttp import ClientSession, WSMsgType, web
from pydantic import ValidationError

from actors.testing import FakeContext, make
from actors.workers.proxy import FaultProxy
from supervisors.core.errors import FaultError
from supervisors.faults.order import FaultOrder
from tests.actors.helpers import RealClock, until
from tests.unit.faults.network.orders import order


class Rig:
    """An echo server, and the proxy before it."""

    def __init__(self, actor: FaultProxy) -> None:
        self.actor = actor

    @property
    def port(self) -> int:
        assert self.actor.proxy is not None
        return self.actor.proxy.port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def arm(self, kind: str, fault_id: str = "f-1", **more: object) -> FaultOrder:
        made = order(kind, fault_id, **more)  # type: ignore[arg-type]
        await self.actor.fault_armed(made)
        return made


@contextlib.asynccontextmanager
async def proxied(upstream: str, **config: object) -> AsyncIterator[FaultProxy]:
    context = FakeContext(clock=RealClock())
    actor = make(FaultProxy, {"port": 0, "upstream": upstream, **config}, context)
    await actor.start(context)
    task = asyncio.create_task(actor.run())
    try:
        await until(lambda: bool(context.ready_count) or task.done())
        yield actor
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Rig]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with proxied(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as actor:
        try:
            yield Rig(actor)
        finally:
            server.close()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with echoing() as made:
        yield made


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> float:
    """Send, wait for all of it to come back; the seconds it took."""
    began = time.monotonic()
    writer.write(data)
    async with asyncio.timeout(10):
        assert await reader.readexactly(len(data)) == data
    return time.monotonic() - began


async def quickest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    """Of a few answers: one alone may have waited for the processor."""
    return min([await answer(reader, writer, b"a") for _ in range(8)])


async def silent(reader: asyncio.StreamReader, seconds: float = 0.1) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


# ---- without a fault


async def test_bytes_go_through_unchanged_and_ends_are_passed_on(rig: Rig) -> None:
    reader, writer = await rig.connect()
    data = random.Random(1).randbytes(3_000_000)
    await answer(reader, writer, data)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await until(lambda: rig.actor.status()["connections"] == 0)
    status = rig.actor.status()
    assert (status["accepted"], status["bytes_up"], status["bytes_down"], status["waiting"]) == (
        1,
        len(data),
        len(data),
        0,
    )
    assert await rig.actor.health()


async def test_a_reader_that_sleeps_holds_its_sender_up(rig: Rig) -> None:
    _, writer = await rig.connect()
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
    assert sent < 40_000_000  # kernel buffers of four sockets and ours
    writer.transport.abort()


async def test_upstream_away_resets_the_client() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with proxied(f"127.0.0.1:{free.getsockname()[1]}") as actor:
            assert actor.proxy is not None
            reader, writer = await asyncio.open_connection("127.0.0.1", actor.proxy.port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            assert actor.status()["failed"] == 1
            assert await actor.proxy.probe(), "the upstream is not the proxy's business"


async def test_unix_upstream() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        server = await asyncio.start_unix_server(_echo, path)
        async with proxied(f"ipc://{path}") as actor:
            assert actor.proxy is not None
            reader, writer = await asyncio.open_connection("127.0.0.1", actor.proxy.port)
            await answer(reader, writer, b"hello")
            await actor.fault_armed(order("net_reset"))
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        server.close()


async def test_two_thousand_connections(rig: Rig) -> None:
    pairs = []
    for _ in range(20):
        pairs += await asyncio.gather(*(rig.connect() for _ in range(100)))
    await asyncio.gather(*(answer(*pair, b"hello") for pair in pairs))
    assert rig.actor.status()["connections"] == 2000
    await rig.arm("net_latency", delay=0.05)
    took = await asyncio.gather(*(answer(*pair, b"hello") for pair in pairs))
    assert min(took) >= 0.1
    await rig.actor.fault_ended("f-1")
    for _, writer in pairs:
        writer.close()
    await until(lambda: rig.actor.status()["connections"] == 0)


# ---- each fault, and its end


async def test_latency(rig: Rig) -> None:
    pair = await rig.connect()
    await answer(*pair, b"a")
    await rig.arm("net_latency", delay="100ms", direction="down")
    assert 0.1 <= await quickest(*pair) < 0.2
    await rig.arm("net_latency", "f-2", delay="100ms", direction="up")
    assert 0.2 <= await quickest(*pair) < 0.4
    await rig.actor.fault_ended("f-1")
    await rig.actor.fault_ended("f-2")
    assert await quickest(*pair) < 0.1
    pair[1].close()


async def test_bandwidth_holds_the_sender_up() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with proxied(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", buffer=65536) as actor:
        rig = Rig(actor)
        await rig.arm("net_bandwidth", rate="100KB/s", direction="up")
        reader, writer = await rig.connect()
        assert await answer(reader, writer, b"x" * 100_000) >= 0.9
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                for _ in range(1000):
                    writer.write(b"x" * 65536)
                    await writer.drain()
        waiting = actor.status()["waiting"]
        assert isinstance(waiting, int)
        assert waiting <= 65536 + 262_144, "one bound and one read"
        writer.transport.abort()
    server.close()


@pytest.mark.parametrize("word", ["held", "lost"])
async def test_black_hole(rig: Rig, word: str) -> None:
    old, quiet = await rig.connect(), await rig.connect()
    await answer(*old, b"a")
    await answer(*quiet, b"a")
    await rig.arm("net_black_hole", bytes=word)
    new = await rig.connect()
    old[1].write(b"hello")
    new[1].write(b"hello")
    assert await silent(old[0])
    assert await silent(new[0])
    assert rig.actor.status()["connections"] == 3
    await rig.actor.fault_ended("f-1")
    for reader, writer in (old, new):
        if word == "held":
            assert await reader.readexactly(5) == b"hello"
        else:
            with pytest.raises(ConnectionResetError):  # never a stream with a hole
                await reader.read()
        writer.close()
    assert await quickest(*quiet) < 0.1
    quiet[1].close()


async def test_a_black_hole_takes_all_and_holds_nothing(rig: Rig) -> None:
    _, writer = await rig.connect()
    await rig.arm("net_black_hole")
    async with asyncio.timeout(10):
        for _ in range(100):
            writer.write(b"x" * 65536)
            await writer.drain()
    assert rig.actor.status()["waiting"] == 0
    writer.transport.abort()


async def test_black_hole_that_closes(rig: Rig) -> None:
    reader, writer = await rig.connect()
    await answer(reader, writer, b"a")
    await rig.arm("net_black_hole", close_after="50ms")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_one_way(rig: Rig) -> None:
    up = await rig.connect()
    await answer(*up, b"a")
    await rig.arm("net_one_way", direction="up", bytes="held")
    up[1].write(b"b")
    assert await silent(up[0])
    assert rig.actor.status()["bytes_down"] == 1
    await rig.actor.fault_ended("f-1")
    assert await up[0].readexactly(1) == b"b"
    await rig.arm("net_one_way", direction="down", bytes="held")
    up[1].write(b"c")
    await until(lambda: rig.actor.status()["bytes_down"] == 3)  # the server had it and answered
    assert await silent(up[0])
    await rig.actor.fault_ended("f-1")
    assert await up[0].readexactly(1) == b"c"
    up[1].close()


@pytest.mark.parametrize(
    ("whom", "old_dies", "new_dies"), [("existing", True, False), ("new", False, True), ("both", True, True)]
)
async def test_reset(rig: Rig, whom: str, old_dies: bool, new_dies: bool) -> None:
    old = await rig.connect()
    await answer(*old, b"a")
    await rig.arm("net_reset", whom=whom)
    new = await rig.connect()
    for (reader, writer), dies in ((old, old_dies), (new, new_dies)):
        if dies:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        else:
            await answer(reader, writer, b"b")
        writer.close()
    await rig.actor.fault_ended("f-1")
    pair = await rig.connect()
    await answer(*pair, b"c")
    pair[1].close()


async def test_reset_towards_the_server_only() -> None:
    ends: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            ends.append("end")
        except ConnectionResetError:
            ends.append("reset")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with proxied(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as actor:
        rig = Rig(actor)
        for direction in ("up", "down"):
            reader, writer = await rig.connect()
            await until(lambda: bool(server.sockets))
            await asyncio.sleep(0.05)
            await rig.arm("net_reset", direction=direction, whom="existing")
            if direction == "up":
                assert await reader.read() == b""
            else:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            await rig.actor.fault_ended("f-1")
            writer.close()
        await until(lambda: len(ends) == 2)
    assert ends == ["reset", "end"]
    server.close()


async def test_reset_after_a_while(rig: Rig) -> None:
    spared, pair = await rig.connect(), await rig.connect()
    await answer(*spared, b"a")
    await rig.arm("net_reset", "f-0", after="60s", whom="existing")
    await rig.actor.fault_ended("f-0")
    began = time.monotonic()
    await rig.arm("net_reset", after="100ms", whom="existing")
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionResetError):
            await pair[0].read()
    assert time.monotonic() - began >= 0.098, "timers of uvloop are of whole milliseconds"
    for _, writer in (spared, pair):
        writer.close()


async def test_slow_close(rig: Rig) -> None:
    reader, writer = await rig.connect()
    await answer(reader, writer, b"a")
    await rig.arm("net_slow_close", delay="1s", direction="down")
    began = time.monotonic()
    writer.write(b"b")
    writer.write_eof()
    assert await reader.readexactly(1) == b"b"
    assert time.monotonic() - began < 1
    assert await reader.read() == b""
    assert 1 <= time.monotonic() - began < 10
    writer.close()


async def test_slice(rig: Rig) -> None:
    reader, writer = await rig.connect()
    await rig.arm("net_slice", size=10, delay="40ms", direction="down")
    writer.write(b"x" * 200)
    sizes: list[int] = []
    while sum(sizes) < 200:
        sizes.append(len(await reader.read(1000)))
    assert len(sizes) > 8
    writer.close()


async def test_limit(rig: Rig) -> None:
    reader, writer = await rig.connect()
    await answer(reader, writer, b"12345")
    await rig.arm("net_limit", size=8, direction="down")
    writer.write(b"abcdefgh")
    assert await reader.read() == b"abc"
    writer.close()


async def test_refuse(rig: Rig) -> None:
    pair = await rig.connect()
    port = rig.port
    await rig.arm("net_refuse")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert not rig.actor.status()["listening"]
    assert await rig.actor.health(), "it does as it was told"
    await answer(*pair, b"a")
    await rig.actor.fault_ended("f-1")
    assert rig.port == port
    await answer(*pair, b"b")
    await rig.arm("net_refuse", "f-2", cut=True)
    assert await pair[0].read() == b""
    await rig.actor.fault_ended("f-2")
    again = await rig.connect()
    await answer(*again, b"c")
    for _, writer in (pair, again):
        writer.close()


async def test_a_port_that_refuses_stays_the_proxys(rig: Rig) -> None:
    port = rig.port
    await rig.arm("net_refuse")
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", port))
    await rig.actor.fault_ended("f-1")


# ---- chance, proofs, bad input


async def test_probability_is_of_the_connection_and_of_the_seed(rig: Rig) -> None:
    pairs = [await rig.connect() for _ in range(40)]
    for pair in pairs:
        await answer(*pair, b"a")
    runs = []
    for _ in range(2):
        made = order("net_latency", delay="30ms", probability=0.3, first=2)
        await rig.actor.fault_armed(made)
        await asyncio.gather(*(answer(*pair, b"a") for pair in pairs))
        assert rig.actor.proxy is not None
        links = sorted(rig.actor.proxy._links, key=lambda link: link.number)
        runs.append(["f-1" in link.hit for link in links])
        await rig.actor.fault_ended("f-1")
    assert runs[0] == runs[1]
    assert runs[0][:2] == [True, True]
    assert 5 <= sum(runs[0]) <= 22
    for _, writer in pairs:
        writer.close()


async def test_a_hit_is_told_once(rig: Rig) -> None:
    context = rig.actor.ctx
    assert isinstance(context, FakeContext)
    await rig.arm("net_latency")
    assert context.kinds() == []
    for _ in range(3):
        (await rig.connect())[1].close()
    await until(lambda: bool(context.notes))
    assert context.kinds() == ["fault_hit"]


async def test_the_proof_fails_while_bytes_do_not_pass(rig: Rig) -> None:
    proxy = rig.actor.proxy
    assert proxy is not None
    assert await proxy.clear_of("f-1")
    await rig.arm("net_black_hole")
    assert not await proxy.clear_of("f-1")
    assert not await proxy.probe()
    await proxy.disarm("f-1")
    assert await proxy.probe()
    assert proxy.state().accepted == 0, "a probe is no client"
    assert await proxy.clear_of("f-1")


async def test_the_same_order_twice_and_an_unknown_id(rig: Rig) -> None:
    await rig.arm("net_latency")
    await rig.arm("net_latency")
    assert rig.actor.status()["armed"] == {"f-1": 0}
    await rig.actor.fault_ended("f-9")
    await rig.actor.fault_ended("f-1")
    assert rig.actor.status()["armed"] == {}


async def test_bad_orders() -> None:
    async with proxied("127.0.0.1:1") as actor:
        with pytest.raises(FaultError) as caught:
            await actor.fault_armed(FaultOrder("f-1", "hang", "/wire"))
        assert caught.value.code == 9051
    with pytest.raises(FaultError) as caught:
        await actor.fault_armed(order("net_latency"))
    assert caught.value.code == 9053
    with pytest.raises(ValidationError, match="no address"):
        make(FaultProxy, {"port": 0, "upstream": "nowhere"}, FakeContext())


async def test_too_many_connections_are_reset() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with proxied(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", connections=2) as actor:
        rig = Rig(actor)
        pairs = [await rig.connect() for _ in range(3)]
        with pytest.raises(ConnectionResetError):
            await pairs[2][0].read()
        await answer(*pairs[0], b"a")
        for _, writer in pairs:
            writer.close()
    server.close()


# ---- what stands on TCP


async def test_websocket(rig: Rig) -> None:
    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with proxied(f"ws://127.0.0.1:{port}/ws") as actor, ClientSession() as session:
            assert actor.proxy is not None
            url = f"ws://127.0.0.1:{actor.proxy.port}/ws"
            async with session.ws_connect(url) as client:
                await client.send_str("a")
                assert await client.receive_str(timeout=20) == "a"
                await actor.fault_armed(order("net_slice", size=3))
                await client.send_str("x" * 5000)
                assert await client.receive_str(timeout=20) == "x" * 5000
                await actor.fault_armed(order("net_reset", "f-2", whom="existing"))
                assert (await client.receive(timeout=20)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
            await actor.fault_ended("f-1")
            await actor.fault_ended("f-2")
            async with session.ws_connect(url) as client:
                await client.send_str("b")
                assert await client.receive_str(timeout=20) == "b"
    finally:
        await runner.cleanup()


async def test_zeromq(rig: Rig) -> None:
    context = zmq.asyncio.Context()
    server = context.socket(zmq.REP)
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.RECONNECT_IVL, 20)
    client.setsockopt(zmq.RECONNECT_IVL_MAX, 50)

    async def serve() -> None:
        while True:
            await server.send(await server.recv())

    task = asyncio.create_task(serve())
    try:
        async with proxied(f"tcp://127.0.0.1:{port}") as actor:
            assert actor.proxy is not None
            client.connect(f"tcp://127.0.0.1:{actor.proxy.port}")

            async def ask(body: bytes) -> float:
                began = time.monotonic()
                await client.send_multipart([b"", body])
                async with asyncio.timeout(5):
                    assert (await client.recv_multipart())[1] == body
                return time.monotonic() - began

            await ask(b"a")
            await actor.fault_armed(order("net_latency", delay="100ms"))
            assert await ask(b"b") >= 0.2
            await actor.fault_ended("f-1")
            await actor.fault_armed(order("net_refuse", "f-2", cut=True))
            await until(lambda: actor.status()["connections"] == 0)
            await actor.fault_ended("f-2")
            await until(lambda: actor.status()["connections"] == 1)  # it came back by itself
            await ask(b"c")
    finally:
        task.cancel()
        client.close(0)
        server.close(0)
        context.term()


# ---- the loop that hosts run


async def test_a_delay_is_never_shorter(rig: Rig) -> None:
    """Before: of uvloop's time, which is of whole milliseconds, up to one of them was missing."""
    pair = await rig.connect()
    await rig.arm("net_latency", delay="3ms", direction="down")
    for _ in range(100):
        while time.monotonic() % 0.001 < 0.0006:
            pass  # what is cut off is most where a millisecond is nearly over
        assert await answer(*pair, b"a") >= 0.003
    pair[1].close()


_ON_UVLOOP: list[Callable[[Rig], Coroutine[None, None, None]]] = [
    test_bytes_go_through_unchanged_and_ends_are_passed_on,
    test_a_reader_that_sleeps_holds_its_sender_up,
    test_latency,
    test_a_delay_is_never_shorter,
    test_one_way,
    test_slow_close,
    test_limit,
    test_refuse,
    test_reset_after_a_while,
    test_the_proof_fails_while_bytes_do_not_pass,
    test_websocket,
    test_zeromq,
]


@pytest.mark.parametrize("body", _ON_UVLOOP, ids=lambda body: body.__name__)
def test_on_uvloop(body: Callable[[Rig], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        async with echoing() as rig:
            await body(rig)

    # a body that failed left sockets open; were their warnings errors, uvloop would not close them, and wait for ever
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        uvloop.run(run())
