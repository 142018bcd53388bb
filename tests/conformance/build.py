"""Short words for the trees of the conformance cases."""

from collections.abc import Collection

from supervisors.tree.model import (
    INFINITY,
    AutoShutdown,
    ChildSpec,
    ChildType,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)
from tests.conformance.rig import Rig

ONE_FOR_ONE = Strategy.ONE_FOR_ONE
ONE_FOR_ALL = Strategy.ONE_FOR_ALL
REST_FOR_ONE = Strategy.REST_FOR_ONE
SIMPLE = Strategy.SIMPLE_ONE_FOR_ONE

PERMANENT = Restart.PERMANENT
TRANSIENT = Restart.TRANSIENT
TEMPORARY = Restart.TEMPORARY

NEVER = AutoShutdown.NEVER
ANY = AutoShutdown.ANY_SIGNIFICANT
ALL = AutoShutdown.ALL_SIGNIFICANT


def kid(
    child_id: str = "a",
    restart: Restart = PERMANENT,
    *,
    significant: bool = False,
    shutdown: float = 5.0,
) -> ChildSpec:
    """A worker."""
    return ChildSpec(child_id, restart, shutdown, significant=significant)


def sub(child_id: str = "s", restart: Restart = PERMANENT, *, significant: bool = False) -> ChildSpec:
    """A supervisor below another."""
    return ChildSpec(child_id, restart, INFINITY, ChildType.SUPERVISOR, significant)


def sup(
    strategy: Strategy,
    *children: ChildSpec,
    intensity: int = 2,
    period: int = 3600,
    auto: AutoShutdown = NEVER,
) -> SupervisorSpec:
    """A supervisor's spec; like OTP's suite two restarts in an hour."""
    return SupervisorSpec(SupervisorFlags(strategy, intensity, period, auto), children)


def rig_of(root: SupervisorSpec, deaf: Collection[str] = (), **below: SupervisorSpec) -> Rig:
    """A started tree: ``root``, and supervisors directly below it by id."""
    rig = Rig({"": root} | {f"/{name}": spec for name, spec in below.items()}, deaf=deaf)
    rig.start()
    return rig


def running(
    strategy: Strategy,
    *children: ChildSpec,
    intensity: int = 2,
    period: int = 3600,
    auto: AutoShutdown = NEVER,
    deaf: Collection[str] = (),
) -> Rig:
    """A started supervisor without others below it; its trace begins after the start."""
    rig = rig_of(sup(strategy, *children, intensity=intensity, period=period, auto=auto), deaf)
    rig.take_trace()
    return rig
