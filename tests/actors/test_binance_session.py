"""The session: the snapshot procedure, gaps, silence, reconnection. All on numbers, no socket and no clock."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.connectors.binance_session import SENDS_PER_SECOND, BinanceSession
from actors.connectors.binance_state import SessionRules
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
from actors.connectors.messages import decode_book, decode_quote, decode_trade
from actors.connectors.reconnect import reconnect_delay
from tests.actors.helpers import ACK, connect

SYMBOL = "BTCUSDT"
T = TypeVar("T")


def depth(first: int, last: int, bid: str = "", ask: str = "") -> bytes:
    bids = [[bid, "1.00000000"]] if bid else []
    asks = [[ask, "1.00000000"]] if ask else []
    data = {"e": "depthUpdate", "E": 5, "s": SYMBOL, "U": first, "u": last, "b": bids, "a": asks}
    return msgspec.json.encode({"stream": "btcusdt@depth@100ms", "data": data})


def trade(number: int, price: str = "100.00000000", quantity: str = "1.00000000") -> bytes:
    data = {"e": "trade", "E": 5, "s": SYMBOL, "t": number, "p": price, "q": quantity, "T": 5, "m": True, "M": True}
    return msgspec.json.encode({"stream": "btcusdt@trade", "data": data})


def snapshot(last_id: int) -> bytes:
    bids, asks = [["99.00000000", "2.00000000"]], [["101.00000000", "2.00000000"]]
    return msgspec.json.encode({"lastUpdateId": last_id, "bids": bids, "asks": asks})


def of(kind: type[T], effects: Sequence[Effect]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def drops(effects: Sequence[Effect]) -> list[str]:
    return [effect.reason for effect in of(Drop, effects)]


def session_of(**rules: float | bool) -> BinanceSession:
    return BinanceSession([SYMBOL], msgspec.convert(rules, SessionRules))


def synced(session: BinanceSession, now: float = 0.0) -> list[Effect]:
    """Connect and sync at update 10."""
    effects = [*connect(session, now), *session.frame(depth(8, 10), now)]
    generation = of(FetchSnapshot, effects)[-1].generation
    return [*effects, *session.step(SnapshotArrived(SYMBOL, generation, snapshot(9)), now)]


def test_subscribes_and_is_ready_once_the_book_is_valid() -> None:
    session = session_of()
    effects = session.step(Connected(), 0.0)
    request = msgspec.json.decode(of(Send, effects)[0].payload)
    assert request == {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "btcusdt@depth@100ms"], "id": 1}
    assert not session.frame(ACK, 0.0)
    assert session.subscribed
    effects = session.frame(depth(8, 10), 0.1)
    fetch = of(FetchSnapshot, effects)[0]
    effects = session.step(SnapshotArrived(SYMBOL, fetch.generation, snapshot(9)), 0.2)
    assert len(of(Ready, effects)) == 1
    update = decode_book(of(Publish, effects)[0].payload)
    assert update.valid
    assert update.snapshot
    assert update.last_id == 10
    assert (update.bids, update.asks) == ([(9900000000, 200000000)], [(10100000000, 200000000)])
    assert session.book_valid


def test_buffered_deltas_follow_the_documented_procedure() -> None:
    session = session_of()
    effects = connect(session, 0.0)
    for first, last in ((1, 3), (4, 6), (7, 9), (10, 12)):
        effects += session.frame(depth(first, last, bid=f"9{first % 10}.00000000"), 0.1)
    fetches = of(FetchSnapshot, effects)
    assert len(fetches) == 1
    session.step(SnapshotArrived(SYMBOL, fetches[0].generation, snapshot(8)), 0.2)
    state = session.symbols[SYMBOL]
    assert state.book.last_id == 12
    # 1-3 and 4-6 are older than the snapshot; 7-9 meets it, 10-12 follows
    assert [price for price, _ in state.book.full()[0]] == [9900000000, 9700000000, 9000000000]


def test_snapshot_older_than_the_first_delta_is_fetched_again() -> None:
    session = session_of()
    effects = [*connect(session, 0.0), *session.frame(depth(20, 22), 0.0)]
    generation = of(FetchSnapshot, effects)[0].generation
    assert not session.step(SnapshotArrived(SYMBOL, generation, snapshot(5)), 0.1)
    assert not session.book_valid
    assert not of(FetchSnapshot, session.step(Ticked(), 0.15))
    again = of(FetchSnapshot, session.step(Ticked(), 0.25))
    session.step(SnapshotArrived(SYMBOL, again[0].generation, snapshot(21)), 0.3)
    assert session.book_valid


def test_failed_snapshots_are_tried_again_ever_more_slowly() -> None:
    session = session_of()
    effects: Sequence[Effect] = [*connect(session, 0.0), *session.frame(depth(20, 22), 0.0)]
    now, waits = 0.0, []
    for _ in range(5):
        generation = of(FetchSnapshot, effects)[0].generation
        began = now
        session.step(SnapshotFailed(SYMBOL, generation, "HTTP 500"), now)
        effects = []
        while not of(FetchSnapshot, effects):
            now += 0.05
            session.frame(trade(int(now * 1000)), now)
            session.step(Ticked(), now)
            session.symbols[SYMBOL].depth.arrived(now)
            effects = session.step(Ticked(), now)
            if session.symbols[SYMBOL].fetching:
                effects = [FetchSnapshot(SYMBOL, session.symbols[SYMBOL].generation)]
        waits.append(now - began)
    assert waits == sorted(waits)
    assert waits[-1] > 8 * waits[0]


def test_retry_after_is_respected() -> None:
    session = session_of(depth_stale=1000.0)
    effects = [*connect(session, 0.0), *session.frame(depth(20, 22), 0.0)]
    session.step(SnapshotFailed(SYMBOL, of(FetchSnapshot, effects)[0].generation, "HTTP 429", 30.0), 0.0)
    assert not of(FetchSnapshot, session.step(Ticked(), 29.0))
    assert of(FetchSnapshot, session.step(Ticked(), 30.1))


def test_answer_to_an_older_request_is_ignored() -> None:
    session = session_of()
    effects = [*connect(session, 0.0), *session.frame(depth(8, 10), 0.0)]
    old = of(FetchSnapshot, effects)[0].generation
    session.step(Disconnected("cut"), 1.0)
    connect(session, 2.0)
    session.frame(depth(30, 31), 2.0)
    assert not session.step(SnapshotArrived(SYMBOL, old, snapshot(9)), 2.1)
    assert not session.book_valid


def test_gap_withdraws_the_book_at_once_and_resyncs() -> None:
    session = session_of()
    synced(session)
    effects = session.frame(depth(12, 13), 1.0)
    told = decode_book(of(Publish, effects)[0].payload)
    assert not told.valid
    assert "gap" in told.reason
    assert session.symbols[SYMBOL].gaps == 1
    assert not session.book_valid
    fetch = of(FetchSnapshot, effects)[0]
    effects = session.step(SnapshotArrived(SYMBOL, fetch.generation, snapshot(12)), 1.2)
    assert session.symbols[SYMBOL].resyncs == 1
    assert decode_book(of(Publish, effects)[0].payload).snapshot
    assert session.symbols[SYMBOL].book.last_id == 13


def test_crossed_book_is_withdrawn() -> None:
    session = session_of()
    synced(session)
    effects = session.frame(depth(11, 11, bid="105.00000000"), 1.0)
    assert "crossed" in decode_book(of(Publish, effects)[0].payload).reason
    assert of(FetchSnapshot, effects)


def test_malformed_delta_shows_as_a_gap() -> None:
    session = session_of()
    synced(session)
    assert of(Note, session.frame(depth(11, 11)[:-9], 1.0))[0].kind == "malformed"
    assert session.malformed == 1
    assert of(FetchSnapshot, session.frame(depth(12, 12), 1.1))


def test_poison_is_counted_and_noted_sparingly() -> None:
    session = session_of()
    synced(session)
    notes = [note for number in range(1000) for note in of(Note, session.frame(b"\xff{", number * 0.001))]
    assert session.malformed == 1000
    assert len(notes) == 1
    assert session.book_valid


def test_trades_are_published_once_and_missing_ones_counted() -> None:
    session = session_of()
    synced(session)
    out = [*session.frame(trade(5), 0.1), *session.frame(trade(5), 0.1), *session.frame(trade(8), 0.2)]
    assert [decode_trade(effect.payload).id for effect in of(Publish, out)] == [5, 8]
    assert [effect.topic for effect in of(Publish, out)] == ["trade.btcusdt"] * 2
    state = session.symbols[SYMBOL]
    assert (state.trades, state.trade_id, state.missed_trades) == (2, 8, 2)


def test_a_restored_venue_may_count_anew_but_only_on_a_new_connection() -> None:
    session = session_of()
    synced(session)
    session.frame(trade(100), 0.1)
    session.step(Disconnected("cut"), 1.0)
    connect(session, 2.0)
    assert of(Publish, session.frame(trade(7), 2.1))
    assert not session.frame(trade(6), 2.2)


@pytest.mark.parametrize(
    ("price", "quantity"), [("0.00000000", "1"), ("-5", "1"), ("x", "1"), ("1", "0"), ("1", "1e-9")]
)
def test_senseless_trades_are_malformed(price: str, quantity: str) -> None:
    session = session_of()
    connect(session, 0.0)
    assert not of(Publish, session.frame(trade(1, price, quantity), 0.1))
    assert session.malformed == 1


def test_quotes_are_published_and_crossed_ones_refused() -> None:
    session = session_of(quotes=True)
    connect(session, 0.0)
    data = {"u": 9, "s": SYMBOL, "b": "1.00000000", "B": "2.00000000", "a": "3.00000000", "A": "4.00000000"}
    raw = msgspec.json.encode({"stream": "btcusdt@bookTicker", "data": data})
    assert decode_quote(of(Publish, session.frame(raw, 0.1))[0].payload).ask == 300000000
    assert not of(Publish, session.frame(raw.replace(b'"3.0', b'"0.5'), 0.2))
    assert session.malformed == 1


def test_frames_of_other_symbols_are_passed_over() -> None:
    session = session_of()
    synced(session)
    for raw in (trade(1), depth(50, 60)):
        assert not session.frame(raw.replace(b'"s":"BTCUSDT"', b'"s":"ETHUSDT"'), 0.1)
    assert session.unknown == 2
    assert session.book_valid


# ---- silence ------------------------------------------------------------------------------------------------------


def speak(session: BinanceSession, begin: float, end: float, *, step: float = 0.1, mute: str = "") -> list[Effect]:
    """Let time go by with ticks, deltas and trades, but for the kind that is ``mute``."""
    effects: list[Effect] = []
    now = begin
    state = session.symbols[SYMBOL]
    while now < end:
        now = round(now + step, 6)
        if mute != "depth" and state.book.valid:
            effects += session.frame(depth(state.book.last_id + 1, state.book.last_id + 1), now)
        if mute != "trade":
            effects += session.frame(trade(state.trade_id + 1), now)
        effects += session.step(Ticked(), now)
    return effects


def test_silent_depth_withdraws_the_book_and_new_data_brings_it_back() -> None:
    session = session_of(depth_stale=3.0)
    synced(session)
    speak(session, 0.0, 1.0)
    effects = speak(session, 1.0, 4.5, mute="depth")
    told = [decode_book(published.payload) for published in of(Publish, effects) if published.topic == "book.btcusdt"]
    assert [(update.valid, update.reason) for update in told] == [(False, "stale")]
    assert not session.book_valid
    assert [note.kind for note in of(Note, effects)] == ["channel_stale", "book_invalid"]
    assert session.symbols[SYMBOL].gaps == 0
    back = speak(session, 4.5, 4.6)
    assert all(state.served for state in session.symbols.values())
    assert any(decode_book(p.payload).snapshot for p in of(Publish, back) if p.topic == "book.btcusdt")


def test_mute_channel_is_asked_for_again_and_then_the_connection_replaced() -> None:
    session = session_of(depth_stale=3.0)
    synced(session)
    speak(session, 0.0, 1.0)
    effects = speak(session, 1.0, 7.5, mute="depth")
    methods = [msgspec.json.decode(send.payload)["method"] for send in of(Send, effects)]
    assert methods == ["UNSUBSCRIBE", "SUBSCRIBE"]
    for number in (2, 3):
        session.frame(b'{"result":null,"id":%d}' % number, 7.5)
    assert drops(speak(session, 7.5, 9.9, mute="depth")) == []
    assert drops(speak(session, 9.9, 11.0, mute="depth")) == ["channel btcusdt@depth@100ms is mute for 9.1 s"]


def test_server_that_answers_but_sends_nothing_is_left_at_the_first_bound() -> None:
    session = session_of(depth_stale=3.0)
    synced(session)
    speak(session, 0.0, 1.0)
    effects: list[Effect] = []
    now = 1.0
    while not drops(effects):
        now += 0.05
        effects += session.step(Ticked(), now)
    assert 3.0 < now - 1.0 < 3.2


def test_usually_quiet_channel_is_left_in_peace() -> None:
    session = session_of(trade_stale=1.0, depth_stale=3.0)
    synced(session)
    effects: list[Effect] = []
    for second in range(0, 40, 2):  # a trade each 1.9 s: over the bound at first, then known
        effects += speak(session, second, second + 1.9, mute="trade")
        effects += speak(session, second + 1.9, second + 2.0)
    late = [note for note in of(Note, effects) if note.kind == "channel_stale"]
    # before its first item, and before it had been seen to be quiet
    assert len(late) == 2
    assert not drops(effects)


def test_a_channel_quiet_on_every_connection_earns_patience() -> None:
    session = session_of(depth_stale=1.0)
    lives = []
    now = 0.0
    for _ in range(4):
        connect(session, now)
        began = now
        effects: Sequence[Effect] = ()
        while not drops(effects):
            now += 0.1
            effects = session.step(Ticked(), now)
        lives.append(now - began)
        session.step(Disconnected("dropped"), now)
    assert lives == sorted(lives)
    assert lives[-1] > 6.0


# ---- connection ---------------------------------------------------------------------------------------------------


def test_unanswered_subscription_drops_the_connection() -> None:
    session = session_of(depth_stale=100.0)
    session.step(Connected(), 0.0)
    assert not drops(session.step(Ticked(), 4.9))
    assert drops(session.step(Ticked(), 5.1)) == ["no answer to a subscription"]
    assert not drops(session.step(Ticked(), 5.2))


def test_refusal_drops_the_connection() -> None:
    session = session_of()
    session.step(Connected(), 0.0)
    assert "Invalid request" in drops(session.frame(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}', 0.1))[0]


@pytest.mark.parametrize("planned", ["rotation", "shutdown"])
def test_planned_replacement_costs_no_backoff(planned: str) -> None:
    session = session_of(rotate_after=60.0)
    synced(session)
    if planned == "rotation":
        assert drops(speak(session, 0.0, 59.0)) == []
        assert drops(speak(session, 59.0, 60.2)) == ["planned rotation"]
    else:
        assert drops(session.frame(b'{"e":"serverShutdown","E":1}', 1.0)) == ["server shutdown announced"]
    effects = session.step(Disconnected("closed", roll=1.0), 100.0)
    assert of(Reconnect, effects)[0].at == pytest.approx(100.05)
    assert session.failures == 0


def test_backoff_grows_and_is_reset_by_proven_health_only() -> None:
    session = session_of()
    delays = [of(Reconnect, session.step(Disconnected("refused"), 0.0))[0].at for _ in range(5)]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8]
    connect(session, 10.0)
    assert of(Reconnect, session.step(Disconnected("cut"), 10.0))[0].at == pytest.approx(11.6)
    synced(session, 20.0)
    speak(session, 20.0, 31.0)
    failures = session.failures
    assert failures == 0
    assert of(Reconnect, session.step(Disconnected("cut"), 40.0))[0].at == 40.0
    assert session.reconnects == 1


def test_disconnection_withdraws_the_book() -> None:
    session = session_of()
    synced(session)
    effects = session.step(Disconnected("cut"), 1.0)
    assert decode_book(of(Publish, effects)[0].payload).reason == "disconnected"
    assert not session.book_valid


def test_never_more_messages_than_the_venue_allows() -> None:
    session = BinanceSession([f"S{number}" for number in range(1500)])
    sent: list[float] = []
    now = 0.0
    sent += [now] * len(of(Send, session.step(Connected(), now)))
    while now < 10.0:
        now = round(now + 0.05, 6)
        for _ in of(Send, session.step(Ticked(), now)):
            sent.append(now)
            session.frame(b'{"result":null,"id":%d}' % len(sent), now)
        for state in session.symbols.values():
            state.trade.arrived(now)
            state.depth.arrived(now)
    assert len(sent) == 15
    assert all(sum(1 for at in sent if begin <= at < begin + 1.0) <= SENDS_PER_SECOND for begin in sent)
    assert session.subscribed is False or not session.book_valid


@given(st.integers(0, 200), st.floats(0, 1, exclude_max=True))
def test_reconnect_delay_is_bounded(failures: int, roll: float) -> None:
    delay = reconnect_delay(failures, roll)
    assert 0 <= delay <= 30.05
    assert reconnect_delay(failures + 1, roll) >= delay


_EVENTS = st.one_of(
    st.just(Connected()),
    st.just(Ticked()),
    st.builds(Disconnected, st.just("cut"), st.floats(0, 0.99)),
    st.builds(SnapshotArrived, st.just(SYMBOL), st.integers(0, 6), st.sampled_from([snapshot(9), snapshot(3), b"{"])),
    st.builds(SnapshotFailed, st.just(SYMBOL), st.integers(0, 6), st.just("HTTP 500")),
    st.sampled_from([depth(8, 10), depth(11, 11), depth(12, 12, bid="200.00000000"), trade(1), trade(9), ACK, b"]"]),
)


@given(st.lists(st.tuples(_EVENTS, st.floats(0, 2)), max_size=40))
def test_any_order_of_events_keeps_the_promises(events: list[tuple[Event | bytes, float]]) -> None:
    session = session_of(depth_stale=1.0)
    now, valid_for_readers = 0.0, False
    for event, pause in events:
        now += pause
        effects = session.frame(event, now) if isinstance(event, bytes) else session.step(event, now)
        for published in of(Publish, effects):
            if published.topic != "book.btcusdt":
                continue
            update = decode_book(published.payload)
            if update.valid:
                assert update.snapshot or valid_for_readers, "a delta after an invalid book"
                assert not (update.best_bid and update.best_ask) or update.best_bid < update.best_ask
            valid_for_readers = update.valid
        state = session.symbols[SYMBOL]
        assert state.served == valid_for_readers
        assert not state.served or (state.book.valid and session.connected)
