"""What a running system looks like at one moment: the snapshot that metrics, health, `tree` and the live view read.

Pure: structures and the rule of what is healthy (OBS-3). The runtime fills them; times are monotonic seconds.
"""

import msgspec

from supervisors.core.paths import ROOT

#: Child states that are the intended end of a child: neither unhealthy nor waited for.
AT_REST = frozenset({"stopped", "ended", "ignored"})
#: Child states that need a person, or a supervisor above.
LOST = frozenset({"dead", "hung", "failed", "gave_up", "held"})
#: Verdicts of the death watch that make a child unhealthy (DESIGN.md §4).
LOST_VERDICTS = frozenset({"dead", "hung"})
READY = "ready"
RUNNING = "running"


class PlaneStatus(msgspec.Struct, frozen=True):
    """The signal plane of one supervisor: totals since its process began.

    Attributes:
        messages: received.
        malformed: received and not understood.
        cpu_seconds: processor time of the plane's thread.
        lag: seconds the observer itself was late at its last look; its time-outs are widened by it (DET-9).
    """

    messages: int = 0
    malformed: int = 0
    cpu_seconds: float = 0.0
    lag: float = 0.0


class StandbyStatus(msgspec.Struct, frozen=True):
    """One standby of a child.

    Attributes:
        pid, node: its process.
        state: starting, syncing, synced, lagging or failed.
        lag: seconds behind its primary.
        applied: sequence of the last event it applied; 0 for a live one.
        why: a word about the state.
    """

    pid: int
    node: str
    state: str
    lag: float
    applied: int = 0
    why: str = ""


class RecoveryStatus(msgspec.Struct, frozen=True):
    """Where a child's recovery stands (REC-4).

    Attributes:
        failure: which failure it is about.
        state: HEALTHY, FAILURE_DETECTED, RECOVERY_IN_PROGRESS, ... in lower case.
        rung: in hand or last tried.
        percent: 0-100.
        step: in hand, or what is waited for.
        done, left: names of steps.
        elapsed: seconds since the failure.
        eta: seconds until it is recovered and at full size, by experience.
        hold: the id a person answers; empty when nothing is held.
        size: what it may trade, times the normal size.
        over_rto: it takes longer than was promised.
        message: one line.
    """

    failure: str
    state: str
    rung: str
    percent: float
    step: str
    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    elapsed: float = 0.0
    eta: float | None = None
    hold: str = ""
    size: float = 1.0
    over_rto: bool = False
    message: str = ""


class ChildStatus(msgspec.Struct, frozen=True):
    """One child as its supervisor knows it.

    Attributes:
        path: its place in the tree.
        id: its id below its supervisor.
        type: ``worker`` or ``supervisor``.
        state: starting, started, ready, restarting, stopping; at rest: stopped, ended, ignored; lost: see ``LOST``.
        pid: process id of its host, 0 when there is none.
        node: node it runs on.
        incarnation: which life.
        epoch: fencing token of that life.
        restarts: since its supervisor first started it.
        beat_age: seconds since the last beat came in; None when none ever came or none is expected.
        verdict: healthy, suspect, unavailable, hung, dead; empty when nothing watches it.
        last_reason: why its last life ended, for people.
        next_at: when a delayed restart is due (SUP-7).
        host: name of the Ray actor that carries it.
        metrics: gauges the actor set itself.
        since: when it came into ``state``.
        standbys: those that stand by for it.
        recovery: how its last recovery stands; None when there was none.
    """

    path: str
    id: str
    type: str = "worker"
    state: str = "starting"
    pid: int = 0
    node: str = ""
    incarnation: int = 0
    epoch: int = 0
    restarts: int = 0
    beat_age: float | None = None
    verdict: str = ""
    last_reason: str = ""
    next_at: float | None = None
    host: str = ""
    metrics: dict[str, float] = {}
    since: float = 0.0
    standbys: list[StandbyStatus] = []
    recovery: RecoveryStatus | None = None


class SupervisorStatus(msgspec.Struct, frozen=True):
    """One supervisor and its children, in start order.

    Attributes:
        path: its place in the tree.
        pid: its process.
        incarnation: which life.
        strategy: OTP strategy.
        state: ``starting``, ``running``, ``stopping``, or ``gave_up``.
        restarts_in_window: restarts counted against ``intensity`` in the last ``period`` seconds (SUP-3).
        intensity: restarts allowed in the window.
        period: seconds of the window.
        children: as below it now.
        plane: its signal plane.
        spares: idle hosts it holds.
    """

    path: str
    pid: int = 0
    incarnation: int = 0
    strategy: str = "one_for_one"
    state: str = RUNNING
    restarts_in_window: int = 0
    intensity: int = 0
    period: float = 0.0
    children: list[ChildStatus] = []
    plane: PlaneStatus = PlaneStatus()
    spares: int = 0


class SystemStatus(msgspec.Struct, frozen=True):
    """The whole system.

    Attributes:
        system: its name.
        data_dir: where it keeps its state.
        warden_pid: the launcher process.
        started_utc: wall clock of its start, nanoseconds.
        supervisors: all that are known, the root first.
        at: when the snapshot was taken.
    """

    system: str
    data_dir: str = ""
    warden_pid: int = 0
    started_utc: int = 0
    supervisors: list[SupervisorStatus] = []
    at: float = 0.0


class Component(msgspec.Struct, frozen=True):
    """One place of the tree in a health report."""

    path: str
    state: str
    healthy: bool
    ready: bool
    detail: str = ""


class HealthReport(msgspec.Struct, frozen=True):
    """What ``/health`` and ``/ready`` answer."""

    healthy: bool
    ready: bool
    components: list[Component]


def report(status: SystemStatus | None) -> HealthReport:
    """Judge a snapshot; None (nobody answers) is unhealthy.

    Healthy: the root runs, and no supervisor or child is dead, hung or given up. Ready: all of them are ready too.
    """
    if status is None:
        down = Component(ROOT, "unknown", healthy=False, ready=False, detail="no status from the root supervisor")
        return HealthReport(healthy=False, ready=False, components=[down])
    components = []
    known = {supervisor.path for supervisor in status.supervisors}
    if ROOT not in known:
        components.append(Component(ROOT, "down", healthy=False, ready=False, detail="the root supervisor is down"))
    for supervisor in status.supervisors:
        components.append(
            Component(
                supervisor.path,
                supervisor.state,
                healthy=supervisor.state not in LOST and (supervisor.path != ROOT or supervisor.state == RUNNING),
                ready=supervisor.state == RUNNING,
            )
        )
        components.extend(_child(child) for child in supervisor.children if not _is_known(child, known))
    return HealthReport(
        healthy=all(one.healthy for one in components),
        ready=all(one.ready for one in components),
        components=components,
    )


def _is_known(child: ChildStatus, known: set[str]) -> bool:
    """A supervisor that runs speaks for itself; one that is lost or restarting is told of by the one above."""
    return child.path in known and child.state in (READY, RUNNING) and child.verdict not in LOST_VERDICTS


def _child(child: ChildStatus) -> Component:
    at_rest = child.state in AT_REST
    lost = not at_rest and (child.state in LOST or child.verdict in LOST_VERDICTS)
    detail = child.last_reason if lost or child.state == "restarting" else ""
    if lost and not detail:
        detail = child.verdict or child.state
    return Component(
        child.path,
        child.state,
        healthy=not lost,
        ready=at_rest or (not lost and child.state in (READY, RUNNING)),
        detail=detail,
    )
