"""The watchdog as a process: deadline, death of the injector, emergency stop, its own death, and one at a time."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.faults.order import FaultOrder
from supervisors.faults.request import FaultRecord, FaultRequest, Hit, RecordState
from supervisors.runtime import watching
from supervisors.runtime.injecting import Injector
from supervisors.runtime.undoing import end_faults
from supervisors.runtime.watchdog import Watchdog, due
from supervisors.signals.proc import pid_alive, process_start_time, read_evidence
from supervisors.signals.verdicts import Evidence
from supervisors.state.disk import RealDisk

from .faulted import FakeSystem, until

_ROOT = Path(__file__).parents[3]
#: what a revert may take after its cause (FLT-2)
WITHIN = 1.0


def _request(seconds: float = 50.0) -> FaultRequest:
    return FaultRequest("delay", "/cell/a", seconds=seconds)


def _reverted(system: FakeSystem) -> dict[str, object]:
    event = until(lambda: system.trail("fault_reverted"), "reverted")[0]
    return {"t": event.t, **event.data}


def test_the_deadline(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        injection = injector.inject(_request(0.3))
    found = _reverted(system)
    assert found["ok"] is True
    assert (found["by"], found["why"]) == ("watchdog", "its time is over")
    assert 0.3 <= float(str(found["t"])) - injection.injected_at < 0.3 + WITHIN
    assert system.host("/cell/a").armed == {}


def test_the_injector_killed(system: FakeSystem) -> None:
    script = f"""
        import time
        from pathlib import Path
        from supervisors.faults.request import FaultRequest
        from supervisors.runtime.injecting import Injector
        injector = Injector(Path({str(system.data_dir)!r}))
        injector.inject(FaultRequest("delay", "/cell/a", seconds=50.0))
        print("armed", flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"armed\n"
        assert len(system.host("/cell/a").armed) == 1
        process.kill()
        killed = time.monotonic()
        found = _reverted(system)
    assert found["why"] == "its injector is gone"
    assert float(str(found["t"])) - killed < WITHIN
    assert system.host("/cell/a").armed == {}


def test_killed_itself_it_is_started_anew(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        injector.inject(_request(5.0))
    pid, start = watching.watcher(system.data_dir)
    assert pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not pid_alive(pid, start), "killed")
    watching.look_after(system.data_dir)  # on a slow machine the injector may have started a second one, too
    until(lambda: watching.watcher(system.data_dir)[0] not in (0, pid), "another one watches")
    assert _reverted(system)["by"] == "watchdog"


def test_nobody_is_started_for_nothing(system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []
    monkeypatch.setattr(watching, "begin", begun.append)
    watching.look_after(system.data_dir)
    assert begun == []


def test_one_at_a_time_and_it_ends_when_nothing_is_left(system: FakeSystem) -> None:
    watching.ensure(system.data_dir)
    first = watching.watcher(system.data_dir)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import pathlib, supervisors.runtime.watchdog as w; w.main(pathlib.Path({str(system.data_dir)!r}))",
        ],
        cwd=_ROOT,
        timeout=20,
        check=True,
    )
    assert done.returncode == 0
    assert watching.watcher(system.data_dir) in (first, (0, 0))
    until(lambda: not pid_alive(*first), "it ends by itself")
    assert watching.watcher(system.data_dir) == (0, 0)


def test_told_to_end_it_reverts_first(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        injector.inject(_request())
    pid, start = watching.watcher(system.data_dir)
    assert pid
    os.kill(pid, signal.SIGTERM)
    assert _reverted(system)["why"] == "the watchdog was told to end"
    until(lambda: not pid_alive(pid, start), "it ends")


def test_what_could_not_be_reverted_is_tried_again(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        system.host("/cell/a").stubborn = True
        injector.inject(_request(0.2))
    until(system.log.stuck, "it gave up for now", 30.0)
    system.host("/cell/a").stubborn = False
    until(lambda: not system.log.stuck() and system.log.done(), "reverted after all", 30.0)
    assert "still has it armed" in (system.log.folder / watching.LOG).read_text()


def test_what_somebody_else_could_not_revert_is_tried_again(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        injection = injector.inject(_request())
        system.host("/cell/a").stubborn = True
        injector._reverter._patience = 0.1
        assert injector.revert(injection.id)[0].state is RecordState.UNREVERTABLE
    system.host("/cell/a").stubborn = False
    until(system.log.done, "reverted after all")
    assert [(one.by, one.why) for one in system.log.done()] == [("watchdog", "tried again")]
    assert system.host("/cell/a").armed == {}


def test_a_revert_that_was_broken_off_is_gone_on_with(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        injection = injector.inject(_request())
    with subprocess.Popen(["sleep", "600"]) as process:
        start = process_start_time(process.pid) or 0
        system.log.claim(injection.id, (process.pid, start), pid_alive, "person", "asked")
        process.kill()
    until(system.log.done, "gone on with")
    assert [(one.by, one.why) for one in system.log.done()] == [("watchdog", "asked")]
    assert system.host("/cell/a").armed == {}


def test_the_end_of_a_system_undoes_what_was_stuck(system: FakeSystem) -> None:
    with Injector(system.data_dir, tied=False) as injector:
        injection = injector.inject(FaultRequest("stop", "/cell/b", seconds=50.0))
    hit = injection.records[0].hit
    # the watchdog is gone, and somebody has given up
    watchdog, start = watching.watcher(system.data_dir)
    assert watchdog
    os.kill(watchdog, signal.SIGKILL)
    until(lambda: not pid_alive(watchdog, start), "killed")
    system.log.close(injection.id, "injector", "asked; not reverted", ok=False, at=1.0)
    assert read_evidence(hit.pid, hit.start_time, None)[0] is Evidence.STOPPED
    assert [one.state for one in end_faults(system.data_dir)] == [RecordState.REVERTED]
    assert read_evidence(hit.pid, hit.start_time, None)[0] is not Evidence.STOPPED


@pytest.fixture
def dog(system: FakeSystem) -> Iterator[Watchdog]:
    made = Watchdog(system.data_dir)
    yield made
    made._pool.shutdown(wait=True)
    made._reverter.close()


def test_a_revert_that_raises_is_tried_again_after_a_rest(
    system: FakeSystem, dog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.log.plan(lambda active: [msgspec.structs.replace(_ARMED, planned_at=1.0, deadline=2.0, tied=0)])
    tried: list[str] = []

    def fails(record: FaultRecord, why: str, *, wait: bool) -> FaultRecord:
        tried.append(why)
        raise RuntimeError("odd")

    monkeypatch.setattr(dog._reverter, "revert", fails)
    until(lambda: dog._turn() and "f-1" in dog._again, "it raised")
    for _ in range(20):
        assert dog._turn(), "it stays for it"
    assert tried == ["its time is over"]
    tries, at = dog._again["f-1"]
    assert (tries, at > time.monotonic()) == (1, True)
    dog._again["f-1"] = tries, 0.0
    until(lambda: dog._turn() and dog._again["f-1"][0] == 2, "tried again")
    dog._stop = True
    assert not dog._turn(), "told to end, it does not stay for what it tried"


def test_a_disk_that_takes_no_word_does_not_end_it(
    system: FakeSystem, dog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stderr", full)
        dog._complain("the disk refuses")
    dog._lock = os.open("/dev/null", os.O_RDONLY)
    try:
        dog._say("watching")
    finally:
        os.close(dog._lock)


def test_the_folder_of_the_records_outlasts_a_power_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(RealDisk, "fsync_dir", lambda disk, folder: synced.append(folder))
    monkeypatch.setattr(subprocess, "run", lambda *args, **rest: None)
    watching.begin(tmp_path)
    assert (tmp_path / "faults").is_dir()
    assert tmp_path in synced


def test_a_watchdog_is_up_fast_and_imports_little(system: FakeSystem) -> None:
    code = "import supervisors.runtime.watchdog, sys; print({'ray', 'pydantic', 'loguru'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == "set()\n"


_PID, _START = os.getpid(), process_start_time(os.getpid()) or 0
_ARMED = FaultRecord(
    FaultOrder("f-1", "delay", "/a"),
    "host",
    Hit(),
    RecordState.ARMED,
    planned_at=100.0,
    deadline=110.0,
    tied=5,
    tied_start=1,
)


@pytest.mark.parametrize(
    ("fields", "now", "aborted", "lives", "why"),
    [
        ({}, 105.0, 0.0, True, ""),
        ({}, 110.0, 0.0, True, "its time is over"),
        ({}, 105.0, 0.0, False, "its injector is gone"),
        ({"tied": 0}, 105.0, 0.0, True, ""),
        ({}, 105.0, 104.0, True, "emergency stop"),
        ({}, 105.0, 99.0, True, ""),
        ({}, 50.0, 0.0, True, "the machine was started anew"),
        ({"state": RecordState.PLANNED}, 105.0, 0.0, True, ""),
        ({"state": RecordState.PLANNED}, 110.0, 0.0, True, "it was never armed"),
        ({"state": RecordState.PLANNED}, 105.0, 0.0, False, "its injector is gone"),
    ],
)
def test_when_a_revert_is_due(fields: dict[str, object], now: float, aborted: float, lives: bool, why: str) -> None:
    assert due(msgspec.structs.replace(_ARMED, **fields), now, aborted, lives) == why
