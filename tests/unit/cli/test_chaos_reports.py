"""`rayvisor chaos check` and `report` on folders alone: no system runs."""

import json
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from supervisors.chaos.history import Asked, Leftovers
from supervisors.chaos.recording import Recorder, save
from supervisors.cli.chaos_reports import REPORT_COMMANDS
from supervisors.core.errors import FaultError, LaunchError
from supervisors.runtime.store import GoalStore
from supervisors.testing.clock import ManualClock
from tests.unit.chaos import story

app = typer.Typer()
for command in REPORT_COMMANDS:
    app.command()(command)


def run(*words: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, list(words))
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    GoalStore(tmp_path).close()
    recorder = Recorder(tmp_path, Asked("run-1", title="a run", seed=7), ManualClock())
    recorder.close()
    return tmp_path


def finish(data_dir: Path, **changes: object) -> None:
    save(data_dir / "chaos" / "run-1", msgspec.structs.replace(story.history(), **changes))


def test_a_good_run(data_dir: Path) -> None:
    finish(data_dir)
    code, text = run("check", "run-1", "--data-dir", str(data_dir))
    assert code == 0
    assert text.count("held") == 10


def test_a_violation_is_exit_code_1_and_named(data_dir: Path) -> None:
    finish(data_dir, leftovers=Leftovers(processes=("pid 7: host of /job",)))
    code, text = run("check", "last", "--data-dir", str(data_dir))
    assert code == 1
    assert "INV-10 a process is left: pid 7: host of /job" in text


def test_json_of_a_check(data_dir: Path) -> None:
    finish(data_dir)
    code, text = run("check", "run-1", "--json", "--data-dir", str(data_dir))
    body = json.loads(text)
    assert (code, len(body["invariants"]), body["invariants"][0]["state"]) == (0, 10, "held")


def test_a_run_whose_runner_was_killed_is_read_from_what_there_is(data_dir: Path) -> None:
    code, text = run("report", "run-1", "--data-dir", str(data_dir))
    assert code == 0
    assert "not checkable" in text
    assert "did not come to its end" in text
    assert "unfinished" in text


def test_a_run_without_an_end_is_never_exit_code_0(data_dir: Path) -> None:
    for words in ((), ("--json",)):
        code, _ = run("check", "run-1", "--data-dir", str(data_dir), *words)
        assert code == 3


def test_a_data_directory_without_a_run(data_dir: Path) -> None:
    for words in ((str(data_dir),), ("--data-dir", str(data_dir))):
        code, text = run("check", *words)
        assert code == 0
        assert "not checkable" in text


def test_a_page_and_json(data_dir: Path) -> None:
    finish(data_dir)
    page = data_dir / "report.html"
    code, text = run("report", "--html", str(page), "--json", "--data-dir", str(data_dir))
    assert (code, json.loads(text)["verdict"]) == (0, "held")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_report_for_people(data_dir: Path) -> None:
    finish(data_dir)
    _, text = run("report", "run-1", "--data-dir", str(data_dir))
    for words in ("a run", "seed 7", "held", "kill", "MTTD 3.5 ms (n = 2)", "MTTR", "again: rayvisor chaos replay"):
        assert words in text


@pytest.mark.parametrize("words", [("report", "nobody"), ("report", "run-1", "--html", "/dev/null/x.html")])
def test_errors_have_a_code_and_a_fix(data_dir: Path, words: tuple[str, ...]) -> None:
    finish(data_dir)
    with pytest.raises(FaultError) as caught:
        run(*words, "--data-dir", str(data_dir))
    assert caught.value.code in (9080, 9084)
    assert caught.value.fix


def test_no_system_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LaunchError):
        run("check", "--data-dir", str(tmp_path))
