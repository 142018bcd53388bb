"""docs/operations.md has a row for every error code the source raises, and for no other; the same for metrics.

docs/simulation.md has one for each planted bug.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from supervisors.chaos.codes import CODES as CHAOS_CODES
from supervisors.simulate.dst.bugs import BUGS
from supervisors.spec.codes import CODES
from tests.docs.pages import ROOT

_TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")
_SOURCES = sorted(path for room in ("supervisors", "actors") for path in (ROOT / room).rglob("*.py"))


def _constant(node: ast.expr | None) -> int | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and 1000 <= node.value <= 9999:
        return node.value
    return None


def _found(tree: ast.AST) -> Iterator[int]:
    """Codes given to errors: ``code=2001``, ``default_code = 2001``, and constants that are passed as such."""
    named: list[tuple[str, int]] = []
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (value := _constant(node.value)) is not None:
            for target in node.targets:
                if isinstance(target, ast.Name):
                    named.append((target.id, value))
        elif isinstance(node, ast.Call):
            arguments = [word.value for word in node.keywords if word.arg == "code"]
            if isinstance(node.func, ast.Name) and node.func.id == "Problem":
                arguments += node.args[:1]
            for argument in arguments:
                if (value := _constant(argument)) is not None:
                    yield value
                elif isinstance(argument, ast.Name):
                    used.add(argument.id)
    yield from (value for name, value in named if name in used or name == "default_code")


def raised() -> set[int]:
    """Every code the source raises or finds."""
    found = set(CODES) | set(CHAOS_CODES)
    for path in _SOURCES:
        found.update(_found(ast.parse(path.read_text("utf-8"))))
    return found


def test_every_code_has_one_row_and_every_row_its_code() -> None:
    rows = Counter(int(code) for code in re.findall(r"^\| E(\d{4}) \|", _TEXT, flags=re.MULTILINE))
    assert [code for code, count in rows.items() if count > 1] == []
    assert raised() - set(rows) == set(), "codes without a row"
    assert set(rows) - raised() == set(), "rows without a code"


def test_a_row_has_a_meaning_and_a_fix() -> None:
    for row in re.findall(r"^\| E\d{4} \|.*$", _TEXT, flags=re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3, row
        assert all(cells), row


def test_rows_of_the_check_say_what_the_source_says() -> None:
    for number, code in (CODES | CHAOS_CODES).items():
        assert f"| E{number} | {code.title} ({code.severity.value}) |" in _TEXT


def test_every_metric_has_its_row() -> None:
    source = (ROOT / "supervisors" / "trail" / "metrics.py").read_text("utf-8")
    made = {f"rayvisor_{name}_total" for name in re.findall(r'_counter\("(\w+)"', source)}
    made |= {f"rayvisor_{name}" for name in re.findall(r'_(?:gauge|histogram)\("(\w+)"', source)}
    rows = set(re.findall(r"^\| `(rayvisor_\w+)` \|", _TEXT, flags=re.MULTILINE))
    assert rows == made


def test_every_planted_bug_is_in_the_table_with_what_it_took_to_find_it() -> None:
    text = (ROOT / "docs" / "simulation.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| .+ \| INV-\d+ \| \d+ \| \d+ \|$", text, re.MULTILINE)
    assert rows == list(BUGS)
