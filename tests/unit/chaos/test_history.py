"""What a history is made of: operations from their lines, facts from a topology, faults and lives from the trail."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.chaos.faulting import faults_of
from supervisors.chaos.final import final_of_status, final_of_trail
from supervisors.chaos.history import (
    DEFAULT_RTO,
    ChildFacts,
    Fault,
    OperationLine,
    Result,
    facts_of,
    fold_operations,
    tenures_of,
)
from supervisors.faults.kinds import CATALOGUE
from supervisors.spec.check import parse_topology
from supervisors.trail.events import EventKind
from supervisors.trail.status import ChildStatus, SupervisorStatus, SystemStatus
from tests.unit.chaos.story import KILLED, SHUTDOWN, boot, event, heal, history, inject, revert


class TestOperations:
    def test_an_end_is_joined_to_its_beginning(self) -> None:
        lines = [
            OperationLine(1.0, "a", "invoke", "/x", "append", "v"),
            OperationLine(1.5, "b", "invoke", "/x"),
            OperationLine(2.0, "a", "ok", sequence=4, epoch=2, incarnation=1),
            OperationLine(3.0, "a", "fail"),
            OperationLine(3.0, "stray", "ok"),
        ]
        first, second = fold_operations(lines)
        assert (first.result, first.completed, first.sequence, first.value) == (Result.OK, 2.0, 4, "v")
        assert (second.result, second.completed) == (Result.INFO, None)

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["invoke", "ok", "fail", "info", "odd"]))))
    def test_only_what_was_acknowledged_is_ok(self, lines: list[tuple[str, str]]) -> None:
        found = fold_operations(OperationLine(float(n), name, type_) for n, (name, type_) in enumerate(lines))
        for one in found:
            assert (one.id, "invoke") in lines
            assert one.result is not Result.OK or (one.id, "ok") in lines
            assert one.completed is None or one.completed > one.invoked


class TestFacts:
    def test_of_a_topology(self) -> None:
        text = (
            "system: t\ntree:\n  strategy: rest_for_one\n  intensity: 7\n  period: 9s\n  children:\n"
            "    - {id: a, actor: m:A, recovery: {standbys: 1, rto: 2s}}\n"
            "    - {id: b, actor: m:B, restart: transient, heartbeat: {hang_after: null}}\n"
            "    - id: c\n      children: [{id: d, actor: m:D}]\n"
        )
        _, compiled = parse_topology(text, import_actors=False)
        root, below = sorted(facts_of(compiled.supervisors.values()), key=lambda part: part.path)
        assert (root.strategy, root.intensity, root.period) == ("rest_for_one", 7, 9.0)
        assert [child.path for child in root.children] == ["/a", "/b", "/c"]
        first, second, third = root.children
        assert (first.rto, first.standbys, first.ack, first.journals, first.may_hold) == (2.0, 1, "both", True, True)
        assert (second.restart, second.hang_after, second.rto, second.journals) == (
            "transient",
            None,
            DEFAULT_RTO,
            False,
        )
        assert third.type == "supervisor"
        assert [child.path for child in below.children] == ["/c/d"]


class TestFaults:
    def one(self, *events: object) -> Fault:
        (found,) = faults_of([*boot(), *events], CATALOGUE)  # type: ignore[list-item]
        return found

    def test_from_injection_to_revert(self) -> None:
        found = self.one(
            inject(10.0, "/job", "crash_between", seconds=5.0, params='{"point":"append","nth":2}'),
            event(11.0, EventKind.FAULT_FIRED, "/job", id="f-1"),
            revert(12.0, "/job", "crash_between"),
        )
        assert (found.kind, found.where, found.armed, found.incarnation) == ("crash_between", "host", True, 1)
        assert (found.at, found.fired, found.began, found.ended) == (10.0, 11.0, 11.0, 12.0)
        assert (found.reverted, found.by, found.revert_ms) == (True, "injector", 1.5)
        assert found.params == {"point": "append", "nth": 2}

    def test_seen_gone_once_is_gone(self) -> None:
        found = self.one(inject(10.0, "/job"), revert(11.0, "/job"), revert(12.0, "/job", ok=False))
        assert (found.reverted, found.ended) == (True, 11.0)
        found = self.one(inject(10.0, "/job"), revert(11.0, "/job", ok=False), revert(12.0, "/job"))
        assert (found.reverted, found.ended) == (True, 12.0)

    def test_several_events_of_one_id_are_one_fault(self) -> None:
        found = self.one(inject(10.0, "/cell/a"), inject(10.1, "/cell/b"))
        assert (found.targets, found.at) == (("/cell/a", "/cell/b"), 10.0)

    @pytest.mark.parametrize(("word", "kind"), [("SIGKILL", "kill"), ("SIGTERM", "kill"), ("SIGSTOP", "stop")])
    def test_signals_sent_by_hand_are_faults(self, word: str, kind: str) -> None:
        found = self.one(event(10.0, EventKind.FAULT_INJECTED, "/job", 1, writer="cli", fault=word, pid=9))
        assert (found.kind, found.targets) == (kind, ("/job",))
        assert found.detected

    def test_what_cannot_be_read_is_kept_as_text(self) -> None:
        found = self.one(inject(10.0, "/job", targets="/job /cell", params="{cut"))
        assert (found.targets, found.params) == (("/job", "/cell"), {"params": "{cut"})


class TestTenures:
    def test_each_life_and_epoch_once(self) -> None:
        found = tenures_of([*boot(), *heal(10.0, "/job", 2, 9), event(11.0, EventKind.CHILD_READY, "/job", 2, epoch=9)])
        assert [(one.incarnation, one.epoch) for one in found if one.path == "/job"] == [(1, 6), (2, 9)]

    def test_one_that_comes_back_is_told_again(self) -> None:
        found = tenures_of([*boot(), *heal(10.0, "/job", 2, 9), event(11.0, EventKind.CHILD_READY, "/job", 1, epoch=6)])
        assert [(one.incarnation, one.epoch) for one in found if one.path == "/job"] == [(1, 6), (2, 9), (1, 6)]


class TestFinal:
    @pytest.mark.parametrize(
        ("events", "state"),
        [
            ([], "ready"),
            ([event(9.0, EventKind.CHILD_EXITED, "/job", 1, reason=KILLED)], "dead"),
            ([event(9.0, EventKind.CHILD_EXITED, "/job", 1, reason=SHUTDOWN)], "ended"),
            ([event(9.0, EventKind.RESTART_DECIDED, "/job", 1)], "restarting"),
            ([event(9.0, EventKind.CHILD_HELD, "/job", 1)], "held"),
            ([event(9.0, EventKind.CHILD_STOPPED, "/job", 1)], "stopped"),
            ([event(9.0, "actor_note", "/job", 1)], "ready"),
        ],
    )
    def test_the_trails_last_word(self, events: list[object], state: str) -> None:
        found = final_of_trail([*boot(), *events])  # type: ignore[list-item]
        assert next(one for one in found if one.path == "/job").state == state
        assert {one.told_by for one in found} == {"trail"}

    def test_a_supervisor_that_answers_speaks_for_itself(self) -> None:
        cell = SupervisorStatus("/cell", 5, state="stopping", children=[ChildStatus("/cell/a", "a", state="ready")])
        root = SupervisorStatus(
            "/", 4, children=[ChildStatus("/cell", "cell", "supervisor", "ready", verdict="healthy")]
        )
        found = {one.path: one.state for one in final_of_status(SystemStatus("t", supervisors=[root, cell]))}
        assert found == {"/": "running", "/cell": "stopping", "/cell/a": "ready"}

    def test_one_that_does_not_answer_is_as_the_one_above_says(self) -> None:
        silent = SupervisorStatus("/cell", 0, state="not answering")
        root = SupervisorStatus("/", 4, children=[ChildStatus("/cell", "cell", "supervisor", "restarting")])
        found = {one.path: one.state for one in final_of_status(SystemStatus("t", supervisors=[root, silent]))}
        assert found == {"/": "running", "/cell": "restarting"}


def test_a_history_goes_through_json_unchanged() -> None:
    made = history()
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) == made
    assert ChildFacts("/x").rto == DEFAULT_RTO
