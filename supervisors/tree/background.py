"""Starts in the background: those of ``concurrent`` children, for which no other operation waits.

Each belongs to one child and hears that child's events and its own timers at once, whatever the foreground does. What
the foreground does to such a child (to stop it) begins with breaking the background start off, so that the two never
wait for the same child.
"""

from collections.abc import Generator
from dataclasses import dataclass

from supervisors.tree.messages import Event


@dataclass(slots=True)
class Wait:
    """What a running operation lets through: events of these children, these timers, maybe a shutdown."""

    ids: set[str]
    timers: set[int]
    interruptible: bool = False


Start = Generator[Wait, Event, None]


class Background:
    """The operations in the background, by child."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Start, Wait]] = {}
        self._timers: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, child_id: str) -> bool:
        return child_id in self._running

    @property
    def ids(self) -> frozenset[str]:
        """Children whose start is under way."""
        return frozenset(self._running)

    def waits_for(self, token: int) -> str:
        """The child whose background start set this timer; empty when none did."""
        return self._timers.get(token, "")

    def begin(self, child_id: str, operation: Start) -> None:
        """Let ``operation`` run until it waits for its child."""
        try:
            wait = next(operation)
        except StopIteration:
            return
        self._keep(child_id, operation, wait)

    def advance(self, child_id: str, event: Event) -> None:
        """Give the child's operation the event it waits for."""
        operation, wait = self._drop(child_id)
        try:
            wait = operation.send(event)
        except StopIteration:
            return
        self._keep(child_id, operation, wait)

    def break_off(self, child_id: str) -> set[int] | None:
        """End the child's operation where it stands; its timers, which nobody waits for any more.

        None: there was no such operation.
        """
        if child_id not in self._running:
            return None
        operation, wait = self._drop(child_id)
        operation.close()
        return wait.timers

    def _keep(self, child_id: str, operation: Start, wait: Wait) -> None:
        self._running[child_id] = (operation, wait)
        for token in wait.timers:
            self._timers[token] = child_id

    def _drop(self, child_id: str) -> tuple[Start, Wait]:
        operation, wait = self._running.pop(child_id)
        for token in wait.timers:
            del self._timers[token]
        return operation, wait
