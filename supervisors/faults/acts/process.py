"""Acts that end a process: as by ``os._exit``, by a fault of memory, or for want of memory."""

import ctypes
import mmap
import os
import signal
from collections.abc import Callable

from supervisors.faults.acts.stage import LAST_WORDS, Act, Stage
from supervisors.faults.board import Armed

#: bytes taken in one step: small enough that the cap is met, large enough that it is met soon
_STEP = 8_000_000


def exit_now(armed: Armed, stage: Stage) -> None:
    """End without a word to anybody: no handler, no flush."""
    code = int(armed.order.number("code"))

    def end() -> None:
        if armed.live:  # it may have been refused for another order's sake, or taken back, meanwhile
            os._exit(code)

    stage.plane_later(LAST_WORDS, end)


def segfault(armed: Armed, stage: Stage) -> None:
    """Read address 0."""

    def read() -> None:
        if armed.live:
            ctypes.string_at(0)

    stage.plane_later(LAST_WORDS, read)


def out_of_memory(armed: Armed, stage: Stage) -> Callable[[], None]:
    """Take memory step by step, every page of it touched, and meet the end at the cap."""
    cap, raised = int(armed.order.number("cap")), armed.order.text("end") == "raised"
    held: list[bytearray] = []

    def take() -> None:
        while cap > sum(map(len, held)) and armed.live:
            size = min(_STEP, cap - sum(map(len, held)))
            block = bytearray(size)
            block[:: mmap.PAGESIZE] = b"\1" * len(range(0, size, mmap.PAGESIZE))
            held.append(block)
        if not armed.live:
            held.clear()
        elif raised:
            stage.crash(MemoryError(f"{cap} bytes are taken, which is all there is"))
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    stage.spawn(take, "oom")
    return held.clear


ACTS: dict[str, Act] = {"exit": exit_now, "segfault": segfault, "oom": out_of_memory}
