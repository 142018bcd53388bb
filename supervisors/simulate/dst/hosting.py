"""Processes for children: made, leased, assigned; a standby promoted. As the real shell's hosting does it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisors.core.reasons import init_error
from supervisors.recovery.policy import LeaseSpec, StoreLoss
from supervisors.simulate.dst.leasing import Grant, Held, Row
from supervisors.simulate.dst.ledger import Ledger
from supervisors.simulate.dst.life import Life
from supervisors.simulate.dst.model import LAUNCH
from supervisors.simulate.dst.process import Proc
from supervisors.simulate.dst.standing import Standing
from supervisors.tree.child import ChildState
from supervisors.tree.messages import ChildStartFailed, StartChild

if TYPE_CHECKING:
    from supervisors.simulate.dst.shell import Peer, Shell

#: seconds a host gets to acknowledge its assignment; hosts tried for one start
_ACK, _ATTEMPTS = 2.0, 3
#: seconds after which a silent lease store is asked again
_ASK_AGAIN = 0.25


class Hosting:
    """For one supervisor.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "Shell") -> None:
        self._shell = shell
        self._world = shell.world
        #: processes whose end was seen for certain
        self.proved: set[int] = set()
        self._deaf: dict[int, StartChild] = {}

    # ------------------------------------------------------------ a new process

    def begin(self, order: StartChild, rung: str = "") -> "Peer":
        """Bring up a life in a process of its own."""
        from supervisors.simulate.dst.shell import Peer

        shell = self._shell
        peer = Peer(order.id, order.incarnation, rung=rung)
        shell.peers[order.id] = peer
        if self.lease_of(order.id) is None:
            peer.epoch = self._world.goal.next_epoch()
        self._find(peer, order)
        return peer

    def _find(self, peer: "Peer", order: StartChild) -> None:
        world, shell = self._world, self._shell
        peer.attempts += 1
        node = self.node_of(peer.id)
        draw = world.draw(shell.child_path(peer.id))
        could = world.usable(node)
        takes = (0.002 if draw < 0.8 else 0.1) if node == LAUNCH else 0.1 + 0.2 * draw if could else 1.0
        world.kernel.after(takes, shell.proc.deliver, self._made, (peer, order, node, could))

    def node_of(self, child_id: str) -> str:
        """Where its newest journal is. A start there fails while it cannot be had: better than an older journal."""
        worker, path = self._shell.worker(child_id), self._shell.child_path(child_id)
        if worker is None:
            return LAUNCH
        return self._world.goal.homes.get(path, worker.node) if worker.journalled else worker.node

    def _made(self, peer: "Peer", order: StartChild, node: str, could: bool) -> None:
        shell, world = self._shell, self._world
        if peer.gone or shell.machine.ended:
            return
        if not could or not world.usable(node) or self.node_of(peer.id) != node:
            self.failed(peer, f"{node} cannot be reached")
            return
        proc = world.spawn(node, shell.child_path(peer.id))
        lease = self.lease_of(peer.id)
        if lease is None:
            self._assign(peer, order, proc)
        else:
            self.grant(peer, proc, lease, lambda: self._assign(peer, order, proc))

    def failed(self, peer: "Peer", why: str) -> None:
        """No host for this life; none of its process is left."""
        if not peer.gone:
            peer.gone = True
            self._shell.ended(peer, ChildStartFailed(peer.id, peer.incarnation, init_error(why)))

    def _assign(self, peer: "Peer", order: StartChild, proc: Proc) -> None:
        shell, world = self._shell, self._world
        if peer.gone or shell.machine.ended:
            world.kill(proc, "nobody needs it")
            return
        if self.node_of(peer.id) != proc.node:  # while this one waited for the lease, its predecessor acted once more
            world.kill(proc, "the newest journal is elsewhere")
            self.failed(peer, "the newest journal is elsewhere")
            return
        self._world.goal.homes[shell.child_path(peer.id)] = proc.node
        shell.assigned(peer, proc)
        shell.hands.not_begun(peer)
        if not proc.alive:  # its node was lost meanwhile
            world.notify(proc)
            return
        world.net.send(LAUNCH, proc.node, proc, self._take_up, peer, order, proc)
        world.kernel.after(_ACK, shell.proc.deliver, self._check, (peer, order, proc))

    def _take_up(self, peer: "Peer", order: StartChild, proc: Proc) -> None:
        """In the new process: the assignment has come."""
        shell, world = self._shell, self._world
        if proc.life is not None or proc.shell is not None:
            return  # it came twice
        worker = shell.worker(peer.id)
        if worker is None:
            world.supervise(proc, shell.proc, peer.incarnation, adopt=order.adopt)
            return
        kind = Ledger if worker.journalled else Life
        proc.life = kind(
            world,
            proc,
            worker,
            peer.incarnation,
            peer.epoch,
            rung=peer.rung,
            holder=peer.holder,
            leased_at=peer.leased_at,
        )
        proc.life.attach(shell.proc)
        proc.life.begin()

    def _check(self, peer: "Peer", order: StartChild, proc: Proc) -> None:
        if peer.acknowledged or peer.gone or peer.proc is not proc or peer.kill_reason is not None:
            return
        self._deaf[proc.pid] = order
        peer.kill_reason = init_error(f"{peer.attempts} hosts took no assignment")
        self._shell.kill(peer, "took no assignment")

    def again(self, peer: "Peer") -> bool:
        """A host is gone; True when it had taken no assignment and another one is tried for the same life."""
        shell, proc = self._shell, peer.proc
        order = self._deaf.pop(proc.pid, None) if proc is not None else None
        child = shell.machine.children.get(peer.id)
        if order is None or shell.peers.get(peer.id) is not peer or child is None:
            return False
        if child.state is not ChildState.STARTING or child.incarnation != order.incarnation:
            return False
        attempt = shell.hands.attempt_of(peer)
        if peer.attempts >= _ATTEMPTS or (attempt is not None and attempt.abandoned):
            return False
        peer.proc, peer.gone, peer.kill_reason, peer.acknowledged = None, False, None, False
        if shell.worker(peer.id) is None and not order.adopt:
            self._world.reap(shell.child_path(peer.id))  # it may have taken the assignment, and its word was lost
        peer.end = None  # of the host that took no assignment, and may yet have said something
        if self.lease_of(peer.id) is None:
            peer.epoch = self._world.goal.next_epoch()
        self._find(peer, order)
        return True

    # ------------------------------------------------------------ a standby

    def promote(self, order: StartChild, standby: "Peer") -> "Peer":
        """Let a standby become this life."""
        from supervisors.simulate.dst.shell import Peer

        shell = self._shell
        proc = standby.proc
        assert proc is not None
        peer = Peer(order.id, order.incarnation, proc=proc, rung="hot", acknowledged=True)
        shell.peers[order.id] = shell.by_pid[proc.pid] = peer
        lease = self.lease_of(order.id)
        if lease is None:
            peer.epoch = self._world.goal.next_epoch()
            self._promote(peer)
        else:
            self.grant(peer, proc, lease, lambda: self._promote(peer))
        return peer

    def _promote(self, peer: "Peer") -> None:
        shell, proc = self._shell, peer.proc
        if peer.gone or shell.machine.ended or proc is None or peer.kill_reason is not None:
            return
        if shell.is_stopping(peer.id):
            shell.kill(peer, "it stood by all the time")
            return
        shell.assigned(peer, proc)
        if not proc.alive:
            self._world.notify(proc)
            return
        life = proc.life
        if isinstance(life, Standing):
            ask = self._world.goal.homes.get(shell.child_path(peer.id)) != proc.node
            order = (peer.epoch, peer.incarnation, peer.holder, peer.leased_at, ask)
            self._world.net.send(LAUNCH, proc.node, proc, life.promote, *order)

    def asked_act(self, peer: "Peer", incarnation: int) -> None:
        """A standby has everything on a disk of its own: that is written down before it acts."""
        shell, proc = self._shell, peer.proc
        if shell.peers.get(peer.id) is not peer or peer.gone or peer.kill_reason is not None or peer.end is not None:
            return
        if proc is None or incarnation != peer.incarnation or not isinstance(proc.life, Standing):
            return
        self._world.goal.homes[shell.child_path(peer.id)] = proc.node
        self._world.net.send(LAUNCH, proc.node, proc, proc.life.told_to_act, incarnation)

    # ------------------------------------------------------------ leases

    def lease_of(self, child_id: str) -> LeaseSpec | None:
        """The child's lease."""
        worker = self._shell.worker(child_id)
        return worker.recovery.lease if worker is not None and worker.recovery is not None else None

    def grant(self, peer: "Peer", proc: Proc, spec: LeaseSpec, granted: Callable[[], None]) -> None:
        """Have it hold the lease of its path; waits as long as it takes."""
        shell, store = self._shell, self._world.store
        path = shell.child_path(peer.id)
        peer.holder = str(proc.pid)

        def have_read(answer: object) -> None:
            if answer is None:
                self._later(peer, proc, spec, granted, _ASK_AGAIN)
                return
            row = answer if isinstance(answer, Row) else None
            dead = row.holder if row is not None and self._is_gone(row.holder) else ""
            if row is not None and not dead and row.holder != peer.holder and (wait := self._bound(path, spec)) > 0:
                self._later(peer, proc, spec, granted, min(1.0, wait))
                return
            floor = self._world.goal.next_epoch()
            peer.leased_at = self._world.clocks[LAUNCH].now()
            store.ask(shell.proc, lambda: store.acquire(path, peer.holder, spec.expire, dead, floor), have_asked)

        def have_asked(answer: object) -> None:
            if isinstance(answer, Grant):
                peer.epoch = answer.token
                granted()
            else:
                wait = min(1.0, max(0.02, answer.left)) if isinstance(answer, Held) else _ASK_AGAIN
                self._later(peer, proc, spec, granted, wait)

        store.ask(shell.proc, lambda: store.read(path) or True, have_read)

    def _later(self, peer: "Peer", proc: Proc, spec: LeaseSpec, granted: Callable[[], None], wait: float) -> None:
        shell = self._shell
        if peer.gone or shell.machine.ended:
            granted()  # it looks whether the life is still wanted
            return
        shell.hands.not_begun(peer)
        self._world.kernel.after(wait, shell.proc.deliver, self.grant, (peer, proc, spec, granted))

    def _is_gone(self, holder: str) -> bool:
        if not holder:
            return False
        pid = int(holder)
        if pid in self.proved:
            return True
        proc = self._world.procs[pid]
        return proc.node == LAUNCH and not proc.alive

    def agree(self, peer: "Peer", asked: float) -> None:
        """A holder asks whether anybody else acts at its path."""
        shell, spec = self._shell, self.lease_of(peer.id)
        current = shell.peers.get(peer.id) is peer and not peer.gone and not peer.standby
        if spec is None or spec.on_store_loss is not StoreLoss.CONTINUE or not current or peer.end is not None:
            return
        if shell.is_stopping(peer.id) or peer.kill_reason is not None:
            return
        self._world.goal.agreed[shell.child_path(peer.id)] = self._world.clocks[LAUNCH].now()
        if peer.proc is not None and peer.proc.life is not None:
            self._world.net.send(LAUNCH, peer.proc.node, peer.proc, peer.proc.life.agreed, asked)

    def _bound(self, path: str, spec: LeaseSpec) -> float:
        said = self._world.goal.agreed.get(path)
        age = self._world.clocks[LAUNCH].now() - said if said is not None else spec.expire
        return spec.expire - age if age >= 0 else 0.0
