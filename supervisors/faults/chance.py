"""Whether an armed fault acts on an occasion: the first so many for certain, then by chance, at most so often. Pure."""

from collections.abc import Callable

from supervisors.faults.order import FaultOrder


class Chance:
    """Counts occasions of one order.

    Args:
        order: says how often.
        draw: gives a number from 0.0 to below 1.0; of ``order.seed``, so that a run repeats.
        seen, fired: as a former life of the target left them.
    """

    def __init__(self, order: FaultOrder, draw: Callable[[], float], seen: int = 0, fired: int = 0) -> None:
        self._order = order
        self._draw = draw
        #: occasions so far
        self.seen = seen
        #: of these, those it acted on
        self.fired = fired

    @property
    def spent(self) -> bool:
        """True once it acted as often as it may."""
        return bool(self._order.most) and self.fired >= self._order.most

    def strikes(self) -> bool:
        """One occasion: does it act?"""
        order = self._order
        if self.spent:
            return False
        self.seen += 1
        certain = self.seen <= order.first or order.probability >= 1.0
        if not certain and self._draw() >= order.probability:
            return False
        self.fired += 1
        return True
