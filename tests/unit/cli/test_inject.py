"""`rayvisor inject`: the first word, what is shown, exit codes; against a system without Ray."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.request import RecordState
from tests.unit.runtime.faulted import FakeSystem

from .test_commands import rayvisor


@pytest.fixture
def system(tmp_path: Path) -> Iterator[FakeSystem]:
    made = FakeSystem(tmp_path)
    yield made
    made.close()


def _inject(system: FakeSystem, *words: str) -> "subprocess.CompletedProcess[str]":
    return rayvisor("inject", *words, "--data-dir", str(system.data_dir))


@pytest.mark.parametrize("command", [("fault",), ("list",), ("active",), ("revert",)], ids=" ".join)
def test_help_has_an_example(command: tuple[str, ...]) -> None:
    done = rayvisor("inject", *command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout


def test_without_anything_it_shows_its_help() -> None:
    done = rayvisor("inject")
    assert "rayvisor inject FAULT PATH" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", [("delay", "/cell/a"), ("fault", "delay", "/cell/a"), ("--for", "9s", "delay", "/cell/a")]
)
def test_the_first_word_is_the_fault(system: FakeSystem, words: tuple[str, ...]) -> None:
    done = _inject(system, *words, "--no-wait", "--json", "-p", "delay=5ms")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["targets"] == ["/cell/a"]
    order = system.log.find(answer["id"])[0].order
    assert order.params["delay"] == 0.005
    assert order.seconds == (9.0 if words[0] == "--for" else 10.0)


def test_all_that_can_be_said_of_a_fault_reaches_it(system: FakeSystem) -> None:
    done = _inject(
        system, "drop", "/cell", "--targets", "random", "--count", "2", "--seed", "7", "--first", "3",
        "--probability", "0.25", "--for", "20s", "--no-wait", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert len(answer["targets"]) == 2
    order = answer["records"][0]["order"]
    assert (order["id"], order["seed"], order["first"]) == (f"{answer['id']}.1", 7, 3)
    assert (order["probability"], order["seconds"]) == (0.25, 20.0)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("kil", "/cell/a"), 1, "E9002"),
        (("kill", "/cell/x"), 1, "E9006"),
        (("delay", "/cell/a", "--param", "delay"), 2, "E1531"),
        (("delay", "/cell/a", "--for", "soon"), 2, "E1505"),
        (("delay", "/cell/a", "--seed", "18446744073709551616"), 1, "E9004"),
        (("revert",), 2, "E1533"),
        (("revert", "f-x", "--all"), 2, "E1533"),
        (("revert", "f-x"), 1, "E9019"),
        (("list", "--group", "none"), 2, "E1532"),
    ],
)
def test_bad_input_is_one_clear_error(system: FakeSystem, words: tuple[str, ...], code: int, text: str) -> None:
    done = _inject(system, *words)
    assert done.returncode == code
    assert text in done.stderr
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    assert system.log.active() == []


def test_where_no_system_ever_was(tmp_path: Path) -> None:
    for words in (("kill", "/a"), ("active",), ("revert", "--all")):
        done = rayvisor("inject", *words, "--data-dir", str(tmp_path))
        assert done.returncode == 1
        assert "E2006" in done.stderr


def test_the_list_holds_every_kind_and_those_of_the_actors(system: FakeSystem, tmp_path: Path) -> None:
    done = rayvisor("inject", "list", "--json", "--data-dir", str(tmp_path / "none"))
    assert [kind["name"] for kind in json.loads(done.stdout)] == [kind.name for kind in CATALOGUE]
    system.store.put(search=str(Path(__file__).parents[3]))
    found = {kind["name"]: kind for kind in json.loads(_inject(system, "list", "--json").stdout)}
    assert found["shout"]["parameters"][0]["name"] == "volume"
    shown = _inject(system, "list", "--group", "process").stdout
    assert "signal=KILL" in shown
    assert "slow_disk" not in shown


def test_the_list_says_whom_a_fault_hits_and_what_notices_it(system: FakeSystem) -> None:
    shown = _inject(system, "list").stdout
    assert "hits workers, standbys, supervisors; noticed by missed beats" in shown
    assert "hits workers; nothing has to notice it" in shown
    assert "with a journal" in shown


def test_what_is_active_is_shown_and_reverted(system: FakeSystem) -> None:
    assert "nothing is injected" in _inject(system, "active").stdout
    fault_id = json.loads(_inject(system, "delay", "/cell/a", "--for", "50s", "--no-wait", "--json").stdout)["id"]
    shown = json.loads(_inject(system, "active", "--json").stdout)
    assert [one["id"] for one in shown["active"]] == [fault_id]
    assert fault_id in _inject(system, "active").stdout
    done = _inject(system, "revert", fault_id)
    assert done.returncode == 0
    assert f"reverted: {fault_id} delay /cell/a, by person" in done.stdout
    assert system.host("/cell/a").armed == {}


def test_what_cannot_be_reverted_is_exit_code_4(system: FakeSystem) -> None:
    fault_id = json.loads(_inject(system, "delay", "/cell/a", "--for", "50s", "--no-wait", "--json").stdout)["id"]
    record = system.log.get(fault_id)
    assert record is not None
    # somebody tried before and gave up; the watchdog comes back to it, and has no more luck: it stays 4 meanwhile
    system.host("/cell/a").stubborn = True
    system.log.claim(fault_id, (1, 1), lambda pid, start: False, "watchdog", "x")
    system.log.close(fault_id, "watchdog", "x; not reverted: process 1 does not answer", ok=False, at=1.0)
    done = _inject(system, "active")
    assert done.returncode == 4
    assert "does not answer" in done.stderr
    done = _inject(system, "revert", "--all", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["unrevertable"][0]["id"] == fault_id
    system.host("/cell/a").stubborn = False
    assert _inject(system, "revert", "--all").returncode == 0


def test_a_record_nobody_can_read_is_said(system: FakeSystem) -> None:
    _inject(system, "delay", "/cell/a", "--for", "50s", "--no-wait")
    (system.log.folder / "f-odd.json").write_text("{")
    done = _inject(system, "revert", "--all")
    assert done.returncode == 4
    assert "f-odd.json" in done.stderr
    assert system.log.active() == []
    (system.log.folder / "f-odd.json").unlink()


def test_the_emergency_stop_needs_nothing_that_runs(system: FakeSystem) -> None:
    fault_id = json.loads(_inject(system, "slow_start", "/cell/a", "--for", "50s", "--no-wait", "--json").stdout)["id"]
    for process in system.processes.values():
        process.kill()
        process.wait()
    done = _inject(system, "revert", "--all")
    assert done.returncode == 0, done.stderr
    assert [(one.order.id, one.state) for one in system.log.done()] == [(fault_id, RecordState.REVERTED)]


def test_ctrl_c_while_it_waits_reverts(system: FakeSystem) -> None:
    command = [sys.executable, "-m", "supervisors.cli.main", "inject", "delay", "/cell/a", "--for", "50s"]
    environment = os.environ | {"COLUMNS": "200"}
    with subprocess.Popen(
        [*command, "--data-dir", str(system.data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[3],
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "injected delay" in process.stdout.readline()
        process.send_signal(2)
        assert process.wait(20) == 130
    assert system.host("/cell/a").armed == {}
    assert msgspec.structs.asdict(system.log.done()[0])["by"] == "injector"
