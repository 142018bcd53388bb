"""Promotions over real sockets, in one process: primaries that end at once, standbys ahead and behind, late readers."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from supervisors.runtime.calls import Place
from supervisors.runtime.pubsub import SubscriptionStream
from tests.unit.runtime.primary import Primary
from tests.unit.runtime.streams import TOPIC, Numbers, Whereabouts, ZmqContext, publisher, send, until


@pytest.fixture
async def context() -> AsyncIterator[ZmqContext]:
    made: ZmqContext = zmq.Context()
    yield made
    await asyncio.sleep(0)
    made.destroy(linger=0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
@given(
    published=st.integers(0, 5000),
    after=st.sampled_from((0.0, 0.002, 0.01, 0.05)),
    ahead=st.integers(-40, 40),
    heard=st.booleans(),
    readers=st.integers(1, 3),
    late=st.integers(0, 2),
)
async def test_each_reader_has_each_trade_once_and_in_order(
    published: int, after: float, ahead: int, heard: bool, readers: int, late: int
) -> None:
    """A primary that is killed ``after`` seconds of publishing, wherever it is then.

    ``late`` of the readers are connected to the primary only, and find the standby after its promotion.
    """
    context: ZmqContext = zmq.Context()
    with tempfile.TemporaryDirectory() as folder:
        primary, standby = Primary(f"ipc://{folder}/a"), publisher(context, Path(folder), "b")
        if heard:
            standby.follow(primary.endpoint)
        early, behind = Whereabouts(), Whereabouts()
        early.place = Place("running", "x", 1, 1, primary.endpoint, (standby.endpoint,))
        behind.place = Place("running", "x", 1, 1, primary.endpoint)
        all_readers = [Numbers(context, behind if number < late else early) for number in range(readers)]
        for reader in all_readers:
            await reader.greeted(primary)
        own = max(0, published + ahead)
        send(standby, *range(1, own + 1))
        primary.tell(published)
        await asyncio.sleep(after)
        primary.kill()
        standby.open_gate(2)
        send(standby, *range(own + 1, own + 21))
        behind.place = Place("running", "y", 2, 2, standby.endpoint)
        last = max(published, own) + 60
        send(standby, *range(own + 21, last + 1))
        await until(
            lambda: all(r.got[-1:] == [last] for r in all_readers),
            f"the last is {last}; they had {[(r.got[-3:], len(r.got)) for r in all_readers]}",
        )
        assert [reader.got for reader in all_readers] == [list(range(1, last + 1))] * readers
        assert [reader.stream.missed for reader in all_readers] == [0] * readers
        for reader in all_readers:
            reader.close()
        standby.close()
    context.destroy(linger=0)


@pytest.mark.parametrize("topic", ["", "trade.", TOPIC])
async def test_a_reader_who_lost_more_than_the_overlap_asks_for_it(
    context: ZmqContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    """Also one who is subscribed to just that topic already."""
    primary, standby = publisher(context, tmp_path, "a", 1), publisher(context, tmp_path, "b")
    where = Whereabouts()
    where.place = Place("running", "x", 1, 1, primary.endpoint, (standby.endpoint,))
    reader = Numbers(context, where, topic)
    await reader.greeted(primary)
    send(primary, *range(1, 11))
    await until(lambda: reader.got[-1:] == [10], "what the primary sent")
    gate = standby._gate
    assert gate is not None
    now = time.monotonic()
    for number in range(1, 41):
        gate.keep(now - 4.0 + number * 0.1, TOPIC, number, b"%d" % number)
    gate.heard(now, TOPIC, 40)  # it was heard to publish all; of 11 to 40 nothing came to this reader
    primary.close()
    standby.open_gate(2)
    assert next(item.mark for item, _ in gate.overlap(now)) > 30
    send(standby, 41)
    await until(lambda: reader.got[-1:] == [41], f"all of it: {reader.got}")
    assert reader.got == list(range(1, 42))
    reader.close()
    standby.close()


async def test_what_has_arrived_is_read_when_its_publisher_is_gone(context: ZmqContext, tmp_path: Path) -> None:
    """The reader is busy while its publisher sends, ends, and is replaced without a standby."""
    first, second = publisher(context, tmp_path, "a", 1), publisher(context, tmp_path, "b", 2)
    where = Whereabouts()
    where.place = Place("running", "x", 1, 1, first.endpoint)
    reader = Numbers(context, where)
    await reader.greeted(first)
    probe = context.socket(zmq.SUB)
    probe.setsockopt(zmq.RCVHWM, 100_000)
    probe.setsockopt_string(zmq.SUBSCRIBE, TOPIC)
    probe.connect(first.endpoint)
    while not probe.poll(1):
        first.publish(TOPIC, b"0")
    send(first, *range(1, 5001))
    for _ in iter(lambda: probe.recv_multipart()[2], b"5000"):
        pass  # the loop does not turn: only ZeroMQ's own thread works
    where.place = Place("running", "y", 2, 2, second.endpoint)
    first.close()
    await reader.greeted(second)
    assert reader.got == list(range(1, 5001))
    probe.close(linger=0)
    reader.close()
    second.close()


async def test_busy_readers_survive_a_publisher_that_is_killed(tmp_path: Path) -> None:
    """With ``RECONNECT_IVL`` at -1 ZeroMQ throws away what they have not read, or ends their process: it happens to
    look at what befell the connection between two parts of a message (``Assertion failed: !_more``).
    """
    for round_ in range(6):
        context: ZmqContext = zmq.Context()
        primary, where = Primary(f"ipc://{tmp_path}/{round_}"), Whereabouts()
        where.place = Place("running", "x", 1, 1, primary.endpoint)
        readers = [Numbers(context, where) for _ in range(3)]
        for reader in readers:
            await reader.greeted(primary)
        probe = context.socket(zmq.SUB)
        probe.setsockopt_string(zmq.SUBSCRIBE, TOPIC)
        probe.connect(primary.endpoint)
        while not probe.poll(1):
            primary.tell(0)
        while probe.poll(100):
            probe.recv_multipart()
        primary.tell(20_000)
        assert probe.poll(10_000), "it has begun to send"
        time.sleep(0.05)  # the loop does not turn: nothing is read meanwhile, and much has arrived
        primary.kill()
        await until(lambda: all(r.got for r in readers), "what has arrived is read")  # noqa: B023 - called here and now
        await asyncio.sleep(0.02)
        for reader in readers:
            assert reader.got == list(range(1, len(reader.got) + 1))
            reader.close()
        context.destroy(linger=0)


async def test_a_lost_publisher_is_noticed_at_once(context: ZmqContext, tmp_path: Path) -> None:
    """Not at the next look, which is a second away."""
    first, second = publisher(context, tmp_path, "a", 1), publisher(context, tmp_path, "b", 2)
    where = Whereabouts()
    where.place = Place("running", "x", 1, 1, first.endpoint)
    reader = Numbers(context, where)
    await reader.greeted(first)
    where.place = Place("running", "y", 2, 2, second.endpoint)
    looks = where.looks
    first.close()
    await until(lambda: where.looks > looks, "a look", seconds=0.5)
    await reader.greeted(second)
    reader.close()
    second.close()


async def test_a_standby_that_cannot_be_reached_is_tried_again_but_not_all_the_time(
    context: ZmqContext, tmp_path: Path
) -> None:
    primary = publisher(context, tmp_path, "a", 1)
    where = Whereabouts()
    where.place = Place("running", "x", 1, 1, primary.endpoint, (f"ipc://{tmp_path}/b",))
    reader = Numbers(context, where)
    await reader.greeted(primary)
    before, began = where.looks, time.monotonic()
    await until(lambda: where.looks > before + 10, "it is tried again and again", seconds=2.0)
    assert time.monotonic() - began > 0.05, "a hundred times a second is enough"
    standby = publisher(context, tmp_path, "b")
    send(standby, 1)
    standby.open_gate(2)
    await until(lambda: reader.got == [1], "it is reached once it is there", seconds=4.0)
    reader.close()
    standby.close()
    primary.close()


async def test_a_standby_measures_how_far_it_is_behind(context: ZmqContext, tmp_path: Path) -> None:
    primary, standby = publisher(context, tmp_path, "a", 1), publisher(context, tmp_path, "b")
    standby.follow(f"ipc://{tmp_path}/nowhere {primary.endpoint}")

    def behind() -> bool:
        send(primary, 5)
        return standby.lag > 0.0

    await until(behind, "it hears its primary")
    send(standby, 4)
    assert standby.lag > 0.0
    send(standby, 5)
    assert standby.lag == 0.0
    standby.follow("")
    standby.close()
    primary.close()


async def test_what_subscribers_say_does_not_pile_up(
    context: ZmqContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.runtime.pubsub._TIDY_EVERY", 0.01)
    primary = publisher(context, tmp_path, "a", 1)
    primary.publish("x", b"")
    read = 0
    asked = primary._asked

    def count() -> list[str]:
        nonlocal read
        found = asked()
        read += len(found)
        return found

    monkeypatch.setattr(primary, "_asked", count)
    for number in range(20):
        socket = context.socket(zmq.SUB)
        socket.setsockopt_string(zmq.SUBSCRIBE, f"t{number}")
        socket.connect(primary.endpoint)
        await until(lambda number=number: read > number, "the notice is read, though nothing is published")  # type: ignore[misc]
        socket.close(linger=0)
    primary.close()


async def test_late_readers_are_served_without_holding_up_the_actor(context: ZmqContext, tmp_path: Path) -> None:
    standby = publisher(context, tmp_path, "b")
    send(standby, *range(1, 50_001))
    gate = standby._gate
    assert gate is not None
    gate.heard(time.monotonic() + 10.0, TOPIC, 50_000)
    standby.open_gate(2)
    standby._wanted.add("")
    standby.tick()
    assert standby._again is not None, "the loop gets its turn before all is sent"
    where = Whereabouts()
    where.place = Place("running", "y", 2, 2, standby.endpoint)
    reader = Numbers(context, where)
    await until(lambda: reader.got[-1:] == [50_000], "all of it")
    assert reader.got == list(range(1, 50_001))
    reader.close()
    standby.close()


async def test_after_the_handover_the_publisher_is_a_plain_one(
    context: ZmqContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.runtime.pubsub.KEEP_FOR", 0.05)
    standby = publisher(context, tmp_path, "b")
    standby.open_gate(2)
    await until(lambda: standby._gate is None, "the buffer is given back")
    assert standby.lag == 0.0
    where = Whereabouts()
    where.place = Place("running", "y", 2, 2, standby.endpoint)
    reader = Numbers(context, where)
    await reader.greeted(standby)
    send(standby, 9, 3)
    await until(lambda: reader.got == [9, 3], "nothing is compared")
    reader.close()
    standby.close()


async def test_a_closed_publisher_and_a_closed_stream_do_nothing_more(context: ZmqContext, tmp_path: Path) -> None:
    """An error in a callback would end this test: the loop's handler is ours."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: errors.append(what))
    standby = publisher(context, tmp_path, "b")
    send(standby, 1)
    standby.open_gate(2)
    where = Whereabouts()
    where.place = Place("running", "y", 2, 2, standby.endpoint, (f"ipc://{tmp_path}/nowhere",))
    stream = SubscriptionStream(context, "/md", "", where.resolve)
    await asyncio.sleep(0.05)
    stream.close()
    stream.close()
    standby.close()
    standby.publish(TOPIC, b"", 2)
    await asyncio.sleep(0.05)
    assert errors == []
