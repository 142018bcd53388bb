"""The real connector as primary and as live standby, a simulated venue, real sockets; the primary ends at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import zmq

from actors.connectors import binance
from actors.connectors.binance import BinanceConnector
from actors.connectors.messages import BookUpdate, decode_book, decode_trade
from actors.connectors.units import Level
from actors.testing import FakeContext, make
from actors.venue.feed import SimulatedFeed
from supervisors.runtime.calls import Place
from supervisors.runtime.pubsub import Publisher, SubscriptionStream
from tests.actors.helpers import RealClock, until

ZmqContext = zmq.Context[zmq.Socket[bytes]]


@dataclass
class PublishingContext(FakeContext):
    """Publishes by a host's publisher; a standby's is shut."""

    publisher: Publisher | None = None

    def publish(self, topic: str, payload: bytes, mark: int | None = None) -> None:
        assert self.publisher is not None
        self.publisher.publish(topic, payload, mark)


class BookReader:
    """Keeps a book by what ``BookUpdate`` promises, and complains where the promise is broken."""

    def __init__(self) -> None:
        self.valid = False
        self.last_id = 0
        self.sides: tuple[dict[int, int], dict[int, int]] = {}, {}
        self.broken: list[str] = []
        self.snapshots = 0

    def update(self, update: BookUpdate) -> None:
        if not update.valid:
            self.valid = False
            return
        if update.snapshot:
            self.sides = {}, {}
            self.valid = True
            self.snapshots += 1
        elif not self.valid:
            return  # what follows a withdrawal is of no use before the next snapshot
        elif update.first_id > self.last_id + 1:
            self.broken.append(f"{update.first_id} after {self.last_id}")
        if update.last_id < self.last_id and not update.snapshot:
            self.broken.append(f"{update.last_id} again, after {self.last_id}")
        self.last_id = update.last_id
        for side, levels in zip(self.sides, (update.bids, update.asks), strict=True):
            for price, quantity in levels:
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)

    def full(self) -> tuple[list[Level], list[Level]]:
        bids, asks = self.sides
        return sorted(bids.items(), reverse=True), sorted(asks.items())


class Reader:
    """A consumer of trades and of the book."""

    def __init__(self, context: ZmqContext, where: "Where") -> None:
        self.stream = SubscriptionStream(context, "/md", "", where.resolve)
        self.trades: list[int] = []
        self.lives: set[int] = set()
        self.book = BookReader()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for item in self.stream:
            self.lives.add(item.incarnation)
            if item.topic.startswith("trade."):
                self.trades.append(decode_trade(item.payload).id)
            elif item.topic.startswith("book."):
                self.book.update(decode_book(item.payload))

    async def connected(self, publisher: Publisher) -> None:
        """Before the first book is published: it is not published again."""
        self.lives.clear()
        while not self.lives:
            publisher.publish("hello", b"")
            await asyncio.sleep(0.002)

    def close(self) -> None:
        self._task.cancel()
        self.stream.close()


class Where:
    def __init__(self) -> None:
        self.place = Place("gone")

    async def resolve(self, path: str) -> Place:
        return self.place


class Life:
    """A connector with its publisher."""

    def __init__(self, context: ZmqContext, folder: Path, name: str, port: int, life: int) -> None:
        self.publisher = Publisher(context, f"ipc://{folder}/{name}")
        if life:
            self.publisher.set_incarnation(life)
        else:
            self.publisher.shut()
        data_dir = str(folder)
        self.context = PublishingContext(
            clock=RealClock(), data_dir=data_dir, acting=bool(life), publisher=self.publisher
        )
        urls = {"url": f"ws://127.0.0.1:{port}", "rest_url": f"http://127.0.0.1:{port}"}
        self.actor = make(BinanceConnector, {"symbols": ["btcusdt"], "quotes": True} | urls, self.context)
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self.actor.start(self.context)
        self._task = asyncio.create_task(self.actor.run())

    async def killed(self) -> None:
        """The last it publishes is lost, as what a socket had not sent yet when its process was killed."""
        self.publisher.open = False
        if self._task is not None:
            state = self.actor.session.symbols["BTCUSDT"]
            before = state.trades
            await until(lambda: state.trades > before + 5)
        await self.end()

    async def promoted(self, life: int) -> None:
        self.context.acting = True
        self.publisher.open_gate(life)
        await self.actor.promoted()

    async def end(self) -> None:
        await self.halted()
        self.publisher.close()

    async def halted(self) -> None:
        """It takes in nothing more; its publisher is still there."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await self.actor.stop()


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[SimulatedFeed]:
    context = FakeContext(clock=RealClock(), data_dir=str(tmp_path))
    made = make(SimulatedFeed, {"port": 0, "trade_rate": 500, "depth_interval": "10ms"}, context)
    await made.start(context)
    task = asyncio.create_task(made.run())
    await until(lambda: context.ready_count > 0)
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def port_of(venue: SimulatedFeed) -> int:
    port = venue.status()["port"]
    assert isinstance(port, int)
    return port


async def agree(reader: Reader, life: Life) -> None:
    """At a moment at which both stand at the same update, their books are equal."""
    book = life.actor.session.symbols["BTCUSDT"].book
    await until(lambda: reader.book.valid and book.valid and reader.book.last_id == book.last_id)
    assert reader.book.full() == book.full()


async def test_no_trade_is_missed_or_seen_twice_over_two_promotions(venue: SimulatedFeed, tmp_path: Path) -> None:
    context: ZmqContext = zmq.Context()
    port, where = port_of(venue), Where()
    lives = [Life(context, tmp_path, f"p{number}", port, life) for number, life in enumerate((1, 0, 0))]
    standbys = tuple(life.publisher.endpoint for life in lives[1:])
    where.place = Place("running", "x", 1, 1, lives[0].publisher.endpoint, standbys)
    readers = [Reader(context, where) for _ in range(3)]
    for reader in readers:
        await reader.connected(lives[0].publisher)
    for life in lives:
        await life.begin()
    for follower, followed in pairwise(reversed(lives)):
        follower.publisher.follow(followed.publisher.endpoint)
    await until(lambda: all(life.actor.session.book_valid for life in lives))
    for number, life in enumerate(lives):
        if number:
            await life.promoted(number + 1)
            place = Place("running", "x", number + 1, number + 1, life.publisher.endpoint, standbys[number:])
            asyncio.get_running_loop().call_later(0.3, setattr, where, "place", place)  # as late as others are told
        for reader in readers:
            before = len(reader.trades)
            await until(lambda reader=reader, before=before: len(reader.trades) > before + 150)  # type: ignore[misc]
            await until(lambda reader=reader, number=number: number + 1 in reader.lives)  # type: ignore[misc]
            await agree(reader, life)
        if life is not lives[-1]:
            assert lives[number + 1].publisher.lag < 1.0
            await life.killed()
    for reader in readers:
        assert reader.lives == {1, 2, 3}
        assert reader.trades == list(range(reader.trades[0], reader.trades[-1] + 1)), "0 missed, 0 twice"
        assert reader.book.broken == []
        assert reader.stream.missed == 0
        reader.close()
    for life in lives:
        await life.end()
    context.destroy(linger=0)


async def test_a_book_that_was_not_valid_when_its_primary_died_is_valid_again(
    venue: SimulatedFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All books are said twice: where the primary was ahead of its standby, the second time counts."""
    monkeypatch.setattr(binance, "_RESTATE_AFTER", 0.2)
    context: ZmqContext = zmq.Context()
    port, where = port_of(venue), Where()
    primary, standby = Life(context, tmp_path, "a", port, 1), Life(context, tmp_path, "b", port, 0)
    where.place = Place("running", "x", 1, 1, primary.publisher.endpoint, (standby.publisher.endpoint,))
    reader = Reader(context, where)
    await reader.connected(primary.publisher)
    await primary.begin()
    await standby.begin()
    await until(lambda: reader.book.valid and standby.actor.session.book_valid)
    await primary.halted()  # else its next delta would make the book valid again
    session = primary.actor.session
    for effect in session._withdraw(session.symbols["BTCUSDT"], "stale"):
        primary.actor._perform(effect)
    await until(lambda: not reader.book.valid)
    await primary.killed()
    had = reader.book.snapshots
    await standby.promoted(2)
    await agree(reader, standby)
    await until(lambda: reader.book.snapshots == had + 2)
    await agree(reader, standby)
    assert reader.book.broken == []

    reader.close()
    await standby.end()
    context.destroy(linger=0)


async def test_a_book_that_is_not_valid_at_the_standby_is_withdrawn(venue: SimulatedFeed, tmp_path: Path) -> None:
    context: ZmqContext = zmq.Context()
    port, where = port_of(venue), Where()
    primary, standby = Life(context, tmp_path, "a", port, 1), Life(context, tmp_path, "b", port, 0)
    where.place = Place("running", "x", 1, 1, primary.publisher.endpoint, (standby.publisher.endpoint,))
    reader = Reader(context, where)
    await reader.connected(primary.publisher)
    await primary.begin()
    await standby.actor.start(standby.context)  # it never got as far as a connection
    await until(lambda: reader.book.valid)
    await primary.killed()
    await standby.promoted(2)
    await until(lambda: not reader.book.valid)
    reader.close()
    await standby.end()
    context.destroy(linger=0)
