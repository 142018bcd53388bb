"""``rayvisor diff`` and ``rayvisor apply`` as a user meets them; the system they meet is one of ``FakeSystem``."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.runtime.reload import running_topology
from supervisors.spec import load_topology
from tests.unit.runtime.plane import FakeSystem

from .test_commands import rayvisor

_Q = 'actor: "queue:Queue"'
BASE = f"""\
tree:
  children:
    - {{id: feed, {_Q}, config: {{maxsize: 1}}}}
    - id: cell
      children:
        - {{id: a, {_Q}}}
        - {{id: b, {_Q}}}
"""
_B = f"        - {{id: b, {_Q}}}\n"
NEW = BASE.replace("maxsize: 1", "maxsize: 2").replace(_B, f"        - {{id: c, {_Q}, config: {{maxsize: 3}}}}\n")


@pytest.fixture
def system(tmp_path: Path) -> Iterator[FakeSystem]:
    (tmp_path / "topology.yaml").write_text(BASE)
    data = tmp_path / "data"
    data.mkdir()
    made = FakeSystem(data, load_topology(tmp_path / "topology.yaml")[1], search=str(tmp_path))
    yield made
    made.close()


def run(system: FakeSystem, *arguments: str, text: str | None = None) -> tuple[int, str]:
    folder = system.folder.parent
    if text is not None:
        (folder / "topology.yaml").write_text(text)
    done = rayvisor(*arguments, "--data-dir", "data", folder=folder)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_diff_shows_and_touches_nothing(system: FakeSystem) -> None:
    code, text = run(system, "diff", text=NEW)
    assert code == 0
    assert text == (
        "- /cell/b  (worker)\n"
        "~ /feed  (new process)\n"
        "      config.maxsize: 1 -> 2\n"
        "+ /cell/c  (worker)\n"
        "1 added, 1 removed, 1 changed, 0 moved; 2 unchanged keep their processes\n"
    )
    assert system.orders == []
    assert run(system, "diff", text=BASE) == (0, "nothing differs from what runs\n")


def test_a_dry_run_names_the_steps_and_takes_none(system: FakeSystem) -> None:
    code, text = run(system, "apply", "--dry-run", text=NEW)
    assert code == 0
    assert text.endswith(
        "steps, in order; none was taken:\n  remove /cell/b\n  replace /feed (config.maxsize)\n  add /cell/c\n"
    )
    assert system.orders == []
    answer = json.loads(run(system, "apply", "--dry-run", "--json")[1])
    assert [step["kind"] for step in answer["steps"]] == ["remove", "replace", "add"]
    assert answer["applied"] is None


def test_apply_says_what_it_does(system: FakeSystem) -> None:
    code, text = run(system, "apply", text=NEW)
    assert code == 0
    assert text.endswith(
        "  done: remove /cell/b\n  done: replace /feed (config.maxsize)\n  done: add /cell/c\napplied\n"
    )
    assert set(system.up) == {"/feed", "/cell", "/cell/a", "/cell/c"}
    assert run(system, "apply") == (0, "nothing differs from what runs\n")


def test_json(system: FakeSystem) -> None:
    shown = json.loads(run(system, "diff", "--json", text=NEW.replace("id: feed,", "id: feed, shutdown: infinity,"))[1])
    assert shown["added"] == [{"path": "/cell/c", "kind": "worker"}]
    assert shown["changed"] == [
        {
            "path": "/feed",
            "kind": "worker",
            "takes": "process",
            "differences": [
                {"key": "config.maxsize", "old": 1, "new": 2, "takes": "process"},
                {"key": "shutdown", "old": 5.0, "new": "infinity", "takes": "now"},
            ],
        }
    ]
    done = json.loads(run(system, "apply", "--json", text=NEW)[1])
    assert done["applied"] is True
    assert [step["path"] for step in done["done"]] == ["/cell/b", "/feed", "/cell/c"]
    assert done["digest"] == running_topology(system.store).digest != done["digest_before"]


def test_a_step_that_fails_is_told(system: FakeSystem) -> None:
    system.failing = {b'{"maxsize":3}'}
    code, text = run(system, "apply", text=NEW)
    assert code == 1
    assert "not done:\n  add /cell/c\n" in text
    assert re.search(
        r"error E3004 /cell/c did not start: start_error: .*; it is not kept; 2 of 3 steps were done", text
    )
    system.failing = set()
    assert run(system, "apply")[0] == 0
    assert "/cell/c" in system.up


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_a_bad_file_changes_nothing(system: FakeSystem, command: str) -> None:
    code, text = run(
        system, command, text=NEW.replace("id: feed", "id: fe ed").replace("id: a,", "id: a, restart: no,")
    )
    assert code == 2
    assert "topology.yaml:3:12: error E1106" in text
    assert "topology.yaml:6:28: error E1107" in text
    code, text = run(system, command, "--json")
    assert code == 2
    assert json.loads(text)["ok"] is False
    assert system.orders == []


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_what_needs_another_start_is_refused_with_its_place(system: FakeSystem, command: str) -> None:
    code, text = run(system, command, text=f"metrics:\n  port: 1\n{NEW}trail: {{keep: 3}}\n")
    assert code == 2
    assert "topology.yaml:2:9: error E1510 cannot change while the system runs: metrics.port: 9464 -> 1" in text
    assert "topology.yaml:10:15: error E1510" in text
    pool = f"tree:\n  strategy: simple_one_for_one\n  template: {{{_Q}}}\n"
    code, text = run(system, command, text=pool)
    assert code == 2
    assert "topology.yaml:2:13: error E1510" in text
    assert system.orders == []


def test_a_module_where_the_system_does_not_look(system: FakeSystem, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "strange_actors.py").write_text("class Thing:\n    pass\n")
    (other / "new.yaml").write_text(BASE + "    - {id: x, actor: 'strange_actors:Thing'}\n")
    code, text = run(system, "apply", "other/new.yaml")
    assert code == 2
    assert "E1511 /x: module 'strange_actors' is in" in text
    assert system.orders == []
    (tmp_path / "strange_actors.py").write_text("class Thing:\n    pass\n")
    assert run(system, "apply", "other/new.yaml")[0] == 0
