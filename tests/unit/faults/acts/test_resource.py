"""Memory, descriptors and threads are taken, and given back."""

import asyncio
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisors.core.clock import Clock
from supervisors.core.errors import FaultError
from supervisors.faults.acts.resource import ACTS
from supervisors.faults.board import Armed
from supervisors.faults.kinds import resource as kinds
from supervisors.faults.order import Scalar
from tests.actors.helpers import RealClock
from tests.unit.faults.network.orders import order


class Stage:
    """Runs threads; no loop."""

    clock: Clock = RealClock()
    path = "/a"
    data_dir = "/tmp"
    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def spawn(self, work: Callable[[], None], name: str) -> None:
        self.threads.append(threading.Thread(target=work, name=name, daemon=True))
        self.threads[-1].start()

    def plane_later(self, delay: float, callback: Callable[[], None]) -> None:
        raise NotImplementedError

    def crash(self, error: BaseException) -> None:
        raise NotImplementedError


def begin(kind: str, **params: Scalar) -> tuple[Armed, Stage, Callable[[], None]]:
    asked = order(kind, "f-1", probability=1.0, first=0, **params)
    armed = Armed(asked, time.monotonic() + 60, lambda armed: None, 0, 0)
    stage = Stage()
    began, used = time.monotonic(), time.thread_time()
    undo = ACTS[kind](armed, stage)
    quick = time.thread_time() - used < 0.05 and time.monotonic() - began < 1
    assert quick, "it is called in the thread that sends the beats"
    assert undo is not None

    def end() -> None:
        armed.end()
        undo()

    return armed, stage, end


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def threads() -> int:
    return sum(1 for thread in threading.enumerate() if thread.name == "fault")


def test_every_kind_with_an_act_has_one() -> None:
    assert set(ACTS) == {kind.name for kind in kinds.KINDS if kind.where == "host"}


def test_memory_is_resident_and_given_back() -> None:
    before = rss()
    _, stage, end = begin("hold_memory", size="64MB")
    stage.threads[0].join(10)
    assert 60e6 <= rss() - before <= 80e6
    end()
    assert rss() - before < 10e6


def test_memory_is_given_back_while_it_is_being_taken() -> None:
    before = rss()
    _, stage, end = begin("hold_memory", size="512MB")
    until(lambda: rss() - before > 8e6)
    end()
    stage.threads[0].join(20)
    assert not stage.threads[0].is_alive()
    assert rss() - before < 10e6


def test_more_memory_than_there_is_is_refused() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, hard))
    try:
        with pytest.raises(FaultError) as caught:
            begin("hold_memory", size="200MB")
        assert caught.value.code == 9057
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(("left", "found"), [(0, 2), (4, 4), (10, 10)])
def test_only_so_many_descriptors_are_left(left: int, found: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_before = descriptors()
    hole = os.open("/dev/null", os.O_RDONLY)
    above = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    os.close(hole)
    _, _, end = begin("use_descriptors", left=left)
    mine: list[int] = []

    def opened() -> int:
        mine.append(os.open("/dev/null", os.O_RDONLY))
        return 0

    try:
        with pytest.raises(OSError, match="Too many open files"):
            all(opened() == 0 for _ in range(100_000))
    finally:
        for file in (*mine, *above):
            os.close(file)
        end()
    assert len(mine) == found
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
    assert descriptors() == open_before


def test_a_limit_that_somebody_else_changed_is_left_alone() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, _, end = begin("use_descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    end()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft - 1, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_threads() -> None:
    _, stage, end = begin("use_threads", count=200)
    stage.threads[0].join(10)
    assert threads() == 200
    end()
    until(lambda: threads() == 0)


def test_threads_end_while_they_are_being_started() -> None:
    _, stage, end = begin("use_threads", count=20_000)
    until(lambda: threads() > 5)
    end()
    stage.threads[0].join(5)
    assert not stage.threads[0].is_alive()
    until(lambda: threads() == 0)
