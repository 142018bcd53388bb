"""What the documents show is true: topologies pass the check, Python is Python, links lead somewhere."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from actors import Actor
from supervisors.spec import check_text
from supervisors.spec.codes import MODULE_NOT_FOUND
from tests.docs.pages import EXAMPLES, PAGES, ROOT, Block, anchors, blocks, links

#: modules that stand for the reader's own
_MADE_UP = ("my_code",)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_a_topology_passes_the_check(block: Block) -> None:
    read = YAML(typ="safe").load(block.text)
    if not isinstance(read, dict) or "tree" not in read:
        return
    report = check_text(block.text, str(ROOT / "shown.yaml"))
    left = [
        finding
        for finding in report.errors
        if not (finding.code == MODULE_NOT_FOUND and any(name in finding.message for name in _MADE_UP))
    ]
    assert left == []


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles_and_actors_can_be_made(block: Block) -> None:
    code = compile(block.text, str(block), "exec")
    if "(Actor)" not in block.text:
        return
    names: dict[str, object] = {"__name__": "shown"}
    exec(code, names)
    made = [one for one in names.values() if isinstance(one, type) and issubclass(one, Actor) and one is not Actor]
    assert made
    for actor in made:
        actor(actor.Config())


def test_the_actor_shown_is_the_one_that_ships() -> None:
    shipped = (EXAMPLES / "my_actor" / "greeter.py").read_text("utf-8")
    shown = [block.text for block in blocks("python") if block.page == ROOT / "README.md"]
    assert shown[0] in shipped
    assert len(shipped.splitlines()) <= 30


def test_the_topology_shown_first_has_fifteen_lines() -> None:
    shown = [block.text for block in blocks("yaml") if block.page == ROOT / "README.md"]
    assert 13 <= len(shown[0].splitlines()) <= 16


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert path.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(path), link
