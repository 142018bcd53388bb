"""Faults of an actor's own (``Where.ACTOR``): its class names them, its methods carry them out, in its own loop."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Protocol, cast

from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import FaultKind
from supervisors.faults.order import FaultOrder
from supervisors.runtime.faultstage import Me
from supervisors.signals.loop import PlaneLoop

#: seconds an actor gets to arm or to end one of its own
_LIMIT = 2.0


class HasFaults(Protocol):
    """An actor with faults of its own; see ``actors.base``."""

    async def fault_armed(self, order: FaultOrder) -> None: ...
    async def fault_ended(self, fault_id: str) -> None: ...


class OwnFaults:
    """Tells an actor of its own faults. Runs in the plane's thread.

    Args:
        plane: of the host.
        me: whom the host carries.
    """

    def __init__(self, plane: PlaneLoop, me: Callable[[], Me]) -> None:
        self._plane = plane
        self._me = me

    def has(self, kind: str) -> bool:
        """Whether the actor's class names this kind."""
        body = self._me().body
        kinds: tuple[FaultKind, ...] = getattr(body.target, "Faults", ()) if body is not None else ()
        return any(one.name == kind for one in kinds)

    def arm(self, order: FaultOrder, done: Callable[[FaultError | None], None]) -> None:
        """Have the actor begin; ``done`` hears of it, or why it did not."""
        self._ask(lambda actor: actor.fault_armed(order), f"{order.path} did not arm {order.kind}", done)

    def end(self, fault_id: str, kind: str, done: Callable[[FaultError | None], None]) -> None:
        """Have the actor end it."""
        self._ask(lambda actor: actor.fault_ended(fault_id), f"{kind} was not ended", done)

    def _ask(
        self,
        ask: Callable[[HasFaults], Awaitable[None]],
        what: str,
        done: Callable[[FaultError | None], None],
    ) -> None:
        fix = "look at the actor's fault_armed and fault_ended"
        me = self._me()
        assert me.body is not None
        assert me.loop is not None
        actor = cast("HasFaults", me.body.target)

        async def within() -> None:
            async with asyncio.timeout(_LIMIT):
                await ask(actor)

        def answered(future: "Future[None]") -> None:
            error = future.exception()
            why = f"no answer within {_LIMIT:g} s" if isinstance(error, TimeoutError) else repr(error)
            failed = None if error is None else FaultError(f"{what}: {why}", code=9023, fix=fix)
            self._plane.call_soon(lambda: finish(failed))

        def finish(failed: FaultError | None) -> None:
            if not told:
                told.append(True)
                done(failed)

        told: list[bool] = []
        # a loop that is blocked does not even time out
        blocked = FaultError(f"{what}: its loop does not turn", code=9023, fix=fix)
        self._plane.call_later(_LIMIT * 1.25, lambda: finish(blocked))
        body = within()
        try:
            asyncio.run_coroutine_threadsafe(body, me.loop).add_done_callback(answered)
        except RuntimeError as error:
            body.close()
            finish(FaultError(f"{what}: {error}", code=9023, fix=fix))
