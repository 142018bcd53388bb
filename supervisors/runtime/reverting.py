"""Undoes a fault and looks whether it is gone, for each place a fault acts at (FLT-2).

The same code for whoever reverts: the injector, the watchdog, a person's emergency stop. Everything here may be done
twice, by two, and after a crash in the middle: a fault counts as reverted only when its probe saw it gone.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import msgspec

from supervisors.core.clock import Clock
from supervisors.core.errors import LaunchError
from supervisors.core.paths import TreePath, failure_id, parent_of
from supervisors.faults.order import ArmedState
from supervisors.faults.request import FaultRecord, RecordState
from supervisors.faults.undo import FOLDER, UndoLog
from supervisors.runtime import strays
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.faultplane import FaultPlane
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals import pidfd
from supervisors.signals.proc import pid_alive, process_start_time, read_evidence, wait_gone
from supervisors.signals.verdicts import Evidence
from supervisors.state.disk import REAL_DISK
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter

#: seconds one fault is tried for before it counts as one that cannot be reverted
PATIENCE = 8.0
#: seconds between tries: the first ones follow at once, for a process that just ends
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4)
#: seconds a process has to answer one question; of an actor's own fault it answers once the actor has ended it, or has
#: not (2.5 s at the most: see ``ownfaults``)
_ANSWER, _OWN_ANSWER = 0.5, 3.0
#: keys in ``FaultRecord.undo``: the supervisor a fault was armed at, and the helper that carries it out
SUPERVISOR = ("sup_host", "sup_endpoint", "sup_pid", "sup_start")
HELPER, HELPER_START = "helper", "helper_start"

#: tries once: None when the fault was seen to be gone, else what is in the way
_Try = Callable[[FaultRecord], str | None]


class Reverter:
    """Reverts faults of one data directory. Thread-safe.

    Args:
        data_dir: of the system, resolved.
        log: its undo log.
        by: who reverts: injector, watchdog, person.
        plane: to ask processes by; None: one of its own.
        clock: monotonic time.
        patience: seconds one fault is tried for.
    """

    def __init__(
        self,
        data_dir: Path,
        log: UndoLog,
        by: str,
        *,
        plane: FaultPlane | None = None,
        clock: Clock | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._data_dir = data_dir
        self._log = log
        self._by = by
        self._own_plane = plane is None
        self._plane = plane or FaultPlane("revert")
        self._clock = clock or SystemClock()
        self._patience = patience
        self._trail = TrailWriter(data_dir / "trail", by, self._clock)
        self.me = os.getpid(), process_start_time(os.getpid()) or 0

    def close(self) -> None:
        """End what was started here."""
        if self._own_plane:
            self._plane.close()
        self._trail.close()

    # ------------------------------------------------------------ reverting

    def revert_all(self, records: Iterable[FaultRecord], why: str, *, by: str = "") -> list[FaultRecord]:
        """Revert several at once: none waits for another that takes long. As they ended, in their order."""
        those = list(records)
        if len(those) <= 1:
            return [self.revert(record, why, by=by) for record in those]
        with ThreadPoolExecutor(min(16, len(those)), "revert") as pool:
            return list(pool.map(lambda record: self.revert(record, why, by=by), those))

    def revert(
        self, record: FaultRecord, why: str, *, by: str = "", acted: bool = True, wait: bool = True
    ) -> FaultRecord:
        """Undo one fault and see it gone; tried for ``patience`` seconds. Never raises for what stands in the way.

        An undo log that cannot be written keeps nothing from being undone; it is said in ``why``, and the fault counts
        as one that is not reverted until that can be written down. Broken off by ``KeyboardInterrupt`` and the like,
        the record stays as one that is being reverted, for whoever comes next.

        Args:
            record: of the log.
            why: for what reason.
            by: who, where it is not this reverter's own name.
            acted: False: it was refused, and never did anything.
            wait: while somebody else reverts it, wait for how that ends.

        Returns:
            The record as it ended: reverted, or unrevertable with what stood in the way in ``why``.
        """
        fault_id, who = record.order.id, by or self._by
        deadline = time.monotonic() + self._patience
        try:
            while (mine := self._log.claim(fault_id, self.me, pid_alive, who, why)) is None:
                now = self._log.get(fault_id) or record
                closed = now.state in (RecordState.REVERTED, RecordState.UNREVERTABLE)
                if closed or not wait or time.monotonic() > deadline:
                    return now
                time.sleep(0.02)
        except OSError:  # closing it will say so: undoing comes first
            mine = self._log.get(fault_id) or record
            if mine.state is RecordState.REVERTED:
                return mine
        try:
            problem = self._try_on(mine, time.monotonic() + self._patience)
        except BaseException:
            with suppress(OSError):  # the claim runs out by itself
                self._log.release(fault_id)
            raise
        return self._close(mine, who, why, problem, acted=acted)

    def undo_now(self, record: FaultRecord) -> str | None:
        """Undo one without the log, which has it closed already; None, or what stands in the way."""
        # what a helper noted since it was told to go is in the log only
        now = self._log.get(record.order.id) or record
        return self._try_on(now, time.monotonic() + self._patience)

    def over(self, record: FaultRecord) -> str:
        """Why a fault is over by itself, empty while it is not: what it was about is gone. Cheap; local only."""
        hit, undo = record.hit, record.undo
        gone = hit.local and hit.pid and not pid_alive(hit.pid, hit.start_time)
        match record.where:
            case "process" | "host" | "actor":
                return "its process is gone" if gone else ""
            case "supervisor":
                if gone and record.order.most == 1:
                    return "it acted, and the process is gone"
                pid, start = undo.get("sup_pid", ""), undo.get("sup_start", "0")
                lost = hit.local and pid and not pid_alive(int(pid), int(start))
                return "the supervisor's process is gone" if lost else ""
            case "node":
                pid, start = undo.get(HELPER, ""), undo.get(HELPER_START, "0")
                lost = pid and not pid_alive(int(pid), int(start))
                return "its helper is gone" if lost else ""
            case _:
                return ""

    def _try_on(self, record: FaultRecord, deadline: float) -> str | None:
        one = self._tries.get(record.where)
        if one is None:
            return f"nobody knows how to undo {record.where!r}"
        tries = 0
        while True:
            problem = _tried(one, record)
            if problem is None or time.monotonic() >= deadline:
                return problem
            time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1

    def _close(self, record: FaultRecord, who: str, why: str, problem: str | None, *, acted: bool) -> FaultRecord:
        now, order = self._clock.monotonic(), record.order
        text = why if problem is None else f"{why}; not reverted: {problem}"
        try:
            closed = self._log.close(order.id, who, text, ok=problem is None, at=now)
        except OSError as error:
            text = f"{why}; it was undone" if problem is None else text
            text = f"{text}; not written down: {self._log.folder}: {error.strerror or error}"
            return msgspec.structs.replace(record, state=RecordState.UNREVERTABLE, by=who, why=text, reverted_at=now)
        if closed is None:
            return self._log.get(order.id) or record
        if problem is None and record.where == "files":
            _remove(self._data_dir / FOLDER / "keep" / order.id)
        data: dict[str, str | int | float | bool | None] = {
            "id": order.id,
            "fault": order.kind,
            "ok": problem is None,
            "ms": round((now - record.injected_at) * 1000, 3) if record.injected_at else 0.0,
            "by": who,
            "why": text,
            "run": order.run,
        }
        if not acted:
            data["acted"] = False
        life = record.hit.incarnation
        failure = failure_id(order.path, life) if life else ""
        self._trail.write(EventKind.FAULT_REVERTED, order.path, life, failure=failure, data=data)
        return closed

    # ------------------------------------------------------------ each place

    @cached_property
    def _tries(self) -> dict[str, _Try]:
        return {
            "process": self._process,
            "host": self._host,
            "actor": self._host,
            "standing": self._standing,
            "supervisor": self._supervisor,
            "files": self._files,
            "node": self._node,
        }

    def _process(self, record: FaultRecord) -> str | None:
        hit = record.hit
        if record.order.kind != "stop" or not hit.local:
            return None  # a signal that ends a process leaves nothing behind
        handle = pidfd.open_verified(hit.pid, hit.start_time, process_start_time)
        if handle is None:
            return None
        try:
            if not pidfd.send_signal(handle, signal.SIGCONT):
                return f"SIGCONT was refused by process {hit.pid}"
        finally:
            os.close(handle)
        evidence, _ = read_evidence(hit.pid, hit.start_time, None)
        return f"process {hit.pid} is still stopped" if evidence is Evidence.STOPPED else None

    def _host(self, record: FaultRecord) -> str | None:
        hit, patience = record.hit, _OWN_ANSWER if record.where == "actor" else _ANSWER
        return self._disarm(record.order.id, hit.host, hit.endpoint, hit.pid, hit.start_time, patience, local=hit.local)

    def _supervisor(self, record: FaultRecord) -> str | None:
        host, endpoint, pid, start = (record.undo.get(key, "") for key in SUPERVISOR)
        if not endpoint:
            return None  # it never came so far
        local = record.hit.local
        return self._disarm(record.order.id, host, endpoint, int(pid or 0), int(start or 0), local=local)

    def _standing(self, record: FaultRecord) -> str | None:
        """At the supervisor as it was and as it is, and in the present life: each may have been told."""
        # whatever becomes of one, the others are told
        problems = [_tried(one, record) for one in (self._supervisor, self._later, self._host)]
        return next((problem for problem in problems if problem is not None), None)

    def _later(self, record: FaultRecord) -> str | None:
        """At whoever came after the supervisor and the life that the record names."""
        order = record.order
        problems: list[str | None] = []
        try:
            for path in (parent_of(TreePath(order.path)), order.path):
                row = self._host_at(path)
                if row is not None and row.id not in (record.undo.get("sup_host"), record.hit.host):
                    host, end, pid, start = row.id, row.endpoint, row.pid, row.start_time
                    problems.append(self._disarm(order.id, host, end, pid, start, local=row.local))
        except (sqlite3.Error, LaunchError) as error:
            if self._anybody_lives(record):
                problems.append(f"who came after them is not known, the goal state cannot be read: {error}")
        return next((problem for problem in problems if problem is not None), None)

    def _anybody_lives(self, record: FaultRecord) -> bool:
        """Whether a process of the system may hold it, as far as that can be seen without the goal state."""
        return not record.hit.local or bool(strays.stray_processes(self._data_dir, set()))

    def _files(self, record: FaultRecord) -> str | None:
        from supervisors.faults import files

        undo = record.undo
        if not any(key not in (*SUPERVISOR, "claim") for key in undo):
            return None  # nothing was copied yet, so nothing was changed
        files.undo(record.order, undo, REAL_DISK)
        return None if files.probe(record.order, undo, REAL_DISK) else "the files are not what they were"

    def _node(self, record: FaultRecord) -> str | None:
        from supervisors.runtime import helper

        pid, start = int(record.undo.get(HELPER, "0")), int(record.undo.get(HELPER_START, "0"))
        if pid and not _end(pid, start):
            return f"helper {pid} does not end"
        if not pid:
            return None  # a helper does nothing before its record names it
        helper.clean(record, self._data_dir)
        return None if helper.probe(record, self._data_dir) else "something of it is left"

    # ------------------------------------------------------------ help

    def _disarm(
        self, fault_id: str, host: str, endpoint: str, pid: int, start: int, timeout: float = _ANSWER, *, local: bool
    ) -> str | None:
        if not endpoint or (local and pid and not pid_alive(pid, start)):
            return None
        left = self._plane.disarm(endpoint, fault_id, timeout)
        if left is None:
            if (local and not pid_alive(pid, start)) or (not local and self._row(host) is None):
                self._plane.forget(endpoint)
                return None
            return f"process {pid} does not answer"
        if left.code:
            return f"process {pid}: {left.error} (E{left.code})"
        if not _holds(left.states, fault_id):
            return None
        return f"process {pid} still has it armed"

    def _host_at(self, path: str) -> HostRow | None:
        with self._goals() as store:
            place = store.place(path)
            return store.host(place.host) if place is not None and place.host else None

    def _row(self, host: str) -> HostRow | None:
        with self._goals() as store:
            return store.host(host)

    def _goals(self) -> "_Goals":
        return _Goals(self._data_dir)


class _Goals:
    """The goal state for one question: threads come and go here, and each has a connection of its own."""

    def __init__(self, data_dir: Path) -> None:
        self._store = GoalStore(data_dir)

    def __enter__(self) -> GoalStore:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


def _holds(states: list[ArmedState], fault_id: str) -> bool:
    return any(state.order.id == fault_id for state in states)


def _tried(one: _Try, record: FaultRecord) -> str | None:
    try:
        return one(record)
    except Exception as error:  # noqa: BLE001 - whatever stands in the way is told, and tried again
        return f"{type(error).__name__}: {error}"


def _end(pid: int, start: int) -> bool:
    """End a helper and see it gone: asked first, so that it cleans up."""
    for number, seconds in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0)):
        handle = pidfd.open_verified(pid, start, process_start_time)
        if handle is None:
            return True
        try:
            pidfd.send_signal(handle, signal.SIGCONT)
            pidfd.send_signal(handle, number)
        finally:
            os.close(handle)
        if wait_gone(pid, start, seconds):
            return True
    return not pid_alive(pid, start)


def _remove(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
