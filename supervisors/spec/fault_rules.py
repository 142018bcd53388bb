"""Faults a topology declares, held against the catalogue, the tree and the classes of its actors (FLT-1)."""

from collections.abc import Iterable, Iterator, Mapping

from supervisors.core.durations import format_duration
from supervisors.core.errors import FaultError
from supervisors.core.paths import TreePath, id_of, parent_of
from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.values import read_value
from supervisors.spec import codes
from supervisors.spec.enums import Environment
from supervisors.spec.faults import DeclaredFaultSettings
from supervisors.spec.findings import Loc, Problem, did_you_mean
from supervisors.spec.imports import ActorClass
from supervisors.spec.resolve import Resolution, ResolvedSupervisor, ResolvedWorker
from supervisors.spec.topology import Topology

_Node = ResolvedWorker | ResolvedSupervisor


def fault_errors(topology: Topology, resolution: Resolution) -> list[Problem]:
    """What is wrong with ``faults``, but for the kinds of the actors' own: see ``own_fault_errors``."""
    problems = list(_production(topology))
    nodes = _nodes(resolution)
    for index, declared in enumerate(topology.faults.inject):
        loc: Loc = ("faults", "inject", index)
        kind = CATALOGUE.find(declared.fault) if declared.fault in CATALOGUE else None
        problems += _place(kind, declared, nodes, loc)
        if kind is not None:
            problems += _parameters(kind, declared, topology.faults.longest, loc)
    return problems


def own_fault_errors(
    topology: Topology, resolution: Resolution, classes: Mapping[Loc, tuple[ResolvedWorker, ActorClass]]
) -> list[Problem]:
    """Faults that actors carry out themselves (their own, and those of a proxy), held against what each class names.

    Args:
        topology: all of it.
        resolution: its tree.
        classes: worker and class by place; only those that could be imported.
    """
    problems: list[Problem] = []
    by_path: dict[str, dict[str, FaultKind]] = {worker.path: own_kinds(actor.cls) for worker, actor in classes.values()}
    every = {name: kind for kinds in by_path.values() for name, kind in kinds.items()}
    lost = {worker.path for worker in _workers(resolution)} - by_path.keys()
    nodes = _nodes(resolution)
    for index, declared in enumerate(topology.faults.inject):
        loc: Loc = ("faults", "inject", index)
        ours = declared.fault in CATALOGUE
        if ours and CATALOGUE.find(declared.fault).where is not Where.ACTOR:
            continue
        place = _place_of(declared.path, nodes)
        own = by_path.get(place, {}).get(declared.fault)
        if own is not None:
            # those of the framework were looked at with the others
            problems += () if ours else _parameters(own, declared, topology.faults.longest, loc)
        elif not ours and declared.fault in every and isinstance(nodes.get(declared.path), ResolvedSupervisor):
            message = f"{declared.fault} cannot hit {declared.path}: it is a supervisor"
            problems.append(Problem(codes.FAULT_TARGET, (*loc, "path"), message, "name a worker below it"))
        elif (ours or declared.fault in every) and place in by_path:
            others = ", ".join(sorted(path for path, kinds in by_path.items() if declared.fault in kinds))
            message = f"the actor at {declared.path} has no fault {declared.fault!r}"
            fix = f"it is one of {others}" if others else "no actor of this topology has it; see: rayvisor inject list"
            problems.append(Problem(codes.FAULT_TARGET, (*loc, "path"), message, fix))
        elif not ours and declared.fault not in every and not lost:
            # an actor that cannot be imported may have it: that is told first
            known = [*(kind.name for kind in CATALOGUE), *every]
            message = f"there is no fault called {declared.fault!r}"
            problems.append(Problem(codes.UNKNOWN_FAULT, (*loc, "fault"), message, _near(declared.fault, known)))
    return problems


def own_kinds(cls: type) -> dict[str, FaultKind]:
    """Kinds of fault a class adds by its attribute ``Faults``, by name; what is none is left out."""
    found = getattr(cls, "Faults", ())
    if not isinstance(found, Iterable):
        return {}
    return {kind.name: kind for kind in found if isinstance(kind, FaultKind)}


def faults_idle(topology: Topology) -> Iterator[Problem]:
    """Faults that are declared and will not happen."""
    faults = topology.faults
    if faults.inject and not faults.enabled:
        count = f"{len(faults.inject)} fault{'' if len(faults.inject) == 1 else 's'}"
        message = f"{count} declared, but faults are not enabled: none will be injected"
        fix = "set faults.enabled: true, or remove inject"
        yield Problem(codes.FAULTS_IDLE, ("faults", "inject"), message, fix, on_key=True)


def _production(topology: Topology) -> Iterator[Problem]:
    faults = topology.faults
    if not faults.enabled or topology.environment is not Environment.PRODUCTION:
        return
    if faults.allow_in_production == topology.system:
        return
    loc: Loc = ("faults", "enabled")
    why = ""
    if faults.allow_in_production:
        loc = ("faults", "allow_in_production")
        why = f", and allow_in_production names {faults.allow_in_production!r}, not this system ({topology.system})"
    message = f"faults are enabled in production{why}"
    fix = f"set enabled: false, or allow_in_production: {topology.system} if you mean it"
    yield Problem(codes.FAULTS_IN_PRODUCTION, loc, message, fix)


def _place(
    kind: FaultKind | None, declared: DeclaredFaultSettings, nodes: Mapping[str, _Node], loc: Loc
) -> Iterator[Problem]:
    at: Loc = (*loc, "path")
    node = _node_at(declared.path, nodes)
    if node is None:
        message = f"there is no {declared.path} in the tree"
        yield Problem(codes.FAULT_TARGET, at, message, did_you_mean(declared.path, nodes))
    elif kind is not None and (why := _unfit(kind, node)):
        yield Problem(codes.FAULT_TARGET, at, f"{kind.name} cannot hit {declared.path}: {why[0]}", why[1])


def _node_at(path: str, nodes: Mapping[str, _Node]) -> _Node | None:
    """What is, or may come to be, at a path: a dynamic child may or may not be there when its time comes."""
    node = nodes.get(path)
    if node is None and path != "/" and id_of(TreePath(path)):
        above = nodes.get(parent_of(TreePath(path)))
        if isinstance(above, ResolvedSupervisor):
            node = above.template
    return node


def _place_of(path: str, nodes: Mapping[str, _Node]) -> str:
    """Where the worker at a path stands in the topology: a dynamic child's is its template's; empty: no worker."""
    node = _node_at(path, nodes)
    return node.path if isinstance(node, ResolvedWorker) else ""


def _unfit(kind: FaultKind, node: _Node) -> tuple[str, str] | None:
    """Why a kind cannot hit what is there, and what to do."""
    if isinstance(node, ResolvedSupervisor):
        if Target.SUPERVISOR in kind.targets:
            return None
        return "it is a supervisor", "name a worker below it"
    if Target.WORKER not in kind.targets and Target.STANDBY not in kind.targets:
        return "it is a worker", "name a supervisor"
    recovery = node.settings.recovery
    if kind.needs_journal and recovery is None:
        return "it keeps no journal", "give it recovery"
    if kind.needs_lease and (recovery is None or recovery.lease is None):
        return "it holds no lease", "give it recovery with a lease"
    if kind.needs_standby and (recovery is None or not recovery.standbys):
        return "it has no standby", "give it recovery with standbys"
    return None


def _parameters(kind: FaultKind, declared: DeclaredFaultSettings, longest: float, loc: Loc) -> Iterator[Problem]:
    if declared.seconds is not None and declared.seconds > longest:
        message = f"for: {format_duration(declared.seconds)} is longer than faults.longest"
        fix = f"at most {format_duration(longest)}, or raise longest"
        yield Problem(codes.FAULT_PARAMETER, (*loc, "for"), message, fix)
    known = {parameter.name: parameter for parameter in kind.parameters}
    for name, value in declared.params.items():
        at: Loc = (*loc, "params", name)
        if name not in known:
            fix = did_you_mean(name, known)
            yield Problem(codes.FAULT_PARAMETER, at, f"{kind.name} has no parameter {name!r}", fix, on_key=True)
        elif not isinstance(value, str | int | float | bool):
            fix = known[name].about
            yield Problem(codes.FAULT_PARAMETER, at, f"{kind.name}: {name} must be a single value", fix)
        else:
            try:
                read_value(kind.name, known[name], value)
            except FaultError as error:
                yield Problem(codes.FAULT_PARAMETER, at, error.message, error.fix)
    for name, parameter in known.items():
        if parameter.default is None and name not in declared.params:
            message = f"{kind.name} needs the parameter {name}: {parameter.about}"
            yield Problem(codes.FAULT_PARAMETER, loc, message, f"add params: {{{name}: ...}}")


def _near(name: str, known: list[str]) -> str:
    fix = did_you_mean(name, known)
    return fix if fix.startswith("did") else "rayvisor inject list shows all"


def _nodes(resolution: Resolution) -> dict[str, _Node]:
    found: dict[str, _Node] = {}
    for node in resolution.root.walk():
        found[node.path] = node
        for child in node.children:
            found.setdefault(child.path, child)
    return found


def _workers(resolution: Resolution) -> Iterator[ResolvedWorker]:
    for node in resolution.root.walk():
        yield from node.workers
