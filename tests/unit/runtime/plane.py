"""Supervisors without Ray: real machines behind real sockets, whose children start and end at a word."""

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import zmq

from supervisors.core.paths import ROOT, TreePath, join
from supervisors.core.reasons import SHUTDOWN, init_error
from supervisors.runtime import reloading
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Message, Order, Ordered, decode, encode
from supervisors.signals.proc import process_start_time
from supervisors.spec.compiled import CompiledTopology, SupervisorPart
from supervisors.spec.compiled import decode as decode_spec
from supervisors.spec.compiled import encode as encode_spec
from supervisors.tree.child import ChildRecord, SupervisorRecord, record_of
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    ChildExited,
    ChildStarted,
    ChildStartFailed,
    Event,
    Exit,
    KillChild,
    Reply,
    ReportStarted,
    ReportStartFailed,
    ShutdownOrdered,
    StartChild,
    StopChild,
)

#: who stands above the root
WARDEN = "warden"


class FakeSystem:
    """One running topology: ``lives`` counts the starts of each path, ``up`` holds the config of what runs.

    Args:
        folder: the data directory.
        topology: what runs.
        search: folder in which it looks for actors.
    """

    def __init__(self, folder: Path, topology: CompiledTopology, search: str = "") -> None:
        self.folder = folder
        self.store = GoalStore(folder)
        self.lives: dict[str, int] = {}
        self.up: dict[str, bytes] = {}
        self.failing: set[bytes] = set()
        self.orders: list[tuple[str, str, str]] = []
        self.before: Callable[[str, Order], None] = lambda path, order: None
        self.supervisors: dict[str, FakeSupervisor] = {}
        self.defects: list[BaseException] = []
        self.loop = PlaneLoop("fake", self.defects.append)
        self.store.put(digest=topology.digest, search=search, system="fake")
        parts = {path: encode_spec(part) for path, part in topology.supervisors.items()}
        self.store.declare(
            parts | {WARDEN: b"", "system": encode_spec(topology.system), "topology": encode_spec(topology)}
        )
        self.start_supervisor(TreePath(ROOT), WARDEN)
        self.loop.start()

    def start_supervisor(self, path: TreePath, above: str) -> bool:
        made = FakeSupervisor(self, path)
        self.supervisors[path] = made
        host = f"h{path}"
        start = process_start_time(os.getpid()) or 0
        self.store.add_host(HostRow(host, host, os.getpid(), start, endpoint=made.endpoint, state="claimed", path=path))
        if above == WARDEN:
            row = ChildRecord("root", 0, "running", 1, 0, 0.0, True, "", 0)
            self.store.save(WARDEN, SupervisorRecord((), ()), [("/", row, host, 1, "")], [])
        return made.boot()

    def started(self, path: str, config: bytes) -> None:
        assert path not in self.up, f"{path} runs twice"
        self.lives[path] = self.lives.get(path, 0) + 1
        self.up[path] = config

    def close(self) -> None:
        self.loop.stop()
        assert self.defects == []


class FakeSupervisor:
    """Stands in for the shell: the parts of it that ``reloading`` uses, and an end of the plane."""

    def __init__(self, system: FakeSystem, path: TreePath) -> None:
        self.system = system
        self.path = path
        self.store = system.store
        self.part = decode_spec(system.store.part(path), SupervisorPart)
        self.machine = SupervisorMachine(self.part.spec)
        self.endpoint = f"ipc://{system.folder}/{path.replace('/', '~')}-{len(system.lives)}"
        self._events: deque[Event] = deque()
        self._stepping = False
        self._replies: dict[str, Callable[[Reply], None]] = {}
        self._serial = 0
        self._started = False
        self._socket = system.loop.router(b"sup")
        self._socket.bind(self.endpoint)
        system.loop.on_readable(self._socket, self._received)

    def boot(self) -> bool:
        self.step(Booted())
        return self._started

    def stop(self) -> None:
        self.step(ShutdownOrdered(SHUTDOWN))
        self.system.supervisors.pop(self.path, None)
        self.system.store.drop_host(f"h{self.path}")

    def write(self, *arguments: object, **data: object) -> None:
        return

    def call(self, order: AdminCalled, reply: Callable[[Reply], None]) -> None:
        self._replies[order.ref] = reply
        self.step(order)

    def _received(self, frames: list[bytes]) -> None:
        order = decode(frames[1])
        assert isinstance(order, Order)
        self.system.before(self.path, order)
        self.system.orders.append((self.path, order.call, order.id))
        self._serial += 1

        def answer(message: Message) -> None:
            self._socket.send_multipart((frames[0], encode(message)), zmq.NOBLOCK)

        def replied(reply: Reply) -> None:
            detail = str(reply.reason) if reply.reason is not None else ""
            answer(Ordered(order.ref, reply.error, reply.id, reply.incarnation, detail))

        if order.call == reloading.APPLY:
            reloading.take(self, order, f"o{self._serial}", answer)  # type: ignore[arg-type]
        else:
            self.call(AdminCalled(f"o{self._serial}", Call(order.call), order.id), replied)

    def step(self, event: Event) -> None:
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        while self._events:
            effects = self.machine.step(self._events.popleft(), 0.0)
            self._persist()
            for effect in effects:
                match effect:
                    case StartChild():
                        self._start(effect)
                    case StopChild(child, incarnation) | KillChild(child, incarnation):
                        self._stop(child)
                        self._events.append(ChildExited(child, incarnation, SHUTDOWN))
                    case Reply():
                        self._replies.pop(effect.ref)(effect)
                    case ReportStarted():
                        self._started = True
                    case ReportStartFailed() | Exit():
                        pass
                    case _:
                        pass
            self._persist()
        self._stepping = False

    def _start(self, order: StartChild) -> None:
        path = join(self.path, order.id)
        if order.id in self.part.supervisors:
            self.system.started(path, b"")
            fine = self.system.start_supervisor(path, self.path)
            if not fine:
                self.system.supervisors.pop(path)
        else:
            config = self.part.workers[order.id].config
            fine = config not in self.system.failing
            if fine:
                self.system.started(path, config)
        if fine:
            self._events.append(ChildStarted(order.id, order.incarnation))
        else:
            self.system.up.pop(path, None)
            self._events.append(ChildStartFailed(order.id, order.incarnation, init_error("refused")))

    def _stop(self, child: str) -> None:
        path = join(self.path, child)
        below = self.system.supervisors.get(path)
        if below is not None:
            below.stop()
        del self.system.up[path]

    def _persist(self) -> None:
        rows, gone = [], []
        for child_id in self.machine.dirty:
            child = self.machine.children.get(child_id)
            if child is None:
                gone.append(child_id)
                continue
            path = join(self.path, child_id)
            host = f"h{path}" if path in self.system.supervisors else ""
            rows.append((path, record_of(child, 0), host, 1, ""))
        self.store.save(self.path, self.machine.head(), rows, gone)
        self.machine.dirty.clear()
