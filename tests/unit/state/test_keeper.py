"""The keeper of a lease with its threads, on scripted stores and in real time (STA-4)."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from supervisors.core.errors import StoreUnavailable
from supervisors.recovery.policy import LeaseSpec, StoreLoss
from supervisors.state.keeper import LeaseKeeper
from supervisors.state.lease import check_timing
from supervisors.state.lease_file import FileLeaseStore
from supervisors.state.leases import BOOT_CLOCK, Grant, Held, LeaseRow

SPEC = LeaseSpec(renew=0.05, expire=0.5, margin=0.1)
PATIENCE = 30.0


class ScriptedStore:
    """A store that answers renewals as told."""

    def __init__(self) -> None:
        self.answer: bool | str = True  #: a text: it is down
        self.hang = threading.Event()
        self.hang.set()
        self.renewals = 0
        self.released: list[int] = []

    def acquire(self, path: str, holder: str, ttl: float, *, proved_dead: str = "", floor: int = 0) -> Grant | Held:
        raise NotImplementedError

    def reserve(self, path: str, count: int = 8) -> None:
        raise NotImplementedError

    def renew(self, path: str, holder: str, token: int, ttl: float) -> bool:
        assert (path, holder, token, ttl) == ("/a", "one", 7, SPEC.expire)
        self.renewals += 1
        assert self.hang.wait(PATIENCE)
        if isinstance(self.answer, str):
            raise StoreUnavailable(self.answer)
        return self.answer

    def release(self, path: str, holder: str, token: int) -> None:
        if isinstance(self.answer, str):
            raise StoreUnavailable(self.answer)
        self.released.append(token)

    def read(self, path: str) -> LeaseRow | None:
        raise NotImplementedError

    def rows(self) -> list[LeaseRow]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Rig:
    """A keeper and what it told."""

    def __init__(self) -> None:
        self.store = ScriptedStore()
        self.lost: list[str] = []
        self.acted_when_lost: list[bool] = []
        self.lost_at = 0.0
        self.noted: list[tuple[str, Mapping[str, str | int | float | bool]]] = []
        self.agree = False
        self.keeper: LeaseKeeper | None = None

    def begin(self, *, asked_ago: float | None = 0.0, spec: LeaseSpec = SPEC) -> LeaseKeeper:
        self.keeper = LeaseKeeper(
            self.store,
            "/a",
            "one",
            7,
            spec,
            lost=self.on_lost,
            noted=lambda what, data: self.noted.append((what, data)),
            peers_agree=lambda: self.agree,
            asked_at=None if asked_ago is None else BOOT_CLOCK.monotonic() - asked_ago,
        )
        self.keeper.start()
        return self.keeper

    def on_lost(self, why: str) -> None:
        assert self.keeper is not None
        self.lost_at = BOOT_CLOCK.monotonic()
        self.acted_when_lost.append(self.keeper.may_act)
        self.lost.append(why)

    def words(self) -> list[str]:
        return [what for what, _ in self.noted]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.store.hang.set()
    if rig.keeper is not None:
        rig.keeper.stop()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lease ")]


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.002)


def test_these_tests_use_times_that_pass_the_check() -> None:
    assert check_timing(SPEC.renew, SPEC.expire, SPEC.margin) == ""


def test_with_a_fresh_grant_it_acts_from_the_start_and_goes_on(rig: Rig) -> None:
    keeper = rig.begin()
    assert keeper.may_act
    first = keeper.until
    until(lambda: keeper.until > first + 3 * SPEC.expire)
    assert keeper.may_act
    assert rig.lost == []
    assert rig.noted == []


def test_a_grant_from_elsewhere_is_confirmed_first(rig: Rig) -> None:
    rig.store.hang.clear()
    keeper = rig.begin(asked_ago=None)
    until(lambda: rig.store.renewals == 1)
    assert not keeper.may_act
    rig.store.hang.set()
    until(lambda: keeper.may_act)


def test_a_grant_asked_for_too_long_ago_never_acts(rig: Rig) -> None:
    keeper = rig.begin(asked_ago=SPEC.expire - SPEC.margin)
    assert not keeper.may_act
    until(lambda: rig.lost)
    assert not keeper.may_act


def test_the_time_of_a_grant_counts_from_when_it_was_asked_for(rig: Rig) -> None:
    rig.store.hang.clear()
    before = BOOT_CLOCK.monotonic()
    keeper = rig.begin(asked_ago=0.3)
    assert keeper.until == pytest.approx(before - 0.3 + 0.4, abs=0.05)


def test_a_refusal_stops_it_once(rig: Rig) -> None:
    keeper = rig.begin()
    rig.store.answer = False
    until(lambda: rig.lost)
    assert not keeper.may_act
    assert rig.acted_when_lost == [False]
    assert len(rig.lost) == 1
    assert rig.words() == ["lost"]
    assert rig.noted[0][1]["token"] == 7


def test_a_store_that_is_down_is_told_once_and_so_is_its_return(rig: Rig) -> None:
    keeper = rig.begin(spec=LeaseSpec(renew=0.02, expire=0.5, margin=0.1))
    rig.store.answer = "connection refused"
    asked = rig.store.renewals
    until(lambda: rig.store.renewals > asked + 4)
    rig.store.answer = True
    until(lambda: "store_back" in rig.words())
    assert rig.words() == ["store_down", "store_back"]
    assert rig.noted[0][1]["why"] == "connection refused"
    assert rig.noted[1][1]["after_s"] > 0  # type: ignore[operator]
    assert keeper.may_act
    assert rig.lost == []


def test_a_store_that_stays_down_stops_it_at_the_deadline(rig: Rig) -> None:
    keeper = rig.begin()
    until(lambda: rig.store.renewals > 2)
    rig.store.answer = "down"
    until(lambda: rig.words() == ["store_down"])
    deadline = keeper.until
    assert keeper.may_act
    until(lambda: rig.lost)
    assert rig.lost_at >= deadline
    assert rig.acted_when_lost == [False]
    assert rig.words() == ["store_down", "lost"]


def test_a_store_that_hangs_delays_nothing(rig: Rig) -> None:
    """``lost`` is told though the thread that asks the store never comes back."""
    keeper = rig.begin()
    rig.store.hang.clear()
    until(lambda: rig.lost)
    assert rig.words() == ["store_down", "lost"]
    assert "no answer for" in str(rig.noted[0][1]["why"])
    assert not keeper.may_act


def test_with_peers_that_agree_it_acts_on_without_a_store(rig: Rig) -> None:
    rig.agree = True
    keeper = rig.begin(spec=LeaseSpec(0.1, 0.5, 0.1, StoreLoss.CONTINUE))
    rig.store.hang.clear()
    rig.store.answer = "down"
    until(lambda: "store_down" in rig.words())
    lease_ends = keeper.until
    until(lambda: BOOT_CLOCK.monotonic() > lease_ends + 0.6)
    assert keeper.may_act
    assert rig.lost == []
    rig.agree = False
    until(lambda: rig.lost)
    assert "not all peers agree" in rig.lost[0]


def test_stop_ends_all_and_gives_the_lease_back(rig: Rig) -> None:
    keeper = rig.begin()
    keeper.stop()
    assert not keeper.may_act
    assert rig.store.released == [7]
    keeper.stop()
    assert rig.store.released == [7]
    assert rig.lost == []


def test_stop_may_leave_the_lease(rig: Rig) -> None:
    rig.begin().stop(release=False)
    assert rig.store.released == []


def test_stop_does_not_mind_a_store_that_is_down_or_hangs(rig: Rig) -> None:
    keeper = rig.begin()
    rig.store.answer = "down"
    keeper.stop()
    assert rig.store.released == []


def test_stop_waits_for_a_hanging_store_no_longer_than_told(rig: Rig) -> None:
    keeper = rig.begin()
    rig.store.hang.clear()
    asked = rig.store.renewals
    until(lambda: rig.store.renewals > asked)
    before = time.monotonic()
    keeper.stop(timeout=0.05)
    assert time.monotonic() - before < 5.0
    assert not keeper.may_act
    assert rig.store.released == []


def test_a_lost_lease_is_not_given_back(rig: Rig) -> None:
    keeper = rig.begin()
    rig.store.answer = False
    until(lambda: rig.lost)
    rig.store.answer = True
    keeper.stop()
    assert rig.store.released == []


def test_it_may_be_stopped_from_within_lost(rig: Rig) -> None:
    done = threading.Event()
    keeper = rig.begin()
    keeper._lost = lambda why: (keeper.stop(), done.set())  # type: ignore[assignment,func-returns-value]
    rig.store.answer = False
    assert done.wait(PATIENCE)


def test_looking_at_it_costs_next_to_nothing(rig: Rig) -> None:
    keeper = rig.begin()
    best = min(_time_of(keeper) for _ in range(20))
    assert best < 20e-6


def _time_of(keeper: LeaseKeeper) -> float:
    before = time.perf_counter()
    for _ in range(100):
        assert keeper.may_act or keeper.may_act is False
    return (time.perf_counter() - before) / 100


def test_two_keepers_on_one_file_store_never_act_at_once(tmp_path: Path) -> None:
    """A holder whose keeper is starved is followed by another, and never both say yes."""
    store = FileLeaseStore(tmp_path)
    spec = LeaseSpec(renew=0.02, expire=0.2, margin=0.05)
    keepers: list[LeaseKeeper] = []
    losses: list[str] = []
    for number in range(5):
        give_up = time.monotonic() + PATIENCE
        while not isinstance(grant := store.acquire("/a", f"life {number}", spec.expire), Grant):
            assert sum(keeper.may_act for keeper in keepers) <= 1
            assert time.monotonic() < give_up
            time.sleep(0.001)
        assert not any(keeper.may_act for keeper in keepers)
        keeper = LeaseKeeper(
            _StarvedStore(store, after=3),
            "/a",
            f"life {number}",
            grant.token,
            spec,
            lost=losses.append,
            noted=lambda what, data: None,
            asked_at=grant.asked_at,
        )
        keeper.start()
        keepers.append(keeper)
    until(lambda: len(losses) == 5)
    for keeper in keepers:
        keeper.stop()


class _StarvedStore(ScriptedStore):
    """Renews a few times, then is cut off."""

    def __init__(self, below: FileLeaseStore, after: int) -> None:
        super().__init__()
        self.below = below
        self.after = after

    def renew(self, path: str, holder: str, token: int, ttl: float) -> bool:
        self.renewals += 1
        if self.renewals > self.after:
            raise StoreUnavailable("cut off")
        return self.below.renew(path, holder, token, ttl)
