"""One Binance spot connection as a state machine: ``step(event, now) -> effects``. Pure.

It subscribes, keeps each symbol's book by the venue's documented procedure, judges each channel's silence, asks for
snapshots and reconnections, and never serves a book it cannot vouch for. The shell owns socket, clock and randomness.
"""

from collections import deque
from collections.abc import Sequence

from actors.connectors import binance_codec as wire
from actors.connectors.binance_state import SessionRules, SymbolState
from actors.connectors.book import BookError, GapError
from actors.connectors.channels import Channel
from actors.connectors.effects import (
    Connected,
    Disconnected,
    Drop,
    Effect,
    Event,
    FetchSnapshot,
    FrameReceived,
    Note,
    Publish,
    Ready,
    Reconnect,
    Send,
    SnapshotArrived,
    SnapshotFailed,
    Ticked,
)
from actors.connectors.messages import BookUpdate, Quote, Trade, encode
from actors.connectors.reconnect import reconnect_delay
from actors.connectors.units import parse_fast

#: Messages we send per second; the venue cuts at more than 5, and our pongs count (VENUES.md)
SENDS_PER_SECOND = 4
#: deltas kept while a snapshot is fetched: 1,000 s of the 100 ms channel
BUFFER_LIMIT = 10_000
NOTHING: tuple[Effect, ...] = ()


def book_mark(update_id: int, *, snapshot: bool = False) -> int:
    """The mark of a book update that ends at ``update_id``: a snapshot comes behind the delta that ends there too, so
    that a reader who has that delta is not denied the whole book.
    """
    return 2 * update_id + snapshot


class BinanceSession:
    """The state machine of one connector, across its connections.

    Args:
        symbols: in upper case, such as ``BTCUSDT``.
        rules: see ``SessionRules``.
    """

    def __init__(self, symbols: Sequence[str], rules: SessionRules | None = None) -> None:
        self.rules = SessionRules() if rules is None else rules
        self.symbols = {symbol: SymbolState(symbol, self.rules) for symbol in symbols}
        self.channels: list[Channel] = []
        for state in self.symbols.values():
            self.channels += [state.trade, state.depth, *([state.quote] if self.rules.quotes else [])]
        self._codec = wire.Codec(tuple(channel.name for channel in self.channels))
        self._depths = {state.depth.name: state for state in self.symbols.values()}
        self.connected = False
        self.subscribed = False
        self.malformed = 0
        self.unknown = 0
        self.connections = 0
        self.failures = 0
        self._was_ready = False
        self._connected_at = 0.0
        self._healthy_since: float | None = None
        self._dropping = False
        self._planned = ""
        self._requests = 0
        self._pending: dict[int, float] = {}
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._sent: deque[float] = deque(maxlen=SENDS_PER_SECOND)
        self._noted_malformed = float("-inf")
        self._faded = 0.0

    # ---- events -------------------------------------------------------------------------------------------------

    def step(self, event: Event, now: float) -> Sequence[Effect]:
        """Take one event at ``now`` (monotonic seconds) and say what is to be done, in order."""
        if isinstance(event, FrameReceived):
            return self.frame(event.raw, now)
        if isinstance(event, Ticked):
            return self._ticked(now)
        if isinstance(event, Connected):
            return self._on_connected(now)
        if isinstance(event, SnapshotArrived):
            return self._snapshot_arrived(event, now)
        if isinstance(event, SnapshotFailed):
            return self._snapshot_failed(event, now)
        return self._on_disconnected(event, now)

    def frame(self, raw: bytes, now: float) -> Sequence[Effect]:
        """``step(FrameReceived(raw), now)`` without the event object: the hot path."""
        try:
            event = self._codec.decode(raw)
            if type(event) is wire.TradeEvent:
                return self._on_trade(event, now)
            if type(event) is wire.Depth:
                return self._on_depth(event, now)
            if type(event) is wire.BookTicker:
                return self._on_quote(event, now)
        except wire.MalformedError as error:
            return self._malformed(str(error), now)
        if isinstance(event, wire.Ack):
            self._pending.pop(event.id, None)
            if not self._pending and not self._outbox:
                self.subscribed = True
            return self._check_ready()
        if isinstance(event, wire.Refusal):
            return self._drop(f"refused by the venue: {event.code} {event.message}")
        # the venue announces its end minutes ahead; being early costs one snapshot
        return self._drop("server shutdown announced", planned=True)

    def _on_connected(self, now: float) -> Sequence[Effect]:
        self.connected = True
        self.subscribed = False
        self.connections += 1
        self._connected_at = now
        self._healthy_since = None
        self._dropping = False
        self._planned = ""
        self._pending.clear()
        self._outbox.clear()
        self._sent.clear()
        for channel in self.channels:
            channel.connected(now)
        effects: list[Effect] = []
        for state in self.symbols.values():
            state.joined = False
            effects += self._invalidate(state, "connecting")
        names = [channel.name for channel in self.channels]
        for start in range(0, len(names), wire.STREAMS_PER_MESSAGE):
            self._ask(names[start : start + wire.STREAMS_PER_MESSAGE])
        effects += self._flush(now)
        return effects

    def _on_disconnected(self, event: Disconnected, now: float) -> Sequence[Effect]:
        effects: list[Effect] = []
        if self.connected:
            effects.append(Note("disconnected", "", event.reason))
        self.connected = False
        self.subscribed = False
        for state in self.symbols.values():
            effects += self._invalidate(state, "disconnected")
        if self._planned:
            delay = self.rules.jitter * event.roll
        else:
            self.failures += 1
            rules = self.rules
            delay = reconnect_delay(self.failures, event.roll, base=rules.base, cap=rules.cap, jitter=rules.jitter)
        effects.append(Reconnect(now + delay, event.reason))
        return effects

    # ---- data ---------------------------------------------------------------------------------------------------

    def _on_trade(self, event: wire.TradeEvent, now: float) -> Sequence[Effect]:
        state = self.symbols.get(event.symbol)
        if state is None:
            self.unknown += 1
            return NOTHING
        try:
            price = parse_fast(event.price)
            quantity = parse_fast(event.quantity)
        except ValueError as error:
            return self._malformed(f"trade: {error}", now)
        if price <= 0 or quantity <= 0:
            return self._malformed(f"trade {event.id}: {price} x {quantity}", now)
        state.trade.arrived(now)
        trade_id = event.id
        last = state.trade_id
        if trade_id != last + 1 and state.trades:
            if trade_id > last:
                state.missed_trades += trade_id - last - 1
            elif state.joined:
                return NOTHING  # seen already on this connection
            # else: a venue that was restored counts anew; only a connection's own ids must rise
        state.joined = True
        state.trade_id = trade_id
        state.trades += 1
        message = Trade(state.symbol, trade_id, price, quantity, event.buyer_is_maker, event.trade_ms)
        return (Publish(state.trade_topic, encode(message), trade_id),)

    def _on_quote(self, event: wire.BookTicker, now: float) -> Sequence[Effect]:
        state = self.symbols.get(event.symbol)
        if state is None:
            self.unknown += 1
            return NOTHING
        try:
            message = Quote(
                state.symbol,
                event.update_id,
                parse_fast(event.bid),
                parse_fast(event.bid_quantity),
                parse_fast(event.ask),
                parse_fast(event.ask_quantity),
            )
        except ValueError as error:
            return self._malformed(f"bookTicker: {error}", now)
        if message.bid <= 0 or message.bid >= message.ask:
            return self._malformed(f"bookTicker: bid {message.bid} ask {message.ask}", now)
        state.quote.arrived(now)
        return (Publish(state.quote_topic, encode(message), event.update_id),)

    def _on_depth(self, event: wire.Depth, now: float) -> Sequence[Effect]:
        state = self.symbols.get(event.symbol)
        if state is None:
            self.unknown += 1
            return NOTHING
        book = state.book
        if not book.valid:
            state.depth.arrived(now)
            return self._buffer(state, event, now)
        bids, asks = event.levels()
        state.depth.arrived(now)
        try:
            if not book.apply(event.first_id, event.last_id, bids, asks):
                return NOTHING
        except BookError as error:
            if isinstance(error, GapError):
                state.gaps += 1
            return [*self._invalidate(state, str(error)), *self._buffer(state, event, now)]
        if not state.served:
            return self._serve(state, event.event_ms)
        update = BookUpdate(
            state.symbol,
            True,
            "",
            False,
            event.first_id,
            event.last_id,
            event.event_ms,
            bids,
            asks,
            book.best_bid,
            book.best_ask,
        )
        return (Publish(state.book_topic, encode(update), book_mark(event.last_id)),)

    def _malformed(self, text: str, now: float) -> Sequence[Effect]:
        self.malformed += 1
        if now - self._noted_malformed < 10.0:
            return NOTHING
        self._noted_malformed = now
        return (Note("malformed", "", text[:200]),)

    # ---- books --------------------------------------------------------------------------------------------------

    def _invalidate(self, state: SymbolState, reason: str) -> list[Effect]:
        """Mark the book wrong and drop what was under way for it; readers are told if they held it for valid."""
        was_served = state.served
        state.book.invalidate(reason)
        state.buffer.clear()
        state.generation += 1
        state.fetching = False
        state.fetch_at = None
        state.attempts = 0
        return self._withdraw(state, reason) if was_served else []

    def _withdraw(self, state: SymbolState, reason: str) -> list[Effect]:
        state.served = False
        self._healthy_since = None
        update = BookUpdate(state.symbol, False, reason, False, 0, state.book.last_id, 0, [], [], 0, 0)
        return [Publish(state.book_topic, encode(update)), Note("book_invalid", state.symbol, reason)]

    def restate(self, state: SymbolState) -> Sequence[Effect]:
        """Say anew how the book of one symbol is: of a promoted standby, whose readers go by what its primary said.

        A valid book is said whole: its primary's last word may have been that it was not valid.
        """
        if state.served:
            return (self._whole(state, 0),)
        reason = state.book.reason or "stale"
        update = BookUpdate(state.symbol, False, reason, False, 0, state.book.last_id, 0, [], [], 0, 0)
        return (Publish(state.book_topic, encode(update)),)

    def _whole(self, state: SymbolState, event_ms: int) -> Publish:
        book = state.book
        bids, asks = book.full()
        update = BookUpdate(
            state.symbol, True, "", True, 0, book.last_id, event_ms, bids, asks, book.best_bid, book.best_ask
        )
        return Publish(state.book_topic, encode(update), book_mark(book.last_id, snapshot=True))

    def _serve(self, state: SymbolState, event_ms: int) -> list[Effect]:
        """Tell readers that the book is valid, with the whole of it."""
        state.served = True
        return [self._whole(state, event_ms), Note("book_valid", state.symbol), *self._check_ready()]

    def _buffer(self, state: SymbolState, event: wire.Depth, now: float) -> Sequence[Effect]:
        if len(state.buffer) >= BUFFER_LIMIT:
            state.buffer.clear()
        if state.buffer and event.first_id != state.buffer[-1].last_id + 1:
            if event.last_id <= state.buffer[-1].last_id:
                return NOTHING
            state.gaps += 1
            state.buffer.clear()
        state.buffer.append(event)
        if state.fetching or state.fetch_at is not None:
            return NOTHING
        # the snapshot is asked for after the first delta, so that it cannot be older than the deltas we have
        return self._fetch(state)

    def _fetch(self, state: SymbolState) -> Sequence[Effect]:
        state.fetching = True
        state.fetch_at = None
        state.book.begin_sync()
        state.generation += 1
        return (FetchSnapshot(state.symbol, state.generation),)

    def _refetch(self, state: SymbolState, now: float, wait: float = 0.0) -> None:
        state.fetching = False
        state.attempts += 1
        delay = reconnect_delay(state.attempts, 0.0, base=self.rules.base, cap=self.rules.cap, immediate=0)
        state.fetch_at = now + max(wait, delay)

    def _snapshot_failed(self, event: SnapshotFailed, now: float) -> Sequence[Effect]:
        state = self.symbols.get(event.symbol)
        if state is None or event.generation != state.generation or not self.connected:
            return NOTHING
        self._refetch(state, now, event.retry_after)
        return (Note("snapshot_failed", state.symbol, event.reason),)

    def _snapshot_arrived(self, event: SnapshotArrived, now: float) -> Sequence[Effect]:
        state = self.symbols.get(event.symbol)
        if state is None or event.generation != state.generation or not self.connected:
            return NOTHING
        try:
            last_id, bids, asks = wire.decode_snapshot(event.raw)
            if state.buffer and state.buffer[0].first_id > last_id + 1:
                # older than the first delta we have: the documented procedure is to ask again
                self._refetch(state, now)
                return NOTHING
            book = state.book
            book.load(last_id, bids, asks)
            event_ms = 0
            for delta in state.buffer:
                if delta.last_id > last_id:
                    book.apply(delta.first_id, delta.last_id, *delta.levels())
                    event_ms = delta.event_ms
        except wire.MalformedError as error:
            state.book.invalidate(str(error))
            self._refetch(state, now)
            return self._malformed(str(error), now)
        except BookError as error:
            state.buffer.clear()
            self._refetch(state, now)
            return (Note("snapshot_unusable", state.symbol, str(error)),)
        state.buffer.clear()
        state.fetching = False
        state.attempts = 0
        state.snapshots += 1
        if state.snapshots > 1:
            state.resyncs += 1
        return self._serve(state, event_ms)

    def _check_ready(self) -> list[Effect]:
        if self._was_ready or not self.subscribed or not self.book_valid:
            return []
        self._was_ready = True
        return [Ready()]

    @property
    def reconnects(self) -> int:
        """Connections made after the first one of this life."""
        return max(0, self.connections - 1)

    @property
    def book_valid(self) -> bool:
        """True when every book is valid and its channel speaks."""
        return all(state.served for state in self.symbols.values())

    # ---- time ---------------------------------------------------------------------------------------------------

    def _ticked(self, now: float) -> Sequence[Effect]:
        if not self.connected or self._dropping:
            return NOTHING
        effects: list[Effect] = list(self._flush(now))
        if any(deadline < now for deadline in self._pending.values()):
            return [*effects, *self._drop("no answer to a subscription")]
        if now - self._connected_at >= self.rules.rotate_after:
            return [*effects, *self._drop("planned rotation", planned=True)]
        for state in self.symbols.values():
            if state.fetch_at is not None and state.fetch_at <= now:
                effects += self._fetch(state)
        effects += self._judge(now)
        if self.subscribed and self.book_valid:
            if self._healthy_since is None:
                self._healthy_since = now
            elif self.failures and now - self._healthy_since >= self.rules.healthy_after:
                self.failures = 0
        return effects

    def _judge(self, now: float) -> list[Effect]:
        """Find channels that are silent for too long: tell, ask again at twice the bound, reconnect at three times.

        A connection on which nothing at all arrives is given up at the first bound: asking again would be in vain.
        """
        if now - self._faded >= 1.0:
            self._faded = now
            for channel in self.channels:
                channel.fade()
        effects: list[Effect] = []
        newest = max(channel.last for channel in self.channels)
        again: list[str] = []
        for channel in self.channels:
            age = now - channel.last
            allowed = channel.allowed()
            if age <= allowed:
                continue
            if not channel.stale:
                channel.stale = True
                effects.append(Note("channel_stale", "", f"{channel.name}: {age:.1f} s, allowed {allowed:.1f} s"))
                silent = self._depths.get(channel.name)
                if silent is not None and silent.served:
                    effects += self._withdraw(silent, "stale")
            if age > 3.0 * allowed or now - newest > allowed:
                channel.asked_again = True
                return [*effects, *self._drop(f"channel {channel.name} is mute for {age:.1f} s")]
            if age > 2.0 * allowed and not channel.asked_again:
                channel.asked_again = True
                again.append(channel.name)
        if again:
            self._ask(again, on=False)
            self._ask(again)
            effects += self._flush(now)
        return effects

    # ---- requests -----------------------------------------------------------------------------------------------

    def _ask(self, streams: list[str], *, on: bool = True) -> None:
        self._requests += 1
        self._outbox.append((self._requests, wire.subscribe(self._requests, streams, on=on)))

    def _flush(self, now: float) -> list[Effect]:
        """Send what waits, as far as the venue's rate allows."""
        effects: list[Effect] = []
        while self._outbox and (len(self._sent) < SENDS_PER_SECOND or now - self._sent[0] >= 1.0):
            request_id, payload = self._outbox.popleft()
            self._pending[request_id] = now + self.rules.ack_timeout
            self._sent.append(now)
            effects.append(Send(payload))
        return effects

    def _drop(self, reason: str, *, planned: bool = False) -> list[Effect]:
        if self._dropping:
            return []
        self._dropping = True
        self._planned = reason if planned else ""
        return [Note("dropping", "", reason), Drop(reason)]
