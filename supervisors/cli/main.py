"""Entry point: ``rayvisor COMMAND``; ``rayvisor COMMAND --help`` shows an example of each."""

import os
import signal
import sys

import typer

from supervisors import __version__
from supervisors.cli import chaos, drill, files, inject, journal, logs, look, orders, recovery, reload
from supervisors.cli import run as running
from supervisors.cli.common import FAILED, complain, print_line
from supervisors.core.errors import RayvisorError

app = typer.Typer(
    name="rayvisor",
    help="Erlang-style supervision trees for trading infrastructure on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"rayvisor {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Erlang-style supervision trees for trading infrastructure on Ray."""


for command in (*files.COMMANDS, *running.COMMANDS, *reload.COMMANDS, *look.COMMANDS, *logs.COMMANDS, *orders.COMMANDS):
    app.command()(command)
app.add_typer(orders.child, name="child")
app.add_typer(journal.journal, name="journal")
app.add_typer(recovery.recovery, name="recovery")
app.add_typer(inject.inject, name="inject")
app.add_typer(chaos.chaos, name="chaos")
app.command()(drill.drill)


def run() -> None:
    """Run the command line; every error that was foreseen is one clear line, never a traceback."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app()
    except RayvisorError as error:
        sys.exit(complain(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # the reader went away: what is left to flush must not raise again on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)


if __name__ == "__main__":
    run()
