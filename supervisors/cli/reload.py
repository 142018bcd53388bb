"""diff and apply: what another topology would change in a running system, and changing it (TOP-5)."""

import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from supervisors.cli.common import BAD_INPUT, DEFAULT_DATA_DIR, AsJson, DataDir, existing, out, print_line
from supervisors.cli.files import show_report
from supervisors.core.errors import AdminError, SpecError
from supervisors.spec.changes import Changes, Difference, Takes, compare
from supervisors.spec.check import check_file, load_topology
from supervisors.spec.codes import Severity
from supervisors.spec.findings import Finding, Report, yaml_path
from supervisors.spec.reader import read_document
from supervisors.spec.steps import Step, plan

if TYPE_CHECKING:
    from supervisors.runtime.reload import Applied, Done
    from supervisors.runtime.store import GoalStore
    from supervisors.spec.compiled import CompiledTopology

NEEDS_RESTART = 1510
ELSEWHERE = 1511

_TAKES = {
    Takes.NOW: "at once",
    Takes.LATER: "from its next start",
    Takes.PROCESS: "new process",
    Takes.REBUILD: "made anew with all below it",
}

TopologyFile = Annotated[Path, typer.Argument(help="The new topology file.")]


def diff(
    topology: TopologyFile = Path("topology.yaml"),
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Show what a topology would change in the running system. Changes nothing.

    Example: rayvisor diff topology.yaml
    """
    from supervisors.runtime.reload import running_topology
    from supervisors.runtime.store import GoalStore

    store = GoalStore(existing(data_dir))
    new = _load(topology, store, json_=json_)
    changes = compare(running_topology(store), new)
    _refuse(topology, changes, store, json_=json_)
    if json_:
        _print_json(changes)
    else:
        _print_changes(changes)


def apply(
    topology: TopologyFile = Path("topology.yaml"),
    data_dir: DataDir = DEFAULT_DATA_DIR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the steps, in order; change nothing.")] = False,
    json_: AsJson = False,
) -> None:
    """Change the running system to a topology. Children that do not change keep their process.

    A file with a fault changes nothing. When a step fails, what was done stays, the rest is left: apply again.

    Example: rayvisor apply topology.yaml --dry-run
    """
    from supervisors.runtime.reload import Reload, running_topology
    from supervisors.runtime.store import GoalStore

    folder = existing(data_dir)
    store = GoalStore(folder)
    new = _load(topology, store, json_=json_)
    changes = compare(running_topology(store), new)
    _refuse(topology, changes, store, json_=json_)
    if not json_:
        _print_changes(changes)
    if dry_run:
        if json_:
            _print_json(changes)
        elif steps := plan(changes):
            out.print("steps, in order; none was taken:")
            _print_steps(steps)
        return
    reload = Reload(folder, (lambda done: None) if json_ else _print_done)
    try:
        applied = reload.apply(new)
    finally:
        reload.close()
    if json_:
        _print_json(applied.changes, applied)
    elif not applied.error and applied.done:
        out.print("applied", style="green")
    if applied.error:
        if applied.left and not json_:
            out.print("not done:")
            _print_steps(applied.left)
        count = f"{len(applied.done)} of {len(applied.done) + len(applied.left)} steps were done"
        fix = "what was done stays; correct the cause or the file and apply again: it goes on from here"
        raise AdminError(f"{applied.error}; {count}", code=3004, fix=fix)


# ---------------------------------------------------------------- reading and refusing


def _load(file: Path, store: "GoalStore", *, json_: bool) -> "CompiledTopology":
    """The topology in ``file``; every fault is shown, and then nothing else is done."""
    try:
        return load_topology(file)[1]
    except SpecError:
        show_report(check_file(file), json_=json_)
        raise typer.Exit(BAD_INPUT) from None


def _refuse(file: Path, changes: Changes, store: "GoalStore", *, json_: bool) -> None:
    """Show what a running system cannot take, with its place in the file, and end."""
    findings = (*_settings(file, changes), *_elsewhere(file, changes, store))
    if findings:
        show_report(Report(str(file), findings), json_=json_)
        raise typer.Exit(BAD_INPUT)


def _settings(file: Path, changes: Changes) -> list[Finding]:
    document = read_document(file.read_text("utf-8-sig"))
    findings = []
    for difference in changes.refused:
        loc: tuple[str | int, ...] = tuple(difference.key.split("."))
        if difference not in changes.system:
            loc = ("tree", *loc)
        line, column = document.position(loc)
        finding = Finding(
            severity=Severity.ERROR,
            code=NEEDS_RESTART,
            file=str(file),
            line=line,
            column=column,
            path_in_yaml=yaml_path(loc),
            tree_path="",
            message=f"cannot change while the system runs: {difference}",
            fix="keep the old value, or rayvisor down and then rayvisor up",
        )
        findings.append(finding)
    return findings


def _elsewhere(file: Path, changes: Changes, store: "GoalStore") -> list[Finding]:
    """Modules that this process found beside the new file, where no process of the system looks."""
    search = [folder for folder in store.get("search").split("\n") if folder]
    here = str(file.resolve().parent)
    if here in search:
        return []
    running = {worker.actor for worker in changes.old.workers.values()}
    folders = search + [folder for folder in sys.path if folder not in ("", here)]
    findings = []
    for path, worker in changes.new.workers.items():
        top = worker.actor.partition(":")[0].partition(".")[0]
        beside = PathFinder.find_spec(top, [here])
        if worker.actor in running or beside is None or PathFinder.find_spec(top, folders) is not None:
            continue
        finding = Finding(
            severity=Severity.ERROR,
            code=ELSEWHERE,
            file=str(file),
            line=0,
            column=0,
            path_in_yaml="",
            tree_path=path,
            message=f"{path}: module {top!r} is in {here}, where the running system does not look",
            fix=f"put it into {search[0] if search else 'an installed package'}, beside the file the system runs",
        )
        findings.append(finding)
    return findings


# ---------------------------------------------------------------- showing


def _print_changes(changes: Changes) -> None:
    if changes.empty:
        out.print("nothing differs from what runs")
        return
    for difference in changes.system:
        _line("~", "cyan", f"system {difference}", _TAKES[difference.takes])
    for entry in changes.removed:
        _line("-", "red", entry.path, entry.kind)
    for move in changes.moved:
        worker = changes.new.workers.get(move.target)
        note = "moved: stopped there, started here"
        if worker is not None and worker.recovery is not None:
            note += "; its journal and checkpoints stay under the old path"
        _line(">", "yellow", f"{move.source} -> {move.target}", note)
    for change in changes.changed:
        _line("~", "cyan", change.path, _TAKES[change.takes])
        for difference in change.differences:
            note = "" if difference.takes is change.takes else _TAKES[difference.takes]
            _line(" ", "", f"    {difference}", note)
    for path in changes.reordered:
        _line("~", "cyan", path, "its children start in another order")
    for entry in changes.added:
        _line("+", "green", entry.path, entry.kind)
    counts = [
        f"{len(found)} {word}"
        for word, found in (
            ("added", changes.added),
            ("removed", changes.removed),
            ("changed", changes.changed),
            ("moved", changes.moved),
        )
    ]
    out.print(f"{', '.join(counts)}; {changes.unchanged} unchanged keep their processes", markup=False)


def _line(mark: str, style: str, text: str, note: str) -> None:
    out.print(f"{mark} ", style=style, end="", markup=False)
    out.print(text + (f"  ({note})" if note else ""), markup=False)


def _print_steps(steps: tuple[Step, ...]) -> None:
    for step in steps:
        out.print(f"  {step}", markup=False)


def _print_done(done: "Done") -> None:
    out.print(f"  done: {done.step}" + (f": {done.note}" if done.note else ""), markup=False)


class _Answer(msgspec.Struct):
    """What ``--json`` prints; ``applied`` is null where nothing was to be applied."""

    added: list[dict[str, str]]
    removed: list[dict[str, str]]
    changed: list[dict[str, object]]
    moved: list[dict[str, str]]
    reordered: list[str]
    system: list[dict[str, object]]
    unchanged: int
    digest_before: str
    digest: str
    steps: list[dict[str, str]]
    applied: bool | None = None
    done: list[dict[str, str]] = []
    left: list[dict[str, str]] = []
    error: str = ""


def _print_json(changes: Changes, applied: "Applied | None" = None) -> None:
    answer = _Answer(
        added=[{"path": e.path, "kind": e.kind} for e in changes.added],
        removed=[{"path": e.path, "kind": e.kind} for e in changes.removed],
        changed=[
            {
                "path": c.path,
                "kind": c.kind,
                "takes": c.takes.value,
                "differences": [_difference(d) for d in c.differences],
            }
            for c in changes.changed
        ],
        moved=[{"from": m.source, "to": m.target, "kind": m.kind} for m in changes.moved],
        reordered=list(changes.reordered),
        system=[_difference(d) for d in changes.system],
        unchanged=changes.unchanged,
        digest_before=changes.old.digest,
        digest=applied.after if applied is not None else changes.new.digest,
        steps=[_step(step) for step in plan(changes)],
    )
    if applied is not None:
        answer.applied = not applied.error
        answer.done = [_step(done.step) | {"note": done.note} for done in applied.done]
        answer.left = [_step(step) for step in applied.left]
        answer.error = applied.error
    print_line(msgspec.json.encode(answer).decode())


def _difference(difference: Difference) -> dict[str, object]:
    return {
        "key": difference.key,
        "old": _finite(difference.old),
        "new": _finite(difference.new),
        "takes": difference.takes.value,
    }


def _finite(value: object) -> object:
    """JSON has no infinity; a topology file writes it as a word."""
    return "infinity" if value == float("inf") else value


def _step(step: Step) -> dict[str, str]:
    return {"kind": step.kind.value, "path": step.path, "why": step.why}


COMMANDS = (diff, apply)
