"""Processes: what runs on a node, can be stopped and go on, and can die at any moment."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisors.simulate.dst.life import Life
    from supervisors.simulate.dst.shell import Shell


class Proc:
    """One process.

    Attributes:
        pid: never used twice.
        node: where it runs.
        path: whose life it is, or stands by for.
        alive: until it ended.
        stopped: it does nothing; what is meant for it waits until it goes on (a zombie that wakes up).
        cause: the fault or order that ended it; empty while it lives, or when nothing explains its end.
        doomed: a fault hit it while it lived on: what its supervisor does about it is no invention.
        left: the reason it wrote down before it ended by itself; None when it could not.
    """

    __slots__ = (
        "alive",
        "cause",
        "doomed",
        "held",
        "left",
        "life",
        "node",
        "path",
        "pid",
        "shell",
        "standby",
        "stopped",
    )

    def __init__(self, pid: int, node: str, path: str) -> None:
        self.pid = pid
        self.node = node
        self.path = path
        self.alive = True
        self.stopped = False
        self.standby = False
        self.cause = ""
        self.doomed = ""
        self.left: Any = None
        self.held: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.life: Life | None = None
        self.shell: Shell | None = None

    def deliver(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Something happens in it: now, when it goes on, or never."""
        if self.alive:
            if self.stopped:
                self.held.append((call, args))
            else:
                call(*args)

    def go_on(self) -> None:
        """It was stopped: do all that has waited, in order."""
        if not self.alive or not self.stopped:
            return
        self.stopped = False
        while self.held and self.goes():  # what is called may stop or end it
            call, args = self.held.pop(0)
            call(*args)

    def goes(self) -> bool:
        """It lives and does not stand still."""
        return self.alive and not self.stopped
