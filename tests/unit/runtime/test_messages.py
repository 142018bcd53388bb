"""The plane's codec: what goes in comes out, and no frame whatsoever does more than be refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.signals import messages
from supervisors.signals.messages import MalformedFrame, Message, decode, encode

_TEXT = st.text(max_size=40)
_INT = st.integers(-(2**63), 2**63 - 1)
_FLOAT = st.floats(allow_nan=False)
_REASON = st.builds(ExitReason, st.sampled_from(ExitKind), _TEXT, _TEXT)
_SCALAR = _TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | _FLOAT
_BY_TYPE: dict[object, st.SearchStrategy[object]] = {
    str: _TEXT,
    int: _INT,
    float: _FLOAT,
    bool: st.booleans(),
    bytes: st.binary(max_size=60),
    ExitReason: _REASON,
    ExitReason | None: st.none() | _REASON,
    tuple[str, ...]: st.lists(_TEXT, max_size=3).map(tuple),
    dict[str, float]: st.dictionaries(_TEXT, _FLOAT, max_size=4),
    dict[str, str | int | float | bool]: st.dictionaries(_TEXT, _SCALAR, max_size=4),
}
KINDS: tuple[type[msgspec.Struct], ...] = Message.__args__


def _any(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    return st.builds(kind, **{field.name: _BY_TYPE[field.type] for field in msgspec.structs.fields(kind)})


MESSAGES = st.one_of([_any(kind) for kind in KINDS])


@given(MESSAGES)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(frame: bytes) -> None:
    for one in (frame, bytes([messages.VERSION]) + frame):
        try:
            decode(one)
        except MalformedFrame:
            continue


@given(MESSAGES, st.data())
def test_a_damaged_frame_is_a_message_or_refused(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    try:
        found = decode(cut)
    except MalformedFrame:
        return
    assert isinstance(found, KINDS)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        b"\x02" + encode(messages.Ready("/a", 1))[1:],
        b"\x01" + msgspec.msgpack.encode(["?", "/a", 1]),
        b"\x01" + msgspec.msgpack.encode(["r", "/a"]),
        b"\x01" + msgspec.msgpack.encode(["r", "/a", "one"]),
        b"\x01" + msgspec.msgpack.encode({"type": "r"}),
        b"\x01" + b"\x91" * 100_000,
        encode(messages.Ready("/a", 1)) + b"more",
        b"\x01" + msgspec.msgpack.encode(["x", "/a", 1, {"kind": "tired"}, 0.0]),
    ],
)
def test_frames_that_are_not_ours(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode(frame)


def test_tags_are_distinct_and_a_newer_peer_may_add_fields_at_the_end() -> None:
    tags = [msgspec.inspect.type_info(kind).tag for kind in KINDS]  # type: ignore[attr-defined]
    assert len(set(tags)) == len(KINDS)
    longer = b"\x01" + msgspec.msgpack.encode(["r", "/a", 1, "a field of tomorrow"])
    assert decode(longer) == messages.Ready("/a", 1)
