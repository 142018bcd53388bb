"""The network between nodes: delay, loss, duplication, reordering, partitions one way and both.

Messages of one direction arrive in the order they were sent, as ZeroMQ has it, unless a fault reorders them. What is
sent into a partition is lost, or arrives when it is over: nobody can rely on either.
"""

from collections.abc import Callable
from typing import Any

from supervisors.simulate.dst.kernel import Kernel
from supervisors.simulate.dst.process import Proc

#: share of what is sent into a partition that arrives after it
_KEPT = 0.3


class Link:
    """One direction between two nodes."""

    __slots__ = ("base", "blocked", "doubled", "draw", "held", "jitter", "last", "loss", "mixed", "slow")

    def __init__(self, draw: Callable[[], float], base: float, jitter: float) -> None:
        self.draw = draw
        self.base = base
        self.jitter = jitter
        #: partitions that cut it now
        self.blocked = 0
        #: faults: share lost, share that comes twice, share that overtakes, seconds more
        self.loss = self.doubled = self.mixed = self.slow = 0.0
        self.last = 0.0
        self.held: list[tuple[Proc | None, Callable[..., Any], tuple[Any, ...]]] = []


class Network:
    """All links.

    Args:
        kernel: time and chance.
        nodes: their names.
    """

    def __init__(self, kernel: Kernel, nodes: tuple[str, ...]) -> None:
        self._kernel = kernel
        self.links: dict[tuple[str, str], Link] = {}
        for source in nodes:
            for target in nodes:
                draw = kernel.stream("net", f"{source}>{target}").random
                near = source == target
                self.links[source, target] = Link(draw, 0.00005 if near else 0.0004, 0.0001 if near else 0.0006)
        self.sent = self.lost = 0

    def send(self, source: str, target: str, proc: Proc | None, call: Callable[..., Any], *args: Any) -> None:
        """Let ``call`` happen at ``target``; in ``proc``, if one is given, as far as that lives."""
        link = self.links[source, target]
        self.sent += 1
        if link.blocked:
            if link.draw() < _KEPT:
                link.held.append((proc, call, args))
            else:
                self.lost += 1
            return
        if link.loss and link.draw() < link.loss:
            self.lost += 1
            return
        self._carry(link, proc, call, args)
        if link.doubled and link.draw() < link.doubled:
            self._carry(link, proc, call, args)

    def call(self, source: str, target: str, proc: Proc | None, call: Callable[..., Any], *args: Any) -> None:
        """As ``send``, for what arrives once or not at all: a remote procedure call of a client."""
        link = self.links[source, target]
        self.sent += 1
        if link.blocked or (link.loss and link.draw() < link.loss):
            self.lost += 1
        else:
            self._carry(link, proc, call, args)

    def _carry(self, link: Link, proc: Proc | None, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        kernel = self._kernel
        when = kernel.now + link.base + link.jitter * link.draw()
        if link.slow:
            when += link.slow * link.draw()
        if link.mixed and link.draw() < link.mixed:
            when += 0.05 * link.draw()
        else:
            # later than all before it in this direction
            when = link.last = max(when, link.last + 1e-9)
        if proc is None:
            kernel.at(when, call, *args)
        else:
            kernel.at(when, proc.deliver, call, args)

    def reaches(self, source: str, target: str) -> bool:
        """True while nothing cuts that direction."""
        return not self.links[source, target].blocked

    def cut(self, source: str, target: str) -> None:
        """A partition in one direction."""
        self.links[source, target].blocked += 1

    def mend(self, source: str, target: str) -> None:
        """That partition is over; what was held arrives."""
        link = self.links[source, target]
        link.blocked -= 1
        if not link.blocked:
            held, link.held = link.held, []
            for proc, call, args in held:
                self._carry(link, proc, call, args)
