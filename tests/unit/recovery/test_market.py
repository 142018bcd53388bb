"""REC-2: market hours against the wall clock."""

from datetime import UTC, datetime

import pytest

from supervisors.recovery.market import is_open, market_evidence
from supervisors.recovery.policy import MarketHours

NEW_YORK = MarketHours("America/New_York", 9 * 60 + 30, 16 * 60, (0, 1, 2, 3, 4))
#: Sunday to Thursday 17:00 until 16:00 of the next day, Chicago
OVERNIGHT = MarketHours("America/Chicago", 17 * 60, 16 * 60, (6, 0, 1, 2, 3))


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2025-01-15T14:29:59", False),  # Wednesday, winter: 09:29:59
        ("2025-01-15T14:30:00", True),
        ("2025-01-15T20:59:59", True),
        ("2025-01-15T21:00:00", False),
        ("2025-07-16T13:30:00", True),  # summer: an hour earlier
        ("2025-07-16T13:29:59", False),
        ("2025-07-16T20:00:00", False),
        ("2025-01-18T16:00:00", False),  # Saturday
        ("2025-03-10T13:30:00", True),  # the Monday after the clocks went forward
        ("2025-03-07T13:30:00", False),  # the Friday before
    ],
)
def test_day_session(utc: str, expected: bool) -> None:
    assert is_open(NEW_YORK, ns(utc)) is expected


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        ("2025-01-12T22:59:00", False),  # Sunday 16:59
        ("2025-01-12T23:00:00", True),  # Sunday 17:00
        ("2025-01-13T10:00:00", True),  # Monday 04:00, of Sunday's session
        ("2025-01-13T22:30:00", False),  # the hour between
        ("2025-01-17T21:59:00", True),  # Friday 15:59, of Thursday's session
        ("2025-01-17T23:30:00", False),  # Friday evening: no session begins
        ("2025-01-18T10:00:00", False),  # Saturday 04:00
    ],
)
def test_a_session_over_midnight_belongs_to_the_day_it_began(utc: str, expected: bool) -> None:
    assert is_open(OVERNIGHT, ns(utc)) is expected


def test_round_the_clock() -> None:
    for text in ("2025-01-18T00:00:00", "2025-01-18T12:00:00", "2025-01-18T23:59:59"):
        assert is_open(MarketHours(), ns(text))
        assert is_open(MarketHours(open=600, close=600), ns(text))
    assert not is_open(MarketHours(days=()), ns("2025-01-18T12:00:00"))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", ""])
def test_a_zone_nobody_knows_is_not_knowing(zone: str) -> None:
    evidence = market_evidence(MarketHours(timezone=zone), ns("2025-01-18T12:00:00"))
    assert evidence.open is None
    assert evidence.why
    assert market_evidence(MarketHours(), 0).open is True
