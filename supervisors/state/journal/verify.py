"""Reads all of a journal and says what is wrong with it, also in places no reader looks at."""

from pathlib import Path

import msgspec

from supervisors.core.errors import JournalCorrupt
from supervisors.state.disk import Disk
from supervisors.state.journal import control
from supervisors.state.journal.findings import Finding, FindingKind, Report
from supervisors.state.journal.reader import Plan, plan
from supervisors.state.journal.scanning import Cursor
from supervisors.state.journal.segments import ENDLESS, Segment, counting, list_segments, unfinished


def verify(folder: Path, disk: Disk) -> Report:
    """Read everything in ``folder``.

    Raises:
        JournalFailed: another version's.
        OSError: the disk refused to read.
    """
    findings: list[Finding] = []
    todo = _plan(folder, disk, findings)
    listed = list_segments(folder, disk)
    parts = todo.segments if todo else counting(listed, 0)
    begin = todo.state.begin.sequence if todo else 1
    first = max(begin, parts[0].first) if parts else begin
    last, records, size = first - 1, 0, 0
    for segment in listed:
        if segment.limit <= begin:
            continue  # removed behind a checkpoint, or soon to be
        try:
            with Cursor(disk, segment) as cursor:
                size += cursor.size()
                whole = _count(cursor, segment, parts, todo, findings) if segment in parts else True
                last = max(last, cursor.sequence - 1)
                records += cursor.sequence - segment.first
                if whole and (left := _left(cursor, todo)):
                    findings.append(left)
        except FileNotFoundError:
            continue  # removed since it was listed
        except JournalCorrupt as error:
            findings.append(_corrupt(segment.path, error, segment.first))
    for path in unfinished(folder):
        findings.append(Finding(FindingKind.UNFINISHED, str(path), text="left by an opening that was cut short"))
    return Report(
        folder=str(folder),
        ok=all(one.kind is not FindingKind.CORRUPT for one in findings),
        first=first,
        last=last,
        durable=todo.state.mark.sequence if todo else 0,
        epoch=todo.state.fence.epoch if todo else 0,
        open=bool(todo and not todo.state.fence.closed),
        segments=len(listed),
        records=records,
        bytes=size,
        findings=tuple(findings),
    )


def _plan(folder: Path, disk: Disk, findings: list[Finding]) -> Plan | None:
    """What should be there; without a usable control file nothing is known, and everything is read."""
    try:
        return plan(folder, disk, findings.append)
    except JournalCorrupt as error:
        findings.append(_corrupt(folder, error, 0))
    try:
        state = control.load(disk, folder)
    except JournalCorrupt:
        return None
    if state is None:
        return None
    segments = counting(list_segments(folder, disk), state.begin.sequence)
    boot = disk.boot()
    return Plan(state, segments, state.mark.sequence if state.exact(boot) else ENDLESS, state.floor(boot))


def _corrupt(file: Path, error: JournalCorrupt, sequence: int, offset: int = 0) -> Finding:
    return Finding(FindingKind.CORRUPT, str(file), offset, 0, sequence, error.message)


def _count(cursor: Cursor, segment: Segment, parts: list[Segment], todo: Plan | None, findings: list[Finding]) -> bool:
    """Pass the records of a segment that count; False when one of them is damaged or missing."""
    stop = min(segment.last, todo.cap) if todo else segment.last
    cursor.run(stop)
    must = min(segment.last, todo.floor) if todo else 0
    if cursor.sequence <= stop and (cursor.sequence <= must or segment != parts[-1]):
        findings.append(_corrupt(segment.path, cursor.damage(), cursor.sequence, cursor.offset))
        return False
    return True


def _left(cursor: Cursor, todo: Plan | None) -> Finding | None:
    """What stands in a segment behind the records that count.

    Raises:
        JournalCorrupt: something there was durable once.
    """
    segment = cursor.segment
    if segment.limit == ENDLESS:
        return cursor.beyond() if todo and todo.cap < ENDLESS else cursor.torn()
    found = cursor.beyond()
    if found is None or (found.kind is FindingKind.UNACKNOWLEDGED and todo and segment.epoch == todo.state.fence.epoch):
        return found
    if found.kind is FindingKind.UNACKNOWLEDGED:
        text = "what a writer put here when a newer one was in charge, or did not get acknowledged: ignored"
        return msgspec.structs.replace(found, kind=FindingKind.FENCED, text=text)
    return msgspec.structs.replace(found, kind=FindingKind.STRAY, text="bytes behind the end of a segment: ignored")
