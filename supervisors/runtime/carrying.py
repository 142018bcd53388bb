"""Carries out faults that are written down: by signal, over the plane, on files, by helper processes (FLT-1)."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from supervisors.core.errors import FaultError
from supervisors.core.paths import TreePath, parent_of
from supervisors.faults.order import FaultOrder, Hook
from supervisors.faults.request import FaultRecord
from supervisors.faults.undo import FOLDER, KEEP, UndoLog, boot_time
from supervisors.runtime import lateness
from supervisors.runtime.census import Census
from supervisors.runtime.faultplane import FaultPlane
from supervisors.runtime.helper import GO, REFUSED
from supervisors.runtime.reverting import HELPER, HELPER_START, SUPERVISOR
from supervisors.signals import pidfd
from supervisors.signals.fault_messages import FaultsNow
from supervisors.signals.proc import pid_alive, process_start_time, wait_gone
from supervisors.state.disk import REAL_DISK

#: seconds a process has to answer that a fault is armed; an actor's own may take 2 s
_ANSWER = 3.0
#: seconds a helper has to come up, and to say that it runs
_HELPER_UP, _HELPER_RUNS = 10.0, 5.0
#: what stands for SIGKILL where no signal reaches: the process ends itself
_EXIT_BY_KILL = 137
#: what signals and files refuse before anything is done: the target is gone, the signal is not allowed, the file is
#: another by now
_NOTHING_DONE = frozenset({9013, 9014, 9041})


class Carrier:
    """Carries out the faults of one injection at a time.

    Args:
        data_dir: of the system, resolved.
        log: its undo log, which holds the records already.
        plane: to arm by.
        census: to find supervisors by.
    """

    def __init__(self, data_dir: Path, log: UndoLog, plane: FaultPlane, census: Census) -> None:
        self._data_dir = data_dir
        self._log = log
        self._plane = plane
        self._census = census
        self._handles: dict[str, int] = {}
        self._pipes: dict[str, tuple[IO[bytes], IO[bytes]]] = {}
        #: ids of the present injection that acted, or of which nobody can say that they did not
        self._acted: set[str] = set()

    def prepare(self, records: Sequence[FaultRecord]) -> list[FaultRecord]:
        """Everything that can go wrong beforehand; does nothing to any target. The records with what undoing needs.

        Raises:
            FaultError: a target is on another machine (9012), is gone (9013), or its helper does not come up (9018); of
                what cannot be undone also: a target does not answer (9014), or would refuse.
        """
        self._acted.clear()
        found = [self._prepare(record) for record in records]
        if _by_plane(found) and found[0].order.most == 1:
            self._ask(found)
        return found

    def acted(self, fault_id: str) -> bool:
        """Whether a fault acted, as far as anybody can say: False only where it certainly did not."""
        return fault_id in self._acted

    def act(self, records: Sequence[FaultRecord]) -> None:
        """Do it, all at once as far as that goes.

        Raises:
            FaultError: a target died first (9013), does not answer (9014), or refuses; some may be hit then: see
                ``acted``.
        """
        if _by_plane(records):
            self._arm(records)
            return
        failed: FaultError | None = None
        for record in records:
            self._acted.add(record.order.id)
            try:
                self._do(record)
            except FaultError as error:
                if error.code in _NOTHING_DONE:
                    self._acted.discard(record.order.id)
                failed = error
                break
        if failed is not None:
            raise self._partial(records, failed)

    def _do(self, record: FaultRecord) -> None:
        match record.where:
            case "process":
                self._send(record)
            case "files":
                from supervisors.faults import files

                files.apply(record.order, record.undo, REAL_DISK)
            case _:
                self._go(record)

    def tidy(self) -> None:
        """Let go of what the last injection needed."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()
        for pipe in self._pipes.values():
            _close(pipe)  # a helper that was not told to go ends by this
        self._pipes.clear()

    # ------------------------------------------------------------ beforehand

    def _prepare(self, record: FaultRecord) -> FaultRecord:
        hit, order = record.hit, record.order
        match record.where:
            case "process":
                if not hit.local:
                    if order.kind == "kill" and order.params.get("signal") == "KILL":
                        return record
                    raise _elsewhere(record)
                handle = pidfd.open_verified(hit.pid, hit.start_time, process_start_time)
                if handle is None:
                    raise _gone(record)
                self._handles[order.id] = handle
            case "standing" | "supervisor":
                above = parent_of(TreePath(order.path))
                host = self._census.host_of(above)
                if host is None:
                    raise FaultError(f"no supervisor runs at {above} now", code=9013, fix="try again once it is back")
                values = (host.id, host.endpoint, str(host.pid), str(host.start_time))
                return self._note(record, dict(zip(SUPERVISOR, values, strict=True)))
            case "files":
                if not hit.local:
                    raise _elsewhere(record)
                from supervisors.faults import files

                # made by who fills it, durably: here it would be there already, and never synced
                keep = self._data_dir / FOLDER / KEEP / order.id
                return self._note(record, files.prepare(order, self._data_dir, keep, REAL_DISK))
            case "node":
                if not hit.local:
                    raise _elsewhere(record)
                pid, start = self._helper(order)
                return self._note(record, {HELPER: str(pid), HELPER_START: str(start)})
            case _:
                if hit.local and not pid_alive(hit.pid, hit.start_time):
                    raise _gone(record)
        return record

    def _note(self, record: FaultRecord, undo: dict[str, str]) -> FaultRecord:
        """Durable before anything is done by it."""
        changed = self._log.update(record.order.id, lambda now: msgspec.structs.replace(now, undo={**now.undo, **undo}))
        if changed is None:
            raise FaultError("it was reverted before it began", code=9016)
        return changed

    # ------------------------------------------------------------ signals

    def _send(self, record: FaultRecord) -> None:
        stop = record.order.kind == "stop"
        number = signal.SIGSTOP if stop else signal.Signals[f"SIG{record.order.text('signal')}"]
        if not pid_alive(record.hit.pid, record.hit.start_time):
            raise _gone(record)
        if not pidfd.send_signal(self._handles[record.order.id], number):
            raise FaultError(
                f"{number.name} to process {record.hit.pid} of {record.order.path} was refused",
                code=9014,
                fix="run as the user the system runs as",
            )

    # ------------------------------------------------------------ the plane

    def _arm(self, records: Sequence[FaultRecord]) -> None:
        orders = [self._wire(record) for record in records]
        self._acted.update(record.order.id for record in records)
        failed: list[FaultError] = []
        for record, answer in zip(records, self._plane.arm(orders, _ANSWER), strict=True):
            try:
                if answer is None:
                    self._unanswered(record)
                elif answer.code:
                    self._acted.discard(record.order.id)
                    raise _told(answer)
            except FaultError as error:
                failed.append(error)
        if failed:
            raise self._partial(records, failed[0])

    def _ask(self, records: Sequence[FaultRecord]) -> None:
        """Whether all would: what cannot be undone must not begin at one while another refuses."""
        answers = self._plane.would_arm([self._wire(record) for record in records], _ANSWER)
        for record, answer in zip(records, answers, strict=True):
            if answer is None:
                raise _gone(record) if record.hit.local and not pid_alive(*_asked(record)) else _silent(record)
            if answer.code:
                raise _told(answer)

    def _partial(self, records: Sequence[FaultRecord], why: FaultError) -> FaultError:
        """What to say when it failed at some: of what cannot be undone, whom it hit all the same."""
        hit = [record.order.path for record in records if record.order.id in self._acted]
        if records[0].order.most != 1 or not hit:
            return why
        return FaultError(
            f"{why.message}; {len(hit)} of {len(records)} are hit, or may be: {', '.join(hit)}",
            code=why.code,
            fix=why.fix,
        )

    def _unanswered(self, record: FaultRecord) -> None:
        pid, start = _asked(record)
        if not (record.hit.local and wait_gone(pid, start, 0.05)):
            raise _silent(record)
        if record.order.most != 1:
            raise _gone(record)
        # it ended by what was armed, before its answer was out

    def _wire(self, record: FaultRecord) -> tuple[str, FaultOrder]:
        order, hit = record.order, record.hit
        if record.where != "standing":  # that one is handed on to later lives, for as long as its record holds
            order = lateness.until(order, boot_time() + _ANSWER)
        if record.where in ("standing", "supervisor"):
            about = f"{order.path}@{hit.host}" if hit.standby else order.path
            return record.undo["sup_endpoint"], msgspec.structs.replace(order, about=about)
        if record.where == "process":  # on another machine, where no signal of ours goes
            params: dict[str, str | int | float | bool] = {"code": _EXIT_BY_KILL}
            return hit.endpoint, msgspec.structs.replace(order, kind="exit", params=params, hooks=(Hook.NOW,))
        return hit.endpoint, order

    # ------------------------------------------------------------ helpers

    def _helper(self, order: FaultOrder) -> tuple[int, int]:
        """A process that waits for its record to name it; pid and start time."""
        command = [sys.executable, "-m", "supervisors.runtime.helper", str(self._data_dir), order.id]
        try:
            with (
                (self._data_dir / FOLDER / "helper.log").open("ab") as output,
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, start_new_session=True
                ) as process,
            ):
                assert process.stdin is not None
                assert process.stdout is not None
                # it forks and its parent ends: nobody has to wait for it later
                copies = os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno())
        except OSError as error:
            raise FaultError(f"a helper process cannot be started: {error}", code=9018) from error
        pipes = self._pipes[order.id] = os.fdopen(copies[0], "wb", 0), os.fdopen(copies[1], "rb", 0)
        words = _line(pipes[1], _HELPER_UP).split()
        if len(words) != 3 or not (words[1].isdigit() and words[2].isdigit()):
            raise _helper_failed(order, self._data_dir)
        return int(words[1]), int(words[2])

    def _go(self, record: FaultRecord) -> None:
        order = record.order
        to, back = self._pipes[order.id]
        try:
            to.write(f"{GO}\n".encode())
        except OSError:
            self._acted.discard(order.id)
            raise _helper_failed(order, self._data_dir) from None
        line = _line(back, _HELPER_RUNS)
        word, _, rest = line.partition("\t")
        if word == REFUSED:
            self._acted.discard(order.id)
            code, _, rest = rest.partition("\t")
            message, _, fix = rest.partition("\t")
            raise FaultError(message, code=int(code) if code.isdigit() else 9018, fix=fix)
        if not line and not pid_alive(int(record.undo[HELPER]), int(record.undo[HELPER_START])):
            raise _helper_failed(order, self._data_dir)


def _line(pipe: IO[bytes], timeout: float) -> str:
    """One line, or what came of it in time."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    deadline, found = time.monotonic() + timeout, b""
    while not found.endswith(b"\n") and time.monotonic() < deadline:
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            break
        some = os.read(pipe.fileno(), 4096)
        if not some:
            break
        found += some
    return found.decode(errors="replace").strip("\n")


def _close(pipes: Iterable[IO[bytes]]) -> None:
    for pipe in pipes:
        with suppress(OSError):
            pipe.close()


def _helper_failed(order: FaultOrder, data_dir: Path) -> FaultError:
    return FaultError(
        f"the helper process for {order.kind} failed", code=9018, fix=f"see {data_dir / FOLDER / 'helper.log'}"
    )


def _by_plane(records: Sequence[FaultRecord]) -> bool:
    """Whether these are armed by the processes themselves."""
    where = records[0].where
    if where == "process":
        return not all(record.hit.local for record in records)
    return where not in ("files", "node")


def _asked(record: FaultRecord) -> tuple[int, int]:
    """Pid and start time of the process that is asked to arm it."""
    if record.where in ("standing", "supervisor"):
        return int(record.undo.get("sup_pid", "0")), int(record.undo.get("sup_start", "0"))
    return record.hit.pid, record.hit.start_time


def _told(answer: FaultsNow) -> FaultError:
    return FaultError(answer.error, code=answer.code, fix=answer.fix)


def _silent(record: FaultRecord) -> FaultError:
    return FaultError(
        f"process {_asked(record)[0]} of {record.order.path} does not answer: it hangs, or was stopped",
        code=9014,
        fix="rayvisor tree shows how it is; try again once it is well",
    )


def _gone(record: FaultRecord) -> FaultError:
    return FaultError(
        f"{record.order.path} died before it was hit: process {record.hit.pid} is gone",
        code=9013,
        fix="try again once its next life is ready",
    )


def _elsewhere(record: FaultRecord) -> FaultError:
    return FaultError(
        f"{record.order.path} runs on another machine: {record.order.kind} cannot reach it from here",
        code=9012,
        fix="inject it there, or choose a fault that is armed in the process, such as exit",
    )
