"""Children's logs on the console: the tail of every file in the logs folder, as lines for people."""

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from supervisors.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, existing, print_line
from supervisors.core.errors import SpecError
from supervisors.trail.logs import LogLine, log_file

_LEVELS = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")


class LogTail:
    """Reads what is added to the log files of a system, across their rotation.

    Args:
        folder: ``data_dir/logs``.
        level: least level given.
        from_start: begin with what is there already.
    """

    def __init__(self, folder: Path, level: str, *, from_start: bool = False) -> None:
        self._folder = folder
        self._least = _LEVELS.index(level)
        self._from_start = from_start
        self._places: dict[Path, tuple[int, int]] = {}
        if not from_start:
            for file in folder.glob("*.jsonl"):
                found = file.stat()
                self._places[file] = found.st_ino, found.st_size

    def poll(self, only: Path | None = None) -> list[tuple[str, LogLine]]:
        """New lines with their raw text, oldest first."""
        lines: list[tuple[str, LogLine]] = []
        for file in [only] if only is not None else sorted(self._folder.glob("*.jsonl")):
            for raw in self._read(file):
                try:
                    line = msgspec.json.decode(raw, type=LogLine)
                except msgspec.MsgspecError:
                    continue  # cut off by the end of its writer
                if line.level in _LEVELS and _LEVELS.index(line.level) >= self._least:
                    lines.append((raw.decode(errors="replace"), line))
        lines.sort(key=lambda one: one[1].time)
        return lines

    def _read(self, file: Path) -> list[bytes]:
        try:
            with file.open("rb") as opened:
                inode = file.stat().st_ino
                known, offset = self._places.get(file, (inode, 0))
                opened.seek(offset if known == inode else 0)
                data = opened.read()
                start = offset if known == inode else 0
        except OSError:
            return []
        whole, newline, _ = data.rpartition(b"\n")
        self._places[file] = inode, start + len(whole) + len(newline)
        return whole.split(b"\n") if whole else []


def for_people(line: LogLine) -> str:
    """One log line as text: time, level, path, message."""
    return f"{line.time[11:23]} {line.level:<8} {line.path}#{line.incarnation} {line.message}"


def logs(
    path: Annotated[str, typer.Argument(help="Only this child's log.")] = "",
    level: Annotated[str, typer.Option("--level", help="Least level shown.")] = "INFO",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Print the children's logs, together in the order of their times.

    Example: rayvisor logs /cell/md --level WARNING --follow
    """
    if level.upper() not in _LEVELS:
        raise SpecError(f"no level {level!r}", code=1509, fix=f"one of {', '.join(_LEVELS)}")
    folder = existing(data_dir)
    tail = LogTail(folder / "logs", level.upper(), from_start=True)
    only = log_file(folder, path) if path else None
    while True:
        for raw, line in tail.poll(only):
            print_line(raw if json_ else for_people(line))
        if not follow:
            return
        time.sleep(0.2)


COMMANDS = (logs,)
