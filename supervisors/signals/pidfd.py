"""Handles on processes (Linux 5.3 and later), by raw system calls: some builds of Python come without theirs."""

import ctypes
import errno
import os
import platform
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

_PIDFD_SEND_SIGNAL = 424  # the same number on every architecture
_PIDFD_OPEN = 434

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, first: int, second: int) -> int:
    return int(
        _libc.syscall(
            ctypes.c_long(number),
            ctypes.c_long(first),
            ctypes.c_long(second),
            ctypes.c_long(0),
            ctypes.c_long(0),
        )
    )


def open_pid(pid: int) -> int:
    """Return a new pidfd of ``pid`` (close it; not inherited by new programs).

    Raises:
        ProcessLookupError: no such process.
        OSError: any other refusal, ENOSYS and EPERM (seccomp) included.
    """
    handle = _call(_PIDFD_OPEN, pid, 0)
    if handle < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return handle


def open_verified(pid: int, start_time: int, start_time_of: Callable[[int], int | None]) -> int | None:
    """Return a pidfd of exactly this process, or None when it is gone (its pid may be another's by now).

    The start time is read after the handle was made, so that the handle cannot be of a later process.

    Raises:
        OSError: the kernel refused the handle for another reason (ENOSYS, EPERM, EMFILE).
    """
    try:
        handle = open_pid(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):  # EINVAL: now the id of a thread, or not an id at all
            return None
        raise
    if start_time_of(pid) == start_time:
        return handle
    os.close(handle)
    return None


def send_signal(handle: int, number: signal.Signals) -> bool:
    """Send a signal through a pidfd; True when it was sent or the process is gone already."""
    if _call(_PIDFD_SEND_SIGNAL, handle, int(number)) == 0:
        return True
    return ctypes.get_errno() == errno.ESRCH


def supported() -> bool:
    """True when handles can be made here."""
    if platform.system() != "Linux":  # the number means another call elsewhere
        return False
    try:
        os.close(open_pid(os.getpid()))
    except OSError:
        return False
    return True


class FdPoller:
    """One thread that waits on many descriptors, each of which becomes ready once: at the end of a process.

    The descriptors stay their owner's: ``remove`` first, then close. ``add`` and ``remove`` may be called by any
    thread, from within the callback too.

    Args:
        on_ready: called from the poller's thread with the descriptor's own token, once per descriptor; by then the
            poller has let go of the descriptor. It must not raise.
        name: of the thread.
    """

    def __init__(self, on_ready: Callable[[object], None], name: str) -> None:
        self._on_ready = on_ready
        self._lock = threading.Lock()
        self._tokens: dict[int, object] = {}
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, descriptor: int, token: object) -> None:
        """Watch ``descriptor``; one that is ready already is reported at once (from the thread)."""
        with self._lock:
            if not self._closed:
                self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP)
                self._tokens[descriptor] = token

    def remove(self, descriptor: int) -> None:
        """Stop watching; nothing happens when it was reported before. Call it before the descriptor is closed."""
        with self._lock:
            if self._tokens.pop(descriptor, None) is not None and not self._closed:
                self._epoll.unregister(descriptor)

    def close(self, timeout: float) -> None:
        """End the thread and wait for it, at most ``timeout`` seconds (0 from within the callback)."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.write(self._wake_write, b"x")
        if timeout > 0:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closed:
            for descriptor, _ in self._epoll.poll():
                self._report(descriptor)
        with self._lock:
            self._epoll.close()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _report(self, descriptor: int) -> None:
        with self._lock:
            token = self._tokens.get(descriptor)
            # between the poll and here the number may have been closed and given out again: ask once more
            if token is None or self._closed or not _is_ready(descriptor):
                return
            del self._tokens[descriptor]
            self._epoll.unregister(descriptor)
        self._on_ready(token)


def _is_ready(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN | select.POLLRDHUP)
    with suppress(OSError):
        return bool(poller.poll(0))
    return False
