"""Acts that keep an actor from running: its loop blocked, the interpreter's lock held, the collector at work."""

import ctypes
import gc
import time
from collections import deque
from collections.abc import Callable
from itertools import repeat, starmap

from supervisors.core.errors import FaultError
from supervisors.faults.acts.stage import LAST_WORDS, Act, Stage
from supervisors.faults.board import Armed

#: seconds for which a thread blocks at most before it looks at the time itself
_SLICE = 0.5
#: seconds between two walks of the collector: others get the interpreter for so long
_BETWEEN = 0.02
#: times the collector walks a share of the objects in each pause: all of them at once would fill the heap with pages
#: that cannot be given back, because others of the process put something there meanwhile
_WALKS = 10
#: seconds between two holds of the lock, where it is held in pieces
_BREATH = 0.01


def block_loop(armed: Armed, stage: Stage) -> Callable[[], None]:
    """Wait in the actor's loop; it turns again once the fault is over."""
    loop = stage.loop
    if loop is None:
        raise FaultError(f"{stage.path} has no loop of an actor", code=9025, fix="block_loop is for workers")

    def block() -> None:
        while stage.clock.monotonic() < armed.until and armed.wait(_SLICE):
            pass

    loop.call_soon_threadsafe(block)
    return _nothing


def hold_gil(armed: Armed, stage: Stage) -> Callable[[], None]:
    """Sleep in C without giving the lock away.

    Nothing of the process runs meanwhile, so that no ``Disarm`` is read either: only the deadline ends it, or the end
    of the present piece where the order has a ``pause`` (seconds).
    """
    piece = float(armed.order.params.get("pause", armed.order.seconds))
    usleep = ctypes.PyDLL(None).usleep
    usleep.argtypes = [ctypes.c_uint]

    def hold() -> None:
        time.sleep(LAST_WORDS)
        while armed.live and (left := armed.until - stage.clock.monotonic()) > 0:
            usleep(max(1, int(min(left, piece) * 1e6)))
            time.sleep(_BREATH)

    stage.spawn(hold, "hold_gil")
    return _nothing


def gc_pause(armed: Armed, stage: Stage) -> Callable[[], None]:
    """Make many objects and have the collector walk them all, which stops the interpreter each time."""
    count = int(armed.order.number("objects"))

    def walk() -> None:
        # each holds the next: one large list of them would stay in the thread's heap when it is freed
        chain: list[object] = []
        made, wanted = 0, count // _WALKS
        while armed.live and made < wanted:
            piece = min(10_000, wanted - made)
            for _ in range(piece):
                chain = [chain]
            made += piece
        while armed.live:
            deque(starmap(gc.collect, repeat((), _WALKS)), maxlen=0)  # in C: nobody gets the lock in between
            armed.wait(_BETWEEN)
        del chain
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # glibc keeps what was freed: the process would seem to have grown
            trim(0)

    stage.spawn(walk, "gc_pause")
    return _nothing


def _nothing() -> None:
    """What is waiting sees by itself that the fault is over."""


ACTS: dict[str, Act] = {"block_loop": block_loop, "hold_gil": hold_gil, "gc_pause": gc_pause}
