"""Examples do what their pages say, as far as that can be told without starting them."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from supervisors.chaos.reading import read_experiment, read_text
from supervisors.cli.main import app
from supervisors.spec import check_file
from tests.docs.pages import EXAMPLES, ROOT, blocks

_ALL = sorted(EXAMPLES.rglob("*.yaml"))
SCRIPTS = [path for path in _ALL if re.search(r"^steps:", path.read_text("utf-8"), re.MULTILINE)]
BROKEN = EXAMPLES / "broken.yaml"
EXPERIMENTS = [path for path in _ALL if path.parent.name == "experiments"]
TOPOLOGIES = [ROOT / "topology.yaml", *(path for path in _ALL if path not in (*SCRIPTS, *EXPERIMENTS, BROKEN))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TOPOLOGIES, ids=_name)
def test_a_topology_passes_the_check(path: Path) -> None:
    report = check_file(path)
    assert report.ok, report.findings
    assert [finding for finding in report.findings if finding.severity.value == "warning"] == []


def test_the_broken_one_shows_its_faults_all_at_once() -> None:
    done = CliRunner().invoke(app, ["check", str(BROKEN)])
    assert done.exit_code == 2
    findings = [line for line in done.stdout.splitlines() if " error E" in line]
    assert len(findings) >= 15
    assert len({line.split(" error ")[1].split()[0] for line in findings}) >= 15, "kinds"


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_a_script_runs(path: Path) -> None:
    done = CliRunner().invoke(app, ["simulate", "--script", str(path)])
    assert done.exit_code == 0, done.output
    assert "failures" in done.stdout


@pytest.mark.parametrize("path", EXPERIMENTS, ids=_name)
def test_an_experiment_passes_the_check(path: Path) -> None:
    loaded = read_experiment(path)
    assert loaded.report.findings == ()
    assert loaded.known.topology is not None


def test_experiments_in_the_guide_pass_the_check() -> None:
    shown = [block for block in blocks("yaml") if re.search(r"^method:", block.text, re.MULTILINE)]
    assert shown
    for block in shown:
        assert read_text(block.text, str(EXAMPLES / "experiments" / "shown.yaml")).report.findings == (), block


def test_every_example_is_listed() -> None:
    page = (EXAMPLES / "README.md").read_text("utf-8")
    for path in _ALL:
        assert str(path.relative_to(EXAMPLES)) in page, path
