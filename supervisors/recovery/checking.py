"""REC-5 and REC-6 of a case: checks one after another, and the ramp that waits for them. Pure.

Checks run one at a time. A try that fails is repeated up to the step's ``attempts`` with its ``pause`` between. Then:
a required immediate one has failed the rung; a required later one is tried again every ``RETRY`` seconds and nothing
gets bigger meanwhile; one that is not required is noted and done with. Immediate checks run while VALIDATING, short
ones right after, medium ones after ``WATCH`` seconds. When a ramp step has lasted, all required immediate and short
checks have to pass again, and nothing else may be failing, before the size goes up.
"""

from supervisors.recovery.messages import Outcome, Resize, StepValidated, Validate, Validated
from supervisors.recovery.policy import PHASE_LIMITS, Phase, ValidationStep
from supervisors.recovery.progress import State, ramp_name, validate_name
from supervisors.recovery.ramp import gate, size_at
from supervisors.recovery.standing import Standing

#: seconds until failing checks are tried again
RETRY = 30.0
#: seconds of watching after a recovery before the child counts as healthy (003 §3.3); medium checks begin then
WATCH = PHASE_LIMITS[Phase.SHORT]
#: seconds beyond a step's time-out after which its answer is no longer waited for
GRACE = 1.0


def names_of(case: Standing, phase: Phase) -> tuple[str, ...]:
    """The checks of one list, in order."""
    return tuple(step.name for step in case.spec.validate if step.phase is phase)


def begin(case: Standing) -> str:
    """The attempt succeeded: the immediate checks. Gives why the rung has failed, or an empty string."""
    r = case.r
    r.up_at, r.passed, r.failing = case.now, (), ()
    r.todo = names_of(case, Phase.IMMEDIATE)
    case.move(State.VALIDATING, f"up by {r.rung}; {len(r.todo)} checks" if r.todo else f"up by {r.rung}")
    return proceed(case)


def forget(case: Standing) -> None:
    """No check is in hand any more, none is to come, and the ramp is not going on."""
    r = case.r
    case.cancel("answer", "pause", "retry", "ramp", "watch")
    r.todo, r.failing, r.running, r.running_at, r.check_why = (), (), "", None, ""
    r.ramp_due, r.ramp_index, r.watched, r.recovered_at = False, -1, False, None


def proceed(case: Standing) -> str:
    """The next check, or what follows when there is none. Gives why the rung has failed, or an empty string."""
    r = case.r
    if r.running:
        return ""
    while r.todo:
        name, r.todo = r.todo[0], r.todo[1:]
        step = case.step_named(name)
        if step is None:
            continue  # a policy that was changed under the case no longer has it
        if r.state is State.VALIDATING and step.required and case.now - r.up_at > PHASE_LIMITS[Phase.IMMEDIATE]:
            return f"the immediate checks took longer than {PHASE_LIMITS[Phase.IMMEDIATE]:.0f} s (before {name})"
        r.running, r.attempt = name, 0
        _try(case, step)
        return ""
    if r.state is State.VALIDATING:
        _recovered(case)
        return ""
    _settle(case)
    return ""


def again(case: Standing) -> str:
    """The pause between two tries is over. Gives why the rung has failed, or an empty string."""
    step = case.step_named(case.r.running)
    if step is None:
        case.r.running = ""
        return proceed(case)
    _try(case, step)
    return ""


def retry(case: Standing) -> None:
    """Failing checks once more."""
    r = case.r
    r.todo += tuple(name for name in r.failing if name not in r.todo)
    r.failing = ()
    proceed(case)


def lasted(case: Standing) -> None:
    """A ramp step has lasted: the checks between."""
    r = case.r
    r.ramp_due = True
    between = gate(case.spec.validate)
    r.todo = between + tuple(name for name in r.todo if name not in between)
    r.failing = tuple(name for name in r.failing if name not in between)
    proceed(case)


def watched(case: Standing) -> None:
    """The time of watching is over: the medium checks."""
    r = case.r
    r.watched = True
    r.todo += names_of(case, Phase.MEDIUM)
    proceed(case)


def answer(case: Standing, event: Validated) -> str:
    """A check answered. Gives why the rung has failed, or an empty string."""
    r = case.r
    if r.running_at is None or event.step != r.running or event.run not in (0, r.run):
        return ""  # of a check that is no longer waited for
    return _answered(case, event.ok, event.why)


def silent(case: Standing) -> str:
    """A check did not answer. Gives why the rung has failed, or an empty string."""
    return "" if case.r.running_at is None else _answered(case, False, "no answer")


def _try(case: Standing, step: ValidationStep) -> None:
    r = case.r
    r.attempt += 1
    r.run += 1
    r.running_at = case.now
    case.emit(Validate(step, r.attempt, r.run))
    case.set_timer("answer", case.now + step.timeout + GRACE)


def _answered(case: Standing, ok: bool, why: str) -> str:
    r = case.r
    case.cancel("answer")
    seconds = max(0.0, case.now - (r.running_at or case.now))
    r.running_at = None
    step = case.step_named(r.running)
    if step is None:
        r.running = ""
        return proceed(case)
    validating = r.state is State.VALIDATING
    final = ok or r.attempt >= step.attempts
    if validating and case.now + step.pause - r.up_at > PHASE_LIMITS[Phase.IMMEDIATE]:
        final = True
    case.emit(StepValidated(step.name, step.phase, ok, why, r.attempt, seconds, step.required, final))
    if not final:
        case.set_timer("pause", case.now + step.pause)
        return ""
    r.running = ""
    if ok:
        r.history.note(validate_name(step), seconds)
    elif step.required:
        if validating:
            return f"{validate_name(step)}: {why}" if why else validate_name(step)
        _stand_still(case, step, why)
        return proceed(case)
    if step.name not in r.passed:
        r.passed += (step.name,)
    case.done(validate_name(step))
    case.tell()
    return proceed(case)


def _stand_still(case: Standing, step: ValidationStep, why: str) -> None:
    r = case.r
    if step.name not in r.failing:
        r.failing += (step.name,)
    r.check_why = f"{step.name}: {why}" if why else step.name
    r.why = f"stays at size {r.multiplier:g}: {r.check_why}"
    case.tell()


def _recovered(case: Standing) -> None:
    r = case.r
    r.recovered_at = case.now
    rto = case.spec.rto
    r.over_rto = r.over_rto or (rto is not None and case.now - r.failed_at > rto)
    case.cancel("rto", "far")
    r.ramp_index = 0 if r.ramping else -1
    case.move(State.RECOVERED, f"recovered by {r.rung}")
    r.todo = names_of(case, Phase.SHORT)
    case.set_timer("watch", case.now + WATCH)
    if r.ramping:
        _resize(case, 0)
    proceed(case)


def _resize(case: Standing, index: int) -> None:
    r = case.r
    step = size_at(case.spec.ramp, index)
    steps = case.spec.ramp.steps if case.spec.ramp is not None else ()
    case.done(*(ramp_name(earlier) for earlier in range(index)))
    r.ramp_index, r.ramp_due, r.multiplier, r.step_at = index, False, step.size, case.now
    last = index >= len(steps) - 1
    case.emit(Resize(step.size, 0.0 if last else step.lasting))
    if last:
        r.ramping = False
        case.done(ramp_name(index))
        r.why = f"at size {step.size:g}; ramp done"
    else:
        case.set_timer("ramp", case.now + step.lasting)
        r.why = f"at size {step.size:g} for {step.lasting:g} s"
    case.tell()


def _settle(case: Standing) -> None:
    """No check runs or waits: bigger, or healthy, or try again later."""
    r = case.r
    if r.state is not State.RECOVERED:
        return
    if r.failing:
        if "retry" not in r.timers:
            case.set_timer("retry", case.now + RETRY)
        return
    if r.check_why:
        r.check_why, r.why = "", f"checks pass again at size {r.multiplier:g}"
        case.tell()
    if r.ramp_due:
        _resize(case, r.ramp_index + 1)
    if r.watched and not r.ramping:
        case.move(State.HEALTHY, "healthy")
        case.close(Outcome.RECOVERED, f"recovered by {r.rung}")
