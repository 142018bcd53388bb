"""REC-6: when there is a ramp, and what stands between its steps."""

from supervisors.recovery.policy import Phase, RampSpec, RampStep, RecoverySpec, Rung, ValidationStep
from supervisors.recovery.ramp import gate, ramp_after, size_at

RAMP = RampSpec()
SPEC = RecoverySpec(ramp=RAMP, standbys=1)


def test_which_attempts_are_followed_by_a_ramp() -> None:
    assert ramp_after(SPEC, Rung.WARM, released=False, unfinished=False) is RAMP
    assert ramp_after(SPEC, Rung.COLD, released=False, unfinished=False) is RAMP
    assert ramp_after(SPEC, Rung.HOT, released=False, unfinished=False) is None
    assert ramp_after(SPEC, Rung.HOT, released=True, unfinished=False) is RAMP, "manual is in after"
    assert ramp_after(SPEC, Rung.HOT, released=False, unfinished=True) is RAMP
    after_cold = RecoverySpec(ramp=RampSpec(after=(Rung.COLD,)))
    assert ramp_after(after_cold, Rung.WARM, released=True, unfinished=False) is None
    assert ramp_after(RecoverySpec(), Rung.COLD, released=True, unfinished=True) is None
    assert ramp_after(RecoverySpec(ramp=RampSpec(steps=())), Rung.COLD, released=True, unfinished=True) is None


def test_the_document_s_sizes() -> None:
    assert [size_at(RAMP, index) for index in range(3)] == [RampStep(0.0, 120.0), RampStep(0.1, 300.0), RampStep(1.0)]
    assert size_at(RAMP, 3) == RampStep(1.0)
    assert size_at(None, 0) == RampStep(1.0)
    assert size_at(RampSpec(steps=(RampStep(0.5, 9.0),)), 0) == RampStep(0.5), "the last one lasts for good"


def test_the_gate_is_what_is_required_of_the_first_two_lists() -> None:
    steps = (
        ValidationStep("a", "/w", "m"),
        ValidationStep("b", "/w", "m", required=False),
        ValidationStep("c", "/w", "m", phase=Phase.SHORT),
        ValidationStep("d", "/w", "m", phase=Phase.SHORT, required=False),
        ValidationStep("e", "/w", "m", phase=Phase.MEDIUM),
    )
    assert gate(steps) == ("a", "c")
