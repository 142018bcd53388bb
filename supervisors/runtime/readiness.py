"""Keeps a takeover of the journal prepared while a standby follows, so that its promotion waits for no sync."""

import threading
from collections.abc import Callable
from pathlib import Path

from supervisors.core.errors import StateError
from supervisors.state.disk import Disk
from supervisors.state.journal import Prepared, control, prepare

#: seconds between looks whether what is prepared is still of use
LOOK = 5.0


class Readiness:
    """What is prepared for one standby. ``look`` is called by one thread, ``take`` and ``close`` by any.

    The disk is only touched in a thread of its own: one that hangs holds nobody up.

    Args:
        folder: the journal's.
        disk: where faults are injected.
        segment_bytes: size of a segment.
        told: called in that thread when preparing fails, once until it succeeds again: why. The promotion then takes
            its time.
    """

    def __init__(self, folder: Path, disk: Disk, segment_bytes: int, told: Callable[[str], None]) -> None:
        self._folder = folder
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._told = told
        self._lock = threading.Lock()
        self._prepared: Prepared | None = None
        self._busy = False
        self._over = False
        self._failing = False
        self._next = 0.0

    @property
    def ready(self) -> bool:
        """True while something is prepared."""
        return self._prepared is not None

    def look(self, now: float, epoch: int) -> None:
        """Prepare, if that is due; returns at once.

        Args:
            now: seconds of a monotonic clock.
            epoch: of the primary that is followed: the journal of an older one is not what will be taken over.
        """
        with self._lock:
            if self._busy or self._over or now < self._next:
                return
            self._busy = True
            self._next = now + LOOK
        threading.Thread(target=self._run, args=(epoch,), name="takeover", daemon=True).start()

    def take(self) -> Prepared | None:
        """What is prepared, for the promotion; nothing is prepared any more."""
        with self._lock:
            self._over = True
            prepared, self._prepared = self._prepared, None
            return prepared

    def close(self) -> None:
        """Remove what is prepared."""
        prepared = self.take()
        if prepared is not None:
            prepared.discard()

    def _run(self, epoch: int) -> None:
        made: Prepared | None = None
        try:
            if self._is_due(epoch):
                made = prepare(self._folder, disk=self._disk, segment_bytes=self._segment_bytes)
                self._failing = False
        except StateError as error:
            self._tell(error.message)
        except OSError as error:
            self._tell(str(error))  # a file that was taken or removed meanwhile, or the disk
        with self._lock:
            if made is not None and not self._over:
                made, self._prepared = self._prepared, made
        try:
            if made is not None:
                made.discard()
        finally:
            self._busy = False  # now nothing is left of what is not used

    def _is_due(self, epoch: int) -> bool:
        with self._lock:
            prepared = self._prepared
        if prepared is not None:
            return prepared.stale()
        state = control.load(self._disk, self._folder)
        return state is not None and state.fence.epoch >= epoch

    def _tell(self, why: str) -> None:
        if not self._failing and not self._over:
            self._failing = True
            self._told(why)
