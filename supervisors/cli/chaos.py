"""`rayvisor chaos`: a group whose commands are imported when one is asked for; no other command waits for them."""

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    # typer carries its own copy of click
    from typer._click.core import Command


class LazyGroup(TyperGroup):
    """A group that learns its commands from ``supervisors.cli.chaos_commands`` on first use."""

    _known: "dict[str, Command] | None" = None

    @property
    def commands(self) -> "MutableMapping[str, Command]":
        """By name."""
        if self._known is None:
            from supervisors.cli.chaos_commands import chaos as whole

            made = typer.main.get_command(whole)
            self._known = dict(getattr(made, "commands", {}))
        return self._known

    @commands.setter
    def commands(self, given: "MutableMapping[str, Command]") -> None:
        """What is set when the group is made: nothing yet."""


chaos = typer.Typer(
    cls=LazyGroup,
    help="Break a system on purpose and get a verdict with numbers: experiments, the monkey, reports.",
    no_args_is_help=True,
)
