"""Faults armed without a system: a slot with a board, and orders with the parameters of their kind."""

from supervisors.core.clock import Clock
from supervisors.faults.board import Armed, FaultBoard, FaultSlot
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import FaultOrder, Scalar
from supervisors.testing.clock import ManualClock


def order_of(kind: str, fault_id: str = "f-1", *, seconds: float = 10.0, **params: Scalar) -> FaultOrder:
    """An order of a kind with these parameters, as the injector makes it."""
    found = CATALOGUE.find(kind)
    return FaultOrder(
        fault_id, kind, "/a", found.read(params), seconds, hooks=found.hooks, slot=found.slot, probability=1.0
    )


class Rig:
    """One process's slot. ``fired``: ids of what acted."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or ManualClock(100.0)
        self.slot = FaultSlot()
        self.fired: list[str] = []
        self._board = FaultBoard(self.clock, lambda armed: self.fired.append(armed.order.id))

    def arm(self, kind: str, fault_id: str = "f-1", *, seconds: float = 10.0, **params: Scalar) -> Armed:
        return self.give(order_of(kind, fault_id, seconds=seconds, **params))

    def give(self, order: FaultOrder) -> Armed:
        armed = self._board.arm(order)
        self.slot.board = self._board
        return armed

    def end(self, fault_id: str = "f-1") -> None:
        """As the host does: disarm, and no board while nothing is armed."""
        self._board.disarm(fault_id)
        self._settle()

    def expire(self) -> list[str]:
        over = self._board.expire()
        self._settle()
        return over

    def _settle(self) -> None:
        if not len(self._board):
            self.slot.board = None
