"""The watchdog: ``python -m supervisors.runtime.watchdog DATA_DIR`` (FLT-2).

A process of its own, one for a data directory, that reverts each fault at its deadline, when the injector it is tied
to is gone, and on an emergency stop, whatever became of injector, driver, supervisors and Ray. It imports little, so
that it watches before the first fault is injected, and ends two seconds after the last one was reverted. To what could
not be reverted, by whomever, it comes back for a quarter of an hour, more and more seldom.
"""

import os
import sys

# before anything else is imported: whoever starts us waits for this and no longer
if __name__ == "__main__" and os.fork():
    os._exit(0)

import fcntl
import select
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType

from supervisors.faults.request import FaultRecord, RecordState
from supervisors.faults.undo import FOLDER, UndoLog, boot_time
from supervisors.runtime.reverting import Reverter
from supervisors.runtime.watching import LOCK, WATCHING
from supervisors.signals import pidfd
from supervisors.signals.proc import pid_alive, process_start_time

#: seconds between two looks at the records
LOOK = 0.05
#: seconds without an active fault after which it ends
IDLE = 2.0
#: times it comes back to a fault that could not be reverted; seconds before the first, doubled each time, at most
_AGAIN, _AGAIN_AFTER, _AGAIN_MOST = 20, 2.0, 60.0
#: seconds a second one waits for the lock
_HANDOVER = 0.5


def due(record: FaultRecord, now: float, aborted: float, injector_lives: bool) -> str:
    """Why a fault has to be reverted now, empty while it has not. Pure.

    Args:
        record: that is not closed.
        now: boot clock.
        aborted: boot clock of the last emergency stop, 0: none.
        injector_lives: whether the process it is tied to does.
    """
    if now < record.planned_at:
        return "the machine was started anew"
    if aborted and record.planned_at <= aborted:
        return "emergency stop"
    if record.tied and not injector_lives:
        return "its injector is gone"
    if record.state is not RecordState.PLANNED and now >= record.deadline:
        return "its time is over"
    # planned, and its injector neither went on nor is gone
    return "it was never armed" if now >= record.deadline else ""


class Watchdog:
    """Watches one data directory.

    Args:
        data_dir: of the system, resolved.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._log = UndoLog(data_dir / FOLDER)
        self._reverter = Reverter(data_dir, self._log, "watchdog")
        self._pool = ThreadPoolExecutor(16, "revert")
        self._busy: dict[str, Future[FaultRecord]] = {}
        self._again: dict[str, tuple[int, float]] = {}
        self._injectors: dict[tuple[int, int], int] = {}
        self._poller = select.poll()
        self._lock = -1
        self._stop = False
        self._told: set[str] = set()

    def run(self) -> None:
        """Watch until nothing is left to revert for two seconds; returns at once when another watches already."""
        if not self._take():
            return
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._say(WATCHING)
        quiet_since = time.monotonic()
        while True:
            if self._turn():
                quiet_since = time.monotonic()
            elif (self._stop or time.monotonic() - quiet_since > IDLE) and self._leave():
                break
            # the end of an injector wakes it at once
            self._poller.poll(LOOK * 1000)
        self._pool.shutdown(wait=True)
        self._reverter.close()

    # ------------------------------------------------------------ one look

    def _turn(self) -> bool:
        """Look once; True while something is active or tried again."""
        now, aborted = boot_time(), self._log.aborted_at()
        records = self._log.unclosed()
        self._follow([record for record in records if record.state is not RecordState.UNREVERTABLE])
        for gone in self._again.keys() - {record.order.id for record in records}:
            del self._again[gone]
        for record in records:
            if record.order.id in self._busy:
                continue
            why = self._why(record, now, aborted)
            if why and self._may(record):
                self._revert(record, why)
        self._finish()
        return bool(self._busy) or any(self._waits_for(record) for record in records)

    def _why(self, record: FaultRecord, now: float, aborted: float) -> str:
        """Why it is to be reverted, empty while it is not, or while another is at it."""
        if record.state is RecordState.UNREVERTABLE:
            return "tried again"
        if record.state is RecordState.REVERTING:
            held = self._log.held(record, self._reverter.me, pid_alive)
            return "" if held else record.why or "its revert was broken off"
        why = due(record, now, aborted, self._lives(record)) or self._over(record)
        return why or ("the watchdog was told to end" if self._stop else "")

    def _may(self, record: FaultRecord) -> bool:
        """Whether it is time to try: what could not be reverted before rests for a while."""
        stuck = record.state is RecordState.UNREVERTABLE
        if stuck and record.order.id not in self._again:  # somebody else has just given up
            self._again[record.order.id] = 0, time.monotonic() + _AGAIN_AFTER
        tries, at = self._again.get(record.order.id, (0, 0.0))
        return time.monotonic() >= at and not (stuck and tries > _AGAIN)

    def _waits_for(self, record: FaultRecord) -> bool:
        """Whether it stays for the sake of this one."""
        tries = self._again.get(record.order.id, (0, 0.0))[0]
        stuck = record.state is RecordState.UNREVERTABLE
        if self._stop:  # told to end, it tries each once; the next start of the system comes back to the rest
            return not stuck and not tries
        return not stuck or tries <= _AGAIN

    def _over(self, record: FaultRecord) -> str:
        if record.state is not RecordState.ARMED:
            return ""  # its injector is at it
        try:
            return self._reverter.over(record)
        except ValueError as error:
            return f"its record is odd: {error}"

    def _revert(self, record: FaultRecord, why: str) -> None:
        self._busy[record.order.id] = self._pool.submit(self._reverter.revert, record, why, wait=False)

    def _finish(self) -> None:
        for fault_id, future in list(self._busy.items()):
            if not future.done():
                continue
            del self._busy[fault_id]
            error = future.exception()
            if error is not None:
                self._give_up_for_now(fault_id, f"{type(error).__name__}: {error}")
            elif future.result().state is RecordState.UNREVERTABLE:
                self._give_up_for_now(fault_id, future.result().why)
        for path, problem in self._log.unreadable() if len(self._told) < 100 else ():
            self._complain(f"{path}: {problem}")

    def _give_up_for_now(self, fault_id: str, problem: str) -> None:
        tries = self._again.get(fault_id, (0, 0.0))[0]
        pause = min(_AGAIN_AFTER * 2.0 ** min(tries, 10), _AGAIN_MOST)
        self._again[fault_id] = tries + 1, time.monotonic() + pause
        self._complain(f"{fault_id}: {problem}")

    # ------------------------------------------------------------ injectors

    def _follow(self, active: list[FaultRecord]) -> None:
        """Hold a handle on each injector, so that its end is seen at once and its pid is never another's."""
        wanted = {(record.tied, record.tied_start) for record in active if record.tied}
        for one in wanted - self._injectors.keys():
            try:
                handle = pidfd.open_verified(one[0], one[1], process_start_time)
            except OSError:
                continue  # an old kernel: /proc tells at each look
            if handle is not None:
                self._injectors[one] = handle
                self._poller.register(handle, select.POLLIN)
        for one in self._injectors.keys() - wanted:
            self._drop(one)

    def _lives(self, record: FaultRecord) -> bool:
        alive = pid_alive(record.tied, record.tied_start) if record.tied else True
        if not alive:
            self._drop((record.tied, record.tied_start))  # a handle that is ready would keep it from resting
        return alive

    def _drop(self, one: tuple[int, int]) -> None:
        handle = self._injectors.pop(one, -1)
        if handle >= 0:
            self._poller.unregister(handle)
            os.close(handle)

    # ------------------------------------------------------------ being the one

    def _take(self) -> bool:
        folder = self._data_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _HANDOVER
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:  # the one before may be about to leave
                    time.sleep(0.01)
                    continue
                os.close(self._lock)
                return False
            return True

    def _say(self, word: str) -> None:
        start = process_start_time(os.getpid()) or 0
        text = f"{os.getpid()} {start} {word}".ljust(64).encode()
        with suppress(OSError):  # the disk refuses: it watches all the same
            os.pwrite(self._lock, text, 0)

    def _leave(self) -> bool:
        """Say that nobody watches any more, unless something was planned in the meantime: whoever plans looks after."""
        self._say("leaving")
        if any(self._waits_for(record) for record in self._log.unclosed()):
            self._say(WATCHING)
            return False
        return True

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _complain(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            with suppress(OSError):  # the log is on the disk that may be the trouble
                os.write(sys.stderr.fileno(), f"{text}\n".encode())


def main(data_dir: Path) -> None:
    """Watch ``data_dir`` in this process."""
    Watchdog(data_dir.resolve()).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
