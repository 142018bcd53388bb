"""One recovery as a person would read it: rungs, holds, answers, RTO, records."""

import msgspec
import pytest

from supervisors.core.reasons import crash
from supervisors.recovery.approval import ALREADY_ANSWERED, BAD_RUNG, NOTHING_WAITS, UNKNOWN_HOLD, AnswerRefused
from supervisors.recovery.case import CaseRecord, RecoveryCase
from supervisors.recovery.messages import (
    Abandon,
    Answer,
    Answered,
    Approved,
    AskApproval,
    Attempt,
    AttemptBegun,
    AttemptFailed,
    AttemptSucceeded,
    Closed,
    Decided,
    Drop,
    FailureSeen,
    Hold,
    Outcome,
    Preserve,
    Progressed,
    Rejected,
    Release,
    Resize,
    RungFailed,
    SetTimer,
    StepDone,
    TimerFired,
    Validate,
    Withdrawn,
)
from supervisors.recovery.policy import (
    ApprovalSpec,
    Condition,
    MarketHours,
    RampSpec,
    RecoverySpec,
    Rung,
    ValidationStep,
)
from supervisors.recovery.progress import History, State
from tests.unit.recovery.support import PATH, Driven, Known, names, of, one

SPEC = RecoverySpec(standbys=1)
HOURS = RecoverySpec(standbys=1, approval=ApprovalSpec(market_hours=MarketHours()))


def state(driven: Driven) -> State:
    return driven.case.progress(driven.now).state


# ---------------------------------------------------------------- the plain way


def test_from_failure_to_healthy() -> None:
    driven = Driven(SPEC)
    effects = driven.fail(source=Known(synced=True, lag=0.2))
    assert names(effects) == ["Decided", "Attempt"]
    assert one(effects, Attempt) == Attempt(Rung.HOT, 2.0, 1, 1.0)
    assert one(effects, Decided).failure == f"{PATH}#1"
    assert driven.case.attempting is Rung.HOT
    effects = driven.up(Rung.HOT, after=0.05)
    assert names(effects) == [], "no checks, no ramp: nothing to do"
    assert [told.progress.state for told in of(effects, Progressed)] == [State.VALIDATING, State.RECOVERED]
    assert driven.case.progress(driven.now).percent == 100.0
    assert driven.timers() == {"watch"}
    effects = driven.fire("watch")
    assert effects[-1] == Closed(Outcome.RECOVERED, "recovered by hot")
    assert of(effects, Progressed)[-1].progress.state is State.HEALTHY
    assert driven.now == pytest.approx(1300.05)
    assert driven.case.closed


def test_after_the_end_nothing_is_emitted() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(synced=True))
    driven.up(Rung.HOT)
    driven.fire("watch")
    assert driven.fail(7) == []
    assert driven.step(AttemptSucceeded(Rung.HOT, 3)) == []
    assert driven.step(Withdrawn("late")) == []
    for token in range(20):
        assert driven.step(TimerFired(token)) == []
    with pytest.raises(AnswerRefused):
        driven.step(Approved("x", "ann"))


def test_snapshots_come_after_what_is_to_be_done() -> None:
    driven = Driven(SPEC)
    kinds = [type(effect).__name__ for effect in driven.fail()]
    assert kinds.index("Attempt") < kinds.index("Progressed")
    assert kinds[-2:] == ["Progressed", "Progressed"]


def test_steps_told_from_inside_the_attempt() -> None:
    history = History()
    driven = Driven(SPEC, history)
    driven.fail(source=Known(synced=True))
    driven.step(StepDone("fence", 0.2), 0.2)
    progress = driven.case.progress(driven.now)
    assert (progress.done, progress.left, progress.step) == (("decide", "fence"), ("promote",), "promote")
    for never in ("restore", "ramp:1", "validate:x", "fence"):
        assert driven.step(StepDone(never, 1.0)) == []
    driven.up(Rung.HOT, after=0.3)
    assert history.durations["hot:fence"] == (0.2,)
    assert history.mean("hot:promote") == pytest.approx(0.3)
    again = Driven(SPEC, history)
    again.fail(source=Known(synced=True))
    assert again.case.progress(again.now).eta == pytest.approx(0.5)
    assert again.case.progress(again.now + 0.1).eta == pytest.approx(0.4)
    assert again.case.progress(again.now + 99).eta == pytest.approx(0.3), "late on the first, the second still to come"


def test_the_percent_never_falls_when_a_rung_does() -> None:
    history = History({"hot:fence": (1.0,), "hot:promote": (9.0,)})
    driven = Driven(SPEC, history)
    driven.fail(source=Known(synced=True))
    driven.step(StepDone("fence", 1.0), 1.0)
    driven.now += 0.9
    shown = driven.case.progress(driven.now).percent
    assert shown == pytest.approx(19.0, abs=0.1), "with the time the step in hand has had"
    effects = driven.step(AttemptFailed(Rung.HOT, "no"))
    assert [told.progress.percent for told in of(effects, Progressed)] == [shown, shown]
    assert driven.case.progress(driven.now).done == ("decide",)


# ---------------------------------------------------------------- down the ladder


def test_down_the_ladder_and_held_at_the_end() -> None:
    history = History()
    driven = Driven(SPEC, history)
    driven.fail(source=Known(synced=True))
    for rung, following in ((Rung.HOT, Rung.WARM), (Rung.WARM, Rung.COLD)):
        effects = driven.step(AttemptFailed(rung, "no"), 0.1)
        assert names(effects) == ["Preserve", "RungFailed", "Attempt"]
        assert one(effects, RungFailed) == RungFailed(rung, "no", following)
        assert one(effects, Attempt).rung is following
    effects = driven.step(AttemptFailed(Rung.COLD, "no"), 0.1)
    assert names(effects) == ["Preserve", "RungFailed", "Hold", "AskApproval"]
    assert one(effects, RungFailed).next is Rung.MANUAL
    hold = one(effects, Hold)
    assert hold.id == f"{PATH}#1:1" == driven.case.hold_id
    assert hold.proposed is Rung.COLD
    assert one(effects, AskApproval).timeout == 300.0
    assert state(driven) is State.MANUAL_RECOVERY
    assert driven.case.attempting is None
    assert len(history.failed) == 3


def test_an_attempt_that_takes_too_long_is_ended_before_the_next() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(synced=True))
    effects = driven.fire("attempt")
    assert driven.now == 1002.0
    assert names(effects) == ["Preserve", "Abandon", "RungFailed", "Attempt"]
    assert one(effects, Abandon).why == "hot took longer than 2 s"


def test_a_time_out_counts_from_when_the_attempt_really_began() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(synced=True))
    driven.step(AttemptBegun(1), 1.5)
    driven.fire("attempt")
    assert driven.now == 1003.5
    assert driven.step(AttemptBegun(1), 0.1) == [], "of the attempt before"


def test_a_rung_without_time_out_waits_for_ever() -> None:
    driven = Driven(RecoverySpec(rung_timeout={"cold": float("inf")}))
    driven.fail()
    assert "attempt" not in driven.timers()


def test_late_answers_of_an_attempt_change_nothing() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(synced=True))
    driven.fire("attempt")
    assert driven.step(AttemptSucceeded(Rung.HOT, 2, 1)) == []
    assert driven.step(AttemptFailed(Rung.HOT, "late", 1)) == []
    assert driven.step(AttemptFailed(Rung.WARM, "of another number", 1)) == []
    assert driven.case.attempting is Rung.WARM
    driven.up(Rung.WARM)
    assert driven.step(AttemptFailed(Rung.WARM, "twice", 2)) == []


def test_news_of_a_life_that_is_known_to_have_failed() -> None:
    driven = Driven(SPEC)
    driven.fail(3, Known(synced=True))
    assert driven.fail(3) == []
    assert driven.fail(2) == []
    assert names(driven.fail(4)) == ["Preserve", "RungFailed", "Attempt"], "the attempt's own life"
    assert driven.fail(4) == []
    driven.up(Rung.WARM, incarnation=4)
    assert "Decided" in names(driven.fail(4)), "it came up with the same number and failed"


def test_failing_after_it_was_up_is_a_new_failure_that_counts() -> None:
    history = History()
    driven = Driven(SPEC, history)
    rungs = []
    for life in range(1, 5):
        effects = driven.fail(life)
        decided = one(effects, Decided)
        assert decided.failure == f"{PATH}#{life}"
        rungs.append(decided.decision.rung)
        if life > 1:
            assert names(effects)[0] == "Preserve"
            assert "RungFailed" not in names(effects), "nothing falls down the ladder: it is decided anew"
        if decided.decision.rung is not Rung.MANUAL:
            driven.up(Rung.COLD, life + 1)
    assert rungs == [Rung.COLD, Rung.COLD, Rung.COLD, Rung.MANUAL]
    failed = next(row for row in decided.decision.trace if row.when is Condition.FAILED_RECOVERIES)
    assert failed.saw == {"count": 3}
    assert len(history.failed) == 3


def test_failed_recoveries_of_earlier_cases_count_for_an_hour() -> None:
    for ago, rung in ((3600.0, Rung.MANUAL), (3600.1, Rung.COLD)):
        history = History(failed=(1000.0 - ago, 999.0, 999.5))
        assert one(Driven(SPEC, history).fail(), Decided).decision.rung is rung


# ---------------------------------------------------------------- people


def test_manual_by_rule_is_preserved_and_held() -> None:
    driven = Driven(SPEC)
    effects = driven.fail(source=Known(suspected=True))
    assert names(effects) == ["Decided", "Preserve", "Hold", "AskApproval"]
    assert state(driven) is State.MANUAL_RECOVERY
    effects = driven.step(Approved(driven.case.hold_id, "ann", "looked at it"))
    assert names(effects) == ["Answered", "Release", "Attempt"]
    assert one(effects, Answered) == Answered(f"{PATH}#1:1", Answer.APPROVED, "ann", "looked at it", Rung.COLD)
    assert one(effects, Release).rung is one(effects, Attempt).rung is Rung.COLD


def test_in_market_hours_all_but_hot_wait_for_leave() -> None:
    assert names(Driven(HOURS).fail(source=Known(synced=True, market=True))) == ["Decided", "Attempt"]
    assert names(Driven(HOURS).fail(source=Known(valid=True, market=False))) == ["Decided", "Attempt"]
    driven = Driven(HOURS)
    effects = driven.fail(source=Known(valid=True, age=1.0, market=True))
    assert names(effects) == ["Decided", "Hold", "AskApproval"], "nothing is started before"
    assert one(effects, Hold).proposed is Rung.WARM
    effects = driven.step(Approved(driven.case.hold_id, "ann", rung=Rung.COLD))
    assert one(effects, Attempt).rung is Rung.COLD, "the one the person names"
    # the next rung needs leave of its own; warm was passed over and is below nothing
    effects = driven.step(AttemptFailed(Rung.COLD, "no"))
    assert names(effects) == ["Preserve", "RungFailed", "Hold", "AskApproval"]
    assert driven.case.hold_id.endswith(":2")


def test_leave_in_market_hours_is_no_manual_recovery() -> None:
    spec = RecoverySpec(standbys=1, approval=HOURS.approval, ramp=RampSpec(after=(Rung.MANUAL,)))
    driven = Driven(spec)
    driven.fail(source=Known(valid=True, age=1.0, market=True))
    assert names(driven.step(Approved(driven.case.hold_id, "ann"))) == ["Answered", "Release", "Attempt"]
    assert "hold" not in driven.timers()
    manual = Driven(spec)
    manual.fail(source=Known(suspected=True))
    effects = manual.step(Approved(manual.case.hold_id, "ann", rung=Rung.HOT))
    assert names(effects) == ["Answered", "Release", "Resize", "Attempt"]


def test_a_fall_in_market_hours_asks_again() -> None:
    driven = Driven(HOURS)
    driven.fail(source=Known(synced=True, market=True))
    effects = driven.step(AttemptFailed(Rung.HOT, "no"))
    assert names(effects) == ["Preserve", "RungFailed", "Hold", "AskApproval"]
    assert one(effects, Hold).proposed is one(effects, RungFailed).next is Rung.WARM


def test_nobody_answers_in_time_and_the_hold_goes_on() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(suspected=True))
    hold = driven.case.hold_id
    effects = driven.fire("hold")
    assert driven.now == 1300.0
    answered = one(effects, Answered)
    assert (answered.id, answered.answer, answered.who, answered.rung) == (hold, Answer.TIMED_OUT, "", None)
    assert driven.case.hold_id == hold
    assert "hold" not in driven.timers()
    assert names(driven.step(Approved(hold, "ann"), 900.0)) == ["Answered", "Release", "Attempt"]


def test_rejected_stays_down() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(suspected=True))
    effects = driven.step(Rejected(driven.case.hold_id, "bob", "not today"))
    assert names(effects) == ["Answered", "Drop", "Closed"]
    assert one(effects, Drop) == Drop("bob", "not today")
    assert effects[-1] == Closed(Outcome.DROPPED, "not today")
    assert driven.timers() == set()


def refused(driven: Driven, event: Approved | Rejected) -> AnswerRefused:
    before = driven.case.record()
    with pytest.raises(AnswerRefused) as caught:
        driven.step(event)
    assert driven.case.record() == before, "a refusal changes nothing"
    return caught.value


def test_two_operators_at_once_and_other_answers_too_many() -> None:
    driven = Driven(SPEC)
    assert refused(driven, Approved("x", "ann")).code == NOTHING_WAITS
    driven.fail(source=Known(suspected=True))
    hold = driven.case.hold_id
    assert refused(driven, Approved("/cell/md#1:9", "ann")).code == UNKNOWN_HOLD
    assert refused(driven, Approved(hold, "ann", rung=Rung.MANUAL)).code == BAD_RUNG
    driven.step(Approved(hold, "ann"))
    for second in (Approved(hold, "bob"), Rejected(hold, "bob")):
        error = refused(driven, second)
        assert error.code == ALREADY_ANSWERED
        assert error.message.startswith("already approved by ann")
    assert refused(driven, Rejected("/other#1:1", "bob")).code == NOTHING_WAITS
    driven.step(AttemptFailed(Rung.COLD, "no"))
    assert driven.case.hold_id != hold, "an answer to the first must not let the second go"
    assert refused(driven, Approved(hold, "bob")).code == ALREADY_ANSWERED
    driven.step(Rejected(driven.case.hold_id, "bob"))
    assert refused(driven, Approved(hold, "eve")).code == ALREADY_ANSWERED


def test_a_person_may_name_a_rung_again_and_what_was_tried_is_not_tried_by_itself() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(synced=True))
    for rung in (Rung.HOT, Rung.WARM, Rung.COLD):
        driven.step(AttemptFailed(rung, "no"))
    effects = driven.step(Approved(driven.case.hold_id, "ann", rung=Rung.HOT))
    assert one(effects, Attempt).number == 4
    effects = driven.step(AttemptFailed(Rung.HOT, "no"))
    assert one(effects, RungFailed).next is Rung.MANUAL
    assert names(effects)[-2:] == ["Hold", "AskApproval"]


def test_a_failure_told_while_it_is_held_changes_nothing() -> None:
    driven = Driven(SPEC)
    driven.fail(1, Known(suspected=True))
    assert driven.fail(2) == []
    assert state(driven) is State.MANUAL_RECOVERY


def test_withdrawn_in_every_state() -> None:
    assert Driven(SPEC).step(Withdrawn("stopped")) == [Closed(Outcome.WITHDRAWN, "stopped")]
    held = Driven(SPEC)
    held.fail(source=Known(suspected=True))
    hold = held.case.hold_id
    assert names(held.step(Withdrawn("stopped"))) == ["Closed"]
    assert refused(held, Approved(hold, "ann")).code == NOTHING_WAITS
    for up in (False, True):
        driven = Driven(SPEC)
        driven.fail()
        if up:
            driven.up(Rung.COLD)
        assert driven.step(Withdrawn("stopped"))[-1] == Closed(Outcome.WITHDRAWN, "stopped")
        assert driven.timers() == set()
        assert driven.case.attempting is None


# ---------------------------------------------------------------- RTO


def test_the_rto_counts_from_the_failure_and_is_told_when_it_passes() -> None:
    driven = Driven(SPEC)
    driven.step(FailureSeen(f"{PATH}#1", 1, crash("x"), Known(suspected=True), at=990.0))
    assert driven.case.progress(driven.now).rto_left == 20.0
    assert driven.case.progress(driven.now).elapsed == 10.0
    progress = one(driven.fire("rto"), Progressed).progress
    assert driven.now == 1020.0
    assert (progress.over_rto, progress.far_over_rto, progress.rto_left) == (True, False, 0.0)
    progress = one(driven.fire("far"), Progressed).progress
    assert driven.now == 1035.0
    assert (progress.over_rto, progress.far_over_rto, progress.rto_left) == (True, True, -15.0)


def test_once_recovered_the_rto_stands_still() -> None:
    driven = Driven(SPEC)
    driven.fail()
    driven.up(Rung.COLD, after=10.0)
    assert driven.timers() == {"watch"}
    assert driven.case.progress(driven.now + 200.0).rto_left == 20.0
    assert not driven.case.progress(driven.now + 200.0).over_rto
    driven.fail(2, after=100.0)
    assert driven.case.progress(driven.now).rto_left == 30.0


def test_without_an_rto() -> None:
    driven = Driven(RecoverySpec(rto=None))
    driven.fail()
    assert driven.case.progress(driven.now + 1e6).rto_left is None
    assert not driven.case.progress(driven.now + 1e6).over_rto
    assert driven.timers() == {"attempt"}


def test_a_timer_that_comes_early_is_set_again() -> None:
    driven = Driven(SPEC)
    driven.fail()
    timer = driven.case.record().timers["attempt"]
    assert driven.step(TimerFired(timer.token), 1.0) == [SetTimer(timer.token, timer.at)]
    assert driven.case.attempting is Rung.COLD


# ---------------------------------------------------------------- surviving the supervisor


def kept(driven: Driven) -> CaseRecord:
    return msgspec.json.decode(msgspec.json.encode(driven.case.record()), type=CaseRecord)


def test_a_record_does_not_change_with_the_case() -> None:
    driven = Driven(SPEC)
    driven.fail()
    record = driven.case.record()
    before = msgspec.json.encode(record)
    driven.up(Rung.COLD)
    assert msgspec.json.encode(record) == before


def test_going_on_with_an_attempt_in_hand() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(synced=True))
    case = RecoveryCase.resume(kept(driven), SPEC, driven.now)
    effects = case.resumed(driven.now)
    assert of(effects, Attempt) == [], "look first whether it came up"
    assert (case.attempting, case.number) == (Rung.HOT, 1)
    assert {timer.at for timer in of(effects, SetTimer)} == {1002.0, 1030.0, 1045.0}
    assert of(case.step(AttemptSucceeded(Rung.HOT, 2, 1), 1001.0), Progressed)[-1].progress.state is State.RECOVERED


def test_going_on_with_a_hold() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(suspected=True))
    hold = driven.case.hold_id
    case = RecoveryCase.resume(kept(driven), SPEC, driven.now + 100.0)
    effects = case.resumed(driven.now + 100.0)
    assert one(effects, Hold).id == one(effects, AskApproval).id == hold
    assert one(effects, AskApproval).timeout == 200.0
    driven.fire("hold")
    late = RecoveryCase.resume(kept(driven), SPEC, driven.now)
    assert of(late.resumed(driven.now), AskApproval) == [], "nobody is paged twice"
    assert one(late.step(Approved(hold, "ann"), driven.now), Attempt).rung is Rung.COLD


def test_going_on_repeats_the_check_in_hand_and_the_size() -> None:
    spec = RecoverySpec(validate=(ValidationStep("positions", "/w", "m"),), ramp=RampSpec())
    driven = Driven(spec)
    driven.fail()
    driven.up(Rung.COLD)
    asked = one(driven.last, Validate)
    case = RecoveryCase.resume(kept(driven), spec, driven.now)
    effects = case.resumed(driven.now)
    assert one(effects, Validate) == asked
    assert one(effects, Resize) == Resize(0.0, 0.0)
    # its own deadline has passed while nobody was there: it gets its time once more
    late = RecoveryCase.resume(kept(driven), spec, driven.now + 60.0)
    effects = late.resumed(driven.now + 60.0)
    assert max(timer.at for timer in of(effects, SetTimer) if timer.at < 1200.0) == driven.now + 66.0


def test_going_on_with_a_source_that_knows_the_market_and_without() -> None:
    driven = Driven(HOURS)
    driven.fail(source=Known(synced=True, market=False))
    knows = RecoveryCase.resume(kept(driven), HOURS, driven.now, Known(market=False))
    assert of(knows.step(AttemptFailed(Rung.HOT, "no"), driven.now), Hold) == []
    doubts = RecoveryCase.resume(kept(driven), HOURS, driven.now)
    assert len(of(doubts.step(AttemptFailed(Rung.HOT, "no"), driven.now), Hold)) == 1


def test_going_on_with_a_closed_case() -> None:
    driven = Driven(SPEC)
    driven.step(Withdrawn("stopped"))
    case = RecoveryCase.resume(kept(driven), SPEC, driven.now)
    assert case.closed
    assert case.resumed(driven.now) == []


def test_what_was_kept_is_preserved_first() -> None:
    driven = Driven(SPEC)
    driven.fail(source=Known(synced=True))
    effects = driven.fail(2, reason=crash("again"))
    assert isinstance(effects[0], Preserve) or isinstance(effects[1], Preserve)
    assert names(effects)[0] == "Preserve"
    assert one(effects, Preserve).why == "crash: again"
