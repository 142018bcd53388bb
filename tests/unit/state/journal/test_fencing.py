"""Two writers at once, one of them frozen, replaced, or still opening."""

import random
from pathlib import Path

import pytest

from supervisors.core.errors import Fenced, JournalFailed
from supervisors.state.journal import FindingKind, JournalReader, JournalWriter
from supervisors.testing.disk import FaultyDisk
from tests.unit.state.journal.rig import bodies, numbers, opened, read, segments


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "a" / "journal"


def test_a_replaced_writer_is_refused_before_it_writes(folder: Path, disk: FaultyDisk) -> None:
    old = opened(folder, 1, disk)
    old.append(bodies(1, 2))
    new = opened(folder, 2, disk)
    writes = disk.calls["write"]
    with pytest.raises(Fenced, match="replaced by 2"):
        old.append(bodies(3, 1))
    assert disk.calls["write"] == writes
    new.append(bodies(3, 1))
    old.close()  # says nothing in the newer one's name
    with pytest.raises(Fenced):
        opened(folder, 2, disk)
    assert numbers(folder, disk) == [1, 2, 3]


@pytest.mark.parametrize("moment", ["write", "fdatasync"])
@pytest.mark.parametrize("meanwhile", [0, 1, 3])
def test_a_writer_frozen_before_its_acknowledgement(
    folder: Path, disk: FaultyDisk, moment: str, meanwhile: int
) -> None:
    """The newer writer opens, and writes, while the older one stands before its write, or between write and sync."""
    old = opened(folder, 1, disk)
    old.append(bodies(1, 2))
    newer: list[JournalWriter] = []

    def interleave(call: str, path: Path) -> None:
        if call == moment and path.suffix == ".seg" and not newer:
            newer.append(opened(folder, 2, FaultyDisk()))
            assert newer[0].durable == 2, "what is not acknowledged does not count"
            if meanwhile:
                newer[0].append([b"%08d new" % number for number in range(3, 3 + meanwhile)])

    disk.before = interleave
    with pytest.raises(Fenced):
        old.append([b"00000003 old", b"00000004 old"])
    disk.before = lambda call, path: None
    reader = FaultyDisk()
    assert [r.body for r in read(folder, reader)[2:]] == [b"%08d new" % n for n in range(3, 3 + meanwhile)]
    report = JournalReader(folder, disk=reader).verify()
    assert report.ok
    if moment == "write":  # it woke up and wrote behind the newer one's back
        assert FindingKind.FENCED in [finding.kind for finding in report.findings]
    newer[0].append(bodies(3 + meanwhile, 1))
    assert [r.sequence for r in read(folder, reader)] == list(range(1, 4 + meanwhile))
    newer[0].abandon()
    assert opened(folder, 3, reader).durable == 3 + meanwhile


def test_a_writer_frozen_behind_its_mark_is_counted_and_not_acknowledged(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durable and marked, then replaced: the newer one has it, the older one must not say that it has it."""
    old = opened(folder, 1, disk)
    newer: list[JournalWriter] = []
    mark = old._control.mark

    def freeze(sequence: int, first: int, offset: int, *, synced: bool) -> None:
        mark(sequence, first, offset, synced=synced)
        newer.append(opened(folder, 2, FaultyDisk()))

    monkeypatch.setattr(old._control, "mark", freeze)
    with pytest.raises(Fenced):
        old.append(bodies(1, 2))
    assert newer[0].durable == 2
    newer[0].append(bodies(3, 1))
    with pytest.raises(Fenced):
        old.append([b"late"])
    old.close()  # and must not cut what the newer one counts on
    assert numbers(folder, FaultyDisk()) == [1, 2, 3]
    assert JournalReader(folder, disk=FaultyDisk()).verify().findings == ()


def test_what_is_acknowledged_while_another_one_opens_is_not_lost(folder: Path, disk: FaultyDisk) -> None:
    """The older writer ends a batch at each moment of the opening before the fence is up; none after."""
    old = opened(folder, 1, disk)
    old.append(bodies(1, 1))
    other = FaultyDisk()
    moments: list[str] = []

    def interleave(call: str, path: Path) -> None:
        moments.append(f"{call} {path.name}")
        if moments == ["write control"]:
            old.append(bodies(2, 3))
        else:
            with pytest.raises(Fenced):
                old.append([b"late"])

    other.before = interleave
    new = opened(folder, 2, other)
    assert len(moments) > 4
    assert new.durable == 4
    assert numbers(folder, other) == [1, 2, 3, 4]


def test_a_replaced_writer_that_closes_leaves_the_fence_up(folder: Path, disk: FaultyDisk) -> None:
    old = opened(folder, 1, disk)
    new = opened(folder, 2, disk)
    old.close()
    report = JournalReader(folder, disk=disk).verify()
    assert (report.epoch, report.open) == (2, True)
    for epoch in (1, 2):
        with pytest.raises(Fenced):
            opened(folder, epoch, disk)
    new.append(bodies(1, 1))


def test_a_machine_that_stops_in_the_first_opening(tmp_path: Path) -> None:
    """The name of the segment may be durable before that of the control file, unless it is waited for."""
    for seed in range(30):
        disk, folder = FaultyDisk(), tmp_path / str(seed) / "journal"

        def stop(call: str, path: Path, folder: Path = folder) -> None:
            if call == "fsync_dir" and segments(folder):
                raise KeyboardInterrupt

        disk.before = stop
        with pytest.raises(KeyboardInterrupt):
            opened(folder, 1, disk)
        disk.before = lambda call, path: None
        disk.power_failure(random.Random(seed))
        writer = opened(folder, 2, disk)
        writer.append(bodies(1, 1))
        assert numbers(folder, disk) == [1]


def test_a_frozen_writer_cannot_store_its_mark_in_the_newer_ones_file(folder: Path, disk: FaultyDisk) -> None:
    old = opened(folder, 1, disk)
    old.append(bodies(1, 1))
    new = opened(folder, 2, disk)
    for sequence in range(2, 9):
        old._control.mark(sequence, 1, 4000, synced=True)
    new.append(bodies(2, 1))
    assert numbers(folder, disk) == [1, 2]
    assert JournalReader(folder, disk=disk).verify().ok
    new.abandon()
    assert opened(folder, 3, disk).durable == 2


def test_a_frozen_writer_that_rotates_adds_nothing(folder: Path, disk: FaultyDisk) -> None:
    old = opened(folder, 1, disk, segment_bytes=400)
    for number in range(1, 6):
        old.append(bodies(number, 1))
    newer: list[JournalWriter] = []

    def interleave(call: str, path: Path) -> None:
        if call == "write" and path.name.endswith(".seg.new") and not newer:
            newer.append(opened(folder, 2, FaultyDisk(), segment_bytes=400))
            newer[0].append([b"%08d new" % number for number in range(head + 1, head + 9)])

    disk.before = interleave
    head = 5

    def go_on() -> None:
        nonlocal head
        while head < 20:
            head = old.durable
            old.append([b"%08d old" % (head + 1)])

    with pytest.raises(Fenced):
        go_on()
    found = read(folder, FaultyDisk())
    assert [r.sequence for r in found] == list(range(1, head + 9))
    assert all(r.body.endswith(b"new") for r in found[head:])
    assert JournalReader(folder, disk=FaultyDisk()).verify().ok


def test_opening_waits_for_another_one_and_says_so(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisors.state.journal import opening

    opened(folder, 1, disk).close()
    monkeypatch.setattr(opening, "PATIENCE", 0.05)
    with opening.locked(folder, disk), pytest.raises(JournalFailed, match="another process") as caught:
        opened(folder, 2, disk)
    assert caught.value.code == 7011
    assert opened(folder, 2, disk).durable == 0
