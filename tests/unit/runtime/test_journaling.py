"""The object behind ctx.journal: order, acknowledgement, faults of the disk, checkpoints, restore."""

import asyncio
import errno
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from supervisors.core.errors import (
    CheckpointError,
    Fenced,
    JournalCorrupt,
    JournalFailed,
    NotActing,
    RecoveryError,
)
from supervisors.recovery.policy import AckMode, RecoverySpec
from supervisors.runtime.codec import StateCodec
from supervisors.signals.messages import Checkpointed
from supervisors.state.checkpoints import Checkpoint, CheckpointStore
from supervisors.testing.clock import ManualClock
from supervisors.testing.disk import FaultyDisk
from tests.unit.runtime.ledgers import Break, Ledger, Node, Put, Rows, policy, until


class Nodes:
    """Makes nodes of one folder and ends them."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self.sockets = sockets
        self.made: list[Node] = []

    def make(self, spec: RecoverySpec | None = None, **options: object) -> Node:
        node = Node(self.folder, self.sockets, f"n{len(self.made)}", spec or policy(), **options)  # type: ignore[arg-type]
        self.made.append(node)
        return node

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(self.folder / "checkpoints")


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="rv-", dir="/tmp") as sockets:
        made = Nodes(tmp_path / "state", Path(sockets))
        yield made
        for node in made.made:
            await node.end()


# ---------------------------------------------------------------- appending


async def test_append_gives_what_apply_gave_and_it_is_applied_by_then(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    assert await node.journal.append(Put("a", 5)) == 5
    assert await node.journal.append(Put("a", 2)) == 7
    assert (node.journal.sequence, node.target.balances) == (2, {"a": 7})


async def test_concurrent_appends_are_applied_in_the_order_of_their_calls(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    answers = await asyncio.gather(*(node.journal.append(Put("a", number)) for number in range(500)))
    assert node.target.seen == list(range(500))
    assert answers == [sum(range(number + 1)) for number in range(500)]
    node.vanish()
    again = await nodes.make().begin(2)
    assert again.target.seen == list(range(500))


async def test_an_event_whose_caller_was_cancelled_is_applied_all_the_same(nodes: Nodes) -> None:
    disk = FaultyDisk()
    node = await nodes.make(disk=disk).begin(1)
    disk.slow = 0.05
    task = asyncio.ensure_future(node.journal.append(Put("a", 1)))
    await asyncio.sleep(0)
    task.cancel()
    await node.journal.append(Put("a", 2))
    assert task.cancelled()
    assert node.target.seen == [1, 2], "the state is what the journal says"


async def test_what_is_no_event_never_reaches_the_disk(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    with pytest.raises(msgspec.ValidationError):
        await node.journal.append(("no", "event"))
    with pytest.raises(TypeError):
        await node.journal.append(object())
    await node.put(1)
    assert node.journal.sequence == 1


async def test_only_an_acting_life_appends(nodes: Nodes) -> None:
    node = nodes.make()
    with pytest.raises(NotActing):
        await node.put(1)
    await node.begin(1)
    node.acting = False
    with pytest.raises(NotActing):
        await node.put(1)
    node.acting = True
    await node.put(2)
    assert node.target.seen == [2]


async def test_a_lease_lost_while_the_disk_worked_is_told_and_the_state_stays_true(nodes: Nodes) -> None:
    disk = FaultyDisk()
    node = await nodes.make(disk=disk).begin(1)
    disk.slow = 0.05
    task = asyncio.ensure_future(node.journal.append(Put("a", 1)))
    await asyncio.sleep(0)
    node.acting = False
    with pytest.raises(NotActing, match="is kept"):
        await task
    assert node.target.seen == [1]


async def test_an_apply_that_raises_ends_this_life(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    answers = await asyncio.gather(
        *(node.journal.append(event) for event in (Put("a", 1), Break(), Put("a", 2))), return_exceptions=True
    )
    assert answers[0] == 1
    assert isinstance(answers[1], ValueError)
    assert isinstance(answers[2], NotActing)
    assert [type(error) for error in node.died] == [ValueError]
    assert node.target.seen == [1]
    with pytest.raises(NotActing, match="broken"):
        await node.put(3)


async def test_a_disk_that_fails_acknowledges_and_applies_nothing_and_is_used_again(nodes: Nodes) -> None:
    disk = FaultyDisk()
    node = await nodes.make(disk=disk).begin(1)
    await node.put(1)
    disk.fail("fdatasync", errno.EIO, match=".seg")
    answers = await asyncio.gather(*(node.journal.append(Put("a", n)) for n in (2, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [JournalFailed] * 2
    assert node.target.seen == [1]
    await node.put(4)
    assert node.target.seen == [1, 4]
    assert len(node.notes("failed")) == 1
    assert len(node.notes("usable")) == 1
    assert node.died == []
    disk.fail("write", errno.ENOSPC, match=".seg", times=-1)
    for number in range(3):
        with pytest.raises(JournalFailed):
            await node.put(100 + number)
    disk.heal()
    await node.put(5)
    node.vanish()
    again = await nodes.make().begin(2)
    assert again.target.seen == [1, 4, 5]


async def test_nothing_is_applied_before_it_is_acknowledged_itself(nodes: Nodes) -> None:
    disk = FaultyDisk()
    node = await nodes.make(disk=disk).begin(1)
    syncing = threading.Event()
    disk.before = lambda call, path: syncing.set() if call == "fdatasync" else None
    disk.slow = 0.05
    disk.fail("fdatasync", errno.EIO, match=".seg", after=1)
    first = asyncio.ensure_future(node.journal.append(Put("a", 1)))
    await until(syncing.is_set)  # the first is on its way alone: the second makes a batch of its own, which fails
    second = asyncio.ensure_future(node.journal.append(Put("a", 2)))
    assert await first == 1
    with pytest.raises(JournalFailed):
        await second
    assert node.target.seen == [1]


async def test_a_newer_life_fences_the_older_one(nodes: Nodes) -> None:
    old = await nodes.make().begin(1)
    await old.put(1)
    new = await nodes.make().begin(2)
    with pytest.raises(Fenced):
        await old.put(2)
    assert [type(error) for error in old.died] == [Fenced]
    assert old.target.seen == [1]
    await new.put(3)
    assert new.target.seen == [1, 3]
    with pytest.raises(Fenced):
        await nodes.make().begin(1)


@pytest.mark.parametrize("ack", [AckMode.DISK, AckMode.BOTH, AckMode.STANDBY, AckMode.ASYNC])
async def test_every_way_to_acknowledge_works_without_a_standby(nodes: Nodes, ack: AckMode) -> None:
    node = await nodes.make(policy(ack)).begin(1)
    await node.put(1, 2, 3)
    await node.end()
    again = await nodes.make(policy(ack)).begin(2)
    assert again.target.seen == [1, 2, 3]


async def test_ack_standby_without_one_waits_for_the_disk(nodes: Nodes) -> None:
    disk = FaultyDisk()
    node = await nodes.make(policy(AckMode.STANDBY), disk=disk).begin(1)
    await node.put(1)
    disk.fail("fdatasync", times=-1)
    with pytest.raises(NotActing, match="did not follow"):
        await node.put(2)
    assert [type(error) for error in node.died] == [JournalFailed], "what the disk has is not known any more"
    disk.heal()


# ---------------------------------------------------------------- restore


async def test_warm_is_checkpoint_and_tail_and_cold_is_everything(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    await node.put(*range(10))
    assert await node.journal.checkpoint() == 10
    await node.put(10, 11)
    node.vanish()
    warm, cold = nodes.make(), nodes.make()
    restored = await warm.journal.restore("warm")
    assert (restored.sequence, restored.from_checkpoint, restored.events, restored.findings) == (12, 10, 2, ())
    replayed = await cold.journal.restore("cold")
    assert (replayed.sequence, replayed.from_checkpoint, replayed.events) == (12, 0, 12)
    assert warm.target.seen == cold.target.seen == list(range(12))


async def test_a_damaged_checkpoint_is_passed_over_and_named(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    for amount in range(3):
        await node.put(amount)
        await node.journal.checkpoint()
    node.vanish()
    newest = nodes.store.list()[0].file
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x00\x01")
    again = nodes.make()
    restored = await again.journal.restore("warm")
    assert (restored.from_checkpoint, restored.sequence) == (2, 3)
    assert len(restored.findings) == 1
    assert "3" in restored.findings[0]
    assert len(again.notes("restored_with")) == 1


async def test_cold_after_retention_begins_with_the_oldest_checkpoint_and_says_so(nodes: Nodes) -> None:
    node = await nodes.make(policy(segment_bytes=2000, retain=0.0, keep=2)).begin(1)
    for start in range(0, 200, 20):
        await asyncio.gather(*(node.journal.append(Put("a", start + n)) for n in range(20)))
        await node.journal.checkpoint()
    node.vanish()
    oldest = nodes.store.list()[-1].sequence
    assert oldest == 180
    cold = nodes.make()
    restored = await cold.journal.restore("cold")
    assert (restored.from_checkpoint, restored.sequence) == (oldest, 200)
    assert any("begins with event" in text for text in restored.findings)
    assert cold.target.seen == list(range(200))
    for info in nodes.store.list():
        info.file.write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        await nodes.make().journal.restore("cold")
    with pytest.raises(CheckpointError):
        await nodes.make().journal.restore("warm")


async def test_a_damaged_journal_is_corrupt_and_never_silently_shorter(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    await node.put(*range(50))
    node.vanish()
    segment = next((nodes.folder / "journal").glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[1000] ^= 1
    segment.write_bytes(data)
    with pytest.raises(JournalCorrupt):
        await nodes.make().journal.restore("warm")


async def test_an_event_apply_refuses_is_named(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    await node.put(1, 2)
    with pytest.raises(ValueError, match="broken"):
        await node.journal.append(Break())
    node.vanish()
    with pytest.raises(RecoveryError, match="event 3: ValueError: broken"):
        await nodes.make().journal.restore("cold")


class Narrow(Ledger):
    """Knows fewer events."""

    Event = Break  # type: ignore[assignment]


async def test_an_event_the_class_does_not_know_is_named(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    await node.put(1, 2)
    node.vanish()
    with pytest.raises(RecoveryError, match=r"event 1 is no .*Narrow\.Event"):
        await nodes.make(target=Narrow()).journal.restore("")


class Counts(msgspec.Struct):
    balances: dict[str, int]
    count: int


class Next(Ledger):
    """Version 2 of the ledger's state: a count instead of a list."""

    State = Counts  # type: ignore[assignment]
    STATE_VERSION = 2

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def apply(self, event: Put | Break) -> int:
        self.count += 1
        return super().apply(event)

    def snapshot(self) -> Counts:  # type: ignore[override]
        return Counts(self.balances, self.count)

    def restore(self, state: Counts) -> None:  # type: ignore[override]
        self.balances, self.count = state.balances, state.count


class Migrating(Next):
    @staticmethod
    def migrate(version: int, state: dict[str, object]) -> dict[str, object]:
        assert version == 1
        seen = state["seen"]
        assert isinstance(seen, list)
        return {"balances": state["balances"], "count": len(seen)}


async def test_a_state_of_an_older_version_goes_through_migrate(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    await node.put(1, 2)
    await node.journal.checkpoint()
    await node.put(3)
    node.vanish()
    migrating = Migrating()
    restored = await nodes.make(target=migrating).journal.restore("warm")
    assert (restored.from_checkpoint, migrating.count, migrating.balances) == (2, 3, {"a": 6})


async def test_a_state_that_cannot_be_read_is_passed_over_while_the_journal_has_everything(nodes: Nodes) -> None:
    node = await nodes.make(target=Migrating()).begin(1)
    await node.put(1, 2)
    await node.journal.checkpoint()
    node.vanish()
    old = nodes.make()  # older code meets the state of newer code
    restored = await old.journal.restore("warm")
    assert (restored.from_checkpoint, restored.sequence) == (0, 2)
    assert "version 2" in restored.findings[0]
    unable = nodes.make(target=Next())
    await unable.journal.restore("warm")
    assert unable.target.balances == {"a": 3}


async def test_a_state_of_unknown_version_is_an_error_when_nothing_else_is_left(nodes: Nodes) -> None:
    node = await nodes.make(policy(segment_bytes=2000, retain=0.0, keep=1), target=Migrating()).begin(1)
    for _ in range(5):
        await asyncio.gather(*(node.journal.append(Put("a", n)) for n in range(20)))
        await node.journal.checkpoint()
    node.vanish()
    with pytest.raises(CheckpointError, match="version 2"):
        await nodes.make().journal.restore("warm")


async def test_a_journal_that_ends_before_its_checkpoint_begins_anew_behind_it(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    await node.put(1, 2, 3)
    await node.journal.checkpoint()
    node.vanish()
    for file in (nodes.folder / "journal").iterdir():
        file.unlink()
    with pytest.raises(JournalCorrupt, match="a checkpoint stands at 3"):
        await nodes.make().journal.restore("cold")
    again = await nodes.make().begin(2, "warm")
    await again.put(4)
    again.vanish()
    last = await nodes.make().begin(3, "warm")
    assert last.target.seen == [1, 2, 3, 4]


async def test_a_checkpoint_a_fenced_life_took_late_is_not_used(nodes: Nodes) -> None:
    old = await nodes.make().begin(1)
    await old.put(1, 2, 3)
    old.vanish()
    new = await nodes.make().begin(2)
    await new.put(10, 11)
    new.vanish()
    body = StateCodec(Ledger()).encode_state(Rows({"a": 99}, [1, 2, 3, 99]))
    nodes.store.save(Checkpoint(4, 1, 0, 0, "x:Y", 1, body))
    for rung in ("warm", "cold"):
        again = nodes.make()
        restored = await again.journal.restore(rung)
        assert again.target.seen == [1, 2, 3, 10, 11]
        assert restored.from_checkpoint == 0
    assert any("epoch 1" in str(note.data["text"]) for note in nodes.made[-2].notes("restored_with"))


async def test_events_written_between_restore_and_open_are_not_missed(nodes: Nodes) -> None:
    old = await nodes.make().begin(1)
    await old.put(1)
    new = nodes.make()
    await new.journal.restore("")
    await old.put(2, 3)
    await new.journal.open(2)
    assert new.target.seen == [1, 2, 3]


async def test_a_long_replay_leaves_the_loop_its_turns(nodes: Nodes) -> None:
    node = await nodes.make().begin(1)
    await asyncio.gather(*(node.journal.append(Put("a", n)) for n in range(100)))
    node.vanish()
    slow = nodes.make()
    slow.target.pause = 0.01
    turns, longest, last = 0, 0.0, 0.0

    async def watch() -> None:
        nonlocal turns, longest, last
        clock = asyncio.get_running_loop().time
        last = clock()
        while True:
            await asyncio.sleep(0.005)
            now = clock()
            longest, last, turns = max(longest, now - last), now, turns + 1

    watcher = asyncio.ensure_future(watch())
    restored = await slow.journal.restore("cold")
    watcher.cancel()
    assert restored.events == 100
    assert restored.seconds > 1.0
    assert turns >= 20, "waking a sleeper takes two turns of the loop: one for each second slice, about 50"
    assert longest < 0.5


# ---------------------------------------------------------------- checkpoints


def sequences(node: Node) -> list[int]:
    return [message.sequence for message in node.told.copy() if isinstance(message, Checkpointed)]


async def test_checkpoints_come_by_time_and_by_number_of_events(nodes: Nodes) -> None:
    clock = ManualClock(100.0, 10**18)
    node = await nodes.make(policy(every=60.0, events=10), clock=clock, tick=0.005).begin(1)
    await node.put(*range(9))
    assert sequences(node) == []
    await node.put(9)
    await until(lambda: sequences(node) == [10])
    await node.put(10)
    clock.advance(59.0)
    await asyncio.sleep(0.02)
    assert sequences(node) == [10]
    clock.advance(1.0)
    await until(lambda: sequences(node) == [10, 11])
    clock.advance(60.0)
    await until(lambda: sequences(node) == [10, 11, 11])
    await node.end()
    assert sequences(node) == [10, 11, 11, 11], "the last one on an orderly end"


async def test_old_checkpoints_and_old_events_go(nodes: Nodes) -> None:
    node = await nodes.make(policy(segment_bytes=2000, retain=0.0, keep=2)).begin(1)
    for _ in range(6):
        await asyncio.gather(*(node.journal.append(Put("a", n)) for n in range(20)))
        await node.journal.checkpoint()
    assert [info.sequence for info in nodes.store.list()] == [120, 100]
    firsts = sorted(int(file.name.split("-")[0]) for file in (nodes.folder / "journal").glob("*.seg"))
    assert firsts[0] > 60


class Stubborn(Ledger):
    """Its snapshot fails."""

    broken = True

    def snapshot(self) -> object:  # type: ignore[override]
        if self.broken and self.seen:
            raise ValueError("no snapshot today")
        return super().snapshot()


async def test_a_checkpoint_that_fails_is_told_and_tried_again_and_kills_nobody(nodes: Nodes) -> None:
    clock = ManualClock(100.0, 10**18)
    target = Stubborn()
    node = await nodes.make(policy(every=60.0), clock=clock, tick=0.005, target=target).begin(1)
    await node.put(1)
    with pytest.raises(CheckpointError, match="no snapshot today"):
        await node.journal.checkpoint()
    clock.advance(60.0)
    await until(lambda: len(node.notes("failed")) == 1)
    await node.put(2)
    assert (node.died, sequences(node)) == ([], [])
    target.broken = False
    clock.advance(10.0)
    await until(lambda: sequences(node) == [2])


async def test_a_full_replay_verifies_a_checkpoint_in_the_background(nodes: Nodes) -> None:
    clock = ManualClock(100.0, 10**18)
    node = await nodes.make(policy(verify_every=30.0), clock=clock).begin(1)
    await node.put(1, 2, 3)
    await node.journal.checkpoint()
    clock.advance(30.0)
    await node.journal.checkpoint()
    await until(lambda: len(node.notes("replay_verified")) == 1, 60.0)
    note = node.notes("replay_verified")[0]
    assert (note.kind, note.data["sequence"], note.data["events"]) == ("journal", 3, 3)
    node.target.balances["a"] += 1  # a change that is no event
    clock.advance(30.0)
    await node.journal.checkpoint()
    await until(lambda: len(node.notes("replay_mismatch")) == 1, 60.0)


async def test_a_class_without_snapshot_or_with_async_apply_is_refused(nodes: Nodes) -> None:
    class Half:
        def apply(self, event: object) -> None: ...

    class Waits(Ledger):
        async def apply(self, event: object) -> int:  # type: ignore[override]
            return 0

    for target, text in ((Half(), "lacks"), (Waits(), "async")):
        with pytest.raises(RecoveryError, match=text):
            nodes.make(target=target)


class Numbered(msgspec.Struct):
    """Keys that msgspec cannot sort."""

    counts: dict[int, int]


class Counter:
    """Counts by number; the dict of its state is in the order it was filled in."""

    Event = int
    State = Numbered
    backwards = False

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def apply(self, event: int) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1

    def snapshot(self) -> Numbered:
        return Numbered(dict(reversed(self.counts.items())) if self.backwards else self.counts)

    def restore(self, state: Numbered) -> None:
        self.counts = state.counts


def test_states_whose_keys_are_numbers_are_encoded_and_compared() -> None:
    one = Counter()
    codec = StateCodec(one)
    for number in (3, 1, 2):
        one.apply(number)
    body = codec.encode_state(one.snapshot())
    assert codec.decode_state(1, body) == Numbered({1: 1, 2: 1, 3: 1})
    one.backwards = True
    other = codec.encode_state(one.snapshot())
    assert body != other
    assert codec.same_state(body, other)
    one.apply(1)
    assert not codec.same_state(body, codec.encode_state(one.snapshot()))


def test_equal_states_have_equal_bytes_where_keys_are_texts() -> None:
    codec = StateCodec(Ledger())
    assert codec.encode_state(Rows({"a": 1, "b": 2}, [])) == codec.encode_state(Rows({"b": 2, "a": 1}, []))
