"""Keeps what a failed life left, before the next rung is tried or the process is killed (REC-3, 003 §7.4).

One folder for each: ``<data_dir>/failed/<path>/<time>-<incarnation>``, the oldest go when there are too many.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from supervisors.core.reasons import ExitReason
from supervisors.state.folders import journal_folder, state_folder
from supervisors.trail.logs import log_file

_LOG_TAIL = 65_536
_JOURNAL_TAIL = 1_048_576
_STACK = "stack.txt"


class FailedState(msgspec.Struct, frozen=True):
    """What a supervisor knows of a failed life.

    Attributes:
        path, incarnation, epoch, pid: which.
        reason: why it ended.
        why: it is kept: the rung that failed, or the failure itself.
        signal: what told of it first.
        beat: the last one, as it came.
        beat_age: seconds since the last beat; None when there was none.
        metrics: gauges the actor had set.
        verdict: what was believed of it.
    """

    path: str
    incarnation: int
    epoch: int
    pid: int
    reason: ExitReason
    why: str
    signal: str = ""
    beat: dict[str, str | int | float] | None = None
    beat_age: float | None = None
    metrics: dict[str, float] = {}
    verdict: str = ""


class Preserved(msgspec.Struct, frozen=True):
    """Where it is kept and what of it: names of files. ``missing``: what could not be kept, and why."""

    folder: str
    items: tuple[str, ...]
    missing: tuple[str, ...]
    seconds: float


def preserve(data_dir: Path, state: FailedState, keep: int, stack: str = "") -> Preserved:
    """Write everything down; what cannot be had is named, never fatal. Blocks for milliseconds: not in the plane.

    Args:
        data_dir: of the system.
        state: what the supervisor knows.
        keep: folders kept for this path.
        stack: where the process stood, if it could still be asked.
    """
    began = time.monotonic()
    above = data_dir / "failed" / state_folder(data_dir, state.path).name
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    folder = above / f"{stamp}.{time.time_ns() % 1_000_000_000:09d}-{state.incarnation}"
    items: list[str] = []
    missing: list[str] = []
    try:
        folder.mkdir(mode=0o700, parents=True)
        (folder / "failure.json").write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
        items.append("failure.json")
        if stack:
            (folder / _STACK).write_text(stack, encoding="utf-8", errors="replace")
            items.append(_STACK)
        _keep_log(data_dir, state.path, folder, items, missing)
        _keep_journal(journal_folder(data_dir, state.path), folder, items, missing)
        _retain(above, keep)
    except OSError as error:
        missing.append(f"{error.filename or folder}: {error.strerror}")
    return Preserved(str(folder), tuple(items), tuple(missing), time.monotonic() - began)


def _keep_log(data_dir: Path, path: str, folder: Path, items: list[str], missing: list[str]) -> None:
    file = log_file(data_dir, path)
    try:
        (folder / "log.txt").write_bytes(_tail(file, _LOG_TAIL))
        items.append("log.txt")
    except OSError as error:
        missing.append(f"log: {error.strerror}")


def _keep_journal(journal: Path, folder: Path, items: list[str], missing: list[str]) -> None:
    """The control file and the newest segment's end: what a later life cuts or writes over."""
    if not journal.is_dir():
        return
    try:
        kept = folder / "journal"
        kept.mkdir()
        files = sorted(file for file in journal.iterdir() if file.is_file())
        newest = max((file for file in files if file.stat().st_size > 4096), key=lambda f: f.name, default=None)
        for file in files:
            if file.stat().st_size <= 4096 or file is newest:
                (kept / file.name).write_bytes(_tail(file, _JOURNAL_TAIL))
        items.append("journal")
    except OSError as error:
        missing.append(f"journal: {error.strerror}")


def _tail(file: Path, limit: int) -> bytes:
    """The last ``limit`` bytes; zeros a journal keeps in advance are left out."""
    with file.open("rb") as source:
        size = source.seek(0, os.SEEK_END)
        if file.suffix != ".log" and size > limit:
            size = _used(source.fileno(), size)
        source.seek(max(0, size - limit))
        return source.read(min(limit, size))


def _used(descriptor: int, size: int) -> int:
    """Where the last byte that is not zero ends, to a page."""
    page = 65_536
    end = size
    while end > 0:
        chunk = os.pread(descriptor, page, max(0, end - page))
        if chunk.strip(b"\0"):
            break
        end -= page
    return max(0, end)


def _retain(above: Path, keep: int) -> None:
    folders = sorted(entry for entry in above.iterdir() if entry.is_dir())
    for folder in folders[: max(0, len(folders) - max(1, keep))]:
        shutil.rmtree(folder, ignore_errors=True)


def stack_of(pid: int, limit: float) -> str:
    """Where every thread of a process stands, by py-spy; words about why not otherwise. Works on a stopped process.

    Args:
        pid: of the process.
        limit: seconds it may take.
    """
    tool = Path(sys.executable).with_name("py-spy")
    command = [str(tool), "dump", "--nonblocking", "--pid", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no stack: {type(error).__name__}: {error}\n"
    return done.stdout if done.returncode == 0 else f"no stack: {done.stderr.strip()}\n"
