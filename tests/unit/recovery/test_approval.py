"""REC-2: when a person is asked, and which answers count."""

import pickle

import pytest

from supervisors.core.errors import RecoveryError, StoreUnavailable
from supervisors.recovery.approval import (
    ALREADY_ANSWERED,
    BAD_RUNG,
    NOTHING_WAITS,
    UNKNOWN_HOLD,
    AnswerRefused,
    Held,
    answered,
    check_answer,
    check_rung,
    needs_approval,
)
from supervisors.recovery.evidence import MarketEvidence, UnknownEvidence
from supervisors.recovery.policy import ApprovalSpec, MarketHours, RecoverySpec, Rung
from tests.unit.recovery.support import Known

HOURS = RecoverySpec(approval=ApprovalSpec(market_hours=MarketHours()), standbys=1)
HELD = Held("/md#1:1", "why", Rung.WARM, True, 0.0)


@pytest.mark.parametrize("rung", [Rung.WARM, Rung.COLD])
def test_an_open_market_asks_for_all_rungs_but_hot(rung: Rung) -> None:
    assert "market is open" in needs_approval(HOURS, rung, Known(market=True))
    assert needs_approval(HOURS, rung, Known(market=False)) == ""
    assert "not known" in needs_approval(HOURS, rung, Known(market=None)), "in doubt hold"
    assert needs_approval(HOURS, Rung.HOT, Known(market=True)) == ""
    source = Known(market=True)
    assert needs_approval(RecoverySpec(), rung, source) == ""
    assert source.asked == []


class Broken(UnknownEvidence):
    def market_open(self, hours: MarketHours) -> MarketEvidence:
        raise StoreUnavailable("store is away")


def test_a_market_that_cannot_be_asked_holds() -> None:
    assert "store is away" in needs_approval(HOURS, Rung.COLD, Broken())


def refused(hold_id: str, current: Held | None, earlier: tuple[Held, ...] = ()) -> AnswerRefused:
    with pytest.raises(AnswerRefused) as caught:
        check_answer(hold_id, current, earlier, "/md")
    return caught.value


def test_answers_that_cannot_be_taken() -> None:
    assert check_answer(HELD.id, HELD, (), "/md") is HELD
    assert refused("/md#9:1", HELD).code == UNKNOWN_HOLD
    assert HELD.id in refused("/md#9:1", HELD).message, "which one is open"
    assert refused(HELD.id, None).code == NOTHING_WAITS
    error = refused(HELD.id, None, (answered(HELD, "approved", "ann"),))
    assert error.code == ALREADY_ANSWERED
    assert error.message.startswith("already approved by ann")
    later = Held("/md#1:2", "w", Rung.COLD, True, 0.0)
    assert refused(HELD.id, later, (answered(HELD, "rejected", "bob"),)).message.startswith("already rejected by bob")
    assert isinstance(error, RecoveryError)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.message) == (AnswerRefused, error.code, error.message)
    assert all(found.fix for found in (error, refused("x", None), refused("x", HELD)))


def test_the_rung_a_person_names() -> None:
    assert check_rung(HOURS, HELD, None) is Rung.WARM
    assert check_rung(HOURS, HELD, Rung.HOT) is Rung.HOT
    assert check_rung(RecoverySpec(ladder=()), HELD, Rung.COLD) is Rung.COLD, "a person may leave the ladder"
    for spec, rung in ((HOURS, Rung.MANUAL), (RecoverySpec(standbys=0), Rung.HOT)):
        with pytest.raises(AnswerRefused) as caught:
            check_rung(spec, HELD, rung)
        assert caught.value.code == BAD_RUNG
