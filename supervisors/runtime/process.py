"""Small things a host does with its own process."""

import asyncio
import contextlib
import ctypes
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import ray

from supervisors.core.reasons import ExitReason
from supervisors.runtime.boot import HostBoot, HostInfo, check_build, extend_search
from supervisors.signals.messages import Assign
from supervisors.signals.proc import process_start_time
from supervisors.spec.compiled import LogsSpec
from supervisors.state.volume import volume_id

if TYPE_CHECKING:
    from loguru import Logger

    from supervisors.trail.logs import ChildLog

T = TypeVar("T")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process, in bytes."""
    with Path("/proc/self/statm").open("rb") as file:
        return int(file.read().split()[1]) * _PAGE


def prepare(boot: HostBoot) -> None:
    """Make this process fit to be a host: how it ends, where it stands, what it may import, where it writes.

    Raises:
        LaunchError: it runs other code than its maker.
    """
    end_at_once_on_sigterm()
    with contextlib.suppress(OSError):  # another machine may not have it
        os.chdir(boot.cwd)
    extend_search(boot.search)
    check_build(boot.build)
    for folder in (boot.plane_dir, boot.shm_dir, boot.data_dir):
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)  # on another machine nobody made them yet


def end_at_once_on_sigterm() -> None:
    """Give SIGTERM its default action back, whatever the thread this is called in.

    Ray's handler ends the process in its own time: for up to seconds it would neither work nor be dead, and be taken
    for hung. A process that is to end in order is told so by its supervisor.
    """
    default = ctypes.CDLL(None).signal
    default.argtypes = (ctypes.c_int, ctypes.c_void_p)
    default.restype = ctypes.c_void_p
    default(int(signal.SIGTERM), None)  # SIG_DFL is the null pointer


def preload(modules: tuple[str, ...]) -> None:
    """Import what this spare may be asked to run; what fails here will fail, and be told, when it is assigned."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def reachable(endpoints: str) -> str:
    """A socket bound to every address of the machine is told by the address other nodes know it by."""
    return endpoints.replace("0.0.0.0", ray.util.get_node_ip_address())


def addresses(boot: HostBoot, kind: str) -> list[str]:
    """What a host's socket of this kind (``h`` its plane, ``p`` its publisher) is bound to."""
    if boot.transport == "tcp":
        return [f"tcp://{boot.bind}:*"]
    found = [f"ipc://{boot.plane_dir}/{kind}-{boot.host}"]
    return [*found, f"tcp://{boot.bind}:*"] if boot.nodes and kind == "p" else found


def describe(boot: HostBoot, endpoint: str, pub: str) -> HostInfo:
    """How to reach this process, and what it writes to."""
    pid = os.getpid()
    return HostInfo(
        host=boot.host,
        pid=pid,
        start_time=process_start_time(pid) or 0,
        node=str(ray.get_runtime_context().get_node_id()),
        endpoint=reachable(endpoint),
        pub=reachable(pub),
        volume=volume_id(Path(boot.data_dir)),
    )


def leave(boot: HostBoot) -> None:
    """End this process; its sockets' files go with it."""
    for kind in ("h", "p"):
        Path(boot.plane_dir, f"{kind}-{boot.host}").unlink(missing_ok=True)
    os._exit(0)


def hand_over(loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]", value: T) -> None:
    """Settle a future of another thread's loop; a second answer is dropped."""

    def settle() -> None:
        if not answer.done():
            answer.set_result(value)

    loop.call_soon_threadsafe(settle)


def log_opener(data_dir: str, order: Assign, logs: LogsSpec) -> "Callable[[], ChildLog]":
    """Opens the log of a child when somebody first writes to it."""

    def open_log() -> "ChildLog":
        from supervisors.trail.logs import child_logger

        return child_logger(
            Path(data_dir),
            order.path,
            order.incarnation,
            order.epoch,
            logs.level.value,
            logs.rotate,
            logs.keep,
            logs.lines_per_second,
        )

    return open_log


class LazyLog:
    """A child's log, opened when somebody first writes to it: loguru costs a process 10 ms and a thread."""

    def __init__(self) -> None:
        self._log: ChildLog | None = None
        self._lock = threading.Lock()
        #: opens it; None until the host is assigned
        self.open: Callable[[], ChildLog] | None = None

    def logger(self) -> "Logger":
        """The log."""
        with self._lock:
            if self._log is None:
                assert self.open is not None
                self._log = self.open()
            return self._log.logger

    def imported(self) -> None:
        """The child's module is imported: one that uses loguru by itself writes to the child's log as well."""
        if "loguru" in sys.modules:
            self.logger()

    def close(self) -> None:
        """Write what is left."""
        if self._log is not None:
            self._log.close()


def keep_reason(plane_dir: str, host: str, reason: ExitReason) -> None:
    """For a supervisor that is away: its replacement reads why this host ended.

    Raises:
        OSError: it cannot be written.
    """
    (Path(plane_dir) / f"exit-{host}").write_bytes(msgspec.json.encode(reason))


def ray_kill(namespace: str, actor: str) -> None:
    """Have Ray kill one of its actors; one that is gone is no error. Takes milliseconds: not in the plane's thread."""
    with contextlib.suppress(ValueError, ray.exceptions.RayError):
        ray.kill(ray.get_actor(actor, namespace=namespace), no_restart=True)
