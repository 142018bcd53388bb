"""What the state benchmarks journal: orders and fills, with a realistic state and nothing that costs time beside it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from supervisors.recovery.policy import AckMode, CheckpointSpec, JournalSpec, RecoverySpec
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.journaling import ActorJournal
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Message
from supervisors.state.folders import JOURNAL
from supervisors.state.journal import JournalWriter

if TYPE_CHECKING:
    from loguru import Logger

PATH = "/bench/ledger"


class Placed(msgspec.Struct, tag="placed", frozen=True):
    """A new order; ``at``: monotonic seconds when it was offered."""

    order: int
    account: str
    quantity: int
    at: float = 0.0


class Filled(msgspec.Struct, tag="filled", frozen=True):
    """A part of it was filled."""

    order: int
    account: str
    quantity: int


class Book(msgspec.Struct):
    """Positions by account, open quantities by order."""

    positions: dict[str, int]
    orders: dict[int, int]


class Ledger:
    """A simple ledger. With ``lags``, it notes how old each order is when applied."""

    Event = Placed | Filled
    State = Book

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self.orders: dict[int, int] = {}
        self.lags: list[float] | None = None

    def apply(self, event: Placed | Filled) -> None:
        if isinstance(event, Placed):
            self.orders[event.order] = event.quantity
            if self.lags is not None:
                self.lags.append(time.monotonic() - event.at)
        else:
            self.positions[event.account] = self.positions.get(event.account, 0) + event.quantity
            self.orders[event.order] = self.orders.get(event.order, 0) - event.quantity

    def snapshot(self) -> Book:
        return Book(self.positions, self.orders)

    def restore(self, state: Book) -> None:
        self.positions, self.orders = state.positions, state.orders


def event(number: int) -> Placed | Filled:
    """The event of that number: each order is placed, then filled; 10,000 orders at a time."""
    order, account = number // 2 % 10_000, f"account-{number % 97}"
    return Filled(order, account, 1) if number % 2 else Placed(order, account, 1)


def write_journal(folder: Path, count: int, epoch: int = 1, batch: int = 4000) -> None:
    """A journal of ``count`` events in the state folder ``folder``, written as its writer would."""
    encode = msgspec.msgpack.Encoder().encode
    writer = JournalWriter.open(folder / JOURNAL, epoch, clock=SystemClock(), segment_bytes=64_000_000)
    for start in range(writer.durable, count, batch):
        writer.append([encode(event(number)) for number in range(start, min(count, start + batch))])
    writer.close()


def _no_log() -> "Logger":
    raise AssertionError("nobody logs here")


def open_journal(
    folder: Path,
    target: Ledger,
    plane: PlaneLoop,
    *,
    ack: AckMode = AckMode.DISK,
    send: Callable[[bytes, Message], None] = lambda to, message: None,
) -> ActorJournal:
    """The journal object of one life, as a host makes it; in the running loop."""

    def fatal(error: BaseException) -> None:
        raise AssertionError("the benchmark's journal failed") from error

    return ActorJournal(
        path=PATH,
        incarnation=1,
        target=target,
        spec=RecoverySpec(checkpoint=CheckpointSpec(verify_every=None), journal=JournalSpec(ack)),
        folder=folder,
        actor="benchmarks._ledger:Ledger",
        config=b"{}",
        plane=plane,
        loop=asyncio.get_running_loop(),
        clock=SystemClock(),
        report=lambda message: None,
        send=send,
        fatal=fatal,
        may_act=lambda: True,
        log=_no_log,
    )
