"""A small system's trail, told event by event: what the tests of this room break on purpose."""

from collections.abc import Mapping

import msgspec

from supervisors.chaos.faulting import faults_of
from supervisors.chaos.history import (
    Asked,
    ChildFacts,
    EpochRun,
    FinalState,
    History,
    Journal,
    Leftovers,
    Operation,
    Outcome,
    Result,
    RunKind,
    SupervisorFacts,
    tenures_of,
)
from supervisors.core.paths import failure_id
from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.faults.kinds import CATALOGUE
from supervisors.trail.events import EventKind, Scalar, TrailEvent

KILLED = ExitReason(ExitKind.KILLED, "ended by a signal")
SHUTDOWN = ExitReason(ExitKind.SHUTDOWN)

TREE = (
    SupervisorFacts(
        "/",
        intensity=3,
        period=5.0,
        children=(
            ChildFacts("/ledger", journals=True, ack="disk", rto=1.0, may_hold=True),
            ChildFacts("/cell", type="supervisor"),
            ChildFacts("/job", restart="transient"),
        ),
    ),
    SupervisorFacts(
        "/cell",
        strategy="one_for_all",
        intensity=2,
        period=5.0,
        children=(ChildFacts("/cell/a"), ChildFacts("/cell/b")),
    ),
)


def event(
    t: float,
    kind: str,
    path: str,
    life: int = 0,
    *,
    epoch: int = 0,
    writer: str = "",
    reason: ExitReason | None = None,
    failure: str = "",
    more: Mapping[str, Scalar] | None = None,
    **data: Scalar,
) -> TrailEvent:
    parent = path.rpartition("/")[0] or "/"
    told = data | dict(more or {})
    return TrailEvent(t, int(t * 1e9), str(kind), path, life, epoch, writer or parent, failure, reason, told)


def start(t: float, path: str, life: int, epoch: int, *, restart: bool = False, **data: Scalar) -> list[TrailEvent]:
    return [
        event(t, EventKind.CHILD_STARTING, path, life, epoch=epoch, restart=restart),
        event(t + 0.01, EventKind.CHILD_READY, path, life, epoch=epoch, more=data),
    ]


def boot() -> list[TrailEvent]:
    """Everything starts, in order, from t=1."""
    return [
        event(1.0, EventKind.SYSTEM_STARTING, "/", writer="warden", adopt=False),
        *start(1.1, "/ledger", 1, 2),
        *start(1.2, "/cell/a", 1, 3),
        *start(1.3, "/cell/b", 1, 4),
        *start(1.4, "/cell", 1, 5),
        *start(1.5, "/job", 1, 6),
    ]


def inject(t: float, path: str, kind: str = "kill", name: str = "f-1", *, life: int = 0, **data: Scalar) -> TrailEvent:
    told: dict[str, Scalar] = {"id": name, "fault": kind, **data}
    return event(t, EventKind.FAULT_INJECTED, path, life, writer="injector", more=told)


def revert(t: float, path: str, kind: str = "kill", name: str = "f-1", ok: bool = True) -> TrailEvent:
    return event(
        t, EventKind.FAULT_REVERTED, path, writer="injector", id=name, fault=kind, ok=ok, ms=1.5, by="injector"
    )


def fail(
    t: float,
    path: str,
    life: int,
    *,
    signal: str = "futex",
    reason: ExitReason = KILLED,
    window: str = "1/3 in 5s",
    **data: Scalar,
) -> list[TrailEvent]:
    """A failure is seen, and a restart decided."""
    name = failure_id(path, life)
    decided: dict[str, Scalar] = {
        "strategy": "one_for_one",
        "targets": path.rpartition("/")[2],
        "window": window,
        **data,
    }
    return [
        event(t, EventKind.FIRST_SIGNAL, path, life, failure=name, signal=signal),
        event(t + 0.001, EventKind.VERDICT, path, life, failure=name, reason=reason, verdict="dead"),
        event(t + 0.002, EventKind.CHILD_EXITED, path, life, failure=name, reason=reason),
        event(t + 0.003, EventKind.RESTART_DECIDED, path, life, failure=name, reason=reason, more=decided),
    ]


def heal(t: float, path: str, life: int, epoch: int) -> list[TrailEvent]:
    """A new life comes up."""
    name = failure_id(path, life - 1)
    return [
        *start(t, path, life, epoch, restart=True),
        event(t + 0.011, EventKind.RECOVERED, path, life, failure=name, rung="hot"),
    ]


def stop(t: float, path: str, life: int, *, took: float = 0.01) -> list[TrailEvent]:
    return [
        event(t, EventKind.CHILD_STOPPING, path, life),
        event(t + took, EventKind.CHILD_STOPPED, path, life, reason=SHUTDOWN),
    ]


def good() -> list[TrailEvent]:
    """Boot; the ledger is killed and comes back; a group restarts; nothing is amiss."""
    return [
        *boot(),
        inject(10.0, "/ledger", life=1),
        *fail(10.005, "/ledger", 1),
        event(10.02, EventKind.RECOVERY_DECIDED, "/ledger", 2, rung="hot"),
        event(10.03, EventKind.PROMOTED, "/ledger", 2, epoch=7, sequence=4),
        *heal(10.04, "/ledger", 2, 7),
        revert(10.1, "/ledger"),
        inject(20.0, "/cell/a", name="f-2", life=1),
        *fail(20.002, "/cell/a", 1, window="1/2 in 5s", strategy="one_for_all", targets="a b"),
        *stop(20.01, "/cell/b", 1),
        *heal(20.03, "/cell/a", 2, 8),
        *start(20.05, "/cell/b", 2, 9, restart=True),
        revert(20.2, "/cell/a", name="f-2"),
    ]


FINAL = (
    FinalState("/ledger", "ready", 2, 7),
    FinalState("/cell", "running", 1, 5),
    FinalState("/cell/a", "ready", 2, 8),
    FinalState("/cell/b", "ready", 2, 9),
    FinalState("/job", "ready", 1, 6),
)

OPERATIONS = (
    Operation("op-1", "/ledger", 9.0, 9.1, Result.OK, sequence=1, epoch=2, incarnation=1),
    Operation("op-2", "/ledger", 9.2, 9.3, Result.OK, sequence=2, epoch=2, incarnation=1),
    Operation("op-3", "/ledger", 9.99, None, Result.INFO),
    Operation("op-4", "/ledger", 10.0, 10.01, Result.FAIL, error="JournalFailed"),
    Operation("op-5", "/ledger", 11.0, 11.1, Result.OK, sequence=4, epoch=7, incarnation=2),
)

JOURNAL = Journal("/ledger", 1, 4, (EpochRun(1, 3, 2), EpochRun(4, 4, 7)), {"op-1": 1, "op-2": 1, "op-3": 1, "op-5": 1})


def history(events: list[TrailEvent] | None = None, **changes: object) -> History:
    """The good history, or one of these events, with some fields replaced."""
    trail = sorted(good() if events is None else events, key=lambda one: one.t)
    made = History(
        Asked(
            "20261121-080312-monkey-3f9a", RunKind.MONKEY, "a run", seed=7, started=5.0, replay="rayvisor chaos replay"
        ),
        began=5.0,
        ended=40.0,
        outcome=Outcome.HELD,
        faults=faults_of(trail, CATALOGUE),
        trail=tuple(trail),
        operations=OPERATIONS,
        journals=(JOURNAL,),
        tenures=tenures_of(trail),
        tree=TREE,
        final=FINAL,
        leftovers=Leftovers(),
    )
    return msgspec.structs.replace(made, **changes)
