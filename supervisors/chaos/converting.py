"""Our experiments as those of the stock Chaos Toolkit, whose providers are the functions of ``chaos.toolkit``. Pure."""

from pydantic import JsonValue

from supervisors.chaos.document import (
    ALL,
    BackgroundStep,
    CallAnswers,
    CallStep,
    Experiment,
    FaultStep,
    KillStep,
    MetricWithin,
    NoInvariantBroken,
    ParallelStep,
    Probe,
    RecoveredWithin,
    RepeatStep,
    RevertStep,
    StandbysInSync,
    Step,
    TrailCount,
    TreeHealthy,
    WaitStep,
)
from supervisors.core.durations import format_duration
from supervisors.faults.request import TargetSet

MODULE = "supervisors.chaos.toolkit"
Json = dict[str, JsonValue]


def to_toolkit(experiment: Experiment, data_dir: str) -> tuple[Json, list[str]]:
    """A Chaos Toolkit experiment that does the same on a system that runs in ``data_dir``.

    Returns:
        The document, and what the toolkit has no words for and was left out, in words.
    """
    left: list[str] = []
    probes = [_probe(one) for one in experiment.steady_state]
    method = [made for step in experiment.method for made in _step(step, left, background=False)]
    rollbacks = [_action("revert all faults", "revert_all", {})]
    rollbacks += [made for step in experiment.rollbacks for made in _step(step, left, background=False)]
    if experiment.workload is not None:
        left.append("workload: the toolkit has no clients; probe with call_actor instead")
    if experiment.controls.before_each or experiment.controls.after_each:
        left.append("controls: write them as controls of the toolkit")
    hypothesis = experiment.hypothesis
    document: Json = {
        "version": "1.0.0",
        "title": experiment.title,
        "description": experiment.description or experiment.title,
        "tags": ["rayvisor"],
        "configuration": {"data_dir": {"type": "env", "key": "RAYVISOR_DATA_DIR", "default": data_dir}},
        "steady-state-hypothesis": {"title": "the system is in its steady state", "probes": list(probes)},
        "method": list(method),
        "rollbacks": list(rollbacks),
        "runtime": {
            "hypothesis": {"strategy": _STRATEGIES[hypothesis.strategy.value], "frequency": hypothesis.every},
            "rollbacks": {"strategy": "always"},
        },
    }
    return document, left


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


def _action(name: str, function: str, arguments: Json) -> Json:
    return {"type": "action", "name": name, "provider": _provider(function, arguments)}


def _ask(name: str, function: str, arguments: Json, tolerance: JsonValue = True) -> Json:
    provider = _provider(function, arguments)
    return {"type": "probe", "name": name, "tolerance": tolerance, "provider": provider}


def _probe(probe: Probe) -> Json:
    common: Json = {"within": probe.within} if probe.within else {}
    match probe:
        case TreeHealthy():
            return _ask(probe.title, "tree_is_healthy", {"path": probe.path, **common})
        case RecoveredWithin():
            rto: Json = {"rto": probe.rto} if probe.rto is not None else {}
            return _ask(probe.title, "recovered_within", {"path": probe.path, **rto})
        case NoInvariantBroken():
            return _ask(probe.title, "invariants_hold", {})
        case StandbysInSync():
            return _ask(probe.title, "standbys_are_in_sync", {"path": probe.path, **common})
        case MetricWithin() | CallAnswers() | TrailCount():
            written = probe.model_dump(mode="json", by_alias=True, exclude_unset=True)
            written.pop("name", None)
            return _ask(probe.title, "holds", {"probe": written})


def _step(step: Step, left: list[str], *, background: bool) -> list[Json]:
    match step:
        case FaultStep():
            made = [_fault(step)]
        case KillStep():
            made = [_fault(step.as_fault())]
        case RevertStep(revert=name):
            if name == ALL:
                made = [_action("revert all faults", "revert_all", {})]
            else:
                made = [_action(f"revert {name}", "revert_fault", {"name": name})]
        case WaitStep(wait=seconds):
            provider: Json = {"type": "process", "path": "sleep", "arguments": f"{seconds:g}"}
            made = [{"type": "action", "name": f"wait {format_duration(seconds)}", "provider": provider}]
        case CallStep():
            arguments: Json = {"path": step.call, "method": step.method, "args": list(step.args)}
            made = [_action(f"call {step.call}.{step.method}", "call_actor", {**arguments, "timeout": step.timeout})]
        case ParallelStep():
            parts = [one if isinstance(one, list) else [one] for one in step.parallel]
            if any(len(part) > 1 for part in parts):
                left.append("parallel: lists in it; the toolkit starts all their steps at once")
            made = [more for part in parts for one in part for more in _step(one, left, background=True)]
        case BackgroundStep():
            if len(step.background) > 1:
                left.append("background: the order of its steps; the toolkit starts all of them at once")
            made = [more for one in step.background for more in _step(one, left, background=True)]
        case RepeatStep():
            once = [more for one in step.repeat.steps for more in _step(one, left, background=False)]
            made = once * step.repeat.times
            if step.repeat.every:
                left.append(f"repeat: every {format_duration(step.repeat.every)}; its steps follow one another at once")
        case _:
            made = [_probe(step)]
    return [{**one, "background": True} for one in made] if background else made


def _fault(step: FaultStep) -> Json:
    arguments: Json = {"fault": step.fault, "path": step.path}
    if step.params:
        arguments["params"] = dict(step.params)
    if step.seconds is not None:
        arguments["seconds"] = step.seconds
    if step.targets is not TargetSet.PATH:
        arguments["targets"] = step.targets.value
    for name in ("name", "first", "seed", "probability"):
        value: JsonValue = getattr(step, name)
        if value not in (None, 0, ""):
            arguments[name] = value
    if step.count != 1:
        arguments["count"] = step.count
    return _action(f"{step.fault} at {step.path}", "inject_fault", arguments)
