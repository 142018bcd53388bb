"""A disk that is slow, broken, full, or loses its syncs: faults at the port by which state reaches it (FLT-1).

Put between journals and checkpoints and the real disk only where the topology allows faults. While nothing is armed a
call costs one more Python call and two looks at an attribute.

``slow_disk``   each write and sync takes longer, in the thread that asked for it.
``fail_disk``   one kind of call fails with EIO and does nothing. After a failed sync the file may be synced again and
                nothing was thrown away, which is kinder than a kernel; the journal never relies on it.
``full_disk``   so many bytes are taken and then ENOSPC: the last write may be taken in part. Every byte written counts,
                as on file systems that copy on write; taking room in advance fails if it would not fit.
``lose_sync``   syncs return at once. When the fault ends the process is killed, after everything that it changed since
                the last sync that got through is taken back (see ``unsynced``); with ``crash=false`` it is synced and
                nothing is lost. A sync that gets through (``probability``) takes everything before it along, as a
                drive's flush does. Killed earlier by anybody else the process loses nothing: the page cache has it.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from supervisors.faults.board import Armed, FaultBoard, FaultSlot
from supervisors.faults.order import Hook
from supervisors.faults.unsynced import Unsynced
from supervisors.state.disk import Disk
from supervisors.state.folders import CHECKPOINTS, JOURNAL

T = TypeVar("T")

_SLOWED = frozenset({"write", "preallocate", "fdatasync", "fsync", "fsync_dir"})
#: seconds to wait for calls that are under way when the power fails
_PATIENCE = 1.0
#: seconds the plane's thread may wait until what was not synced is
_MOMENT = 0.1


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FaultDisk:
    """``Disk`` with the faults of one process put in. From any thread.

    Args:
        below: where the calls go.
        slot: of this process.
        kill: ends this process at once.
    """

    def __init__(self, below: Disk, slot: FaultSlot, kill: Callable[[], None] = _kill) -> None:
        self._below = below
        self._slot = slot
        self._kill = kill
        self._paths: dict[int, Path] = {}
        self._room: dict[str, int] = {}
        #: while syncs are lost: what was changed, and because of which fault
        self._unsynced: Unsynced | None = None
        self._losing: Armed | None = None
        #: calls that change something take turns while syncs are lost
        self._turn = threading.RLock()
        self._dark = False

    # ------------------------------------------------------------ the port

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """See ``Disk``."""
        if self._slot.board is None and self._unsynced is None:
            fd = self._below.open(path, flags, mode)
        else:
            opening = partial(self._below.open, path, flags, mode)
            fd = self._change("open", path, opening, lambda u: u.opens(path, flags))
        self._paths[fd] = path
        return fd

    def close(self, fd: int) -> None:
        """See ``Disk``."""
        self._paths.pop(fd, None)
        self._below.close(fd)

    def size(self, fd: int) -> int:
        """See ``Disk``."""
        return self._below.size(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """See ``Disk``."""
        board = self._slot.board
        if board is not None:
            self._meet(board, "read", self._path(fd))
        return self._below.read(fd, size, offset)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """See ``Disk``."""
        board = self._slot.board
        if board is None and self._unsynced is None:
            return self._below.write(fd, data, offset)
        path = self._path(fd)
        if board is not None:
            self._meet(board, "write", path)
            data = self._fit(board, path, data)
        return self._logged(
            partial(self._below.write, fd, data, offset), lambda u: u.writes(path, fd, len(data), offset)
        )

    def preallocate(self, fd: int, size: int) -> None:
        """See ``Disk``."""
        board = self._slot.board
        if board is None and self._unsynced is None:
            self._below.preallocate(fd, size)
            return
        path = self._path(fd)
        more = size - self._below.size(fd)
        if board is not None:
            self._meet(board, "preallocate", path)
            for armed in self._hits(board, "full_disk", path):
                if more > self._left(armed) and armed.strikes():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        resized = max(size, size - more)
        self._logged(partial(self._below.preallocate, fd, size), lambda u: u.resizes(path, fd, resized))

    def truncate(self, fd: int, size: int) -> None:
        """See ``Disk``."""
        if self._slot.board is None and self._unsynced is None:
            self._below.truncate(fd, size)
            return
        path = self._path(fd)
        self._change("truncate", path, partial(self._below.truncate, fd, size), lambda u: u.resizes(path, fd, size))

    def fdatasync(self, fd: int) -> None:
        """See ``Disk``."""
        if self._slot.board is None and self._unsynced is None:
            self._below.fdatasync(fd)
            return
        self._sync("fdatasync", self._path(fd), partial(self._below.fdatasync, fd))

    def fsync(self, fd: int) -> None:
        """See ``Disk``."""
        if self._slot.board is None and self._unsynced is None:
            self._below.fsync(fd)
            return
        self._sync("fsync", self._path(fd), partial(self._below.fsync, fd))

    def fsync_dir(self, folder: Path) -> None:
        """See ``Disk``."""
        if self._slot.board is None and self._unsynced is None:
            self._below.fsync_dir(folder)
            return
        self._sync("fsync_dir", folder, partial(self._below.fsync_dir, folder))

    def rename(self, source: Path, target: Path) -> None:
        """See ``Disk``."""
        if self._slot.board is None and self._unsynced is None:
            self._below.rename(source, target)
        else:
            rename = partial(self._below.rename, source, target)
            self._change("rename", target, rename, lambda u: u.renames(source, target))
        for fd, path in list(self._paths.items()):
            if path == source:
                self._paths[fd] = target

    def unlink(self, path: Path) -> None:
        """See ``Disk``."""
        if self._slot.board is None and self._unsynced is None:
            self._below.unlink(path)
            return
        self._change("unlink", path, partial(self._below.unlink, path), lambda u: u.unlinks(path))

    def boot(self) -> bytes:
        """See ``Disk``."""
        return self._below.boot()

    # ------------------------------------------------------------ what is armed

    def _path(self, fd: int) -> Path:
        return self._paths.get(fd, Path())

    def _hits(self, board: FaultBoard, kind: str, path: Path) -> list[Armed]:
        return [
            armed
            for armed in board.at(Hook.DISK)
            if armed.order.kind == kind and armed.live and _concerns(armed.order.text("what"), path)
        ]

    def _meet(self, board: FaultBoard, call: str, path: Path) -> None:
        """What is armed for a call happens: it takes longer, or fails.

        Raises:
            OSError: EIO.
        """
        for armed in self._hits(board, "fail_disk", path):
            if armed.order.text("call") in (call, "all") and armed.strikes():
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if call in _SLOWED:
            for armed in self._hits(board, "slow_disk", path):
                if armed.strikes():
                    armed.wait(armed.order.number("delay"))

    def _left(self, armed: Armed) -> int:
        return self._room.setdefault(armed.order.id, int(armed.order.number("room")))

    def _fit(self, board: FaultBoard, path: Path, data: bytes) -> bytes:
        """What of ``data`` a full disk takes.

        Raises:
            OSError: ENOSPC.
        """
        for armed in self._hits(board, "full_disk", path):
            with self._turn:
                left = self._left(armed)
                if len(data) > left and not armed.strikes():
                    continue
                if data and not left:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                data = data[:left]
                self._room[armed.order.id] = left - len(data)
        return data

    def _change(self, call: str, path: Path, do: Callable[[], T], note: Callable[[Unsynced], None]) -> T:
        board = self._slot.board
        if board is not None:
            self._meet(board, call, path)
        return self._logged(do, note)

    # ------------------------------------------------------------ lost syncs

    def _logged(self, do: Callable[[], T], note: Callable[[Unsynced], None]) -> T:
        """Do it; while syncs are lost, with the way back noted before.

        Raises:
            OSError: what the disk says, and EIO once the power failed.
        """
        with self._turn:
            unsynced = self._watch()
            if self._dark:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            if unsynced is not None:
                note(unsynced)
            return do()

    def _sync(self, call: str, path: Path, do: Callable[[], None]) -> None:
        board = self._slot.board
        if board is not None:
            self._meet(board, call, path)
        with self._turn:
            unsynced = self._watch()
            if self._dark:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            armed = self._losing
            if unsynced is not None and armed is not None:
                if call != "fsync_dir":
                    unsynced.segment(path)
                if armed.strikes():
                    return
        do()
        with self._turn:
            if unsynced is not None and unsynced is self._unsynced and armed is self._losing:
                unsynced.clear()

    def _watch(self) -> Unsynced | None:
        """What is logged now; begins when a fault is met for the first time."""
        board = self._slot.board
        if self._losing is None and board is not None:
            for armed in board.at(Hook.DISK):
                if armed.order.kind == "lose_sync" and armed.live:
                    self._losing, self._unsynced = armed, Unsynced(self._below)
                    armed.at_end(self._end)
        return self._unsynced

    def _end(self) -> None:
        """The fault is over. In the plane's thread."""
        armed, unsynced = self._losing, self._unsynced
        if armed is None or unsynced is None:
            return
        taken = self._turn.acquire(timeout=_PATIENCE)
        try:
            if armed.order.flag("crash"):
                self._dark = True
                if taken:  # else a call hangs, and what it is doing is not known
                    unsynced.drop()
                self._kill()
                return
            self._losing = self._unsynced = None
        finally:
            if taken:
                self._turn.release()
        syncing = threading.Thread(target=unsynced.sync, name="sync", daemon=True)
        syncing.start()
        syncing.join(_MOMENT)


def _concerns(what: str, path: Path) -> bool:
    names = (path.name, path.parent.name)
    if what == "journal":
        return JOURNAL in names
    return what == "both" or CHECKPOINTS in names
