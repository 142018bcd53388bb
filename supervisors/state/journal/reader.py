"""Reads a journal, while it is written or after, from any process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from supervisors.core.errors import JournalFailed
from supervisors.state.disk import REAL_DISK, Disk
from supervisors.state.journal import control
from supervisors.state.journal.findings import Finding, FindingKind, Removed, Report
from supervisors.state.journal.format import Record
from supervisors.state.journal.scanning import CHUNK, Cursor
from supervisors.state.journal.segments import ENDLESS, HEADER_SIZE, Segment, counting, list_segments


class Plan(NamedTuple):
    """What there is to read. ``cap``: nothing behind it is given. ``floor``: all up to it must be there."""

    state: control.State
    segments: list[Segment]
    cap: int
    floor: int


class JournalReader:
    """Reads a journal, also one that is being written, from any process. Not thread-safe: one reader per thread.

    Gives what was acknowledged and nothing else: while the machine has not been restarted since the last write it stops
    at the durable mark; after a restart it also gives what the disk holds whole behind the mark.

    Args:
        folder: the journal's; it need not exist yet.
        disk: where faults are injected.
    """

    def __init__(self, folder: Path, *, disk: Disk = REAL_DISK) -> None:
        self._folder = folder
        self._disk = disk
        self._cursor: Cursor | None = None
        #: torn tails and damaged copies met so far, each once
        self.findings: list[Finding] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def begin(self) -> int:
        """The first sequence that is kept (1, or higher after ``retain`` or ``begin_at``)."""
        plan = self.plan()
        return plan.state.begin.sequence if plan else 1

    @property
    def head(self) -> int:
        """The last sequence there is now; ``begin - 1`` when there is none.

        Raises:
            JournalCorrupt, JournalFailed: as ``read``.
        """
        plan = self.plan()
        if plan is None:
            return 0
        if plan.cap < ENDLESS:
            return max(plan.cap, plan.state.begin.sequence - 1)
        last = plan.state.begin.sequence - 1
        after = max(last, plan.segments[-1].first - 1 if plan.segments else 0)
        for _ in self._chunks(after, CHUNK, None):
            after = self._place() - 1
        return after

    def read(self, after: int = 0) -> Iterator[Record]:
        """Records with sequence > ``after``, to the end as it was at the call; call again to follow.

        Raises:
            Removed: ``after + 1`` lies before ``begin``.
            JournalCorrupt: naming file, offset, sequence. All records before it were given.
            JournalFailed: another version's (7010), or the disk refused to read (7002).
        """
        records: list[Record] = []
        for _ in self._chunks(after, CHUNK, records):
            batch = records.copy()
            records.clear()
            yield from batch

    def frames(self, after: int, max_bytes: int = 1_000_000) -> tuple[int, int, bytes]:
        """``(first, last, encoded records)`` following ``after``: as many as fit ``max_bytes``, at least one if there
        is one; ``(after + 1, after, b"")`` when there is none. Cheap to call on, each from the last one's end.

        Raises:
            Removed: as ``read``.
            JournalCorrupt: as ``read``.
            JournalFailed: as ``read``.
        """
        for data in self._chunks(after, max_bytes, None):
            return after + 1, self._place() - 1, data
        return after + 1, after, b""

    def verify(self) -> Report:
        """Read everything; damage is in the report's findings, not raised.

        Raises:
            JournalFailed: another version's (7010), or the disk refused to read (7002).
        """
        from supervisors.state.journal.verify import verify

        with reading(self._folder):
            return verify(self._folder, self._disk)

    def close(self) -> None:
        """Free what is open."""
        if self._cursor is not None:
            self._cursor.close()
        self._cursor = None

    def plan(self) -> Plan | None:
        """What there is to read now; None for a journal that was never opened.

        Raises:
            JournalCorrupt: the control file or the first segment is missing, or the control file damaged.
            JournalFailed: as ``read``.
        """
        with reading(self._folder):
            return plan(self._folder, self._disk, self._note)

    def _place(self) -> int:
        assert self._cursor is not None
        return self._cursor.sequence

    def _note(self, finding: Finding) -> None:
        if finding not in self.findings:
            self.findings.append(finding)

    def _chunks(self, after: int, size: int, records: list[Record] | None) -> Iterator[bytes]:
        """The bytes of records following ``after``, and the records themselves into ``records``."""
        with reading(self._folder):
            while True:
                todo = plan(self._folder, self._disk, self._note)
                if todo is None:
                    return
                if after + 1 < todo.state.begin.sequence:
                    raise Removed(
                        f"{self._folder}: events {after + 1} to {todo.state.begin.sequence - 1} were removed",
                        fix="begin from a checkpoint",
                    )
                try:
                    for segment in todo.segments:
                        stop = min(segment.last, todo.cap)
                        if stop <= after:
                            continue
                        cursor = self._move(segment, after)
                        while cursor.sequence <= stop:
                            data = cursor.step(stop, records, size)
                            if not data:
                                self._ended(cursor, todo)
                                return
                            after = cursor.sequence - 1
                            yield data
                except FileNotFoundError:
                    if not _changed(self._folder, self._disk, todo):
                        raise
                    continue  # removed behind a checkpoint, or replaced, since it was listed
                return

    def _move(self, segment: Segment, after: int) -> Cursor:
        """The cursor, before the record ``after + 1`` of ``segment`` (or as far as its records go)."""
        cursor = self._cursor
        # a file of which no record was passed may have been replaced by another of the same name
        if (
            cursor is None
            or cursor.segment.path != segment.path
            or cursor.sequence > after + 1
            or cursor.offset == HEADER_SIZE
        ):
            self.close()
            self._cursor = cursor = Cursor(self._disk, segment)
        cursor.run(after)
        return cursor

    def _ended(self, cursor: Cursor, todo: Plan) -> None:
        """No record is at the cursor: right if it is the end of the journal."""
        if cursor.sequence <= min(todo.floor, cursor.segment.last) or cursor.segment.path != todo.segments[-1].path:
            raise cursor.damage()
        finding = cursor.torn()
        if finding is not None:
            self._note(finding)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into ``JournalFailed``."""
    try:
        yield
    except OSError as error:
        raise JournalFailed(
            f"{folder} cannot be read: {error.strerror or error}", fix="the disk, and permissions of the folder"
        ) from error


def plan(folder: Path, disk: Disk, note: Callable[[Finding], object]) -> Plan | None:
    """What there is to read in ``folder``.

    Raises:
        JournalCorrupt: the control file or the first segment is missing, or the control file damaged.
        JournalFailed: another version's.
        OSError: the disk refused.
    """
    for left in (2, 1, 0):
        state = control.load(disk, folder)
        listed = list_segments(folder, disk)
        if state is None:
            if not listed:
                return None
            if left:  # made since we looked
                continue
            raise control.corrupt(folder / control.CONTROL, 0, 0, "the file is missing, though there are segments")
        for place in state.damaged:
            file = str(folder / control.CONTROL)
            note(Finding(FindingKind.CONTROL, file, text=f"damaged: {place}; the other copy is used"))
        boot = disk.boot()
        exact, floor, begin = state.exact(boot), state.floor(boot), state.begin.sequence
        segments = counting(listed, begin)
        first = segments[0].first if segments else ENDLESS
        if first > begin and floor >= begin:
            if left:  # removed since we looked
                continue
            raise control.corrupt(folder, 0, begin, "the segment it stood in is missing")
        return Plan(state, segments, state.mark.sequence if exact else ENDLESS, floor)
    raise AssertionError("unreachable")


def _changed(folder: Path, disk: Disk, todo: Plan) -> bool:
    """True when a segment that was planned to be read is no longer listed."""
    state = control.load(disk, folder)
    return state is not None and (state != todo.state or counting(list_segments(folder, disk), 0) != todo.segments)
