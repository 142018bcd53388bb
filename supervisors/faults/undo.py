"""The undo log: one file for each fault, durable before anything is done, read by whoever has to undo it (FLT-2).

``data_dir/faults/ID.json`` is one ``FaultRecord``; once it is undone and seen to be, it moves to ``done/``. Several
processes write: every change is made under one ``flock`` and only from a state that allows it, so that a fault is
undone once. A record has its full size from the beginning: on a full disk it is written over in place.

Whoever has the lock, or a claim, may have been stopped in the middle (Ctrl-Z). Nothing is injected without the lock; a
revert, which may be done twice, goes on without it after ``LOCK_PATIENCE``, and past a claim after ``CLAIM_PATIENCE``.
"""

import fcntl
import os
import shutil
import threading
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
#: key in ``FaultRecord.undo``: who reverts it now and since when, as ``pid start_time token boot_clock``
CLAIM = "claim"
#: seconds a claim is honoured: more than a revert takes (``runtime.reverting.PATIENCE``)
CLAIM_PATIENCE = 20.0
#: seconds a revert waits for the lock before it goes on without
LOCK_PATIENCE = 2.0
#: seconds an injection waits for the lock before it is refused
PLAN_PATIENCE = 5.0
_LOCK_PAUSE = 0.002
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
            make: given what is not undone (``unclosed``), gives the records of one injection; under the lock, so that
                no other injector adds a target meanwhile. What it raises keeps anything from being written.

        Raises:
            FaultError: the disk refuses, an id cannot name a file or is taken, or the lock is not to be had (9015).
        """
        written: list[Path] = []
        try:
            make_folder(self._disk, self.folder / "done")
            with self._locked(must=True):
                self._make_abort()
                records = make(self.unclosed())
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
        """Change an open record on its way to acting, durably; None: it is closed, or was never there.

        Raises:
            FaultError: the lock is not to be had (9015).
        """
        if not self.folder.exists():
            return None
        with self._locked(must=True):
            record = self._get(fault_id)
            if record is None or record.state not in _OPEN:
                return None
            return self._replace(change(record))

    def claim(self, fault_id: str, me: tuple[int, int], alive: Alive, by: str, why: str) -> FaultRecord | None:
        """Take on the revert of one; None: it is closed, or somebody who lives is at it (``held``).

        Args:
            fault_id: of the record.
            me: pid and start time of this process.
            alive: whether a process still lives.
            by: who, for people.
            why: for what reason.

        Raises:
            OSError: the disk refuses.
        """
        if not self.folder.exists():
            return None
        with self._locked():
            record = self._get(fault_id)
            if record is None or record.state is RecordState.REVERTED or self.held(record, me, alive):
                return None
            undo = record.undo | {CLAIM: f"{me[0]} {me[1]} {self._token} {boot_time():.3f}"}
            changed = msgspec.structs.replace(record, state=RecordState.REVERTING, by=by, why=why, undo=undo)
            return self._replace(changed)

    def held(self, record: FaultRecord, me: tuple[int, int], alive: Alive) -> bool:
        """Whether somebody else who lives is at its revert, and not for longer than one takes."""
        if record.state is not RecordState.REVERTING:
            return False
        try:
            pid, start, token, since = record.undo.get(CLAIM, "").split()
            who, age = (int(pid), int(start)), boot_time() - float(since)
        except ValueError:
            return False  # nobody's: it was given back
        if who == me and token == self._token:
            return False
        return 0.0 <= age < CLAIM_PATIENCE and alive(*who)

    def release(self, fault_id: str) -> None:
        """Give back a claim of ours whose revert was broken off: whoever comes next goes on with it at once.

        Raises:
            OSError: the disk refuses; the claim runs out by itself.
        """
        with self._locked():
            record = self._get(fault_id)
            if record is not None and record.state is RecordState.REVERTING and self._is_mine(record):
                self._replace(_without_claim(record))

    def close(self, fault_id: str, by: str, why: str, *, ok: bool, at: float) -> FaultRecord | None:
        """End one; None: somebody else ended it before, or is at it since our claim ran out.

        Args:
            fault_id: of the record.
            by: who reverted it (injector, watchdog, host, person).
            why: for what reason.
            ok: it was seen to be undone; False keeps it among the ``stuck``.
            at: monotonic seconds.

        Raises:
            OSError: the disk refuses.
        """
        if not self.folder.exists():
            return None
        with self._locked():
            record = self._get(fault_id)
            if record is None or record.state is RecordState.REVERTED or not (ok or self._is_mine(record)):
                return None
            state = RecordState.REVERTED if ok else RecordState.UNREVERTABLE
            changed = msgspec.structs.replace(
                _without_claim(record), state=state, by=by, why=why, reverted_at=at, given_up="" if ok else why
            )
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

    def unclosed(self) -> list[FaultRecord]:
        """Those that may act still: the active ones and the stuck ones, oldest first."""
        return [record for record in self._records() if record.state is not RecordState.REVERTED]

    def active(self) -> list[FaultRecord]:
        """Those that are neither closed nor given up, oldest first."""
        return [record for record in self._records() if not record.ended]

    def stuck(self) -> list[FaultRecord]:
        """Those that could not be undone, oldest first; also while one is tried again."""
        return [record for record in self._records() if record.stuck]

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
        # a name of its own for each writer: two may be at it when one could not wait for the lock
        temporary = path.with_name(f".{path.name}.{self._token}{threading.get_ident():x}.tmp")
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
            for torn in self.folder.glob(f".{fault_id}{_SUFFIX}.*.tmp"):  # of a writer that was killed
                self._disk.unlink(torn)
            kept = _files(done)
            if len(kept) > DONE + DONE // 10:
                for path in sorted(kept, key=_changed)[: len(kept) - DONE]:
                    self._disk.unlink(path)
                    shutil.rmtree(self.folder / KEEP / path.stem, ignore_errors=True)

    def _make_abort(self) -> None:
        path = self.folder / "abort"
        if not path.exists():
            self.abort(0.0)

    def _is_mine(self, record: FaultRecord) -> bool:
        """True also of a claim that nobody has."""
        claim = record.undo.get(CLAIM, "").split()
        return len(claim) < 3 or claim[2] == self._token

    @contextmanager
    def _locked(self, *, must: bool = False) -> Iterator[None]:
        """Alone with the log; unless ``must``, after a while without that too."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + (PLAN_PATIENCE if must else LOCK_PATIENCE)
            while not _take(descriptor):
                if time.monotonic() < deadline:
                    time.sleep(_LOCK_PAUSE)
                elif must:
                    raise FaultError(
                        f"{self.folder}: another process has had the lock of the undo log for {PLAN_PATIENCE:g} s",
                        code=9015,
                        fix=f"it may have been stopped: fuser {self.folder / 'lock'} shows it",
                    )
                else:
                    break
            yield
        finally:
            os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _without_claim(record: FaultRecord) -> FaultRecord:
    undo = {key: value for key, value in record.undo.items() if key != CLAIM}
    return msgspec.structs.replace(record, undo=undo)


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
