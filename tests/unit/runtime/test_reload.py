"""``apply`` against real machines over the real plane, without Ray: what is done, in which order, and what is left."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.core.errors import AdminError, LaunchError
from supervisors.runtime.reload import Applied, Operator, Reload, running_topology
from supervisors.runtime.reloading import pack, unpack
from supervisors.runtime.store import GoalStore
from supervisors.signals.messages import Order, Ordered
from supervisors.signals.proc import process_start_time
from supervisors.spec import parse_topology
from supervisors.spec.compiled import CompiledTopology, SupervisorPart, decode
from supervisors.trail.events import EventKind
from supervisors.trail.reader import read_all

from .plane import FakeSystem

_Q = 'actor: "queue:Queue"'
BASE = f"""\
tree:
  children:
    - {{id: feed, {_Q}, config: {{maxsize: 1}}}}
    - id: cell
      strategy: rest_for_one
      children:
        - {{id: a, {_Q}}}
        - {{id: b, {_Q}}}
    - id: pool
      strategy: simple_one_for_one
      template: {{{_Q}}}
"""
_B = f"        - {{id: b, {_Q}}}\n"


def compiled(*edits: tuple[str, str], text: str = BASE) -> CompiledTopology:
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse_topology(text, import_actors=False)[1]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[FakeSystem]:
    made = FakeSystem(tmp_path, compiled())
    yield made
    made.close()


@pytest.fixture
def reload(system: FakeSystem) -> Iterator[Reload]:
    made = Reload(system.folder)
    yield made
    made.close()


@pytest.fixture
def apply(reload: Reload) -> Callable[[CompiledTopology], Applied]:
    return reload.apply


Apply = Callable[[CompiledTopology], Applied]


def stored(system: FakeSystem) -> CompiledTopology:
    """What the goal state holds: the topology, each part and the digest are of one mind."""
    topology = running_topology(system.store)
    assert system.store.get("digest") == topology.digest
    assert set(system.store.supervisors()) == set(topology.supervisors)
    for path, part in topology.supervisors.items():
        assert decode(system.store.part(path), SupervisorPart) == part
        below = system.supervisors.get(path)
        if below is not None:
            assert below.part == part
            assert below.machine.flags == part.spec.flags
    return topology


def test_an_apply_changes_what_differs_and_nothing_else(system: FakeSystem, apply: Apply) -> None:
    before = dict(system.lives)
    new = compiled(
        ("maxsize: 1", "maxsize: 2"),
        (_B, f"        - {{id: n, {_Q}}}\n        - {{id: b, {_Q}, shutdown: 9s}}\n"),
        ("    - id: pool", f"    - id: desk\n      children: [{{id: x, {_Q}}}]\n    - id: pool"),
    )
    applied = apply(new)
    assert (applied.error, applied.left) == ("", ())
    assert stored(system) == new
    assert applied.after == new.digest
    assert system.up["/feed"] == b'{"maxsize":2}'
    assert system.lives == before | {"/feed": 2, "/cell/n": 1, "/desk": 1, "/desk/x": 1}
    assert list(system.supervisors["/cell"].machine.children) == ["a", "n", "b"]
    assert system.supervisors["/cell"].machine.children["b"].spec.shutdown == 9.0
    (event,) = [one.event for one in read_all(system.folder / "trail")]
    assert event.kind == EventKind.TOPOLOGY_APPLIED
    assert event.data == {
        "who": f"uid {os.getuid()}",
        "result": "ok",
        "added": 3,
        "removed": 0,
        "changed": 2,
        "moved": 0,
        "digest_before": compiled().digest,
        "digest": new.digest,
    }


def test_what_is_removed_leaves_no_trace(system: FakeSystem, apply: Apply) -> None:
    cell = BASE[BASE.index("    - id: cell") : BASE.index("    - id: pool")]
    new = compiled((cell, ""))
    for path in ("/cell/b", "/feed"):  # another child may get that path, and is not to wait for the old one's answer
        system.store.put(**{f"held:{path}": "17", f"recovery:{path}": "{}", f"failed:{path}": "1.0"})
    assert apply(new).error == ""
    assert stored(system) == new
    left = [key for prefix in ("held:", "recovery:", "failed:") for key, _ in system.store.like(prefix)]
    assert left == ["held:/feed", "recovery:/feed", "failed:/feed"]
    assert set(system.up) == {"/feed", "/pool"}
    assert [place.path for place in system.store.places() if place.path.startswith("/cell")] == []


def test_a_child_that_moves_never_runs_twice(system: FakeSystem, apply: Apply) -> None:
    new = compiled((_B, ""), ("    - id: pool", f"    - {{id: b, {_Q}}}\n    - id: pool"))
    applied = apply(new)
    assert [(m.source, m.target) for m in applied.changes.moved] == [("/cell/b", "/b")]
    calls = [(path, call, child) for path, call, child in system.orders if call != "apply"]
    assert calls == [("/cell", "terminate_child", "b"), ("/cell", "delete_child", "b"), ("/", "restart_child", "b")]
    assert stored(system) == new


def test_a_new_child_that_does_not_start_is_not_kept(system: FakeSystem, apply: Apply) -> None:
    system.failing = {b'{"bad":1}'}
    new = compiled(
        ("maxsize: 1", "maxsize: 2"),
        (_B, f"        - {{id: bad, {_Q}, config: {{bad: 1}}}}\n{_B}"),
        ("    - id: pool", f"    - {{id: last, {_Q}}}\n    - id: pool"),
    )
    applied = apply(new)
    assert "/cell/bad did not start" in applied.error
    assert [done.step.path for done in applied.done] == ["/feed"]
    assert [step.path for step in applied.left] == ["/cell/bad", "/last"]
    assert stored(system) == compiled(("maxsize: 1", "maxsize: 2"))
    assert list(system.supervisors["/cell"].machine.children) == ["a", "b"]
    assert system.store.place("/cell/bad") is None
    # once the cause is gone the same file goes on from there
    system.failing = set()
    again = apply(new)
    assert [done.step.path for done in again.done] == ["/cell/bad", "/last"]
    assert system.lives["/feed"] == 2
    assert stored(system) == new


def test_a_new_supervisor_that_does_not_start_is_not_kept(system: FakeSystem, apply: Apply) -> None:
    system.failing = {b'{"bad":1}'}
    desk = f"    - id: desk\n      children: [{{id: x, {_Q}}}, {{id: y, {_Q}, config: {{bad: 1}}}}]\n"
    applied = apply(compiled(("    - id: pool", f"{desk}    - id: pool")))
    assert "/desk did not start" in applied.error
    assert stored(system) == compiled()
    assert [place.path for place in system.store.places() if place.path.startswith("/desk")] == []
    assert set(system.up) == {"/feed", "/cell", "/cell/a", "/cell/b", "/pool"}


def test_a_changed_child_that_does_not_start_runs_as_before(system: FakeSystem, apply: Apply) -> None:
    system.failing = {b'{"maxsize":2}'}
    applied = apply(compiled(("maxsize: 1", "maxsize: 2")))
    assert "it runs with its old settings again" in applied.error
    assert system.up["/feed"] == b'{"maxsize":1}'
    assert stored(system) == compiled()


def test_one_that_starts_neither_way_is_down_and_the_next_apply_starts_it(system: FakeSystem, apply: Apply) -> None:
    system.failing = {b'{"maxsize":2}', b'{"maxsize":1}'}
    applied = apply(compiled(("maxsize: 1", "maxsize: 2")))
    assert "with its old settings neither" in applied.error
    assert "/feed" not in system.up
    system.failing = set()
    assert apply(compiled(("maxsize: 1", "maxsize: 3"))).error == ""
    assert system.up["/feed"] == b'{"maxsize":3}'


def test_what_was_stopped_by_hand_is_not_started(system: FakeSystem, reload: Reload) -> None:
    reload._order("/", "terminate_child", "feed")
    applied = reload.apply(compiled(("maxsize: 1", "maxsize: 2")))
    assert "stays so" in applied.done[0].note
    assert "/feed" not in system.up
    reload._order("/", "restart_child", "feed")
    assert system.up["/feed"] == b'{"maxsize":2}'


def test_below_a_supervisor_that_rests_it_holds_from_its_next_start(system: FakeSystem, reload: Reload) -> None:
    reload._order("/", "terminate_child", "cell")
    new = compiled((_B, f"        - {{id: n, {_Q}}}\n"), ("strategy: rest_for_one", "strategy: one_for_all"))
    applied = reload.apply(new)
    assert applied.error == ""
    assert all("/cell is not running" in done.note for done in applied.done)
    assert "/cell" not in system.up
    reload._order("/", "restart_child", "cell")
    assert stored(system) == new
    assert {path for path in system.up if path.startswith("/cell/")} == {"/cell/a", "/cell/n"}


def test_a_temporary_child_is_replaced_and_one_that_ended_stays_away(tmp_path: Path) -> None:
    text = f"tree: {{children: [{{id: t, {_Q}, restart: temporary}}, {{id: u, {_Q}, restart: temporary}}]}}"
    system = FakeSystem(tmp_path, compiled(text=text))
    reload = Reload(tmp_path)
    try:
        reload._order("/", "terminate_child", "u")
        new = compiled(
            (f"id: t, {_Q}", f"id: t, {_Q}, config: {{x: 1}}"), ("id: u,", "id: u, shutdown: 1s,"), text=text
        )
        assert reload.apply(new).error == ""
        assert system.up == {"/t": b'{"x":1}'}
        assert list(system.supervisors["/"].machine.children) == ["t"]
        assert stored(system) == new
    finally:
        reload.close()
        system.close()


@pytest.mark.parametrize("at", range(12))
def test_broken_off_anywhere_another_apply_completes_it(system: FakeSystem, at: int) -> None:
    """The operator's process dies just after its n-th order was sent."""
    new = compiled(
        ("maxsize: 1", "maxsize: 2"),
        (_B, f"        - {{id: n, {_Q}}}\n"),
        ("strategy: rest_for_one", "strategy: one_for_all"),
        ("    - id: pool", f"    - id: desk\n      children: [{{id: x, {_Q}}}]\n    - id: pool"),
    )
    first = Reload(system.folder)
    order, left = first._order, [at]

    def dying(supervisor: str, call: str, child: str = "", args: str = "", timeout: float = 90.0) -> Ordered:
        answer = order(supervisor, call, child, args, timeout)
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return answer

    first._order = dying  # type: ignore[method-assign]
    try:
        first.apply(new)
    except KeyboardInterrupt:
        pass
    finally:
        first.close()
    second = Reload(system.folder)
    try:
        assert second.apply(new).error == ""
    finally:
        second.close()
    assert stored(system) == new
    assert set(system.up) == {"/feed", "/cell", "/cell/a", "/cell/n", "/pool", "/desk", "/desk/x"}
    assert system.lives["/cell/a"] == system.lives["/cell"] == system.lives["/pool"] == 1
    assert system.up["/feed"] == b'{"maxsize":2}'


def test_one_operator_at_a_time(system: FakeSystem, apply: Apply) -> None:
    me = Operator("uid 7", os.getpid(), process_start_time(os.getpid()) or 0, "2026-01-01 00:00:00")
    system.store.put(reload=msgspec.json.encode(me).decode())
    with pytest.raises(AdminError, match=rf"uid 7 \(process {os.getpid()}\) .* since 2026-01-01") as refused:
        apply(compiled(("maxsize: 1", "maxsize: 2")))
    assert refused.value.code == 3002
    assert system.orders == []
    stale = msgspec.structs.replace(me, start_time=1)
    system.store.put(reload=msgspec.json.encode(stale).decode())
    assert apply(compiled(("maxsize: 1", "maxsize: 2"))).error == ""
    assert system.store.get("reload") == ""


def test_a_supervisor_that_should_run_and_does_not_stops_it_before_it_begins(
    system: FakeSystem, apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.runtime.reload._COME_BACK", 0.2)
    system.store.drop_host("h/cell")
    with pytest.raises(AdminError, match=r"/cell does not run.*nothing was changed") as refused:
        apply(compiled(("maxsize: 1", "maxsize: 2"), (_B, "")))
    assert refused.value.code == 3003
    assert system.orders == []
    assert stored(system) == compiled()


def test_a_supervisor_that_answers_nonsense_is_named(system: FakeSystem, apply: Apply) -> None:
    def spoil(path: str, order: Order) -> None:
        if order.call == "apply":
            object.__setattr__(system.supervisors[path], "part", system.supervisors["/pool"].part)

    system.before = spoil
    applied = apply(compiled(("strategy: rest_for_one", "strategy: one_for_all")))
    assert "/cell does not take its new settings: bad_strategy_change" in applied.error
    assert running_topology(system.store) == compiled()


def test_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(LaunchError) as failure:
        running_topology(GoalStore(tmp_path))
    assert failure.value.code == 2006


def test_a_part_survives_its_order() -> None:
    part = compiled().supervisors["/cell"]
    assert unpack(pack(part)) == part
    for text in ("", "no base64!", "AAAA"):
        with pytest.raises(Exception, match="not a"):
            unpack(text)
