"""Real time and real threads for a runner (``ground.Works``)."""

import queue
import threading
import time
from collections.abc import Callable

from supervisors.chaos.messages import Event
from supervisors.core.clock import Clock


class ThreadWorks:
    """Threads that do not keep the process alive: what they wait for may never come.

    Args:
        clock: the machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def sleep(self, seconds: float) -> None:
        """See ``Works``."""
        time.sleep(max(seconds, 0.0))

    def spawn(self, job: Callable[[], None], name: str) -> None:
        """See ``Works``."""
        threading.Thread(target=job, name=name, daemon=True).start()

    def post(self, event: Event) -> None:
        """See ``Works``."""
        self._inbox.put(event)

    def take(self, timeout: float) -> Event | None:
        """See ``Works``."""
        try:
            return self._inbox.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None
