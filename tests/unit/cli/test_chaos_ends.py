"""Exit codes of chaos runs: that of what happened, whatever becomes of the report, and where nobody reads it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from supervisors.chaos.history import Asked, Outcome, RunKind, RunWord
from supervisors.chaos.report import Report, build
from supervisors.chaos.telling import Progress
from supervisors.cli import chaos_commands, chaos_ends, chaos_replay
from supervisors.cli.chaos_ends import Heard, worst
from supervisors.core.errors import FaultError, RayvisorError
from supervisors.trail.events import TrailError
from tests.unit.chaos import story

app = typer.Typer()
app.command("run")(chaos_commands.run)
app.command("replay")(chaos_replay.replay)
CODES = [
    (Outcome.HELD, 0),
    (Outcome.DEVIATED, 1),
    (Outcome.ABORTED, 3),
    (Outcome.NOT_REVERTED, 4),
]
Tells = Callable[[Progress], None]


def tell(listener: Tells, outcome: Outcome) -> None:
    listener(Progress(0.0, RunWord.STARTED))
    listener(Progress(1.0, RunWord.ENDED, {"outcome": outcome.value}))


def report(outcome: Outcome) -> Report:
    return build(msgspec.structs.replace(story.history(), outcome=outcome))


@contextmanager
def no_system(*words: object, **options: object) -> Iterator[None]:
    yield None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "e.yaml"
    made.write_text("title: x\nmethod: [{kill: /a}]\n")
    return made


@pytest.mark.parametrize("error", [TrailError("newer", code=6001), FaultError("disk", code=9082), OSError(28, "full")])
@pytest.mark.parametrize(("outcome", "code"), CODES)
def test_a_run_of_which_no_report_can_be_made(
    file: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, code: int, error: Exception
) -> None:
    """2 would say that nothing was done."""

    def run(*words: object, also: Tells, **options: object) -> None:
        tell(also, outcome)
        raise error

    monkeypatch.setattr(chaos_commands, "system_for", no_system)
    monkeypatch.setattr(chaos_commands, "run_experiment", run)
    done = CliRunner().invoke(app, ["run", str(file)])
    assert done.exit_code == max(code, 1)
    assert f"E{getattr(error, 'code', 9082)}" in done.stderr


def test_before_anything_is_done_it_is_bad_input(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: object, **options: object) -> None:
        raise FaultError("faults are not allowed", code=9007)

    monkeypatch.setattr(chaos_commands, "system_for", no_system)
    monkeypatch.setattr(chaos_commands, "run_experiment", run)
    assert CliRunner().invoke(app, ["run", str(file)]).exit_code == 2


def test_the_worst_of_several() -> None:
    assert [worst(codes) for codes in ([], [0], [0, 2], [2, 1], [1, 3], [3, 4], [4, 2, 0])] == [0, 0, 2, 1, 3, 4, 4]


@pytest.mark.parametrize(("outcome", "code"), CODES)
@pytest.mark.parametrize("same", [True, False])
def test_a_replay_ends_as_its_run_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, code: int, same: bool
) -> None:
    recorded = SimpleNamespace(asked=Asked("run-1", RunKind.EXPERIMENT), events=())

    def again(*words: object, **options: object) -> tuple[Report, Path]:
        return report(outcome), tmp_path / "run-2"

    lines = iter([[], [] if same else ["another"]])
    monkeypatch.setattr(chaos_replay, "find_run", lambda *words: tmp_path / "run-1")
    monkeypatch.setattr(chaos_replay, "load", lambda folder: None)
    monkeypatch.setattr(chaos_replay, "read_run", lambda folder: recorded)
    monkeypatch.setattr(chaos_replay, "lines_of", lambda history: next(lines))
    monkeypatch.setattr(chaos_replay, "_experiment", again)
    done = CliRunner().invoke(app, ["replay"])
    assert done.exit_code == worst([code, 0 if same else 1])
    assert (report(outcome).summary in done.stdout) is (outcome is not Outcome.HELD)


@pytest.mark.parametrize("error", [SystemExit(1), BrokenPipeError()])
def test_where_nobody_reads_the_report_the_exit_code_is_that_of_the_run(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    heard = Heard()
    tell(heard.tell, Outcome.NOT_REVERTED)

    def show(made: Report, folder: Path, *, json_: bool) -> None:
        raise error

    monkeypatch.setattr(chaos_ends, "show_end", show)
    monkeypatch.setattr("os.dup2", lambda nowhere, out: None)
    assert chaos_ends.finish(heard, report(Outcome.HELD), Path("run-1"), json_=False) == 4


def test_a_real_closed_pipe_leaves_the_exit_code() -> None:
    program = (
        "import os, sys\n"
        "from supervisors.cli.chaos_ends import quietly\n"
        "from supervisors.cli.common import out, print_line\n"
        "sys.stdin.read()\n"
        "quietly(lambda: print_line('x' * 70_000))\n"
        "quietly(lambda: out.print('y' * 70_000))\n"
        "sys.exit(4)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60.0) == 4, process.stderr.read()
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_run_that_never_said_how_it_ended_is_not_fine() -> None:
    heard = Heard()
    assert (heard.code, heard.refused(RayvisorError("x", code=9082))) == (0, 2)
    heard.tell(Progress(0.0, RunWord.STARTED))
    assert (heard.code, heard.refused(RayvisorError("x", code=9082))) == (3, 3)
