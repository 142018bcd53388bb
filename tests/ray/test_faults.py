"""Each kind of fault that acts inside processes, armed at real children over the plane: seen rightly, and undone."""

import itertools
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import FaultOrder, Hook
from supervisors.runtime.faultplane import FaultPlane
from supervisors.runtime.store import GoalStore
from supervisors.signals.fault_messages import FaultsNow
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.status import ChildStatus

from .conftest import _run
from .harness import LONG, CallFailed, Running, cli, until

pytestmark = pytest.mark.ray

VICTIM, PEER, LISTENER, BOOK, DESK = "/desk/victim", "/desk/peer", "/desk/listener", "/desk/book", "/desk"
CALM = "/desk/calm"

TOPOLOGY = """
system: faults
spares: 3
metrics: {enabled: false}
faults: {enabled: true}
defaults:
  child: {backoff: null, max_consecutive: null, shutdown: 1s}
  supervisor: {backoff: null, max_consecutive: null, intensity: 1000, period: 10s}
tree:
  intensity: 1000
  children:
    - id: desk
      intensity: 1000
      children:
        - {id: victim, actor: "tests.ray.fault_actors:Victim"}
        - {id: peer, actor: "tests.ray.fault_actors:Victim"}
        - {id: listener, actor: "tests.ray.fault_actors:Listener"}
        - {id: calm, actor: "tests.ray.fault_actors:Victim", heartbeat: {interval: 1s, missed: 30, hang_after: 60s}}
        - id: book
          actor: "examples.ledger:Ledger"
          recovery: {ladder: [warm, cold], checkpoint: {events: 1}}
"""


class Bench:
    """A running system, and a hand to break it with."""

    def __init__(self, system: Running) -> None:
        self.system = system
        self.plane = FaultPlane("test")
        self.store = GoalStore(system.data_dir)
        self._ids = itertools.count(1)

    def endpoint(self, path: str) -> str:
        return self.store.hosts("path=? AND state='claimed'", (path,))[0].endpoint

    def order(self, kind: str, path: str, seconds: float = 20.0, **params: str | float | bool) -> FaultOrder:
        found = CATALOGUE.find(kind) if kind in CATALOGUE else None
        values = found.read(params) if found is not None else dict(params)
        standing = found is not None and found.where == "standing"
        about = path if standing or (found is not None and found.where == "supervisor") else ""
        hooks, slot = (found.hooks, found.slot) if found is not None else ((), "")
        return FaultOrder(
            f"f-{next(self._ids)}", kind, path, values, seconds, hooks, slot, standing=standing, about=about
        )

    def give(self, order: FaultOrder, at: str = "") -> FaultsNow | None:
        """Arm it where it belongs."""
        endpoint = self.endpoint(at or (DESK if order.about else order.path))
        return self.plane.arm([(endpoint, order)], 20.0)[0]

    def arm(self, kind: str, path: str = VICTIM, seconds: float = 20.0, **params: str | float | bool) -> FaultOrder:
        order = self.order(kind, path, seconds, **params)
        answer = self.give(order)
        assert answer is not None, f"{kind}: no answer"
        assert answer.code == 0, f"{kind}: {answer.error}"
        return order

    def end(self, order: FaultOrder) -> None:
        at = DESK if order.about else order.path
        left = self.plane.disarm(self.endpoint(at), order.id, 20.0)
        assert left is not None
        assert left.code == 0, left.error
        assert order.id not in [state.order.id for state in left.states]

    def armed(self, path: str) -> list[str]:
        found = self.plane.armed(self.endpoint(path), 20.0)
        assert found is not None
        return [state.order.kind for state in found]

    def is_clean(self, path: str) -> bool:
        return self.armed(path) == []

    def fired(self, order: FaultOrder) -> TrailEvent:
        def look() -> TrailEvent | None:
            events = self.system.trail(order.path)
            return next((e for e in events if e.kind == EventKind.FAULT_FIRED and e.data["id"] == order.id), None)

        return until(look, f"{order.kind} fired", LONG)


@pytest.fixture(scope="module")
def bench(short_folder: Path) -> Iterator[Bench]:
    for system in _run(short_folder, "faults", TOPOLOGY):
        made = Bench(system)
        for path in (VICTIM, PEER, LISTENER, CALM, BOOK):
            system.ready(path)
        system.ask(VICTIM, "life")  # whoever asks takes seconds to connect
        try:
            yield made
        finally:
            made.plane.close()
            made.store.close()


@pytest.fixture(autouse=True)
def clean(bench: Bench) -> Iterator[None]:
    until(lambda: bench.store.hosts("state='spare'"), "a spare is at hand", 30.0)
    yield
    for path in (VICTIM, PEER, CALM, BOOK, DESK):
        if path != DESK:
            bench.system.ready(path)
        until(partial(bench.is_clean, path), f"{path} is rid of faults", LONG)


def first_signal(bench: Bench, before: ChildStatus, since: float) -> tuple[str, float]:
    """The first signal of that life's failure, and seconds after ``since``."""

    def look() -> TrailEvent | None:
        name = f"{before.path}#{before.incarnation}"
        events = bench.system.trail(before.path, since)
        return next((e for e in events if e.kind == EventKind.FIRST_SIGNAL and e.failure == name), None)

    event = until(look, f"a first signal of {before.path}#{before.incarnation}", LONG)
    return str(event.data["signal"]), event.t - since


@pytest.mark.parametrize(
    ("kind", "path", "params"),
    [
        ("exit", VICTIM, {"code": 3}),
        ("segfault", VICTIM, {}),
        ("oom", VICTIM, {"cap": "40MB"}),
        ("oom", VICTIM, {"cap": "20MB", "end": "raised"}),
        ("raise", VICTIM, {"message": "as ordered"}),
        ("block_loop", VICTIM, {}),
        ("hold_gil", VICTIM, {}),
        ("ray_kill", VICTIM, {}),
        ("suspect", VICTIM, {}),
        ("lose_beats", VICTIM, {}),
    ],
)
def test_a_fault_of_a_process_is_seen_for_what_it_is(
    bench: Bench, kind: str, path: str, params: dict[str, str | float | bool]
) -> None:
    before, since = bench.system.ready(path), time.monotonic()
    order = bench.order(kind, path, 15.0, **params)
    bench.give(order)
    signal, _ = first_signal(bench, before, since)
    assert signal in CATALOGUE.find(kind).detected
    if kind != "hold_gil":  # a process whose lock is held says nothing
        assert bench.fired(order).data["fault"] == kind
    after = bench.system.ready(path, before.incarnation)
    assert after.incarnation == before.incarnation + 1
    assert bench.system.ask(path, "echo", "well") == "well"


def test_a_supervisor_that_exits_is_replaced_and_its_children_live(bench: Bench) -> None:
    before = bench.system.ready(VICTIM)
    root, since = bench.system.supervisor_pid(DESK), time.monotonic()
    bench.give(bench.order("exit", DESK))
    until(lambda: (found := bench.system.supervisor(DESK)) and found.pid not in (0, root), "another process", LONG)
    assert bench.system.event(EventKind.FIRST_SIGNAL, DESK, since).data["signal"] in CATALOGUE.find("exit").detected
    assert bench.system.ready(VICTIM).incarnation == before.incarnation


# ---------------------------------------------------------------- standing


def test_starts_fail_so_often_and_then_no_more(bench: Bench) -> None:
    order = bench.arm("fail_start", seconds=60.0, times=2)
    before = bench.system.kill(VICTIM)
    after = bench.system.ready(VICTIM, before.incarnation)
    assert after.incarnation == before.incarnation + 3, "two starts failed"
    (state,) = bench.plane.armed(bench.endpoint(DESK), 20.0) or []
    assert (state.fired, state.seen) == (2, 2), "counted over all lives"
    bench.end(order)
    assert bench.armed(VICTIM) == [], "the present life is told as well"
    again = bench.system.kill(VICTIM)
    assert bench.system.ready(VICTIM, again.incarnation).incarnation == again.incarnation + 1


def test_a_start_is_slow(bench: Bench) -> None:
    order, since = bench.arm("slow_start", seconds=60.0, delay="700ms"), time.monotonic()
    before = bench.system.kill(VICTIM)
    bench.system.ready(VICTIM, before.incarnation)
    (recovered,) = [e for e in bench.system.trail(VICTIM, since) if e.kind == EventKind.RECOVERED]
    assert isinstance(recovered.data["start_ms"], float)
    assert recovered.data["start_ms"] >= 700
    bench.end(order)


def test_a_crash_loop_takes_one_life_after_the_other(bench: Bench) -> None:
    before = bench.system.ready(VICTIM)
    order = bench.arm("crash_loop", seconds=60.0, after="50ms")
    until(lambda: (c := bench.system.find(VICTIM)) and c.incarnation >= before.incarnation + 3, "three crashes", LONG)
    bench.end(order)
    alive = bench.system.ready(VICTIM, before.incarnation + 2)
    assert bench.system.ask(VICTIM, "life") == [alive.pid, alive.incarnation]


# ---------------------------------------------------------------- between steps


@pytest.mark.parametrize("point", ["append", "checkpoint"])
def test_a_crash_between_two_steps_loses_nothing_that_was_durable(bench: Bench, point: str) -> None:
    system = bench.system
    assert system.ask(BOOK, "post", f"{point}-0", point, "1") == "1"
    before, since = system.ready(BOOK), time.monotonic()
    bench.arm("crash_between", BOOK, point=point)
    # with `append` the caller asks again: the first time is in the journal, so it is not done twice
    assert system.ask(BOOK, "post", f"{point}-1", point, "2", timeout=20.0) == "3"
    signal, _ = first_signal(bench, before, since)
    assert signal in CATALOGUE.find("crash_between").detected
    system.ready(BOOK, before.incarnation)
    assert system.ask(BOOK, "balance", point) == "3"


# ---------------------------------------------------------------- calls and messages


def test_calls_raise_hang_and_are_carried_out_in_the_end(bench: Bench) -> None:
    system = bench.system
    order = bench.arm("raise_call", method="echo", nth=2, message="no, thanks")
    assert system.ask(VICTIM, "echo", "1") == "1"
    with pytest.raises(CallFailed, match="no, thanks"):
        system.ask(VICTIM, "echo", "2")
    bench.end(order)
    carried_out = system.ask(VICTIM, "times")
    order = bench.arm("hang", method="echo")
    with pytest.raises(CallFailed) as failed:
        system.ask(VICTIM, "echo", "3", timeout=0.5)
    assert failed.value.kind == "CallTimeout"
    assert system.ask(VICTIM, "times") == carried_out, "other methods answer"
    bench.end(order)
    until(lambda: system.ask(VICTIM, "times") == int(str(carried_out)) + 1, "the call that hung is carried out")


def test_an_answer_that_is_lost_was_carried_out_once(bench: Bench) -> None:
    system = bench.system
    before = int(str(system.ask(VICTIM, "times")))
    order = bench.arm("lose_reply", method="echo")
    with pytest.raises(CallFailed) as failed:
        system.ask(VICTIM, "echo", "x", timeout=0.5)
    assert failed.value.kind == "CallTimeout"
    assert system.ask(VICTIM, "times") == before + 1
    bench.end(order)
    assert system.ask(VICTIM, "echo", "y") == "y"


@pytest.mark.parametrize("on", ["calls", "calls_out"])
def test_calls_are_late_lost_doubled_corrupted_and_well_again(bench: Bench, on: str) -> None:
    system = bench.system
    # the victim is called, or is the one who calls
    caller, called, target = (PEER, VICTIM, VICTIM) if on == "calls" else (VICTIM, PEER, VICTIM)

    def ask(word: str) -> object:
        return system.ask(caller, "ask", called, word, 0.7 if word == "lost" else 15.0)

    order = bench.arm("delay", target, on=on, name="echo", delay="300ms")
    began = time.monotonic()
    assert ask("late") == "late"
    assert time.monotonic() - began >= 0.3
    bench.end(order)
    order = bench.arm("drop", target, on=on, name="echo")
    assert ask("lost") == "CallTimeout"
    bench.end(order)
    order = bench.arm("duplicate", target, on=on, name="echo", copies=2)
    before = int(str(system.ask(called, "times")))
    assert ask("twice") == "twice"
    assert system.ask(called, "times") == before + 1, "a double of one call is carried out once"
    bench.end(order)
    order = bench.arm("corrupt", target, on=on, name="echo")
    changed = str(ask("word"))
    assert changed != "word"
    assert len(changed) == 4
    bench.end(order)
    assert ask("well") == "well"


def test_casts_are_lost_and_published_items_change_places(bench: Bench) -> None:
    system = bench.system
    before = int(str(system.ask(PEER, "times")))
    order = bench.arm("drop", on="casts_out")
    system.ask(VICTIM, "tell", PEER, "lost")
    bench.end(order)
    system.ask(VICTIM, "tell", PEER, "heard")
    until(lambda: system.ask(PEER, "times") == before + 1, "one of two casts arrives")

    def connected() -> bool:
        system.ask(VICTIM, "say", [0])
        return bool(system.ask(LISTENER, "heard"))

    until(connected, "the listener hears the victim")
    system.ask(LISTENER, "forget")
    order = bench.arm("reorder", on="published", behind=2, hold="5s")
    system.ask(VICTIM, "say", [1, 2, 3])

    def heard() -> list[object]:
        found = system.ask(LISTENER, "heard")
        assert isinstance(found, list)
        return [word for word in found if word != "0"]  # of before, and late

    until(lambda: heard() == ["2", "3", "1"], f"in that order: {heard()}")
    bench.end(order)


def test_plane_messages_are_lost_but_never_those_that_undo_it(bench: Bench) -> None:
    before, since = bench.system.ready(VICTIM), time.monotonic()
    bench.arm("drop", on="plane_out", name="*", seconds=20.0)
    assert bench.armed(VICTIM) == ["drop"], "it still answers"
    signal, _ = first_signal(bench, before, since)
    assert signal == "missed_beats"
    bench.system.ready(VICTIM, before.incarnation)
    order = bench.arm("delay", on="plane_out", name="Beat", delay="50ms")
    bench.end(order)


def test_an_order_to_stop_is_ignored_until_the_time_is_over(bench: Bench) -> None:
    before, since = bench.system.ready(PEER), time.monotonic()
    bench.arm("ignore_stop", PEER)
    for word in ("stop", "restart"):
        done = cli("child", word, PEER, "--data-dir", str(bench.system.data_dir))
        assert done.returncode == 0, done.stdout + done.stderr
    bench.system.ready(PEER, before.incarnation)
    assert EventKind.CHILD_KILLED in bench.system.kinds(PEER, since), "it had to be killed"


def test_pauses_of_the_collector_within_what_a_child_is_allowed_are_no_failure_and_end(bench: Bench) -> None:
    before = bench.system.ready(CALM)
    order = bench.arm("gc_pause", CALM, objects=200_000)
    assert bench.fired(order).data["fault"] == "gc_pause"
    assert bench.system.ask(CALM, "echo", "word") == "word"
    bench.end(order)
    assert bench.system.ready(CALM).incarnation == before.incarnation


def test_the_clock_of_an_actor_jumps_and_comes_back(bench: Bench) -> None:
    order = bench.arm("clock_jump", by="1h", clock="wall")
    wall = bench.system.ask(VICTIM, "wall")
    assert isinstance(wall, list)
    assert wall[1] - time.time() == pytest.approx(3600, abs=60)
    bench.end(order)
    wall = bench.system.ask(VICTIM, "wall")
    assert isinstance(wall, list)
    assert wall[1] - time.time() == pytest.approx(0, abs=60)


# ---------------------------------------------------------------- an actor's own, and what is refused


def test_an_actor_carries_out_its_own_and_ends_it_at_its_deadline(bench: Bench) -> None:
    bench.arm("slander", seconds=2.0, word="nonsense")
    assert bench.system.ask(VICTIM, "echo", "sense") == "nonsense"
    until(lambda: bench.system.ask(VICTIM, "echo", "sense") == "sense", "it is over")
    answer = bench.give(bench.order("slander", VICTIM, word="refuse"))
    assert answer is not None
    assert (answer.code, bench.armed(VICTIM)) == (9023, [])
    assert "not that word" in answer.error
    answer = bench.give(bench.order("slander", VICTIM, word="late"))
    assert answer is not None
    assert (answer.code, bench.armed(VICTIM)) == (9023, [])


@pytest.mark.parametrize(
    ("kind", "path", "at", "code"),
    [
        ("exit", "/desk/other", VICTIM, 9026),
        ("lose_beats", "/desk/nobody", DESK, 9024),
        ("lose_beats", VICTIM, VICTIM, 9025),
    ],
)
def test_what_cannot_be_done_is_refused(bench: Bench, kind: str, path: str, at: str, code: int) -> None:
    answer = bench.give(bench.order(kind, path), at)
    assert answer is not None
    assert answer.code == code
    assert FaultError(answer.error, code=answer.code).code == code
    assert bench.armed(at) == []


def test_two_of_one_slot_exclude_each_other_and_nothing_is_half_armed(bench: Bench) -> None:
    first = bench.arm("hang", method="nothing")
    answer = bench.give(bench.order("raise_call", VICTIM))
    assert answer is not None
    assert answer.code == 9010
    assert first.id in answer.fix
    assert bench.armed(VICTIM) == ["hang"]
    bench.end(first)
    assert Hook.CALL_IN not in bench.armed(VICTIM)
