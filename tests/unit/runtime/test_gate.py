"""What a shut publisher keeps, what it sends first, and how far it is behind; the header of items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.runtime.gate import Gate
from supervisors.runtime.wire import (
    EDGE,
    HANDOVER,
    MARKED,
    NOTHING_BEFORE,
    REPLAY,
    full_header,
    mark_prefix,
    plain_header,
    read_header,
)

_MARK = st.integers(-(2**63), 2**63 - 1)
_LIFE = st.integers(0, 2**64 - 1)


def marks(gate: Gate, now: float, prefix: str = "") -> list[int]:
    return [item.mark for item, _ in gate.all(now, prefix)]


def test_it_keeps_by_age() -> None:
    gate = Gate(keep_for=5.0)
    for mark in range(1, 11):
        gate.keep(float(mark), "a", mark, b"x")
    assert marks(gate, 10.0) == [5, 6, 7, 8, 9, 10]
    assert gate.fell_out == 4, "nobody was heard to publish these"
    assert marks(gate, 20.0) == [], "what is old is not sent, though nothing pushed it out"


@pytest.mark.parametrize("bounds", [{"keep_items": 3}, {"keep_bytes": 30}])
def test_it_keeps_by_count_and_by_bytes(bounds: dict[str, int]) -> None:
    gate = Gate(**bounds)
    for mark in range(1, 11):
        gate.keep(1.0, "a", mark, b"x" * 10)
    assert marks(gate, 1.0) == [8, 9, 10]
    assert gate.size == 30
    assert gate.fell_out == 7


def test_an_item_larger_than_the_bound_empties_it_and_no_more() -> None:
    gate = Gate(keep_bytes=30)
    gate.keep(1.0, "a", 1, b"x" * 31)
    assert (len(gate), gate.size) == (0, 0)
    gate.keep(1.0, "a", 2, b"x")
    assert marks(gate, 1.0) == [2]


def test_what_the_primary_published_may_fall_out() -> None:
    gate = Gate(keep_items=2)
    for mark in range(1, 4):
        gate.heard(1.0, "a", mark)
        gate.keep(1.0, "a", mark, b"")
    assert gate.fell_out == 0


def test_the_overlap_is_what_was_not_heard_and_a_little_before() -> None:
    gate = Gate(overlap=0.25)
    for mark in range(1, 101):
        gate.keep(mark * 0.01, "a", mark, b"")
    gate.heard(1.0, "a", 80)
    found = [(item.mark, edge) for item, edge in gate.overlap(1.0)]
    assert found[0] == (55, False)
    assert [mark for mark, _ in found] == list(range(55, 101))
    gate.keep(1.0, "b", 7, b"")
    assert [(i.mark, e) for i, e in gate.overlap(1.0) if i.topic == "b"] == [(7, True)], "of b nothing was heard"


def test_all_that_is_kept_by_prefix_with_its_edges() -> None:
    gate = Gate()
    for topic, mark in (("t.a", 1), ("t.b", 1), ("u", 1), ("t.a", 2)):
        gate.keep(1.0, topic, mark, b"")
    assert [(i.topic, i.mark, i.prev, e) for i, e in gate.all(1.0, ("t.", "x"))] == [
        ("t.a", 1, NOTHING_BEFORE, True),
        ("t.b", 1, NOTHING_BEFORE, True),
        ("t.a", 2, 1, False),
    ]


def test_keeping_goes_on_while_it_is_being_sent() -> None:
    gate = Gate(keep_items=3)
    for mark in (1, 2, 3):
        gate.keep(1.0, "a", mark, b"")
    sending = gate.all(1.0)
    assert next(sending)[0].mark == 1
    for mark in (4, 5, 6):
        gate.keep(1.0, "a", mark, b"")
    assert [item.mark for item, _ in sending] == [2, 3]


def test_marks_that_begin_anew_make_the_old_ones_worthless() -> None:
    gate = Gate()
    for mark in (100, 101, 1, 2):
        gate.keep(1.0, "a", mark, b"xy")
    gate.keep(1.0, "b", 100, b"xy")
    assert [(item.topic, item.mark) for item, _ in gate.all(1.0)] == [("a", 1), ("a", 2), ("b", 100)]
    assert gate.size == 6


def test_lag_is_the_age_of_the_oldest_item_that_is_still_to_come() -> None:
    gate = Gate()
    assert gate.lag(50.0) == 0.0
    gate.keep(10.0, "a", 5, b"")
    gate.heard(10.0, "a", 5)
    assert gate.lag(50.0) == 0.0, "ahead or level"
    gate.heard(11.0, "a", 6)
    gate.heard(12.0, "a", 7)
    assert gate.lag(13.0) == 2.0
    gate.keep(13.0, "a", 6, b"")
    assert gate.lag(13.0) == 1.0
    gate.heard(13.0, "b", 1)
    gate.keep(13.5, "a", 7, b"")
    assert gate.lag(14.0) == 1.0, "b is still to come"
    gate.keep(14.0, "b", 3, b"")
    assert gate.lag(20.0) == 0.0


@given(_LIFE, _MARK, _MARK, st.sampled_from((0, REPLAY, EDGE, REPLAY | EDGE)))
def test_headers_come_out_as_they_went_in(life: int, mark: int, prev: int, flags: int) -> None:
    assert read_header(plain_header(life)) == (life, 0, None, NOTHING_BEFORE)
    assert read_header(mark_prefix(life) + mark.to_bytes(8, "big", signed=True)) == (life, MARKED, mark, NOTHING_BEFORE)
    assert read_header(full_header(life, flags, mark, prev)) == (life, flags | MARKED | HANDOVER, mark, prev)


@given(st.binary(max_size=40) | st.binary(min_size=9, max_size=9) | st.binary(min_size=25, max_size=25))
def test_any_other_bytes_are_no_header(header: bytes) -> None:
    found = read_header(header)
    if found is not None:
        life, flags, mark, prev = found
        again = plain_header(life) if mark is None else mark_prefix(life) + mark.to_bytes(8, "big", signed=True)
        assert header == (full_header(life, flags, mark or 0, prev) if flags & HANDOVER else again)
