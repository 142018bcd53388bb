"""What differs between two topologies, and that the steps lead from the one to the other and touch nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.core.paths import ROOT, TreePath, is_below, parent_of
from supervisors.spec import Topology, compile_topology, parse_topology
from supervisors.spec.changes import ABSENT, Changes, Takes, compare, kept_paths, nodes
from supervisors.spec.compiled import CompiledTopology
from supervisors.spec.steps import Step, StepKind, advance, plan, sealed
from supervisors.tree.model import check_specs

BASE = """\
tree:
  children:
    - {id: feed, actor: "queue:Queue", config: {maxsize: 1}}
    - id: cell
      strategy: rest_for_one
      children:
        - {id: md, actor: "queue:Queue"}
        - {id: oms, actor: "queue:Queue", restart: transient}
    - id: pool
      strategy: simple_one_for_one
      template: {actor: "queue:Queue", config: {maxsize: 5}}
"""


def compiled(text: str) -> CompiledTopology:
    return parse_topology(text, import_actors=False)[1]


def changed(*edits: tuple[str, str], before: str = BASE) -> Changes:
    text = before
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return compare(compiled(before), compiled(text))


def steps(found: Changes) -> list[tuple[str, str]]:
    return [(step.kind.value, step.path) for step in plan(found)]


def differences(found: Changes, path: str) -> dict[str, tuple[str, Takes]]:
    return {d.key: (str(d).partition(": ")[2], d.takes) for c in found.changed if c.path == path for d in c.differences}


# ---------------------------------------------------------------- by example


def test_nothing_differs_from_itself() -> None:
    found = changed()
    assert found.empty
    assert plan(found) == ()
    assert found.unchanged == 5


def test_supervision_changes_at_once_and_a_config_takes_a_process() -> None:
    found = changed(
        ("maxsize: 1}", "maxsize: 2}, shutdown: 9s, backoff: {cap: 1m}"),
        ("restart: transient", "restart: temporary"),
        ("rest_for_one", "one_for_all"),
    )
    assert differences(found, "/feed") == {
        "config.maxsize": ("1 -> 2", Takes.PROCESS),
        "shutdown": ("5s -> 9s", Takes.NOW),
        "backoff.cap": ("30s -> 1m", Takes.NOW),
    }
    assert differences(found, "/cell/oms") == {"restart": ('"transient" -> "temporary"', Takes.NOW)}
    assert differences(found, "/cell") == {"strategy": ('"rest_for_one" -> "one_for_all"', Takes.NOW)}
    assert [c.takes for c in found.changed] == [Takes.PROCESS, Takes.NOW, Takes.NOW]
    assert steps(found) == [("adjust", "/"), ("adjust", "/cell"), ("replace", "/feed")]
    assert found.unchanged == 2


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        ("actor: 'queue:LifoQueue'", "actor"),
        ("config: {a: {b: 1}}", "config.a"),
        ("placement: {num_cpus: 1}", "placement.num_cpus"),
        ("heartbeat: {hang_after: 9s}", "heartbeat.hang_after"),
    ],
)
def test_what_the_process_itself_reads_takes_a_new_one(edit: str, key: str) -> None:
    before = "tree: {children: [{id: a, actor: 'queue:Queue'}]}"
    after = before.replace("actor: 'queue:Queue'", edit if key == "actor" else f"actor: 'queue:Queue', {edit}")
    found = compare(compiled(before), compiled(after))
    assert {k: takes for k, (_, takes) in differences(found, "/a").items()} == {key: Takes.PROCESS}
    assert steps(found) == [("replace", "/a")]


def test_true_is_not_one_to_a_config() -> None:
    found = changed(("maxsize: 1", "maxsize: true"))
    assert steps(found) == [("replace", "/feed")]


def test_children_come_last_and_go_first_in_reverse() -> None:
    found = changed(
        ("    - {id: feed", "    - {id: new, actor: 'queue:Queue'}\n    - {id: feed"),
        ('        - {id: md, actor: "queue:Queue"}\n', ""),
        (
            '        - {id: oms, actor: "queue:Queue", restart: transient}\n',
            "        - {id: risk, actor: 'queue:Queue'}\n",
        ),
    )
    assert [entry.path for entry in found.added] == ["/new", "/cell/risk"]
    assert [entry.path for entry in found.removed] == ["/cell/md", "/cell/oms"]
    assert steps(found) == [("remove", "/cell/oms"), ("remove", "/cell/md"), ("add", "/new"), ("add", "/cell/risk")]


def test_a_supervisor_goes_and_comes_as_one() -> None:
    cell = BASE[BASE.index("    - id: cell") : BASE.index("    - id: pool")]
    gone = changed((cell, ""))
    assert [(e.path, e.kind) for e in gone.removed] == [
        ("/cell", "supervisor"),
        ("/cell/md", "worker"),
        ("/cell/oms", "worker"),
    ]
    assert steps(gone) == [("remove", "/cell")]
    back = compare(gone.new, gone.old)
    assert steps(back) == [("add", "/cell")]


def test_a_child_that_moves_is_stopped_there_and_started_here() -> None:
    found = changed(
        ('        - {id: md, actor: "queue:Queue"}\n', ""),
        ("    - id: pool", "    - {id: md, actor: 'queue:Queue', restart: transient}\n    - id: pool"),
    )
    assert [(m.source, m.target) for m in found.moved] == [("/cell/md", "/md")]
    assert not found.added
    assert not found.removed
    assert steps(found) == [("remove", "/cell/md"), ("add", "/md")]
    assert [step.why for step in plan(found)] == ["moves to /md", "moves from /cell/md"]


def test_a_supervisor_moves_with_all_below_it() -> None:
    found = changed(
        ("    - id: cell", "    - id: desk\n      children: [{id: x, actor: 'queue:Queue'}]\n    - id: cell")
    )
    inner = compiled(
        BASE[: BASE.index("    - id: cell")]
        + "    - id: desk\n      children:\n        - {id: x, actor: 'queue:Queue'}\n        - id: cell\n"
        "          children: [{id: md, actor: 'queue:Queue'}, {id: oms, actor: 'queue:Queue', restart: transient}]\n"
        + BASE[BASE.index("    - id: pool") :]
    )
    found = compare(found.new, inner)
    assert {(m.source, m.target) for m in found.moved} == {
        ("/cell", "/desk/cell"),
        ("/cell/md", "/desk/cell/md"),
        ("/cell/oms", "/desk/cell/oms"),
    }
    assert steps(found) == [("remove", "/cell"), ("add", "/desk/cell")]


def test_no_guess_which_of_two_moved() -> None:
    team = "{{id: {name}, children: [{{id: x, actor: 'queue:Queue'}}]}}"
    two = f"tree: {{children: [{team.format(name='a')}, {team.format(name='b')}]}}"
    one = f"tree: {{children: [{team.format(name='c')}]}}"
    found = compare(compiled(two), compiled(one))
    assert not found.moved


def test_another_order_touches_no_process() -> None:
    before = "tree: {children: [{id: a, actor: 'queue:Queue'}, {id: b, actor: 'queue:Queue'}]}"
    after = "tree: {children: [{id: b, actor: 'queue:Queue'}, {id: a, actor: 'queue:Queue'}]}"
    found = compare(compiled(before), compiled(after))
    assert found.reordered == ("/",)
    assert steps(found) == [("adjust", "/")]


def test_what_is_read_at_a_start_holds_from_the_next() -> None:
    found = changed(("maxsize: 5}", "maxsize: 6}"), ("strategy: rest_for_one", "heartbeat: {missed: 9}"))
    assert differences(found, "/pool") == {"template.config.maxsize": ("5 -> 6", Takes.LATER)}
    assert differences(found, "/cell")["heartbeat.missed"] == ("3 -> 9", Takes.LATER)
    assert steps(found) == [("adjust", "/cell"), ("adjust", "/pool")]


def test_a_pool_becomes_a_team_only_by_being_made_anew() -> None:
    team = 'strategy: one_for_one\n      children: [{id: a, actor: "queue:Queue"}]\n'
    pool = BASE[BASE.index("strategy: simple") :]
    found = changed((pool, team))
    assert [(c.path, c.takes) for c in found.changed] == [("/pool", Takes.REBUILD)]
    assert [e.path for e in found.added] == ["/pool/a"]
    assert steps(found) == [("remove", "/pool"), ("add", "/pool")]


def test_a_worker_becomes_a_supervisor_only_by_being_made_anew() -> None:
    found = changed(('{id: feed, actor: "queue:Queue", config: {maxsize: 1}}', "{id: feed, children: []}"))
    assert differences(found, "/feed") == {"kind": ('"worker" -> "supervisor"', Takes.REBUILD)}
    assert steps(found) == [("remove", "/feed"), ("add", "/feed")]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("system: other", "system"),
        ("plane: {bind: 0.0.0.0}", "plane.bind"),
        ("metrics: {port: 1}", "metrics.port"),
        ("logs: {keep: 1}", "logs.keep"),
        ("trail: {keep: 1}", "trail.keep"),
    ],
)
def test_settings_of_the_system_are_refused(line: str, key: str) -> None:
    found = compare(compiled(BASE), compiled(f"{line}\n{BASE}"))
    assert [d.key for d in found.refused] == [key]
    assert not found.empty


def test_spares_and_the_root_as_a_child_change_live() -> None:
    found = compare(compiled(BASE), compiled(f"spares: 7\n{BASE}".replace("tree:", "tree:\n  shutdown: 1h")))
    assert found.refused == ()
    assert [str(d) for d in found.system] == ["spares: 2 -> 7"]
    assert differences(found, "/") == {"shutdown": ("infinity -> 1h", Takes.LATER)}
    assert steps(found) == [("system", "/")]


def test_the_root_stays_what_it_is() -> None:
    pool = "tree: {strategy: simple_one_for_one, template: {actor: 'queue:Queue'}}"
    found = compare(compiled(BASE), compiled(pool))
    assert [d.key for d in found.refused] == ["strategy"]


def test_a_key_that_one_side_lacks_is_absent() -> None:
    found = changed(("maxsize: 1", "other: x"))
    assert differences(found, "/feed") == {
        "config.maxsize": (f"1 -> {ABSENT}", Takes.PROCESS),
        "config.other": (f'{ABSENT} -> "x"', Takes.PROCESS),
    }


# ---------------------------------------------------------------- whatever the pair

_IDS = ("a", "b", "c", "d")
_supervision: dict[str, st.SearchStrategy[Any]] = {
    "restart": st.sampled_from(["permanent", "transient"]),
    "shutdown": st.sampled_from(["1s", "infinity"]),
    "backoff": st.sampled_from([None, {"base": "1s"}]),
}
_workers = st.fixed_dictionaries(
    {"actor": st.sampled_from(["queue:Queue", "queue:LifoQueue"])},
    optional={
        **_supervision,
        "config": st.sampled_from([{}, {"x": 1}, {"x": True}, {"y": [1]}]),
        "heartbeat": st.sampled_from([{"missed": 3}, {"missed": 4}]),
        "start_timeout": st.sampled_from(["1s", "2s"]),
        "placement": st.sampled_from([{"num_cpus": 1}, {"node": "launch"}]),
    },
)
_options: dict[str, st.SearchStrategy[Any]] = {
    "intensity": st.integers(0, 2),
    "heartbeat": st.sampled_from([{"missed": 3}, {"missed": 4}]),
}
_pools = st.fixed_dictionaries(
    {"strategy": st.just("simple_one_for_one"), "template": _workers},
    optional={**_options, "initial": st.integers(0, 2), "max_children": st.integers(3, 4)},
)


def _team(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Some of the four names in any order; one of the children may be significant."""

    def build(drawn: tuple[list[str], list[dict[str, Any]], dict[str, Any], bool]) -> dict[str, Any]:
        names, made, options, significant = drawn
        listed = [{"id": name, **child} for name, child in zip(names, made, strict=False)]
        if significant and listed:
            listed[0] |= {"significant": True, "restart": "transient"}
            options = options | {"auto_shutdown": "any_significant"}
        return {"children": listed, **options}

    options = {**_options, "strategy": st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])}
    return st.tuples(
        st.permutations(_IDS),
        st.lists(children, max_size=4),
        st.fixed_dictionaries({}, optional=options),
        st.booleans(),
    ).map(build)


_children = st.recursive(st.one_of(_workers, _pools), _team, max_leaves=8)
_documents = st.fixed_dictionaries({"tree": _team(_children)}, optional={"spares": st.integers(0, 3)})


class Running:
    """The processes of a system, each with a number no other ever had, changed by steps alone."""

    def __init__(self, topology: CompiledTopology) -> None:
        self._next = 0
        self.topology = topology
        self.pids: dict[str, int] = {}
        self._start(ROOT)

    def _start(self, top: str) -> None:
        for path in nodes(self.topology):
            if path == top or is_below(TreePath(path), TreePath(top)):
                assert path not in self.pids, "started twice"
                self._next += 1
                self.pids[path] = self._next

    def _stop(self, top: str) -> None:
        assert top in self.pids, "stopped twice"
        for path in [p for p in self.pids if p == top or is_below(TreePath(p), TreePath(top))]:
            del self.pids[path]

    def carry_out(self, step: Step, new: CompiledTopology) -> None:
        if step.kind in (StepKind.REMOVE, StepKind.REPLACE):
            self._stop(step.path)
        self.topology = advance(self.topology, step, new)
        if step.kind in (StepKind.ADD, StepKind.REPLACE):
            self._start(step.path)


@given(_documents, _documents, st.data())
@settings(max_examples=300, deadline=None)
def test_the_steps_lead_there_and_touch_nothing_else(
    first: dict[str, Any], second: dict[str, Any], data: st.DataObject
) -> None:
    old = compile_topology(Topology.model_validate(first))
    new = compile_topology(Topology.model_validate(second))
    found = compare(old, new)
    way = plan(found)
    system = Running(old)
    before = dict(system.pids)
    broken_off = data.draw(st.integers(0, len(way)))
    for number, step in enumerate(way):
        if number == broken_off:
            # whatever was done so far, a comparison with what runs finds exactly the rest (what moved apart)
            assert _bare(plan(compare(system.topology, new))) == _bare(way[number:])
        system.carry_out(step, new)
        for part in system.topology.supervisors.values():
            assert check_specs(part.spec.flags, part.spec.children) == [], "a supervisor would refuse it half way"
    assert system.topology == new
    assert set(system.pids) == set(nodes(new))
    one, other = nodes(old), nodes(new)
    kept = kept_paths(one, other)
    processes = {c.path for c in found.changed if c.takes is Takes.PROCESS}
    for path in kept:
        assert (system.pids[path] != before[path]) == (path in processes), path
    for path in set(other) - kept:
        assert system.pids[path] > len(before)
    touched = {step.path for step in way if step.kind is not StepKind.SYSTEM}
    same = {
        path
        for path in kept
        if one[path].child == other[path].child
        and one[path].worker == other[path].worker
        and old.supervisors.get(path) == new.supervisors.get(path)
    }
    assert not touched & same
    assert found.empty == (not way) == (old == new)


def _bare(way: tuple[Step, ...]) -> list[tuple[StepKind, str]]:
    return [(step.kind, step.path) for step in way]


@given(_documents, _documents)
@settings(max_examples=100, deadline=None)
def test_what_is_told_is_what_is_done(first: dict[str, Any], second: dict[str, Any]) -> None:
    old = compile_topology(Topology.model_validate(first))
    new = compile_topology(Topology.model_validate(second))
    found = compare(old, new)
    told_gone = {e.path for e in found.removed} | {m.source for m in found.moved}
    told_come = {e.path for e in found.added} | {m.target for m in found.moved}
    assert told_gone == set(nodes(old)) - set(nodes(new))
    assert told_come == set(nodes(new)) - set(nodes(old))
    for step in plan(found):
        if step.kind is StepKind.ADD:
            assert parent_of(TreePath(step.path)) in nodes(old)
    back = compare(new, old)
    assert {(m.target, m.source) for m in found.moved} == {(m.source, m.target) for m in back.moved}


def test_the_digest_is_the_compilers() -> None:
    topology = compiled(BASE)
    assert sealed(topology) == topology
