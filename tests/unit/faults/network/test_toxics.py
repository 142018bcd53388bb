"""Lanes: which bytes go on, and when."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.faults.network.toxics import PLAIN, Direction, Hole, Lane, Shape, shape_of
from tests.unit.faults.network.orders import order

UP, DOWN = Direction.UP, Direction.DOWN


def lane(shape: Shape, seed: int = 1) -> Lane:
    return Lane(shape, random.Random(seed).random)


def drain(of: Lane, now: float, until: float = math.inf) -> list[tuple[float, bytes]]:
    """All that comes out by ``until``, each piece with its time; the clock goes from one instant to the next."""
    out = [(now, piece) for piece in of.take(now)]
    while (at := of.next_at()) is not None and at <= until and not of.ended(now):
        now = max(now, at)
        out += [(now, piece) for piece in of.take(now)]
    return out


def whole(out: list[tuple[float, bytes]]) -> bytes:
    return b"".join(piece for _, piece in out)


# ---- shapes


def test_no_fault_is_plain() -> None:
    assert shape_of([], UP) == PLAIN
    assert shape_of([order("net_reset"), order("net_refuse")], UP) == PLAIN


@pytest.mark.parametrize(("word", "up", "down"), [("both", True, True), ("up", True, False), ("down", False, True)])
@pytest.mark.parametrize("kind", ["net_latency", "net_bandwidth", "net_black_hole", "net_slice", "net_slow_close"])
def test_direction(kind: str, word: str, up: bool, down: bool) -> None:
    found = order(kind, direction=word)
    assert (shape_of([found], UP) != PLAIN, shape_of([found], DOWN) != PLAIN) == (up, down)


def test_faults_add_up() -> None:
    both = [
        order("net_latency", delay="100ms", jitter="10ms"),
        order("net_latency", delay="25ms"),
        order("net_bandwidth", rate="64KB/s"),
        order("net_bandwidth", rate="32KB/s"),
        order("net_slice", size=10, delay="1ms"),
        order("net_limit", size=99),
        order("net_one_way", direction="up", bytes="held"),
    ]
    shape = shape_of(both, UP)
    assert shape == Shape(0.125, 0.01, 32_000.0, 10, 0.001, Hole.HELD, 0.0, 99.0)
    assert shape_of([*both, order("net_black_hole")], UP).hole is Hole.LOST
    assert shape_of(both, DOWN).hole is Hole.NONE


# ---- lanes


def test_latency_delays_each_piece_and_keeps_order() -> None:
    of = lane(Shape(delay=0.1, jitter=0.1))
    for number in range(50):
        of.feed(bytes([number]), number * 0.01)
    out = drain(of, 0.0)
    assert whole(out) == bytes(range(50))
    late = [at - number * 0.01 for number, (at, _) in enumerate(out)]
    assert min(late) >= 0.0
    assert 0.05 < sum(late) / 50 < 0.2
    assert len({round(value, 6) for value in late}) > 20


def test_latency_is_exact_without_jitter() -> None:
    of = lane(Shape(delay=0.25))
    of.feed(b"a", 1.0)
    assert of.take(1.2) == []
    assert of.next_at() == pytest.approx(1.25)
    assert of.take(1.25) == [b"a"]


def test_bandwidth() -> None:
    of = lane(Shape(rate=1000.0))
    of.feed(b"x" * 5000, 0.0)
    out = drain(of, 0.0)
    assert whole(out) == b"x" * 5000
    assert out[-1][0] == pytest.approx(5.0, rel=0.02)
    for second in range(5):
        sent = sum(len(piece) for at, piece in out if second <= at < second + 1)
        assert 900 <= sent <= 1100


def test_bandwidth_catches_up_no_more_than_a_little() -> None:
    of = lane(Shape(rate=1000.0))
    of.feed(b"x" * 5000, 0.0)
    of.take(0.0)
    assert sum(map(len, of.take(4.0))) <= 300


def test_slices() -> None:
    of = lane(Shape(size=100, gap=0.01))
    of.feed(b"x" * 10_000, 0.0)
    out = drain(of, 0.0)
    sizes = [len(piece) for _, piece in out]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 150
    assert min(sizes[:-1]) >= 50
    assert 80 <= sum(sizes) / len(sizes) <= 125
    assert all(b - a == pytest.approx(0.01) for (a, _), (b, _) in pairwise(out))


def test_what_a_hole_takes_is_lost_and_known() -> None:
    of = lane(Shape(hole=Hole.LOST))
    of.feed(b"gone", 0.0)
    assert (of.take(9.0), of.next_at(), of.lost, of.waiting) == ([], None, 4, 0)


def test_what_a_hole_holds_comes_at_its_end() -> None:
    of = lane(Shape(hole=Hole.HELD))
    of.feed(b"kept", 0.0)
    of.finish(1.0)
    assert (of.take(9.0), of.next_at(), of.waiting, of.ended(9.0)) == ([], None, 4, False)
    of.reshape(PLAIN, 10.0)
    assert of.take(10.0) == [b"kept"]
    assert of.ended(10.0)


def test_the_end_waits_for_the_bytes_and_for_slow_close() -> None:
    of = lane(Shape(delay=1.0, close_delay=3.0))
    of.feed(b"a", 0.0)
    of.finish(0.5)
    assert not of.ended(9.0)
    assert of.take(1.0) == [b"a"]
    assert not of.ended(3.4)
    assert of.next_at() == pytest.approx(3.5)
    assert of.ended(3.5)
    assert not of.empty


def test_limit() -> None:
    of = Lane(Shape(limit=10), lambda: 0.5, carried=4)
    of.feed(b"0123456789", 0.0)
    assert of.take(0.0) == [b"012345"]
    assert of.full


def test_a_fault_that_ends_lets_go_of_what_waits() -> None:
    of = lane(Shape(delay=60.0, rate=10.0))
    of.feed(b"x" * 100, 0.0)
    of.reshape(PLAIN, 2.0)
    assert b"".join(of.take(2.0)) == b"x" * 100
    assert of.empty


def test_no_more_is_taken_than_asked() -> None:
    of = lane(PLAIN)
    for _ in range(100):
        of.feed(b"x" * 10, 0.0)
    assert sum(map(len, of.take(0.0, 100))) == 100


_SHAPES = st.builds(
    Shape,
    delay=st.floats(0, 2),
    jitter=st.floats(0, 2),
    rate=st.sampled_from([math.inf, 10.0, 1000.0, 1e6]),
    size=st.sampled_from([0, 1, 7, 100]),
    gap=st.sampled_from([0.0, 0.001]),
    close_delay=st.floats(0, 2),
)


@given(st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=60)), max_size=20), st.lists(_SHAPES, max_size=4))
def test_bytes_come_out_complete_in_order_and_not_early(feeds: list[tuple[float, bytes]], shapes: list[Shape]) -> None:
    of = lane(shapes[0] if shapes else PLAIN)
    now, out, fed = 0.0, [], b""
    for number, (wait, data) in enumerate(feeds):
        out += drain(of, now, now + wait)
        now += wait
        of.feed(data, now)
        fed += data
        if number < len(shapes):
            of.reshape(shapes[number], now)
        assert whole(out) == fed[: len(whole(out))]
        assert of.waiting == len(fed) - len(whole(out))
    of.finish(now)
    out += drain(of, now)
    assert whole(out) == fed
    assert all(a <= b for (a, _), (b, _) in pairwise(out))
    end = of.next_at()
    assert end is not None
    assert of.ended(max(end, now))


@given(st.integers(0, 1000), _SHAPES)
def test_the_same_seed_gives_the_same_times(seed: int, shape: Shape) -> None:
    runs = []
    for _ in range(2):
        of = lane(shape, seed)
        for number in range(10):
            of.feed(b"x" * 20, number * 0.1)
        runs.append(drain(of, 1.0))
    assert runs[0] == runs[1]
