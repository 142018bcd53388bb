"""Times as people write them: ``100ms``, ``5s``, ``1m30s``; plain numbers are seconds."""

import math
import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

#: seconds in each unit, greatest first; ``format_duration`` tries them in this order
_UNITS = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
    "us": Decimal("0.000001"),
}
_PART = r"[0-9]+(?:\.[0-9]+)?(?:us|ms|s|m|h)"
#: a written duration, for the JSON Schema (numbers are allowed beside it)
DURATION_PATTERN = rf"^(?:{_PART})+$|^[0-9]+(?:\.[0-9]+)?$"
_WHOLE = re.compile(rf"(?:{_PART})+", re.ASCII)
_EACH = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
#: longest text read: bounds the work on hostile input, yet holds every float written out (at most 345 characters)
_MAX_TEXT = 400


def parse_duration(text: str | float) -> float:
    """Return the seconds ``text`` stands for.

    Accepts ``250us``, ``100ms``, ``5s``, ``5m``, ``1h``, sums such as ``1m30s``, and plain numbers (seconds).

    Raises:
        ValueError: ``text`` is no duration, is negative or is not finite.
    """
    if isinstance(text, bool | int | float):
        # True is an int to Python, but nobody who writes it means one second
        seconds = math.nan if isinstance(text, bool) else _as_float(text)
    else:
        clean = text.strip()
        if len(clean) > _MAX_TEXT:
            raise ValueError("too long for a duration")
        if clean.startswith("-"):
            raise ValueError(f"{clean!r} is negative; a duration is 0 or more")
        if _NUMBER.fullmatch(clean):
            seconds = _as_float(Decimal(clean))
        elif _WHOLE.fullmatch(clean):
            seconds = _as_float(sum((Decimal(n) * _UNITS[u] for n, u in _EACH.findall(clean)), Decimal(0)))
        else:
            raise ValueError(f"{clean!r} is no duration; write for example 100ms, 5s, 5m or 1h")
    if not math.isfinite(seconds):
        raise ValueError(f"{text!r} is no duration; it must be a finite number")
    if seconds < 0:
        raise ValueError(f"{text!r} is negative; a duration is 0 or more")
    return seconds


def format_duration(seconds: float) -> str:
    """Write ``seconds`` in the greatest unit that keeps it whole (``infinity`` for no end).

    ``parse_duration(format_duration(x)) == x`` for every finite ``x`` of 0 or more.
    """
    if math.isinf(seconds):
        return "infinity"
    if seconds == 0:
        return "0s"
    exact = Decimal(repr(seconds))
    for unit, size in _UNITS.items():
        count = exact / size
        if count >= 1 and count == count.to_integral_value() and count * size == exact and count < 10**15:
            return f"{int(count)}{unit}"
    return f"{exact:f}s"


def _as_float(number: float | Decimal) -> float:
    try:
        return float(number)
    except OverflowError as error:
        raise ValueError("too large for a duration") from error


def read_duration(value: object) -> float:
    """``parse_duration`` as a pydantic validator: an error of type ``duration``, so that a check can tell it apart."""
    if not isinstance(value, str | int | float):
        raise PydanticCustomError("duration", "{what} is no duration", {"what": type(value).__name__})
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{what}", {"what": str(error).partition(";")[0]}) from error


#: a pydantic field that holds seconds and reads what ``parse_duration`` reads
Duration = Annotated[
    float,
    BeforeValidator(read_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"type": "number", "minimum": 0}]}),
]
