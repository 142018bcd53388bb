"""The control file: who may write (the fence), what was acknowledged (the mark), where the journal begins.

4096 bytes. Each of the three stands in two copies, each with a CRC and a generation and in a sector of its own, and is
changed by overwriting the older copy: a store that is cut short leaves the other. The writer stores its mark through a
memory map, without a system call; that outlasts its process, and a power failure at worst makes it older, never newer
than what is durable.

Each opening puts a new file in place of the old one, after raising the fence in the old one. So a writer that was
frozen and wakes up finds itself fenced, and what it still stores goes to a file without a name.

The file of a promoted standby is made beforehand (``preparing``) and is put in place without a sync. So a power failure
may bring back what it was made with, or the file before it: both an older mark, which claims less, and the same
beginning, as the beginning is only moved in a file that is durable under its name.
"""

import mmap
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from google_crc32c import value as checksum

from supervisors.core.errors import JournalCorrupt, JournalFailed
from supervisors.state.disk import Disk, write_all

CONTROL = "control"
VERSION = 1
SIZE = 4096
_MAGIC = b"RVJCTRL\0"
#: the first 16 bytes of every file keep this form in all versions to come
PREFIX = struct.Struct("<8sII")
_CRC = struct.Struct("<I")
_FENCE = struct.Struct("<QQQ")
_MARK = struct.Struct("<QQQQQ16sQ")
_BEGIN = struct.Struct("<QQ")
_TRIES = 4


class Fence(NamedTuple):
    """The newest writer. ``closed``: it ended in order."""

    generation: int
    epoch: int
    closed: int


class Mark(NamedTuple):
    """All up to ``sequence`` is acknowledged; it ends at ``offset`` of the segment ``first``-``epoch``.

    ``boot``: the machine's start it was stored in. ``synced`` 0: only written, a power failure may have taken it.
    """

    generation: int
    sequence: int
    first: int
    epoch: int
    offset: int
    boot: bytes
    synced: int


class Begin(NamedTuple):
    """The first sequence that is part of the journal."""

    generation: int
    sequence: int


_FENCE_AT, _MARK_AT, _BEGIN_AT = (512, 1024), (1536, 2048), (2560, 3072)
_FENCE_END = _FENCE_AT[1] + _FENCE.size + _CRC.size


class State(NamedTuple):
    """What a control file says. ``damaged``: copies that could not be used, in words."""

    fence: Fence
    mark: Mark
    begin: Begin
    damaged: tuple[str, ...]

    def exact(self, boot: bytes) -> bool:
        """True when nothing behind the mark was acknowledged; else the mark is only the least that was."""
        return self.mark.boot == boot and any(boot) and not self.damaged

    def floor(self, boot: bytes) -> int:
        """The sequence up to which records must be there."""
        return self.mark.sequence if self.mark.synced or self.mark.boot == boot else 0


def encode(fence: Fence, mark: Mark, begin: Begin) -> bytes:
    """A whole control file, both copies of everything alike."""
    data = bytearray(SIZE)
    data[: PREFIX.size] = prefix(_MAGIC, VERSION)
    for places, packed in (
        (_FENCE_AT, sealed(_FENCE.pack(*fence))),
        (_MARK_AT, sealed(_MARK.pack(*mark))),
        (_BEGIN_AT, sealed(_BEGIN.pack(*begin))),
    ):
        for place in places:
            data[place : place + len(packed)] = packed
    return bytes(data)


def prefix(magic: bytes, version: int) -> bytes:
    """The first bytes of a file: magic, version, CRC of both."""
    head = magic + _CRC.pack(version)
    return head + _CRC.pack(checksum(head))


def check_prefix(data: bytes, magic: bytes, version: int, file: Path) -> str:
    """What is wrong with the first bytes of a file, empty when nothing is.

    Raises:
        JournalFailed: they are whole, and of another version (7010).
    """
    if len(data) < PREFIX.size:
        return f"it has only {len(data)} bytes"
    found, its_version, crc = PREFIX.unpack_from(data)
    if checksum(data[: PREFIX.size - 4]) != crc or found != magic:
        return "its first bytes are damaged"
    if its_version != version:
        raise JournalFailed(
            f"{file} was written in version {its_version} of the format, this rayvisor knows version {version}",
            code=7010,
            fix="use the rayvisor that wrote it, or move the journal's folder away and begin anew",
        )
    return ""


def sealed(packed: bytes) -> bytes:
    """``packed`` with its CRC behind it."""
    return packed + _CRC.pack(checksum(packed))


def _copies(data: bytes, places: Iterable[int], form: struct.Struct) -> list[tuple[object, ...] | None]:
    found: list[tuple[object, ...] | None] = []
    for place in places:
        packed = data[place : place + form.size]
        crc = _CRC.unpack_from(data, place + form.size)[0]
        found.append(form.unpack(packed) if checksum(packed) == crc else None)
    return found


def decode(data: bytes, file: Path) -> State:
    """What a control file of these bytes says.

    Raises:
        JournalCorrupt: both copies of something are damaged, or it is no control file.
        JournalFailed: another version's.
    """
    why = check_prefix(data, _MAGIC, VERSION, file) or ("" if len(data) == SIZE else f"it has {len(data)} bytes")
    if why:
        raise corrupt(file, 0, 0, why)
    damaged: list[str] = []
    best: list[tuple[object, ...]] = []
    used = bytearray(data)
    used[: PREFIX.size] = bytes(PREFIX.size)
    for name, places, form in (
        ("fence", _FENCE_AT, _FENCE),
        ("mark", _MARK_AT, _MARK),
        ("begin", _BEGIN_AT, _BEGIN),
    ):
        copies = _copies(data, places, form)
        whole = [copy for copy in copies if copy is not None]
        if not whole:
            raise corrupt(file, places[0], 0, f"both copies of its {name} are damaged")
        damaged += [f"{name} at {place}" for place, copy in zip(places, copies, strict=True) if copy is None]
        best.append(max(whole, key=lambda copy: copy[0]))  # type: ignore[return-value,arg-type]
        for place in places:
            used[place : place + form.size + _CRC.size] = bytes(form.size + _CRC.size)
    if any(used):
        damaged.append("bytes that should be zero")
    return State(Fence(*best[0]), Mark(*best[1]), Begin(*best[2]), tuple(damaged))  # type: ignore[arg-type]


def corrupt(file: Path, offset: int, sequence: int, why: str) -> JournalCorrupt:
    """The error for damage at a place."""
    record = f", record {sequence}" if sequence else ""
    return JournalCorrupt(
        f"{file}, offset {offset}{record}: {why}",
        fix="rayvisor journal verify shows what is whole; restore the file from a copy, or start from a checkpoint",
    )


def load(disk: Disk, folder: Path) -> State | None:
    """What the control file in ``folder`` says, or None when there is none.

    Raises:
        JournalCorrupt, JournalFailed: as ``decode``.
        OSError: it cannot be read.
    """
    file = folder / CONTROL
    for left in range(_TRIES, -1, -1):
        try:
            fd = disk.open(file, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            data = disk.read(fd, SIZE + 1, 0)
        finally:
            disk.close(fd)
        try:
            state = decode(data, file)
        except JournalCorrupt:
            if not left:
                raise
            continue
        # a copy may have been read while it was stored
        if not state.damaged or not left:
            return state
    raise AssertionError("unreachable")


def store_fence(disk: Disk, folder: Path, state: State, epoch: int, *, closed: bool) -> State:
    """Put the fence in the control file that is there, for every process of this machine to see.

    It is not synced: a power failure ends all older writers, and the file that is put in place next has it too.

    Raises:
        OSError: the disk refused; the fence may or may not be up.
    """
    fence = Fence(state.fence.generation + 1, epoch, int(closed))
    _overwrite(disk, folder, _FENCE_AT[fence.generation % 2], _FENCE.pack(*fence), sync=closed)
    return state._replace(fence=fence)


def store_begin(disk: Disk, folder: Path, state: State, sequence: int) -> State:
    """Let the journal begin at ``sequence``, durably.

    Raises:
        OSError: the disk refused.
    """
    begin = Begin(state.begin.generation + 1, sequence)
    _overwrite(disk, folder, _BEGIN_AT[begin.generation % 2], _BEGIN.pack(*begin), sync=True)
    disk.fsync_dir(folder)  # a promotion may have put the file in place and not waited for its name
    return state._replace(begin=begin)


def _overwrite(disk: Disk, folder: Path, place: int, packed: bytes, *, sync: bool) -> None:
    fd = disk.open(folder / CONTROL, os.O_RDWR)
    try:
        write_all(disk, fd, sealed(packed), place)
        if sync:
            disk.fdatasync(fd)
    finally:
        disk.close(fd)


class LiveControl:
    """The control file as its writer has it: mapped into memory.

    Args:
        disk: where faults are injected.
        folder: the journal's.
        state: what to put in the new file.
        made: a file made beforehand, which is used; None: a new one is made.
        sync: False: a power failure may bring back what ``made`` held, or the old file.

    Raises:
        OSError: it cannot be written. The old one, if any, is still in place.
    """

    def __init__(self, disk: Disk, folder: Path, state: State, *, made: Path | None = None, sync: bool = True) -> None:
        self._file = folder / CONTROL
        self._boot = disk.boot()
        fresh = made or folder / f"{CONTROL}.new"
        if made is None:
            with suppress(FileNotFoundError):
                disk.unlink(fresh)  # never the same file again: a sync of it may have failed
        fd = disk.open(fresh, os.O_RDWR if made else os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            data = encode(state.fence, state.mark, state.begin)
            write_all(disk, fd, data, 0)
            if sync:
                disk.fsync(fd)
            self._map = mmap.mmap(fd, SIZE)
        finally:
            disk.close(fd)
        self._disk, self._replaced = disk, -1
        try:
            if not sync:
                # the file system clears away what it held when nobody has it open any more: not in the rename
                self._replaced = disk.open(self._file, os.O_RDONLY)
            disk.rename(fresh, self._file)
        except OSError:
            self.close()
            raise
        self._epoch = state.fence.epoch
        self._fence = data[_FENCE_AT[0] : _FENCE_END]
        self._generation = state.mark.generation

    def newer(self) -> int:
        """0, or the epoch of the newer writer that put the fence up. Cheap."""
        now = self._map[_FENCE_AT[0] : _FENCE_END]
        if now == self._fence:
            return 0
        for copy in _copies(self._map[:SIZE], _FENCE_AT, _FENCE):
            if copy is not None:
                fence = Fence(*copy)  # type: ignore[arg-type]
                if fence.epoch > self._epoch:
                    return fence.epoch
        self._fence = now  # closed by us, or damaged: the next opening reports it
        return 0

    def mark(self, sequence: int, first: int, offset: int, *, synced: bool) -> None:
        """All up to ``sequence`` is durable; it ends at ``offset`` of this writer's segment ``first``."""
        self._generation = generation = self._generation + 1
        packed = _MARK.pack(generation, sequence, first, self._epoch, offset, self._boot, synced)
        place = _MARK_AT[generation % 2]
        self._map[place : place + _MARK.size + 4] = packed + _CRC.pack(checksum(packed))

    def let_go(self) -> None:
        """Let go of the file that was replaced, which may take a moment. Never raises for the disk."""
        fd, self._replaced = self._replaced, -1
        if fd >= 0:
            with suppress(OSError):
                self._disk.close(fd)

    def close(self) -> None:
        """Let go of the files."""
        self._map.close()
        self.let_go()
