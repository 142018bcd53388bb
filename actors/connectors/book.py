"""An exact L2 order book that knows whether it may be believed. Pure.

A book is *valid* or it is not served: a gap in the update ids, a crossed top or a level that makes no sense marks it
invalid, and only a new snapshot makes it valid again (CON-3).
"""

from bisect import bisect_left, insort
from enum import StrEnum
from hashlib import blake2b

from actors.connectors.units import Level


class BookState(StrEnum):
    """Whether a book may be believed."""

    INVALID = "invalid"  #: found wrong, or never synced
    SYNCING = "syncing"  #: waits for a snapshot
    VALID = "valid"


class BookError(Exception):
    """The book was found wrong and is now invalid; the message is the reason."""


class GapError(BookError):
    """Update ids are missing between the book and a delta."""


class CrossedError(BookError):
    """The best bid is at or above the best ask."""


class Book:
    """One symbol's book. Prices and quantities are integers in units of 1e-8.

    Attributes:
        state: see ``BookState``.
        reason: why it is not valid; empty when it is.
        last_id: the venue's id of the last update in it.
        best_bid: best price, 0 when the side is empty.
        best_ask: best price, 0 when the side is empty.
    """

    __slots__ = ("_ask_prices", "_asks", "_bid_prices", "_bids", "best_ask", "best_bid", "last_id", "reason", "state")

    def __init__(self) -> None:
        self.state = BookState.INVALID
        self.reason = "never synced"
        self.last_id = 0
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        # ascending prices; the dicts hold the quantities, so a change of quantity touches no list
        self._bid_prices: list[int] = []
        self._ask_prices: list[int] = []
        self.best_bid = 0
        self.best_ask = 0

    @property
    def valid(self) -> bool:
        """True when the book may be used."""
        return self.state is BookState.VALID

    def invalidate(self, reason: str) -> None:
        """Mark the book wrong, for ``reason``."""
        self.state = BookState.INVALID
        self.reason = reason

    def begin_sync(self) -> None:
        """Say that a snapshot is on its way."""
        self.state = BookState.SYNCING
        self.reason = self.reason or "syncing"

    def load(self, last_id: int, bids: list[Level], asks: list[Level]) -> None:
        """Take a snapshot in place of everything.

        Raises:
            BookError: a level of it makes no sense, or it is crossed; the book is invalid then.
        """
        self._bids = {}
        self._asks = {}
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            for price, quantity in levels:
                if price <= 0 or quantity < 0:
                    raise self._wrong(BookError(f"snapshot level {price} x {quantity}"))
                if quantity:
                    side[price] = quantity
        self._bid_prices = sorted(self._bids)
        self._ask_prices = sorted(self._asks)
        self.last_id = last_id
        self._set_best()
        self.state = BookState.VALID
        self.reason = ""
        self._check_crossed()

    def apply(self, first_id: int, last_id: int, bids: list[Level], asks: list[Level]) -> bool:
        """Apply a delta that follows the last one without a gap (Binance spot: ``U == prev u + 1``).

        A delta the book already contains is passed over; one that begins inside it and ends after it is taken, as
        quantities are absolute (that is how the first delta after a snapshot meets it).

        Returns:
            False when the book already contained the delta.

        Raises:
            GapError: ids are missing. The book is invalid.
            CrossedError: the book is crossed after the delta. The book is invalid.
            BookError: a level makes no sense, or the book was not valid before.
        """
        if self.state is not BookState.VALID:
            raise BookError(f"book is {self.state}")
        if first_id != self.last_id + 1:
            if first_id > self.last_id + 1:
                raise self._wrong(GapError(f"gap: {self.last_id} then {first_id}"))
            if last_id <= self.last_id:
                return False
        if last_id < first_id:
            raise self._wrong(BookError(f"delta ends before it begins: {first_id} to {last_id}"))
        if bids:
            self._side(self._bids, self._bid_prices, bids)
        if asks:
            self._side(self._asks, self._ask_prices, asks)
        self.last_id = last_id
        bid_prices = self._bid_prices
        ask_prices = self._ask_prices
        best_bid = self.best_bid = bid_prices[-1] if bid_prices else 0
        best_ask = self.best_ask = ask_prices[0] if ask_prices else 0
        if best_bid >= best_ask:
            self._check_crossed()
        return True

    def _side(self, side: dict[int, int], prices: list[int], levels: list[Level]) -> None:
        for price, quantity in levels:
            if quantity > 0:
                if price not in side:
                    if price <= 0:
                        raise self._wrong(BookError(f"level {price} x {quantity}"))
                    insort(prices, price)
                side[price] = quantity
            elif quantity == 0:
                # venues remove levels we never had: those beyond the depth of the snapshot
                if side.pop(price, None) is not None:
                    del prices[bisect_left(prices, price)]
            else:
                raise self._wrong(BookError(f"level {price} x {quantity}"))

    def _set_best(self) -> None:
        self.best_bid = self._bid_prices[-1] if self._bid_prices else 0
        self.best_ask = self._ask_prices[0] if self._ask_prices else 0

    def _check_crossed(self) -> None:
        if self.best_bid and self.best_ask and self.best_bid >= self.best_ask:
            raise self._wrong(CrossedError(f"crossed: bid {self.best_bid} ask {self.best_ask}"))

    def _wrong(self, error: BookError) -> BookError:
        self.invalidate(str(error))
        return error

    def top(self, count: int) -> tuple[list[Level], list[Level]]:
        """The ``count`` best bids and asks, best first."""
        if count <= 0:
            return [], []
        bids = [(price, self._bids[price]) for price in reversed(self._bid_prices[-count:])]
        asks = [(price, self._asks[price]) for price in self._ask_prices[:count]]
        return bids, asks

    def sizes(self) -> tuple[int, int]:
        """How many levels it has: bids, asks."""
        return len(self._bids), len(self._asks)

    def full(self) -> tuple[list[Level], list[Level]]:
        """All bids and asks, best first."""
        return self.top(max(len(self._bids), len(self._asks)))

    def digest(self, depth: int | None = None) -> str:
        """A short hash of the levels (the best ``depth`` ones): equal books have equal digests, whatever their ids."""
        bids, asks = self.full() if depth is None else self.top(depth)
        return blake2b(repr((bids, asks)).encode(), digest_size=16).hexdigest()
