"""Actors as live standbys: what bears which mark, what is said anew, what is not asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from actors.base import Actor
from actors.connectors.binance_session import BinanceSession, book_mark
from actors.connectors.binance_state import SessionRules
from actors.connectors.effects import Disconnected, Publish
from actors.connectors.messages import decode_book, decode_quote, decode_trade
from actors.detectors.heartbeat import HeartbeatDetector
from actors.detectors.staleness import ChannelReport, StalenessDetector
from actors.testing import FakeContext, ManualClock, make
from actors.workers.verify import VerifyRecovery
from tests.actors.conftest import Lines
from tests.actors.helpers import RealClock, play, until


def publishes(session: BinanceSession, lines: Lines) -> dict[str, list[Publish]]:
    found: dict[str, list[Publish]] = {}
    for effect in play(session, lines):
        if isinstance(effect, Publish):
            found.setdefault(effect.topic.partition(".")[0], []).append(effect)
    return found


def test_marks_are_the_venues_own_numbers(small_capture: Lines) -> None:
    found = publishes(BinanceSession(["BTCUSDT"], SessionRules(quotes=True)), small_capture)
    assert found.keys() == {"trade", "book", "quote"}
    assert [p.mark for p in found["trade"]] == [decode_trade(p.payload).id for p in found["trade"]]
    assert [p.mark for p in found["quote"]] == [decode_quote(p.payload).update_id for p in found["quote"]]
    for published in found["book"]:
        update = decode_book(published.payload)
        assert published.mark == (book_mark(update.last_id, snapshot=update.snapshot) if update.valid else None)
    for kind in ("trade", "book"):
        marks = [p.mark for p in found[kind] if p.mark is not None]
        assert all(before < after for before, after in pairwise(marks)), "a mark is never given twice"


def test_a_snapshot_stands_between_the_delta_it_ends_with_and_the_next() -> None:
    assert book_mark(7) < book_mark(7, snapshot=True) < book_mark(8)


def test_a_book_is_restated_whole_or_as_not_valid(small_capture: Lines) -> None:
    session = BinanceSession(["BTCUSDT"])
    play(session, small_capture)
    state = session.symbols["BTCUSDT"]
    (said,) = session.restate(state)
    assert isinstance(said, Publish)
    update = decode_book(said.payload)
    assert (update.valid, update.snapshot, update.last_id) == (True, True, state.book.last_id)
    assert (update.bids, update.asks) == tuple(map(list, state.book.full()))
    session.step(Disconnected("cut"), 1e9)
    (said,) = session.restate(state)
    assert isinstance(said, Publish)
    update = decode_book(said.payload)
    assert (update.valid, update.reason, said.mark) == (False, "disconnected", None)


@contextlib.asynccontextmanager
async def running(actor: Actor, context: FakeContext) -> AsyncIterator[asyncio.Task[None]]:
    await actor.start(context)
    task = asyncio.create_task(actor.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def reports(context: FakeContext) -> list[tuple[str, str]]:
    return [
        (topic, msgspec.msgpack.decode(payload, type=ChannelReport).verdict) for topic, payload in context.published
    ]


async def test_a_staleness_detector_says_its_verdicts_when_it_is_promoted() -> None:
    clock = ManualClock()
    context = FakeContext(clock=clock, acting=False)
    actor = make(StalenessDetector, {"target": "/md", "channels": {"book.x": "1s"}}, context)
    await actor.start(context)
    for _ in range(9):
        clock.advance(0.2)
        actor.judge()
    assert (context.published, context.notes) == ([], [])
    context.acting = True
    await actor.promoted()
    assert reports(context) == [("verdict.book.x", "stale")], "what it saw while it stood by counts"


async def test_a_staleness_detector_that_may_not_ask_judges_nothing() -> None:
    context = FakeContext(clock=RealClock(), acting=False)
    config: Mapping[str, object] = {
        "target": "/md",
        "source": "status",
        "channels": {"x@trade": "300ms"},
        "interval": "10ms",
        "count": 1,
    }
    actor = make(StalenessDetector, config, context)
    context.answers["/md", "status"] = {"ages": {"x@trade": 0.0}, "incarnation": 1}
    async with running(actor, context):
        await asyncio.sleep(0.4)  # longer than the channel is given
        assert actor.verdicts()["x@trade"]["verdict"] == "unknown"
        context.acting = True
        await actor.promoted()
        age = actor.verdicts()["x@trade"]["age"]
        assert isinstance(age, float)
        assert age < 0.3, "silence counts from the promotion"
        await until(lambda: bool(context.published))
        assert reports(context) == [("verdict.x@trade", "fresh")]
        assert "stale" not in context.kinds()


async def test_a_heartbeat_detector_says_its_verdicts_when_it_is_promoted() -> None:
    context = FakeContext(clock=ManualClock(), acting=False)
    context.scripted_children["/cell"] = [{"id": "md", "beat_age": 0.1, "incarnation": 2, "state": "ready"}]
    actor = make(HeartbeatDetector, {"supervisor": "/cell"}, context)
    await actor.start(context)
    await actor.look()
    assert context.published == []
    context.acting = True
    await actor.promoted()
    ((topic, payload),) = context.published
    assert topic == "verdict.md"
    assert msgspec.msgpack.decode(payload) == {"id": "md", "verdict": "fresh", "beat_age": 0.1}


async def test_a_verifier_verifies_once_it_is_promoted() -> None:
    """A life that came while it stood by is its primary's business, unless that died: it looks."""
    context = FakeContext(clock=RealClock(), acting=False)
    context.scripted_children["/"] = [{"id": "md", "incarnation": 2}]
    context.answers["/md", "status"] = {"incarnation": 2, "connected": True}
    actor = make(
        VerifyRecovery, {"targets": ["/md"], "interval": "5ms", "box": "20ms", "checks": ["connected"]}, context
    )
    async with running(actor, context):
        await asyncio.sleep(0.05)
        assert (context.calls, actor.last()) == ([], {})
        context.acting = True
        await actor.promoted()
        await until(lambda: context.kinds() == ["verified"])


@pytest.mark.parametrize("kind", [StalenessDetector, HeartbeatDetector])
async def test_nothing_known_is_nothing_said(kind: type[Actor], tmp_path: Path) -> None:
    context = FakeContext(data_dir=str(tmp_path))
    actor = make(kind, {"target": "/md"} if kind is StalenessDetector else {}, context)
    await actor.start(context)
    await actor.promoted()
    assert context.published == []
