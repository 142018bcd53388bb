"""The command line as a user meets it, where nothing runs: help, bad input, JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMANDS = (
    ("check",),
    ("schema",),
    ("simulate",),
    ("up",),
    ("down",),
    ("diff",),
    ("apply",),
    ("tree",),
    ("trail",),
    ("logs",),
    ("kill",),
    ("drill",),
    ("call",),
    ("child", "start"),
    ("child", "stop"),
    ("child", "restart"),
    ("child", "delete"),
)
GOOD = 'tree: {children: [{id: a, actor: "queue:Queue"}]}\n'


def rayvisor(*arguments: str, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "supervisors.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: tuple[str, ...]) -> None:
    done = rayvisor(*command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"rayvisor {' '.join(command)}" in done.stdout


def test_every_command_is_listed_and_tested() -> None:
    from supervisors.cli.main import app
    from supervisors.cli.orders import child

    top = {(str(one.name or one.callback.__name__),) for one in app.registered_commands if one.callback}
    below = {("child", str(one.name or one.callback.__name__)) for one in child.registered_commands if one.callback}
    assert top | below == set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("check", "missing.yaml"), "E1", 2),
        (("simulate", "missing.yaml"), "E1", 2),
        (("simulate", "good.yaml", "--kill", "/nobody"), "E", 2),
        (("simulate", "good.yaml", "--for", "soon"), "E1505", 2),
        (("up", "missing.yaml"), "E1", 2),
        (("up", "bad.yaml"), "E1", 2),
        (("up", "good.yaml", "--for", "soon"), "E1505", 2),
        (("down", "--data-dir", "nothing"), "", 0),
        (("diff", "good.yaml", "--data-dir", "nothing"), "E2006", 1),
        (("apply", "good.yaml", "--data-dir", "nothing"), "E2006", 1),
        (("tree", "--data-dir", "nothing"), "E2006", 1),
        (("trail", "--data-dir", "nothing"), "E2006", 1),
        (("logs", "--data-dir", "nothing"), "E2006", 1),
        (("logs", "--level", "LOUD"), "E1509", 2),
        (("kill", "/a", "--data-dir", "nothing"), "E2006", 1),
        (("kill", "a", "--data-dir", "nothing"), "E1507", 2),
        (("kill", "/a", "--signal", "HARD"), "E1508", 2),
        (("kill", "/a", "--signal", "99999999999"), "E1508", 2),
        (("call", "/a", "status", "--data-dir", "nothing"), "E2006", 1),
        (("call", "//", "status"), "E1507", 2),
        (("child", "start", "pool"), "E1507", 2),
        (("child", "start", "/pool", "--data-dir", "nothing"), "E2006", 1),
        (("child", "stop", "/"), "E1506", 2),
        (("child", "restart", "/a", "--data-dir", "nothing"), "E2006", 1),
        (("child", "delete", "/a b"), "E1507", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_gets_one_clear_error(tmp_path: Path, arguments: tuple[str, ...], code: str, exit_code: int) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("tree: {children: [{id: a b, actor: queue}]}\n")
    before = set(tmp_path.iterdir())
    done = rayvisor(*arguments, folder=tmp_path)
    text = done.stdout + done.stderr
    assert done.returncode == exit_code, text
    assert code in text
    assert "Traceback" not in text
    assert set(tmp_path.iterdir()) == before, "nothing half-done"


@pytest.mark.parametrize(
    "arguments",
    [("no-such-command",), ("check", "--no-such-option"), ("kill",), ("simulate", "--times", "many"), ("child", "eat")],
    ids=" ".join,
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = rayvisor(*arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_outputs_parse(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("tree: {children: [{id: a b, actor: queue}]}\n")
    good = rayvisor("check", "good.yaml", "--json", folder=tmp_path)
    assert good.returncode == 0
    json.loads(good.stdout)
    bad = rayvisor("check", "bad.yaml", "--json", folder=tmp_path)
    assert bad.returncode == 2
    json.loads(bad.stdout)
    assert json.loads(rayvisor("schema").stdout)["properties"]
    lines = rayvisor("simulate", "good.yaml", "--kill", "/a", "--json", folder=tmp_path).stdout.splitlines()
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)
    down = json.loads(rayvisor("down", "--data-dir", "nothing", "--json", folder=tmp_path).stdout)
    assert down["ended"] is False


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m supervisors.cli.main schema | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout == "{\n"


def test_version_and_no_command() -> None:
    assert rayvisor("--version").stdout.startswith("rayvisor ")
    assert "check" in rayvisor().stdout + rayvisor().stderr
