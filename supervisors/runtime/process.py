"""Small things a host does with its own process."""

import asyncio
import contextlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import ray

from supervisors.core.reasons import ExitReason
from supervisors.signals.messages import Assign
from supervisors.spec.compiled import LogsSpec

if TYPE_CHECKING:
    from supervisors.trail.logs import ChildLog

T = TypeVar("T")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process, in bytes."""
    with Path("/proc/self/statm").open("rb") as file:
        return int(file.read().split()[1]) * _PAGE


def preload(modules: tuple[str, ...]) -> None:
    """Import what this spare may be asked to run; what fails here will fail, and be told, when it is assigned."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def reachable(endpoints: str) -> str:
    """A socket bound to every address of the machine is told by the address other nodes know it by."""
    return endpoints.replace("0.0.0.0", ray.util.get_node_ip_address())


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


def keep_reason(plane_dir: str, host: str, reason: ExitReason) -> None:
    """For a supervisor that is away: its replacement reads why this host ended.

    Raises:
        OSError: it cannot be written.
    """
    (Path(plane_dir) / f"exit-{host}").write_bytes(msgspec.json.encode(reason))
