"""The connection budget: shared by processes, kept across restarts, deaf to jumps of the wall clock."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.connectors import budget as module
from actors.connectors.budget import BudgetConfig, ConnectionBudget, age_of, wait_for
from actors.testing import ManualClock


class TwoClocks(ManualClock):
    """Wall and monotonic time that move apart."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = 5_000.0

    def utc_ns(self) -> int:
        return int((self.wall + self.now) * 1e9)


def make(tmp_path: Path, clock: ManualClock, connections: int = 3, period: float = 10.0) -> ConnectionBudget:
    return ConnectionBudget(tmp_path, BudgetConfig(name="t", connections=connections, period=period), clock)


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 10), st.floats(1, 50))
def test_window_lets_in_exactly_what_fits(ages: list[float], limit: int, period: float) -> None:
    wait = wait_for(ages, limit, period)
    inside = sum(1 for age in ages if age < period)
    assert (wait == 0.0) == (inside < limit)
    # after the wait one fits, a little before it does not
    assert sum(1 for age in ages if age + wait * 1.000001 + 1e-9 < period) < limit
    if wait > 1e-6:
        assert sum(1 for age in ages if age + wait * 0.999 < period) >= limit


async def test_spends_waits_and_is_refilled(tmp_path: Path) -> None:
    clock = ManualClock()
    budget = make(tmp_path, clock)
    for _ in range(3):
        assert await budget.acquire() == 0.0
        clock.advance(1.0)
    assert await budget.acquire() == pytest.approx(7.0, abs=1e-6)
    assert budget.used() == 3
    clock.advance(7.0)
    assert await budget.acquire() == 0.0
    assert await budget.acquire() == pytest.approx(1.0, abs=1e-6)


async def test_survives_its_process_and_is_shared(tmp_path: Path) -> None:
    clock = ManualClock()
    for _ in range(3):
        assert await make(tmp_path, clock).acquire() == 0.0
    assert await make(tmp_path, clock).acquire() > 0


async def test_jumps_of_the_wall_clock_change_nothing(tmp_path: Path) -> None:
    clock = TwoClocks()
    budget = make(tmp_path, clock)
    for _ in range(3):
        await budget.acquire()
    for jump in (1e6, -2e6):
        clock.wall += jump
        assert await budget.acquire() == pytest.approx(10.0, abs=1e-6)


async def test_records_of_an_earlier_boot_age_by_the_wall_clock_and_never_lock_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = TwoClocks()
    clock.now = 5000.0
    before = make(tmp_path, clock)
    for _ in range(3):
        await before.acquire()
    other = tmp_path / "boot"
    other.write_text("11111111-2222-3333-4444-555555555555\n")
    monkeypatch.setattr(module, "_BOOT_ID", other)
    clock.wall += clock.now + 2.0 - 1.0
    clock.now = 1.0  # rebooted; 2 s of wall time have passed
    assert await make(tmp_path, clock).acquire() == pytest.approx(8.0, abs=0.01)
    clock.wall -= 1e6  # the wall clock is far behind after the boot: the uptime counts
    assert await make(tmp_path, clock).acquire() == pytest.approx(9.0, abs=0.01)
    clock.advance(9.1)
    assert await make(tmp_path, clock).acquire() == 0.0


def test_age_is_never_negative() -> None:
    assert age_of(100, 50, same_boot=True, now_wall_ns=0, now_mono_ns=10) == 0.0
    assert age_of(10**18, 0, same_boot=False, now_wall_ns=0, now_mono_ns=3 * 10**9) == 3.0


async def test_torn_and_damaged_records_are_passed_over(tmp_path: Path) -> None:
    clock = ManualClock()
    budget = make(tmp_path, clock)
    await budget.acquire()
    file = tmp_path / "t.attempts"
    file.write_bytes(file.read_bytes() + b"torn")
    assert await budget.acquire() == 0.0
    assert budget.used() == 2
    file.write_bytes(b"\xff" * 64 + file.read_bytes())
    assert budget.used() == 2


async def test_file_stays_small(tmp_path: Path) -> None:
    clock = ManualClock()
    budget = make(tmp_path, clock)
    for _ in range(200):
        assert await budget.acquire() == 0.0
        clock.advance(4.0)
    assert (tmp_path / "t.attempts").stat().st_size <= 32 * 14
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.attempts", "t.lock"]


async def test_a_stopped_holder_of_the_lock_stops_no_one(tmp_path: Path) -> None:
    clock = ManualClock()
    budget = make(tmp_path, clock)
    lock = os.open(tmp_path / "t.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = asyncio.create_task(budget.acquire())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        clock.advance(3.0)
        assert await asyncio.wait_for(waiting, 5) == 0.0
        assert budget.used() == 1
    finally:
        os.close(lock)


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, sys, time\n"
        "f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(f, fcntl.LOCK_EX)\n"
        "sys.stdout.write('held\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "t.lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert asyncio.run(make(tmp_path, ManualClock()).acquire()) == 0.0


async def test_concurrent_attempts_never_exceed_the_budget(tmp_path: Path) -> None:
    clock = ManualClock()
    budgets = [make(tmp_path, clock, connections=5) for _ in range(20)]
    waits = await asyncio.gather(*(budget.acquire() for budget in budgets))
    assert sum(1 for wait in waits if wait == 0.0) == 5
