"""Topologies: read, checked, compiled. ``load_topology`` and ``check_file`` are the two ways in."""

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
