"""A host that is broken on purpose: what it arms, what it refuses, what its hooks do, and that all of it ends."""

import asyncio
import ctypes
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import msgspec
import pytest
import uvloop

from supervisors.core.errors import CallTimeout
from supervisors.core.reasons import ExitKind
from supervisors.faults.board import Armed
from supervisors.faults.order import ArmedState, FaultOrder, Hook
from supervisors.faults.order import encode as encode_orders
from supervisors.faults.undo import boot_time
from supervisors.runtime import faulting, faultstage, lateness
from supervisors.runtime.calls import Caller
from supervisors.signals.fault_messages import Arm, AskFaults, FaultsNow
from supervisors.signals.messages import Exited, Message, Noted, Retire, StartFailed, encode

from .breakable import Rig, order

Making = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def make() -> AsyncIterator[Making]:
    made: list[Rig] = []

    async def build(config: dict[str, object] | None = None, faults: tuple[ArmedState, ...] = ()) -> Rig:
        made.append(Rig(config, faults))
        return made[-1]

    yield build
    for rig in made:
        await rig.close()


@pytest.fixture
async def rig(make: Making) -> Rig:
    return await (await make()).up()


# ---------------------------------------------------------------- arming


async def test_hooks_are_in_only_while_something_is_armed(rig: Rig) -> None:
    assert (rig.hooks, rig.slot.board, rig.runner.faults) == (None, None, None)
    first = await rig.arm("hang", method="nothing")
    await rig.arm("lose_reply", "f-2", method="nothing")
    assert rig.hooks is not None
    assert rig.runner.faults is rig.hooks
    assert rig.slot.board is rig.hand.board
    await rig.end(first.id)
    assert await rig.armed() == ["f-2"]
    await rig.end()
    assert not rig.has_hooks
    assert await rig.armed() == []
    assert rig.defects == []


async def test_a_fault_ends_at_its_deadline_though_nobody_says_so(rig: Rig) -> None:
    await rig.arm("hang", seconds=0.1, method="nothing")
    await rig.arm("lose_reply", "f-2", 0.2)
    await rig.until(lambda: rig.hooks is None)
    assert await rig.armed() == []


async def test_the_same_order_twice_is_armed_once_and_ending_nothing_is_no_error(rig: Rig) -> None:
    given = await rig.arm("hang")
    assert (await rig.give(given)).code == 0
    assert await rig.armed() == [given.id]
    assert (await rig.end("f-unknown")).code == 0
    assert await rig.armed() == [given.id]


@pytest.mark.parametrize(
    ("state", "allowed", "given", "code"),
    [
        ("spare", False, order("hang"), 9021),
        ("agent", True, order("hang"), 9021),
        ("running", False, order("hang"), 9020),
        ("ended", True, order("hang"), 9022),
        ("ending", True, order("hang"), 9022),
        ("running", True, order("hang", path="/b"), 9026),
        ("running", True, order("suspect"), 9025),
        ("running", True, order("lose_beats"), 9025),
        ("running", True, order("earthquake"), 9025),
        ("running", True, order("net_latency"), 9025),
    ],
)
async def test_what_cannot_be_armed_is_refused(
    rig: Rig, state: str, allowed: bool, given: FaultOrder, code: int
) -> None:
    rig.state, rig.allowed = state, allowed
    answer = await rig.give(given)
    assert answer.code == code
    if code:
        assert answer.error
        assert answer.fix
        assert await rig.armed() == []
        assert rig.hooks is None
    rig.state, rig.allowed = "running", True
    await rig.end()


async def test_orders_that_cannot_be_read_are_refused(rig: Rig) -> None:
    answer = await rig.in_plane(lambda reply: rig.hand.asked(Arm(5, b"\xc1"), reply))
    assert (answer.ref, answer.code) == (5, 9027)


async def test_an_order_that_is_read_too_late_is_refused(rig: Rig) -> None:
    answer = await rig.give(lateness.until(order("hang"), boot_time() - 0.001))
    assert (answer.code, await rig.armed()) == (9028, [])
    in_time = lateness.until(order("hang"), boot_time() + 60.0)
    assert (await rig.give(in_time)).code == 0
    # the boot clock of another machine says nothing here
    elsewhere = msgspec.structs.replace(order("lose_reply", "f-2"), deadline=0.001, boot="another")
    assert (await rig.give(elsewhere)).code == 0


async def test_an_order_that_comes_after_its_end_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulting, "_ENDED_MOST", 2)
    for fault_id in ("f-0", "f-1", "f-2"):
        await rig.end(fault_id)
    for fault_id, code in (("f-2", 9028), ("f-1", 9028), ("f-0", 0)):
        assert (await rig.give(order("hang", fault_id))).code == code, fault_id
    assert await rig.armed() == ["f-0"], "and what is remembered has a bound"


async def test_who_is_asked_whether_it_would_arms_nothing(rig: Rig) -> None:
    def ask(given: FaultOrder) -> Awaitable[FaultsNow]:
        return rig.in_plane(lambda reply: rig.hand.asked(AskFaults(4, encode_orders((given,))), reply))

    assert ((await ask(order("hang"))).code, await rig.armed()) == (0, [])
    assert (await ask(order("net_latency"))).code == 9025
    rig.state = "ending"
    assert (await ask(order("exit"))).code == 9022
    assert (await rig.in_plane(lambda reply: rig.hand.asked(AskFaults(5), reply))).code == 0, "the bare question"
    rig.state = "running"


async def test_all_or_none_are_armed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    undone: list[str] = []

    def act_of(kind: str) -> object:
        def act(armed: Armed, stage: object) -> Callable[[], None]:
            if kind == "segfault":
                raise OSError("no more of it")
            return lambda: undone.append(kind)

        return act

    answer = await rig.give(order("hang", "f-1"), order("raise_call", "f-2"))
    assert answer.code == 9010
    assert await rig.armed() == []
    monkeypatch.setattr(faulting, "act_of", act_of)
    answer = await rig.give(order("gc_pause", "f-1"), order("segfault", "f-2"))
    assert (answer.code, undone) == (9029, ["gc_pause"]), "what had begun is put away"
    assert "no more of it" in answer.error
    assert await rig.armed() == []


async def test_an_act_that_cannot_be_put_away_does_not_keep_the_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(armed: Armed, stage: object) -> Callable[[], None]:
        def undo() -> None:
            raise ValueError(armed.order.id)

        return undo

    monkeypatch.setattr(faulting, "act_of", lambda kind: act)
    await rig.give(order("block_loop", "f-1"), order("hold_memory", "f-2"))
    assert (await rig.end()).code == 0
    assert await rig.armed() == []
    assert sorted(str(error) for error in rig.defects) == ["f-1", "f-2"]


# ---------------------------------------------------------------- what is told


async def test_effects_are_told_at_once_and_then_now_and_then(rig: Rig) -> None:
    await rig.arm("raise_call", method="echo")
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="injected"):
        await rig.call("echo")
    await rig.until(lambda: rig.fired)
    for _ in range(49):
        with pytest.raises(RuntimeError):
            await rig.call("echo")
    (first,) = rig.fired
    assert (first.path, first.incarnation, first.id, first.kind) == ("/a", 7, "f-1", "raise_call")
    assert first.fired == 1
    assert began <= first.at <= time.monotonic()
    rig.plane.call_soon(rig.hand.flush)
    await rig.until(lambda: len(rig.fired) == 2)
    assert (rig.fired[-1].seen, rig.fired[-1].fired) == (50, 50)


async def test_what_is_untold_is_told_when_it_is_over(rig: Rig) -> None:
    await rig.arm("raise_call", method="echo")
    for _ in range(3):
        with pytest.raises(RuntimeError):
            await rig.call("echo")
    await rig.until(lambda: rig.fired)
    with pytest.raises(RuntimeError):
        await rig.call("echo")
    await rig.end()
    assert rig.fired[-1].fired == 4


# ---------------------------------------------------------------- run and start


async def test_run_raises_as_ordered(rig: Rig) -> None:
    await rig.arm("raise", message="as ordered")
    await rig.until(rig.task.done)
    last = rig.said[-1]
    assert isinstance(last, Exited)
    assert (last.reason.kind, last.reason.message) == (ExitKind.CRASH, "RuntimeError: as ordered")
    assert len(rig.fired) == 1
    assert await rig.armed() == [], "over once it is done"


@pytest.mark.parametrize("how", ["returns", "goes on"])
async def test_a_body_that_will_not_be_cancelled_ends_all_the_same(make: Making, how: str) -> None:
    rig = await (await make({"how": how})).up()
    await rig.arm("raise", message="as ordered")
    await rig.until(rig.task.done)
    last = rig.said[-1]
    assert isinstance(last, Exited)
    assert last.reason.message == "RuntimeError: as ordered"


async def test_a_crash_loop_reaches_each_life_from_its_beginning(make: Making) -> None:
    state = ArmedState(order("crash_loop", after="20ms", message="again"), 30.0, 4, 4)
    rig = await make(faults=(state,))
    await rig.until(rig.task.done)
    last = rig.said[-1]
    assert isinstance(last, Exited)
    assert last.reason.message == "RuntimeError: again"
    assert rig.fired[0].fired == 5, "it goes on counting"
    assert await rig.armed() == ["f-1"], "it is for the next life as well"


async def test_starts_fail_until_it_is_enough(make: Making) -> None:
    failing = order("fail_start", times=2, message="no venue")
    rig = await make(faults=(ArmedState(failing, 30.0, 1, 1),))
    await rig.until(rig.task.done)
    last = rig.said[-1]
    assert isinstance(last, StartFailed)
    assert last.reason.message == "RuntimeError: no venue"
    await rig.until(lambda: rig.fired)
    assert rig.fired[0].fired == 2
    well = await make(faults=(ArmedState(failing, 30.0, 2, 2),))
    await well.up()
    assert well.fired == [] or well.fired[-1].fired == 2


async def test_a_slow_start_goes_on_when_the_fault_is_over(make: Making) -> None:
    rig = await make(faults=(ArmedState(order("slow_start", delay="60s"), 60.0),))
    await rig.until(lambda: rig.fired)
    assert rig.runner.state == "starting"
    await rig.end()
    await rig.up()
    quick = await make(faults=(ArmedState(order("slow_start", delay="50ms"), 60.0),))
    began = time.monotonic()
    await quick.up()
    assert time.monotonic() - began >= 0.04


async def test_an_order_to_stop_is_carried_out_once_it_is_over(rig: Rig) -> None:
    stopped: list[bool] = []
    await rig.arm("ignore_stop")
    assert rig.hooks is not None
    assert rig.hooks.ignores_stop(lambda: stopped.append(True))
    assert stopped == []
    await rig.end()
    assert stopped == [True]


# ---------------------------------------------------------------- acts


async def test_a_blocked_loop_turns_again_when_it_is_over(rig: Rig) -> None:
    before = rig.runner.progress
    given = order("block_loop")

    def later() -> None:
        time.sleep(0.3)
        rig.plane.call_soon(lambda: rig.hand.end(given.id))

    began = time.monotonic()
    threading.Thread(target=later).start()
    await rig.give(given)
    await rig.until(lambda: rig.hooks is None)
    assert time.monotonic() - began >= 0.2
    assert rig.runner.progress - before < 15, "no turn while it was blocked"


async def test_acts_that_end_the_process_come_after_the_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[object] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    monkeypatch.setattr(os, "kill", lambda pid, number: ends.append((pid, number)))
    monkeypatch.setattr(ctypes, "string_at", ends.append)
    await rig.arm("exit", code=3)
    assert ends == []
    await rig.until(lambda: ends == [3])
    await rig.until(lambda: rig.hooks is None)
    await rig.arm("segfault", "f-2")
    await rig.until(lambda: ends == [3, 0])
    await rig.arm("oom", "f-3", cap="9MB")
    await rig.until(lambda: ends[2:] == [(os.getpid(), signal.SIGKILL)])
    await rig.end()
    assert [one.kind for one in rig.fired] == ["exit", "segfault", "oom"]


async def test_memory_runs_out_as_an_exception(rig: Rig) -> None:
    await rig.arm("oom", cap="9MB", end="raised")
    await rig.until(rig.task.done)
    last = rig.said[-1]
    assert isinstance(last, Exited)
    assert last.reason.kind is ExitKind.OOM


async def test_the_collector_and_the_lock_are_let_go(rig: Rig) -> None:
    await rig.arm("gc_pause", objects=5000)
    await rig.arm("slow_disk", "f-2")
    await rig.until(lambda: any(thread.name == "fault-gc_pause" for thread in threading.enumerate()))
    await rig.end()
    await rig.until(lambda: not any(thread.name == "fault-gc_pause" for thread in threading.enumerate()))
    began = time.monotonic()
    await rig.arm("hold_gil", "f-3", seconds=0.3)
    await rig.until(lambda: rig.hooks is None)
    assert time.monotonic() - began >= 0.25


async def test_a_crash_between_two_steps_says_what_it_was(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = threading.Event()
    monkeypatch.setattr(faultstage, "stand_still", lambda: None)
    await rig.arm("crash_between", point="append")
    assert rig.slot.board is not None
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.set())
    rig.slot.crash_point(Hook.CHECKPOINT)
    assert not killed.is_set()
    await asyncio.get_running_loop().run_in_executor(None, rig.slot.crash_point, Hook.APPEND)
    assert killed.is_set()
    assert [one.kind for one in rig.fired] == ["crash_between"], "told before it ended"


# ---------------------------------------------------------------- calls


async def test_calls_that_hung_are_carried_out_in_the_end(rig: Rig) -> None:
    await rig.arm("hang", method="echo", nth=2)
    assert await rig.call("echo", "1") == "1"
    hung = asyncio.ensure_future(rig.call("echo", "2"))
    await rig.until(lambda: rig.fired)
    assert not hung.done()
    assert rig.actor.calls == [("1",)]
    await rig.end()
    assert await hung == "2"


async def test_calls_and_answers_that_are_lost_are_not_kept_without_bound(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisors.runtime import faulthooks

    monkeypatch.setattr(faulthooks, "_LOST_MOST", 2)
    await rig.arm("drop", on="calls", name="echo")
    lost = [asyncio.ensure_future(rig.call("echo", n)) for n in range(4)]
    await rig.until(lambda: lost[0].done() and lost[1].done())
    for one in lost[:2]:
        with pytest.raises(CallTimeout, match="lost on the way"):
            await one
    assert not lost[2].done()
    assert rig.actor.calls == []
    await rig.end()
    await rig.arm("lose_reply", "f-2")
    lost += [asyncio.ensure_future(rig.call("echo", 9))]
    await rig.until(lambda: rig.actor.calls == [(9,)])
    for one in lost[2:]:
        one.cancel()


async def test_an_answer_is_lost_also_when_it_is_an_error(rig: Rig) -> None:
    await rig.arm("lose_reply")
    asked = asyncio.ensure_future(rig.call("nothing_such"))
    await rig.until(lambda: rig.fired)
    await asyncio.sleep(0)
    assert not asked.done()
    asked.cancel()


async def test_a_call_that_is_doubled_bears_one_reference(rig: Rig) -> None:
    await rig.arm("duplicate", on="calls", copies=2)
    assert await rig.call("echo", "x", ref="r9") == "x"
    await rig.until(lambda: len(rig.carried) == 3)
    assert {call[1] for call in rig.carried} == {"r9"}


async def test_a_call_is_changed_on_its_way(rig: Rig) -> None:
    await rig.arm("corrupt", on="calls")
    changed = cast("bytes", await rig.call("echo", b"abc"))
    assert len(changed) == 3
    assert changed != b"abc"


class Calls:
    """Stands for ``Caller``."""

    def __init__(self) -> None:
        self.made: list[tuple[object, ...]] = []

    async def call(self, *words: object) -> object:
        self.made.append(words)
        return 7

    def cast(self, *words: object) -> None:
        self.made.append(words)


async def test_calls_that_leave_are_late_doubled_and_lost(rig: Rig) -> None:
    calls = Calls()
    caller = cast(Caller, calls)
    await rig.arm("duplicate", on="calls_out", copies=2)
    hooks = rig.hooks
    assert hooks is not None
    assert await hooks.call_out(caller, "/b", "m", ((1,), {"k": 2}), 3.0, False) == 7
    path, method, args, kwargs, left, once, copies = calls.made.pop()
    assert (path, method, args, kwargs, once, copies) == ("/b", "m", (1,), {"k": 2}, False, 2)
    assert cast(float, left) <= 3.0
    await rig.arm("delay", "f-2", on="calls_out", delay="50ms")
    assert await hooks.call_out(caller, "/b", "m", ((), {}), 3.0, True) == 7
    assert cast(float, calls.made.pop()[4]) <= 2.96, "the delay is taken from its time"
    await rig.arm("drop", "f-3", on="calls_out", name="m")
    with pytest.raises(CallTimeout, match=r"/b\.m: no answer within 0.05 s"):
        await hooks.call_out(caller, "/b", "m", ((), {}), 0.05, False)
    assert calls.made == []
    await rig.end()
    assert await hooks.call_out(caller, "/b", "m", ((), {}), 3.0, False) == 7


def test_a_delay_is_never_shorter_where_timers_are_of_whole_milliseconds() -> None:
    async def run() -> None:
        rig = await Rig(None, ()).up()
        try:
            caller = cast(Caller, Calls())
            await rig.arm("delay", on="calls_out", delay="3.3ms")
            for _ in range(40):
                hooks = rig.hooks
                assert hooks is not None
                began = time.monotonic()
                await hooks.call_out(caller, "/b", "m", ((), {}), 3.0, True)
                assert time.monotonic() - began >= 0.0033
        finally:
            await rig.close()

    uvloop.run(run())


async def test_casts_and_items_that_leave_meet_their_own_faults(rig: Rig) -> None:
    calls = Calls()
    caller = cast(Caller, calls)
    await rig.arm("duplicate", on="casts_out", copies=1)
    hooks = rig.hooks
    assert hooks is not None
    hooks.cast_out(caller, "/b", "m", ((1,), {}))
    await rig.until(lambda: calls.made)
    assert calls.made == [("/b", "m", (1,), {}, 1)]
    sent: list[tuple[str, bytes, int | None]] = []

    def send(topic: str, payload: bytes, mark: int | None) -> None:
        sent.append((topic, payload, mark))

    hooks.publish(send, "t", b"1", 1)
    await rig.arm("drop", "f-2", on="published", name="t")
    hooks.publish(send, "t", b"2", 2)
    hooks.publish(send, "u", b"3", None)
    await rig.end()
    hooks.publish(send, "t", b"4", 4)
    hooks.cast_out(caller, "/b", "m", ((), {}))
    assert sent == [("t", b"1", 1), ("u", b"3", None), ("t", b"4", 4)]
    assert calls.made[-1] == ("/b", "m", (), {})


# ---------------------------------------------------------------- the plane


async def test_plane_messages_are_lost_but_never_what_undoes_it(rig: Rig) -> None:
    await rig.arm("drop", on="plane_in", name="*")
    await rig.arm("drop", "f-2", on="plane_out", name="Noted")
    hooks = rig.hooks
    assert hooks is not None
    note, fate = Noted("/a", 7, "k", {}), Retire()

    def play() -> None:
        for message in (fate, FaultsNow(1, b"")):
            hooks.plane_in(b"me", encode(message), message)
            hooks.plane_out(b"other", message)
        hooks.plane_out(b"other", note)

    rig.plane.call_soon(play)
    await rig.armed()
    assert [message for _, message in rig.taken] == [FaultsNow(1, b"")]
    assert [frame for to, frame in rig.frames if to == b"other"] == [encode(fate), encode(FaultsNow(1, b""))]


async def test_a_frame_with_a_changed_byte_is_another_message_or_none(rig: Rig) -> None:
    await rig.arm("corrupt", on="plane_in")
    hooks = rig.hooks
    assert hooks is not None
    note: Message = Noted("/a", 7, "kind", {"n": 1})

    def play() -> None:
        for _ in range(300):
            hooks.plane_in(b"me", encode(note), note)

    rig.plane.call_soon(play)
    await rig.armed()
    assert hooks.malformed > 10
    assert len(rig.taken) > 10
    assert all(message != note for _, message in rig.taken)


# ---------------------------------------------------------------- an actor's own


async def test_an_actor_arms_and_ends_its_own(rig: Rig) -> None:
    await rig.arm("sulk", seconds=30.0)
    assert rig.actor.sulking == ["f-1"]
    assert (await rig.end("f-1")).code == 0
    assert rig.actor.sulking == []
    await rig.arm("sulk", "f-2", 0.05)
    await rig.until(lambda: rig.actor.sulking == [] and rig.hooks is None)


async def test_an_actor_may_refuse_its_own(rig: Rig) -> None:
    rig.actor.keeps = ValueError("no such fault")
    answer = await rig.give(order("hang", "f-0", method="nothing"), order("sulk", how="refuses"))
    assert answer.code == 9023
    assert "I will not" in answer.error
    assert await rig.armed() == [], "nothing is half armed"
    assert (await rig.end("f-1")).code == 0, "what it refused it does not have"


async def test_an_actor_that_does_not_answer_has_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisors.runtime import ownfaults

    monkeypatch.setattr(ownfaults, "_LIMIT", 0.05)
    answer = await rig.give(order("sulk", how="sleeps"))
    assert answer.code == 9023
    assert await rig.armed() == []
    begun = asyncio.ensure_future(rig.give(order("sulk", "f-2")))
    await asyncio.sleep(0.001)
    time.sleep(0.2)  # its loop does not even turn
    answer = await begun
    assert answer.code in (0, 9023)
    await rig.end()


async def test_an_end_that_failed_is_told_and_tried_again(rig: Rig) -> None:
    await rig.arm("sulk")
    rig.actor.keeps = ValueError("no byte comes back")
    for tries in (1, 2):
        answer = await rig.end("f-1")
        assert answer.code == 9023
        assert "no byte comes back" in answer.error
        assert rig.actor.ending == ["f-1"] * tries
    rig.actor.keeps = None
    assert (await rig.end("f-1")).code == 0
    assert rig.actor.sulking == []
    assert (await rig.end("f-1")).code == 0
    assert len(rig.actor.ending) == 3, "what is ended is not asked for again"


async def test_the_answer_waits_until_the_actor_has_ended_it_also_after_its_deadline(rig: Rig) -> None:
    rig.actor.lets_go.clear()
    await rig.arm("sulk", seconds=0.05)
    await rig.until(lambda: rig.actor.ending)
    assert await rig.armed() == []
    asked = [asyncio.ensure_future(rig.end(one)) for one in ("f-1", "")]
    for _ in range(3):
        await rig.armed()  # an answer that did not wait would have come before this one
    assert not any(one.done() for one in asked)
    assert rig.actor.ending == ["f-1"], "one question is enough"
    rig.actor.lets_go.set()
    assert [(await one).code for one in asked] == [0, 0]
    assert rig.actor.sulking == []


async def test_an_end_at_the_deadline_that_failed_is_told_to_who_asks_later(rig: Rig) -> None:
    rig.actor.keeps = ValueError("no byte comes back")
    await rig.arm("sulk", seconds=0.05)
    await rig.until(lambda: rig.defects)
    assert (await rig.end("f-1")).code == 9023


async def test_an_end_that_takes_too_long_counts_once_it_is_done(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisors.runtime import ownfaults

    monkeypatch.setattr(ownfaults, "_LIMIT", 0.05)
    rig.actor.lets_go.clear()
    await rig.arm("sulk")
    answer = await rig.end("f-1")
    assert answer.code == 9023
    rig.actor.lets_go.set()
    assert (await rig.end("f-1")).code == 0
    assert rig.actor.sulking == []


async def test_an_end_is_not_overtaken_by_the_beginning(rig: Rig) -> None:
    given = asyncio.ensure_future(rig.give(order("sulk", how="waits")))
    await rig.until(lambda: rig.actor.begun)
    assert (await rig.end("f-1")).code == 0
    rig.actor.goes_on.set()
    assert (await given).code == 9023
    assert (rig.actor.ending, rig.actor.sulking) == (["f-1"], [])


async def test_a_loop_that_was_blocked_does_not_begin_late(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisors.runtime import ownfaults

    monkeypatch.setattr(ownfaults, "_LIMIT", 0.05)
    codes: list[int] = []
    given = encode_orders((order("sulk"),))
    rig.plane.call_soon(lambda: rig.hand.asked(Arm(1, given), lambda answer: codes.append(answer.code)))
    deadline = time.monotonic() + 10.0
    while not codes and time.monotonic() < deadline:  # in the actor's loop, which does not turn meanwhile
        time.sleep(0.001)
    assert codes == [9023]
    monkeypatch.setattr(ownfaults, "_LIMIT", 10.0)
    assert (await rig.end("f-1")).code == 0
    assert (rig.actor.begun, rig.actor.sulking) == ([], [])
