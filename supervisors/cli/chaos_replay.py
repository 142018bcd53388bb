"""`rayvisor chaos replay`: a recorded run once more, and whether the system decided the same."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from supervisors.chaos.document import Workload
from supervisors.chaos.history import RunKind
from supervisors.chaos.monkey import MonkeyRules, Replay, redecide
from supervisors.chaos.reading import read_text
from supervisors.chaos.recording import Recorded, find_run, load, read_run
from supervisors.chaos.replaying import Pair, compare, decisions_of, lines_of, refusals_of
from supervisors.chaos.report import Report
from supervisors.chaos.rules import calls_actors
from supervisors.chaos.systems import Known, known_from
from supervisors.cli.chaos_ends import ERRORS, Heard, quietly, worst
from supervisors.cli.chaos_monkey import run_monkey
from supervisors.cli.chaos_runs import run_experiment, system_for
from supervisors.cli.common import DEFAULT_DATA_DIR, FAILED, AsJson, DataDir, out, print_line
from supervisors.core.errors import FaultError
from supervisors.spec.check import load_topology

#: seconds a replayed monkey gets beyond the time of its last decision
_BEYOND = 30.0


def replay(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Its id or the beginning of it; else the last.")] = "last",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    keep_up: Annotated[bool, typer.Option("--keep-up", help="Leave up what was brought up for this.")] = False,
    json_: AsJson = False,
) -> None:
    """Run a recorded run again and compare: the same faults at the same targets, first signals and answers, in order.
    Exit code as of `chaos run`, but 1 instead of 0 when they differ.

    Example: rayvisor chaos replay last
    """
    heard = Heard()
    try:
        folder = find_run(data_dir, run)
        before, recorded = load(folder), read_run(folder)
        if recorded.asked.kind is RunKind.MONKEY or decisions_of(recorded.events):
            report, after, words = _monkey(recorded, data_dir, heard, keep_up=keep_up, json_=json_)
        else:
            report, after = _experiment(recorded, data_dir, heard, keep_up=keep_up, json_=json_)
            words = []
        pairs = compare(lines_of(before), lines_of(load(after)))
    except ERRORS as error:
        raise typer.Exit(heard.refused(error)) from None
    same = all(pair.same for pair in pairs) and not words
    if json_:
        answer = {"run": folder.name, "again": after.name, "same": same, "decisions": words, "faults": pairs}
        quietly(lambda: print_line(msgspec.json.encode({**answer, "verdict": report.verdict}).decode()))
    else:
        quietly(lambda: _show(folder.name, after.name, pairs, words, report))
    if code := worst([0 if same else FAILED, report.exit_code, heard.code]):
        raise typer.Exit(code)


def _experiment(recorded: Recorded, data_dir: Path, heard: Heard, *, keep_up: bool, json_: bool) -> tuple[Report, Path]:
    asked = recorded.asked
    loaded = read_text(asked.experiment, asked.options.get("file", "experiment.yaml"))
    if loaded.experiment is None or not loaded.report.ok:
        why = loaded.report.errors[0].message if loaded.report.errors else "it holds no experiment"
        raise FaultError(f"{asked.id} cannot be run again: {why}", code=9073, fix="a run of `chaos run` or `monkey`")
    calls = calls_actors(loaded.experiment)
    with system_for(data_dir, loaded.known, calls=calls, keep_up=keep_up, quiet=json_) as ground:
        options = {**asked.options, "replays": asked.id}
        return run_experiment(
            loaded.experiment,
            asked.experiment,
            ground,
            kind=RunKind.REPLAY,
            options=options,
            json_=json_,
            also=heard.tell,
        )


def _monkey(
    recorded: Recorded, data_dir: Path, heard: Heard, *, keep_up: bool, json_: bool
) -> tuple[Report, Path, list[str]]:
    """The run, where it is kept, and what would be decided otherwise from what was recorded."""
    asked = recorded.asked
    decisions, refusals = decisions_of(recorded.events), refusals_of(recorded.events)
    rules = msgspec.json.decode(asked.options.get("rules", "{}"), type=MonkeyRules)
    if not decisions:
        raise FaultError(f"{asked.id} decided nothing: there is nothing to do again", code=9073, fix="another run")
    text = asked.options.get("workload", "")
    clients = Workload.model_validate_json(text) if text else None
    with system_for(
        data_dir, _known(asked.options.get("topology", "")), calls=clients is not None, keep_up=keep_up, quiet=json_
    ) as ground:
        words = redecide(rules, ground.known.catalogue, decisions, refusals)
        carried = [one for one in decisions if one.number not in refusals]
        report, folder = run_monkey(
            ground,
            lambda began: Replay(carried, began, ruthless=rules.ruthless, at_once=rules.limits.at_once),
            RunKind.REPLAY,
            title=f"{asked.title}, again",
            seed=asked.seed or 0,
            seconds=decisions[-1].at + _BEYOND,
            clients=clients,
            options={**asked.options, "replays": asked.id},
            json_=json_,
            heard=heard,
        )
    return report, folder, words


def _known(topology: str) -> Known:
    if not topology:
        return Known()
    _, compiled = load_topology(topology)
    return known_from(compiled, Path(topology))


def _show(before: str, after: str, pairs: list[Pair], words: list[str], report: Report) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column(before, overflow="fold")
    table.add_column(after, overflow="fold")
    table.add_column("")
    for pair in pairs:
        mark = Text("same", style="green") if pair.same else Text("differs", style="bold red")
        table.add_row(str(pair.number), Text(str(pair.before or "-")), Text(str(pair.after or "-")), mark)
    out.print(table)
    for word in words:
        out.print(f"decided otherwise: {word}", style="red", markup=False)
    differ = sum(not pair.same for pair in pairs)
    out.print(f"{len(pairs)} faults, {differ} differ" if differ else f"{len(pairs)} faults, all the same")
    if report.exit_code:
        out.print(f"{report.verdict.replace('_', ' ')}: {report.summary}", style="bold red", markup=False)
