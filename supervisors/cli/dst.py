"""``simulate --chaos``: the machines together under a seed, over simulated network, disks and clocks."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from supervisors.cli.common import FAILED, err, is_terminal, out, print_line
from supervisors.core.durations import format_duration
from supervisors.core.errors import SpecError

if TYPE_CHECKING:
    from supervisors.simulate.dst import Minimised, Options, Result, Totals
    from supervisors.simulate.dst.kernel import Moment

#: an option that says nothing beside --chaos, or that needs it
NOT_TOGETHER = 1512
#: failing seeds that are made short and shown
_SHOWN = 1


@dataclass(frozen=True, slots=True)
class ChaosRun:
    """What was asked for on the command line; see ``rayvisor simulate --help``."""

    seeds: int
    first_seed: int
    jobs: int
    bug: str
    faults: int
    children: int
    replay: Path | None
    save: Path | None
    json_: bool


def chaos(asked: ChaosRun) -> None:
    """Run the seeds, or the saved run, and print what came of them.

    Raises:
        SpecError: an unknown bug, or a saved run that cannot be read.
        typer.Exit: with 1 when an invariant was violated.
    """
    from supervisors.simulate.dst import Options
    from supervisors.simulate.dst.bugs import bug_named

    if asked.replay is not None:
        _replay(asked.replay, json_=asked.json_)
        return
    if asked.bug:
        bug_named(asked.bug)
    options = Options(children=asked.children, faults=asked.faults, bug=asked.bug)
    _run(options, asked)


def list_bugs(*, json_: bool) -> None:
    """Print the planted bugs."""
    from supervisors.simulate.dst import BUGS

    if json_:
        print_line(json.dumps([{"bug": b.name, "what": b.what, "invariants": b.invariants} for b in BUGS.values()]))
        return
    for bug in BUGS.values():
        out.print(f"{bug.name:20} {bug.what}", markup=False)


def show_table(*, first_seed: int, json_: bool) -> None:
    """Look for every planted bug and print what it took.

    Raises:
        typer.Exit: with 1 when one was not found.
    """
    import msgspec

    from supervisors.simulate.dst import bug_table

    table = Table("bug", "what it does", "broke", "seeds", "faults left", "first seen as", title="planted bugs")
    missed = 0
    for row in bug_table(first_seed=first_seed):
        missed += not row.invariant
        if json_:
            print_line(msgspec.json.encode(row).decode())
            continue
        if is_terminal():
            err.print(f"{row.bug}: {row.invariant or 'not found'}", markup=False)
        seeds, left = (str(row.seeds), str(row.faults)) if row.invariant else ("-", "-")
        table.add_row(row.bug, row.what, row.invariant or "NOT FOUND", seeds, left, row.says)
    if not json_:
        out.print(table)
    if missed:
        raise typer.Exit(FAILED)


def _run(options: "Options", asked: ChaosRun) -> None:
    from supervisors.simulate.dst import Totals, run_many

    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    totals = Totals()
    began = perf_counter()
    for result in _with_bar(run_many(options, seeds, asked.jobs), asked):
        totals.add(result)
    seconds = perf_counter() - began
    shown = [_shorten(options, result) for result in totals.broken[:_SHOWN]]
    if asked.json_:
        print_line(json.dumps(_as_json(totals, seconds, shown)))
    else:
        _show(totals, seconds)
        for short in shown:
            _show_story(short, asked.save)
    if shown and asked.save is not None:
        _save(asked.save, shown[0])
    if totals.broken:
        raise typer.Exit(FAILED)


def _with_bar(results: Iterable["Result"], asked: ChaosRun) -> Iterator["Result"]:
    if asked.json_ or not is_terminal():
        yield from results
        return
    columns = (
        TextColumn("seeds"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[broken]}"),
        TimeRemainingColumn(),
    )
    broken = 0
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=asked.seeds, broken="0 violations")
        for result in results:
            broken += result.violation is not None
            progress.update(task, advance=1, broken=f"{broken} violations")
            yield result


def _shorten(options: "Options", result: "Result") -> "Minimised":
    import msgspec

    from supervisors.simulate.dst import minimise

    if is_terminal():
        err.print(f"seed {result.seed} violates {result.violation.invariant if result.violation else ''}: shortening")
    short = minimise(msgspec.structs.replace(options, seed=result.seed))
    assert short is not None
    return short


def _show(totals: "Totals", seconds: float) -> None:
    each = f"{totals.seeds / seconds:.1f} seeds/s" if seconds > 0 else ""
    out.print(
        f"{totals.seeds} seeds, {format_duration(round(totals.seconds))} simulated in {seconds:.1f} s ({each})",
        markup=False,
    )
    least = f", at least {totals.fewest} a seed" if totals.fewest is not None else ""
    out.print(f"{totals.injected} faults struck{least}:", markup=False)
    for kind, count in sorted(totals.faults.items(), key=lambda pair: (-pair[1], pair[0])):
        out.print(f"  {kind:20} {count}", markup=False)
    rungs = ", ".join(f"{rung} {count}" for rung, count in sorted(totals.recoveries.items()))
    out.print(f"recoveries: {rungs or 'none'}", markup=False)
    out.print(f"appends acknowledged: {totals.appends}", markup=False)
    if totals.over:
        out.print(f"runs whose root gave up: {totals.over}", markup=False)
    by_name: dict[str, int] = {}
    for result in totals.broken:
        assert result.violation is not None
        by_name[result.violation.invariant] = by_name.get(result.violation.invariant, 0) + 1
    words = ", ".join(f"{name} in {count}" for name, count in sorted(by_name.items()))
    style = "bold red" if totals.broken else "green"
    out.print(f"violations: {len(totals.broken)}{f' ({words} seeds)' if words else ''}", style=style, markup=False)


def _show_story(short: "Minimised", save: Path | None) -> None:
    from supervisors.simulate.dst import story

    seed, found = short.options.seed, short.violation
    out.print()
    out.print(f"seed {seed}: {found.invariant} at {found.t:.4f} s, {found.path}: {found.what}", markup=False)
    words = f"{len(short.faults)} of {short.planned} faults are enough (found in {short.runs} runs), digest"
    out.print(f"{words} {short.digest:08x}", markup=False)
    _show_moments(story(short.options, list(short.faults))[1])
    file = save or Path(f"chaos-{seed}.json")
    if save is None:
        out.print(f"keep it: the same command with --save {file}", markup=False)
    out.print(f"replay: rayvisor simulate --chaos --replay {file}", markup=False)


def _show_moments(moments: list["Moment"]) -> None:
    table = Table("t", "path", "what", "")
    for moment in moments:
        style = "red" if moment.kind == "violated" else "yellow" if moment.kind == "fault" else ""
        table.add_row(f"{moment.t:.4f}", moment.path, moment.kind, moment.text, style=style)
    out.print(table)


def _save(path: Path, short: "Minimised") -> None:
    from supervisors.simulate.dst import run, save

    save(path, short.options, short.faults, run(short.options, list(short.faults)))
    err.print(f"saved in {path}", markup=False)


def _as_json(totals: "Totals", seconds: float, shown: list["Minimised"]) -> dict[str, object]:
    return {
        "seeds": totals.seeds,
        "seconds": round(seconds, 3),
        "seeds_per_s": round(totals.seeds / seconds, 3) if seconds > 0 else None,
        "simulated_s": round(totals.seconds, 1),
        "faults": totals.faults,
        "faults_least": totals.fewest,
        "recoveries": totals.recoveries,
        "appends": totals.appends,
        "violations": [
            {
                "seed": one.seed,
                "invariant": one.violation.invariant,
                "path": one.violation.path,
                "what": one.violation.what,
            }
            for one in totals.broken
            if one.violation is not None
        ],
        "shortest": [
            {
                "seed": short.options.seed,
                "digest": f"{short.digest:08x}",
                "faults": [{"t": f.t, "kind": f.kind, "target": f.target, "params": f.params} for f in short.faults],
            }
            for short in shown
        ],
    }


def _replay(path: Path, *, json_: bool) -> None:
    from supervisors.simulate.dst import load, story

    kept = load(path)
    result, moments = story(kept.options, list(kept.faults))
    same = f"{result.digest:08x}" == kept.digest
    found = result.violation
    if json_:
        violation = (
            {"invariant": found.invariant, "t": found.t, "path": found.path, "what": found.what} if found else None
        )
        answer = {"seed": kept.options.seed, "digest": f"{result.digest:08x}", "same": same, "violation": violation}
        print_line(json.dumps(answer))
    else:
        _show_moments(moments)
        words = f"{found.invariant} at {found.t:.4f} s, {found.path}: {found.what}" if found else "no violation"
        out.print(f"seed {kept.options.seed}: {words}", markup=False)
        verdict = "the same run" if same else f"NOT the same run: it was {kept.digest} when it was saved"
        out.print(f"digest {result.digest:08x}: {verdict}", markup=False)
    if not same:
        err.print("the code or the options have changed since it was saved", markup=False)
    if found is not None or not same:
        raise typer.Exit(FAILED)


def check_together(chaos_wanted: bool, others: dict[str, bool], needs: dict[str, bool]) -> None:
    """Options that exclude one another.

    Raises:
        SpecError: one of ``others`` is given with ``--chaos``, or one of ``needs`` without.
    """
    wrong = [name for name, given in (others if chaos_wanted else needs).items() if given]
    if wrong and chaos_wanted:
        fix = "--chaos brings its own tree: leave that out"
        raise SpecError(f"{wrong[0]} says nothing beside --chaos", code=NOT_TOGETHER, fix=fix)
    if wrong:
        raise SpecError(f"{wrong[0]} is for --chaos", code=NOT_TOGETHER, fix="add --chaos")
