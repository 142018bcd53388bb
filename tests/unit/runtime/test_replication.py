"""Primary and standbys on real planes: acknowledgement, lag, lost frames, and promotion after a death at any moment."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisors.core.errors import Fenced, JournalCorrupt, JournalFailed
from supervisors.recovery.policy import AckMode, RecoverySpec
from supervisors.runtime import replication
from supervisors.signals.messages import Message, Records, SnapshotPart
from supervisors.testing.disk import FaultyDisk
from tests.unit.runtime.ledgers import Break, Node, Put, policy, until


class Cluster:
    """A primary and its standbys, on one disk or each on its own."""

    def __init__(self, base: Path, sockets: Path, spec: RecoverySpec) -> None:
        self.base = base
        self.sockets = sockets
        self.spec = spec
        self.made: list[Node] = []

    def node(self, where: str = "shared", **options: object) -> Node:
        made = Node(self.base / where, self.sockets, f"n{len(self.made)}", self.spec, **options)  # type: ignore[arg-type]
        self.made.append(made)
        return made

    async def pair(self, where: str = "shared", **options: object) -> tuple[Node, Node]:
        """A primary with some events and a synced standby."""
        primary = await self.node("shared", **options).begin(1)
        await primary.put(0, 1, 2)
        standby = await self.node(where).follow(primary, 1)
        await until(lambda: standby.state == "synced")
        replicator = primary.journal._replicator
        assert replicator is not None
        await until(lambda: all(one.in_sync for one in replicator._side.followers.values()))  # it says so first
        return primary, standby

    async def end(self) -> None:
        for node in self.made:
            await node.end()


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="rv-", dir="/tmp") as sockets:
        made = Cluster(tmp_path, Path(sockets), policy(AckMode.BOTH, standby_timeout=5.0))
        yield made
        await made.end()


async def promote(node: Node, epoch: int, incarnation: int = 2) -> int:
    """Promote it; how many events it was behind."""
    follower = node.follower
    assert follower is not None
    return (await follower.promote(epoch, incarnation)).behind


# ---------------------------------------------------------------- following


async def test_a_standby_has_the_backlog_and_then_each_event(both: Cluster) -> None:
    primary, standby = await both.pair()
    assert standby.target.seen == [0, 1, 2]
    await primary.put(3, 4)
    await until(lambda: standby.target.seen == [0, 1, 2, 3, 4])
    assert standby.journal.sequence == 5


async def test_with_ack_both_an_append_returns_when_the_standby_has_it(both: Cluster) -> None:
    primary, standby = await both.pair()
    follower = standby.follower
    assert follower is not None
    for amount in range(3, 30):
        await primary.put(amount)
        assert follower.received == amount + 1, "it was there before the append returned"


async def test_a_standby_on_another_disk_gets_everything_over_the_plane(both: Cluster) -> None:
    _, standby = await both.pair("other")
    assert standby.target.seen == [0, 1, 2]
    assert not (both.base / "other" / "journal").exists()


async def test_frames_that_are_lost_are_found_and_asked_for_again(both: Cluster) -> None:
    primary, standby = await both.pair("other")
    dropped: list[Message] = []

    def lose(message: Message) -> bool:
        if isinstance(message, Records) and message.body and len(dropped) < 5 and message.last % 2:
            dropped.append(message)
            return True
        return False

    primary.loses = lose
    await primary.put(*range(3, 40))
    await until(lambda: standby.target.seen == list(range(40)))
    assert len(dropped) == 5


async def test_the_last_frame_lost_is_found_without_another_append(both: Cluster) -> None:
    primary, standby = await both.pair("other")
    lost: list[Message] = []

    def lose(message: Message) -> bool:
        if isinstance(message, Records) and message.body and not lost:
            lost.append(message)
            return True
        return False

    primary.loses = lose
    await primary.put(3)
    await until(lambda: standby.target.seen == [0, 1, 2, 3])


async def test_a_standby_that_stops_confirming_is_not_waited_for_longer_and_comes_back(both: Cluster) -> None:
    both.spec = policy(AckMode.BOTH, standby_timeout=3.0)
    primary, standby = await both.pair("other")
    primary.loses = lambda message: True
    clock = asyncio.get_running_loop().time
    began = clock()
    await primary.put(3)
    first = clock() - began
    assert 2.5 < first < 15.0, "it waited for the standby as long as agreed"
    assert len(primary.notes("lagging")) == 1
    began = clock()
    await primary.put(4)
    assert clock() - began < 2.5, "no longer waited for"
    primary.loses = lambda message: False
    await until(lambda: standby.target.seen == [0, 1, 2, 3, 4])
    await until(lambda: standby.state == "synced")

    def in_sync() -> bool:
        replicator = primary.journal._replicator
        assert replicator is not None
        return [follower.in_sync for follower in replicator._side.followers.values()] == [True]

    await until(in_sync)
    await primary.put(5)
    assert standby.follower is not None
    assert standby.follower.received == 6


async def test_a_standby_known_to_be_dead_is_not_waited_for_at_all(both: Cluster) -> None:
    both.spec = policy(AckMode.BOTH, standby_timeout=30.0)
    primary, standby = await both.pair()
    standby.vanish()
    task = asyncio.ensure_future(primary.put(3))
    await asyncio.sleep(0.02)
    assert not task.done()
    primary.plane.call_soon(lambda: primary.journal.unfollow(standby.name))
    async with asyncio.timeout(5.0):
        await task


async def test_an_append_the_disk_refused_never_reaches_a_standby(both: Cluster) -> None:
    disk = FaultyDisk()
    primary, standby = await both.pair("other", disk=disk)
    disk.fail("fdatasync", match=".seg")
    with pytest.raises(JournalFailed):
        await primary.put(100)
    await primary.put(3)
    await until(lambda: len(standby.target.seen) == 4)
    assert standby.target.seen == primary.target.seen == [0, 1, 2, 3]


async def test_a_standby_that_never_applies_costs_its_primary_a_bounded_amount(
    both: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "WINDOW", 4000)
    monkeypatch.setattr(replication, "_RECENT", 4000)
    primary, standby = await both.pair("other")
    follower = standby.follower
    assert follower is not None
    follower._waking = True  # its loop is stuck: nothing is applied any more
    sent: list[int] = []

    def count(message: Message) -> bool:
        if isinstance(message, Records):
            sent.append(len(message.body))
        return False

    primary.loses = count
    for _ in range(5):
        await asyncio.gather(*(primary.journal.append(Put("a", 7)) for _ in range(200)))
    replicator = primary.journal._replicator
    assert replicator is not None
    assert sum(sent) < 40_000, "1000 events are 60 KB: it was not sent them"
    assert sum(batch.size for batch in replicator._side._recent) < 30_000
    follower._waking = False
    standby.plane.call_soon(follower._wake)
    await until(lambda: len(standby.target.seen) == 1003)
    await until(lambda: standby.state == "synced")


async def test_a_standby_behind_the_oldest_event_gets_a_snapshot(
    tmp_path: Path, both: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "_PART", 100)
    both.spec = policy(AckMode.BOTH, segment_bytes=2000, retain=0.0, keep=1, standby_timeout=5.0)
    primary = await both.node().begin(1)
    for start in range(0, 200, 20):
        await asyncio.gather(*(primary.journal.append(Put("a", start + n)) for n in range(20)))
        await primary.journal.checkpoint()
    await primary.put(200)
    parts: list[SnapshotPart] = []

    def note(message: Message) -> bool:
        if isinstance(message, SnapshotPart):
            parts.append(message)
        return False

    primary.loses = note
    standby = await both.node("other").follow(primary, 1)
    await until(lambda: standby.state == "synced")
    assert len(parts) > 1
    assert standby.target.seen == list(range(201))
    primary.vanish()
    assert await promote(standby, 2) == 0
    await standby.put(201)
    standby.vanish()
    again = await both.node("other").begin(3)
    assert again.target.seen == list(range(202))


async def test_a_long_backlog_does_not_wait_for_beats(both: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "WINDOW", 4000)
    monkeypatch.setattr(replication, "_RECENT", 4000)
    monkeypatch.setattr(replication, "_PART", 2000)
    primary = await both.node().begin(1)
    await asyncio.gather(*(primary.journal.append(Put("a", number)) for number in range(2000)))
    standby = await both.node("other").follow(primary, 1, beat=60.0)
    await until(lambda: len(standby.target.seen) == 2000, 30.0)
    assert standby.target.seen == list(range(2000))


async def test_a_standby_whose_apply_raises_has_failed(both: Cluster) -> None:
    primary, standby = await both.pair()
    with pytest.raises(ValueError, match="broken"):
        await primary.journal.append(Break())
    await until(lambda: standby.state == "failed")
    assert len(standby.died) == 1


async def test_lag_is_told(both: Cluster) -> None:
    both.spec = policy(AckMode.DISK, standby_timeout=0.1)
    primary, standby = await both.pair()
    standby.target.pause = 0.01
    await asyncio.gather(*(primary.journal.append(Put("a", 1)) for _ in range(60)))
    await until(lambda: standby.state == "syncing")
    await until(lambda: standby.state == "synced")
    assert len(standby.target.seen) == 63


# ---------------------------------------------------------------- promotion


async def test_a_promoted_standby_goes_on_where_its_primary_ended(both: Cluster) -> None:
    primary, standby = await both.pair()
    primary.vanish()
    assert await promote(standby, 2) == 0
    assert standby.journal.incarnation == 2
    assert await standby.journal.append(Put("a", 10)) == 13
    standby.vanish()
    again = await both.node().begin(3)
    assert again.target.seen == [0, 1, 2, 10]


async def test_events_on_the_disk_that_never_arrived_are_applied_at_promotion(both: Cluster) -> None:
    both.spec = policy(AckMode.BOTH, standby_timeout=0.3)
    primary, standby = await both.pair()
    primary.loses = lambda message: isinstance(message, Records)
    await primary.put(3, 4)
    primary.vanish()
    assert await promote(standby, 2) == 2
    assert standby.target.seen == [0, 1, 2, 3, 4]


async def test_without_a_shared_disk_the_journal_begins_with_a_checkpoint(both: Cluster) -> None:
    primary, standby = await both.pair("other")
    await primary.put(3)
    primary.vanish()
    assert await promote(standby, 2) == 0
    await standby.put(4)
    standby.vanish()
    again = await both.node("other").begin(3)
    assert again.target.seen == [0, 1, 2, 3, 4]


async def test_what_an_earlier_life_left_on_the_standbys_machine_is_never_taken_for_the_truth(both: Cluster) -> None:
    stale = await both.node("other").begin(1)
    await stale.put(*range(90, 110))
    await stale.journal.checkpoint()
    stale.vanish()
    primary = await both.node().begin(5)
    await primary.put(0, 1, 2)
    standby = await both.node("other").follow(primary, 5)
    assert standby.target.seen == list(range(90, 110))
    await until(lambda: standby.state == "synced")
    assert standby.target.seen == [0, 1, 2]
    primary.vanish()
    await promote(standby, 6)
    assert len(standby.notes("set_aside")) == 1
    await standby.put(3)
    standby.vanish()
    again = await both.node("other").begin(7)
    assert again.target.seen == [0, 1, 2, 3]


@pytest.mark.parametrize("checkpoint", [False, True])
async def test_the_same_sequences_of_another_history_are_noticed(both: Cluster, checkpoint: bool) -> None:
    """Also where the state comes from a checkpoint, which does not say whose its last event was."""
    stale = await both.node("other").begin(1)
    await stale.put(7, 8)
    if checkpoint:
        await stale.journal.checkpoint()
    stale.vanish()
    primary = await both.node().begin(5)
    await primary.put(0, 1, 2, 3)
    standby = await both.node("other").follow(primary, 5)
    await until(lambda: standby.state == "synced")
    assert standby.target.seen == [0, 1, 2, 3]


async def test_a_corrupt_journal_stops_a_promotion(both: Cluster) -> None:
    both.spec = policy(AckMode.BOTH, standby_timeout=0.3)
    primary, standby = await both.pair()
    primary.loses = lambda message: isinstance(message, Records)
    await primary.put(3)
    primary.vanish()
    segment = max((both.base / "shared" / "journal").glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[len(data.rstrip(b"\0")) - 1] ^= 1
    segment.write_bytes(data)
    with pytest.raises(JournalCorrupt):
        await promote(standby, 2)


async def test_a_standby_follows_the_one_that_was_promoted(both: Cluster) -> None:
    primary, first = await both.pair()
    second = await both.node().follow(primary, 1)
    await until(lambda: second.state == "synced")
    await primary.put(3)
    primary.vanish()
    await promote(first, 2)
    second.feed(first, 2)
    await first.put(4)
    await until(lambda: second.target.seen == [0, 1, 2, 3, 4])
    await until(lambda: second.state == "synced")
    first.vanish()
    await promote(second, 3)
    await second.put(5)
    assert second.target.seen == [0, 1, 2, 3, 4, 5]


async def test_a_standby_that_has_all_before_the_new_primarys_beginning_needs_no_snapshot(both: Cluster) -> None:
    primary, first = await both.pair("other")
    second = await both.node("third").follow(primary, 1)
    await until(lambda: second.state == "synced")
    primary.vanish()
    await promote(first, 2)  # its journal begins with event 4
    parts: list[Message] = []

    def note(message: Message) -> bool:
        if isinstance(message, SnapshotPart):
            parts.append(message)
        return False

    first.loses = note
    await first.put(3)
    second.feed(first, 2)
    await until(lambda: second.target.seen == [0, 1, 2, 3])
    assert parts == []


async def test_a_life_that_was_never_followed_may_have_written_another_history(both: Cluster) -> None:
    """Two standbys on one disk, which is not their primary's; the one that has less is promoted, and dies at once."""
    both.spec = policy(AckMode.DISK, standby_timeout=0.3)
    primary, first = await both.pair("other")
    second = await both.node("other").follow(primary, 1)
    await until(lambda: second.state == "synced")
    assert first.follower is not None
    first.plane.call_soon(first.follower.halt)
    await primary.put(3, 4)
    await until(lambda: second.target.seen == [0, 1, 2, 3, 4])
    primary.vanish()
    await promote(first, 2)
    await first.put(13, 14, 15)
    first.vanish()
    assert await promote(second, 3, 3) == 1
    assert second.target.seen == [0, 1, 2, 13, 14, 15]
    await second.put(16)
    second.vanish()
    again = await both.node("other").begin(4)
    assert again.target.seen == [0, 1, 2, 13, 14, 15, 16]


async def test_a_standby_does_not_act_under_an_epoch_that_is_not_newer_than_its_primarys(both: Cluster) -> None:
    primary = await both.node().begin(5)
    await primary.put(0, 1, 2)
    standby = await both.node("other").follow(primary, 5)
    await until(lambda: standby.state == "synced")
    for epoch in (4, 5):
        with pytest.raises(Fenced):
            await promote(standby, epoch)


async def test_a_standby_never_fed_is_promoted_from_the_disk(both: Cluster) -> None:
    primary = await both.node().begin(1)
    await primary.put(0, 1)
    standby = both.node()
    from supervisors.runtime.following import Follower

    standby.follower = Follower(standby.journal, standby.name, 0.05)
    await standby.follower.restore()
    await primary.put(2)
    primary.vanish()
    assert await promote(standby, 2) == 1
    assert standby.target.seen == [0, 1, 2]


# ---------------------------------------------------------------- death at any moment


@pytest.mark.parametrize("disk", ["shared", "other"])
@given(
    batches=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    lost=st.integers(0, 12),
    turns=st.integers(0, 40),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_after_a_death_at_any_moment_nothing_acknowledged_is_lost_or_applied_twice(
    disk: str, batches: list[int], lost: int, turns: int
) -> None:
    """``lost``: from which frame on the standby hears nothing; ``turns``: how long the primary lives on."""
    asyncio.run(_die(disk, batches, lost, turns))


async def _die(disk: str, batches: list[int], lost: int, turns: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rv-", dir="/dev/shm"))
    cluster = Cluster(folder, folder, policy(AckMode.BOTH, standby_timeout=5.0))
    try:
        primary, standby = await cluster.pair(disk)
        acknowledged = [0, 1, 2]
        offered = [0, 1, 2]
        frames = 0

        def lose(message: Message) -> bool:
            nonlocal frames
            frames += isinstance(message, Records) and bool(message.body)
            return frames > lost

        primary.loses = lose

        async def append(amount: int) -> None:
            await primary.journal.append(Put("a", amount))
            acknowledged.append(amount)

        tasks = []
        number = 3
        for size in batches:
            for _ in range(size):
                tasks.append(asyncio.ensure_future(append(number)))
                offered.append(number)
                number += 1
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        primary.vanish()
        known = acknowledged.copy()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await promote(standby, 2)
        assert standby.target.seen[: len(known)] == known, "everything acknowledged, in order"
        assert standby.target.seen == offered[: len(standby.target.seen)], "nothing twice, nothing left out"
        await standby.put(-1)
        seen = standby.target.seen.copy()
        standby.vanish()
        again = await cluster.node(disk).begin(3)
        assert again.target.seen == seen
    finally:
        await cluster.end()
        shutil.rmtree(folder)
