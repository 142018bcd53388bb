"""Reverts from any process, with nothing that has to run: by a person, and before a system stops (FLT-2)."""

from contextlib import suppress
from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults.request import FaultRecord, RecordState
from supervisors.faults.undo import FOLDER, UndoLog, boot_time
from supervisors.runtime import watching
from supervisors.runtime.reverting import Reverter


def emergency_stop(data_dir: Path, *, why: str = "emergency stop", by: str = "person") -> list[FaultRecord]:
    """Revert everything, and have every injector made before now refuse to go on.

    Needs nothing that runs: what is dead holds no fault. The watchdog is told, and does the same.

    Returns:
        The records as they ended; look for unrevertable ones.
    """
    folder = data_dir.resolve()
    log = UndoLog(folder / FOLDER)
    if not log.folder.exists():
        return []
    with suppress(OSError):  # the disk refuses; what follows goes without it
        log.abort(boot_time())
    reverter = Reverter(folder, log, by)
    try:
        return revert_found(log, reverter, None, why, by)
    finally:
        reverter.close()


def revert_faults(data_dir: Path, fault_id: str, *, why: str = "asked", by: str = "person") -> list[FaultRecord]:
    """Revert one fault, or all targets of one injection, from any process. The records as they ended.

    Raises:
        FaultError: there is no such fault (9019).
    """
    folder = data_dir.resolve()
    log = UndoLog(folder / FOLDER)
    reverter = Reverter(folder, log, by)
    try:
        return revert_found(log, reverter, fault_id, why, by)
    finally:
        reverter.close()


def end_faults(data_dir: Path) -> list[FaultRecord]:
    """Before a system stops, and before one starts: revert everything, also what could not be reverted before, and end
    the watchdog. The records as they ended.
    """
    folder = data_dir.resolve()
    log = UndoLog(folder / FOLDER)
    if not log.folder.exists():
        return []
    ended = emergency_stop(folder, why="the system stops", by="launcher") if log.unclosed() else []
    watching.end(folder)
    return ended


def revert_found(log: UndoLog, reverter: Reverter, fault_id: str | None, why: str, by: str) -> list[FaultRecord]:
    """Revert a fault, all targets of an injection, or (None) everything; the records as they ended.

    Raises:
        FaultError: there is no such fault (9019).
    """
    if fault_id is None:
        return reverter.revert_all(log.unclosed(), why, by=by)
    found = log.find(fault_id)
    if not found:
        raise FaultError(f"there is no fault {fault_id}", code=9019, fix="rayvisor inject active shows all")
    open_ = {record.order.id for record in found if record.state is not RecordState.REVERTED}
    ended = {
        record.order.id: record
        for record in reverter.revert_all([one for one in found if one.order.id in open_], why, by=by)
    }
    return [ended.get(record.order.id, record) for record in found]
