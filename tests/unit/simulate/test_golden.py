"""Golden timelines of the example scripts. After a wanted change: UPDATE_GOLDEN=1 pytest tests/unit/simulate, and read
the difference before it is committed: each line is a promise of docs/semantics.md."""

import os
from pathlib import Path

import pytest

from supervisors.simulate import check_script, plain_timeline, simulate_file
from supervisors.spec import load_topology

EXAMPLES = Path(__file__).parents[3] / "examples"
GOLDEN = Path(__file__).parent / "golden"
SCRIPTS = sorted((EXAMPLES / "simulate").glob("*.yaml"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_script(script: Path) -> None:
    timeline = plain_timeline(simulate_file(None, script))
    golden = GOLDEN / f"{script.stem}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(timeline, encoding="utf-8")
    assert timeline == golden.read_text(encoding="utf-8")


def test_every_golden_file_has_its_script() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == [path.stem for path in SCRIPTS]
    assert len(SCRIPTS) == 9


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_paths_stand_in_their_topology(script: Path) -> None:
    _, parsed = check_script(script)
    assert parsed is not None
    assert parsed.topology is not None
    _, compiled = load_topology(script.parent / parsed.topology)
    report, _ = check_script(script, compiled)
    assert report.findings == ()
