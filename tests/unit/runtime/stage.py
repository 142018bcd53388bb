"""What is around a supervisor in ``shells.World``: loop, threads, death watch, factory, lease store, trail."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from supervisors.core.errors import LaunchError, StoreUnavailable
from supervisors.core.paths import TreePath
from supervisors.core.reasons import ExitReason
from supervisors.recovery.home import Home
from supervisors.runtime.store import HostRow
from supervisors.signals.deathwatch import DeathNotice
from supervisors.signals.messages import (
    Message,
    decode,
    encode,
)
from supervisors.spec.compiled import HeartbeatSpec, PlacementSpec
from supervisors.state.leases import Grant, Held, LeaseRow

if TYPE_CHECKING:
    from .shells import World


PATH = TreePath("/desk")
HERE = "here"
#: seconds: a message's way, a process's end once it is killed, a new host, anything else a thread does
WIRE, END, MAKE, WORK = 0.0005, 0.004, 0.05, 0.002
#: seconds a standby needs to be in sync, and between its words
SYNC, SAY = 0.05, 0.25
#: what a host does with a start or a promotion
OK, DEAF, SILENT, DIES, IGNORES = "ok", "deaf", "silent", "dies", "ignores"
#: of a promotion on another disk: it never gets so far as to ask whether it may act
NEVER_ASKS = "never asks"
#: nobody beats: no silence tells anything
QUIET = HeartbeatSpec(1e4, 3, None)

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

    def shutdown(self, *, wait: bool, cancel_futures: bool = False) -> None:
        self.over = True


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
        #: hosts for standbys cannot be had
        self.alone = False
        #: nodes where a new host was wanted
        self.near: list[str] = []

    def acquire(self, path: str, placement: PlacementSpec, near: Home | None = None) -> HostRow:
        self.near.append(near.node if near is not None else "")
        return self.create(path, placement)

    def create(self, path: str, placement: PlacementSpec, state: str = "claimed") -> HostRow:
        if self.refuses:
            raise LaunchError(self.refuses, code=2031)
        if self.alone and state == "standby":
            raise LaunchError("none for a standby", code=2031)
        return self._world.host(path, state, node="far" if self.remote else HERE).row

    def destroy(self, row: HostRow) -> None:
        self._world.hosts[row.id].kill()
        self._world.store.drop_host(row.id)

    def forget(self, host: str) -> None:
        self._world.store.drop_host(host)

    def watch(self, row: HostRow, died: Callable[[str], None]) -> None:
        self._world.ray[row.id] = died

    def agent(self, node: str, path: str) -> HostRow:
        raise LaunchError("no agent", code=2031)

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

    def reserve(self, path: str, count: int = 8) -> None:
        """Nothing to make faster."""

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
    failure: str


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
        self.lines.append(Line(self._world.clock.now, str(kind), path, incarnation, data or {}, failure))
