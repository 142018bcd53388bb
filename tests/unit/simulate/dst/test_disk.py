"""The simulated disk keeps what the real journal's format keeps, also through a power failure."""

from random import Random

import pytest

from supervisors.simulate.dst.disk import Checkpoint, Disk, Fenced, Folder, Refused, Writer


def _written(folder: Folder, epoch: int, *events: int, mark: bool = True) -> Writer:
    folder.raise_fence(epoch)
    writer = folder.open(epoch)
    records = writer.write(list(events), full=False)
    if mark and records:
        writer.synced(records[-1].sequence)
        writer.mark(records[-1].sequence)
        writer.durable = records[-1].sequence
    return writer


def _events(folder: Folder) -> list[int]:
    return [record.event for record in folder.records()]


def test_what_was_marked_counts_and_a_successor_goes_on_behind_it() -> None:
    folder = Folder()
    _written(folder, 1, 10, 11)
    _written(folder, 4, 12)
    assert _events(folder) == [10, 11, 12]
    assert [record.epoch for record in folder.records()] == [1, 1, 4]
    assert folder.last == 3
    assert (folder.epoch_of(2), folder.epoch_of(3), folder.epoch_of(9)) == (1, 4, 0)


def test_an_older_writer_is_fenced_and_what_it_still_writes_does_not_count() -> None:
    folder = Folder()
    old = _written(folder, 1, 10)
    _written(folder, 2, 20)
    assert old.newer() == 2
    records = old.write([99], full=False)
    old.synced(records[-1].sequence)
    old.mark(records[-1].sequence)
    assert _events(folder) == [10, 20]
    with pytest.raises(Fenced):
        folder.raise_fence(2)
    with pytest.raises(Fenced):
        folder.raise_fence(1)


def test_the_same_epoch_may_go_on_after_an_end_in_order() -> None:
    folder = Folder()
    _written(folder, 3, 10).close()
    folder.raise_fence(3)
    assert folder.open(3).durable == 1


def test_without_a_power_failure_nothing_behind_the_mark_counts() -> None:
    folder = Folder()
    _written(folder, 1, 10, mark=False)
    assert _events(folder) == []


def test_a_power_failure_takes_what_was_not_synced_and_leaves_what_was() -> None:
    kept = set()
    for seed in range(30):
        folder = Folder()
        writer = _written(folder, 1, 10)
        writer.write([11, 12], full=False)
        folder.power_failure(Random(seed))
        kept.add(len(_events(folder)))
        assert _events(folder)[0] == 10
        folder.raise_fence(2)
        assert folder.open(2).durable == len(_events(folder))
    assert kept == {1, 2, 3}


def test_a_full_disk_and_a_failed_sync_leave_nothing() -> None:
    folder = Folder()
    writer = _written(folder, 1, 10)
    with pytest.raises(Refused):
        writer.write([11], full=True)
    writer.write([12], full=False)
    writer.void()
    records = writer.write([13], full=False)
    assert records[0].sequence == 2
    writer.mark(2)
    assert _events(folder) == [10, 13]


def test_begin_at_and_set_aside() -> None:
    folder = Folder()
    writer = _written(folder, 1, 10)
    writer.begin_at(7)
    assert writer.write([17], full=False)[0].sequence == 8
    writer.mark(8)
    assert [record.sequence for record in folder.records()] == [8]
    folder.set_aside()
    assert (folder.fence, folder.last, folder.checkpoint()) == (0, 0, None)


def test_a_checkpoint_behind_a_successors_beginning_is_not_used() -> None:
    folder = Folder()
    _written(folder, 1, 10)
    good = Checkpoint(1, 1, (10,), 0.0)
    folder.checkpoints = [good, Checkpoint(2, 1, (10, 99), 0.0)]
    _written(folder, 2, 20)
    assert folder.checkpoint() == good


def test_a_slow_disk() -> None:
    disk = Disk(Random(1))
    usual = disk.sync_time()
    disk.slow = 100.0
    assert disk.sync_time() > 10 * usual
    assert disk.folder("/a") is disk.folder("/a")
