"""The process that carries out a fault of the whole machine: ``python -m supervisors.runtime.helper DATA_DIR ID``.

It does nothing until its undo record names it and it is told to go: whoever started it may die at any moment. It ends
at its deadline, when its record is closed, and on SIGTERM; what it did it takes back itself where it can.
"""

import os
import sys

# before anything else is imported: whoever starts us waits for this and no longer, and need not wait for our end
if __name__ == "__main__" and os.fork():
    os._exit(0)

import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec

from supervisors.core.errors import RayvisorError
from supervisors.faults.request import FaultRecord, RecordState
from supervisors.faults.undo import FOLDER, UndoLog, boot_time
from supervisors.signals.proc import process_start_time

GO = "go"
RUNNING = "running"
#: what it writes when it must refuse, before the error's code, text and fix (tabs between)
REFUSED = "refused"
CONTEND = "contend"
#: seconds between two looks at the record
_LOOK = 0.5


def clean(record: FaultRecord, data_dir: Path) -> None:
    """Take back what a helper that was killed has left; doing it twice is no error."""
    from supervisors.faults import node

    if record.order.kind != CONTEND:
        node.clean(record.order, data_dir)
        return
    from supervisors.faults import contender
    from supervisors.runtime.contending import contest_in

    contest = contest_in(record)
    if contest is not None:
        contender.clean(record.order, data_dir, contest)


def probe(record: FaultRecord, data_dir: Path) -> bool:
    """True when nothing is left of it."""
    from supervisors.faults import node

    if record.order.kind != CONTEND:
        return node.probe(record.order, data_dir)
    from supervisors.faults import contender
    from supervisors.runtime.contending import contest_in

    contest = contest_in(record)
    return contest is None or contender.probe(record.order, data_dir, contest)


def _run(log: UndoLog, record: FaultRecord, data_dir: Path, stop: Callable[[], bool]) -> None:
    order = record.order
    if order.kind == CONTEND:
        from supervisors.faults import contender
        from supervisors.runtime.contending import contest_of, noted

        contest = contest_of(data_dir, order.path)
        # durable before the rival asks for the first time; what is being reverted already only ends
        if log.update(order.id, lambda now: msgspec.structs.replace(now, undo=noted(now.undo, contest))) is not None:
            contender.run(order, data_dir, contest, stop)
    else:
        from supervisors.faults import node

        node.run(order, data_dir, stop)


class _Stop:
    """Says when to end; says to its maker, once it is first asked, that the fault is there."""

    def __init__(self, log: UndoLog, record: FaultRecord) -> None:
        self._log = log
        self._record = record
        self._told = False
        self._next = 0.0
        self.asked = False

    def signalled(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __call__(self) -> bool:
        if not self._told:
            self._told = True
            _say(RUNNING)
        now = boot_time()
        if not self.asked and now >= self._next:
            self._next = now + _LOOK
            record = self._log.get(self._record.order.id)
            closed = record is None or record.state not in (RecordState.PLANNED, RecordState.ARMED)
            self.asked = closed or now >= (record.deadline if record is not None else 0.0)
        return self.asked


def _say(*words: str) -> None:
    try:
        sys.stdout.write("\t".join(words).replace("\n", " ") + "\n")
        sys.stdout.flush()
    except OSError:
        return  # nobody listens any more: the record says all that is needed


def main(data_dir: Path, fault_id: str) -> int:
    """Carry out the fault of a record; returns the exit status."""
    log = UndoLog(data_dir / FOLDER)
    _say("ready", str(os.getpid()), str(process_start_time(os.getpid()) or 0))
    if sys.stdin.readline().strip() != GO:
        return 1
    record = log.get(fault_id)
    if record is None:
        return 1
    stop = _Stop(log, record)
    signal.signal(signal.SIGTERM, stop.signalled)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _run(log, record, data_dir, stop)
    except RayvisorError as error:
        _say(REFUSED, str(error.code), error.message, error.fix)
        return 1
    except (OSError, sqlite3.Error) as error:
        _say(REFUSED, "9018", f"{type(error).__name__}: {error}", "")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
