"""Until when an order to arm a fault may be read.

A process that stood still reads its orders when it goes on, long after whoever gave them has given up and written down
that nothing was done. So an order says until when it holds, by the boot clock of the machine it was written on.
"""

from functools import cache
from pathlib import Path

import msgspec

from supervisors.faults.order import FaultOrder
from supervisors.state.leases import BOOT_CLOCK

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def until(order: FaultOrder, deadline: float) -> FaultOrder:
    """The order, good until ``deadline`` (boot clock of this machine)."""
    return msgspec.structs.replace(order, deadline=deadline, boot=_boot_id())


def is_late(order: FaultOrder) -> bool:
    """Whether its time is over; never true of one from another machine, whose boot clock says nothing here."""
    if not order.deadline or not order.boot or order.boot != _boot_id():
        return False
    return BOOT_CLOCK.monotonic() > order.deadline


@cache
def _boot_id() -> str:
    """Of this machine's present boot; empty where it cannot be read: no order is late then."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
