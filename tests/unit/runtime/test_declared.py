"""Faults the topology declares: each at its time, whether another is refused or not, until the launcher ends."""

import threading
import time
from pathlib import Path

from supervisors.faults.request import FaultRequest
from supervisors.runtime.declared import inject_declared, request_of
from supervisors.spec.compiled import DeclaredFault, FaultsSpec

from .faulted import FakeSystem, until


def test_a_declared_fault_asks_for_all_that_was_written() -> None:
    declared = DeclaredFault("delay", "/a", {"delay": "1s"}, 3.0, 4.0, 0.5, 2, 9)
    assert request_of(declared) == FaultRequest("delay", "/a", {"delay": "1s"}, 4.0, 0.5, 2, 9)


def test_each_at_its_time_and_all_end_with_the_launcher(system: FakeSystem) -> None:
    declared = (
        DeclaredFault("delay", "/cell/b", after=0.3, seconds=50.0),
        DeclaredFault("delay", "/cell/nobody"),
        DeclaredFault("delay", "/cell/a", seconds=50.0),
    )
    said: list[str] = []
    ended = threading.Event()
    arguments = (system.data_dir, FaultsSpec(True, inject=declared), ended, said.append)
    thread = threading.Thread(target=inject_declared, args=arguments)
    began = time.monotonic()
    thread.start()
    try:
        until(lambda: len(said) == 3, "all were tried")
    finally:
        ended.set()
        thread.join(20.0)
    assert "was not injected: [E9006]" in said[0]
    assert "injected delay at /cell/a" in said[1]
    assert "injected delay at /cell/b" in said[2]
    assert system.trail("fault_injected")[1].t - began >= 0.3
    assert system.host("/cell/a").armed == system.host("/cell/b").armed == {}


def test_those_that_are_not_due_yet_are_left_out_when_it_ends(system: FakeSystem) -> None:
    ended = threading.Event()
    ended.set()
    said: list[str] = []
    inject_declared(system.data_dir, FaultsSpec(True, inject=(DeclaredFault("kill", "/cell/a"),)), ended, said.append)
    assert said == []
    assert system.process("/cell/a").poll() is None


def test_a_system_that_is_not_there_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    inject_declared(tmp_path, FaultsSpec(True), threading.Event(), said.append)
    assert "E9022" in said[0]
