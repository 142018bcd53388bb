"""Until when an order to arm a fault may be read.

A process that stood still reads its orders when it goes on, long after whoever gave them has given up and written down
that nothing was done. So an order says until when it holds, by the boot clock of the machine it was written on.
"""

import msgspec

from supervisors.faults.order import FaultOrder
from supervisors.state.disk import boot_id
from supervisors.state.leases import BOOT_CLOCK


def until(order: FaultOrder, deadline: float) -> FaultOrder:
    """The order, good until ``deadline`` (boot clock of this machine)."""
    return msgspec.structs.replace(order, deadline=deadline, boot=boot_id())


def is_late(order: FaultOrder) -> bool:
    """Whether its time is over; never true of one from another machine, whose boot clock says nothing here."""
    if not order.deadline or not order.boot or order.boot != boot_id():
        return False
    return BOOT_CLOCK.monotonic() > order.deadline
