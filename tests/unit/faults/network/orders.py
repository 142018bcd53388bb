"""Orders of network faults for tests."""

from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import FaultOrder, Scalar


def order(
    kind: str, fault_id: str = "f-1", *, probability: float = 1.0, first: int = 0, **params: Scalar
) -> FaultOrder:
    """An order with the kind's own parameters but for ``params``, which are as people write them."""
    found = CATALOGUE.find(kind)
    return FaultOrder(fault_id, kind, "/wire", found.read(params), probability=probability, first=first, seed=7)
