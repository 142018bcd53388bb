"""Recovery across nodes: a child on another node keeps its state, and a standby there outlives its primary's node.

Two raylets on one machine, as in ``test_nodes``; the second node is treated as another machine, and has another disk
where mounts may be made. Leases are in PostgreSQL: those in files hold on one node only.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.state.folders import STATE
from supervisors.trail.events import EventKind
from tests.contract.postgres import Server

from .harness import until
from .recoveries import UNHURRIED, balance, ids_of, post, recovery_of, synced
from .test_nodes import Joined, Nodes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

_LEDGER = 'actor: "examples.ledger:Ledger"'
_FAR = "placement: {labels: {zone: b}}"

TOPOLOGY = f"""
system: apart
spares: 1
state: "STATE"
metrics: {{enabled: false}}
defaults:
  child: {{backoff: null, max_consecutive: null}}
tree:
  intensity: 1000
  children:
    - {{id: far, {_LEDGER}, {_FAR}, recovery: {{ladder: [warm, cold]}}}}
    - {{id: hot, {_LEDGER}, recovery: {{standbys: 1, {UNHURRIED}}}}}
"""


@pytest.fixture(scope="module")
def nodes(short_folder: Path) -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="rvr-") as name:
        cluster = Nodes(Path(name), short_folder / "apart" / STATE)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def joined(nodes: Nodes, database: Server, short_folder: Path) -> Iterator[Joined]:
    patch = pytest.MonkeyPatch()
    for key, value in nodes.environment.items():
        patch.setenv(key, value)
    system = Joined(short_folder / "apart", TOPOLOGY.replace("STATE", database.url))
    system.address = nodes.address
    try:
        system.up()
        system.wait_up()
        yield system
    finally:
        system.down()
        patch.undo()


def test_a_child_on_another_node_comes_back_there_with_its_state(joined: Joined, nodes: Nodes) -> None:
    for number in range(1, 4):
        assert post(joined, "/far", f"f{number}") == str(number)
        before = joined.kill("/far")
        after = joined.ready("/far", before.incarnation)
        assert after.node == before.node
        assert after.epoch > before.epoch
        assert balance(joined, "/far") == str(number)
        assert [one.why for one in recovery_of(joined, before).tried] == [""]
    assert ids_of(joined, "/far", nodes.root) == ["f1", "f2", "f3"]


def test_a_standby_is_kept_on_the_other_node_and_takes_over(joined: Joined) -> None:
    before = synced(joined, "/hot")
    standby = before.standbys[0]
    assert standby.node != before.node[: len(standby.node)]
    assert post(joined, "/hot", "h1") == "1"
    os.kill(before.pid, signal.SIGKILL)
    after = joined.ready("/hot", before.incarnation)
    assert after.pid == standby.pid
    assert balance(joined, "/hot") == "1"
    assert recovery_of(joined, before).rung == "hot"


def test_without_a_standby_it_comes_back_where_its_newest_journal_is(joined: Joined) -> None:
    """Of a child that may run anywhere, and began where it was launched. Before: there, from an older journal."""
    before = joined.ready("/hot")
    far = joined.ready("/far").node
    if before.node != far:  # when this one is run alone
        os.kill(synced(joined, "/hot").pid, signal.SIGKILL)
        before = synced(joined, "/hot", before.incarnation)
    post(joined, "/hot", "w1")
    count = balance(joined, "/hot")
    for standby in synced(joined, "/hot").standbys:
        os.kill(standby.pid, signal.SIGKILL)
    os.kill(before.pid, signal.SIGKILL)
    after = joined.ready("/hot", before.incarnation)
    assert (after.node, balance(joined, "/hot")) == (far, count)


def test_a_primary_whose_node_is_lost_is_waited_out_and_replaced(joined: Joined, nodes: Nodes) -> None:
    """Nobody can prove that it is dead: its lease has to run out before its standby acts."""
    before = synced(joined, "/hot")
    lost = joined.ready("/far").node
    if before.node != lost:  # after the test before it is there; when this one is run alone, it is not yet
        os.kill(before.pid, signal.SIGKILL)
        before = synced(joined, "/hot", before.incarnation)
    post(joined, "/hot", "n1")
    count = balance(joined, "/hot")
    began = time.monotonic()
    nodes.lose_second()
    until(lambda: (c := joined.find("/hot")) and c.state == "ready" and c.pid != before.pid, "it acts elsewhere", 90.0)
    took = time.monotonic() - began
    sys.stdout.write(f"acts again {took:.1f} s after its node was lost\n")
    assert took > 4.0, "its lease had to run out"
    assert balance(joined, "/hot") == count
    exited = joined.event(EventKind.CHILD_EXITED, "/hot", began)
    assert exited.reason is not None
    assert exited.reason.kind == "node_lost"
