"""Standbys that get ready while they follow: what a promotion then waits for, and what becomes of their files."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from supervisors.recovery.policy import AckMode
from supervisors.runtime import journaling, readiness
from supervisors.runtime.readiness import Readiness
from supervisors.state.journal import JournalReader, JournalWriter, retain
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk
from tests.unit.runtime.ledgers import Node, Put, policy, until

SYNCS = ("fdatasync", "fsync", "fsync_dir")


class Group:
    """A primary and standbys on one folder, each with a disk of its own to count on."""

    def __init__(self, base: Path, sockets: Path) -> None:
        self.base = base
        self.sockets = sockets
        self.spec = policy(AckMode.BOTH, standby_timeout=5.0)
        self.made: list[Node] = []

    def node(self, where: str = "shared", disk: FaultyDisk | None = None) -> Node:
        name = f"n{len(self.made)}"
        made = Node(self.base / where, self.sockets, name, self.spec, disk=disk or FaultyDisk())
        self.made.append(made)
        return made

    async def primary(self) -> Node:
        primary = await self.node().begin(1)
        await primary.put(0, 1, 2)
        return primary

    async def standby(self, primary: Node, epoch: int = 1, where: str = "shared") -> Node:
        standby = await self.node(where).follow(primary, epoch, beat=0.01)
        await until(lambda: standby.state == "synced")
        return standby

    @property
    def takeovers(self) -> list[Path]:
        return list((self.base / "shared" / "journal").glob("takeover-*"))

    async def end(self) -> None:
        for node in self.made:
            await node.end()


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    with tempfile.TemporaryDirectory(prefix="rv-", dir="/tmp") as sockets:
        made = Group(tmp_path, Path(sockets))
        yield made
        await made.end()


async def prepared(node: Node) -> None:
    follower = node.follower
    assert follower is not None
    await until(lambda: follower._readiness.ready)


async def promote(node: Node, epoch: int) -> int:
    follower = node.follower
    assert follower is not None
    return (await follower.promote(epoch, 2)).behind


def has_last(node: Node, amount: int) -> bool:
    return node.target.seen[-1] == amount


def counts(node: Node) -> int:
    disk = node.journal.disk
    assert isinstance(disk, FaultyDisk)
    return sum(disk.calls[call] for call in SYNCS)


async def test_a_promotion_that_was_prepared_waits_for_no_sync(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journaling, "_SETTLE_AFTER", 0.3)
    primary = await group.primary()
    standby = await group.standby(primary)
    await prepared(standby)
    await primary.put(3)
    primary.vanish()
    before = counts(standby)
    assert await promote(standby, 2) == 0
    assert counts(standby) == before
    assert await standby.journal.append(Put("a", 10)) == 16
    assert counts(standby) == before + 1
    segment = group.base / "shared" / "journal" / f"{1:020d}-{1:020d}.seg"
    size = segment.stat().st_size
    await until(lambda: segment.stat().st_size < size)  # what could wait is done behind it
    assert group.takeovers == []
    assert JournalReader(segment.parent).verify().findings == ()
    standby.vanish()
    again = await group.node().begin(3)
    assert again.target.seen == [0, 1, 2, 3, 10]


async def test_standbys_of_one_primary_do_not_disturb_each_other(group: Group) -> None:
    primary = await group.primary()
    standbys = [await group.standby(primary) for _ in range(3)]
    for standby in standbys:
        await prepared(standby)
    assert len(group.takeovers) == 6
    primary.vanish()
    acting = primary
    for epoch, standby in enumerate(standbys, 2):
        acting.vanish()
        before = counts(standby)
        await promote(standby, epoch)
        assert counts(standby) == before
        await standby.put(10 + epoch)
        acting = standby
        for other in standbys[epoch - 1 :]:
            other.feed(acting, epoch)
            await until(partial(has_last, other, 10 + epoch))
    assert acting.target.seen == [0, 1, 2, 12, 13, 14]
    assert group.takeovers == []


async def test_one_that_stops_following_leaves_nothing_behind(group: Group) -> None:
    primary = await group.primary()
    standby = await group.standby(primary)
    await prepared(standby)
    follower = standby.follower
    assert follower is not None
    standby.plane.call_soon(follower.close)
    await until(lambda: group.takeovers == [])


async def test_on_another_disk_there_is_nothing_to_prepare(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "LOOK", 0.01)
    stale = await group.node("other").begin(1)  # an earlier life of this node
    await stale.put(7)
    stale.vanish()
    primary = await group.node().begin(5)
    await primary.put(0, 1, 2)
    standby = await group.standby(primary, 5, "other")
    looks: list[float] = []
    follower = standby.follower
    assert follower is not None
    look = follower._readiness.look
    follower._readiness.look = lambda now, epoch: (looks.append(now), look(now, epoch))[1]  # type: ignore[func-returns-value, method-assign]
    await until(lambda: len(looks) > 5)
    assert not follower._readiness.ready
    assert list((group.base / "other" / "journal").glob("takeover-*")) == []


async def test_a_disk_that_refuses_is_told_once_and_the_promotion_takes_its_time(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "LOOK", 0.01)
    primary = await group.primary()
    disk = FaultyDisk()
    disk.fail("preallocate", 28, times=-1, match="takeover")
    standby = await group.node(disk=disk).follow(primary, 1, beat=0.01)
    await until(lambda: disk.calls["preallocate"] > 3)
    primary.vanish()
    assert await promote(standby, 2) == 0
    assert len(standby.notes("not_prepared")) == 1
    await standby.put(3)
    assert standby.target.seen == [0, 1, 2, 3]


# ---------------------------------------------------------------- on its own


def journal(folder: Path, count: int = 30) -> JournalWriter:
    writer = JournalWriter.open(folder, 1, clock=ManualClock(1.0, 10**18), disk=FaultyDisk(), segment_bytes=400)
    for _ in range(count):
        writer.append([bytes(50)])
    return writer


async def test_what_has_become_stale_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    writer = journal(folder)
    told: list[str] = []
    ready = Readiness(folder, FaultyDisk(), 4096, told.append)
    ready.look(0.0, 1)
    await until(lambda: ready.ready)
    first = set(folder.glob("takeover-*"))
    ready.look(1.0, 1)  # too soon
    ready.look(readiness.LOOK, 1)
    await until(lambda: not ready._busy)
    assert set(folder.glob("takeover-*")) == first, "it was still of use"
    assert retain(folder, 10, 0.0, utc_ns=2 * 10**18, disk=FaultyDisk())
    ready.look(3 * readiness.LOOK, 1)
    await until(lambda: not ready._busy)
    second = set(folder.glob("takeover-*"))
    assert len(second) == 2
    assert not second & first
    ready.close()
    assert list(folder.glob("takeover-*")) == []
    assert told == []
    writer.abandon()


async def test_a_promotion_does_not_wait_for_one_that_is_being_prepared(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    writer = journal(folder)
    disk = FaultyDisk()
    reached, go_on = threading.Event(), threading.Event()

    def hang(call: str, path: Path) -> None:
        if call == "fsync":
            reached.set()
            assert go_on.wait(30)

    disk.before = hang
    ready = Readiness(folder, disk, 4096, lambda why: None)
    ready.look(0.0, 1)
    ready.look(readiness.LOOK, 1)  # one at a time
    assert await asyncio.to_thread(reached.wait, 30)
    assert ready.take() is None
    go_on.set()
    await until(lambda: not ready._busy and list(folder.glob("takeover-*")) == [])
    ready.look(9 * readiness.LOOK, 1)
    assert not ready._busy
    writer.abandon()


async def test_the_journal_of_an_older_primary_is_not_prepared_for(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    writer = journal(folder, 1)
    ready = Readiness(folder, FaultyDisk(), 4096, lambda why: None)
    ready.look(0.0, 2)
    await until(lambda: not ready._busy)
    assert not ready.ready
    ready.look(readiness.LOOK, 1)
    await until(lambda: ready.ready)
    ready.close()
    writer.abandon()
