"""Keeps the spare pool full. A worker process costs 0.5-0.7 s of a core to start: paid here, before it is needed."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.core.errors import RayvisorError
from supervisors.runtime.store import HostRow
from supervisors.signals.client import PlaneClient
from supervisors.signals.messages import Preload
from supervisors.signals.proc import pid_alive
from supervisors.spec.compiled import CompiledTopology, SystemSpec, decode
from supervisors.trail.events import EventKind

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

_LOOK_EVERY = 0.25
#: seconds after a claim before a new spare is made, so that its start does not compete with the recovery
_REST = 0.5
#: seconds to wait after Ray failed to make one
_AFTER_FAILURE = 5.0


class SparePool:
    """The root supervisor's duty. Runs in the plane's thread; hosts are made in the factory's threads.

    Args:
        shell: the root supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._making = 0
        self._not_before = 0.0
        self._running = False
        #: spares that are ready
        self.ready = 0
        self._client = PlaneClient(shell.loop)
        self._told: set[str] = set()
        self._orphans: set[str] = set()
        self._modules: tuple[str, ...] | None = None
        self._wanted = shell.system.spares
        self._digest = ""

    def start(self) -> None:
        """Begin to look after the pool."""
        self._running = True
        self._shell.loop.every(_LOOK_EVERY, self._look)

    def stop(self) -> None:
        """Make no more."""
        self._running = False

    def claimed(self) -> None:
        """One was taken: let the recovery have the processor first."""
        self._not_before = self._shell.loop.now() + _REST

    def _look(self) -> None:
        if not self._running or self._shell.machine.ended:
            return
        self._follow_topology()
        rows = self._shell.store.hosts("(path='' AND pool='') OR state='creating'")
        self.ready = 0
        coming = self._making
        for row in rows:
            if row.state == "creating" and self._maker_is_gone(row):
                self._end_orphan(row)
            elif row.path or row.pool:
                continue
            elif row.state == "spare":
                if pid_alive(row.pid, row.start_time):
                    self.ready += 1
                    self._warm(row)
                else:
                    self._shell.factory.forget(row.id)
            elif row.creator != os.getpid():
                coming += 1
        # claimed since the last look, by whichever supervisor: rest first
        if self.ready + coming < self._wanted and self._rested():
            self._make()

    def _maker_is_gone(self, row: HostRow) -> bool:
        """True when the process that was making a host has ended; of one on another node nothing is known here."""
        if row.creator == os.getpid() or Path(f"/proc/{row.creator}").exists():
            return False
        return all(other.pid != row.creator for other in self._shell.store.hosts("local=0"))

    def _end_orphan(self, row: HostRow) -> None:
        """A host whose maker died before it was up: nobody will ever take it."""
        if row.id in self._orphans:
            return
        self._orphans.add(row.id)
        shell = self._shell

        def end() -> None:
            shell.factory.destroy(row)
            shell.trail.write(EventKind.ORPHAN_ENDED, "", data={"of": row.path, "host": row.id})

        shell.executor.submit(end)

    def _follow_topology(self) -> None:
        """Another one was applied, perhaps before this process began: its number of spares and its modules count."""
        digest = self._shell.store.get("digest")
        if digest != self._digest:
            self._digest = digest
            self._wanted = decode(self._shell.store.part("system"), SystemSpec).spares
            self._modules = None
            self._told.clear()

    def _warm(self, row: HostRow) -> None:
        """Have a spare import the topology's actors, once the tree is up and nothing else needs the processor."""
        if row.id in self._told or not self._shell.machine.booted or not self._rested():
            return
        if self._modules is None:
            self._modules = _modules_of(decode(self._shell.store.part("topology"), CompiledTopology))
        self._told.add(row.id)
        self._client.tell(row.endpoint, Preload(self._modules))
        self._shell.loop.call_later(5.0, lambda: self._client.forget(row.endpoint))

    def _rested(self) -> bool:
        now = self._shell.loop.now()
        claims = [row for row in self._shell.peers.values() if row.spare and now - row.since < _REST]
        return now >= self._not_before and not claims

    def _make(self) -> None:
        self._making += 1
        shell = self._shell

        def made(row: HostRow) -> None:
            shell.trail.write(EventKind.SPARE_STARTED, "", data={"pid": row.pid, "host": row.id})

        def make() -> None:
            began = time.monotonic()
            try:
                shell.factory.create_many(1, made=made)
            except RayvisorError as error:
                shell.log.warning("no spare after {:.1f} s: {}", time.monotonic() - began, error)
                shell.loop.call_soon(self._failed)
            shell.loop.call_soon(self._done)

        shell.executor.submit(make)

    def _done(self) -> None:
        self._making -= 1

    def _failed(self) -> None:
        self._not_before = self._shell.loop.now() + _AFTER_FAILURE


def _modules_of(topology: CompiledTopology) -> tuple[str, ...]:
    """Modules of all actors of a topology, and what a host needs to become a supervisor."""
    actors = [worker.actor for worker in topology.workers.values()]
    actors += [part.template.actor for part in topology.supervisors.values() if part.template is not None]
    names = dict.fromkeys(actor.partition(":")[0] for actor in actors)
    return ("supervisors.runtime.supervisor", *names)
