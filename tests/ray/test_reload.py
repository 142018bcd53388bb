"""TOP-5: ``diff`` shows and ``apply`` changes a running tree; what does not change keeps its process."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.runtime.reload import Operator
from supervisors.runtime.store import GoalStore
from supervisors.signals.proc import process_start_time
from supervisors.trail.events import EventKind, TrailEvent

from .harness import Running, cli, gone, spawn, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

_PART = 'actor: "tests.ray.reload_actors:Part"'
_HEAD = """\
system: reload
spares: 2
metrics: {enabled: false}
"""
_TREE = f"""\
tree:
  intensity: 50
  children:
    - {{id: feed, {_PART}, config: {{value: 1}}}}
    - {{id: spot, {_PART}}}
    - id: cell
      strategy: rest_for_one
      intensity: 50
      children:
        - {{id: a, {_PART}}}
        - {{id: b, {_PART}}}
        - {{id: c, {_PART}}}
    - id: pool
      strategy: simple_one_for_one
      template: {{{_PART}, config: {{value: 5}}}}
"""
BASE = _HEAD + _TREE
_A = f"        - {{id: a, {_PART}}}\n"
_B = f"        - {{id: b, {_PART}}}\n"
_C = f"        - {{id: c, {_PART}}}\n"
_SPOT = f"    - {{id: spot, {_PART}}}\n"


def edited(*edits: tuple[str, str]) -> str:
    text = BASE
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def system(short_folder: Path) -> Iterator[Running]:
    made = Running(short_folder / "reload", BASE)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(made.data_dir)


def run(system: Running, command: str, text: str, *more: str) -> "subprocess.CompletedProcess[str]":
    system.file.write_text(text)
    return cli(command, str(system.file), "--data-dir", str(system.data_dir), *more)


def apply(system: Running, text: str) -> dict[str, object]:
    done = run(system, "apply", text, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    assert answer["applied"] is True
    assert answer["left"] == []
    return answer


@pytest.fixture
def base(system: Running) -> Running:
    """The system as it began, whatever the test before made of it: the way back is an apply as well."""
    apply(system, BASE)
    system.wait_up()
    for child in ("/cell/a", "/cell/b", "/cell/c", "/feed", "/spot", "/pool"):
        system.ready(child)
    return system


def applied(system: Running, since: float) -> list[TrailEvent]:
    return [event for event in system.trail("/", since) if event.kind == EventKind.TOPOLOGY_APPLIED]


def digest(system: Running) -> str:
    return GoalStore(system.data_dir).get("digest")


def test_all_at_once_and_what_does_not_change_keeps_its_process(base: Running) -> None:
    before, since, old = base.pids(), time.monotonic(), digest(base)
    new = edited(
        ("value: 1", "value: 2"),  # changed
        (_SPOT, ""),  # moved into the cell
        (_B, f"        - {{id: spot, {_PART}}}\n"),  # b removed
        (_C, f"        - {{id: c, {_PART}, shutdown: 9s}}\n"),  # supervision alone
        ("    - id: pool", f"    - id: desk\n      children: [{{id: x, {_PART}}}, {{id: y, {_PART}}}]\n    - id: pool"),
    )
    shown = run(base, "diff", new)
    assert shown.returncode == 0
    for line in (
        "- /cell/b  (worker)",
        "> /spot -> /cell/spot  (moved: stopped there, started here)",
        "~ /feed  (new process)",
        "config.value: 1 -> 2",
        "shutdown: 5s -> 9s",
        "+ /desk  (supervisor)",
        "+ /desk/x  (worker)",
        "3 added, 1 removed, 2 changed, 1 moved",
    ):
        assert line in shown.stdout, shown.stdout
    tried = run(base, "apply", new, "--dry-run")
    assert tried.returncode == 0
    assert "  replace /feed (config.value)" in tried.stdout
    assert base.pids() == before, "neither of them touches anything"
    assert digest(base) == old

    answer = apply(base, new)

    base.wait_up()
    now = base.pids()
    assert set(now) == {"/feed", "/cell", "/cell/a", "/cell/spot", "/cell/c", "/desk", "/desk/x", "/desk/y", "/pool"}
    for path in ("/cell", "/cell/a", "/cell/c", "/pool"):
        assert now[path] == before[path], path
    assert now["/feed"] != before["/feed"]
    assert base.ask("/feed", "value") == 2
    assert not base.is_known("/cell/b")
    (event,) = applied(base, since)
    assert (event.data["added"], event.data["removed"], event.data["changed"], event.data["moved"]) == (3, 1, 2, 1)
    assert event.data["who"] == f"uid {os.getuid()}"
    assert event.data["result"] == "ok"
    assert (event.data["digest_before"], event.data["digest"]) == (old, digest(base))
    assert answer["digest"] == digest(base) != old
    assert run(base, "diff", new).stdout.strip() == "nothing differs from what runs"


def test_a_bad_file_changes_nothing(base: Running) -> None:
    before, since, old = base.pids(), time.monotonic(), digest(base)
    for command in ("diff", "apply"):
        done = run(
            base, command, edited(("value: 1", "valu: 1"), ("intensity: 50\n  children", "intensity: x\n  children"))
        )
        assert done.returncode == 2
        assert f"{base.file}:5:14: error E1103" in done.stdout
        assert "E1306" not in done.stdout or "valu" in done.stdout
    done = run(base, "apply", edited(("value: 1", "valu: 1")))
    assert done.returncode == 2
    assert f"{base.file}:7:" in done.stdout
    assert base.pids() == before
    assert digest(base) == old
    assert applied(base, since) == []


def test_what_needs_another_start_of_the_system_is_refused(base: Running) -> None:
    before, since = base.pids(), time.monotonic()
    done = run(base, "apply", "logs: {keep: 3}\n" + edited(("value: 1", "value: 3")))
    assert done.returncode == 2
    assert f"{base.file}:1:14: error E1510 cannot change while the system runs: logs.keep: 5 -> 3" in done.stdout
    assert base.pids() == before
    assert applied(base, since) == []


def test_the_order_of_the_file_is_the_order_of_the_group(base: Running) -> None:
    before = base.pids()
    apply(base, edited((_A, f"        - {{id: z, {_PART}}}\n{_A}"), (_B + _C, _C + _B)))
    z = base.ready("/cell/z")
    found = base.supervisor("/cell")
    assert found is not None
    assert [child.id for child in found.children] == ["z", "a", "c", "b"]
    assert base.pids("/cell/") == {p: pid for p, pid in before.items() if p.startswith("/cell/")} | {"/cell/z": z.pid}
    c = base.kill("/cell/c")
    base.ready("/cell/c", c.incarnation)
    until(lambda: base.ready("/cell/b").pid != before["/cell/b"], "b comes after c now")
    assert base.ready("/cell/a").pid == before["/cell/a"]
    assert base.ready("/cell/z").pid == z.pid


def test_a_supervisors_own_settings_change_live(base: Running) -> None:
    before = base.pids()
    apply(base, edited(("strategy: rest_for_one\n      intensity: 50", "strategy: one_for_all\n      intensity: 40")))
    assert base.pids() == before
    found = base.supervisor("/cell")
    assert found is not None
    assert (found.strategy, found.intensity) == ("one_for_all", 40)
    c = base.kill("/cell/c")
    base.ready("/cell/c", c.incarnation)
    until(lambda: base.ready("/cell/a").pid != before["/cell/a"], "all fall with one")


def test_a_replaced_supervisor_and_a_new_launcher_find_the_new_shape(base: Running) -> None:
    new = edited(
        (_B, f"        - {{id: n, {_PART}, config: {{value: 7}}}}\n"),
        (_C, f"        - {{id: c, {_PART}, config: {{value: 8}}}}\n"),
    )
    apply(base, new)
    base.wait_up()
    before, since = base.pids(), time.monotonic()
    os.kill(before["/cell"], signal.SIGKILL)
    taken = base.event(EventKind.SUPERVISOR_ADOPTED, "/cell", since)
    assert (taken.data["adopted"], taken.data["lost"]) == (3, 0)
    base.wait_up()
    now = base.pids()
    assert now["/cell"] != before["/cell"]
    assert {p: pid for p, pid in now.items() if p != "/cell"} == {p: pid for p, pid in before.items() if p != "/cell"}
    base.kill("/cell/c")
    until(lambda: base.ready("/cell/c").pid != before["/cell/c"], "the new supervisor restarts it")
    assert base.ask("/cell/c", "value") == 8
    base.wait_up()

    before, root = base.pids(), base.supervisor_pid("/")
    base.close()
    os.kill(base.warden, signal.SIGKILL)
    until(lambda: gone(base.warden), "the launcher is gone")
    base.up()
    base.wait_up()
    assert base.pids() == before
    assert base.supervisor_pid("/") == root


def test_a_new_child_that_does_not_start_is_not_kept_and_the_rest_is_left(base: Running) -> None:
    before, since = base.pids(), time.monotonic()
    new = edited(
        ("value: 1", "value: 4"),
        (_B, f"{_B}        - {{id: bad, {_PART}, config: {{fails: true}}}}\n"),
        ("    - id: pool", f"    - {{id: last, {_PART}}}\n    - id: pool"),
    )
    done = run(base, "apply", new)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "done: replace /feed (config.value)" in done.stdout
    assert "not done:\n  add /cell/bad\n  add /last" in done.stdout
    assert "E3004" in done.stderr
    assert "/cell/bad did not start: start_error" in done.stderr
    assert "1 of 3 steps were done" in done.stderr
    base.wait_up()
    now = base.pids()
    assert {p: pid for p, pid in now.items() if p != "/feed"} == {p: pid for p, pid in before.items() if p != "/feed"}
    assert not base.is_known("/cell/bad")
    assert base.ask("/feed", "value") == 4
    (event,) = applied(base, since)
    assert "/cell/bad" in str(event.data["result"])
    assert event.data["digest"] == digest(base) != event.data["digest_before"]
    # corrected, it goes on from there: the child that was changed already is left alone
    answer = apply(base, new.replace("fails: true", "fails: false"))
    assert [step["path"] for step in answer["steps"]] == ["/cell/bad", "/last"]  # type: ignore[attr-defined]
    assert base.pids() == now | {"/cell/bad": base.ready("/cell/bad").pid, "/last": base.ready("/last").pid}


def test_a_changed_child_that_does_not_start_runs_as_before(base: Running) -> None:
    before, old = base.pids(), digest(base)
    done = run(base, "apply", edited(("value: 1", "value: 9, fails: true")))
    assert done.returncode == 1
    assert "it runs with its old settings again" in done.stderr
    assert base.ask("/feed", "value") == 1
    assert digest(base) == old
    assert {p for p, pid in base.pids().items() if before.get(p) != pid} == {"/feed"}


def test_a_supervisor_that_does_not_start_leaves_nothing(base: Running) -> None:
    before = base.pids()
    desk = f"    - id: desk\n      children: [{{id: x, {_PART}}}, {{id: y, {_PART}, config: {{fails: true}}}}]\n"
    done = run(base, "apply", edited(("    - id: pool", f"{desk}    - id: pool")))
    assert done.returncode == 1
    assert base.pids() == before
    store = GoalStore(base.data_dir)
    assert "/desk" not in store.supervisors()
    assert [place.path for place in store.places() if place.path.startswith("/desk")] == []
    base.wait_up()


def test_what_is_stopped_by_hand_stays_so(base: Running) -> None:
    stopped = cli("child", "stop", "/feed", "--data-dir", str(base.data_dir))
    assert stopped.returncode == 0
    answer = apply(base, edited(("value: 1", "value: 6")))
    assert "stays so" in str(answer["done"])
    assert "/feed" not in base.pids()
    assert cli("child", "restart", "/feed", "--data-dir", str(base.data_dir)).returncode == 0
    assert base.ask("/feed", "value") == 6


def test_a_template_holds_for_what_is_started_later(base: Running) -> None:
    data = ("--data-dir", str(base.data_dir))
    assert cli("child", "start", "/pool", "--id", "one", *data).returncode == 0
    one = base.ready("/pool/one")
    apply(base, edited(("value: 5", "value: 55")))
    assert base.ready("/pool/one").pid == one.pid
    assert base.ask("/pool/one", "value") == 5
    assert cli("child", "start", "/pool", "--id", "two", *data).returncode == 0
    assert base.ask("/pool/two", "value") == 55
    for name in ("one", "two"):
        assert cli("child", "stop", f"/pool/{name}", *data).returncode == 0


def test_spares_change_live(base: Running) -> None:
    before = base.pids()
    apply(base, BASE.replace("spares: 2", "spares: 3"))
    until(lambda: base.status().supervisors[0].spares == 3, "one more spare")
    assert base.pids() == before


def test_one_operator_at_a_time(base: Running) -> None:
    store = GoalStore(base.data_dir)
    me = Operator("uid 7", os.getpid(), process_start_time(os.getpid()) or 0, "2026-01-01 00:00:00")
    store.put(reload=msgspec.json.encode(me).decode())
    before = base.pids()
    new = edited(("value: 1", "value: 10"))
    done = run(base, "apply", new)
    assert done.returncode == 1
    assert "E3002" in done.stderr
    assert f"uid 7 (process {os.getpid()}) applies a topology since 2026-01-01 00:00:00" in done.stderr
    assert base.pids() == before
    # one that is gone is in nobody's way
    store.put(reload=msgspec.json.encode(msgspec.structs.replace(me, start_time=1)).decode())
    apply(base, new)


def test_an_apply_that_was_killed_half_way_is_completed_by_the_next(base: Running) -> None:
    since = time.monotonic()
    new = edited(
        ("value: 1", "value: 11"),
        (_B, f"{_B}        - {{id: slow, {_PART}, config: {{slow: 3.0}}}}\n"),
        ("    - id: pool", f"    - {{id: last, {_PART}}}\n    - id: pool"),
    )
    base.file.write_text(new)
    process = spawn("apply", str(base.file), "--data-dir", str(base.data_dir))
    base.event(EventKind.CHILD_STARTING, "/cell/slow", since)
    process.kill()
    process.communicate()
    feed = base.ready("/feed")
    answer = apply(base, new)
    assert [step["path"] for step in answer["steps"]] == ["/cell/slow", "/last"]  # type: ignore[attr-defined]
    assert base.ready("/feed").pid == feed.pid
    base.ready("/cell/slow")
    assert base.kinds("/cell/slow", since).count(EventKind.CHILD_STARTING) == 1, "it was started once"
    base.ready("/last")
    base.wait_up()
