"""Deleting what lies behind the oldest checkpoint that is kept."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from supervisors.core.errors import JournalFailed
from supervisors.state.disk import REAL_DISK, Disk
from supervisors.state.journal import control
from supervisors.state.journal.opening import locked
from supervisors.state.journal.scanning import Cursor
from supervisors.state.journal.segments import Segment, counting, list_segments


def retain(folder: Path, keep_from: int, older_than: float, *, utc_ns: int, disk: Disk = REAL_DISK) -> list[str]:
    """Delete whole segments that hold only sequences < ``keep_from`` and were ended ``older_than`` seconds ago.

    Safe beside a live writer and readers. The newest segment always stays. A wall clock that was set moves when
    something is deleted, never what.

    Args:
        folder: the journal's.
        keep_from: first sequence that is needed: that of the oldest kept checkpoint + 1.
        older_than: seconds by the wall clock; 0 for at once.
        utc_ns: that clock now.
        disk: where faults are injected.

    Returns:
        Names of the files deleted.

    Raises:
        JournalFailed: the disk refused; what is not deleted yet goes the next time.
        JournalCorrupt: the control file, or the header of a segment, is damaged.
    """
    try:
        if not folder.is_dir():
            return []
        with locked(folder, disk):
            return _retain(folder, keep_from, utc_ns - int(older_than * 1e9), disk)
    except OSError as error:
        raise JournalFailed(
            f"{folder}: old segments cannot be deleted: {error.strerror or error}", fix="permissions of the folder"
        ) from error


def _retain(folder: Path, keep_from: int, before_utc_ns: int, disk: Disk) -> list[str]:
    state = control.load(disk, folder)
    if state is None:
        return []
    listed = list_segments(folder, disk)
    parts = counting(listed, state.begin.sequence)
    begin = state.begin.sequence
    for segment, following in pairwise(parts):
        # it was ended when the next one was made
        if segment.limit > keep_from or _created(disk, following) > before_utc_ns:
            break
        begin = segment.limit
    if begin > state.begin.sequence:
        control.store_begin(disk, folder, state, begin)  # first: what is missing is then known to be removed
    deleted: list[str] = []
    for segment in listed:
        if segment.limit <= begin:
            with suppress(FileNotFoundError):
                disk.unlink(segment.path)
                deleted.append(segment.path.name)
    if deleted:
        disk.fsync_dir(folder)
    return deleted


def _created(disk: Disk, segment: Segment) -> int:
    with Cursor(disk, segment) as cursor:
        return cursor.created_utc_ns
