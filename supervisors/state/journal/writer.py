"""The one writer of a journal: one batch is one write and one sync."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from supervisors.core.clock import Clock
from supervisors.core.errors import Fenced, JournalFailed, StateError
from supervisors.state.disk import REAL_DISK, Disk, write_all
from supervisors.state.journal import opening
from supervisors.state.journal.control import store_begin
from supervisors.state.journal.findings import Finding
from supervisors.state.journal.format import encode
from supervisors.state.journal.preparing import Nameless, Prepared
from supervisors.state.journal.segments import HEADER_SIZE, STEP, create, name

SEGMENT_BYTES = 64_000_000


class JournalWriter:
    """The one writer of a journal. Not thread-safe but for ``settle``: ``GroupCommitter`` owns it once it is given one.

    After ``Fenced`` it is of no more use. After another error it repairs itself at the next append, in a new segment:
    a file whose sync failed once is never synced again, for the kernel may call clean what it threw away.
    """

    def __init__(
        self, taken: opening.Taken, *, clock: Clock, disk: Disk, segment_bytes: int, sync: bool, quick: bool
    ) -> None:
        self._folder = taken.folder
        self._control = taken.control
        self._fd = taken.fd
        self._disk = disk
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._first = taken.head + 1  # of the segment
        self._offset = HEADER_SIZE  # end of what is durable in it
        self._nameless = taken.nameless  # neither what is in the segment nor its name is durable yet
        self._allocated = taken.nameless.room if taken.nameless else HEADER_SIZE
        self._old = taken.old
        self._unsettled = quick or taken.nameless is not None
        self._settling = threading.Lock()  # settle, against all else that uses the file
        self._broken = False
        self._unusable: StateError | None = None
        self._closed = False
        #: what was found and done when it was opened
        self.findings: list[Finding] = taken.findings
        #: fencing token of this writer
        self.epoch = taken.epoch
        #: last sequence acknowledged
        self.durable = taken.head

    @classmethod
    def open(
        cls,
        folder: Path,
        epoch: int,
        *,
        clock: Clock,
        disk: Disk = REAL_DISK,
        segment_bytes: int = SEGMENT_BYTES,
        sync: bool = True,
        quick: bool = False,
        prepared: Prepared | None = None,
    ) -> Self:
        """Take the journal over: fence older writers, find the end, cut what is torn, begin a new segment.

        Args:
            folder: made when missing.
            epoch: from 1; greater than that of every earlier writer, or equal to that of one that closed in order.
            clock: stamps records.
            disk: where faults are injected.
            segment_bytes: size at which a new segment is begun.
            sync: False: written, not synced (``AckMode.ASYNC``); a power loss takes acknowledged events with it.
            quick: do not read the last segment, trust the durable mark where that can be trusted (this machine was not
                restarted since): for a standby that is promoted and has the events in its memory. What can wait is
                left to ``settle``.
            prepared: what ``prepare`` made; used up, also by a failure. With it nothing is synced here (but what the
                writer before left unsynced): the first append does. Until then a power failure brings back the journal
                as it was, with what the writer before wrote and did not acknowledge. What of it cannot be used is done
                anew; without an effect on a journal that was never opened, and for an epoch that was here before.

        Raises:
            Fenced: a newer writer was here, or one of the same epoch that did not close in order.
            JournalCorrupt: something acknowledged is damaged or missing; nothing is cut.
            JournalFailed: another version's (7010), opening held up by another process (7011), or the disk refused.
        """
        taken = opening.take(folder, epoch, clock=clock, disk=disk, quick=quick, sync=sync, prepared=prepared)
        return cls(taken, clock=clock, disk=disk, segment_bytes=segment_bytes, sync=sync, quick=quick)

    @property
    def head(self) -> int:
        """Last sequence written: that of ``durable``, as what is not acknowledged counts for nothing."""
        return self.durable

    @property
    def folder(self) -> Path:
        """Where the journal is."""
        return self._folder

    def begin_at(self, sequence: int) -> None:
        """The state came from a snapshot that stands at ``sequence``: the next record is ``sequence + 1``.

        What the journal held before is covered by that snapshot and no longer part of it. No effect when the journal
        ends exactly there.

        Raises:
            JournalFailed: the journal holds events behind ``sequence`` (7013), or the disk refused.
            Fenced: a newer writer took over.
        """
        self._check()
        if sequence == self.durable:
            return
        if sequence < self.durable:
            raise JournalFailed(
                f"{self._folder} holds events up to {self.durable}, the snapshot stands at {sequence}",
                code=7013,
                fix="restore from this journal, or move its folder away",
            )
        try:
            # the beginning first: else a reader would miss what lies between the old end and the new segment
            with self._settling:
                with opening.locked(self._folder, self._disk):
                    self._check()
                    state = opening.current(self._folder, self._disk)
                    store_begin(self._disk, self._folder, state, sequence + 1)
                self.durable = sequence
                self._begin_segment()
        except OSError as error:
            self._unusable = _refused(self._folder, error)  # where it begins is uncertain until it is opened again
            raise self._unusable from error
        self._control.mark(sequence, self._first, self._offset, synced=self._sync)

    def append(self, bodies: Sequence[bytes]) -> tuple[int, int, bytes]:
        """Write and sync one batch: ``(first, last, encoded records)``.

        All of it is acknowledged when this returns; when it raises, nothing of it will ever be read.

        Raises:
            JournalFailed: the disk refused.
            Fenced: a newer writer took over; what was written does not count, unless that one found it durable, or lost
                its power before it had itself written anything.
        """
        with self._settling:
            return self._append(bodies)

    def _append(self, bodies: Sequence[bytes]) -> tuple[int, int, bytes]:
        self._check()
        first = self.durable + 1
        last = self.durable + len(bodies)
        monotonic_ns = int(self._clock.monotonic() * 1e9)
        frames = encode(bodies, first, self.epoch, monotonic_ns, self._clock.utc_ns(), synced=self._sync)
        try:
            if self._broken or (self._offset + len(frames) > self._segment_bytes and self._offset > HEADER_SIZE):
                self._begin_segment()
            end = self._offset + len(frames)
            if end > self._allocated:
                self._allocate(end)
            write_all(self._disk, self._fd, frames, self._offset)
            if self._nameless is not None:
                self._name(self._nameless)
            elif self._sync:
                self._disk.fdatasync(self._fd)
        except OSError as error:
            self._void()
            raise _refused(self._folder, error) from error
        # The order is what makes this safe against a newer writer, which raises the fence and only then reads the mark:
        # either it sees this mark, or we see its fence and do not acknowledge.
        self._control.mark(last, self._first, end, synced=self._sync)
        self._offset = end  # even if it is fenced now: the newer one may count on it, so it must not be cut
        self._check()
        self.durable = last
        return first, last, frames

    def close(self) -> None:
        """End in order: the next writer may have the same epoch. Never raises for the disk; twice is harmless."""
        if self._closed:
            return
        with self._settling:
            self._close()

    def _close(self) -> None:
        self._closed = True
        with suppress(OSError):
            if not self._broken and self._nameless is None and not self._control.newer():
                # the room taken and not used
                self._disk.truncate(self._fd, self._offset)
                self._disk.fdatasync(self._fd)
        if not isinstance(self._unusable, Fenced):
            opening.release(self._folder, self._disk, self.epoch)
        self._free()

    def abandon(self) -> None:
        """Let go of the files and leave everything as a killed process would."""
        with self._settling:
            self._closed = True
            self._nameless = None
            self._free()

    def settle(self) -> list[Finding]:
        """Do what a quick opening left to be done; from any thread, once, when there is nothing more urgent.

        The segment becomes durable also when nothing was written, what does not count is cut, old files are removed.
        Nothing that is acknowledged depends on it. Never raises for the disk.

        Returns:
            What was found.
        """
        with self._settling:
            if self._closed or not self._unsettled:
                return []
            self._unsettled = False
            try:
                self._check()
                if self._nameless is not None and not self._broken:
                    try:
                        self._name(self._nameless)
                    except OSError:
                        self._void()
            except StateError:
                return []
            self._control.let_go()
            old, path = self._old, self._folder / name(self._first, self.epoch)
        with suppress(OSError, StateError):
            return opening.settle(self._folder, self._disk, self.epoch, old, path)
        return []

    def _free(self) -> None:
        self._drop_nameless()
        if self._fd >= 0:
            with suppress(OSError):
                self._disk.close(self._fd)
        self._fd = -1
        self._control.close()

    def _check(self) -> None:
        if self._closed:
            raise JournalFailed(f"{self._folder} is closed", fix="open it again")
        if epoch := self._control.newer():
            self._unusable = Fenced(
                f"{self._folder}: epoch {self.epoch} was replaced by {epoch}",
                fix="this life must end; the newer one goes on",
            )
        if self._unusable is not None:
            raise self._unusable

    def _allocate(self, end: int) -> None:
        """Take room for at least ``end`` bytes; without it the disk is asked for room by each write."""
        wanted = min(max(end, self._offset + STEP), max(end, self._segment_bytes))
        self._allocated = end
        with suppress(OSError):  # full, or not supported by this file system: the write tells
            self._disk.preallocate(self._fd, wanted)
            self._allocated = wanted

    def _drop_nameless(self) -> None:
        """The segment was not, or will not be used."""
        if self._nameless is not None:
            with suppress(OSError):
                self._disk.unlink(self._nameless.path)
        self._nameless = None

    def _name(self, nameless: Nameless) -> None:
        """Give the segment its name, which promises that its header is durable.

        A power failure may take the name back; the segment is found without it.

        Raises:
            OSError: the disk refused.
        """
        self._disk.fdatasync(self._fd)
        self._disk.rename(nameless.path, self._folder / name(self._first, self.epoch))
        self._nameless = None

    def _begin_segment(self) -> None:
        """Go on in a new segment. What the old one holds is durable up to ``_offset``; the rest is void.

        Raises:
            OSError: the disk refused; to be tried again.
        """
        self._check()
        if not self._broken and self._nameless is None:
            if not self._sync:
                self._disk.fdatasync(self._fd)
            with suppress(OSError):
                self._disk.truncate(self._fd, self._offset)
        self._broken = True
        fd, _ = create(self._disk, self._folder, self.durable + 1, self.epoch, self._clock.utc_ns())
        try:
            self._disk.fsync_dir(self._folder)
        except OSError:
            self._disk.close(fd)
            raise
        self._drop_nameless()
        with suppress(OSError):
            self._disk.close(self._fd)
        self._fd = fd
        self._first = self.durable + 1
        self._offset = self._allocated = HEADER_SIZE
        self._broken = False

    def _void(self) -> None:
        """After a failure: nothing behind the durable end may be read again, also after a power failure.

        A new segment that begins there makes sure of that. While the disk does not even take that, it is tried again
        by each append, and until it succeeds a power failure may leave whole what was told to have failed.

        Raises:
            Fenced: a newer writer took over. It may have removed what we were making.
        """
        self._broken = True
        with suppress(OSError):
            self._disk.truncate(self._fd, self._offset)
        with suppress(OSError):
            self._begin_segment()


def _refused(folder: Path, error: OSError) -> JournalFailed:
    return JournalFailed(
        f"{folder}: the disk refused: {error.strerror or error}", fix="free space, or look at the disk (dmesg)"
    )
