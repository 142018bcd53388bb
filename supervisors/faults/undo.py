"""The undo log: one file for each fault, durable before anything is done, read by whoever has to undo it (FLT-2).

``data_dir/faults/ID.json`` is one ``FaultRecord``; once it is undone and seen to be, it moves to ``done/``. Several
processes write: every change is made under one ``flock`` and only from a state that allows it, so that a fault is
undone once. A record has its full size from the beginning: on a full disk it is written over in place.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from supervisors.core.errors import FaultError
from supervisors.faults.request import FaultRecord, RecordState
from supervisors.state.disk import REAL_DISK, Disk, make_folder, write_all

FOLDER = "faults"
KEEP = "keep"  #: copies of files, a folder for each fault
#: closed records that are kept
DONE = 1_000
#: bytes of a record: the room its later states need is taken with the first
_ROOM = 4096
_SUFFIX = ".json"
_ABORT_BYTES = 32
_OPEN = frozenset({RecordState.PLANNED, RecordState.ARMED, RecordState.REVERTING})
#: key in ``FaultRecord.undo``: who reverts it now, as ``pid start_time token``
CLAIM = "claim"
_NAMES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")

Alive = Callable[[int, int], bool]


def boot_time() -> float:
    """Seconds since the machine was started, its sleep included: the clock of deadlines."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class UndoLog:
    """The faults of one data directory. Safe from several processes and threads.

    Args:
        folder: ``data_dir/faults``; made with the first record.
        disk: where failures of the disk are injected.
    """

    def __init__(self, folder: Path, disk: Disk = REAL_DISK) -> None:
        self.folder = folder
        self._disk = disk
        self._token = os.urandom(4).hex()

    # ------------------------------------------------------------ writing

    def plan(self, make: Callable[[list[FaultRecord]], list[FaultRecord]]) -> list[FaultRecord]:
        """Write faults down, all or none; durable when it returns, and before anything is done.

        Args:
            make: given what is active, gives the records of one injection; under the lock, so that no other injector
                adds a target meanwhile. What it raises keeps anything from being written.

        Raises:
            FaultError: the disk refuses, or an id cannot name a file or is taken (9015).
        """
        written: list[Path] = []
        try:
            make_folder(self._disk, self.folder / "done")
            with self._locked():
                self._make_abort()
                records = make(self.active())
                for record in records:
                    path = self._path(record.order.id)
                    self._check_id(record.order.id)
                    written.append(path)
                    self._create(path, record)
                self._disk.fsync_dir(self.folder)
            return records
        except BaseException as error:
            for path in written:
                with suppress(OSError):
                    self._disk.unlink(path)
            if isinstance(error, OSError):
                raise FaultError(
                    f"{self.folder}: the undo record cannot be written: {error.strerror or error}; nothing was done",
                    code=9015,
                    fix="a fault without an undo record is never injected: make room, or see the permissions",
                ) from error
            raise

    def update(self, fault_id: str, change: Callable[[FaultRecord], FaultRecord]) -> FaultRecord | None:
        """Change an open record, durably; None: it is closed, or was never there."""
        if not self.folder.exists():
            return None
        with self._locked():
            record = self._get(fault_id)
            if record is None or record.state not in _OPEN:
                return None
            return self._replace(change(record))

    def claim(self, fault_id: str, me: tuple[int, int], alive: Alive, by: str, why: str) -> FaultRecord | None:
        """Take on the revert of one; None: it is closed, or somebody who lives is at it.

        Args:
            fault_id: of the record.
            me: pid and start time of this process.
            alive: whether a process still lives.
            by: who, for people.
            why: for what reason.
        """
        if not self.folder.exists():
            return None
        with self._locked():
            record = self._get(fault_id)
            if record is None or record.state is RecordState.REVERTED:
                return None
            mine = f"{me[0]} {me[1]} {self._token}"
            if record.state is RecordState.REVERTING:
                claim = record.undo.get(CLAIM, "")
                pid, _, rest = claim.partition(" ")
                start = rest.partition(" ")[0]
                if claim != mine and pid.isdigit() and start.isdigit() and alive(int(pid), int(start)):
                    return None
            undo = record.undo | {CLAIM: mine}
            changed = msgspec.structs.replace(record, state=RecordState.REVERTING, by=by, why=why, undo=undo)
            return self._replace(changed)

    def close(self, fault_id: str, by: str, why: str, *, ok: bool, at: float) -> FaultRecord | None:
        """End one; None: somebody else ended it before.

        Args:
            fault_id: of the record.
            by: who reverted it (injector, watchdog, host, person).
            why: for what reason.
            ok: it was seen to be undone; False keeps it among the ``stuck``.
            at: monotonic seconds.
        """
        if not self.folder.exists():
            return None
        with self._locked():
            record = self._get(fault_id)
            if record is None or record.state is RecordState.REVERTED:
                return None
            state = RecordState.REVERTED if ok else RecordState.UNREVERTABLE
            undo = {key: value for key, value in record.undo.items() if key != CLAIM}
            changed = msgspec.structs.replace(record, state=state, by=by, why=why, reverted_at=at, undo=undo)
            self._replace(changed)
            if ok:
                self._put_away(fault_id)
            return changed

    def abort(self, now: float) -> None:
        """Order everything planned before ``now`` (boot clock) to be undone, and injectors made before to stop."""
        path = self.folder / "abort"
        text = f"{now!r}".ljust(_ABORT_BYTES).encode()
        fd = self._disk.open(path, os.O_RDWR | os.O_CREAT)
        try:
            write_all(self._disk, fd, text, 0)
        finally:
            self._disk.close(fd)

    # ------------------------------------------------------------ reading

    def aborted_at(self) -> float:
        """Boot clock of the last emergency stop of this boot; 0: none."""
        try:
            at = float((self.folder / "abort").read_text("ascii").strip() or 0)
        except (OSError, ValueError):
            return 0.0
        return at if at <= boot_time() else 0.0

    def active(self) -> list[FaultRecord]:
        """Those that are not closed, oldest first."""
        return [record for record in self._records() if record.state in _OPEN]

    def stuck(self) -> list[FaultRecord]:
        """Those that could not be undone, oldest first."""
        return [record for record in self._records() if record.state is RecordState.UNREVERTABLE]

    def get(self, fault_id: str) -> FaultRecord | None:
        """One record, open or closed."""
        return self._get(fault_id) or _read(self.folder / "done" / f"{fault_id}{_SUFFIX}")

    def find(self, text: str) -> list[FaultRecord]:
        """The fault called ``text``, or all targets of the injection called so; open or closed."""
        found = {record.order.id: record for record in (*self.done(), *self._records())}
        return [one for name, one in found.items() if name == text or name.startswith(f"{text}.")]

    def done(self, limit: int = DONE) -> list[FaultRecord]:
        """Those closed last, newest last."""
        records = [record for path in _files(self.folder / "done") if (record := _read(path)) is not None]
        return sorted(records, key=lambda record: record.reverted_at)[-limit:]

    def unreadable(self) -> list[tuple[Path, str]]:
        """Files that hold no record: something may be armed that nobody knows how to undo."""
        found: list[tuple[Path, str]] = []
        for path in _files(self.folder):
            try:
                msgspec.json.decode(path.read_bytes(), type=FaultRecord)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                found.append((path, str(error)))
        return found

    # ------------------------------------------------------------ files

    def _check_id(self, fault_id: str) -> None:
        if not fault_id or not set(fault_id) <= _NAMES or fault_id.startswith("."):
            raise FaultError(f"{fault_id!r} cannot name a fault", code=9015, fix="letters, digits, - . _")
        if self.get(fault_id) is not None:
            raise FaultError(f"there is a fault {fault_id} already", code=9015, fix="choose another id")

    def _path(self, fault_id: str) -> Path:
        return self.folder / f"{fault_id}{_SUFFIX}"

    def _get(self, fault_id: str) -> FaultRecord | None:
        return _read(self._path(fault_id))

    def _records(self) -> list[FaultRecord]:
        found = [record for path in _files(self.folder) if (record := _read(path)) is not None]
        return sorted(found, key=lambda record: (record.planned_at, record.order.id))

    def _create(self, path: Path, record: FaultRecord) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        fd = self._disk.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._disk, fd, _encode(record), 0)
            self._disk.fsync(fd)
        except BaseException:
            with suppress(OSError):
                self._disk.unlink(temporary)
            raise
        finally:
            self._disk.close(fd)
        self._disk.rename(temporary, path)

    def _replace(self, record: FaultRecord) -> FaultRecord:
        """Write a record anew: beside it and renamed, or over itself when the disk has no room for another."""
        path = self._path(record.order.id)
        try:
            self._create(path, record)
            self._disk.fsync_dir(self.folder)
        except OSError:
            fd = self._disk.open(path, os.O_RDWR)
            try:
                write_all(self._disk, fd, _encode(record).ljust(self._disk.size(fd)), 0)
                self._disk.fdatasync(fd)
            finally:
                self._disk.close(fd)
        return record

    def _put_away(self, fault_id: str) -> None:
        """A disk that refuses leaves it where it is: its state says that it is closed."""
        done = self.folder / "done"
        with suppress(OSError):
            self._disk.rename(self._path(fault_id), done / f"{fault_id}{_SUFFIX}")
            kept = _files(done)
            if len(kept) > DONE + DONE // 10:
                for path in sorted(kept, key=_changed)[: len(kept) - DONE]:
                    self._disk.unlink(path)
                    shutil.rmtree(self.folder / KEEP / path.stem, ignore_errors=True)

    def _make_abort(self) -> None:
        path = self.folder / "abort"
        if not path.exists():
            self.abort(0.0)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _encode(record: FaultRecord) -> bytes:
    body = msgspec.json.encode(record)
    return body.ljust(-(-(len(body) + 1) // _ROOM) * _ROOM - 1) + b"\n"


def _read(path: Path) -> FaultRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=FaultRecord)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None  # told by ``unreadable``


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix == _SUFFIX and not path.name.startswith(".")]
    except OSError:
        return []


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
