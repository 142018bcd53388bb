"""REC-6: back to full size in steps. Pure."""

from collections.abc import Sequence

from supervisors.recovery.policy import Phase, RampSpec, RampStep, RecoverySpec, Rung, ValidationStep


def ramp_after(spec: RecoverySpec, rung: Rung, *, released: bool, unfinished: bool) -> RampSpec | None:
    """The ramp this attempt has to be followed by, or None for full size at once.

    Args:
        spec: the child's policy.
        rung: the rung to be attempted.
        released: a person let a manual hold go.
        unfinished: a ramp of the same case is not done: nobody has proved yet that full size is right.
    """
    ramp = spec.ramp
    if ramp is None or not ramp.steps:
        return None
    due = unfinished or rung in ramp.after or (released and Rung.MANUAL in ramp.after)
    return ramp if due else None


def gate(steps: Sequence[ValidationStep]) -> tuple[str, ...]:
    """Names of the steps that have to pass again before the size goes up: required ones of the first two phases."""
    return tuple(step.name for step in steps if step.required and step.phase is not Phase.MEDIUM)


def size_at(ramp: RampSpec | None, index: int) -> RampStep:
    """The step of this index (from 0); past the end, or without a ramp, full size for good."""
    if ramp is None or not 0 <= index < len(ramp.steps):
        return RampStep(1.0)
    step = ramp.steps[index]
    return RampStep(step.size) if index == len(ramp.steps) - 1 else step
