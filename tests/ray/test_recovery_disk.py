"""A disk that is full: nothing is acknowledged that is not kept, and all goes on once there is room again."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from supervisors.trail.events import EventKind

from .harness import CallFailed, Running, until
from .recoveries import PATIENCE, balance, held, ids_of, noted, post, rayvisor, synced

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

_LEDGER = 'actor: "examples.ledger:Ledger"'
_ROOM = "journal: {segment: 1MB}, checkpoint: {every: 1h, events: 1000000}"

TOPOLOGY = f"""
system: full
spares: 2
metrics: {{enabled: false}}
defaults:
  child: {{backoff: null, max_consecutive: null}}
tree:
  intensity: 1000
  children:
    - {{id: hot, {_LEDGER}, recovery: {{standbys: 1, {_ROOM}}}}}
    - {{id: warm, {_LEDGER}, recovery: {{ladder: [warm, cold], {_ROOM}}}}}
    - {{id: plain, actor: "tests.ray.actors:Worker"}}
"""


@pytest.fixture(scope="module")
def system(short_folder: Path) -> Iterator[Running]:
    if os.getuid() != 0:
        pytest.skip("a file system of a known size can be mounted by root only")
    disk = short_folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        running = Running(disk / "full", TOPOLOGY)
        try:
            running.up()
            running.wait_up()
            yield running
        finally:
            _ballast(running).unlink(missing_ok=True)
            running.down()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=10.0)


def _ballast(system: Running) -> Path:
    return system.data_dir.with_name("ballast")


def _fill(system: Running) -> None:
    """Take the last byte of it."""
    with suppress(OSError), _ballast(system).open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def _free(system: Running) -> None:
    _ballast(system).unlink()


def _until_refused(system: Running, path: str, prefix: str) -> tuple[list[str], str]:
    """Post large events until the disk takes no more: the ids acknowledged, and the kind of error."""
    acknowledged: list[str] = []
    for number in range(200):
        id_ = f"{prefix}{number}-" + "x" * 30_000
        try:
            post(system, path, id_)
        except CallFailed as failure:
            return acknowledged, failure.kind
        acknowledged.append(id_)
    raise AssertionError("the disk took 6 MB more than it has")


@pytest.mark.parametrize("path", ["/warm", "/hot"])
def test_a_full_disk_refuses_appends_and_loses_none_it_acknowledged(system: Running, path: str) -> None:
    if path == "/hot":
        synced(system, path)
    pids = system.pids()
    since = time.monotonic()
    start = int(post(system, path, "begun"))  # the journal has taken room in advance
    _fill(system)
    try:
        acknowledged, kind = _until_refused(system, path, f"{path}-")
        assert "JournalFailed" in kind
        assert acknowledged, "what it had taken in advance is of use"
        assert int(balance(system, path)) == start + len(acknowledged), "what failed was not applied"
        with pytest.raises(CallFailed, match="refused"):
            post(system, path, "small-" + "y" * 30_000)
    finally:
        _free(system)
    assert post(system, path, "after") == str(start + len(acknowledged) + 1)
    assert system.pids() == pids, "nobody died of it"
    noted(system, EventKind.JOURNAL, path, since, what="failed")
    noted(system, EventKind.JOURNAL, path, since, what="usable")

    before = system.kill(path)
    system.ready(path, before.incarnation)
    assert balance(system, path) == str(start + len(acknowledged) + 1)
    assert ids_of(system, path)[start:] == [*acknowledged, "after"]


def test_a_full_disk_stops_no_supervision(system: Running) -> None:
    """What acts goes on, what dies comes back or waits for a person, and all is told once there is room."""
    path = "/warm"
    start = int(post(system, path, "again"))
    since = time.monotonic()
    synced(system, "/hot")
    _fill(system)
    try:
        acknowledged, _ = _until_refused(system, path, "k")
        hot = system.ready("/hot")
        plain = system.kill("/plain")
        system.ready("/plain", plain.incarnation)
        before = system.kill(path)
        time.sleep(6.0)  # longer than a lease
        now = system.find("/hot")
        assert now is not None
        assert (now.pid, now.state) == (hot.pid, "ready"), "leases are renewed without room"
        until(
            lambda: (c := system.find(path)) and (c.state == "held" or (c.state == "ready" and c.pid != before.pid)),
            f"{path} is back, or held: {system.find(path)}",
            PATIENCE,
        )
    finally:
        _free(system)
    child = system.find(path)
    assert child is not None
    if child.state == "held":
        hold = held(system, path)
        code, said = rayvisor(system, "recovery", "approve", hold, "--rung", "warm", "--why", "there is room again")
        assert code == 0, said
        system.ready(path, before.incarnation)
    assert balance(system, path) == str(start + len(acknowledged))
    assert post(system, path, "last") == str(start + len(acknowledged) + 1)
    noted(system, EventKind.CHILD_EXITED, path, since)
