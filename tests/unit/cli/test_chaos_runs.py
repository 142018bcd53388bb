"""What the commands of chaos share: Ctrl-C once and twice."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.cli import chaos_runs
from supervisors.cli.chaos_runs import interrupts


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """A test that fails leaves no handler behind."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_second_ctrl_c_waits_for_nothing_that_the_run_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = threading.Lock()
    got: list[bool] = []
    stopped = threading.Event()

    def stop(data_dir: Path, *, why: str) -> None:
        got.append(lock.acquire(timeout=10.0))
        lock.release()
        stopped.set()

    monkeypatch.setattr(chaos_runs, "emergency_stop", stop)
    said: list[str] = []
    with interrupts(tmp_path, said.append):
        with lock:  # as the run has that of the undo log, wherever it is interrupted
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(20.0)
    assert got == [True]
    assert said == ["interrupted", "interrupted"]


def test_a_run_does_not_end_before_its_emergency_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    done: list[str] = []

    def stop(data_dir: Path, *, why: str) -> None:
        assert goes_on.wait(20.0)
        done.append(why)

    monkeypatch.setattr(chaos_runs, "emergency_stop", stop)
    with interrupts(tmp_path, lambda why: None):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Timer(0.2, goes_on.set).start()
    assert done == ["interrupted twice"]


def test_the_first_ctrl_c_only_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(chaos_runs, "emergency_stop", lambda data_dir, *, why: done.append(why))
    said: list[str] = []
    with interrupts(tmp_path, said.append):
        os.kill(os.getpid(), signal.SIGINT)
    assert (said, done) == (["interrupted"], [])
