"""Leases from the supervisor's side: a life is given its epoch by the lease store before it may act (STA-4).

A holder is named ``host@node``. One whose process is proved gone is replaced at once; one that cannot be proved gone
(its node is lost or cut off) keeps its lease until it runs out, and its successor waits. A store that does not answer
says nothing about the peer: the start waits and is tried again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.core.errors import StoreUnavailable
from supervisors.recovery.policy import LeaseSpec
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import HostRow
from supervisors.signals.proc import pid_alive
from supervisors.state.leases import Grant, Held, LeaseStore, open_lease_store
from supervisors.trail.events import EventKind

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds before a store that did not answer is asked again
_ASK_AGAIN = 0.25


class Leases:
    """Asks the lease store for one supervisor. Entry points run in the plane's thread.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._store: LeaseStore | None = None
        self._down = False
        #: hosts whose end was seen for certain by this supervisor, on whatever node
        self.proved: set[str] = set()

    def _open(self) -> LeaseStore:
        if self._store is None:
            self._store = open_lease_store(
                self._shell.system.state, Path(self._shell.boot.data_dir), system=self._shell.system.system
            )
        return self._store

    def prepare(self) -> None:
        """Open the store before anything fails: what that imports takes milliseconds."""
        self._open()

    def doubt(self, peer: Peer) -> None:
        """Its node is lost: only its lease running out says that it acts no more."""
        if peer.host is not None and not peer.host.local:
            self.proved.discard(peer.host.id)

    def grant(self, peer: Peer, row: HostRow, spec: LeaseSpec, granted: Callable[[], None]) -> None:
        """Have ``peer`` hold the lease of its path, then call ``granted``; waits as long as it takes.

        Sets ``peer.epoch`` and ``peer.leased_at``. The start's own time-outs bound the wait.
        """
        if self._shell.system.state == "file":
            self._ask(peer, row, spec, granted, soon=lambda then: then())
        else:
            # a database may take a second to say that it is down: not in the plane's thread
            soon = self._shell.loop.call_soon
            self._shell.executor.submit(lambda: self._ask(peer, row, spec, granted, soon))

    def _ask(
        self,
        peer: Peer,
        row: HostRow,
        spec: LeaseSpec,
        granted: Callable[[], None],
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        shell = self._shell
        path = shell.child_path(peer.id)
        try:
            store = self._open()
            held = store.read(path)
            dead = held.holder if held is not None and self._is_gone(held.holder) else ""
            answer = store.acquire(path, holder_of(row), spec.expire, proved_dead=dead, floor=shell.store.next_epoch())
        except StoreUnavailable as error:
            why = str(error)
            soon(lambda: self._later(peer, row, spec, granted, _ASK_AGAIN, why))
            return
        if isinstance(answer, Held):
            wait = min(1.0, max(0.02, answer.left))
            why = f"{answer.holder} holds it for {answer.left:.1f} s more"
            soon(lambda: self._later(peer, row, spec, granted, wait, why))
            return
        soon(lambda: self._granted(peer, answer, granted))

    def _granted(self, peer: Peer, grant: Grant, granted: Callable[[], None]) -> None:
        peer.epoch = grant.token
        peer.leased_at = grant.asked_at
        if self._down:
            self._down = False
            self._shell.write(EventKind.LEASE, peer.id, peer.incarnation, data={"what": "acquired"})
        granted()

    def _later(
        self, peer: Peer, row: HostRow, spec: LeaseSpec, granted: Callable[[], None], wait: float, why: str
    ) -> None:
        shell = self._shell
        if peer.gone or shell.machine.ended:
            granted()  # it looks whether the life is still wanted
            return
        if not self._down:
            self._down = True
            shell.write(EventKind.LEASE, peer.id, peer.incarnation, data={"what": "waiting", "why": why})
        shell.loop.call_later(wait, lambda: self.grant(peer, row, spec, granted))

    def _is_gone(self, holder: str) -> bool:
        """True when no code of this holder can run any more."""
        host, _, node = holder.partition("@")
        if host in self.proved:
            return True
        row = self._shell.store.host(host)
        if row is None:
            # rows of this machine's hosts go only once their processes are gone; of others no one can say
            return node == self._shell.factory.node
        return row.local and not pid_alive(row.pid, row.start_time)


def holder_of(row: HostRow) -> str:
    """The name a host holds leases under."""
    return f"{row.id}@{row.node}"
