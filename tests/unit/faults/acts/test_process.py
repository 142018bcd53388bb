"""Acts that end a process leave it alone once they were taken back: between the order and the act is a moment."""

import asyncio
import ctypes
import os
from collections.abc import Callable

import pytest

from supervisors.core.clock import Clock
from supervisors.faults.acts.process import ACTS
from supervisors.testing.clock import ManualClock
from tests.unit.faults.arming import Rig


class Stage:
    """Keeps what is to be done later."""

    path = "/a"
    data_dir = ""
    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self) -> None:
        self.clock: Clock = ManualClock(100.0)
        self.later: list[Callable[[], None]] = []

    def spawn(self, work: Callable[[], None], name: str) -> None:
        raise AssertionError("no thread is needed")

    def plane_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.later.append(callback)

    def crash(self, error: BaseException) -> None:
        raise AssertionError("nothing is raised")


@pytest.mark.parametrize("taken_back", [False, True])
@pytest.mark.parametrize("kind", ["exit", "segfault"])
def test_what_was_taken_back_does_not_act(kind: str, taken_back: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[object] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    monkeypatch.setattr(ctypes, "string_at", ends.append)
    rig, stage = Rig(), Stage()
    ACTS[kind](rig.arm(kind), stage)
    if taken_back:
        rig.end()
    for callback in stage.later:
        callback()
    assert len(ends) == (0 if taken_back else 1)
