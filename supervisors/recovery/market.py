"""Is the market open? Local hours of a market against the wall clock (REC-2). Pure but for the time zone tables."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from supervisors.recovery.evidence import MarketEvidence
from supervisors.recovery.policy import MarketHours


def is_open(hours: MarketHours, utc_ns: int) -> bool:
    """True from ``open`` until just before ``close``, local time, on the days a session begins.

    A session that spans midnight belongs to the day it began on; ``open`` equal to ``close`` is one of 24 hours.

    Raises:
        KeyError: the time zone is not known here (``ZoneInfoNotFoundError``).
        ValueError: its name cannot be one, or the clock is out of all bounds.
    """
    zone = ZoneInfo(hours.timezone)
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=utc_ns // 1000)).astimezone(zone)
    minute = local.hour * 60 + local.minute
    today, yesterday = local.weekday(), (local.weekday() - 1) % 7
    if hours.open < hours.close:
        return today in hours.days and hours.open <= minute < hours.close
    return (minute >= hours.open and today in hours.days) or (minute < hours.close and yesterday in hours.days)


def market_evidence(hours: MarketHours, utc_ns: int) -> MarketEvidence:
    """The same as evidence: not known where the time zone is not."""
    try:
        return MarketEvidence(is_open(hours, utc_ns))
    except (KeyError, ValueError, OverflowError, OSError) as error:
        return MarketEvidence(None, f"time zone {hours.timezone}: {error}")
