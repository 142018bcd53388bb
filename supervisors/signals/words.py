"""The watcher's side of robust futexes: few threads that wait on many words (see ``futex``)."""

import ctypes
import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from supervisors.signals import futex

#: how long a thread of the fallback may sleep on although its word was given up, seconds
_FALLBACK_NAP = 5.0


class WordEnd(Enum):
    """How a word ended."""

    DIED = auto()  #: the kernel marked it: the thread that held it is gone
    CLOSED = auto()  #: it was released in order: the process lives on, without a beacon
    BROKEN = auto()  #: it holds what nobody should have written, or can no longer be waited on


@dataclass(eq=False, slots=True)
class Word:
    """One word being watched. ``token`` is the caller's own."""

    token: object
    address: int  #: of a mapping that the waiter unmaps when it is done
    expected: int
    group: "_Group | None" = None


OnEnd = Callable[[object, WordEnd], None]


class WordWaiter:
    """Watches any number of words: 127 per thread with ``futex_waitv``, one per thread without.

    Args:
        on_end: called once per word, from one of the threads, with the word's token. It may call ``remove``.
        waitv: False keeps to plain futex waits (kernels before 5.16).
    """

    def __init__(self, on_end: OnEnd, waitv: bool) -> None:
        self._on_end = on_end
        self._waitv = waitv
        self._lock = threading.Lock()
        self._groups: list[_Group] = []
        self._closed = False

    def add(self, address: int, token: object) -> Word:
        """Watch the word at ``address`` (mapped by ``futex.map_shared``; the waiter unmaps it in the end).

        A word whose owner has died already is reported at once, from the thread.

        Raises:
            OSError: no further thread can be started; the word has been unmapped.
        """
        word = Word(token, address, futex.read_word(address))
        with self._lock:
            if self._closed:
                futex.unmap(address)
                return word
            group = next((group for group in self._groups if group.has_room()), None)
            if group is None:
                try:
                    group = _Group(self._on_end, self._waitv, len(self._groups))
                except RuntimeError as error:
                    futex.unmap(address)
                    raise OSError(errno.EAGAIN, str(error)) from error
                self._groups.append(group)
            word.group = group
            group.add(word)
        return word

    def remove(self, word: Word) -> None:
        """Stop watching; nothing happens when the word has ended already."""
        if word.group is not None:
            word.group.remove(word)

    def close(self, timeout: float) -> None:
        """End the threads, which unmap every word; wait for each at most ``timeout`` s (0 from within the callback)."""
        with self._lock:
            self._closed = True
            groups, self._groups = self._groups, []
        for group in groups:
            group.stop()
        for group in groups:
            group.join(timeout)

    @property
    def threads(self) -> int:
        """How many threads wait now."""
        return len(self._groups)


class _Group:
    """One thread and its words. Only the thread touches ``_words`` and ``_entries``; others leave notes.

    Entry 0 is the control word: each note changes it, so that the thread, on its way into the kernel or already
    asleep there, comes back and reads the notes. A word is unmapped by the thread only, when it does not wait.
    """

    def __init__(self, on_end: OnEnd, waitv: bool, number: int) -> None:
        self._on_end = on_end
        self._waitv = waitv
        self._room = futex.MOST_WORDS - 1 if waitv else 1
        self._lock = threading.Lock()
        self._count = 0  # words added and not yet dropped, notes included
        self._added: list[Word] = []
        self._removed: list[Word] = []
        self._stop = False
        self._control = ctypes.c_uint32(0)
        self._words: list[Word] = []
        self._entries = (futex.WaitEntry * futex.MOST_WORDS)()
        self._thread = threading.Thread(target=self._run, name=f"death-futex-{number}", daemon=True)
        self._thread.start()

    def has_room(self) -> bool:
        return self._count < self._room

    def add(self, word: Word) -> None:
        with self._lock:
            self._count += 1
            self._added.append(word)
            self._nudge()

    def remove(self, word: Word) -> None:
        with self._lock:
            self._removed.append(word)
            self._nudge()

    def stop(self) -> None:
        with self._lock:
            self._stop = True
            self._nudge()

    def join(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            self._thread.join(left if self._waitv else min(left, 0.01))
            if not self._waitv:  # the nudge may have come just before the thread went to sleep
                with self._lock:
                    self._nudge()

    def _nudge(self) -> None:
        self._control.value += 1  # wraps by itself
        futex.wake(ctypes.addressof(self._control), private=True)
        if not self._waitv:
            for word in self._words:
                # not our own waiters alone, but they look again and go back to sleep
                futex.wake(word.address)

    def _run(self) -> None:
        while True:
            with self._lock:
                control = self._control.value
                self._apply_notes()
                if self._stop:
                    self._drop_all()
                    return
            if not self._scan():
                self._wait(control)

    def _apply_notes(self) -> None:
        for word in self._added:
            self._words.append(word)
            futex.fill_entry(self._entries[len(self._words)], word.address, word.expected)
        self._added.clear()
        for word in self._removed:
            if word in self._words:
                self._drop(word)
        self._removed.clear()

    def _drop(self, word: Word) -> None:
        index = self._words.index(word)
        last = self._words.pop()
        if last is not word:
            self._words[index] = last
            futex.fill_entry(self._entries[index + 1], last.address, last.expected)
        futex.unmap(word.address)
        self._count -= 1

    def _drop_all(self) -> None:
        for word in self._words:
            futex.unmap(word.address)
        self._words.clear()
        self._count = 0

    def _scan(self) -> bool:
        """Report the words that ended; True when there were any."""
        ended: list[tuple[Word, WordEnd]] = []
        for word in self._words:
            value = futex.read_word(word.address)
            if value & futex.OWNER_DIED:
                ended.append((word, WordEnd.DIED))
            elif value != word.expected or value == 0:
                ended.append((word, WordEnd.CLOSED if value == 0 else WordEnd.BROKEN))
        if ended:
            self._report(ended)
        return bool(ended)

    def _report(self, ended: list[tuple[Word, WordEnd]]) -> None:
        with self._lock:
            for word, _ in ended:
                futex.wake(word.address)  # the kernel woke one watcher of it: pass it on
                self._drop(word)
        for word, end in ended:
            self._on_end(word.token, end)

    def _wait(self, control: int) -> None:
        if self._waitv:
            futex.fill_entry(self._entries[0], ctypes.addressof(self._control), control, private=True)
            result = futex.wait_any(self._entries, len(self._words) + 1)
        elif self._words:
            result = futex.wait(self._words[0].address, self._words[0].expected, _FALLBACK_NAP)
        else:
            result = futex.wait(ctypes.addressof(self._control), control, private=True)
        if result < 0 and -result not in (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT):
            # the kernel is out of memory, or a mapping broke: let the second net have them, and do not spin
            self._report([(word, WordEnd.BROKEN) for word in self._words])
            time.sleep(0.01)
