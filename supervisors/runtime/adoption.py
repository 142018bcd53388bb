"""A replaced supervisor takes over what its predecessor left running (SUP-8): no healthy child dies for the crash."""

from typing import TYPE_CHECKING

from supervisors.core.paths import ROOT, TreePath, parent_of
from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import PlaceRow
from supervisors.signals.proc import kill_certain, pid_alive, wait_gone
from supervisors.trail.events import EventKind
from supervisors.tree.child import ChildState

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

_AWAY = ExitReason(ExitKind.KILLED, "ended while its supervisor was away")


def take_over(shell: "SupervisorShell") -> None:
    """Attach to the children that run, end what was half started, and let the machine go on from there."""
    record, places = shell.store.record(shell.path)
    alive: dict[str, int] = {}
    lost: dict[str, ExitReason] = {}
    for row in record.children:
        place = places[row.id]
        if not place.host:
            continue
        outcome = _look_at(shell, row.id, place)
        if outcome is None:
            alive[row.id] = place.incarnation
        elif place.state == ChildState.RUNNING.value:
            lost[row.id] = outcome
    for row in record.children:
        shell.standbys.adopt(row.id)
        shell.recovering.adopt(row.id, running=row.id in alive)
    _end_unassigned(shell)
    shell.standbys.hear(lost)
    held = tuple(child_id for child_id in shell.recovering.held() if child_id not in alive)
    effects = shell.machine.resume(record, alive, lost, shell.loop.now(), held)
    for row in record.children:
        place = places[row.id]
        shell.last_reasons.setdefault(row.id, place.reason)
    shell.carry_out(effects)


def _end_unassigned(shell: "SupervisorShell") -> None:
    """Hosts that the predecessor had claimed for a child and not written down as its own: nobody would assign them."""
    for row in shell.store.hosts("state='claimed'"):
        path = TreePath(row.path)
        if not path.startswith(ROOT) or path == shell.path or row.id in shell.by_host:
            continue  # of a node's agent, its own, or one that is attached
        if parent_of(path) == shell.path:
            shell.hosting.discard(row)
            shell.trail.write(EventKind.ORPHAN_ENDED, "", data={"of": row.path, "host": row.id})


def _look_at(shell: "SupervisorShell", child_id: str, place: PlaceRow) -> ExitReason | None:
    """None when the child runs and is attached; else why it does not."""
    host = shell.store.host(place.host)
    if host is None:
        return _AWAY
    runs = not host.local or pid_alive(host.pid, host.start_time)
    if runs and place.state == ChildState.RUNNING.value:
        peer = Peer(child_id, place.incarnation, place.epoch, host=host, acknowledged=True, since=shell.loop.now())
        shell.peers[child_id] = peer
        shell.by_host[host.id] = peer
        shell.detection.attach(peer)
        return None
    reason = shell.detection.left_reason(host.id) or _AWAY
    if runs and host.local:
        # half started or half stopped: nobody knows how far it came
        kill_certain(host.pid, host.start_time)
        wait_gone(host.pid, host.start_time, 1.0)
    shell.factory.destroy(host)
    return reason
