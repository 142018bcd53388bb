"""What connectors publish. One type per topic, MessagePack arrays: fields are only ever added at the end. Pure.

=================== ============ =========================================
topic               type         when
=================== ============ =========================================
``trade.<symbol>``  ``Trade``    each trade
``quote.<symbol>``  ``Quote``    each change of the best bid or ask
``book.<symbol>``   ``BookUpdate`` each delta, each (re)sync, each end of being valid, twice after a promotion
=================== ============ =========================================

``<symbol>`` is in lower case. Prices and quantities are integers in units of 1e-8 (``units.SCALE``): exact.
"""

import msgspec

from actors.connectors.units import Level


class Trade(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One trade.

    Attributes:
        id: the venue's trade id, rising by 1 (Binance).
        price: units of 1e-8.
        quantity: units of 1e-8.
        buyer_is_maker: True when the seller crossed the spread.
        trade_ms: the venue's time of the trade, ms since the epoch.
    """

    symbol: str
    id: int
    price: int
    quantity: int
    buyer_is_maker: bool
    trade_ms: int


class Quote(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Best bid and ask as the venue says them, at its book update ``update_id``."""

    symbol: str
    update_id: int
    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int


class BookUpdate(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A change of an order book.

    A reader keeps a book by taking all levels of an update with ``snapshot`` and applying the others on top: quantity
    0 removes a level. After ``valid`` was False the next update with ``valid`` True is a snapshot.

    Attributes:
        valid: False: the book must not be used; ``reason`` says why.
        snapshot: the levels are the whole book, not changes.
        first_id: first venue update id in it.
        last_id: last venue update id in it.
        event_ms: the venue's time of the event, ms since the epoch (0: not known).
        bids: ``(price, quantity)`` in units of 1e-8; best first in a snapshot.
        asks: the same.
        best_bid: best bid after the update, units of 1e-8 (0: that side is empty).
        best_ask: the same for asks.
    """

    symbol: str
    valid: bool
    reason: str
    snapshot: bool
    first_id: int
    last_id: int
    event_ms: int
    bids: list[Level]
    asks: list[Level]
    best_bid: int
    best_ask: int


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_trade = msgspec.msgpack.Decoder(Trade).decode
decode_quote = msgspec.msgpack.Decoder(Quote).decode
decode_book = msgspec.msgpack.Decoder(BookUpdate).decode
