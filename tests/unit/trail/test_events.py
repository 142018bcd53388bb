import pytest

from supervisors.core.paths import failure_id
from supervisors.core.reasons import ExitKind, ExitReason, crash
from supervisors.trail.events import MAX_LINE, EventKind, decode, encode, salvage
from tests.unit.trail.support import event


def test_round_trip_with_reason_and_data() -> None:
    one = event(EventKind.CHILD_EXITED, "/cell/md", incarnation=3, reason=crash("boom"), data={"a": 1, "b": None})
    assert decode(encode(one)) == one
    assert encode(one).count(b"\n") == 1
    assert failure_id("/cell/md", 3) == "/cell/md#3"


def test_defaults_take_no_room() -> None:
    assert encode(event("ready")) == b'{"t":1.0,"utc":1000000000,"kind":"ready","path":"/a"}\n'


def test_unknown_fields_are_ignored() -> None:
    assert decode(b'{"t":1.0,"utc":1,"kind":"x","path":"/a","colour":"red"}').kind == "x"


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"t":1}', b'{"t":1.0,"utc":1,"kind":"x","path":"/a","v":2}'])
def test_what_is_no_event_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several kinds, all mean the same
        decode(line)


def test_values_json_cannot_carry_are_written_as_text() -> None:
    one = event("x", data={"bad": "\udc80", "big": 2**80, "object": object(), "n": float("nan")})
    data = decode(encode(one)).data
    assert data["bad"] == "?"
    assert data["big"] == str(2**80)
    assert str(data["object"]).startswith("<object")
    assert data["n"] is None


def test_long_texts_are_cut_and_a_traceback_keeps_its_end() -> None:
    one = event(
        "x",
        reason=ExitReason(ExitKind.CRASH, "m" * 100_000, "d" * 100_000 + "end"),
        data={str(number): "v" * 5_000 for number in range(100)},
    )
    line = encode(one)
    assert len(line) < MAX_LINE
    back = decode(line).reason
    assert back is not None
    assert back.detail.endswith("end")


def test_an_event_behind_a_torn_one_is_saved() -> None:
    whole = encode(event("x", data={"text": '{"t":'}))[:-1]
    assert salvage(encode(event("torn"))[:20] + whole) == decode(whole)
    assert salvage(whole) is None
    assert salvage(b"noise") is None
