"""``rayvisor journal``: verify and dump, by path and by folder; accept."""

import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from supervisors.cli.journal import journal
from supervisors.core.errors import JournalCorrupt, LaunchError, RayvisorError, SpecError
from supervisors.recovery.home import ANYWHERE, Home
from supervisors.runtime.homing import HOME, home_of, put_home
from supervisors.runtime.store import GoalStore
from supervisors.state.folders import journal_folder
from supervisors.state.journal import JournalWriter
from supervisors.testing.clock import ManualClock
from supervisors.trail.reader import read_all
from tests.unit.cli.test_commands import rayvisor


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "goals.sqlite").touch()
    clock = ManualClock(1.0, 1_700_000_000 * 10**9)
    writer = JournalWriter.open(journal_folder(tmp_path, "/cell/ledger"), 4, clock=clock)
    writer.append([msgspec.msgpack.encode({"paid": number}) for number in range(1, 6)])
    writer.append([b"\xc1raw"])
    writer.close()
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(journal, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def spoil(data_dir: Path) -> Path:
    file = next(journal_folder(data_dir, "/cell/ledger").glob("*.seg"))
    data = bytearray(file.read_bytes())
    data[64 + 2 * (44 + 7) + 50] ^= 4
    file.write_bytes(data)
    return file


def test_verify_by_path_and_by_folder(data_dir: Path) -> None:
    for place in ("/cell/ledger", str(journal_folder(data_dir, "/cell/ledger"))):
        assert "whole: events 1 to 6" in run("verify", place, "--data-dir", str(data_dir))
    report = json.loads(run("verify", "/cell/ledger", "--data-dir", str(data_dir), "--json"))
    assert report["ok"]
    assert (report["last"], report["durable"], report["epoch"], report["open"]) == (6, 6, 4, False)


def test_dump(data_dir: Path) -> None:
    lines = run("dump", "/cell/ledger", "--data-dir", str(data_dir)).splitlines()
    assert lines[0] == '1 #4 2023-11-14 22:13:20.000Z {"paid":1}'
    assert lines[5].endswith('{"base64":"wXJhdw=="}')
    some = run("dump", "/cell/ledger", "--data-dir", str(data_dir), "--after", "2", "--limit", "2", "--json")
    assert [json.loads(line)["event"] for line in some.splitlines()] == [{"paid": 3}, {"paid": 4}]


def test_accept_lets_all_below_go_on_anywhere(data_dir: Path) -> None:
    words = ("--data-dir", str(data_dir))
    assert "nobody at /cell has a journal that is known of" in run("accept", "/cell", *words)
    store = GoalStore(data_dir)
    there = Home("b", "0123456789abcdef", "10.0.0.2")
    for path in ("/cell", "/cell/ledger", "/cellar", "/cell/other"):
        put_home(store, path, there)
    assert json.loads(run("accept", "/cell/ledger", *words, "--json"))["accepted"] == ["/cell/ledger"]
    assert (home_of(store, "/cell/ledger"), home_of(store, "/cell/other")) == (ANYWHERE, there)
    store.put(**{HOME + "/cell/other": "not to be read"})
    said = run("accept", "/cell", *words)
    assert [line.split()[0] for line in said.splitlines()] == ["/cell", "/cell/ledger", "/cell/other"]
    assert {home_of(store, path) for path in ("/cell", "/cell/other")} == {ANYWHERE}
    assert home_of(store, "/cellar") == there
    store.close()
    told = [one.event for one in read_all(data_dir / "trail")]
    assert {(event.kind, event.data["call"]) for event in told} == {("admin", "journal accept")}
    assert [event.path for event in told][:2] == ["/cell/ledger", "/cell"]
    with pytest.raises(SpecError) as error:
        run("accept", "cell ledger", *words)
    assert error.value.code == 1507
    with pytest.raises(LaunchError):
        run("accept", "/cell/ledger", "--data-dir", str(data_dir / "none"))


def test_damage_is_told_with_exit_code_1(data_dir: Path) -> None:
    file = spoil(data_dir)
    done = rayvisor("journal", "verify", "/cell/ledger", "--data-dir", str(data_dir))
    assert done.returncode == 1
    assert "damaged: events 1 to 2" in done.stdout
    assert file.name in done.stdout
    done = rayvisor("journal", "dump", "/cell/ledger", "--data-dir", str(data_dir))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert "E7003" in done.stderr
    assert "record 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("place", "kind", "code"),
    [("ledger", SpecError, 1507), ("/cell/other", RayvisorError, 7015), ("/a b", SpecError, 1507)],
)
def test_bad_input(data_dir: Path, place: str, kind: type[RayvisorError], code: int) -> None:
    for command in ("verify", "dump"):
        with pytest.raises(kind) as caught:
            run(command, place, "--data-dir", str(data_dir))
        assert caught.value.code == code
    with pytest.raises(LaunchError):
        run("verify", "/cell/ledger", "--data-dir", str(data_dir / "nothing"))


def test_dump_gives_what_is_whole_before_damage(data_dir: Path) -> None:
    spoil(data_dir)
    with pytest.raises(JournalCorrupt):
        run("dump", "/cell/ledger", "--data-dir", str(data_dir))
    assert len(run("dump", "/cell/ledger", "--data-dir", str(data_dir), "--limit", "2").splitlines()) == 2


@pytest.mark.parametrize("command", ["verify", "dump", "accept"])
def test_help_has_an_example(command: str) -> None:
    done = rayvisor("journal", command, "--help")
    assert done.returncode == 0
    assert f"Example: rayvisor journal {command}" in done.stdout
