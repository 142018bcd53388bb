"""A run's folder: ``data_dir/chaos/RUN/``, written so that a runner that is killed leaves a readable one.

    run.json            what was asked; durable before anything is done
    events.jsonl        what the runner did, decided and saw: a line each, whole or torn at the very end
    operations.jsonl    what clients asked and heard
    history.json        everything together, made at the end

A line outlives the process that wrote it at once, and a power loss after the next sync.
"""

import os
import re
import threading
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from supervisors.chaos.history import (
    SCHEMA,
    Asked,
    History,
    Operation,
    OperationLine,
    Result,
    RunEvent,
    RunKind,
    fold_operations,
)
from supervisors.core.clock import Clock
from supervisors.core.errors import FaultError, JournalFailed, NotActing
from supervisors.trail.events import Scalar
from supervisors.trail.reader import Follower

CHAOS = "chaos"
ASKED = "run.json"
EVENTS = "events.jsonl"
OPERATIONS = "operations.jsonl"
HISTORY = "history.json"
#: lines, and seconds, after which a file is synced with the next line
_BATCH = 64
_LINGER = 0.5
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,120}")

_Line = TypeVar("_Line", RunEvent, OperationLine)
_encoder = msgspec.json.Encoder()


class Recorded(msgspec.Struct, frozen=True):
    """What a run's folder holds besides ``history.json``. ``gaps``: lines that could not be read, in words."""

    asked: Asked
    events: tuple[RunEvent, ...]
    operations: tuple[Operation, ...]
    gaps: tuple[str, ...] = ()


def new_run_id(kind: RunKind, clock: Clock) -> str:
    """A name for a run that sorts by time, such as ``20261121-080312-monkey-3f9a``."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock.utc_ns() / 1e9))
    return f"{stamp}-{kind.value}-{os.urandom(2).hex()}"


def runs(data_dir: Path) -> list[Path]:
    """The folders of the runs kept, oldest first."""
    return sorted(path.parent for path in (data_dir / CHAOS).glob(f"*/{ASKED}"))


def find_run(data_dir: Path, run: str = "last") -> Path:
    """The folder of a run.

    Args:
        data_dir: of the system.
        run: its id or the beginning of it, ``last``, or a folder.

    Raises:
        FaultError: there is none, or the beginning fits several (9080).
    """
    if (Path(run) / ASKED).is_file():
        return Path(run)
    kept = runs(data_dir)
    if run == "last" and kept:
        return kept[-1]
    found = [path for path in kept if path.name == run] or [path for path in kept if path.name.startswith(run)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in (found or kept)[-5:])
    what = f"{len(found)} runs begin with {run!r}" if found else f"no run {run!r} in {data_dir}"
    raise FaultError(what, code=9080, fix=f"one of: {names}" if names else "rayvisor chaos run or monkey makes one")


def result_of(error: BaseException | None) -> Result:
    """What a client knows when its call ended so: only errors that say "nothing was done" are ``fail``.

    ``Fenced`` is none: a writer looks at the fence before it writes and once more before it acknowledges.
    """
    if error is None:
        return Result.OK
    return Result.FAIL if isinstance(error, JournalFailed | NotActing) else Result.INFO


class _Lines:
    """One file of lines. A line that the disk refused in part is ended by a newline before the next one."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._unsynced = 0
        self._torn = False

    def write(self, line: bytes) -> None:
        whole = b"\n" + line if self._torn else line
        self._torn = os.write(self._fd, whole) < len(whole)
        self._unsynced += 1

    def sync(self, least: int = 1) -> None:
        if self._fd >= 0 and self._unsynced >= least:
            os.fdatasync(self._fd)
            self._unsynced = 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class Recorder:
    """Writes a run's folder. Thread-safe; never raises for the disk once it is made.

    Args:
        data_dir: of the system.
        asked: what the run is to do; where it starts (``started``, ``trail_from``) is filled in.
        clock: stamps the lines.

    Attributes:
        folder: of the run.
        asked: as it is in ``run.json``.
        error: the last refusal of the disk, empty when there was none.

    Raises:
        FaultError: the folder exists, its name is no name, or it cannot be made (9082).
    """

    def __init__(self, data_dir: Path, asked: Asked, clock: Clock) -> None:
        self.folder = data_dir / CHAOS / asked.id
        self.error = ""
        self._clock = clock
        self._lock = threading.Lock()
        self._number = 0
        self._synced_at = clock.monotonic()
        if not _ID.fullmatch(asked.id):
            raise FaultError(f"{asked.id!r} cannot name a run", code=9082, fix="letters, digits, '-', '_' and '.'")
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with Follower(data_dir / "trail", from_start=False) as follower:
                trail_from = follower.next_seq
            self.asked = msgspec.structs.replace(
                asked,
                started=asked.started or clock.monotonic(),
                started_utc=asked.started_utc or clock.utc_ns(),
                trail_from=asked.trail_from or trail_from,
                data_dir=asked.data_dir or str(data_dir.resolve()),
            )
            self.folder.mkdir()
            _write_whole(self.folder / ASKED, msgspec.json.format(_encoder.encode(self.asked)))
            self._events, self._operations = _Lines(self.folder / EVENTS), _Lines(self.folder / OPERATIONS)
        except OSError as error:
            text = f"no run can be recorded in {self.folder}: {error.strerror or error}"
            raise FaultError(text, code=9082, fix="room and permissions there; another id") from error

    def note(self, kind: str, *, sync: bool = False, **data: Scalar) -> None:
        """Write down what the runner did, decided or saw. ``sync``: it is on the disk when this returns."""
        event = RunEvent(self._clock.monotonic(), self._clock.utc_ns(), str(kind), data)
        self._write(self._events, event, sync)

    def invoke(self, path: str, value: str = "", *, f: str = "append", id: str = "") -> str:  # noqa: A002
        """An operation begins; returns its unique id (``id``, where one is given)."""
        with self._lock:
            self._number += 1
            name = id or f"{self.asked.id}.{self._number}"
        self._write(self._operations, OperationLine(self._clock.monotonic(), name, "invoke", path, f, value))
        return name

    def complete(
        self,
        id: str,  # noqa: A002
        result: Result,
        *,
        sequence: int = 0,
        epoch: int = 0,
        incarnation: int = 0,
        error: str = "",
    ) -> None:
        """The operation ``id`` ended; see ``OperationLine``."""
        line = OperationLine(
            self._clock.monotonic(),
            id,
            result.value,
            sequence=sequence,
            epoch=epoch,
            incarnation=incarnation,
            error=error[:500],
        )
        self._write(self._operations, line)

    def flush(self) -> None:
        """Sync both files."""
        with self._lock:
            self._sync(1)

    def close(self) -> None:
        """Sync and close."""
        with self._lock:
            self._sync(1)
            self._events.close()
            self._operations.close()

    def _write(self, lines: _Lines, item: RunEvent | OperationLine, sync: bool = False) -> None:
        line = _encode(item) + b"\n"
        with self._lock:
            try:
                lines.write(line)
            except OSError as error:
                self.error = str(error)
                return
            late = self._clock.monotonic() - self._synced_at >= _LINGER
            self._sync(1 if sync or late else _BATCH)

    def _sync(self, least: int) -> None:
        try:
            self._events.sync(least)
            self._operations.sync(least)
        except OSError as error:
            self.error = str(error)
        if least == 1:
            self._synced_at = self._clock.monotonic()


def _encode(item: RunEvent | OperationLine) -> bytes:
    try:
        return _encoder.encode(item)
    except UnicodeEncodeError:  # a lone surrogate in a text from outside
        plain = {
            key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
            for key, value in msgspec.structs.asdict(item).items()
        }
        if isinstance(item, RunEvent):
            plain["data"] = {
                str(key): str(value).encode("utf-8", "replace").decode() for key, value in item.data.items()
            }
        return _encoder.encode(plain)


def read_run(folder: Path) -> Recorded:
    """What a run's folder holds; a torn last line, or a damaged one, is a gap and no error.

    Raises:
        FaultError: ``run.json`` is missing or unreadable (9081), or of a newer version (9083).
    """
    file = folder / ASKED
    try:
        asked = msgspec.json.decode(file.read_bytes(), type=Asked)
    except (OSError, ValueError) as error:
        raise FaultError(f"{file} cannot be read: {error}", code=9081, fix="the folder of another run") from error
    _check_version(file, asked.schema)
    gaps: list[str] = []
    events = _read_lines(folder / EVENTS, msgspec.json.Decoder(RunEvent), gaps)
    lines = _read_lines(folder / OPERATIONS, msgspec.json.Decoder(OperationLine), gaps)
    return Recorded(asked, tuple(events), fold_operations(lines), tuple(gaps))


def save(folder: Path, history: History) -> Path:
    """Write ``history.json`` in place of an older one: whole or not at all.

    Raises:
        FaultError: the disk refused (9082).
    """
    file = folder / HISTORY
    try:
        _write_whole(file, _encoder.encode(history))
    except OSError as error:
        raise FaultError(f"{file} cannot be written: {error.strerror or error}", code=9082, fix="room there") from error
    return file


def load(folder: Path) -> History:
    """The history of a run that came to its end.

    Raises:
        FaultError: there is none, or it is damaged (9081), or it is of a newer version (9083).
    """
    file = folder / HISTORY
    try:
        history = msgspec.json.decode(file.read_bytes(), type=History)
    except FileNotFoundError:
        raise FaultError(
            f"{folder.name} has no history: its runner did not come to the end",
            code=9081,
            fix=f"rayvisor chaos check {folder.name} looks at what there is",
        ) from None
    except (OSError, ValueError) as error:
        fix = "remove it; rayvisor chaos check goes by what else there is"
        raise FaultError(f"{file} cannot be read: {error}", code=9081, fix=fix) from error
    _check_version(file, history.schema)
    return history


def _check_version(file: Path, schema: int) -> None:
    if schema > SCHEMA:
        raise FaultError(
            f"{file} has format version {schema}, this rayvisor reads up to {SCHEMA}",
            code=9083,
            fix="use the rayvisor that wrote it",
        )


def _read_lines(file: Path, decoder: "msgspec.json.Decoder[_Line]", gaps: list[str]) -> list[_Line]:
    try:
        raw = file.read_bytes()
    except OSError as error:
        gaps.append(f"{file.name}: {error.strerror or error}")
        return []
    found: list[_Line] = []
    whole, _, rest = raw.rpartition(b"\n")
    bad = 0
    for line in whole.split(b"\n"):
        if line:
            try:
                found.append(decoder.decode(line))
            except ValueError:
                bad += 1
    if rest:
        try:
            found.append(decoder.decode(rest))  # all but its newline was written
        except ValueError:
            gaps.append(f"{file.name}: its last line was cut short")
    if bad:
        gaps.append(f"{file.name}: {bad} lines are damaged")
    return found


def _write_whole(file: Path, data: bytes) -> None:
    fresh = file.with_name(f".{file.name}.new")
    with fresh.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
