"""Settings resolve in the order inline, policy, defaults, built-in; processes get just their part."""

from math import inf

import msgspec
import pytest
from pydantic import ValidationError

from supervisors.core.errors import SpecError
from supervisors.spec import Topology, compile_topology, decode, encode, parse_topology
from supervisors.spec.compiled import CompiledTopology, HeartbeatSpec, SupervisorPart, SystemSpec, WorkerSpec
from supervisors.spec.enums import DeathWatch, LogLevel, Transport
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.model import Backoff, ChildSpec, ChildType, OnSupervisorCrash, Restart, Strategy
from tests.unit.spec.sample import FULL


@pytest.fixture(scope="module")
def full() -> CompiledTopology:
    return parse_topology(FULL)[1]


def _child(compiled: CompiledTopology, supervisor: str, child_id: str) -> ChildSpec:
    return next(c for c in compiled.supervisors[supervisor].spec.children if c.id == child_id)


def _compile(tree: dict[str, object], **more: object) -> CompiledTopology:
    return compile_topology(Topology.model_validate({"tree": tree, **more}))


def test_inline_wins_over_policy_over_defaults(full: CompiledTopology) -> None:
    feed = _child(full, "/", "feed")
    assert feed.restart is Restart.TRANSIENT  # policy patient
    assert feed.shutdown == 0.0  # inline
    assert feed.start_timeout == 20.0  # defaults
    assert feed.max_consecutive == 4  # policy calm, which patient extends
    assert feed.backoff == Backoff(0.1, 5.0, 0.05, 1, 10.0)  # cap from the policy, the rest from below
    assert full.workers["/feed"].heartbeat == HeartbeatSpec(0.05, 3, 2.0)


def test_root_and_others_have_their_own_budget() -> None:
    compiled = _compile({"children": [{"id": "a", "children": []}]}, defaults={"supervisor": {"intensity": 9}})
    assert (compiled.supervisors["/"].spec.flags.intensity, compiled.supervisors["/"].spec.flags.period) == (5, 300)
    assert (compiled.supervisors["/a"].spec.flags.intensity, compiled.supervisors["/a"].spec.flags.period) == (9, 5)
    assert compiled.root == ChildSpec(
        "main",
        shutdown=inf,
        type=ChildType.SUPERVISOR,
        start_timeout=inf,
        backoff=Backoff(),
        max_consecutive=10,
        on_crash=OnSupervisorCrash.ADOPT,
    )


def test_built_in_values() -> None:
    compiled = _compile({"children": [{"id": "w", "actor": "m:C"}, {"id": "s", "children": []}]})
    worker, supervisor = compiled.supervisors["/"].spec.children
    assert worker == ChildSpec("w", start_timeout=30.0, backoff=Backoff(), max_consecutive=10)
    assert (supervisor.shutdown, supervisor.start_timeout) == (inf, inf)
    assert supervisor.on_crash is OnSupervisorCrash.ADOPT


def test_null_is_a_value_and_a_mapping_over_null_begins_from_built_in() -> None:
    compiled = _compile(
        {"children": [{"id": "a", "actor": "m:C"}, {"id": "b", "actor": "m:C", "backoff": {"cap": "1s"}}]},
        defaults={"child": {"backoff": None, "max_consecutive": None}},
    )
    first, second = compiled.supervisors["/"].spec.children
    assert (first.backoff, first.max_consecutive) == (None, None)
    assert second.backoff == Backoff(cap=1.0)


def test_supervisor_part(full: CompiledTopology) -> None:
    cell = full.supervisors["/cell"]
    assert cell.spec.flags.strategy is Strategy.REST_FOR_ONE
    assert list(cell.workers) == ["md"]
    assert cell.workers["md"] == full.workers["/cell/md"]
    assert cell.workers["md"].config == b'{"maxsize":3}'
    assert _child(full, "/", "cell").on_crash is OnSupervisorCrash.TERMINATE
    assert full.supervisors["/"].supervisors == ("cell", "pool")


def test_template(full: CompiledTopology) -> None:
    pool = full.supervisors["/pool"]
    assert [c.id for c in pool.spec.children] == ["template"]
    assert pool.initial == (b'{"maxsize":2}', b"{}")
    assert pool.template is not None
    assert pool.template.path == "/pool"
    made = pool.template.instance("q1", b'{"maxsize":7}')
    assert (made.path, made.config, made.ready_timeout) == ("/pool/q1", b'{"maxsize":7}', 60.0)
    for child_id, overrides in (("a/b", b"{}"), ("a", b"[]"), ("a", b"{")):
        with pytest.raises(SpecError):
            pool.template.instance(child_id, overrides)


def test_system(full: CompiledTopology) -> None:
    system = full.system
    assert (system.system, system.spares, system.plane.transport) == ("cell", 1, Transport.IPC)
    assert (system.plane.death_watch, system.metrics.enabled, system.metrics.port) == (DeathWatch.PIDFD, False, 0)
    assert (system.logs.level, system.logs.rotate, system.trail.rotate) == (LogLevel.DEBUG, 2**20, 5_000_000)
    assert full.processes == 3 + 2 + 3 + 1 + 1


def test_the_wire(full: CompiledTopology) -> None:
    assert decode(encode(full), CompiledTopology) == full
    for part in full.supervisors.values():
        assert decode(encode(part), SupervisorPart) == part
    for worker in full.workers.values():
        assert decode(encode(worker), WorkerSpec) == worker
    assert decode(encode(full.system), SystemSpec) == full.system
    with pytest.raises(SpecError):
        decode(b"\xc1", WorkerSpec)
    with pytest.raises(SpecError):
        decode(msgspec.msgpack.encode({"path": 1}), WorkerSpec)


def test_digest(full: CompiledTopology) -> None:
    again = parse_topology(FULL)[1]
    assert full.digest == again.digest
    assert len(full.digest) == 64
    assert parse_topology(FULL.replace("spares: 1", "spares: 2"))[1].digest != full.digest


def test_every_part_is_taken_by_the_machine(full: CompiledTopology) -> None:
    for part in full.supervisors.values():
        SupervisorMachine(part.spec)


def test_refuses_what_does_not_go_together() -> None:
    same = [{"id": "a", "actor": "m:C"}, {"id": "a", "actor": "m:C", "policy": "none"}]
    with pytest.raises(SpecError) as caught:
        _compile({"children": same})
    assert "E1207" in caught.value.message
    assert "E1208" in caught.value.message


@pytest.mark.parametrize("value", ["\ud800", [{"a": {"b": "\ud800"}}], {"\ud800": 1}])
def test_refuses_a_config_json_cannot_carry(value: object) -> None:
    with pytest.raises(SpecError, match="E1112"):
        _compile({"children": [{"id": "a", "actor": "m:C", "config": {"x": value}}]})


def test_models_do_not_change() -> None:
    topology = Topology.model_validate({"tree": {}})
    with pytest.raises(ValidationError):
        topology.spares = 3  # type: ignore[misc]
