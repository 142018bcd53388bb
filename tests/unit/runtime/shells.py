"""A real supervisor's shell without Ray, processes or time that passes.

Shell, machine, recoveries, standbys, hosting, detection and goal state are the real ones. Hosts are objects that speak
the plane's messages; the loop, its clock, the factory's threads, the death watch and the lease store are doubles that
do one thing at a time, so that a run repeats. While it runs, rules are kept (``Rules``) that no test may see broken.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol, cast

import msgspec
import pytest
import zmq
from loguru import logger

from supervisors.core.errors import RayvisorError, StoreUnavailable
from supervisors.core.paths import TreePath, join
from supervisors.core.reasons import SHUTDOWN, ExitReason, init_error
from supervisors.recovery.policy import DEFAULT_RULES, RecoverySpec, Rung, ValidationStep
from supervisors.recovery.progress import State
from supervisors.runtime import adoption, hosting, leasing, preserving, standbys, supervisor, validating
from supervisors.runtime import detection as detection_module
from supervisors.runtime.boot import HostBoot
from supervisors.runtime.factory import HostFactory
from supervisors.runtime.recovering import Hand
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.runtime.supervisor import SupervisorShell
from supervisors.signals.deathwatch import DeathNotice
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import (
    Assign,
    Attach,
    Exited,
    Feed,
    Hello,
    Ignored,
    Message,
    Promote,
    Promoted,
    Resize,
    StandbyState,
    Started,
    StartFailed,
    Stop,
    decode,
    encode,
)
from supervisors.spec.compiled import HeartbeatSpec, PlacementSpec, SupervisorPart, SystemSpec, WorkerSpec
from supervisors.spec.compiled import encode as encode_spec
from supervisors.state.leases import Grant, Held, LeaseRow
from supervisors.testing.clock import ManualClock
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter
from supervisors.tree.child import ChildState
from supervisors.tree.messages import (
    AdminCalled,
    Call,
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    Reply,
    StartChild,
)
from supervisors.tree.model import Budget, ChildSpec, Strategy, SupervisorFlags, SupervisorSpec

PATH = TreePath("/desk")
HERE = "here"
#: seconds: a message's way, a process's end once it is killed, a new host, anything else a thread does
WIRE, END, MAKE, WORK = 0.0005, 0.004, 0.05, 0.002
#: seconds a standby needs to be in sync, and between its words
SYNC, SAY = 0.05, 0.25
#: what a host does with a start or a promotion
OK, DEAF, SILENT, DIES, IGNORES = "ok", "deaf", "silent", "dies", "ignores"

Job = Callable[[], None]


class FakeSocket:
    """The plane's end of a supervisor."""

    def __init__(self, world: "World", loop: "FakeLoop") -> None:
        self._world, self._loop = world, loop
        self.inbox: deque[list[bytes]] = deque()
        self.reader: Callable[[list[bytes]], None] = lambda frames: None

    def send_multipart(self, frames: tuple[bytes, bytes], flags: int = 0) -> None:
        self._world.sent(frames[0].decode(), decode(frames[1]))

    def send(self, data: bytes, flags: int = 0) -> None:
        return

    def setsockopt(self, option: int, value: bytes) -> None:
        return

    def connect(self, endpoint: str) -> None:
        return

    def disconnect(self, endpoint: str) -> None:
        return

    def arrive(self, host: str, message: Message) -> None:
        self.inbox.append([host.encode(), encode(message)])
        self._loop.call_soon(self.drain)

    def drain(self) -> None:
        while self.inbox:
            self._loop.guard(partial(self.reader, self.inbox.popleft()))


class FakeLoop:
    """``PlaneLoop`` by hand: one callback at a time, at the time it is due."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, Job]] = []
        self.live: set[int] = set()
        self.soon: deque[Job] = deque()
        self.dead = False
        self.lag = 0.0

    def now(self) -> float:
        return self._world.clock.now

    def call_at(self, at: float, callback: Job) -> int:
        number = next(self._numbers)
        self.live.add(number)
        heapq.heappush(self._timers, (at, number, callback))
        return number

    def call_later(self, delay: float, callback: Job) -> int:
        return self.call_at(self.now() + delay, callback)

    def cancel(self, number: int) -> None:
        self.live.discard(number)

    def every(self, interval: float, callback: Job) -> None:
        def turn() -> None:
            self.call_later(interval, turn)
            callback()

        self.call_later(interval, turn)

    def call_soon(self, callback: Job) -> None:
        self.soon.append(callback)

    def router(self, identity: bytes) -> FakeSocket:
        return FakeSocket(self._world, self)

    def dealer(self) -> FakeSocket:
        return FakeSocket(self._world, self)

    def on_readable(self, socket: FakeSocket, callback: Callable[[list[bytes]], None]) -> None:
        socket.reader = callback

    def drain(self, socket: FakeSocket) -> None:
        socket.drain()

    def close_socket(self, socket: FakeSocket) -> None:
        return

    def next_at(self) -> float:
        while self._timers and self._timers[0][1] not in self.live:
            heapq.heappop(self._timers)
        if self.dead:
            return float("inf")
        if self.soon:
            return self.now()
        return self._timers[0][0] if self._timers else float("inf")

    def turn(self) -> None:
        if self.soon:
            self.guard(self.soon.popleft())
            return
        _, number, callback = heapq.heappop(self._timers)
        self.live.discard(number)
        self.guard(callback)

    def guard(self, callback: Job) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - the real loop reports it and goes on
            self._world.defects.append(error)


class FakeExecutor:
    """Threads that take ``WORK`` seconds; jobs whose function is named in ``parked`` wait until ``go``."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._waiting: list[Job] = []
        self.parked: set[str] = set()
        self.over = self.dead = False

    def submit(self, job: Job) -> None:
        if self.over:
            raise RuntimeError("cannot schedule new futures after shutdown")
        name = job.__qualname__.rpartition(".")[2]
        if name in self.parked:
            self._waiting.append(job)
        else:
            self._world.later(MAKE if name == "make" else WORK, partial(self._run, job))

    def go(self) -> None:
        """What was parked goes on."""
        self.parked.clear()
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            self._world.later(WORK, partial(self._run, job))

    def _run(self, job: Job) -> None:
        if self.dead:
            return
        try:
            job()
        except Exception as error:  # noqa: BLE001 - a real one keeps it in a future that nobody reads
            self._world.swallowed.append(error)

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        self.over = True


class FakeHost:
    """One host process."""

    def __init__(self, world: "World", row: HostRow) -> None:
        self.world, self.row = world, row
        self.alive = True
        self.dying = False
        self.path = ""
        self.incarnation = self.epoch = 0
        self.rung = ""
        self.acting = self.standby = False
        self.follows = ""
        self.syncs = True
        self.size = 1.0
        self.sizes: list[float] = []
        self._sup: FakeSocket | None = None

    def say(self, message: Message) -> None:
        sup = self._sup
        if self.alive and sup is not None:
            self.world.later(WIRE, lambda: sup.arrive(self.row.id, message))

    def take(self, message: Message, sup: FakeSocket) -> None:
        if not self.alive:
            return
        match message:
            case Assign():
                self._assigned(message, sup)
            case Attach():
                self._sup = sup
                self.say(Hello(self.row.id, self.row.pid, self.path, self.incarnation, "running"))
            case Feed():
                self.follows = message.host
                if self.syncs:
                    self._tell("syncing")
                    self.world.later(SYNC, self._synced)
            case Promote() if self.standby:
                self.standby, self.acting = False, True
                self.incarnation, self.epoch, self.rung = message.incarnation, message.epoch, "hot"
                self._size(message.multiplier)
                self._start(self.world.plan(self.path, "promote"))
            case Stop():
                self.say(Exited(message.path, message.incarnation, SHUTDOWN, self.world.clock.now))
            case Resize():
                self._size(message.multiplier)
            case _:
                return

    def _assigned(self, order: Assign, sup: FakeSocket) -> None:
        plan = self.world.plan(order.path, order.kind)
        self.path, self.incarnation, self.epoch, self.rung = order.path, order.incarnation, order.epoch, order.rung
        self.standby, self.acting = order.kind == "standby", order.kind != "standby"
        if plan == DEAF:
            return  # it has the order, but no word of it comes back
        self._sup = sup
        self.say(Hello(self.row.id, self.row.pid, self.path, self.incarnation, "starting"))
        if self.standby:
            self._tell("starting")
            self.world.later(SAY, self._again)
            return
        self._size(order.multiplier)
        self._start(plan)

    def _start(self, plan: str) -> None:
        if plan == OK:
            self.world.later(0.01, lambda: self.say(Started(self.path, self.incarnation)))
            if self.rung == "hot":
                self.say(Promoted(self.path, self.incarnation, "journal", 1, 0, 0.001))
        elif plan == DIES:
            self.world.later(0.005, self.die)
        elif plan == IGNORES:
            self.say(Ignored(self.path, self.incarnation))
        elif plan.startswith("fails"):
            self.say(StartFailed(self.path, self.incarnation, init_error(plan)))

    def _size(self, size: float) -> None:
        self.size = size
        self.sizes.append(size)

    def _synced(self) -> None:
        if self.syncs:
            self._tell("synced")

    def _again(self) -> None:
        if self.alive and self.standby:
            self._tell(self.state)
            self.world.later(SAY, self._again)

    state = "starting"

    def _tell(self, state: str) -> None:
        self.state = state
        if self.standby:
            self.say(StandbyState(self.path, self.row.id, state, 7, 7, 0.0))

    def crash(self, reason: ExitReason) -> None:
        """Its actor raised: it says so and waits to be ended."""
        self.say(Exited(self.path, self.incarnation, reason, self.world.clock.now))

    def kill(self) -> None:
        """A SIGKILL: no code of it runs any more, but that takes a moment."""
        if self.alive and not self.dying:
            self.dying = True
            self.world.later(END, self.die)

    def die(self) -> None:
        """It is gone; the death watch hears of it."""
        if self.alive:
            self.alive = False
            self.world.died(self)


class FakeWatch:
    """The death watch of one supervisor."""

    method, reason = "fake", "no process is real"

    def __init__(self, world: "World", notice: Callable[[DeathNotice], None]) -> None:
        self.world, self.notice = world, notice
        self.keys: set[str] = set()
        world.watches.append(self)

    def watch(self, key: str, name: str, pid: int, start_time: int) -> None:
        self.keys.add(key)
        if not self.world.hosts[key].alive:
            self.tell(key)

    def unwatch(self, key: str) -> None:
        self.keys.discard(key)

    def tell(self, key: str) -> None:
        if key in self.keys:
            self.keys.discard(key)
            self.world.later(WIRE, lambda: self.notice(DeathNotice(key, "pidfd", self.world.clock.now)))

    def close(self) -> None:
        self.keys.clear()


class FakeFactory:
    """Makes hosts that are no processes."""

    node = HERE

    def __init__(self, world: "World") -> None:
        self._world = world
        #: set: no host can be had, for this reason
        self.refuses = ""
        self.remote = False

    def acquire(self, path: str, placement: PlacementSpec) -> HostRow:
        return self.create(path, placement)

    def create(self, path: str, placement: PlacementSpec, state: str = "claimed") -> HostRow:
        if self.refuses:
            raise RayvisorError(self.refuses, code=2031)
        return self._world.host(path, state, node="far" if self.remote else HERE).row

    def destroy(self, row: HostRow) -> None:
        self._world.hosts[row.id].kill()
        self._world.store.drop_host(row.id)

    def watch(self, row: HostRow, died: Callable[[str], None]) -> None:
        self._world.ray[row.id] = died

    def node_of(self, row: HostRow) -> bool:
        return True


class FakeLeases:
    """A lease store in memory, by the world's clock."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rows: dict[str, tuple[str, int, float]] = {}
        self.down = False
        self.grants: list[Grant] = []

    def _look(self) -> None:
        if self.down:
            raise StoreUnavailable("the lease store does not answer")

    def acquire(self, path: str, holder: str, ttl: float, *, proved_dead: str = "", floor: int = 0) -> Grant | Held:
        self._look()
        before, token, until = self._rows.get(path, ("", 0, 0.0))
        now = self._world.clock.now
        if before not in ("", holder, proved_dead) and until > now:
            return Held(path, before, token, until - now)
        grant = Grant(path, holder, max(token + 1, floor), ttl, now, before)
        self._rows[path] = holder, grant.token, now + ttl
        self.grants.append(grant)
        return grant

    def read(self, path: str) -> LeaseRow | None:
        self._look()
        found = self._rows.get(path)
        if found is None:
            return None
        return LeaseRow(path, found[0], found[1], 5.0, max(0.0, found[2] - self._world.clock.now), False, 0, 0)

    def close(self) -> None:
        return


class Line(msgspec.Struct):
    """One event of the trail."""

    at: float
    kind: str
    path: str
    incarnation: int
    data: dict[str, object]


class Pen:
    """Stands in for the trail's writer."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.lines: list[Line] = []

    def write(
        self,
        kind: str,
        path: str,
        incarnation: int = 0,
        epoch: int = 0,
        *,
        failure: str = "",
        reason: ExitReason | None = None,
        data: dict[str, object] | None = None,
    ) -> None:
        self.lines.append(Line(self._world.clock.now, str(kind), path, incarnation, data or {}))


class Answering(Protocol):
    """Says what a check finds, or None to let it wait for ever."""

    def __call__(self, step: ValidationStep, path: str) -> bool | None: ...


class Rules:
    """What must hold in every run.

    1. A process is told to act only while the machine waits for that very start, and nothing else acts for the path.
    2. Epochs of a path only grow.
    3. Each start that the machine orders is answered once, each life ends once, and it is told nothing stale.
    4. ``at_rest``: every process is known, every running child has one that acts, and nothing waits for ever.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.epochs: dict[str, int] = {}
        self.open: dict[tuple[str, int], str] = {}
        self.broken: list[str] = []

    def _break(self, why: str) -> None:
        self.broken.append(f"{self._world.clock.now:.4f} {why}")

    def acts(self, host: FakeHost, order: Assign | Promote) -> None:
        machine = self._world.shell.machine
        child = machine.children.get(order.path.rpartition("/")[2])
        if child is None or child.state is not ChildState.STARTING or child.incarnation != order.incarnation:
            self._break(f"{order} without a start that waits for it: {child}")
        for other in self._world.hosts.values():
            if other is not host and other.alive and other.acting and other.path == order.path:
                self._break(f"{order}: {other.row.id} acts there as incarnation {other.incarnation}")
        if order.epoch <= self.epochs.get(order.path, 0):
            self._break(f"{order}: epoch {self.epochs[order.path]} was there before")
        self.epochs[order.path] = order.epoch

    def stepped(self, event: Event, stale: bool, effects: list[Effect]) -> None:
        children = (ChildStarted, ChildReady, ChildIgnored, ChildStartFailed, ChildHeld, ChildExited)
        if stale:
            self._break(f"the machine was told {event}, which is over")
        if isinstance(event, children) and not stale:
            key = (event.id, event.incarnation)
            is_up = isinstance(event, ChildStarted | ChildReady)
            stands = self.open.get(key)
            if stands is None or (is_up and stands == "up"):
                self._break(f"{event}: it was {stands or 'answered'} already")
            elif is_up:
                self.open[key] = "up"
            else:
                del self.open[key]
        for effect in effects:
            if isinstance(effect, StartChild):
                self.open[effect.id, effect.incarnation] = "starting"

    def at_rest(self) -> None:
        shell = self._world.shell
        known = {peer.host.id for peer in shell.peers.values() if peer.host is not None and not peer.gone}
        by_child = {c: [s.peer for s in found] for c, found in shell.standbys._by_child.items()}
        standing = {peer.host.id for found in by_child.values() for peer in found if peer.host is not None}
        for host in self._world.hosts.values():
            if host.alive and self._world.store.host(host.row.id) is None:
                self._break(f"{host.row} lives and no goal names it")
            elif host.alive and host.row.id not in known | standing and host.path:
                self._break(f"{host.row} lives and its supervisor does not know it")
            if host.alive and host.row.id in shell.by_host and host.row.id not in known | standing:
                self._break(f"{host.row} is listened to for nothing")
        if shell.machine.ended:
            if any(host.alive and host.path for host in self._world.hosts.values()):
                self._break("the supervisor ended and left processes")
            return
        for child in shell.machine.children.values():
            self._child(child.id, child.state, child.incarnation)
            if not child.wanted and by_child.get(child.id):
                self._break(f"{child.id} is not wanted and has standbys")
        for child_id, hand in shell.recovering._hands.items():
            self._hand(child_id, hand)

    def _child(self, child_id: str, state: ChildState, incarnation: int) -> None:
        shell = self._world.shell
        acting = [h for h in self._world.hosts.values() if h.alive and h.acting and h.path == join(PATH, child_id)]
        if state is ChildState.RUNNING:
            peer = shell.peers.get(child_id)
            fine = peer is not None and peer.host is not None and [h.row.id for h in acting] == [peer.host.id]
            if not fine or peer is None or (peer.incarnation, acting[0].incarnation) != (incarnation, incarnation):
                self._break(f"{child_id} runs as {incarnation}, but {[(h.row.id, h.incarnation) for h in acting]} act")
        elif acting:
            self._break(f"{child_id} is {state} and {[h.row.id for h in acting]} act")
        if state in (ChildState.STARTING, ChildState.STOPPING, ChildState.RESTARTING):
            self._break(f"{child_id} is {state} for ever")

    def _hand(self, child_id: str, hand: Hand) -> None:
        child = self._world.shell.machine.children.get(child_id)
        if child is None:
            self._break(f"{child_id} is gone, its case is not")
            return
        held = child.state is ChildState.HELD
        if held and not hand.case.hold_id:
            self._break(f"{child_id} is held by nobody")
        if hand.case.hold_id and not held and not child.waits_for:
            self._break(f"{child_id} is {child.state}, its case waits for a person")
        if hand.peer is not None or hand.order is not None or hand.next is not None or hand.preserving:
            self._break(f"{child_id} is at rest, in hand is {hand}")
        if hand.case.attempting is not None and not held and not child.waits_for:
            self._break(f"{child_id} is {child.state} and its case attempts {hand.case.attempting}")


class World:
    """One supervisor, its children and all that is around them.

    Args:
        folder: data directory.
        patch: puts the doubles in.
        children: recovery policy by id; None: a plain restart.
        strategy: of the supervisor; with SIMPLE_ONE_FOR_ONE ``children`` has one entry, the template.
        concurrent: whether restarts overtake each other, as compiled for children with a recovery.
        spares: idle hosts there are.
    """

    def __init__(
        self,
        folder: Path,
        patch: pytest.MonkeyPatch,
        children: dict[str, RecoverySpec | None],
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        concurrent: bool = True,
        spares: int = 20,
        start_timeout: float = 1e6,
        intensity: int = 10_000,
        heartbeat: HeartbeatSpec = HeartbeatSpec(1e4, 3, None),
        budgets: tuple[Budget, ...] = (),
    ) -> None:
        self.clock = ManualClock(1000.0, 1_700_000_000_000_000_000)
        self.folder, self._patch = folder, patch
        self._due: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count(1)
        self.defects: list[BaseException] = []
        self.swallowed: list[BaseException] = []
        self.hosts: dict[str, FakeHost] = {}
        self.watches: list[FakeWatch] = []
        self.ray: dict[str, Callable[[str], None]] = {}
        self.plans: dict[tuple[str, str], list[str]] = {}
        self.checks: list[tuple[str, str]] = []
        self.answers: Answering = lambda step, path: True
        self.finished: list[Message] = []
        self.store = GoalStore(folder)
        self.leases = FakeLeases(self)
        self.factory = FakeFactory(self)
        self.rules = Rules(self)
        self.pen = Pen(self)
        self._incarnation = 0
        simple = strategy is Strategy.SIMPLE_ONE_FOR_ONE
        specs = tuple(
            ChildSpec(
                "template" if simple else child_id,
                shutdown=1.0,
                start_timeout=start_timeout if policy is not None else min(start_timeout, 3.0),
                concurrent=concurrent and policy is not None,
            )
            for child_id, policy in children.items()
        )
        workers = {
            child_id: WorkerSpec(PATH if simple else join(PATH, child_id), "a:B", heartbeat=heartbeat, recovery=policy)
            for child_id, policy in children.items()
        }
        self.part = SupervisorPart(
            PATH,
            SupervisorSpec(SupervisorFlags(strategy, intensity, 5, budgets=budgets), specs),
            workers={} if simple else workers,
            template=next(iter(workers.values())) if simple else None,
        )
        self.store.declare({PATH: encode_spec(self.part)})
        self._put_in_place()
        for _ in range(spares):
            self.host("", "spare")
        self.shell = self._shell()

    def _put_in_place(self) -> None:
        patch = self._patch
        for module in (supervisor, adoption):
            patch.setattr(module, "kill_certain", self._kill)
            patch.setattr(module, "wait_gone", self._wait_gone)
        for module in (adoption, hosting, standbys, leasing):
            patch.setattr(module, "pid_alive", lambda pid, start: self._by_pid(pid).alive)
        patch.setattr(adoption, "time", SimpleNamespace(sleep=self._sleep))
        patch.setattr(standbys, "ray", SimpleNamespace(nodes=lambda: [{"NodeID": HERE, "Alive": True}]))
        patch.setattr(detection_module, "DeathWatch", lambda notice, method, folder: FakeWatch(self, notice))
        patch.setattr(preserving, "stack_of", lambda pid, limit: "a stack\n")
        patch.setattr(validating, "check", self._check)

    def _shell(self) -> SupervisorShell:
        self._incarnation += 1
        self.loop = FakeLoop(self)
        self.executor = FakeExecutor(self)
        boot = HostBoot(
            "sup", "fake", "fake", str(self.folder), str(self.folder), str(self.folder), "ipc", "", (), False, True,
            "", "", (),
        )  # fmt: skip
        system = SystemSpec("fake", spares=0)
        shell = SupervisorShell(
            part=self.part,
            incarnation=self._incarnation,
            system=system,
            system_bytes=encode_spec(system),
            boot=boot,
            loop=cast(PlaneLoop, self.loop),
            factory=cast(HostFactory, self.factory),
            log=logger,
            report=lambda message: None,
            finish=self.finished.append,
        )
        shell.executor.shutdown(wait=False)
        shell.trail.close()
        shell.clock = self.clock  # type: ignore[assignment]
        shell.trail = cast(TrailWriter, self.pen)
        shell.executor = self.executor  # type: ignore[assignment]
        shell.leases._store = self.leases  # type: ignore[assignment]
        real = shell.machine.step

        def step(event: Event, now: float) -> list[Effect]:
            stale = shell.machine._is_stale(event)
            effects = real(event, now)
            self.rules.stepped(event, stale, effects)
            return effects

        self._patch.setattr(shell.machine, "step", step)
        resume = shell.machine.resume

        def resumed(*words: object, **named: object) -> list[Effect]:
            effects = resume(*words, **named)  # type: ignore[arg-type]
            self.rules.open = {}
            for child in shell.machine.children.values():
                if child.has_process:
                    self.rules.open[child.id, child.incarnation] = "up"
            for effect in effects:
                if isinstance(effect, StartChild):
                    self.rules.open[effect.id, effect.incarnation] = "starting"
            return effects

        self._patch.setattr(shell.machine, "resume", resumed)
        return shell

    # ------------------------------------------------------------ time

    def later(self, delay: float, job: Job) -> None:
        heapq.heappush(self._due, (self.clock.now + delay, next(self._numbers), job))

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        end = self.clock.now + seconds
        while (at := min(self.loop.next_at(), self._due[0][0] if self._due else float("inf"))) <= end:
            self.turn(at)
        self.clock.move_to(end)

    def turn(self, at: float) -> None:
        self.clock.move_to(at)
        if self._due and self._due[0][0] <= at:
            heapq.heappop(self._due)[2]()
        else:
            self.loop.turn()

    def until(self, condition: Callable[[], object], within: float = 60.0) -> None:
        """Let time pass until ``condition`` holds."""
        end = self.clock.now + within
        while not condition():
            at = min(self.loop.next_at(), self._due[0][0] if self._due else float("inf"))
            assert at <= end, f"not within {within} s; {self.rules.broken} {self.defects}"
            self.turn(at)

    def _sleep(self, seconds: float) -> None:
        """The plane's thread waits; the others go on."""
        end = self.clock.now + seconds
        while self._due and self._due[0][0] <= end:
            at, _, job = heapq.heappop(self._due)
            self.clock.move_to(at)
            job()
        self.clock.move_to(end)

    # ------------------------------------------------------------ processes

    def host(self, path: str, state: str, node: str = HERE) -> FakeHost:
        number = len(self.hosts) + 1
        row = HostRow(
            f"h{number}", f"host-h{number}", number, 1, node, node == HERE, f"ipc://{number}", state=state, path=path,
            created=float(number),
        )  # fmt: skip
        self.store.add_host(row)
        made = self.hosts[row.id] = FakeHost(self, row)
        return made

    def _by_pid(self, pid: int) -> FakeHost:
        return self.hosts[f"h{pid}"]

    def _kill(self, pid: int, start: int) -> bool:
        self._by_pid(pid).kill()
        return True

    def _wait_gone(self, pid: int, start: int, timeout: float) -> bool:
        host = self._by_pid(pid)
        if host.dying:
            self._sleep(END)
        return not host.alive

    def died(self, host: FakeHost) -> None:
        for watch in self.watches:
            watch.tell(host.row.id)

    def sent(self, host: str, message: Message) -> None:
        target = self.hosts.get(host)
        if target is None:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if isinstance(message, Promote) or (isinstance(message, Assign) and message.kind != "standby"):
            self.rules.acts(target, message)
        socket = cast(FakeSocket, self.shell.socket)
        self.later(WIRE, lambda: target.take(message, socket))

    def plan(self, path: str, what: str) -> str:
        """What a host does with its next ``worker``, ``standby`` or ``promote``: the next one planned, else ``OK``."""
        planned = self.plans.get((path, what))
        return planned.pop(0) if planned else OK

    def plans_for(self, child: str, what: str, *plans: str) -> None:
        self.plans.setdefault((join(PATH, child), what), []).extend(plans)

    def _check(self, boot: HostBoot, store: GoalStore, step: ValidationStep, path: str, failure: str) -> object:
        self.checks.append((step.name, path))
        found = self.answers(step, path)
        if found is None:
            raise NeverAnswers
        return validating.Checked(found, "" if found else "it is not well", 0.0)

    # ------------------------------------------------------------ the supervisor

    def boot(self) -> None:
        """Until all children are up and their standbys in sync."""
        self.shell.start(adopt=False)
        self.until(lambda: self.shell.machine.booted)
        self.run(1.0)

    def crash_supervisor(self) -> None:
        """Its process is gone; the children's are not."""
        self.loop.dead = True
        for watch in self.watches:
            watch.close()
        self.executor.over = self.executor.dead = True

    def replace_supervisor(self) -> None:
        """Its parent starts another one."""
        self.shell = self._shell()
        self.shell.start(adopt=True)

    def order(self, call: Call, child: str = "", args: str = "") -> list[Reply]:
        replies: list[Reply] = []
        self.shell.call(AdminCalled(f"r{next(self._numbers)}", call, child, args=args), replies.append)
        return replies

    # ------------------------------------------------------------ questions

    def state(self, child: str) -> str:
        return self.shell.machine.children[child].state.value

    def incarnation(self, child: str) -> int:
        return self.shell.machine.children[child].incarnation

    def acting(self, child: str) -> FakeHost:
        """The process that acts for the child."""
        (found,) = [h for h in self.hosts.values() if h.alive and h.acting and h.path == join(PATH, child)]
        return found

    def standby(self, child: str) -> FakeHost:
        """The one process that stands by for the child."""
        (found,) = [h for h in self.hosts.values() if h.alive and h.standby and h.path == join(PATH, child)]
        return found

    def hand(self, child: str) -> Hand:
        return self.shell.recovering._hands[child]

    def case_state(self, child: str) -> State:
        return self.hand(child).case.progress(self.clock.now).state

    def rungs(self, child: str) -> list[str]:
        """How each life of the child came up, its first one excepted."""
        return [str(line.data.get("rung", "")) for line in self.lines(child, EventKind.RECOVERED)]

    def lines(self, child: str, kind: EventKind) -> list[Line]:
        return [line for line in self.pen.lines if line.path == join(PATH, child) and line.kind == kind]

    def up(self, child: str, after: int) -> None:
        """Until the child runs in a life after ``after``."""
        self.until(lambda: self.state(child) == "running" and self.incarnation(child) > after)

    def check(self, rest: float = 5.0) -> None:
        """All has come to rest, and no rule was broken."""
        self.run(rest)
        self.rules.at_rest()
        assert self.rules.broken == []
        assert self.defects == []
        assert [error for error in self.swallowed if not isinstance(error, NeverAnswers)] == []


class NeverAnswers(Exception):
    """Ends a thread that would wait for ever."""


def policy(*ladder: Rung, standbys: int = 0, **other: object) -> RecoverySpec:
    """A recovery policy; without a ladder hot, warm, cold."""
    words = {"rules": DEFAULT_RULES} | other
    return RecoverySpec(ladder or (Rung.HOT, Rung.WARM, Rung.COLD), standbys=standbys, **words)  # type: ignore[arg-type]
