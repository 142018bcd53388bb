"""Whether a fault acts: the first so many, by chance, at most so often."""

import random
from collections.abc import Iterator

import pytest

from supervisors.faults.chance import Chance
from supervisors.faults.order import FaultOrder, Scalar


def order(params: dict[str, Scalar] | None = None, **words: float | int) -> FaultOrder:
    return FaultOrder("f-1", "drop", "/a", params or {}, **words)  # type: ignore[arg-type]


def draws(*numbers: float) -> Iterator[float]:
    yield from numbers


def struck(chance: Chance, times: int) -> str:
    return "".join("x" if chance.strikes() else "." for _ in range(times))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (order(), "xxxxxx"),
        (order(most=2), "xx...."),
        (order(probability=0.0), "......"),
        (order(probability=0.0, first=2), "xx...."),
        (order({"nth": 3}), "..xxxx"),
        (order({"nth": 3}, probability=0.0, first=2), "..xx.."),
        (order({"times": 2}), "xx...."),
        (order({"times": 2}, most=1), "x....."),
        (order({"nth": True}), "xxxxxx"),
    ],
)
def test_which_occasions_are_hit(given: FaultOrder, expected: str) -> None:
    assert struck(Chance(given, lambda: 0.5), 6) == expected


def test_chance_is_drawn_only_where_it_counts() -> None:
    numbers = draws(0.2, 0.9, 0.3)
    chance = Chance(order(first=1, probability=0.5), lambda: next(numbers))
    assert struck(chance, 4) == "xx.x"
    assert next(numbers, None) is None, "the first one was certain"


def test_a_life_goes_on_where_the_one_before_it_stopped() -> None:
    chance = Chance(order({"times": 3}), lambda: 0.0, seen=2, fired=2)
    assert struck(chance, 3) == "x.."
    assert (chance.seen, chance.fired) == (3, 3), "an occasion after it is spent is none"
    assert chance.spent


def test_half_of_many_are_hit_with_a_chance_of_a_half() -> None:
    chance = Chance(order(probability=0.5), random.Random(7).random)
    assert 450 < struck(chance, 1000).count("x") < 550
