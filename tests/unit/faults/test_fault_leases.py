"""Faults at the lease store's port, and what a keeper makes of them."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisors.core.errors import StoreUnavailable
from supervisors.faults.clock import FaultClock
from supervisors.faults.leases import FaultLeases
from supervisors.recovery.policy import LeaseSpec
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.leasing import Leases
from supervisors.runtime.store import HostRow
from supervisors.spec.compiled import FaultsSpec, SystemSpec
from supervisors.state.keeper import LeaseKeeper
from supervisors.state.lease_file import FileLeaseStore
from supervisors.state.leases import BOOT_CLOCK, Grant, Held

from .arming import Rig

SPEC = LeaseSpec(renew=0.1, expire=1.0, margin=0.3)


def stores(tmp_path: Path, rig: Rig) -> tuple[FaultLeases, FileLeaseStore]:
    """The one a target has, and what others see."""
    return FaultLeases(FileLeaseStore(tmp_path), rig.slot), FileLeaseStore(tmp_path)


def granted(answer: Grant | Held) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def calls(store: FaultLeases, token: int) -> dict[str, Callable[[], object]]:
    return {
        "acquire": lambda: store.acquire("/a", "me", 5.0),
        "reserve": lambda: store.reserve("/a"),
        "renew": lambda: store.renew("/a", "me", token, 5.0),
        "read": lambda: store.read("/a"),
        "rows": store.rows,
        "release": lambda: store.release("/a", "me", token),
    }


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.002)


def test_down_nothing_is_done(tmp_path: Path) -> None:
    rig = Rig()
    store, others = stores(tmp_path, rig)
    grant = granted(store.acquire("/a", "me", 5.0))
    before = others.read("/a")
    rig.arm("lease_down")
    for name, call in calls(store, grant.token).items():
        with pytest.raises(StoreUnavailable, match="down"):
            call()
        now = others.read("/a")
        assert now is not None
        assert before is not None
        assert (now.token, now.renewals, now.released) == (before.token, before.renewals, before.released), name
    rig.end()
    assert store.renew("/a", "me", grant.token, 5.0)


def test_cut_off_it_is_done_and_nobody_is_told(tmp_path: Path) -> None:
    rig = Rig()
    store, others = stores(tmp_path, rig)
    rig.arm("lease_cut")
    with pytest.raises(StoreUnavailable, match="lost"):
        store.acquire("/a", "me", 5.0)
    row = others.read("/a")
    assert row is not None
    assert (row.holder, row.token) == ("me", 1)
    with pytest.raises(StoreUnavailable):
        store.renew("/a", "me", 1, 5.0)
    row = others.read("/a")
    assert row is not None
    assert row.renewals == 1
    with pytest.raises(StoreUnavailable):
        store.release("/a", "me", 1)
    row = others.read("/a")
    assert row is not None
    assert row.released
    rig.end()
    assert granted(store.acquire("/a", "me", 5.0)).token == 2


def test_slow_it_is_done_and_the_answer_comes_late(tmp_path: Path) -> None:
    rig = Rig()
    store, _ = stores(tmp_path, rig)
    busy = [store.busy]
    rig.arm("lease_slow", delay="50ms")
    busy.append(store.busy)
    began = time.monotonic()
    grant = granted(store.acquire("/a", "me", 5.0))
    assert time.monotonic() - began >= 0.05
    assert grant.asked_at <= BOOT_CLOCK.monotonic() - 0.05, "the holder's time counts from when it asked"
    rig.end()
    busy.append(store.busy)
    assert busy == [False, True, False]


def test_no_call_takes_much_longer_than_a_second(tmp_path: Path) -> None:
    rig = Rig()
    store, others = stores(tmp_path, rig)
    rig.arm("lease_slow", delay="60s")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="no answer within 1 s"):
        store.acquire("/a", "me", 5.0)
    assert time.monotonic() - began < 30
    assert others.read("/a") is not None, "it was done"


def test_a_call_that_waits_goes_on_when_the_fault_ends(tmp_path: Path) -> None:
    took: list[float] = []
    for one in ("1", "2", "3"):  # of a few: one alone may have waited for the processor
        took.append(_seconds_of_a_call_that_waits(tmp_path / one))
        if took[-1] < 0.8:
            return
    pytest.fail(f"each of them waited to the end: {took}")


def _seconds_of_a_call_that_waits(folder: Path) -> float:
    folder.mkdir()
    rig = Rig()
    store, _ = stores(folder, rig)
    rig.arm("lease_slow", delay="900ms")
    answers: list[Grant | Held] = []
    thread = threading.Thread(target=lambda: answers.append(store.acquire("/a", "me", 5.0)))
    began = time.monotonic()
    thread.start()
    until(lambda: rig.fired)
    rig.end()
    thread.join(5.0)
    assert granted(answers[0]).token == 1
    return time.monotonic() - began


class Told:
    def __init__(self) -> None:
        self.lost: list[str] = []
        self.words: list[str] = []

    def noted(self, what: str, data: Mapping[str, str | int | float | bool]) -> None:
        self.words.append(what)


def keeper_of(store: FaultLeases, told: Told) -> LeaseKeeper:
    grant = granted(store.acquire("/a", "me", SPEC.expire))
    keeper = LeaseKeeper(
        store, "/a", "me", grant.token, SPEC, lost=told.lost.append, noted=told.noted, asked_at=grant.asked_at
    )
    keeper.start()
    return keeper


@pytest.mark.parametrize("kind", ["lease_down", "lease_slow"])
def test_a_holder_rides_out_a_short_outage(tmp_path: Path, kind: str) -> None:
    rig, told = Rig(), Told()
    store, others = stores(tmp_path, rig)
    keeper = keeper_of(store, told)
    try:
        if kind == "lease_slow":
            rig.arm(kind, delay="200ms")
        else:
            rig.arm(kind)
        until(lambda: told.words)
        rig.end()
        until(lambda: told.words[-1] == "store_back")
        assert keeper.may_act
        assert isinstance(others.acquire("/a", "rival", 1.0), Held)
    finally:
        keeper.stop()
    assert told.lost == []


@pytest.mark.parametrize("kind", ["lease_down", "lease_cut", "lease_slow"])
def test_a_holder_without_answers_stops_before_anybody_else_may_act(tmp_path: Path, kind: str) -> None:
    rig, told = Rig(), Told()
    store, others = stores(tmp_path, rig)
    keeper = keeper_of(store, told)
    try:
        if kind == "lease_slow":
            rig.arm(kind, delay="5s")
        else:
            rig.arm(kind)
        answer: Grant | Held = others.acquire("/a", "rival", 1.0)
        give_up = time.monotonic() + 10
        while isinstance(answer, Held) and not told.lost:
            assert time.monotonic() < give_up
            time.sleep(0.002)
            answer = others.acquire("/a", "rival", 1.0)
        assert not keeper.may_act
        assert isinstance(answer, Held), "it stops a margin before its lease ends"
    finally:
        keeper.stop()
    assert len(told.lost) == 1


def test_leases_do_not_mind_the_actors_clock(tmp_path: Path) -> None:
    """Jumps and drift of ``ctx.clock`` reach neither the keeper nor the store: both have clocks of their own."""
    rig, told = Rig(SystemClock()), Told()
    store, others = stores(tmp_path, rig)
    actors = FaultClock(SystemClock(), rig.slot)
    keeper = keeper_of(store, told)
    try:
        for number, by in enumerate(("-3600s", "3600s")):
            rig.arm("clock_jump", f"f-{number}", by=by, clock="both")
            apart = actors.monotonic() - time.monotonic()
            assert abs(apart) > 3000
            renewed = keeper.until
            until(lambda renewed=renewed: keeper.until > renewed)  # type: ignore[misc]
            assert keeper.may_act
            assert isinstance(others.acquire("/a", "rival", 1.0), Held)
            assert abs(keeper.until - BOOT_CLOCK.monotonic()) < SPEC.expire
            rig.end(f"f-{number}")
            actors.monotonic()
    finally:
        keeper.stop()
    assert told.lost == []
    assert told.words == []


@pytest.mark.parametrize("kind", ["lease_slow", "lease_down", ""])
def test_a_supervisors_plane_does_not_wait_for_a_faulty_store(tmp_path: Path, kind: str) -> None:
    """With a fault the request is another thread's; without one it is answered at once, in the plane's own."""
    rig = Rig()
    asked_in: list[str] = []
    later: list[Callable[[], None]] = []

    def next_epoch() -> int:
        asked_in.append(threading.current_thread().name)
        return 7

    with ThreadPoolExecutor(1, thread_name_prefix="factory") as executor:
        shell = SimpleNamespace(
            system=SystemSpec(state="file", faults=FaultsSpec(enabled=True)),
            boot=SimpleNamespace(data_dir=str(tmp_path)),
            fault_slot=rig.slot,
            executor=executor,
            loop=SimpleNamespace(call_soon=later.append, call_later=lambda wait, then: later.append(then)),
            store=SimpleNamespace(next_epoch=next_epoch),
            child_path=lambda child_id: f"/{child_id}",
            machine=SimpleNamespace(ended=False),
            recovering=SimpleNamespace(not_begun=lambda peer: None),
            write=lambda *event, **more: None,
        )
        leases = Leases(shell)  # type: ignore[arg-type]
        peer = SimpleNamespace(id="a", incarnation=1, gone=False, holder="", epoch=0, leased_at=0.0)
        told: list[int] = []
        if kind == "lease_slow":
            rig.arm(kind, delay="900ms")
        elif kind:
            rig.arm(kind)
        began = time.monotonic()
        row = HostRow("host", "actor", os.getpid(), 1, "node")
        leases.grant(peer, row, LeaseSpec(), lambda: told.append(peer.epoch))  # type: ignore[arg-type]
        assert time.monotonic() - began < 0.8
        if not kind:
            assert told == [7]
            assert asked_in == [threading.current_thread().name]
            return
        until(lambda: later)
        rig.end()
        while later:
            later.pop()()
        assert told == [7]
        assert (asked_in[0].startswith("factory")) == (kind == "lease_slow")
