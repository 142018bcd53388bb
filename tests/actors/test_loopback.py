"""Connector and venue over a real socket."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest
from picows import WSListener, WSTransport, ws_connect
from pydantic import ValidationError

from actors.base import Actor
from actors.connectors.binance import BinanceConfig, BinanceConnector, _Listener
from actors.connectors.messages import decode_trade
from actors.testing import FakeContext, make
from actors.venue.base import VenueActor
from actors.venue.feed import SimulatedFeed
from actors.venue.replay import ReplayConfig, ReplayVenue
from tests.actors.conftest import SMALL
from tests.actors.helpers import RealClock, until


@contextlib.asynccontextmanager
async def running(actor: Actor, context: FakeContext) -> AsyncIterator[asyncio.Task[None]]:
    """Start an actor and run it; end it as a host would."""
    await actor.start(context)
    task = asyncio.create_task(actor.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await actor.stop()


async def venue_up(venue: VenueActor, context: FakeContext, task: asyncio.Task[None]) -> int:
    """Wait until the venue serves; its port."""
    await until(lambda: context.ready_count > 0 or task.done())
    assert not task.done(), task.exception()
    port = venue.status()["port"]
    assert isinstance(port, int)
    return port


def replay(context: FakeContext, **config: object) -> ReplayVenue:
    return make(ReplayVenue, {"capture": SMALL, "port": 0, "loop": True, "speed": "10x"} | config, context)


def connector(port: int, context: FakeContext, **config: object) -> BinanceConnector:
    wanted: dict[str, object] = {
        "url": f"ws://127.0.0.1:{port}",
        "rest_url": f"http://127.0.0.1:{port}",
        "symbols": ["btcusdt"],
    }
    return make(BinanceConnector, wanted | config, context)


def real_context(tmp_path: Path) -> FakeContext:
    return FakeContext(clock=RealClock(), data_dir=str(tmp_path))


async def agree(venue: ReplayVenue, client: BinanceConnector) -> None:
    """Wait for a moment at which both stand at the same update; their books must be equal then."""

    def same() -> bool:
        return client.session.book_valid and client.digest(50)["last_update_id"] == venue.digest(50)["last_update_id"]

    await until(same)
    assert client.digest(50)["digest"] == venue.digest(50)["digest"]


async def test_connector_follows_a_replayed_venue_through_rounds_and_faults(tmp_path: Path) -> None:
    there, here = real_context(tmp_path), real_context(tmp_path)
    venue = replay(there)
    async with running(venue, there) as serving:
        client = connector(await venue_up(venue, there, serving), here, quotes=True)
        async with running(client, here) as work:
            await until(lambda: here.ready_count == 1)
            await agree(venue, client)
            assert client.top(3)["valid"] is True
            assert await client.health()
            await until(lambda: venue.market.round >= 1)
            await agree(venue, client)
            status = client.status()
            assert (status["gaps"], status["malformed"], status["missed_trades"]) == (0, 0, 0)

            venue.drop("depth")
            await until(lambda: client.status()["gaps"] == 1)
            await agree(venue, client)
            assert client.status()["resyncs"] == 1

            venue.garble("trade")
            await until(lambda: client.status()["malformed"] == 1)
            assert client.status()["missed_trades"] in (0, 1)

            assert venue.disconnect_all() == 1
            await until(lambda: client.status()["reconnects"] == 1)
            await agree(venue, client)

            venue.announce_shutdown()
            await until(lambda: client.status()["reconnects"] == 2)
            await agree(venue, client)
            assert not work.done()
        ids = [decode_trade(payload).id for topic, payload in here.published if topic == "trade.btcusdt"]
        assert len(ids) > 50
        assert ids == sorted(set(ids))
        assert {"gap" in str(note.data) for note in here.notes if note.kind == "book_invalid"} == {True, False}
        assert here.metrics["connected", frozenset()] in (0.0, 1.0)


async def test_connector_survives_the_venue_and_finds_its_successor(tmp_path: Path) -> None:
    there, here = real_context(tmp_path), real_context(tmp_path)
    venue = replay(there)
    async with running(venue, there) as serving:
        port = await venue_up(venue, there, serving)
        client = connector(port, here)
        await client.start(here)
        work = asyncio.create_task(client.run())
        await until(lambda: client.session.book_valid)
    try:
        await until(lambda: not client.session.connected and client.session.failures >= 3)
        top = client.top(1)
        assert (top["valid"], top["bids"], top["asks"]) == (False, [], [])
        assert top["reason"] == "disconnected"
        assert not work.done()
        again = real_context(tmp_path)
        successor = replay(again, port=port)
        async with running(successor, again):
            await agree(successor, client)
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        await client.stop()


async def test_connector_waits_when_the_budget_is_spent_and_says_so(tmp_path: Path) -> None:
    here = real_context(tmp_path)
    client = connector(9, here, budget={"connections": 2, "period": "1h"}, reconnect={"base": "1ms"})
    async with running(client, here) as work:
        await until(lambda: "budget_spent" in here.kinds())
        assert client.status()["budget_used"] == 2
        assert client.session.failures == 2
        assert "cannot connect" in str(client.status()["last_error"])
        assert not work.done()


async def test_a_connection_that_was_over_before_it_was_looked_at_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []

    async def connect(factory: Callable[[], _Listener], url: str) -> tuple[WSTransport, WSListener]:
        transport, listener = await ws_connect(factory, url)
        if not lost:
            lost.append(url)
            transport.disconnect(graceful=False)
            await transport.wait_disconnected()
            assert isinstance(listener, _Listener)
            listener.closed.clear()  # it was never told: the reset came with the handshake's last packet
        return transport, listener

    monkeypatch.setattr("actors.connectors.binance.ws_connect", connect)
    there, here = real_context(tmp_path), real_context(tmp_path)
    venue = replay(there)
    async with running(venue, there) as serving:
        client = connector(await venue_up(venue, there, serving), here, reconnect={"base": "10ms", "cap": "50ms"})
        async with running(client, here):
            await until(lambda: client.status()["reconnects"] == 1 and client.session.book_valid)
            assert lost


async def test_a_defect_of_ours_ends_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = real_context(tmp_path), real_context(tmp_path)
    venue = replay(there)
    async with running(venue, there) as serving:
        client = connector(await venue_up(venue, there, serving), here)

        def broken(_raw: bytes, _now: float) -> tuple[()]:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(client.session, "frame", broken)
        await client.start(here)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(client.run(), 10)
        await client.stop()


async def test_mute_channel_is_noticed(tmp_path: Path) -> None:
    there, here = real_context(tmp_path), real_context(tmp_path)
    venue = make(SimulatedFeed, {"port": 0, "trade_rate": 100, "depth_interval": "20ms"}, there)
    async with running(venue, there) as serving:
        port = await venue_up(venue, there, serving)
        client = connector(port, here, stale_after={"depth": "300ms"})
        async with running(client, here):
            await until(lambda: here.ready_count == 1)
            venue.mute("depth", 60.0)
            await until(lambda: not client.session.book_valid)
            assert client.session.connected
            assert client.status()["stale"] == ["btcusdt@depth@100ms"]
            await until(lambda: client.status()["reconnects"] == 1)


async def test_simulated_feed_is_a_consistent_market(tmp_path: Path) -> None:
    there, here = real_context(tmp_path), real_context(tmp_path)
    venue = make(SimulatedFeed, {"port": 0, "trade_rate": 500, "depth_interval": "5ms"}, there)
    async with running(venue, there) as serving:
        client = connector(await venue_up(venue, there, serving), here, quotes=True)
        async with running(client, here):
            await until(lambda: client.session.symbols["BTCUSDT"].trades > 300)
            status = client.status()
            assert (status["gaps"], status["malformed"], status["missed_trades"]) == (0, 0, 0)
            assert client.session.book_valid
            assert venue.status()["clients"] == 1


async def test_venue_speaks_the_protocol_as_a_plain_client_sees_it(tmp_path: Path) -> None:
    there = real_context(tmp_path)
    venue = replay(there)
    async with running(venue, there) as serving, aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{await venue_up(venue, there, serving)}"
        async with http.get(f"{base}/api/v3/depth", params={"symbol": "BTCUSDT", "limit": "5"}) as answer:
            body = await answer.json()
            assert len(body["bids"]) == len(body["asks"]) == 5
        for query, code in (({"symbol": "NOPE"}, -1121), ({"symbol": "BTCUSDT", "limit": "x"}, -1130)):
            async with http.get(f"{base}/api/v3/depth", params=query) as answer:
                assert answer.status == 400
                assert (await answer.json())["code"] == code
        async with http.get(f"{base}/nowhere") as answer:
            assert answer.status == 404

        async with http.ws_connect(f"{base}/stream?streams=btcusdt@trade/btcusdt@depth@100ms") as ws:
            frames = [await ws.receive_json(timeout=5) for _ in range(20)]
            assert {frame["stream"] for frame in frames} == {"btcusdt@trade", "btcusdt@depth@100ms"}
        async with http.ws_connect(f"{base}/ws/btcusdt@trade") as ws:
            assert (await ws.receive_json(timeout=5))["e"] == "trade"
        async with http.ws_connect(f"{base}/ws") as ws:
            await ws.send_str("nonsense")
            assert (await ws.receive_json(timeout=5))["error"]["code"] == 3
            await ws.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 1})
            assert await ws.receive_json(timeout=5) == {"result": None, "id": 1}
            assert "u" in await ws.receive_json(timeout=5)
        async with http.ws_connect(f"{base}/stream") as ws:
            for number in range(6):
                await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
            kinds = [(await ws.receive(timeout=5)).type for _ in range(6)]
            assert kinds[:5] == [aiohttp.WSMsgType.TEXT] * 5
            assert kinds[5] in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


async def test_a_venue_waits_for_its_predecessors_port(tmp_path: Path) -> None:
    there, after = real_context(tmp_path), real_context(tmp_path)
    venue = replay(there)
    async with running(venue, there) as serving:
        port = await venue_up(venue, there, serving)
        successor = replay(after, port=port)
        await successor.start(after)
        task = asyncio.create_task(successor.run())
        await asyncio.sleep(0.1)
        assert after.ready_count == 0
    await until(lambda: after.ready_count == 1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_port_that_stays_taken_is_an_error(tmp_path: Path) -> None:
    there, after = real_context(tmp_path), real_context(tmp_path)
    venue = replay(there)
    async with running(venue, there) as serving:
        successor = replay(after, port=await venue_up(venue, there, serving), bind_patience="50ms")
        await successor.start(after)
        with pytest.raises(OSError, match="in use"):
            await successor.run()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"symbols": []},
        {"symbols": ["btc/usdt"]},
        {"symbols": ["BTCUSDT"], "url": "stream.binance.com"},
        {"symbols": ["BTCUSDT"], "unknown": 1},
        {"symbols": ["BTCUSDT"], "stale_after": {"depth": "0s"}},
        {"symbols": ["BTCUSDT"], "budget": {"name": "../x"}},
    ],
)
def test_bad_connector_configs_are_refused(config: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError):
        BinanceConfig.model_validate(config)


def test_configs_read_what_people_write() -> None:
    config = BinanceConfig.model_validate({"symbols": ["btcusdt"], "stale_after": {"depth": "500ms"}})
    assert config.symbols == ["BTCUSDT"]
    assert config.stale_after.depth == 0.5
    assert ReplayConfig.model_validate({"capture": SMALL, "speed": "2.5x"}).speed == 2.5
    with pytest.raises(ValidationError):
        ReplayConfig.model_validate({"capture": SMALL, "speed": "fast"})
    with pytest.raises(ValidationError):
        ReplayConfig.model_validate({"capture": "nowhere.gz"})


def test_jitter_is_injected(tmp_path: Path) -> None:
    client = BinanceConnector(BinanceConfig(symbols=["BTCUSDT"]), random.Random(1))
    twin = BinanceConnector(BinanceConfig(symbols=["BTCUSDT"]), random.Random(1))
    assert client._roll.random() == twin._roll.random()
