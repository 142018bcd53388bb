"""What all commands share: options, output, exit codes 0 ok, 1 failed, 2 bad input (DESIGN.md §9)."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from supervisors.core.errors import LaunchError, RayvisorError, SpecError
from supervisors.core.paths import TreePath, parse

FAILED = 1
BAD_INPUT = 2

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="RAYVISOR_DATA_DIR", help="Where the system keeps its state.", show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT_DATA_DIR = Path(".rayvisor")


def print_line(text: str) -> None:
    """One line to standard output, unchanged."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(error: RayvisorError) -> int:
    """Print an error for people and return the exit code that goes with it."""
    err.print(f"[bold red]error[/] [bold]E{error.code}[/] ", end="")
    err.print(error.message, markup=False)
    if error.fix:
        err.print("  fix: ", style="green", end="")
        err.print(error.fix, markup=False)
    return BAD_INPUT if isinstance(error, SpecError) else FAILED


def tree_path(text: str) -> TreePath:
    """A path that somebody typed.

    Raises:
        SpecError: it is none (1507).
    """
    try:
        return parse(text)
    except ValueError as error:
        raise SpecError(str(error), code=1507, fix="write it as in: rayvisor tree") from None


def existing(data_dir: Path) -> Path:
    """``data_dir``, when a system was ever started in it.

    Raises:
        LaunchError: nothing is there.
    """
    if not (data_dir / "goals.sqlite").exists():
        raise LaunchError(
            f"no system in {data_dir}",
            code=2006,
            fix="rayvisor up starts one; --data-dir or RAYVISOR_DATA_DIR names it",
        )
    return data_dir.resolve()


def is_terminal() -> bool:
    """True when a person looks at standard output."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
