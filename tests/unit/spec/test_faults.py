"""``environment`` and ``faults``: off unless asked for, never in production by accident, declared faults checked."""

import pytest

from supervisors.spec import check_text, parse_topology
from supervisors.spec import codes as c
from supervisors.spec.changes import Takes, compare
from supervisors.spec.compiled import DeclaredFault, FaultsSpec

_TREE = """
tree:
  children:
    - {id: feed, actor: tests.unit.spec.faulty:Faulty}
    - {id: plain, actor: "builtins:object"}
    - {id: books, actor: tests.unit.spec.faulty:Faulty, recovery: {standbys: 1}}
    - {id: wire, actor: "actors.workers.proxy:FaultProxy", config: {port: 9443, upstream: "127.0.0.1:1"}}
    - {id: pool, strategy: simple_one_for_one, template: {actor: "builtins:object"}}
"""


def _found(text: str, *, import_actors: bool = True) -> list[tuple[int, int, int]]:
    report = check_text(text + _TREE, import_actors=import_actors)
    return [(f.line, f.column, f.code) for f in report.findings if f.code in range(1229, 1233) or f.code == 1431]


def test_off_in_a_development_system_by_default() -> None:
    _, compiled = parse_topology(_TREE, import_actors=False)
    assert compiled.system.environment == "development"
    assert compiled.system.faults == FaultsSpec()
    assert not compiled.system.faults.enabled


def test_all_keys_are_compiled() -> None:
    text = """\
environment: staging
faults:
  enabled: true
  max_targets: 7
  longest: 2m
  inject: [{fault: delay, path: /feed, params: {delay: 5ms}, after: 3s, for: 4s, probability: 0.5, first: 2, seed: 9}]
"""
    _, compiled = parse_topology(text + _TREE)
    declared = DeclaredFault("delay", "/feed", {"delay": "5ms"}, 3.0, 4.0, 0.5, 2, 9)
    assert compiled.system.environment == "staging"
    assert compiled.system.faults == FaultsSpec(True, 7, 120.0, (declared,))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("system: desk\nenvironment: production\nfaults: {enabled: true}\n", [(3, 19, c.FAULTS_IN_PRODUCTION)]),
        (
            "system: desk\nenvironment: production\nfaults: {enabled: true, allow_in_production: main}\n",
            [(3, 46, c.FAULTS_IN_PRODUCTION)],
        ),
        ("system: desk\nenvironment: production\nfaults: {enabled: true, allow_in_production: desk}\n", []),
        ("environment: production\nfaults: {enabled: false}\n", []),
        ("environment: staging\nfaults: {enabled: true}\n", []),
        ("faults: {inject: [{fault: kill, path: /feed}]}\n", [(1, 10, c.FAULTS_IDLE)]),
    ],
)
def test_when_faults_may_be_enabled(text: str, wanted: list[tuple[int, int, int]]) -> None:
    assert _found(text) == wanted


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        ("{fault: kil, path: /feed}", (26, c.UNKNOWN_FAULT)),
        ("{fault: kill, path: /fed}", (38, c.FAULT_TARGET)),
        ("{fault: kill, path: /pool/x1}", None),
        ("{fault: raise, path: /pool}", (39, c.FAULT_TARGET)),
        ("{fault: slow_disk, path: /feed}", (43, c.FAULT_TARGET)),
        ("{fault: slow_disk, path: /books}", None),
        ("{fault: delay, path: /feed, params: {dely: 1s}}", (55, c.FAULT_PARAMETER)),
        ("{fault: delay, path: /feed, params: {delay: 99h}}", (62, c.FAULT_PARAMETER)),
        ("{fault: delay, path: /feed, params: {delay: [1s]}}", (62, c.FAULT_PARAMETER)),
        ("{fault: stop, path: /feed, for: 11m}", (50, c.FAULT_PARAMETER)),
        ("{fault: shout, path: /feed, params: {volume: 3}}", None),
        ("{fault: shout, path: /feed, params: {volume: 11}}", (63, c.FAULT_PARAMETER)),
        ("{fault: shout, path: /feed}", (18, c.FAULT_PARAMETER)),
        ("{fault: shout, path: /plain, params: {volume: 3}}", (39, c.FAULT_TARGET)),
        ("{fault: shout, path: /pool/x1, params: {volume: 3}}", (39, c.FAULT_TARGET)),
        ("{fault: shout, path: /pool, params: {volume: 3}}", (39, c.FAULT_TARGET)),
        ("{fault: net_latency, path: /feed}", (45, c.FAULT_TARGET)),
        ("{fault: net_latency, path: /pool/x1}", (45, c.FAULT_TARGET)),
        ("{fault: net_latency, path: /wire}", None),
        ("{fault: net_latency, path: /wire, params: {delay: 99h}}", (68, c.FAULT_PARAMETER)),
    ],
)
def test_a_declared_fault_is_checked_at_its_place(declared: str, wanted: tuple[int, int] | None) -> None:
    found = _found(f"faults: {{enabled: true, inject: [{declared}]}}\n")
    assert found == ([] if wanted is None else [(1, wanted[0] + 16, wanted[1])])


def test_kinds_of_actors_are_known_only_once_they_are_imported() -> None:
    text = "faults: {enabled: true, inject: [{fault: shout, path: /feed}]}\n"
    assert _found(text, import_actors=False) == []
    assert [code for _, _, code in _found(text)] == [c.FAULT_PARAMETER]


def test_a_name_near_a_known_one_is_offered() -> None:
    report = check_text("faults: {enabled: true, inject: [{fault: shuot, path: /feed}]}\n" + _TREE)
    assert [f.fix for f in report.errors] == ["did you mean 'shout'?"]


@pytest.mark.parametrize(
    ("key", "takes"),
    [
        ("faults: {max_targets: 9}", Takes.NOW),
        ("faults: {longest: 1m}", Takes.NOW),
        ("faults: {enabled: true}", Takes.RESTART),
        ("environment: staging", Takes.RESTART),
        ("faults: {inject: [{fault: kill, path: /feed}]}", Takes.RESTART),
    ],
)
def test_what_a_change_takes_in_a_system_that_runs(key: str, takes: Takes) -> None:
    old = parse_topology(_TREE, import_actors=False)[1]
    new = parse_topology(f"{key}\n{_TREE}", import_actors=False)[1]
    assert [difference.takes for difference in compare(old, new).system] == [takes]
