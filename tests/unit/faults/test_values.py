"""Parameters as people write them."""

import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.order import Scalar
from supervisors.faults.values import Parameter, ValueType, read_value, show_value


@pytest.mark.parametrize(
    ("kind", "given", "value", "shown"),
    [
        (ValueType.DURATION, "200ms", 0.2, "200ms"),
        (ValueType.DURATION, 2, 2.0, "2s"),
        (ValueType.DURATION, "-1h", -3600.0, "-1h"),
        (ValueType.DURATION, -1.5, -1.5, "-1500ms"),
        (ValueType.SIZE, "20MB", 20_000_000, "20MB"),
        (ValueType.SIZE, "1.5 KB", 1500, "1500B"),
        (ValueType.SIZE, "4KiB", 4096, "4096B"),
        (ValueType.SIZE, 64, 64, "64B"),
        (ValueType.RATE, "64KB/s", 64_000, "64KB/s"),
        (ValueType.RATE, "10", 10, "10B/s"),
        (ValueType.NUMBER, "0.25", 0.25, "0.25"),
        (ValueType.COUNT, "3", 3, "3"),
        (ValueType.COUNT, 3.0, 3, "3"),
        (ValueType.COUNT, "9223372036854775807", 2**63 - 1, "9223372036854775807"),
        (ValueType.TEXT, 7, "7", "7"),
        (ValueType.FLAG, "on", True, "true"),
        (ValueType.FLAG, False, False, "false"),
    ],
)
def test_what_is_written_is_read_and_shown(kind: ValueType, given: Scalar, value: Scalar, shown: str) -> None:
    found = read_value("kill", Parameter("x", kind, None, "what"), given)
    assert found == value
    assert type(found) is type(value)
    assert show_value(kind, found) == shown


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (ValueType.DURATION, "soon"),
        (ValueType.DURATION, "--1s"),
        (ValueType.SIZE, "20 quarts"),
        (ValueType.SIZE, True),
        (ValueType.RATE, "1/s/s"),
        (ValueType.NUMBER, "nan"),
        (ValueType.NUMBER, "inf"),
        (ValueType.NUMBER, True),
        (ValueType.NUMBER, 10**400),
        (ValueType.COUNT, 1.5),
        (ValueType.COUNT, -1),
        (ValueType.FLAG, "perhaps"),
    ],
)
def test_what_means_nothing_is_refused(kind: ValueType, given: Scalar) -> None:
    with pytest.raises(FaultError, match=r"E9004.*kill: x") as refused:
        read_value("kill", Parameter("x", kind, None, "how much of it"), given)
    assert refused.value.fix == "how much of it"


def test_bounds_and_choices_are_kept() -> None:
    bounded = Parameter("x", ValueType.DURATION, None, "", least=0.001, most=60.0)
    assert read_value("hang", bounded, "60s") == 60.0
    with pytest.raises(FaultError, match="within 1ms to 1m"):
        read_value("hang", bounded, "61s")
    with pytest.raises(FaultError, match="within 1ms to 1m"):
        read_value("hang", bounded, 0)
    chosen = Parameter("x", ValueType.TEXT, None, "", choices=("a", "b"))
    assert read_value("hang", chosen, "b") == "b"
    with pytest.raises(FaultError, match="one of a, b"):
        read_value("hang", chosen, "c")
    with pytest.raises(FaultError, match="within 3"):
        read_value("hang", Parameter("x", ValueType.COUNT, None, "", least=3), 2)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (ValueType.COUNT, 2**63),
        (ValueType.COUNT, "18446744073709551616"),
        (ValueType.COUNT, 1e30),
        (ValueType.COUNT, 10**400),
        (ValueType.SIZE, "999999999999GiB"),
        (ValueType.RATE, "999999999999GB/s"),
    ],
)
def test_no_number_is_larger_than_can_be_sent(kind: ValueType, given: Scalar) -> None:
    with pytest.raises(FaultError, match=r"E9004.*kill: x") as refused:
        read_value("kill", Parameter("x", kind, None, "how much of it"), given)
    assert refused.value.fix == f"within 0 to {2**63 - 1}"
