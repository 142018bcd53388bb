"""Binance spot market data on the wire: combined-stream frames and the REST depth snapshot. Pure.

Decoding is typed: a frame that lacks a field, or has one of another kind, is ``Malformed``, never half-read.
"""

import msgspec

from actors.connectors.units import Level, parse_levels

#: Streams one SUBSCRIBE may name; Binance closes on frames that are too long, and 1,024 streams is its limit.
STREAMS_PER_MESSAGE = 200


class MalformedError(Exception):
    """The bytes are no frame of this protocol. To be counted and dropped."""


class Depth(
    msgspec.Struct,
    tag_field="e",
    tag="depthUpdate",
    gc=False,
    rename={"event_ms": "E", "symbol": "s", "first_id": "U", "last_id": "u", "bids": "b", "asks": "a"},
):
    """A change of the book: update ids ``first_id`` to ``last_id``; quantities absolute, 0 removes the level."""

    event_ms: int
    symbol: str
    first_id: int
    last_id: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]

    def levels(self) -> tuple[list[Level], list[Level]]:
        """Bids and asks in units of 1e-8.

        Raises:
            MalformedError: a number among them is none.
        """
        try:
            return parse_levels(self.bids), parse_levels(self.asks)
        except ValueError as error:
            raise MalformedError(f"depthUpdate: {error}") from None


class TradeEvent(
    msgspec.Struct,
    tag_field="e",
    tag="trade",
    gc=False,
    rename={
        "event_ms": "E",
        "symbol": "s",
        "id": "t",
        "price": "p",
        "quantity": "q",
        "trade_ms": "T",
        "buyer_is_maker": "m",
    },
):
    """One trade."""

    event_ms: int
    symbol: str
    id: int
    price: str
    quantity: str
    trade_ms: int
    buyer_is_maker: bool


class BookTicker(
    msgspec.Struct,
    gc=False,
    rename={"update_id": "u", "symbol": "s", "bid": "b", "bid_quantity": "B", "ask": "a", "ask_quantity": "A"},
):
    """Best bid and ask at book update ``update_id``."""

    update_id: int
    symbol: str
    bid: str
    bid_quantity: str
    ask: str
    ask_quantity: str


class Ack(msgspec.Struct, gc=False):
    """The venue's yes to the request with this id."""

    id: int


class Refusal(msgspec.Struct, gc=False):
    """The venue's no. ``id`` is None when it belongs to no request."""

    id: int | None
    code: int
    message: str


class ServerShutdown(msgspec.Struct, gc=False):
    """The server will close this connection soon; another one is to be opened."""


class Snapshot(msgspec.Struct, gc=False, rename={"last_id": "lastUpdateId"}):
    """``GET /api/v3/depth``: the book at update ``last_id``."""

    last_id: int
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


Frame = Depth | TradeEvent | BookTicker | Ack | Refusal | ServerShutdown


class _DepthFrame(msgspec.Struct, gc=False):
    data: Depth


class _TradeFrame(msgspec.Struct, gc=False):
    data: TradeEvent


class _TickerFrame(msgspec.Struct, gc=False):
    data: BookTicker


class _Error(msgspec.Struct):
    code: int
    msg: str


_ABSENT = msgspec.Raw(b"")


class _Any(msgspec.Struct):
    """Whatever may come; which fields are there tells what it is."""

    stream: str | None = None
    data: msgspec.Raw = _ABSENT
    event: msgspec.Raw = _ABSENT
    id: int | None = None
    result: msgspec.Raw = _ABSENT
    error: _Error | None = None
    code: int | None = None
    msg: str | None = None
    e: str | None = None
    s: str | None = None
    u: int | None = None


_any = msgspec.json.Decoder(_Any)
_events: msgspec.json.Decoder[Depth | TradeEvent] = msgspec.json.Decoder(Depth | TradeEvent)
_ticker = msgspec.json.Decoder(BookTicker)
_snapshot = msgspec.json.Decoder(Snapshot)
_depth_frame = msgspec.json.Decoder(_DepthFrame)
_trade_frame = msgspec.json.Decoder(_TradeFrame)
_ticker_frame = msgspec.json.Decoder(_TickerFrame)
_encoder = msgspec.json.Encoder()

_PREFIX = b'{"stream":"'
_Typed = msgspec.json.Decoder[_DepthFrame] | msgspec.json.Decoder[_TradeFrame] | msgspec.json.Decoder[_TickerFrame]


def stream_names(symbol: str, *, quotes: bool, depth_ms: int) -> tuple[str, ...]:
    """The streams of one symbol (``BTCUSDT``): trades, depth each ``depth_ms`` (100 or 1000), and quotes if wanted."""
    low = symbol.lower()
    depth = f"{low}@depth@100ms" if depth_ms == 100 else f"{low}@depth"
    names = (f"{low}@trade", depth)
    return (*names, f"{low}@bookTicker") if quotes else names


class Codec:
    """Decoder of one connection's frames. Frames of the streams it was told of take a short way."""

    def __init__(self, streams: tuple[str, ...] = ()) -> None:
        self._typed: dict[bytes, _Typed] = {}
        for stream in streams:
            kind = stream.partition("@")[2]
            decoder: _Typed
            if kind == "trade":
                decoder = _trade_frame
            elif kind == "bookTicker":
                decoder = _ticker_frame
            else:
                decoder = _depth_frame
            self._typed[_PREFIX + stream.encode()] = decoder

    def decode(self, raw: bytes) -> Frame:
        """One frame.

        Raises:
            MalformedError: it is not one this protocol knows.
        """
        # the stream's name comes first in all frames of the venue; where it does not, the long way reads the frame
        decoder = self._typed.get(raw[: raw.find(b'"', 11)])
        try:
            if decoder is not None:
                return decoder.decode(raw).data
            return _decode_any(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedError(str(error)) from None


def _decode_any(raw: bytes | msgspec.Raw) -> Frame:
    """Decode a frame by the fields it has, wrapped as a combined stream or not."""
    frame = _any.decode(raw)
    if bytes(frame.data):
        return _decode_any(frame.data)
    if bytes(frame.event):
        return _decode_any(frame.event)
    if frame.e in ("depthUpdate", "trade"):
        return _events.decode(raw)
    if frame.e == "serverShutdown":
        return ServerShutdown()
    if frame.e is None and frame.u is not None and frame.s is not None:
        return _ticker.decode(raw)
    if frame.error is not None:
        return Refusal(frame.id, frame.error.code, frame.error.msg)
    if frame.code is not None and frame.msg is not None:
        return Refusal(frame.id, frame.code, frame.msg)
    if bytes(frame.result) and frame.id is not None:
        return Ack(frame.id)
    raise MalformedError(f"unknown frame {bytes(raw)[:60]!r}")


def decode_snapshot(raw: bytes) -> tuple[int, list[Level], list[Level]]:
    """A REST depth snapshot: last update id, bids, asks in units of 1e-8.

    Raises:
        MalformedError: it is none.
    """
    try:
        snapshot = _snapshot.decode(raw)
        return snapshot.last_id, parse_levels(snapshot.bids), parse_levels(snapshot.asks)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise MalformedError(f"snapshot: {error}") from None


def subscribe(request_id: int, streams: list[str], *, on: bool = True) -> bytes:
    """A request to begin (or end) streams."""
    method = "SUBSCRIBE" if on else "UNSUBSCRIBE"
    return _encoder.encode({"method": method, "params": streams, "id": request_id})
