"""Whether an armed fault acts on an occasion: the first so many for certain, then by chance, at most so often. Pure.

Two parameters that kinds share are read here: ``nth``, the first occasion that is hit at all, and ``times``, how often
it acts at most where the order itself sets no bound.
"""

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
        self._before = _count(order, "nth", 1) - 1
        self._most = order.most or _count(order, "times", 0)
        #: occasions so far
        self.seen = seen
        #: of these, those it acted on
        self.fired = fired

    @property
    def spent(self) -> bool:
        """True once it acted as often as it may."""
        return bool(self._most) and self.fired >= self._most

    def strikes(self) -> bool:
        """One occasion: does it act?"""
        order = self._order
        if self.spent:
            return False
        self.seen += 1
        occasion = self.seen - self._before
        if occasion < 1:
            return False
        certain = occasion <= order.first or order.probability >= 1.0
        if not certain and self._draw() >= order.probability:
            return False
        self.fired += 1
        return True


def _count(order: FaultOrder, name: str, otherwise: int) -> int:
    value = order.params.get(name, otherwise)
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
