"""Getting ready to take a journal over: what a promotion would have to wait for is done while the standby follows.

Two files, ``takeover-<boot>-<owner>.segment`` and ``.control``, synced and with durable names. The owner is one life of
one standby, so several do not meet; it keeps its segment locked, and files whose owner is gone are removed by the next
opening. The promotion writes the header and the state into them, without a sync, and puts the control file in place.
The segment gets its name when its first records are durable (see ``segments``).
"""

import errno
import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisors.core.errors import JournalFailed
from supervisors.state.disk import REAL_DISK, Disk, write_all
from supervisors.state.journal import control
from supervisors.state.journal.control import LiveControl, State
from supervisors.state.journal.segments import (
    HEADER_SIZE,
    STEP,
    TAKEOVER,
    encode_header,
    list_segments,
    name,
)

#: bytes at the beginning that are written and not only reserved: a sync of them has no metadata to wait for
WARM = 256 * 1024
#: no start of any machine
_NO_BOOT = b"\xff" * 16
_NO_PREALLOCATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class Nameless(NamedTuple):
    """A segment in use under the name it was made with. ``room``: bytes in the file."""

    path: Path
    fd: int
    room: int


class Prepared:
    """What is ready for one takeover. ``JournalWriter.open`` uses it up, ``discard`` removes it."""

    def __init__(self, folder: Path, disk: Disk, state: State) -> None:
        self._folder = folder
        self._disk = disk
        self._begin = state.begin
        owner = f"takeover-{disk.boot().hex()}-{os.getpid()}x{secrets.token_hex(6)}"
        self._segment = folder / f"{owner}.segment"
        self._control = folder / f"{owner}.control"
        self._fd = -1  # of the segment; the lock on it lasts as long as this life has it
        self._room = 0
        self._used = False

    def make(self, state: State, segment_bytes: int) -> None:
        """Make both files, durably.

        Raises:
            OSError: the disk refused; call ``discard``.
        """
        disk = self._disk
        self._fd = disk.open(self._segment, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._room = min(WARM, max(segment_bytes, HEADER_SIZE))
        try:
            wanted = min(STEP, max(segment_bytes, HEADER_SIZE))
            disk.preallocate(self._fd, wanted)
            self._room = wanted
        except OSError as error:
            if error.errno not in _NO_PREALLOCATION:
                raise
        write_all(disk, self._fd, bytes(min(WARM, self._room)), 0)
        disk.fsync(self._fd)
        fd = disk.open(self._control, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            # never exact: what it says is true, and not all there is
            mark = state.mark._replace(boot=_NO_BOOT)
            write_all(disk, fd, control.encode(state.fence, mark, state.begin), 0)
            disk.fsync(fd)
        finally:
            disk.close(fd)
        disk.fsync_dir(self._folder)

    def stale(self) -> bool:
        """True when it is of less use than another one would be: the beginning has moved, or the files are gone.

        Raises:
            StateError, OSError: the journal cannot be read.
        """
        state = control.load(self._disk, self._folder)
        return state is None or state.begin != self._begin or not self._is_there()

    def put(self, state: State, epoch: int, utc_ns: int) -> tuple[LiveControl, Nameless]:
        """The takeover: the control file says ``state`` from here on, the segment is that of what follows it.

        Both are the caller's now.

        Raises:
            OSError: it is not usable; the journal is as it was.
        """
        if not self._is_there():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._segment))
        write_all(self._disk, self._fd, encode_header(state.mark.first, epoch, utc_ns), 0)
        # what it was made with may come back with the power, and must not begin where nothing is any more
        moved = state.begin != self._begin
        live = LiveControl(self._disk, self._folder, state, made=self._control, sync=moved)
        fd, self._fd = self._fd, -1
        self._used = True
        return live, Nameless(self._segment, fd, self._room)

    def discard(self) -> None:
        """Remove what is there, unless it was put in place; twice is harmless. Never raises for the disk."""
        self.abandon()
        if self._used:
            return
        for path in (self._segment, self._control):
            with suppress(OSError):
                self._disk.unlink(path)

    def abandon(self) -> None:
        """Let go of the files and leave them as a killed process would."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                self._disk.close(fd)

    def _is_there(self) -> bool:
        return self._fd >= 0 and os.fstat(self._fd).st_nlink > 0


def prepare(folder: Path, *, disk: Disk = REAL_DISK, segment_bytes: int = STEP) -> Prepared | None:
    """Get ready to take the journal in ``folder`` over; takes some syncs. Safe beside its writer and other standbys.

    Returns:
        None when there is nothing to take over, or nothing can be prepared: no journal, a damaged control file, a
        machine that does not tell its starts apart.

    Raises:
        JournalCorrupt, JournalFailed: the journal cannot be read, or the disk refused (7002); nothing is left behind.
    """
    try:
        state = control.load(disk, folder)
        if state is None or state.damaged or not any(disk.boot()):
            return None
        made = Prepared(folder, disk, state)
        try:
            made.make(state, segment_bytes)
        except BaseException:
            made.discard()
            raise
        return made
    except OSError as error:
        raise JournalFailed(
            f"{folder}: a takeover cannot be prepared: {error.strerror or error}", fix="free space, or look at the disk"
        ) from error


def clean(folder: Path, disk: Disk) -> None:
    """Remove what dead standbys prepared; a segment that lost its name gets it back. Under the journal's lock.

    Raises:
        OSError: the disk refused.
    """
    for entry in os.listdir(folder):  # noqa: PTH208 - names only
        match = TAKEOVER.fullmatch(entry)
        if match is None:
            continue
        path = folder / entry
        with suppress(FileNotFoundError):
            if match[3] == "control":
                if not path.with_suffix(".segment").exists():
                    disk.unlink(path)
            elif _is_orphan(disk, path):
                _remove(folder, disk, path, match[1])


def _is_orphan(disk: Disk, path: Path) -> bool:
    fd = disk.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        disk.close(fd)
    return True


def _remove(folder: Path, disk: Disk, path: Path, boot: str) -> None:
    if boot != disk.boot().hex():
        for segment in list_segments(folder, disk):
            if segment.path == path:
                disk.rename(path, folder / name(segment.first, segment.epoch))
                break
    with suppress(FileNotFoundError):
        disk.unlink(path)
    with suppress(FileNotFoundError):
        disk.unlink(path.with_suffix(".control"))
