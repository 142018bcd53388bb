"""Experiments on a real tree: one that holds, one that deviates, one that is aborted; a replay, a monkey, a drill."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import LONG, ROOT_FOLDER, Running, cli, spawn, until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

TOPOLOGY = """
system: chaos
spares: 2
metrics: {enabled: false}
faults: {enabled: true, max_targets: 3}
defaults:
  child: {backoff: null, max_consecutive: null}
  supervisor: {backoff: null, max_consecutive: null, intensity: 1000, period: 10s}
tree:
  intensity: 1000
  children:
    - id: ledger
      actor: "examples.ledger:Ledger"
      recovery:
        standbys: 1
        rung_timeout: {hot: 20s}
        journal: {standby_timeout: 20s}
        lease: {renew: 500ms, expire: 5s, margin: 1s}
    - id: cell
      children:
        - {id: worker, actor: "tests.ray.actors:Worker"}
"""

HOLDS = """
title: A primary that is killed loses nothing
seed: 7
steady_state:
  - {probe: tree_healthy, within: 60s}
  - {probe: standbys_in_sync, within: 60s}
workload: {path: /ledger, method: post, args: ["{n}", ada, 1], rate: 40, clients: 2}
method:
  - {fault: delay, path: /ledger, for: 1s, params: {delay: 20ms}, name: slow}
  - {wait: 500ms}
  - {revert: slow}
  - {kill: /ledger}
  - {probe: recovered_within, path: /ledger, rto: 20s}
  - {probe: trail, kind: promoted, path: /ledger, min: 1}
  - {probe: no_invariant_broken}
"""

DEVIATES = """
title: Nobody heals this fast
steady_state: [{probe: tree_healthy, within: 60s}]
method:
  - {fault: stop, path: /cell/worker, for: 10s}
  - {probe: recovered_within, path: /cell/worker, rto: 1ms}
  - {probe: tree_healthy, within: 60s}
"""

LONG_ONE = """
title: Too long to wait for
steady_state: [{probe: tree_healthy, within: 60s}]
method:
  - {fault: delay, path: /ledger, for: 1m, params: {delay: 1ms}}
  - {wait: 1m}
"""


@pytest.fixture(scope="module")
def broken(short_folder: Path) -> Iterator[Running]:
    system = Running(short_folder / "chaos", TOPOLOGY)
    try:
        system.up()
        yield system
    finally:
        system.down()


def _file(system: Running, name: str, text: str) -> str:
    file = system.data_dir / f"{name}.yaml"
    file.write_text(text)
    return str(file)


def _run(system: Running, *words: str) -> "subprocess.CompletedProcess[str]":
    return cli("chaos", *words, "--data-dir", str(system.data_dir), timeout=150.0)


def _active(system: Running) -> list[object]:
    done = cli("inject", "active", "--data-dir", str(system.data_dir), "--json")
    found = json.loads(done.stdout)
    return [*found["active"], *found["unrevertable"], *found["unreadable"]]


def test_an_experiment_that_holds_and_its_replay(broken: Running) -> None:
    done = _run(broken, "run", _file(broken, "holds", HOLDS), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "held", report["summary"]
    assert [fault["kind"] for fault in report["faults"]] == ["delay", "kill"]
    assert report["measures"]["all"]["recover"]["n"] == 1
    assert report["operations"]["ok"] >= 20
    again = _run(broken, "replay", "last", "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    answer = json.loads(again.stdout)
    assert answer["same"], answer
    assert [pair["before"]["fault"] for pair in answer["faults"]] == ["delay", "kill"]


def test_an_experiment_that_deviates(broken: Running) -> None:
    done = _run(broken, "run", _file(broken, "deviates", DEVIATES))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stop at /cell/worker" in done.stdout
    assert "recovered_within does not hold" in done.stdout
    assert not _active(broken)


def test_ctrl_c_undoes_everything_and_the_exit_code_is_3(broken: Running) -> None:
    process = spawn("chaos", "run", _file(broken, "long", LONG_ONE), "--data-dir", str(broken.data_dir))
    until(lambda: _active(broken), "the fault is armed", LONG)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60.0)
    assert process.returncode == 3, out
    assert "interrupted" in out
    assert not _active(broken)


def test_a_file_with_errors_starts_nothing(broken: Running) -> None:
    file = _file(broken, "wrong", HOLDS.replace("kill: /ledger", "kil: /ledger"))
    done = _run(broken, "run", file)
    assert done.returncode == 2
    assert f"{file}:12:5: error E1609" in done.stdout


def test_a_monkey_and_a_drill(broken: Running) -> None:
    done = _run(
        broken, "monkey", "--seed", "7", "--for", "6s", "--rate", "60/m", "--kinds", "kill,delay,hang", "--json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert len(report["faults"]) >= 3
    drill = cli("drill", "supervisor_lost", "--data-dir", str(broken.data_dir), timeout=150.0)
    assert drill.returncode == 0, drill.stdout + drill.stderr
    for step in ("1 announce", "2 break", "3 fail over", "4 verify", "5 fail back", "6 report"):
        assert step in drill.stdout


def test_examples_of_experiments_are_for_the_example_system() -> None:
    """What they name is checked without starting it."""
    files = sorted((ROOT_FOLDER / "examples" / "experiments").glob("*.yaml"))
    done = cli("chaos", "run", "--dry", *(str(file) for file in files))
    assert done.returncode == 0, done.stdout
    assert len(files) >= 8
