"""How the parts of an experiment go together, and with the system it is for. Pure."""

import re
from collections.abc import Iterator

from supervisors.chaos import codes
from supervisors.chaos.codes import Problem
from supervisors.chaos.document import (
    ALL,
    BackgroundStep,
    BaseProbe,
    CallAnswers,
    CallStep,
    Experiment,
    FaultStep,
    KillStep,
    MetricWithin,
    ParallelStep,
    Probe,
    RepeatStep,
    RevertStep,
    Step,
    TrailCount,
)
from supervisors.chaos.probes import is_kind
from supervisors.chaos.systems import Known
from supervisors.chaos.workload import texts_of
from supervisors.core.durations import format_duration
from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import FaultKind, Target
from supervisors.faults.request import TargetSet
from supervisors.spec.findings import Loc, did_you_mean
from supervisors.trail.events import EventKind

#: steps one run carries out at most, repetitions counted
MAX_STEPS = 100_000
Located = tuple[Loc, Step]


def located_steps(steps: list[Step], loc: Loc) -> Iterator[Located]:
    """Every step at and below ``steps``, with its place."""
    for index, step in enumerate(steps):
        here = (*loc, index)
        yield here, step
        if isinstance(step, ParallelStep):
            for number, one in enumerate(step.parallel):
                at = (*here, "parallel", number)
                if isinstance(one, list):
                    yield from located_steps(one, at)
                else:
                    yield from ((((*at, *place[1:])), below) for place, below in located_steps([one], ()))
        elif isinstance(step, BackgroundStep):
            yield from located_steps(step.background, (*here, "background"))
        elif isinstance(step, RepeatStep):
            yield from located_steps(step.repeat.steps, (*here, "repeat", "steps"))


def count_steps(steps: list[Step]) -> int:
    """How many steps are carried out, repetitions counted."""
    total = 0
    for step in steps:
        if isinstance(step, ParallelStep):
            total += sum(count_steps(one if isinstance(one, list) else [one]) for one in step.parallel)
        elif isinstance(step, BackgroundStep):
            total += count_steps(step.background)
        elif isinstance(step, RepeatStep):
            total += step.repeat.times * count_steps(step.repeat.steps)
        else:
            total += 1
    return total


def calls_actors(experiment: Experiment) -> bool:
    """Whether a run of it calls actors: connecting for that takes seconds, which must not be the run's."""
    controls = experiment.controls
    quiet = [*experiment.rollbacks, *controls.before_each, *controls.after_each, *experiment.steady_state]
    steps = [*(step for _, step in located_steps(experiment.method, ())), *quiet]
    return experiment.workload is not None or any(isinstance(step, CallStep | CallAnswers) for step in steps)


def rule_problems(experiment: Experiment, known: Known) -> list[Problem]:
    """Everything about ``experiment`` that is wrong though each of its values is fine."""
    return list(_problems(experiment, known))


def _problems(experiment: Experiment, known: Known) -> Iterator[Problem]:
    steps = list(located_steps(experiment.method, ("method",)))
    for index, probe in enumerate(experiment.steady_state):
        yield from _probe(probe, ("steady_state", index), known)
    quiet = (
        (("rollbacks",), experiment.rollbacks),
        (("controls", "before_each"), experiment.controls.before_each),
        (("controls", "after_each"), experiment.controls.after_each),
    )
    names = {step.name for _, step in steps if isinstance(step, FaultStep) and step.name}
    for place, more in quiet:
        steps += [((*place, index), step) for index, step in enumerate(more)]
    for loc, step in steps:
        yield from _step(step, loc, experiment, known, names)
    if count_steps(experiment.method) > MAX_STEPS:
        message = f"the method has more than {MAX_STEPS} steps, repetitions counted"
        yield Problem(codes.TOO_MANY_STEPS, ("method",), message, "repeat less often")
    yield from _workload(experiment, known)
    limit = experiment.limits.max_targets
    if limit is not None and known.max_targets is not None and limit > known.max_targets:
        message = f"{limit} targets at once, and the system allows {known.max_targets}"
        yield Problem(codes.TOO_MANY_TARGETS, ("limits", "max_targets"), message, "faults: max_targets in the topology")
    if not any(isinstance(step, FaultStep | KillStep) for _, step in steps):
        yield Problem(codes.NO_FAULT, ("method",), "the method breaks nothing", "add a step such as fault: kill")
    has_probe = any(isinstance(step, BaseProbe) for _, step in steps)
    if not experiment.steady_state and not has_probe:
        fix = "add steady_state: with probe: tree_healthy"
        yield Problem(codes.NO_HYPOTHESIS, (), "no probe says what is to hold", fix)


def _step(step: Step, loc: Loc, experiment: Experiment, known: Known, names: set[str]) -> Iterator[Problem]:
    if isinstance(step, FaultStep):
        yield from _fault(step, loc, experiment, known)
    elif isinstance(step, KillStep):
        yield from _path(step.kill, (*loc, "kill"), known)
    elif isinstance(step, CallStep):
        yield from _worker(step.call, (*loc, "call"), known)
    elif isinstance(step, RevertStep) and step.revert != ALL and step.revert not in names:
        fix = did_you_mean(step.revert, {*names, ALL})
        message = f"no fault of the method is called {step.revert!r}"
        yield Problem(codes.UNKNOWN_NAME, (*loc, "revert"), message, fix)
    elif isinstance(step, BaseProbe):
        yield from _probe(step, loc, known)


def _fault(step: FaultStep, loc: Loc, experiment: Experiment, known: Known) -> Iterator[Problem]:
    yield from _path(step.path, (*loc, "path"), known)
    try:
        kind = known.catalogue.find(step.fault)
    except FaultError as error:
        yield Problem(codes.UNKNOWN_FAULT, (*loc, "fault"), error.message, error.fix)
        return
    # each by itself, so that all that are wrong are told
    missing = False
    for name, value in step.params.items():
        try:
            kind.read({name: value})
        except FaultError as error:
            if error.code != 9005:
                at: Loc = (*loc, "params", name)
                yield Problem(codes.BAD_PARAMETER, at, error.message, error.fix, on_key=error.code == 9003)
                missing = True
    if not missing:
        try:
            kind.read(step.params)
        except FaultError as error:
            fix = error.fix.replace("--param ", "params: ")
            yield Problem(codes.BAD_PARAMETER, (*loc, "fault"), error.message, fix)
    yield from _fits(step, kind, loc, known)
    lasts = step.seconds if step.seconds is not None else kind.seconds
    bound = known.longest
    if kind.lasting and bound is not None and lasts > bound:
        message = f"{step.fault} lasts {format_duration(lasts)}, and the system allows {format_duration(bound)}"
        at = (*loc, "for") if step.seconds is not None else (*loc, "fault")
        yield Problem(codes.TOO_LONG, at, message, "for: a shorter time")


def _fits(step: FaultStep, kind: FaultKind, loc: Loc, known: Known) -> Iterator[Problem]:
    """Whether what stands at the path may be hit; of a set only the running system can say."""
    place = (known.places or {}).get(step.path)
    if place is None or step.targets is not TargetSet.PATH:
        return
    what, why = (Target.SUPERVISOR if place.supervisor else Target.WORKER), ""
    if what not in kind.targets:
        why = f"it is a {what.value}"
    elif kind.needs_journal and not place.journal:
        why = "it keeps no journal"
    elif kind.needs_lease and not place.supervisor and not place.lease:
        why = "it holds no lease"
    elif kind.needs_standby and not place.standbys:
        why = "it has no standby"
    if why:
        message = f"{kind.name} cannot hit {step.path}: {why}"
        fix = "name another path, or targets: of the subtree"
        yield Problem(codes.UNFIT_TARGET, (*loc, "path"), message, fix)


def _probe(probe: Probe, loc: Loc, known: Known) -> Iterator[Problem]:
    path = getattr(probe, "path", "")
    if isinstance(probe, CallAnswers):
        yield from _worker(probe.path, (*loc, "path"), known)
    elif path:
        yield from _path(path, (*loc, "path"), known)
    if isinstance(probe, CallAnswers | MetricWithin | TrailCount):
        if probe.tolerates_anything:
            message = f"{probe.title}: nothing says what its value may be"
            yield Problem(codes.NO_TOLERANCE, loc, message, "add equals:, min:, max: or matches:")
        if probe.matches is not None:
            try:
                re.compile(probe.matches)
            except (re.error, OverflowError, RecursionError) as error:
                # too large a number in it, or too many groups in one another, are no re.error
                message = f"matches is no regular expression: {error}"
                yield Problem(codes.BAD_PATTERN, (*loc, "matches"), message, "see docs.python.org/3/library/re.html")

    if isinstance(probe, TrailCount) and not is_kind(probe.kind):
        fix = did_you_mean(probe.kind, EventKind)
        yield Problem(codes.NOT_ONE_OF, (*loc, "kind"), f"there is no kind of event {probe.kind[:40]!r}", fix)


def _workload(experiment: Experiment, known: Known) -> Iterator[Problem]:
    load = experiment.workload
    if load is None:
        return
    yield from _worker(load.path, ("workload", "path"), known)
    # the keys of a mapping are sent as they are
    if not any(True for _ in texts_of(load.args)):
        message = "no argument of the calls is unique: what was lost or done twice cannot be told"
        yield Problem(codes.NOT_UNIQUE, ("workload", "args"), message, 'use "{n}" for one of them')


def _worker(path: str, loc: Loc, known: Known) -> Iterator[Problem]:
    place = (known.places or {}).get(path)
    if place is not None and place.supervisor:
        message = f"{path} is a supervisor: only workers are called"
        yield Problem(codes.UNFIT_TARGET, loc, message, "name a worker")
    else:
        yield from _path(path, loc, known)


def _path(path: str, loc: Loc, known: Known) -> Iterator[Problem]:
    if not known.has(path):
        fix = did_you_mean(path, known.places or ())
        yield Problem(codes.PATH_NOT_IN_TREE, loc, f"{path} is not in the tree of {known.name}", fix)
