"""What collects the beats of 200 peers: ours, and asyncio with pickle, which it is compared with."""

import asyncio
import pickle
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

from benchmarks._peers import INTERVAL, LENGTH, PeerProcesses, name_of
from supervisors.core.paths import TreePath
from supervisors.runtime.detection import TICK, Detection
from supervisors.runtime.peers import FailureTimes, Peer
from supervisors.runtime.store import HostRow
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import MalformedFrame, Message, encode
from supervisors.signals.proc import process_start_time
from supervisors.signals.verdicts import Evidence, HeartbeatRule, PeerVerdict
from supervisors.spec.compiled import SupervisorPart, SystemSpec
from supervisors.tree.model import SupervisorFlags, SupervisorSpec

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell


def at_full_rate(cpu: float, beats: int, peers: int) -> float:
    """Percent of one core that ``cpu`` seconds for ``beats`` come to when all of ``peers`` beat on time."""
    return cpu / beats * peers / INTERVAL * 100


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
                size = LENGTH.unpack(await reader.readexactly(LENGTH.size))[0]
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
                cpu, beats = time.process_time(), self.beats
                await asyncio.sleep(seconds)
                found.append(at_full_rate(time.process_time() - cpu, self.beats - beats, peers))
        ticking.cancel()
        server.close()
        await asyncio.sleep(0.2)  # the connections end with their peers
        return found
