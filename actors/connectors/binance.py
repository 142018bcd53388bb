"""The Binance spot connector: the socket and REST shell around ``BinanceSession``.

    - id: md
      actor: actors.connectors.binance:BinanceConnector
      config:
        symbols: [BTCUSDT]
      ready_timeout: 15s

Network trouble is never an exception out of ``run``: the connector reconnects, with backoff, inside the venue's
connection budget, and says so. An exception out of it is a defect, and its supervisor's business.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import aiohttp
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from actors.base import Actor
from actors.connectors.binance_session import BinanceSession
from actors.connectors.binance_state import SessionRules, SymbolState
from actors.connectors.budget import BudgetConfig, ConnectionBudget
from actors.connectors.effects import (
    Connected,
    Disconnected,
    Drop,
    Effect,
    Event,
    FetchSnapshot,
    Note,
    Publish,
    Ready,
    Reconnect,
    Send,
    SnapshotArrived,
    SnapshotFailed,
    Ticked,
)
from actors.connectors.units import format_units
from actors.context import Context
from supervisors.core.durations import Duration

#: seconds after a promotion at which all books are said anew: longer than a synced standby is behind (1 s)
_RESTATE_AFTER = 2.0

Symbol = Annotated[str, StringConstraints(to_upper=True, pattern=r"^[A-Za-z0-9]{2,30}$")]


class StaleAfter(BaseModel):
    """Silence per channel, in seconds, that is always allowed; usually quieter channels are given more.

    The book is withdrawn at the bound, the stream asked for again at twice, the connection replaced at three times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trade: Duration = Field(default=60.0, gt=0)
    depth: Duration = Field(default=3.0, gt=0)
    quote: Duration = Field(default=10.0, gt=0)


class ReconnectConfig(BaseModel):
    """Reconnection delays: ``base`` x 2^n, at most ``cap``, plus up to ``jitter`` (004 §10)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Duration = Field(default=0.1, gt=0)
    cap: Duration = Field(default=30.0, gt=0)
    jitter: Duration = 0.05
    healthy_after: Duration = 10.0
    rotate_after: Duration = Field(default=23.5 * 3600, gt=0)


class BinanceConfig(BaseModel):
    """Config of ``BinanceConnector``.

    Attributes:
        url: WebSocket address without the path.
        rest_url: address of the REST depth endpoint, without the path.
        symbols: as the venue writes them, upper or lower case.
        quotes: subscribe to the best bid and ask (``quote.<symbol>``) as well.
        depth_interval: 0.1 or 1 second.
        snapshot_limit: levels per side of a snapshot; the book beyond them is known only as it changes.
        connect_timeout: for the WebSocket handshake (10 s external: GRD-2).
        rest_timeout: for a snapshot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="wss://stream.binance.com:9443", pattern=r"^wss?://[^\s/]+$")
    rest_url: str = Field(default="https://api.binance.com", pattern=r"^https?://[^\s/]+$")
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=300)]
    quotes: bool = False
    depth_interval: Duration = 0.1
    snapshot_limit: int = Field(default=1000, ge=5, le=5000)
    stale_after: StaleAfter = StaleAfter()
    reconnect: ReconnectConfig = ReconnectConfig()
    budget: BudgetConfig = BudgetConfig()
    connect_timeout: Duration = Field(default=10.0, gt=0)
    rest_timeout: Duration = Field(default=10.0, gt=0)
    tick: Duration = Field(default=0.05, gt=0)


class _Listener(WSListener):
    """Hands whole text messages to the connector; pings are answered by picows."""

    def __init__(self, owner: "BinanceConnector") -> None:
        self._owner = owner
        self._parts: list[bytes] = []
        self.closed = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.TEXT and frame.fin:
            self._owner.received(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._parts.append(frame.get_payload_as_bytes())
            if frame.fin:
                whole, self._parts = b"".join(self._parts), []
                self._owner.received(whole)
        elif kind is WSMsgType.CLOSE:
            transport.disconnect(graceful=False)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.closed.set()


class BinanceConnector(Actor):
    """Trades and books of Binance spot.

    Publishes ``trade.<symbol>``, ``book.<symbol>`` and, when asked for, ``quote.<symbol>``: see
    ``actors.connectors.messages``. Ready when subscribed and every book is valid.

    Methods for others: ``status()``, ``top(count, symbol)``, ``digest(depth, symbol)``.
    """

    Config = BinanceConfig
    config: BinanceConfig

    def __init__(self, config: BaseModel, roll: random.Random | None = None) -> None:
        super().__init__(config)
        self._roll = roll or random.Random()
        rules = self.config
        self.session = BinanceSession(
            list(dict.fromkeys(rules.symbols)),
            SessionRules(
                quotes=rules.quotes,
                depth_ms=100 if rules.depth_interval < 1.0 else 1000,
                trade_stale=rules.stale_after.trade,
                depth_stale=rules.stale_after.depth,
                quote_stale=rules.stale_after.quote,
                rotate_after=rules.reconnect.rotate_after,
                healthy_after=rules.reconnect.healthy_after,
                base=rules.reconnect.base,
                cap=rules.reconnect.cap,
                jitter=rules.reconnect.jitter,
            ),
        )
        self._transport: WSTransport | None = None
        self._fetches: set[asyncio.Task[None]] = set()
        self._reconnect_at = 0.0
        self._restate_at = math.inf
        self._last_error = ""
        self._budget_waits = 0
        self._metrics_at = 0.0

    async def start(self, ctx: Context) -> None:
        """Nothing that takes time: connecting is the body's work."""
        self._monotonic = ctx.clock.monotonic
        self._budget = ConnectionBudget(Path(ctx.data_dir) / "budgets", self.config.budget, ctx.clock)

    async def run(self) -> None:
        """Keep a connection, for ever."""
        timeout = aiohttp.ClientTimeout(total=self.config.rest_timeout)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            self._http = http
            while True:
                await asyncio.sleep(max(0.0, self._reconnect_at - self._monotonic()))
                await self._wait_for_budget()
                await self._one_connection()

    async def promoted(self) -> None:
        """Readers hold each book for what its primary said of it last: say how it is here.

        And once more when the primary's last word is behind us for certain: of a book at which the primary was ahead,
        readers take nothing the first time.
        """
        self._restate_at = self._monotonic() + _RESTATE_AFTER
        await self._restate()

    async def _restate(self) -> None:
        for state in self.session.symbols.values():
            for effect in self.session.restate(state):
                self._perform(effect)
            await asyncio.sleep(0)  # a whole book takes a millisecond, and trades are to go on

    async def stop(self) -> None:
        """Close the socket and give up what is under way."""
        for task in self._fetches:
            task.cancel()
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    async def health(self) -> bool:
        """Connected, and every book valid."""
        return self.session.connected and self.session.book_valid

    # ---- what others may call -----------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """How the connector is doing. Counts are of this life; ages in seconds since the channel's last item."""
        session, now = self.session, self._monotonic()
        states = list(session.symbols.values())
        return {
            "incarnation": self.ctx.incarnation,
            "connected": session.connected,
            "subscribed": session.subscribed,
            "book_valid": session.book_valid,
            "last_update_id": max(state.book.last_id for state in states),
            "trades": sum(state.trades for state in states),
            "last_trade_id": max(state.trade_id for state in states),
            "missed_trades": sum(state.missed_trades for state in states),
            "gaps": sum(state.gaps for state in states),
            "resyncs": sum(state.resyncs for state in states),
            "reconnects": session.reconnects,
            "failures": session.failures,
            "malformed": session.malformed,
            "budget_waits": self._budget_waits,
            "budget_used": self._budget.used(),
            "last_error": self._last_error,
            "ages": {channel.name: round(now - channel.last, 4) for channel in session.channels if channel.seen},
            "stale": [channel.name for channel in session.channels if channel.stale],
            "symbols": {state.symbol: self._symbol_status(state) for state in states},
        }

    def _symbol_status(self, state: SymbolState) -> dict[str, object]:
        bids, asks = state.book.sizes()
        return {
            "book_valid": state.served,
            "reason": state.book.reason or ("" if state.served else "stale"),
            "last_update_id": state.book.last_id,
            "trades": state.trades,
            "last_trade_id": state.trade_id,
            "gaps": state.gaps,
            "resyncs": state.resyncs,
            "levels": [bids, asks],
        }

    def top(self, count: int = 10, symbol: str = "") -> dict[str, object]:
        """The ``count`` best levels of one symbol (the first when not named), as decimal text, best first.

        A book that is not valid is never given: both sides are empty then and ``reason`` says why.

        Raises:
            KeyError: the symbol is not one of this connector's.
        """
        state = self._state(symbol)
        bids, asks = state.book.top(count) if state.served else ([], [])
        return {
            "symbol": state.symbol,
            "valid": state.served,
            "reason": state.book.reason or ("" if state.served else "stale"),
            "last_update_id": state.book.last_id,
            "age": self._monotonic() - state.depth.last,
            "bids": [[format_units(price), format_units(quantity)] for price, quantity in bids],
            "asks": [[format_units(price), format_units(quantity)] for price, quantity in asks],
        }

    def digest(self, depth: int = 100, symbol: str = "") -> dict[str, object]:
        """A hash of the best ``depth`` levels with the update id it belongs to; for comparing books."""
        state = self._state(symbol)
        return {
            "valid": state.served,
            "last_update_id": state.book.last_id,
            "digest": state.book.digest(depth) if state.served else "",
        }

    def _state(self, symbol: str) -> SymbolState:
        return self.session.symbols[symbol.upper()] if symbol else next(iter(self.session.symbols.values()))

    # ---- the shell ----------------------------------------------------------------------------------------------

    async def _wait_for_budget(self) -> None:
        said = False
        while (wait := await self._budget.acquire()) > 0:
            if not said:
                said = True
                self._budget_waits += 1
                self.ctx.note("budget_spent", name=self.config.budget.name, wait_s=round(wait, 3))
                self.ctx.log.warning(f"connection budget {self.config.budget.name} is spent: waiting {wait:.1f} s")
            await asyncio.sleep(min(wait, 5.0))

    async def _one_connection(self) -> None:
        """Connect and stay connected for as long as it lasts; the session then says when to try again."""
        listener = _Listener(self)
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                transport, _ = await ws_connect(lambda: listener, f"{self.config.url}/stream")
        except (OSError, WSError, TimeoutError) as error:
            self._step(self._ended(f"cannot connect: {type(error).__name__} {error}".strip()))
            return
        self._transport = transport
        reason = "connection lost"
        try:
            self._step(Connected())
            # a connection that was reset right after its handshake may be over without a word to the listener
            while not (listener.closed.is_set() or transport.is_disconnected):
                self._step(Ticked())
                self._reap()
                self._export()
                if self._monotonic() >= self._restate_at:
                    self._restate_at = math.inf
                    await self._restate()
                try:
                    async with asyncio.timeout(self.config.tick):
                        await listener.closed.wait()
                except TimeoutError:
                    continue
            # raises what the frame handler raised: a defect of ours, which is the supervisor's business
            await transport.wait_disconnected()
        except (WSError, OSError) as error:
            reason = f"{type(error).__name__} {error}".strip()
        finally:
            self._transport = None
            transport.disconnect(graceful=False)
            for task in self._fetches:
                task.cancel()
            self._fetches.clear()
        self._step(self._ended(reason))
        self._export(force=True)

    def _reap(self) -> None:
        """Forget finished fetches; a defect in one is raised here, where it ends ``run``."""
        for task in [task for task in self._fetches if task.done()]:
            self._fetches.discard(task)
            task.result()

    def _ended(self, reason: str) -> Disconnected:
        if reason != self._last_error:
            self.ctx.log.warning(reason)
        self._last_error = reason
        return Disconnected(reason, self._roll.random())

    def received(self, raw: bytes) -> None:
        """One whole message from the socket."""
        for effect in self.session.frame(raw, self._monotonic()):
            if type(effect) is Publish:
                self.ctx.publish(effect.topic, effect.payload, effect.mark)
            else:
                self._perform(effect)

    def _step(self, event: Event) -> None:
        effects: Sequence[Effect] = self.session.step(event, self._monotonic())
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish(topic, payload, mark):
                self.ctx.publish(topic, payload, mark)
            case Send(payload):
                if self._transport is not None and not self._transport.is_disconnected:
                    self._transport.send(WSMsgType.TEXT, payload)
            case FetchSnapshot(symbol, generation):
                task = asyncio.create_task(self._fetch(symbol, generation), name=f"snapshot {symbol}")
                self._fetches.add(task)
            case Drop(reason):
                self.ctx.log.info(f"closing the connection: {reason}")
                self._last_error = reason
                if self._transport is not None:
                    self._transport.disconnect(graceful=False)
            case Reconnect(at, _):
                self._reconnect_at = at
            case Ready():
                self.ctx.ready()
            case Note(kind, symbol, text):
                self.ctx.note(kind, symbol=symbol, text=text)

    async def _fetch(self, symbol: str, generation: int) -> None:
        url = f"{self.config.rest_url}/api/v3/depth"
        query = {"symbol": symbol, "limit": str(self.config.snapshot_limit)}
        event: Event
        try:
            async with self._http.get(url, params=query) as answer:
                body = await answer.read()
                if answer.status == 200:
                    event = SnapshotArrived(symbol, generation, body)
                else:
                    text = body[:120].decode("utf-8", "replace")
                    wait = answer.headers.get("Retry-After", "")
                    # 418 and 429 mean that the venue wants to be left alone for a while
                    default = 30.0 if answer.status in (418, 429) else 0.0
                    retry_after = float(wait) if wait.isdecimal() else default
                    event = SnapshotFailed(symbol, generation, f"HTTP {answer.status} {text}", retry_after)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            event = SnapshotFailed(symbol, generation, f"{type(error).__name__} {error}".strip())
        self._step(event)

    def _export(self, *, force: bool = False) -> None:
        """Set the gauges, once a second."""
        now = self._monotonic()
        if now < self._metrics_at and not force:
            return
        self._metrics_at = now + 1.0
        session, metric = self.session, self.ctx.metric
        metric("connected", float(session.connected))
        metric("reconnects", float(session.reconnects))
        metric("malformed", float(session.malformed))
        for state in session.symbols.values():
            metric("book_valid", float(state.served), symbol=state.symbol)
            metric("book_gaps", float(state.gaps), symbol=state.symbol)
            metric("book_resyncs", float(state.resyncs), symbol=state.symbol)
            metric("trades", float(state.trades), symbol=state.symbol)
        for channel in session.channels:
            metric("channel_age_seconds", now - channel.last, channel=channel.name)
