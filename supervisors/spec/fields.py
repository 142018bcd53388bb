"""Field types the topology's models share: ids, paths, shutdown times, sizes, import strings."""

import functools
import ipaddress
import re
from math import inf
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from supervisors.core import paths
from supervisors.core.durations import DURATION_PATTERN, format_duration, read_duration

_INFINITY = ("infinity", "inf")
_BRUTAL_KILL = "brutal_kill"
_SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(B|KB|MB|GB|KiB|MiB|GiB)", re.ASCII | re.IGNORECASE)
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
IMPORT_PATTERN = rf"^{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*$"
_IMPORT = re.compile(IMPORT_PATTERN, re.ASCII)


class SpecModel(BaseModel):
    """Base of all topology models: unchangeable, and a key it does not know is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, serialize_by_alias=True
    )


@functools.cache
def names_by_key(model: type[BaseModel]) -> dict[str, str]:
    """Fields of ``model`` by the keys they are written with: an alias where Python cannot have the key as a name."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _limit(value: object) -> float:
    if value in _INFINITY or value == inf:
        return inf
    return read_duration(value)


def _shutdown(value: object) -> float:
    if value == _BRUTAL_KILL:
        return 0.0
    return _limit(value)


def _format_shutdown(seconds: float) -> str:
    return _BRUTAL_KILL if seconds == 0 else format_duration(seconds)


def _period(value: object) -> int:
    seconds = read_duration(value)
    if seconds < 1 or seconds != int(seconds):
        # OTP counts restarts in whole seconds (supervisor:add_restart)
        raise PydanticCustomError("duration", "a period is a whole number of seconds, at least 1s", {})
    return int(seconds)


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise PydanticCustomError("size", "a size is 0 or more", {})
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError("size", "{what} is no size", {"what": repr(value)[:60]})
    return round(float(found[1]) * _SIZE_UNITS[found[2].upper()])


def format_size(size: int) -> str:
    """Write bytes in the greatest decimal unit that keeps them whole: ``20MB``."""
    for unit in ("GB", "MB", "KB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def _id(value: str) -> str:
    if not paths.is_id(value):
        raise PydanticCustomError("id", "{what} may not name anything in the tree", {"what": repr(value)[:80]})
    return value


def _path(value: str) -> str:
    try:
        return paths.parse(value)
    except ValueError as error:
        raise PydanticCustomError("path", "{what}", {"what": str(error)[:200]}) from error


def _import_string(value: str) -> str:
    if _IMPORT.match(value) is None:
        raise PydanticCustomError("import_string", "{what} is no import string", {"what": repr(value)[:80]})
    return value


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError as error:
        raise PydanticCustomError("address", "{what} is no IP address", {"what": repr(value)[:80]}) from error
    return value


_DURATION_SCHEMA = {"type": "string", "pattern": DURATION_PATTERN}
_SECONDS_SCHEMA = {"type": "number", "minimum": 0}

#: whole numbers; ``true`` and ``"3"`` are refused, where pydantic would read them as 1 and 3
WholeNumber = Annotated[int, Field(strict=True)]
#: ``true`` or ``false``; not 1, 0 or "yes"
Flag = Annotated[bool, Field(strict=True)]
#: a duration or ``infinity``
TimeLimit = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_limit),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"const": "infinity"}, _DURATION_SCHEMA, _SECONDS_SCHEMA]}),
]
#: ``brutal_kill`` (0 s), a duration or ``infinity``
ShutdownTime = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_shutdown),
    PlainSerializer(_format_shutdown, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"enum": [_BRUTAL_KILL, "infinity"]}, _DURATION_SCHEMA, _SECONDS_SCHEMA]}),
]
#: whole seconds, at least one
Period = Annotated[
    int,
    BeforeValidator(_period),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [_DURATION_SCHEMA, {"type": "integer", "minimum": 1}]}),
]
#: bytes, written ``20MB`` or ``20MiB``
Size = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKmMgG][iI]?)?[bB]$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
ChildId = Annotated[
    str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": paths.ID_PATTERN, "title": "Id"})
]
PathText = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
ImportString = Annotated[
    str, AfterValidator(_import_string), WithJsonSchema({"type": "string", "pattern": IMPORT_PATTERN})
]
Address = Annotated[str, AfterValidator(_address), WithJsonSchema({"type": "string", "minLength": 2})]


def is_import_string(text: str) -> bool:
    """True for ``module:Class`` (dots allowed on both sides)."""
    return _IMPORT.match(text) is not None
