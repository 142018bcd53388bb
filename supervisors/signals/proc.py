"""What Linux tells of a process through ``/proc`` and pidfds.

A process is named by its pid **and** its start time (field 22 of ``/proc/<pid>/stat``, clock ticks since boot): a pid
alone may have been given to another process since. Nothing here ever signals a process without that check.
"""

import os
import select
import signal
import time
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from supervisors.signals import pidfd
from supervisors.signals.verdicts import Evidence

#: ``/proc/<pid>/stat`` states: stopped by a signal, stopped by a tracer
_STOPPED = frozenset("Tt")
_ENDED = frozenset("ZXx")
#: samples nearer to each other than this tell nothing of starvation, nanoseconds
_LEAST_SPAN_NS = 10_000_000
#: threads looked at in one sample: bounds its cost to about 1 ms
_MOST_TASKS = 128
_PAGE = os.sysconf("SC_PAGE_SIZE")


class SchedSample(NamedTuple):
    """What the scheduler had given all threads of a process together at ``at`` (all in nanoseconds)."""

    at: int  #: monotonic
    run: int  #: time on a processor
    wait: int  #: time spent runnable and not running; a wait that still lasts is not in it yet


class _Stat(NamedTuple):
    state: str
    threads: int
    start_time: int


def process_start_time(pid: int) -> int | None:
    """When ``pid`` was started, in clock ticks since boot; None when there is no such process."""
    stat = _read_stat(f"/proc/{pid}/stat")
    return None if stat is None else stat.start_time


def pid_alive(pid: int, start_time: int) -> bool:
    """True while exactly this process runs. A zombie whose threads all ended is not alive."""
    stat = _read_stat(f"/proc/{pid}/stat")
    return stat is not None and stat.start_time == start_time and not _has_ended(stat)


def read_evidence(pid: int, start_time: int, previous: SchedSample | None) -> tuple[Evidence, SchedSample]:
    """Say what the process is doing, for ``PeerVerdict.tick`` (0.1-1 ms, by its number of threads).

    Args:
        pid: the process, on this machine.
        start_time: what ``process_start_time`` gave for it.
        previous: the sample of the last call, or None. Without one, starvation cannot be told.

    Returns:
        The evidence, and the sample to give the next time. ``STARVED`` means: since ``previous``, threads that
        wanted to run had waited four times as long as all threads ran, or stood in the queue with (almost) nothing.
    """
    now = time.monotonic_ns()
    stat = _read_stat(f"/proc/{pid}/stat")
    if stat is None or stat.start_time != start_time or _has_ended(stat):
        return Evidence.GONE, SchedSample(now, 0, 0)
    if stat.state in _STOPPED:
        return Evidence.STOPPED, previous or SchedSample(now, 0, 0)
    tasks = _tasks(pid)
    run, wait = _schedstat(pid, tasks)
    sample = SchedSample(now, run, wait)
    if not tasks:
        return Evidence.UNKNOWN, sample
    runnable = stat.state == "R" or _any_runnable(pid, tasks)
    if previous is None or previous.run == 0 or now - previous.at < _LEAST_SPAN_NS:
        return Evidence.RUNNING if runnable else Evidence.SLEEPING, sample
    return _compare(previous, sample, runnable), sample


def kill_certain(pid: int, start_time: int) -> bool:
    """SIGKILL exactly this process; True when it is gone or was told to go. Never touches a reused pid.

    False: it could not be made certain (another user's process, or the kernel is older than 5.3).
    """
    try:
        handle = pidfd.open_verified(pid, start_time, process_start_time)
    except OSError:
        return False
    if handle is None:
        return True
    try:
        return pidfd.send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)


def wait_gone(pid: int, start_time: int, timeout: float) -> bool:
    """Wait until this process has ended altogether: its files, locks and ports are free then (timeout in seconds)."""
    deadline = time.monotonic() + timeout
    try:
        handle = pidfd.open_verified(pid, start_time, process_start_time)
    except OSError:
        handle = -1
    if handle is None:
        return True
    if handle < 0:
        return _poll_gone(pid, start_time, deadline)
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(handle)


def memory_rss(pid: int) -> int | None:
    """Resident memory of ``pid`` in bytes, shared pages included; None when there is no such process."""
    text = _read(f"/proc/{pid}/statm")
    return int(text.split()[1]) * _PAGE if text else None


def _poll_gone(pid: int, start_time: int, deadline: float) -> bool:
    while pid_alive(pid, start_time):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.002)
    return True


def _compare(old: SchedSample, new: SchedSample, runnable: bool) -> Evidence:
    span, ran, waited = new.at - old.at, max(0, new.run - old.run), max(0, new.wait - old.wait)
    if waited > span // 4 and waited > 4 * ran:
        return Evidence.STARVED
    if runnable and ran * 20 < span:
        # the kernel adds a wait only when it ends, so the running one shows as a queued thread that did not run
        return Evidence.STARVED
    return Evidence.RUNNING if runnable or ran * 50 > span else Evidence.SLEEPING


def _has_ended(stat: _Stat) -> bool:
    # a main thread may end before the others: then it shows as a zombie while the process still runs
    return stat.state in _ENDED and stat.threads <= 1


def _tasks(pid: int) -> list[str]:
    with suppress(OSError), os.scandir(f"/proc/{pid}/task") as entries:
        return [entry.name for entry in islice(entries, _MOST_TASKS)]
    return []


def _schedstat(pid: int, tasks: list[str]) -> tuple[int, int]:
    run = wait = 0
    for task in tasks:
        fields = _read(f"/proc/{pid}/task/{task}/schedstat").split()
        if len(fields) >= 2:
            run += int(fields[0])
            wait += int(fields[1])
    return run, wait


def _any_runnable(pid: int, tasks: list[str]) -> bool:
    for task in tasks:
        stat = _read_stat(f"/proc/{pid}/task/{task}/stat")
        if stat is not None and stat.state == "R":
            return True
    return False


def _read_stat(path: str) -> _Stat | None:
    # the name in brackets may hold spaces and brackets itself: fields are counted from the last one
    fields = _read(path).rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[17]), int(fields[19])) if len(fields) > 19 else None


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 4096).decode("ascii", "replace")
    except OSError:  # it ended between the two calls
        return ""
    finally:
        os.close(descriptor)
