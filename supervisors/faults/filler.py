"""Fills the disk of the data directory to a share, with one file whose name is known from the order alone."""

import errno
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults.order import FaultOrder

#: room is taken in steps of so many bytes
_STEP = 64 << 20
_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class Room:
    """A disk, in bytes: ``used``, and ``free`` to who is not root. Together they are what ``df`` counts from."""

    used: int
    free: int

    def to_share(self, share: float) -> int:
        """Bytes that are missing until ``share`` of it is used; 0 when it is."""
        return max(0, min(self.free, math.ceil(share * (self.used + self.free)) - self.used))


def room_of(folder: Path) -> Room:
    """The disk that ``folder`` is on."""
    found = os.statvfs(folder)
    return Room((found.f_blocks - found.f_bfree) * found.f_frsize, found.f_bavail * found.f_frsize)


def file_of(order: FaultOrder, data_dir: Path) -> Path:
    """The file that takes the room."""
    return data_dir / "faults" / "keep" / order.id / "room"


def wanted(order: FaultOrder, room: Room) -> int:
    """Bytes the file takes. Pure.

    Raises:
        FaultError: it would have to be larger than it may (9056).
    """
    size = room.to_share(order.number("used"))
    most = int(order.number("most"))
    if size > most:
        raise FaultError(
            f"it takes a file of {size / 1e9:.1f} GB to use {order.number('used'):.0%} of this disk",
            code=9056,
            fix=f"--param most={-(-size // 10**9)}GB, or a smaller share",
        )
    return size


def run(order: FaultOrder, data_dir: Path, stop: Callable[[], bool]) -> None:
    """Take the room, keep it until ``stop()``, give it back.

    Raises:
        FaultError: the share cannot be reached (9055, 9056); nothing is left of the attempt.
    """
    size = wanted(order, room_of(data_dir))
    try:
        _take(file_of(order, data_dir), size)
        while not stop():
            time.sleep(_LOOK)
    finally:
        clean(order, data_dir)


def clean(order: FaultOrder, data_dir: Path) -> None:
    """Remove the file; none is no error."""
    place = file_of(order, data_dir)
    place.unlink(missing_ok=True)
    try:
        place.parent.rmdir()
    except OSError:
        return  # not there, or somebody else's files are in it


def probe(order: FaultOrder, data_dir: Path) -> bool:
    """True when the file is gone."""
    return not file_of(order, data_dir).exists()


def _take(place: Path, size: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        for first in range(0, size, _STEP):
            os.posix_fallocate(file, first, min(_STEP, size - first))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise FaultError(
            f"the disk cannot be filled so far: {error.strerror}", code=9055, fix="a smaller share"
        ) from error
    finally:
        os.close(file)
