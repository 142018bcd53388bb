"""docs/guarantees.md: ids are given once, and what is said to test a promise is there."""

import re
from collections import Counter
from pathlib import Path

from supervisors.runtime.store import GoalStore
from tests.docs.pages import PAGES, ROOT, prose

_TEXT = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
_ROWS = re.findall(r"^\| ([GN]-\d+) \|(.*)\|$", _TEXT, flags=re.MULTILINE)


def test_an_id_is_given_once() -> None:
    ids = Counter(row[0] for row in _ROWS)
    assert len(ids) >= 40
    assert [one for one, count in ids.items() if count > 1] == []


def test_an_id_that_is_named_exists() -> None:
    known = {row[0] for row in _ROWS}
    for page in PAGES:
        assert set(re.findall(r"\b[GN]-\d+\b", prose(page))) <= known, page


def test_each_promise_names_what_holds_it() -> None:
    for name, row in _ROWS:
        paths = re.findall(r"`((?:tests|supervisors|benchmarks)/[\w./]*)`", row)
        assert paths or name.startswith("N-"), name
        for path in paths:
            assert (ROOT / path).exists(), f"{name}: {path}"


def test_epochs_grow_over_runs_of_one_data_directory(tmp_path: Path) -> None:
    first = GoalStore(tmp_path)
    given = [first.next_epoch(), first.next_epoch()]
    first.clear()  # what a new `up` does
    first.close()
    second = GoalStore(tmp_path)
    given.append(second.next_epoch())
    second.close()
    assert given == [1, 2, 3]
