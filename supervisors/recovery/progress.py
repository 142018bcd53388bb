"""REC-4: how far a recovery is: states and their legal edges, steps, percent, and what is left by experience. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from math import isfinite

import msgspec

from supervisors.recovery.policy import RampSpec, Rung, ValidationStep


class State(StrEnum):
    """The states of a recovery (003 §3.2)."""

    HEALTHY = "healthy"
    FAILURE_DETECTED = "failure_detected"
    RECOVERY_IN_PROGRESS = "recovery_in_progress"
    VALIDATING = "validating"  #: up; the immediate checklist runs
    RECOVERED = "recovered"  #: immediate checklist passed; ramp, later checklists and a time of watching follow
    RECOVERY_FAILED = "recovery_failed"
    MANUAL_RECOVERY = "manual_recovery"  #: waits for a person


#: every edge there is; a case can end (withdrawn) in any state
EDGES: dict[State, frozenset[State]] = {
    State.HEALTHY: frozenset({State.FAILURE_DETECTED}),
    State.FAILURE_DETECTED: frozenset({State.RECOVERY_IN_PROGRESS, State.MANUAL_RECOVERY}),
    State.RECOVERY_IN_PROGRESS: frozenset({State.VALIDATING, State.RECOVERY_FAILED}),
    State.VALIDATING: frozenset({State.RECOVERED, State.RECOVERY_FAILED}),
    State.RECOVERED: frozenset({State.HEALTHY, State.FAILURE_DETECTED}),
    State.RECOVERY_FAILED: frozenset({State.RECOVERY_IN_PROGRESS, State.MANUAL_RECOVERY}),
    State.MANUAL_RECOVERY: frozenset({State.RECOVERY_IN_PROGRESS, State.RECOVERY_FAILED}),
}


class IllegalEdge(RuntimeError):
    """A state was to follow one it cannot follow: a defect of the case, never of its input."""


def check_edge(before: State, after: State) -> None:
    """Raise ``IllegalEdge`` unless ``after`` may follow ``before``."""
    if after not in EDGES[before]:
        raise IllegalEdge(f"{before} -> {after}")


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """A snapshot for people, the trail and metrics.

    Attributes:
        failure: id of the failure this recovery is about; with a new one the percent begins anew.
        path: the child.
        state: see ``State``.
        rung: the one in hand or last tried; None before there was one.
        percent: 0-100, never less than before for the same failure.
        step: the step in hand, or what is waited for.
        done, left: names of steps, in order.
        elapsed: seconds since the failure.
        eta: seconds until recovered and at full size, by experience; None where there is none yet; never negative.
        rto_left: seconds until the RTO passes, negative afterwards, None without one; stands still once recovered.
        over_rto: the RTO passed before it was recovered.
        far_over_rto: so did one and a half times the RTO (REC-7).
        size: what the child may trade, times the normal size.
        overdue: required steps that are later than their checklist allows (003 §4.2).
        message: one line.
    """

    failure: str
    path: str
    state: State
    rung: Rung | None
    percent: float
    step: str
    done: tuple[str, ...]
    left: tuple[str, ...]
    elapsed: float
    eta: float | None = None
    rto_left: float | None = None
    over_rto: bool = False
    far_over_rto: bool = False
    size: float = 1.0
    overdue: tuple[str, ...] = ()
    message: str = ""


#: durations kept for each step
KEPT = 10
#: failed attempts kept; more than any rule sensibly counts
KEPT_FAILED = 100


class History(msgspec.Struct):
    """What earlier recoveries of one path took, and which failed: outlives its cases, is its own record.

    Attributes:
        durations: seconds of the last ``KEPT`` times, by ``duration_key``.
        failed: monotonic seconds of failed attempts, oldest first.
    """

    durations: dict[str, tuple[float, ...]] = {}
    failed: tuple[float, ...] = ()

    def note(self, key: str, seconds: float) -> None:
        """A step took so long; nonsense (negative, not finite) is dropped."""
        if isfinite(seconds) and seconds >= 0:
            self.durations[key] = (*self.durations.get(key, ()), seconds)[-KEPT:]

    def mean(self, key: str) -> float | None:
        """Seconds it took on average lately, or None."""
        known = self.durations.get(key)
        return sum(known) / len(known) if known else None

    def note_failed(self, now: float) -> None:
        """An attempt failed."""
        self.failed = (*self.failed, now)[-KEPT_FAILED:]

    def failed_within(self, within: float, now: float) -> int:
        """Failed attempts of the last ``within`` seconds; stamps of the future are another boot's and do not count."""
        return sum(1 for stamp in self.failed if now - within <= stamp <= now)

    def copy(self) -> "History":
        """One that does not change with this."""
        return History(dict(self.durations), self.failed)


#: the steps of one attempt, by rung; the last is the one that brings the child up
ATTEMPT_STEPS: dict[Rung, tuple[str, ...]] = {
    Rung.HOT: ("fence", "promote"),
    Rung.WARM: ("fence", "restore"),
    Rung.COLD: ("fence", "start"),
    Rung.MANUAL: (),
}
DECIDE = "decide"


def validate_name(step: ValidationStep | str) -> str:
    """The step's name among the steps of a recovery."""
    return f"validate:{step if isinstance(step, str) else step.name}"


def ramp_name(index: int) -> str:
    """The ramp step's name (from 0) among the steps of a recovery; people count from 1."""
    return f"ramp:{index + 1}"


def plan(rung: Rung, validate: Sequence[ValidationStep], ramp: RampSpec | None) -> tuple[str, ...]:
    """All steps of a recovery by this rung, in order."""
    ramps = () if ramp is None else tuple(ramp_name(index) for index in range(len(ramp.steps)))
    return (DECIDE, *ATTEMPT_STEPS[rung], *(validate_name(step) for step in validate), *ramps)


def duration_key(rung: Rung | None, step: str) -> str:
    """Under which name the history keeps a step: those of an attempt differ by rung."""
    return step if rung is None or ":" in step or step == DECIDE else f"{rung}:{step}"


#: weight of a step nobody has timed yet, seconds
_UNTIMED = 1.0
#: what every step weighs at least, so that each one done moves the percent
_LEAST = 0.001
#: how much of the step in hand counts at most
_NEARLY = 0.95


def _known_seconds(step: str, rung: Rung | None, history: History, ramp: RampSpec | None) -> float | None:
    kind, _, number = step.partition(":")
    if kind == "ramp":
        index = int(number) - 1
        return ramp.steps[index].lasting if ramp is not None and index < len(ramp.steps) else 0.0
    if step == DECIDE:
        return history.mean(step) or 0.0
    return history.mean(duration_key(rung, step))


def percent(
    done: Sequence[str],
    left: Sequence[str],
    rung: Rung | None,
    history: History,
    ramp: RampSpec | None,
    in_hand: str = "",
    spent: float = 0.0,
) -> float:
    """Done steps over all, each weighing what it took lately; 100 without any steps left.

    The step in hand counts for the ``spent`` seconds it has had, if it is known how long it takes, and never whole.
    """
    if not left:
        return 100.0 if done else 0.0

    def weight(step: str) -> float:
        seconds = _known_seconds(step, rung, history, ramp)
        return max(_LEAST, _UNTIMED if seconds is None else seconds)

    behind = sum(map(weight, done))
    total = behind + sum(map(weight, left))
    if in_hand in left and _known_seconds(in_hand, rung, history, ramp) is not None:
        behind += min(max(0.0, spent), _NEARLY * weight(in_hand))
    return 100.0 * behind / total


def seconds_left(
    left: Sequence[str], spent: float, rung: Rung | None, history: History, ramp: RampSpec | None
) -> float | None:
    """What the steps left took on average, less ``spent`` seconds on the first of them; None when one has no history.

    Never negative: a step that takes longer than ever before is about to be done.
    """
    total = 0.0
    for index, step in enumerate(left):
        seconds = _known_seconds(step, rung, history, ramp)
        if seconds is None:
            return None
        total += max(0.0, seconds - spent) if index == 0 else seconds
    return total
