"""A child as its supervisor's machine keeps it, and what survives the supervisor's own crash."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from supervisors.core.reasons import ExitKind
from supervisors.tree.model import ChildSpec


class ChildState(StrEnum):
    """OTP knows a pid, ``restarting`` and ``undefined``; starting and stopping take time here.

    ``held``: no process, and none is made before a person has agreed.
    """

    UNDEFINED = "undefined"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    HELD = "held"


@dataclass(slots=True)
class Child:
    """One child's present state.

    Attributes:
        spec: how to run it.
        id: its id (for dynamic children not that of the template).
        state: see ``ChildState``.
        incarnation: number of the present or last life; 0 before the first.
        failures: in a row, without proven health between them.
        up_since: monotonic seconds when the present life came up.
        next_at: monotonic seconds of the next restart while it waits for its backoff.
        wanted: False once stopped by hand, ended for good or ignored: a replaced supervisor leaves it so.
        orphans: its process is gone but its own children may run, waiting to be adopted.
        args: opaque extra start arguments of a dynamic child.
        timer: token of the pending backoff timer, 0 when there is none.
        restarts: successful restarts, for people.
        by_hand: added or changed by an order, so that the declared spec is not the one it runs by.
        waits_for: the held child before it in its group, whose start its own waits for; empty when it waits for none.
        excused: how many of ``failures`` were charged to a budget (SUP-10).
        failed_with: why the last restart failed; says what the retry is charged to.
        fated: its group is being restarted and its turn is still to come: a replaced supervisor does not adopt it.
    """

    spec: ChildSpec
    id: str
    state: ChildState = ChildState.UNDEFINED
    incarnation: int = 0
    failures: int = 0
    up_since: float = 0.0
    next_at: float | None = None
    wanted: bool = True
    orphans: bool = False
    args: str = ""
    timer: int = 0
    restarts: int = 0
    by_hand: bool = False
    waits_for: str = ""
    excused: int = 0
    failed_with: ExitKind | None = None
    fated: bool = False

    @property
    def has_process(self) -> bool:
        """True while OTP would show a pid."""
        return self.state in WITH_PROCESS


#: states in which OTP would show a pid
WITH_PROCESS = frozenset({ChildState.STARTING, ChildState.RUNNING, ChildState.STOPPING})


class ChildRecord(msgspec.Struct, frozen=True):
    """What is kept of a child outside the supervisor's process; ``spec`` only where it is not the declared one."""

    id: str
    order: int
    state: str
    incarnation: int
    failures: int
    up_since: float
    wanted: bool
    args: str
    restarts: int
    orphans: bool = False
    spec: ChildSpec | None = None
    waits_for: str = ""
    excused: int = 0
    fated: bool = False


class SupervisorRecord(msgspec.Struct, frozen=True):
    """What a replaced supervisor inherits (SUP-8).

    Attributes:
        stamps: restarts that count, newest first, in whole monotonic seconds of this machine's boot.
        children: one row for each child.
        floor: highest incarnation of any child forgotten so far; a child of the same name goes on above it.
        next_dynamic: number of the next dynamic child's id.
        budgets: as ``stamps``, for each budget by its name; one nothing was charged to is left out.
    """

    stamps: tuple[int, ...]
    children: tuple[ChildRecord, ...]
    floor: int = 0
    next_dynamic: int = 1
    budgets: dict[str, tuple[int, ...]] = {}


def record_of(child: Child, order: int) -> ChildRecord:
    """The part of ``child`` worth keeping; ``order`` is its place in start order."""
    return ChildRecord(
        child.id,
        order,
        child.state.value,
        child.incarnation,
        child.failures,
        child.up_since,
        child.wanted,
        child.args,
        child.restarts,
        child.orphans,
        child.spec if child.by_hand else None,
        child.waits_for,
        child.excused,
        child.fated,
    )
