"""How many frames a second one core takes from the socket's bytes to ``ctx.publish`` (CON-4: 100,000/s, 10 us each).

    python -m benchmarks.connector [--json] [--capture FILE] [--passes 5]

Measured is ``BinanceConnector.received``: decode, check, apply to the book, encode, and publish by the host's own
ZeroMQ PUB socket, which nobody subscribes to; and once more with a list's append in its place. The peer does the least
one would write at first: the stdlib's ``json`` into dicts of ``Decimal``, ids checked, results appended to a list; it
neither keeps the book in order, nor checks it for being crossed, nor encodes. Its ratio is to ours with the list. The
book is compared with the peer's each 1,000 update ids, in a pass of its own. Frames come from the recorded capture
beside the repository, or else from a synthetic one.
"""

import argparse
import gc
import json
import platform
import statistics
import sys
import time
from decimal import Decimal
from pathlib import Path

import zmq

from actors.connectors.binance import BinanceConfig, BinanceConnector
from actors.connectors.effects import Connected, FetchSnapshot, SnapshotArrived
from actors.testing import FakeContext
from actors.venue.capture import read_capture, synthetic
from benchmarks._report import BenchReport, Row, timed_row
from supervisors.runtime.pubsub import Publisher

TARGET = 100_000
PEER = "stdlib json, dicts of Decimal, results appended to a list; no order, no crossed check, no encoding"
_CAPTURE = Path(__file__).parents[2] / "shared" / "captures" / "binance_spot_btcusdt.gz"
_SNAPSHOT = b'{"lastUpdateId"'


class _Clock:
    def monotonic(self) -> float:
        return time.monotonic()

    def utc_ns(self) -> int:
        return time.time_ns()


class _BenchContext(FakeContext):
    """Publishes as a host does, or into a list."""

    publisher: Publisher | None = None

    def publish(self, topic: str, payload: bytes, mark: int | None = None) -> None:
        if self.publisher is None:
            self.published.append((topic, payload))
        else:
            self.publisher.publish(topic, payload, mark)


class NaiveHandler:
    """What one writes first: stdlib json, dicts of Decimal, checks of the ids."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.last_id = 0
        self.trade_id = 0
        self.out: list[tuple[object, ...]] = []
        self._early: list[bytes] = []

    def snapshot(self, raw: bytes) -> None:
        body = json.loads(raw)
        self.bids = {Decimal(price): Decimal(quantity) for price, quantity in body["bids"]}
        self.asks = {Decimal(price): Decimal(quantity) for price, quantity in body["asks"]}
        self.last_id = body["lastUpdateId"]
        for early in self._early:
            self.frame(early)

    def frame(self, raw: bytes) -> None:
        body = json.loads(raw)
        stream, data = body["stream"], body["data"]
        kind = data.get("e")
        if kind == "trade":
            if self.trade_id and data["t"] != self.trade_id + 1:
                raise RuntimeError("trades are missing")
            self.trade_id = data["t"]
            self.out.append((stream, data["t"], Decimal(data["p"]), Decimal(data["q"])))
        elif kind == "depthUpdate":
            if not self.last_id:
                self._early.append(raw)
                return
            if data["u"] <= self.last_id:
                return
            if data["U"] > self.last_id + 1:
                raise RuntimeError("a delta is missing")
            for side, levels in ((self.bids, data["b"]), (self.asks, data["a"])):
                for price, quantity in levels:
                    if Decimal(quantity):
                        side[Decimal(price)] = Decimal(quantity)
                    else:
                        side.pop(Decimal(price), None)
            self.last_id = data["u"]
            self.out.append((stream, data["u"], data["b"], data["a"]))
        else:
            self.out.append((stream, data["u"], Decimal(data["b"]), Decimal(data["a"])))

    def units(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        bids = sorted(((int(p * 10**8), int(q * 10**8)) for p, q in self.bids.items()), reverse=True)
        return bids, sorted((int(p * 10**8), int(q * 10**8)) for p, q in self.asks.items())


def _connector(publisher: Publisher | None) -> BinanceConnector:
    """A connector whose socket is open and acknowledged, as far as its session knows."""
    connector = BinanceConnector(BinanceConfig(symbols=["BTCUSDT"], quotes=True))
    context = _BenchContext(clock=_Clock())
    context.publisher = publisher
    connector.ctx = context
    connector._monotonic = time.monotonic
    connector.session.step(Connected(), time.monotonic())
    connector.received(b'{"result":null,"id":1}')
    # the snapshot is fed from the capture: the fetch that the first delta asks for goes nowhere
    perform = connector._perform
    connector._perform = lambda effect: None if isinstance(effect, FetchSnapshot) else perform(effect)  # type: ignore[method-assign]
    return connector


def _feed_snapshot(connector: BinanceConnector, raw: bytes) -> None:
    generation = connector.session.symbols["BTCUSDT"].generation
    connector._step(SnapshotArrived("BTCUSDT", generation, raw))


def _pass(frames: list[bytes], publisher: Publisher | None) -> tuple[float, float]:
    """Frames per second of one pass, and per CPU second of this process (which a busy machine moves less)."""
    connector = _connector(publisher)
    received = connector.received
    gc.collect()
    began, cpu_began = time.perf_counter(), time.process_time()
    for raw in frames:
        if raw.startswith(_SNAPSHOT):
            _feed_snapshot(connector, raw)
        else:
            received(raw)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    session = connector.session
    if not session.book_valid or session.malformed or session.symbols["BTCUSDT"].gaps:
        raise RuntimeError("the capture did not go through clean")
    return len(frames) / took, len(frames) / cpu


def _latencies(frames: list[bytes], publisher: Publisher | None) -> dict[str, list[float]]:
    """Microseconds per frame, by kind."""
    connector = _connector(publisher)
    received, now = connector.received, time.perf_counter_ns
    samples: dict[str, list[float]] = {"depth": [], "trade": [], "quote": []}
    for raw in frames:
        if raw.startswith(_SNAPSHOT):
            _feed_snapshot(connector, raw)
            continue
        began = now()
        received(raw)
        took = (now() - began) / 1000
        head = raw[:40]
        samples["depth" if b"@depth" in head else "trade" if b"@trade" in head else "quote"].append(took)
    return samples


def _compare(frames: list[bytes], publisher: Publisher | None, every: int = 1000) -> tuple[int, bool]:
    """Compare the whole book with the naive one each ``every`` update ids."""
    connector = _connector(publisher)
    naive = NaiveHandler()
    book = connector.session.symbols["BTCUSDT"].book
    compared, next_at = 0, 0
    for raw in frames:
        if raw.startswith(_SNAPSHOT):
            _feed_snapshot(connector, raw)
            naive.snapshot(raw)
            continue
        connector.received(raw)
        naive.frame(raw)
        if naive.last_id and naive.last_id >= next_at and book.valid:
            next_at = naive.last_id + every
            compared += 1
            if book.last_id != naive.last_id or book.full() != naive.units():
                return compared, False
    return compared, book.full() == naive.units()


def _peer(frames: list[bytes]) -> float:
    naive = NaiveHandler()
    gc.collect()
    began = time.perf_counter()
    for raw in frames:
        if raw.startswith(_SNAPSHOT):
            naive.snapshot(raw)
        else:
            naive.frame(raw)
    return len(frames) / (time.perf_counter() - began)


def measure(frames: list[bytes], source: str, passes: int) -> BenchReport:
    """Run everything. Ours and the peer take turns, so that both see the same machine."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = Publisher(context, "tcp://127.0.0.1:*")
    rates: list[tuple[float, float]] = []
    lists: list[float] = []
    peers: list[float] = []
    try:
        _pass(frames, publisher)  # warm up
        for _ in range(passes):
            rates.append(_pass(frames, publisher))
            lists.append(_pass(frames, None)[0])
            peers.append(_peer(frames))
        samples = _latencies(frames, publisher)
        compared, equal = _compare(frames, publisher)
    finally:
        publisher.close()
        context.term()
    rate, per_cpu = (statistics.median(values) for values in zip(*rates, strict=True))
    rows = [
        Row("bytes to published", "frames/s", rate, passes, target=f">= {TARGET:,}/s", ok=rate >= TARGET),
        Row("bytes to published, per CPU second", "frames/s", per_cpu, passes),
        Row(
            "bytes to a list",
            "frames/s",
            statistics.median(lists),
            passes,
            peer=statistics.median(peers),
            peer_name=PEER,
        ),
        timed_row("bytes to published, all", "us", [value for values in samples.values() for value in values]),
        *(timed_row(f"bytes to published, {kind}", "us", values) for kind, values in samples.items() if values),
        Row("books compared, each 1,000 update ids", "books", compared, compared, target="all equal", ok=equal),
    ]
    setting = {
        "frames": f"{len(frames):,} of {source}",
        "rates": "median of the passes",
        "published by": "the host's publisher: ZeroMQ PUB over TCP, no subscriber",
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return BenchReport("connector", tuple(rows), setting)


def main(arguments: list[str] | None = None) -> int:
    """Run and print. Exit code 0, or 1 when the books differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.connector", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--capture", type=Path, default=_CAPTURE)
    parser.add_argument("--passes", type=int, default=5, help="5 or more")
    options = parser.parse_args(arguments)
    if options.capture.exists():
        frames, source = [raw for _, raw in read_capture(options.capture)], options.capture.name
    else:
        frames, source = [raw for _, raw in synthetic(600.0, 7)], "a synthetic capture, 600 s, seed 7"
    report = measure(frames, source, max(5, options.passes))
    report.show(as_json=options.json)
    return 0 if report.rows[-1].ok else 1


if __name__ == "__main__":
    sys.exit(main())
