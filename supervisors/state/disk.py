"""The calls by which state reaches the disk, as a port: tests and fault injection put a failing disk in its place."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Disk(Protocol):
    """What journals and checkpoints ask of a disk. Every call may raise ``OSError``."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open a file (``O_CLOEXEC`` is added); gives its descriptor."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def size(self, fd: int) -> int:
        """Bytes in the file."""
        ...

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer at the end of the file only."""
        ...

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """Write at ``offset``; gives how many bytes were taken, which may be fewer. See ``write_all``."""
        ...

    def preallocate(self, fd: int, size: int) -> None:
        """Take the room for ``size`` bytes from the start of the file; what is new reads as zeros."""
        ...

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def fdatasync(self, fd: int) -> None:
        """Return when what was written (also through a memory map) would outlast a power failure.

        After an error the kernel may have thrown the data away and call it clean: never try the same file again.
        """
        ...

    def fsync(self, fd: int) -> None:
        """As ``fdatasync``, with the file's times as well."""
        ...

    def fsync_dir(self, folder: Path) -> None:
        """Return when names made, renamed or removed in ``folder`` would outlast a power failure."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give ``source`` the name ``target`` in one step, replacing what had it."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a name.

        Raises:
            FileNotFoundError: it is not there.
        """
        ...

    def boot(self) -> bytes:
        """16 bytes, another value after each start of the machine: the same value means that everything written,
        synced or not, is still to be read. Zeros: unknown.
        """
        ...


class RealDisk:
    """The operating system's files."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """See ``Disk``."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """See ``Disk``."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """See ``Disk``."""
        return os.fstat(fd).st_size

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """See ``Disk``."""
        data = os.pread(fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]  # a signal, or the kernel's bound of 2 GB for one call
        have = len(data)
        while have < size and (more := os.pread(fd, size - have, offset + have)):
            parts.append(more)
            have += len(more)
        return b"".join(parts)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """See ``Disk``."""
        return os.pwrite(fd, data, offset)

    def preallocate(self, fd: int, size: int) -> None:
        """See ``Disk``."""
        os.posix_fallocate(fd, 0, size)

    def truncate(self, fd: int, size: int) -> None:
        """See ``Disk``."""
        os.ftruncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        """See ``Disk``."""
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        """See ``Disk``."""
        os.fsync(fd)

    def fsync_dir(self, folder: Path) -> None:
        """See ``Disk``."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """See ``Disk``."""
        os.replace(source, target)  # noqa: PTH105 - one call, as the port promises

    def unlink(self, path: Path) -> None:
        """See ``Disk``."""
        os.unlink(path)  # noqa: PTH108

    def boot(self) -> bytes:
        """See ``Disk``."""
        return _boot()


REAL_DISK: Disk = RealDisk()


def boot_id() -> str:
    """The machine's present boot, in hexadecimal digits; empty where it cannot be read: nothing is proved then."""
    found = _boot()
    return found.hex() if any(found) else ""


@cache
def _boot() -> bytes:
    with suppress(OSError, ValueError):
        return bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))[:16].ljust(16, b"\0")
    return bytes(16)


def write_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset``.

    Raises:
        OSError: the disk refused; some of it may be written.
    """
    written = disk.write(fd, data, offset)
    while written < len(data):
        taken = disk.write(fd, data[written:], offset + written)
        if taken <= 0:
            raise OSError(5, "the disk took nothing")
        written += taken


def make_folder(disk: Disk, folder: Path) -> None:
    """Make ``folder`` and those above it, so that they outlast a power failure.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        disk.fsync_dir(one.parent)
