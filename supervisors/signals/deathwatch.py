"""Learn at once that a process on this machine died (DET-2, DET-10).

Three means, each usable alone:

========  ==========================================================================================================
futex     0.2-1 ms whatever the size of the process. Tells that the beacon's *thread* ended; the watch answers with
          a SIGKILL through the pidfd, which makes it certain: no code of that process runs any more. Its files,
          locks and ports are freed only when its memory has been torn down (``proc.wait_gone``).
pidfd     the process has ended altogether; later by the time its memory takes (Linux 5.3).
socket    the connection to the beacon ended; as late as pidfd, and not certain (``Signal.SOCKET`` is weak).
========  ==========================================================================================================

With futex chosen the pidfd runs beside it as a second net: it also catches what the futex cannot tell, such as a
watcher that was stopped while the kernel woke it. Whichever is first gives the one notice.
"""

import functools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from supervisors.core.errors import PlaneError
from supervisors.signals import futex, pidfd
from supervisors.signals.beacon import BeaconId, DeathBeacon, connect, futex_path, peer_pid, read_id, remove_files
from supervisors.signals.proc import pid_alive, process_start_time
from supervisors.signals.words import Word, WordEnd, WordWaiter

__all__ = ["DeathBeacon", "DeathNotice", "DeathWatch", "Method", "choose_method", "remove_files"]

Method = Literal["futex", "pidfd", "socket"]
_NO_PIDFD = "pidfd_open is refused here (kernel before 5.3, or a seccomp filter)"


class DeathNotice(NamedTuple):
    """One process ended."""

    key: str  #: what the watch was given
    signal: Method  #: what told first
    at: float  #: when it was known here, monotonic seconds


@dataclass(eq=False, slots=True)
class _Watch:
    key: str
    pid: int
    start_time: int
    handle: int = -1  #: the pidfd; closed by ``_release`` alone, so that a signal through it meets no other process
    word: Word | None = None
    connection: int = -1
    at: float = 0.0  #: when it was found dead already


@dataclass(eq=False, slots=True)
class _Ready:
    """What the poller hands back: which descriptor of which watch."""

    watch: _Watch
    method: Method


def choose_method(directory: Path) -> tuple[Method, str]:
    """Choose the best means that proves to work here; the method and the reason (for the log line at start).

    The robust futex is tried for real, by a thread that dies holding one in ``directory`` (about 1 ms).
    """
    if not pidfd.supported():
        return "socket", _NO_PIDFD
    problem = futex.self_test(directory)
    if problem:
        return "pidfd", problem
    how = "one thread per 127 watches" if _has_waitv() else "no futex_waitv: one thread per watch"
    return "futex", f"the kernel marked a test word in {directory} ({how})"


class DeathWatch:
    """Watches processes of this machine; every method may be called from any thread, the callback included.

    Create it in the process that uses it; a forked child must not.

    Args:
        on_death: called once per watch, from a thread of the watch, never from within ``watch``. Calls do not
            overlap. Keep it short (hand over to your loop): later notices wait for it. It must not raise.
        method: ``auto`` (see ``choose_method``), ``futex``, ``pidfd`` or ``socket``.
        directory: where the hosts light their beacons; it must exist (``pidfd`` needs none).
        second_net: False leaves the pidfd out beside the futex (tests and benchmarks).

    Raises:
        PlaneError: 5011, ``method`` is unknown or does not work here.
    """

    def __init__(
        self,
        on_death: Callable[[DeathNotice], None],
        method: str = "auto",
        directory: Path = Path("/dev/shm"),
        *,
        second_net: bool = True,
    ) -> None:
        self._method, self._reason = _resolve(method, directory)
        self._on_death = on_death
        self._directory = directory
        self._second_net = second_net
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._teller = 0  # the thread that runs the callback
        self._watches: dict[str, _Watch] = {}
        self._closed = False
        self._poller = pidfd.FdPoller(self._on_ready, "death-poll")
        self._words = WordWaiter(self._on_word, _has_waitv()) if self._method == "futex" else None

    @property
    def method(self) -> Method:
        """The means chosen."""
        return self._method

    @property
    def reason(self) -> str:
        """Why it was chosen, for the log line at start."""
        return self._reason

    def __len__(self) -> int:
        """How many processes are watched now."""
        return len(self._watches)

    def watch(self, key: str, name: str, pid: int, start_time: int) -> None:
        """Tell, once, when this process ends; at once (from the watch's thread) when it has ended before.

        A key that is watched already gets the new watch instead of the old one. A process without a beacon of that
        name (or with another life's) is watched by pidfd alone; so is one for which no thread can be started.

        Args:
            key: what the notice will carry.
            name: of the host's ``DeathBeacon``.
            pid: of the host.
            start_time: of the host (``proc.process_start_time``): another process with that pid counts as its death.

        Raises:
            PlaneError: 5012, no descriptor is left, or (method ``socket``) the living process has no beacon.
        """
        fresh = _Watch(key, pid, start_time)
        with self._lock:
            if self._closed:
                raise PlaneError("the death watch is closed", code=5012)
            self._release(self._watches.pop(key, None))
            self._watches[key] = fresh
            try:
                self._begin(fresh, name)
            except OSError as error:
                self._watches.pop(key, None)
                self._release(fresh)
                raise PlaneError(
                    f"cannot watch {key} (pid {pid}): {error}",
                    code=5012,
                    fix="raise the limit of open files (ulimit -n), or check that the host lit its beacon",
                ) from error

    def unwatch(self, key: str) -> bool:
        """Stop watching. True: no notice of it will come. False: it was not watched, or its notice came first.

        With False the callback may still be running in its thread.
        """
        with self._lock:
            found = self._watches.pop(key, None)
            self._release(found)
            return found is not None

    def close(self) -> None:
        """End all watches and threads and free every descriptor. May be called twice, and from the callback.

        Waits until a running callback has returned, at most 2 s per thread (not when called from it).
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for found in self._watches.values():
                self._release(found)
            self._watches.clear()
        patience = 0.0 if self._teller == threading.get_ident() else 2.0
        if self._words is not None:
            self._words.close(patience)
        self._poller.close(patience)

    def _begin(self, watch: _Watch, name: str) -> None:
        if self._method == "socket":
            self._begin_socket(watch, name)
            return
        handle = pidfd.open_verified(watch.pid, watch.start_time, process_start_time)
        if handle is None:
            self._dead_already(watch, "pidfd")
            return
        watch.handle = handle
        lit = self._words is not None and self._begin_word(watch, name)
        if self._second_net or not lit:
            self._poller.add(handle, _Ready(watch, "pidfd"))

    def _begin_word(self, watch: _Watch, name: str) -> bool:
        assert self._words is not None
        with suppress(OSError):
            descriptor = os.open(futex_path(self._directory, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if read_id(descriptor) != BeaconId(watch.pid, watch.start_time):
                    return False
                address = futex.map_shared(descriptor, writable=False)
            finally:
                os.close(descriptor)
            watch.word = self._words.add(address, watch)
            return True
        return False

    def _begin_socket(self, watch: _Watch, name: str) -> None:
        try:
            client = connect(self._directory, name)
        except (FileNotFoundError, ConnectionRefusedError):
            if pid_alive(watch.pid, watch.start_time):
                raise
            self._dead_already(watch, "socket")
            return
        listening = peer_pid(client)
        watch.connection = client.detach()
        if not pid_alive(watch.pid, watch.start_time):
            os.close(watch.connection)
            self._dead_already(watch, "socket")
            return
        if listening != watch.pid:
            raise ProcessLookupError(f"its beacon belongs to process {listening}")
        self._poller.add(watch.connection, _Ready(watch, "socket"))

    def _dead_already(self, watch: _Watch, method: Method) -> None:
        watch.at = time.monotonic()
        # a descriptor that is ready from the start: the notice has to come from the thread
        near, far = socket.socketpair()
        far.close()
        watch.connection = near.detach()
        self._poller.add(watch.connection, _Ready(watch, method))

    def _on_word(self, token: object, end: WordEnd) -> None:
        if not isinstance(token, _Watch):
            return
        at = time.monotonic()
        with self._lock:
            token.word = None  # the waiter has let go of it
            if self._watches.get(token.key) is not token:
                return
            # the thread is gone; make certain that the process is, before anyone acts on it
            if end is not WordEnd.DIED or not pidfd.send_signal(token.handle, signal.SIGKILL):
                if not self._second_net:
                    self._poller.add(token.handle, _Ready(token, "pidfd"))
                return
        self._tell(token, "futex", at)

    def _on_ready(self, token: object) -> None:
        if not isinstance(token, _Ready):
            return
        self._tell(token.watch, token.method, token.watch.at or time.monotonic())

    def _tell(self, watch: _Watch, method: Method, at: float) -> None:
        with self._lock:
            if self._watches.get(watch.key) is not watch:
                return
            del self._watches[watch.key]
            self._release(watch)
        with self._telling:
            self._teller = threading.get_ident()
            try:
                self._on_death(DeathNotice(watch.key, method, at))
            finally:
                self._teller = 0

    def _release(self, watch: _Watch | None) -> None:
        """Give back whatever the watch still holds (under the lock)."""
        if watch is None:
            return
        if watch.word is not None and self._words is not None:
            self._words.remove(watch.word)
        for descriptor in (watch.handle, watch.connection):
            if descriptor >= 0:
                self._poller.remove(descriptor)
                os.close(descriptor)
        watch.word, watch.handle, watch.connection = None, -1, -1


@functools.cache
def _has_waitv() -> bool:
    return futex.has_waitv()


def _resolve(method: str, directory: Path) -> tuple[Method, str]:
    if method == "auto":
        return choose_method(directory)
    if method not in get_args(Method):
        raise PlaneError(f"no death watch by {method!r}", code=5011, fix="use auto, futex, pidfd or socket")
    chosen = cast("Method", method)
    problem = ""
    if chosen != "socket" and not pidfd.supported():
        problem = _NO_PIDFD
    elif chosen == "futex":
        problem = futex.self_test(directory)
    if problem:
        raise PlaneError(f"death watch by {chosen} does not work here: {problem}", code=5011, fix="use method 'auto'")
    return chosen, "asked for"
