"""inject: break something on purpose, safely; see what is broken now; take it back."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table
from typer.core import TyperGroup

from supervisors.cli.common import DEFAULT_DATA_DIR, FAILED, AsJson, DataDir, err, existing, out, print_line
from supervisors.core.durations import format_duration, parse_duration
from supervisors.core.errors import RayvisorError, SpecError
from supervisors.faults.catalogue import Target
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.request import FaultRecord, FaultRequest, RecordState, TargetSet
from supervisors.faults.undo import FOLDER, UndoLog, boot_time
from supervisors.faults.values import show_value

if TYPE_CHECKING:
    from supervisors.cli.injected import Course
    from supervisors.faults.catalogue import FaultKind

#: exit code: a fault could not be reverted
NOT_REVERTED = 4
_FAULT = "fault"


class _Group(TyperGroup):
    """A first word that is no command of ours is the name of a fault."""

    # Any: typer carries a click of its own, whose context and parser have no public names
    def make_parser(self, ctx: Any) -> Any:
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            ours = not args or args[0] in self.commands or args[0] in ctx.help_option_names
            return parse(args if ours else [_FAULT, *args])

        parser.parse_args = parse_args
        return parser


inject = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="Break something on purpose: rayvisor inject FAULT PATH. The word `fault` may be left out.",
)


@inject.command(_FAULT)
def fault(
    name: Annotated[str, typer.Argument(metavar="FAULT", help="A name from: rayvisor inject list.")],
    path: Annotated[str, typer.Argument(help="Whom it hits, such as /cell/md; of a set, where it is taken from.")],
    for_: Annotated[str | None, typer.Option("--for", help="How long at most, such as 5s.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="NAME=VALUE; may be repeated.")] = None,
    probability: Annotated[float | None, typer.Option("--probability", help="Chance to act on an occasion.")] = None,
    first: Annotated[int, typer.Option("--first", help="So many occasions are hit for certain.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is left to chance.")] = 0,
    targets: Annotated[TargetSet, typer.Option("--targets", help="Whom of those at and below PATH.")] = TargetSet.PATH,
    count: Annotated[int, typer.Option("--count", help="How many, with --targets random.")] = 1,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Come back once it acts; it ends by itself.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Inject a fault, show what the system makes of it, and see it reverted and healed.

    Exit code 1 when it was refused or a target did not heal, 4 when it could not be reverted.

    Examples: rayvisor inject kill /cell/md      rayvisor inject delay /cell --targets one --param delay=300ms --for 5s
    """
    from supervisors.cli.injected import Course
    from supervisors.runtime.injecting import Injector

    request = FaultRequest(
        fault=name,
        path=path,
        params=_params(param or []),
        seconds=_seconds(for_),
        probability=probability,
        first=first,
        seed=seed,
        targets=targets,
        count=count,
    )
    folder = existing(data_dir)
    with Injector(folder, tied=not no_wait) as injector:
        course = Course(folder, injector, (lambda line: None) if json_ else _say)
        try:
            injection = course.begin(request)
            if no_wait:
                if json_:
                    print_line(msgspec.json.encode(injection).decode())
                else:
                    _say(
                        f"it ends by itself after {format_duration(injection.seconds)}; rayvisor inject active shows it"
                    )
                return
            result = course.watch()
        finally:
            course.close()
    if json_:
        print_line(msgspec.json.encode(result).decode())
    else:
        _conclude(course)
    if not result.reverted:
        raise typer.Exit(NOT_REVERTED)
    if result.not_healed:
        raise typer.Exit(FAILED)


def _conclude(course: "Course") -> None:
    result = course.result()
    if not result.reverted:
        err.print("not reverted: ", style="bold red", end="")
        err.print("; ".join(one.why for one in result.ended if not one.ok), markup=False)
    elif result.not_healed:
        for path, how in result.not_healed.items():
            err.print("not healed ", style="bold red", end="")
            err.print(f"{path}: {how}", markup=False)
    elif not result.acted:
        out.print("reverted; it waited for an occasion and never acted", style="yellow")
    else:
        out.print("reverted, and healthy again", style="green")


@inject.command("list")
def list_(
    group: Annotated[str, typer.Option("--group", help="Only this group, such as process or state.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Show all faults with their parameters, those of the actors of the system in --data-dir included.

    Example: rayvisor inject list --group state
    """
    kinds = [*CATALOGUE]
    if (data_dir / "goals.sqlite").exists():
        kinds = _with_own(data_dir, kinds)
    groups = list(dict.fromkeys(kind.group for kind in kinds))
    if group:
        kinds = [kind for kind in kinds if kind.group == group]
        if not kinds:
            raise SpecError(f"no group {group!r}", code=1532, fix=f"one of {', '.join(groups)}")
    if json_:
        print_line(msgspec.json.encode([_plain(kind) for kind in kinds]).decode())
        return
    about = "what it does, how it is undone, whom it hits, what notices it"
    table = Table("fault", "group", about, "parameters", box=None, pad_edge=False)
    for kind in kinds:
        parameters = "\n".join(f"{name}={default}" for name, default, _ in _parameters(kind))
        table.add_row(
            f"[bold]{kind.name}[/]", kind.group, f"{kind.about}\n[dim]{kind.undo}\n{_whom(kind)}[/]", parameters
        )
    out.print(table)


def _with_own(data_dir: Path, kinds: list["FaultKind"]) -> list["FaultKind"]:
    from supervisors.runtime.census import Census

    try:
        census = Census(data_dir.resolve())
        return [*census.catalogue()]
    except RayvisorError:
        return kinds  # nothing was ever declared there


def _whom(kind: "FaultKind") -> str:
    """Whom it may hit and what should notice it, in a line."""
    hits = ", ".join(f"{target.value}s" for target in Target if target in kind.targets)
    needed = {"journal": kind.needs_journal, "lease": kind.needs_lease, "standby": kind.needs_standby}
    having = " and a ".join(word for word, need in needed.items() if need)
    signals = ", ".join(signal.replace("_", " ") for signal in kind.detected)
    noticed = f"noticed by {signals}" if signals else "nothing has to notice it"
    return f"hits {hits}{f' with a {having}' if having else ''}; {noticed}"


def _parameters(kind: "FaultKind") -> list[tuple[str, str, str]]:
    return [
        (one.name, "(must be given)" if one.default is None else show_value(one.type, one.default), one.about)
        for one in kind.parameters
    ]


def _plain(kind: "FaultKind") -> dict[str, object]:
    parameters = [
        {"name": name, "type": one.type.value, "default": default, "about": about, "choices": list(one.choices)}
        for one, (name, default, about) in zip(kind.parameters, _parameters(kind), strict=True)
    ]
    return {
        "name": kind.name,
        "group": kind.group,
        "where": kind.where.value,
        "about": kind.about,
        "undo": kind.undo,
        "parameters": parameters,
        "targets": sorted(target.value for target in kind.targets),
        "seconds": kind.seconds,
        "lasting": kind.lasting,
        "detected": list(kind.detected),
    }


@inject.command("active")
def active(data_dir: DataDir = DEFAULT_DATA_DIR, json_: AsJson = False) -> None:
    """Show what is injected now. Exit code 4 when something could not be reverted or cannot be read.

    Example: rayvisor inject active
    """
    log = UndoLog(existing(data_dir) / FOLDER)
    records, stuck = log.active(), log.stuck()
    unreadable = log.unreadable()
    now = boot_time()
    if json_:
        answer = {
            "active": [_record(record, now) for record in records],
            "unrevertable": [_record(record, now) for record in stuck],
            "unreadable": [{"file": str(path), "error": error} for path, error in unreadable],
        }
        print_line(msgspec.json.encode(answer).decode())
    elif not (records or stuck or unreadable):
        out.print("nothing is injected")
    else:
        table = Table("id", "fault", "path", "state", "left", box=None, pad_edge=False)
        for record in (*records, *stuck):
            left = f"{max(0.0, record.deadline - now):.1f} s"
            table.add_row(
                record.order.id, record.order.kind, record.order.path, record.state, "" if record.stuck else left
            )
        out.print(table)
        for record in stuck:
            err.print(f"{record.order.id}: {record.given_up or record.why}", style="red", markup=False)
        _complain(unreadable)
    if stuck or unreadable:
        raise typer.Exit(NOT_REVERTED)


@inject.command("revert")
def revert(
    id_: Annotated[str, typer.Argument(metavar="[ID]", help="Of a fault, or of a whole injection.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Emergency stop: everything, and no injector goes on.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Undo faults and see them gone. With --all nothing else needs to run: no supervisor, no launcher, no Ray.

    Exit code 4 when something could not be reverted.

    Examples: rayvisor inject revert f-3k9x2a      rayvisor inject revert --all
    """
    from supervisors.runtime.undoing import emergency_stop, revert_faults

    if bool(id_) == all_:
        raise SpecError("name one fault, or --all", code=1533, fix="rayvisor inject active shows the names")
    folder = existing(data_dir)
    ended = emergency_stop(folder) if all_ else revert_faults(folder, id_)
    unreadable = UndoLog(folder / FOLDER).unreadable() if all_ else []
    stuck = [record for record in ended if record.state is not RecordState.REVERTED]
    if json_:
        now = boot_time()
        answer = {
            "reverted": [_record(record, now) for record in ended if record not in stuck],
            "unrevertable": [_record(record, now) for record in stuck],
            "unreadable": [{"file": str(path), "error": error} for path, error in unreadable],
        }
        print_line(msgspec.json.encode(answer).decode())
    else:
        for record in ended:
            if record in stuck:
                err.print(f"not reverted: {record.order.id}: {record.why}", style="red", markup=False)
            else:
                text = f"reverted: {record.order.id} {record.order.kind} {record.order.path}, by {record.by}"
                out.print(text, markup=False)
        if not ended:
            out.print("nothing is injected")
        _complain(unreadable)
    if stuck or unreadable:
        raise typer.Exit(NOT_REVERTED)


def _complain(unreadable: Iterable[tuple[Path, str]]) -> None:
    for path, error in unreadable:
        err.print(f"cannot be read, and may be of a fault: {path}: {error}", style="red", markup=False)


def _record(record: FaultRecord, now: float) -> dict[str, object]:
    order = record.order
    return {
        "id": order.id,
        "fault": order.kind,
        "path": order.path,
        "state": record.state.value,
        "params": order.params,
        "seconds": order.seconds,
        "left": round(max(0.0, record.deadline - now), 3),
        "run": order.run,
        "by": record.by,
        "why": record.why,
        "given_up": record.given_up,
    }


def _params(given: list[str]) -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SpecError(f"--param {text!r} is no NAME=VALUE", code=1531, fix="such as --param delay=300ms")
        found[name.strip()] = value.strip()
    return found


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SpecError(str(error), code=1505, fix="write a time such as 500ms or 5s") from None


def _say(line: str) -> None:
    stamp = time.strftime("%H:%M:%S")
    out.print(f"[dim]{stamp}[/] ", end="")
    out.print(line, markup=False)
