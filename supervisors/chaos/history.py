"""What one run recorded, as data: all that the invariants and the measures are computed from. Pure.

All times ``t`` are monotonic seconds, comparable between processes of one machine since its boot; ``utc`` is the wall
clock in nanoseconds, for people only. Where something may be missing (a run that was killed in its middle, a system
that no longer answers) the field is None or empty, and what needs it is *not checkable*: never silently fine.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from supervisors.chaos.facts import DEFAULT_RTO, ChildFacts, SupervisorFacts, facts_of
from supervisors.chaos.operations import Operation, OperationLine, Result, fold_operations
from supervisors.trail.events import EventKind, Scalar, TrailEvent

__all__ = [
    "ACTS_AT_END",
    "DEFAULT_RTO",
    "SCHEMA",
    "Asked",
    "ChildFacts",
    "EpochRun",
    "Fault",
    "FinalState",
    "History",
    "Journal",
    "Leftovers",
    "Operation",
    "OperationLine",
    "Outcome",
    "Result",
    "RunEvent",
    "RunKind",
    "RunWord",
    "SupervisorFacts",
    "Tenure",
    "facts_of",
    "fold_operations",
    "tenures_of",
]

#: Version of ``run.json``, ``events.jsonl``, ``operations.jsonl`` and ``history.json``; this code reads up to it.
SCHEMA = 1
#: kinds that are felt only when they end: the power fails then
ACTS_AT_END = frozenset({"lose_sync"})


# ---------------------------------------------------------------- what was asked


class RunKind(StrEnum):
    """What kind of run it was."""

    EXPERIMENT = "experiment"
    MONKEY = "monkey"
    DRILL = "drill"
    REPLAY = "replay"
    INJECT = "inject"  #: single faults by hand
    TRAIL = "trail"  #: no run: a data directory that is looked at


class Asked(msgspec.Struct, frozen=True):
    """``run.json``: what a run was asked to do, written before it does anything.

    Attributes:
        id: name of the run and of its folder.
        kind: see ``RunKind``.
        title: one line for people.
        seed: all its chance comes from this; None: it has none.
        experiment: the experiment as it was given (text), empty for a monkey.
        options: what else was asked (rate, for, only, except), as text.
        system: name of the system.
        topology_digest: of the topology it ran on.
        data_dir: of the system.
        started, started_utc: when, monotonic and wall clock.
        trail_from: number of the trail's next event at the start.
        replay: the command that does it again.
        environment: versions, processors, memory, in words.
        schema: version of the format.
    """

    id: str
    kind: RunKind = RunKind.EXPERIMENT
    title: str = ""
    seed: int | None = None
    experiment: str = ""
    options: dict[str, str] = {}
    system: str = ""
    topology_digest: str = ""
    data_dir: str = ""
    started: float = 0.0
    started_utc: int = 0
    trail_from: int = 0
    replay: str = ""
    environment: dict[str, str] = {}
    schema: int = SCHEMA


class RunEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of ``events.jsonl``: something the runner did, decided or saw.

    Attributes:
        t, utc: when.
        kind: a word; ``RunWord`` has those that readers understand, a runner may add its own.
        data: what else it carries; nested things as JSON text.
    """

    t: float
    utc: int
    kind: str
    data: dict[str, Scalar] = {}


class RunWord(StrEnum):
    """Kinds of ``RunEvent`` that the report understands."""

    STARTED = "started"
    WORKLOAD = "workload"  #: clients begin; data: path, method, id_field, ids (JSON list: texts with ``{n}`` in them)
    STEADY = "steady"  #: data: name, ok, value, when (before | during | after | continuous)
    DECIDED = "decided"  #: the next fault was chosen; data: n, fault, targets (JSON list), params (JSON), seconds
    INJECTED = "injected"  #: data: id, fault, targets (JSON list), t
    REFUSED = "refused"  #: data: fault, targets, code, why
    REVERTED = "reverted"  #: data: id, ok, by, why, ms
    ABORTED = "aborted"  #: data: why
    ENDED = "ended"  #: data: outcome (see ``Outcome``), why


class Outcome(StrEnum):
    """How a run ended (exit codes of ``rayvisor chaos run``: 0, 1, 3, 4)."""

    HELD = "held"
    DEVIATED = "deviated"
    ABORTED = "aborted"
    NOT_REVERTED = "not_reverted"
    UNKNOWN = "unknown"  #: the runner did not live to say


# ---------------------------------------------------------------- faults


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One injected fault, from the trail: ground truth.

    Attributes:
        id: of the order.
        kind: name in the catalogue.
        targets: paths it was meant for.
        at: when it was injected (``fault_injected``, written just before it acts).
        incarnation: the life it was aimed at, 0 when any.
        role: ``standby`` when it was aimed at a standby of the path.
        where: how it acts (``supervisors.faults.catalogue.Where``); empty: not known.
        detected: signals one of which is the right first one; empty: nothing has to be seen; None: kind not known.
        lasting: False: over once it is done (a kill).
        armed: it waits for an occasion, so without ``fired`` it had no effect.
        params: of the order.
        seconds: how long it was to last; None: until it was reverted, or at once.
        fired: when an armed fault first acted; None: it did not, or its kind does not tell.
        ended: when it was reverted; None: it was not, or it needs no reverting.
        reverted: whether the probe saw it gone; None: nobody said.
        by: who reverted it: injector, watchdog, host, driver.
        acted: False: it was refused as it was to begin, and never did anything.
        revert_ms: how long after its injection that was.
        why: a word about the revert.
    """

    id: str
    kind: str
    targets: tuple[str, ...]
    at: float
    incarnation: int = 0
    role: str = ""
    where: str = ""
    detected: tuple[str, ...] | None = None
    lasting: bool = True
    armed: bool = False
    params: dict[str, Scalar] = {}
    seconds: float | None = None
    fired: float | None = None
    ended: float | None = None
    reverted: bool | None = None
    acted: bool = True
    by: str = ""
    revert_ms: float | None = None
    why: str = ""

    @property
    def began(self) -> float:
        """When it first acted, as far as is known: what detection is measured against."""
        if self.kind in ACTS_AT_END and self.seconds is not None:
            return self.at + self.seconds
        return self.fired if self.fired is not None and self.fired >= self.at else self.at

    @property
    def over(self) -> float | None:
        """When it no longer acted; None: not known."""
        if not self.lasting:
            return self.began
        return self.ended if self.ended is not None or self.seconds is None else self.at + self.seconds


# ---------------------------------------------------------------- journals


class EpochRun(msgspec.Struct, frozen=True):
    """Records ``first`` to ``last`` of a journal were written in ``epoch``."""

    first: int
    last: int
    epoch: int


class Journal(msgspec.Struct, frozen=True):
    """What the journal of ``path`` holds at the end.

    Attributes:
        first, last: sequences kept; ``first`` > ``last``: none. ``first`` > 1: older ones were removed on purpose.
        epochs: runs of records of one epoch, in order of sequence.
        ids: how often each unique id stands in it; None: its events have none that could be read.
        damage: what is corrupt, in words; empty: it is whole.
        notes: torn tails and leftovers: harmless.
        applied: how often the actor itself says that it applied each id; None: it was not asked.
        applied_sequence: the last sequence that a live copy of the actor says it applied; None: none was asked.
    """

    path: str
    first: int = 1
    last: int = 0
    epochs: tuple[EpochRun, ...] = ()
    ids: dict[str, int] | None = None
    damage: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    applied: dict[str, int] | None = None
    applied_sequence: int | None = None


# ---------------------------------------------------------------- the end


class FinalState(msgspec.Struct, frozen=True):
    """One child at the end, as its supervisor knows it (``ChildStatus``), or as the trail's last word has it.

    Attributes:
        path, state, incarnation, epoch, pid, verdict, restarts: see ``supervisors.trail.status.ChildStatus``.
        recovery: state of its last recovery, empty: none.
        told_by: ``status`` or ``trail``.
    """

    path: str
    state: str
    incarnation: int = 0
    epoch: int = 0
    pid: int = 0
    verdict: str = ""
    restarts: int = 0
    recovery: str = ""
    told_by: str = "status"


class Leftovers(msgspec.Struct, frozen=True):
    """What a look at the machine found that nothing accounts for, in words. All empty: nothing is left.

    Attributes:
        processes: of this system, claimed by no goal.
        names: of Ray actors, sockets and shared memory of hosts that the goal state does not know.
        files: of faults and of cut-short work.
        faults: undo records that are not done.
        unseen: what could not be looked at, in words.
    """

    processes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Something is left."""
        return bool(self.processes or self.names or self.files or self.faults)


class Tenure(msgspec.Struct, frozen=True):
    """One life of ``path`` began to act in ``epoch`` at ``since``. ``how``: ready or promoted."""

    path: str
    incarnation: int
    epoch: int
    since: float
    how: str = "ready"


class Rival(msgspec.Struct, frozen=True):
    """What a second contender for a lease saw (``contend``): ``stolen`` grants while another's was running."""

    fault: str
    path: str
    asked: int
    stolen: int = 0
    why: str = ""


class History(msgspec.Struct, frozen=True):
    """``history.json``: everything one run recorded.

    Attributes:
        asked: what it was to do.
        began, ended: its window on the monotonic clock.
        outcome, why: how it ended, by the runner's word.
        events: the runner's.
        faults: injected in the window, in order of time.
        trail: the trail's events of the window, in order.
        operations: of clients.
        journals: at the end; None: they were not looked at.
        tenures: which life acted in which epoch.
        tree: the topology; empty: not known.
        final: children at the end; None: the system did not answer and was not stopped in order.
        leftovers: None: nobody looked.
        gaps: what could not be read, in words: torn lines, trail segments that are gone.
        rivals: contenders for leases.
        acting: with which the lives that acted when the window began had begun to.
        schema: version of the format.
    """

    asked: Asked
    began: float = 0.0
    ended: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN
    why: str = ""
    events: tuple[RunEvent, ...] = ()
    faults: tuple[Fault, ...] = ()
    trail: tuple[TrailEvent, ...] = ()
    operations: tuple[Operation, ...] = ()
    journals: tuple[Journal, ...] | None = None
    tenures: tuple[Tenure, ...] = ()
    tree: tuple[SupervisorFacts, ...] = ()
    final: tuple[FinalState, ...] | None = None
    leftovers: Leftovers | None = None
    gaps: tuple[str, ...] = ()
    rivals: tuple[Rival, ...] = ()
    acting: tuple[TrailEvent, ...] = ()
    schema: int = SCHEMA


def tenures_of(trail: Iterable[TrailEvent]) -> tuple[Tenure, ...]:
    """Which life acted in which epoch, from the trail, in order.

    What is told again within a life is one tenure; a life that comes back after another one of its path is a new one.
    """
    found: list[Tenure] = []
    last: dict[str, tuple[int, int]] = {}
    for event in trail:
        life = event.incarnation, event.epoch
        if event.kind in (EventKind.CHILD_READY, EventKind.PROMOTED) and event.epoch and last.get(event.path) != life:
            last[event.path] = life
            how = "promoted" if event.kind == EventKind.PROMOTED else "ready"
            found.append(Tenure(event.path, *life, event.t, how))
    return tuple(found)
