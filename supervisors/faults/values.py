"""Parameters of faults: how each is written by people, and what it becomes. Pure."""

import math
import re
from enum import StrEnum

import msgspec

from supervisors.core.durations import format_duration, parse_duration
from supervisors.core.errors import FaultError
from supervisors.faults.order import Scalar

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(|B|KB|MB|GB|KiB|MiB|GiB)", re.ASCII | re.IGNORECASE)
#: the largest whole number that can be handed to a process
WHOLE_MOST = 2**63 - 1
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class ValueType(StrEnum):
    """How a parameter is written and what it becomes."""

    DURATION = "duration"  #: ``200ms``; seconds
    SIZE = "size"  #: ``20MB``; bytes
    RATE = "rate"  #: ``64KB/s``; bytes per second
    NUMBER = "number"
    COUNT = "count"  #: whole, 0 or more
    TEXT = "text"
    FLAG = "flag"


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a kind.

    Attributes:
        name: as it is written.
        type: how it is written.
        default: in SI units; None: it must be given.
        about: one line for people.
        least, most: bounds of a number, in SI units.
        choices: the words allowed; empty: any.
    """

    name: str
    type: ValueType
    default: Scalar | None
    about: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()


def read_value(fault: str, parameter: Parameter, given: Scalar) -> Scalar:
    """A parameter's value in SI units.

    Raises:
        FaultError: it is of the wrong type or out of its bounds (9004).
    """
    try:
        value = _convert(parameter, given)
    except ValueError as error:
        raise FaultError(f"{fault}: {parameter.name}: {error}", code=9004, fix=parameter.about) from None
    if parameter.choices and value not in parameter.choices:
        raise FaultError(
            f"{fault}: {parameter.name} is {given!r}", code=9004, fix=f"one of {', '.join(parameter.choices)}"
        )
    if isinstance(value, int) and not isinstance(value, bool) and value > WHOLE_MOST:
        raise FaultError(f"{fault}: {parameter.name} is {given!r}", code=9004, fix=f"within 0 to {WHOLE_MOST}")
    if not isinstance(value, str | bool):
        low, high = parameter.least, parameter.most
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = " to ".join(show_value(parameter.type, bound) for bound in (low, high) if bound is not None)
            raise FaultError(f"{fault}: {parameter.name} is {given!r}", code=9004, fix=f"within {bounds}")
    return value


def check_whole(fault: str, **given: int) -> None:
    """Refuse whole numbers that cannot be handed to a process.

    Raises:
        FaultError: one is too large, or too far below 0 (9004).
    """
    for name, value in given.items():
        if abs(value) > WHOLE_MOST:
            raise FaultError(f"{fault}: {name} is {value}", code=9004, fix=f"within -{WHOLE_MOST} to {WHOLE_MOST}")


def show_value(kind: ValueType, value: Scalar) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if kind is ValueType.DURATION:
        return format_duration(float(value)) if value >= 0 else f"-{format_duration(-float(value))}"
    if kind in (ValueType.SIZE, ValueType.RATE):
        for unit in ("GB", "MB", "KB"):
            if value and value % _UNITS[unit] == 0:
                return f"{int(value // _UNITS[unit])}{unit}" + ("/s" if kind is ValueType.RATE else "")
        return f"{int(value)}B" + ("/s" if kind is ValueType.RATE else "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _convert(parameter: Parameter, given: Scalar) -> Scalar:
    match parameter.type:
        case ValueType.DURATION:
            return _duration(given)
        case ValueType.SIZE:
            return _size(given)
        case ValueType.RATE:
            return _size(given.removesuffix("/s") if isinstance(given, str) else given)
        case ValueType.FLAG:
            return _flag(given)
        case ValueType.COUNT:
            return _count(given)
        case ValueType.NUMBER:
            return _number(given)
        case ValueType.TEXT:
            return str(given)


def _duration(given: Scalar) -> float:
    """Unlike a time limit, a clock's jump may be negative."""
    if isinstance(given, str) and given.strip().startswith("-"):
        return -parse_duration(given.strip()[1:])
    if isinstance(given, int | float) and not isinstance(given, bool) and given < 0:
        return -parse_duration(-given)
    return parse_duration(given)


def _size(given: Scalar) -> int:
    found = _SIZE.fullmatch(str(given).strip()) if not isinstance(given, bool) else None
    if found is None:
        raise ValueError(f"{given!r} is no size; write for example 64KB or 20MB")
    return round(float(found[1]) * _UNITS[found[2].upper()])


def _count(given: Scalar) -> int:
    if isinstance(given, str) and re.fullmatch(r"[0-9]{1,40}", given.strip(), re.ASCII):
        return int(given)  # exact: a float has 53 bits
    number = given if isinstance(given, int) and not isinstance(given, bool) else _number(given)
    if number != int(number) or number < 0:
        raise ValueError(f"{given!r} is no whole number of 0 or more")
    return int(number)


def _flag(given: Scalar) -> bool:
    if isinstance(given, bool):
        return given
    found = _FLAGS.get(str(given).strip().lower())
    if found is None:
        raise ValueError(f"{given!r} is neither true nor false")
    return found


def _number(given: Scalar) -> float:
    try:
        if isinstance(given, bool):
            raise ValueError
        number = float(given)
    except (ValueError, OverflowError):
        raise ValueError(f"{given!r} is no number") from None
    if not math.isfinite(number):
        raise ValueError(f"{given!r} is no finite number")
    return number
