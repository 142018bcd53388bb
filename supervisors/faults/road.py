"""What armed message faults do to the messages of one road: one direction, one thread.

Each message meets the faults in this order, whatever the order they were armed in: lost, corrupted, held back until
others have passed, delayed, doubled. What is held when a fault ends goes on at once: no fault outlives itself.
"""

import random
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import Generic, TypeVar

from supervisors.faults.board import Armed

M = TypeVar("M")

_ORDER = {"drop": 0, "corrupt": 1, "reorder": 2, "delay": 3, "duplicate": 4}

Job = Callable[[], None]


def meets(armed: Armed, name: str) -> bool:
    """Whether a fault is meant for the method, topic or kind of message called ``name``."""
    params = armed.order.params
    wanted = str(params.get("name", params.get("method", "*")))
    return wanted == "*" or fnmatchcase(name, wanted)


class _Held:
    """A message that waits. ``behind``: how many still have to pass it."""

    __slots__ = ("behind", "go")

    def __init__(self, go: Job, behind: int) -> None:
        self.go: Job | None = go
        self.behind = behind


class Road(Generic[M]):
    """See the module.

    Args:
        later: runs a callback after some seconds, in the road's thread.
        soon: runs a callback in the road's thread, from any other.
        corrupt: a message with a byte changed; None when it has none.
    """

    def __init__(
        self,
        later: Callable[[float, Job], object],
        soon: Callable[[Job], object],
        corrupt: Callable[[M, random.Random], M | None],
    ) -> None:
        self._later = later
        self._soon = soon
        self._corrupt = corrupt
        self._held: dict[str, list[_Held]] = {}

    def send(
        self,
        armed: tuple[Armed, ...],
        name: str,
        message: M,
        deliver: Callable[[M], None],
        lost: Job = lambda: None,
    ) -> None:
        """Let a message meet its faults: ``deliver`` is called once, more often, later, or never (then ``lost`` is)."""
        met = [one for one in armed if one.live and one.order.kind in _ORDER and meets(one, name)]
        met.sort(key=lambda one: _ORDER[one.order.kind])
        self._go_on(met, message, deliver, lost)

    def _go_on(self, met: list[Armed], message: M, deliver: Callable[[M], None], lost: Job) -> None:
        if not met:
            deliver(message)
            return
        armed, rest = met[0], met[1:]
        go_on = partial(self._go_on, rest, message, deliver, lost)
        order = armed.order
        match order.kind:
            case "drop":
                if armed.strikes():
                    lost()
                else:
                    go_on()
            case "corrupt":
                changed = self._corrupt(message, armed.random)
                if changed is not None and armed.strikes():
                    self._go_on(rest, changed, deliver, lost)
                else:
                    go_on()
            case "reorder":
                if not self._held.get(order.id) and armed.strikes():
                    self._hold(armed, go_on, order.number("hold"), int(order.number("behind")))
                else:
                    go_on()
                    self._passed(order.id)
            case "delay":
                if armed.strikes():
                    self._hold(armed, go_on, order.number("delay") + order.number("jitter") * armed.random.random())
                else:
                    go_on()
            case _:
                for _ in range(int(order.number("copies")) if armed.strikes() else 0):
                    go_on()
                go_on()

    def _hold(self, armed: Armed, go: Job, seconds: float, behind: int = 0) -> None:
        fault_id = armed.order.id
        waiting = self._held.get(fault_id)
        if waiting is None:
            waiting = self._held[fault_id] = []
            armed.at_end(lambda: self._over(fault_id))
        held = _Held(go, behind)
        waiting.append(held)
        self._later(seconds, lambda: self._let_go(fault_id, held))

    def _over(self, fault_id: str) -> None:
        """In whichever thread it ends."""
        self._soon(lambda: self._release(fault_id))

    def _passed(self, fault_id: str) -> None:
        for held in list(self._held.get(fault_id, ())):
            held.behind -= 1
            if held.behind <= 0:
                self._let_go(fault_id, held)

    def _let_go(self, fault_id: str, held: _Held) -> None:
        go, held.go = held.go, None
        if go is not None:
            waiting = self._held.get(fault_id)
            if waiting is not None and held in waiting:
                waiting.remove(held)
            go()

    def _release(self, fault_id: str) -> None:
        """The fault is over."""
        for held in self._held.pop(fault_id, ()):
            go, held.go = held.go, None
            if go is not None:
                go()
