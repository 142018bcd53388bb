"""The context a host gives: of a life that acts, that stands by, that is fenced."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import zmq

from actors.context import Context
from supervisors.core.errors import NotActing
from supervisors.core.paths import TreePath
from supervisors.runtime.calls import Caller, Place
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.context import SIZE_TOPIC, HostContext
from supervisors.runtime.pubsub import Publisher
from supervisors.signals.messages import EvidenceGiven, Message, Noted, Ready
from tests.unit.runtime.streams import TOPIC, ZmqContext, until

if TYPE_CHECKING:
    from loguru import Logger


class Calls:
    """Stands for ``Caller``."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []

    async def call(
        self, path: str, method: str, args: tuple[object, ...], kwargs: dict[str, object], timeout: float, once: bool
    ) -> object:
        self.made.append((path, method))
        return 7

    def cast(self, path: str, method: str, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self.made.append((path, method))


class Kept:
    """Stands for a journal."""

    sequence = 3

    async def append(self, event: object) -> object:
        return event

    async def checkpoint(self) -> int:
        return 3


class Rig:
    """A context and what leaves it."""

    def __init__(self, context: ZmqContext, folder: Path) -> None:
        self.publisher = Publisher(context, f"ipc://{folder}/p")
        self.socket = context.socket(zmq.SUB)
        self.socket.setsockopt_string(zmq.SUBSCRIBE, "")
        self.socket.connect(self.publisher.endpoint)
        while not self.socket.poll(1):
            self.publisher.publish("hello", b"")
        self.calls = Calls()
        self.reported: list[Message] = []
        self.context = HostContext(
            path=TreePath("/a"),
            incarnation=1,
            epoch=1,
            clock=SystemClock(),
            log=self._log,
            data_dir=str(folder),
            caller=cast("Caller", self.calls),
            resolve=self._resolve,
            ask_children=self._children,
            publisher=self.publisher,
            zmq_context=context,
            report=self.reported.append,
        )

    def _log(self) -> "Logger":
        raise AssertionError("nobody logs here")

    async def _resolve(self, path: str) -> Place:
        return Place("gone")

    async def _children(self, path: str) -> list[Mapping[str, object]]:
        return [{"id": path}]

    def received(self) -> list[tuple[str, bytes]]:
        found = []
        while self.socket.poll(50):
            topic, _, payload = self.socket.recv_multipart()
            if topic != b"hello":
                found.append((topic.decode(), payload))
        return found


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    context: ZmqContext = zmq.Context()
    made = Rig(context, tmp_path)
    yield made
    made.publisher.close()
    context.destroy(linger=0)


def test_it_is_the_context_actors_are_promised(rig: Rig) -> None:
    promised: Context = rig.context
    assert promised.acting
    assert promised.path == "/a"


async def test_a_standby_has_no_effect_outside_itself(rig: Rig) -> None:
    context = rig.context
    context.stand_by()
    context.publish(TOPIC, b"1", 1)
    context.publish("verdict.a", b"stale")
    context.cast("/b", "act")
    context.note("said")
    context.metric("m", 1.0)
    with pytest.raises(NotActing, match=r"E7006.*/b\.act") as refused:
        context.call("/b", "act")
    assert refused.value.fix
    assert (rig.calls.made, rig.reported, context.metrics, rig.received()) == ([], [], {}, [])
    assert await context.children("/") == [{"id": "/"}], "it may look"
    context.ready()
    assert rig.reported == [Ready("/a", 1)], "its host has to know when it could act"


async def test_a_promoted_standby_acts_as_its_new_life(rig: Rig) -> None:
    context = rig.context
    context.stand_by()
    context.publish(TOPIC, b"1", 1)
    context.publish("verdict.a", b"stale")
    context.set_acting(4, 9)
    context.publish(TOPIC, b"2", 2)
    assert rig.received() == [(TOPIC, b"1"), (TOPIC, b"2")]
    assert (context.acting, context.incarnation, context.epoch) == (True, 4, 9)
    assert await context.call("/b", "act") == 7
    context.cast("/b", "cast")
    context.note("said", n=1)
    context.metric("m", 1.0, b="x")
    context.evidence("volatility_ratio", 2)
    assert rig.calls.made == [("/b", "act"), ("/b", "cast")]
    assert rig.reported == [Noted("/a", 4, "actor_said", {"n": 1}), EvidenceGiven("/a", 4, "volatility_ratio", 2.0)]
    assert context.metrics == {'m{b="x"}': 1.0}


async def test_a_fenced_life_is_silent_for_good(rig: Rig) -> None:
    context = rig.context
    context.set_fenced()
    context.publish(TOPIC, b"1", 1)
    context.note("said")
    with pytest.raises(NotActing):
        context.call("/b", "act")
    context.set_acting(4, 9)
    context.publish(TOPIC, b"2", 2)
    with pytest.raises(NotActing):
        context.call("/b", "act")
    assert rig.received() == []
    assert rig.reported == []


def test_a_journal_is_there_once_it_is_restored(rig: Rig) -> None:
    with pytest.raises(NotActing, match="no journal"):
        _ = rig.context.journal
    rig.context.set_journal(Kept())
    assert rig.context.journal.sequence == 3


async def test_sizes_are_told_as_they_change(rig: Rig) -> None:
    context = rig.context
    assert context.size_multiplier == 1.0
    context.set_multiplier(0.0)
    seen: list[float] = []

    async def listen() -> None:
        async for size in context.size_multipliers():
            seen.append(size)

    listeners = [asyncio.create_task(listen()) for _ in range(2)]
    await until(lambda: seen == [0.0, 0.0], "the present one")
    for size in (0.1, 0.1, 1.0):
        context.set_multiplier(size)
    await until(lambda: sorted(seen) == [0.0, 0.0, 0.1, 0.1, 1.0, 1.0], "each change once")
    assert context.size_multiplier == 1.0
    assert rig.received() == [(SIZE_TOPIC, b"0.0"), (SIZE_TOPIC, b"0.1"), (SIZE_TOPIC, b"1.0")]
    for listener in listeners:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    assert context._resized == set(), "nobody listens any more"
