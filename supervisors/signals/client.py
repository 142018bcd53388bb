"""Questions over the plane: one DEALER per endpoint, answers matched by reference, each bounded by a time-out."""

import itertools
from collections.abc import Callable

import zmq

from supervisors.signals.fault_messages import Arm, AskFaults, Disarm, FaultsNow
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import (
    AskStatus,
    MalformedFrame,
    Message,
    Order,
    Ordered,
    Resolve,
    Resolved,
    Status,
    decode,
    encode,
)

Answer = Resolved | Status | Ordered | FaultsNow
#: gets the answer, or None when there was none in time
Answered = Callable[[Answer | None], None]


class PlaneClient:
    """Asks hosts. All methods run in the loop's thread.

    Args:
        loop: whose thread and context are used.
    """

    def __init__(self, loop: PlaneLoop) -> None:
        self._loop = loop
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._waiting: dict[int, tuple[Answered, int]] = {}
        self._refs = itertools.count(1)
        #: frames that were not ours
        self.malformed = 0

    def ask_status(self, endpoint: str, path: str, timeout: float, answered: Answered) -> None:
        """Ask the supervisor at ``endpoint`` about ``path``."""
        ref = self._expect(answered, timeout)
        self._send(endpoint, AskStatus(ref, path))

    def resolve(self, endpoint: str, path: str, timeout: float, answered: Answered) -> None:
        """Ask the supervisor at ``endpoint`` where ``path`` is."""
        ref = self._expect(answered, timeout)
        self._send(endpoint, Resolve(ref, path))

    def order(self, endpoint: str, order: Order, timeout: float, answered: Answered) -> None:
        """Give the supervisor at ``endpoint`` an order; its ``ref`` is replaced."""
        ref = self._expect(answered, timeout)
        self._send(endpoint, Order(ref, order.call, order.id, order.args, order.who))

    def arm(self, endpoint: str, orders: bytes, timeout: float, answered: Answered) -> None:
        """Arm faults (``faults.order.encode``) in the process at ``endpoint``; answered by ``FaultsNow``."""
        ref = self._expect(answered, timeout)
        self._send(endpoint, Arm(ref, orders))

    def disarm(self, endpoint: str, fault_id: str, timeout: float, answered: Answered) -> None:
        """End a fault in the process at ``endpoint``; an empty id means all."""
        ref = self._expect(answered, timeout)
        self._send(endpoint, Disarm(ref, fault_id))

    def ask_faults(self, endpoint: str, timeout: float, answered: Answered, orders: bytes = b"") -> None:
        """Ask the process at ``endpoint`` what is armed in it, and whether it would arm ``orders``."""
        ref = self._expect(answered, timeout)
        self._send(endpoint, AskFaults(ref, orders))

    def tell(self, endpoint: str, message: Message) -> None:
        """Send something that nobody answers."""
        self._send(endpoint, message)

    def _expect(self, answered: Answered, timeout: float) -> int:
        ref = next(self._refs)
        timer = self._loop.call_later(timeout, lambda: self._settle(ref, None))
        self._waiting[ref] = answered, timer
        return ref

    def _settle(self, ref: int, answer: Answer | None) -> None:
        answered, timer = self._waiting.pop(ref, (None, 0))
        if answered is not None:
            self._loop.cancel(timer)
            answered(answer)

    def _send(self, endpoint: str, message: Message) -> None:
        socket = self._sockets.get(endpoint)
        if socket is None:
            socket = self._loop.dealer()
            socket.connect(endpoint)
            self._loop.on_readable(socket, self._received)
            self._sockets[endpoint] = socket
        try:
            socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return  # nobody reads there: the time-out tells the asker

    def forget(self, endpoint: str) -> None:
        """Close the socket to an endpoint that is gone."""
        socket = self._sockets.pop(endpoint, None)
        if socket is not None:
            self._loop.close_socket(socket)

    def _received(self, frames: list[bytes]) -> None:
        try:
            message = decode(frames[-1])
        except MalformedFrame:
            self.malformed += 1
            return
        if isinstance(message, Resolved | Status | Ordered | FaultsNow):
            self._settle(message.ref, message)
