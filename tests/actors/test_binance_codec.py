import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.connectors import binance_codec as wire

STREAMS = ("btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@bookTicker")
TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":5,"s":"BTCUSDT","t":77,"p":"61837.63000000",'
    b'"q":"0.02000000","T":4,"m":true,"M":true}}'
)
DEPTH = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":5,"s":"BTCUSDT","U":7,"u":9,'
    b'"b":[["61837.63000000","0.10000000"]],"a":[["61838.00000000","0.00000000"]]}}'
)
TICKER = (
    b'{"stream":"btcusdt@bookTicker","data":{"u":9,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
    b'"a":"61837.64000000","A":"1.54698000"}}'
)
codec = wire.Codec(STREAMS)


def test_trade() -> None:
    event = codec.decode(TRADE)
    assert isinstance(event, wire.TradeEvent)
    assert (event.symbol, event.id, event.price, event.trade_ms, event.buyer_is_maker) == (
        "BTCUSDT",
        77,
        "61837.63000000",
        4,
        True,
    )


def test_depth() -> None:
    event = codec.decode(DEPTH)
    assert isinstance(event, wire.Depth)
    assert (event.first_id, event.last_id) == (7, 9)
    assert event.levels() == ([(6183763000000, 10000000)], [(6183800000000, 0)])


def test_ticker() -> None:
    event = codec.decode(TICKER)
    assert isinstance(event, wire.BookTicker)
    assert (event.bid, event.ask_quantity) == ("61837.63000000", "1.54698000")


@pytest.mark.parametrize("raw", [TRADE, DEPTH, TICKER])
def test_the_long_way_reads_the_same(raw: bytes) -> None:
    assert wire.Codec().decode(raw) == codec.decode(raw)
    bare = raw[raw.index(b'"data":') + 7 : -1]
    assert codec.decode(bare) == codec.decode(raw)
    body = msgspec.json.decode(raw)
    turned = msgspec.json.encode({"data": body["data"], "stream": body["stream"]})
    assert codec.decode(turned) == codec.decode(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"result":null,"id":3}', wire.Ack(3)),
        (b'{"error":{"code":2,"msg":"Invalid request"},"id":3}', wire.Refusal(3, 2, "Invalid request")),
        (b'{"code":0,"msg":"Unknown property","id":1}', wire.Refusal(1, 0, "Unknown property")),
        (b'{"e":"serverShutdown","E":1770123456789}', wire.ServerShutdown()),
        (b'{"event":{"e":"serverShutdown","E":1770123456789}}', wire.ServerShutdown()),
        (b'{"stream":"","data":{"e":"serverShutdown","E":1}}', wire.ServerShutdown()),
    ],
)
def test_other_frames(raw: bytes, expected: wire.Frame) -> None:
    assert codec.decode(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"id":3}',
        b"\xff\xfe",
        b'{"e":"kline"}',
        TRADE[:-30],
        TRADE.replace(b'"t":77,', b""),
        TRADE.replace(b'"t":77', b'"t":"77"'),
        TRADE.replace(b'"e":"trade"', b'"e":"depthUpdate"'),
        DEPTH.replace(b'"u":9', b'"u":null'),
        b'{"data":' * 5000,
        b'{"data":' * 5000 + b"1" + b"}" * 5000,
        b'{"stream":"btcusdt@trade","x":' + b"[" * 100_000,
    ],
)
def test_malformed_frames_are_refused(raw: bytes) -> None:
    with pytest.raises(wire.MalformedError):
        codec.decode(raw)


def test_levels_that_are_no_numbers_are_malformed() -> None:
    event = codec.decode(DEPTH.replace(b"0.10000000", b"0.1x000000"))
    assert isinstance(event, wire.Depth)
    with pytest.raises(wire.MalformedError):
        event.levels()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_malformed(raw: bytes) -> None:
    with contextlib.suppress(wire.MalformedError):
        assert isinstance(codec.decode(raw), wire.Frame)


@given(st.sampled_from([TRADE, DEPTH, TICKER]), st.data())
def test_a_damaged_frame_is_refused_or_of_its_kind(raw: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw) - 1))
    damaged = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    try:
        event = codec.decode(damaged)
        if isinstance(event, wire.Depth):
            event.levels()
    except wire.MalformedError:
        return
    assert type(event) is type(codec.decode(raw))


def test_snapshot() -> None:
    raw = b'{"lastUpdateId":8,"bids":[["1.50000000","2.00000000"]],"asks":[]}'
    assert wire.decode_snapshot(raw) == (8, [(150000000, 200000000)], [])
    for bad in (b"{}", b'{"lastUpdateId":8}', raw.replace(b"1.5", b"x.5"), b"<html>busy</html>"):
        with pytest.raises(wire.MalformedError):
            wire.decode_snapshot(bad)


def test_subscribe() -> None:
    assert msgspec.json.decode(wire.subscribe(4, ["a@trade"])) == {
        "method": "SUBSCRIBE",
        "params": ["a@trade"],
        "id": 4,
    }
    assert b"UNSUBSCRIBE" in wire.subscribe(5, ["a@trade"], on=False)
