"""Messages on a road with faults on it: lost, late, doubled, changed, out of order; and all well again after them."""

import heapq
import random
from collections.abc import Callable

import pytest

from supervisors.faults.board import Armed, FaultBoard
from supervisors.faults.corrupting import corrupt_arguments, corrupt_bytes
from supervisors.faults.order import FaultOrder, Scalar
from supervisors.faults.road import Road, meets
from supervisors.testing.clock import ManualClock


class Rig:
    """A road whose time passes by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock(0.0)
        self.board = FaultBoard(self.clock, lambda armed: None)
        self.arrived: list[bytes] = []
        self.lost = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.road: Road[bytes] = Road(self._later, lambda job: self._later(0.0, job), corrupt_bytes)

    def _later(self, delay: float, job: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.clock.now + delay, len(self._due) + int(self.clock.now * 1e6), job))

    def pass_time(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self._due and self._due[0][0] <= end:
            at, _, job = heapq.heappop(self._due)
            self.clock.move_to(at)
            job()
        self.clock.move_to(end)

    def arm(self, id_: str, kind: str, **params: Scalar) -> Armed:
        return self.board.arm(FaultOrder(id_, kind, "/a", params, hooks=("x",)))

    def _arrive(self, message: bytes) -> None:
        self.arrived.append(message)

    def _lose(self) -> None:
        self.lost += 1

    def send(self, *messages: str, name: str = "m") -> list[str]:
        for message in messages:
            self.road.send(self.board.at("x"), name, message.encode(), self._arrive, self._lose)
        return self.seen()

    def seen(self) -> list[str]:
        found, self.arrived = [one.decode() for one in self.arrived], []
        return found


def test_without_faults_all_arrive() -> None:
    assert Rig().send("1", "2") == ["1", "2"]


def test_the_lost_are_lost() -> None:
    rig = Rig()
    rig.arm("f-1", "drop", name="m")
    assert rig.send("1", "2") == []
    assert rig.lost == 2
    assert rig.send("3", name="other") == ["3"]
    rig.board.disarm("f-1")
    assert rig.send("4") == ["4"]


def test_the_late_come_later_and_at_once_when_it_is_over() -> None:
    rig = Rig()
    rig.arm("f-1", "delay", delay=1.0, jitter=0.0)
    assert rig.send("1") == []
    rig.pass_time(0.5)
    assert rig.send("2") == []
    rig.pass_time(0.6)
    assert rig.seen() == ["1"]
    rig.board.disarm("f-1")
    rig.pass_time(0.0)
    assert rig.seen() == ["2"], "a fault does not outlive itself"
    rig.pass_time(5.0)
    assert rig.seen() == [], "once"


def test_jitter_is_by_chance_and_bounded() -> None:
    rig = Rig()
    rig.arm("f-1", "delay", delay=1.0, jitter=1.0)
    rig.send(*"abcdefgh")
    rig.pass_time(0.99)
    assert rig.seen() == []
    rig.pass_time(0.51)
    assert 0 < len(rig.seen()) < 8
    rig.pass_time(0.5)
    assert len(rig.seen()) > 0


def test_one_is_held_back_until_others_have_passed() -> None:
    rig = Rig()
    rig.arm("f-1", "reorder", behind=2, hold=1.0)
    assert rig.send("1", "2", "3", "4") == ["2", "3", "1"]
    rig.pass_time(1.0)
    assert rig.seen() == ["4"], "nobody came who could pass it"
    assert rig.send("5", "6") == ["6"]
    rig.board.disarm("f-1")
    rig.pass_time(0.0)
    assert rig.seen() == ["5"]


def test_doubles_come_besides() -> None:
    rig = Rig()
    rig.arm("f-1", "duplicate", copies=2)
    assert rig.send("1") == ["1", "1", "1"]


def test_a_byte_is_changed() -> None:
    rig = Rig()
    armed = rig.arm("f-1", "corrupt")
    rig.road.send(rig.board.at("x"), "m", b"hello", rig.arrived.append)
    (found,) = rig.arrived
    assert len(found) == 5
    assert sum(bin(a ^ b).count("1") for a, b in zip(found, b"hello", strict=True)) == 1
    before = armed.chance.seen
    rig.arrived.clear()
    assert rig.send("") == [""]
    assert armed.chance.seen == before, "what has no byte is no occasion"


def test_several_faults_of_one_road_take_turns() -> None:
    rig = Rig()
    rig.arm("f-1", "duplicate", copies=1)
    rig.arm("f-2", "delay", delay=1.0, jitter=0.0)
    assert rig.send("1") == []
    rig.pass_time(1.0)
    assert rig.seen() == ["1", "1"], "delayed first, then doubled"
    rig.arm("f-3", "drop")
    rig.send("2")
    rig.pass_time(2.0)
    assert (rig.seen(), rig.lost) == ([], 1)


@pytest.mark.parametrize(
    ("wanted", "name", "is_met"),
    [
        ("*", "x", True),
        ("get", "get", True),
        ("get", "gets", False),
        ("trade.*", "trade.btc", True),
        ("G*", "get", False),
    ],
)
def test_whom_it_is_meant_for(wanted: str, name: str, is_met: bool) -> None:
    rig = Rig()
    assert meets(rig.arm("f-1", "drop", name=wanted), name) == is_met
    assert meets(rig.arm("f-2", "hang", method=wanted), name) == is_met


# ---------------------------------------------------------------- what corruption does


@pytest.mark.parametrize("seed", range(20))
def test_one_value_changes_and_shapes_stay(seed: int) -> None:
    args = (1, "word", [2.5, {"deep": (b"xy", True)}], None, object())
    kwargs: dict[str, object] = {"size": 7}
    changed = corrupt_arguments(args, kwargs, random.Random(seed))
    assert changed is not None
    new_args, new_kwargs = changed
    before = [1, "word", 2.5, b"xy", True, 7]
    after = [
        new_args[0], new_args[1], new_args[2][0], new_args[2][1]["deep"][0], new_args[2][1]["deep"][1],  # type: ignore[index]
        new_kwargs["size"],
    ]  # fmt: skip
    differences = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert len(differences) == 1
    (old, new) = differences[0]
    assert type(old) is type(new)
    assert new_args[3] is None
    assert new_args[4] is args[4]
    assert args[2] == [2.5, {"deep": (b"xy", True)}], "what was passed in is never changed"


def test_what_holds_no_plain_value_stays_as_it_is() -> None:
    assert corrupt_arguments((None, object(), "", [], {}), {}, random.Random(1)) is None
    assert corrupt_arguments((), {}, random.Random(1)) is None
    assert corrupt_bytes(b"a", random.Random(1), 1) is None


def test_all_kinds_of_values_are_met_in_the_end() -> None:
    draw = random.Random(5)
    kinds = set()
    for _ in range(200):
        changed = corrupt_arguments((float("inf"), 3, True, "x", b"y", bytearray(b"z")), {}, draw)
        assert changed is not None
        for old, new in zip((float("inf"), 3, True, "x", b"y", bytearray(b"z")), changed[0], strict=True):
            if old != new:
                kinds.add(type(old))
    assert kinds == {float, int, bool, str, bytes, bytearray}
