"""Each fault of state and control once, at a ledger with a hot standby and a lease: seen for what it is, undone,
and no acknowledged event lost."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.faults.contender import read_seen
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.request import FaultRequest, RecordState
from supervisors.runtime.injecting import Injection, Injector
from supervisors.signals.proc import pid_alive
from supervisors.state.checkpoints import CheckpointInfo, CheckpointStore
from supervisors.state.folders import checkpoint_folder, journal_folder
from supervisors.state.journal import JournalReader
from supervisors.state.lease_file import FileLeaseStore
from supervisors.trail.events import EventKind
from supervisors.trail.status import ChildStatus

from .harness import CallFailed, Running, runs_no_more, until
from .recoveries import PATIENCE, noted, post, rayvisor, recovery_of, synced

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

PATH = "/desk/ledger"

TOPOLOGY = """
system: faultstate
spares: 3
metrics: {enabled: false}
faults: {enabled: true, max_targets: 4}
defaults:
  child: {backoff: null, max_consecutive: null}
  supervisor: {backoff: null, max_consecutive: null, intensity: 1000, period: 10s}
tree:
  intensity: 1000
  children:
    - id: desk
      intensity: 1000
      children:
        - id: ledger
          actor: "tests.ray.fault_ledgers:Timed"
          recovery:
            standbys: 1
            lease: {renew: 500ms, expire: 5s, margin: 1s}
            rung_timeout: {hot: 20s}
            checkpoint: {every: 1h, events: 10}
"""


class Bench:
    """The ledger, what it acknowledged, and a hand to break it with."""

    def __init__(self, system: Running) -> None:
        self.system = system
        self.injector = Injector(system.data_dir)
        self.acknowledged: list[str] = []
        self._number = 0

    def post(self, count: int = 1) -> int:
        """Post events; how many were acknowledged. One that fails may be kept or not."""
        done = 0
        for _ in range(count):
            self._number += 1
            try:
                post(self.system, PATH, f"e{self._number}")
            except CallFailed:
                continue
            self.acknowledged.append(f"e{self._number}")
            done += 1
        return done

    def inject(self, fault: str, seconds: float = 10.0, **params: str | float | bool) -> Injection:
        return self.injector.inject(FaultRequest(fault, PATH, params, seconds))

    def over(self, injection: Injection) -> None:
        """Wait until it ended by itself, undone."""
        self._undone(self.injector.wait_over(injection, 60.0))

    def revert(self, injection: Injection) -> None:
        self._undone(self.injector.revert(injection.id))

    @staticmethod
    def _undone(records: object) -> None:
        assert isinstance(records, list)
        assert [record.state for record in records] == [RecordState.REVERTED] * len(records), records

    def signals(self, since: float) -> list[str]:
        return [
            str(event.data.get("signal")) for event in self.system.trail(PATH, since) if event.kind == "first_signal"
        ]

    def until_acting(self, before: ChildStatus) -> ChildStatus:
        """The next life, once it acts; the one before is dead by then."""
        return self.system.ready(PATH, before.incarnation)

    def nothing_lost(self) -> None:
        """All that was acknowledged is in the state, once; the journal has it, or a checkpoint before."""
        refs = self.system.ask(PATH, "refs")
        summary = self.system.ask(PATH, "summary")
        assert isinstance(refs, list)
        assert isinstance(summary, dict)
        assert len(refs) == summary["sequence"]
        assert set(self.acknowledged) <= set(refs)
        with JournalReader(journal_folder(self.system.data_dir, PATH)) as reader:
            begin = reader.begin
            kept = [msgspec.msgpack.decode(record.body, type=dict[str, str])["id"] for record in reader.read(begin - 1)]
        assert len(kept) == len(set(kept)) == len(refs) - begin + 1
        assert set(kept) <= set(refs)
        assert any(info.sequence >= begin - 1 for info in self.checkpoints()) or begin == 1

    def checkpoints(self) -> list[CheckpointInfo]:
        return CheckpointStore(checkpoint_folder(self.system.data_dir, PATH)).list()

    def times(self) -> tuple[float, float]:
        found = self.system.ask(PATH, "times")
        assert isinstance(found, list)
        return float(found[0]), float(found[1])


@pytest.fixture(scope="module")
def bench(short_folder: Path) -> Iterator[Bench]:
    system = Running(short_folder / "faultstate", TOPOLOGY)
    try:
        system.up()
        system.wait_up()
        made = Bench(system)
        made.post(25)
        yield made
        made.injector.close()
    finally:
        system.down()


@pytest.fixture(autouse=True)
def _whole_before_and_after(bench: Bench) -> Iterator[None]:
    synced(bench.system, PATH)
    yield
    bench.post(1)  # a standby of a journal that has just been begun anew waits for its first event
    synced(bench.system, PATH)
    bench.post(3)
    bench.nothing_lost()
    assert bench.injector.active() == []


# ---------------------------------------------------------------- what it lives through


def _posts(bench: Bench) -> None:
    assert bench.post(3) == 3


def _refused(bench: Bench) -> None:
    assert bench.post(3) == 0, "what is not kept is not acknowledged"


def _while_renewed(bench: Bench) -> None:
    bench.post(1)
    time.sleep(0.8)  # some renewals, and less than a lease: the outage is what is tested


@pytest.mark.parametrize(
    ("fault", "params", "work"),
    [
        ("slow_disk", {"delay": "30ms"}, _posts),
        ("fail_disk", {"call": "fdatasync"}, _refused),
        ("full_disk", {"room": 0}, _refused),
        ("lease_slow", {"delay": "200ms"}, _while_renewed),
        ("lease_down", {}, _while_renewed),
        ("lease_cut", {}, _while_renewed),
    ],
)
def test_what_is_no_failure_of_the_ledger_is_lived_through(
    bench: Bench, fault: str, params: dict[str, str | float | bool], work: Callable[[Bench], None]
) -> None:
    before, since = bench.system.ready(PATH), time.monotonic()
    injection = bench.inject(fault, 10.0, **params)
    work(bench)
    bench.system.event(EventKind.FAULT_FIRED, PATH, since)
    bench.revert(injection)
    assert bench.post(3) == 3
    after = bench.system.ready(PATH)
    assert (after.pid, after.incarnation) == (before.pid, before.incarnation)
    assert bench.signals(since) == []


@pytest.mark.parametrize("fault", ["clock_jump", "clock_drift"])
def test_a_wrong_clock_is_the_actors_own_affair(bench: Bench, fault: str) -> None:
    before, since = bench.system.ready(PATH), time.monotonic()
    params: dict[str, str | float | bool] = {"by": "-1h", "clock": "both"} if fault == "clock_jump" else {"rate": 0.01}
    injection = bench.inject(fault, 10.0, **params)
    until(lambda: bench.times()[1] < -0.3, "its clock is behind")
    assert bench.times()[0] < -0.3
    time.sleep(2.2)  # longer than a lease: it is renewed by real time
    assert bench.post(1) == 1
    bench.revert(injection)
    monotonic, wall = bench.times()
    assert abs(wall) < 0.1, "the wall clock is right again"
    if fault == "clock_jump":
        assert abs(monotonic) < 0.1
    else:
        assert monotonic < -0.3, "it goes on from where it was"
    after = bench.system.ready(PATH)
    assert (after.pid, after.incarnation) == (before.pid, before.incarnation)
    assert bench.signals(since) == []


def test_a_rival_never_gets_the_lease_of_a_living_holder(bench: Bench) -> None:
    before, since = bench.system.ready(PATH), time.monotonic()
    injection = bench.inject("contend", 20.0, every="10ms")
    until(lambda: (seen := read_seen(bench.system.data_dir, injection.id)) and seen.refused > 20, "it asks")
    assert bench.post(2) == 2
    assert bench.signals(since) == []
    # and in the middle of a failover neither
    os.kill(before.pid, 9)
    after = bench.until_acting(before)
    assert after.epoch > before.epoch
    bench.revert(injection)
    seen = read_seen(bench.system.data_dir, injection.id)
    assert seen is not None
    assert seen.violations == 0, seen.why


# ---------------------------------------------------------------- what ends a life


def test_lost_syncs_cost_the_life_and_no_event_its_standby_has(bench: Bench) -> None:
    before, since = bench.system.ready(PATH), time.monotonic()
    injection = bench.inject("lose_sync", 5.0)
    assert bench.post(15) == 15, "with a checkpoint among them"
    after = bench.until_acting(before)
    assert after.epoch > before.epoch
    bench.over(injection)
    assert bench.signals(since)[0] in CATALOGUE.find("lose_sync").detected
    assert recovery_of(bench.system, before).rung == "hot"
    noted(bench.system, EventKind.JOURNAL, PATH, since, what="begun_at")  # the disk had lost what the standby had
    bench.nothing_lost()
    code, said = rayvisor(bench.system, "journal", "verify", PATH)
    assert code == 0, said


def test_a_holder_cut_off_for_long_stops_before_another_acts(bench: Bench) -> None:
    before = bench.system.ready(PATH)
    since = time.monotonic()
    injection = bench.inject("lease_down", 20.0)
    after = bench.until_acting(before)
    lost = next(
        event for event in bench.system.trail(PATH, since) if event.kind == "lease" and event.data.get("what") == "lost"
    )
    promoted = bench.system.event(EventKind.PROMOTED, PATH, since)
    assert lost.t < promoted.t
    assert bench.signals(since)[0] == "exit_notice", "it says itself that it is fenced"
    assert after.epoch > before.epoch
    bench.over(injection)


def test_a_false_suspicion_is_proved_before_another_acts(bench: Bench) -> None:
    """The ledger is healthy, its supervisor thinks otherwise: it is dead when the next one is given the lease."""
    before, since = bench.system.ready(PATH), time.monotonic()
    store = FileLeaseStore(bench.system.data_dir / "leases")
    injection = bench.inject("suspect")
    deadline = time.monotonic() + PATIENCE
    while True:
        row = store.read(PATH)
        assert row is not None
        assert time.monotonic() < deadline
        if row.token > before.epoch:
            break
        time.sleep(0.0005)
    assert runs_no_more(before.pid), "the lease went to another while the suspect was alive"
    after = bench.until_acting(before)
    bench.over(injection)
    assert after.epoch >= row.token > before.epoch
    assert bench.signals(since)[0] in CATALOGUE.find("suspect").detected


def test_lost_beats_of_a_healthy_ledger_end_in_one_that_acts(bench: Bench) -> None:
    before, since = bench.system.ready(PATH), time.monotonic()
    injection = bench.inject("lose_beats", 15.0)
    until(lambda: bench.signals(since), "the supervisor misses its beats")
    bench.over(injection)
    after = bench.system.ready(PATH)
    assert after.pid == before.pid or runs_no_more(before.pid)
    assert bench.signals(since)[0] in CATALOGUE.find("lose_beats").detected


@pytest.mark.parametrize("fault", ["lease_slow", "lease_down", "lease_cut"])
def test_a_supervisor_that_waits_for_the_store_still_supervises(bench: Bench, fault: str) -> None:
    """Its plane's thread is not held up by it: nobody suspects it, and the next life acts once the store gave it."""
    before, since = bench.system.ready(PATH), time.monotonic()
    supervisor = bench.system.supervisor_pid("/desk")
    params: dict[str, str | float | bool] = {"delay": "800ms"} if fault == "lease_slow" else {}
    injection = bench.injector.inject(FaultRequest(fault, "/desk", params, 20.0))
    os.kill(before.pid, 9)
    bench.system.event(EventKind.FAULT_FIRED, "/desk", since)
    if fault == "lease_slow":
        bench.until_acting(before)
    else:
        bench.system.event(EventKind.LEASE, PATH, since)
    bench.revert(injection)
    after = bench.until_acting(before)
    assert after.epoch > before.epoch
    assert bench.system.supervisor_pid("/desk") == supervisor
    assert [event.kind for event in bench.system.trail("/desk", since) if event.kind == "first_signal"] == []


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("fault", ["corrupt_checkpoint", "truncate_checkpoint", "stale_checkpoint", "corrupt_page"])
def test_damaged_files_cost_a_ledger_with_a_standby_nothing(bench: Bench, fault: str) -> None:
    before = bench.system.ready(PATH)
    until(bench.checkpoints, "there is a checkpoint")
    damage = bench.inject(fault, 30.0)
    if fault == "corrupt_page":
        assert rayvisor(bench.system, "journal", "verify", PATH)[0] == 1, "it is damaged"
    os.kill(before.pid, 9)
    after = bench.until_acting(before)
    assert recovery_of(bench.system, before).rung == "hot"
    assert bench.post(2) == 2
    bench.revert(damage)
    code, said = rayvisor(bench.system, "journal", "verify", PATH)
    assert code == 0, said
    assert after.epoch > before.epoch
    assert not pid_alive(before.pid, 0)
