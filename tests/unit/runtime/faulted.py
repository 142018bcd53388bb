"""A system to inject into, without Ray: a goal state, processes that live, hosts that answer ``Arm`` on the plane."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq

from supervisors.faults.order import ArmedState, FaultOrder
from supervisors.faults.order import decode as decode_orders
from supervisors.faults.undo import FOLDER, UndoLog
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals.fault_messages import Arm, AskFaults, Disarm, FaultsNow
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import decode, encode
from supervisors.signals.proc import process_start_time
from supervisors.spec import parse_topology
from supervisors.spec.compiled import CompiledTopology
from supervisors.spec.compiled import encode as encode_spec
from supervisors.trail.events import TrailEvent
from supervisors.trail.reader import read_all
from supervisors.tree.child import ChildRecord, ChildState, SupervisorRecord

T = TypeVar("T")

TOPOLOGY = """
faults: {enabled: true, max_targets: 2, longest: 1m}
tree:
  children:
    - id: cell
      children:
        - {id: a, actor: "builtins:object"}
        - {id: b, actor: "builtins:object"}
        - {id: kept, actor: "builtins:object", recovery: {standbys: 1, standby: live}}
    - {id: own, actor: "tests.unit.spec.faulty:Faulty"}
"""


def until(condition: Callable[[], T | None], what: str, timeout: float = 20.0) -> T:
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.005)
    return found


class FakeHost:
    """One process's share of the plane.

    ``armed``: what it holds; ``refuse``: the code it answers ``Arm`` with, ``would_refuse``: the question whether it
    would; ``keeps``: codes it answers ``Disarm`` with, one after the other, and the seconds each takes.
    """

    def __init__(self, loop: PlaneLoop, endpoint: str) -> None:
        self.endpoint = endpoint
        self.armed: dict[str, FaultOrder] = {}
        self.asked: list[str] = []
        self.refuse = self.would_refuse = 0
        self.keeps: list[tuple[int, float]] = []
        self.deaf = False
        #: keeps what it is told to end
        self.stubborn = False
        self._loop = loop
        self._socket: zmq.Socket[bytes] | None = None
        loop.call_soon(self._bind)

    def _bind(self) -> None:
        self._socket = self._loop.router(b"host")
        self._socket.bind(self.endpoint)
        self._loop.on_readable(self._socket, self._received)

    def _received(self, frames: list[bytes]) -> None:
        message = decode(frames[-1])
        self.asked.append(type(message).__name__)
        if self.deaf or not isinstance(message, Arm | Disarm | AskFaults):
            return
        code, delay = 0, 0.0
        if isinstance(message, AskFaults):
            code = self.would_refuse if message.orders else 0
        elif isinstance(message, Arm):
            code = self.refuse
            if not code:
                self.armed.update({order.id: order for order in decode_orders(message.orders)})
        elif not self.stubborn:
            self.armed.pop(message.id, None)
            code, delay = self.keeps.pop(0) if self.keeps else (0, 0.0)
        states = [ArmedState(order, 1.0) for order in self.armed.values()]
        answer = FaultsNow(
            message.ref, msgspec.msgpack.encode(states), code, "no" if code else "", "fix" if code else ""
        )
        socket = self._socket
        assert socket is not None

        def send() -> None:
            socket.send_multipart([*frames[:-1], encode(answer)])

        if delay:
            self._loop.call_later(delay, send)
        else:
            send()


class FakeSystem:
    """A system that looks as if it ran: each place has a process (``sleep``) and a host."""

    def __init__(self, folder: Path, text: str = TOPOLOGY) -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        (self.data_dir / "trail").mkdir()
        self.topology: CompiledTopology = parse_topology(text, import_actors=False)[1]
        self.store = GoalStore(self.data_dir)
        self.loop = PlaneLoop("hosts", lambda error: None)
        self.loop.start()
        self.hosts: dict[str, FakeHost] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.log = UndoLog(self.data_dir / FOLDER)
        parts = {path: encode_spec(part) for path, part in self.topology.supervisors.items()}
        self.store.declare(
            parts | {"system": encode_spec(self.topology.system), "topology": encode_spec(self.topology)}
        )
        for path in (*self.topology.supervisors, *self.topology.workers):
            self.place(path)
        self.add_host("/cell/kept", "standby")

    def place(self, path: str, state: ChildState = ChildState.RUNNING) -> None:
        """A new process stands at ``path``."""
        host = self.add_host(path, "claimed")
        above = "warden" if path == "/" else path.rpartition("/")[0] or "/"
        record = ChildRecord(path, 0, state, 1, 0, 0.0, True, "", 0)
        self.store.save(above, SupervisorRecord((), ()), [(path, record, host, 1, "")], [])

    def add_host(self, path: str, state: str) -> str:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        name = f"h{len(self.hosts)}"
        self.processes[name] = process
        endpoint = f"ipc://{self.data_dir}/{name}"
        self.hosts[name] = FakeHost(self.loop, endpoint)
        start = process_start_time(process.pid) or 0
        self.store.add_host(HostRow(name, name, process.pid, start, endpoint=endpoint, state=state, path=path))
        return name

    def at(self, path: str, state: str = "claimed") -> str:
        """Name of the host at a path."""
        return self.store.hosts("path=? AND state=?", (path, state))[0].id

    def host(self, path: str, state: str = "claimed") -> FakeHost:
        return self.hosts[self.at(path, state)]

    def process(self, path: str, state: str = "claimed") -> "subprocess.Popen[bytes]":
        return self.processes[self.at(path, state)]

    def trail(self, kind: str) -> list[TrailEvent]:
        return [one.event for one in read_all(self.data_dir / "trail") if one.event.kind == kind]

    def close(self) -> None:
        from supervisors.runtime.undoing import end_faults

        for process in self.processes.values():
            process.kill()
            process.wait()
        end_faults(self.data_dir)
        self.loop.stop()
        self.store.close()
