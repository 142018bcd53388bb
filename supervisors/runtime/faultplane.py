"""Arms and ends faults over the plane, for whoever may wait for the answer: injector, watchdog, emergency stop.

Light to import: the watchdog has to be up before the first fault.
"""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

import msgspec

from supervisors.faults.order import ArmedState, FaultOrder, encode
from supervisors.signals.client import Answer, Answered, PlaneClient
from supervisors.signals.fault_messages import FaultsNow
from supervisors.signals.loop import Callback, PlaneLoop

#: endpoints it keeps a socket to; more than may be hit at one time in any sane system
MOST = 64


class Left(NamedTuple):
    """The answer to ``Disarm``: what is armed there still, and (code, error) why the fault may not be over."""

    states: list[ArmedState]
    code: int = 0
    error: str = ""


class FaultPlane:
    """Asks processes to arm and end faults. Thread-safe; its thread starts with the first question.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: PlaneLoop | None = None
        self._client: PlaneClient | None = None
        #: endpoints in the order they were last used: hosts come and go, and each costs a socket
        self._used: dict[str, None] = {}

    def arm(self, orders: Sequence[tuple[str, FaultOrder]], timeout: float) -> list[FaultsNow | None]:
        """Arm each order at its endpoint, all at once; an answer for each, None where there was none in time.

        Raises:
            FaultError: an order cannot be sent (9032); none was then.
        """

        def one(client: PlaneClient, endpoint: str, body: bytes, done: Answered) -> None:
            client.arm(endpoint, body, timeout, done)

        return self._all(orders, one, timeout)

    def would_arm(self, orders: Sequence[tuple[str, FaultOrder]], timeout: float) -> list[FaultsNow | None]:
        """Ask whether each would be armed, and arm nothing; otherwise like ``arm``."""

        def one(client: PlaneClient, endpoint: str, body: bytes, done: Answered) -> None:
            client.ask_faults(endpoint, timeout, done, body)

        return self._all(orders, one, timeout)

    def disarm(self, endpoint: str, fault_id: str, timeout: float) -> Left | None:
        """End a fault; how that went. None: no answer in time."""
        answer = self._ask(endpoint, lambda client, done: client.disarm(endpoint, fault_id, timeout, done), timeout)
        return None if answer is None else Left(states_of(answer), answer.code, answer.error)

    def armed(self, endpoint: str, timeout: float) -> list[ArmedState] | None:
        """What is armed at an endpoint. None: no answer in time."""
        answer = self._ask(endpoint, lambda client, done: client.ask_faults(endpoint, timeout, done), timeout)
        return None if answer is None else states_of(answer)

    def forget(self, endpoint: str) -> None:
        """Close the socket to a process that is gone."""
        client = self._client
        if client is not None:
            self._call(lambda: client.forget(endpoint))

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            loop, self._loop, self._client = self._loop, None, None
        if loop is not None:
            loop.stop()

    def __enter__(self) -> "FaultPlane":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> PlaneClient:
        with self._lock:
            if self._client is None:
                self._loop = PlaneLoop(self._name, lambda error: None)
                self._client = PlaneClient(self._loop)
                self._loop.start()
            return self._client

    def _call(self, callback: Callback) -> None:
        loop = self._loop
        if loop is not None:
            loop.call_soon(callback)

    def _use(self, client: PlaneClient, endpoint: str) -> None:
        """In the loop's thread."""
        self._used.pop(endpoint, None)
        self._used[endpoint] = None
        if len(self._used) > MOST:
            oldest = next(iter(self._used))
            del self._used[oldest]
            client.forget(oldest)

    def _all(
        self,
        orders: Sequence[tuple[str, FaultOrder]],
        ask: Callable[[PlaneClient, str, bytes, Answered], None],
        timeout: float,
    ) -> list[FaultsNow | None]:
        # in the caller's thread, which hears of what cannot be encoded
        bodies = [(endpoint, encode((order,))) for endpoint, order in orders]
        client = self._ready()
        answers: list[FaultsNow | None] = [None] * len(bodies)
        left = threading.Semaphore(0)

        def heard(index: int) -> Answered:
            def answered(answer: Answer | None) -> None:
                answers[index] = answer if isinstance(answer, FaultsNow) else None
                left.release()

            return answered

        def send() -> None:
            for index, (endpoint, body) in enumerate(bodies):
                self._use(client, endpoint)
                ask(client, endpoint, body, heard(index))

        self._call(send)
        for _ in bodies:
            left.acquire(timeout=timeout + 1.0)
        return answers

    def _ask(self, endpoint: str, ask: Callable[[PlaneClient, Answered], None], timeout: float) -> FaultsNow | None:
        client = self._ready()
        done = threading.Event()
        answers: list[FaultsNow] = []

        def answered(answer: Answer | None) -> None:
            if isinstance(answer, FaultsNow):
                answers.append(answer)
            done.set()

        def send() -> None:
            self._use(client, endpoint)
            ask(client, answered)

        self._call(send)
        done.wait(timeout + 1.0)
        return answers[0] if answers else None


def states_of(answer: FaultsNow) -> list[ArmedState]:
    """What an answer says is armed; empty when it cannot be read."""
    try:
        return msgspec.msgpack.decode(answer.body, type=list[ArmedState]) if answer.body else []
    except msgspec.MsgspecError:
        return []
