"""REC-5 and REC-6: checklists one after another, and the ramp between."""

import pytest

from supervisors.recovery.messages import (
    Closed,
    Outcome,
    Progressed,
    Resize,
    RungFailed,
    StepValidated,
    Validate,
    Validated,
)
from supervisors.recovery.policy import Phase, RampSpec, RampStep, RecoverySpec, Rung, ValidationStep
from supervisors.recovery.progress import State
from tests.unit.recovery.support import Driven, Known, names, of, one

A = ValidationStep("a", "/w", "m", attempts=2, pause=0.5)
OPTIONAL = ValidationStep("optional", "/w", "m", attempts=1, required=False)
B = ValidationStep("b", "/w", "m", phase=Phase.SHORT, attempts=1)
C = ValidationStep("c", "/w", "m", phase=Phase.MEDIUM, attempts=1)
HOT = Known(synced=True)


def recovering(*steps: ValidationStep, ramp: RampSpec | None = None, source: Known | None = None) -> Driven:
    driven = Driven(RecoverySpec(standbys=1, validate=steps, ramp=ramp))
    driven.fail(source=source)
    driven.up(driven.case.attempting or Rung.COLD)
    return driven


def state(driven: Driven) -> State:
    return driven.case.progress(driven.now).state


def asked(driven: Driven) -> list[str]:
    return [effect.step.name for effect in of(driven.last, Validate)]


def sizes(driven: Driven) -> list[tuple[float, float]]:
    return [(effect.multiplier, effect.lasting) for effect in of(driven.all, Resize)]


# ---------------------------------------------------------------- checklists


def test_immediate_checks_run_one_after_another_before_it_is_recovered() -> None:
    driven = recovering(A, OPTIONAL, B)
    assert asked(driven) == ["a"]
    driven.check()
    assert asked(driven) == ["optional"]
    assert state(driven) is State.VALIDATING
    driven.check()
    assert state(driven) is State.RECOVERED
    assert asked(driven) == ["b"], "the short ones begin right after"
    driven.check()
    assert asked(driven) == []
    assert driven.fire("watch")[-1] == Closed(Outcome.RECOVERED, "recovered by cold")


def test_a_failing_try_is_repeated_after_its_pause() -> None:
    driven = recovering(A)
    first = one(driven.last, Validate)
    effects = driven.check(False, "not yet")
    told = one(effects, StepValidated)
    assert (told.ok, told.final, told.attempt, told.why) == (False, False, 1, "not yet")
    assert told.seconds == pytest.approx(0.1)
    assert asked(driven) == []
    before = driven.now
    second = one(driven.fire("pause"), Validate)
    assert driven.now == before + 0.5
    assert (second.attempt, second.run) == (2, first.run + 1)
    driven.check()
    assert state(driven) is State.RECOVERED


def test_a_required_immediate_check_fails_the_rung() -> None:
    driven = recovering(A, source=HOT)
    driven.check(False, "positions differ")
    driven.fire("pause")
    effects = driven.check(False, "positions differ")
    assert names(effects) == ["StepValidated", "Preserve", "Abandon", "RungFailed", "Attempt"]
    assert one(effects, RungFailed) == RungFailed(Rung.HOT, "validate:a: positions differ", Rung.WARM)
    assert one(effects, StepValidated).final
    assert driven.fail(2) == [], "the end of the life that was given up is no news"
    driven.up(Rung.WARM, 3)
    assert asked(driven) == ["a"], "the list begins anew"


def test_a_check_that_is_not_required_is_noted_only() -> None:
    driven = recovering(OPTIONAL)
    told = one(driven.check(False, "meh"), StepValidated)
    assert (told.ok, told.required, told.final) == (False, False, True)
    assert state(driven) is State.RECOVERED


def test_a_check_that_never_answers_has_failed() -> None:
    driven = recovering(A)
    effects = driven.fire("answer")
    assert driven.now == pytest.approx(1001.0 + A.timeout + 1.0)
    assert one(effects, StepValidated).why == "no answer"
    assert "pause" in driven.timers()


def test_late_and_foreign_answers() -> None:
    driven = recovering(A, B)
    run = one(driven.last, Validate).run
    assert driven.step(Validated("b", True)) == []
    assert driven.step(Validated("a", True, "", run + 1)) == []
    driven.check(False)
    assert driven.step(Validated("a", True, "", run)) == [], "it pauses: nothing is waited for"
    driven.fire("pause")
    assert driven.step(Validated("a", True, "", run)) == [], "of the try before"
    assert state(driven) is State.VALIDATING
    driven.step(Validated("a", True))
    assert state(driven) is State.RECOVERED


def test_immediate_checks_have_a_minute() -> None:
    slow = ValidationStep("slow", "/w", "m", attempts=100, pause=0.5, timeout=50.0)
    driven = recovering(slow, A)
    driven.check(False, after=30.0)
    driven.fire("pause")
    effects = driven.check(False, "still", after=29.5)
    assert one(effects, StepValidated).final, "another try would begin too late"
    assert "RungFailed" in names(effects)
    driven = recovering(slow, A)
    effects = driven.check(True, after=60.5)
    assert "longer than 60 s" in one(effects, RungFailed).why


def test_failing_while_it_is_validated_fails_the_rung() -> None:
    driven = recovering(A, source=HOT)
    effects = driven.fail(2)
    assert names(effects) == ["Preserve", "RungFailed", "Attempt"]
    assert driven.step(Validated("a", True)) == []
    assert driven.timers() == {"attempt", "rto", "far"}


def test_a_short_check_that_fails_is_tried_again_every_half_minute() -> None:
    driven = recovering(B)
    effects = driven.check(False, "pnl off")
    assert one(effects, StepValidated).final
    told = of(effects, Progressed)[-1].progress
    assert told.message == "stays at size 1: b: pnl off"
    assert told.eta is None
    assert state(driven) is State.RECOVERED
    before = driven.now
    driven.fire("retry")
    assert driven.now == before + 30.0
    assert asked(driven) == ["b"]
    driven.check(False)
    driven.fire("watch")
    assert not driven.case.closed, "not healthy before it passes"
    assert driven.case.progress(driven.now + 1.0).overdue == ("b",)
    driven.fire("retry")
    driven.check()
    assert driven.case.closed


def test_medium_checks_begin_after_five_minutes() -> None:
    driven = recovering(C)
    assert state(driven) is State.RECOVERED
    assert asked(driven) == []
    recovered = driven.now
    driven.fire("watch")
    assert driven.now == recovered + 300.0
    assert asked(driven) == ["c"]
    assert driven.case.progress(recovered + 1800.0).overdue == ()
    assert driven.case.progress(recovered + 1800.1).overdue == ("c",)
    assert driven.check()[-1] == Closed(Outcome.RECOVERED, "recovered by cold")


# ---------------------------------------------------------------- the ramp


def test_the_size_goes_out_before_the_attempt() -> None:
    driven = Driven(RecoverySpec(standbys=1, ramp=RampSpec()))
    effects = driven.fail()
    assert names(effects) == ["Decided", "Resize", "Attempt"]
    assert one(effects, Resize) == Resize(0.0, 0.0)
    assert driven.case.multiplier == 0.0


def test_hot_keeps_its_size() -> None:
    driven = Driven(RecoverySpec(standbys=1, ramp=RampSpec()))
    assert names(driven.fail(source=HOT)) == ["Decided", "Attempt"]
    driven.up(Rung.HOT)
    assert of(driven.all, Resize) == []
    assert driven.case.multiplier == 1.0


def test_the_document_s_ramp_with_checks_between() -> None:
    driven = recovering(A, OPTIONAL, B, C, ramp=RampSpec())
    driven.check()
    driven.check()
    start = driven.now
    assert sizes(driven) == [(0.0, 0.0), (0.0, 120.0)]
    driven.check()
    driven.fire("ramp")
    assert driven.now == start + 120.0
    assert asked(driven) == ["a"], "required ones again; what is optional is not"
    assert len(sizes(driven)) == 2
    driven.check()
    assert asked(driven) == ["b"]
    driven.check()
    assert sizes(driven)[2:] == [(0.1, 300.0)]
    assert driven.case.progress(driven.now).step == "ramp:2"
    driven.fire("watch")
    driven.check()  # c
    driven.fire("ramp")
    driven.check()
    assert not driven.case.closed
    effects = driven.check()
    assert sizes(driven)[3:] == [(1.0, 0.0)]
    assert effects[-1] == Closed(Outcome.RECOVERED, "recovered by cold")
    assert of(effects, Progressed)[-1].progress.percent == 100.0


def test_a_check_that_fails_between_keeps_the_size() -> None:
    driven = recovering(A, ramp=RampSpec())
    driven.check()
    driven.fire("ramp")
    driven.check(False, "off")
    driven.fire("pause")
    driven.check(False, "off")
    assert driven.case.multiplier == 0.0
    assert driven.case.progress(driven.now).message == "stays at size 0: a: off"
    for _ in range(3):
        driven.fire("retry")
        driven.check(False, "off")
        driven.fire("pause")
        driven.check(False, "off")
    assert driven.case.multiplier == 0.0
    driven.fire("retry")
    driven.check()
    assert driven.case.multiplier == 0.1


def test_a_short_check_that_fails_before_the_ramp_is_due_keeps_the_size() -> None:
    driven = recovering(B, ramp=RampSpec())
    driven.check(False, "off", after=115.0)
    driven.fire("ramp")
    assert asked(driven) == ["b"]
    driven.check(False, "off")
    assert driven.case.multiplier == 0.0
    driven.fire("retry")
    driven.check()
    assert driven.case.multiplier == 0.1


def test_a_medium_check_that_fails_stops_the_ramp() -> None:
    driven = recovering(C, ramp=RampSpec())
    driven.fire("ramp")
    assert driven.case.multiplier == 0.1
    driven.fire("watch")
    driven.check(False, "leak")
    for _ in range(30):  # the retries and the end of the ramp step, in the order they are due
        timers = {name: timer.at for name, timer in driven.case.record().timers.items()}
        driven.fire(min(timers, key=lambda name: timers[name]))
        if asked(driven):
            driven.check(False, "leak")
    assert driven.now > 1001.0 + 420.0 + 60.0
    assert driven.case.multiplier == 0.1
    driven.fire("retry")
    driven.check()
    assert driven.case.multiplier == 1.0


def test_failing_in_the_ramp_begins_it_anew_whatever_rung_follows() -> None:
    driven = recovering(ramp=RampSpec())
    driven.fire("ramp")
    assert driven.case.multiplier == 0.1
    effects = driven.fail(2, HOT)
    assert names(effects) == ["Preserve", "Decided", "Resize", "Attempt"]
    assert one(effects, Resize) == Resize(0.0, 0.0), "full size was never proved right"
    assert driven.timers() == {"attempt", "rto", "far"}, "the ramp of the life that failed is over"
    driven.up(Rung.HOT, 3)
    assert one(driven.last, Resize) == Resize(0.0, 120.0)


def test_a_ramp_that_is_done_is_not_due_again() -> None:
    driven = recovering(ramp=RampSpec())
    driven.fire("ramp")
    assert of(driven.fire("watch"), Closed) == []
    assert one(driven.fire("ramp"), Closed).outcome is Outcome.RECOVERED
    again = recovering(ramp=RampSpec(steps=(RampStep(0.0, 10.0), RampStep(1.0))))
    again.fire("ramp")
    assert again.case.multiplier == 1.0
    assert names(again.fail(2, HOT)) == ["Preserve", "Decided", "Attempt"]


def test_progress_in_the_ramp() -> None:
    driven = recovering(ramp=RampSpec())
    start = driven.case.progress(driven.now)
    assert (start.step, start.size, start.eta) == ("ramp:1", 0.0, 420.0)
    later = driven.case.progress(driven.now + 60.0)
    assert later.eta == 360.0
    assert later.percent > start.percent + 10.0
    assert driven.case.progress(driven.now + 1e6).eta == 300.0, "late, never negative"
