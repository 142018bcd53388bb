"""Looks at a system for a probe."""

from supervisors.chaos import probes
from supervisors.chaos.document import (
    CallAnswers,
    MetricWithin,
    NoInvariantBroken,
    Probe,
    RecoveredWithin,
    StandbysInSync,
    TrailCount,
    TreeHealthy,
)
from supervisors.chaos.ground import Ground
from supervisors.chaos.probes import Judgement


def look(probe: Probe, ground: Ground, now: float) -> Judgement:
    """Judge ``probe`` by what the system shows now (monotonic seconds).

    Raises:
        Exception: whatever keeps it from being looked at; what an actor's method raised.
    """
    match probe:
        case TreeHealthy():
            return probes.tree_healthy(probe, ground.status())
        case RecoveredWithin():
            return probes.recovered_within(
                probe, ground.trail(), now, ground.known.places or {}, ground.known.catalogue
            )
        case NoInvariantBroken():
            return probes.invariants_hold(ground.verdicts())
        case StandbysInSync():
            return probes.standbys_in_sync(probe, ground.status(), ground.known.places or {})
        case MetricWithin():
            return probes.metric_within(probe, ground.metrics())
        case CallAnswers():
            return probes.tolerates(probe, ground.call(probe.path, probe.method, probe.args, probe.timeout))
        case TrailCount():
            return probes.trail_count(probe, ground.trail(), now)
