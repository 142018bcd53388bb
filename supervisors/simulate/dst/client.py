"""Clients: each appends uniquely numbered events to one journalled child and remembers which were acknowledged."""

from typing import TYPE_CHECKING

from supervisors.simulate.dst.ledger import Ledger
from supervisors.simulate.dst.model import LAUNCH, OTHERS
from supervisors.simulate.dst.process import Proc

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

#: mean seconds between two bursts of one client
_EVERY = 2.5


class Clients:
    """One client for each journalled child, somewhere in the network. It never says the same event twice.

    Args:
        world: where they live.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._next = 1
        self._over = False
        self._nodes: dict[str, str] = {}
        #: the process a client takes for the one that acts
        self._known: dict[str, Proc] = {}
        self.sent = 0
        self.acknowledged = 0

    def start(self) -> None:
        """Append from now on."""
        kernel = self._world.kernel
        for path in self._world.tree.journalled:
            chance = kernel.stream("client", path)
            self._nodes[path] = (LAUNCH, *OTHERS)[int(chance.random() * 3)]
            kernel.after(1.0 + chance.random(), self._burst, path)
        for fault in self._world.plan:  # what is under way when a fault strikes is what matters
            near = [path for path in self._nodes if self._is_near(path, fault.target)]
            draw = kernel.stream("burst", f"{fault.target}@{fault.t}").random
            for path in near:
                for _ in range(2):
                    kernel.at(fault.t - 0.004 * draw(), self._append, path)

    def stop(self) -> None:
        """Append no more."""
        self._over = True

    def _is_near(self, path: str, target: str) -> bool:
        return path == target or self._world.tree.workers[path].node == target != LAUNCH

    def _burst(self, path: str) -> None:
        kernel = self._world.kernel
        if self._over:
            return
        draw = kernel.stream("client", path).random
        for _ in range(1 + int(draw() * 3)):
            kernel.after(0.002 * draw(), self._append, path)
        kernel.after(_EVERY * 2 * draw(), self._burst, path)

    def _append(self, path: str) -> None:
        world, node = self._world, self._nodes[path]
        proc = self._known.get(path)
        if proc is None or not proc.alive:
            life = world.acting(path)  # it asks where the child lives, if it can
            if life is None or (node != LAUNCH and not world.net.reaches(node, LAUNCH)):
                return
            proc = self._known[path] = life.proc
        body = proc.life
        if not isinstance(body, Ledger):
            return
        event, self._next = self._next, self._next + 1
        self.sent += 1
        source = proc

        def reply(acknowledged: bool) -> None:
            world.net.call(source.node, node, None, self._answered, path, event, source, acknowledged)

        world.net.call(node, proc.node, proc, body.append, event, reply)

    def _answered(self, path: str, event: int, proc: Proc, acknowledged: bool) -> None:
        if acknowledged:
            self.acknowledged += 1
            self._world.oracle.client_has(path, event)
        elif self._known.get(path) is proc:
            del self._known[path]
