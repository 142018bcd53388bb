"""What no run of ``shells.World`` may break."""

from typing import TYPE_CHECKING

from supervisors.core.paths import join
from supervisors.recovery.ports import Hand
from supervisors.runtime.homing import home_of
from supervisors.runtime.peers import Peer
from supervisors.signals.messages import (
    Assign,
    Promote,
)
from supervisors.tree.child import ChildState
from supervisors.tree.messages import (
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    StartChild,
)

from .players import FakeHost
from .stage import PATH

if TYPE_CHECKING:
    from .shells import World


class Rules:
    """What must hold in every run.

    1. A process is told to act only while the machine waits for that very start, and nothing else acts for the path.
    2. Epochs of a path only grow.
    3. Each start that the machine orders is answered once, each life ends once, and it is told nothing stale.
    4. A life acts on the disk only that is written down as the home of the newest journal.
    5. ``at_rest``: every process is known, every running child has one that acts, and nothing waits for ever.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.epochs: dict[str, int] = {}
        self.open: dict[tuple[str, int], str] = {}
        self.broken: list[str] = []

    def _break(self, why: str) -> None:
        self.broken.append(f"{self._world.clock.now:.4f} {why}")

    def acts(self, host: FakeHost, order: Assign | Promote) -> None:
        machine, words = self._world.shell.machine, f"{type(order).__name__} {order.path}#{order.incarnation}"
        child = machine.children.get(order.path.rpartition("/")[2])
        if child is None or child.state is not ChildState.STARTING or child.incarnation != order.incarnation:
            self._break(f"{words} without a start that waits for it: {child}")
        for other in self._world.hosts.values():
            if other is not host and other.alive and other.acting and other.path == order.path:
                self._break(f"{words}: {other.row.id} acts there as incarnation {other.incarnation}")
        if order.epoch <= self.epochs.get(order.path, 0):
            self._break(f"{words}: epoch {self.epochs[order.path]} was there before")
        self.epochs[order.path] = order.epoch

    def acts_here(self, host: FakeHost) -> None:
        shell = self._world.shell
        if shell.hosting.recovery_of(host.path.rpartition("/")[2]) is None:
            return
        home = home_of(self._world.store, host.path)
        if home is None or home.volume != host.row.volume:
            self._break(f"{host.row.id} acts for {host.path} on {host.row.volume}, the newest journal is at {home}")

    def stepped(self, event: Event, stale: bool, effects: list[Effect]) -> None:
        children = (ChildStarted, ChildReady, ChildIgnored, ChildStartFailed, ChildHeld, ChildExited)
        if stale:
            self._break(f"the machine was told {event}, which is over")
        if isinstance(event, children) and not stale:
            key = (event.id, event.incarnation)
            is_up = isinstance(event, ChildStarted | ChildReady)
            stands = self.open.get(key)
            if stands is None or (is_up and stands == "up"):
                self._break(f"{event}: it was {stands or 'answered'} already")
            elif is_up:
                self.open[key] = "up"
            else:
                del self.open[key]
        for effect in effects:
            if isinstance(effect, StartChild):
                self.open[effect.id, effect.incarnation] = "starting"

    def at_rest(self) -> None:
        shell = self._world.shell
        known = {peer.host.id for peer in shell.peers.values() if peer.host is not None and not peer.gone}
        by_child = {c: [s.peer for s in found] for c, found in shell.standbys._by_child.items()}
        standing = {peer.host.id for found in by_child.values() for peer in found if peer.host is not None}
        for host in self._world.hosts.values():
            if host.alive and self._world.store.host(host.row.id) is None:
                self._break(f"{host.row} lives and no goal names it")
            elif host.alive and host.row.id not in known | standing and host.path:
                self._break(f"{host.row} lives and its supervisor does not know it")
            if host.alive and host.row.id in shell.by_host and host.row.id not in known | standing:
                self._break(f"{host.row} is listened to for nothing")
        if shell.machine.ended:
            if any(host.alive and host.path for host in self._world.hosts.values()):
                self._break("the supervisor ended and left processes")
            return
        for child in shell.machine.children.values():
            self._child(child.id, child.state, child.incarnation)
            if not child.wanted and by_child.get(child.id):
                self._break(f"{child.id} is not wanted and has standbys")
        for child_id, hand in shell.recovering._hands.items():
            self._hand(child_id, hand)

    def _child(self, child_id: str, state: ChildState, incarnation: int) -> None:
        shell = self._world.shell
        acting = [h for h in self._world.hosts.values() if h.alive and h.acting and h.path == join(PATH, child_id)]
        if state is ChildState.RUNNING:
            peer = shell.peers.get(child_id)
            fine = peer is not None and peer.host is not None and [h.row.id for h in acting] == [peer.host.id]
            if not fine or peer is None or (peer.incarnation, acting[0].incarnation) != (incarnation, incarnation):
                self._break(f"{child_id} runs as {incarnation}, but {[(h.row.id, h.incarnation) for h in acting]} act")
        elif acting:
            self._break(f"{child_id} is {state} and {[h.row.id for h in acting]} act")
        if state in (ChildState.STARTING, ChildState.STOPPING, ChildState.RESTARTING):
            self._break(f"{child_id} is {state} for ever")

    def _hand(self, child_id: str, hand: Hand[Peer]) -> None:
        child = self._world.shell.machine.children.get(child_id)
        if child is None:
            self._break(f"{child_id} is gone, its case is not")
            return
        held = child.state is ChildState.HELD
        if held and not hand.case.hold_id:
            self._break(f"{child_id} is held by nobody")
        if hand.case.hold_id and not held and not child.waits_for:
            self._break(f"{child_id} is {child.state}, its case waits for a person")
        if hand.life is not None or hand.order is not None or hand.preserving or (hand.next and not child.waits_for):
            self._break(f"{child_id} is at rest, in hand is {hand}")
        if hand.case.attempting is not None and not held and not child.waits_for:
            self._break(f"{child_id} is {child.state} and its case attempts {hand.case.attempting}")
