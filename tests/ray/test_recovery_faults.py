"""Recoveries when more than a process is broken: damaged files, stopped standbys, many at once, two operators."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.state.checkpoints import CheckpointInfo, CheckpointStore
from supervisors.state.folders import checkpoint_folder, journal_folder
from supervisors.state.journal import FindingKind, Report
from supervisors.state.journal.format import scan
from supervisors.state.journal.segments import HEADER_SIZE
from supervisors.trail.events import EventKind

from .harness import RAYVISOR, ROOT_FOLDER, Running, until
from .recoveries import (
    PATIENCE,
    balance,
    held,
    ids_of,
    noted,
    post,
    processes,
    rayvisor,
    recovery_of,
    strangers,
    synced,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

_LEDGER = 'actor: "examples.ledger:Ledger"'
_EACH_20 = "checkpoint: {every: 1h, events: 20}"
#: seconds a standby that is silent is waited for: more than an append takes beside a stack that is being read
_STANDBY_TIMEOUT = 2.5
_WAITS = "journal: {standby_timeout: 2500ms}"
_MANY = [f"/many/l{number:02}" for number in range(20)]

TOPOLOGY = f"""
system: faults
spares: 4
metrics: {{enabled: false}}
defaults:
  child: {{backoff: null, max_consecutive: null}}
  supervisor: {{backoff: null, max_consecutive: null, intensity: 1000, period: 10s}}
tree:
  intensity: 1000
  children:
    - id: bad
      children:
        - {{id: checkpoint, {_LEDGER}, recovery: {{ladder: [warm, cold], {_EACH_20}}}}}
        - {{id: journal, {_LEDGER}, recovery: {{ladder: [warm, cold], {_EACH_20}}}}}
        - id: version
          actor: "tests.ray.actors:Versioned"
          config: {{file: VERSION_FILE}}
          recovery: {{ladder: [warm, cold], {_EACH_20}}}
    - id: stopped
      children:
        - {{id: ledger, {_LEDGER}, recovery: {{standbys: 1, rung_timeout: {{hot: 20s}}, {_WAITS}}}}}
        - id: unwatched
          {_LEDGER}
          heartbeat: {{interval: 1s, missed: 120, hang_after: 180s}}
          recovery: {{standbys: 1, rung_timeout: {{hot: 20s}}, {_WAITS}, lease: {{expire: 20s, margin: 4s}}}}
    - id: asked
      children:
        - {{id: ledger, {_LEDGER}, recovery: {{rules: [{{when: always, then: manual}}]}}}}
    - id: many
      children:
{"".join(f"        - {{id: {path[6:]}, {_LEDGER}, recovery: {{ladder: [warm, cold]}}}}{chr(10)}" for path in _MANY)}
"""


@pytest.fixture(scope="module")
def system(short_folder: Path) -> Iterator[Running]:
    version = short_folder / "version"
    version.write_text("1")
    running = Running(short_folder / "faults", TOPOLOGY.replace("VERSION_FILE", str(version)))
    try:
        running.up()
        until(lambda: len(running.pids("/many/")) == len(_MANY), "all are up", PATIENCE)
        running.wait_up()
        yield running
    finally:
        running.down()


@pytest.fixture(autouse=True)
def _nobody_else(system: Running) -> Iterator[None]:
    """After each test every living process is one that somebody knows of."""
    yield
    until(lambda: not strangers(system), "no process is left over")


def _flip(file: Path, offset: int) -> None:
    """Change one bit, as a disk does."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([byte ^ 0x10]))


def _checkpoints(system: Running, path: str, sequence: int) -> list[CheckpointInfo]:
    """Its checkpoints, newest first, once the one at ``sequence`` or later is on the disk."""
    store = CheckpointStore(checkpoint_folder(system.data_dir, path))

    def look() -> list[CheckpointInfo] | None:
        found = store.list()
        return found if found and found[0].sequence >= sequence else None

    return until(look, f"a checkpoint of {path} at {sequence}")


# ---------------------------------------------------------------- damaged files


def test_a_damaged_checkpoint_is_passed_over_and_the_trail_says_so(system: Running) -> None:
    path = "/bad/checkpoint"
    for number in range(45):
        post(system, path, f"c{number}")
    newest, older = _checkpoints(system, path, 40)[:2]
    _flip(newest.file, newest.file.stat().st_size - 10)

    since = time.monotonic()
    before = system.kill(path)
    system.ready(path, before.incarnation)
    assert balance(system, path) == "45"
    found = recovery_of(system, before)
    assert found.rung == "warm"
    assert found.checkpoint == older.sequence
    assert found.events == 45 - older.sequence
    told = noted(system, EventKind.JOURNAL, path, since, what="restored_with")
    assert newest.file.name in str(told.data["text"])

    # and with none that is whole: the journal has it all
    for info in CheckpointStore(checkpoint_folder(system.data_dir, path)).list():
        if info.file != newest.file:
            _flip(info.file, info.file.stat().st_size - 10)
    before = system.kill(path)
    system.ready(path, before.incarnation)
    assert balance(system, path) == "45"
    found = recovery_of(system, before)
    assert (found.rung, found.checkpoint) == ("cold", 0)
    assert any(rule["when"] == "checkpoint_fresh" and "no valid checkpoint" in str(rule["why"]) for rule in found.trace)
    assert ids_of(system, path) == [f"c{number}" for number in range(45)]


def test_damage_in_the_journal_holds_the_child_and_names_the_place(system: Running) -> None:
    path, broken = "/bad/journal", 28
    for number in range(1, 36):
        post(system, path, f"j{number}")
    _checkpoints(system, path, 20)
    (segment,) = (file for file in journal_folder(system.data_dir, path).iterdir() if file.stat().st_size > 4096)
    offset, sequence = scan(segment.read_bytes(), HEADER_SIZE, 1, broken - 1, None)
    assert sequence == broken

    since = time.monotonic()
    _flip(segment, offset + 50)
    before = system.kill(path)
    hold = held(system, path)

    found = recovery_of(system, before, "manual_recovery")
    assert [tried.rung for tried in found.tried] == ["warm", "cold", "manual"]
    for tried in found.tried[:2]:
        assert segment.name in tried.why
        assert f"{offset}" in tried.why
        assert f"{broken}" in tried.why
    code, said = rayvisor(system, "journal", "verify", path)
    assert code == 1
    assert f" {offset} " in said
    assert f" {broken} " in said
    code, said = rayvisor(system, "journal", "verify", path, "--json")
    assert code == 1
    report = msgspec.json.decode(said, type=Report)
    assert [(one.kind, one.file, one.offset, one.sequence) for one in report.findings] == [
        (FindingKind.CORRUPT, str(segment), offset, broken)
    ]
    code, said = rayvisor(system, "recovery", "show", hold)
    assert code == 0
    assert "recovery_rung_failed" in said
    assert "rung=warm" in said
    assert "rung=cold" in said
    kept = noted(system, EventKind.STATE_PRESERVED, path, since)
    assert str(kept.data["folder"]) in said.replace("\n", "")
    assert (Path(str(kept.data["folder"])) / "journal" / segment.name).is_file()

    # a person restores the file and lets it go on: nothing is lost
    _flip(segment, offset + 50)
    code, said = rayvisor(system, "journal", "verify", path)
    assert code == 0, said
    code, said = rayvisor(system, "recovery", "approve", hold, "--rung", "warm", "--why", "restored from a copy")
    assert code == 0, said
    system.ready(path, before.incarnation)
    assert balance(system, path) == "35"


def test_a_checkpoint_of_a_version_that_is_not_known_is_replaced_by_the_journal(
    system: Running, short_folder: Path
) -> None:
    path = "/bad/version"
    for number in range(25):
        post(system, path, f"v{number}")
    assert _checkpoints(system, path, 20)[0].schema == 1
    for version in ("2", "1"):  # newer code without `migrate`, and back to the older code
        (short_folder / "version").write_text(version)
        since = time.monotonic()
        before = system.kill(path)
        system.ready(path, before.incarnation)
        assert balance(system, path) == "25"
        found = recovery_of(system, before)
        assert (found.checkpoint, found.events) == (0 if version == "2" else 20, 25 if version == "2" else 5)
        if version == "2":
            told = noted(system, EventKind.JOURNAL, path, since, what="restored_with")
            assert "version" in str(told.data["text"])


# ---------------------------------------------------------------- a standby that hangs


def test_a_standby_that_is_stopped_is_replaced_and_costs_nothing(system: Running) -> None:
    path = "/stopped/ledger"
    before = synced(system, path)
    standby = before.standbys[0].pid
    post(system, path, "s0")
    since = time.monotonic()
    os.kill(standby, signal.SIGSTOP)
    assert _timed(system, path, "s1") < 15.0, "it is waited for no longer than standby_timeout, and a bit"
    assert _timed(system, path, "s2") < 0.9 * _STANDBY_TIMEOUT, "and then no more"
    until(lambda: _told(system, path, since) & {"lagging", "lost"}, "the trail tells that it is out of sync")

    first = system.kill(path)
    system.ready(path, first.incarnation)
    assert balance(system, path) == "3"
    after = synced(system, path, first.incarnation, (standby,))
    until(lambda: processes(system, path) == {after.pid, after.standbys[0].pid}, "two processes, both new")
    again = system.kill(path)
    system.ready(path, again.incarnation)
    assert balance(system, path) == "3"
    assert ids_of(system, path) == ["s0", "s1", "s2"]


def test_a_standby_that_hangs_unseen_lags_and_catches_up(system: Running) -> None:
    path = "/stopped/unwatched"
    before = synced(system, path)
    standby = before.standbys[0].pid
    post(system, path, "u0")
    since = time.monotonic()
    os.kill(standby, signal.SIGSTOP)
    assert 0.9 * _STANDBY_TIMEOUT < _timed(system, path, "u1") < 20.0, "it is waited for as long as that says"
    assert _timed(system, path, "u2") < 0.9 * _STANDBY_TIMEOUT, "and then no more"
    until(lambda: _told(system, path, since) == {"lagging"}, "it is shown as lagging")
    child = system.find(path)
    assert child is not None
    assert [(one.pid, one.state) for one in child.standbys] == [(standby, "lagging")]

    os.kill(standby, signal.SIGCONT)
    assert synced(system, path).standbys[0].pid == standby
    again = system.kill(path)
    assert system.ready(path, again.incarnation).pid == standby
    assert balance(system, path) == "3"
    assert recovery_of(system, again).rung == "hot"
    assert ids_of(system, path) == ["u0", "u1", "u2"]


def test_a_primary_that_stood_still_waits_for_its_standby_again(system: Running) -> None:
    """To the primary nothing was confirmed meanwhile; the standby noticed nothing, and has nothing to catch up with."""
    path = "/stopped/unwatched"
    before = synced(system, path)
    standby = before.standbys[0].pid
    post(system, path, "p0")
    for number in range(3):
        os.kill(before.pid, signal.SIGSTOP)
        time.sleep(_STANDBY_TIMEOUT + 0.2)
        os.kill(before.pid, signal.SIGCONT)
        post(system, path, f"p{number + 1}")
    after = synced(system, path)
    assert (after.pid, after.standbys[0].pid) == (before.pid, standby)


def test_a_primary_killed_while_its_standby_lags_comes_back_from_the_disk(system: Running) -> None:
    path = "/stopped/unwatched"
    standby = synced(system, path).standbys[0].pid
    os.kill(standby, signal.SIGSTOP)
    count = len(ids_of(system, path))
    post(system, path, "k0")
    post(system, path, "k1")
    again = system.kill(path)
    after = system.ready(path, again.incarnation)
    assert after.pid != standby
    assert balance(system, path) == str(count + 2)
    assert recovery_of(system, again).rung in ("warm", "cold")
    os.kill(standby, signal.SIGCONT)
    synced(system, path, again.incarnation)
    assert balance(system, path) == str(count + 2)


def _told(system: Running, path: str, since: float) -> set[str]:
    """States of its standbys on the trail."""
    return {str(event.data["state"]) for event in system.trail(path, since) if event.kind == EventKind.STANDBY}


def _timed(system: Running, path: str, id_: str) -> float:
    began = time.monotonic()
    post(system, path, id_)
    return time.monotonic() - began


# ---------------------------------------------------------------- people


def test_of_two_operators_one_wins_and_the_other_is_told_by_whom(system: Running) -> None:
    path = "/asked/ledger"
    post(system, path, "p1")
    before = system.kill(path)
    hold = held(system, path)
    command = [*RAYVISOR, "recovery", "approve", hold, "--data-dir", str(system.data_dir), "--who"]
    both = {
        who: subprocess.Popen(
            [*command, who], cwd=ROOT_FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for who in ("ada", "bob")
    }
    said = {who: process.communicate(timeout=PATIENCE)[0] for who, process in both.items()}
    codes = {who: process.returncode for who, process in both.items()}
    assert sorted(codes.values()) == [0, 1], said
    winner, loser = sorted(codes, key=lambda who: codes[who])
    assert f"already approved by {winner}" in " ".join(said[loser].split())
    system.ready(path, before.incarnation)
    assert recovery_of(system, before).answers == [f"approved by {winner}"]
    assert balance(system, path) == "1"


# ---------------------------------------------------------------- many


def test_twenty_killed_at_once_all_come_back_with_their_state(system: Running) -> None:
    for number, path in enumerate(_MANY):
        post(system, path, "m", amount=str(number + 1))
    before = {path: system.ready(path) for path in _MANY}
    began = time.monotonic()
    for child in before.values():
        os.kill(child.pid, signal.SIGKILL)
    took: dict[str, float] = {}

    def all_back() -> bool:
        now = time.monotonic() - began
        for supervisor in system.status().supervisors:
            for child in supervisor.children:
                was = before.get(child.path)
                if was and child.state == "ready" and child.pid and child.incarnation > was.incarnation:
                    took.setdefault(child.path, now)
        return len(took) == len(_MANY)

    until(all_back, f"all are back: {sorted(set(_MANY) - set(took))}", 120.0)
    for number, path in enumerate(_MANY):
        assert balance(system, path) == str(number + 1)
        after = system.ready(path)
        assert processes(system, path) == {after.pid}
        assert after.incarnation == before[path].incarnation + 1, "each was started once"
    times = sorted(took.values())
    sys.stdout.write(f"20 killed at once: first {times[0]:.2f} s, middle {times[10]:.2f} s, last {times[-1]:.2f} s\n")
    for path in _MANY:
        found = recovery_of(system, before[path])
        assert [tried.rung for tried in found.tried] in (["warm"], ["cold"])
        assert not found.tried[0].why
