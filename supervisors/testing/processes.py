"""Processes of the fake world: what the operating system would know of them."""

from enum import IntEnum

from supervisors.core.paths import TreePath
from supervisors.core.reasons import ExitReason
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.model import SupervisorSpec


class Process:
    """One life of one path; a worker unless it is a ``SupervisorProcess``.

    Attributes:
        path, parent, id: its place.
        incarnation: which life.
        alive: False once it is gone for certain.
        up: its start has succeeded.
        stopping: it was told to stop.
        hung: alive, silent and deaf.
        seen_after: seconds from falling silent until its supervisor knows.
    """

    __slots__ = ("alive", "hung", "id", "incarnation", "parent", "path", "seen_after", "stopping", "up")

    def __init__(self, path: TreePath, parent: TreePath, child_id: str, incarnation: int) -> None:
        self.path = path
        self.parent = parent
        self.id = child_id
        self.incarnation = incarnation
        self.alive = True
        self.up = False
        self.stopping = False
        self.hung = False
        self.seen_after = 0.0


class SupervisorProcess(Process):
    """A process that runs a supervisor's machine.

    Attributes:
        spec: what the machine is made from.
        machine: the machine; None until the process has booted.
        timers: tokens of timers that are set and not cancelled.
        adopt: it replaces a crashed one and is to resume instead of booting.
    """

    __slots__ = ("adopt", "machine", "spec", "timers")

    def __init__(
        self, path: TreePath, parent: TreePath, child_id: str, incarnation: int, *, spec: SupervisorSpec, adopt: bool
    ) -> None:
        super().__init__(path, parent, child_id, incarnation)
        self.spec = spec
        self.adopt = adopt
        self.machine: SupervisorMachine | None = None
        self.timers: set[int] = set()


class Kind(IntEnum):
    """Kinds of timed happenings."""

    TIMER = 0
    STARTED = 1
    READY = 2
    START_FAILED = 3
    IGNORED = 4
    BOOT = 5
    EXIT = 6
    HANG_SEEN = 7
    ROOT_REPLACED = 8
    HELD = 9


#: what a process that was told to stop while it starts does no more
_OF_STARTING = frozenset({Kind.STARTED, Kind.READY, Kind.START_FAILED, Kind.IGNORED, Kind.HELD, Kind.BOOT})
#: when, tie-break, what, to whom, timer token, exit reason
Happening = tuple[float, int, Kind, Process, int, ExitReason | None]


def is_stale(happening: Happening) -> bool:
    """True when it concerns a cancelled timer or a process that is gone: it must not move the clock."""
    _, _, kind, process, token, _ = happening
    if kind is Kind.ROOT_REPLACED:
        return False
    if not process.alive:
        return True
    if kind is Kind.TIMER:
        return isinstance(process, SupervisorProcess) and token not in process.timers
    return process.stopping and kind in _OF_STARTING
