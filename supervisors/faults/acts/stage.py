"""What an act may use of the process it is done in."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from supervisors.core.clock import Clock
from supervisors.faults.board import Armed


class Stage(Protocol):
    """The process a fault acts in. Acts are called in the plane's thread, which sends the beats: never block it."""

    @property
    def clock(self) -> Clock:
        """Monotonic time."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The actor's loop; None in a supervisor's process."""
        ...

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Run ``work`` in a thread of its own; what it raises is logged."""
        ...

    def crash(self, error: BaseException) -> None:
        """Have the actor's ``run`` raise ``error``. From any thread."""
        ...


#: begins the act; gives what puts it away again (called once, in the plane's thread), or None
Act = Callable[[Armed, Stage], Callable[[], None] | None]
