"""The JSON Schema is valid, and agrees with the models on the examples."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from supervisors.spec import Topology, check_file, topology_schema
from tests.unit.spec.sample import FULL

_ROOT = Path(__file__).parents[3]
_FILES = [p for p in (_ROOT / "topology.yaml", *sorted((_ROOT / "examples").glob("*.yaml"))) if p.exists()]
_SCHEMA = json.loads(json.dumps(topology_schema(), allow_nan=False))


def _valid(text: str) -> bool:
    data = YAML(typ="safe", pure=True).load(text)
    return bool(jsonschema.Draft202012Validator(_SCHEMA).is_valid(data))


def test_is_a_schema_of_its_dialect() -> None:
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)
    assert _SCHEMA["title"] == "rayvisor topology"


def test_takes_a_file_with_every_key() -> None:
    assert _valid(FULL)


@pytest.mark.parametrize("path", _FILES, ids=lambda p: p.name)
def test_agrees_with_the_check_on_the_examples(path: Path) -> None:
    # broken.yaml holds a key twice, which no YAML reader but ours gets past
    if path.name != "broken.yaml":
        assert _valid(path.read_text("utf-8")) == check_file(path, import_actors=False).ok


@pytest.mark.parametrize(
    "text",
    [
        "tree: {}\nspare: 1\n",
        "spares: 1\n",
        "tree: {strategy: one}\n",
        "tree: {shutdown: 5x}\n",
        "tree: {children: [{id: a b, actor: 'm:C'}]}\n",
        "tree: {children: [{id: a, actor: m}]}\n",
        "tree: {period: 0}\n",
        "logs: {rotate: lots}\ntree: {}\n",
        "state: mysql://h/d\ntree: {}\n",
        "tree: {recovery: {}}\n",
        "tree: {budgets: [{kinds: []}]}\n",
        "tree: {children: [{id: a, actor: 'm:C', recovery: {standby: {}}}]}\n",
        "tree: {children: [{id: a, actor: 'm:C', recovery: {checks: []}}]}\n",
        "tree: {children: [{id: a, actor: 'm:C', recovery: {ramp: {steps: [{size: 0, lasting: 1m}, {size: 1}]}}}]}\n",
        "tree: {children: [{id: a, actor: 'm:C', recovery: {approval: {market_hours: {open: '25:00'}}}}]}\n",
        "tree: {children: [{id: s, children: [], recovery: {}}]}\n",
    ],
)
def test_refuses_what_the_check_refuses(text: str) -> None:
    assert not _valid(text)


def test_every_key_has_a_description() -> None:
    for name, model in {"Topology": _SCHEMA, **_SCHEMA["$defs"]}.items():
        for key, field in model.get("properties", {}).items():
            described = (
                "description" in field or "$ref" in field or any("$ref" in part for part in field.get("allOf", ()))
            )
            assert described, f"{name}.{key}"


def test_every_default_is_stated_with_its_field() -> None:
    for name, field in Topology.model_fields.items():
        assert field.description, name
