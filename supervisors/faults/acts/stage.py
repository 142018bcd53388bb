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
    def path(self) -> str:
        """Whom the process carries."""
        ...

    @property
    def data_dir(self) -> str:
        """The system's data directory."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The actor's loop; None in a supervisor's process."""
        ...

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Run ``work`` in a thread of its own; what it raises is logged."""
        ...

    def plane_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Run ``callback`` in the plane's thread after ``delay`` seconds. From that thread only."""
        ...

    def crash(self, error: BaseException) -> None:
        """Have the actor's ``run`` raise ``error``. From any thread."""
        ...


#: seconds between what was told last and an act that ends the process: a message needs so long to leave it
LAST_WORDS = 0.003

#: begins the act; gives what puts it away again (called once, in the plane's thread), or None where it is over at once
Act = Callable[[Armed, Stage], Callable[[], None] | None]
