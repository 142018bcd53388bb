"""What somebody asks for: a fault, whom it is to hit, and how. And what became of it. Pure."""

from enum import StrEnum

import msgspec

from supervisors.faults.order import FaultOrder, Scalar


class TargetSet(StrEnum):
    """Whom a fault hits, of those at and below a path (FLT-1)."""

    PATH = "path"  #: the one at the path
    ONE = "one"  #: one of them, by the seed
    ALL = "all"
    HALF = "half"  #: half of them, rounded up, by the seed
    PRIMARIES = "primaries"  #: workers that act and have standbys
    STANDBYS = "standbys"
    SUPERVISORS = "supervisors"
    RANDOM = "random"  #: so many as ``count`` says, by the seed


class FaultRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fault as a person, an experiment or a monkey asks for it.

    Attributes:
        fault: name of a kind.
        path: of the target, or of the subtree the set is taken from.
        params: as people write them.
        seconds: how long at most; None: the kind's own.
        probability: None: 1.0, or 0.0 where ``first`` is given.
        first: so many occasions for certain.
        seed: of everything left to chance.
        targets: see ``TargetSet``.
        count: of RANDOM.
    """

    fault: str
    path: str
    params: dict[str, Scalar] = {}
    seconds: float | None = None
    probability: float | None = None
    first: int = 0
    seed: int = 0
    targets: TargetSet = TargetSet.PATH
    count: int = 1


class RecordState(StrEnum):
    """How far one fault of the undo log is."""

    PLANNED = "planned"  #: written before anything is done
    ARMED = "armed"
    REVERTING = "reverting"
    REVERTED = "reverted"  #: undone, and seen to be
    UNREVERTABLE = "unrevertable"  #: could not be undone, or not be seen to be


class Hit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The process a fault was meant for, as it was when it was planned."""

    host: str = ""
    pid: int = 0
    start_time: int = 0
    endpoint: str = ""
    incarnation: int = 0
    standby: bool = False
    local: bool = True


class FaultRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the undo log: everything that is needed to undo one fault at one target, by anybody, later.

    Attributes:
        order: what was to be done; ``where``: of its kind.
        hit: whom.
        state: how far it is.
        planned_at: boot clock, seconds. deadline: boot clock at which it is undone at the latest.
        injected_at: monotonic seconds just before it acted; 0: not yet.
        tied: pid of the injector; when that is gone the fault is undone at once; 0: only the deadline counts.
        tied_start: start time of that process.
        undo: what this kind needs to undo it (paths of copies, pids of helpers, ...).
        by, why: who reverted it (injector, watchdog, host, person), and for what reason.
        reverted_at: monotonic seconds.
        given_up: what stood in the way when it was given up; kept while it is tried again.
    """

    order: FaultOrder
    where: str
    hit: Hit
    state: RecordState = RecordState.PLANNED
    planned_at: float = 0.0
    deadline: float = 0.0
    injected_at: float = 0.0
    tied: int = 0
    tied_start: int = 0
    undo: dict[str, str] = {}
    by: str = ""
    why: str = ""
    reverted_at: float = 0.0
    given_up: str = ""

    @property
    def stuck(self) -> bool:
        """It was given up, and is perhaps being tried again."""
        return bool(self.given_up) or self.state is RecordState.UNREVERTABLE

    @property
    def ended(self) -> bool:
        """Nobody has to wait for it any more: it was undone, or is stuck."""
        return self.stuck or self.state is RecordState.REVERTED
