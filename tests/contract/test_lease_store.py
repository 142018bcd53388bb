"""What every lease store must keep, run on files and on a real PostgreSQL (STA-4)."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from supervisors.core.errors import StoreUnavailable
from supervisors.faults.board import FaultSlot
from supervisors.faults.leases import FaultLeases
from supervisors.recovery.policy import LeaseSpec
from supervisors.state.keeper import LeaseKeeper
from supervisors.state.leases import BOOT_CLOCK, Grant, Held, LeaseStore, open_lease_store
from supervisors.testing.clock import ManualClock
from tests.contract.postgres import Server

TTL = 5.0
_systems = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


class SetClock(ManualClock):
    """A clock whose wall clock people set."""

    set_by = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self.set_by


class World:
    """One empty store; ``open`` gives another process's view of it."""

    def __init__(self, url: str, folder: Path, *, faults: bool = False) -> None:
        self.url = url
        self.faults = faults
        self.folder = folder
        self.system = f"system {next(_systems)}"
        self.clock = SetClock(1000.0)
        self._opened: list[LeaseStore] = []

    def open(self, *, real_time: bool = False) -> LeaseStore:
        store = open_lease_store(self.url, self.folder, system=self.system)
        if not real_time:
            store._clock = self.clock  # type: ignore[attr-defined]
        if self.faults:
            store = FaultLeases(store, FaultSlot())
        self._opened.append(store)
        return store

    def process(self, holder: str, rounds: int = 0) -> "subprocess.Popen[bytes]":
        """A process that leases /a again and again; it has said ``ready`` and waits for a line."""
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.contract.lease_load",
                self.url,
                self.folder,
                self.system,
                holder,
                str(rounds),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    def close(self) -> None:
        for store in self._opened:
            store.close()


@pytest.fixture(params=["file", "postgresql", "file, faults allowed"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("server").url if request.param == "postgresql" else "file"
    world = World(url, tmp_path, faults="faults" in request.param)
    yield world
    world.close()


def granted(answer: Grant | Held) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def held(answer: Grant | Held) -> Held:
    assert isinstance(answer, Held), answer
    return answer


# ---------------------------------------------------------------- one holder


def test_the_first_one_gets_it_and_the_next_one_is_told_who_has_it(world: World) -> None:
    store = world.open()
    grant = granted(store.acquire("/a", "one", TTL))
    assert (grant.path, grant.holder, grant.token, grant.ttl, grant.replaced) == ("/a", "one", 1, TTL, "")
    assert grant.asked_at == 1000.0
    other = held(world.open().acquire("/a", "two", TTL))
    assert (other.holder, other.token) == ("one", 1)
    assert 0 < other.left <= TTL


def test_a_reservation_changes_neither_who_has_it_nor_the_next_token(world: World) -> None:
    store = world.open()
    store.reserve("/a", 5)
    assert store.read("/a") is None
    grant = granted(store.acquire("/a", "one", TTL))
    before = store.read("/a")
    assert before is not None
    store.reserve("/a", 5)
    world.open().reserve("/a")
    assert store.read("/a") == before
    held(world.open().acquire("/a", "two", TTL))
    assert store.renew("/a", "one", grant.token, TTL)
    for token in range(2, 6):
        assert granted(store.acquire("/a", f"life {token}", TTL, proved_dead=before.holder)).token == token
        store.reserve("/a", 2)
        before = store.read("/a")
        assert before is not None


def test_paths_do_not_concern_each_other(world: World) -> None:
    store = world.open()
    for path in ("/a", "/a/b", "/a~b", "/", "a", "/A", "/" + "x" * 600, "/é 日本", "/..", "/a/../b", "/a%b"):
        assert granted(store.acquire(path, f"holder of {path[:9]}", TTL)).token == 1
    assert len(store.rows()) == 11


def test_a_lease_ends_its_length_after_the_last_renewal_and_not_before(world: World) -> None:
    store, other = world.open(), world.open()
    grant = granted(store.acquire("/a", "one", TTL))
    for _ in range(10):
        world.clock.advance(TTL * 0.9)
        assert store.renew("/a", "one", grant.token, TTL)
        held(other.acquire("/a", "two", TTL))
    world.clock.advance(TTL * 0.99)
    assert 0 < held(other.acquire("/a", "two", TTL)).left <= TTL * 0.011
    world.clock.advance(TTL * 0.02)
    taken = granted(other.acquire("/a", "two", TTL))
    assert (taken.token, taken.replaced) in {(2, "one"), (2, "")}
    assert not store.renew("/a", "one", grant.token, TTL)
    assert other.renew("/a", "two", taken.token, TTL)


def test_a_renewal_may_change_the_length(world: World) -> None:
    store, other = world.open(), world.open()
    grant = granted(store.acquire("/a", "one", TTL))
    assert store.renew("/a", "one", grant.token, 50.0)
    held(other.acquire("/a", "two", TTL))
    world.clock.advance(49.0)
    held(other.acquire("/a", "two", TTL))
    world.clock.advance(1.5)
    granted(other.acquire("/a", "two", TTL))


def test_only_the_holder_renews_under_its_token(world: World) -> None:
    store = world.open()
    grant = granted(store.acquire("/a", "one", TTL))
    assert store.renew("/a", "one", grant.token, TTL)
    assert not store.renew("/a", "two", grant.token, TTL)
    assert not store.renew("/a", "one", grant.token + 1, TTL)
    assert not store.renew("/a", "one", grant.token - 1, TTL)
    assert not store.renew("/b", "one", grant.token, TTL)


def test_a_lease_that_ran_out_is_renewed_while_nobody_took_it(world: World) -> None:
    store = world.open()
    grant = granted(store.acquire("/a", "one", TTL))
    world.clock.advance(10 * TTL)
    assert store.renew("/a", "one", grant.token, TTL)
    held(world.open().acquire("/a", "two", TTL))


def test_a_proved_death_replaces_at_once_and_the_token_grows(world: World) -> None:
    store, other = world.open(), world.open()
    first = granted(store.acquire("/a", "one", TTL))
    held(other.acquire("/a", "two", TTL, proved_dead="three"))
    held(other.acquire("/a", "two", TTL, proved_dead=""))
    second = granted(other.acquire("/a", "two", TTL, proved_dead="one"))
    assert (second.token, second.replaced) == (first.token + 1, "one")
    assert not store.renew("/a", "one", first.token, TTL)
    store.release("/a", "one", first.token)
    assert other.renew("/a", "two", second.token, TTL)


def test_a_floor_lifts_the_token_and_never_lowers_it(world: World) -> None:
    store = world.open()
    assert granted(store.acquire("/a", "one", TTL, floor=2**53)).token == 2**53
    assert granted(store.acquire("/a", "one", TTL, floor=7)).token == 2**53 + 1


def test_a_crash_between_the_grant_and_its_answer_keeps_nobody_out(world: World) -> None:
    world.open().acquire("/a", "one", TTL)  # the answer is lost with the one who asked
    again = granted(world.open().acquire("/a", "one", TTL))
    assert again.token == 2
    assert not world.open().renew("/a", "one", 1, TTL)
    assert world.open().renew("/a", "one", 2, TTL)


def test_release_frees_it_at_once_and_the_token_stays_used(world: World) -> None:
    store = world.open()
    grant = granted(store.acquire("/a", "one", TTL))
    store.release("/a", "two", grant.token)
    store.release("/a", "one", grant.token + 1)
    held(store.acquire("/a", "two", TTL))
    store.release("/a", "one", grant.token)
    assert not store.renew("/a", "one", grant.token, TTL)
    store.release("/a", "one", grant.token)
    store.release("/never", "one", 1)
    again = granted(world.open().acquire("/a", "two", TTL))
    assert (again.token, again.replaced) == (2, "")


def test_reading(world: World) -> None:
    store = world.open()
    assert store.read("/a") is None
    assert store.rows() == []
    store.acquire("/b", "one", TTL)
    world.clock.advance(1.0)
    grant = granted(store.acquire("/a", "two", TTL))
    store.renew("/a", "two", grant.token, TTL)
    row = store.read("/a")
    assert row is not None
    assert (row.path, row.holder, row.token, row.ttl, row.released, row.renewals) == ("/a", "two", 1, TTL, False, 1)
    assert 0 < row.left <= TTL
    assert [row.path for row in store.rows()] == ["/a", "/b"]
    store.release("/a", "two", grant.token)
    row = store.read("/a")
    assert row is not None
    assert row.released
    assert row.left == 0
    world.clock.advance(100.0)
    assert [row.left for row in store.rows()] == [0.0, 0.0]


def test_what_makes_no_sense_is_refused(world: World) -> None:
    store = world.open()
    for holder, ttl in (("", TTL), ("x" * 257, TTL), ("one", 0.0), ("one", -1.0)):
        with pytest.raises(ValueError, match="a lease needs"):
            store.acquire("/a", holder, ttl)


def test_setting_the_wall_clock_does_not_matter(world: World) -> None:
    store, other = world.open(), world.open()
    grant = granted(store.acquire("/a", "one", TTL))
    for days in (400, -400, 1, 0):
        world.clock.set_by = days * 86_400_000_000_000
        held(other.acquire("/a", "two", TTL))
        world.clock.advance(TTL * 0.5)
        assert store.renew("/a", "one", grant.token, TTL)
    held(other.acquire("/a", "two", TTL))
    world.clock.set_by = -(10**18)
    world.clock.advance(TTL * 1.01)
    granted(other.acquire("/a", "two", TTL))


# ---------------------------------------------------------------- many at once


def test_of_many_threads_one_gets_it(world: World) -> None:
    stores = [world.open() for _ in range(4)]
    for path in ("/a", "/b", "/c", "/d", "/e"):
        ready = threading.Barrier(8)

        def contend(number: int, path: str = path, ready: threading.Barrier = ready) -> Grant | Held:
            ready.wait(30)
            return stores[number % 4].acquire(path, f"holder {number}", TTL)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(contend, range(8)))
        winners = [answer.holder for answer in answers if isinstance(answer, Grant)]
        assert len(winners) == 1
        assert {answer.holder for answer in answers} == set(winners)


def test_processes_never_get_the_same_token(world: World) -> None:
    rounds = 60
    processes = [world.process(name, rounds) for name in ("p", "q", "r")]
    said: list[list[int]] = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    for process in processes:
        with process:
            assert process.stdout is not None
            said.append([int(line) for line in process.stdout])
        assert process.returncode == 0
    assert all(tokens == sorted(tokens) and len(tokens) == rounds for tokens in said)
    every = [token for tokens in said for token in tokens]
    assert sorted(every) == list(range(1, 3 * rounds + 1))


def test_a_process_killed_at_any_moment_leaves_no_lock_and_no_lower_token(world: World) -> None:
    moments = random.Random(4)
    store = world.open(real_time=True)
    known = 0
    for number in range(40):
        process = world.process(f"killed {number}")
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            first = process.stdout.readline()
            threading.Event().wait(moments.uniform(0, 0.02))  # any moment will do
            process.kill()
            known = max(int(line) for line in (first, *process.stdout.read().split()))
        before = time.monotonic()
        row = store.read("/a")
        assert row is not None
        assert row.token >= known
        # a database may still carry out the last thing that it was told by the dead
        mine = store.acquire("/a", f"mine {number}", 60.0, proved_dead=row.holder)
        while not isinstance(mine, Grant):
            assert time.monotonic() - before < 1.0
            mine = store.acquire("/a", f"mine {number}", 60.0, proved_dead=mine.holder)
        # one grant may have been written and not been told
        assert known < mine.token <= known + 2
        assert store.renew("/a", mine.holder, mine.token, 60.0)


# ---------------------------------------------------------------- PostgreSQL alone


@pytest.fixture
def database(server: Server, tmp_path: Path) -> Iterator[World]:
    world = World(server.url, tmp_path)
    yield world
    world.close()


def sql(server: Server, text: str) -> None:
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(text.encode())


def test_the_databases_clock_does_not_matter(server: Server, database: World) -> None:
    store, other = database.open(), database.open()
    grant = granted(store.acquire("/a", "one", TTL))
    for shift in ("-1 year", "+1 year"):
        sql(server, f"UPDATE rayvisor_leases SET renewed_at = now() + '{shift}', granted_at = now() + '{shift}'")
        held(other.acquire("/a", "two", TTL))
        assert store.renew("/a", "one", grant.token, TTL)
    held(other.acquire("/a", "two", TTL))
    database.clock.advance(TTL + 0.1)
    granted(other.acquire("/a", "two", TTL))


def test_one_that_meets_a_lease_for_the_first_time_waits_for_its_whole_length(database: World) -> None:
    granted(database.open().acquire("/a", "one", TTL))
    database.clock.advance(100.0)
    late = database.open()
    assert held(late.acquire("/a", "two", TTL)).left == TTL
    database.clock.advance(TTL - 0.1)
    held(late.acquire("/a", "two", TTL))
    database.clock.advance(0.2)
    granted(late.acquire("/a", "two", TTL))


def test_a_row_watched_by_reading_needs_no_second_wait(database: World) -> None:
    granted(database.open().acquire("/a", "one", TTL))
    late = database.open()
    late.rows()
    database.clock.advance(TTL + 0.1)
    granted(late.acquire("/a", "two", TTL))


def test_systems_that_share_a_database_do_not_concern_each_other(server: Server, tmp_path: Path) -> None:
    worlds = [World(server.url, tmp_path), World(server.url, tmp_path)]
    for world in worlds:
        store = world.open()
        assert granted(store.acquire("/a", "one", TTL)).token == 1
        assert len(store.rows()) == 1
        world.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_restarted_database_is_used_again_and_forgot_nothing(
    server: Server, database: World, how: signal.Signals
) -> None:
    store = database.open()
    grant = granted(store.acquire("/a", "one", TTL))
    server.stop(how)
    try:
        before = time.monotonic()
        for call in (lambda: store.renew("/a", "one", grant.token, TTL), lambda: store.read("/a")):
            with pytest.raises(StoreUnavailable, match="did not answer"):
                call()
        with pytest.raises(StoreUnavailable, match="did not answer"):
            store.acquire("/a", "two", TTL, proved_dead="one")
        assert time.monotonic() - before < 3.5
    finally:
        server.start()
    assert store.renew("/a", "one", grant.token, TTL)
    held(store.acquire("/a", "two", TTL))


def test_a_connection_that_broke_in_between_is_not_noticed(server: Server, database: World) -> None:
    store = database.open()
    grant = granted(store.acquire("/a", "one", TTL))
    server.stop()
    server.start()
    assert store.renew("/a", "one", grant.token, TTL)


def test_a_stopped_server_costs_a_second(server: Server, database: World) -> None:
    store = database.open()
    grant = granted(store.acquire("/a", "one", TTL))
    server.signal(signal.SIGSTOP)
    try:
        for _ in range(2):  # on the connection there is, and making a new one
            before = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer within 1 s"):
                store.renew("/a", "one", grant.token, TTL)
            assert 0.9 < time.monotonic() - before < 5.0, "without a limit it would hang"
    finally:
        server.signal(signal.SIGCONT)
    assert store.renew("/a", "one", grant.token, TTL)


def test_a_row_locked_by_another_client_costs_a_second(server: Server, database: World) -> None:
    import psycopg

    store = database.open()
    granted(store.acquire("/a", "one", TTL))
    with psycopg.connect(server.url) as connection:
        connection.execute("SELECT * FROM rayvisor_leases FOR UPDATE")
        before = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.acquire("/a", "one", TTL)
        assert time.monotonic() - before < 5.0, "without a limit it would hang"
    granted(store.acquire("/a", "one", TTL))


def test_a_client_that_stops_inside_a_transaction_is_thrown_out(server: Server, database: World) -> None:
    """The database lets go of what such a client locked after a second."""
    store, other = database.open(), database.open()
    granted(store.acquire("/a", "one", TTL))
    stuck = threading.Event()
    go_on = threading.Event()

    def stop_inside(link: object) -> None:
        link.ask(b"SELECT 1 FROM rayvisor_leases FOR UPDATE", ())  # type: ignore[attr-defined]
        stuck.set()
        assert go_on.wait(30)

    def inside() -> None:
        with pytest.raises(StoreUnavailable):
            store._call(stop_inside)  # type: ignore[attr-defined]

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(inside)
        assert stuck.wait(30)
        give_up = time.monotonic() + 30
        while True:
            try:
                granted(other.acquire("/a", "one", TTL))
                break
            except StoreUnavailable:
                assert time.monotonic() < give_up
        go_on.set()
        done.result(30)


def test_a_table_that_is_not_ours_is_told(server: Server, tmp_path: Path) -> None:
    sql(server, "CREATE DATABASE other")
    url = server.url.replace("///postgres", "///other")
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE rayvisor_leases (x int)")
    store = open_lease_store(url, tmp_path)
    with pytest.raises(StoreUnavailable) as caught:
        store.acquire("/a", "one", TTL)
    assert caught.value.code == 7024
    store.close()
    store = open_lease_store(server.url.replace("///postgres", "///nowhere"), tmp_path)
    with pytest.raises(StoreUnavailable, match="nowhere"):
        store.read("/a")


def test_a_table_dropped_under_way_is_made_again(server: Server, database: World) -> None:
    store = database.open()
    granted(store.acquire("/a", "one", TTL))
    sql(server, "DROP TABLE rayvisor_leases")
    assert not store.renew("/a", "one", 1, TTL)
    assert granted(store.acquire("/a", "two", TTL, floor=2)).token == 2


# ---------------------------------------------------------------- a keeper and its database


class Told:
    """What a keeper told."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.words: list[str] = []

    def noted(self, what: str, data: Mapping[str, str | int | float | bool]) -> None:
        self.words.append(what)


def keep(world: World, spec: LeaseSpec, told: Told) -> LeaseKeeper:
    store = world.open(real_time=True)
    grant = granted(store.acquire("/a", "one", spec.expire))
    keeper = LeaseKeeper(
        store, "/a", "one", grant.token, spec, lost=told.lost.append, noted=told.noted, asked_at=grant.asked_at
    )
    keeper.start()
    return keeper


def until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.005)


def test_a_keeper_outlives_a_restart_of_its_database(server: Server, database: World) -> None:
    told = Told()
    keeper = keep(database, LeaseSpec(renew=1.0, expire=60.0, margin=10.0), told)
    try:
        server.stop()
        try:
            until(lambda: told.words == ["store_down"])
        finally:
            server.start()
        until(lambda: told.words == ["store_down", "store_back"])
        renewed = keeper.until
        until(lambda: keeper.until > renewed)
        assert keeper.may_act
        assert told.lost == []
    finally:
        keeper.stop()
    row = database.open().read("/a")
    assert row is not None
    assert row.released


def test_a_keeper_whose_database_stays_away_stops_at_the_deadline(server: Server, database: World) -> None:
    told = Told()
    keeper = keep(database, LeaseSpec(renew=0.5, expire=4.0, margin=1.0), told)
    try:
        first = keeper.until
        until(lambda: keeper.until > first)
        server.signal(signal.SIGSTOP)
        try:
            until(lambda: "store_down" in told.words)
            deadline = keeper.until
            until(lambda: told.lost)
            late = BOOT_CLOCK.monotonic() - deadline
            assert not keeper.may_act
            assert 0 <= late < 1.0, "a store that hangs must not delay it"
        finally:
            server.signal(signal.SIGCONT)
        assert told.words == ["store_down", "lost"]
    finally:
        keeper.stop()
