"""What an experiment file says: steady state, method, hypothesis, workload, rollbacks, controls, limits. Pure.

version: 1
title: A primary that is killed loses nothing
system: ../chaos.yaml
steady_state:
- {probe: tree_healthy, within: 10s}
method:
- {fault: kill, path: /books/ledger}
- {probe: recovered_within}
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag
from pydantic_core import PydanticCustomError

from supervisors.core import paths
from supervisors.core.durations import Duration
from supervisors.faults.order import Scalar
from supervisors.faults.request import TargetSet
from supervisors.spec.fields import Flag, SpecModel, WholeNumber

#: the probes, by name
PROBES = (
    "tree_healthy",
    "recovered_within",
    "no_invariant_broken",
    "standbys_in_sync",
    "metric",
    "call",
    "trail",
)
#: words of which a step has one
STEPS = ("fault", "kill", "revert", "wait", "call", "probe", "parallel", "background", "repeat")
#: those that break nothing: of controls and rollbacks
QUIET_STEPS = ("revert", "wait", "call", "probe")
#: ends every fault of the run
ALL = "all"


def _path(value: str) -> str:
    try:
        return paths.parse(value)
    except ValueError as error:
        raise PydanticCustomError("path", "{what}", {"what": str(error)[:200]}) from error


def _method(value: str) -> str:
    if not value.isidentifier() or value.startswith("_"):
        raise PydanticCustomError("method", "{what} names no public method", {"what": repr(value)[:60]})
    return value


PathText = Annotated[str, AfterValidator(_path)]
MethodName = Annotated[str, AfterValidator(_method)]
PositiveTime = Annotated[Duration, Field(gt=0)]
Count = Annotated[WholeNumber, Field(ge=1)]


class Strategy(StrEnum):
    """When the steady state is looked at."""

    BEFORE = "before"  #: before the method only
    AFTER = "after"  #: after it only
    BOTH = "both"  #: before and after
    DURING = "during"  #: again and again while the method runs
    CONTINUOUS = "continuous"  #: before, during and after

    @property
    def before(self) -> bool:
        """It is looked at before the method."""
        return self in (Strategy.BEFORE, Strategy.BOTH, Strategy.CONTINUOUS)

    @property
    def during(self) -> bool:
        """It is looked at while the method runs."""
        return self in (Strategy.DURING, Strategy.CONTINUOUS)

    @property
    def after(self) -> bool:
        """It is looked at after the method."""
        return self in (Strategy.AFTER, Strategy.BOTH, Strategy.CONTINUOUS)


# ---------------------------------------------------------------- probes


class BaseProbe(SpecModel):
    """What all probes have."""

    name: str = ""
    """How it is called in progress and report. Default: the probe's own name."""
    within: Duration = 0.0
    """Time in which it may come true. Default 0s: it has to be true now."""
    every: PositiveTime = 0.1
    """Time between looks until then. Default 100ms."""

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name or str(getattr(self, "probe", ""))


class _Tolerance(BaseProbe):
    """What a value may be: all that is written has to hold."""

    field: str = ""
    """Part of the value, such as ``total`` or ``positions[0].size``. Default: all of it."""
    equals: JsonValue = None
    """The value itself."""
    least: float | None = Field(default=None, alias="min")
    """It is no less."""
    most: float | None = Field(default=None, alias="max")
    """It is no more."""
    matches: str | None = None
    """A regular expression that is found in it as text."""

    @property
    def tolerates_anything(self) -> bool:
        """Nothing is written that it could fail."""
        return "equals" not in self.model_fields_set and self.least is None and self.most is None and not self.matches


class TreeHealthy(BaseProbe):
    """Every supervisor runs and every child is ready or at rest."""

    probe: Literal["tree_healthy"]
    path: PathText = "/"
    """Only what stands at and below it. Default /."""
    held_is_fine: Flag = False
    """A child that waits for a person is no failure. Default false."""


class RecoveredWithin(BaseProbe):
    """Each failure of the run is healed in time; waits for those that are not yet late."""

    probe: Literal["recovered_within"]
    path: PathText = "/"
    """Only what stands at and below it. Default /."""
    rto: PositiveTime | None = None
    """Time from the fault to the next healthy life. Default: the child's ``recovery.rto``, or 30s (REC-9)."""


class NoInvariantBroken(BaseProbe):
    """What the history checker says of the run so far: INV-1 to INV-4, INV-8 and INV-9."""

    probe: Literal["no_invariant_broken"]


class StandbysInSync(BaseProbe):
    """Every child has the standbys it is to have, and they are in sync."""

    probe: Literal["standbys_in_sync"]
    path: PathText = "/"
    """Only what stands at and below it. Default /."""


class MetricWithin(_Tolerance):
    """A metric of the system, by its name at ``/metrics``; the sum over all its labels that fit."""

    probe: Literal["metric"]
    metric: str
    """Its name, such as rayvisor_restarts_total."""
    labels: dict[str, str] = {}
    """Labels it must have. Default none."""


class CallAnswers(_Tolerance):
    """What a method of an actor answers."""

    probe: Literal["call"]
    path: PathText
    """Of the actor."""
    method: MethodName
    """Its method."""
    args: list[JsonValue] = []
    """Arguments. Default none."""
    timeout: PositiveTime = 3.0
    """Time for one call. Default 3s."""


class TrailCount(_Tolerance):
    """How many events of a kind the trail has had since the run began."""

    probe: Literal["trail"]
    kind: str
    """Kind of the events, such as promoted."""
    path: PathText = "/"
    """Only at and below it. Default /."""
    data: dict[str, Scalar] = {}
    """What their data must have. Default nothing."""
    last: PositiveTime | None = None
    """Only those of so long ago. Default: since the run began."""


def _probe_tag(value: object) -> str:
    name = value.get("probe") if isinstance(value, dict) else getattr(value, "probe", None)
    return f"<{name}>"


Probe = Annotated[
    Annotated[TreeHealthy, Tag("<tree_healthy>")]
    | Annotated[RecoveredWithin, Tag("<recovered_within>")]
    | Annotated[NoInvariantBroken, Tag("<no_invariant_broken>")]
    | Annotated[StandbysInSync, Tag("<standbys_in_sync>")]
    | Annotated[MetricWithin, Tag("<metric>")]
    | Annotated[CallAnswers, Tag("<call>")]
    | Annotated[TrailCount, Tag("<trail>")],
    Discriminator(_probe_tag),
]


# ---------------------------------------------------------------- steps


class FaultStep(SpecModel):
    """Inject a fault. The step is over when it is armed; the fault lasts as long as ``for`` says."""

    fault: str
    """Name in the catalogue: rayvisor inject list."""
    path: PathText
    """The target, or the top of the subtree that ``targets`` are taken from."""
    name: str = ""
    """To revert it by. Default none."""
    params: dict[str, Scalar] = {}
    """Parameters of the fault. Default its own."""
    seconds: PositiveTime | None = Field(default=None, alias="for")
    """How long at most. Default the fault's own."""
    targets: TargetSet = TargetSet.PATH
    """path, one, all, half, primaries, standbys, supervisors or random. Default path."""
    count: Count = 1
    """How many of ``targets: random``. Default 1."""
    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    """Chance that it acts on an occasion. Default 1, or 0 with ``first``."""
    first: Annotated[WholeNumber, Field(ge=0)] = 0
    """So many occasions for certain. Default 0."""
    seed: WholeNumber | None = None
    """Of its chance. Default: from the experiment's."""
    required: Flag = True
    """A fault that is refused aborts the run. Default true."""


class KillStep(SpecModel):
    """Short for ``fault: kill``."""

    kill: PathText
    """The target."""
    targets: TargetSet = TargetSet.PATH
    """As in a fault. Default path."""

    def as_fault(self) -> FaultStep:
        """The fault it stands for."""
        return FaultStep(fault="kill", path=self.kill, targets=self.targets)


class RevertStep(SpecModel):
    """End a fault before its time, by its name; ``all``: every fault of the run."""

    revert: str
    """Name of a fault, or all."""


class WaitStep(SpecModel):
    """Let time pass."""

    wait: Duration
    """How long."""


class CallStep(SpecModel):
    """Call a method of an actor, whatever it answers."""

    call: PathText
    """Path of the actor."""
    method: MethodName
    """Its method."""
    args: list[JsonValue] = []
    """Arguments. Default none."""
    timeout: PositiveTime = 3.0
    """Time for it. Default 3s."""
    may_fail: Flag = False
    """It may raise: otherwise that aborts the run. Default false."""


class ParallelStep(SpecModel):
    """Steps that begin together; over when all of them are. A list among them is done in its order."""

    parallel: Annotated[list["StepOrSteps"], Field(min_length=1)]


class BackgroundStep(SpecModel):
    """Steps that go on while the next ones are done; the method waits for them at its end."""

    background: Annotated[list["Step"], Field(min_length=1)]


class Repeat(SpecModel):
    """The same steps again and again."""

    times: Annotated[WholeNumber, Field(ge=1, le=10_000)]
    """How often."""
    every: Duration = 0.0
    """Least time from one begin to the next. Default 0s: at once."""
    steps: Annotated[list["Step"], Field(min_length=1)]
    """What."""


class RepeatStep(SpecModel):
    """See ``Repeat``."""

    repeat: Repeat


def _step_tag(value: object) -> str | None:
    if isinstance(value, list):
        return "<list>"
    for word in STEPS:
        if (isinstance(value, dict) and word in value) or (not isinstance(value, dict) and hasattr(value, word)):
            return f"<{word}>"
    return None


# a call that is a probe has both words: what it is asked to be comes first
def _tag(value: object) -> str | None:
    has_probe = "probe" in value if isinstance(value, dict) else hasattr(value, "probe")
    return "<probe>" if has_probe else _step_tag(value)


_ONE = (
    Annotated[FaultStep, Tag("<fault>")]
    | Annotated[KillStep, Tag("<kill>")]
    | Annotated[RevertStep, Tag("<revert>")]
    | Annotated[WaitStep, Tag("<wait>")]
    | Annotated[CallStep, Tag("<call>")]
    | Annotated[Probe, Tag("<probe>")]
    | Annotated[ParallelStep, Tag("<parallel>")]
    | Annotated[BackgroundStep, Tag("<background>")]
    | Annotated[RepeatStep, Tag("<repeat>")]
)
Step = Annotated[_ONE, Discriminator(_tag)]
StepOrSteps = Annotated[_ONE | Annotated[list[Step], Tag("<list>")], Discriminator(_tag)]
QuietStep = Annotated[
    Annotated[RevertStep, Tag("<revert>")]
    | Annotated[WaitStep, Tag("<wait>")]
    | Annotated[CallStep, Tag("<call>")]
    | Annotated[Probe, Tag("<probe>")],
    Discriminator(_tag),
]


# ---------------------------------------------------------------- the rest


class Hypothesis(SpecModel):
    """When the steady state has to hold."""

    strategy: Strategy = Strategy.BOTH
    """before, after, both, during or continuous. Default both."""
    every: PositiveTime = 1.0
    """Time between looks of during and continuous. Default 1s."""


class Workload(SpecModel):
    """Clients that call an actor all the time and write down what they asked and heard."""

    path: PathText
    """Of the actor."""
    method: MethodName
    """Its method."""
    args: list[JsonValue] = []
    """Its arguments; ``{n}`` in a text becomes a value that no other call has, keys of mappings excepted. Default none.
    """
    rate: Annotated[float, Field(gt=0, le=10_000)] = 10.0
    """Calls in a second, of all clients. Default 10."""
    clients: Annotated[WholeNumber, Field(ge=1, le=64)] = 2
    """How many call at once. Default 2."""
    timeout: PositiveTime = 3.0
    """Time for one call. Default 3s."""
    appends: Flag = True
    """An acknowledged call has put one event with a unique text into the actor's journal. Default true, of an actor
    that keeps one."""
    id_field: str = "id"
    """Field of that event which holds it: any one of the texts with ``{n}``, as the call had it. Default id."""


class Abort(SpecModel):
    """When the run is broken off, everything undone, and the exit code 3."""

    max_faults: Count | None = None
    """More faults than this are asked for. Default no bound."""
    max_duration: PositiveTime = 600.0
    """It takes longer than this. Default 10m."""
    probe_fails: Flag = True
    """A steady-state probe fails while the method runs. Default true: what is broken already is not broken more."""


class Controls(SpecModel):
    """What is done around the steps, and what ends the run."""

    before_each: list[QuietStep] = []
    """Before each fault and call of the method. Default nothing."""
    after_each: list[QuietStep] = []
    """After it. Default nothing."""
    abort: Abort = Abort()


class Limits(SpecModel):
    """The blast radius."""

    max_targets: Count | None = None
    """Targets under fault at once. Default the topology's ``faults.max_targets``."""


class Experiment(SpecModel):
    """One experiment."""

    version: Literal[1] = 1
    """Of the format. Default 1."""
    title: Annotated[str, Field(min_length=1, max_length=200)]
    """One line for people."""
    description: str = ""
    """More for people. Default nothing."""
    system: str | None = None
    """The topology it is meant for, relative to this file: brought up when nothing runs. Default: what runs."""
    seed: WholeNumber = 1
    """All chance of the run comes from it. Default 1."""
    steady_state: list[Probe] = []
    """What is true of a system that is well. Default nothing."""
    method: list[Step] = []
    """What is done to it."""
    hypothesis: Hypothesis = Hypothesis()
    workload: Workload | None = None
    """Clients while the method runs. Default none."""
    rollbacks: list[QuietStep] = []
    """Done at the end, however it ends, after all faults were reverted. Default nothing."""
    controls: Controls = Controls()
    limits: Limits = Limits()
    settle: PositiveTime = 60.0
    """Time for everything to be well again at the end. Default 60s."""
