"""Real processes that light a beacon, for the tests of the death watch."""

import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from supervisors.signals.deathwatch import DeathNotice
from supervisors.signals.proc import process_start_time

#: a deadline for what must happen, never a time that is waited out when all is well
LONG = 20.0

_LIGHT = """
import sys, os, time, ctypes
from pathlib import Path
from supervisors.signals.deathwatch import DeathBeacon
directory, count, body = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
pids = [os.getpid()]
def light(name):
    return DeathBeacon(directory, name, frozenset({"futex", "socket"}))
if count == 1:
    beacon = light(sys.argv[4])
    print(os.getpid(), flush=True)
    exec(body)
else:
    for number in range(count):
        ready, done = os.pipe()
        pid = os.fork()
        if pid == 0:
            beacon = light(f"{sys.argv[4]}-{number}")
            os.write(done, b"x")
            time.sleep(600)
            os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(done)
        print(pid, flush=True)
    sys.stdin.readline()
"""


class Host:
    """One process (or ``count`` of them below one parent) with a beacon; ended on exit whatever it does."""

    def __init__(self, directory: Path, name: str, body: str = "sys.stdin.readline()", count: int = 1) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LIGHT, str(directory), str(count), body, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.pids = [int(self.process.stdout.readline()) for _ in range(count)]
        self.pid = self.pids[0]
        starts = [process_start_time(pid) for pid in self.pids]
        self.starts = [start for start in starts if start is not None]
        assert len(self.starts) == count
        self.start = self.starts[0]

    def say(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pids != [self.process.pid]:
            for pid, start in zip(self.pids, self.starts, strict=True):
                if process_start_time(pid) == start:
                    os.kill(pid, 9)
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


class Notices:
    """What a watch told, in order."""

    def __init__(self) -> None:
        self.queue: queue.Queue[DeathNotice] = queue.Queue()

    def __call__(self, notice: DeathNotice) -> None:
        self.queue.put(notice)

    def next(self, timeout: float = LONG) -> DeathNotice:
        return self.queue.get(timeout=timeout)

    def none_for(self, seconds: float) -> bool:
        """True when nothing comes; ``seconds`` bounds how long a false notice is given to show."""
        try:
            self.queue.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


def until(condition: Callable[[], bool], timeout: float = LONG) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.002)
