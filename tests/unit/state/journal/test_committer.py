"""Group commit: batches, failures, numbering, the end of the thread."""

import asyncio
import errno
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisors.core.errors import Fenced, JournalFailed, StateError
from supervisors.state.journal import GroupCommitter, decode_frames
from supervisors.state.journal import committer as module
from supervisors.testing.disk import FaultyDisk
from tests.unit.state.journal.rig import bodies, numbers, opened, read


class Rig:
    """A committer and what it told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = FaultyDisk()
        self.batches: list[tuple[int, int, bytes]] = []
        self.failures: list[tuple[int, StateError]] = []
        self.told = threading.Event()
        self.open(1)

    def open(self, epoch: int) -> None:
        writer = opened(self.folder, epoch, self.disk)
        self.committer = GroupCommitter(writer, committed=self._committed, failed=self._failed)

    def _committed(self, first: int, last: int, frames: bytes) -> None:
        self.batches.append((first, last, frames))

    def _failed(self, first: int, error: StateError) -> None:
        self.failures.append((first, error))
        self.told.set()

    def hold(self) -> Callable[[], None]:
        """Let the next sync wait until what is returned is called."""
        reached, go = threading.Event(), threading.Event()

        def wait(call: str, path: Path) -> None:
            if call == "fdatasync" and not go.is_set():
                reached.set()
                assert go.wait(10)

        self.disk.before = wait
        self.committer.submit(bodies(self.committer.durable + 1, 1)[0])
        assert reached.wait(10)
        return go.set


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path / "journal")
    yield made
    made.disk.heal()
    assert made.committer.close()


def test_each_event_is_committed_once_and_in_order(rig: Rig) -> None:
    assert [rig.committer.submit(body) for body in bodies(1, 300)] == list(range(1, 301))
    assert rig.committer.flush()
    assert rig.committer.durable == 300
    given = [record for _, _, frames in rig.batches for record in decode_frames(frames)]
    assert [record.sequence for record in given] == list(range(1, 301))
    assert given == read(rig.folder, rig.disk)
    assert all(decode_frames(frames)[0].sequence == first for first, _, frames in rig.batches)
    assert [batch[1] + 1 for batch in rig.batches[:-1]] == [batch[0] for batch in rig.batches[1:]]


def test_what_comes_during_a_sync_is_one_batch(rig: Rig) -> None:
    go = rig.hold()
    for body in bodies(2, 50):
        rig.committer.submit(body)
    assert rig.committer.durable == 0
    assert rig.batches == []
    assert not rig.committer.flush(0.01)
    go()
    assert rig.committer.flush()
    assert [batch[:2] for batch in rig.batches] == [(1, 1), (2, 51)]


def test_many_threads(rig: Rig) -> None:
    given: list[list[tuple[int, bytes]]] = [[] for _ in range(8)]

    def submit(index: int) -> None:
        for number in range(200):
            body = b"%d-%d" % (index, number)
            given[index].append((rig.committer.submit(body), body))

    threads = [threading.Thread(target=submit, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rig.committer.flush()
    assert sorted(pair for some in given for pair in some) == [(r.sequence, r.body) for r in read(rig.folder, rig.disk)]


def test_a_large_backlog_is_cut_into_batches(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH", 400)
    go = rig.hold()
    for body in [*bodies(2, 25), b"00000027".ljust(1000), *bodies(28, 3)]:
        rig.committer.submit(body)
    go()
    assert rig.committer.flush()
    assert numbers(rig.folder, rig.disk) == list(range(1, 31))
    assert max(last - first + 1 for first, last, _ in rig.batches) == 10


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_failure_voids_what_was_submitted(rig: Rig, call: str, code: int) -> None:
    rig.committer.submit(bodies(1, 1)[0])
    assert rig.committer.flush()
    rig.disk.fail(call, code, match=".seg", after=1)
    go = rig.hold()
    for _ in range(5):
        rig.committer.submit(b"00000003 void")
    go()
    assert rig.told.wait(10)
    assert rig.committer.durable == 2
    first, error = rig.failures[0]
    assert (first, error.code) == (3, 7002)
    with pytest.raises(JournalFailed, match="refused"):
        rig.committer.submit(b"00000003 too early")
    assert rig.committer.flush()
    rig.committer.resume()
    assert rig.committer.submit(bodies(3, 1)[0]) == 3
    assert rig.committer.flush()
    assert numbers(rig.folder, rig.disk) == [1, 2, 3]
    assert len(rig.failures) == 1
    assert rig.disk.synced_again == 0


def test_what_waits_behind_a_failing_batch_is_void_too(rig: Rig) -> None:
    rig.disk.fail("fdatasync", match=".seg")
    go = rig.hold()
    for _ in range(5):
        rig.committer.submit(b"void, and waiting")
    go()
    assert rig.told.wait(10)
    assert [first for first, _ in rig.failures] == [1]
    rig.committer.resume()
    assert rig.committer.submit(bodies(1, 1)[0]) == 1
    assert rig.committer.flush()
    assert numbers(rig.folder, rig.disk) == [1]


def test_a_full_disk_until_there_is_space(rig: Rig) -> None:
    rig.disk.room = 0
    for number in range(3):
        rig.told.clear()
        assert rig.committer.submit(b"00000001 void") == 1
        assert rig.told.wait(10)
        assert len(rig.failures) == number + 1
        assert numbers(rig.folder, rig.disk) == []
        rig.committer.resume()
    rig.disk.heal()
    assert rig.committer.submit(bodies(1, 1)[0]) == 1
    assert rig.committer.flush()
    assert numbers(rig.folder, rig.disk) == [1]


def test_a_fenced_committer_takes_nothing_any_more(rig: Rig) -> None:
    rig.committer.submit(bodies(1, 1)[0])
    assert rig.committer.flush()
    newer = opened(rig.folder, 2, FaultyDisk())
    rig.committer.submit(b"00000002 void")
    assert rig.told.wait(10)
    assert isinstance(rig.failures[0][1], Fenced)
    assert rig.failures[0][0] == 2
    rig.committer.resume()
    with pytest.raises(Fenced):
        rig.committer.submit(b"00000002 void")
    newer.append(bodies(2, 1))
    assert rig.committer.close()
    assert numbers(rig.folder, rig.disk) == [1, 2]


def test_close_commits_what_waits_and_is_an_orderly_end(rig: Rig) -> None:
    go = rig.hold()
    for body in bodies(2, 9):
        rig.committer.submit(body)
    go()
    assert rig.committer.close()
    assert rig.batches[-1][1] == 10
    with pytest.raises(JournalFailed, match="closed"):
        rig.committer.submit(b"late")
    rig.committer.resume()
    with pytest.raises(JournalFailed, match="closed"):
        rig.committer.submit(b"late")
    assert rig.committer.close()
    rig.open(1)  # the same epoch
    assert rig.committer.submit(bodies(11, 1)[0]) == 11


def test_close_does_not_wait_for_ever(rig: Rig) -> None:
    go = rig.hold()
    assert not rig.committer.close(0.05)
    go()
    assert rig.committer.close()
    assert rig.batches[-1][1] == 1


def test_too_long_and_too_much(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 100)
    monkeypatch.setattr(module, "MAX_WAITING", 300)
    with pytest.raises(JournalFailed, match="101 bytes; 100 are allowed") as caught:
        rig.committer.submit(bytes(101))
    assert caught.value.code == 7014
    go = rig.hold()
    for body in bodies(2, 3, 100):
        rig.committer.submit(body)
    with pytest.raises(JournalFailed, match="300 bytes wait") as caught:
        rig.committer.submit(bodies(5, 1, 100)[0])
    assert caught.value.code == 7014
    go()
    assert rig.committer.flush()
    assert rig.committer.submit(bodies(5, 1, 100)[0]) == 5


def test_a_defect_of_the_callback_leaves_nobody_waiting(tmp_path: Path) -> None:
    def broken(first: int, last: int, frames: bytes) -> None:
        raise RuntimeError("the loop is closed")

    failures: list[StateError] = []
    writer = opened(tmp_path / "journal", 1, FaultyDisk())
    committer = GroupCommitter(writer, committed=broken, failed=lambda first, error: failures.append(error))
    committer.submit(b"a")
    assert committer.flush()
    assert committer.close()
    assert "the loop is closed" in failures[0].message
    committer.resume()
    with pytest.raises(JournalFailed, match="thread ended"):
        committer.submit(b"b")


async def test_a_bridge_to_asyncio_never_takes_a_void_event_for_a_new_one(tmp_path: Path) -> None:
    """What the docstrings of ``failed`` and ``resume`` promise: 64 writers, a disk that fails now and then."""
    folder, disk = tmp_path / "journal", FaultyDisk()
    loop = asyncio.get_running_loop()
    waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def done(last: int) -> None:
        while waiting and waiting[0][0] <= last:
            waiting.popleft()[1].set_result(None)

    def void(error: StateError) -> None:
        while waiting:
            waiting.popleft()[1].set_exception(error)
        committer.resume()

    def committed(first: int, last: int, frames: bytes) -> None:
        loop.call_soon_threadsafe(done, last)

    def failed(first: int, error: StateError) -> None:
        loop.call_soon_threadsafe(void, error)

    committer = GroupCommitter(opened(folder, 1, disk), committed=committed, failed=failed)
    acknowledged: list[bytes] = []

    async def write(index: int) -> None:
        for number in range(20):
            body = b"%d-%d" % (index, number)
            while True:
                try:
                    future = loop.create_future()
                    waiting.append((committer.submit(body), future))
                    await future
                except JournalFailed:
                    await asyncio.sleep(0)
                    continue
                acknowledged.append(body)
                break

    for after in range(0, 20, 2):
        disk.fail("fdatasync" if after % 4 else "write", after=after, match=".seg")
    await asyncio.gather(*(write(index) for index in range(64)))
    assert await asyncio.to_thread(committer.close)
    written = [record.body for record in read(folder, disk)]
    assert len(written) == 64 * 20
    assert sorted(written) == sorted(acknowledged)
    assert disk.synced_again == 0
