"""Commands about recoveries: status, history, show, approve, reject."""

import getpass
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.live import Live
from rich.text import Text

from supervisors.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, existing, is_terminal, out, print_line
from supervisors.core.errors import RecoveryError
from supervisors.core.paths import TreePath, id_of, parent_of
from supervisors.trail.reader import read_all
from supervisors.trail.recoveries import Recovery, RecoveryFold
from supervisors.trail.status import ChildStatus, SystemStatus

recovery = typer.Typer(help="Recoveries: where they stand, how they went, and what a person has to say to them.")

RecoveryId = Annotated[str, typer.Argument(help="Id as `recovery status` or `history` shows it, such as /cell/md#3.")]


class _Row(msgspec.Struct):
    """A child with a recovery, standbys or both."""

    path: str
    state: str
    pid: int
    incarnation: int
    epoch: int
    child: ChildStatus


@recovery.command()
def status(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it until Ctrl-C.")] = False,
    json_: AsJson = False,
) -> None:
    """Show standbys, recoveries in hand with their progress, and what waits for a person.

    Example: rayvisor recovery status --watch
    """
    from supervisors.runtime.observer import Observer

    observer = Observer(existing(data_dir))
    try:
        found = observer.status()
        if json_:
            rows = [msgspec.to_builtins(row.child) for row in _rows(found)]
            print_line(msgspec.json.encode({"system": found.system, "children": rows}).decode())
        elif watch and is_terminal():
            with Live(console=out, auto_refresh=False) as live:
                while True:
                    live.update(_status(found), refresh=True)
                    time.sleep(0.25)
                    found = observer.status()
        else:
            out.print(_status(found), end="")
    finally:
        observer.close()


def _rows(found: SystemStatus) -> Iterator[_Row]:
    for supervisor in found.supervisors:
        for child in supervisor.children:
            if child.standbys or child.recovery is not None:
                yield _Row(child.path, child.state, child.pid, child.incarnation, child.epoch, child)


def _status(found: SystemStatus) -> Text:
    """A block for each child: its life, its standbys, its recovery, and what it waits for."""
    text = Text()
    for row in _rows(found):
        one = row.child.recovery
        colour = "yellow" if one is not None and one.state not in ("healthy", "recovered") else "green"
        text.append(f"{row.path}", style="bold")
        text.append(f"  {row.state}", style="magenta" if row.state == "held" else colour)
        text.append(f"  life {row.incarnation}, epoch {row.epoch}, pid {row.pid or '-'}\n")
        for standby in row.child.standbys:
            text.append(f"  standby   {standby.state}", style="green" if standby.state == "synced" else "yellow")
            text.append(f", {standby.lag * 1e3:.1f} ms behind, event {standby.applied}, pid {standby.pid}")
            text.append(f": {standby.why}\n" if standby.why and standby.state != "synced" else "\n")
        if one is None:
            continue
        eta = "" if one.eta is None else f", {one.eta:.1f} s to go"
        text.append(f"  recovery  {one.state}", style=colour)
        text.append(f" of {one.failure} by {one.rung or 'no rung yet'}: {one.percent:.0f} %{eta}, size {one.size:g}")
        text.append(", later than promised\n" if one.over_rto else "\n")
        if one.step:
            left = f"; left: {', '.join(one.left)}" if one.left else ""
            text.append(f"  step      {one.step}; done: {', '.join(one.done) or 'nothing'}{left}\n")
        if one.hold:
            text.append(f"  waits     rayvisor recovery approve {one.hold}   or   reject\n", style="bold magenta")
    if not text.plain:
        text.append("no child has a standby, and none was ever recovered\n", style="dim")
    return text


@recovery.command()
def history(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    path: Annotated[str, typer.Option("--path", help="Only this path and what is below it.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="The newest so many.", min=1)] = 20,
    json_: AsJson = False,
) -> None:
    """List recoveries, newest last: the rung, the evidence that decided, and the times.

    Example: rayvisor recovery history --path /ledger
    """
    found = [one for one in _read(data_dir) if not path or one.path == path or one.path.startswith(f"{path}/")]
    found = found[-limit:]
    if json_:
        for one in found:
            print_line(msgspec.json.encode(one).decode())
        return
    for one in found:
        out.print(_line(one), end="")
    if not found:
        out.print("no recoveries yet", style="dim")


def _line(one: Recovery) -> Text:
    """Three lines: what and how, why so, and the times."""
    text = Text()
    rungs = " > ".join(f"{tried.rung}{' (failed)' if tried.why else ''}" for tried in one.tried)
    text.append(one.id, style="bold")
    text.append(f"  {_clock(one.utc)}  ")
    text.append(f"{rungs}  {_ms(one.total_ms)}", style="magenta" if one.hold and not one.answers else "green")
    text.append(f"  {one.state}  {one.reason}\n")
    text.append(f"    because {one.because}\n")
    text.append(f"    {_times(one)}\n", style="dim")
    for tried in one.tried:
        if tried.why:
            text.append(f"    {tried.rung} failed: {tried.why}\n", style="yellow")
    for answer in one.answers:
        text.append(f"    {answer}\n", style="magenta")
    return text


def _times(one: Recovery) -> str:
    parts = [f"detect {_ms(one.detect_ms)}", f"decide {_ms(one.decide_ms)}"]
    if one.promote_ms is not None:
        parts.append(f"promote {_ms(one.promote_ms)} (event {one.sequence}, {one.behind} behind)")
    elif one.restore_ms is not None:
        parts.append(f"restore {_ms(one.restore_ms)} (checkpoint {one.checkpoint}, {one.events} events after it)")
    parts += [f"start {_ms(one.start_ms)}", f"total {_ms(one.total_ms)}", f"epoch {one.epoch}", f"size {one.size:g}"]
    return ", ".join(parts)


@recovery.command()
def show(id_: RecoveryId, data_dir: DataDir = DEFAULT_DATA_DIR, json_: AsJson = False) -> None:
    """Show one recovery whole: each rule with the evidence it saw, each step with its time, checks and answers.

    Example: rayvisor recovery show /ledger#3
    """
    one = next((one for one in _read(data_dir) if id_ in (one.id, one.hold)), None)
    if one is None:
        raise RecoveryError(f"no recovery {id_!r}", code=8002, fix="rayvisor recovery history lists them")
    if json_:
        print_line(msgspec.json.encode(one).decode())
        return
    out.print(f"[bold]{one.id}[/]  {_clock(one.utc)}  ", end="")
    out.print(f"{one.reason or 'not known'}" + (f", first seen by {one.signal}" if one.signal else ""), markup=False)
    out.print(f"because: {one.because}", markup=False)
    for rule in one.trace:
        held = {True: "yes", False: "no", None: "not known"}[_truth(rule.get("held"))]
        saw, bound = _pairs(rule.get("saw")), _pairs(rule.get("bound"))
        words = [f"  {held:<9} {rule.get('when')} -> {rule.get('then')}"]
        words += [f"saw {saw}"] if saw else []
        words += [f"bound {bound}"] if bound else []
        words += [str(rule["why"])] if rule.get("why") else []
        out.print("; ".join(words), markup=False, style="bold" if held == "yes" else "")
    for line in one.steps:
        out.print(line, markup=False)
    for title, lines in (("checks", one.checks), ("answers", one.answers), ("kept", one.preserved)):
        if lines:
            out.print(f"[bold]{title}[/]")
            for line in lines:
                out.print(f"  {line}", markup=False)
    out.print(f"{_times(one)}; now {one.state}", markup=False)


@recovery.command()
def approve(
    id_: RecoveryId,
    why: Annotated[str, typer.Option("--why", help="Kept with the answer.")] = "",
    rung: Annotated[str, typer.Option("--rung", help="hot, warm or cold; the proposed one otherwise.")] = "",
    who: Annotated[str, typer.Option("--who", help="Your name; the user's otherwise.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Let a held recovery go on.

    Example: rayvisor recovery approve /ledger#3:1 --why "the venue confirmed our positions"
    """
    _answer(id_, who or _user(), why, rung, data_dir, json_, approve=True)


@recovery.command()
def reject(
    id_: RecoveryId,
    why: Annotated[str, typer.Option("--why", help="Kept with the answer.")] = "",
    who: Annotated[str, typer.Option("--who", help="Your name; the user's otherwise.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Leave the child of a held recovery down; `rayvisor child restart` brings it up later.

    Example: rayvisor recovery reject /ledger#3:1 --why "positions do not match, desk is flat"
    """
    _answer(id_, who or _user(), why, "", data_dir, json_, approve=False)


def _answer(id_: str, who: str, why: str, rung: str, data_dir: Path, json_: bool, *, approve: bool) -> None:
    # not above: it brings Ray in, which `rayvisor call` has to set up before it is imported (2054)
    from supervisors.runtime.answers import APPROVE, REJECT, HoldAnswer
    from supervisors.runtime.observer import Observer

    path = id_.partition("#")[0]
    if not path.startswith("/") or not id_of(TreePath(path)):
        raise RecoveryError(f"no recovery {id_!r}", code=8002, fix="rayvisor recovery status shows what waits")
    observer = Observer(existing(data_dir))
    try:
        order, words = APPROVE if approve else REJECT, msgspec.json.encode(HoldAnswer(who, why, rung)).decode()
        answer = observer.order(parent_of(TreePath(path)), order, id_, words)
    finally:
        observer.close()
    if answer.error == "refused":
        raise RecoveryError(answer.detail, code=8004, fix="rayvisor recovery status shows what waits")
    if answer.error:
        raise RecoveryError(f"{answer.error}: {answer.detail}", code=8002)
    if json_:
        print_line(msgspec.json.encode({"id": id_, "answer": order, "who": who, "said": answer.detail}).decode())
    else:
        out.print(f"{id_}: {order}d by {who}. {answer.detail}".replace("rejectd", "rejected"), markup=False)


def _read(data_dir: DataDir) -> list[Recovery]:
    fold = RecoveryFold()
    fold.add_all(event.event for event in read_all(existing(data_dir) / "trail"))
    return fold.recoveries


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _pairs(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else ""


def _clock(utc: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(utc / 1e9)) + f".{utc // 1_000_000 % 1000:03d}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
