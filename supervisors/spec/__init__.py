"""Topologies: read, checked, compiled. ``load_topology`` and ``check_file`` are the two ways in.

Names are imported when first used: a host needs ``supervisors.spec.compiled`` alone, and not the 0.2 s of a core that
building the models and reading YAML cost to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisors.spec.check import check_file, check_text, load_topology, parse_topology
    from supervisors.spec.compile import compile_topology
    from supervisors.spec.compiled import (
        CompiledTopology,
        HeartbeatSpec,
        PlacementSpec,
        SupervisorPart,
        SystemSpec,
        WorkerSpec,
        decode,
        encode,
    )
    from supervisors.spec.dump import dump_topology
    from supervisors.spec.findings import Finding, Report, render_text, to_json
    from supervisors.spec.imports import ActorClass, ActorKind, load_actor
    from supervisors.spec.schema import topology_schema
    from supervisors.spec.topology import Topology

__all__ = [
    "ActorClass",
    "ActorKind",
    "CompiledTopology",
    "Finding",
    "HeartbeatSpec",
    "PlacementSpec",
    "Report",
    "SupervisorPart",
    "SystemSpec",
    "Topology",
    "WorkerSpec",
    "check_file",
    "check_text",
    "compile_topology",
    "decode",
    "dump_topology",
    "encode",
    "load_actor",
    "load_topology",
    "parse_topology",
    "render_text",
    "to_json",
    "topology_schema",
]

_HOMES = {
    "ActorClass": "imports",
    "ActorKind": "imports",
    "CompiledTopology": "compiled",
    "Finding": "findings",
    "HeartbeatSpec": "compiled",
    "PlacementSpec": "compiled",
    "Report": "findings",
    "SupervisorPart": "compiled",
    "SystemSpec": "compiled",
    "Topology": "topology",
    "WorkerSpec": "compiled",
    "check_file": "check",
    "check_text": "check",
    "compile_topology": "compile",
    "decode": "compiled",
    "dump_topology": "dump",
    "encode": "compiled",
    "load_actor": "imports",
    "load_topology": "check",
    "parse_topology": "check",
    "render_text": "findings",
    "to_json": "findings",
    "topology_schema": "schema",
}

if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
