"""The replayed market: order, speed, and rounds that join without a break."""

import gzip
from pathlib import Path

import pytest

from actors.connectors.binance_session import BinanceSession
from actors.connectors.binance_state import SessionRules
from actors.connectors.effects import FetchSnapshot, SnapshotArrived
from actors.venue.capture import CaptureError, main, read_capture, synthetic
from actors.venue.replay_core import Recording, ReplayError, ReplayMarket
from tests.actors.conftest import SMALL, Lines
from tests.actors.helpers import connect


def _run(market: ReplayMarket, seconds: float) -> list[tuple[str, bytes]]:
    """Drive a market on a clock of our own."""
    market.start(100.0)
    out: list[tuple[str, bytes]] = []
    while not market.finished:
        due = market.due_at()
        assert due is not None
        if due > 100.0 + seconds:
            break
        out += market.take(due)
    return out


def test_first_round_is_the_capture(small_capture: Lines) -> None:
    market = ReplayMarket(Recording(small_capture))
    out = _run(market, 1000)
    assert [raw for _, raw in out] == [raw for _, raw in small_capture if not raw.startswith(b'{"lastU')]
    assert market.finished


def test_speed_divides_time(small_capture: Lines) -> None:
    length = (small_capture[-1][0] - small_capture[0][0]) / 1e9
    market = ReplayMarket(Recording(small_capture), speed=10.0)
    _run(market, length / 10 - 0.5)
    assert not market.finished
    _run(market, length / 10 + 0.1)
    assert market.finished


@pytest.mark.parametrize("which", ["small", "real"])
def test_rounds_join_into_one_valid_feed(which: str, request: pytest.FixtureRequest) -> None:
    lines: Lines = request.getfixturevalue(f"{which}_capture")
    recording = Recording(lines[:6000])
    market = ReplayMarket(recording, loop=True)
    session = BinanceSession(["BTCUSDT"], SessionRules(quotes=True))
    connect(session, 0.0)
    state = session.symbols["BTCUSDT"]
    seconds = 3.5 * recording.round_ns / 1e9
    market.start(0.0)
    compared = 0
    while True:
        now = market.due_at()
        assert now is not None
        if now > seconds:
            break
        for _, raw in market.take(now, limit=1):
            for effect in session.frame(raw, now):
                if isinstance(effect, FetchSnapshot):
                    session.step(SnapshotArrived("BTCUSDT", effect.generation, market.snapshot(5000)), now)
        if state.served and state.book.last_id == market.book.last_id and b"depth" in raw[:30]:
            assert state.book.full() == market.book.full()
            compared += 1
    assert market.round == 3
    assert compared > 100
    assert state.gaps == state.missed_trades == session.malformed == 0
    assert state.resyncs == 0
    assert session.book_valid


def test_a_held_up_market_goes_on_from_where_it_was(small_capture: Lines) -> None:
    market = ReplayMarket(Recording(small_capture))
    market.start(0.0)
    market.take(5.0, limit=10_000, late=10.0)
    played = market.sent
    market.take(60.0, limit=10_000)
    assert market.sent <= played + 2


def test_snapshot_is_the_captures_own_until_frames_go_beyond_it(small_capture: Lines) -> None:
    recording = Recording(small_capture)
    market = ReplayMarket(recording)
    assert market.snapshot(1000) == recording.snapshot
    _run(market, 10)
    assert market.snapshot(1000) != recording.snapshot
    assert market.snapshot(5).count(b'["') == 10


def test_captures_that_cannot_be_a_feed_are_refused(small_capture: Lines) -> None:
    with pytest.raises(ReplayError, match="needs"):
        Recording([])
    with pytest.raises(ReplayError, match="needs"):
        Recording([line for line in small_capture if b"lastUpdateId" not in line[1]])
    deltas = [index for index, (_, raw) in enumerate(small_capture) if b"depthUpdate" in raw]
    with pytest.raises(ReplayError, match="break"):
        Recording([line for index, line in enumerate(small_capture) if index != deltas[50]])
    with pytest.raises(ReplayError, match="not a frame"):
        Recording([(1, b"\xff")])


def test_capture_files(tmp_path: Path) -> None:
    out = tmp_path / "a.gz"
    assert main([str(out), "--seconds", "2", "--seed", "3"]) == 0
    assert list(read_capture(out)) == list(synthetic(2, 3))
    again = tmp_path / "b.gz"
    main([str(again), "--seconds", "2", "--seed", "3"])
    assert out.read_bytes() == again.read_bytes()
    assert main([str(tmp_path / "no" / "where.gz")]) == 1


def test_the_small_capture_is_what_the_script_writes() -> None:
    assert list(read_capture(SMALL)) == list(synthetic(30.0, 7))
    assert SMALL.stat().st_size < 300_000


def test_damaged_captures_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gz"
    bad.write_bytes(gzip.compress(b"1 {}\nnot a line\n"))
    with pytest.raises(CaptureError, match=r"bad\.gz:2"):
        list(read_capture(bad))
    bad.write_bytes(SMALL.read_bytes()[:2000])
    with pytest.raises(CaptureError, match="cannot be read after line"):
        list(read_capture(bad))
    with pytest.raises(CaptureError):
        list(read_capture(tmp_path / "absent.gz"))
