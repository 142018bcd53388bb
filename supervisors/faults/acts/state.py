"""Acts of the state's kinds: what has to happen in the process besides what its disk does."""

import os
import signal
from collections.abc import Callable

from supervisors.faults.acts.stage import Act, Stage
from supervisors.faults.board import Armed

#: seconds after the end of the fault: what its disk does about it comes first, and does not return
_AFTER = 0.05


def lose_sync(armed: Armed, stage: Stage) -> Callable[[], None] | None:
    """The power fails when the fault ends, also if nothing was written meanwhile and the disk never met the fault."""
    if not armed.order.flag("crash"):
        return None
    return lambda: stage.plane_later(_AFTER, lambda: os.kill(os.getpid(), signal.SIGKILL))


ACTS: dict[str, Act] = {"lose_sync": lose_sync}
