"""The book and the session over recorded frames, against a naive replay."""

import json

import msgspec
import pytest

from actors.connectors import binance_codec as wire
from actors.connectors.binance_session import BinanceSession
from actors.connectors.binance_state import SessionRules
from actors.connectors.book import Book, GapError
from actors.connectors.effects import Effect, FetchSnapshot, Publish, SnapshotArrived
from actors.connectors.messages import decode_book, decode_trade
from tests.actors.conftest import Lines
from tests.actors.helpers import NaiveBook, connect, play

_QUOTES = SessionRules(quotes=True)


def _compare(lines: Lines, every: int) -> int:
    """Play a capture; compare the book, the naive one and a reader's each ``every`` update ids."""
    session = BinanceSession(["BTCUSDT"], _QUOTES)
    naive, reader = NaiveBook(), Book()
    effects: list[Effect] = connect(session, lines[0][0] / 1e9)
    generation, compared, next_at = 0, 0, 1
    state = session.symbols["BTCUSDT"]
    waiting: list[dict[str, object]] = []
    for stamp, raw in lines:
        if raw.startswith(b'{"lastUpdateId"'):
            naive.load(raw)
            for data in waiting:
                naive.apply(data)
            next_at = naive.last_id
            effects = [*session.step(SnapshotArrived("BTCUSDT", generation, raw), stamp / 1e9)]
        else:
            effects = [*session.frame(raw, stamp / 1e9)]
            if b"depthUpdate" in raw:
                data = json.loads(raw)["data"]
                if naive.last_id:
                    naive.apply(data)
                else:
                    waiting.append(data)
        for effect in effects:
            if isinstance(effect, FetchSnapshot):
                generation = effect.generation
            elif isinstance(effect, Publish) and effect.topic == "book.btcusdt":
                update = decode_book(effect.payload)
                if update.snapshot:
                    reader.load(update.last_id, update.bids, update.asks)
                else:
                    reader.apply(update.first_id, update.last_id, update.bids, update.asks)
        if naive.last_id >= next_at and b"depthUpdate" in raw:
            compared += 1
            next_at = naive.last_id + every
            assert state.book.last_id == naive.last_id
            assert state.book.full() == naive.units()
            assert reader.digest() == state.book.digest()
    assert state.book.full() == naive.units()
    assert session.malformed == state.gaps == state.missed_trades == 0
    assert session.book_valid
    return compared


@pytest.mark.captures
def test_real_capture_equals_a_naive_replay_each_1000_updates(real_capture: Lines) -> None:
    assert _compare(real_capture, 1000) >= 150


def test_small_capture_equals_a_naive_replay(small_capture: Lines) -> None:
    assert _compare(small_capture, 100) >= 25


@pytest.mark.captures
def test_every_trade_of_the_real_capture_is_published_exactly(real_capture: Lines) -> None:
    session = BinanceSession(["BTCUSDT"], _QUOTES)
    effects = play(session, real_capture)
    got = [decode_trade(e.payload) for e in effects if isinstance(e, Publish) and e.topic == "trade.btcusdt"]
    sent = [json.loads(raw)["data"] for _, raw in real_capture if b'"e":"trade"' in raw]
    assert [(t.id, t.price, t.quantity, t.buyer_is_maker) for t in got] == [
        (d["t"], int(d["p"].replace(".", "")), int(d["q"].replace(".", "")), d["m"]) for d in sent
    ]


@pytest.mark.captures
def test_quotes_agree_with_the_book_where_their_ids_meet(real_capture: Lines) -> None:
    session = BinanceSession(["BTCUSDT"], _QUOTES)
    codec = wire.Codec()
    tickers = {}
    for _, raw in real_capture:
        if b"bookTicker" in raw[:30]:
            event = codec.decode(raw)
            assert isinstance(event, wire.BookTicker)
            tickers[event.update_id] = event
    met = 0
    for effect in play(session, real_capture):
        if isinstance(effect, Publish) and effect.topic == "book.btcusdt":
            update = decode_book(effect.payload)
            ticker = tickers.get(update.last_id)
            if ticker is not None:
                met += 1
                assert update.best_bid == int(ticker.bid.replace(".", ""))
                assert update.best_ask == int(ticker.ask.replace(".", ""))
    assert met > 100


def _every_drop_is_found(lines: Lines) -> int:
    deltas = [
        event for _, raw in lines if b"depthUpdate" in raw and isinstance(event := wire.Codec().decode(raw), wire.Depth)
    ]
    for index in range(1, len(deltas) - 1):
        before, after = deltas[index - 1], deltas[index + 1]
        book = Book()
        book.load(before.last_id, [], [])
        with pytest.raises(GapError):
            book.apply(after.first_id, after.last_id, *after.levels())
        assert not book.valid
    return len(deltas)


@pytest.mark.captures
def test_no_dropped_delta_of_the_real_capture_goes_unseen(real_capture: Lines) -> None:
    assert _every_drop_is_found(real_capture) == 3451


def test_no_dropped_delta_of_the_small_capture_goes_unseen(small_capture: Lines) -> None:
    assert _every_drop_is_found(small_capture) == 300


@pytest.mark.parametrize("dropped", [0, 1, 2, 3, 4, 50, 149, 297, 298])
def test_the_session_asks_for_a_resync_after_any_dropped_delta(small_capture: Lines, dropped: int) -> None:
    deltas = [index for index, (_, raw) in enumerate(small_capture) if b"depthUpdate" in raw]
    session = BinanceSession(["BTCUSDT"], _QUOTES)
    snapshot_at = next(index for index, (_, raw) in enumerate(small_capture) if b"lastUpdateId" in raw[:20])
    effects = play(session, small_capture, drop=deltas[dropped])
    fetches = sum(isinstance(effect, FetchSnapshot) for effect in effects)
    # a delta before the snapshot is made good by it
    assert fetches == (1 if deltas[dropped] < snapshot_at else 2)
    assert session.book_valid == (deltas[dropped] < snapshot_at)


def test_a_frame_out_of_order_is_no_wrong_book(small_capture: Lines) -> None:
    deltas = [index for index, (_, raw) in enumerate(small_capture) if b"depthUpdate" in raw]
    lines = list(small_capture)
    one, two = deltas[100], deltas[101]
    lines[one], lines[two] = (lines[one][0], lines[two][1]), (lines[two][0], lines[one][1])
    session = BinanceSession(["BTCUSDT"], _QUOTES)
    play(session, lines)
    assert session.symbols["BTCUSDT"].gaps >= 1
    assert not session.book_valid
    assert msgspec.json.decode(lines[one][1])["stream"] == "btcusdt@depth@100ms"
