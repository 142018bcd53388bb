"""Detectors: hysteresis, quiet channels, restarts, and the actors around the cores."""

import asyncio
import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.detectors.heartbeat import HeartbeatDetector
from actors.detectors.heartbeat_core import BeatSample, ChildBeats
from actors.detectors.hysteresis import Freshness, Hysteresis
from actors.detectors.staleness import ChannelReport, StalenessDetector
from actors.detectors.staleness_core import ChannelVerdict
from actors.testing import FakeContext, ManualClock, make
from supervisors.core.errors import CallTimeout
from tests.actors.helpers import RealClock, until

F = Freshness


def test_suspect_before_stale_and_three_in_a_row() -> None:
    judge = Hysteresis(3)
    seen = []
    for late in (False, True, True, False, True, True, True, False, False, True, False, False, False):
        judge.judge(late)
        seen.append(judge.verdict)
    assert seen == [
        F.FRESH, F.SUSPECT, F.SUSPECT, F.FRESH, F.SUSPECT, F.SUSPECT, F.STALE,
        F.STALE, F.STALE, F.STALE, F.STALE, F.STALE, F.FRESH,
    ]  # fmt: skip


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_stale_only_after_n_late_ones_in_a_row(judgements: list[bool], count: int) -> None:
    judge = Hysteresis(count)
    for index, late in enumerate(judgements):
        before = judge.verdict
        changed = judge.judge(late)
        assert changed == (judge.verdict is not before)
        if judge.verdict is F.STALE and before is not F.STALE:
            assert all(judgements[index - count + 1 : index + 1])
        if before is F.STALE and judge.verdict is not F.STALE:
            assert not any(judgements[index - count + 1 : index + 1])


def feed(channel: ChannelVerdict, begin: float, end: float, every: float) -> float:
    now = begin
    while now < end:
        channel.arrived(now)
        now += every
    return now - every


def observe_from(channel: ChannelVerdict, begin: float, end: float, every: float = 0.2) -> float | None:
    """When the channel becomes stale, seconds after ``begin``."""
    now = begin
    while now < end:
        now += every
        channel.observe(now)
        if channel.verdict is F.STALE:
            return now - begin
    return None


def test_busy_channel_is_stale_soon_after_its_bound() -> None:
    channel = ChannelVerdict(1.0)
    last = feed(channel, 0.0, 30.0, 0.05)
    channel.observe(last)
    assert channel.verdict is F.FRESH
    stale = observe_from(channel, last, last + 10)
    assert stale is not None
    assert 1.0 < stale <= 1.8


def test_quiet_channel_is_known_by_its_habit() -> None:
    channel = ChannelVerdict(1.0)
    last = feed(channel, 0.0, 300.0, 5.0)
    assert channel.allowed == pytest.approx(15.0)
    assert observe_from(channel, last, last + 14.0) is None
    assert observe_from(channel, last + 14.0, last + 30.0) is not None


def test_one_outage_teaches_no_patience() -> None:
    channel = ChannelVerdict(1.0)
    last = feed(channel, 0.0, 20.0, 0.1)
    feed(channel, last + 60.0, last + 80.0, 0.1)
    assert channel.allowed == 1.0


def test_pause_over_a_restart_is_no_habit() -> None:
    channel = ChannelVerdict(1.0)
    for life in range(1, 30):
        channel.arrived(life * 100.0, life)
        channel.arrived(life * 100.0 + 0.1, life)
    assert channel.usual == pytest.approx(0.1)


def test_channel_that_never_spoke_is_judged_only_when_expected() -> None:
    channel = ChannelVerdict(1.0)
    assert not channel.observe(100.0)
    assert channel.verdict is F.UNKNOWN
    channel.expect(100.0)
    assert observe_from(channel, 100.0, 110.0) is not None


def test_the_observers_own_lag_widens_the_bound() -> None:
    channel = ChannelVerdict(1.0, count=1)
    channel.arrived(0.0)
    verdicts = []
    for lag in (2.0, 0.0):
        channel.observe(2.5, lag)
        verdicts.append(channel.verdict)
    assert verdicts == [F.FRESH, F.STALE]


def detector(context: FakeContext, **config: object) -> StalenessDetector:
    return make(StalenessDetector, {"target": "/cell/md"} | config, context)


async def test_detector_notes_and_publishes_each_change() -> None:
    clock = ManualClock()
    context = FakeContext(clock=clock)
    actor = detector(context, channels={"book.btcusdt": "1s"})
    await actor.start(context)
    for _ in range(9):
        clock.advance(0.2)
        actor.judge()
    assert context.kinds() == ["stale"]
    assert context.notes[0].data["channel"] == "book.btcusdt"
    reports = [msgspec.msgpack.decode(payload, type=ChannelReport) for _, payload in context.published]
    assert [report.verdict for report in reports] == ["fresh", "suspect", "stale"]
    assert actor.verdicts()["book.btcusdt"]["verdict"] == "stale"
    actor._channel("book.btcusdt").arrived(clock.now)
    for _ in range(3):
        actor.judge()
    assert context.kinds() == ["stale", "fresh"]
    assert ("staleness_seconds", frozenset({("channel", "book.btcusdt")})) in context.metrics


async def test_detector_listens() -> None:
    context = FakeContext(clock=RealClock())
    actor = detector(context, bound="50ms", interval="10ms")
    await actor.start(context)
    task = asyncio.create_task(actor.run())
    try:
        await until(lambda: len(context.subscriptions) == 1)
        for _ in range(5):
            context.feed("/cell/md", "trade.btcusdt")
        await until(lambda: "stale" in context.kinds())
        assert actor.verdicts()["trade.btcusdt"]["items"] == 5
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert context.subscriptions[0][1].closed


async def test_detector_asks_where_told_to() -> None:
    context = FakeContext(clock=RealClock())
    age = 0.0
    context.answers["/cell/md", "status"] = lambda: {"incarnation": 1, "ages": {"btcusdt@trade": age, "junk": "x"}}
    actor = detector(context, source="status", bound="500ms", interval="5ms")
    await actor.start(context)
    task = asyncio.create_task(actor.run())
    try:
        await until(lambda: actor.verdicts().get("btcusdt@trade", {}).get("verdict") == "fresh")
        context.answers["/cell/md", "status"] = CallTimeout("no answer")
        await until(lambda: actor.verdicts()["btcusdt@trade"]["verdict"] == "stale")
        assert "junk" not in actor.verdicts()
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def beat(age: float | None, incarnation: int = 1) -> BeatSample:
    return BeatSample("md", age, incarnation)


def test_beats_late_three_times_are_stale() -> None:
    child = ChildBeats(0.3, 3)
    assert child.observe(beat(0.05))
    assert child.observe(beat(0.5))
    assert not child.observe(beat(1.5))
    assert child.observe(beat(2.5))
    verdicts = [child.verdict]
    assert not child.observe(beat(None))
    for _ in range(3):
        child.observe(beat(0.05, 2))
        verdicts.append(child.verdict)
    assert verdicts == [F.STALE, F.STALE, F.STALE, F.FRESH]


def test_a_new_life_begins_without_suspicion() -> None:
    child = ChildBeats(0.3, 3)
    child.observe(beat(0.05))
    child.observe(beat(0.5))
    child.observe(beat(0.5))
    child.observe(beat(0.5, 2))
    assert child.verdict is F.SUSPECT


async def test_heartbeat_detector_tells_of_children_and_of_a_silent_supervisor() -> None:
    context = FakeContext()
    actor = make(HeartbeatDetector, {"supervisor": "/cell"}, context)
    await actor.start(context)
    context.scripted_children["/cell"] = [
        {"id": "md", "state": "ready", "incarnation": 1, "beat_age": 0.1},
        {"id": "sub", "state": "ready", "incarnation": 1, "beat_age": None},
        {"state": "no id"},
    ]
    await actor.look()
    context.scripted_children["/cell"] = [{"id": "md", "state": "ready", "incarnation": 1, "beat_age": 4.0}]
    for _ in range(4):
        await actor.look()
    assert context.kinds() == ["beats_stale"]
    assert actor.verdicts() == {"md": {"verdict": "stale", "beat_age": 4.0, "incarnation": 1, "state": "ready"}}
    context.scripted_children["/cell"] = [{"id": "md", "state": "ready", "incarnation": 2, "beat_age": 0.0}]
    for _ in range(3):
        await actor.look()
    assert context.kinds() == ["beats_stale", "beats_fresh"]
    context.scripted_children["/cell"] = CallTimeout("silent")
    for _ in range(5):
        await actor.look()
    assert context.kinds() == ["beats_stale", "beats_fresh", "supervisor_silent"]
