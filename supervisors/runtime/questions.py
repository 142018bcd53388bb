"""What a host asks its supervisor: where a path is now, and how another supervisor's children are."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from supervisors.runtime.calls import Place
from supervisors.runtime.context import children_of
from supervisors.runtime.places import GONE
from supervisors.runtime.process import hand_over
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import AskStatus, Message, Resolve, Resolved, Status

#: seconds a host waits for its supervisor's answer
_ASK_TIMEOUT = 1.0


class Questions:
    """Questions under way of one host. The coroutines run in the actor's loop, ``answered`` in the plane's thread.

    Args:
        plane: the host's plane.
        tell: sends to the supervisor, from any thread.
    """

    def __init__(self, plane: PlaneLoop, tell: Callable[[Message], None]) -> None:
        self._plane = plane
        self._tell = tell
        self._refs = 0
        self._asking: dict[int, Callable[[Resolved | Status | None], None]] = {}

    async def place(self, path: str) -> Place:
        """Where ``path`` is (for hosts without the data directory at hand)."""
        found = await self._ask(lambda ref: Resolve(ref, path))
        if not isinstance(found, Resolved):
            return GONE
        return Place(found.state, found.actor, found.incarnation, found.epoch, found.host, found.standbys)

    async def children(self, path: str) -> list[Mapping[str, object]]:
        """What the supervisor at ``path`` says of its children; none when it does not answer."""
        found = await self._ask(lambda ref: AskStatus(ref, path))
        return await children_of(found.body) if isinstance(found, Status) and found.body else []

    async def _ask(self, question: Callable[[int], Message]) -> Resolved | Status | None:
        """None when it does not answer in time."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Resolved | Status | None] = loop.create_future()
        self._refs += 1
        ref = self._refs
        self._asking[ref] = partial(hand_over, loop, answer)
        self._tell(question(ref))
        self._plane.call_soon(lambda: self._expire(ref))
        return await answer

    def _expire(self, ref: int) -> None:
        self._plane.call_later(_ASK_TIMEOUT, lambda: self.answered(ref, None))

    def answered(self, ref: int, found: Resolved | Status | None) -> None:
        """The answer came, or the time is over (None)."""
        waiting = self._asking.pop(ref, None)
        if waiting is not None:
            waiting(found)
