"""The lease store as a service on a node of its own, with a clock of its own, and its callers' time-outs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from supervisors.simulate.dst.model import STORE
from supervisors.simulate.dst.process import Proc

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

#: seconds after which a caller takes the store for silent
_PATIENCE = 1.0


@dataclass(slots=True)
class Row:
    """What the store knows of one path; ``until`` by its own clock."""

    holder: str
    token: int
    until: float


class Grant(NamedTuple):
    """The lease is given."""

    token: int


class Held(NamedTuple):
    """Somebody else holds it, for about ``left`` seconds more."""

    holder: str
    left: float


class LeaseService:
    """The store. Entry points are called by processes and answer them over the network.

    Args:
        world: time, network, the rules in force.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._clock = world.clocks[STORE]
        self.rows: dict[str, Row] = {}
        #: faults in force: it does not answer; it takes so many seconds
        self.down = 0
        self.slow = 0.0

    def ask(
        self, proc: Proc, question: Callable[[], object], answered: Callable[[object], None], *, told: bool = True
    ) -> None:
        """Ask from ``proc``; ``answered`` gets the answer, or None when there was none in time."""
        world = self._world
        call = _Call(answered)
        world.net.send(proc.node, STORE, None, self._receive, proc, question, call)
        if told:
            world.kernel.after(_PATIENCE, proc.deliver, call.silent, ())

    def _receive(self, proc: Proc, question: Callable[[], object], call: "_Call") -> None:
        if self.down:
            return
        if self.slow:
            self._world.kernel.after(self.slow * self._world.draw(STORE), self._answer, proc, question, call)
        else:
            self._answer(proc, question, call)

    def _answer(self, proc: Proc, question: Callable[[], object], call: "_Call") -> None:
        self._world.net.send(STORE, proc.node, proc, call.answer, question())

    # ------------------------------------------------------------ what it is asked

    def read(self, path: str) -> Row | None:
        """Who has it, or had it last."""
        return self.rows.get(path)

    def acquire(self, path: str, holder: str, ttl: float, dead: str, floor: int) -> Grant | Held:
        """Give it, by the rules of ``supervisors.state.lease``."""
        row, now = self.rows.get(path), self._clock.now()
        parts = self._world.parts
        if row is None:
            row = self.rows[path] = Row(holder, parts.next_token(0, floor), now + ttl)
        elif parts.may_take(row.holder, holder, dead, now >= row.until):
            row.holder, row.token, row.until = holder, parts.next_token(row.token, floor), now + ttl
        else:
            return Held(row.holder, row.until - now)
        return Grant(row.token)

    def renew(self, path: str, holder: str, token: int, ttl: float) -> bool:
        """Another ``ttl`` seconds; False: it is not this holder's under this token."""
        row = self.rows.get(path)
        if row is None or row.holder != holder or row.token != token:
            return False
        row.until = max(row.until, self._clock.now() + ttl)
        return True

    def release(self, path: str, holder: str, token: int) -> None:
        """Given back in order."""
        row = self.rows.get(path)
        if row is not None and row.holder == holder and row.token == token:
            row.holder, row.until = "", 0.0


class _Call:
    """One question: the first answer counts, or the silence."""

    __slots__ = ("_answered", "_over")

    def __init__(self, answered: Callable[[object], None]) -> None:
        self._answered = answered
        self._over = False

    def answer(self, what: object) -> None:
        if not self._over:
            self._over = True
            self._answered(what)

    def silent(self) -> None:
        if not self._over:
            self._over = True
            self._answered(None)
