"""Faults of an actor's own (``Where.ACTOR``): its class names them, its methods carry them out, in its own loop."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from threading import Event
from typing import Protocol, cast

from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import FaultKind
from supervisors.faults.order import FaultOrder
from supervisors.runtime.faultstage import Me
from supervisors.signals.loop import PlaneLoop

#: seconds an actor gets to arm or to end one of its own
_LIMIT = 2.0
#: so much longer until it counts as one that does not answer: a loop that is blocked does not even time out
_BLOCKED = 1.25
_FIX = "look at the actor's fault_armed and fault_ended"

Done = Callable[[FaultError | None], None]


class HasFaults(Protocol):
    """An actor with faults of its own; see ``actors.base``."""

    async def fault_armed(self, order: FaultOrder) -> None: ...
    async def fault_ended(self, fault_id: str) -> None: ...


class _Ending:
    """One fault that the actor was told to end, and is not known to have ended: it is at it, or it failed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.running = False
        self.waiting: list[Done] = []


class OwnFaults:
    """Tells an actor of its own faults. Runs in the plane's thread.

    Args:
        plane: of the host.
        me: whom the host carries.
    """

    def __init__(self, plane: PlaneLoop, me: Callable[[], Me]) -> None:
        self._plane = plane
        self._me = me
        self._arming: dict[str, Callable[[], None]] = {}
        self._endings: dict[str, _Ending] = {}
        #: those it would not begin: nothing of them is armed, whatever its ``fault_ended`` says of an id it never kept
        self._refused: set[str] = set()

    def has(self, kind: str) -> bool:
        """Whether the actor's class names this kind."""
        body = self._me().body
        kinds: tuple[FaultKind, ...] = getattr(body.target, "Faults", ()) if body is not None else ()
        return any(one.name == kind for one in kinds)

    def unended(self) -> list[str]:
        """Ids of those that are off the board while the actor may still have them."""
        return list(self._endings)

    def arm(self, order: FaultOrder, done: Done) -> None:
        """Have the actor begin; ``done`` hears of it, or why it did not."""
        what = f"{order.path} did not arm {order.kind}"
        asked: list[Future[None]] = []
        given_up = Event()

        async def begin(actor: HasFaults) -> None:
            if not given_up.is_set():
                await actor.fault_armed(order)

        def give_up() -> None:
            given_up.set()
            for future in asked:
                future.cancel()

        def settled(error: FaultError | None) -> None:
            self._arming.pop(order.id, None)
            if error is not None:
                give_up()  # a loop that was blocked must neither begin with it nor go on with it once it turns again
            done(error)

        told = self._bounded(what, settled)

        def answered(error: BaseException | None) -> None:
            if error is not None and not isinstance(error, TimeoutError | asyncio.CancelledError):
                self._refused.add(order.id)
            told(_failure(what, error))

        self._arming[order.id] = give_up
        asked += self._ask(begin, answered)

    def end(self, fault_id: str, kind: str, done: Done) -> None:
        """Have the actor end it; ``done`` hears once it has, or why it has not.

        One that it is ending already is waited for; one that it failed to end is tried again.
        """
        give_up = self._arming.pop(fault_id, None)
        if give_up is not None:
            give_up()  # its end must not be overtaken by its beginning
        one = self._endings.setdefault(fault_id, _Ending(kind))
        one.waiting.append(self._bounded(f"{one.kind} was not ended", done))
        if not one.running:
            one.running = True
            self._ask(lambda actor: actor.fault_ended(fault_id), partial(self._ended, fault_id))

    def again(self, fault_id: str, done: Done) -> None:
        """``end`` for one of ``unended``."""
        self.end(fault_id, self._endings[fault_id].kind, done)

    def _ended(self, fault_id: str, error: BaseException | None) -> None:
        one = self._endings[fault_id]
        failed = None if fault_id in self._refused else _failure(f"{one.kind} was not ended", error)
        one.running = False
        waiting, one.waiting = one.waiting, []
        if failed is None:
            del self._endings[fault_id]
            self._refused.discard(fault_id)
        for told in waiting:
            told(failed)

    def _bounded(self, what: str, done: Done) -> Done:
        """``done``, called once: with what is told first, or when nothing is told in time."""
        told: list[bool] = []

        def tell(error: FaultError | None) -> None:
            if not told:
                told.append(True)
                done(error)

        blocked = FaultError(f"{what}: its loop does not turn", code=9023, fix=_FIX)
        self._plane.call_later(_LIMIT * _BLOCKED, lambda: tell(blocked))
        return tell

    def _ask(
        self, ask: Callable[[HasFaults], Awaitable[None]], answered: Callable[[BaseException | None], None]
    ) -> list[Future[None]]:
        """Ask in the actor's loop; ``answered`` hears in the plane's thread, however late. The question, if it went."""
        me = self._me()
        assert me.body is not None
        assert me.loop is not None
        actor = cast("HasFaults", me.body.target)

        async def within() -> None:
            async with asyncio.timeout(_LIMIT):
                await ask(actor)

        def over(future: "Future[None]") -> None:
            error = asyncio.CancelledError() if future.cancelled() else future.exception()
            self._plane.call_soon(lambda: answered(error))

        body = within()
        try:
            future = asyncio.run_coroutine_threadsafe(body, me.loop)
        except RuntimeError as error:
            body.close()
            answered(error)
            return []
        future.add_done_callback(over)
        return [future]


def _failure(what: str, error: BaseException | None) -> FaultError | None:
    if error is None:
        return None
    why = f"no answer within {_LIMIT:g} s" if isinstance(error, TimeoutError) else repr(error)
    return FaultError(f"{what}: {why}", code=9023, fix=_FIX)
