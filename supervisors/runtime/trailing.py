"""The disk that follows: with ``AckMode.STANDBY`` events are written at once and synced behind, by a thread."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from supervisors.state.disk import Disk

#: seconds between syncs while nobody waits for one
_PAUSE = 0.02


class TrailingSync:
    """Syncs the segments of a journal behind its writer.

    Args:
        folder: of the journal.
        disk: where the files are.
        synced: told, in the thread, up to which sequence all is synced.
        failed: told of an error, in the thread, which then ends: what the disk holds is not known any more.
    """

    def __init__(
        self, folder: Path, disk: Disk, synced: Callable[[int], None], failed: Callable[[OSError], None]
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._synced = synced
        self._failed = failed
        self._written = 0
        self._done = 0
        self._settled: set[str] = set()
        self._due = threading.Event()
        self._closed = threading.Event()
        #: somebody waits for the disk: no pause between syncs
        self.urgent = True
        self._thread = threading.Thread(target=self._run, name="trailing-sync", daemon=True)
        self._thread.start()

    def written(self, last: int) -> None:
        """All up to ``last`` is written."""
        self._written = last
        self._due.set()

    def close(self) -> None:
        """Sync a last time; returns when that is done."""
        self._closed.set()
        self._due.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            last = self._written
            if last > self._done:
                try:
                    self._sync()
                except OSError as error:
                    self._failed(error)
                    return
                self._done = last
                self._synced(last)
            if self._closed.is_set():
                return
            if not self.urgent:
                self._closed.wait(_PAUSE)

    def _sync(self) -> None:
        names = sorted(path.name for path in self._folder.glob("*.seg"))
        for name in names:
            if name not in self._settled:
                fd = self._disk.open(self._folder / name, os.O_RDWR)
                try:
                    self._disk.fdatasync(fd)
                finally:
                    self._disk.close(fd)
        # the newest one grows; the others were finished before this look at the folder
        self._settled = set(names[:-1])
        self._disk.fsync_dir(self._folder)
