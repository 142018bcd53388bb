"""What must be true of a healed connector. Pure."""

from collections.abc import Mapping
from enum import StrEnum


class Check(StrEnum):
    """The checks, in the order they are expected to pass (REC-5)."""

    CONNECTED = "connected"
    RESUBSCRIBED = "resubscribed"
    BOOK_VALID = "book_valid"
    TRADES_FLOWING = "trades_flowing"
    NOT_CROSSED = "not_crossed"


class Verification:
    """One time-boxed verification of one incarnation.

    Args:
        path: the connector.
        incarnation: the life to verify.
        began: monotonic seconds at which the new life was noticed.
        box: seconds within which all checks must pass (REC-9: exchange 5 s).
        checks: those wanted.
    """

    def __init__(self, path: str, incarnation: int, began: float, box: float, checks: tuple[Check, ...]) -> None:
        self.path = path
        self.incarnation = incarnation
        self.began = began
        self.box = box
        #: milliseconds after ``began`` at which each check passed; a check that fails again later is taken out
        self.passed: dict[Check, float] = {}
        self.detail: dict[Check, str] = dict.fromkeys(checks, "no answer")
        self._checks = checks
        self._first_trades: int | None = None

    @property
    def done(self) -> bool:
        """All checks pass, as of the last sample."""
        return len(self.passed) == len(self._checks)

    def over(self, now: float) -> bool:
        """The time box is used up."""
        return now - self.began > self.box

    @property
    def failed(self) -> dict[str, str]:
        """The checks that do not pass, and why."""
        return {str(check): self.detail.get(check, "") for check in self._checks if check not in self.passed}

    def observe(self, status: Mapping[str, object], top: Mapping[str, object], now: float) -> None:
        """Judge one sample: what the connector's ``status()`` and ``top(1)`` gave at ``now``."""
        life = status.get("incarnation")
        if life != self.incarnation:
            for check in self._checks:
                self._set(check, False, f"incarnation {life} answers, not {self.incarnation}", now)
            return
        trades = status.get("trades")
        count = trades if isinstance(trades, int) else 0
        if self._first_trades is None:
            self._first_trades = count
        judgements = {
            Check.CONNECTED: (status.get("connected") is True, "not connected"),
            Check.RESUBSCRIBED: (status.get("subscribed") is True, "not subscribed"),
            Check.BOOK_VALID: (status.get("book_valid") is True, str(top.get("reason") or "book not valid")),
            # trades of this life, and more of them than when we began to look
            Check.TRADES_FLOWING: (count > self._first_trades, f"{count} trades, none since the first look"),
            Check.NOT_CROSSED: _not_crossed(top),
        }
        for check in self._checks:
            good, why = judgements[check]
            self._set(check, good, why, now)

    def _set(self, check: Check, good: bool, why: str, now: float) -> None:
        if good:
            self.passed.setdefault(check, round((now - self.began) * 1000, 1))
            self.detail.pop(check, None)
        else:
            self.passed.pop(check, None)
            self.detail[check] = why


def _not_crossed(top: Mapping[str, object]) -> tuple[bool, str]:
    bid, ask = _best(top.get("bids")), _best(top.get("asks"))
    if bid is None or ask is None:
        return False, "a side of the book is empty"
    return bid < ask, f"bid {bid} ask {ask}"


def _best(levels: object) -> float | None:
    """The first price of ``[[price, quantity], ...]`` as text."""
    try:
        first: object = levels[0][0]  # type: ignore[index]
        return float(first) if isinstance(first, str | int | float) else None
    except (TypeError, IndexError, KeyError, ValueError):
        return None
