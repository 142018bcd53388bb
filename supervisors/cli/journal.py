"""Commands about journals. ``verify`` and ``dump`` read files only, which may be written meanwhile; ``accept`` says
that an older journal will do.
"""

import base64
import getpass
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from supervisors.cli.common import DEFAULT_DATA_DIR, FAILED, AsJson, DataDir, existing, out, print_line, tree_path
from supervisors.core.errors import SpecError, StateError
from supervisors.core.paths import parse
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.homing import HOME, put_home
from supervisors.runtime.store import GoalStore
from supervisors.state.folders import journal_folder
from supervisors.state.journal import FindingKind, JournalReader, Record, Report
from supervisors.state.journal.control import CONTROL
from supervisors.state.journal.segments import list_segments
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter

journal = typer.Typer(help="The journals of actors: whether they are whole, and what is in them.")

Place = Annotated[str, typer.Argument(metavar="PATH|FOLDER", help="A place in the tree, or the folder of a journal.")]


@journal.command()
def verify(place: Place, data_dir: DataDir = DEFAULT_DATA_DIR, json_: AsJson = False) -> None:
    """Read a whole journal, check every byte and tell what is not as it should be. Exit code 1 when something
    acknowledged is damaged or missing; a torn tail or leftovers are told and are no failure.

    Example: rayvisor journal verify /ledger
    """
    with JournalReader(find(place, data_dir)) as reader:
        report = reader.verify()
    if json_:
        print_line(msgspec.json.encode(report).decode())
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(FAILED)


@journal.command()
def dump(
    place: Place,
    after: Annotated[int, typer.Option("--after", min=0, help="Begin behind this sequence.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="No more than so many; 0: all.")] = 0,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Print the events of a journal, one a line: sequence, epoch, time, event. Exit code 1 where it is damaged,
    after all that is whole before that.

    Example: rayvisor journal dump /ledger --after 1000 --limit 20
    """
    with JournalReader(find(place, data_dir)) as reader:
        if not after:
            after = reader.begin - 1  # what was removed behind a checkpoint is no reason to show nothing
        for count, record in enumerate(reader.read(after), 1):
            print_line(_as_json(record) if json_ else _for_people(record))
            if count == limit:
                return


@journal.command()
def accept(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A place in the tree; all below it as well.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
) -> None:
    """Let children go on from the journal they find where they start next, though a newer one is on the disk of another
    node. What only that one has is lost: for a node that will not come back, or a folder that lost its id. Where a
    child is held already, naming the rung says the same (rayvisor recovery approve --rung).

    Example: rayvisor journal accept /ledger
    """
    top = tree_path(path)
    folder = existing(data_dir)
    store = GoalStore(folder)
    places = store.paths(HOME, top)
    trail = TrailWriter(folder / "trail", "cli", SystemClock())
    for place in places:
        before = store.get(HOME + place)
        put_home(store, place)
        trail.write(EventKind.ADMIN, place, data={"call": "journal accept", "home": before, "who": getpass.getuser()})
    trail.close()
    store.close()
    if json_:
        print_line(msgspec.json.encode({"path": top, "accepted": places}).decode())
    for place in () if json_ else places:
        print_line(f"{place} goes on from the journal where it starts next")
    if not places and not json_:
        print_line(f"nobody at {top} has a journal that is known of")


def find(place: str, data_dir: Path) -> Path:
    """The folder of the journal that ``place`` names.

    Raises:
        SpecError: it is neither a path of a tree nor a folder of a journal.
        LaunchError: there is no system in ``data_dir``.
        StateError: nothing was ever journalled there.
    """
    folder = Path(place)
    if (folder / CONTROL).is_file() or list_segments(folder):
        return folder
    try:
        path = parse(place)
    except ValueError as error:
        raise SpecError(
            f"{place!r} is no folder of a journal, and {error}", code=1507, fix="a path as rayvisor tree shows it"
        ) from None
    folder = journal_folder(existing(data_dir), path)
    if not folder.is_dir():
        raise StateError(
            f"{path} has no journal in {data_dir}", code=7015, fix="only an actor with apply and recovery has one"
        )
    return folder


def _show(report: Report) -> None:
    if report.findings:
        table = Table(box=None, pad_edge=False)
        for column in ("what", "file", "offset", "sequence", ""):
            table.add_column(column, justify="right" if column in ("offset", "sequence") else "left", overflow="fold")
        for one in report.findings:
            style = "bold red" if one.kind is FindingKind.CORRUPT else "yellow"
            table.add_row(f"[{style}]{one.kind}[/]", Path(one.file).name, str(one.offset), str(one.sequence), one.text)
        out.print(table)
    word = "[green]whole[/]" if report.ok else "[bold red]damaged[/]"
    count = report.last - report.first + 1
    events = f"events {report.first:,} to {report.last:,}" if count > 0 else "no events"
    out.print(
        f"{word}: {events}, durable up to {report.durable:,}, {report.segments} files, {report.bytes:,} bytes, "
        f"epoch {report.epoch}{', not closed: written now, or its writer was killed' if report.open else ''}"
    )


def _event(record: Record) -> object:
    """The event as its actor gave it, where it is msgpack; else the bytes in base64."""
    try:
        return msgspec.to_builtins(msgspec.msgpack.decode(record.body), str_keys=True)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return {"base64": base64.b64encode(record.body).decode()}


def _as_json(record: Record) -> str:
    line = {
        "sequence": record.sequence,
        "epoch": record.epoch,
        "monotonic_ns": record.monotonic_ns,
        "utc_ns": record.utc_ns,
        "bytes": len(record.body),
        "event": _event(record),
    }
    return msgspec.json.encode(line).decode()


def _for_people(record: Record) -> str:
    seconds, rest = divmod(record.utc_ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + f".{rest // 1_000_000:03d}Z"
    return f"{record.sequence} #{record.epoch} {stamp} {msgspec.json.encode(_event(record)).decode()}"
