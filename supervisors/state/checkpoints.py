"""Snapshots of one actor's state, each in a file of its own, whole or not there (STA-2).

    prefix   18 bytes: magic, format (2), length of the header (4), CRC32C of these 14 bytes: the same in every format
    header   msgpack: sequence, epoch, utc_ns, monotonic_ns, actor, schema, length and sha256 of the body
             CRC32C of the header (4)
    body     as the actor encoded its state
             CRC32C of the body (4), and then the file ends

A checkpoint is written under another name, synced, renamed, and the folder synced: a crash at any moment leaves all
earlier ones, and the new one whole or not at all. The newest is the one of the greatest epoch, then sequence: what a
fenced life wrote late never hides what its successor wrote. It may still be newer than all its successor wrote so far;
``refuse`` of ``newest_valid`` is where the journal, which knows where each epoch began, says so.
"""

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import google_crc32c
import msgspec

from supervisors.core.errors import CheckpointError
from supervisors.state.disk import REAL_DISK, Disk, make_folder, write_all

FORMAT = 1

_MAGIC = b"RVCHECK\x00"
_PREFIX = 18
_LARGEST_HEADER = 65536
_NAME = re.compile(r"(\d{20})-(\d{20})\.checkpoint", re.ASCII)
_UNFINISHED = re.compile(r"\d{20}-(\d{20})\.unfinished", re.ASCII)


class Checkpoint(msgspec.Struct, frozen=True):
    """An actor's state after all events up to ``sequence``.

    Attributes:
        sequence: of the last event contained in it.
        epoch: of the life that took it.
        utc_ns: wall clock when it was taken, for people.
        monotonic_ns: the machine's monotonic clock when it was taken.
        actor: ``module:Class`` that encoded the body.
        schema: the actor's own version of its body.
        body: the state.
    """

    sequence: int
    epoch: int
    utc_ns: int
    monotonic_ns: int
    actor: str
    schema: int
    body: bytes


class CheckpointInfo(msgspec.Struct, frozen=True):
    """What a checkpoint says of itself; ``bytes`` and ``digest`` (sha256, hex) are of its body."""

    file: Path
    sequence: int
    epoch: int
    utc_ns: int
    schema: int
    bytes: int
    digest: str
    actor: str = ""
    monotonic_ns: int = 0


# within a class that has a method ``list`` that word means the method
Infos = list[CheckpointInfo]
Reasons = list[str]
_Paths = list[Path]


class _Header(msgspec.Struct, array_like=True, frozen=True):
    sequence: int
    epoch: int
    utc_ns: int
    monotonic_ns: int
    actor: str
    schema: int
    length: int
    digest: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Header)


class CheckpointStore:
    """The checkpoints in one folder. Safe for threads; one life writes at a time, any number may read.

    Args:
        folder: made when needed.
        disk: another one only to inject faults.
    """

    def __init__(self, folder: Path, disk: Disk = REAL_DISK) -> None:
        #: where they are
        self.folder = folder
        self._disk = disk
        self._saving = threading.Lock()

    def save(self, checkpoint: Checkpoint) -> CheckpointInfo:
        """Write a checkpoint; it outlasts a power failure when this returns.

        Raises:
            CheckpointError: it could not be written (7032); nothing is changed.
        """
        digest = sha256(checkpoint.body).digest()
        c = checkpoint
        header = _encoder.encode(
            _Header(c.sequence, c.epoch, c.utc_ns, c.monotonic_ns, c.actor, c.schema, len(c.body), digest)
        )
        if len(header) > _LARGEST_HEADER:
            raise ValueError("the actor's name is too long for a checkpoint")
        prefix = _MAGIC + FORMAT.to_bytes(2, "little") + len(header).to_bytes(4, "little")
        head = prefix + _crc(prefix) + header + _crc(header)
        target = self.folder / f"{c.sequence:020d}-{c.epoch:020d}.checkpoint"
        with self._saving:
            try:
                make_folder(self._disk, self.folder)
                self._sweep(c.epoch)
                self._write(target, head, c.body)
            except OSError as error:
                raise CheckpointError(
                    f"the checkpoint at {c.sequence} could not be written to {self.folder}: {error}",
                    code=7032,
                    fix="space, permissions and health of that disk; the older ones and the journal are untouched",
                ) from error
        return CheckpointInfo(
            target, c.sequence, c.epoch, c.utc_ns, c.schema, len(c.body), digest.hex(), c.actor, c.monotonic_ns
        )

    def list(self) -> Infos:
        """All whose header is whole, newest first; the bodies are not read."""
        return [found for found in map(self._try_header, self._files()) if isinstance(found, CheckpointInfo)]

    def load(self, info: CheckpointInfo, *, schema: int | None = None) -> Checkpoint:
        """Read one and check all of it.

        Args:
            info: which one.
            schema: the only one the caller understands; None: any.

        Raises:
            CheckpointError: it is damaged, cannot be read or is not the one of ``info`` (7004), was written by a newer
                rayvisor (7030), or has another schema (7031).
        """
        if schema is not None and info.schema != schema:
            raise CheckpointError(
                f"{info.file} holds schema {info.schema} of {info.actor}, and it knows {schema}",
                code=7031,
                fix="run the code that wrote it, or teach the actor to read it",
            )
        found, body = self._read(info.file, whole=True)
        if found != info:
            raise _damaged(info.file, "it was replaced by another one")
        return Checkpoint(
            found.sequence, found.epoch, found.utc_ns, found.monotonic_ns, found.actor, found.schema, body
        )

    def newest_valid(
        self, *, schema: int | None = None, refuse: Callable[[CheckpointInfo], str] = lambda info: ""
    ) -> tuple[Checkpoint | None, Reasons]:
        """The newest whole one, and why each newer one was passed over.

        Args:
            schema: the only one the caller understands; None: any.
            refuse: says why one must not be used; empty: it may.

        Raises:
            CheckpointError: the newest whole one was written by a newer rayvisor (7030) or has another schema (7031):
                to go back behind it unasked would be wrong.
        """
        passed: Reasons = []
        for file in self._files():
            found = self._try_header(file)
            if isinstance(found, CheckpointInfo):
                if why := refuse(found):
                    passed.append(f"{file.name}: {why}")
                    continue
                try:
                    return self.load(found, schema=schema), passed
                except CheckpointError as error:
                    found = error
            if found.code in {7030, 7031}:
                raise found
            passed.append(found.message)
        return None, passed

    def newest_info(self, verify: bool = True) -> CheckpointInfo | None:
        """The newest one whose header (with ``verify``: all of it) is whole, without loading it for use."""
        return next((info for info in self.list() if not verify or self._is_whole(info)), None)

    def prune(self, keep: int) -> Infos:
        """Delete all that are older than the ``keep`` newest whole ones; gives those, newest first.

        Damaged ones do not count; those newer than the oldest kept stay to be looked at. Nothing is deleted while there
        are fewer than ``keep`` whole ones. A file that cannot be deleted stays.
        """
        if keep < 1:
            raise ValueError("at least one checkpoint is kept")
        kept: Infos = []
        for file in self._files():
            if len(kept) == keep:
                with suppress(OSError):
                    self._disk.unlink(file)
                continue
            found = self._try_header(file)
            if isinstance(found, CheckpointInfo) and self._is_whole(found):
                kept.append(found)
        return kept

    # ------------------------------------------------------------ files

    def _files(self) -> _Paths:
        """All finished ones by name, newest first."""
        named = [(match, file) for file in self.folder.glob("*.checkpoint") if (match := _NAME.fullmatch(file.name))]
        return [file for match, file in sorted(named, key=lambda pair: (pair[0][2], pair[0][1]), reverse=True)]

    def _sweep(self, epoch: int) -> None:
        """Remove what earlier lives, or this one, left half written. One with a greater epoch may be at work."""
        for file in self.folder.glob("*.unfinished"):
            if (match := _UNFINISHED.fullmatch(file.name)) and int(match[1]) <= epoch:
                with suppress(FileNotFoundError):
                    self._disk.unlink(file)

    def _write(self, target: Path, head: bytes, body: bytes) -> None:
        unfinished = target.with_suffix(".unfinished")
        replaces = target.exists()
        try:
            file = self._disk.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                write_all(self._disk, file, head, 0)
                write_all(self._disk, file, body, len(head))
                write_all(self._disk, file, _crc(body), len(head) + len(body))
                self._disk.fsync(file)
            finally:
                self._disk.close(file)
            self._disk.rename(unfinished, target)
        except OSError:
            with suppress(OSError):
                self._disk.unlink(unfinished)
            raise
        try:
            self._disk.fsync_dir(self.folder)
        except OSError:
            # there and whole, but not for certain after a power failure: a failed save leaves nothing
            if not replaces:
                with suppress(OSError):
                    self._disk.unlink(target)
            raise

    def _try_header(self, file: Path) -> CheckpointInfo | CheckpointError:
        try:
            return self._read(file, whole=False)[0]
        except CheckpointError as error:
            return error

    def _is_whole(self, info: CheckpointInfo) -> bool:
        try:
            self._read(info.file, whole=True)
        except CheckpointError:
            return False
        return True

    def _read(self, file: Path, *, whole: bool) -> tuple[CheckpointInfo, bytes]:
        """The header and, if ``whole``, the body (else empty), checked."""
        try:
            descriptor = self._disk.open(file, os.O_RDONLY)
            try:
                size = self._disk.size(descriptor)
                largest = _PREFIX + _LARGEST_HEADER + 4
                data = self._disk.read(descriptor, size if whole else min(size, largest), 0)
            finally:
                self._disk.close(descriptor)
        except OSError as error:
            raise CheckpointError(
                f"{file} cannot be read: {error}", fix="permissions and health of that disk"
            ) from error
        header, start = _parse(file, data)
        if size != start + header.length + 4:
            raise _damaged(file, f"it has {size} bytes and should have {start + header.length + 4}")
        body = b""
        if whole:
            body = data[start:-4]
            if _crc(body) != data[-4:]:
                raise _damaged(file, "the checksum of its body is wrong")
            if sha256(body).digest() != header.digest:
                raise _damaged(file, "the digest of its body is wrong")
        info = CheckpointInfo(
            file,
            header.sequence,
            header.epoch,
            header.utc_ns,
            header.schema,
            header.length,
            header.digest.hex(),
            header.actor,
            header.monotonic_ns,
        )
        return info, body


def _parse(file: Path, data: bytes) -> tuple[_Header, int]:
    """The header, checked, and where the body begins."""
    prefix = data[:14]
    if len(data) < _PREFIX or data[:8] != _MAGIC or _crc(prefix) != data[14:_PREFIX]:
        raise _damaged(file, "it does not begin as a checkpoint does")
    form, length = int.from_bytes(data[8:10], "little"), int.from_bytes(data[10:14], "little")
    if form != FORMAT:
        raise CheckpointError(
            f"{file} has format {form}, and this rayvisor knows {FORMAT}",
            code=7030,
            fix="use the rayvisor that wrote it, or move the file away",
        )
    start = _PREFIX + length + 4
    raw = data[_PREFIX : start - 4]
    if len(data) < start or _crc(raw) != data[start - 4 : start]:
        raise _damaged(file, "the checksum of its header is wrong")
    try:
        header = _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise _damaged(file, f"its header cannot be read: {error}") from error
    if file.name != f"{header.sequence:020d}-{header.epoch:020d}.checkpoint":
        raise _damaged(file, "it has the name of another one")
    return header, start


def _crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def _damaged(file: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{file} is damaged: {why}", fix="an older one and the journal's tail give the same state; look at that disk"
    )
