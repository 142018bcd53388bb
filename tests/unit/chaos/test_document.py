"""Experiment files: what is read, and what is wrong told all at once with its place."""

from pathlib import Path

import pytest

from supervisors.chaos import codes
from supervisors.chaos.document import CallAnswers, FaultStep, KillStep, ParallelStep, Strategy
from supervisors.chaos.reading import load_experiment, read_experiment, read_text
from supervisors.core.errors import SpecError
from supervisors.spec import codes as spec_codes

TOPOLOGY = """
system: pair
faults: {enabled: true, max_targets: 2, longest: 60s}
tree:
  children:
    - {id: a, actor: "tests.ray.actors:Worker"}
    - id: cell
      children:
        - {id: b, actor: "tests.ray.actors:Counter", recovery: {standbys: 1}}
"""


def _codes(text: str) -> list[int]:
    return [finding.code for finding in read_text(text).report.findings]


def _write(folder: Path, text: str, topology: str = TOPOLOGY) -> Path:
    (folder / "t.yaml").write_text(topology)
    file = folder / "e.yaml"
    file.write_text(text)
    return file


def test_everything_that_can_be_written_is_read() -> None:
    text = """
title: all of it
seed: 7
steady_state:
  - {probe: tree_healthy, within: 5s, path: /cell}
  - {probe: call, path: /a, method: total, field: sum, min: 3, max: 9}
  - {probe: metric, metric: rayvisor_restarts_total, labels: {path: /a}, max: 10}
  - {probe: trail, kind: promoted, min: 1, last: 5s}
hypothesis: {strategy: continuous, every: 500ms}
workload: {path: /a, method: post, args: ["{n}", x, 1], rate: 50, clients: 3}
method:
  - {fault: delay, path: /a, for: 5s, params: {delay: 100ms, on: calls}, name: slow, first: 2, probability: 0.5}
  - {kill: /cell, targets: supervisors}
  - parallel:
      - {wait: 1s}
      - [{wait: 1s}, {call: /a, method: ping, may_fail: true}]
  - background: [{repeat: {times: 3, every: 1s, steps: [{kill: /a}]}}]
  - {revert: slow}
  - {revert: all}
rollbacks: [{call: /a, method: reset, may_fail: true}]
controls: {before_each: [{probe: tree_healthy}], after_each: [{wait: 1s}], abort: {max_faults: 9, max_duration: 1m}}
limits: {max_targets: 2}
settle: 20s
"""
    loaded = read_text(text)
    assert loaded.report.findings == ()
    experiment = loaded.experiment
    assert experiment is not None
    assert experiment.hypothesis.strategy is Strategy.CONTINUOUS
    first = experiment.method[0]
    assert isinstance(first, FaultStep)
    assert (first.seconds, first.first, first.probability) == (5.0, 2, 0.5)
    assert isinstance(experiment.method[1], KillStep)
    parallel = experiment.method[2]
    assert isinstance(parallel, ParallelStep)
    assert isinstance(parallel.parallel[1], list)
    assert isinstance(experiment.steady_state[1], CallAnswers)
    assert experiment.controls.abort.max_duration == 60.0


def test_all_errors_are_told_at_once_with_their_places() -> None:
    text = """title: x
steady_state:
  - {probe: tree_healty}
method:
  - falt: kill
    path: /a
  - {fault: kil, path: /a}
  - {fault: kill}
  - {fault: delay, path: /a, params: {dealy: 1s, delay: x}}
  - {wait: abc}
  - {probe: call, path: a, method: _x, min: 3}
  - {repeat: {times: 0, steps: [{wait: 1s}], evry: 1}}
  - {revert: nobody}
  - {probe: call, path: /b, method: x}
hypothesis: {strategy: aftr}
rollbacks:
  - {fault: kill, path: /a}
wat: 1
"""
    report = read_text(text).report
    found = {(finding.line, finding.column): finding.code for finding in report.findings}
    assert found == {
        (3, 13): codes.NOT_ONE_OF,
        (5, 5): codes.NO_STEP,
        (7, 13): codes.UNKNOWN_FAULT,
        (8, 5): codes.MISSING_KEY,
        (9, 39): codes.BAD_PARAMETER,
        (9, 57): codes.BAD_PARAMETER,
        (10, 12): codes.BAD_DURATION,
        (11, 25): codes.BAD_PATH,
        (11, 36): codes.BAD_VALUE,
        (12, 22): codes.OUT_OF_RANGE,
        (12, 46): codes.UNKNOWN_KEY,
        (13, 14): codes.UNKNOWN_NAME,
        (14, 5): codes.NO_TOLERANCE,
        (15, 24): codes.NOT_ONE_OF,
        (17, 5): codes.NO_STEP,
        (18, 1): codes.UNKNOWN_KEY,
    }
    assert all(finding.fix for finding in report.findings)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", spec_codes.FILE_EMPTY),
        ("- a", spec_codes.NOT_A_MAPPING),
        ("title: [", spec_codes.YAML_SYNTAX),
        ("title: x\ntitle: y\nmethod: []", spec_codes.DUPLICATE_KEY),
        ("title: x\nmethod:\n\t- a", spec_codes.TAB_INDENT),
        ("method: [{kill: /a}]", codes.MISSING_KEY),
        ("title: 3\nmethod: [{kill: /a}]", codes.WRONG_TYPE),
        ("title: x\nversion: 2\nmethod: [{kill: /a}]", codes.NOT_ONE_OF),
        ("title: x\nmethod: {a: 1}", codes.WRONG_TYPE),
        ("title: x\nmethod: [{wait: 1s}]", codes.NO_FAULT),
        ("title: x\nmethod: [{kill: /a}]", codes.NO_HYPOTHESIS),
        ("title: x\nmethod: [{repeat: {times: 9999, steps: [{repeat: {times: 99, steps: [{wait: 0}]}}]}}]", 1617),
        ("title: x\nworkload: {path: /a, method: m}", codes.NOT_UNIQUE),
        ("title: x\nworkload: {path: /a, method: m, args: [{'{n}': 1}]}", codes.NOT_UNIQUE),
        ('title: x\nsteady_state: [{probe: call, path: /a, method: m, matches: "("}]', codes.BAD_PATTERN),
        ("title: x\nsteady_state: [{probe: trail, kind: promted, max: 0}]", codes.NOT_ONE_OF),
        ("title: x\nsystem: nowhere.yaml", codes.SYSTEM_UNUSABLE),
        ("title: x\nmethod: [{parallel: [{kill: 3}]}]", codes.WRONG_TYPE),
        ("title: x\nmethod: [{background: []}]", codes.OUT_OF_RANGE),
    ],
)
def test_a_finding(text: str, code: int) -> None:
    assert code in _codes(text)


@pytest.mark.parametrize(
    "pattern", ["a{99999999999999999999}", "(" * 3000 + "a" + ")" * 3000], ids=["a number", "groups"]
)
def test_a_pattern_that_python_cannot_take(pattern: str) -> None:
    text = f'title: x\nsteady_state:\n  - {{probe: call, path: /a, method: m, matches: "{pattern}"}}\n'
    found = [(one.code, one.line, one.column) for one in read_text(text).report.errors]
    assert found == [(codes.BAD_PATTERN, 3, 49)]


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000 + "t.yaml", '"a\\0b"'], ids=["long", "deep", "zero"])
def test_a_system_whose_name_no_file_can_have(name: str) -> None:
    found = [(one.code, one.line, one.column) for one in read_text(f"title: x\nsystem: {name}\n").report.errors]
    assert found == [(codes.SYSTEM_UNUSABLE, 2, 9)]


@pytest.mark.parametrize("args", ["['{n}']", "[a, 'order-{n}', '{n}']", "[{ref: ['x-{n}']}]"])
def test_a_call_that_is_unique_wherever_in_its_arguments(args: str) -> None:
    assert codes.NOT_UNIQUE not in _codes(f"title: x\nworkload: {{path: /a, method: m, args: {args}}}")


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("{kill: /nobody}", codes.PATH_NOT_IN_TREE),
        ("{fault: hang, path: /cell}", codes.UNFIT_TARGET),
        ("{fault: slow_disk, path: /a}", codes.UNFIT_TARGET),
        ("{fault: contend, path: /a}", codes.UNFIT_TARGET),
        ("{fault: stop, path: /a, for: 2m}", codes.TOO_LONG),
        ("{call: /cell, method: x}", codes.UNFIT_TARGET),
    ],
)
def test_what_does_not_go_with_its_system(tmp_path: Path, step: str, code: int) -> None:
    file = _write(tmp_path, f"title: x\nsystem: t.yaml\nmethod:\n  - {step}\n")
    found = [(finding.code, finding.line) for finding in read_experiment(file).report.errors]
    assert found == [(code, 4)]


def test_limits_of_the_system_hold(tmp_path: Path) -> None:
    file = _write(tmp_path, "title: x\nsystem: t.yaml\nmethod: [{kill: /a}]\nlimits: {max_targets: 3}\n")
    assert [finding.code for finding in read_experiment(file).report.errors] == [codes.TOO_MANY_TARGETS]


def test_a_system_that_allows_no_faults_or_is_broken(tmp_path: Path) -> None:
    text = "title: x\nsystem: t.yaml\nmethod: [{kill: /a}]\n"
    off = _write(tmp_path, text, TOPOLOGY.replace("enabled: true", "enabled: false"))
    assert [finding.code for finding in read_experiment(off).report.errors] == [codes.FAULTS_OFF]
    broken = _write(tmp_path, text, "tree: {children: [{id: 3}]}")
    assert [finding.code for finding in read_experiment(broken).report.errors] == [codes.SYSTEM_UNUSABLE]


def test_what_is_known_of_the_system(tmp_path: Path) -> None:
    file = _write(tmp_path, "title: x\nsystem: t.yaml\nmethod: [{kill: /cell/b}]\n")
    known = load_experiment(file).known
    assert known.name == "pair"
    assert known.places is not None
    assert known.places["/cell"].supervisor
    assert (known.places["/cell/b"].standbys, known.places["/cell/b"].journal) == (1, True)
    assert (known.max_targets, known.longest) == (2, 60.0)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert [f.code for f in read_experiment(tmp_path / "none.yaml").report.findings] == [spec_codes.FILE_MISSING]
    assert [f.code for f in read_experiment(tmp_path).report.findings] == [spec_codes.FILE_IS_DIRECTORY]
    (tmp_path / "bytes.yaml").write_bytes(b"title: \xff")
    finding = read_experiment(tmp_path / "bytes.yaml").report.findings[0]
    assert (finding.code, finding.line, finding.column) == (spec_codes.NOT_UTF8, 1, 8)
    with pytest.raises(SpecError) as failed:
        load_experiment(tmp_path / "none.yaml")
    assert failed.value.code == spec_codes.FILE_MISSING


def test_every_code_is_of_this_room() -> None:
    numbers = [value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)]
    assert sorted(numbers) == sorted(codes.CODES)
    assert all(1600 < number < 1700 for number in numbers)
