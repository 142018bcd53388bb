"""Taking a journal over: fence, find the end, cut, begin anew. One process at a time, by a lock that dies with it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from supervisors.core.clock import Clock
from supervisors.core.errors import Fenced, JournalFailed, StateError
from supervisors.state.disk import Disk, make_folder
from supervisors.state.journal import control, preparing
from supervisors.state.journal.control import Begin, Fence, LiveControl, Mark, State
from supervisors.state.journal.findings import Finding, FindingKind
from supervisors.state.journal.preparing import Nameless, Prepared
from supervisors.state.journal.reader import Plan, plan
from supervisors.state.journal.scanning import Cursor
from supervisors.state.journal.segments import FRESH, HEADER_SIZE, Segment, create, list_segments, unfinished

LOCK = "lock"
#: seconds to wait for another process that is opening
PATIENCE = 5.0


class Taken(NamedTuple):
    """An opened journal: the newest segment, empty, for writing from ``head + 1`` on.

    ``nameless``: its file has another name and is not synced yet. ``old``: the segment before it and where that ends,
    if it is still to be cut.
    """

    folder: Path
    epoch: int
    head: int
    fd: int
    control: LiveControl
    findings: list[Finding]
    nameless: Nameless | None
    old: tuple[Segment, int] | None


@contextmanager
def locked(folder: Path, disk: Disk, patience: float | None = None) -> Iterator[None]:
    """Hold the lock of ``folder``. It ends with its holder's process, so it cannot be left behind.

    Raises:
        JournalFailed: another process held it for ``patience`` (or ``PATIENCE``) seconds (7011).
        OSError: the disk refused.
    """
    patience = PATIENCE if patience is None else patience
    fd = disk.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise JournalFailed(
                        f"{folder} has been in the hands of another process for {patience:g} s",
                        code=7011,
                        fix="see who has the file 'lock' in it open (fuser), and end that process",
                    ) from None
                time.sleep(0.002)
        yield
    finally:
        disk.close(fd)


def current(folder: Path, disk: Disk) -> State:
    """The control file's state.

    Raises:
        JournalCorrupt: it is missing.
    """
    state = control.load(disk, folder)
    if state is None:
        raise control.corrupt(folder / control.CONTROL, 0, 0, "the file is missing")
    return state


def take(
    folder: Path, epoch: int, *, clock: Clock, disk: Disk, quick: bool, sync: bool, prepared: Prepared | None
) -> Taken:
    """See ``JournalWriter.open``."""
    if epoch < 1:
        raise ValueError(f"an epoch is 1 or more, not {epoch}")
    try:
        if prepared is None or not folder.is_dir():
            make_folder(disk, folder)
        with locked(folder, disk):
            return _take(folder, epoch, clock, disk, quick=quick, sync=sync, prepared=prepared)
    except OSError as error:
        raise JournalFailed(
            f"{folder} cannot be opened for writing: {error.strerror or error}",
            fix="space on the disk, and permissions of the folder",
        ) from error
    finally:
        if prepared is not None:
            prepared.discard()


def release(folder: Path, disk: Disk, epoch: int) -> None:
    """Say that the writer ``epoch`` ended in order; nothing happens when a newer one is there, or the disk refuses."""
    with suppress(OSError, StateError), locked(folder, disk, patience=0.5):
        state = control.load(disk, folder)
        if state is not None and state.fence.epoch == epoch:
            control.store_fence(disk, folder, state, epoch, closed=True)


def settle(folder: Path, disk: Disk, epoch: int, old: tuple[Segment, int] | None, path: Path) -> list[Finding]:
    """What a quick opening left to be done, unless a newer writer is there, who does it. ``path``: of its segment.

    Raises:
        OSError: the disk refused.
        StateError: another process is opening, or the control file is damaged.
    """
    findings: list[Finding] = []
    disk.fsync_dir(folder)
    with locked(folder, disk, patience=0.5):
        if current(folder, disk).fence.epoch == epoch:
            _tidy(folder, disk, old, path, findings, own=epoch)
    return findings


def _take(
    folder: Path, epoch: int, clock: Clock, disk: Disk, *, quick: bool, sync: bool, prepared: Prepared | None
) -> Taken:
    findings: list[Finding] = []
    todo = plan(folder, disk, findings.append)
    boot = disk.boot()
    if todo is None:
        state = State(Fence(1, epoch, 0), Mark(1, 0, 1, epoch, HEADER_SIZE, boot, int(sync)), Begin(1, 1), ())
        head, old, prepared = 0, None, None
    else:
        state = todo.state
        newest = max((one.epoch for one in list_segments(folder, disk)), default=0)
        _admit(folder, state, epoch, newest)
        if epoch <= max(state.fence.epoch, newest):
            prepared = None  # no two segments without a name may be the same one's
    try:
        if todo is not None:
            control.store_fence(disk, folder, state, epoch, closed=False)
            # only now: what a writer marked before it could see the fence is in here
            todo = plan(folder, disk, lambda _: None) or todo
            state = todo.state
            head, old = _end(todo, disk, findings, boot=boot, quick=quick)
        mark = Mark(state.mark.generation + 1, head, head + 1, epoch, HEADER_SIZE, boot, int(sync))
        state = State(Fence(state.fence.generation, epoch, 0), mark, state.begin, ())
        if prepared is not None:
            with suppress(OSError):  # what cannot be used is no reason to fail
                live, nameless = prepared.put(state, epoch, clock.utc_ns())
                return Taken(folder, epoch, head, nameless.fd, live, findings, nameless, old)
        live = LiveControl(disk, folder, state)
        try:
            if todo is None:
                disk.fsync_dir(folder)  # a segment must never be there without it
            fd, path = create(disk, folder, head + 1, epoch, clock.utc_ns())
            try:
                disk.fsync_dir(folder)
            except OSError:
                disk.close(fd)
                raise
        except OSError:
            live.close()
            raise
    except (OSError, StateError):
        # this life may try again
        with suppress(OSError, StateError):
            control.store_fence(disk, folder, current(folder, disk), epoch, closed=True)
        raise
    if not quick:
        _tidy(folder, disk, old, path, findings, own=0)
        old = None
    return Taken(folder, epoch, head, fd, live, findings, None, old)


def _admit(folder: Path, state: State, epoch: int, newest: int) -> None:
    fence = state.fence
    if epoch > max(fence.epoch, newest) or (epoch == fence.epoch >= newest and fence.closed):
        return
    other = max(fence.epoch, newest)
    same = " of the same epoch that did not end in order" if other == epoch else ""
    raise Fenced(
        f"{folder}: epoch {epoch} comes too late, the journal has a writer{same or f' of epoch {other}'}",
        fix="this life must end; the newer one goes on",
    )


def _end(
    todo: Plan, disk: Disk, findings: list[Finding], *, boot: bytes, quick: bool
) -> tuple[int, tuple[Segment, int] | None]:
    """The last sequence there is, and where to cut the segment it stands in."""
    state, begin = todo.state, todo.state.begin.sequence
    if not todo.segments:
        return max(begin - 1, todo.floor), None
    newest = todo.segments[-1]
    mark = state.mark
    exact = state.exact(boot)
    if quick and exact and mark.synced:
        if newest.epoch < mark.epoch and mark.sequence < mark.first:
            return mark.sequence, None  # the one before us was promoted, and its segment never got its name
        if (newest.first, newest.epoch) == (mark.first, mark.epoch):
            with Cursor(disk, newest) as cursor:
                if cursor.size() >= mark.offset:
                    return mark.sequence, (newest, mark.offset)
    with Cursor(disk, newest) as cursor:
        cursor.run(min(newest.last, todo.cap))
        if cursor.sequence <= todo.floor:
            raise cursor.damage()
        finding = cursor.beyond() if exact else cursor.torn()
        if finding is not None:
            findings.append(finding)
        if not (exact and mark.synced):  # nobody may have synced it yet
            fd = disk.open(newest.path, os.O_RDWR)
            try:
                disk.fdatasync(fd)
            finally:
                disk.close(fd)
        return max(cursor.sequence, begin) - 1, (newest, cursor.offset)


def _tidy(
    folder: Path, disk: Disk, old: tuple[Segment, int] | None, path: Path, findings: list[Finding], *, own: int
) -> None:
    """Cut what does not count and remove what is empty. Nothing depends on it: what cannot be done is left.

    The writer ``own`` may be making a segment meanwhile.
    """
    for left in unfinished(folder):
        if own and left.name.endswith(f"-{own:020d}{FRESH}"):
            continue
        with suppress(OSError):
            disk.unlink(left)
            findings.append(Finding(FindingKind.UNFINISHED, str(left), text="of an opening cut short: removed"))
    if old is not None and old[0].path != path:
        with suppress(OSError):
            fd = disk.open(old[0].path, os.O_RDWR)
            try:
                if disk.size(fd) > old[1]:
                    disk.truncate(fd, old[1])
            finally:
                disk.close(fd)
    with suppress(OSError):
        preparing.clean(folder, disk)
    for segment in list_segments(folder, disk):
        if segment.path == path or segment.first < segment.limit:
            continue
        with suppress(OSError):
            if segment.path.stat().st_size <= HEADER_SIZE:
                disk.unlink(segment.path)
