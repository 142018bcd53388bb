"""Robust futexes: the kernel itself marks a word in shared memory when the thread that holds it ends.

It does so **before** it tears the address space down, which is why the notice takes the same fraction of a
millisecond whatever the size of the process (DET-2). Linux, x86_64 and aarch64; raw system calls through ctypes,
which releases the GIL around each.

The kernel's rules (``handle_futex_death``): the word must hold the id of the ending thread; it becomes
``OWNER_DIED``, keeps ``WAITERS``, and if ``WAITERS`` was set **one** waiter is woken. Several watchers of one word
therefore wake each other (``wake``).
"""

import ctypes
import errno
import mmap
import os
import platform
import signal
import threading
from pathlib import Path

WAITERS = 0x80000000
OWNER_DIED = 0x40000000
#: every waiter of a word
ALL = 0x7FFFFFFF
#: words one ``futex_waitv`` can wait on (the kernel's FUTEX_WAITV_MAX)
MOST_WORDS = 128

_NUMBERS = {  # futex, set_robust_list, gettid
    "x86_64": (202, 273, 186),
    "aarch64": (98, 99, 178),
}
_FUTEX_WAITV = 449  # the same number on both, since Linux 5.16
#: these numbers mean other calls elsewhere; a negative one is refused by every kernel
_HERE = platform.machine() if platform.system() == "Linux" and ctypes.sizeof(ctypes.c_void_p) == 8 else ""
_FUTEX, _SET_ROBUST_LIST, _GETTID = _NUMBERS.get(_HERE, (-1, -1, -1))
_WAIT, _WAKE, _PRIVATE = 0, 1, 128
_SIZE_U32 = 2
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class WaitEntry(ctypes.Structure):
    """``struct futex_waitv``: one word to wait on, and the value it must still have."""

    _fields_ = [
        ("value", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


class _RobustList(ctypes.Structure):
    """``struct robust_list_head`` and one ``struct robust_list`` after it."""

    _fields_ = [
        ("first", ctypes.c_uint64),  # of the list; the last entry points back here
        ("offset", ctypes.c_int64),  # from an entry to its word
        ("pending", ctypes.c_uint64),
        ("entry", ctypes.c_uint64),
    ]


_HEAD_SIZE = 24
_ENTRY_AT = 24


def _syscall(number: int, *arguments: int) -> int:
    """The result, or the negative error number."""
    padded = [ctypes.c_long(value) for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    result = int(_libc.syscall(ctypes.c_long(number), *padded))
    return -ctypes.get_errno() if result == -1 else result


def wait(address: int, expected: int, timeout: float | None = None, *, private: bool = False) -> int:
    """Sleep while the word at ``address`` is ``expected``; 0 when woken, else a negative error number.

    ``-EAGAIN`` (it was another value), ``-EINTR`` and ``-ETIMEDOUT`` are ordinary; ``timeout`` in seconds.
    """
    limit = None if timeout is None else _Timespec(int(timeout), int(timeout % 1 * 1e9))
    pointer = 0 if limit is None else ctypes.addressof(limit)
    return _syscall(_FUTEX, address, _WAIT | (_PRIVATE if private else 0), expected, pointer)


def wake(address: int, count: int = ALL, *, private: bool = False) -> int:
    """Wake up to ``count`` waiters of the word; the number woken. A mapping that can only be read is enough."""
    return _syscall(_FUTEX, address, _WAKE | (_PRIVATE if private else 0), count)


def wait_any(entries: "ctypes.Array[WaitEntry]", count: int) -> int:
    """Sleep until one of the first ``count`` words is woken; its index, or a negative error number.

    Other words may have been woken in the same moment: look at all of them.
    """
    return _syscall(_FUTEX_WAITV, ctypes.addressof(entries), count)


def fill_entry(entry: WaitEntry, address: int, expected: int, *, private: bool = False) -> None:
    """Set what ``entry`` waits on."""
    entry.address, entry.value, entry.flags = address, expected, _SIZE_U32 | (_PRIVATE if private else 0)


def has_waitv() -> bool:
    """True when ``futex_waitv`` works here (Linux 5.16, unless a seccomp filter forbids it)."""
    if _FUTEX < 0:
        return False
    word = ctypes.c_uint32(1)
    entries = (WaitEntry * 1)()
    fill_entry(entries[0], ctypes.addressof(word), 0, private=True)
    return wait_any(entries, 1) == -errno.EAGAIN


def read_word(address: int) -> int:
    """The word at ``address``, which must be mapped."""
    return ctypes.c_uint32.from_address(address).value


def write_word(address: int, value: int) -> None:
    """Store one word; ``address`` must be mapped writable."""
    ctypes.c_uint32.from_address(address).value = value


def map_shared(descriptor: int, *, writable: bool) -> int:
    """Map the first page of a file; its address. Unlike Python's own ``mmap`` this keeps no descriptor open.

    Raises:
        OSError: it cannot be mapped.
    """
    return _map(mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0), mmap.MAP_SHARED, descriptor)


def unmap(address: int) -> None:
    """Undo ``map_shared``. No thread may wait on, or read, a word there any more."""
    _libc.munmap(address, mmap.PAGESIZE)


def _map(protection: int, flags: int, descriptor: int) -> int:
    address = _libc.mmap(None, mmap.PAGESIZE, protection, flags, descriptor, 0)
    if address is None or address == _MAP_FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(address)


class WordHolder:
    """A thread that holds a word for as long as it lives, and so tells of its own end.

    It blocks every signal and sleeps in the kernel without the GIL: it costs nothing and nothing interrupts it. The
    list the kernel walks stands in a page of its own that the end of the interpreter does not touch.

    Args:
        word: address of the word to hold, in a shared writable mapping.
        name: of the thread.
        linger: False ends the thread at once, as a crash would (for the self-test).

    Raises:
        OSError: the kernel refused.
    """

    def __init__(self, word: int, name: str, *, linger: bool = True) -> None:
        self._word = word
        self._linger = linger
        self._private = _map(mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
        self._gate = self._private + ctypes.sizeof(_RobustList)
        self._error = 0
        self._held = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._held.wait()
        if self._error:
            self._thread.join()
            unmap(self._private)
            raise OSError(self._error, os.strerror(self._error))

    def release(self) -> None:
        """End the thread in order: the word becomes 0, which watchers read as "closed", not as a death."""
        write_word(self._gate, 1)
        wake(self._gate, private=True)
        self._thread.join()
        unmap(self._private)

    def forget(self) -> None:
        """Free what the thread used, once its word is marked: the kernel has read the list by then."""
        unmap(self._private)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        head = _RobustList.from_address(self._private)
        entry = self._private + _ENTRY_AT
        head.first, head.offset, head.pending, head.entry = entry, self._word - entry, 0, self._private
        # replaces the list of the C library, which this thread never needs
        self._error = -_syscall(_SET_ROBUST_LIST, self._private, _HEAD_SIZE)
        if not self._error:
            write_word(self._word, _syscall(_GETTID) | WAITERS)
        self._held.set()
        if self._error or not self._linger:
            return
        while read_word(self._gate) == 0:
            wait(self._gate, 0, private=True)
        write_word(self._word, 0)
        _syscall(_SET_ROBUST_LIST, 0, _HEAD_SIZE)
        wake(self._word)


def self_test(directory: Path, timeout: float = 1.0) -> str:
    """Let a thread die holding a word in ``directory``; an empty string when the kernel told, else why not.

    Takes well under a millisecond where it works; the end of a thread takes the kernel the same way as the end of
    a process. ``timeout`` (seconds) bounds it where it does not.
    """
    if _FUTEX < 0:
        return f"no robust futex calls known for {platform.system()} on {platform.machine()}"
    path = directory / f".futex-test.{os.getpid()}.{threading.get_ident()}"
    try:
        word, descriptor = create_words(path)
    except OSError as error:
        return f"cannot map a file in {directory}: {error}"
    try:
        return _die_and_see(word, timeout)
    except OSError as error:
        return f"set_robust_list failed: {error}"
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _die_and_see(word: int, timeout: float) -> str:
    holder = WordHolder(word, "futex-test", linger=False)
    held = read_word(word)
    if not held & OWNER_DIED:
        wait(word, held, timeout)
    if not read_word(word) & OWNER_DIED:
        return f"the kernel did not mark the word within {timeout:g} s"  # both pages stay: it may still come
    holder.forget()
    unmap(word)
    return ""


def create_words(path: Path, content: bytes = b"") -> tuple[int, int]:
    """Make a file of one page (0600, new) and map it writable: (address, descriptor).

    Raises:
        OSError: it exists, or there is no room (the page is allocated here, so that no later access can fail).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, content.ljust(mmap.PAGESIZE, b"\0"))
        return map_shared(descriptor, writable=True), descriptor
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
