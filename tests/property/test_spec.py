"""Whatever is written: valid topologies survive, one wrong key is told at its place, nothing makes the check raise."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from supervisors.core.durations import format_duration
from supervisors.spec import Topology, check_file, check_text, codes, compile_topology, dump_topology, parse_topology
from supervisors.spec.document import Place
from supervisors.spec.reader import read_document
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
}
_workers = st.fixed_dictionaries(_work, optional={**_settings, "config": _configs, "placement": _placement})
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
        "defaults": st.fixed_dictionaries({}, optional={"child": st.fixed_dictionaries({}, optional=_settings)}),
        "policies": st.dictionaries(_ids, st.fixed_dictionaries({}, optional=_settings), max_size=2),
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
_FREE = {"config", "labels", "resources", "initial", "policies"}


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
_all_keys = sorted(
    {key for model in _models for key in model.model_fields} | {"child", "interval", "labels", "extends"}
)
_words = st.sampled_from(["a", "a b", "5s", "5x", "infinity", "one_for_one", "simple_one_for_one", "/a", "queue:Queue"])
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
