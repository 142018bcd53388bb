"""Leases in PostgreSQL: recoveries while the database works, is slow, restarts, and is away for longer than a lease."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from supervisors.state.leases import open_lease_store
from supervisors.trail.events import EventKind
from tests.contract.postgres import Server

from .harness import Running, until
from .recoveries import UNHURRIED, answered, balance, noted, post, processes, recovery_of, synced

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

_LEDGER = 'actor: "examples.ledger:Ledger"'
_PATHS = ("/hot", "/warm", "/agreed")

TOPOLOGY = f"""
system: leased
spares: 3
state: "STATE"
metrics: {{enabled: false}}
defaults:
  child: {{backoff: null, max_consecutive: null}}
tree:
  intensity: 1000
  children:
    - {{id: hot, {_LEDGER}, recovery: {{standbys: 1, {UNHURRIED}}}}}
    - {{id: warm, {_LEDGER}, recovery: {{ladder: [warm, cold]}}}}
    - id: agreed
      {_LEDGER}
      recovery: {{ladder: [warm, cold], lease: {{on_store_loss: continue_if_all_peers_agree}}}}
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def system(short_folder: Path, database: Server) -> Iterator[Running]:
    running = Running(short_folder / "leased", TOPOLOGY.replace("STATE", database.url))
    try:
        running.up()
        running.wait_up()
        yield running
    finally:
        running.down()


def _lives(system: Running) -> dict[str, tuple[int, int]]:
    found = {path: system.ready(path) for path in _PATHS}
    return {path: (child.pid, child.incarnation) for path, child in found.items()}


def _is_gone(system: Running, path: str, pid: int) -> bool:
    return pid not in processes(system, path)


def test_leases_are_kept_in_the_database_and_hot_promotion_works(system: Running, database: Server) -> None:
    before = synced(system, "/hot")
    standby = before.standbys[0].pid
    assert post(system, "/hot", "h1") == "1"
    store = open_lease_store(database.url, system.data_dir, system="leased")
    rows = {row.path: row for row in store.rows()}
    assert set(rows) == set(_PATHS)
    assert rows["/hot"].token == before.epoch

    system.kill("/hot")
    after = system.ready("/hot", before.incarnation)
    assert after.pid == standby
    assert balance(system, "/hot") == "1"
    found = recovery_of(system, before)
    assert [tried.rung for tried in found.tried] == ["hot"]
    held = store.read("/hot")
    assert held is not None
    assert held.token == after.epoch > before.epoch
    store.close()


def test_a_database_that_restarts_disturbs_nobody(system: Running, database: Server) -> None:
    synced(system, "/hot")
    lives = _lives(system)
    began = time.monotonic()
    database.stop(signal.SIGQUIT)  # as in a crash
    assert post(system, "/hot", "r1") == "2"
    database.start()
    away = time.monotonic() - began
    assert away < 3.5, "the test is of an outage shorter than a lease"
    time.sleep(max(0.0, 5.5 - away))  # all leases of before are over: they must have been renewed
    assert post(system, "/hot", "r2") == "3"
    assert _lives(system) == lives
    for path in ("/hot", "/warm"):
        before = system.kill(path)
        system.ready(path, before.incarnation)
        assert [one.why for one in recovery_of(system, before).tried] == [""]
    assert balance(system, "/hot") == "3"


def test_a_slow_database_disturbs_nobody_and_delays_a_recovery(system: Running, database: Server) -> None:
    synced(system, "/hot")
    lives = _lives(system)
    database.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        before = system.kill("/warm")
        post(system, "/hot", "s1")
        time.sleep(max(0.0, 2.0 - (time.monotonic() - stopped)))
    finally:
        database.signal(signal.SIGCONT)
    system.ready("/warm", before.incarnation)
    assert [one.why for one in recovery_of(system, before).tried] == [""], "the rung waits for it and does not fail"
    time.sleep(3.0)  # the leases of before the stop are over
    now = _lives(system)
    assert {path: now[path] for path in ("/hot", "/agreed")} == {path: lives[path] for path in ("/hot", "/agreed")}
    assert balance(system, "/hot") == "4"


def test_a_database_that_is_away_longer_than_a_lease_fences_and_loses_nothing(
    system: Running, database: Server
) -> None:
    before = synced(system, "/hot")
    lives = _lives(system)
    post(system, "/warm", "w1")
    post(system, "/agreed", "a1")
    since = time.monotonic()
    database.stop()
    stopped = time.monotonic()
    for path in ("/hot", "/warm"):
        lost = noted(system, EventKind.LEASE, path, since, what="lost")
        assert lost.t - since > 2.5, "a second before the lease ends, and not before"
        assert lost.t - stopped < 6.0
        until(partial(_is_gone, system, path, lives[path][0]), f"the old life of {path} is gone")
    assert answered(system, "/agreed", "a2") == "2", "all peers agree that it acts alone"
    time.sleep(6.0)  # longer than a rung may take
    database.start()
    back = time.monotonic()
    for path in ("/hot", "/warm"):
        system.ready(path, lives[path][1])
    sys.stdout.write(f"back {time.monotonic() - back:.2f} s after the database\n")
    assert balance(system, "/hot") == "4"
    assert balance(system, "/warm") == "1"
    assert balance(system, "/agreed") == "2"
    assert _lives(system)["/agreed"] == lives["/agreed"]
    found = recovery_of(system, before)
    assert found.reason.startswith("fenced")
    again = synced(system, "/hot", before.incarnation)
    os.kill(again.pid, signal.SIGKILL)
    system.ready("/hot", again.incarnation)
    assert balance(system, "/hot") == "4"
