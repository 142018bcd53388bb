"""Calls that survive restarts (SUP-9): a path is resolved to the host that carries it now, again after each failure."""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable

import msgspec
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError

from supervisors.core.errors import CallTimeout, ChildDead, ChildUnavailable, OutcomeUnknown

#: seconds between looks for a new incarnation
_LOOK_EVERY = 0.005


class Place(msgspec.Struct, frozen=True):
    """Where a path is now. ``state``: running; gone (an incarnation will come); never (none will).

    ``pub``: its publisher; ``standbys``: those of its standbys, which are silent until they are promoted.
    """

    state: str
    actor: str = ""
    incarnation: int = 0
    epoch: int = 0
    pub: str = ""
    standbys: tuple[str, ...] = ()


Resolver = Callable[[str], Awaitable[Place]]


class WrongIncarnation(Exception):
    """The host carries another life than the caller meant, or none."""


class Caller:
    """Makes calls for one process.

    Args:
        namespace: Ray namespace of the hosts.
        resolve: where a path is now.
    """

    def __init__(self, namespace: str, resolve: Resolver) -> None:
        self._namespace = namespace
        self._resolve = resolve
        self._cache: dict[str, tuple[Place, ray.actor.ActorHandle[object]]] = {}
        self._serial = itertools.count()
        self._me = f"{os.getpid()}-{time.monotonic_ns()}"
        self._casts: set[asyncio.Future[object]] = set()

    async def call(
        self,
        path: str,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        timeout: float,
        once: bool,
        copies: int = 0,
    ) -> object:
        """See ``Context.call``. ``copies``: it arrives so often more (a fault; see ``faulthooks``)."""
        deadline = time.monotonic() + timeout
        ref = f"{self._me}-{next(self._serial)}"
        seen_dead = 0
        while True:
            place, handle = await self._find(path, deadline, seen_dead, fresh=once)
            limit = asyncio.timeout(deadline - time.monotonic())  # unlike wait_for, it makes no task
            try:
                async with limit:
                    for _ in range(copies):
                        self._forget(handle.invoke.remote((place.incarnation, ref, method, args, kwargs)))
                    copies = 0
                    # one argument: Ray serialises each by itself, which costs more than all that is in them
                    return await handle.invoke.remote((place.incarnation, ref, method, args, kwargs))
            except TimeoutError:
                if not limit.expired():
                    raise  # the method's own TimeoutError, not ours
                raise CallTimeout(f"{path}.{method}: no answer within {timeout:g} s") from None
            except ActorUnavailableError:
                # alive or dead, nobody knows: the same incarnation again, which drops the repeat if it had the first
                if once:
                    raise OutcomeUnknown(
                        f"{path}.{method}: the connection to incarnation {place.incarnation} broke during the call",
                        fix="look at its state before you repeat it",
                    ) from None
                if time.monotonic() >= deadline:
                    raise ChildUnavailable(f"{path}.{method}: not reached within {timeout:g} s") from None
                await asyncio.sleep(_LOOK_EVERY * 4)
            except (ActorDiedError, RayActorError):
                self._cache.pop(path, None)
                if once:
                    raise OutcomeUnknown(
                        f"{path}.{method}: incarnation {place.incarnation} died while it had the call",
                        fix="look at its state before you repeat it",
                    ) from None
                seen_dead = place.incarnation
            except WrongIncarnation:
                self._cache.pop(path, None)
                if time.monotonic() >= deadline:
                    raise ChildUnavailable(f"{path}.{method}: not reached within {timeout:g} s") from None
                await asyncio.sleep(_LOOK_EVERY)

    def cast(
        self, path: str, method: str, args: tuple[object, ...], kwargs: dict[str, object], copies: int = 0
    ) -> None:
        """See ``Context.cast``; ``copies`` as in ``call``."""
        self._forget(self.call(path, method, args, kwargs, 3.0, False, copies))

    def _forget(self, answer: Awaitable[object]) -> None:
        """Nobody is to learn what becomes of it."""

        async def wait() -> object:
            try:
                return await answer
            except Exception:  # noqa: BLE001 - see above
                return None

        future = asyncio.ensure_future(wait())
        self._casts.add(future)
        future.add_done_callback(self._casts.discard)

    async def _find(
        self, path: str, deadline: float, seen_dead: int, *, fresh: bool
    ) -> "tuple[Place, ray.actor.ActorHandle[object]]":
        """``fresh``: what is remembered may be dead since; a call that is made once must not be spent on it."""
        cached = self._cache.get(path)
        if cached is not None and cached[0].incarnation > seen_dead and not fresh:
            return cached
        while True:
            place = await self._resolve(path)
            if cached is not None and _same_life(place, cached[0]) and place.incarnation > seen_dead:
                return cached
            if place.state == "never":
                raise ChildDead(f"{path}: nothing runs there and nothing will", fix="see: rayvisor tree")
            if place.state == "running" and place.incarnation > seen_dead:
                handle = await self._handle(place.actor)
                if handle is not None:
                    self._cache[path] = place, handle
                    return place, handle
            if time.monotonic() >= deadline:
                raise ChildDead(f"{path}: no new incarnation within the deadline")
            await asyncio.sleep(_LOOK_EVERY)

    async def _handle(self, actor: str) -> "ray.actor.ActorHandle[object] | None":
        try:
            return await asyncio.get_running_loop().run_in_executor(
                None, lambda: ray.get_actor(actor, namespace=self._namespace)
            )
        except ValueError:
            return None  # Ray has already buried it


def _same_life(place: Place, known: Place) -> bool:
    return place.state == "running" and (place.actor, place.incarnation) == (known.actor, known.incarnation)
