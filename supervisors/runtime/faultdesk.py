"""A supervisor's side of faults about its children: what it hands to each of their lives, and what it does itself.

Standing orders outlast lives: the present one is told of them, each later one with its assignment, a standby before it
is promoted. What lives tell of them is added up here. The other orders about a child are carried out in this process:
its beats are lost, it is suspected, Ray is told to kill it; they concern the process that acted when they were armed.

The board and the deadlines are the host's (``FaultHand``). A replaced supervisor has its standing orders from the undo
log. Runs in the plane's thread.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from supervisors.core.errors import FaultError
from supervisors.core.paths import TreePath, id_of, parent_of
from supervisors.faults.board import Armed
from supervisors.faults.order import ArmedState, FaultOrder, Hook, encode
from supervisors.faults.request import FaultRecord, RecordState
from supervisors.runtime.peers import Peer
from supervisors.runtime.process import ray_kill
from supervisors.signals.fault_messages import Arm, Disarm, FaultFired, FaultsNow
from supervisors.state.leases import BOOT_CLOCK

if TYPE_CHECKING:
    from supervisors.runtime.faulting import FaultHand
    from supervisors.runtime.supervisor import SupervisorShell

#: states of a record whose fault may be armed
_ARMED = (RecordState.PLANNED, RecordState.ARMED)


class FaultDesk:
    """See the module.

    Args:
        shell: the supervisor.
        hand: of its host.
    """

    def __init__(self, shell: "SupervisorShell", hand: "FaultHand") -> None:
        self._shell = shell
        self._hand = hand
        #: the process that an order about one process is about, by the order's id
        self._bound: dict[str, str] = {}

    # ------------------------------------------------------------ orders

    def check(self, order: FaultOrder) -> None:
        """Refuse what cannot be done here.

        Raises:
            FaultError: there is no such child, or no process of it (9024), or nobody knows how to do it (9025).
        """
        shell = self._shell
        child_id = self._child_of(order)
        if child_id not in shell.machine.children:
            raise FaultError(f"{shell.path} has no child {order.path}", code=9024, fix="see: rayvisor tree")
        if order.standing:
            return
        if self._process_of(order) is None:
            raise FaultError(f"{order.path} has no process now", code=9024, fix="wait for its next life")
        if Hook.NOW in order.hooks and order.kind not in ("suspect", "ray_kill"):
            raise FaultError(f"a supervisor cannot do {order.kind}", code=9025, fix="see: rayvisor inject list")

    def begin(self, armed: Armed) -> None:
        """An order was armed on the host's board."""
        order = armed.order
        if order.standing:
            peer = self._shell.peers.get(self._child_of(order))
            if peer is not None and not peer.gone:
                self._shell.send(peer, Arm(0, encode((order,))))
            return
        peer = self._process_of(order)
        assert peer is not None
        assert peer.host is not None
        self._bound[order.id] = peer.host.id
        if Hook.NOW not in order.hooks or not armed.strikes():
            return
        shell = self._shell
        if order.kind == "suspect":
            # the next turn: the answer to who ordered it goes first
            shell.loop.call_later(0.0, lambda: shell.detection.suspect(peer, f"suspected by {order.id}"))
        else:
            namespace, actor = shell.boot.namespace, peer.host.actor
            shell.executor.submit(lambda: ray_kill(namespace, actor))
        shell.loop.call_later(0.0, lambda: self._hand.end(order.id))

    def ended(self, armed: Armed) -> None:
        """An order is over."""
        order = armed.order
        self._bound.pop(order.id, None)
        if order.standing:
            for peer in self._processes_of(self._child_of(order)):
                self._shell.send(peer, Disarm(0, order.id))

    def _child_of(self, order: FaultOrder) -> str:
        path = TreePath(order.about.partition("@")[0] or order.path)
        return id_of(path) if self._shell.child_path(id_of(path)) == path else ""

    def _process_of(self, order: FaultOrder) -> Peer | None:
        """The one it is about: the named one, or the one that acts."""
        host = order.about.partition("@")[2]
        peer = self._shell.by_host.get(host) if host else self._shell.peers.get(self._child_of(order))
        if peer is None or peer.gone or peer.host is None or peer.id != self._child_of(order):
            return None
        return peer

    def _processes_of(self, child_id: str) -> list[Peer]:
        return [peer for peer in self._shell.by_host.values() if peer.id == child_id and not peer.gone]

    # ------------------------------------------------------------ lives

    def for_life(self, child_id: str) -> bytes:
        """What a new life of a child is told (``Assign.faults``); empty: nothing."""
        states = self._standing(child_id)
        return msgspec.msgpack.encode(states) if states else b""

    def hand_over(self, peer: Peer) -> None:
        """A standby that is to be promoted, or a process of a predecessor's, is told what stands."""
        orders = tuple(state.order for state in self._standing(peer.id))
        if orders and not peer.standby:
            self._shell.send(peer, Arm(0, encode(orders)))

    def _standing(self, child_id: str) -> list[ArmedState]:
        return [
            state
            for state in self._hand.board.states()
            if state.order.standing and state.left > 0 and self._child_of(state.order) == child_id
        ]

    def loses(self, peer: Peer) -> bool:
        """A beat of ``peer`` came: is it lost?"""
        host = peer.host.id if peer.host is not None else ""
        return any(
            self._bound.get(armed.order.id) == host and armed.strikes() for armed in self._hand.board.at(Hook.BEATS)
        )

    def gone(self, host: str) -> None:
        """A process is gone: what was about it is over."""
        for fault_id in [one for one, bound in self._bound.items() if bound == host]:
            self._hand.end(fault_id)

    # ------------------------------------------------------------ what they did

    def fired(self, armed: Armed, at: float) -> bool:
        """A fault acted in this process: True when it was about a child."""
        order, chance = armed.order, armed.chance
        if not order.about and not order.standing:
            return False
        child_id = self._child_of(order)
        peer = self._shell.peers.get(child_id)
        incarnation = peer.incarnation if peer is not None else 0
        word = FaultFired(order.path, incarnation, order.id, order.kind, chance.seen, chance.fired, at)
        self._shell.detection.fault_fired(child_id, word)
        return True

    def told(self, message: FaultFired) -> bool:
        """A life tells of a fault; True when it acted (again), False when an occasion only went by."""
        armed = self._hand.board.find(message.id)
        if armed is None or not armed.order.standing:
            return True
        before, chance = armed.chance.fired, armed.chance
        chance.seen, chance.fired = max(chance.seen, message.seen), max(chance.fired, message.fired)
        return message.fired > before

    def answered(self, peer: Peer, message: FaultsNow) -> None:
        """A life answered an order of ours."""
        if message.code:
            self._shell.log.warning("{}: {} (E{})", self._shell.child_path(peer.id), message.error, message.code)
            return
        for state in msgspec.msgpack.decode(message.body, type=list[ArmedState]):
            armed = self._hand.board.find(state.order.id)
            if armed is not None:
                armed.chance.seen = max(armed.chance.seen, state.seen)
                armed.chance.fired = max(armed.chance.fired, state.fired)

    # ------------------------------------------------------------ after a crash of this supervisor

    def restore(self) -> None:
        """Take up the standing orders of a predecessor, from the undo log."""
        now = BOOT_CLOCK.monotonic()
        for record in _records(Path(self._shell.boot.data_dir) / "faults"):
            order = record.order
            mine = order.standing and parent_of(TreePath(order.path)) == self._shell.path
            if mine and record.state in _ARMED and record.deadline > now:
                try:
                    self._hand.board.arm(order, left=record.deadline - now)
                except FaultError as error:
                    self._shell.log.warning("{}", error)


def _records(folder: Path) -> list[FaultRecord]:
    """All that can be read; who wrote the others will tell of them."""
    found = []
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=FaultRecord))
        except (OSError, msgspec.MsgspecError):
            continue
    return found
