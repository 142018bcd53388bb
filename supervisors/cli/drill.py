"""`rayvisor drill`: the recovery drills of 004 §12 on a running system."""

from pathlib import Path
from typing import Annotated

import typer

from supervisors.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir


def drill(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; else all, in order.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only list them.")] = False,
    system: Annotated[
        Path | None, typer.Option("--system", help="A topology that is brought up when nothing runs.")
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    keep_up: Annotated[bool, typer.Option("--keep-up", help="Leave up what was brought up for this.")] = False,
    json_: AsJson = False,
) -> None:
    """Hold a recovery drill: announce, break, fail over, verify, fail back, report. Exit codes as of `chaos run`.

    Examples: rayvisor drill --list
              rayvisor drill primary_and_standby_lost
    """
    # imported here: no other command waits for what chaos needs
    from supervisors.cli.chaos_drills import hold_drills, list_drills

    if list_:
        list_drills(json_=json_)
        return
    code = hold_drills(names or [], system, data_dir, keep_up=keep_up, json_=json_)
    if code:
        raise typer.Exit(code)
