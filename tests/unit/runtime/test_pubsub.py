"""Publishers that stand by, are promoted and hand over; readers who see every marked item once and in order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisors.runtime.calls import Place
from supervisors.runtime.gate import Gate, Kept
from supervisors.runtime.handover import Handover, Received
from supervisors.runtime.pubsub import Publisher, SubscriptionStream
from supervisors.runtime.wire import EDGE, REPLAY, full_header, mark_prefix, read_header

_TOPIC = "trade.btcusdt"


class Path_:
    """A path whose place the test moves."""

    def __init__(self) -> None:
        self.place = Place("gone")

    async def resolve(self, path: str) -> Place:
        return self.place


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


class Reader:
    """A stream and the numbers it has had."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", path: Path_) -> None:
        self.stream = SubscriptionStream(context, "/md", "trade.", path.resolve)
        self.got: list[int] = []
        self.hellos = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for item in self.stream:
            number = int(item.payload)
            if number:
                self.got.append(number)
            else:
                self.hellos += 1

    def close(self) -> None:
        self._task.cancel()
        self.stream.close()


@pytest.fixture
async def context() -> AsyncIterator["zmq.Context[zmq.Socket[bytes]]"]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    await asyncio.sleep(0)
    made.destroy(linger=0)


def _publisher(context: "zmq.Context[zmq.Socket[bytes]]", folder: Path, name: str) -> Publisher:
    return Publisher(context, f"ipc://{folder}/{name}")


def _send(publisher: Publisher, *numbers: int) -> None:
    for number in numbers:
        publisher.publish(_TOPIC, str(number).encode(), number)


async def _connected(reader: Reader, publisher: Publisher) -> None:
    """A reader is connected when something without a mark, sent to it alone, arrives."""
    seen = reader.hellos
    while reader.hellos == seen:
        publisher.publish(_TOPIC, b"0")
        await asyncio.sleep(0.002)


async def test_a_promoted_standby_goes_on_where_its_primary_ended(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    primary, standby = _publisher(context, tmp_path, "a"), _publisher(context, tmp_path, "b")
    primary.set_incarnation(1)
    standby.shut()
    standby.follow(primary.endpoint)
    path = Path_()
    path.place = Place("running", "x", 1, 1, primary.endpoint, (standby.endpoint,))
    readers = [Reader(context, path) for _ in range(3)]
    for reader in readers:
        await _connected(reader, primary)

    _send(primary, *range(1, 51))
    _send(standby, *range(1, 60))  # its own feed is ahead
    await _until(lambda: all(r.got[-1:] == [50] for r in readers), "all of the primary")
    primary.close()
    standby.open_gate(2)
    _send(standby, *range(60, 80))

    await _until(lambda: all(r.got[-1:] == [79] for r in readers), f"all of the standby: {readers[0].got[-5:]}")
    assert [reader.got for reader in readers] == [list(range(1, 80))] * 3
    assert all(reader.stream.missed == 0 for reader in readers)
    for reader in readers:
        reader.close()
    standby.close()


async def test_a_standby_that_is_behind_repeats_nothing(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    primary, standby = _publisher(context, tmp_path, "a"), _publisher(context, tmp_path, "b")
    primary.set_incarnation(1)
    standby.shut()
    path = Path_()
    path.place = Place("running", "x", 1, 1, primary.endpoint, (standby.endpoint,))
    reader = Reader(context, path)
    await _connected(reader, primary)
    _send(primary, *range(1, 51))
    _send(standby, *range(1, 41))
    await _until(lambda: reader.got[-1:] == [50], "all of the primary")
    primary.close()
    standby.open_gate(2)
    _send(standby, *range(41, 61))
    await _until(lambda: reader.got[-1:] == [60], f"all of the standby: {reader.got[-5:]}")
    assert reader.got == list(range(1, 61))
    reader.close()
    standby.close()


async def test_a_reader_who_comes_late_gets_the_overlap(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    standby = _publisher(context, tmp_path, "b")
    standby.shut()
    _send(standby, *range(1, 21))
    standby.open_gate(2)
    _send(standby, 21, 22)
    path = Path_()
    path.place = Place("running", "x", 2, 2, standby.endpoint)
    reader = Reader(context, path)
    await _until(lambda: reader.got[-1:] == [22], "what was kept")
    assert reader.got == list(range(1, 23))
    reader.close()
    standby.close()


async def test_a_shut_publisher_sends_nothing(context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path) -> None:
    standby = _publisher(context, tmp_path, "b")
    standby.shut()
    socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
    socket.setsockopt_string(zmq.SUBSCRIBE, "")
    socket.connect(standby.endpoint)
    await asyncio.sleep(0.05)
    _send(standby, 1, 2)
    standby.publish("verdict.x", b"late")
    standby.tick()
    assert socket.poll(50) == 0
    standby.open = False
    standby.open_gate(2)
    assert socket.poll(50) == 0, "a fenced life says nothing either"
    socket.close(linger=0)
    standby.close()


async def test_without_marks_and_standbys_nothing_changes(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    first, second = _publisher(context, tmp_path, "a"), _publisher(context, tmp_path, "b")
    first.set_incarnation(1)
    second.set_incarnation(2)
    path = Path_()
    path.place = Place("running", "x", 1, 1, first.endpoint)
    reader = Reader(context, path)
    await _connected(reader, first)
    first.publish(_TOPIC, b"1")
    await _until(lambda: reader.got == [1], "the first")
    path.place = Place("running", "y", 2, 2, second.endpoint)
    first.close()
    await _connected(reader, second)
    second.publish(_TOPIC, b"1")
    await _until(lambda: reader.got == [1], "the same again: nobody compares")
    reader.close()
    second.close()


# ---------------------------------------------------------------- every interleaving, without sockets


class Wire:
    """One reader's end; sends again what it asks for."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.now = 100.0
        self.asked: list[str] = []
        self.handover = Handover(self._deliver, self.asked.append, lambda: self.now)

    def _deliver(self, item: Received) -> None:
        self.got.append(int(item.payload))

    def take(self, header: bytes, payload: bytes) -> None:
        found = read_header(header)
        assert found is not None
        incarnation, flags, mark, prev = found
        self.handover.take(_TOPIC, payload, incarnation, flags, mark, prev)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    heard=st.integers(0, 30),
    reached=st.integers(0, 30),
    ahead=st.integers(-20, 20),
    step=st.sampled_from((1, 3)),
)
def test_each_item_once_and_in_order_however_far_each_side_was(heard: int, reached: int, ahead: int, step: int) -> None:
    """The primary sent 30 items; ``reached`` of them came here, ``heard`` of them the standby heard of."""
    marks = [step * number for number in range(1, 61)]
    wire = Wire()
    gate = Gate()
    for mark in marks[:reached]:
        wire.take(mark_prefix(1) + mark.to_bytes(8, "big", signed=True), str(mark).encode())
    own = max(0, min(50, 30 + ahead))
    now = 100.0
    for mark in marks[:own]:
        gate.keep(now, _TOPIC, mark, str(mark).encode())
    for mark in marks[:heard]:
        gate.heard(now, _TOPIC, mark)

    def send_again(items: Iterable[tuple[Kept, bool]]) -> None:
        for item, edge in items:
            flags = REPLAY | (EDGE if edge else 0)
            wire.take(full_header(2, flags, item.mark, item.prev), item.payload)

    send_again(gate.overlap(now))
    for mark in marks[own:]:
        prev = gate.keep(now, _TOPIC, mark, str(mark).encode())
        wire.take(full_header(2, 0, mark, prev), str(mark).encode())
        while wire.asked:
            send_again(gate.all(now, wire.asked.pop()))
    wire.now += 10.0
    wire.handover.expire()
    assert wire.got == marks
