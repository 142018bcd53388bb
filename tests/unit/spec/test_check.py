"""Every kind of finding, at its line and column; whole reports; bad files."""

import json
import re
from pathlib import Path

import pytest

from supervisors.core.errors import SpecError
from supervisors.spec import check_file, check_text, load_topology, parse_topology, render_text, to_json
from supervisors.spec import codes as c
from supervisors.spec.codes import CODES, Severity
from tests.unit.spec.sample import FULL, unmark, workers

_ROOT = Path(__file__).parents[3]
_A = 'actor: "actors.base:Actor"'


def _found(text: str) -> list[tuple[int, int, int]]:
    """(code, line, column) of all findings but the count of processes."""
    return [(f.code, f.line, f.column) for f in check_text(text).findings if f.code != c.PROCESS_COUNT]


def test_a_good_file_has_only_the_process_count() -> None:
    report = check_text(FULL)
    assert [(f.code, f.severity) for f in report.findings] == [(c.PROCESS_COUNT, Severity.INFO)]
    assert "10 processes: 5 workers, 3 supervisors, 1 spares, 1 standbys" in report.findings[0].message
    assert report.ok


#: a text, with § before each place a finding is to point at, and the codes in order
ONE_FAULT: dict[str, tuple[str, tuple[int, ...]]] = {
    "unknown key": (f"§treee: 1\n{workers(f'id: a, {_A}')}", (c.UNKNOWN_KEY,)),
    "section of a later version": (workers(f"id: a, {_A}, §state: {{}}"), (c.UNKNOWN_KEY,)),
    "no tree": ("§system: a\n", (c.MISSING_KEY,)),
    "tree is a list": ("tree: §[]\n", (c.WRONG_TYPE,)),
    "missing id": ("tree:\n  children:\n    - §{actor: 'actors.base:Actor'}\n", (c.MISSING_KEY,)),
    "missing actor of a template": (
        "tree:\n  strategy: simple_one_for_one\n  template: §{config: {a: 1}}\n",
        (c.MISSING_KEY,),
    ),
    "true is no number": (f"spares: §true\n{workers(f'id: a, {_A}')}", (c.WRONG_TYPE,)),
    "1 is not true": (workers(f"id: a, {_A}, significant: §1"), (c.WRONG_TYPE,)),
    "a number is no label": (workers(f"id: a, {_A}, placement: {{labels: {{z: §1}}}}"), (c.WRONG_TYPE,)),
    "negative time": (workers(f"id: a, {_A}, shutdown: §-1"), (c.BAD_DURATION,)),
    "interval too short": (workers(f"id: a, {_A}, heartbeat: {{interval: §5ms}}"), (c.OUT_OF_RANGE,)),
    "bad path": (workers(f"id: a, {_A}, placement: {{anti_affinity: [§b]}}"), (c.BAD_PATH,)),
    "avoids itself": (workers(f"id: a, {_A}, placement: {{anti_affinity: [§/a]}}"), (c.UNKNOWN_PEER,)),
    "a child that is no mapping": (workers(f"id: a, {_A}") + "    - §5\n", (c.WRONG_TYPE,)),
    "a fault behind a lost child": (
        f"tree:\n  children:\n    - §5\n    - {{id: a, {_A}, policy: §none}}\n",
        (c.WRONG_TYPE, c.UNKNOWN_POLICY),
    ),
    "initial is text": (
        f"tree:\n  strategy: simple_one_for_one\n  template: {{{_A}}}\n  initial: §x\n",
        (c.WRONG_TYPE,),
    ),
    "wrong strategy with a template is one fault": (
        f"tree:\n  strategy: §simple_one_for_on\n  template: {{{_A}}}\n",
        (c.NOT_ONE_OF,),
    ),
    "wrong restart of a significant child is one fault": (
        "tree:\n  auto_shutdown: any_significant\n  children:\n"
        f"    - {{id: a, {_A}, restart: §trans, significant: true}}\n",
        (c.NOT_ONE_OF,),
    ),
    "wrong auto_shutdown above a significant child is one fault": (
        f"tree:\n  auto_shutdown: §any\n  children:\n    - {{id: a, {_A}, restart: transient, significant: true}}\n",
        (c.NOT_ONE_OF,),
    ),
    "wrong policy body is one fault": (
        f"policies: {{calm: §3}}\n{workers(f'id: a, {_A}, policy: calm')}",
        (c.WRONG_TYPE,),
    ),
    "bad id leaves the rest checked": (
        "tree:\n  children:\n    - id: §a b\n      children:\n        - {id: c, actor: §'nowhere:C'}\n",
        (c.BAD_ID, c.MODULE_NOT_FOUND),
    ),
    "unknown policy to extend": (
        f"policies: {{calm: {{extends: §clam}}}}\n{workers(f'id: a, {_A}, policy: calm')}",
        (c.UNKNOWN_POLICY,),
    ),
    "policy that extends itself": (
        f"policies: {{calm: {{extends: §calm}}}}\n{workers(f'id: a, {_A}, policy: calm')}",
        (c.POLICY_CYCLE,),
    ),
    "infinite config": (workers("id: a, actor: 'queue:Queue', config: {maxsize: [1, §.nan]}"), (c.NOT_JSON,)),
    "config of an actor that takes none": (workers(f"id: a, {_A}, config: {{§x: 1}}"), (c.CONFIG_UNKNOWN,)),
    "config of initial children": (
        "tree:\n  strategy: simple_one_for_one\n  template: {actor: 'queue:Queue'}\n"
        "  initial: [{}, {maxsize: 1, §size: 2}]\n",
        (c.CONFIG_UNKNOWN,),
    ),
    "fault behind an alias is told where it is written": (
        f"tree:\n  children:\n    - &x {{id: a, {_A}, §spare: 1}}\n    - {{<<: *x, id: b}}\n",
        (c.UNKNOWN_KEY,),
    ),
    "half a character": (workers("id: a, actor: 'queue:Queue', config: {maxsize: §\"\\ud800\"}"), (c.BAD_VALUE,)),
    "half a character in a key": (
        workers("id: a, actor: 'queue:Queue', placement: {labels: {§\"\\udfff\": x}}"),
        (c.BAD_VALUE,),
    ),
    "two documents": (f"{workers(f'id: a, {_A}')}§---\na: 1\n", (c.YAML_SYNTAX,)),
    "colon": ("tree: a§: b\n", (c.YAML_SYNTAX,)),
    "unknown alias": ("tree: §*x\n", (c.YAML_SYNTAX,)),
    "control character": ("tree:\n  a: §\x07\n", (c.YAML_SYNTAX,)),
    "tab": ("tree:\n§\tchildren: []\n", (c.TAB_INDENT,)),
    "empty": ("", (c.FILE_EMPTY,)),
    "only a comment": ("# nothing\n", (c.FILE_EMPTY,)),
    "a list": ("§- a\n", (c.NOT_A_MAPPING,)),
    "a word": ("§word\n", (c.NOT_A_MAPPING,)),
    "alias of itself": (
        workers("id: a, actor: 'queue:Queue', config: &x §{maxsize: *x}").replace("&x §", "§&x "),
        (c.ALIAS_CYCLE,),
    ),
    "tag": (workers("id: §!name a, actor: 'queue:Queue'"), (c.UNKNOWN_TAG,)),
    "key is a list": (f"§[a]: 1\n{workers(f'id: a, {_A}')}", (c.KEY_NOT_TEXT,)),
    "too deep to read": (f"tree: {'[' * 3000}", (c.TOO_LARGE,)),
    "too deep": (f"tree: {'[' * 120}{']' * 120}", (c.TOO_LARGE,)),
    "alias bomb": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join([f'*{o}'] * 10)}]\n" for o, n in zip("abcdef", "bcdefg", strict=True)),
        (c.TOO_LARGE,),
    ),
}


@pytest.mark.parametrize("name", ONE_FAULT)
def test_each_fault_is_one_finding_at_its_place(name: str) -> None:
    marked, expected = ONE_FAULT[name]
    text, places = unmark(marked)
    found = [(code, (line, column)) for code, line, column in _found(text) if code != c.NO_CHILDREN]
    assert found == list(zip(expected, places or [(0, 0)], strict=True))


#: (line, column, code) of each fault of examples/broken.yaml
BROKEN = [
    (8, 10, 1107),
    (10, 1, 1101),
    (14, 15, 1104),
    (17, 13, 1104),
    (21, 14, 1209),
    (23, 14, 1209),
    (28, 9, 1110),
    (31, 9, 1108),
    (34, 11, 1105),
    (36, 9, 1103),
    (39, 13, 1107),
    (41, 3, 1215),
    (44, 11, 1106),
    (48, 21, 1305),
    (50, 9, 1306),
    (53, 14, 1302),
    (55, 15, 1208),
    (58, 14, 1301),
    (61, 25, 1212),
    (64, 14, 1303),
    (67, 14, 1304),
    (70, 14, 1109),
    (72, 11, 1207),
    (75, 7, 1016),
    (77, 7, 1102),
    (83, 24, 1205),
    (83, 24, 1206),
    (88, 25, 1214),
    (91, 19, 1213),
    (95, 7, 1201),
    (100, 9, 1306),
    (104, 15, 1307),
    (108, 7, 1202),
    (110, 7, 1211),
    (111, 7, 1204),
    (114, 16, 1210),
    (117, 7, 1203),
    (124, 16, 1112),
    (128, 16, 1227),
    (132, 18, 1309),
    (134, 24, 1218),
    (137, 39, 1219),
    (139, 20, 1220),
    (141, 25, 1222),
    (143, 51, 1223),
    (147, 19, 1115),
    (149, 23, 1116),
    (152, 34, 1224),
    (154, 20, 1226),
    (156, 55, 1312),
    (160, 7, 1216),
    (163, 31, 1217),
    (171, 28, 1221),
    (173, 61, 1228),
    (176, 39, 1225),
    (178, 8, 1114),
]


def test_broken_example_finds_each_fault_at_its_place() -> None:
    report = check_file(_ROOT / "examples" / "broken.yaml")
    assert [(f.line, f.column, f.code) for f in report.findings] == BROKEN


def test_broken_example_says_beside_each_fault_what_it_is() -> None:
    lines = (_ROOT / "examples" / "broken.yaml").read_text("utf-8").splitlines()
    told = {int(code) for line in lines if line.lstrip().startswith("#") for code in re.findall(r"E(1\d{3})", line)}
    assert told == {code for _, _, code in BROKEN}
    assert len(told) >= 15


def test_report_text_and_json() -> None:
    report = check_text(workers(f"id: a, {_A}, polciy: x"), "some/cell.yaml")
    text = render_text(report)
    assert text.splitlines()[0] == (
        "some/cell.yaml:3:43: error E1101 key 'polciy' is not known here — fix: did you mean 'policy'?"
    )
    assert text.splitlines()[-1] == "some/cell.yaml: 1 error, 0 warnings, 0 info"
    data = json.loads(to_json(report))
    assert data["ok"] is False
    assert data["findings"][0]["path_in_yaml"] == "tree.children[0].polciy"
    assert data["findings"][0]["tree_path"] == "/a"


def test_bad_files(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"tree:\n  a: \xe9\n")
    nul = f"{tmp_path}/\0"
    (finding,) = check_file(latin).findings
    assert (finding.code, finding.line, finding.column) == (c.NOT_UTF8, 2, 6)
    assert [f.code for f in check_file(tmp_path).findings] == [c.FILE_IS_DIRECTORY]
    assert [f.code for f in check_file(tmp_path / "none").findings] == [c.FILE_MISSING]
    assert [f.code for f in check_file(nul).findings] == [c.FILE_UNREADABLE]
    assert [f.code for f in check_file(latin / "below").findings] == [c.FILE_UNREADABLE]
    assert str(check_file(tmp_path / "none").findings[0]).startswith(f"{tmp_path}/none: error E1010 ")


def test_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode())
    assert check_file(path).ok


def test_load_raises_all_errors_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(workers(f"id: a, {_A}, x: 1", "id: b, actor: nowhere"))
    with pytest.raises(SpecError) as caught:
        load_topology(path)
    assert "t.yaml:3:43: error E1101" in caught.value.message
    assert "t.yaml:4:22: error E1109" in caught.value.message
    topology, compiled = parse_topology(FULL)
    assert (topology.system, compiled.system.system) == ("cell", "cell")


def test_without_imports_no_module_is_looked_for() -> None:
    assert check_text(workers("id: a, actor: 'nowhere:C'"), import_actors=False).ok


def test_every_code_is_listed_once() -> None:
    numbers = [value for name, value in vars(c).items() if name.isupper() and isinstance(value, int)]
    assert sorted(numbers) == sorted(CODES)
    assert len(set(numbers)) == len(numbers)
    assert all(1010 <= number <= 1999 for number in numbers)
