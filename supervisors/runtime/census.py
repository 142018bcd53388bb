"""Who could be hit by a fault now: the goal state and the compiled topology, put together as ``CensusRow``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from supervisors.core.errors import FaultError, LaunchError, RayvisorError
from supervisors.core.paths import ROOT, TreePath, parent_of
from supervisors.faults.catalogue import Catalogue, FaultKind, Target
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.request import Hit
from supervisors.faults.targets import CensusRow
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals.proc import pid_alive
from supervisors.spec.compiled import CompiledTopology, SystemSpec, WorkerSpec, decode
from supervisors.tree.child import ChildState

#: set by the launcher while it takes the system down
STOPPING = "stopping"


class Census:
    """Looks at one system's goal state. Cheap: no plane, no Ray.

    Args:
        data_dir: of the system, resolved.

    Raises:
        FaultError: no system was ever started there (9022).
    """

    def __init__(self, data_dir: Path) -> None:
        try:
            if not (data_dir / "goals.sqlite").exists():
                raise LaunchError(f"no system in {data_dir}")
            self.store = GoalStore(data_dir)
        except LaunchError as error:
            raise FaultError(error.message, code=9022, fix="rayvisor up starts one") from None
        self._packed = b""
        self._topology: CompiledTopology | None = None
        self._own: dict[str, dict[str, FaultKind]] = {}

    def close(self) -> None:
        """Close this thread's view of the goal state."""
        self.store.close()

    # ------------------------------------------------------------ the system

    def system(self) -> SystemSpec:
        """Settings of the system.

        Raises:
            FaultError: none was declared (9022).
        """
        try:
            return decode(self.store.part("system"), SystemSpec)
        except RayvisorError:
            raise FaultError("nothing runs here", code=9022, fix="rayvisor up starts it") from None

    def check_up(self) -> None:
        """Refuse unless the system is up.

        Raises:
            FaultError: it is not up, or is stopping (9022).
        """
        root = self.store.place(ROOT)
        host = self.store.host(root.host) if root is not None and root.host else None
        if root is None or host is None or not _lives(host):
            raise FaultError("nothing runs here", code=9022, fix="rayvisor up starts it")
        if self.store.get(STOPPING):
            raise FaultError("the system is stopping: no fault is injected any more", code=9022, fix="rayvisor up")
        if root.state != ChildState.RUNNING:
            raise FaultError(f"the system is not up: its root is {root.state}", code=9022, fix="wait until it is up")

    def topology(self) -> CompiledTopology:
        """What runs, as far as it is ordered; decoded again only when it changed.

        Raises:
            FaultError: nothing was declared (9022).
        """
        try:
            packed = self.store.part("topology")
        except LaunchError:
            raise FaultError("nothing runs here", code=9022, fix="rayvisor up starts it") from None
        if self._topology is None or packed != self._packed:
            self._topology, self._packed = decode(packed, CompiledTopology), packed
        return self._topology

    # ------------------------------------------------------------ rows

    def rows(self) -> list[CensusRow]:
        """All workers, standbys and supervisors there are to be, with the processes they have now."""
        topology = self.topology()
        workers = topology.workers
        hosts = {host.id: host for host in self.store.hosts()}
        places = {place.path: place for place in self.store.places()}
        found: list[CensusRow] = []
        for path in {**dict.fromkeys(topology.supervisors), **dict.fromkeys(workers), **dict.fromkeys(places)}:
            place = places.get(path)
            hit = _hit(hosts.get(place.host), place.incarnation) if place is not None else Hit()
            state = place.state if place is not None else ""
            above = "" if path == ROOT else parent_of(TreePath(path))
            part = topology.supervisors.get(path)
            if part is not None:
                below = [*part.workers.values(), *([part.template] if part.template is not None else [])]
                found.append(
                    CensusRow(
                        path,
                        Target.SUPERVISOR,
                        hit,
                        state,
                        above,
                        journal=any(_journals(one) for one in below),
                        lease=any(_leases(one) for one in below),
                    )
                )
                continue
            worker = workers.get(path) or self._template(topology, above)
            if worker is None:
                continue
            row = CensusRow(
                path,
                Target.WORKER,
                hit,
                state,
                above,
                worker.actor,
                _journals(worker),
                _leases(worker),
                worker.standbys,
            )
            found.append(row)
            found += _standbys(row, hosts.values())
        return found

    @staticmethod
    def _template(topology: CompiledTopology, supervisor: str) -> WorkerSpec | None:
        part = topology.supervisors.get(supervisor)
        return part.template if part is not None else None

    def host_of(self, path: str) -> HostRow | None:
        """The host that acts at ``path``, None when there is none."""
        place = self.store.place(path)
        host = self.store.host(place.host) if place is not None and place.host else None
        return host if host is not None and host.endpoint else None

    # ------------------------------------------------------------ kinds of actors

    def own_kinds(self, actor: str) -> dict[str, FaultKind]:
        """Kinds the class behind an import string adds; imports it. Empty when it cannot be imported here."""
        known = self._own.get(actor)
        if known is None:
            from supervisors.spec.fault_rules import own_kinds
            from supervisors.spec.imports import importable, load_actor

            search = self.store.get("search")
            try:
                with importable(tuple(search.split("\n")) if search else ()):
                    known = own_kinds(load_actor(actor).cls)
            except RayvisorError:
                known = {}
            self._own[actor] = known
        return known

    def catalogue(self) -> Catalogue:
        """The framework's kinds and those of the system's actors; two of one name: the first one's."""
        found = Catalogue(CATALOGUE)
        topology = self.topology()
        templates = [part.template for part in topology.supervisors.values() if part.template is not None]
        for actor in dict.fromkeys(worker.actor for worker in (*topology.workers.values(), *templates)):
            found.add(*(kind for kind in self.own_kinds(actor).values() if kind.name not in found))
        return found


def _hit(host: HostRow | None, incarnation: int, *, standby: bool = False) -> Hit:
    if host is None or not host.pid or not _lives(host):
        return Hit()
    return Hit(host.id, host.pid, host.start_time, host.endpoint, incarnation, standby, host.local)


def _standbys(row: CensusRow, hosts: Iterable[HostRow]) -> Iterator[CensusRow]:
    """One row for each standby there is; one without a process where some are wanted and none is there."""
    there = [
        hit
        for host in hosts
        if host.state == "standby" and host.path == row.path and (hit := _hit(host, 0, standby=True)).pid
    ]
    for hit in there or ([Hit(standby=True)] if row.standbys else []):
        yield msgspec.structs.replace(row, target=Target.STANDBY, hit=hit)


def _lives(host: HostRow) -> bool:
    return not host.local or pid_alive(host.pid, host.start_time)


def _journals(worker: WorkerSpec) -> bool:
    return worker.recovery is not None


def _leases(worker: WorkerSpec) -> bool:
    return worker.recovery is not None and worker.recovery.lease is not None
