"""What a supervisor is told: flags and child specs, in OTP's words. Times in seconds."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from supervisors.core.reasons import ExitKind


class Strategy(StrEnum):
    """Which siblings share a child's fate (OTP strategies)."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"


class Restart(StrEnum):
    """When an ended child is started again: always, after abnormal exits, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class AutoShutdown(StrEnum):
    """When the end of significant children ends the supervisor (OTP 24)."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class ChildType(StrEnum):
    """Worker or supervisor."""

    WORKER = "worker"
    SUPERVISOR = "supervisor"


class OnSupervisorCrash(StrEnum):
    """What a crashed supervisor's running children meet (SUP-8; OTP knows only ``terminate``)."""

    ADOPT = "adopt"
    TERMINATE = "terminate"


#: strategies under which a restart touches no sibling
ALONE = frozenset({Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE})
#: ``shutdown`` values beside a number of seconds
BRUTAL_KILL = 0.0
INFINITY = inf


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between restarts of one child (SUP-7, 004 §10).

    The first ``immediate`` restarts in a row do not wait; restart n after them waits ``base * 2**n``, at most
    ``cap``, plus up to ``jitter``. A child that stayed up for ``reset_after`` begins anew.
    """

    base: float = 0.1
    cap: float = 30.0
    jitter: float = 0.05
    immediate: int = 1
    reset_after: float = 10.0

    def delay(self, failures: int, jitter01: float) -> float:
        """Seconds to wait before the restart that follows the ``failures``-th failure in a row (1 = the first)."""
        step = failures - self.immediate
        if step <= 0:
            return 0.0
        # 2**60 s is past every cap: the bound keeps the power finite in a long crash loop
        return float(min(self.cap, self.base * 2.0 ** min(step - 1, 60))) + self.jitter * jitter01


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child, as its supervisor's machine sees it.

    Attributes:
        id: unique below its supervisor.
        restart: restart type.
        shutdown: seconds to end by itself when told, then it is killed; ``BRUTAL_KILL`` or ``INFINITY``.
        type: worker or supervisor.
        significant: see ``AutoShutdown``.
        start_timeout: seconds from the order to start until started; a failed start after that.
        ready_timeout: seconds from started until the child says it is ready; None: started is ready.
        backoff: delays between restarts; None restarts at once for ever (OTP).
        max_consecutive: restarts in a row, without ``backoff.reset_after`` of health, after which the next failure
            makes the supervisor give up although its intensity window never fills; None: no such cap (OTP).
        on_crash: for a supervisor: what its children meet when it crashes.
        concurrent: under one_for_one and simple_one_for_one: its restarts keep nobody waiting, so that several
            children recover at once; without meaning under the group strategies.
    """

    id: str
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    type: ChildType = ChildType.WORKER
    significant: bool = False
    start_timeout: float = INFINITY
    ready_timeout: float | None = None
    backoff: Backoff | None = None
    max_consecutive: int | None = None
    on_crash: OnSupervisorCrash = OnSupervisorCrash.TERMINATE
    concurrent: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """A window of its own for restarts of some kinds (SUP-10): a lost node is not the child's fault.

    Attributes:
        kinds: of exits; a restart because of one of these is counted here and not in the supervisor's window.
        intensity: restarts allowed within ``period``; one more and the supervisor gives up.
        period: seconds, whole ones as everywhere.
    """

    kinds: tuple[ExitKind, ...]
    intensity: int = 10
    period: int = 60

    @property
    def name(self) -> str:
        """What notes and records call it: its kinds, as ``node_lost+unavailable``."""
        return "+".join(self.kinds)


@dataclass(frozen=True, slots=True)
class SupervisorFlags:
    """A supervisor's own settings.

    Attributes:
        strategy: see ``Strategy``.
        intensity: restarts allowed within ``period``; one more and the supervisor gives up (SUP-3).
        period: seconds; OTP counts whole ones.
        auto_shutdown: see ``AutoShutdown``.
        max_children: cap on dynamic children (Elixir DynamicSupervisor); None: no cap.
        budgets: windows for restarts of some kinds (SUP-10); a kind is in one of them at most.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 3
    period: int = 5
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    max_children: int | None = None
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """Flags and children; for ``simple_one_for_one`` exactly one child spec, the template."""

    flags: SupervisorFlags = field(default_factory=SupervisorFlags)
    children: tuple[ChildSpec, ...] = ()


def spec_errors(flags: SupervisorFlags, child: ChildSpec) -> list[str]:
    """What OTP would refuse in ``child`` below a supervisor with ``flags``; empty when it is valid."""
    errors = []
    if child.significant and child.restart is Restart.PERMANENT:
        errors.append("bad_combination: significant + permanent")
    if child.significant and flags.auto_shutdown is AutoShutdown.NEVER:
        errors.append("bad_combination: significant + auto_shutdown never")
    if not child.id:
        errors.append("missing_id: a child needs an id")
    if not child.shutdown >= 0:
        errors.append("invalid_shutdown: a time may not be negative")
    return errors


def check_specs(flags: SupervisorFlags, children: tuple[ChildSpec, ...]) -> list[str]:
    """What OTP's ``check_childspecs`` would refuse in a supervisor's whole spec (SUP-6); empty when it is valid."""
    if flags.intensity < 0 or flags.period <= 0:
        return ["invalid_intensity: intensity >= 0 and period > 0 are whole numbers"]
    if errors := _budget_errors(flags.budgets):
        return errors
    if flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE and len(children) != 1:
        return ["bad_start_spec: simple_one_for_one takes exactly one child spec, the template"]
    seen: set[str] = set()
    for child in children:
        if child.id in seen:
            return [f"duplicate_child_name: {child.id}"]
        seen.add(child.id)
    return [f"{child.id}: {error}" for child in children for error in spec_errors(flags, child)]


def _budget_errors(budgets: tuple[Budget, ...]) -> list[str]:
    seen: set[ExitKind] = set()
    for budget in budgets:
        if not budget.kinds:
            return ["invalid_budget: a budget without kinds is never charged"]
        if budget.intensity < 0 or budget.period <= 0:
            return [f"invalid_budget: {budget.name}: intensity >= 0 and period > 0 are whole numbers"]
        for kind in budget.kinds:
            if kind in seen:
                return [f"invalid_budget: {kind} is charged to one budget only"]
            seen.add(kind)
    return []
