"""`rayvisor inject` on a real tree: each place a fault acts at, and that it always ends, whoever dies meanwhile."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from supervisors.faults.request import RecordState
from supervisors.faults.undo import UndoLog
from supervisors.runtime.faultplane import FaultPlane
from supervisors.runtime.watching import watcher
from supervisors.signals.proc import pid_alive, read_evidence
from supervisors.signals.verdicts import Evidence
from supervisors.trail.events import EventKind, TrailEvent

from .harness import Running, cli, spawn, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

#: seconds a revert may take after its cause (FLT-2), and what a loaded machine adds to the start of a new watchdog
WITHIN = 1.0
RESTARTED = 3.0

TOPOLOGY = """
system: faulty
spares: 2
metrics: {enabled: false}
environment: staging
faults:
  enabled: true
  max_targets: 4
  longest: 1m
  inject:
    - {fault: delay, path: /worker, params: {delay: 1ms}, for: 500ms}
defaults:
  child: {backoff: null, max_consecutive: null}
  supervisor: {backoff: null, max_consecutive: null, intensity: 1000, period: 10s}
tree:
  intensity: 1000
  children:
    - {id: worker, actor: "tests.ray.actors:Worker"}
    - {id: mute, actor: "tests.ray.inject_actors:Mute"}
    - id: cell
      children:
        - id: ledger
          actor: "examples.ledger:Ledger"
          config: {post_every: 0.005}
          recovery: {ladder: [warm, cold], checkpoint: {every: 500ms}}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("inject") / "data", TOPOLOGY)
    running.up()
    running.wait_up()
    try:
        yield running
    finally:
        running.close()
        cli("down", "--data-dir", str(running.data_dir), "--now")


def _inject(system: Running, *words: str, timeout: float = 90.0) -> "subprocess.CompletedProcess[str]":
    return cli("inject", *words, "--data-dir", str(system.data_dir), "--json", timeout=timeout)


def _reverted(system: Running, fault_id: str, within: float = 30.0) -> TrailEvent:
    def look() -> TrailEvent | None:
        events = system.trail()
        return next((e for e in events if e.kind == EventKind.FAULT_REVERTED and e.data.get("id") == fault_id), None)

    return until(look, f"{fault_id} reverted", within)


def _log(system: Running) -> UndoLog:
    return UndoLog(system.data_dir / "faults")


def _armed_ids(system: Running, path: str) -> list[str]:
    with FaultPlane("look") as plane:
        states = plane.armed(system.observer.endpoint(path), 20.0)
    assert states is not None
    return [state.order.id for state in states]


def test_a_declared_fault_is_injected_once_the_system_is_up(system: Running) -> None:
    event = system.event(EventKind.FAULT_INJECTED, "/worker", 0.0)
    assert event.data["fault"] == "delay"
    started = next(e for e in system.trail() if e.kind == EventKind.SYSTEM_STARTED)
    assert event.t >= started.t
    assert _reverted(system, str(event.data["id"])).data["ok"] is True


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("stop", "/worker", "--for", "200ms"), "process"),
        (("delay", "/worker", "--for", "300ms", "--param", "delay=20ms"), "host"),
        (("slow_start", "/cell/ledger", "--for", "300ms"), "standing"),
        (("lose_beats", "/worker", "--for", "200ms"), "supervisor"),
        (("corrupt_checkpoint", "/cell/ledger", "--for", "300ms"), "files"),
        (("burn_cpu", "/worker", "--for", "300ms", "--param", "workers=1"), "node"),
        (("mute", "/mute", "--for", "300ms"), "actor"),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else part,
)
def test_each_place_a_fault_acts_at_is_armed_reverted_and_healthy_again(
    system: Running, words: tuple[str, ...], where: str
) -> None:
    done = _inject(system, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["reverted"]
    assert result["not_healed"] == {}
    record = _log(system).find(result["id"])[0]
    assert record.where == where
    assert record.state is RecordState.REVERTED
    injected = next(e for e in system.trail() if e.data.get("id") == result["id"])
    assert injected.kind == EventKind.FAULT_INJECTED
    assert abs(injected.t - result["injected_at"]) < 0.1
    assert _reverted(system, result["id"]).data["ok"] is True
    assert result["id"] not in _armed_ids(system, words[1])


def test_a_fault_of_an_actors_own_is_over_once_the_actor_has_ended_it(system: Running) -> None:
    done = _inject(system, "stammer", "/mute", "--for", "300ms")
    assert done.returncode == 0, done.stdout + done.stderr
    assert _log(system).find(json.loads(done.stdout)["id"])[0].state is RecordState.REVERTED
    # its deadline came first in its process, where it failed: that was not taken for an end
    assert (system.ask("/mute", "ends"), system.ask("/mute", "speaks")) == (2, True)


def test_the_course_of_a_kill_is_shown(system: Running) -> None:
    done = _inject(system, "kill", "/worker")
    assert done.returncode == 0, done.stdout + done.stderr
    events = json.loads(done.stdout)["events"]
    course = ("first_signal", "verdict", "restart_decided", "recovered")
    # a new life that is silent for a moment while it starts may be suspected: that is a verdict as well
    told = [event for event in events if event["kind"] != "verdict" or event["text"] == "dead"]
    assert [event["kind"] for event in told if event["kind"] in course] == list(course)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("kil", "/worker"), "E9002"),
        (("slow_disk", "/worker"), "E9011"),
        (("mute", "/worker"), "E9007"),
        (("net_latency", "/worker"), "E9007"),
    ],
)
def test_bad_input_is_one_clear_error_and_nothing_is_armed(system: Running, words: tuple[str, ...], code: str) -> None:
    done = _inject(system, *words)
    assert done.returncode == 1
    assert code in done.stderr
    assert "fix:" in done.stderr
    assert _log(system).active() == []


def test_the_injector_killed_in_the_middle_is_reverted_within_a_second(system: Running) -> None:
    system.ready("/worker")
    process = spawn("inject", "delay", "/worker", "--for", "50s", "--data-dir", str(system.data_dir))
    try:
        record = until(lambda: next((r for r in _log(system).active() if r.state == "armed"), None), "armed")
        assert record.order.id in _armed_ids(system, "/worker")
    finally:
        process.kill()
        killed = time.monotonic()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    event = _reverted(system, record.order.id)
    assert event.t - killed < WITHIN
    assert event.data["by"] == "watchdog"
    assert event.data["why"] == "its injector is gone"
    assert record.order.id not in _armed_ids(system, "/worker")


def test_the_watchdog_killed_is_replaced_and_the_deadline_kept(system: Running) -> None:
    system.ready("/worker")
    done = _inject(system, "delay", "/worker", "--for", "4s", "--no-wait")
    assert done.returncode == 0, done.stdout + done.stderr
    injected = json.loads(done.stdout)
    first, start = watcher(system.data_dir.resolve())
    assert first
    os.kill(first, signal.SIGKILL)
    until(lambda: not pid_alive(first, start), "the watchdog is gone")
    second = until(lambda: watcher(system.data_dir.resolve())[0], "another watches")
    assert second != first
    event = _reverted(system, injected["id"])
    assert event.data["ok"] is True
    assert event.t - injected["injected_at"] < 4.0 + WITHIN


def test_injector_and_watchdog_killed_together(system: Running) -> None:
    child = system.ready("/worker")
    process = spawn(
        "inject", "burn_cpu", "/worker", "--param", "workers=1", "--for", "50s", "--data-dir", str(system.data_dir)
    )
    try:
        record = until(lambda: next((r for r in _log(system).active() if r.state == "armed"), None), "armed")
        helper = int(record.undo["helper"]), int(record.undo["helper_start"])
        os.kill(watcher(system.data_dir.resolve())[0], signal.SIGKILL)
    finally:
        process.kill()
        killed = time.monotonic()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert _reverted(system, record.order.id).t - killed < RESTARTED
    assert not pid_alive(*helper)
    assert system.ready("/worker").pid == child.pid


def test_the_emergency_stop_works_while_a_supervisor_is_stopped(system: Running) -> None:
    child = system.ready("/worker")
    ids = []
    for words in (("delay", "/worker"), ("stop", "/mute"), ("slow_start", "/cell/ledger")):
        done = _inject(system, *words, "--for", "50s", "--no-wait")
        assert done.returncode == 0, done.stdout + done.stderr
        ids.append(json.loads(done.stdout)["id"])
    stopped = system.supervisor_pid("/cell")
    os.kill(stopped, signal.SIGSTOP)
    try:
        done = _inject(system, "revert", "--all")
    finally:
        with suppress(ProcessLookupError):  # it was found hung, and replaced
            os.kill(stopped, signal.SIGCONT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _log(system).active() == []
    assert _log(system).stuck() == []
    for fault_id in ids:
        assert _reverted(system, fault_id).data["ok"] is True
    assert _armed_ids(system, "/worker") == []
    evidence, _ = read_evidence(child.pid, _log(system).find(ids[0])[0].hit.start_time, None)
    assert evidence is not Evidence.STOPPED
    until(lambda: system.ready("/cell/ledger"), "the cell is up again")


def test_down_reverts_everything_and_leaves_nothing(system: Running) -> None:
    """The last one: it ends the system."""
    system.ready("/cell/ledger")
    for words in (("burn_cpu", "/worker", "--param", "workers=1"), ("stop", "/mute"), ("slow_start", "/cell/ledger")):
        done = _inject(system, *words, "--for", "50s", "--no-wait")
        assert done.returncode == 0, done.stdout + done.stderr
    system.down()
    assert _log(system).active() == []
    assert _log(system).stuck() == []
    assert not watcher(system.data_dir.resolve())[0]
    reverted = [e for e in system.trail() if e.kind == EventKind.FAULT_REVERTED]
    assert all(event.data["ok"] for event in reverted)
    refused = _inject(system, "kill", "/worker")
    assert refused.returncode == 1
    assert "E9022" in refused.stderr
