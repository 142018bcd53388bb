"""Keeps the standbys of one supervisor's children: provisioned, fed, watched, promoted, replaced.

A standby is a host that runs the child's class and keeps up with its primary but does not act. It is made once its
primary is up, on another node where there is one, and made anew after each promotion and each loss.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import ray

from supervisors.core.errors import RayvisorError
from supervisors.recovery.policy import RecoverySpec
from supervisors.runtime.factory import is_default
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import HostRow
from supervisors.signals.messages import Assign, Exited, Feed, Ignored, Promoted, StandbyState, StartFailed, Unfollow
from supervisors.signals.proc import pid_alive
from supervisors.spec.compiled import PlacementSpec
from supervisors.spec.compiled import encode as encode_spec
from supervisors.trail.events import EventKind
from supervisors.trail.status import StandbyStatus
from supervisors.tree.child import ChildState

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

_LOOK_EVERY = 0.1
#: seconds a primary is up before its standby is made, so that the two starts do not compete for the processor
_REST = 0.3
#: seconds before another standby is made after one failed, doubled each time
_AFTER_FAILURE = 1.0
_AFTER_FAILURE_CAP = 30.0
#: seconds a standby's last word counts
_FRESH = 1.0
#: seconds standbys that were adopted get to tell how they stand
_HEAR_FOR = 0.5


@dataclass(slots=True)
class Standby:
    """One standby as its supervisor sees it.

    Attributes:
        peer: its host; ``peer.id`` is the child it stands by for.
        state: starting, syncing, synced, lagging or failed.
        applied, head: sequences of the journal.
        lag: seconds behind its primary, by its own measure.
        told_at: monotonic seconds of its last word.
        fed_by: the primary's host it was told to follow.
        barred: its primary waits for it no longer: not in sync, whatever it says, until it has begun to catch up anew
            or a primary says that it waits for it.
        adopted: a supervisor that was replaced had made it.
    """

    peer: Peer
    state: str = "starting"
    applied: int = 0
    head: int = 0
    lag: float = 0.0
    told_at: float = 0.0
    why: str = ""
    fed_by: str = ""
    barred: bool = False
    adopted: bool = False


class Standbys:
    """The standbys of one supervisor. Runs in the plane's thread.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._by_child: dict[str, list[Standby]] = {}
        self._by_host: dict[str, Standby] = {}
        self._making: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._running = False
        self._hear_until = 0.0

    def start(self) -> None:
        """Begin to look after them."""
        part = self._shell.part
        specs = [part.template] if part.template is not None else list(part.workers.values())
        if any(spec.recovery is not None and spec.recovery.standbys for spec in specs) or self._by_child:
            self._running = True
            self._shell.loop.every(_LOOK_EVERY, self._look)

    def restart(self) -> None:
        """The topology changed: there may be standbys to keep now."""
        if not self._running:
            self.start()

    def stop(self) -> None:
        """End them all: their primaries end too."""
        self._running = False
        for standbys in list(self._by_child.values()):
            for standby in list(standbys):
                self._shell.kill(standby.peer)
                self._forget(standby)
                if standby.peer.host is not None:
                    self._shell.factory.forget(standby.peer.host.id)

    # ------------------------------------------------------------ questions

    def best(self, child_id: str) -> Standby | None:
        """The standby that would be promoted: synced before syncing, then the one with the most events."""
        found = self._by_child.get(child_id, ())
        standbys = [s for s in found if not s.peer.gone and not s.peer.retired and s.peer.end is None]
        return max(standbys, key=lambda s: (s.state == "synced", s.applied, -s.lag), default=None)

    def _is_heard(self, child_id: str) -> bool:
        """All standbys of a child that were adopted have told how they stand, or never will."""
        return not any(
            standby.adopted and standby.state == "starting" and _may_tell(standby.peer)
            for standby in self._by_child.get(child_id, ())
        )

    def hear(self, lost: Iterable[str]) -> None:
        """Children died: where their standbys were adopted just now, let them tell how they stand before a decision.

        They answer in milliseconds, and have ``_HEAR_FOR`` from the adoption on. A standby that is made anew is not
        waited for.
        """
        shell, lost = self._shell, tuple(lost)
        while not all(self._is_heard(child_id) for child_id in lost):
            shell.loop.drain(shell.socket)
            if shell.loop.now() >= self._hear_until:
                return
            time.sleep(0.002)

    def lag_of(self, standby: Standby) -> float:
        """Seconds it was behind at its primary's last sign of life; older words count as lag."""
        age = self._shell.loop.now() - standby.told_at
        return standby.lag + max(0.0, age - _FRESH)

    def status(self, child_id: str) -> list[StandbyStatus]:
        """All of one child."""
        found = []
        for standby in self._by_child.get(child_id, ()):
            row = standby.peer.host
            if row is not None:
                lag = round(self.lag_of(standby), 4)
                found.append(StandbyStatus(row.pid, row.node[:8], standby.state, lag, standby.applied, standby.why))
        return found

    # ------------------------------------------------------------ provisioning

    def _look(self) -> None:
        shell = self._shell
        if not self._running or shell.machine.ended:
            return
        now = shell.loop.now()
        for child_id, child in shell.machine.children.items():
            spec = shell.hosting.recovery_of(child_id)
            if spec is None or spec.standbys == 0 or child.state is not ChildState.RUNNING:
                continue
            primary = shell.peers.get(child_id)
            if primary is None or primary.host is None or primary.gone or now - child.up_since < _REST:
                continue
            for standby in self._by_child.get(child_id, ()):
                self._feed(standby, primary)
            standing = [s for s in self._by_child.get(child_id, ()) if not s.peer.retired]
            have = len(standing) + self._making.get(child_id, 0)
            if len(standing) > spec.standbys:
                self._end(min(standing, key=lambda s: (s.state == "synced", s.applied)), "one more than is wanted")
            if have < spec.standbys and now >= self._not_before.get(child_id, 0.0):
                self._make(child_id, child.args, primary, spec)
        for child_id in [c for c, standbys in self._by_child.items() if standbys and not self._wanted(c)]:
            self.drop(child_id)

    def _wanted(self, child_id: str) -> bool:
        child = self._shell.machine.children.get(child_id)
        spec = self._shell.hosting.recovery_of(child_id)
        return child is not None and child.wanted and spec is not None and spec.standbys > 0

    def drop(self, child_id: str) -> None:
        """Nobody needs them any more: end them."""
        for standby in list(self._by_child.get(child_id, ())):
            if not standby.peer.retired:
                self._end(standby, "no longer wanted")

    def forget(self, child_id: str) -> None:
        """The child is gone for good."""
        self.drop(child_id)
        self._not_before.pop(child_id, None)
        self._failures.pop(child_id, None)

    def _make(self, child_id: str, args: str, primary: Peer, spec: RecoverySpec) -> None:
        shell = self._shell
        path = shell.child_path(child_id)
        self._making[child_id] = self._making.get(child_id, 0) + 1
        placement = shell.hosting.placement(child_id)
        node = primary.host.node if primary.host is not None else ""
        state = shell.system.state

        def make() -> None:
            try:
                apart = _apart(placement, node, leased=shell.hosting.lease_of(child_id) is not None, state=state)
                row = self._spare(path, apart) or shell.factory.create(path, apart, state="standby")
            except Exception as error:  # noqa: BLE001 - whatever Ray raises, another one is tried later
                why = str(error) or type(error).__name__
                shell.loop.call_soon(lambda: self._not_made(child_id, why))
                return
            if shell.machine.ended:
                shell.factory.destroy(row)  # nobody may be left to hear of it
                return
            shell.loop.call_soon(lambda: self._made(child_id, args, row))

        shell.executor.submit(make)

    def _spare(self, path: str, placement: PlacementSpec) -> HostRow | None:
        """A spare, as long as one is left for whoever fails next."""
        shell = self._shell
        if not is_default(placement):
            return None
        spares = shell.store.hosts("state='spare' AND pool=''")
        if len(spares) <= min(1, shell.system.spares):
            return None
        row = shell.store.claim_spare(path, "")
        if row is None or not pid_alive(row.pid, row.start_time):
            return None
        shell.store.set_host_state(row.id, "standby")
        return msgspec.structs.replace(row, state="standby")

    def _not_made(self, child_id: str, why: str) -> None:
        self._count(child_id)
        if not self._wanted(child_id):
            return
        self._back_off(child_id)
        self._shell.write(EventKind.STANDBY, child_id, data={"state": "lost", "why": why})

    def _count(self, child_id: str) -> None:
        """One less is being made."""
        self._making[child_id] -= 1
        if not self._making[child_id]:
            del self._making[child_id]

    def _back_off(self, child_id: str) -> None:
        failures = self._failures[child_id] = self._failures.get(child_id, 0) + 1
        wait = min(_AFTER_FAILURE * 2 ** (failures - 1), _AFTER_FAILURE_CAP)
        self._not_before[child_id] = self._shell.loop.now() + wait

    def _made(self, child_id: str, args: str, row: HostRow) -> None:
        shell = self._shell
        self._count(child_id)
        if shell.machine.ended or not self._wanted(child_id):
            shell.hosting.discard(row)
            return
        try:
            spec = shell.hosting.worker_spec(child_id, args)
        except (RayvisorError, KeyError):
            shell.hosting.discard(row)
            return
        standby = self._add(child_id, row)
        part = encode_spec(spec)
        shell.send(
            standby.peer, Assign(shell.child_path(child_id), 0, 0, "standby", part, shell.system_bytes, restart=True)
        )
        self._write(standby)
        primary = shell.peers.get(child_id)
        if primary is not None:
            self._feed(standby, primary)

    def adopt(self, child_id: str) -> None:
        """A replaced supervisor takes over the standbys its predecessor had (SUP-8)."""
        shell = self._shell
        for row in shell.store.standbys(shell.child_path(child_id)):
            if row.local and not pid_alive(row.pid, row.start_time):
                shell.factory.forget(row.id)  # what is dead is not waited for
                continue
            standby = self._add(child_id, row)
            standby.peer.acknowledged = standby.adopted = True
            self._hear_until = shell.loop.now() + _HEAR_FOR
            shell.detection.attach(standby.peer, watched=True)

    def _add(self, child_id: str, row: HostRow) -> Standby:
        shell = self._shell
        peer = Peer(child_id, 0, 0, host=row, since=shell.loop.now(), standby=True)
        standby = Standby(peer, told_at=shell.loop.now())
        self._by_child.setdefault(child_id, []).append(standby)
        self._by_host[row.id] = standby
        shell.by_host[row.id] = peer
        shell.detection.watch(peer, starting=True)
        return standby

    def _feed(self, standby: Standby, primary: Peer) -> None:
        """Tell a standby whom to follow."""
        row = primary.host
        if row is None or primary.gone or standby.fed_by == row.id or not standby.peer.acknowledged:
            return
        standby.fed_by = row.id
        path = self._shell.child_path(primary.id)
        self._shell.send(standby.peer, Feed(path, primary.incarnation, primary.epoch, row.id, row.endpoint, row.pub))

    # ------------------------------------------------------------ what they tell

    def told(self, peer: Peer, message: StandbyState) -> None:
        """How one keeps up."""
        standby = self._standby_of(peer)
        if standby is None:
            return
        if message.state == "syncing":
            standby.barred = False
        state = "lagging" if standby.barred and message.state == "synced" else message.state
        standby.applied, standby.head, standby.lag = message.applied, message.head, message.lag
        standby.told_at = self._shell.loop.now()
        self._stands(standby, state, message.why)

    def _stands(self, standby: Standby, state: str, why: str) -> None:
        changed = standby.state != state
        standby.state, standby.why = state, why
        if changed:
            self._write(standby)
            if state == "synced":
                self._shell.leases.reserve(standby.peer.id)
                self._failures.pop(standby.peer.id, None)

    def lagging(self, host: str, why: str) -> None:
        """A primary acknowledges without this standby from now on."""
        standby = self._by_host.get(host)
        if standby is not None and not standby.barred:
            standby.barred = True
            standby.state, standby.why = "lagging", why or "its primary waits for it no longer"
            self._write(standby)

    def waited_for(self, host: str) -> None:
        """A primary waits for a standby: one that lagged and never noticed would not say so itself."""
        standby = self._by_host.get(host)
        if standby is not None and standby.barred:
            standby.barred = False
            if standby.state == "lagging":
                self._stands(standby, "synced", "")

    def promoted(self, peer: Peer, message: Promoted) -> None:
        """A promotion is done."""
        self._shell.write(
            EventKind.PROMOTED,
            peer.id,
            peer.incarnation,
            data={
                "kind": message.kind,
                "sequence": message.sequence,
                "behind": message.behind,
                "promote_ms": round(message.elapsed * 1e3, 3),
            },
        )

    def told_end(self, peer: Peer, message: Exited | StartFailed | Ignored) -> None:
        """One ended by itself."""
        standby = self._standby_of(peer)
        if standby is not None:
            reason = str(message.reason) if not isinstance(message, Ignored) else "it has nothing to do"
            self._end(standby, reason)

    def died(self, peer: Peer, words: str) -> None:
        """Its process is gone for certain."""
        standby = self._standby_of(peer)
        if standby is not None:
            self._lost(standby, standby.why if peer.retired else words)

    def hung(self, peer: Peer, why: str) -> None:
        """It makes no progress: of no use as it is."""
        standby = self._standby_of(peer)
        if standby is not None:
            self._end(standby, why)

    # ------------------------------------------------------------ changes of part

    def take(self, standby: Standby) -> Peer:
        """Hand a standby over for promotion; it is one no longer."""
        self._forget(standby)
        return standby.peer

    def _end(self, standby: Standby, why: str) -> None:
        standby.peer.retired = True
        standby.why = why
        standby.state = "failed"
        self._shell.kill(standby.peer)

    def _lost(self, standby: Standby, why: str) -> None:
        self._forget(standby)
        standby.state, standby.why = "lost", why
        self._write(standby)
        if self._wanted(standby.peer.id):
            self._back_off(standby.peer.id)
        primary = self._shell.peers.get(standby.peer.id)
        if primary is not None and not primary.gone and standby.peer.host is not None:
            path = self._shell.child_path(primary.id)
            self._shell.send(primary, Unfollow(path, standby.peer.host.id))

    def _forget(self, standby: Standby) -> None:
        row = standby.peer.host
        if row is not None:
            self._by_host.pop(row.id, None)
        standbys = self._by_child.get(standby.peer.id, [])
        if standby in standbys:
            standbys.remove(standby)
        if not standbys:
            self._by_child.pop(standby.peer.id, None)

    def _standby_of(self, peer: Peer) -> Standby | None:
        return self._by_host.get(peer.host.id) if peer.host is not None else None

    def _write(self, standby: Standby) -> None:
        row = standby.peer.host
        self._shell.write(
            EventKind.STANDBY,
            standby.peer.id,
            data={
                "state": standby.state,
                "pid": row.pid if row is not None else 0,
                "lag_ms": round(standby.lag * 1e3, 3),
                "applied": standby.applied,
                "why": standby.why,
            },
        )


def _may_tell(peer: Peer) -> bool:
    row = peer.host
    return row is not None and not peer.gone and (not row.local or pid_alive(row.pid, row.start_time))


def _apart(placement: PlacementSpec, node: str, *, leased: bool, state: str) -> PlacementSpec:
    """Another node than its primary's where there is one that may carry it (DESIGN.md §5).

    Leases in files are of one machine, so there the standby stays with its primary.
    """
    if placement.node != "any" or (leased and state == "file"):
        return placement
    others = [n for n in ray.nodes() if n["Alive"] and n["NodeID"] != node]
    for other in others:
        labels = all(other.get("Labels", {}).get(k) == v for k, v in placement.labels.items())
        room = all(other["Resources"].get(k, 0.0) >= v for k, v in placement.resources.items())
        if labels and room:
            return msgspec.structs.replace(placement, node=str(other["NodeID"]))
    return placement
