"""Acts that take resources of the process: memory, descriptors, threads. All is given back at the end."""

import errno
import mmap
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults.acts.stage import Act, Stage
from supervisors.faults.board import Armed

#: memory is taken in pieces of so many bytes: about a millisecond each
_PIECE = 4 << 20
#: share of the machine's free memory that is never taken, so that the kernel ends nobody for it
_SPARED = 0.1
#: descriptors always left: one for who comes to revert it, one to spare
_LEAST_LEFT = 2


def hold_memory(armed: Armed, stage: Stage) -> Callable[[], None]:
    """Take ``size`` bytes in a thread, page by page, and keep them.

    Raises:
        FaultError: the machine or the process's limit has less (9057).
    """
    size = int(armed.order.number("size"))
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    free = int(_available() * (1 - _SPARED))
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - _virtual())
    if size > free:
        raise FaultError(f"{size} bytes are more than the {max(0, free)} there are", code=9057, fix="a smaller size")
    held: list[mmap.mmap] = []
    lock = threading.Lock()

    def take() -> None:
        left = size
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        while left > 0:
            piece = min(left, _PIECE)
            with lock:
                if not armed.live:
                    return
                held.append(mmap.mmap(-1, piece, flags=flags))
            left -= piece
            if not armed.wait(0.0005):  # others of this process are to run
                return

    def give_back() -> None:
        with lock:
            while held:
                held.pop().close()

    stage.spawn(take, "hold memory")
    return give_back


def use_descriptors(armed: Armed, stage: Stage) -> Callable[[], None]:
    """Leave the process ``left`` descriptors, but at least 2, so that it can be reached and this be reverted.

    The limit is lowered to just above those in use, and what is free below it is taken.
    """
    left = max(_LEAST_LEFT, int(armed.order.number("left")))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    taken = [first]
    top = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - needs no Path for each
    lower = min(soft, top + 1 + left)

    def give_back() -> None:
        if resource.getrlimit(resource.RLIMIT_NOFILE) == (lower, hard):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        while taken:
            os.close(taken.pop())

    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        while True:
            taken.append(os.dup(first))
    except OSError as error:
        if error.errno != errno.EMFILE:
            give_back()
            raise
    for _ in range(min(left, len(taken))):
        os.close(taken.pop())
    return give_back


def use_threads(armed: Armed, stage: Stage) -> Callable[[], None]:
    """Start ``count`` threads that wait; as many as the limits allow, where that is fewer."""
    count = int(armed.order.number("count"))
    gate = threading.Lock()
    gate.acquire()

    def wait() -> None:
        with gate:  # each lets the next one go: opening the gate takes no time
            return

    def start() -> None:
        for _ in range(count):
            if not armed.live:
                return
            threading.Thread(target=wait, name="fault", daemon=True).start()

    stage.spawn(start, "use threads")
    return gate.release


def _available() -> int:
    """Bytes of memory that can be taken without swapping (MemAvailable), bounded by the process's cgroup."""
    free = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if most == "max" else min(free, int(most) - used)


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


ACTS: dict[str, Act] = {"hold_memory": hold_memory, "use_descriptors": use_descriptors, "use_threads": use_threads}
