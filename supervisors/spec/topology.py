"""The topology: what a whole system is, as one unchangeable value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from supervisors.spec.enums import Environment
from supervisors.spec.faults import FaultsSettings
from supervisors.spec.fields import ChildId, Flag, ImportString, Period, ShutdownTime, SpecModel, TimeLimit, WholeNumber
from supervisors.spec.sections import Defaults, Logs, Metrics, Plane, Trail
from supervisors.spec.settings import (
    HeartbeatSettings,
    Member,
    Placement,
    Policy,
    SupervisorOptions,
    SupervisorSettings,
    WorkerSettings,
)
from supervisors.spec.state import FILE, StateAddress
from supervisors.tree.model import INFINITY

Config = dict[str, JsonValue]


class Worker(Member, WorkerSettings):
    """A child that does work: an actor class and its config."""

    actor: ImportString
    """Class to run, as ``module:Class``: an ``Actor``, any Python class, or a ``@ray.remote`` class."""
    config: Config = {}
    """Config of the actor: fields of its ``Config`` model, or keyword arguments of a plain class. Default none."""


class Template(WorkerSettings):
    """What every child of a ``simple_one_for_one`` supervisor is made from."""

    actor: ImportString
    """Class to run, as ``module:Class``."""
    config: Config = {}
    """Config all of them begin from; each may override keys of it. Default none."""
    policy: str | None = None
    """Name of a set of settings in ``policies``. Default null: ``defaults`` only."""
    significant: Flag = False
    """The end of one of them may end the supervisor, see ``auto_shutdown``. Default false (OTP)."""
    placement: Placement = Placement()
    """Where their processes may run. Default anywhere, taking nothing."""


class Branch(SpecModel):
    """What a supervisor has below it."""

    children: tuple[Child, ...] = ()
    """Children in start order; they stop in reverse order. Default none: they may be added while it runs."""
    template: Template | None = None
    """For simple_one_for_one: what its children are made from. Default null."""
    initial: Annotated[WholeNumber, Field(ge=0)] | tuple[Config, ...] = 0
    """For simple_one_for_one: children to start with, as a count or as a list of config overrides. Default 0."""
    max_children: Annotated[WholeNumber, Field(ge=1)] | None = None
    """For simple_one_for_one: most children at once. Default null: no limit (Elixir)."""


class Supervisor(Member, SupervisorSettings, Branch):
    """A child that supervises children of its own."""


class Root(SupervisorOptions, Branch):
    """The supervisor at the top. Nothing supervises it, so it has no restart settings of its own."""

    intensity: Annotated[WholeNumber, Field(ge=0)] = 5
    """Restarts allowed within ``period``; one more and the system ends. Default 5 (SUP-3)."""
    period: Period = 300
    """The window of ``intensity``, in whole seconds. Default 300s (SUP-3): the root gives up last."""
    shutdown: ShutdownTime = INFINITY
    """Time the whole system has to end. Default infinity: each child has a limit of its own (OTP)."""
    start_timeout: TimeLimit = INFINITY
    """Time for the whole system to start. Default infinity: each child has a limit of its own (OTP)."""
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    """How a dead or hung root is seen."""
    placement: Placement = Placement(node="launch")
    """Where its process may run. Default on the launching node."""


#: keys only a supervisor has: one of them, without ``actor``, makes a child a supervisor
SUPERVISOR_KEYS = frozenset(Branch.model_fields) | frozenset(SupervisorOptions.model_fields)


def _kind_of(value: object) -> str:
    """Worker or supervisor. What is neither is called a worker, so that the missing ``actor`` is what is reported."""
    if isinstance(value, dict):
        return "supervisor" if "actor" not in value and SUPERVISOR_KEYS & value.keys() else "worker"
    return "supervisor" if isinstance(value, Supervisor) else "worker"


Child = Annotated[
    Annotated[Worker, Tag("worker")] | Annotated[Supervisor, Tag("supervisor")],
    Discriminator(_kind_of),
]


class Topology(SpecModel):
    """One system: its settings and its tree."""

    version: Literal[1] = 1
    """Version of this file format. Default 1, the only one."""
    system: ChildId = "main"
    """Name of the system in views and file names. Default main."""
    defaults: Defaults = Defaults()
    """Settings for all children that do not say otherwise."""
    policies: dict[str, Policy] = {}
    """Named sets of child settings. Default none."""
    spares: Annotated[WholeNumber, Field(ge=0, le=1000)] = 2
    """Idle hosts kept ready on the launching node. Default 2: a restart then need not wait 0.6 s for a process, and
    a second failure close behind finds one too."""
    plane: Plane = Plane()
    """The signal plane."""
    metrics: Metrics = Metrics()
    """The Prometheus endpoint."""
    logs: Logs = Logs()
    """Log files."""
    trail: Trail = Trail()
    """The event record."""
    state: StateAddress = FILE
    """Where leases are kept: file, or a ``postgresql://`` address. Default file: in the data directory of the
    launching node, with nothing to install."""
    environment: Environment = Environment.DEVELOPMENT
    """development, staging or production. Default development. In production no faults may be enabled."""
    faults: FaultsSettings = FaultsSettings()
    """Faults on purpose."""
    tree: Root
    """The supervisor at the top."""


Branch.model_rebuild()
Supervisor.model_rebuild()
Root.model_rebuild()
Topology.model_rebuild()
