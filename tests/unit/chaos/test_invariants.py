"""Each invariant holds on a good history, and is violated by a history that differs from it in one thing."""

from collections.abc import Callable

import msgspec
import pytest

from supervisors.chaos.history import (
    Asked,
    ChildFacts,
    EpochRun,
    FinalState,
    History,
    Journal,
    Leftovers,
    Operation,
    Outcome,
    Result,
    Rival,
    RunKind,
    Tenure,
)
from supervisors.chaos.invariants import CATALOGUE, Invariant, State, Verdict, check, violated
from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.trail.events import EventKind, TrailEvent
from tests.unit.chaos import story
from tests.unit.chaos.story import JOURNAL, OPERATIONS, event, fail, good, heal, history, inject, revert, start, stop


def said(history_: History, name: Invariant) -> Verdict:
    return next(one for one in check(history_) if one.id is name)


def replaced(**changes: object) -> History:
    return msgspec.structs.replace(history(), **changes)


def with_journal(**changes: object) -> History:
    return replaced(journals=(msgspec.structs.replace(JOURNAL, **changes),))


def with_operations(*more: Operation) -> History:
    return replaced(operations=(*OPERATIONS, *more))


def with_final(path: str, state: str, **changes: object) -> History:
    final = tuple(one for one in story.FINAL if one.path != path)
    return replaced(final=(*final, msgspec.structs.replace(FinalState(path, state), **changes)))


def without(kind: str, path: str, life: int) -> list[TrailEvent]:
    return [one for one in good() if not (one.kind == kind and one.path == path and one.incarnation == life)]


def test_all_hold_on_a_good_history() -> None:
    verdicts = check(history())
    assert [one.id for one in verdicts] == list(Invariant) == list(CATALOGUE)
    assert {one.id: (one.state, one.violations) for one in verdicts} == dict.fromkeys(Invariant, (State.HELD, ()))
    assert all(one.looked_at for one in verdicts)
    assert not violated(verdicts)


def ended(*order: str, took: float = 0.05) -> History:
    """The system goes down, and the root stops these, in this order."""
    stops = [
        one for n, path in enumerate(order) for one in stop(31.0 + n / 10, path, 1 + (path == "/ledger"), took=took)
    ]
    made = history([*good(), event(30.0, EventKind.SYSTEM_STOPPING, "/", writer="warden"), *stops])
    return msgspec.structs.replace(
        made,
        final=tuple(msgspec.structs.replace(one, state="stopped") if one.path in order else one for one in story.FINAL),
    )


BROKEN: dict[str, tuple[Invariant, Callable[[], History]]] = {
    "acknowledged and gone": (
        Invariant.ACKNOWLEDGED_KEPT,
        lambda: with_journal(ids={"op-1": 1, "op-5": 1}),
    ),
    "acknowledged without a journal": (Invariant.ACKNOWLEDGED_KEPT, lambda: replaced(journals=())),
    "acknowledged and gone, behind one that is kept in a pruned journal": (
        Invariant.ACKNOWLEDGED_KEPT,
        lambda: msgspec.structs.replace(
            with_journal(first=3, ids={"op-2": 1, "op-3": 1}, last=4),
            operations=(OPERATIONS[1], Operation("op-5", "/ledger", 9.5, 9.6, Result.OK)),
        ),
    ),
    "journal damaged": (Invariant.ACKNOWLEDGED_KEPT, lambda: with_journal(damage=("corrupt: 1.seg at 44: bits",))),
    "journal shorter than a promotion": (Invariant.ACKNOWLEDGED_KEPT, lambda: with_journal(last=3)),
    "promoted with less than was durable": (
        Invariant.ACKNOWLEDGED_KEPT,
        lambda: history([*good(), event(9.0, EventKind.CHECKPOINT, "/ledger", 1, sequence=90)]),
    ),
    "twice in the journal": (Invariant.APPLIED_ONCE, lambda: with_journal(ids={**(JOURNAL.ids or {}), "op-2": 2})),
    "applied twice": (Invariant.APPLIED_ONCE, lambda: with_journal(applied={"op-1": 2})),
    "applied and not journalled": (Invariant.APPLIED_ONCE, lambda: with_journal(applied={"op-9": 1})),
    "applied past the journal": (Invariant.APPLIED_ONCE, lambda: with_journal(applied_sequence=5)),
    "failed and there": (Invariant.APPLIED_ONCE, lambda: with_journal(ids={**(JOURNAL.ids or {}), "op-4": 1})),
    "two lives in one epoch": (
        Invariant.ONE_ACTS,
        lambda: replaced(tenures=(*history().tenures, Tenure("/ledger", 3, 7, 30.0))),
    ),
    "two lives answer in one epoch": (
        Invariant.ONE_ACTS,
        lambda: with_operations(Operation("op-6", "/ledger", 12.0, 12.1, Result.OK, "get", epoch=7, incarnation=1)),
    ),
    "a life before the last has ended": (
        Invariant.ONE_ACTS,
        lambda: history([*good(), *start(30.0, "/job", 2, 10, restart=True)]),
    ),
    "a start that fails does not end the life before": (
        Invariant.ONE_ACTS,
        lambda: history(
            [*good(), event(30.0, EventKind.CHILD_START_FAILED, "/job", 2), *start(31.0, "/job", 3, 10, restart=True)]
        ),
    ),
    "a rung that fails does not end a life": (
        Invariant.ONE_ACTS,
        lambda: history(
            [*good(), event(30.0, EventKind.RECOVERY_RUNG_FAILED, "/job", 1), *start(31.0, "/job", 2, 10, restart=True)]
        ),
    ),
    "a late notice of an earlier life does not end this one": (
        Invariant.ONE_ACTS,
        lambda: history(
            [
                *good(),
                event(30.0, EventKind.CHILD_EXITED, "/ledger", 1, reason=story.SHUTDOWN),
                *start(31.0, "/ledger", 3, 10, restart=True),
            ]
        ),
    ),
    "a life that has ended comes back": (
        Invariant.ONE_ACTS,
        lambda: history([*good(), event(30.0, EventKind.CHILD_READY, "/ledger", 1, epoch=2)]),
    ),
    "an epoch comes back": (
        Invariant.EPOCH_GROWS,
        lambda: history([*good(), event(30.0, EventKind.CHILD_READY, "/ledger", 1, epoch=2)]),
    ),
    "a rival got a lease that was running": (
        Invariant.ONE_ACTS,
        lambda: replaced(rivals=(Rival("f-1", "/ledger", 40, 1, "token 8 while 7 ran"),)),
    ),
    "an epoch goes back": (
        Invariant.EPOCH_GROWS,
        lambda: replaced(tenures=(*history().tenures, Tenure("/ledger", 3, 6, 30.0))),
    ),
    "a journal's epochs go back": (
        Invariant.EPOCH_GROWS,
        lambda: with_journal(epochs=(EpochRun(1, 3, 7), EpochRun(4, 4, 2))),
    ),
    "an older epoch accepts": (
        Invariant.EPOCH_GROWS,
        lambda: with_operations(Operation("op-6", "/ledger", 12.0, 12.1, Result.OK, "get", epoch=2, incarnation=1)),
    ),
    "a kill that nobody notices": (
        Invariant.DETECTED,
        lambda: history([*good(), inject(30.0, "/job", name="f-3", life=1), revert(30.1, "/job", name="f-3")]),
    ),
    "noticed only as the next life's": (
        Invariant.DETECTED,
        lambda: history(
            [*good(), inject(30.0, "/job", name="f-3", life=1), *fail(30.1, "/job", 2), *heal(30.2, "/job", 3, 12)]
        ),
    ),
    "a failure out of nothing": (
        Invariant.NONE_INVENTED,
        lambda: history([*good(), *fail(33.0, "/job", 1), *heal(33.1, "/job", 2, 12)]),
    ),
    "a fault elsewhere is no cause": (
        Invariant.NONE_INVENTED,
        lambda: history([*good(), *fail(10.5, "/job", 1, window="2/3 in 5s"), *heal(10.6, "/job", 2, 12)]),
    ),
    "restarting": (Invariant.SETTLED, lambda: with_final("/ledger", "restarting")),
    "hung": (Invariant.SETTLED, lambda: with_final("/ledger", "ready", verdict="hung")),
    "held for no reason": (Invariant.SETTLED, lambda: with_final("/cell/a", "held")),
    "gave up and nobody said so": (Invariant.SETTLED, lambda: with_final("/cell", "gave_up")),
    "forgotten": (Invariant.SETTLED, lambda: replaced(final=story.FINAL[1:])),
    "permanent and ended": (
        Invariant.SETTLED,
        lambda: msgspec.structs.replace(
            history([*good(), event(30.0, EventKind.CHILD_EXITED, "/ledger", 2, reason=story.KILLED)]),
            final=(FinalState("/ledger", "ended"), *story.FINAL[1:]),
        ),
    ),
    "transient, failed and ended": (
        Invariant.SETTLED,
        lambda: msgspec.structs.replace(
            history([*good(), event(30.0, EventKind.CHILD_EXITED, "/job", 1, reason=story.KILLED)]),
            final=(*story.FINAL[:-1], FinalState("/job", "ended")),
        ),
    ),
    "stopped by a group restart and forgotten": (
        Invariant.SETTLED,
        lambda: msgspec.structs.replace(
            history(
                [
                    *good(),
                    inject(30.0, "/cell/a", name="f-3", life=2),
                    *fail(30.01, "/cell/a", 2, window="1/2 in 5s", strategy="one_for_all", targets="a b"),
                    *stop(30.02, "/cell/b", 2),
                    *heal(30.04, "/cell/a", 3, 10),
                    revert(30.2, "/cell/a", name="f-3"),
                ]
            ),
            final=tuple(
                msgspec.structs.replace(one, state="stopped") if one.path == "/cell/b" else one for one in story.FINAL
            ),
        ),
    ),
    "restarts past the intensity": (
        Invariant.WITHIN_INTENSITY,
        lambda: history([*good(), *(fail(30.0 + n, "/job", n + 1, window=f"{n + 1}/3 in 5s")[-1] for n in range(4))]),
    ),
    "a window that says too much": (
        Invariant.WITHIN_INTENSITY,
        lambda: history([*good(), fail(30.0, "/job", 1, window="4/3 in 5s")[-1]]),
    ),
    "restarts counted wrongly": (
        Invariant.WITHIN_INTENSITY,
        lambda: history([*good(), *(fail(30.0 + n, "/job", n + 1, window="1/3 in 5s")[-1] for n in range(2))]),
    ),
    "stopped in start order": (
        Invariant.REVERSE_STOP,
        lambda: history(
            [*good(), *stop(30.0, "/cell", 1, took=1.0), *stop(30.1, "/cell/a", 2), *stop(30.2, "/cell/b", 2)]
        ),
    ),
    "stopped all at once": (
        Invariant.REVERSE_STOP,
        lambda: history(
            [*good(), *stop(30.0, "/cell", 1, took=2.0), *stop(30.1, "/cell/b", 2, took=0.5), *stop(30.2, "/cell/a", 2)]
        ),
    ),
    "the root's children stopped in start order": (Invariant.REVERSE_STOP, lambda: ended("/ledger", "/job")),
    "the root's children stopped all at once": (
        Invariant.REVERSE_STOP,
        lambda: ended("/job", "/ledger", took=2.0),
    ),
    "outlived the runner that was killed": (
        Invariant.NOTHING_LEFT,
        lambda: msgspec.structs.replace(
            history([*good(), inject(30.0, "/job", "delay", "f-3", seconds=5.0)]), outcome=Outcome.UNKNOWN, ended=120.0
        ),
    ),
    "a name left": (Invariant.NOTHING_LEFT, lambda: replaced(leftovers=Leftovers(names=("Ray actor host-7",)))),
    "not reverted": (
        Invariant.NOTHING_LEFT,
        lambda: history(
            [*good(), inject(30.0, "/job", "delay", "f-3"), revert(31.0, "/job", "delay", "f-3", ok=False)]
        ),
    ),
    "outlived its run": (
        Invariant.NOTHING_LEFT,
        lambda: history([*good(), inject(30.0, "/job", "delay", "f-3", seconds=1.0)]),
    ),
    "a process left": (
        Invariant.NOTHING_LEFT,
        lambda: replaced(leftovers=Leftovers(processes=("pid 7: host of /job",))),
    ),
    "a file left": (Invariant.NOTHING_LEFT, lambda: replaced(leftovers=Leftovers(files=("faults/f-1.json",)))),
}


@pytest.mark.parametrize("case", BROKEN)
def test_one_thing_broken_is_seen_and_nothing_else(case: str) -> None:
    name, make = BROKEN[case]
    verdicts = check(make())
    broken = {one.id for one in verdicts if one.state is State.VIOLATED}
    assert name in broken
    # a broken epoch may show in more than one way; nothing else may be drawn in
    assert broken <= {name, Invariant.ONE_ACTS, Invariant.EPOCH_GROWS} | ALSO.get(case, set())
    found = next(one for one in verdicts if one.id is name)
    assert found.violations[0].text
    assert violated(verdicts)


#: what is rightly seen besides
ALSO: dict[str, set[Invariant]] = {
    "noticed only as the next life's": {Invariant.NONE_INVENTED, Invariant.SETTLED},
    "permanent and ended": {Invariant.NONE_INVENTED},
    "transient, failed and ended": {Invariant.NONE_INVENTED},
    "a start that fails does not end the life before": {Invariant.NONE_INVENTED},
    "a life before the last has ended": set(),
}


class TestUnknownOutcomes:
    def test_may_be_there_or_not(self) -> None:
        for ids in ({"op-1": 1, "op-2": 1, "op-5": 1}, JOURNAL.ids):
            verdicts = check(with_journal(ids=ids))
            assert not violated(verdicts)

    def test_an_unsafe_acknowledgement_promises_nothing(self) -> None:
        tree = (
            msgspec.structs.replace(
                story.TREE[0],
                children=tuple(msgspec.structs.replace(one, ack="async") for one in story.TREE[0].children),
            ),
        )
        found = said(msgspec.structs.replace(with_journal(ids={}), tree=tree), Invariant.ACKNOWLEDGED_KEPT)
        assert found.state is State.HELD
        assert "async" in found.missing[0]

    def test_what_was_removed_behind_a_checkpoint_is_not_lost(self) -> None:
        found = said(with_journal(first=3, ids={"op-5": 1}), Invariant.ACKNOWLEDGED_KEPT)
        assert found.state is State.HELD
        assert "/ledger: 2 acknowledged events may be among those before 3" in found.missing[0]


class TestMissingEvidence:
    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            (Invariant.ACKNOWLEDGED_KEPT, {"journals": None}),
            (Invariant.APPLIED_ONCE, {"journals": None, "operations": ()}),
            (Invariant.APPLIED_ONCE, {"journals": (), "operations": ()}),
            (Invariant.WITHIN_INTENSITY, {"trail": (), "tree": ()}),
            (Invariant.ONE_ACTS, {"tenures": (), "operations": (), "trail": ()}),
            (Invariant.EPOCH_GROWS, {"tenures": (), "operations": (), "journals": ()}),
            (Invariant.DETECTED, {"faults": ()}),
            (Invariant.SETTLED, {"final": None}),
            (Invariant.NOTHING_LEFT, {"faults": (), "leftovers": None}),
            (Invariant.REVERSE_STOP, {"trail": (), "tree": ()}),
            (Invariant.NONE_INVENTED, {"asked": Asked("", RunKind.TRAIL)}),
        ],
    )
    def test_is_told_and_not_counted_as_held(self, name: Invariant, changes: dict[str, object]) -> None:
        found = said(replaced(**changes), name)
        assert found.state is State.NOT_CHECKABLE
        assert found.missing

    def test_whom_nobody_asked_what_they_applied_is_told(self) -> None:
        found = said(history(), Invariant.APPLIED_ONCE)
        assert found.missing == ("which events they applied was not asked of: /ledger",)
        assert said(with_journal(applied={"op-1": 1}), Invariant.APPLIED_ONCE).missing == ()

    def test_what_could_not_be_looked_at_on_the_machine_is_told(self) -> None:
        found = said(replaced(leftovers=Leftovers(unseen=("names of Ray actors: it is down",))), Invariant.NOTHING_LEFT)
        assert (found.state, found.missing) == (State.HELD, ("names of Ray actors: it is down",))

    def test_a_run_whose_end_came_before_its_fault_was_due_tells_nothing_of_it(self) -> None:
        kept = history([*story.boot(), inject(30.0, "/job", "delay", "f-3", seconds=5.0)])
        cut = msgspec.structs.replace(kept, outcome=Outcome.UNKNOWN, leftovers=None)
        found = said(cut, Invariant.NOTHING_LEFT)
        assert (found.state, found.looked_at) == (State.NOT_CHECKABLE, 0)
        assert "f-3" in found.missing[0]

    def test_what_needs_no_revert_proves_nothing(self) -> None:
        killed = history([*story.boot(), inject(30.0, "/job", life=1)])
        assert said(msgspec.structs.replace(killed, leftovers=None), Invariant.NOTHING_LEFT).looked_at == 0

    def test_nothing_broken_is_held_where_all_was_watched(self) -> None:
        quiet = history(story.boot())
        assert said(quiet, Invariant.NONE_INVENTED).looked_at == len(story.FINAL)
        assert said(quiet, Invariant.WITHIN_INTENSITY).looked_at == len(story.TREE)
        assert said(quiet, Invariant.REVERSE_STOP).state is State.NOT_CHECKABLE

    def test_an_empty_history_violates_nothing(self) -> None:
        assert not violated(check(History(Asked("x"))))


class TestDetected:
    def seen(self, *events: TrailEvent) -> Verdict:
        return said(history([*good(), *events]), Invariant.DETECTED)

    def test_what_is_not_detectable_needs_no_detection(self) -> None:
        found = self.seen(inject(30.0, "/job", "delay", "f-3", seconds=1.0), revert(31.0, "/job", "delay", "f-3"))
        assert (found.state, found.looked_at) == (State.HELD, 2)

    def test_an_armed_fault_without_its_occasion_had_no_effect(self) -> None:
        armed = inject(30.0, "/ledger", "crash_between", "f-3", life=2)
        assert self.seen(armed, revert(31.0, "/ledger", "crash_between", "f-3")).state is State.HELD
        fired = event(30.5, EventKind.FAULT_FIRED, "/ledger", id="f-3")
        assert self.seen(armed, fired, revert(31.0, "/ledger", "crash_between", "f-3")).state is State.VIOLATED

    def test_a_target_that_is_down_masks_a_fault(self) -> None:
        events = [*fail(30.0, "/job", 1), inject(30.05, "/job", name="f-3", life=1), *heal(30.1, "/job", 2, 12)]
        assert self.seen(inject(29.99, "/job", name="f-2b", life=1), *events).state is State.HELD

    def test_a_stop_too_short_to_be_seen_is_no_violation(self) -> None:
        for seconds, state in ((0.1, State.HELD), (5.0, State.VIOLATED)):
            found = self.seen(
                inject(30.0, "/job", "stop", "f-3", life=1), revert(30.0 + seconds, "/job", "stop", "f-3")
            )
            assert found.state is state

    def test_suspicion_is_detection(self) -> None:
        doubt = event(30.4, EventKind.VERDICT, "/job", 1, verdict="suspect", signal="missed_beats")
        again = event(31.4, EventKind.VERDICT, "/job", 1, verdict="healthy", signal="missed_beats")
        fault = inject(30.0, "/job", "lose_beats", "f-3", life=1)
        assert self.seen(fault, doubt, again, revert(35.0, "/job", "lose_beats", "f-3")).state is State.HELD

    def test_a_standby_is_told_of_by_its_path(self) -> None:
        fault = inject(30.0, "/ledger", name="f-3", standby=True)
        lost = event(30.01, EventKind.STANDBY, "/ledger", state="lost", pid=9)
        assert self.seen(fault, lost).state is State.HELD
        assert self.seen(fault).state is State.VIOLATED

    def test_a_standby_may_be_stopped_too_shortly_as_well(self) -> None:
        fault = inject(30.0, "/ledger", "stop", "f-3", standby=True)
        for seconds, state in ((0.1, State.HELD), (5.0, State.VIOLATED)):
            assert self.seen(fault, revert(30.0 + seconds, "/ledger", "stop", "f-3")).state is state

    @pytest.mark.parametrize("much_later", [EventKind.STANDBY, EventKind.PROMOTED])
    def test_what_becomes_of_a_standby_much_later_is_not_of_the_fault(self, much_later: EventKind) -> None:
        fault = inject(30.0, "/ledger", "stop", "f-3", standby=True)
        events = (revert(35.0, "/ledger", "stop", "f-3"), event(60.0, much_later, "/ledger", state="lost"))
        assert self.seen(fault, *events).state is State.VIOLATED

    def test_a_kind_nobody_knows_is_not_checkable(self) -> None:
        found = said(history([*story.boot(), inject(30.0, "/job", "of_an_actor", "f-3")]), Invariant.DETECTED)
        assert found.state is State.NOT_CHECKABLE

    def test_a_fault_that_was_refused_did_nothing(self) -> None:
        refused = event(30.1, EventKind.FAULT_REVERTED, "/job", id="f-3", ok=True, acted=False, why="refused: gone")
        assert self.seen(inject(30.0, "/job", name="f-3", life=1), refused).state is State.HELD
        late = history([*good(), inject(30.0, "/job", name="f-3", life=1), refused, *fail(31.0, "/job", 1)])
        assert said(late, Invariant.NONE_INVENTED).state is State.VIOLATED


class TestNoneInvented:
    def found(self, *events: TrailEvent) -> State:
        return said(history([*good(), *events]), Invariant.NONE_INVENTED).state

    def test_failures_that_go_on_have_the_first_ones_cause(self) -> None:
        events = [inject(30.0, "/job", name="f-3", life=1), *fail(30.01, "/job", 1)]
        failed = ExitReason(ExitKind.INIT_ERROR, "no")
        events += [event(45.0, EventKind.CHILD_START_FAILED, "/job", 2, reason=failed), *fail(60.0, "/job", 2)]
        assert self.found(*events) is State.HELD

    def test_once_well_for_a_while_a_failure_is_a_new_one(self) -> None:
        events = [inject(30.0, "/job", name="f-3", life=1), *fail(30.01, "/job", 1), *heal(30.1, "/job", 2, 12)]
        assert self.found(*events, *fail(45.0, "/job", 2)) is State.VIOLATED

    def test_a_fault_above_is_a_cause(self) -> None:
        assert self.found(inject(30.0, "/cell", name="f-3", life=1), *fail(30.01, "/cell/a", 2)) is State.HELD

    def test_a_fault_of_the_machine_may_show_anywhere(self) -> None:
        for kind, state in (("burn_cpu", State.HELD), ("delay", State.VIOLATED)):
            fault = inject(30.0, "/ledger", kind, "f-3", life=2, seconds=2.0)
            assert self.found(fault, *fail(31.0, "/job", 1), revert(32.0, "/ledger", kind, "f-3")) is state

    def test_a_group_goes_down_together(self) -> None:
        group = fail(30.01, "/cell/a", 2, strategy="one_for_all", targets="a b", window="1/2 in 5s")
        assert self.found(inject(30.0, "/cell/a", name="f-3", life=2), *group, *fail(30.5, "/cell/b", 2)) is State.HELD
        alone = fail(30.01, "/cell/a", 2, strategy="one_for_one", targets="a", window="1/2 in 5s")
        assert (
            self.found(inject(30.0, "/cell/a", name="f-3", life=2), *alone, *fail(30.5, "/cell/b", 2)) is State.VIOLATED
        )

    def test_giving_up_has_the_cause_of_what_led_to_it(self) -> None:
        gave_up = ExitReason(ExitKind.ESCALATED, "intensity exceeded by a")
        events = [inject(30.0, "/cell/a", name="f-3", life=2), *fail(30.01, "/cell/a", 2)]
        assert self.found(*events, *fail(30.5, "/cell", 1, reason=gave_up)) is State.HELD
        assert self.found(*events, *fail(30.5, "/cell", 1, reason=story.KILLED)) is State.VIOLATED

    def test_damaged_files_are_met_late(self) -> None:
        fault = inject(25.0, "/job", "stale_checkpoint", "f-3", seconds=1.0)
        known = history([*good(), fault, *fail(39.0, "/job", 1)])
        assert {one.where for one in known.faults if one.id == "f-3"} == {"files"}
        assert said(known, Invariant.NONE_INVENTED).state is State.HELD

    def test_a_violation_names_what_was_near(self) -> None:
        found = said(history([*good(), *fail(10.5, "/job", 1)]), Invariant.NONE_INVENTED)
        assert len(found.violations) == 1, "one failure is told of once"
        assert "f-1 kill at /ledger" in found.violations[0].evidence[1]


class TestSettled:
    def test_held_with_a_reason(self) -> None:
        hold = event(30.0, EventKind.CHILD_HELD, "/cell/a", 2, why="a person")
        held = (*story.FINAL[:2], FinalState("/cell/a", "held"), *story.FINAL[3:])
        one = msgspec.structs.replace(history([*good(), hold]), final=held)
        assert said(one, Invariant.SETTLED).state is State.HELD

    def test_given_up_by_its_supervisor(self) -> None:
        gave_up = event(30.0, EventKind.GAVE_UP, "/cell/a", 2, why="intensity")
        final = (FinalState("/cell", "gave_up"), *(one for one in story.FINAL if not one.path.startswith("/cell")))
        one = msgspec.structs.replace(history([*good(), gave_up]), final=final)
        assert said(one, Invariant.SETTLED).state is State.HELD

    def test_a_transient_child_that_came_to_its_end(self) -> None:
        done = event(30.0, EventKind.CHILD_EXITED, "/job", 1, reason=ExitReason(ExitKind.NORMAL))
        one = msgspec.structs.replace(history([*good(), done]), final=(*story.FINAL[:-1], FinalState("/job", "ended")))
        assert said(one, Invariant.SETTLED).state is State.HELD

    def test_stopped_by_an_order(self) -> None:
        for call, state in (("terminate_child", State.HELD), ("which_children", State.VIOLATED)):
            ordered = event(30.02, EventKind.ADMIN, "/ledger", 2, call=call, result="ok")
            one = msgspec.structs.replace(
                history([*good(), *stop(30.0, "/ledger", 2), ordered]),
                final=(FinalState("/ledger", "stopped"), *story.FINAL[1:]),
            )
            assert said(one, Invariant.SETTLED).state is state

    def test_at_rest_since_before_the_run(self) -> None:
        """Before: any event about it, such as a fault that found nobody, made it a violation."""
        asked = event(30.0, EventKind.ADMIN, "/ledger", 2, call="which_children", result="ok")
        before = [one for one in good() if one.path != "/ledger"]
        final = (FinalState("/ledger", "stopped"), *story.FINAL[1:])
        for events, state in ((before, State.HELD), (good(), State.VIOLATED)):
            one = msgspec.structs.replace(history([*events, asked]), final=final)
            assert said(one, Invariant.SETTLED).state is state

    def test_an_order_of_long_ago_does_not_excuse_a_stop_today(self) -> None:
        events = [*stop(30.0, "/job", 1), event(30.02, EventKind.ADMIN, "/job", 1, call="terminate_child", result="ok")]
        events += [*start(31.0, "/job", 2, 10), *stop(32.0, "/job", 2)]
        one = msgspec.structs.replace(
            history([*good(), *events]), final=(*story.FINAL[:-1], FinalState("/job", "stopped"))
        )
        assert said(one, Invariant.SETTLED).state is State.VIOLATED

    def test_stopped_with_its_supervisor_and_not_started_again(self) -> None:
        events = [*stop(30.0, "/cell", 1, took=1.0), *stop(30.1, "/cell/b", 2), *stop(30.2, "/cell/a", 2)]
        events += [event(31.1, EventKind.ADMIN, "/cell", 1, call="terminate_child", result="ok")]
        rest = frozenset({"/cell", "/cell/a", "/cell/b"})
        final = tuple(msgspec.structs.replace(one, state="stopped") if one.path in rest else one for one in story.FINAL)
        assert said(msgspec.structs.replace(history([*good(), *events]), final=final), Invariant.SETTLED).state is (
            State.HELD
        )
        again = event(32.0, EventKind.SUPERVISOR_STARTING, "/cell", 2, writer="/cell", adopt=False)
        one = msgspec.structs.replace(history([*good(), *events, again]), final=final)
        found = said(one, Invariant.SETTLED)
        assert {each.path for each in found.violations} == {"/cell/a", "/cell/b"}


class TestIntensity:
    def test_a_new_life_of_the_supervisor_begins_a_new_window(self) -> None:
        events = [fail(30.0 + n, "/cell/a", n + 2, window=f"{n + 1}/2 in 5s")[-1] for n in range(2)]
        events += [event(32.0, EventKind.SUPERVISOR_STARTING, "/cell", 2, writer="/cell", adopt=False)]
        events += [fail(33.0, "/cell/a", 5, window="1/2 in 5s")[-1]]
        assert said(history([*good(), *events]), Invariant.WITHIN_INTENSITY).state is State.HELD

    def test_restarts_are_counted_whatever_the_window_says(self) -> None:
        events = [fail(30.0 + n, "/job", n + 1, window="3/3 in 5s")[-1] for n in range(4)]
        found = said(history([*good(), *events]), Invariant.WITHIN_INTENSITY)
        assert found.violations[0].text == "/ restarted 4 times within 5 s, where 3 are allowed"

    def test_an_adopting_one_inherits_it(self) -> None:
        events = [fail(30.0 + n, "/cell/a", n + 2, window=f"{n + 1}/2 in 5s")[-1] for n in range(2)]
        events += [event(32.0, EventKind.SUPERVISOR_STARTING, "/cell", 2, writer="/cell", adopt=True)]
        events += [fail(33.0, "/cell/a", 5, window="1/2 in 5s")[-1]]
        assert said(history([*good(), *events]), Invariant.WITHIN_INTENSITY).state is State.VIOLATED

    def test_a_budget_has_a_window_of_its_own(self) -> None:
        events = [fail(30.0 + n, "/job", n + 1, window=f"{n + 1}/3 in 5s")[-1] for n in range(3)]
        charged = [fail(33.0, "/job", 4, window="1/10 in 60s", budget="node_lost")[-1]]
        assert said(history([*good(), *events, *charged]), Invariant.WITHIN_INTENSITY).state is State.HELD


class TestReverseStop:
    def test_the_root_stops_its_children_one_after_another(self) -> None:
        found = said(ended("/job", "/ledger"), Invariant.REVERSE_STOP)
        assert (found.state, found.looked_at) == (State.HELD, 3)

    def test_orders_of_a_person_are_no_stop_of_a_supervisor(self) -> None:
        events = [*stop(30.0, "/cell/a", 2), *stop(30.5, "/cell/b", 2)]
        assert said(history([*good(), *events]), Invariant.REVERSE_STOP).state is State.HELD

    def test_right_order_without_a_topology(self) -> None:
        events = [*good(), *stop(30.0, "/cell", 1, took=1.0), *stop(30.1, "/cell/b", 2), *stop(30.2, "/cell/a", 2)]
        one = msgspec.structs.replace(history(events), tree=())
        found = said(one, Invariant.REVERSE_STOP)
        assert (found.state, found.looked_at) == (State.HELD, 3)

    def test_a_group_restart_stops_in_reverse_order_too(self) -> None:
        tree = (msgspec.structs.replace(story.TREE[1], children=(*story.TREE[1].children, ChildFacts("/cell/c"))),)
        for order, state in ((("/cell/c", "/cell/b"), State.HELD), (("/cell/b", "/cell/c"), State.VIOLATED)):
            events = fail(30.0, "/cell/a", 2, strategy="one_for_all", targets="a b c", window="1/2 in 5s")
            stops = [*stop(30.1, order[0], 2), *stop(30.2, order[1], 2)]
            one = msgspec.structs.replace(history([*good(), *events, *stops]), tree=tree)
            assert said(one, Invariant.REVERSE_STOP).state is state


def test_a_journal_of_another_path_does_not_help() -> None:
    assert violated(check(replaced(journals=(JOURNAL, Journal("/other", ids={"op-9": 1})), operations=(
        *OPERATIONS, Operation("op-9", "/ledger", 12.0, 12.1, Result.OK)))))  # fmt: skip


def test_a_signal_sent_by_hand_has_no_run_to_outlive() -> None:
    stopped = event(30.0, EventKind.FAULT_INJECTED, "/job", 1, writer="cli", fault="SIGSTOP")
    assert said(history([*good(), stopped]), Invariant.NOTHING_LEFT).state is State.HELD
