"""Burns processor time: ``python -m supervisors.faults.burner --seconds S --workers N --nice N --parent PID``.

It ends at its deadline, and with its parent, whatever became of that: the kernel sees to it (PR_SET_PDEATHSIG).
"""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults.order import FaultOrder

_MODULE = "supervisors.faults.burner"
_PR_SET_PDEATHSIG = 1
#: seconds beyond the order's own within which whoever started the burner ends it
_GRACE = 2.0
_LOOK = 0.1


def run(order: FaultOrder, data_dir: Path, stop: Callable[[], bool]) -> None:
    """Burn until ``stop()``; nothing is left when it returns.

    Raises:
        FaultError: the burners do not run (9058).
    """
    workers = int(order.number("workers")) or len(os.sched_getaffinity(0))
    words = {
        "--seconds": f"{order.seconds + _GRACE:g}",
        "--workers": str(workers),
        "--nice": str(int(order.number("nice"))),
        "--parent": str(os.getpid()),
        "--id": order.id,
    }
    command = [sys.executable, "-m", _MODULE, *(word for pair in words.items() for word in pair)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, process_group=0) as process:
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise FaultError(
                    "no processor time is burnt: the burners ended", code=9058, fix="see the limits on processes"
                )
            while not stop() and process.poll() is None:
                time.sleep(_LOOK)
        finally:
            _end(process)


def clean(order: FaultOrder, data_dir: Path) -> None:
    """End what is left of it; there is nothing as a rule, for the burners end with their parent."""
    for pid in _running(order.id):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def probe(order: FaultOrder, data_dir: Path) -> bool:
    """True when none of its processes runs."""
    return not _running(order.id)


def burn(end: float, now: Callable[[], float] = time.monotonic) -> None:
    """Use a whole core until ``end``."""
    while now() < end:
        for _ in range(50_000):
            pass


def main(words: list[str] | None = None) -> int:
    """Burn, as the command line says; returns the exit status."""
    options = argparse.ArgumentParser(prog=f"python -m {_MODULE}")
    options.add_argument("--seconds", type=float, required=True)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--nice", type=int, default=0)
    options.add_argument("--parent", type=int, required=True, help="it ends with this process")
    options.add_argument("--id", default="", help="of the fault; for who looks at the processes")
    given = options.parse_args(words)
    end = time.monotonic() + given.seconds
    if not _tie_to(given.parent):
        return 1
    os.nice(given.nice)
    mine = os.getpid()
    children: list[int] = []
    for _ in range(given.workers - 1):
        child = os.fork()
        if child == 0:
            if _tie_to(mine):
                burn(end)
            os._exit(0)
        children.append(child)
    sys.stdout.write("burning\n")
    sys.stdout.flush()
    burn(end)
    for child in children:
        os.waitpid(child, 0)
    return 0


def _tie_to(parent: int) -> bool:
    """Have the kernel end this process with ``parent``; False: it is gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _running(fault_id: str) -> list[int]:
    """Processes of the burners of a fault that run, those of which only the status is left not counted."""
    found: list[int] = []
    wanted = [_MODULE.encode(), b"--id", fault_id.encode()]
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            state = (place / "stat").read_text().rpartition(") ")[2][:1]
        except OSError:
            continue
        if state not in ("Z", "X") and all(word in words for word in wanted):
            found.append(int(place.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
