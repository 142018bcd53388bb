"""What the case knows better than its source."""

from supervisors.recovery.evidence import CaseEvidence, EvidenceSource, UnknownEvidence
from supervisors.recovery.policy import MarketHours
from supervisors.recovery.progress import History
from tests.unit.recovery.support import Known


def test_failed_recoveries_and_the_rto_are_the_case_s_own() -> None:
    source = Known(failed=99, left=99.0, synced=True)
    wrapped: EvidenceSource = CaseEvidence(source, History(failed=(1.0, 5.0)), 4.0, 30.0, 6.0)
    assert wrapped.failed_recoveries(1.0).count == 1
    assert wrapped.failed_recoveries(100.0).count == 2
    assert wrapped.rto_left().left == 28.0
    assert wrapped.standby().synced is True
    assert source.asked == ["standby"]
    assert CaseEvidence(source, History(), 4.0, None, 6.0).rto_left().left is None


def test_knowing_nothing() -> None:
    nothing: EvidenceSource = UnknownEvidence()
    assert nothing.standby().synced is None
    assert nothing.checkpoint().valid is None
    assert nothing.failure().kind is None
    assert nothing.corruption().suspected is None
    assert nothing.failed_recoveries(1.0).count is None
    assert nothing.volatility().ratio is None
    assert nothing.failures_at_once(1.0).count is None
    assert nothing.market_open(MarketHours()).open is None
    assert nothing.rto_left().left is None
