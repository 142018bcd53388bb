"""``rayvisor simulate --chaos`` as a user meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "supervisors.cli.main", "simulate", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        check=False,
        env=environment,
    )


def test_seeds_without_a_violation() -> None:
    done = simulate("--chaos", "--seeds", "3", "--faults", "30")
    assert done.returncode == 0, done.stderr
    assert "3 seeds" in done.stdout
    assert "at least 30 a seed" in done.stdout
    assert "violations: 0" in done.stdout


def test_a_planted_bug_is_found_shortened_saved_and_replayed(tmp_path: Path) -> None:
    file = tmp_path / "short.json"
    done = simulate("--chaos", "--seeds", "3", "--bug", "temporary", "--save", str(file))
    assert done.returncode == 1, done.stderr
    assert "violations: 3 (INV-7 in 3 seeds)" in done.stdout
    assert f"replay: rayvisor simulate --chaos --replay {file}" in done.stdout.replace("\n", "")
    assert "a temporary child is started again" in done.stdout
    again = simulate("--chaos", "--replay", str(file), "--json")
    assert again.returncode == 1
    answer = json.loads(again.stdout)
    assert answer["same"] is True
    assert answer["violation"]["invariant"] == "INV-7"
    text = simulate("--chaos", "--replay", str(file))
    assert "the same run" in text.stdout
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"digest": "00000000"}))
    other = simulate("--chaos", "--replay", str(file))
    assert other.returncode == 1
    assert "NOT the same run" in other.stdout


def test_json_of_many_seeds() -> None:
    done = simulate("--chaos", "--seeds", "2", "--first-seed", "5", "--faults", "20", "--jobs", "1", "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert (answer["seeds"], answer["violations"], answer["shortest"]) == (2, [], [])
    assert sum(answer["faults"].values()) >= 40


def test_the_list_of_bugs() -> None:
    listed = json.loads(simulate("--chaos", "--list-bugs", "--json").stdout)
    assert len(listed) >= 14
    assert "skip_fence" in simulate("--chaos", "--list-bugs").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--chaos", "--bug", "nix"), "no bug 'nix'"),
        (("--chaos", "--replay", "/nowhere.json"), "cannot be read"),
        (("topology.yaml", "--chaos"), "a topology says nothing beside --chaos"),
        (("--chaos", "--seed", "3"), "--seed says nothing beside --chaos"),
        (("--bug", "temporary"), "--bug is for --chaos"),
        (("--list-bugs",), "--list-bugs is for --chaos"),
        (("--chaos", "--seeds", "0"), "Invalid value"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], says: str) -> None:
    done = simulate(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
