"""Durations read what people write and write what they can read back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from supervisors.core.durations import Duration, format_duration, parse_duration

_ADAPTER: TypeAdapter[float] = TypeAdapter(Duration)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("5s", 5.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("250us", 0.00025),
        ("1m30s", 90.0),
        ("1.5s", 1.5),
        (" 2s ", 2.0),
        ("3", 3.0),
        (7, 7.0),
        (0.25, 0.25),
        (0, 0.0),
    ],
)
def test_reads(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "5x",
        "-1s",
        "1 s",
        "s",
        "1e3s",
        "inf",
        "infinity",
        "٥s",
        "1s2",
        "9" * 500,
        "9" * 399,
        -1,
        math.inf,
        math.nan,
        True,
    ],
)
def test_refuses(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1, "100ms"), (5.0, "5s"), (90.0, "90s"), (300.0, "5m"), (3600.0, "1h"), (0.0, "0s"), (math.inf, "infinity")],
)
def test_writes(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_every_duration_survives_being_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_as_a_field() -> None:
    assert _ADAPTER.validate_python("5ms") == 0.005
    assert _ADAPTER.dump_json(0.005) == b'"5ms"'
    wrong: tuple[object, ...] = ("soon", None, [], True)
    for bad in wrong:
        with pytest.raises(ValidationError):
            _ADAPTER.validate_python(bad)
