"""One byte, or one character, of a message is changed on the way. Pure.

What is changed is chosen by chance among the plain values a message holds, however deep they lie in lists, tuples
and dicts (as values): a character of a text becomes its neighbour, a byte or a low byte of a whole number loses or
gains one bit, as does the fraction of a float; a flag is turned round. Types and shapes stay as they are: that is what
gets through a decoder, and what a checksum or a check of ranges has to find. Objects of other types are left alone.
What was passed in is never changed: copies are.
"""

import math
import random
import struct
from collections.abc import Iterator

_FLOAT = struct.Struct("<d")
#: how deep it looks for values
_DEPTH = 8
#: values it chooses from at most
_MOST = 1000


def corrupt_bytes(body: bytes, draw: random.Random, first: int = 0) -> bytes | None:
    """``body`` with one bit changed at or after the byte ``first``; None when there is no such byte."""
    if len(body) <= first:
        return None
    at = draw.randrange(first, len(body))
    return body[:at] + bytes([body[at] ^ (1 << draw.randrange(8))]) + body[at + 1 :]


def corrupt_arguments(
    args: tuple[object, ...], kwargs: dict[str, object], draw: random.Random
) -> tuple[tuple[object, ...], dict[str, object]] | None:
    """Arguments of a call with one value among them changed; None when there is nothing that can be."""
    places = []
    for place in _places((args, kwargs), ()):
        places.append(place)
        if len(places) == _MOST:
            break
    if not places:
        return None
    changed = _change((args, kwargs), draw.choice(places), draw)
    assert isinstance(changed, tuple)
    return changed[0], changed[1]


def _places(value: object, way: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    """Ways to all that can be changed: positions and keys, from the outside in."""
    if isinstance(value, bool | int | float) or (isinstance(value, str | bytes | bytearray) and value):
        yield way
    elif len(way) >= _DEPTH:
        return
    elif isinstance(value, list | tuple) and type(value) in (list, tuple):
        for at, item in enumerate(value):
            yield from _places(item, (*way, at))
    elif isinstance(value, dict) and type(value) is dict:
        for key, item in value.items():
            yield from _places(item, (*way, key))


def _change(value: object, way: tuple[object, ...], draw: random.Random) -> object:
    if not way:
        return _changed(value, draw)
    step, rest = way[0], way[1:]
    if isinstance(value, dict):
        return {key: _change(item, rest, draw) if key == step else item for key, item in value.items()}
    assert isinstance(value, list | tuple)
    items = [_change(item, rest, draw) if at == step else item for at, item in enumerate(value)]
    return tuple(items) if isinstance(value, tuple) else items


def _changed(value: object, draw: random.Random) -> object:
    match value:
        case bool():
            return not value
        case int():
            return value ^ (1 << draw.randrange(8))
        case float():
            return _float(value, draw)
        case bytes():
            return corrupt_bytes(value, draw)
        case bytearray():
            return bytearray(corrupt_bytes(bytes(value), draw) or b"")
        case str():
            at = draw.randrange(len(value))
            return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
        case _:
            return value


def _float(value: float, draw: random.Random) -> float:
    """One bit of the fraction's upper half: a difference somebody can see."""
    if not math.isfinite(value):
        return 0.0
    bits = bytearray(_FLOAT.pack(value))
    bits[draw.randrange(3, 6)] ^= 1 << draw.randrange(8)
    found: float = _FLOAT.unpack(bytes(bits))[0]
    return found
