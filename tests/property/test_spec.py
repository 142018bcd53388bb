"""Whatever is written: valid topologies survive, one wrong key is told at its place, nothing makes the check raise."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from supervisors.core.durations import format_duration
from supervisors.recovery.policy import AckMode
from supervisors.spec import Topology, check_file, check_text, codes, compile_topology, dump_topology, parse_topology
from supervisors.spec.document import Place
from supervisors.spec.fields import names_by_key
from supervisors.spec.reader import read_document
from supervisors.spec.recovery import (
    ApprovalSettings,
    BudgetSettings,
    LeaseSettings,
    MarketHoursSettings,
    RampSettings,
    RampStepSettings,
    RecoverySettings,
    RuleSettings,
    ValidationSettings,
)
from supervisors.spec.topology import Root, Supervisor, Template, Worker

_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,8}", fullmatch=True)
_times = st.one_of(
    st.floats(min_value=0, max_value=1e6).map(format_duration), st.integers(0, 10**6), st.sampled_from(["1m30s", "5ms"])
)
_seconds = st.integers(1, 10**4).map(lambda n: f"{n}s")
_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_text, inner, max_size=3)),
    max_leaves=6,
)
_configs = st.dictionaries(_text, _json, max_size=3)
_settings = {
    "restart": st.sampled_from(["permanent", "transient", "temporary"]),
    "shutdown": st.one_of(_times, st.sampled_from(["infinity", "brutal_kill"])),
    "start_timeout": st.one_of(_times, st.just("infinity")),
    "ready_timeout": st.one_of(st.none(), _times),
    "heartbeat": st.fixed_dictionaries(
        {}, optional={"interval": st.just("50ms"), "missed": st.integers(1, 9), "hang_after": st.just("3s")}
    ),
    "backoff": st.one_of(
        st.none(),
        st.fixed_dictionaries({}, optional={"base": st.just("1s"), "cap": _seconds, "jitter": _times}),
    ),
    "max_consecutive": st.one_of(st.none(), st.integers(1, 99)),
}
_rungs = st.sampled_from(["hot", "warm", "cold", "manual"])
_rules = st.one_of(
    st.fixed_dictionaries({"when": st.just("standby_synced"), "then": _rungs}, optional={"max_lag": _times}),
    st.fixed_dictionaries({"when": st.just("checkpoint_fresh"), "then": _rungs}, optional={"max_age": _seconds}),
    st.fixed_dictionaries(
        {
            "when": st.just("failure_class"),
            "classes": st.lists(st.sampled_from(["crash", "node", "oom"]), min_size=1, max_size=2),
            "then": _rungs,
        }
    ),
    st.fixed_dictionaries(
        {"when": st.sampled_from(["failed_recoveries", "failures_at_once"]), "then": _rungs},
        optional={"at_least": st.integers(1, 9), "within": _seconds},
    ),
    st.fixed_dictionaries({"when": st.just("volatility"), "then": _rungs}, optional={"above": st.floats(0.1, 9)}),
    st.fixed_dictionaries({"when": st.sampled_from(["always", "corruption_suspected"]), "then": _rungs}),
)
_sizes = st.lists(st.integers(0, 99), unique=True, max_size=3).map(sorted)
_hours = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))


def _optional(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=fields)


_recovery = st.one_of(
    st.none(),
    _optional(
        ladder=st.sampled_from([["hot", "warm", "cold"], ["hot"], ["warm", "cold"], ["cold"]]),
        standbys=st.integers(0, 2),
        standby=st.sampled_from(["auto", "live"]),
        rto=st.one_of(st.none(), _seconds),
        rung_timeout=_optional(hot=_seconds, cold=_seconds),
        rules=st.one_of(st.none(), st.lists(_rules, min_size=1, max_size=4)),
        checkpoint=_optional(every=_seconds, fresh_for=_seconds, verify_every=st.none()),
        journal=_optional(ack=st.sampled_from(["auto", "disk", "async"]), segment=st.just("1MiB"), retain=_seconds),
        lease=st.one_of(st.none(), _optional(renew=st.just("500ms"), on_store_loss=st.just("hold"))),
        approval=_optional(
            timeout=_seconds,
            market_hours=st.one_of(
                st.none(), _optional(open=_hours, timezone=st.just("UTC"), days=st.just(["mon", "fri"]))
            ),
        ),
        ramp=st.one_of(
            st.none(),
            _sizes.map(lambda sizes: {"steps": [*({"size": size / 100, "for": "1m"} for size in sizes), {"size": 1}]}),
            _optional(after=st.lists(_rungs, min_size=1, max_size=2)),
        ),
        validate=st.just([]),
        keep_failed=st.integers(0, 9),
    ),
)
_worker_settings = {**_settings, "recovery": _recovery}
_placement = st.fixed_dictionaries(
    {},
    optional={
        "node": st.sampled_from(["any", "launch", "10.0.0.1"]),
        "labels": st.dictionaries(_text, _text, max_size=2),
        "resources": st.dictionaries(_text, st.floats(0, 8), max_size=2),
        "num_cpus": st.integers(0, 8),
        "anti_affinity": st.just(["/"]),
    },
)
_work = {"actor": st.just("a.b:C")}
_options = {
    "intensity": st.integers(0, 99),
    "period": _seconds,
    "on_supervisor_crash": st.sampled_from(["adopt", "terminate"]),
    "budgets": st.sampled_from([[], [{"kinds": ["oom", "killed"], "intensity": 2}, {"kinds": ["node_lost"]}]]),
}
_workers = st.fixed_dictionaries(_work, optional={**_worker_settings, "config": _configs, "placement": _placement})
_pools = st.fixed_dictionaries(
    {"strategy": st.just("simple_one_for_one"), "template": _workers},
    optional={**_options, "initial": st.one_of(st.integers(0, 9), st.lists(_configs, max_size=2))},
)


def _named(children: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[list[dict[str, object]]]:
    pairs = st.lists(st.tuples(_ids, children), max_size=3, unique_by=lambda pair: pair[0])
    return pairs.map(lambda found: [{"id": name, **child} for name, child in found])


def _supervisors(children: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
    return st.fixed_dictionaries(
        {"children": _named(children)}, optional={**_options, **_settings, "strategy": strategies}
    )


_children = st.recursive(st.one_of(_workers, _pools), _supervisors, max_leaves=4)
_roots = st.one_of(st.fixed_dictionaries({"children": _named(_children)}, optional=_options), _pools)
_documents = st.fixed_dictionaries(
    {"tree": _roots},
    optional={
        "version": st.just(1),
        "system": _ids,
        "defaults": st.fixed_dictionaries({}, optional={"child": st.fixed_dictionaries({}, optional=_worker_settings)}),
        "policies": st.dictionaries(_ids, st.fixed_dictionaries({}, optional=_worker_settings), max_size=2),
        "state": st.sampled_from(["file", "postgresql:///x?service=y", "postgresql://u:p@h:1,i:2/d"]),
        "spares": st.integers(0, 9),
        "plane": st.fixed_dictionaries({}, optional={"transport": st.sampled_from(["auto", "ipc", "tcp"])}),
        "logs": st.fixed_dictionaries({}, optional={"rotate": st.sampled_from(["20MB", "1MiB", 5000])}),
    },
)


def _valid(document: dict[str, object]) -> Topology | None:
    """The topology, unless chance made values that do not go together (such as base over cap)."""
    topology = Topology.model_validate(document)
    report = check_text(dump_topology(topology), import_actors=False)
    return topology if report.ok else None


@given(_documents)
@settings(max_examples=150, deadline=None)
def test_a_valid_topology_survives_being_written_and_read(document: dict[str, object]) -> None:
    topology = _valid(document)
    if topology is None:
        return
    again, compiled = parse_topology(dump_topology(topology), import_actors=False)
    assert again == topology
    assert compiled == compile_topology(topology)


#: mappings whose keys are the user's own
_FREE = {"config", "args", "labels", "resources", "initial", "policies"}


def _keys(place: Place) -> list[tuple[tuple[str | int, ...], str, int, int]]:
    found: list[tuple[tuple[str | int, ...], str, int, int]] = []
    for key, item in (place.items or {}).items():
        if key in place.keys:
            found.append((place.loc, str(key), *place.keys[key]))
        if key not in _FREE:
            found += _keys(item)
    return found


@given(_documents, st.data())
@settings(max_examples=150, deadline=None)
def test_one_wrong_key_is_told_at_its_own_place(document: dict[str, object], data: st.DataObject) -> None:
    topology = _valid(document)
    if topology is None:
        return
    text = dump_topology(topology)
    root = read_document(text).root
    assert root is not None
    _, key, line, column = data.draw(st.sampled_from(_keys(root)))
    lines = text.split("\n")
    row = lines[line - 1]
    lines[line - 1] = row[: column - 1 + len(key)] + "zz" + row[column - 1 + len(key) :]
    report = check_text("\n".join(lines), import_actors=False)
    places = [(f.line, f.column) for f in report.findings if f.code == codes.UNKNOWN_KEY]
    assert places == [(line, column)]


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_no_text_makes_the_check_raise(text: str) -> None:
    check_text(text)


#: the characters YAML gives a meaning, so that chance meets its grammar
@given(st.text("-:?[]{}&*!|>%@`'\"#,\t\n ab0.~<=", max_size=40))
@settings(max_examples=500, deadline=None)
def test_no_yaml_like_text_makes_the_check_raise(text: str) -> None:
    check_text(text)
    check_text(f"tree:\n  children:\n    - {text}")


@given(st.binary())
@settings(max_examples=200, deadline=None)
def test_no_bytes_make_the_check_raise(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.yaml"
        path.write_bytes(data)
        check_file(path)


_models = (Topology, Root, Supervisor, Worker, Template)
_sections = (
    RecoverySettings,
    RuleSettings,
    LeaseSettings,
    ApprovalSettings,
    MarketHoursSettings,
    RampSettings,
    RampStepSettings,
    ValidationSettings,
    BudgetSettings,
)
_all_keys = sorted(
    {key for model in (*_models, *_sections) for key in names_by_key(model)}
    | {"child", "interval", "labels", "extends"}
)
_words = st.sampled_from(
    [
        "hot",
        "always",
        "manual",
        "09:30",
        "crash",
        "both",
        "a",
        "a b",
        "5s",
        "5x",
        "infinity",
        "one_for_one",
        "simple_one_for_one",
        "/a",
        "queue:Queue",
    ]
)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.floats(), _words),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_all_keys), inner, max_size=4)
    ),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(sorted(Topology.model_fields)), _values), _values, st.booleans())
@settings(max_examples=500, deadline=None)
def test_known_keys_with_any_values_are_told_with_a_place(
    document: dict[str, object], tree: object, wrap: bool
) -> None:
    whole = {**document, "tree": {"children": [tree, tree]} if wrap else tree}
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(whole, out)
    for finding in check_text(out.getvalue()).findings:
        assert finding.line >= 1
        assert finding.column >= 1


_one_recovery = st.one_of(
    _recovery,
    st.dictionaries(st.sampled_from(_all_keys), _values, max_size=6),
)


@given(_one_recovery, _one_recovery)
@settings(max_examples=300, deadline=None)
def test_any_recovery_is_told_with_a_place_or_compiled(child: object, inherited: object) -> None:
    whole = {
        "defaults": {"child": {"recovery": inherited}},
        "tree": {"children": [{"id": "a", "actor": "m:C", "recovery": child}, {"id": "b", "actor": "m:C"}]},
    }
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(whole, out)
    report = check_text(out.getvalue(), import_actors=False)
    assert all(finding.line >= 1 and finding.column >= 1 for finding in report.findings)
    if report.ok:
        compiled = parse_topology(out.getvalue(), import_actors=False)[1]
        part = compiled.supervisors["/"]
        for spec in part.spec.children:
            recovery = part.workers[spec.id].recovery
            assert spec.concurrent == (recovery is not None)
            if recovery is not None:
                assert spec.start_timeout >= sum(recovery.rung_timeout[rung] for rung in recovery.ladder)
                assert recovery.journal.ack is not AckMode.AUTO
