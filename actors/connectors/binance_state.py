"""What a Binance session goes by and what it knows of each symbol. Pure."""

import msgspec

from actors.connectors import binance_codec as wire
from actors.connectors.book import Book
from actors.connectors.channels import Channel


class SessionRules(msgspec.Struct, frozen=True):
    """The numbers a session goes by; seconds.

    Attributes:
        quotes: subscribe to the best bid and ask as well.
        depth_ms: 100 or 1000.
        trade_stale, depth_stale, quote_stale: silence always allowed per channel; a channel that is usually quieter
            is given three times its usual longest silence.
        ack_timeout: for the answer to a subscription (5 s: GRD-2 query).
        rotate_after: age at which a connection is replaced, well before the venue's cut at 24 h.
        healthy_after: a connection with valid books for this long resets the backoff.
        base, cap, jitter: reconnection delays (004 §10).
    """

    quotes: bool = False
    depth_ms: int = 100
    trade_stale: float = 60.0
    depth_stale: float = 3.0
    quote_stale: float = 10.0
    ack_timeout: float = 5.0
    rotate_after: float = 23.5 * 3600
    healthy_after: float = 10.0
    base: float = 0.1
    cap: float = 30.0
    jitter: float = 0.05


class SymbolState:
    """What a session knows of one symbol. Read by the shell for ``status`` and ``top``."""

    __slots__ = (
        "attempts",
        "book",
        "book_topic",
        "buffer",
        "depth",
        "fetch_at",
        "fetching",
        "gaps",
        "generation",
        "joined",
        "missed_trades",
        "quote",
        "quote_topic",
        "resyncs",
        "served",
        "snapshots",
        "symbol",
        "trade",
        "trade_id",
        "trade_topic",
        "trades",
    )

    def __init__(self, symbol: str, rules: SessionRules) -> None:
        low = symbol.lower()
        names = wire.stream_names(symbol, quotes=True, depth_ms=rules.depth_ms)
        self.symbol = symbol
        self.trade_topic = f"trade.{low}"
        self.book_topic = f"book.{low}"
        self.quote_topic = f"quote.{low}"
        self.trade = Channel(names[0], "trade", rules.trade_stale)
        self.depth = Channel(names[1], "depth", rules.depth_stale)
        self.quote = Channel(names[2], "quote", rules.quote_stale)
        self.book = Book()
        #: readers were told that the book is valid
        self.served = False
        self.buffer: list[wire.Depth] = []
        self.generation = 0
        self.fetching = False
        #: when to fetch a snapshot (None: none is due)
        self.fetch_at: float | None = None
        self.attempts = 0
        self.snapshots = 0
        self.resyncs = 0
        self.gaps = 0
        self.trades = 0
        self.trade_id = 0
        self.missed_trades = 0
        self.joined = False
