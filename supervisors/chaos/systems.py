"""What is known of the system an experiment is for: its places, its faults, what it allows."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from supervisors.chaos import codes
from supervisors.chaos.codes import Problem
from supervisors.chaos.document import Experiment
from supervisors.core.errors import SpecError
from supervisors.faults.catalogue import Catalogue, FaultKind
from supervisors.faults.kinds import CATALOGUE
from supervisors.spec.check import load_topology
from supervisors.spec.compiled import CompiledTopology, SupervisorPart
from supervisors.spec.imports import import_paths, importable, load_actor

#: seconds from a fault to recovered, where a child promises nothing else (REC-9)
DEFAULT_RTO = 30.0


class PlaceFacts(msgspec.Struct, frozen=True):
    """One place of the tree.

    Attributes:
        path: where.
        supervisor: it is one.
        journal, lease: the worker keeps a journal, holds a lease.
        standbys: it is to have.
        rto: seconds in which it is to be recovered.
    """

    path: str
    supervisor: bool = False
    journal: bool = False
    lease: bool = False
    standbys: int = 0
    rto: float = DEFAULT_RTO


class Known(msgspec.Struct, frozen=True):
    """What is known of the system; without a topology only the framework's faults are.

    Attributes:
        catalogue: faults there are.
        places: of the tree by path; None: not known.
        open_ended: paths of supervisors whose children come and go.
        topology: the file; None: whatever runs.
        name: of the system.
        digest: of the topology.
        max_targets, longest: what the topology allows; None: not known.
        own: the kinds of each worker's own class, by path.
    """

    catalogue: Catalogue = CATALOGUE
    places: dict[str, PlaceFacts] | None = None
    open_ended: frozenset[str] = frozenset()
    topology: Path | None = None
    name: str = ""
    digest: str = ""
    max_targets: int | None = None
    longest: float | None = None
    own: dict[str, tuple[str, ...]] = {}

    def has(self, path: str) -> bool:
        """Whether there may be a ``path`` in the tree."""
        if self.places is None or path in self.places:
            return True
        return any(path.startswith(f"{top.rstrip('/')}/") for top in self.open_ended)


def places_of(parts: Iterable[SupervisorPart]) -> dict[str, PlaceFacts]:
    """Every static place of the tree by path."""
    found: dict[str, PlaceFacts] = {}
    for part in parts:
        found[part.path] = PlaceFacts(part.path, supervisor=True)
        for worker in part.workers.values():
            recovery = worker.recovery
            rto = recovery.rto if recovery is not None and recovery.rto is not None else DEFAULT_RTO
            found[worker.path] = PlaceFacts(
                worker.path,
                journal=recovery is not None,
                lease=recovery is not None and recovery.lease is not None,
                standbys=worker.standbys,
                rto=rto,
            )
    return found


def known_of(experiment: Experiment, file: Path, *, import_actors: bool = True) -> tuple[Known, list[Problem]]:
    """What the topology that ``experiment`` names says, and what is wrong with naming it.

    Args:
        experiment: that was read from ``file``.
        file: relative to which its ``system`` is.
        import_actors: import the actors' classes, for the faults of their own.
    """
    if experiment.system is None:
        return Known(), []
    topology = file.parent / experiment.system
    name = experiment.system if len(experiment.system) <= 200 else f"{experiment.system[:200]}..."
    try:
        why = "" if topology.is_file() else f"there is no topology {name!r}"
    except (OSError, ValueError) as error:  # too long a name, or one that no file can have
        why = f"{name!r} names no file: {getattr(error, 'strerror', None) or error}"
    if why:
        fix = f"write the path from {file.parent} to it"
        return Known(), [Problem(codes.SYSTEM_UNUSABLE, ("system",), why, fix)]
    try:
        _, compiled = load_topology(topology, import_actors=import_actors)
    except SpecError as error:
        first = error.message.splitlines()[0]
        message = f"{experiment.system} cannot be used: {first[:200]}"
        return Known(), [Problem(codes.SYSTEM_UNUSABLE, ("system",), message, f"rayvisor check {experiment.system}")]
    known = known_from(compiled, topology, import_actors=import_actors)
    if not compiled.system.faults.enabled:
        message = f"{experiment.system} does not allow faults"
        fix = "add to it: faults: {enabled: true}"
        return known, [Problem(codes.FAULTS_OFF, ("system",), message, fix)]
    return known, []


def known_from(compiled: CompiledTopology, topology: Path, *, import_actors: bool = True) -> Known:
    """What a topology says that is fine."""
    own = own_kinds(compiled, topology) if import_actors else {}
    faults = compiled.system.faults
    kinds = {kind.name: kind for those in own.values() for kind in those}
    return Known(
        catalogue=Catalogue({**{kind.name: kind for kind in CATALOGUE}, **kinds}.values()),
        places=places_of(compiled.supervisors.values()),
        open_ended=frozenset(part.path for part in compiled.supervisors.values() if part.template is not None),
        topology=topology,
        name=compiled.system.system,
        digest=compiled.digest,
        max_targets=faults.max_targets,
        longest=faults.longest,
        own={path: tuple(kind.name for kind in those) for path, those in own.items()},
    )


def own_kinds(compiled: CompiledTopology, topology: Path) -> Mapping[str, tuple[FaultKind, ...]]:
    """The kinds of fault that the workers' own classes add, by path."""
    found: dict[str, tuple[FaultKind, ...]] = {}
    loaded: dict[str, tuple[FaultKind, ...]] = {}
    with importable(import_paths(topology)):
        for path, worker in compiled.workers.items():
            if worker.actor not in loaded:
                loaded[worker.actor] = _kinds_of(worker.actor)
            if loaded[worker.actor]:
                found[path] = loaded[worker.actor]
    return found


def _kinds_of(actor: str) -> tuple[FaultKind, ...]:
    try:
        declared: object = getattr(load_actor(actor).cls, "Faults", ())
    except SpecError:
        return ()  # told by the check of the topology
    those = declared if isinstance(declared, list | tuple) else ()
    return tuple(kind for kind in those if isinstance(kind, FaultKind))
