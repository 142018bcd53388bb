"""200 beating peers in a few processes; what collects their beats stands in ``_collectors``.

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
import time
from collections.abc import Sequence
from pathlib import Path

import zmq
from loguru import logger

from supervisors.signals.beacon import DeathBeacon
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Attach, Beat, Hello, Message, decode, encode

INTERVAL = 0.1
_PROCESSES = 4
#: before each pickled beat
LENGTH = struct.Struct("!I")


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
            writer.write(LENGTH.pack(len(body)) + body)
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
