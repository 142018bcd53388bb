from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.connectors.book import Book, BookError, BookState, CrossedError, GapError
from actors.connectors.units import SCALE, format_units, parse_levels, parse_units

Levels = list[tuple[int, int]]


def _loaded() -> Book:
    book = Book()
    book.load(10, [(100, 5), (99, 7)], [(101, 3), (102, 4)])
    return book


def test_new_book_is_not_believed() -> None:
    book = Book()
    assert book.state is BookState.INVALID
    with pytest.raises(BookError):
        book.apply(1, 1, [(1, 1)], [])


def test_delta_sets_removes_and_adds_levels() -> None:
    book = _loaded()
    assert book.apply(11, 13, [(100, 0), (98, 2)], [(101, 9)])
    assert book.top(10) == ([(99, 7), (98, 2)], [(101, 9), (102, 4)])
    assert (book.best_bid, book.best_ask, book.last_id) == (99, 101, 13)


def test_removal_of_an_unknown_level_is_no_fault() -> None:
    book = _loaded()
    assert book.apply(11, 11, [(5, 0)], [(500, 0)])
    assert book.valid


def test_gap_makes_it_invalid() -> None:
    book = _loaded()
    with pytest.raises(GapError, match="10 then 12"):
        book.apply(12, 12, [], [])
    assert not book.valid
    with pytest.raises(BookError):
        book.apply(11, 11, [], [])


def test_known_delta_is_passed_over_and_overlapping_one_taken() -> None:
    book = _loaded()
    assert not book.apply(5, 10, [(100, 1)], [])
    assert book.top(1)[0] == [(100, 5)]
    assert book.apply(9, 12, [(100, 1)], [])
    assert book.last_id == 12


def test_crossed_book_is_invalid() -> None:
    book = _loaded()
    with pytest.raises(CrossedError):
        book.apply(11, 11, [(101, 1)], [])
    assert book.state is BookState.INVALID
    assert "crossed" in book.reason


def test_crossed_snapshot_is_refused() -> None:
    book = Book()
    with pytest.raises(CrossedError):
        book.load(1, [(100, 1)], [(100, 1)])
    assert not book.valid


@pytest.mark.parametrize("level", [(0, 1), (-1, 1), (5, -1)])
def test_senseless_levels_make_it_invalid(level: tuple[int, int]) -> None:
    book = _loaded()
    with pytest.raises(BookError):
        book.apply(11, 11, [level], [])
    assert not book.valid
    with pytest.raises(BookError):
        Book().load(1, [level], [])


def test_one_empty_side_is_not_crossed() -> None:
    book = Book()
    book.load(1, [(100, 1)], [])
    assert book.valid
    assert book.best_ask == 0
    assert book.apply(2, 2, [(100, 0)], [])
    assert book.top(3) == ([], [])


def test_digest_tells_books_apart_and_ignores_ids() -> None:
    one, two = _loaded(), _loaded()
    two.apply(11, 11, [(99, 8)], [])
    assert one.digest() != two.digest()
    assert one.digest(1) == two.digest(1)
    two.apply(12, 12, [(99, 7)], [])
    assert one.digest() == two.digest()


_LEVELS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=6)


@given(st.lists(st.tuples(_LEVELS, _LEVELS), max_size=30))
def test_book_equals_a_dict_or_is_invalid(deltas: list[tuple[Levels, Levels]]) -> None:
    book = Book()
    book.load(0, [], [])
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for number, (bid_changes, low_asks) in enumerate(deltas, 1):
        ask_changes = [(price + 50, quantity) for price, quantity in low_asks]
        for side, changes in ((bids, bid_changes), (asks, ask_changes)):
            for price, quantity in changes:
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)
        crossed = bool(bids) and bool(asks) and max(bids) >= min(asks)
        try:
            book.apply(number, number, bid_changes, ask_changes)
        except CrossedError:
            assert crossed
            assert not book.valid
            return
        assert not crossed
        assert book.full() == (sorted(bids.items(), reverse=True), sorted(asks.items()))
        assert book.best_bid == max(bids, default=0)
        assert book.best_ask == min(asks, default=0)


@given(st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False))
def test_units_are_exact(number: Decimal) -> None:
    text = f"{number:f}"
    assert parse_units(text) == number * SCALE
    assert Decimal(format_units(parse_units(text))) == number


@given(st.lists(st.tuples(*[st.decimals(min_value=0, max_value=10**6, places=p) for p in (8, 2)])))
def test_levels_of_any_number_of_decimals(pairs: list[tuple[Decimal, Decimal]]) -> None:
    texts = [(f"{price:f}", f"{quantity:f}") for price, quantity in pairs]
    assert parse_levels(texts) == [(int(p * SCALE), int(q * SCALE)) for p, q in pairs]
    assert parse_levels([(q, p) for p, q in texts]) == [(int(q * SCALE), int(p * SCALE)) for p, q in pairs]


@pytest.mark.parametrize("text", ["", "x", "1e999999999", "NaN", "Infinity", "1.123456789", "--1", "." * 9, "1" * 60])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - units raise no other
        parse_units(text)
    with pytest.raises(ValueError):  # noqa: PT011
        parse_levels([(text, "1.00000000")])
