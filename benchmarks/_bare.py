"""Ray alone: the bare class that ours is compared with, and a cluster without a system.

A worker that imports this module for its class imports nothing of rayvisor with it, as a program without it would not.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Remote(Protocol):
    """One method of a Ray handle."""

    def remote(self, value: int) -> Awaitable[int]: ...


class Echoes(Protocol):
    """The handle of a bare Ray actor, as far as it is used here."""

    @property
    def echo(self) -> Remote: ...


async def time_calls(call: Callable[[int], Awaitable[object]], count: int) -> list[float]:
    """Microseconds of each of ``count`` calls, one after the other."""
    found = []
    for number in range(count):
        began = time.perf_counter_ns()
        answer = await call(number)
        found.append((time.perf_counter_ns() - began) / 1e3)
        assert answer == number
    return found


class Bare:
    """What Ray alone offers: an async actor, started with ``ray.remote(Bare)``."""

    async def echo(self, value: int) -> int:
        return value

    async def pid(self) -> int:
        return os.getpid()

    async def linger(self) -> None:
        """Never returns: its caller learns from Ray how this actor ended."""
        await asyncio.Event().wait()

    async def fail(self, delay: float) -> None:
        await asyncio.sleep(delay)
        raise RuntimeError(f"{time.monotonic():.9f}")

    async def time_raw(self, target: Echoes, count: int) -> list[float]:
        return await time_calls(target.echo.remote, count)


class Counting:
    """A counter in memory: what it has acknowledged is gone with its process."""

    def __init__(self) -> None:
        self._count = 0

    async def add(self) -> int:
        self._count += 1
        return self._count

    async def pid(self) -> int:
        return os.getpid()


@contextmanager
def bare_cluster() -> Iterator[None]:
    """A fresh Ray cluster without a system on it, started and joined by the code that starts a system's."""
    from benchmarks._system import interruptible
    from supervisors.runtime.environment import prepare
    from supervisors.runtime.folders import clear, folders_of, make

    interruptible()
    with tempfile.TemporaryDirectory(prefix="rayvisor-bench-") as name:
        folders = folders_of(Path(name))
        make(folders)
        prepare(folders, owned=True)  # before ray is imported
        from supervisors.runtime import cluster

        try:
            cluster.connect(cluster.start_local(folders, lambda: False), "bench")
            yield
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            cluster.disconnect()
            cluster.stop_local(folders)
            clear(folders)


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_own_process(module: str, *words: str, timeout: float = 180.0) -> str:
    """What ``python -m module words`` prints; ended in order with this process.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", module, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        said, _ = process.communicate(timeout=timeout)
    except BaseException:
        process.terminate()  # see ``interruptible``
        process.wait(30)
        raise
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return said
