"""Gives children their hosts: a spare, one in the making or a new one; leased where the policy says so; then assigned.

A host is assigned once; an assignment that is not acknowledged in time counts as a dead host.
"""

from typing import TYPE_CHECKING

from supervisors.core.errors import RayvisorError
from supervisors.core.reasons import init_error
from supervisors.runtime.factory import is_default
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import HostRow
from supervisors.signals.messages import Assign, Promote
from supervisors.signals.proc import pid_alive
from supervisors.spec.compiled import PlacementSpec, WorkerSpec
from supervisors.spec.compiled import encode as encode_spec
from supervisors.tree.child import ChildState
from supervisors.tree.messages import ChildStartFailed, StartChild

if TYPE_CHECKING:
    from supervisors.recovery.policy import LeaseSpec, RecoverySpec
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds a host gets to acknowledge its assignment before another one is taken
ACK_TIMEOUT = 2.0
#: hosts tried for one start
MAX_ATTEMPTS = 3


class Hosting:
    """Finds, leases and assigns hosts for one supervisor. Runs in the plane's thread.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        #: hosts that took no assignment and are being ended, with the start they were meant for
        self._deaf: dict[str, StartChild] = {}

    # ------------------------------------------------------------ a new process

    def begin(self, order: StartChild, rung: str = "", *, named: bool = False) -> Peer:
        """Bring up a life of a child in a process of its own; ``rung`` (a person ``named`` it) restores its state."""
        shell = self._shell
        peer = Peer(order.id, order.incarnation, 0, since=shell.loop.now(), rung=rung, named=named)
        shell.peers[order.id] = peer
        if self.lease_of(order.id) is None:
            peer.epoch = shell.store.next_epoch()
        self._find(peer, order)
        return peer

    def _find(self, peer: Peer, order: StartChild) -> None:
        shell = self._shell
        path = shell.child_path(peer.id)
        placement = self.placement(peer.id)
        near = shell.homing.near(peer.id)
        if (
            near is not None
            and is_default(placement)
            and (near.node == shell.factory.node or placement.node == "launch")
        ):
            near = None
        peer.attempts += 1
        if is_default(placement) and near is None:
            while (row := shell.store.claim_spare(path, "")) is not None:
                if pid_alive(row.pid, row.start_time):
                    peer.spare = True
                    self._lease(peer, order, row)
                    if shell.spares is not None:
                        shell.spares.claimed()
                    return
                shell.factory.forget(row.id)

        def make() -> None:
            try:
                row = shell.factory.acquire(path, placement, near)
            except Exception as error:  # noqa: BLE001 - whatever Ray raises, the start must not wait for ever
                failure = error
                shell.loop.call_soon(lambda: self.failed(peer, failure))
                return
            if shell.machine.ended:
                shell.factory.destroy(row)  # nobody may be left to hear of it
                return
            shell.loop.call_soon(lambda: self._lease(peer, order, row))

        shell.executor.submit(make)

    def failed(self, peer: Peer, error: Exception) -> None:
        """No host for this life; none of its process is left."""
        if not peer.gone:
            peer.gone = True
            self._shell.ended(peer, ChildStartFailed(peer.id, peer.incarnation, init_error(str(error))))

    def _lease(self, peer: Peer, order: StartChild, row: HostRow) -> None:
        shell = self._shell
        if peer.gone or shell.machine.ended:
            self.discard(row)  # it was stopped before a host was found
            return
        lease = self.lease_of(peer.id)
        if lease is None:
            self._assign(peer, order, row)
        else:
            shell.leases.grant(peer, row, lease, lambda: self._assign(peer, order, row))

    def _assign(self, peer: Peer, order: StartChild, row: HostRow) -> None:
        shell = self._shell
        if peer.gone or shell.machine.ended:
            self.discard(row)
            return
        peer.host = row
        shell.by_host[row.id] = peer
        elsewhere, ask = shell.homing.assigned(peer)
        shell.machine.dirty.add(peer.id)
        shell.persist()
        shell.recovering.not_begun(peer)
        shell.detection.watch(peer, starting=True)
        kind, part = self._part_of(order)
        message = Assign(
            shell.child_path(peer.id),
            peer.incarnation,
            peer.epoch,
            kind,
            part,
            shell.system_bytes,
            order.adopt,
            order.restart,
            rung=peer.rung,
            multiplier=shell.recovering.multiplier(peer.id),
            leased_at=peer.leased_at,
            holder=peer.holder,
            faults=shell.faults.for_life(peer.id) if shell.faults is not None else b"",
            elsewhere=elsewhere,
            ask=ask,
        )
        shell.send(peer, message)
        shell.loop.call_later(ACK_TIMEOUT, lambda: self._check_acknowledged(peer, order, row))

    def _check_acknowledged(self, peer: Peer, order: StartChild, row: HostRow) -> None:
        if peer.acknowledged or peer.gone or peer.host is not row or peer.kill_reason is not None:
            return
        # it may act for all we know: another host is taken once this one is gone for certain
        self._deaf[row.id] = order
        peer.kill_reason = init_error(str(RayvisorError(f"{peer.attempts} hosts took no assignment", code=2034)))
        self._shell.kill(peer)

    def again(self, peer: Peer) -> bool:
        """A host is gone; True when it had taken no assignment and another one is tried for the same life."""
        shell, row = self._shell, peer.host
        order = self._deaf.pop(row.id, None) if row is not None else None
        child = shell.machine.children.get(peer.id)
        if order is None or shell.peers.get(peer.id) is not peer or child is None:
            return False
        if child.state is not ChildState.STARTING or child.incarnation != order.incarnation:
            return False
        attempt = shell.recovering.attempt_of(peer)
        if peer.attempts >= MAX_ATTEMPTS or (attempt is not None and attempt.abandoned):
            return False
        peer.host, peer.gone, peer.kill_reason, peer.verdict, peer.acknowledged = None, False, None, None, False
        peer.refused = False
        if self.lease_of(peer.id) is None:
            peer.epoch = shell.store.next_epoch()
        self._find(peer, order)
        return True

    def discard(self, row: HostRow) -> None:
        """End a host that nobody needs."""
        shell = self._shell
        if (row.local and row.pid) or shell.machine.ended:
            shell.factory.destroy(row)  # a signal; or nothing else is to be done, and it may take its time
        else:
            shell.executor.submit(lambda: shell.factory.destroy(row))

    # ------------------------------------------------------------ a standby

    def promote(self, order: StartChild, standby: Peer) -> Peer:
        """Let a standby become this life: nothing on the way waits for Ray."""
        shell = self._shell
        row = standby.host
        assert row is not None
        peer = Peer(
            order.id,
            order.incarnation,
            0,
            host=row,
            verdict=standby.verdict,
            acknowledged=True,
            since=shell.loop.now(),
            last_beat=standby.last_beat,
            rung="hot",
        )
        shell.peers[order.id] = peer
        shell.by_host[row.id] = peer
        lease = self.lease_of(order.id)
        if lease is None:
            peer.epoch = shell.store.next_epoch()
            self._promote(peer)
        else:
            shell.leases.grant(peer, row, lease, lambda: self._promote(peer))
        return peer

    def _promote(self, peer: Peer) -> None:
        shell = self._shell
        if peer.gone or shell.machine.ended or peer.host is None or peer.kill_reason is not None:
            return
        if shell.is_stopping(peer.id):
            shell.kill(peer)  # it stood by all the time and would not hear that it is to stop
            return
        shell.store.set_host_state(peer.host.id, "claimed")
        shell.machine.dirty.add(peer.id)
        shell.persist()
        if peer.verdict is not None:
            peer.verdict.starts()
        path = shell.child_path(peer.id)
        multiplier = shell.recovering.multiplier(peer.id)
        if shell.faults is not None:
            shell.faults.hand_over(peer)
        ask = shell.homing.promoted(peer)
        shell.send(peer, Promote(path, peer.incarnation, peer.epoch, peer.leased_at, multiplier, peer.holder, ask))

    # ------------------------------------------------------------ what they are told

    def lease_of(self, child_id: str) -> "LeaseSpec | None":
        """The child's lease; None where it has none: files on this machine say nothing to a process on another."""
        recovery = self.recovery_of(child_id)
        if recovery is None or (self._shell.system.state == "file" and not is_default(self.placement(child_id))):
            return None
        return recovery.lease

    def recovery_of(self, child_id: str) -> "RecoverySpec | None":
        """The child's recovery policy; None: a plain restart."""
        part = self._shell.part
        if part.template is not None:
            return part.template.recovery
        worker = part.workers.get(child_id)
        return worker.recovery if worker is not None else None

    def _part_of(self, order: StartChild) -> tuple[str, bytes]:
        shell = self._shell
        if order.id in shell.part.supervisors:
            return "supervisor", shell.store.part(shell.child_path(order.id))
        return "worker", encode_spec(self.worker_spec(order.id, order.args))

    def worker_spec(self, child_id: str, args: str = "") -> WorkerSpec:
        """What a worker's host is told.

        Raises:
            SpecError: the arguments of a dynamic child are none.
        """
        part = self._shell.part
        if part.template is not None:
            return part.template.instance(child_id, args.encode() or b"{}")
        return part.workers[child_id]

    @property
    def is_dynamic(self) -> bool:
        """Whether the children come from a template, and go with their processes."""
        return self._shell.part.template is not None

    def placement(self, child_id: str) -> PlacementSpec:
        """Where a child's process may run."""
        part = self._shell.part
        if child_id in part.supervisors:
            return PlacementSpec()  # supervisors stay on the launching node, where the goal state is
        if part.template is not None:
            return part.template.placement
        return part.workers[child_id].placement
