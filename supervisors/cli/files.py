"""Commands that only read files: check, schema, simulate."""

import json
from pathlib import Path
from typing import Annotated

import typer

from supervisors.cli.common import BAD_INPUT, AsJson, is_terminal, out, print_line
from supervisors.core.durations import parse_duration
from supervisors.core.errors import SpecError
from supervisors.spec.check import check_file
from supervisors.spec.codes import Severity
from supervisors.spec.findings import Report, render_text, to_json
from supervisors.spec.schema import topology_schema

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}


def check(
    topology: Annotated[Path, typer.Argument(help="The topology file.")] = Path("topology.yaml"),
    json_: AsJson = False,
    no_import: Annotated[bool, typer.Option("--no-import", help="Do not import the actors.")] = False,
) -> None:
    """Check a topology without starting anything: every fault at once, with its place and its fix.

    Example: rayvisor check topology.yaml
    """
    report = check_file(topology, import_actors=not no_import)
    show_report(report, json_=json_)
    if not report.ok:
        raise typer.Exit(BAD_INPUT)


def show_report(report: Report, *, json_: bool) -> None:
    """Print findings, each with its place and its fix: in colours for people, one a line for programs, or as JSON."""
    if json_:
        print_line(to_json(report))
    elif is_terminal():
        for finding in report.findings:
            place = f"{finding.file}:{finding.line}:{finding.column}"
            out.print(f"{place}: ", style="bold", end="", markup=False)
            out.print(f"{finding.severity.value} E{finding.code} ", style=_COLOURS[finding.severity], end="")
            out.print(finding.message, markup=False)
            if finding.fix:
                out.print(f"    fix: {finding.fix}", style="green", markup=False)
        out.print(render_text(report).rstrip("\n").rsplit("\n", 1)[-1], markup=False)
    else:
        print_line(render_text(report).rstrip("\n"))


def schema() -> None:
    """Print the JSON Schema of topology files, for editors.

    Example: rayvisor schema > rayvisor.schema.json
    """
    print_line(json.dumps(topology_schema(), indent=2))


def simulate(
    topology: Annotated[Path | None, typer.Argument(help="The topology file (a script may name it).")] = None,
    script: Annotated[Path | None, typer.Option("--script", "-s", help="YAML list of what happens when.")] = None,
    kill: Annotated[str | None, typer.Option("--kill", help="Instead of a script: a child that dies.")] = None,
    times: Annotated[int, typer.Option("--times", min=1, help="With --kill: how often.")] = 3,
    within: Annotated[str, typer.Option("--within", help="With --kill: within which time.")] = "1s",
    for_: Annotated[str | None, typer.Option("--for", help="Simulated time to run.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of jitter and random failures.")] = None,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="The machines together, under faults drawn from seeds.")
    ] = False,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="With --chaos: how many.")] = 100,
    first_seed: Annotated[int, typer.Option("--first-seed", min=0, help="With --chaos: the first one.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=256, help="With --chaos: processes.")] = 2,
    faults: Annotated[int, typer.Option("--faults", min=0, max=10_000, help="With --chaos: in each seed.")] = 200,
    children: Annotated[int, typer.Option("--children", min=8, max=1000, help="With --chaos: workers.")] = 20,
    bug: Annotated[str, typer.Option("--bug", help="With --chaos: a planted bug, which is to be found.")] = "",
    replay: Annotated[Path | None, typer.Option("--replay", help="With --chaos: a saved run, once more.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="With --chaos: where a shortened failure goes.")] = None,
    list_bugs: Annotated[bool, typer.Option("--list-bugs", help="With --chaos: the planted bugs.")] = False,
    bugs: Annotated[bool, typer.Option("--bugs", help="With --chaos: look for each planted bug.")] = False,
    json_: AsJson = False,
) -> None:
    """Run a topology on a fake clock with scripted failures and print what would happen. Starts nothing.

    Examples: rayvisor simulate topology.yaml --kill /cell/md --times 3 --within 1s
              rayvisor simulate --script examples/simulate/one_for_all.yaml
              rayvisor simulate --chaos --seeds 500
    """
    from supervisors.cli import dst

    others = {"a topology": topology is not None, "--script": script is not None, "--kill": kill is not None}
    others |= {"--for": for_ is not None, "--seed": seed is not None}
    needs = {"--replay": replay is not None, "--save": save is not None, "--bug": bool(bug)}
    dst.check_together(chaos, others, needs | {"--list-bugs": list_bugs, "--bugs": bugs})
    if chaos and list_bugs:
        dst.list_bugs(json_=json_)
    elif chaos and bugs:
        dst.show_table(first_seed=first_seed, json_=json_)
    elif chaos:
        dst.chaos(dst.ChaosRun(seeds, first_seed, jobs, bug, faults, children, replay, save, json_))
    if chaos:
        return
    from supervisors.simulate.render import render_summary, timeline_line, to_json_line
    from supervisors.simulate.runner import simulate_deaths, simulate_file
    from supervisors.simulate.summary import Summarizer, answer

    if topology is None and script is None:
        topology = Path("topology.yaml")
    until = _duration(for_)
    if kill is not None:
        span = _duration(within) or 0.0
        kept = list(simulate_deaths(topology or Path("topology.yaml"), kill, times, span, until=until, seed=seed))
        for event in kept:
            if json_:
                print_line(to_json_line(event))
            else:
                out.print(timeline_line(event))
        if not json_:
            out.print()
            out.print(answer(kept, kill), markup=False)
        return
    summarizer = Summarizer()
    for event in simulate_file(topology, script, until=until, seed=seed):
        summarizer.add(event)
        if json_:
            print_line(to_json_line(event))
        else:
            out.print(timeline_line(event))
    if not json_:
        out.print()
        out.print(render_summary(summarizer.summary))


def _duration(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SpecError(str(error), code=1505, fix="write a time such as 100ms, 5s or 5m") from None


COMMANDS = (check, schema, simulate)
