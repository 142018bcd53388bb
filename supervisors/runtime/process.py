"""Small things a host does with its own process."""

import asyncio
import contextlib
import importlib
import os
from pathlib import Path
from typing import TypeVar

import ray

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
