"""Faults done to the files of an actor's state, and undone again (FLT-1).

In this order, each step durable before the next: ``prepare`` copies what is to be changed into a folder of the fault
and says where everything is; that goes into the undo record; ``apply`` changes the file. ``undo`` may come after a
crash at any moment, twice, and by somebody else. A file is always as it was or as it was to become, never half way, but
for a page of a journal, of which each byte is one of the two.

**Checkpoints** are replaced under their name, as the actor itself writes them, so one that is being read stays whole
for its reader. They are found damaged, or missing, by the next restore: it passes on to the one before, or replays the
journal from its beginning; without either (the journal's beginning was retained away) the child is held for a person.

**A page of the journal** is changed in place, since its writer has the file open. Only what is durable is touched,
which no writer ever writes again, so the two never meet. Who reads it next:

* the *acting life* never reads its journal: it goes on, and what it acknowledges stays true;
* a *standby in sync* has the events in memory, and its promotion does not read the last segment: hot recovery works,
  and the new life writes a new segment;
* a *standby that joins* after that and has to be fed from that part, and any *warm or cold* restore that has to pass
  it, meets ``JournalCorrupt``, naming file, offset and sequence: a rung that fails. Warm succeeds when a checkpoint
  stands behind the damaged segment; else the child is held, and goes on by ``approve`` once the page is put back.

Putting back never takes anything from the actor: a checkpoint it has replaced or removed meanwhile stays so, and of a
page only bytes that still are what the fault made of them are changed.
"""

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from supervisors.core.errors import FaultError, StateError
from supervisors.faults.order import FaultOrder
from supervisors.state.checkpoints import CheckpointStore
from supervisors.state.disk import REAL_DISK, Disk, make_folder, write_all
from supervisors.state.folders import checkpoint_folder, journal_folder
from supervisors.state.journal.reader import plan
from supervisors.state.journal.scanning import Cursor
from supervisors.state.journal.segments import HEADER_SIZE

PAGE = 4096
_COPY = "copy"
_CHUNK = 1 << 20

KINDS = frozenset({"corrupt_checkpoint", "truncate_checkpoint", "stale_checkpoint", "corrupt_page"})


def prepare(order: FaultOrder, data_dir: Path, keep: Path, disk: Disk = REAL_DISK) -> dict[str, str]:
    """Choose what is to be changed and copy it into ``keep``, durably; changes nothing else.

    Args:
        order: of one of ``KINDS``.
        data_dir: of the system.
        keep: a folder of this fault alone; made. What an attempt cut short left in it is replaced.
        disk: where faults are injected.

    Returns:
        What ``apply``, ``undo`` and ``probe`` need, for the undo record.

    Raises:
        FaultError: there is nothing to change yet (9040), or it cannot be read or copied (9042).
    """
    with _refused(order):
        if order.kind == "corrupt_page":
            file, offset, data = _page(order, journal_folder(data_dir, order.path), disk)
        else:
            file, offset = _newest(order, checkpoint_folder(data_dir, order.path), disk), 0
            data = _content(disk, file)
        make_folder(disk, keep)
        copy = keep / _COPY
        _write(disk, copy, copy.with_suffix(".part"), data)
    changed = _changed(order, data)
    return {
        "file": str(file),
        "offset": str(offset),
        "copy": str(copy),
        "before": sha256(data).hexdigest(),
        "after": "" if changed is None else sha256(changed).hexdigest(),
    }


def apply(order: FaultOrder, undo: Mapping[str, str], disk: Disk = REAL_DISK) -> None:
    """Do it.

    Raises:
        FaultError: the actor has changed the file since (9041), or the disk refused (9042); call ``undo`` all the same.
    """
    with _refused(order):
        file, data = Path(undo["file"]), _copied(disk, undo)
        if order.kind == "corrupt_page":
            offset = int(undo["offset"])
            if _part(disk, file, offset, len(data)) != data:
                raise _moved_on(file)
            _overwrite(disk, file, offset, _damaged(order, data))
            return
        if _digest(disk, file) != undo["before"]:
            raise _moved_on(file)
        changed = _changed(order, data)
        if changed is None:
            with suppress(FileNotFoundError):
                disk.unlink(file)
            disk.fsync_dir(file.parent)
        else:
            _write(disk, file, _unfinished(order, file), changed)


def undo(order: FaultOrder, undo: Mapping[str, str], disk: Disk = REAL_DISK) -> None:
    """Put back what is still as the fault made it. Twice is harmless; so is it when nothing was done.

    Raises:
        FaultError: the disk refused (9042); try again.
    """
    with _refused(order):
        file = Path(undo["file"])
        unfinished = _unfinished(order, file)
        with suppress(FileNotFoundError):
            disk.unlink(unfinished)
        data = _copied(disk, undo)
        if order.kind == "corrupt_page":
            offset = int(undo["offset"])
            if _is_either(_part(disk, file, offset, len(data)), data, _damaged(order, data)):
                _overwrite(disk, file, offset, data)
        elif file.parent.is_dir() and _digest(disk, file) == undo["after"]:
            _write(disk, file, unfinished, data)


def probe(order: FaultOrder, undo: Mapping[str, str], disk: Disk = REAL_DISK) -> bool:
    """True when nothing of it is left: the file is as it was, byte by byte, or the actor has written or removed it.

    Raises:
        FaultError: the disk refused (9042).
    """
    with _refused(order):
        file = Path(undo["file"])
        if _unfinished(order, file).exists():
            return False
        if order.kind != "corrupt_page":
            # after a stale one nothing ("") is damage, unless the actor has removed it for newer ones by now
            found = _digest(disk, file)
            return found != undo["after"] or (not found and (not file.parent.is_dir() or _has_newer(file, disk)))
        data = _copied(disk, undo)
        now = _part(disk, file, int(undo["offset"]), len(data))
        return now == data or not _is_either(now, data, _damaged(order, data))


# ---------------------------------------------------------------- what is changed


def _newest(order: FaultOrder, folder: Path, disk: Disk) -> Path:
    found = CheckpointStore(folder, disk).list()
    if not found:
        raise FaultError(
            f"{order.path} has no checkpoint yet", code=9040, fix="wait for one, or call ctx.journal.checkpoint()"
        )
    return found[0].file


def _has_newer(file: Path, disk: Disk) -> bool:
    return any(info.file.name > file.name for info in CheckpointStore(file.parent, disk).list())


def _page(order: FaultOrder, folder: Path, disk: Disk) -> tuple[Path, int, bytes]:
    """A page of what is durable: file, offset, bytes. It may be cut short by the beginning or the end of that part."""
    todo = plan(folder, disk, lambda finding: None)
    parts: list[tuple[Path, int]] = []
    for segment in todo.segments if todo is not None else ():
        with Cursor(disk, segment) as cursor:
            cursor.run(min(segment.last, todo.cap if todo is not None else 0))
            if cursor.offset > HEADER_SIZE:
                parts.append((segment.path, cursor.offset))
    total = sum(end - HEADER_SIZE for _, end in parts)
    place = min(total - 1, int(order.number("at") * total))
    for file, end in parts:
        if place < end - HEADER_SIZE:
            at = (HEADER_SIZE + place) // PAGE * PAGE
            begin = max(HEADER_SIZE, at)
            return file, begin, _part(disk, file, begin, min(end, at + PAGE) - begin)
        place -= end - HEADER_SIZE
    raise FaultError(f"the journal of {order.path} is empty", code=9040, fix="let it write an event first")


def _changed(order: FaultOrder, data: bytes) -> bytes | None:
    """What the file, or the page, becomes; None: it is taken away."""
    match order.kind:
        case "corrupt_checkpoint":
            count = min(len(data), max(1, int(order.number("bytes"))))
            at = (len(data) - count) // 2
            return data[:at] + _damaged(order, data[at : at + count]) + data[at + count :]
        case "truncate_checkpoint":
            return data[: min(len(data) - 1, int(len(data) * order.number("keep")))]
        case "stale_checkpoint":
            return None
        case "corrupt_page":
            return _damaged(order, data)
        case kind:
            raise ValueError(f"{kind} is not done to files")


def _damaged(order: FaultOrder, data: bytes) -> bytes:
    """Every byte another one, the same for the same order and for its replay, whose id is another.

    An odd number is added to each: the same damage done twice does not undo itself, as xor would.
    """
    draw = random.Random(f"{order.seed}/{order.kind}/{order.path}/files")
    return bytes((byte + 1 + 2 * draw.randrange(128)) % 256 for byte in data)


def _is_either(now: bytes, before: bytes, after: bytes) -> bool:
    """True if each byte is that of one of the two."""
    return len(now) == len(before) and all(
        one in pair for one, pair in zip(now, zip(before, after, strict=True), strict=True)
    )


# ---------------------------------------------------------------- files


def _unfinished(order: FaultOrder, file: Path) -> Path:
    return file.with_name(f".{order.id}.part")


def _content(disk: Disk, file: Path) -> bytes:
    fd = disk.open(file, os.O_RDONLY)
    try:
        return disk.read(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)


def _part(disk: Disk, file: Path, offset: int, size: int) -> bytes:
    """Empty when the file is gone."""
    try:
        fd = disk.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return disk.read(fd, size, offset)
    finally:
        disk.close(fd)


def _digest(disk: Disk, file: Path) -> str:
    """Empty when the file is gone."""
    try:
        return sha256(_content(disk, file)).hexdigest()
    except FileNotFoundError:
        return ""


def _copied(disk: Disk, undo: Mapping[str, str]) -> bytes:
    data = _content(disk, Path(undo["copy"]))
    if sha256(data).hexdigest() != undo["before"]:
        raise OSError(5, f"the copy {undo['copy']} is damaged")
    return data


def _write(disk: Disk, file: Path, unfinished: Path, data: bytes) -> None:
    """Put a whole file in place, durably."""
    with suppress(FileNotFoundError):
        disk.unlink(unfinished)
    fd = disk.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        write_all(disk, fd, data, 0)
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.rename(unfinished, file)
    disk.fsync_dir(file.parent)


def _overwrite(disk: Disk, file: Path, offset: int, data: bytes) -> None:
    fd = disk.open(file, os.O_RDWR)
    try:
        write_all(disk, fd, data, offset)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)


def _moved_on(file: Path) -> FaultError:
    return FaultError(f"the actor has changed {file} since it was chosen", code=9041, fix="inject it again")


@contextmanager
def _refused(order: FaultOrder) -> Iterator[None]:
    try:
        yield
    except (OSError, StateError) as error:
        raise FaultError(
            f"{order.kind} of {order.path}: {error}", code=9042, fix="space, permissions and health of that disk"
        ) from error
