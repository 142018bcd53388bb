"""A lease store that is slow, silent, or cut off after it did what was asked: faults at the port (FLT-1).

Put in front of a holder's store (its keeper's threads) and of a supervisor's, and only where the topology allows
faults. It keeps the port's promise that no call takes much longer than a second: an answer that comes later than that
is one that did not come.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from supervisors.core.errors import StoreUnavailable
from supervisors.faults.board import FaultBoard, FaultSlot
from supervisors.faults.order import Hook
from supervisors.state.leases import Grant, Held, LeaseRow, LeaseStore

T = TypeVar("T")

#: seconds an answer is waited for, as clients of a real store do (``LeaseStore``: about a second)
PATIENCE = 1.0


class FaultLeases:
    """``LeaseStore`` with the faults of one process put in.

    Args:
        below: the store itself.
        slot: of this process.
    """

    def __init__(self, below: LeaseStore, slot: FaultSlot) -> None:
        self._below = below
        self._slot = slot

    @property
    def busy(self) -> bool:
        """True while a fault is armed here: a call may take long, so none belongs in a thread that others wait for."""
        board = self._slot.board
        return board is not None and bool(board.at(Hook.LEASE))

    def acquire(self, path: str, holder: str, ttl: float, *, proved_dead: str = "", floor: int = 0) -> Grant | Held:
        """See ``LeaseStore``."""
        ask = partial(self._below.acquire, path, holder, ttl, proved_dead=proved_dead, floor=floor)
        board = self._slot.board
        return ask() if board is None else _through(board, path, ask)

    def reserve(self, path: str, count: int = 8) -> None:
        """See ``LeaseStore``."""
        board = self._slot.board
        ask = partial(self._below.reserve, path, count)
        return ask() if board is None else _through(board, path, ask)

    def renew(self, path: str, holder: str, token: int, ttl: float) -> bool:
        """See ``LeaseStore``."""
        board = self._slot.board
        ask = partial(self._below.renew, path, holder, token, ttl)
        return ask() if board is None else _through(board, path, ask)

    def release(self, path: str, holder: str, token: int) -> None:
        """See ``LeaseStore``."""
        board = self._slot.board
        ask = partial(self._below.release, path, holder, token)
        return ask() if board is None else _through(board, path, ask)

    def read(self, path: str) -> LeaseRow | None:
        """See ``LeaseStore``."""
        board = self._slot.board
        return self._below.read(path) if board is None else _through(board, path, partial(self._below.read, path))

    def rows(self) -> list[LeaseRow]:
        """See ``LeaseStore``."""
        board = self._slot.board
        return self._below.rows() if board is None else _through(board, "all paths", self._below.rows)

    def close(self) -> None:
        """See ``LeaseStore``."""
        self._below.close()


def _through(board: FaultBoard, what: str, ask: Callable[[], T]) -> T:
    """One call, with what is armed. Blocks: see ``busy``."""
    acting = [armed for armed in board.at(Hook.LEASE) if armed.strikes()]
    for armed in acting:
        if armed.order.kind == "lease_down":
            raise _unavailable(what, armed.order.id, "it is down")
    answer = ask()
    for armed in acting:
        if armed.order.kind == "lease_slow":
            delay = armed.order.number("delay")
            if armed.wait(min(delay, PATIENCE)) and delay > PATIENCE:
                raise _unavailable(what, armed.order.id, f"no answer within {PATIENCE:g} s")
        elif armed.order.kind == "lease_cut":
            raise _unavailable(what, armed.order.id, "its answer was lost")
    return answer


def _unavailable(what: str, fault: str, why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the lease store did not answer for {what}: {why} (fault {fault})", fix=f"rayvisor inject revert {fault}"
    )
