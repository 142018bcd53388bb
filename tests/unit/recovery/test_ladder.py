"""REC-3: what follows a failed rung."""

import pytest

from supervisors.recovery.ladder import next_rung, proposed_rung
from supervisors.recovery.policy import RecoverySpec, Rung

HOT, WARM, COLD, MANUAL = Rung.HOT, Rung.WARM, Rung.COLD, Rung.MANUAL
ALL = RecoverySpec(standbys=1)


@pytest.mark.parametrize(
    ("ladder", "failed", "tried", "expected"),
    [
        ((HOT, WARM, COLD), HOT, (), WARM),
        ((HOT, WARM, COLD), WARM, (), COLD),
        ((HOT, WARM, COLD), COLD, (), MANUAL),
        ((HOT, WARM, COLD), MANUAL, (), MANUAL),
        ((HOT, COLD), HOT, (), COLD),
        ((HOT, WARM), HOT, (), WARM),
        ((HOT, WARM), WARM, (), MANUAL),
        ((COLD, WARM, HOT), HOT, (), WARM),  # the order is the ladder's, not the list's
        ((HOT, WARM, COLD, MANUAL), COLD, (), MANUAL),
        ((HOT, WARM, COLD), HOT, (WARM,), COLD),
        ((HOT, WARM, COLD), HOT, (WARM, COLD), MANUAL),
        ((), COLD, (), MANUAL),
        ((HOT,), WARM, (), MANUAL),  # never up again
    ],
)
def test_next(ladder: tuple[Rung, ...], failed: Rung, tried: tuple[Rung, ...], expected: Rung) -> None:
    assert next_rung(RecoverySpec(standbys=1, ladder=ladder), failed, tried) is expected


def test_a_person_is_offered_the_slowest_rung_and_first_one_that_was_not_tried() -> None:
    assert proposed_rung(ALL) is COLD
    assert proposed_rung(ALL, (COLD,)) is WARM
    assert proposed_rung(ALL, (COLD, WARM)) is HOT
    assert proposed_rung(ALL, (HOT, WARM, COLD)) is COLD
    assert proposed_rung(RecoverySpec(standbys=0), (COLD, WARM)) is COLD, "hot is not possible"
    assert proposed_rung(RecoverySpec(ladder=(MANUAL,))) is COLD
    assert proposed_rung(RecoverySpec(ladder=(HOT, WARM), standbys=1)) is WARM
