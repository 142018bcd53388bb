"""Leases from the supervisor's side: a life is given its epoch by the lease store before it may act (STA-4).

A holder on this machine is named ``host@node/pid/start/boot``, one on another ``host@node``. One whose process is
proved gone is replaced at once; one that cannot be proved gone (its node is lost or cut off) keeps its lease until it
runs out, and its successor waits. A store that does not answer says nothing about the peer: the start waits and is
tried again.

``continue_if_all_peers_agree``: while the store is silent a holder acts on the word of its supervisor. The word counts
from when it was asked for and for less than ``expire``; whoever gave it lets nobody else act for ``expire`` seconds
unless that life is proved dead, and its replacement keeps to it: the time of the last word is in the goal state.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.core.errors import StoreUnavailable
from supervisors.faults.leases import FaultLeases
from supervisors.recovery.policy import LeaseSpec, StoreLoss
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import HostRow
from supervisors.signals.messages import Agree, AskAgree
from supervisors.signals.proc import pid_alive
from supervisors.state.disk import boot_id
from supervisors.state.leases import BOOT_CLOCK, Grant, Held, LeaseStore, open_lease_store
from supervisors.trail.events import EventKind

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds before a store that did not answer is asked again
_ASK_AGAIN = 0.25
_AGREED = "agreed:"
#: tokens kept ready for a path: they are drawn from one count for the whole system
_RESERVED = 10_000


class Leases:
    """Asks the lease store for one supervisor. Entry points run in the plane's thread.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._store: LeaseStore | None = None
        #: paths whose grant is waited for: told once each
        self._waiting: set[str] = set()
        #: hosts whose end was seen for certain by this supervisor, on whatever node
        self.proved: set[str] = set()

    def _open(self) -> LeaseStore:
        if self._store is None:
            system = self._shell.system
            store = open_lease_store(system.state, Path(self._shell.boot.data_dir), system=system.system)
            self._store = FaultLeases(store, self._shell.fault_slot) if system.faults.enabled else store
        return self._store

    def prepare(self) -> None:
        """Open the store before anything fails: what that imports takes milliseconds."""
        self._open()

    def reserve(self, child_id: str) -> None:
        """Let the next grant of this child's path be quick: its standby may be promoted any moment."""
        shell = self._shell
        if shell.hosting.lease_of(child_id) is None:
            return
        path = shell.child_path(child_id)

        def reserve() -> None:
            with suppress(StoreUnavailable):
                self._open().reserve(path, _RESERVED)

        shell.executor.submit(reserve)

    def doubt(self, peer: Peer) -> None:
        """Its node is lost: only its lease running out says that it acts no more."""
        if peer.host is not None and not peer.host.local:
            self.proved.discard(peer.host.id)

    def grant(self, peer: Peer, row: HostRow, spec: LeaseSpec, granted: Callable[[], None]) -> None:
        """Have ``peer`` hold the lease of its path, then call ``granted``; waits as long as it takes.

        Sets ``peer.epoch``, ``peer.leased_at`` and ``peer.holder``. The start's own time-outs bound the wait.
        """
        peer.holder = self._holder_of(row)
        store = self._open()
        if self._shell.system.state == "file" and not (isinstance(store, FaultLeases) and store.busy):
            self._ask(peer, row, spec, granted, soon=lambda then: then())
        else:
            # a database, or a fault, may take a second to say that it is down: not in the plane's thread
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
            if held is not None and not dead and held.holder != peer.holder and (wait := self._bound(path, spec)) > 0:
                soon(
                    lambda: self._later(peer, row, spec, granted, min(1.0, wait), "its supervisor agreed that it acts")
                )
                return
            answer = store.acquire(path, peer.holder, spec.expire, proved_dead=dead, floor=shell.store.next_epoch())
        except (StoreUnavailable, sqlite3.Error) as error:  # the goal state's disk may be full
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
        if peer.id in self._waiting:
            self._waiting.discard(peer.id)
            self._shell.write(EventKind.LEASE, peer.id, peer.incarnation, data={"what": "acquired"})
            self._shell.recovering.not_begun(peer)
        granted()

    def _later(
        self, peer: Peer, row: HostRow, spec: LeaseSpec, granted: Callable[[], None], wait: float, why: str
    ) -> None:
        shell = self._shell
        if peer.gone or shell.machine.ended:
            self._waiting.discard(peer.id)
            granted()  # it looks whether the life is still wanted
            return
        shell.recovering.not_begun(peer)
        if peer.id not in self._waiting:
            self._waiting.add(peer.id)
            shell.write(EventKind.LEASE, peer.id, peer.incarnation, data={"what": "waiting", "why": why})
        shell.loop.call_later(wait, lambda: self.grant(peer, row, spec, granted))

    # ------------------------------------------------------------ the supervisor's word

    def agree(self, peer: Peer, question: AskAgree) -> None:
        """A holder asks whether anybody else acts at its path: answered only while it is this path's life."""
        shell = self._shell
        spec = shell.hosting.lease_of(peer.id)
        current = shell.peers.get(peer.id) is peer and not peer.gone and peer.incarnation == question.incarnation
        if spec is None or spec.on_store_loss is not StoreLoss.CONTINUE or not current or peer.end is not None:
            return
        if shell.is_stopping(peer.id) or peer.kill_reason is not None:
            return
        path = shell.child_path(peer.id)
        shell.store.put(**{_AGREED + path: repr(BOOT_CLOCK.monotonic())})  # before it is said
        shell.send(peer, Agree(path, peer.incarnation, question.asked))

    def _bound(self, path: str, spec: LeaseSpec) -> float:
        """Seconds for which a word given binds us still; a time from before the machine's start binds nobody."""
        said = self._shell.store.get(_AGREED + path)
        age = BOOT_CLOCK.monotonic() - float(said) if said else spec.expire
        return spec.expire - age if age >= 0 else 0.0

    # ------------------------------------------------------------ names

    def _holder_of(self, row: HostRow) -> str:
        if not row.local:
            return f"{row.id}@{row.node}"
        return f"{row.id}@{row.node}/{row.pid}/{row.start_time}/{boot_id()}"

    def _is_gone(self, holder: str) -> bool:
        """True when no code of this holder can run any more."""
        host, _, rest = holder.partition("@")
        if host in self.proved:
            return True
        words = rest.split("/")
        if len(words) != 4:
            return False  # on another machine: only its agent's word, or time
        _, pid, start_time, boot = words
        # another boot of this machine, or another machine: the store knows which
        return bool(boot) and boot == boot_id() and not pid_alive(int(pid), int(start_time))
