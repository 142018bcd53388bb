"""From the topology as written to what processes are sent."""

import hashlib

import msgspec

from supervisors.core.errors import SpecError
from supervisors.core.paths import id_of
from supervisors.spec.codes import Severity
from supervisors.spec.compiled import (
    TEMPLATE_ID,
    CompiledTopology,
    DeclaredFault,
    FaultsSpec,
    HeartbeatSpec,
    LogsSpec,
    MetricsSpec,
    PlacementSpec,
    PlaneSpec,
    SupervisorPart,
    SystemSpec,
    TrailSpec,
    WorkerSpec,
    encode,
)
from supervisors.spec.findings import yaml_path
from supervisors.spec.recovery_compile import compile_recovery, json_bytes, start_limit
from supervisors.spec.resolve import Resolution, ResolvedSupervisor, ResolvedWorker, resolve
from supervisors.spec.rules import combination_problems
from supervisors.spec.settings import BackoffSettings, HeartbeatSettings, Placement
from supervisors.spec.topology import Config, Topology
from supervisors.tree.model import (
    Backoff,
    Budget,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    SupervisorFlags,
    SupervisorSpec,
)


def compile_topology(topology: Topology) -> CompiledTopology:
    """Resolve ``topology`` for the processes that will run it. Imports no actor and checks no config.

    Raises:
        SpecError: values do not go together (see ``rules.combination_problems``); the message lists all of them.
    """
    resolution = resolve(topology)
    problems = combination_problems(topology, resolution)
    errors = [p for p in problems if p.severity is Severity.ERROR]
    if errors:
        lines = [f"{yaml_path(p.loc)}: E{p.code} {p.message} — fix: {p.fix}" for p in errors]
        raise SpecError("\n".join(lines), code=errors[0].code)
    return compile_resolved(topology, resolution)


def compile_resolved(topology: Topology, resolution: Resolution) -> CompiledTopology:
    """The second half of ``compile_topology``, for a resolution known to have no errors."""
    root = resolution.root
    compiled = CompiledTopology(
        system=SystemSpec(
            system=topology.system,
            spares=topology.spares,
            plane=msgspec.convert(topology.plane.model_dump(), PlaneSpec),
            metrics=msgspec.convert(topology.metrics.model_dump(), MetricsSpec),
            logs=msgspec.convert(topology.logs.model_dump(), LogsSpec),
            trail=msgspec.convert(topology.trail.model_dump(), TrailSpec),
            state=topology.state,
            environment=topology.environment.value,
            faults=_faults(topology),
        ),
        root=_child(root, topology.system),
        supervisors={part.path: part for part in map(_part, root.walk())},
    )
    return msgspec.structs.replace(compiled, digest=hashlib.sha256(encode(compiled)).hexdigest())


def _faults(topology: Topology) -> FaultsSpec:
    faults = topology.faults
    declared = tuple(
        DeclaredFault(
            fault=one.fault,
            path=one.path,
            params={name: value for name, value in one.params.items() if isinstance(value, str | int | float | bool)},
            after=one.after,
            seconds=one.seconds,
            probability=one.probability,
            first=one.first,
            seed=one.seed,
        )
        for one in faults.inject
    )
    return FaultsSpec(faults.enabled, faults.max_targets, faults.longest, declared)


def _part(node: ResolvedSupervisor) -> SupervisorPart:
    options = node.options
    flags = SupervisorFlags(
        strategy=options.strategy,
        intensity=options.intensity,
        period=options.period,
        auto_shutdown=options.auto_shutdown,
        max_children=node.node.max_children,
        budgets=tuple(Budget(budget.kinds, budget.intensity, budget.period) for budget in options.budgets),
    )
    children = tuple(_child(c, id_of(c.path)) for c in node.children)
    if node.template is not None:
        children = (_child(node.template, TEMPLATE_ID),)
    return SupervisorPart(
        path=node.path,
        spec=SupervisorSpec(flags, children),
        heartbeat=_heartbeat(node.settings.heartbeat),
        placement=_placement(node.node.placement),
        workers={id_of(c.path): _worker(c) for c in node.children if isinstance(c, ResolvedWorker)},
        supervisors=tuple(id_of(c.path) for c in node.children if isinstance(c, ResolvedSupervisor)),
        template=None if node.template is None else _worker(node.template),
        initial=_initial(node.node.initial),
    )


def _child(node: ResolvedWorker | ResolvedSupervisor, child_id: str) -> ChildSpec:
    settings = node.settings
    recovers = isinstance(node, ResolvedWorker) and node.settings.recovery is not None
    return ChildSpec(
        id=child_id,
        restart=settings.restart,
        shutdown=settings.shutdown,
        type=ChildType.SUPERVISOR if isinstance(node, ResolvedSupervisor) else ChildType.WORKER,
        significant=getattr(node.node, "significant", False) is True,
        start_timeout=start_limit(node.settings) if isinstance(node, ResolvedWorker) else settings.start_timeout,
        ready_timeout=settings.ready_timeout,
        backoff=_backoff(settings.backoff),
        max_consecutive=settings.max_consecutive,
        on_crash=node.options.on_supervisor_crash
        if isinstance(node, ResolvedSupervisor)
        else OnSupervisorCrash.TERMINATE,
        concurrent=recovers,
    )


def _worker(node: ResolvedWorker) -> WorkerSpec:
    return WorkerSpec(
        path=node.path,
        actor=node.node.actor,
        config=config_json(node.node.config),
        placement=_placement(node.node.placement),
        heartbeat=_heartbeat(node.settings.heartbeat),
        start_timeout=node.settings.start_timeout,
        ready_timeout=node.settings.ready_timeout,
        recovery=compile_recovery(node.settings.recovery),
    )


def config_json(config: Config) -> bytes:
    """A config as compact JSON, keys in the order of the alphabet so that equal configs give equal digests.

    Raises:
        ValueError: it holds a number JSON cannot carry (``.inf``, ``.nan``).
    """
    return json_bytes(config)


def _initial(initial: int | tuple[Config, ...]) -> tuple[bytes, ...]:
    if isinstance(initial, int):
        return (b"{}",) * initial
    return tuple(config_json(overrides) for overrides in initial)


def _backoff(settings: BackoffSettings | None) -> Backoff | None:
    if settings is None:
        return None
    return Backoff(settings.base, settings.cap, settings.jitter, settings.immediate, settings.reset_after)


def _heartbeat(settings: HeartbeatSettings) -> HeartbeatSpec:
    return HeartbeatSpec(settings.interval, settings.missed, settings.hang_after)


def _placement(placement: Placement) -> PlacementSpec:
    return PlacementSpec(
        node=placement.node,
        labels=dict(placement.labels),
        resources=dict(placement.resources),
        num_cpus=placement.num_cpus,
        anti_affinity=tuple(placement.anti_affinity),
    )
