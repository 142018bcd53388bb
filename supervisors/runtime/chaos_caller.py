"""Calls that tell which life answered them, and who is known to Ray: what the history of a chaos run goes by."""

from contextvars import ContextVar

import ray

from supervisors.chaos.ground import Answer
from supervisors.core.errors import LaunchError
from supervisors.runtime.calls import Caller, Place

#: where the call in hand was last sent; each call is a task of its own
_sent: ContextVar[Place | None] = ContextVar("sent", default=None)


class TellingCaller(Caller):
    """A caller that knows whom it asked.

    A host refuses calls that are not meant for the life it carries, so whoever answers is the life that was asked.
    """

    async def ask(self, path: str, method: str, args: tuple[object, ...], timeout: float) -> Answer:
        """``call``, with the life that answered."""
        value = await self.call(path, method, args, {}, timeout, once=False)
        place = _sent.get()
        return Answer(value) if place is None else Answer(value, place.incarnation, place.epoch)

    async def _find(
        self, path: str, deadline: float, seen_dead: int, *, fresh: bool
    ) -> "tuple[Place, ray.actor.ActorHandle[object]]":
        found = await super()._find(path, deadline, seen_dead, fresh=fresh)
        _sent.set(found[0])
        return found


def actors_of(namespace: str) -> frozenset[str]:
    """Names of the actors in a namespace of the Ray cluster that this process is connected to.

    Raises:
        LaunchError: Ray does not answer.
    """
    try:
        listed = ray.util.list_named_actors(all_namespaces=True)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        raise LaunchError(f"Ray does not tell its actors: {error}", code=2053, fix="is it up?") from error
    return frozenset(one["name"] for one in listed if one["namespace"] == namespace)
