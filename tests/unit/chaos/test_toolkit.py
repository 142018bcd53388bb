"""The stock Chaos Toolkit: its functions, conversions to its JSON, and the real ``chaos`` where it is installed."""

import importlib
import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import JsonValue

from supervisors.chaos import toolkit
from supervisors.chaos.converting import MODULE, to_toolkit
from supervisors.chaos.document import Experiment
from supervisors.chaos.reading import read_experiment
from supervisors.core.errors import FaultError
from supervisors.testing.clock import ManualClock

from .fake_ground import FakeGround, FakeWorks

ROOT = Path(__file__).parents[3]
EXPERIMENTS = sorted((ROOT / "examples" / "experiments").glob("*.yaml"))
STOCK = ROOT / "examples" / "experiments" / "chaostoolkit.json"


class _Ground(FakeGround):
    def begin(self, run: str) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Ground:
    made = _Ground(tmp_path, FakeWorks(ManualClock()))
    monkeypatch.setitem(toolkit._grounds, tmp_path.resolve(), made)
    monkeypatch.setattr(toolkit, "_failed", {})
    return made


def _providers(document: object) -> Iterator[dict[str, object]]:
    if isinstance(document, dict):
        if isinstance(document.get("provider"), dict):
            yield document["provider"]
        for value in document.values():
            yield from _providers(value)
    elif isinstance(document, list):
        for value in document:
            yield from _providers(value)


def _check(document: Mapping[str, object]) -> None:
    """What the toolkit checks, too: each function exists and takes the arguments it is given."""
    found = [one for one in _providers(document) if one["type"] == "python"]
    assert found
    for provider in found:
        function = getattr(importlib.import_module(str(provider["module"])), str(provider["func"]))
        arguments = provider["arguments"]
        assert isinstance(arguments, dict)
        inspect.signature(function).bind(**arguments)


def test_faults_are_injected_and_reverted_by_name(ground: _Ground) -> None:
    where = str(ground.data_dir)
    made = toolkit.inject_fault("delay", "/a", where, params={"delay": "1s"}, seconds=5, targets="one", name="slow")
    assert made == {"id": "f-1", "targets": ["/a"]}
    request = ground.requests[0]
    assert (request.fault, request.seconds, request.targets.value) == ("delay", 5, "one")
    toolkit.revert_fault("slow", where)
    toolkit.revert_fault("f-7", where)
    toolkit.revert_all(where)
    assert ground.reverts == [["f-1"], ["f-7"], None]


def test_what_cannot_be_done_is_an_error_of_the_toolkit(ground: _Ground) -> None:
    where = str(ground.data_dir)
    with pytest.raises(FaultError, match="set of targets"):
        toolkit.inject_fault("kill", "/a", where, targets="some")
    ground.stuck = ("f-9",)
    with pytest.raises(FaultError, match="f-9"):
        toolkit.revert_all(where)


def test_probes_are_true_or_false(ground: _Ground) -> None:
    where = str(ground.data_dir)
    assert toolkit.tree_is_healthy(where)
    assert toolkit.standbys_are_in_sync(where)
    assert toolkit.recovered_within(where)
    assert toolkit.invariants_hold(where)
    ground.state = "restarting"
    assert toolkit.tree_is_healthy(where) is False
    ground.answer = {"total": 3}
    assert toolkit.call_actor("/a", "summary", where) == {"total": 3}
    probe: dict[str, JsonValue] = {"probe": "call", "path": "/a", "method": "summary", "field": "total", "max": 2}
    assert toolkit.holds(probe, where) is False


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_our_experiments_become_the_toolkits(file: Path) -> None:
    experiment = read_experiment(file).experiment
    assert experiment is not None
    document, _ = to_toolkit(experiment, ".rayvisor")
    _check(document)
    assert json.loads(json.dumps(document)) == document


def test_every_step_has_its_counterpart() -> None:
    experiment = Experiment.model_validate(
        {
            "title": "t",
            "steady_state": [{"probe": "no_invariant_broken"}, {"probe": "metric", "metric": "x", "max": 3}],
            "hypothesis": {"strategy": "continuous", "every": "2s"},
            "workload": {"path": "/a", "method": "m"},
            "method": [
                {"fault": "delay", "path": "/a", "name": "slow", "first": 2, "targets": "random", "count": 2},
                {"background": [{"kill": "/a"}]},
                {"parallel": [{"wait": "1s"}, [{"kill": "/b"}, {"kill": "/c"}]]},
                {"repeat": {"times": 2, "every": "1s", "steps": [{"revert": "slow"}]}},
                {"call": "/a", "method": "m", "args": [1]},
                {"probe": "trail", "kind": "promoted", "min": 1, "name": "promoted"},
            ],
            "rollbacks": [{"revert": "all"}],
        }
    )
    document, left_out = to_toolkit(experiment, "d")
    _check(document)
    method = document["method"]
    assert isinstance(method, list)
    activities = [one for one in method if isinstance(one, dict)]
    assert [one["name"] for one in activities] == [
        "delay at /a",
        "kill at /a",
        "wait 1s | kill at /b, kill at /c",
        "revert slow",
        "revert slow",
        "call /a.m",
        "promoted",
    ]
    assert [bool(one.get("background")) for one in activities] == [False, True, *[False] * 5]
    together = activities[2]["provider"]
    assert isinstance(together, dict)
    assert together["func"] == "run_together"
    assert document["runtime"] == {
        "hypothesis": {"strategy": "continuously", "frequency": 2.0},
        "rollbacks": {"strategy": "always"},
    }
    assert _left(left_out) == {"workload", "repeat", "hypothesis.every", "abort", "settle"}
    assert any(text.endswith("--hypothesis-frequency 2 --fail-fast") for text in left_out)


def _left(lines: list[str]) -> set[str]:
    return {text.partition(":")[0] for text in lines}


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({}, set()),
        ({"limits": {"max_targets": 2}}, {"limits.max_targets"}),
        ({"controls": {"abort": {"max_faults": 2}}}, {"controls.abort.max_faults"}),
        ({"controls": {"abort": {"max_duration": "1m"}}}, {"controls.abort.max_duration"}),
        ({"controls": {"after_each": [{"wait": "1s"}]}}, {"controls"}),
        (
            {"controls": {"abort": {"probe_fails": False}}, "hypothesis": {"strategy": "continuous"}},
            {"controls.abort.probe_fails", "hypothesis.every"},
        ),
        ({"hypothesis": {"strategy": "before"}}, {"hypothesis.strategy"}),
        ({"seed": 7}, {"seed"}),
        ({"rollbacks": [{"probe": "tree_healthy"}]}, {"rollbacks"}),
        ({"method": [{"kill": "/a"}]}, {"abort"}),
        ({"method": [{"call": "/a", "method": "m", "may_fail": True}]}, set()),
        ({"method": [{"parallel": [{"background": [{"wait": "1s"}]}]}]}, {"background within parallel"}),
        ({"method": [{"repeat": {"times": 2, "every": "1s", "steps": [{"wait": "1s"}]}}]}, {"repeat"}),
    ],
)
def test_whatever_is_left_out_is_told(fields: dict[str, object], left: set[str]) -> None:
    experiment = Experiment.model_validate({"title": "t", "method": [{"wait": "1s"}], **fields})
    assert _left(to_toolkit(experiment, "d")[1]) == {"settle", *left}


@pytest.mark.parametrize(
    "probe",
    [
        {"probe": "tree_healthy", "held_is_fine": True},
        {"probe": "recovered_within", "within": "5s", "rto": "2s"},
        {"probe": "standbys_in_sync", "every": "1s"},
        {"probe": "no_invariant_broken", "within": "5s"},
        {"probe": "tree_healthy", "path": "/a", "within": "5s"},
    ],
)
def test_a_probe_keeps_all_that_is_written(probe: dict[str, object]) -> None:
    document, _ = to_toolkit(Experiment.model_validate({"title": "t", "steady_state": [probe]}), "d")
    arguments = next(_providers(document))["arguments"]
    assert isinstance(arguments, dict)
    said = {**arguments, **(arguments.get("probe") or {})}
    assert {"probe", "data_dir", *probe} - set(said) <= {"probe"}


def _run(ground: _Ground, **fields: object) -> dict[str, object]:
    """By the real toolkit, in this process; its journal."""
    pytest.importorskip("chaoslib", reason="the Chaos Toolkit is not installed: pip install chaostoolkit")
    experiment = Experiment.model_validate({"title": "t", **fields})
    document, _ = to_toolkit(experiment, str(ground.data_dir))
    document["configuration"] = {"data_dir": str(ground.data_dir)}
    document["dry"] = None
    importlib.import_module("chaoslib.experiment").ensure_experiment_is_valid(document)
    settings = {"runtime": {"rollbacks": {"strategy": "always"}}}
    journal = importlib.import_module("chaoslib.experiment").run_experiment(document, settings)
    assert isinstance(journal, dict)
    return journal


BAD = {"probe": "call", "path": "/a", "method": "m", "equals": 1}


@pytest.mark.parametrize(
    ("steps", "deviated"),
    [
        ([{"wait": 0}], False),
        ([{"probe": "tree_healthy"}], False),
        ([BAD], True),
        ([{"parallel": [[{"wait": 0}, BAD], {"wait": 0}]}], True),
        ([{"background": [{"wait": "10ms"}, BAD]}], True),
        ([{"call": "/a", "method": "m"}], False),
    ],
)
def test_a_probe_in_the_method_that_fails_makes_the_toolkit_deviate(
    ground: _Ground, steps: list[object], deviated: bool
) -> None:
    assert _run(ground, method=steps)["deviated"] is deviated


@pytest.mark.parametrize("required", [True, False])
def test_a_fault_that_is_refused_deviates_unless_it_need_not_be(ground: _Ground, required: bool) -> None:
    ground.refuse = True
    journal = _run(ground, method=[{"fault": "kill", "path": "/a", "required": required}])
    assert journal["deviated"] is required
    assert ground.reverts == [None]


def test_what_is_done_together_is_waited_for(ground: _Ground) -> None:
    """The step after parallel ones sees what all of them did; a list among them keeps its order."""
    steps = [
        {"parallel": [[{"wait": "200ms"}, {"kill": "/a"}], {"background": [{"wait": "100ms"}, {"kill": "/b"}]}]},
        {"call": "/a", "method": "m"},
    ]
    seen: list[int] = []
    real = ground.call

    def call(path: str, method: str, args: Sequence[object], timeout: float) -> object:
        seen.append(len(ground.requests))
        return real(path, method, args, timeout)

    ground.call = call  # type: ignore[method-assign]
    _run(ground, method=steps)
    assert seen == [2]
    assert [request.path for request in ground.requests] == ["/b", "/a"]


def test_only_our_functions_are_called_together(ground: _Ground) -> None:
    with pytest.raises(FaultError, match="no function of ours") as caught:
        toolkit.run_together([[{"func": "importlib", "arguments": {}}]], str(ground.data_dir))
    assert caught.value.code == 9077


def test_the_stock_experiment_calls_what_there_is() -> None:
    document = json.loads(STOCK.read_text("utf-8"))
    _check(document)
    assert {one["module"] for one in _providers(document)} == {MODULE}


def test_the_real_toolkit_accepts_both(tmp_path: Path) -> None:
    """Its own validation: syntax, importable modules, functions and their arguments."""
    chaos = shutil.which("chaos", path=f"{Path(sys.executable).parent}:{Path('/usr/local/bin')}")
    if chaos is None:
        pytest.skip("the Chaos Toolkit is not installed: pip install chaostoolkit")
    experiment = read_experiment(EXPERIMENTS[0]).experiment
    assert experiment is not None
    ours = tmp_path / "ours.json"
    ours.write_text(json.dumps(to_toolkit(experiment, str(tmp_path))[0]))
    for file in (STOCK, ours):
        done = subprocess.run(
            [chaos, "--no-version-check", "validate", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
