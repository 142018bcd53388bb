import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisors.signals import pidfd, proc
from supervisors.signals.proc import (
    SchedSample,
    kill_certain,
    memory_rss,
    pid_alive,
    process_start_time,
    read_evidence,
    wait_gone,
)
from supervisors.signals.verdicts import Evidence

from .hosts import LONG, until


@contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        start = process_start_time(process.pid)
        assert start is not None
        yield process, start
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


def sees(pid: int, start: int, wanted: Evidence) -> None:
    """Wait until two samples 50 ms apart say ``wanted``."""
    deadline = time.monotonic() + LONG
    found, sample = read_evidence(pid, start, None)
    seen = [found]
    while seen[-1] is not wanted:
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
        found, sample = read_evidence(pid, start, sample)
        seen.append(found)


def test_start_time_names_one_life() -> None:
    own = process_start_time(os.getpid())
    assert own is not None
    boot = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 < own / os.sysconf("SC_CLK_TCK") <= boot
    with running("sleep", "600") as (process, start):
        assert process_start_time(process.pid) == start > own
        assert pid_alive(process.pid, start)
        assert not pid_alive(process.pid, start + 1)
    assert process_start_time(process.pid) is None
    assert not pid_alive(process.pid, start)


def test_a_name_full_of_brackets() -> None:
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / "a) R 1 (b"
        shutil.copy("/bin/sleep", program)
        with running(str(program), "600") as (process, start):
            sees(process.pid, start, Evidence.SLEEPING)
            assert abs(start - (process_start_time(os.getpid()) or 0)) < 10_000_000


def test_evidence_of_a_sleeper_and_of_a_stopped_one() -> None:
    with running("sleep", "600") as (process, start):
        sees(process.pid, start, Evidence.SLEEPING)
        os.kill(process.pid, signal.SIGSTOP)
        sees(process.pid, start, Evidence.STOPPED)
        os.kill(process.pid, signal.SIGCONT)
        sees(process.pid, start, Evidence.SLEEPING)


def test_evidence_of_the_gone() -> None:
    with running("sleep", "600") as (process, start):
        assert read_evidence(process.pid, start + 1, None)[0] is Evidence.GONE, "another life"
        process.kill()
        sees(process.pid, start, Evidence.GONE)  # a zombie
    assert read_evidence(process.pid, start, None)[0] is Evidence.GONE


def test_evidence_of_a_busy_process() -> None:
    with running(sys.executable, "-c", "while True: pass") as (process, start):
        sees(process.pid, start, Evidence.RUNNING)


def test_a_busy_thread_beside_a_sleeping_main_thread_is_seen() -> None:
    code = "import threading, time\nthreading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()\ntime.sleep(600)"
    with running(sys.executable, "-c", code) as (process, start):
        sees(process.pid, start, Evidence.RUNNING)


def test_a_main_thread_that_ended_before_the_others_is_no_death() -> None:
    code = """
import ctypes, threading, time
ready = threading.Event()
def other():
    ready.set()
    time.sleep(600)
threading.Thread(target=other).start()
ready.wait()
print("x", flush=True)
ctypes.PyDLL(None).syscall(60 if __import__("platform").machine() == "x86_64" else 93, 0)
"""
    with running(sys.executable, "-c", code) as (process, start):
        assert process.stdout is not None
        process.stdout.readline()
        until(lambda: ") Z" in Path(f"/proc/{process.pid}/stat").read_text())
        assert pid_alive(process.pid, start)
        assert read_evidence(process.pid, start, None)[0] is not Evidence.GONE
        assert kill_certain(process.pid, start)
        assert wait_gone(process.pid, start, LONG)
        assert not pid_alive(process.pid, start)


@pytest.mark.skipif(shutil.which("stress-ng") is None, reason="needs stress-ng")
def test_evidence_of_a_starved_process() -> None:
    """One processor, shared by an eager crowd and by one process of the lowest rank: it hardly ever runs."""
    processor = min(os.sched_getaffinity(0))
    pin = ("taskset", "-c", str(processor))
    crowd = (*pin, "stress-ng", "--cpu", "3", "--cpu-method", "loop", "--timeout", "60s", "--quiet")
    idle = (*pin, "chrt", "--idle", "0", sys.executable, "-c", "while True: pass")
    with running(*idle) as (process, start):
        sees(process.pid, start, Evidence.RUNNING)
        with running(*crowd) as (stress, _):
            try:
                sees(process.pid, start, Evidence.STARVED)
            finally:
                stress.terminate()
                stress.wait(LONG)


def test_starvation_is_judged_by_what_the_scheduler_gave() -> None:
    second = 1_000_000_000
    old = SchedSample(second, 100, 100)

    def after(run: float, wait: float, runnable: bool) -> Evidence:
        new = SchedSample(2 * second, 100 + int(run * second), 100 + int(wait * second))
        return proc._compare(old, new, runnable)

    assert after(run=0.0, wait=0.0, runnable=True) is Evidence.STARVED, "queued, and the wait not yet booked"
    assert after(run=0.04, wait=0.0, runnable=True) is Evidence.STARVED
    assert after(run=0.05, wait=0.9, runnable=False) is Evidence.STARVED
    assert after(run=0.5, wait=0.5, runnable=True) is Evidence.RUNNING, "half of a processor is not starvation"
    assert after(run=0.9, wait=0.0, runnable=False) is Evidence.RUNNING
    assert after(run=0.001, wait=0.001, runnable=False) is Evidence.SLEEPING


def test_a_kill_is_certain_and_never_meets_another() -> None:
    with running("sleep", "600") as (process, start):
        assert kill_certain(process.pid, start + 1) is True, "that life is gone, which is all that was asked"
        assert pid_alive(process.pid, start)
        assert wait_gone(process.pid, start + 1, 0.0)
        assert not wait_gone(process.pid, start, 0.01)
        assert kill_certain(process.pid, start) is True
        assert wait_gone(process.pid, start, LONG)
        assert not pid_alive(process.pid, start)
        assert process.wait() == -signal.SIGKILL
    assert kill_certain(process.pid, start) is True
    assert wait_gone(process.pid, start, 0.0)


def test_a_stopped_process_can_be_killed() -> None:
    with running("sleep", "600") as (process, start):
        os.kill(process.pid, signal.SIGSTOP)
        sees(process.pid, start, Evidence.STOPPED)
        assert kill_certain(process.pid, start)
        assert wait_gone(process.pid, start, LONG)


def test_without_pidfds_nothing_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pidfd, "_PIDFD_OPEN", 100_000)
    with running("sleep", "600") as (process, start):
        assert kill_certain(process.pid, start) is False
        assert pid_alive(process.pid, start)
        assert not wait_gone(process.pid, start, 0.01)
        process.kill()
        assert wait_gone(process.pid, start, LONG)
        assert kill_certain(process.pid, start) is False


def test_memory() -> None:
    code = "x = bytearray(50_000_000); x[::4096] = b'1' * len(x[::4096]); print('x', flush=True); input()"
    with running(sys.executable, "-c", code) as (process, _):
        assert process.stdout is not None
        process.stdout.readline()
        size = memory_rss(process.pid)
        assert size is not None
        assert 50_000_000 < size < 90_000_000
    assert memory_rss(process.pid) is None


def test_evidence_is_cheap() -> None:
    """Asked each 50 ms of a silent peer: the median must stay far below that (measured 0.1 ms with few threads)."""
    own = process_start_time(os.getpid()) or 0
    spent = []
    for _ in range(50):
        before = time.perf_counter()
        read_evidence(os.getpid(), own, None)
        spent.append(time.perf_counter() - before)
    assert sorted(spent)[25] < 0.005
