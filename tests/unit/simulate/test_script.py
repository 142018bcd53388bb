"""Scripts: what is read, and that what is wrong is told all at once with its place and a fix."""

from pathlib import Path

import pytest

from supervisors.core.errors import SpecError
from supervisors.simulate import load_script
from supervisors.simulate.load import NOT_A_SUPERVISOR, NOT_ONE_ACTION, UNKNOWN_PATH, check_script, check_script_text
from supervisors.spec import codes
from tests.unit.simulate.support import nested, script


def found(text: str, *, against_tree: bool = False) -> list[tuple[int, int, int]]:
    report, _ = check_script_text(text, "s.yaml", nested() if against_tree else None)
    assert all(finding.fix for finding in report.findings)
    return [(finding.line, finding.column, finding.code) for finding in report.findings]


def test_a_list_of_steps() -> None:
    parsed = script("- {at: 2s, exit: {path: /a/b, reason: oom, message: too much}}\n- {shutdown: {}}\n")
    assert parsed.steps[0].at == 2.0
    assert parsed.steps[0].exit is not None
    assert str(parsed.steps[0].exit.exit_reason) == "oom: too much"
    assert parsed.for_ is None


def test_settings_beside_the_steps() -> None:
    parsed = script(
        "topology: t.yaml\nfor: 60s\nseed: 7\nstart_takes: 500ms\nsteps: [{crash_supervisor: {path: /a}}]\n"
    )
    assert (parsed.topology, parsed.for_, parsed.seed, parsed.start_takes) == ("t.yaml", 60.0, 7, 0.5)


def test_all_faults_at_once() -> None:
    text = """\
for: 10
sed: 3
steps:
  - {at: 1x, exit: {path: /cell/md, reason: crsh}}
  - {at: 1s}
  - {at: 1s, exit: {pth: /cell/md}, shutdown: {}}
  - {at: 1s, repeat: {times: 0, every: 1s, step: {exti: {path: md}}}}
  - {hang: null}
  - {exit: {path: md, when_up: 1}}
"""
    assert found(text) == [
        (2, 1, codes.UNKNOWN_KEY),
        (4, 10, codes.BAD_DURATION),
        (4, 45, codes.NOT_ONE_OF),
        (5, 5, NOT_ONE_ACTION),
        (6, 20, codes.MISSING_KEY),
        (6, 21, codes.UNKNOWN_KEY),
        (7, 30, codes.OUT_OF_RANGE),
        (7, 51, codes.UNKNOWN_KEY),
        (8, 5, NOT_ONE_ACTION),
        (9, 19, codes.BAD_PATH),
        (9, 32, codes.WRONG_TYPE),
    ]


def test_unknown_keys_are_guessed() -> None:
    report, _ = check_script_text("- {exti: {path: /a}}\n")
    assert "exit" in report.findings[0].fix
    report, _ = check_script_text("- {exit: {path: /a, raeson: oom}}\n")
    assert "reason" in report.findings[0].fix


def test_paths_are_held_against_the_tree() -> None:
    text = """\
- {exit: {path: /cell/mdd}}
- {crash_supervisor: {path: /cell/md}}
- {repeat: {times: 2, every: 1s, step: {hang: {path: /nowhere}}}}
- {start_child: {path: /cell/new}}
- {exit: {path: /cell/new}}
- {exit: {path: /pool/template.1}}
- {stop_child: {path: /pool/any}}
- {start_child: {path: /nowhere/new}}
"""
    assert found(text, against_tree=True) == [
        (1, 17, UNKNOWN_PATH),
        (2, 29, NOT_A_SUPERVISOR),
        (3, 54, UNKNOWN_PATH),
        (8, 24, UNKNOWN_PATH),
    ]
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", codes.FILE_EMPTY),
        ("[1", codes.YAML_SYNTAX),
        ("- 1\n", codes.WRONG_TYPE),
        ("just words\n", codes.WRONG_TYPE),
        ("steps: 3\n", codes.WRONG_TYPE),
        ("- {exit: {path: /a}, exit: {path: /b}}\n", codes.DUPLICATE_KEY),
        ("- {random_exits: {rate_per_s: 0, for: 1s}}\n", codes.OUT_OF_RANGE),
        ("- {random_exits: {rate_per_s: 1, for: 1s, paths: pool}}\n", codes.BAD_VALUE),
        ("- {random_exits: {rate_per_s: 1}}\n", codes.MISSING_KEY),
    ],
)
def test_bad_files(text: str, code: int) -> None:
    report, _ = check_script_text(text)
    assert [finding.code for finding in report.findings] == [code]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"- \xff")
    for path, code in ((tmp_path / "none.yaml", codes.FILE_MISSING), (bad, codes.NOT_UTF8), (tmp_path, 1012)):
        report, parsed = check_script(path)
        assert parsed is None
        assert [finding.code for finding in report.findings] == [code]
        with pytest.raises(SpecError) as raised:
            load_script(path)
        assert raised.value.code == code
