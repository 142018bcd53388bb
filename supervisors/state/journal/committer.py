"""Group commit: a thread that makes what many submit durable together."""

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate

from supervisors.core.errors import Fenced, JournalFailed, StateError
from supervisors.state.journal.format import MAX_BODY
from supervisors.state.journal.writer import JournalWriter

#: most bytes in one batch: what is acknowledged together, and sent to a standby in one message
MAX_BATCH = 4 * 1024 * 1024
#: most bytes that wait for the disk
MAX_WAITING = 256 * 1024 * 1024


class GroupCommitter:
    """A thread that makes what many submit durable together.

    While one batch is being synced the next one gathers, so a batch is as large as the disk is slow.

    Args:
        writer: from now on this thread's only.
        committed: called in the thread for each batch, in order: ``(first, last, frames)`` are durable. Keep it short
            (one ``call_soon_threadsafe``).
        failed: called in the thread, ``(first, error)``: every submitted sequence >= ``first`` is void, whether written
            or waiting. Until ``resume`` is called ``submit`` raises ``error``, so that a number given anew is never
            taken for the void one. After ``Fenced`` there is no resuming.
        name: of the thread.
    """

    def __init__(
        self,
        writer: JournalWriter,
        *,
        committed: Callable[[int, int, bytes], None],
        failed: Callable[[int, StateError], None],
        name: str = "journal",
    ) -> None:
        self._writer = writer
        self._committed = committed
        self._failed = failed
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._work = threading.Lock()  # held while there is nothing to do: half the cost of a condition
        self._work.acquire()
        self._idle = False
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._next = writer.durable
        self._done = writer.durable
        self._failure: StateError | None = None
        self._closing = False
        self._ended = False
        self._flushing = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def durable(self) -> int:
        """Last sequence acknowledged."""
        return self._writer.durable

    @property
    def epoch(self) -> int:
        """The writer's."""
        return self._writer.epoch

    def submit(self, body: bytes) -> int:
        """Take one event; gives its sequence at once. Thread-safe, never waits for the disk.

        Raises:
            JournalFailed: a failure was told and ``resume`` not yet called (that failure); the body is too long, or too
                much waits for the disk (7014); it is closed.
            Fenced: a newer writer took over.
        """
        size = len(body)
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if size > MAX_BODY or self._bytes + size > MAX_WAITING:
                raise self._too_much(size)
            self._bytes += size
            self._waiting.append(body)
            self._next = sequence = self._next + 1
            if self._idle:
                self._idle = False
                self._work.release()
        return sequence

    def resume(self) -> None:
        """After ``failed``, once all void sequences are dealt with: take events again, from ``durable + 1`` on.

        Call it where ``submit`` is called (in the loop), after the void futures were failed. Without a failure, after
        ``Fenced`` and after ``close`` it has no effect.
        """
        with self._lock:
            if not (self._closing or self._ended or isinstance(self._failure, Fenced)):
                self._failure = None

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything submitted so far is committed or void; False when that takes over ``timeout`` s."""
        with self._settled:
            target = self._next
            self._flushing += 1
            try:
                return self._settled.wait_for(
                    lambda: self._done >= target or self._failure is not None or self._ended, timeout
                )
            finally:
                self._flushing -= 1

    def close(self, timeout: float = 5.0) -> bool:
        """Commit what waits, close the writer in order, end the thread. Later ``submit`` raises.

        Returns:
            False when ``timeout`` seconds passed and the thread still waits for the disk. It then ends by itself.
        """
        with self._lock:
            self._closing = True
            if self._failure is None:
                self._failure = JournalFailed(f"{self._writer.folder} is closed", fix="nothing can be added any more")
            if self._idle:
                self._idle = False
                self._work.release()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _too_much(self, size: int) -> JournalFailed:
        what = f"an event of {size} bytes; {MAX_BODY} are allowed"
        if size <= MAX_BODY:
            what = f"{self._bytes} bytes wait for the disk, no more are taken"
        return JournalFailed(f"{self._writer.folder}: {what}", code=7014, fix="smaller events, or a faster disk")

    def _run(self) -> None:
        try:
            while batch := self._take():
                self._commit(batch)
        except Exception as error:  # noqa: BLE001 - a defect must not leave callers waiting for ever
            with suppress(Exception):  # it may be the callback that failed: its loop is closed
                self._void(JournalFailed(f"the journal's thread ended: {error!r}", fix="report it"), final=True)
        finally:
            self._writer.close()
            with self._settled:
                self._ended = True
                self._settled.notify_all()

    def _take(self) -> list[bytes]:
        """The next batch; waits for it. Empty: it was closed and nothing waits."""
        while True:
            with self._lock:
                if self._waiting:
                    return self._cut()
                if self._closing:
                    return []
                self._idle = True
            self._work.acquire()

    def _cut(self) -> list[bytes]:
        batch = self._waiting
        if self._bytes <= MAX_BATCH:
            self._waiting, self._bytes = [], 0
            return batch
        count = max(1, sum(1 for total in accumulate(map(len, batch)) if total <= MAX_BATCH))
        self._waiting = batch[count:]
        batch = batch[:count]
        self._bytes -= sum(map(len, batch))
        return batch

    def _commit(self, batch: list[bytes]) -> None:
        try:
            first, last, frames = self._writer.append(batch)
        except StateError as error:
            self._void(error)
            return
        self._committed(first, last, frames)
        self._done = last
        if self._flushing:
            with self._settled:
                self._settled.notify_all()

    def _void(self, error: StateError, *, final: bool = False) -> None:
        """Nothing submitted and not acknowledged will be."""
        with self._settled:
            durable = self._writer.durable
            void = self._next > durable
            self._waiting, self._bytes = [], 0
            self._next = self._done = durable
            if not isinstance(self._failure, Fenced):
                self._failure = error
            self._closing = self._closing or final
            self._settled.notify_all()
        if void or final:
            self._failed(durable + 1, error)
