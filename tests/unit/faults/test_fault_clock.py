"""Faults of an actor's clock: what jumps, what drifts, what never goes back."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.faults.board import FaultSlot
from supervisors.faults.clock import FaultClock
from supervisors.runtime.clock import SystemClock
from supervisors.testing.clock import ManualClock

from .arming import Rig

UTC = 1_000_000_000_000_000_000


def rig_and_clock() -> tuple[Rig, ManualClock, FaultClock]:
    real = ManualClock(100.0, UTC)
    rig = Rig(real)
    return rig, real, FaultClock(real, rig.slot)


def wall(clock: FaultClock) -> float:
    """Seconds of its wall clock since the beginning of the test."""
    return (clock.utc_ns() - UTC) / 1e9


def test_with_nothing_armed_it_is_the_real_one() -> None:
    real = ManualClock(100.0, UTC)
    clock = FaultClock(real, FaultSlot())
    real.advance(1.5)
    assert (clock.monotonic(), clock.utc_ns()) == (real.monotonic(), real.utc_ns())


def test_the_wall_clock_jumps_and_is_right_again_at_the_end() -> None:
    for by in (3600.0, -3600.0):
        rig, real, clock = rig_and_clock()
        rig.arm("clock_jump", by=by)
        real.advance(1.0)
        assert wall(clock) == 1.0 + by
        assert clock.monotonic() == 101.0, "the other clock is not meant"
        assert rig.fired == ["f-1"]
        real.advance(9.0)
        assert rig.expire() == ["f-1"]
        assert wall(clock) == 10.0
        assert clock.monotonic() == 110.0


def test_a_monotonic_jump_forward_stays_and_one_back_is_undone() -> None:
    rig, real, clock = rig_and_clock()
    rig.arm("clock_jump", by=50.0, clock="monotonic")
    assert clock.monotonic() == 150.0
    assert wall(clock) == 0.0
    real.advance(2.0)
    rig.end()
    assert clock.monotonic() == 152.0, "taking it back would be going back"
    rig.arm("clock_jump", "f-2", by=-70.0, clock="both")
    assert clock.monotonic() == 82.0, "back, for that is the fault"
    assert wall(clock) == -68.0
    real.advance(10.0)
    rig.end("f-2")
    assert clock.monotonic() == 162.0
    assert wall(clock) == 12.0


@pytest.mark.parametrize("rate", [0.01, 0.5, 2.0, 100.0])
def test_drift_begins_and_ends_without_a_step(rate: float) -> None:
    rig, real, clock = rig_and_clock()
    real.advance(1.0)
    assert clock.monotonic() == 101.0
    rig.arm("clock_drift", rate=rate, clock="both")
    assert clock.monotonic() == pytest.approx(101.0)
    real.advance(4.0)
    assert clock.monotonic() == pytest.approx(101.0 + 4.0 * rate)
    assert wall(clock) == pytest.approx(1.0 + 4.0 * rate)
    real.advance(6.0)
    rig.expire()
    assert clock.monotonic() == pytest.approx(101.0 + 10.0 * rate)
    real.advance(1.0)
    assert clock.monotonic() == pytest.approx(102.0 + 10.0 * rate), "at the right speed from where it was"
    assert wall(clock) == pytest.approx(12.0)


def test_drift_of_one_that_is_seldom_read_counts_from_when_it_was_armed_to_its_end() -> None:
    rig, real, clock = rig_and_clock()
    rig.arm("clock_drift", rate=3.0)
    real.advance(4.0)
    assert clock.monotonic() == pytest.approx(112.0)
    real.advance(60.0)
    assert clock.monotonic() == pytest.approx(100.0 + 64.0 + 20.0), "it was over after 10 s, though not yet disarmed"
    rig.expire()
    assert clock.monotonic() == pytest.approx(184.0)


def test_one_that_never_comes_to_act_changes_nothing() -> None:
    from msgspec.structs import replace

    from .arming import order_of

    rig, real, clock = rig_and_clock()
    rig.give(replace(order_of("clock_drift", rate=2.0), probability=0.0))
    real.advance(5.0)
    assert clock.monotonic() == 105.0
    assert rig.fired == []


steps = st.one_of(
    st.tuples(st.just("advance"), st.floats(0, 20)),
    st.tuples(st.just("drift"), st.floats(0.01, 100.0)),
    st.tuples(st.just("jump"), st.floats(0.0, 1e6)),
    st.tuples(st.just("end"), st.just(0.0)),
    st.tuples(st.just("expire"), st.just(0.0)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(steps, st.booleans()), max_size=30))
def test_the_monotonic_clock_never_goes_back_by_drift_or_by_an_end(
    todo: list[tuple[tuple[str, float], bool]],
) -> None:
    rig, real, clock = rig_and_clock()
    last, number = clock.monotonic(), 0
    for (what, value), look in todo:
        match what:
            case "advance":
                real.advance(value)
            case "drift" | "jump":
                rig.end(f"f-{number}")
                number += 1
                if what == "drift":
                    rig.arm("clock_drift", f"f-{number}", rate=value)
                else:
                    rig.arm("clock_jump", f"f-{number}", by=value, clock="both")
            case "end":
                rig.end(f"f-{number}")
            case _:
                rig.expire()
        if look:
            now = clock.monotonic()
            assert now >= last
            last = now
    rig.end(f"f-{number}")
    before = clock.monotonic()
    assert before >= last
    real.advance(1.0)
    assert clock.monotonic() - before == pytest.approx(1.0, abs=1e-6), "and it runs at the right speed again"
    assert clock.utc_ns() == real.utc_ns()


def test_threads_may_read_it_while_faults_come_and_go() -> None:
    rig = Rig(SystemClock())
    clock = FaultClock(SystemClock(), rig.slot)
    wrong: list[float] = []
    stop = threading.Event()

    def look() -> None:
        last = clock.monotonic()
        while not stop.is_set():
            now = clock.monotonic()
            if now < last:
                wrong.append(last - now)
            last = now
            clock.utc_ns()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(200):
        rig.arm("clock_drift", f"f-{number}", rate=(0.01, 50.0)[number % 2])
        clock.monotonic()
        rig.end(f"f-{number}")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
