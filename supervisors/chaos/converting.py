"""Our experiments as those of the stock Chaos Toolkit, whose providers are the functions of ``chaos.toolkit``. Pure.

The toolkit judges its hypothesis only: a probe that fails in its method, or an action that does, changes nothing. So
what fails there and may not is remembered by our functions, and the hypothesis asks them for it (``everything_held``).
It has no steps within steps: those go into one action (``run_together``). What is left out is told.
"""

from collections.abc import Iterator, Sequence

import msgspec
from pydantic import JsonValue

from supervisors.chaos.document import (
    ALL,
    BackgroundStep,
    CallStep,
    Experiment,
    FaultStep,
    KillStep,
    NoInvariantBroken,
    ParallelStep,
    Probe,
    RecoveredWithin,
    RepeatStep,
    RevertStep,
    StandbysInSync,
    Step,
    Strategy,
    TreeHealthy,
    WaitStep,
)
from supervisors.chaos.rules import located_steps
from supervisors.core.durations import format_duration
from supervisors.faults.request import TargetSet

MODULE = "supervisors.chaos.toolkit"
Json = dict[str, JsonValue]


class _Call(msgspec.Struct, frozen=True):
    """A call of one of our functions: an activity of the toolkit, or a part of one."""

    name: str
    function: str
    arguments: Json
    probe: bool = False
    background: bool = False

    def activity(self) -> Json:
        """By itself in the toolkit's method."""
        kind = "probe" if self.probe else "action"
        made: Json = {"type": kind, "name": self.name, "provider": _provider(self.function, self.arguments)}
        return {**made, "background": True} if self.background else made

    def part(self) -> Json:
        """Within ``run_together``."""
        made: Json = {"func": self.function, "arguments": self.arguments}
        return {**made, "background": True} if self.background else made


def to_toolkit(experiment: Experiment, data_dir: str) -> tuple[Json, list[str]]:
    """A Chaos Toolkit experiment that does the same on a system that runs in ``data_dir``.

    Returns:
        The document, and what the toolkit has no words for and was left out or is done otherwise, in words.
    """
    calls = [made for step in experiment.method for made in _step(step)]
    rollbacks = [_Call("revert all faults", "revert_all", {})]
    rollbacks += [made for step in experiment.rollbacks for made in _step(step)]
    probes = [_asked(one) for one in experiment.steady_state]
    if calls:
        probes.append(_ask("every step of the method held", "everything_held", {}))
    hypothesis = experiment.hypothesis
    document: Json = {
        "version": "1.0.0",
        "title": experiment.title,
        "description": experiment.description or experiment.title,
        "tags": ["rayvisor"],
        "configuration": {"data_dir": {"type": "env", "key": "RAYVISOR_DATA_DIR", "default": data_dir}},
        "steady-state-hypothesis": {"title": "the system is in its steady state", "probes": list(probes)},
        "method": [call.activity() for call in calls],
        "rollbacks": [call.activity() for call in rollbacks],
        "runtime": {
            "hypothesis": {"strategy": _STRATEGIES[hypothesis.strategy.value], "frequency": hypothesis.every},
            "rollbacks": {"strategy": "always"},
        },
    }
    return document, list(_left_out(experiment))


def _left_out(experiment: Experiment) -> Iterator[str]:
    """What the document does not say, or the toolkit does not do."""
    steps = [step for _, step in located_steps(experiment.method, ())]
    written = experiment.model_fields_set
    abort, hypothesis = experiment.controls.abort, experiment.hypothesis
    if experiment.workload is not None:
        yield "workload: the toolkit has no clients; probe with call_actor instead"
    if experiment.controls.before_each or experiment.controls.after_each:
        yield "controls: write them as controls of the toolkit"
    if experiment.limits.max_targets is not None:
        yield f"limits.max_targets: {experiment.limits.max_targets}; the topology's own bound holds"
    if abort.max_faults is not None:
        yield f"controls.abort.max_faults: {abort.max_faults}; nothing counts them"
    if "max_duration" in abort.model_fields_set:
        yield f"controls.abort.max_duration: {format_duration(abort.max_duration)}; the toolkit has no bound"
    if hypothesis.strategy.during:
        options = f"--hypothesis-frequency {hypothesis.every:g}" + (" --fail-fast" if abort.probe_fails else "")
        yield f"hypothesis.every: the toolkit takes it from its command: {options}"
        if not abort.probe_fails:
            yield "controls.abort.probe_fails: a look that fails while the method runs changes nothing in the toolkit"
    if hypothesis.strategy in (Strategy.BEFORE, Strategy.DURING):
        yield f"hypothesis.strategy: {hypothesis.strategy}; no look after the method judges what failed in it"
    if any(_aborts(step) for step in steps):
        yield "abort: where a fault is refused or a call fails the method goes on; it deviates at its end"
    if any(getattr(step, "probe", "") for step in experiment.rollbacks):
        yield "rollbacks: a probe that fails there is marked failed in the toolkit's journal and changes no verdict"
    if "seed" in written:
        yield f"seed: {experiment.seed}; a fault has the seed written with it, or 0"
    yield f"settle: nothing waits {format_duration(experiment.settle)} for all to be well at the end"
    if any(isinstance(step, RepeatStep) and step.repeat.every for step in steps):
        yield "repeat: every; its steps follow one another at once"
    parallel = [one for step in steps if isinstance(step, ParallelStep) for _, one in located_steps([step], ())]
    if any(isinstance(step, BackgroundStep) for step in parallel):
        yield "background within parallel: the step after the parallel ones waits for it, too"


def _aborts(step: Step) -> bool:
    if isinstance(step, FaultStep):
        return step.required
    return isinstance(step, KillStep) or (isinstance(step, CallStep) and not step.may_fail)


_STRATEGIES: dict[str, str] = {
    "before": "before-method-only",
    "after": "after-method-only",
    "both": "default",
    "during": "during-method-only",
    "continuous": "continuously",
}


def _provider(function: str, arguments: Json) -> Json:
    return {
        "type": "python",
        "module": MODULE,
        "func": function,
        "arguments": {"data_dir": "${data_dir}", **arguments},
    }


def _ask(name: str, function: str, arguments: Json) -> Json:
    """A probe of the hypothesis."""
    provider = _provider(function, arguments)
    return {"type": "probe", "name": name, "tolerance": True, "provider": provider}


def _asked(probe: Probe) -> Json:
    common: Json = {"within": probe.within} if probe.within else {}
    plain = probe.model_fields_set <= {"probe", "name", "path", "within"}
    match probe:
        case TreeHealthy() if plain:
            return _ask(probe.title, "tree_is_healthy", {"path": probe.path, **common})
        case RecoveredWithin() if probe.model_fields_set <= {"probe", "name", "path", "rto"}:
            rto: Json = {"rto": probe.rto} if probe.rto is not None else {}
            return _ask(probe.title, "recovered_within", {"path": probe.path, **rto})
        case NoInvariantBroken() if probe.model_fields_set <= {"probe", "name"}:
            return _ask(probe.title, "invariants_hold", {})
        case StandbysInSync() if plain:
            return _ask(probe.title, "standbys_are_in_sync", {"path": probe.path, **common})
        case _:
            return _ask(probe.title, "holds", {"probe": _written(probe)})


def _written(probe: Probe) -> Json:
    written: Json = probe.model_dump(mode="json", by_alias=True, exclude_unset=True)
    written.pop("name", None)
    return written


def _step(step: Step) -> list[_Call]:
    match step:
        case FaultStep():
            return [_fault(step)]
        case KillStep():
            return [_fault(step.as_fault())]
        case RevertStep(revert=name):
            if name == ALL:
                return [_Call("revert all faults", "revert_all", {})]
            return [_Call(f"revert {name}", "revert_fault", {"name": name})]
        case WaitStep(wait=seconds):
            return [_Call(f"wait {format_duration(seconds)}", "wait", {"seconds": seconds})]
        case CallStep():
            arguments: Json = {"path": step.call, "method": step.method, "args": list(step.args)}
            arguments |= {"timeout": step.timeout, "required": not step.may_fail}
            return [_Call(f"call {step.call}.{step.method}", "call_actor", arguments)]
        case ParallelStep():
            return [_together([_steps(one if isinstance(one, list) else [one]) for one in step.parallel])]
        case BackgroundStep():
            inner = _steps(step.background)
            one = inner[0] if len(inner) == 1 else _together([inner])
            return [msgspec.structs.replace(one, background=True)]
        case RepeatStep():
            return _steps(step.repeat.steps) * step.repeat.times
        case _:
            return [_Call(step.title, "must_hold", {"probe": _written(step), "name": step.title}, probe=True)]


def _steps(steps: Sequence[Step]) -> list[_Call]:
    return [made for one in steps for made in _step(one)]


def _together(parts: Sequence[Sequence[_Call]]) -> _Call:
    name = " | ".join(", ".join(call.name for call in part) for part in parts)
    return _Call(name[:200], "run_together", {"parts": [[call.part() for call in part] for part in parts]})


def _fault(step: FaultStep) -> _Call:
    arguments: Json = {"fault": step.fault, "path": step.path}
    if step.params:
        arguments["params"] = dict(step.params)
    if step.seconds is not None:
        arguments["seconds"] = step.seconds
    if step.targets is not TargetSet.PATH:
        arguments["targets"] = step.targets.value
    for name in ("name", "first", "seed"):
        value: JsonValue = getattr(step, name)
        if value not in (None, 0, ""):
            arguments[name] = value
    # 0 is a chance, too: never
    if step.probability is not None:
        arguments["probability"] = step.probability
    if step.count != 1:
        arguments["count"] = step.count
    return _Call(f"{step.fault} at {step.path}", "inject_fault", {**arguments, "required": step.required})
