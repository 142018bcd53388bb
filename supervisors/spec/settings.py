"""Settings of one child: restart, time-outs, heartbeat, backoff, placement.

A setting that is not written is inherited: inline over ``policy`` over ``defaults`` over the values here. So a model
read from a file shows the built-in value where nothing was written; what is in effect stands in ``CompiledTopology``.
"""

from typing import Annotated

from pydantic import Field

from supervisors.core.durations import Duration
from supervisors.core.reasons import ExitKind
from supervisors.spec.fields import ChildId, Flag, PathText, Period, ShutdownTime, SpecModel, TimeLimit, WholeNumber
from supervisors.spec.recovery import BudgetSettings, RecoverySettings
from supervisors.tree.model import INFINITY, AutoShutdown, OnSupervisorCrash, Restart, Strategy

#: least heartbeat interval: below it the beats themselves cost more than a percent of a core (design §6)
MIN_INTERVAL = 0.01


class BackoffSettings(SpecModel):
    """Delays between restarts of one child (SUP-7). The first restart is at once, then they double."""

    base: Duration = 0.1
    """First delay. Default 100ms: longer than most hiccups of a socket, too short for a person to see."""
    cap: Duration = 30.0
    """Longest delay. Default 30s: an exchange that is down is asked twice a minute, not more."""
    jitter: Duration = 0.05
    """Random time added to each delay. Default 50ms: children that fell together do not come back together."""
    immediate: Annotated[WholeNumber, Field(ge=0)] = 1
    """Restarts in a row that do not wait. Default 1: one crash is most often cured by one restart."""
    reset_after: Duration = 10.0
    """Up for this long, and the count of failures begins anew. Default 10s: above most start-up faults."""


class HeartbeatSettings(SpecModel):
    """How a living child is told from a dead or hung one (design §6)."""

    interval: Annotated[Duration, Field(ge=MIN_INTERVAL)] = 0.1
    """Time between beats, at least 10ms. Default 100ms: three missed beats are seen in 300 ms."""
    missed: Annotated[WholeNumber, Field(ge=1)] = 3
    """Beats missed until the child is suspect. Default 3: one lost beat is no failure."""
    hang_after: Duration | None = 2.0
    """Alive but without progress of its loop for this long: hung. Default 2s: longer than a usual garbage collection.
    null: never called hung."""


class Placement(SpecModel):
    """Where the child's process may run, and what it takes there (Ray's words)."""

    node: Annotated[str, Field(min_length=1)] = "any"
    """``any``, ``launch`` (the node that started the system), a node id or a node's IP address. Default any."""
    labels: dict[str, str] = {}
    """Labels the node must carry. Default none."""
    resources: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Ray resources to take, such as ``GPU: 0.5``. Default none."""
    num_cpus: Annotated[float, Field(ge=0)] = 0.0
    """CPUs Ray counts for it. Default 0: supervised processes mostly wait, and must start on a full node."""
    anti_affinity: tuple[PathText, ...] = ()
    """Paths of children whose node it must not share. Default none."""


class ChildSettings(SpecModel):
    """Settings a child, a policy or ``defaults`` may give."""

    restart: Restart = Restart.PERMANENT
    """permanent: always restarted; transient: after abnormal ends; temporary: never. Default permanent (SUP-2):
    what is declared is meant to run."""
    shutdown: ShutdownTime = 5.0
    """Time to end by itself when told, then killed; brutal_kill: killed at once; infinity: no limit.
    Default 5s (OTP's for workers); infinity for supervisors, whose children have limits of their own."""
    start_timeout: TimeLimit = 30.0
    """Time from the order to start until started. Default 30s: a Ray worker without compiled bytecode takes 2 s,
    large imports more; infinity for supervisors, whose children have limits of their own."""
    ready_timeout: Duration | None = None
    """Time from started until the child says it is ready. Default null: started is ready."""
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    """How a dead or hung child is seen."""
    backoff: BackoffSettings | None = BackoffSettings()
    """Delays between restarts. null: restarts at once for ever, as OTP does."""
    max_consecutive: Annotated[WholeNumber, Field(ge=1)] | None = 10
    """Restarts in a row, without ``reset_after`` of health, after which the next failure makes the supervisor give
    up, even if its window never fills. Default 10: with the default backoff 51 s of trying. null: no such limit."""


class WorkerSettings(ChildSettings):
    """Settings a worker, a template, a policy or ``defaults.child`` may give."""

    recovery: RecoverySettings | None = None
    """How it is brought back when it fails. Default null: a plain restart, with nothing kept."""


class Policy(WorkerSettings):
    """A named set of settings, taken with ``policy: name``."""

    extends: str | None = None
    """Another policy this one begins from. Default null: it begins from ``defaults``."""


class SupervisorOptions(SpecModel):
    """What makes a supervisor: OTP's flags."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    """Which siblings share a failed child's fate. Default one_for_one: none."""
    intensity: Annotated[WholeNumber, Field(ge=0)] = 3
    """Restarts allowed within ``period``; one more and the supervisor gives up. Default 3 (SUP-3)."""
    period: Period = 5
    """The window of ``intensity``, in whole seconds. Default 5s (SUP-3)."""
    budgets: tuple[BudgetSettings, ...] = (
        BudgetSettings(kinds=(ExitKind.NODE_LOST, ExitKind.UNAVAILABLE, ExitKind.FENCED), intensity=10, period=60),
    )
    """Windows of their own for some kinds of exit (SUP-10). Default one: 10 restarts for a lost or unreachable node
    in 60 s, which is not the child's fault. ``[]``: ``intensity`` counts all."""
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    """Whether the end of significant children ends the supervisor. Default never (OTP)."""
    on_supervisor_crash: OnSupervisorCrash = OnSupervisorCrash.ADOPT
    """What running children meet when this supervisor's own process dies. Default adopt: its replacement takes
    them over and no healthy child dies for it (SUP-8); terminate is what OTP does."""


class SupervisorSettings(ChildSettings, SupervisorOptions):
    """Settings of a supervisor below the root: its flags, and what its own supervisor needs to know of it."""

    shutdown: ShutdownTime = INFINITY
    """Time its children have to end when it is told to. Default infinity: each child has a limit of its own (OTP)."""
    start_timeout: TimeLimit = INFINITY
    """Time for all its children to start. Default infinity: each child has a limit of its own (OTP)."""


class Member(SpecModel):
    """What a child says of itself that no policy may say for it."""

    id: ChildId
    """Name below its supervisor; part of its path. Letters, digits, ``_ . -``."""
    policy: str | None = None
    """Name of a set of settings in ``policies``. Default null: ``defaults`` only."""
    significant: Flag = False
    """Its end may end its supervisor, see ``auto_shutdown``. Default false (OTP)."""
    placement: Placement = Placement()
    """Where its process may run. Default anywhere, taking nothing."""
