"""One thread, its sockets and its timers: where a process's share of the plane lives.

Sockets belong to the loop's thread; other threads reach it with ``call_soon``. A callback that raises is reported to
``on_error`` and the loop goes on: a defect in one message must not silence the beats.
"""

import heapq
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

Callback = Callable[[], None]

#: messages taken from one socket before the timers get a turn
_BATCH = 256
_READABLE = int(zmq.POLLIN)


class PlaneLoop:
    """A small poll loop. Cheaper than asyncio per message and with its own thread's priorities.

    Args:
        name: of the thread.
        on_error: told of an exception in a callback.
    """

    def __init__(self, name: str, on_error: Callable[[BaseException], None]) -> None:
        self.context = zmq.Context()
        self.context.setsockopt(zmq.BLOCKY, 0)
        self.context.setsockopt(zmq.MAX_SOCKETS, 8192)
        #: how late the last timer ran, in seconds: the loop's own lag
        self.lag = 0.0
        self._on_error = on_error
        self._poller = zmq.Poller()
        self._readers: dict[int | zmq.Socket[bytes], Callback] = {}
        self._sockets: list[zmq.Socket[bytes]] = []
        self._timers: list[tuple[float, int, Callback]] = []
        self._cancelled: set[int] = set()
        self._live: set[int] = set()
        self._ids = itertools.count(1)
        self._soon: deque[Callback] = deque()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poller.register(self._wake_r, zmq.POLLIN)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def thread(self) -> threading.Thread:
        """The loop's thread."""
        return self._thread

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """End the loop and close its sockets; waits for the thread unless called from it."""
        self.call_soon(self._stop)
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(timeout)

    def _stop(self) -> None:
        self._stopping = True

    # ------------------------------------------------------------ from any thread

    def call_soon(self, callback: Callback) -> None:
        """Run ``callback`` in the loop's thread."""
        self._soon.append(callback)
        # a full pipe already wakes the loop; a closed one means it is over
        try:
            os.write(self._wake_w, b"\0")
        except (BlockingIOError, OSError):
            return

    # ------------------------------------------------------------ in the loop's thread

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def call_at(self, at: float, callback: Callback) -> int:
        """Run ``callback`` at ``at`` (monotonic seconds); returns an id for ``cancel``."""
        number = next(self._ids)
        self._live.add(number)
        heapq.heappush(self._timers, (at, number, callback))
        return number

    def call_later(self, delay: float, callback: Callback) -> int:
        """Run ``callback`` after ``delay`` seconds."""
        return self.call_at(time.monotonic() + delay, callback)

    def cancel(self, number: int) -> None:
        """Forget a timer; one that already ran is no error."""
        if number in self._live:
            self._live.discard(number)
            self._cancelled.add(number)

    def every(self, interval: float, callback: Callback) -> None:
        """Run ``callback`` each ``interval`` seconds, without drift; turns that were missed are left out."""

        def turn(due: float) -> None:
            try:
                callback()
            finally:
                following = max(due + interval, time.monotonic())
                self.call_at(following, lambda: turn(following))

        first = time.monotonic() + interval
        self.call_at(first, lambda: turn(first))

    def router(self, identity: bytes) -> "zmq.Socket[bytes]":
        """A ROUTER socket of this loop with our usual options."""
        socket: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.IDENTITY, identity)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.MAXMSGSIZE, 16 * 1024 * 1024)
        self._sockets.append(socket)
        return socket

    def dealer(self) -> "zmq.Socket[bytes]":
        """A DEALER socket of this loop, for questions."""
        socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.SNDHWM, 100)
        self._sockets.append(socket)
        return socket

    def on_readable(self, socket: "zmq.Socket[bytes]", callback: Callable[[list[bytes]], None]) -> None:
        """Give each multipart message of ``socket`` to ``callback``."""

        def drain() -> None:
            for _ in range(_BATCH):
                try:
                    frames = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    return
                try:
                    callback(frames)
                except Exception as error:  # noqa: BLE001 - see the module's docstring
                    self._on_error(error)
                if not int(socket.get(zmq.EVENTS)) & _READABLE:  # a third of what the exception would cost
                    return

        self._poller.register(socket, zmq.POLLIN)
        self._readers[socket] = drain

    def drain(self, socket: "zmq.Socket[bytes]") -> None:
        """Take what has already arrived on ``socket`` before going on."""
        self._readers[socket]()

    def close_socket(self, socket: "zmq.Socket[bytes]") -> None:
        """Close one socket."""
        if socket in self._readers:
            self._poller.unregister(socket)
            del self._readers[socket]
        self._sockets.remove(socket)
        socket.close()

    # ------------------------------------------------------------ the loop

    def _run(self) -> None:
        while not self._stopping:
            try:
                ready = self._poller.poll(self._pause_ms())
            except (OSError, zmq.ContextTerminated):
                break
            for item, _ in ready:
                if item == self._wake_r:
                    self._clear_wake()
                elif item in self._readers:
                    self._readers[item]()
            self._run_soon()
            self._run_timers()
        self._run_soon()
        for socket in list(self._sockets):
            self.close_socket(socket)
        self.context.term()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def _pause_ms(self) -> int:
        if self._soon:
            return 0
        if not self._timers:
            return 1000
        # rounding up: a poll that returns a little early would spin until the timer is due
        return max(0, min(1000, int((self._timers[0][0] - time.monotonic()) * 1000) + 1))

    def _clear_wake(self) -> None:
        try:
            os.read(self._wake_r, 4096)
        except BlockingIOError:
            return

    def _run_soon(self) -> None:
        for _ in range(len(self._soon)):
            self._guard(self._soon.popleft())

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, number, callback = heapq.heappop(self._timers)
            if number in self._cancelled:
                self._cancelled.discard(number)
                continue
            self._live.discard(number)
            self.lag = now - due
            self._guard(callback)

    def _guard(self, callback: Callback) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self._on_error(error)
