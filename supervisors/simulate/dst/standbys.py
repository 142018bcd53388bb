"""The standbys of one supervisor's children: made, fed, watched, promoted, replaced."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from supervisors.simulate.dst.ledger import Ledger
from supervisors.simulate.dst.model import LAUNCH, OTHERS
from supervisors.simulate.dst.process import Proc
from supervisors.simulate.dst.standing import Standing
from supervisors.tree.child import ChildState

if TYPE_CHECKING:
    from supervisors.simulate.dst.shell import Peer, Shell

#: seconds a primary is up before its standby is made; seconds after a failure, doubled each time
_REST, _AFTER_FAILURE, _CAP = 0.3, 0.5, 4.0
#: seconds a standby's last word counts
_FRESH = 2.0


@dataclass(slots=True)
class Standby:
    """One standby as its supervisor sees it.

    Attributes:
        state: starting, syncing, synced or failed, as it says.
        in_sync: its primary said that it waits for it.
        word: number of the primary's last word about it.
        fed_by: the primary's process it was told to follow.
    """

    peer: "Peer"
    state: str = "starting"
    applied: int = 0
    lag: float = 0.0
    told_at: float = 0.0
    in_sync: bool = False
    word: int = 0
    fed_by: int = 0


class Standbys:
    """For one supervisor.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "Shell") -> None:
        self._shell = shell
        self._world = shell.world
        self._by_child: dict[str, list[Standby]] = {}
        self._making: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._stopped = False

    def of(self, child_id: str) -> list[Standby]:
        """All of one child."""
        return self._by_child.get(child_id, [])

    def best(self, child_id: str) -> Standby | None:
        """The one that would be promoted."""
        standing = [s for s in self.of(child_id) if not s.peer.gone and not s.peer.retired]
        return max(standing, key=lambda s: (self.is_synced(s), s.applied, -s.lag), default=None)

    def is_synced(self, standby: Standby) -> bool:
        """It keeps up by its own word, and its primary waits for it."""
        return standby.state == "synced" and standby.in_sync

    def lag_of(self, standby: Standby) -> float:
        """Seconds behind its primary; older words count as lag."""
        return standby.lag + max(0.0, self._world.kernel.now - standby.told_at - _FRESH)

    # ------------------------------------------------------------ provisioning

    def primary_up(self, child_id: str) -> None:
        """A new life acts: it wants standbys."""
        self._look_in(child_id, _REST)

    def another_primary(self, child_id: str) -> None:
        """A new life is about to be told that it is: it waits for no standby before it says so."""
        for standby in self.of(child_id):
            standby.word = 0
            self._mark(standby, in_sync=False)

    def _look_in(self, child_id: str, delay: float) -> None:
        self._world.kernel.after(delay, self._shell.proc.deliver, self._look, (child_id,))

    def _wanted(self, child_id: str) -> int:
        worker, child = self._shell.worker(child_id), self._shell.machine.children.get(child_id)
        if worker is None or worker.recovery is None or child is None or not child.wanted:
            return 0
        return worker.recovery.standbys

    def _look(self, child_id: str) -> None:
        shell, now = self._shell, self._world.kernel.now
        child = shell.machine.children.get(child_id)
        if self._stopped or child is None or child.state is not ChildState.RUNNING or shell.machine.ended:
            return
        primary, wanted = shell.peers.get(child_id), self._wanted(child_id)
        if primary is None or primary.gone or primary.proc is None:
            return
        self.feed(child_id)
        standing = sum(1 for s in self.of(child_id) if not s.peer.retired) + self._making.get(child_id, 0)
        if standing >= wanted:
            return
        wait = self._not_before.get(child_id, 0.0) - now
        if wait > 0:
            self._look_in(child_id, wait + 0.01)
            return
        self._making[child_id] = self._making.get(child_id, 0) + 1
        node = self._node_for(child_id, primary.proc.node)
        takes = 0.1 + 0.2 * self._world.draw(shell.child_path(child_id))
        self._world.kernel.after(takes, shell.proc.deliver, self._made, (child_id, node))

    def _node_for(self, child_id: str, node: str) -> str:
        worker = self._shell.worker(child_id)
        assert worker is not None
        return next(one for one in OTHERS if one != node) if worker.apart else node

    def _made(self, child_id: str, node: str) -> None:
        from supervisors.simulate.dst.shell import Peer

        shell, world = self._shell, self._world
        self._making[child_id] -= 1
        if self._stopped or shell.machine.ended or not self._wanted(child_id):
            return
        if not world.usable(node):
            self._back_off(child_id)
            return
        proc = world.spawn(node, shell.child_path(child_id))
        proc.standby = True
        self._add(child_id, Peer(child_id, 0, proc=proc, standby=True), in_sync=False)
        world.net.send(LAUNCH, node, proc, self._take_up, child_id, proc)

    def _take_up(self, child_id: str, proc: Proc) -> None:
        worker = self._shell.worker(child_id)
        if proc.life is None and worker is not None:
            proc.life = Standing(self._world, proc, worker)
            proc.life.attach(self._shell.proc)
            proc.life.begin()

    def _add(self, child_id: str, peer: "Peer", *, in_sync: bool, word: int = 0) -> Standby:
        shell, proc = self._shell, peer.proc
        assert proc is not None
        standby = Standby(peer, told_at=self._world.kernel.now, in_sync=in_sync, word=word)
        self._by_child.setdefault(child_id, []).append(standby)
        shell.by_pid[proc.pid] = peer
        self._world.goal.standbys.setdefault(shell.child_path(child_id), {})[proc.pid] = in_sync, word
        return standby

    def adopt(self, child_id: str) -> None:
        """A replaced supervisor takes over the standbys its predecessor had."""
        from supervisors.simulate.dst.shell import Peer

        world, shell = self._world, self._shell
        for pid, (in_sync, word) in list(world.goal.standbys.get(shell.child_path(child_id), {}).items()):
            proc = world.procs[pid]
            if (proc.node == LAUNCH and not proc.alive) or pid in world.seen_dead:
                world.oracle.heard(proc)
                del world.goal.standbys[shell.child_path(child_id)][pid]
                continue
            known = in_sync or not world.parts.keep_word
            peer = Peer(child_id, 0, proc=proc, standby=True, acknowledged=True)
            self._add(child_id, peer, in_sync=known, word=word)
            world.attach(shell, proc)
        self._look_in(child_id, _REST)

    def feed(self, child_id: str) -> None:
        """Tell standbys whom to follow."""
        primary = self._shell.peers.get(child_id)
        child = self._shell.machine.children.get(child_id)
        if primary is None or primary.gone or primary.proc is None or child is None:
            return
        if child.state is not ChildState.RUNNING:
            return
        for standby in self.of(child_id):
            proc = standby.peer.proc
            if proc is None or standby.fed_by == primary.proc.pid or not standby.peer.acknowledged:
                continue
            if isinstance(proc.life, Standing):
                standby.fed_by = primary.proc.pid
                self._world.net.send(LAUNCH, proc.node, proc, proc.life.feed, primary.epoch, primary.proc)

    # ------------------------------------------------------------ what is told

    def told(self, peer: "Peer", data: object) -> None:
        """How one keeps up, in its own words."""
        standby = self._standby_of(peer)
        if standby is None:
            return
        state, applied, _, lag = cast("tuple[str, int, int, float]", data)
        standby.state, standby.applied, standby.lag = state, applied, lag
        standby.told_at = self._world.kernel.now
        if state == "syncing" and not self._world.parts.word:
            standby.in_sync = True  # as long as its primary does not say that it waits for it no longer
        if state == "synced":
            self._failures.pop(peer.id, None)

    def primary_says(self, primary: "Peer", data: object, *, in_sync: bool) -> None:
        """Whom it waits for: written down, then answered."""
        if self._shell.peers.get(primary.id) is not primary or primary.standby:
            return
        host, number = cast("tuple[str, int]", data)
        for standby in self.of(primary.id):
            if standby.peer.proc is not None and str(standby.peer.proc.pid) == host and number >= standby.word:
                standby.word = number
                self._mark(standby, in_sync=in_sync)
        proc = primary.proc
        if not in_sync and proc is not None and isinstance(proc.life, Ledger):
            self._world.net.send(LAUNCH, proc.node, proc, proc.life.noted_lagging, host, number)

    def _mark(self, standby: Standby, *, in_sync: bool) -> None:
        standby.in_sync = in_sync
        proc, path = standby.peer.proc, self._shell.child_path(standby.peer.id)
        if proc is not None:
            self._world.goal.standbys.setdefault(path, {})[proc.pid] = in_sync, standby.word

    def told_end(self, peer: "Peer") -> None:
        """One ended by itself."""
        self._end(peer, "exit notice")

    def hung(self, peer: "Peer") -> None:
        """It makes no progress."""
        self._end(peer, "verdict: silent")

    def died(self, peer: "Peer") -> None:
        """Its process is gone."""
        standby = self._standby_of(peer)
        if standby is not None:
            self._forget(standby)
            if self._wanted(peer.id):
                self._back_off(peer.id)
        primary, proc = self._shell.peers.get(peer.id), peer.proc
        if primary is not None and not primary.gone and primary.proc is not None and proc is not None:
            life = primary.proc.life
            if isinstance(life, Ledger):
                self._world.net.send(LAUNCH, primary.proc.node, primary.proc, life.unfollow, str(proc.pid))

    # ------------------------------------------------------------ changes of part

    def take(self, standby: Standby) -> "Peer":
        """Hand one over for promotion; for a replacement it is one still, until it is assigned."""
        self.of(standby.peer.id).remove(standby)
        return standby.peer

    def drop(self, child_id: str) -> None:
        """Nobody needs them any more."""
        for standby in list(self.of(child_id)):
            self._end(standby.peer, "order: no longer wanted")

    def stop(self) -> None:
        """Their primaries end too."""
        self._stopped = True
        for child_id in list(self._by_child):
            for standby in list(self.of(child_id)):
                proc = standby.peer.proc
                self._forget(standby)
                if proc is not None:
                    self._world.oracle.heard(proc)
                    self._world.kill(proc, "order: its supervisor ends")

    def _end(self, peer: "Peer", cause: str) -> None:
        if not peer.retired:
            peer.retired = True
            self._shell.kill(peer, cause)

    def _back_off(self, child_id: str) -> None:
        failures = self._failures[child_id] = self._failures.get(child_id, 0) + 1
        wait = min(_AFTER_FAILURE * 2 ** (failures - 1), _CAP)
        self._not_before[child_id] = self._world.kernel.now + wait
        self._look_in(child_id, wait + 0.01)

    def _forget(self, standby: Standby) -> None:
        standbys, proc = self.of(standby.peer.id), standby.peer.proc
        if standby in standbys:
            standbys.remove(standby)
        if proc is not None:
            path = self._shell.child_path(standby.peer.id)
            self._world.goal.standbys.get(path, {}).pop(proc.pid, None)

    def _standby_of(self, peer: "Peer") -> Standby | None:
        return next((standby for standby in self.of(peer.id) if standby.peer is peer), None)
