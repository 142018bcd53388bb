"""Logs of children: loguru in front, one JSON-lines file per child behind, written by a thread of its own (AUD-2).

The caller pays for making the record only; encoding and the disk are the thread's. A child that floods its log is
limited by a token bucket, and told of in one line per second. Nothing accepted is lost at an orderly stop.
"""

import atexit
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from loguru import logger

if TYPE_CHECKING:
    from loguru import Logger, Message, Record

#: Records that may wait for the disk; more are dropped and counted.
RING = 10_000
#: Seconds between two notices of dropped lines, and until the last one is written.
NOTICE_EVERY = 1.0
_BATCH = 256
_OWNER = "_child_log"
_CONSOLE = "<level>{level: <8}</level> <cyan>{extra[path]}</cyan> {message}\n{exception}"
_PLAIN_CONSOLE = "<level>{level: <8}</level> {message}\n{exception}"

LogValue = str | int | float | bool | None


class LogLine(msgspec.Struct, omit_defaults=True):
    """One line of a child's log file."""

    time: str
    level: str
    path: str
    incarnation: int
    epoch: int
    message: str
    source: str = ""
    exception: str = ""
    dropped: int = 0
    extra: dict[str, LogValue] = {}


def log_file(data_dir: Path, path: str) -> Path:
    """Where the log of ``path`` is: ``data_dir/logs/~cell~md.jsonl`` for ``/cell/md``; older ones end in .1, .2, ..."""
    return data_dir / "logs" / f"{path.replace('/', '~')}.jsonl"


class TokenBucket:
    """Lets ``rate`` through per second and up to ``burst`` at once. Not thread-safe."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """One token, if there is one."""
        self._tokens = min(self._burst, self._tokens + max(now - self._at, 0.0) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class RotatingFile:
    """Appends bytes to a file; at ``rotate_bytes`` it becomes ``.1``, ``.1`` becomes ``.2``, up to ``keep``."""

    def __init__(self, path: Path, rotate_bytes: int, keep: int) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._fd = -1
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            OSError: the disk refused; the next write opens the file anew.
        """
        try:
            if self._fd < 0:
                self._open()
            if self._size and self._size + len(data) > self._rotate_bytes:
                self._rotate()
                self._open()
            self._size += os.write(self._fd, data)
        except OSError:
            self.close()
            raise

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close; a later write opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _rotate(self) -> None:
        mine = os.fstat(self._fd).st_ino
        self.close()
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino != mine:
                return  # another life of the child rotated already
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            with suppress(FileNotFoundError):
                newer.replace(older)
        if self._keep == 0:
            self._path.unlink(missing_ok=True)


class ChildLog:
    """A child's log: ``logger`` to write with, ``close`` at the end. See ``child_logger``."""

    def __init__(
        self,
        file: RotatingFile,
        path: str,
        incarnation: int,
        epoch: int,
        level: str,
        lines_per_second: float,
        monotonic: Callable[[], float],
        whole_process: bool,
    ) -> None:
        self._file = file
        self._path = path
        self._incarnation = incarnation
        self._epoch = epoch
        self._monotonic = monotonic
        self._whole_process = whole_process
        self._bucket = TokenBucket(lines_per_second, max(lines_per_second * 2, 1.0), monotonic())
        self._ring: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._limit_lock = threading.Lock()
        self._dropped = 0
        self._noticed_at = monotonic()
        self._closed = False
        self.lost_total = 0
        self.logger: Logger = logger.bind(path=path, incarnation=incarnation, epoch=epoch, **{_OWNER: id(self)})
        self._thread = threading.Thread(target=self._work, name=f"log {path}", daemon=True)
        self._handler = logger.add(self._accept, level=level, format=_nothing, filter=self._is_mine)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Stop taking records and write all that were taken (waits up to 5 s for the disk)."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        with suppress(ValueError):  # someone removed all handlers of loguru
            logger.remove(self._handler)
        self._ring.put(None)
        self._thread.join(5.0)

    def _is_mine(self, record: "Record") -> bool:
        owner = record["extra"].get(_OWNER)
        return owner == id(self) or (owner is None and self._whole_process)

    def _accept(self, message: "Message") -> None:
        with self._limit_lock:
            if self._ring.qsize() < RING and self._bucket.take(self._monotonic()):
                self._ring.put(message.record)
            else:
                self._dropped += 1
                self.lost_total += 1

    def _work(self) -> None:
        open_ = True
        while open_:
            batch: list[Record] = []
            with suppress(queue.Empty):
                record = self._ring.get(timeout=NOTICE_EVERY)
                while record is not None:
                    batch.append(record)
                    if len(batch) >= _BATCH:
                        break
                    record = self._ring.get_nowait()
                open_ = record is not None
            self._write(batch, last=not open_)
        self._file.close()

    def _write(self, batch: list["Record"], *, last: bool) -> None:
        lines = [self._encode(record) for record in batch]
        notice = self._notice(last)
        data = b"".join([*lines, notice])
        if not data:
            return
        try:
            self._file.write(data)
        except OSError:
            with self._limit_lock:
                self._dropped += len(batch)
                self.lost_total += len(batch)

    def _notice(self, last: bool) -> bytes:
        """The line that tells of dropped ones, at most one each ``NOTICE_EVERY`` seconds."""
        now = self._monotonic()
        with self._limit_lock:
            dropped = self._dropped
            if not dropped or not (last or now - self._noticed_at >= NOTICE_EVERY):
                return b""
            self._dropped = 0
            self._noticed_at = now
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "+00:00"
        text = f"{dropped} lines dropped: the child logs faster than its limit, or the disk refuses"
        line = LogLine(stamp, "WARNING", self._path, self._incarnation, self._epoch, text, dropped=dropped)
        return msgspec.json.encode(line) + b"\n"

    def _encode(self, record: "Record") -> bytes:
        error = record["exception"]
        trace = "".join(traceback.format_exception(error.type, error.value, error.traceback)) if error else ""
        own = ("path", "incarnation", "epoch", _OWNER)
        line = LogLine(
            record["time"].astimezone(UTC).isoformat(),
            record["level"].name,
            self._path,
            self._incarnation,
            self._epoch,
            record["message"],
            f"{record['name']}:{record['function']}:{record['line']}",
            trace,
            extra={str(key): _plain(value) for key, value in record["extra"].items() if key not in own},
        )
        try:
            return msgspec.json.encode(line) + b"\n"
        except (UnicodeEncodeError, OverflowError):
            line.message, line.exception = _clean(line.message), _clean(line.exception)
            line.extra = {_clean(key): _clean(str(value)) for key, value in line.extra.items()}
            return msgspec.json.encode(line) + b"\n"


def _nothing(_record: "Record") -> str:
    return ""  # the thread makes the line; loguru need not format one too


def _plain(value: object) -> LogValue:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def child_logger(
    data_dir: Path,
    path: str,
    incarnation: int,
    epoch: int,
    level: str = "INFO",
    rotate_bytes: int = 10_000_000,
    keep: int = 5,
    lines_per_second: float = 1_000.0,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    whole_process: bool = True,
) -> ChildLog:
    """The log of one life of a child (or supervisor), appended to ``log_file(data_dir, path)``.

    Args:
        data_dir: the system's data directory.
        path: the place in the tree.
        incarnation: which life.
        epoch: its fencing token.
        level: lowest loguru level that is kept.
        rotate_bytes: size at which the file is rotated.
        keep: rotated files kept.
        lines_per_second: more are dropped and counted; twice as many may come at once.
        monotonic: seconds, for the limiter.
        whole_process: keep also what other code of this process logs with loguru unbound: for a host, which carries
            one child.

    Raises:
        ValueError: loguru knows no such level.
    """
    file = RotatingFile(log_file(data_dir, path), rotate_bytes, keep)
    return ChildLog(file, path, incarnation, epoch, level, lines_per_second, monotonic, whole_process)


def console(level: str | None) -> None:
    """Make loguru of this process write to stderr from ``level`` on, and nothing else; None: no console.

    Removes every handler there is, so call it before ``child_logger``.
    """
    logger.remove()
    if level is not None:
        logger.add(sys.stderr, level=level, format=_console_format, backtrace=False, diagnose=False)


def _console_format(record: "Record") -> str:
    return _CONSOLE if "path" in record["extra"] else _PLAIN_CONSOLE
