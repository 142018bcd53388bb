"""Import strings: what is found, what is refused, and configs held against classes. No Ray is needed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.core.errors import SpecError
from supervisors.spec import ActorKind, check_file, load_actor
from supervisors.spec import codes as c
from tests.unit.spec.sample import unmark

_MODULE = '''
from pydantic import BaseModel, ConfigDict, field_validator
from actors.base import Actor

class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    symbols: list[str]
    depth: int = 10
    when: "datetime.date | None" = None

    @field_validator("depth")
    @classmethod
    def _odd(cls, value):
        if value == 13:
            raise RuntimeError("unlucky\\nnumber")
        return value

import datetime
Settings.model_rebuild()

class Good(Actor):
    Config = Settings

class NoModel(Actor):
    Config = dict

class Plain:
    def __init__(self, name, *, size=1): ...

class Positional:
    def __init__(self, name, /): ...

class Anything:
    def __init__(self, **options): ...

class Outer:
    class Inner: ...

class _Meta:
    modified_class = Plain

class _Wrapper:
    """What ray.remote makes of a class, as far as this room looks at it."""
    __ray_metadata__ = _Meta

Remote = _Wrapper()

def function(): ...
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "good_mod.py").write_text(_MODULE)
    (tmp_path / "raising_mod.py").write_text("raise LookupError('first\\nlast line')\n")
    (tmp_path / "leaving_mod.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "needing_mod.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "mean_mod.py").write_text("class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n")
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path, "the check must leave sys.path as it was"
    for name in ("good_mod", "raising_mod", "leaving_mod", "needing_mod", "mean_mod"):
        sys.modules.pop(name, None)


def _check(folder: Path, text: str) -> list[tuple[int, int, int, str]]:
    file = folder / "topology.yaml"
    file.write_text(text)
    return [(f.code, f.line, f.column, f.message) for f in check_file(file).findings if f.code != c.PROCESS_COUNT]


@pytest.mark.parametrize(
    "child",
    [
        "actor: 'good_mod:Good', config: {symbols: [a], when: 2024-01-31}",
        "actor: 'good_mod:Plain', config: {name: 1, size: 2}",
        "actor: 'good_mod:Remote', config: {name: 1}",
        "actor: 'good_mod:Anything', config: {what: ever}",
        "actor: 'good_mod:Outer.Inner'",
    ],
)
def test_accepted(folder: Path, child: str) -> None:
    assert _check(folder, f"tree:\n  children:\n    - {{id: a, {child}}}\n") == []


@pytest.mark.parametrize(
    ("marked", "code", "words"),
    [
        ("actor: §'good_mood:Good'", c.MODULE_NOT_FOUND, "module 'good_mood' is not found"),
        ("actor: §'good_mod.sub:Good'", c.MODULE_NOT_FOUND, "module 'good_mod.sub' is not found"),
        ("actor: §'good_mod:Goud'", c.ATTRIBUTE_MISSING, "good_mod has no 'Goud'"),
        ("actor: §'good_mod:Outer.Iner'", c.ATTRIBUTE_MISSING, "has no 'Outer.Iner'"),
        ("actor: §'good_mod:function'", c.NOT_A_CLASS, "is a function"),
        ("actor: §'good_mod:NoModel'", c.NOT_A_CLASS, "no pydantic model"),
        ("actor: §'raising_mod:X'", c.IMPORT_RAISED, "raised LookupError: last line"),
        ("actor: §'leaving_mod:X'", c.IMPORT_RAISED, "raised SystemExit: 3"),
        ("actor: §'needing_mod:X'", c.IMPORT_RAISED, "No module named 'not_installed_anywhere'"),
        ("actor: §'mean_mod:X'", c.IMPORT_RAISED, "raised E"),
        ("actor: 'good_mod:Good', config: {symbols: [a, §3]}", c.CONFIG_REFUSED, "config symbols.1"),
        ("actor: 'good_mod:Good', config: {symbols: [], depth: §'1'}", c.CONFIG_REFUSED, "config depth"),
        ("actor: 'good_mod:Good', config: §{symbols: [], depth: 13}", c.CONFIG_REFUSED, "RuntimeError: number"),
        ("actor: 'good_mod:Good', config: {symbols: [], §dept: 1}", c.CONFIG_UNKNOWN, "'dept'"),
        ("actor: 'good_mod:Good', config: §{depth: 1}", c.CONFIG_MISSING, "no symbols"),
        ("actor: 'good_mod:Good'", c.CONFIG_MISSING, "no symbols"),
        ("actor: 'good_mod:Plain', config: {name: 1, §siz: 2}", c.CONFIG_UNKNOWN, "takes no 'siz'"),
        ("actor: 'good_mod:Remote', config: §{size: 1}", c.CONFIG_MISSING, "needs 'name'"),
        ("actor: 'good_mod:Positional'", c.CONFIG_REFUSED, "by position only"),
        ("actor: 'types:SimpleNamespace'", c.CONFIG_UNCHECKED, "no signature"),
    ],
)
def test_refused(folder: Path, marked: str, code: int, words: str) -> None:
    # without a mark it is the child as a whole that is meant
    child, places = unmark(f"tree:\n  children:\n    - {'' if '§' in marked else '§'}{{id: a, {marked}}}\n")
    ((found, line, column, message),) = _check(folder, child)
    assert (found, (line, column)) == (code, places[0])
    assert words in message


def test_each_module_is_imported_once_for_many_children(folder: Path) -> None:
    (folder / "counting_mod.py").write_text(
        "import builtins\nbuiltins._n = getattr(builtins, '_n', 0) + 1\nraise OSError\n"
    )
    file = folder / "topology.yaml"
    rows = "".join(f"    - {{id: a{n}, actor: 'counting_mod:X'}}\n" for n in range(5))
    file.write_text(f"tree:\n  children:\n{rows}")
    assert [f.code for f in check_file(file).errors] == [c.IMPORT_RAISED] * 5
    import builtins

    assert vars(builtins).pop("_n") == 1


def test_load_actor() -> None:
    assert load_actor("actors.base:Actor").kind is ActorKind.ACTOR
    assert load_actor("queue:Queue").kind is ActorKind.PLAIN
    with pytest.raises(SpecError) as caught:
        load_actor("queue")
    assert caught.value.code == c.BAD_IMPORT_STRING
