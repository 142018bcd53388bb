"""Where a recovery case stands: its record, the effects of the step in hand, timers and progress. Pure."""

from math import isfinite

from supervisors.recovery.messages import (
    CancelTimer,
    Closed,
    Effect,
    Outcome,
    Progressed,
    SetTimer,
)
from supervisors.recovery.policy import PHASE_LIMITS, Phase, RampSpec, RecoverySpec, Rung, ValidationStep
from supervisors.recovery.progress import (
    ATTEMPT_STEPS,
    Progress,
    State,
    check_edge,
    duration_key,
    percent,
    plan,
    ramp_name,
    seconds_left,
    validate_name,
)
from supervisors.recovery.record import CaseRecord, Timer

#: the RTO is far passed at this many times it (REC-7)
FAR = 1.5


class Standing:
    """What all parts of a case share.

    Args:
        record: taken over, not copied.
        spec: the child's policy.
    """

    def __init__(self, record: CaseRecord, spec: RecoverySpec) -> None:
        self.r = record
        self.spec = spec
        self.now = 0.0
        self._steps = {step.name: step for step in spec.validate}
        self._effects: list[Effect] = []
        self._progressed: list[Effect] = []
        self._closing: list[Effect] = []

    # ------------------------------------------------------------ effects

    def emit(self, *effects: Effect) -> None:
        """Carry these out, in this order."""
        self._effects.extend(effects)

    def take_effects(self) -> list[Effect]:
        """Everything emitted since the last time: what is to be done, snapshots, the end."""
        found = self._effects + self._progressed + self._closing
        self._effects, self._progressed, self._closing = [], [], []
        return found

    def tell(self) -> None:
        """A snapshot as it is now."""
        self.refresh()
        self._progressed.append(Progressed(self.snapshot(self.now)))

    def move(self, state: State, why: str) -> None:
        """Into another state, with a line for people."""
        check_edge(self.r.state, state)
        self.r.state, self.r.why = state, why
        self.tell()

    def close(self, outcome: Outcome, why: str) -> None:
        """The end: no timer stays."""
        for purpose in tuple(self.r.timers):
            self.cancel(purpose)
        self.r.closed = outcome
        self._closing.append(Closed(outcome, why))

    # ------------------------------------------------------------ timers

    def set_timer(self, purpose: str, at: float) -> None:
        """One timer for each purpose: a new one takes the place of the old; none for a time that never comes."""
        self.cancel(purpose)
        if not isfinite(at):
            return
        self.r.tokens += 1
        self.r.timers[purpose] = Timer(self.r.tokens, at)
        self.emit(SetTimer(self.r.tokens, at))

    def cancel(self, *purposes: str) -> None:
        """Forget these timers."""
        for purpose in purposes:
            timer = self.r.timers.pop(purpose, None)
            if timer is not None:
                self.emit(CancelTimer(timer.token))

    # ------------------------------------------------------------ steps

    def step_named(self, name: str) -> ValidationStep | None:
        """The check of this name; None when the policy no longer has it."""
        return self._steps.get(name)

    @property
    def ramp(self) -> RampSpec | None:
        """The ramp this recovery goes through, while it has to."""
        return self.spec.ramp if self.r.ramping else None

    def plan_for(self, rung: Rung) -> None:
        """Steps anew: what came before the attempt stays done."""
        self.r.steps = plan(rung, self.spec.validate, self.ramp)
        self.r.done = self.r.steps[:1]
        self.r.step_at, self.r.spent = self.now, 0.0

    def done(self, *names: str) -> None:
        """These steps are done, if they are steps of this recovery."""
        fresh = tuple(name for name in names if name in self.r.steps and name not in self.r.done)
        if fresh:
            self.r.done += fresh
            if self.r.state is not State.RECOVERED:  # there the ramp step counts, beside which checks run
                self.r.step_at = self.now

    def left(self) -> tuple[str, ...]:
        """Steps that are not done, in order."""
        return tuple(name for name in self.r.steps if name not in self.r.done)

    # ------------------------------------------------------------ snapshots

    def snapshot(self, now: float) -> Progress:
        """How far it is at ``now``."""
        r = self.r
        rto = self.spec.rto
        reached = now if r.recovered_at is None else r.recovered_at
        elapsed = max(0.0, reached - r.failed_at) if r.failure else 0.0
        return Progress(
            failure=r.failure,
            path=r.path,
            state=r.state,
            rung=r.rung,
            percent=self._percent(now),
            step=self._step_in_hand(),
            done=r.done,
            left=self.left(),
            elapsed=max(0.0, now - r.failed_at) if r.failure else 0.0,
            eta=self._eta(now),
            rto_left=None if rto is None or not r.failure else rto - elapsed,
            over_rto=r.over_rto or (rto is not None and elapsed > rto),
            far_over_rto=r.far_over_rto or (rto is not None and elapsed > rto * FAR),
            size=r.multiplier,
            overdue=self._overdue(now),
            message=r.why,
        )

    def refresh(self) -> None:
        """Keep what would be shown now: the percent never falls."""
        self.r.percent = self._percent(self.now)

    def _percent(self, now: float) -> float:
        r = self.r
        if r.state is State.HEALTHY or not r.steps:
            return 100.0 if r.state is State.HEALTHY else r.percent
        left = self.left()
        in_hand, spent = "", 0.0
        if r.state is State.RECOVERED:
            in_hand, spent = (ramp_name(r.ramp_index) if r.ramping else ""), now - r.step_at
        elif r.attempting or r.running:
            in_hand, spent = next(iter(left), ""), now - r.step_at
        return max(r.percent, percent(r.done, left, r.rung, r.history, self.spec.ramp, in_hand, spent))

    def _step_in_hand(self) -> str:
        r = self.r
        if r.hold is not None:
            return f"answer:{r.hold.id}"
        if r.running and not (r.state is State.RECOVERED and r.ramping and not r.ramp_due):
            return validate_name(r.running)
        if r.state is State.RECOVERED:
            return ramp_name(r.ramp_index) if r.ramping else "watch"
        return next(iter(self.left()), "") if r.attempting else ""

    def _eta(self, now: float) -> float | None:
        r = self.r
        if r.state is State.HEALTHY:
            return 0.0
        if r.hold is not None or r.failing or not r.steps:
            return None  # it takes what a person takes, or until a check passes
        later = {validate_name(step) for step in self.spec.validate if step.phase is not Phase.IMMEDIATE}
        if r.state is State.RECOVERED:
            # the later checks run beside the ramp
            later |= {validate_name(step) for step in self.spec.validate}
        serial = [name for name in self.left() if name not in later]
        return seconds_left(serial, max(0.0, now - r.step_at), r.rung, r.history, self.spec.ramp)

    def _overdue(self, now: float) -> tuple[str, ...]:
        r = self.r
        if r.recovered_at is None or r.closed is not None:
            return ()
        since = now - r.recovered_at
        return tuple(
            step.name
            for step in self.spec.validate
            if step.required and step.name not in r.passed and since > PHASE_LIMITS[step.phase]
        )

    def attempt_key(self, step: str) -> str:
        """The history's name for a step of the attempt in hand."""
        return duration_key(self.r.rung, step)

    def attempt_done(self) -> None:
        """The attempt's steps are done; what nobody told of its last one is what the others leave of the time."""
        r = self.r
        if r.rung is None:
            return
        steps = ATTEMPT_STEPS[r.rung]
        if steps and steps[-1] not in r.done:
            r.history.note(self.attempt_key(steps[-1]), max(0.0, self.now - r.attempt_at - r.spent))
        self.done(*steps)
        r.step_at = self.now
