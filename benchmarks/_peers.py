"""200 beating peers in a few processes, and what collects their beats: ours, and the peers it is compared with.

A simulated peer does what a host does on the plane: a ROUTER with an identity of its own bound to an ipc socket, a
death beacon, ``Hello`` to whoever attaches, then a ``Beat`` each interval. Fifty of them share one process, since 200
Ray workers do not fit in this machine; the collector sees no difference.

Run as ``python -m benchmarks._peers plane|asyncio DIRECTORY FIRST COUNT``; ends when its standard input does.
"""

import asyncio
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import zmq
from loguru import logger

from supervisors.core.paths import TreePath
from supervisors.runtime.detection import TICK, Detection
from supervisors.runtime.peers import FailureTimes, Peer
from supervisors.runtime.store import HostRow
from supervisors.signals.beacon import DeathBeacon
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Attach, Beat, Hello, MalformedFrame, Message, decode, encode
from supervisors.signals.proc import process_start_time
from supervisors.signals.verdicts import Evidence, HeartbeatRule, PeerVerdict
from supervisors.spec.compiled import SupervisorPart, SystemSpec
from supervisors.tree.model import SupervisorFlags, SupervisorSpec

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

INTERVAL = 0.1
_PROCESSES = 4
_LENGTH = struct.Struct("!I")


def name_of(number: int) -> str:
    return f"peer-{number}"


# ---------------------------------------------------------------- in the peers' processes


class PlanePeer:
    """One peer on a shared loop."""

    def __init__(self, loop: PlaneLoop, directory: Path, number: int) -> None:
        self._loop = loop
        self._name = name_of(number)
        self._path = f"/{self._name}"
        self._sequence = 0
        self._to = b""
        self._beacon = DeathBeacon(directory, self._name, frozenset({"futex"}))
        self._socket = loop.router(self._name.encode())
        self._socket.bind(f"ipc://{directory}/h-{self._name}")
        loop.on_readable(self._socket, self._received)
        loop.call_later(number % 50 / 50 * INTERVAL, lambda: loop.every(INTERVAL, self._beat))

    def _received(self, frames: list[bytes]) -> None:
        if len(frames) == 2 and isinstance(decode(frames[1]), Attach):
            self._to = frames[0]
            self._send(Hello(self._name, os.getpid(), self._path, 1, "running"))

    def _beat(self) -> None:
        if self._to:
            self._sequence += 1
            utc = time.time_ns()
            now, load = time.monotonic(), os.getloadavg()[0]
            self._send(Beat(self._path, 1, self._sequence, now, self._sequence, load, 80_000_000, 40, utc))

    def _send(self, message: Message) -> None:
        self._socket.send_multipart((self._to, encode(message)), zmq.NOBLOCK)


def be_plane_peers(directory: Path, numbers: Sequence[int]) -> None:
    """Beat until standard input ends."""

    def defect(error: BaseException) -> None:
        logger.opt(exception=error).error("a simulated peer is broken")

    loop = PlaneLoop("peers", defect)
    peers = [PlanePeer(loop, directory, number) for number in numbers]
    loop.start()
    print(os.getpid(), flush=True)
    sys.stdin.read()
    assert peers


async def be_asyncio_peers(directory: Path, numbers: Sequence[int]) -> None:
    """The same beats, pickled, over one unix connection each."""

    async def beat(number: int) -> None:
        _, writer = await asyncio.open_unix_connection(directory / "collector")
        due = time.monotonic() + number % 50 / 50 * INTERVAL
        sequence = 0
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += INTERVAL
            sequence += 1
            now, load, utc = time.monotonic(), os.getloadavg()[0], time.time_ns()
            body = pickle.dumps((f"/{name_of(number)}", 1, sequence, now, sequence, load, 80_000_000, 40, utc))
            writer.write(_LENGTH.pack(len(body)) + body)
            await writer.drain()

    tasks = [asyncio.ensure_future(beat(number)) for number in numbers]
    print(os.getpid(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()


class PeerProcesses:
    """The peers' processes, ended when left. ``pids`` has the process of each peer."""

    def __init__(self, way: str, directory: Path, count: int) -> None:
        each = count // _PROCESSES
        self._running: list[subprocess.Popen[str]] = []
        for first in range(0, count, each):
            command = [sys.executable, "-m", "benchmarks._peers", way, str(directory), str(first), str(each)]
            pipe = subprocess.PIPE
            self._running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True))
        self.pids: list[int] = []
        for process in self._running:
            assert process.stdout is not None
            self.pids += [int(process.stdout.readline() or 0)] * each
        assert all(self.pids), "a process of simulated peers ended"

    def __enter__(self) -> "PeerProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.communicate()


# ---------------------------------------------------------------- the collectors


class Collector:
    """Ours: the real ``Detection`` on a real ``PlaneLoop``, and around it what a supervisor's shell offers it.

    It acts on nothing: what would be killed is counted.

    Attributes:
        verdicts: how often each was given, by either way.
        acted: peers a supervisor would have killed or buried.
    """

    def __init__(self, directory: Path, pids: Sequence[int]) -> None:
        folder = str(directory)
        self.verdicts: Counter[str] = Counter()
        self.acted: list[str] = []
        self.loop = PlaneLoop("collector", lambda error: logger.opt(exception=error).error("collector"))
        self.path, self.incarnation = TreePath("/"), 1
        self.by_host: dict[str, Peer] = {}
        self.failures: dict[str, FailureTimes] = {}
        self.boot = SimpleNamespace(plane_dir=folder, shm_dir=folder)
        self.part = SupervisorPart("/", SupervisorSpec(SupervisorFlags(), ()))
        self.system = SystemSpec()
        self.log = logger
        self.executor = ThreadPoolExecutor(1)
        self.store = SimpleNamespace(drop_host=lambda host: None)
        self.socket = self.loop.router(b"sup:/#1")
        self.detection = Detection(cast("SupervisorShell", self))
        self.loop.on_readable(self.socket, self.detection.received)
        self._pids = pids
        self._begun = threading.Event()

    def __enter__(self) -> "Collector":
        self.loop.start()
        self.loop.call_soon(self._begin)
        if not self._begun.wait(30):
            raise TimeoutError("the collector does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self.detection.stop()
        self.loop.stop()
        self.executor.shutdown()

    def _begin(self) -> None:
        self.detection.start()
        for number, pid in enumerate(self._pids):
            host = name_of(number)
            endpoint = f"ipc://{self.boot.plane_dir}/h-{host}"
            row = HostRow(host, host, pid, process_start_time(pid) or 0, endpoint=endpoint, state="claimed")
            peer = Peer(host, 1, 1, row)
            self.by_host[host] = peer
            self.detection.attach(peer)
        self._begun.set()

    def cpu(self) -> float:
        """Processor seconds of this process: loop, sockets, death watch."""
        return time.process_time()

    def beats(self) -> int:
        """Messages so far."""
        return self.detection.messages

    # what ``Detection`` asks of a supervisor

    def child_path(self, child_id: str) -> TreePath:
        return TreePath(f"/{child_id}")

    def is_stopping(self, child_id: str) -> bool:
        return False

    def send(self, peer: Peer, message: Message) -> None:
        self.socket.send_multipart((peer.id.encode(), encode(message)), zmq.NOBLOCK)

    def write(self, kind: str, *place: object, data: dict[str, object] | None = None) -> None:
        if kind == "verdict":
            said = data or cast("dict[str, object]", place[-1])
            self.verdicts[str(said["verdict"])] += 1

    def kill(self, peer: Peer) -> None:
        self.acted.append(peer.id)

    def ended(self, peer: Peer, event: object) -> None:
        self.acted.append(peer.id)

    def step(self, event: object) -> None:
        raise MalformedFrame(f"no simulated peer says {event}")


class AsyncioCollector:
    """The peer: asyncio streams and pickle, with the same verdict per beat and the same tick."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._verdicts: dict[str, PeerVerdict] = {}
        self.beats = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                size = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0]
                path, _, _, _, progress, *_ = pickle.loads(await reader.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            now = time.monotonic()
            self.beats += 1
            verdict = self._verdicts.get(path)
            if verdict is None:
                verdict = self._verdicts[path] = PeerVerdict(HeartbeatRule(), now, local=True)
            verdict.beat(now, progress)

    async def _tick(self) -> None:
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for verdict in self._verdicts.values():
                verdict.tick(now, max(0.0, now - due), lambda: Evidence.SLEEPING)

    async def windows(self, peers: int, count: int, seconds: float) -> list[float]:
        """Percent of one core in each of ``count`` windows."""
        server = await asyncio.start_unix_server(self._serve, self._directory / "collector")
        ticking = asyncio.ensure_future(self._tick())
        found = []
        starting = asyncio.get_running_loop().run_in_executor(None, PeerProcesses, "asyncio", self._directory, peers)
        with await starting:
            await asyncio.sleep(1.0)
            for _ in range(count):
                began, cpu, beats = time.monotonic(), time.process_time(), self.beats
                await asyncio.sleep(seconds)
                spent = time.monotonic() - began
                found.append((time.process_time() - cpu) / spent * 100)
                _check_rate(self.beats - beats, peers, spent)
        ticking.cancel()
        server.close()
        await asyncio.sleep(0.2)  # the connections end with their peers
        return found


def _check_rate(beats: int, peers: int, seconds: float) -> None:
    wanted = peers / INTERVAL * seconds
    assert 0.8 * wanted < beats < 1.2 * wanted, f"{beats} beats in {seconds:.2f} s instead of {wanted:.0f}"


def main() -> None:
    """Be some peers."""
    way, directory, first, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    numbers = range(first, first + count)
    if way == "plane":
        be_plane_peers(directory, numbers)
    else:
        asyncio.run(be_asyncio_peers(directory, numbers))
    os._exit(0)


if __name__ == "__main__":
    main()
