"""Journalled objects, and primaries and standbys of them in one process: real files, real planes over ipc, no Ray."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zmq

from supervisors.core.clock import Clock
from supervisors.recovery.policy import AckMode, CheckpointSpec, JournalSpec, RecoverySpec
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.following import Follower
from supervisors.runtime.journaling import ActorJournal
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Applied, Feed, Join, Message, StandbyState, StateNoted, decode, encode
from supervisors.state.disk import REAL_DISK, Disk

if TYPE_CHECKING:
    from loguru import Logger

LONG = 10.0
PATH = "/ledger"
ACTOR = "tests.unit.runtime.ledgers:Ledger"


class Put(msgspec.Struct, tag="put", frozen=True):
    """Add to an account."""

    account: str
    amount: int


class Break(msgspec.Struct, tag="break", frozen=True):
    """``apply`` raises on it."""


class Rows(msgspec.Struct):
    """The state: balances, and every amount in its order (what was applied twice or not at all shows)."""

    balances: dict[str, int]
    seen: list[int]


class Ledger:
    """Event-sourced balances."""

    Event = Put | Break
    State = Rows
    STATE_VERSION = 1

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.seen: list[int] = []
        self.pause = 0.0

    def apply(self, event: Put | Break) -> int:
        if self.pause:
            time.sleep(self.pause)
        if isinstance(event, Break):
            raise ValueError("broken")
        self.balances[event.account] = self.balances.get(event.account, 0) + event.amount
        self.seen.append(event.amount)
        return self.balances[event.account]

    def snapshot(self) -> Rows:
        return Rows(self.balances, self.seen)

    def restore(self, state: Rows) -> None:
        self.balances, self.seen = state.balances, state.seen


async def until(condition: Callable[[], bool], seconds: float = LONG) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


def _no_log() -> "Logger":
    raise AssertionError("nobody should log here")


def policy(
    ack: AckMode = AckMode.DISK,
    *,
    every: float = 3600.0,
    events: int = 1_000_000,
    keep: int = 3,
    retain: float | None = None,
    segment_bytes: int = 1_000_000,
    standby_timeout: float = 1.0,
    verify_every: float | None = None,
) -> RecoverySpec:
    """A recovery policy with what matters here."""
    return RecoverySpec(
        checkpoint=CheckpointSpec(every, events, keep=keep, verify_every=verify_every),
        journal=JournalSpec(ack, segment_bytes, retain, standby_timeout),
    )


class Node:
    """What a host gives a journalled worker: a plane with a ROUTER that can be cut off, a journal; what it reported."""

    def __init__(
        self,
        folder: Path,
        sockets: Path,
        name: str,
        spec: RecoverySpec,
        *,
        incarnation: int = 0,
        target: Ledger | None = None,
        disk: Disk = REAL_DISK,
        clock: Clock | None = None,
        tick: float = 1.0,
    ) -> None:
        self.name = name
        self.errors: list[BaseException] = []
        self.told: list[Message] = []
        self.died: list[BaseException] = []
        self.acting = True
        self.target = target or Ledger()
        #: frames to standbys are lost while this gives True
        self.loses: Callable[[Message], bool] = lambda message: False
        self.plane = PlaneLoop(f"plane-{name}", self.errors.append)
        self.router = self.plane.router(name.encode())
        self.endpoint = f"ipc://{sockets}/{name}"
        self.router.bind(self.endpoint)
        self.plane.on_readable(self.router, self._received)
        self.plane.start()
        try:
            self.journal = self._make(folder, spec, incarnation, disk, clock or SystemClock(), tick)
        except BaseException:
            self.plane.stop()
            raise
        self.follower: Follower | None = None

    def _make(
        self, folder: Path, spec: RecoverySpec, incarnation: int, disk: Disk, clock: Clock, tick: float
    ) -> ActorJournal:
        return ActorJournal(
            path=PATH,
            incarnation=incarnation,
            target=self.target,
            spec=spec,
            folder=folder,
            actor=ACTOR,
            config=b"{}",
            plane=self.plane,
            loop=asyncio.get_running_loop(),
            clock=clock,
            report=self.told.append,
            send=self._send,
            fatal=self.died.append,
            may_act=lambda: self.acting,
            log=_no_log,
            disk=disk,
            tick=tick,
        )

    def _received(self, frames: list[bytes]) -> None:
        sender, body = frames
        message = decode(body)
        if isinstance(message, Join):
            self.journal.joined(sender, message)
        elif isinstance(message, Applied):
            self.journal.applied(message)

    def _send(self, to: bytes, message: Message) -> None:
        if not self.loses(message):
            self.router.send_multipart((to, encode(message)), zmq.NOBLOCK)

    async def begin(self, epoch: int, rung: str = "") -> "Node":
        """As the primary."""
        await self.journal.restore(rung)
        await self.journal.open(epoch)
        return self

    async def follow(self, primary: "Node", epoch: int, beat: float = 0.05) -> "Node":
        """As its standby."""
        self.follower = Follower(self.journal, self.name, beat)
        await self.follower.restore()
        self.feed(primary, epoch)
        return self

    def feed(self, primary: "Node", epoch: int) -> None:
        """Tell it who its primary is."""
        follower = self.follower
        assert follower is not None
        message = Feed(PATH, 1, epoch, primary.name, primary.endpoint, "")
        self.plane.call_soon(lambda: follower.feed(message))

    @property
    def state(self) -> str:
        """What it last said as a standby."""
        said = [message for message in self.told if isinstance(message, StandbyState)]
        return said[-1].state if said else ""

    def notes(self, what: str) -> list[StateNoted]:
        """The notes with that ``what`` or ``state``."""
        return [
            message
            for message in self.told.copy()
            if isinstance(message, StateNoted) and what in (message.data.get("what"), message.data.get("state"))
        ]

    async def put(self, *amounts: int) -> None:
        """Append, one after the other."""
        for amount in amounts:
            await self.journal.append(Put("a", amount))

    def vanish(self) -> None:
        """As a killed process: it says nothing, writes nothing, and its files stay as they are."""
        self.plane.stop()
        committer = self.journal._committer
        self.journal._committer = None
        if self.journal._timer is not None:
            self.journal._timer.cancel()
        if committer is not None:
            committer._writer.close = committer._writer.abandon  # type: ignore[method-assign]
            committer.close()

    async def end(self) -> None:
        """In order."""
        if self.follower is not None:
            self.plane.call_soon(self.follower.close)
        if self.plane.thread.is_alive():
            await self.journal.close()
            self.plane.stop()
        self.journal.helper.shutdown()
        assert self.errors == []
