"""JSON Schema of the topology, for editors (TOP-2)."""

from math import isinf

from supervisors.spec.topology import Topology

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def topology_schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of a topology file: titles, descriptions, defaults, words allowed."""
    schema = {str(key): _finite(value) for key, value in Topology.model_json_schema(mode="validation").items()}
    return {"$schema": DIALECT, "title": "rayvisor topology", **{k: v for k, v in schema.items() if k != "title"}}


def _finite(value: object) -> object:
    """``value`` with endless times as the word for them: JSON has no infinite number."""
    if isinstance(value, float) and isinf(value):
        return "infinity"
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
