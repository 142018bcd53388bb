"""Commands of `rayvisor chaos`: experiments, the monkey, replays; checks and reports of what they left (FLT-3)."""

import json
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from supervisors.chaos.converting import to_toolkit
from supervisors.chaos.document import Experiment
from supervisors.chaos.reading import Loaded, load_experiment, read_experiment
from supervisors.chaos.rules import calls_actors
from supervisors.cli.chaos_ends import ERRORS, Heard, finish, worst
from supervisors.cli.chaos_monkey import monkey
from supervisors.cli.chaos_replay import replay
from supervisors.cli.chaos_reports import REPORT_COMMANDS
from supervisors.cli.chaos_runs import refused, run_experiment, system_for
from supervisors.cli.common import BAD_INPUT, DEFAULT_DATA_DIR, AsJson, DataDir, err, print_line
from supervisors.cli.files import show_report as show_findings
from supervisors.core.errors import RayvisorError
from supervisors.runtime.chaos_ground import SystemGround

chaos = typer.Typer(
    help="Break a system on purpose and get a verdict with numbers: experiments, the monkey, reports.",
    no_args_is_help=True,
)
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Experiment files.")]
KeepUp = Annotated[bool, typer.Option("--keep-up", help="Leave a system up that was brought up for this.")]


@chaos.command()
def run(
    files: Files,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    keep_up: KeepUp = False,
    dry: Annotated[bool, typer.Option("--dry", help="Only check the files: nothing is started or broken.")] = False,
    json_: AsJson = False,
) -> None:
    """Run experiments one after another. The system they name is brought up when nothing runs, and taken down after.

    Exit code 0: held, 1: deviated, an invariant violated, or no report could be made, 2: bad input, nothing was done,
    3: aborted, 4: a fault could not be reverted; of several runs the worst: 4, 3, 1, 2, 0. Ctrl-C breaks a run off and
    undoes everything.

    Example: rayvisor chaos run examples/experiments/kill_primary.yaml
    """
    loaded = [read_experiment(file) for file in files]
    if dry or not all(one.report.ok for one in loaded):
        for one in loaded:
            if dry or one.report.findings:
                show_findings(one.report, json_=json_)
        if not all(one.report.ok for one in loaded):
            raise typer.Exit(BAD_INPUT)
        return
    codes: list[int] = []
    for topology, group in groupby(loaded, key=lambda one: one.known.topology):
        del topology
        codes += _run_group(list(group), data_dir, keep_up=keep_up, json_=json_)
    if worst(codes):
        raise typer.Exit(worst(codes))


def _run_group(group: list[Loaded], data_dir: Path, *, keep_up: bool, json_: bool) -> list[int]:
    """Experiments for one system."""
    codes: list[int] = []
    calls = any(calls_actors(one.experiment) for one in group if one.experiment is not None)
    try:
        with system_for(data_dir, group[0].known, calls=calls, keep_up=keep_up, quiet=json_) as ground:
            for one in group:
                assert one.experiment is not None
                codes.append(_run_one(one.experiment, one, ground, json_=json_))
    except RayvisorError as error:
        codes.append(refused(error))
    return codes


def _run_one(experiment: Experiment, loaded: Loaded, ground: SystemGround, *, json_: bool) -> int:
    """Its exit code: that of what was heard of it where no report of it can be made."""
    heard = Heard()
    options = {"file": str(loaded.file.resolve())}
    try:
        report, folder = run_experiment(experiment, loaded.text, ground, options=options, json_=json_, also=heard.tell)
    except ERRORS as error:
        return heard.refused(error)
    return finish(heard, report, folder, json_=json_)


@chaos.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An experiment of ours.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print an experiment as a Chaos Toolkit one: `chaos run` of the stock toolkit runs it (docs/chaos.md).

    Example: rayvisor chaos convert examples/experiments/kill_primary.yaml > kill_primary.json
    """
    loaded = load_experiment(file)
    assert loaded.experiment is not None
    document, left_out = to_toolkit(loaded.experiment, str(data_dir))
    print_line(json.dumps(document, indent=2))
    for what in left_out:
        err.print(f"left out: {what}", style="yellow", markup=False)


for _command in REPORT_COMMANDS:
    chaos.command()(_command)
chaos.command()(monkey)
chaos.command()(replay)
