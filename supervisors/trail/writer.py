"""Appends events to the trail: one write per event, no lock between processes, never waiting for the disk to heal."""

import os
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from supervisors.core.clock import Clock
from supervisors.core.reasons import ExitReason
from supervisors.trail.events import EventKind, Scalar, TrailError, TrailEvent, encode
from supervisors.trail.segments import CURRENT, find_seal, finish_rotation, open_current, read_header, rotate, seal

_FLAGS = os.O_RDWR | os.O_APPEND


class TrailWriter:
    """One process's pen. Thread-safe; any number of processes may write to the same folder.

    A write that the disk refuses (full, I/O error, no permission) never raises: the line is kept, up to
    ``buffer_lines`` of them, and written before the next one; what does not fit is counted and told by a
    ``trail_gap`` event once the disk takes writes again. A line survives the end of the process that wrote it; it is
    not forced to the disk, so a power loss may cost the last seconds.

    Args:
        folder: ``data_dir/trail``; made on the first write.
        writer: who writes: the path of a supervisor, or ``warden``.
        clock: stamps the events.
        buffer_lines: lines kept while the disk refuses.
    """

    def __init__(self, folder: Path, writer: str, clock: Clock, *, buffer_lines: int = 1_000) -> None:
        self._folder = folder
        self._current = str(folder / CURRENT)
        self._writer = writer
        self._clock = clock
        self._buffer: deque[bytes] = deque()
        self._buffer_lines = buffer_lines
        self._lock = threading.Lock()
        self._rotating = threading.Lock()
        self._settled = False
        self._fd = -1
        self._inode = 0
        self._checked = 0  # no seal before this offset of the open segment
        self._torn = False
        self._closed = False
        self._unreported = 0
        self._error = ""
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Events lost for good since this writer was made."""
        return self._dropped

    @property
    def error(self) -> str:
        """The last refusal of the disk, empty when there was none."""
        return self._error

    @property
    def buffered(self) -> int:
        """Events that wait for the disk."""
        return len(self._buffer)

    def write(
        self,
        kind: str,
        path: str,
        incarnation: int = 0,
        epoch: int = 0,
        *,
        failure: str = "",
        reason: ExitReason | None = None,
        data: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Stamp and append one event. Never raises and never waits for more than one append."""
        self.append(
            TrailEvent(
                t=self._clock.monotonic(),
                utc=self._clock.utc_ns(),
                kind=str(kind),
                path=path,
                incarnation=incarnation,
                epoch=epoch,
                writer=self._writer,
                failure=failure,
                reason=reason,
                data=dict(data) if data else {},
            )
        )

    def append(self, event: TrailEvent) -> None:
        """Append an event made elsewhere (an actor's own, with its own time)."""
        line = encode(event)
        with self._lock:
            if self._closed:
                self._dropped += 1
            elif ((self._buffer or self._unreported) and not self._drain()) or not self._put(line):
                self._keep(line)

    def flush(self) -> bool:
        """Try to write what waits for the disk; True when nothing waits any more."""
        with self._lock:
            return not self._closed and self._drain()

    def rotate_if_needed(self, max_bytes: int = 16_000_000, keep: int = 8) -> bool:
        """Start a new segment when the current one has ``max_bytes`` or more, keeping ``keep`` old ones (>= 1).

        For one process of a system only (the warden). True when it rotated; a disk that refuses is no error: the
        trail goes on in the segment it has, and the next call tries again.
        """
        with self._rotating:  # not the lock of writes: rotation needs none of the pen's state
            try:
                if not self._settled:  # a process killed in the middle of a rotation left its segment unsealed
                    finish_rotation(self._folder)
                    self._settled = True
                if os.stat(self._current).st_size < max_bytes:  # noqa: PTH116
                    return False
                self._settled = False
                rotate(self._folder, keep)
                self._settled = True
            except FileNotFoundError:
                return False  # nothing written yet
            except (OSError, TrailError) as error:
                self._error = str(error)
                return False
            return True

    def close(self) -> None:
        """Write what still waits, if the disk lets it, and close. Later events are counted as dropped."""
        with self._lock:
            if not self._closed:
                self._drain()
                self._dropped += len(self._buffer)
                self._buffer.clear()
                self._closed = True
                self._shut()

    def _put(self, line: bytes) -> bool:
        """Append one line where it counts; False when the disk refused."""
        try:
            while True:
                if self._fd < 0:
                    self._open()
                # a torn line of ours has no newline: end it, so that it does not swallow this one
                whole = b"\n" + line if self._torn else line
                written = os.write(self._fd, whole)
                self._torn = written < len(whole)
                if self._torn:
                    self._error = "short write"
                    # all but the newline is an event already, and would be there twice if written again
                    return written == len(whole) - 1
                if self._counts(len(whole)):
                    return True
                self._shut()  # and again, in the segment that is current now
        except (OSError, TrailError) as error:
            self._error = str(error)
            self._shut()
            return False

    def _counts(self, size: int) -> bool:
        """Whether the line just appended counts: it does unless the segment was sealed before it."""
        try:
            switched = os.stat(self._current).st_ino != self._inode  # noqa: PTH116 - half the cost of a Path
        except FileNotFoundError:
            return False  # deleted by hand, and the line with it
        end = os.lseek(self._fd, 0, os.SEEK_CUR)
        if not switched:
            self._checked = end
            return True
        sealed = find_seal(self._fd, self._checked)
        if sealed is None:
            # nobody sealed yet, so the line counts; sealing lets readers go on if the rotating process is gone
            with suppress(OSError):
                seal(self._fd)
            sealed = end
        self._shut()
        return end - size <= sealed

    def _open(self) -> None:
        self._fd = open_current(self._folder, _FLAGS)
        _, self._checked = read_header(self._fd)
        self._inode = os.fstat(self._fd).st_ino

    def _shut(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
        self._fd = -1

    def _drain(self) -> bool:
        """Write the lines kept, oldest first, then tell of those dropped; False when the disk still refuses."""
        while self._buffer:
            if not self._put(self._buffer[0]):
                return False
            self._buffer.popleft()
        if self._unreported:
            gap = TrailEvent(
                t=self._clock.monotonic(),
                utc=self._clock.utc_ns(),
                kind=EventKind.TRAIL_GAP,
                path=self._writer if self._writer.startswith("/") else "/",
                writer=self._writer,
                data={"dropped": self._unreported, "error": self._error},
            )
            if not self._put(encode(gap)):
                return False
            self._unreported = 0
        return True

    def _keep(self, line: bytes) -> None:
        if len(self._buffer) < self._buffer_lines:
            self._buffer.append(line)
        else:
            self._unreported += 1
            self._dropped += 1
