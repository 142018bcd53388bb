"""A disk that fails as told: full, broken, slow, lying, and gone dark in the middle of a write."""

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from supervisors.state.disk import REAL_DISK, Disk

#: calls that can be told to fail
CALLS = frozenset(
    {"open", "read", "write", "preallocate", "truncate", "fdatasync", "fsync", "fsync_dir", "rename", "unlink"}
)


@dataclass(slots=True)
class _Fault:
    call: str
    code: int
    after: int
    times: int
    match: str
    part: float


class FaultyDisk:
    """The real disk, with faults put in. It knows what each file held when it was last synced: the power may fail.

    It does not sync for real, which tests have no use for.

    Args:
        below: where the calls go in the end.
    """

    def __init__(self, below: Disk = REAL_DISK) -> None:
        self._below = below
        self._faults: list[_Fault] = []
        self._paths: dict[int, Path] = {}
        self._synced: dict[int, bytes] = {}  # by inode
        self._names: dict[Path, dict[str, int]] = {}  # by folder: what its names stood for when it was last synced
        self._gone: dict[Path, bytes] = {}  # what synced names stood for that were removed or replaced since
        self._moved: dict[Path, Path] = {}
        self._inodes: dict[Path, int] = {}  # of what is in _gone, while it may still be open
        self._failed: set[int] = set()
        self._boot = 1
        #: how often each call was made
        self.calls: dict[str, int] = dict.fromkeys(CALLS, 0)
        #: syncs that did not fail, of files that had failed to sync before: there should be none
        self.synced_again = 0
        #: seconds each sync takes longer
        self.slow = 0.0
        #: syncs return at once and do nothing
        self.lying = False
        #: bytes that may still be written; None: no bound
        self.room: int | None = None
        #: called before each sync and each write, with the call's name and the path: to interleave something
        self.before: Callable[[str, Path], None] = lambda call, path: None
        #: called before each call of ``CALLS`` but ``read``: to stop there
        self.at: Callable[[str, Path], None] = lambda call, path: None

    def fail(
        self, call: str, code: int = errno.EIO, *, after: int = 0, times: int = 1, match: str = "", part: float = 0.0
    ) -> None:
        """Let ``call`` fail.

        Args:
            call: one of ``CALLS``.
            code: the ``errno``.
            after: so many calls succeed first.
            times: so many fail then; -1: all.
            match: only files whose name contains this.
            part: this share of the bytes of a failing write is written first.
        """
        if call not in CALLS:
            raise ValueError(f"{call!r} is none of {sorted(CALLS)}")
        self._faults.append(_Fault(call, code, after, times, match, part))

    def heal(self) -> None:
        """No faults any more."""
        self._faults.clear()
        self.room, self.slow, self.lying = None, 0.0, False

    def power_failure(self, chance: random.Random | None = None) -> None:
        """The machine stops and starts: of what was not synced, nothing is left, or with ``chance`` any part of it.

        Names made or removed and not synced are as they were. Give up all that was open before.
        """
        self._boot += 1
        contents = {
            entry.stat().st_ino: entry.read_bytes()
            for folder in self._names
            for entry in folder.iterdir()
            if entry.is_file()
        }
        for folder, names in self._names.items():
            for entry in sorted(folder.iterdir()):
                if not entry.is_file():
                    continue
                inode = entry.stat().st_ino
                if entry.name not in names and (chance is None or chance.random() < 0.5):
                    entry.unlink()
                elif (durable := self._synced.get(inode)) is not None and (now := entry.read_bytes()) != durable:
                    entry.write_bytes(blend(durable, now, chance) if chance else durable)
        for path, content in self._gone.items():
            moved = self._moved.get(path)
            if chance is None or chance.random() < 0.5 or (moved is not None and not moved.exists()):
                path.unlink(missing_ok=True)
                now = contents.get(self._inodes.get(path, -1), content)
                path.write_bytes(blend(content, now, chance) if chance and now != content else content)
        self._gone.clear()
        self._moved.clear()
        self._inodes.clear()
        self._failed.clear()
        for folder in self._names:
            self._note(folder)
            for entry in folder.iterdir():
                if entry.is_file():
                    self._synced[entry.stat().st_ino] = entry.read_bytes()

    # ------------------------------------------------------------ the port

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """See ``Disk``."""
        self._meet("open", path)
        if path.parent not in self._names:
            self._note(path.parent)
        known = path.read_bytes() if path.exists() else None
        fd = self._below.open(path, flags, mode)
        self._paths[fd] = path
        if known is None:  # the number may be that of a file removed before
            inode = os.fstat(fd).st_ino
            self._synced[inode] = b""
            self._failed.discard(inode)
            self._inodes = {lost: number for lost, number in self._inodes.items() if number != inode}
        else:
            self._synced.setdefault(os.fstat(fd).st_ino, known)
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
        self._meet("read", self._path(fd))
        return self._below.read(fd, size, offset)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """See ``Disk``."""
        path = self._path(fd)
        self.before("write", path)
        fault = self._find("write", path)
        if fault is not None:
            if fault.part:
                self._below.write(fd, data[: int(len(data) * fault.part)], offset)
            raise OSError(fault.code, os.strerror(fault.code))
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.room]
            self.room -= len(data)
        return self._below.write(fd, data, offset)

    def preallocate(self, fd: int, size: int) -> None:
        """See ``Disk``."""
        self._meet("preallocate", self._path(fd))
        if self.room is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._below.preallocate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        """See ``Disk``."""
        self._meet("truncate", self._path(fd))
        self._below.truncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        """See ``Disk``."""
        self._sync("fdatasync", fd)

    def fsync(self, fd: int) -> None:
        """See ``Disk``."""
        self._sync("fsync", fd)

    def fsync_dir(self, folder: Path) -> None:
        """See ``Disk``."""
        self.before("fsync_dir", folder)
        self._meet("fsync_dir", folder)
        if not self.lying:
            self._note(folder)
            for path in [one for one in self._gone if one.parent == folder]:
                del self._gone[path]
                self._inodes.pop(path, None)

    def rename(self, source: Path, target: Path) -> None:
        """See ``Disk``."""
        self._meet("rename", target)
        self._lose(target)
        self._lose(source)
        self._moved[source] = target
        self._below.rename(source, target)
        self._paths.update({fd: target for fd, path in self._paths.items() if path == source})

    def unlink(self, path: Path) -> None:
        """See ``Disk``."""
        self._meet("unlink", path)
        self._lose(path)
        self._below.unlink(path)

    def boot(self) -> bytes:
        """See ``Disk``."""
        return self._boot.to_bytes(16, "little")

    # ------------------------------------------------------------ faults

    def _note(self, folder: Path) -> None:
        self._names[folder] = {one.name: one.stat().st_ino for one in folder.iterdir()}

    def _lose(self, path: Path) -> None:
        """A name is about to be removed or replaced."""
        names = self._names.get(path.parent, {})
        if path.exists() and names.get(path.name) == path.stat().st_ino:
            inode = path.stat().st_ino
            self._gone[path], self._inodes[path] = self._synced.get(inode, b""), inode

    def _path(self, fd: int) -> Path:
        return self._paths.get(fd, Path())

    def _find(self, call: str, path: Path) -> _Fault | None:
        if call != "read":
            self.at(call, path)
        self.calls[call] += 1
        for fault in self._faults:
            if fault.call == call and fault.match in path.name:
                if fault.after:
                    fault.after -= 1
                elif fault.times:
                    fault.times -= 1
                    return fault
        return None

    def _meet(self, call: str, path: Path) -> None:
        fault = self._find(call, path)
        if fault is not None:
            raise OSError(fault.code, os.strerror(fault.code))

    def _sync(self, call: str, fd: int) -> None:
        path, inode = self._path(fd), os.fstat(fd).st_ino
        self.before(call, path)
        if self.slow:
            time.sleep(self.slow)
        try:
            self._meet(call, path)
        except OSError:
            self._failed.add(inode)
            raise
        if inode in self._failed:
            self.synced_again += 1
            return  # what the kernel does: it threw the pages away, and calls that success
        if not self.lying:
            self._synced[inode] = content = self._below.read(fd, self._below.size(fd), 0)
            for lost, number in self._inodes.items():
                if number == inode:  # under a name it has no more, but may have again
                    self._gone[lost] = content


def blend(durable: bytes, now: bytes, chance: random.Random, sector: int = 512) -> bytes:
    """What a file may hold after a power failure: each sector old or new, and one cut in the middle."""
    size = len(now) if chance.random() < 0.5 else len(durable)
    old, new = durable.ljust(size, b"\0")[:size], now.ljust(size, b"\0")[:size]
    result = bytearray()
    for start in range(0, size, sector):
        result += (new if chance.random() < 0.5 else old)[start : start + sector]
    if size:
        cut = chance.randrange(size + 1)
        end = min(size, cut - cut % sector + sector)
        result[cut:end] = old[cut:end]
    return bytes(result)
