"""The examples a user begins with, launched as their pages say, from a folder that is not the repository's."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import RAYVISOR, ROOT_FOLDER, leftovers, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

Run = Callable[..., str]


@pytest.fixture
def run(short_folder: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a command in an empty folder, where its data directory is too; at the end nothing may be left."""
    folder = short_folder / f"x{abs(hash(request.node.name)) % 10**8}"
    folder.mkdir()

    def command(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*RAYVISOR, *arguments], capture_output=True, text=True, timeout=120.0, cwd=folder, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    try:
        yield command
    finally:
        command("down")
    data = folder / ".rayvisor"
    until(lambda: not leftovers(data), f"nothing is left: {leftovers(data)}")


def test_an_actor_of_ones_own(run: Run) -> None:
    run("up", str(ROOT_FOLDER / "examples" / "my_actor" / "topology.yaml"), "--detach")
    assert json.loads(run("call", "/greeter", "greet", "Ada")) == "hello Ada, from /greeter in life 1"
    run("kill", "/greeter")
    assert json.loads(run("call", "/greeter", "greet", "Ada")) == "hello Ada, from /greeter in life 2"


def test_classes_that_know_nothing_of_us(run: Run) -> None:
    run("up", str(ROOT_FOLDER / "examples" / "existing_ray_actor" / "topology.yaml"), "--detach")
    assert json.loads(run("call", "/counter", "add", "5")) == 15
    run("call", "/cache", "put", "colour", "blue")
    run("kill", "/counter")
    assert json.loads(run("call", "/counter", "add", "5")) == 15, "a new life is a new object"
    assert json.loads(run("call", "/cache", "get", "colour")) == "blue", "its sibling was left alone"


@pytest.mark.parametrize(("name", "rung"), [("hot_standby", "hot"), ("warm_restart", "warm")])
def test_a_ledger_that_is_killed_again_and_again(run: Run, name: str, rung: str) -> None:
    """As docs/recovery.md and the files themselves say; what was acknowledged is there after each kill."""
    run("up", str(ROOT_FOLDER / "examples" / f"{name}.yaml"), "--detach")
    if rung == "warm":
        until(lambda: '"checkpoint"' in run("trail", "--json"), "its first checkpoint")
    for number in range(1, 6):
        if rung == "hot":
            until(lambda: '"synced"' in run("recovery", "status", "--json"), "its standby is in sync")
        assert json.loads(run("call", "/ledger", "post", f"t{number}", "ada", "100")) == str(100 * number)
        run("kill", "/ledger")
    assert json.loads(run("call", "/ledger", "balance", "ada")) == "500"
    until(lambda: run("recovery", "history", "--json").count("\n") >= 5, "all are told")
    found = [json.loads(line) for line in run("recovery", "history", "--json").splitlines()]
    assert [one["id"] for one in found] == [f"/ledger#{number}" for number in range(1, 6)]
    for one in found:
        assert [(tried["rung"], tried["why"]) for tried in one["tried"]] == [(rung, "")]
        assert one["trace"][-1]["held"] is True
        assert one["trace"][-1]["saw"]
        assert one["because"].startswith("standby_synced" if rung == "hot" else "checkpoint_fresh")
        assert 0 < one["total_ms"] < 10_000
        assert one["promote_ms" if rung == "hot" else "restore_ms"] is not None
    told = [round(one["total_ms"], 1) for one in found]
    sys.stdout.write(f"{rung}: recovered in {told} ms\n")
    assert "events" in run("journal", "verify", "/ledger")
