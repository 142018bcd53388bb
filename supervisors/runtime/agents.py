"""Eyes and hands on other nodes: one agent process a node watches, examines and ends the hosts there.

Without an agent a supervisor would know of a remote host only what silence and Ray tell: never that it hangs, and of
its death late. An agent is an ordinary host that carries nothing; should it die, another takes its place, and until
then Ray's notice remains.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import zmq

from supervisors.core.errors import RayvisorError
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import HostRow
from supervisors.signals.agent_messages import Gone, KillProcess, Look, Looked, Watch
from supervisors.signals.deathwatch import DeathNotice, DeathWatch
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Message, encode
from supervisors.signals.proc import SchedSample, kill_certain, read_evidence
from supervisors.signals.verdicts import Evidence

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds an agent's word on a process stays good
FRESH = 0.3
_PREFIX = "agent:"


class Send(Protocol):
    """Sends a message to the holder of a routing id."""

    def __call__(self, to: bytes, message: Message) -> None: ...


class NodeAgent:
    """The agent's own side. Runs in its host's plane thread.

    Args:
        loop: the host's plane.
        shm_dir: where the hosts of this node light their beacons.
        send: to a supervisor.
    """

    def __init__(self, loop: PlaneLoop, shm_dir: Path, send: Send) -> None:
        self._loop = loop
        self._send = send
        self._askers: dict[str, bytes] = {}
        self._samples: dict[str, SchedSample] = {}
        self._watch = DeathWatch(self._notice, "auto", shm_dir)

    def received(self, sender: bytes, message: Watch | KillProcess | Look) -> None:
        """Do what a supervisor asks."""
        match message:
            case Watch(host, pid, start_time):
                self._askers[host] = sender
                self._watch.watch(host, host, pid, start_time)
            case KillProcess(_, pid, start_time):
                kill_certain(pid, start_time)
            case Look(host, pid, start_time):
                found, sample = read_evidence(pid, start_time, self._samples.get(host))
                self._samples[host] = sample
                self._send(sender, Looked(host, found.value))

    def _notice(self, notice: DeathNotice) -> None:
        self._loop.call_soon(lambda: self._gone(notice.key, notice.signal))

    def _gone(self, host: str, signal: str) -> None:
        self._samples.pop(host, None)
        asker = self._askers.pop(host, None)
        if asker is not None:
            self._send(asker, Gone(host, signal))


class Agents:
    """A supervisor's side: one link to the agent of each other node on which it has children.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._links: dict[str, HostRow] = {}
        self._coming: set[str] = set()

    def watch(self, peer: Peer) -> None:
        """Have the agent of the peer's node watch it, as soon as there is one."""
        row = peer.host
        if row is None:
            return
        link = self._links.get(row.node)
        if link is not None:
            self._tell(link, Watch(row.id, row.pid, row.start_time))
        elif row.node not in self._coming:
            self._coming.add(row.node)
            self._shell.executor.submit(lambda: self._find(row.node))

    def kill(self, peer: Peer) -> bool:
        """Have the peer's process ended; False when its node has no agent."""
        row = peer.host
        link = self._links.get(row.node) if row is not None else None
        if row is None or link is None:
            return False
        self._tell(link, KillProcess(row.id, row.pid, row.start_time))
        return True

    def evidence(self, peer: Peer) -> Evidence:
        """What the agent said last, if that is fresh; asks again in any case."""
        row = peer.host
        link = self._links.get(row.node) if row is not None else None
        if row is None or link is None:
            return Evidence.UNKNOWN
        self._tell(link, Look(row.id, row.pid, row.start_time))
        return peer.told if self._shell.loop.now() - peer.told_at < FRESH else Evidence.UNKNOWN

    def is_agent(self, host: str) -> bool:
        """True when ``host`` is the agent of some node."""
        return any(link.id == host for link in self._links.values())

    # ------------------------------------------------------------ finding one (a factory thread)

    def _find(self, node: str) -> None:
        shell = self._shell
        try:
            row = shell.factory.agent(node, _PREFIX + node)
        except RayvisorError as error:
            shell.log.warning("no agent on node {}: {}", node[:8], error)
            shell.loop.call_soon(lambda: self._coming.discard(node))
            return
        shell.loop.call_soon(lambda: self._found(node, row))
        shell.factory.watch(row, lambda words: shell.loop.call_soon(lambda: self._lost(node, words)))

    def _found(self, node: str, row: HostRow) -> None:
        self._coming.discard(node)
        socket = self._shell.socket
        socket.setsockopt(zmq.CONNECT_ROUTING_ID, row.id.encode())
        socket.connect(row.endpoint)
        self._links[node] = row
        self._watch_all(node)

    def _lost(self, node: str, words: str) -> None:
        link = self._links.pop(node, None)
        if link is None or self._shell.machine.ended:
            return
        self._shell.log.warning("the agent on node {} is gone: {}", node[:8], words)
        self._shell.factory.forget(link.id)
        for peer in self._shell.by_host.values():
            if peer.host is not None and peer.host.node == node:
                self.watch(peer)
                return

    def _watch_all(self, node: str) -> None:
        for peer in list(self._shell.by_host.values()):
            if peer.host is not None and peer.host.node == node and not peer.host.local:
                self.watch(peer)

    def _tell(self, link: HostRow, message: Message) -> None:
        try:
            self._shell.socket.send_multipart((link.id.encode(), encode(message)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._shell.log.warning("agent on node {}: {}", link.node[:8], error)
