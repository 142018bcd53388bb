"""What processes are sent: every setting resolved, in frozen structs for msgpack.

A time without end is ``inf``, which JSON cannot carry: use msgpack on the wire (``encode``, ``decode``).
"""

import json
from typing import TypeVar

import msgspec

from supervisors.core import paths
from supervisors.core.errors import SpecError
from supervisors.core.paths import TreePath
from supervisors.recovery.policy import RecoverySpec
from supervisors.spec.enums import DeathWatch, LogLevel, Transport
from supervisors.tree.model import ChildSpec, SupervisorSpec

#: the id of the one child spec of a simple_one_for_one supervisor; its children get ids of their own
TEMPLATE_ID = "template"


class HeartbeatSpec(msgspec.Struct, frozen=True):
    """Beats every ``interval`` s; suspect after ``missed``; hung after ``hang_after`` s without progress (or never)."""

    interval: float = 0.1
    missed: int = 3
    hang_after: float | None = 2.0


class PlacementSpec(msgspec.Struct, frozen=True):
    """Where a process may run; see ``supervisors.spec.settings.Placement``."""

    node: str = "any"
    labels: dict[str, str] = {}
    resources: dict[str, float] = {}
    num_cpus: float = 0.0
    anti_affinity: tuple[str, ...] = ()


class WorkerSpec(msgspec.Struct, frozen=True):
    """All a host needs to run one worker.

    Attributes:
        path: place in the tree; for a template, the path of its supervisor.
        actor: import string ``module:Class``.
        config: the config as JSON.
        start_timeout: seconds, may be infinite.
        ready_timeout: seconds; None: started is ready.
        recovery: how it is brought back; None: a plain restart.
    """

    path: str
    actor: str
    config: bytes = b"{}"
    placement: PlacementSpec = PlacementSpec()
    heartbeat: HeartbeatSpec = HeartbeatSpec()
    start_timeout: float = 30.0
    ready_timeout: float | None = None
    recovery: RecoverySpec | None = None

    @property
    def standbys(self) -> int:
        """Standbys kept for it."""
        return self.recovery.standbys if self.recovery is not None else 0

    def instance(self, child_id: str, overrides: bytes = b"{}") -> "WorkerSpec":
        """From a template: the spec of the dynamic child ``child_id``.

        ``overrides`` is a JSON object; each of its keys replaces the template's key as a whole.

        Raises:
            SpecError: ``child_id`` is no id, or ``overrides`` is no JSON object.
        """
        if not paths.is_id(child_id):
            raise SpecError(f"{child_id!r} may not name a child", code=1106)
        changes = msgspec.json.decode(self.config) | _object(overrides)
        return msgspec.structs.replace(
            self, path=paths.join(TreePath(self.path), child_id), config=msgspec.json.encode(changes)
        )


class SupervisorPart(msgspec.Struct, frozen=True):
    """All one supervisor process needs: its own flags and the specs of its direct children.

    Attributes:
        path: place in the tree.
        spec: what the machine is told (flags, child specs in start order, or the template's).
        heartbeat: its own.
        placement: its own.
        workers: specs of direct workers by id.
        supervisors: ids of direct supervisors, in start order.
        template: for simple_one_for_one.
        initial: config overrides, as JSON objects, of the dynamic children started at boot.
    """

    path: str
    spec: SupervisorSpec
    heartbeat: HeartbeatSpec = HeartbeatSpec()
    placement: PlacementSpec = PlacementSpec()
    workers: dict[str, WorkerSpec] = {}
    supervisors: tuple[str, ...] = ()
    template: WorkerSpec | None = None
    initial: tuple[bytes, ...] = ()


class PlaneSpec(msgspec.Struct, frozen=True):
    """See ``supervisors.spec.sections.Plane``."""

    transport: Transport = Transport.AUTO
    bind: str = "127.0.0.1"
    death_watch: DeathWatch = DeathWatch.AUTO


class MetricsSpec(msgspec.Struct, frozen=True):
    """See ``supervisors.spec.sections.Metrics``."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 9464


class LogsSpec(msgspec.Struct, frozen=True):
    """See ``supervisors.spec.sections.Logs``; ``rotate`` in bytes."""

    level: LogLevel = LogLevel.INFO
    rotate: int = 20_000_000
    keep: int = 5
    lines_per_second: int = 1000


class TrailSpec(msgspec.Struct, frozen=True):
    """See ``supervisors.spec.sections.Trail``; ``rotate`` in bytes."""

    rotate: int = 50_000_000
    keep: int = 10


class DeclaredFault(msgspec.Struct, frozen=True):
    """A fault that the topology itself asks for (staging). ``after``: seconds from when the system is up."""

    fault: str
    path: str
    params: dict[str, str | int | float | bool] = {}
    after: float = 0.0
    seconds: float | None = None
    probability: float | None = None
    first: int = 0
    seed: int = 0


class FaultsSpec(msgspec.Struct, frozen=True):
    """Whether faults may be injected, how many targets at once, how long at most, and which from the beginning."""

    enabled: bool = False
    max_targets: int = 3
    longest: float = 600.0
    inject: tuple[DeclaredFault, ...] = ()


class SystemSpec(msgspec.Struct, frozen=True):
    """What all processes of one system share."""

    system: str = "main"
    spares: int = 2
    plane: PlaneSpec = PlaneSpec()
    metrics: MetricsSpec = MetricsSpec()
    logs: LogsSpec = LogsSpec()
    trail: TrailSpec = TrailSpec()
    #: where leases are kept: ``file`` (in the data directory) or a ``postgresql://`` address
    state: str = "file"
    #: development, staging or production
    environment: str = "development"
    faults: FaultsSpec = FaultsSpec()


class CompiledTopology(msgspec.Struct, frozen=True):
    """A whole topology, resolved.

    Attributes:
        system: settings all processes share.
        root: the root supervisor as if it were a child (id: the system's name): its shutdown and start times,
            and what its children meet when it crashes.
        supervisors: every supervisor's part by path, parents before children; ``/`` is the root.
        digest: sha256 (hex) of all the above: equal digests, equal systems.
    """

    system: SystemSpec
    root: ChildSpec
    supervisors: dict[str, SupervisorPart]
    digest: str = ""

    @property
    def workers(self) -> dict[str, WorkerSpec]:
        """Every static worker by path (made anew on each use)."""
        return {w.path: w for part in self.supervisors.values() for w in part.workers.values()}

    @property
    def processes(self) -> int:
        """Processes at boot: workers, initial dynamic children, their standbys, supervisors (root too), spares."""
        below = 0
        for part in self.supervisors.values():
            below += sum(1 + worker.standbys for worker in part.workers.values())
            below += len(part.initial) * (1 + part.template.standbys if part.template is not None else 1)
        return below + len(self.supervisors) + self.system.spares


_Spec = TypeVar("_Spec", CompiledTopology, SupervisorPart, WorkerSpec, SystemSpec)
_ENCODER = msgspec.msgpack.Encoder(order="deterministic")


def encode(spec: CompiledTopology | SupervisorPart | WorkerSpec | SystemSpec) -> bytes:
    """``spec`` as msgpack; equal specs give equal bytes."""
    return _ENCODER.encode(spec)


def decode(data: bytes, kind: type[_Spec]) -> _Spec:
    """Read what ``encode`` wrote.

    Raises:
        SpecError: ``data`` is not a ``kind``.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise SpecError(f"not a {kind.__name__}: {error}", code=1112) from error


def _object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise SpecError(f"config overrides are not JSON: {error}", code=1112) from error
    if not isinstance(value, dict):
        raise SpecError("config overrides must be a JSON object", code=1112)
    return value
