"""What befalls the children in a simulation, as written in YAML: steps in simulated time.

    - {at: 1s, exit: {path: /cell/md, reason: crash, message: lost the feed}}
    - {at: 5s, repeat: {times: 3, every: 200ms, step: {exit: {path: /cell/md}}}}

or, with settings of the run beside them:

    topology: ../strategies/one_for_one.yaml
    for: 60s
    seed: 7
    steps: [...]
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from supervisors.core.durations import Duration
from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.spec.fields import Flag, PathText, ShutdownTime, SpecModel, WholeNumber
from supervisors.tree.model import Restart

Times = Annotated[WholeNumber, Field(ge=1)]


class Target(SpecModel):
    """Names one place of the tree."""

    path: PathText
    """Whom it befalls, such as ``/cell/md``."""


class ExitAction(Target):
    """The process ends by itself. A supervisor that ends abruptly leaves its children running."""

    reason: ExitKind = ExitKind.CRASH
    """Why; ``normal`` and ``shutdown`` are not abnormal. Default crash."""
    message: str = ""
    """A line for people. Default none."""
    when_up: Flag = False
    """If it is not up at that time, it ends as soon as it is. Default false: then nothing happens."""

    @property
    def exit_reason(self) -> ExitReason:
        """As the world takes it."""
        is_normal = self.reason in (ExitKind.NORMAL, ExitKind.SHUTDOWN)
        return ExitReason(self.reason, self.message or ("" if is_normal else "scripted"))


class FailStarts(Target):
    """Coming starts fail."""

    times: Times | None = None
    """How many. Default null: all of them."""
    reason: ExitKind = ExitKind.INIT_ERROR
    """Why. Default init_error."""
    message: str = ""
    """A line for people. Default none."""

    @property
    def exit_reason(self) -> ExitReason:
        """As the world takes it."""
        return ExitReason(self.reason, self.message or "scripted start failure")


class SomeStarts(Target):
    """Coming starts answer ``ignore``, or do not return."""

    times: Times | None = None
    """How many. Default null: all of them."""

    @property
    def count(self) -> float:
        """``times``, or infinity."""
        return inf if self.times is None else self.times


class Silence(StrEnum):
    """``silent``: the whole process stands still and beats are missed; ``stuck``: it beats without progress."""

    SILENT = "silent"
    STUCK = "stuck"


class Hang(Target):
    """The process lives, but does nothing any more. Seen after the time its ``heartbeat`` settings give."""

    how: Silence = Silence.SILENT
    """silent: seen after ``interval x missed``; stuck: seen after ``hang_after``. Default silent."""


class IgnoreStop(Target):
    """The child does not react to orders to stop and has to be killed."""

    on: Flag = True
    """false: from now on it reacts again. Default true."""


class Timing(Target):
    """How long this child takes from now on."""

    start: Duration | None = None
    """To start. Default null: unchanged."""
    stop: Duration | None = None
    """To end when told. Default null: unchanged."""
    ready: Duration | None = None
    """From started to ready, where it has a ``ready_timeout``. Default null: unchanged."""


class StartChildAction(Target):
    """An order to start a child that the topology does not list."""

    restart: Restart = Restart.PERMANENT
    """Restart type, unless the child comes from a template. Default permanent."""
    shutdown: ShutdownTime = 5.0
    """Time to end when told, unless the child comes from a template. Default 5s."""


class Hold(SomeStarts):
    """Coming starts of a worker wait for a person."""


class Repeat(SpecModel):
    """One step many times."""

    times: Annotated[WholeNumber, Field(ge=1, le=1_000_000)]
    """How often."""
    every: Duration
    """Time from one to the next."""
    step: Step
    """What; its ``at`` counts from each repetition's own time."""


class RandomExits(SpecModel):
    """Failures by chance, the same for the same seed."""

    rate_per_s: Annotated[float, Field(gt=0, le=100_000)]
    """Mean failures a second over all paths (Poisson)."""
    for_: Annotated[Duration, Field(alias="for")]
    """How long."""
    paths: Annotated[str, Field(pattern="^/")] = "/**"
    """Which workers: ``*`` stands for anything within one level, ``**`` for any number of levels. Default all."""
    reasons: Annotated[tuple[ExitKind, ...], Field(min_length=1)] = (ExitKind.CRASH,)
    """Reasons to choose from. Default crash."""
    seed: WholeNumber | None = None
    """Default null: the run's seed."""


class Shutdown(SpecModel):
    """The whole system is told to end."""


class Step(SpecModel):
    """One thing at one time. Exactly one of the keys beside ``at``."""

    at: Duration = 0.0
    """When, from the start of the simulation. Default 0s."""
    exit: ExitAction | None = None
    """A process ends by itself."""
    hang: Hang | None = None
    """A process falls silent."""
    crash_supervisor: Target | None = None
    """A supervisor's process is killed; its children run on."""
    fail_starts: FailStarts | None = None
    """Coming starts fail."""
    ignore_starts: SomeStarts | None = None
    """Coming starts answer ``ignore``."""
    never_start: SomeStarts | None = None
    """Coming starts do not return."""
    hold: Hold | None = None
    """Coming starts of a worker wait for a person."""
    release: Target | None = None
    """A person agrees: a held worker starts."""
    reject: Target | None = None
    """A person refuses: a held worker stays down."""
    ignore_stop: IgnoreStop | None = None
    """Orders to stop are not followed."""
    timing: Timing | None = None
    """Starts and stops take time."""
    start_child: StartChildAction | None = None
    """Order: start one more child; for a template's child, the supervisor's path or a path below it."""
    stop_child: Target | None = None
    """Order: stop a child (OTP's terminate_child)."""
    restart_child: Target | None = None
    """Order: start a stopped child again."""
    delete_child: Target | None = None
    """Order: forget a stopped child."""
    repeat: Repeat | None = None
    """A step many times."""
    random_exits: RandomExits | None = None
    """Failures by chance."""
    shutdown: Shutdown | None = None
    """The whole system is told to end."""

    @model_validator(mode="after")
    def _one_action(self) -> Step:
        given = [name for name in ACTIONS if name in self.model_fields_set]
        if len(given) != 1:
            raise PydanticCustomError(
                "one_action", "a step takes exactly one action, not {count}", {"count": len(given)}
            )
        if getattr(self, given[0]) is None:
            raise PydanticCustomError("one_action", "{name} may not be null", {"name": given[0]})
        return self


class Script(SpecModel):
    """A whole simulation."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    topology: str | None = None
    """The topology file, from this file's folder. Default null: named when the simulation is started."""
    for_: Annotated[Duration | None, Field(alias="for")] = None
    """Simulated time to run. Default null: until nothing is to happen any more, at most ten minutes past the last
    step."""
    seed: WholeNumber = 0
    """Of backoff jitter and random failures. Default 0."""
    start_takes: Duration = 0.0
    """Time each start takes. Default 0s: the supervisors' own delays stand out."""
    stop_takes: Duration = 0.0
    """Time each ordered stop takes. Default 0s."""
    steps: tuple[Step, ...] = ()
    """What happens. Default nothing: the system starts and runs."""


ACTIONS: tuple[str, ...] = tuple(name for name in Step.model_fields if name != "at")
Repeat.model_rebuild()
Step.model_rebuild()
Script.model_rebuild()
