"""A rival for a lease: it never gets one that is held, says so if it does, and leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from supervisors.core.errors import FaultError
from supervisors.faults.contender import RIVAL, Contest, Rival, Seen, clean, is_alive, probe, read_seen, run
from supervisors.recovery.policy import LeaseSpec, RecoverySpec
from supervisors.runtime.contending import contest_of
from supervisors.runtime.store import GoalStore
from supervisors.signals.proc import process_start_time
from supervisors.spec.compiled import SupervisorPart, SystemSpec, WorkerSpec, encode
from supervisors.state.keeper import LeaseKeeper
from supervisors.state.lease_file import FileLeaseStore
from supervisors.state.leases import BOOT_CLOCK, Grant, Held, LeaseStore, open_lease_store
from supervisors.tree.model import SupervisorSpec
from tests.contract.postgres import Server

from .arming import order_of

SPEC = LeaseSpec(renew=0.1, expire=1.0, margin=0.3)
ORDER = order_of("contend", every="5ms")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["file", "postgresql"])
def contest(request: pytest.FixtureRequest, tmp_path: Path) -> Contest:
    url = "file" if request.param == "file" else request.getfixturevalue("server").url
    return Contest("/a", url, f"system of {tmp_path}", SPEC.expire)


def opened(contest: Contest, data_dir: Path) -> LeaseStore:
    return open_lease_store(contest.url, data_dir, system=contest.system)


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.005)


def me() -> str:
    """A holder's name, as a supervisor gives it to a process of this machine."""
    return f"host@node/{os.getpid()}/{process_start_time(os.getpid())}/boot"


def start(contest: Contest, data_dir: Path, seconds: float = 60.0, parent: int = 0) -> "subprocess.Popen[bytes]":
    words = (msgspec.json.encode(contest).decode(), msgspec.json.encode(ORDER).decode(), str(data_dir), str(seconds))
    return subprocess.Popen([sys.executable, "-m", "supervisors.faults.contender", *words, str(parent or os.getpid())])


def seen_of(data_dir: Path) -> Seen:
    found = read_seen(data_dir, ORDER.id)
    assert found is not None
    return found


def test_a_holder_that_renews_never_loses_it_to_a_rival(contest: Contest, tmp_path: Path) -> None:
    store = opened(contest, tmp_path)
    grant = store.acquire("/a", me(), SPEC.expire)
    assert isinstance(grant, Grant)
    lost: list[str] = []
    keeper = LeaseKeeper(
        store, "/a", me(), grant.token, SPEC, lost=lost.append, noted=lambda what, data: None, asked_at=grant.asked_at
    )
    keeper.start()
    rival = start(contest, tmp_path)
    try:
        until(lambda: (found := read_seen(tmp_path, ORDER.id)) is not None and found.refused > 20)
        first = keeper.until
        until(lambda: keeper.until > first + SPEC.expire)
        assert keeper.may_act
        rival.send_signal(signal.SIGTERM)
        assert rival.wait(10.0) == 0
    finally:
        rival.kill()
        rival.wait()
        keeper.stop()
    seen = seen_of(tmp_path)
    assert seen.asked == seen.refused + seen.silent
    assert (seen.granted, seen.violations, lost) == (0, 0, [])
    assert probe(ORDER, tmp_path, contest)


def test_a_lease_that_ran_out_is_given_and_given_back(contest: Contest, tmp_path: Path) -> None:
    """Its holder, though alive, does not renew it. That is no violation: it may not act any more."""
    store = opened(contest, tmp_path)
    grant = store.acquire("/a", me(), 0.2)
    assert isinstance(grant, Grant)
    deadline = BOOT_CLOCK.monotonic() + 10.0
    seen = run(ORDER, tmp_path, contest, lambda: BOOT_CLOCK.monotonic() >= deadline or _given(tmp_path))
    assert seen.granted >= 1
    assert (seen.alive, seen.violations) == (1, 0)
    assert seen.refused > 0
    assert not store.renew("/a", me(), grant.token, 1.0), "it is lost for good"
    row = store.read("/a")
    assert row is not None
    assert row.released
    assert row.token == seen.tokens[-1] > grant.token
    again = store.acquire("/a", me(), 1.0)
    assert isinstance(again, Grant)
    assert again.token > row.token


def _given(data_dir: Path) -> bool:
    found = read_seen(data_dir, ORDER.id)
    return found is not None and found.granted > 0


def test_a_store_that_gives_a_running_lease_away_is_found_out(tmp_path: Path) -> None:
    """The planted bug: whoever asks is believed that the holder is dead."""

    class Careless(FileLeaseStore):
        def acquire(self, path: str, holder: str, ttl: float, *, proved_dead: str = "", floor: int = 0) -> Grant | Held:
            row = self.read(path)
            return super().acquire(path, holder, ttl, proved_dead=row.holder if row else "", floor=floor)

    store = Careless(tmp_path)
    assert isinstance(store.acquire("/a", me(), 5.0), Grant)
    rival = Rival(store, Contest("/a", "file", "", 5.0), RIVAL)
    rival.ask()
    assert (rival.seen.granted, rival.seen.violations, rival.seen.alive) == (1, 1, 1)
    assert me() in rival.seen.why
    rival.ask()
    assert rival.seen.violations == 1, "what it takes from nobody is no violation"


def test_one_that_was_killed_is_cleaned_up_after(contest: Contest, tmp_path: Path) -> None:
    store = opened(contest, tmp_path)
    assert isinstance(store.acquire("/a", f"{RIVAL}{ORDER.id}", 60.0), Grant)
    assert not probe(ORDER, tmp_path, contest)
    clean(ORDER, tmp_path, contest)
    assert probe(ORDER, tmp_path, contest)
    clean(ORDER, tmp_path, contest)
    mine = store.acquire("/a", me(), 60.0)
    assert isinstance(mine, Grant)
    clean(ORDER, tmp_path, contest)
    assert store.renew("/a", me(), mine.token, 60.0), "another's lease is left alone"


def test_it_ends_with_its_parent_and_at_its_deadline(tmp_path: Path) -> None:
    contest = Contest("/a", "file", "", 1.0)
    with subprocess.Popen(["sleep", "60"]) as parent:
        orphan = start(contest, tmp_path, parent=parent.pid)
        try:
            until(lambda: read_seen(tmp_path, ORDER.id))
            assert orphan.poll() is None
            parent.kill()
            parent.wait()
            assert orphan.wait(10.0) == 0
        finally:
            orphan.kill()
            orphan.wait()
    assert start(contest, tmp_path, seconds=0.3).wait(20.0) == 0
    assert start(contest, tmp_path, parent=2**22 - 1).wait(20.0) == 0
    assert probe(ORDER, tmp_path, contest)


def test_whose_names_are_alive() -> None:
    assert is_alive(me())
    assert not is_alive(f"host@node/{os.getpid()}/1/boot")
    assert not is_alive("host@node")
    assert not is_alive("")
    assert not is_alive("x@y/not/a/pid")


def test_where_a_lease_is_kept_is_in_the_goal_state(tmp_path: Path) -> None:
    recovery = RecoverySpec(lease=LeaseSpec(expire=7.0))
    workers = {
        "leased": WorkerSpec("/cell/leased", "a:A", recovery=recovery),
        "plain": WorkerSpec("/cell/plain", "a:A"),
    }
    part = SupervisorPart("/cell", SupervisorSpec(), workers=workers)
    store = GoalStore(tmp_path)
    store.declare({"/cell": encode(part), "system": encode(SystemSpec(system="s", state="file"))})
    store.close()
    assert contest_of(tmp_path, "/cell/leased") == Contest("/cell/leased", "file", "s", 7.0)
    for path in ("/cell/plain", "/cell/nobody"):
        with pytest.raises(FaultError) as caught:
            contest_of(tmp_path, path)
        assert caught.value.code == 9011
