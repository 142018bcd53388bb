"""What is in hand for one child's recovery, and what of it is kept for a replaced supervisor."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from supervisors.core.paths import TreePath
from supervisors.recovery.case import CaseRecord, RecoveryCase
from supervisors.recovery.messages import Attempt, Hold
from supervisors.recovery.progress import Progress
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import GoalStore
from supervisors.tree.messages import NoteKind, StartChild

if TYPE_CHECKING:
    from loguru import Logger

_CASE = "recovery:"
_HELD = "held:"
#: notes that say that a start waits no more
ANSWERED = frozenset(
    NoteKind(f"child_{end}") for end in ("ready", "stopped", "exited", "start_failed", "ignored", "held")
)


@dataclass(slots=True)
class Hand:
    """What is in hand for one child.

    Attributes:
        case: its recovery; closed ones are replaced.
        order: the start the machine waits for; None while it waits for none.
        peer: the life of the attempt in hand, until it is up or gone; without one its time does not count.
        next: the attempt to begin as soon as rule 1 allows.
        hold: the hold to tell the machine as soon as nothing runs.
        abandoned: the case has given up the life in hand; its end is no news to it.
        preserving: so many failed states are being kept: the next attempt waits for them (REC-3).
        late: the attempt to begin had to wait.
        approved: a person chose the attempt to begin.
        dropped: a person wants it to stay down, which the machine has not heard yet.
    """

    case: RecoveryCase
    order: StartChild | None = None
    peer: Peer | None = None
    next: Attempt | None = None
    hold: Hold | None = None
    abandoned: bool = False
    preserving: int = 0
    late: bool = False
    approved: bool = False
    dropped: str = ""
    timers: dict[int, int] = field(default_factory=dict)
    progress: Progress | None = None


def keep_case(store: GoalStore, case: RecoveryCase) -> None:
    """Write down where a case stands."""
    record = case.record()
    store.put(**{_CASE + record.path: msgspec.json.encode(record).decode()})


def kept_case(store: GoalStore, path: TreePath, log: "Logger") -> CaseRecord | None:
    """What was written down last of the child at ``path``."""
    kept = store.get(_CASE + path)
    try:
        return msgspec.json.decode(kept, type=CaseRecord) if kept else None
    except msgspec.MsgspecError as error:
        log.error("{}: its recovery cannot be read: {}", path, error)
        return None


def forget_case(store: GoalStore, path: TreePath) -> None:
    """The child at ``path`` is gone for good."""
    store.forget(_CASE + path)


def leave_hold(store: GoalStore, path: TreePath) -> None:
    """Its supervisor ends while it waits for a person: the next one of this run lets it wait on (fail safe, REC-2)."""
    store.put(**{_HELD + path: store.get("started_utc")})


def take_hold(store: GoalStore, path: TreePath) -> bool:
    """True, once, when a supervisor of this run ended while the child at ``path`` waited for a person."""
    run = store.get(_HELD + path)
    if not run:
        return False
    store.forget(_HELD + path)
    return run == store.get("started_utc")
