"""A worker's host without Ray, to break on purpose: a real runner, a real plane, real hooks."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import ClassVar, cast

import msgspec

from supervisors.faults.board import FaultSlot
from supervisors.faults.catalogue import FaultKind, Where
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import ArmedState, FaultOrder, Scalar, encode
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.faulthooks import Call, FaultHooks
from supervisors.runtime.faulting import FaultHand
from supervisors.runtime.faultstage import Me, Ways
from supervisors.runtime.worker import WorkerRunner
from supervisors.signals.fault_messages import Arm, AskFaults, Disarm, FaultFired, FaultsNow
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Message, decode
from supervisors.spec.compiled import WorkerSpec

LONG = 10.0
PATH = "/a"


class Fragile:
    """An actor with a fault of its own. The mark is enough: ``actors`` need not be imported."""

    __rayvisor_actor__: ClassVar[int] = 1
    Faults = (FaultKind("sulk", "test", Where.ACTOR, "It sulks.", "it talks again"),)

    class Config:
        @staticmethod
        def model_validate_json(text: bytes) -> dict[str, object]:
            return cast("dict[str, object]", json.loads(text))

    def __init__(self, config: dict[str, object]) -> None:
        #: what it makes of its cancellation: "returns" as if all were well, "goes on" once
        self.how = str(config.get("how", ""))
        self.ctx: object = None
        self.sulking: list[str] = []
        #: asked to begin
        self.begun: list[str] = []
        #: asked to end; ``lets_go`` is waited for, then ``keeps`` is raised
        self.ending: list[str] = []
        self.goes_on, self.lets_go = asyncio.Event(), asyncio.Event()
        self.lets_go.set()
        self.keeps: Exception | None = None
        self.calls: list[tuple[object, ...]] = []

    async def start(self, ctx: object) -> None:
        return

    async def run(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not self.how:
                    raise
                if self.how == "returns":
                    return
                self.how = ""

    async def stop(self) -> None:
        return

    async def echo(self, *words: object) -> object:
        self.calls.append(words)
        return words[0] if words else None

    async def fault_armed(self, order: FaultOrder) -> None:
        self.begun.append(order.id)
        match order.params.get("how"):
            case "refuses":
                raise ValueError("I will not")
            case "sleeps":
                await asyncio.sleep(LONG)
            case "waits":
                await self.goes_on.wait()
                self.sulking.append(order.id)
            case _:
                self.sulking.append(order.id)

    async def fault_ended(self, fault_id: str) -> None:
        self.ending.append(fault_id)
        await self.lets_go.wait()
        if self.keeps is not None:
            raise self.keeps
        if fault_id in self.sulking:
            self.sulking.remove(fault_id)


def order(kind: str, id_: str = "f-1", seconds: float = 30.0, path: str = PATH, **params: Scalar) -> FaultOrder:
    """An order as the injector makes it."""
    found = CATALOGUE.find(kind) if kind in CATALOGUE else FaultKind(kind, "test", Where.ACTOR, "a.", "b")
    values = found.read(params) if kind in CATALOGUE else params
    standing = found.where is Where.STANDING
    return FaultOrder(id_, kind, path, values, seconds, found.hooks, found.slot, standing=standing)


class Rig:
    """The host of one worker.

    Args:
        config: of the actor.
        faults: armed from its beginning, as by ``Assign.faults``.
    """

    def __init__(self, config: dict[str, object] | None = None, faults: tuple[ArmedState, ...] = ()) -> None:
        self.defects: list[BaseException] = []
        self.said: list[Message] = []
        self.taken: list[tuple[bytes, Message]] = []
        self.frames: list[tuple[bytes, bytes]] = []
        self.carried: list[Call] = []
        self.hooks: FaultHooks | None = None
        self.path, self.state, self.allowed = PATH, "running", True
        self.slot = FaultSlot()
        self.loop = asyncio.get_running_loop()
        self.plane = PlaneLoop("fragile", self.defects.append)
        spec = WorkerSpec(PATH, "tests.unit.runtime.breakable:Fragile", json.dumps(config or {}).encode())
        self.runner = WorkerRunner(
            spec, 7, object(), self.said.append, self.said.append, 0.01, running=self._run_begins
        )
        ways = Ways(
            self._carry_out, lambda sender, message: self.taken.append((sender, message)), self._put, self._install
        )
        self.hand = FaultHand(
            plane=self.plane,
            clock=SystemClock(),
            slot=self.slot,
            me=self._me,
            data_dir="",
            ways=ways,
            defect=self.defects.append,
        )
        if faults:
            self.hand.restore(msgspec.msgpack.encode(faults))
        self.plane.start()
        self.task = asyncio.ensure_future(self.runner.live())

    def _run_begins(self) -> None:
        self.hand.run_begins()

    def _me(self) -> Me:
        return Me(self.path, 7, self.state, self.allowed, b"sup", self.runner, None, self.loop)

    async def _carry_out(self, call: Call) -> object:
        self.carried.append(call)
        return await self.runner.invoke(call[2], call[3], call[4])

    def _take(self, sender: bytes, message: Message) -> None:
        self.taken.append((sender, message))

    def _put(self, to: bytes, frame: bytes) -> None:
        self.frames.append((to, frame))

    def _install(self, hooks: FaultHooks | None) -> None:
        self.hooks = hooks

    @property
    def actor(self) -> Fragile:
        return cast(Fragile, self.runner.target)

    @property
    def has_hooks(self) -> bool:
        """Some hook is in somewhere."""
        return any(one is not None for one in (self.hooks, self.slot.board, self.runner.faults))

    @property
    def fired(self) -> list[FaultFired]:
        """What was told of faults that acted."""
        found = [decode(frame) for to, frame in self.frames if to == b"sup"]
        return [one for one in found if isinstance(one, FaultFired)]

    async def up(self) -> "Rig":
        await self.until(lambda: self.runner.state == "running")
        return self

    async def until(self, condition: Callable[[], object], within: float = LONG) -> None:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.001)

    async def in_plane(self, job: Callable[[Callable[[FaultsNow], None]], None]) -> FaultsNow:
        """Run something in the plane's thread that is answered."""
        answer: asyncio.Future[FaultsNow] = self.loop.create_future()

        def settle(found: FaultsNow) -> None:
            self.loop.call_soon_threadsafe(answer.set_result, found)

        self.plane.call_soon(lambda: job(settle))
        async with asyncio.timeout(LONG):
            return await answer

    async def give(self, *orders: FaultOrder) -> FaultsNow:
        return await self.in_plane(lambda reply: self.hand.asked(Arm(1, encode(orders)), reply))

    async def arm(self, kind: str, id_: str = "f-1", seconds: float = 30.0, **params: Scalar) -> FaultOrder:
        given = order(kind, id_, seconds, PATH, **params)
        answer = await self.give(given)
        assert answer.code == 0, answer.error
        return given

    async def end(self, fault_id: str = "") -> FaultsNow:
        return await self.in_plane(lambda reply: self.hand.asked(Disarm(2, fault_id), reply))

    async def armed(self) -> list[str]:
        answer = await self.in_plane(lambda reply: self.hand.asked(AskFaults(3), reply))
        return [state.order.id for state in msgspec.msgpack.decode(answer.body, type=list[ArmedState])]

    def call(self, method: str, *args: object, ref: str = "r1") -> Awaitable[object]:
        """As ``Host.invoke``."""
        made: Call = (7, ref, method, args, {})
        return self.hooks.invoke(made) if self.hooks is not None else self._carry_out(made)

    def soon(self, body: Coroutine[object, object, object]) -> "asyncio.Task[object]":
        return asyncio.ensure_future(body)

    async def close(self) -> None:
        self.plane.stop()
        if not self.task.done():
            self.runner.order_stop()
            async with asyncio.timeout(LONG):
                await self.task
