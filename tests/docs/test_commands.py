"""Every ``rayvisor`` command that is shown exists, with the options it is shown with."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import typer

from supervisors.cli.main import app
from tests.docs.pages import EXAMPLES, PAGES, ROOT, blocks, spans

_MODULE = re.compile(r"python -m ([\w.]+)")


def _lines() -> Iterator[tuple[str, str]]:
    """Where, and each line a reader may type."""
    for block in blocks("console", "sh", "bash"):
        for line in block.text.splitlines():
            if block.language != "console" or line.startswith("$ "):
                yield str(block), line.removeprefix("$ ")
    for page in PAGES:
        for span in spans(page):
            yield str(page.relative_to(ROOT)), span
    for file in (ROOT / "topology.yaml", *sorted(EXAMPLES.rglob("*.yaml"))):
        for line in file.read_text("utf-8").splitlines():
            if line.startswith("#") and "rayvisor " in line:
                yield str(file.relative_to(ROOT)), line[line.index("rayvisor ") :].partition("  ")[0]


def _shown() -> list[tuple[str, str]]:
    return [(place, line) for place, line in _lines() if line.startswith("rayvisor ")]


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)[1:]
    for stop in ("|", ">", ">>", "&&"):
        if stop in words:
            words = words[: words.index(stop)]
    return words


@pytest.mark.parametrize(("place", "line"), _shown())
def test_a_command_exists_with_its_options(place: str, line: str) -> None:
    command = typer.main.get_command(app)
    words = _words(line)
    while True:
        context = command.context_class(command, info_name=command.name)
        commands = getattr(command, "commands", None)
        # raises for an option that does not exist, as the command itself would
        _, rest, _ = command.make_parser(context).parse_args(words)
        if commands is None or not rest:
            break
        assert rest[0] in commands, f"{place}: {line}"
        command, words = commands[rest[0]], rest[1:]
    takes = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    if not any(parameter.nargs == -1 for parameter in takes):
        assert len(rest) <= len(takes), f"{place}: {line}"


def test_commands_are_found_at_all() -> None:
    used = {_words(line)[0] for _, line in _shown() if _words(line)}
    assert used >= set(getattr(typer.main.get_command(app), "commands", ())), "a command that no page shows"


@pytest.mark.parametrize(
    "module", sorted({match for _, line in _lines() for match in _MODULE.findall(line)} - {"compileall"})
)
def test_a_module_that_is_to_be_run_exists(module: str) -> None:
    assert find_spec(module) is not None
