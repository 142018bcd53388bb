"""The spare pool: what the root keeps ready, and what it ends because its maker is gone."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from supervisors.core.errors import LaunchError
from supervisors.runtime.spares import SparePool
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.runtime.supervisor import SupervisorShell
from supervisors.signals.proc import process_start_time
from supervisors.spec.compiled import SystemSpec
from supervisors.spec.compiled import encode as encode_spec
from supervisors.trail.events import EventKind

from .stage import Job


class Shell:
    """As much of the root supervisor as the pool asks for; threads do their work when told."""

    def __init__(self, folder: Path, spares: int) -> None:
        self.store = GoalStore(folder)
        self.jobs: list[Job] = []
        self.now = 100.0
        self.look: Job = lambda: None
        self.destroyed: list[str] = []
        self.made = 0
        self.fails = False
        self.trailed: list[tuple[EventKind, object]] = []
        self.soon: list[Job] = []
        self.machine = SimpleNamespace(ended=False, booted=False)
        self.system = SystemSpec("fake", spares=spares)
        self.boot = SimpleNamespace(plane_dir=str(folder))
        self.peers: dict[str, object] = {}
        self.loop = SimpleNamespace(
            now=lambda: self.now, every=self._every, call_soon=self.soon.append, call_later=lambda delay, job: 1
        )
        self.executor = SimpleNamespace(submit=self.jobs.append)
        self.factory = SimpleNamespace(destroy=self._destroy, create_many=self._create)
        self.trail = SimpleNamespace(write=lambda kind, path, **more: self.trailed.append((kind, more.get("data"))))
        self.log = SimpleNamespace(warning=lambda *words: None)

    def _every(self, interval: float, job: Job) -> None:
        self.look = job

    def _destroy(self, row: HostRow) -> None:
        self.destroyed.append(row.id)
        self.store.drop_host(row.id)

    def _create(self, count: int, made: Callable[[HostRow], None]) -> None:
        if self.fails:
            raise LaunchError("no", code=2031, fix="")
        self.made += count
        for number in range(count):
            row = HostRow(
                f"s{self.made - count + number}",
                "host-s",
                pid=os.getpid(),
                start_time=process_start_time(os.getpid()) or 0,
                state="spare",
                creator=os.getpid(),
            )
            self.store.add_host(row)
            made(row)

    def work(self) -> None:
        """The threads get their turn, then the plane's thread hears of it."""
        while self.jobs:
            self.jobs.pop(0)()
        while self.soon:
            self.soon.pop(0)()


def pool_of(shell: Shell) -> SparePool:
    return SparePool(cast(SupervisorShell, shell))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setattr("supervisors.runtime.spares.PlaneClient", lambda loop: None)
    made = Shell(tmp_path, spares=2)
    made.store.put(digest="d")
    made.store.declare({"system": encode_spec(made.system)})
    yield made
    made.store.close()


@pytest.fixture
def dead() -> int:
    """Pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def look(shell: Shell) -> None:
    shell.now += 1.0
    shell.look()


def test_the_pool_is_filled_and_not_more(shell: Shell) -> None:
    pool = pool_of(shell)
    pool.start()
    for _ in range(5):
        look(shell)
        shell.work()
    assert (shell.made, pool.ready) == (2, 2)


@pytest.mark.parametrize("path", ["", "/books/ledger"])
def test_a_host_whose_maker_died_is_ended_once(shell: Shell, dead: int, path: str) -> None:
    shell.store.add_host(HostRow("lost", "host-lost", creator=dead, path=path))
    pool_of(shell).start()
    look(shell)
    look(shell)
    shell.work()
    look(shell)
    shell.work()
    assert shell.destroyed == ["lost"]
    assert (EventKind.ORPHAN_ENDED, {"of": path, "host": "lost"}) in shell.trailed


def test_a_host_that_is_being_made_is_left_alone(shell: Shell, dead: int) -> None:
    shell.store.add_host(HostRow("mine", "host-mine", creator=os.getpid()))
    shell.store.add_host(HostRow("parents", "host-parents", creator=os.getppid()))
    shell.store.add_host(HostRow("there", "host-there", pid=dead, local=False, path="/far", state="claimed"))
    shell.store.add_host(HostRow("of-there", "host-of-there", creator=dead, path="/far/child"))
    pool_of(shell).start()
    look(shell)
    shell.work()
    assert shell.destroyed == []


def test_what_another_process_makes_for_the_pool_counts(shell: Shell) -> None:
    for number in range(2):
        shell.store.add_host(HostRow(f"coming{number}", "host-c", creator=os.getppid()))
    pool_of(shell).start()
    look(shell)
    shell.work()
    assert shell.made == 0


def test_a_failure_to_make_one_is_waited_out(shell: Shell) -> None:
    shell.fails = True
    pool_of(shell).start()
    look(shell)
    shell.work()
    shell.fails = False
    look(shell)
    shell.work()
    assert shell.made == 0
    shell.now += 5.0
    look(shell)
    shell.work()
    assert shell.made > 0
