"""A call that is repeated gets the answer of its first time: the connection broke, not the work."""

import asyncio
from collections import deque

from supervisors.core.clock import Clock

#: seconds an answer is kept for a repeat of its call
_KEEP_ANSWERS = 60.0


class Repeats:
    """Answers by the reference of their call. Used in the actor's loop only.

    Args:
        clock: for how long they are kept.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[str, asyncio.Future[object]] = {}
        self._since: deque[tuple[float, str]] = deque()

    def first(self, ref: str) -> "asyncio.Future[object] | None":
        """The answer, or the promise of one, to a call that was made before."""
        return self._answers.get(ref)

    def keep(self, ref: str) -> "asyncio.Future[object]":
        """A place for the answer to ``ref``; old ones are forgotten on the way."""
        now = self._clock.monotonic()
        while self._since and self._since[0][0] < now - _KEEP_ANSWERS:
            self._answers.pop(self._since.popleft()[1], None)
        answer = self._answers[ref] = asyncio.get_running_loop().create_future()
        self._since.append((now, ref))
        return answer
