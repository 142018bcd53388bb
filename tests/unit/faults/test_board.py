"""What is armed in a process, and how it ends."""

import threading

import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.board import Armed, FaultBoard, FaultSlot
from supervisors.faults.order import FaultOrder, Hook, decode, encode
from supervisors.testing.clock import ManualClock


class Rig:
    """A board, and all it told."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.fired: list[str] = []
        self.changed: list[tuple[str, bool]] = []
        self.defects: list[BaseException] = []
        self.board = FaultBoard(self.clock, self._fired, self._changed, self.defects.append)

    def _fired(self, armed: Armed) -> None:
        self.fired.append(armed.order.id)

    def _changed(self, armed: Armed, on: bool) -> None:
        self.changed.append((armed.order.id, on))


def order(id_: str, hook: str = Hook.CALL_IN, **words: object) -> FaultOrder:
    return FaultOrder(id_, "drop", "/a", hooks=(hook,), **words)  # type: ignore[arg-type]


def test_an_armed_fault_waits_at_its_hooks_until_it_is_ended() -> None:
    rig = Rig()
    armed = rig.board.arm(order("f-1"))
    assert rig.board.at(Hook.CALL_IN) == (armed,)
    assert rig.board.at(Hook.PUBLISH) == ()
    assert armed.strikes()
    assert rig.board.disarm("f-1")
    assert rig.board.at(Hook.CALL_IN) == ()
    assert not armed.strikes(), "one that is over does nothing more"
    assert (rig.fired, rig.changed) == (["f-1"], [("f-1", True), ("f-1", False)])
    assert not rig.board.disarm("f-1"), "a second time is no error"


def test_the_same_order_twice_is_one() -> None:
    rig = Rig()
    first = rig.board.arm(order("f-1"))
    assert first.strikes()
    assert rig.board.arm(order("f-1")) is first
    assert len(rig.board) == 1
    assert rig.changed == [("f-1", True)]


def test_two_of_one_slot_exclude_each_other_at_one_target() -> None:
    rig = Rig()
    rig.board.arm(order("f-1", slot="call"))
    with pytest.raises(FaultError, match=r"E9010.*exclude each other at /a") as refused:
        rig.board.arm(order("f-2", slot="call"))
    assert "f-1" in refused.value.fix
    rig.board.arm(order("f-3", slot=""))
    rig.board.arm(FaultOrder("f-4", "drop", "/b", slot="call"))
    assert rig.board.ids() == ["f-1", "f-3", "f-4"]
    rig.board.disarm("f-1")
    rig.board.arm(order("f-2", slot="call"))


def test_each_ends_at_its_own_time() -> None:
    rig = Rig()
    assert rig.board.next_end() is None
    rig.board.arm(order("f-1", seconds=5.0))
    rig.board.arm(order("f-2", seconds=60.0), left=2.0)
    assert rig.board.next_end() == 102.0
    rig.clock.advance(2.0)
    assert rig.board.expire() == ["f-2"]
    (state,) = rig.board.states()
    assert (state.order.id, state.left) == ("f-1", 3.0)
    rig.clock.advance(3.0)
    assert rig.board.expire() == ["f-1"]
    assert len(rig.board) == 0


def test_what_waits_is_told_once_that_it_is_over() -> None:
    rig = Rig()
    armed = rig.board.arm(order("f-1"))
    told: list[str] = []

    def bad() -> None:
        raise OSError("no")

    armed.at_end(bad)
    armed.at_end(lambda: told.append("first"))
    rig.board.disarm("f-1")
    armed.at_end(lambda: told.append("late"))
    assert told == ["first", "late"]
    assert [str(error) for error in rig.defects] == ["no"]
    assert armed.end() == []


def test_a_thread_that_waits_goes_on_when_it_is_over() -> None:
    rig = Rig()
    armed = rig.board.arm(order("f-1"))
    assert armed.wait(0.001), "the time was over first"
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(armed.wait(30.0)))
    thread.start()
    rig.board.disarm("f-1")
    thread.join(5.0)
    assert waited == [False]
    assert not armed.wait(30.0)


def test_a_standing_order_is_told_of_each_occasion_and_draws_anew_in_each_life() -> None:
    rig = Rig()
    half = order("f-1", standing=True, probability=0.5, seed=3)
    outcomes = []
    for seen in range(40):
        board = FaultBoard(rig.clock, rig._fired)
        outcomes.append(board.arm(half, seen=seen).strikes())
    assert 5 < outcomes.count(True) < 35
    assert len(rig.fired) == 40
    again = FaultBoard(rig.clock, rig._fired)
    assert again.arm(half, seen=3).strikes() == outcomes[3], "the same seed, the same course"


@pytest.mark.parametrize(
    ("params", "hooks", "acts_at"),
    [
        ({"on": "published"}, (Hook.CALL_IN, Hook.PUBLISH), (Hook.PUBLISH,)),
        ({"on": "calls"}, (Hook.CALL_IN, Hook.PUBLISH), (Hook.CALL_IN,)),
        ({"point": "checkpoint"}, (Hook.APPEND, Hook.CHECKPOINT), (Hook.CHECKPOINT,)),
        ({"point": "append"}, (Hook.DISK,), (Hook.DISK,)),
        ({}, (Hook.START,), (Hook.START,)),
    ],
)
def test_parameters_choose_where_it_acts(
    params: dict[str, str | int | float | bool], hooks: tuple[str, ...], acts_at: tuple[str, ...]
) -> None:
    given = FaultOrder("f-1", "drop", "/a", params, hooks=hooks)
    assert given.acts_at() == acts_at
    rig = Rig()
    rig.board.arm(given)
    assert set(rig.board.by_hook) == set(acts_at)


def test_a_crash_point_ends_the_process_when_the_fault_strikes() -> None:
    rig = Rig()
    crashed: list[bool] = []
    slot = FaultSlot(lambda: crashed.append(True))
    slot.crash_point(Hook.APPEND)
    slot.board = rig.board
    rig.board.arm(FaultOrder("f-1", "crash_between", "/a", {"point": "append", "nth": 2}, hooks=(Hook.APPEND,)))
    slot.crash_point(Hook.CHECKPOINT)
    slot.crash_point(Hook.APPEND)
    assert crashed == []
    slot.crash_point(Hook.APPEND)
    assert crashed == [True]


def test_orders_survive_the_wire_and_give_their_parameters() -> None:
    given = FaultOrder("f-1", "delay", "/a", {"delay": 1, "on": "calls", "crash": True, "text": "1"}, standing=True)
    (back,) = decode(encode((given,)))
    assert back == given
    assert (back.number("delay"), back.text("on"), back.flag("crash")) == (1.0, "calls", True)
    for name in ("text", "crash"):
        with pytest.raises(TypeError, match="no number"):
            back.number(name)
