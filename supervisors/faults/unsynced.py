"""What was written since the last sync that got through, kept so that it can be lost as in a power failure (FLT-1).

A log of the changes one process made to its state: the bytes before each write, the sizes before each change of size,
names made, replaced and removed. ``drop`` takes all of it back, newest first. What other processes wrote stays.

The journal's control file is no part of the log: its mark is stored through a memory map, and after a real power
failure the machine has another boot id, which makes readers look behind the mark. Here the machine goes on. So the mark
that was true before the first loss is noted: in the thread that writes the segments, before it writes or syncs one. At
the end a control file is put in place that says: this fence (never an older one), that mark, that beginning. It comes
first, so that a process killed while it drops leaves a journal that is whole up to the mark.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from supervisors.core.errors import StateError
from supervisors.state.disk import Disk, write_all
from supervisors.state.journal import control
from supervisors.state.journal.control import CONTROL, Begin, Mark, State
from supervisors.state.journal.opening import locked
from supervisors.state.journal.segments import TAKEOVER

_COPY = 1 << 20
#: seconds to wait for another process that is opening the journal
_PATIENCE = 0.5


class Unsynced:
    """The changes of one process that no sync has made durable. Calls take turns: the caller sees to that.

    Args:
        below: the disk itself.
    """

    def __init__(self, below: Disk) -> None:
        self._below = below
        #: each takes one change back
        self._undo: list[Callable[[], None]] = []
        #: our own descriptors, by inode: they outlast names
        self._files: dict[int, int] = {}
        self._kept: list[int] = []
        self._made: set[Path] = set()
        self._folders: set[Path] = set()
        self._marks: dict[Path, tuple[int, Mark]] = {}
        self._begins: dict[Path, Begin] = {}

    # ------------------------------------------------------------ before a change

    def segment(self, path: Path) -> None:
        """A segment is about to be written, or a sync of it is about to be lost, by the thread that writes it."""
        folder = path.parent
        if ".seg" not in path.name or folder in self._marks:
            return
        state = self._state(folder)
        if state is not None:
            self._marks[folder] = state.fence.epoch, state.mark
            self._begins.setdefault(folder, state.begin)

    def opens(self, path: Path, flags: int) -> None:
        """A file is about to be opened."""
        if flags & os.O_CREAT and not path.exists() and not self._is_control(path):
            self.segment(path)
            self._made.add(path)
            self._folders.add(path.parent)
            self._undo.append(lambda: self._remove(path))

    def writes(self, path: Path, fd: int, size: int, offset: int) -> None:
        """``size`` bytes are about to be written at ``offset``."""
        self.segment(path)
        if path in self._made or self._is_control(path):
            return
        own = self._own(path, fd)
        if own >= 0:
            before, old = self._below.size(own), self._below.read(own, size, offset)
            self._undo.append(lambda: self._rewrite(own, old, offset, before))

    def resizes(self, path: Path, fd: int, size: int) -> None:
        """The file is about to have ``size`` bytes."""
        self.segment(path)
        if path in self._made or self._is_control(path):
            return
        own = self._own(path, fd)
        before = self._below.size(own) if own >= 0 else size
        if before != size:
            tail = self._below.read(own, before - size, size).rstrip(b"\0") if size < before else b""
            self._undo.append(lambda: self._rewrite(own, tail, size, before))

    def renames(self, source: Path, target: Path) -> None:
        """A file is about to get a name; one that was durable before is taken to keep it."""
        if self._is_control(target):
            return
        if source not in self._made:
            if self._was_written(source):
                self._undo.append(lambda: self._below.rename(target, source))
            return
        self._made.discard(source)
        self._made.add(target)
        kept = self._keep(target)
        self._undo.append(lambda: self._put_back(target, kept))

    def unlinks(self, path: Path) -> None:
        """A name is about to go."""
        if path in self._made or self._is_control(path):
            return
        kept = self._keep(path)
        if kept >= 0:
            self._folders.add(path.parent)
            self._undo.append(lambda: self._put_back(path, kept))

    # ------------------------------------------------------------ the end

    def clear(self) -> None:
        """All of it is durable, or does not matter any more."""
        self._undo.clear()
        for fd in (*self._files.values(), *self._kept):
            with suppress(OSError):
                self._below.close(fd)
        self._files.clear()
        self._kept.clear()
        self._made.clear()
        self._folders.clear()
        self._marks.clear()
        self._begins.clear()

    def sync(self) -> None:
        """Make all of it durable, for the syncs that were lost. Never raises for the disk."""
        for fd in self._files.values():
            with suppress(OSError):
                self._below.fdatasync(fd)
        for path in self._made:
            with suppress(OSError):
                fd = self._below.open(path, os.O_RDWR)
                try:
                    self._below.fdatasync(fd)
                finally:
                    self._below.close(fd)
        for folder in self._folders:
            with suppress(OSError):
                self._below.fsync_dir(folder)
        self.clear()

    def drop(self) -> bool:
        """Lose all of it. The process has to end before it does anything else with its state.

        False: nothing was lost, as a newer writer has taken a journal over, or is about to: what it read is its own.
        """
        with ExitStack() as held:
            for folder in self._marks:
                try:
                    held.enter_context(locked(folder, self._below, patience=_PATIENCE))
                except (OSError, StateError):
                    return False
            states = {folder: self._state(folder) for folder in self._marks}
            if any(state is None or state.fence.epoch != self._marks[folder][0] for folder, state in states.items()):
                return False
            for folder, state in states.items():
                if state is not None:
                    self._lower(folder, state)
            for undo in reversed(self._undo):
                with suppress(OSError):
                    undo()
        return True

    def _lower(self, folder: Path, state: State) -> None:
        begin = self._begins.get(folder, state.begin)
        lowered = control.encode(state.fence, self._marks[folder][1], begin)
        fresh = folder / f"{CONTROL}.new"
        with suppress(FileNotFoundError):
            self._below.unlink(fresh)
        fd = self._below.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            write_all(self._below, fd, lowered, 0)
        finally:
            self._below.close(fd)
        # not in place: the writer of this process may still store a mark through its map, of the file that was there
        self._below.rename(fresh, folder / CONTROL)

    # ------------------------------------------------------------ files

    def _state(self, folder: Path) -> State | None:
        try:
            return control.load(self._below, folder)
        except (OSError, StateError):
            return None

    def _is_control(self, path: Path) -> bool:
        """Files of the control; notes where the journal began before the first change of one."""
        match = TAKEOVER.fullmatch(path.name)
        if path.name not in (CONTROL, f"{CONTROL}.new", "lock") and not (match and match[3] == "control"):
            return False
        if path.name == CONTROL and path.parent not in self._begins:
            state = self._state(path.parent)
            if state is not None:
                self._begins[path.parent] = state.begin
        return True

    def _was_written(self, path: Path) -> bool:
        try:
            return path.stat().st_ino in self._files
        except OSError:
            return False

    def _own(self, path: Path, fd: int) -> int:
        """A descriptor of the same file, of our own; -1: it cannot be had, and what is written stays."""
        inode = os.fstat(fd).st_ino
        if inode not in self._files:
            try:
                own = self._below.open(path, os.O_RDWR)
            except OSError:
                return -1
            if os.fstat(own).st_ino != inode:
                self._below.close(own)
                return -1
            self._files[inode] = own
        return self._files[inode]

    def _keep(self, path: Path) -> int:
        """A descriptor that keeps what ``path`` names now; -1: nothing."""
        try:
            fd = self._below.open(path, os.O_RDONLY)
        except OSError:
            return -1
        self._kept.append(fd)
        return fd

    def _remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            self._below.unlink(path)

    def _rewrite(self, fd: int, old: bytes, offset: int, size: int) -> None:
        self._below.truncate(fd, max(size, offset) if old else size)
        if old:
            write_all(self._below, fd, old, offset)
        self._below.truncate(fd, size)

    def _put_back(self, path: Path, kept: int) -> None:
        self._remove(path)
        if kept < 0:
            return
        fd = self._below.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            offset = 0
            while data := self._below.read(kept, _COPY, offset):
                write_all(self._below, fd, data, offset)
                offset += len(data)
        finally:
            self._below.close(fd)
