"""`rayvisor chaos check` and `report`: what a run proved. They read files; a running system is asked how it stands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from supervisors.chaos import html
from supervisors.chaos.gathering import gather
from supervisors.chaos.history import History, Outcome, RunKind, SupervisorFacts, facts_of
from supervisors.chaos.invariants import check as check_history
from supervisors.chaos.invariants import violated
from supervisors.chaos.measures import KindTimes, Measures, Spread
from supervisors.chaos.recording import ASKED, HISTORY, find_run, load, read_run
from supervisors.chaos.report import EXIT_CODES, Overall, Report, build, to_json
from supervisors.chaos.verdicts import State, Verdict
from supervisors.cli.common import DEFAULT_DATA_DIR, FAILED, AsJson, DataDir, existing, out, print_line
from supervisors.core.errors import FaultError, LaunchError
from supervisors.trail.status import SystemStatus

_STYLES = {State.HELD: "green", State.VIOLATED: "bold red", State.NOT_CHECKABLE: "yellow"}

Place = Annotated[
    str,
    typer.Argument(
        metavar="[RUN|DATA_DIR]", help="A run (its id or the beginning of it, `last`), or a data directory."
    ),
]
Run = Annotated[
    str, typer.Argument(metavar="[RUN]", help="Its id or the beginning of it, or its folder; else the last.")
]


def check(place: Place = "", data_dir: DataDir = DEFAULT_DATA_DIR, json_: AsJson = False) -> None:
    """Check a run's history, or without one what trail and journals alone can tell, against the invariants.
    Exit code 1 when one of them is violated, 3 when the run has no end (its runner was killed, or goes on).

    Example: rayvisor chaos check last
    """
    history = _history(place, data_dir)
    verdicts = check_history(history)
    if json_:
        print_line(msgspec.json.encode({"run": history.asked.id, "invariants": verdicts}).decode())
    else:
        _show_verdicts(verdicts)
        for gap in history.gaps:
            out.print(f"not read: {gap}", style="yellow", markup=False)
    if violated(verdicts):
        raise typer.Exit(FAILED)
    if history.outcome is Outcome.UNKNOWN and history.asked.kind is not RunKind.TRAIL:
        if not json_:
            out.print("the run has no end: its runner was killed, or goes on", style="yellow")
        raise typer.Exit(EXIT_CODES[Overall.UNFINISHED])


def report(
    run: Run = "last",
    html_: Annotated[Path | None, typer.Option("--html", help="Write the report as one plain HTML file.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Report a run: its verdict, its invariants, and how fast each fault was noticed, answered and healed.

    Example: rayvisor chaos report last --html report.html
    """
    made = build(_history(run or "last", data_dir))
    if html_ is not None:
        try:
            html_.write_text(html.render(made), encoding="utf-8")
        except OSError as error:
            text = f"{html_} cannot be written: {error.strerror or error}"
            raise FaultError(text, code=9084, fix="another file") from error
    if json_:
        print_line(to_json(made).decode())
        return
    show_report(made)
    if html_ is not None:
        out.print(f"written: {html_}", markup=False)


#: the commands of this module, for the ``chaos`` group
REPORT_COMMANDS: list[Callable[..., None]] = [check, report]


def show_report(made: Report) -> None:
    """A report for people, on the terminal."""
    unsure = (Overall.NOT_CHECKABLE, Overall.UNFINISHED)
    style = "bold green" if made.verdict is Overall.HELD else "bold yellow" if made.verdict in unsure else "bold red"
    heading = Text(made.title, style="bold")
    heading.append(f"  {html.duration(made.seconds)}", style="dim")
    if made.asked.seed is not None:
        heading.append(f"  seed {made.asked.seed}", style="dim")
    out.print(heading)
    out.print(Text.assemble((made.verdict.replace("_", " "), style), "  ", made.summary))
    _show_verdicts([row.verdict for row in made.invariants])
    _show_measures(made.measures)
    for gap in made.gaps:
        out.print(f"not read: {gap}", style="yellow", markup=False)
    if made.asked.replay:
        out.print(f"again: {made.asked.replay}", markup=False)


def _show_verdicts(verdicts: list[Verdict]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("", "invariant", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("looked at", justify="right")
    table.add_column("", overflow="fold")
    for one in verdicts:
        words = Text("; ".join(one.missing), style="dim")
        if one.violations:
            words = Text(f"{len(one.violations) + one.more} found, see below", style="red")
        verdict = Text(one.state.replace("_", " "), style=_STYLES[one.state])
        table.add_row(one.id.value, one.name.replace("_", " "), verdict, str(one.looked_at), words)
    out.print(table)
    for one in verdicts:
        for broken in one.violations:
            at = f"  t={broken.at:.3f}" if broken.at is not None else ""
            out.print(Text.assemble((f"{one.id} ", "bold red"), broken.text, (at, "dim")))
            for line in broken.evidence:
                out.print(f"    {line}", style="dim", markup=False)
        if one.more:
            out.print(f"{one.id} and {one.more} more", style="red")


def _show_measures(measures: Measures) -> None:
    if not measures.faults:
        out.print("no fault was injected", style="dim")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    for name in ("faults", "detect", "decide", "recover", "promised", "late"):
        table.add_column(name, justify="right")
    for one in (*measures.kinds, measures.all):
        style = "bold" if one is measures.all else ""
        table.add_row(*(Text(cell, style=style) for cell in _cells(one)))
    out.print("times: p50 / p99", style="dim")
    out.print(table)
    for one in measures.kinds:
        apart = [f"{count} {name.replace('_', ' ')}" for name, count in one.apart.items()]
        apart += [f"{one.undetected} missed"] if one.undetected else []
        if apart:
            style = "red" if one.undetected else "dim"
            out.print(f"apart: {one.kind}: {', '.join(apart)}", markup=False, style=style)
    detect, recover = measures.all.detect, measures.all.recover
    for name, spread in (("MTTD", detect), ("MTTR", recover)):
        out.print(f"{name} {html.milliseconds(spread.mean_ms)} (n = {spread.n})" if spread else f"{name} - (n = 0)")


def _cells(one: KindTimes) -> list[str]:
    def pair(spread: Spread | None) -> str:
        if spread is None:
            return "-"
        # a number and its unit stay in one line
        both = [html.milliseconds(value).replace(" ", "") for value in (spread.p50_ms, spread.p99_ms)]
        return " / ".join(both)

    promised = html.milliseconds(one.rto_ms)
    return [
        one.kind,
        str(one.faults),
        pair(one.detect),
        pair(one.decide),
        pair(one.recover),
        promised,
        str(one.late),
    ]


# ---------------------------------------------------------------- what there is


def _history(place: str, data_dir: Path) -> History:
    """The history of a run that came to its end; else what its folder, the trail and the journals hold now.

    Raises:
        FaultError: no such run.
        LaunchError: there is no system.
    """
    named = Path(place) if place else data_dir
    if (named / "goals.sqlite").exists() and not (named / ASKED).is_file():
        return _look(named.resolve())
    if not place:
        return _look(existing(data_dir))
    folder = find_run(data_dir, place)
    if (folder / HISTORY).exists():
        return load(folder)
    recorded = read_run(folder)
    home = folder.resolve().parent.parent
    return gather(home, recorded, tree=tree_of(home), status=status_of(home))


def _look(data_dir: Path) -> History:
    return gather(data_dir, tree=tree_of(data_dir), status=status_of(data_dir))


def tree_of(data_dir: Path) -> tuple[SupervisorFacts, ...]:
    """The topology as the goal state has it; empty when there is none."""
    from supervisors.runtime.store import GoalStore
    from supervisors.spec.compiled import SupervisorPart, decode

    if not (data_dir / "goals.sqlite").exists():
        return ()
    store = GoalStore(data_dir)
    try:
        return facts_of(decode(store.part(path), SupervisorPart) for path in store.supervisors())
    finally:
        store.close()


def status_of(data_dir: Path) -> SystemStatus | None:
    """How the running system stands; None when nothing answers."""
    from supervisors.runtime.observer import Observer

    if not (data_dir / "goals.sqlite").exists():
        return None
    observer = Observer(data_dir)
    try:
        status = observer.status()
    except LaunchError:
        return None
    finally:
        observer.close()
    return status if any(one.pid for one in status.supervisors) else None
