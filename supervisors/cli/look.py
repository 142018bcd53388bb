"""Commands that look at a running system: tree, trail, status of one call."""

import time
from typing import Annotated

import msgspec
import typer
from rich.live import Live

from supervisors.cli.common import DEFAULT_DATA_DIR, FAILED, AsJson, DataDir, existing, is_terminal, out, print_line
from supervisors.core.errors import LaunchError
from supervisors.trail.events import SequencedEvent
from supervisors.trail.failures import FailureFold, describe
from supervisors.trail.reader import Follower
from supervisors.trail.status import SystemStatus
from supervisors.trail.view import render, render_plain


def tree(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it until Ctrl-C.")] = False,
    json_: AsJson = False,
) -> None:
    """Show the running tree and the last failures. Exit code 1 when not everything is up.

    Example: rayvisor tree --watch
    """
    from supervisors.runtime.observer import Observer, is_up

    folder = existing(data_dir)
    observer = Observer(folder)
    fold = FailureFold()
    try:
        with Follower(folder / "trail") as follower:
            status = _look(observer.status(), follower, fold)
            if not any(supervisor.pid for supervisor in status.supervisors):
                raise LaunchError(f"nothing runs in {data_dir}", code=2006, fix="rayvisor up starts it")
            if json_:
                print_line(msgspec.json.encode(status).decode())
            elif watch and is_terminal():
                with Live(console=out, auto_refresh=False, screen=False) as live:
                    while True:
                        live.update(render(status, fold.failures, time.monotonic()), refresh=True)
                        time.sleep(0.5)
                        status = _look(observer.status(), follower, fold)
            elif is_terminal():
                out.print(render(status, fold.failures, time.monotonic()))
            else:
                print_line(render_plain(status, fold.failures, time.monotonic()).rstrip("\n"))
    finally:
        observer.close()
    if not is_up(status):
        raise typer.Exit(FAILED)


def _look(status: SystemStatus, follower: Follower, fold: FailureFold) -> SystemStatus:
    while events := follower.poll():
        fold.add_all(event.event for event in events)
    return status


def trail(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    since: Annotated[int, typer.Option("--since", help="First sequence number.")] = 0,
    path: Annotated[str, typer.Option("--path", help="Only this path and what is below it.")] = "",
    json_: AsJson = False,
) -> None:
    """Print the trail: everything the supervisors saw, decided and did, in order.

    Example: rayvisor trail --follow --path /cell
    """
    folder = existing(data_dir)
    with Follower(folder / "trail", since=since) as follower:
        while True:
            events = follower.poll()
            for event in events:
                if not path or event.event.path == path or event.event.path.startswith(path.rstrip("/") + "/"):
                    print_event(event, json_=json_)
            if not events:
                if not follow:
                    return
                time.sleep(0.1)


def print_event(event: SequencedEvent, *, json_: bool) -> None:
    """One event as a line."""
    if json_:
        print_line(msgspec.json.encode(event).decode())
        return
    one = event.event
    stamp = time.strftime("%H:%M:%S", time.localtime(one.utc / 1e9)) + f".{one.utc // 1_000_000 % 1000:03d}"
    life = f"#{one.incarnation}" if one.incarnation else ""
    text = describe(one).split("\n", 1)[0]
    print_line(f"{stamp} {one.kind:<20} {one.path}{life} {text}".rstrip())


COMMANDS = (tree, trail)
