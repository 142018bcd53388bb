"""Takeovers that were prepared: nothing is synced in the promotion, and nothing acknowledged depends on what is not."""

import errno
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from supervisors.core.errors import Fenced, JournalCorrupt, JournalFailed
from supervisors.state.journal import FindingKind, JournalReader, JournalWriter, control, prepare, retain
from supervisors.testing.disk import FaultyDisk
from tests.unit.state.journal.rig import bodies, numbers, opened, read, ready, segments, takeovers

SYNCS = ("fdatasync", "fsync", "fsync_dir")


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "a" / "journal"


def syncs(disk: FaultyDisk) -> int:
    return sum(disk.calls[call] for call in SYNCS)


def primary(folder: Path, disk: FaultyDisk, count: int = 3) -> JournalWriter:
    writer = opened(folder, 1, disk)
    if count:
        writer.append(bodies(1, count))
    return writer


# ---------------------------------------------------------------- what it is for


def test_a_prepared_promotion_syncs_nothing_and_its_first_append_once(folder: Path, disk: FaultyDisk) -> None:
    old = primary(folder, disk)
    prepared = ready(folder, disk)
    old.append(bodies(4, 2))
    old.abandon()
    before = syncs(disk)
    writer = opened(folder, 2, disk, quick=True, prepared=prepared)
    assert syncs(disk) == before
    assert writer.durable == 5
    assert numbers(folder, disk) == [1, 2, 3, 4, 5]
    writer.append(bodies(6, 1))
    assert syncs(disk) == before + 1
    assert numbers(folder, disk) == [1, 2, 3, 4, 5, 6]
    assert takeovers(folder) == []
    assert writer.settle() == []
    assert JournalReader(folder, disk=disk).verify().findings == ()
    writer.close()
    assert opened(folder, 3, disk).durable == 6


def test_what_is_prepared_takes_the_room_it_will_need(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    prepared = prepare(folder, disk=disk, segment_bytes=100_000_000)
    assert prepared is not None
    assert max(file.stat().st_size for file in folder.glob("takeover-*")) == 8 * 1024 * 1024
    disk.room = 5000  # for the header and the state, which overwrite what is there
    writer = opened(folder, 2, disk, quick=True, prepared=prepared, segment_bytes=100_000_000)
    disk.fail("preallocate", errno.ENOSPC, times=-1)
    writer.append(bodies(4, 1))
    disk.heal()
    assert numbers(folder, disk) == [1, 2, 3, 4]


def test_nothing_can_be_prepared_for_a_journal_that_is_not_there(folder: Path, disk: FaultyDisk) -> None:
    assert prepare(folder, disk=disk) is None
    folder.mkdir(parents=True)
    assert prepare(folder, disk=disk) is None
    assert list(folder.iterdir()) == []


def test_a_machine_that_does_not_tell_its_starts_apart_prepares_nothing(
    folder: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary(folder, disk).abandon()
    monkeypatch.setattr(disk, "boot", lambda: bytes(16))
    assert prepare(folder, disk=disk) is None


def test_what_is_prepared_is_a_state_that_never_says_that_it_is_all_there_is(folder: Path, disk: FaultyDisk) -> None:
    """A disk that loses the promotion's write brings it back while the machine runs."""
    primary(folder, disk)
    prepared = ready(folder, disk)
    (file,) = folder.glob("takeover-*.control")
    state = control.decode(file.read_bytes(), file)
    now = control.load(disk, folder)
    assert now is not None
    assert now.exact(disk.boot())
    assert not state.exact(disk.boot())
    assert (state.mark.sequence, state.begin, state.fence) == (3, now.begin, now.fence)
    prepared.discard()


def test_readers_and_the_primary_do_not_mind_what_is_prepared(folder: Path, disk: FaultyDisk) -> None:
    old = primary(folder, disk)
    prepared = [ready(folder, disk) for _ in range(3)]
    old.append(bodies(4, 1))
    assert numbers(folder, disk) == [1, 2, 3, 4]
    report = JournalReader(folder, disk=disk).verify()
    assert (report.findings, report.segments) == ((), 1)
    retain(folder, 3, 0.0, utc_ns=2 * 10**18, disk=disk)
    for one in prepared:
        one.discard()
        one.discard()
    assert takeovers(folder) == []


# ---------------------------------------------------------------- the power fails, or the process is killed


class Cut(BaseException):
    """The process, or the machine, ends here."""


class Stop:
    """Ends it at the call number ``at``, and every call after."""

    def __init__(self, disk: FaultyDisk, at: int) -> None:
        self.left = at
        self.happened = False
        disk.at = self._look

    def _look(self, call: str, path: Path) -> None:
        if self.left == 0:
            self.happened = True
            raise Cut
        self.left -= 1


def promoted(folder: Path, disk: FaultyDisk, acknowledged: list[int], begun: list[int], *, tail: bool) -> None:
    """A primary, its death, the promotion of its standby; what is acknowledged, and what was begun last."""
    stop = disk.at
    disk.at = lambda call, path: None
    old = primary(folder, disk)
    acknowledged += [1, 2, 3]
    prepared = ready(folder, disk)
    other = ready(folder, disk)
    old.append(bodies(4, 1))
    acknowledged.append(4)
    if tail:  # it was killed between the sync and the mark
        begun[:] = [5, 6]
        old._control.mark = lambda *_, **__: _cut()  # type: ignore[method-assign]
        with pytest.raises(Cut):
            old.append(bodies(5, 2))
    old.abandon()
    disk.at = stop
    writer: JournalWriter | None = None
    try:
        writer = opened(folder, 2, disk, quick=True, prepared=prepared)
        assert writer.durable == 4
        for first, count in ((5, 2), (7, 1)):
            begun[:] = range(first, first + count)
            writer.append(bodies(first, count))
            acknowledged += begun
        writer.settle()
    finally:
        other.abandon()
        if writer is not None:
            writer.abandon()


def _cut() -> None:
    raise Cut


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("seed", [None, *range(8)])
def test_the_power_fails_at_any_call_of_a_promotion_and_of_the_first_appends(
    tmp_path: Path, seed: int | None, tail: bool
) -> None:
    at = 0
    ended = False
    while not ended:
        disk, folder = FaultyDisk(), tmp_path / str(at) / "journal"
        acknowledged: list[int] = []
        begun: list[int] = []
        stop = Stop(disk, at)
        try:
            promoted(folder, disk, acknowledged, begun, tail=tail)
        except Cut:
            assert stop.happened
        ended = not stop.happened
        disk.at = lambda call, path: None
        disk.power_failure(None if seed is None else random.Random(seed))
        found = numbers(folder, disk)
        where = f"stopped before call {at}"
        assert found[: len(acknowledged)] == acknowledged, where
        extra = found[len(acknowledged) :]
        assert extra == begun[: len(extra)], where
        report = JournalReader(folder, disk=disk).verify()
        assert report.ok, (where, report.findings)
        again = opened(folder, 3, disk)
        assert again.durable == len(found), where
        assert takeovers(folder) == [], where
        again.append(bodies(len(found) + 1, 2))
        assert numbers(folder, disk) == list(range(1, len(found) + 3)), where
        again.abandon()
        disk.power_failure(None if seed is None else random.Random(seed))
        assert numbers(folder, disk) == list(range(1, len(found) + 3)), where
        assert disk.synced_again == 0
        at += 1
    assert at > 20


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("ready_again", [False, True])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_process_is_killed_at_any_call_and_the_next_standby_is_promoted(
    tmp_path: Path, quick: bool, ready_again: bool, seed: int | None
) -> None:
    """And then the power fails as well, before or after that one's first event."""
    at = 0
    ended = False
    while not ended:
        disk, folder = FaultyDisk(), tmp_path / str(at) / "journal"
        acknowledged: list[int] = []
        stop = Stop(disk, at)
        try:
            promoted(folder, disk, acknowledged, [], tail=True)
        except Cut:
            assert stop.happened
        ended = not stop.happened
        disk.at = lambda call, path: None
        where = f"stopped before call {at}"
        assert numbers(folder, disk) == acknowledged, where
        prepared = ready(folder, disk) if ready_again else None
        again = opened(folder, 3, disk, quick=quick, prepared=prepared)
        assert again.durable == len(acknowledged), where
        last = len(acknowledged) + 1
        again.append(bodies(last, 1))
        if at % 2:
            again.settle()
        assert numbers(folder, disk) == [*acknowledged, last], where
        again.abandon()
        disk.power_failure(None if seed is None else random.Random(seed))
        assert numbers(folder, disk) == [*acknowledged, last], where
        assert opened(folder, 4, disk).durable == last
        assert takeovers(folder) == [], where
        assert JournalReader(folder, disk=disk).verify().ok, where
        at += 1


@pytest.mark.parametrize("seed", [None, *range(20)])
def test_a_beginning_that_moved_since_it_was_prepared_does_not_come_back(
    folder: Path, disk: FaultyDisk, seed: int | None
) -> None:
    old = opened(folder, 1, disk, segment_bytes=300)
    old.append(bodies(1, 2))
    prepared = ready(folder, disk)
    for number in range(3, 20):
        old.append(bodies(number, 1))
    assert retain(folder, 12, 0.0, utc_ns=2 * 10**18, disk=disk)
    assert prepared.stale()
    begin = JournalReader(folder, disk=disk).begin
    assert begin > 1
    old.abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=prepared)
    writer.append(bodies(20, 1))
    writer.abandon()
    disk.power_failure(None if seed is None else random.Random(seed))
    assert JournalReader(folder, disk=disk).begin == begin
    assert numbers(folder, disk, begin - 1) == list(range(begin, 21))


@pytest.mark.parametrize("seed", [None, *range(12)])
@pytest.mark.parametrize("how", ["retain", "begin_at"])
def test_a_beginning_moves_only_in_a_control_file_whose_name_is_durable(
    tmp_path: Path, how: str, seed: int | None
) -> None:
    at, ended = 0, False
    while not ended:
        disk, folder = FaultyDisk(), tmp_path / str(at) / "journal"
        old = opened(folder, 1, disk, segment_bytes=300)
        for number in range(1, 20):
            old.append(bodies(number, 1))
        old.abandon()
        writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
        stop = Stop(disk, at)
        lasts = {19}
        try:
            if how == "retain":
                retain(folder, 12, 0.0, utc_ns=2 * 10**18, disk=disk)
            else:
                lasts = {19, 99, 100, 101}
                writer.begin_at(100)
                lasts = {100, 101}
                writer.append(bodies(101, 1))
                lasts = {101}
        except Cut:
            assert stop.happened
        ended = not stop.happened
        disk.at = lambda call, path: None
        writer.abandon()
        disk.power_failure(None if seed is None else random.Random(seed))
        with JournalReader(folder, disk=disk) as reader:
            begin = reader.begin
            found = [record.sequence for record in reader.read(begin - 1)]
            assert reader.verify().ok
        assert found == list(range(begin, begin + len(found)))
        assert begin + len(found) - 1 in lasts
        if ended:
            assert begin > (100 if how == "begin_at" else 1)
        assert opened(folder, 3, disk).durable in lasts
        at += 1
    assert at > 5


def test_a_damaged_header_of_a_segment_without_its_name_is_damage(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    writer.append(bodies(4, 1))
    writer.append(bodies(5, 1))
    writer.abandon()
    disk.power_failure()
    (file,) = folder.glob("takeover-*.segment")
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    with pytest.raises(JournalCorrupt, match="header is damaged"):
        opened(folder, 3, disk)
    with pytest.raises(JournalCorrupt, match="header is damaged"):
        read(folder, disk)
    assert not JournalReader(folder, disk=disk).verify().ok


def test_a_segment_gets_its_name_back_at_the_next_start(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    writer.append(bodies(4, 2))
    writer.abandon()
    disk.power_failure()
    assert takeovers(folder) == [".control", ".segment"]
    assert [file.name for file in segments(folder)] == [f"{1:020d}-{1:020d}.seg"]
    follower = JournalReader(folder, disk=disk)
    assert [r.sequence for r in follower.read()] == [1, 2, 3, 4, 5]
    opened(folder, 3, disk).append(bodies(6, 1))
    assert takeovers(folder) == []
    assert [file.name for file in segments(folder)][1] == f"{4:020d}-{2:020d}.seg"
    assert [r.sequence for r in follower.read(2)] == [3, 4, 5, 6]


# ---------------------------------------------------------------- several, stale, gone


def test_several_standbys_prepare_and_one_after_the_other_is_promoted(folder: Path, disk: FaultyDisk) -> None:
    writer = primary(folder, disk)
    prepared = [ready(folder, FaultyDisk()) for _ in range(4)]
    for epoch, one in enumerate(prepared, 2):
        writer.abandon()
        before = syncs(disk)
        writer = opened(folder, epoch, disk, quick=True, prepared=one)
        writer.append(bodies(epoch + 2, 1))
        assert syncs(disk) == before + 1
        writer.settle()
        assert len(takeovers(folder)) == 2 * (5 - epoch), "those of the others are left alone"
        assert numbers(folder, disk) == list(range(1, epoch + 3))
    assert JournalReader(folder, disk=disk).verify().findings == ()


def test_files_of_a_dead_standby_are_removed_and_those_of_a_live_one_are_not(folder: Path, disk: FaultyDisk) -> None:
    old = primary(folder, disk)
    dead, live = ready(folder, disk), ready(folder, disk)
    dead.abandon()
    old.close()
    assert len(takeovers(folder)) == 4
    opened(folder, 2, disk).abandon()
    assert len(takeovers(folder)) == 2
    assert not live.stale()
    writer = opened(folder, 3, disk, quick=True, prepared=live)
    writer.append(bodies(4, 1))
    assert numbers(folder, disk) == [1, 2, 3, 4]


def test_a_file_of_a_standby_killed_while_preparing_is_removed(folder: Path, disk: FaultyDisk) -> None:
    old = primary(folder, disk)
    for at in range(8):
        stop = Stop(disk, at)
        with pytest.raises(Cut):
            prepare(folder, disk=disk)
        assert stop.happened
    disk.at = lambda call, path: None
    assert takeovers(folder) != []
    old.abandon()
    writer = opened(folder, 2, disk)
    assert takeovers(folder) == []
    assert writer.durable == 3


def test_what_somebody_removed_is_not_used(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    prepared = ready(folder, disk)
    for file in folder.glob("takeover-*.segment"):
        file.unlink()
    assert prepared.stale()
    writer = opened(folder, 2, disk, quick=True, prepared=prepared)
    writer.append(bodies(4, 1))
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4]


def test_a_segment_removed_under_its_writer_is_replaced(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    for file in folder.glob("takeover-*"):
        file.unlink()
    with pytest.raises(JournalFailed):
        writer.append([b"00000004 void"])
    writer.append(bodies(4, 1))
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4]


def test_an_epoch_that_was_here_before_prepares_in_vain(folder: Path, disk: FaultyDisk) -> None:
    """Two segments without a name could else be the same one."""
    primary(folder, disk).close()
    before = syncs(disk)
    prepared = ready(folder, disk)
    prepares = syncs(disk) - before
    writer = opened(folder, 1, disk, quick=True, prepared=prepared)
    assert syncs(disk) > before + prepares
    assert takeovers(folder) == []
    writer.append(bodies(4, 1))
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4]


def test_one_that_comes_too_late_leaves_nothing_behind(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk)
    late = ready(folder, disk)
    opened(folder, 3, disk)
    with pytest.raises(Fenced):
        opened(folder, 2, disk, quick=True, prepared=late)
    assert takeovers(folder) == []


def test_an_orderly_end_without_an_event_leaves_nothing_behind(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    opened(folder, 2, disk, quick=True, prepared=ready(folder, disk)).close()
    assert takeovers(folder) == []
    again = opened(folder, 2, disk)
    again.append(bodies(4, 1))
    assert numbers(folder, disk) == [1, 2, 3, 4]


# ---------------------------------------------------------------- stale writers


@pytest.mark.parametrize("moment", ["before the write", "write", "fdatasync", "mark"])
@pytest.mark.parametrize("appended", [False, True])
def test_a_primary_frozen_while_its_standby_is_promoted(
    folder: Path, disk: FaultyDisk, moment: str, appended: bool
) -> None:
    old = primary(folder, disk)
    prepared = ready(folder, disk)
    newer: list[JournalWriter] = []
    durable = 5 if moment == "mark" else 3

    def promote() -> None:
        if not newer:
            newer.append(opened(folder, 2, FaultyDisk(), quick=True, prepared=prepared))
            assert newer[0].durable == durable
            if appended:
                newer[0].append([b"%08d new" % (durable + 1)])

    if moment == "before the write":
        promote()
    elif moment == "mark":
        mark = old._control.mark

        def freeze(sequence: int, first: int, offset: int, *, synced: bool) -> None:
            mark(sequence, first, offset, synced=synced)
            promote()

        old._control.mark = freeze  # type: ignore[method-assign]
    else:
        disk.before = lambda call, path: promote() if call == moment and path.suffix == ".seg" else None
    with pytest.raises(Fenced):
        old.append([b"00000004 old", b"00000005 old"])
    with pytest.raises(Fenced):
        old.append([b"00000004 old"])
    for sequence in range(4, 9):
        old._control.mark(sequence, 1, 4000, synced=True)  # to a file without a name
    reader = FaultyDisk()
    assert numbers(folder, reader) == list(range(1, durable + 1 + appended))
    newer[0].append([b"%08d new" % (durable + 1 + appended)])
    newer[0].settle()
    old.close()
    assert numbers(folder, reader) == list(range(1, durable + 2 + appended))
    assert JournalReader(folder, disk=reader).verify().ok
    newer[0].abandon()
    assert opened(folder, 3, reader).durable == durable + 1 + appended


@pytest.mark.parametrize("moment", ["write", "fdatasync", "rename"])
@pytest.mark.parametrize("ready_again", [False, True])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_promoted_standby_frozen_in_its_first_append(
    folder: Path, disk: FaultyDisk, moment: str, ready_again: bool, seed: int | None
) -> None:
    """Another one takes over; what the frozen one then puts into the folder does not count."""
    primary(folder, disk).abandon()
    other = ready(folder, disk) if ready_again else None
    stale = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    newer: list[JournalWriter] = []

    def freeze(call: str, path: Path) -> None:
        if call == moment and not newer and path.suffix in (".segment", ".seg"):
            disk.at = lambda call, path: None
            newer.append(opened(folder, 3, disk, quick=True, prepared=other))
            assert newer[0].durable == 3
            newer[0].append([b"00000004 new"])
            newer[0].settle()

    disk.at = freeze
    with pytest.raises(Fenced):
        stale.append([b"00000004 old", b"00000005 old"])
    assert newer
    assert [r.body for r in read(folder, disk)[3:]] == [b"00000004 new"]
    newer[0].append([b"00000005 new"])
    stale.close()
    stale.settle()
    newer[0].abandon()
    disk.power_failure(None if seed is None else random.Random(seed))
    assert [r.body for r in read(folder, disk)[3:]] == [b"00000004 new", b"00000005 new"]
    assert JournalReader(folder, disk=disk).verify().ok
    assert opened(folder, 4, disk).durable == 5


def test_a_standby_promoted_after_one_that_wrote_nothing_reads_no_segment(folder: Path, disk: FaultyDisk) -> None:
    old = primary(folder, disk)
    old.append(bodies(4, 100))
    old.abandon()
    prepared = ready(folder, disk)
    opened(folder, 2, disk, quick=True, prepared=ready(folder, disk)).abandon()
    reads = disk.calls["read"]
    writer = opened(folder, 3, disk, quick=True, prepared=prepared)
    assert writer.durable == 103
    assert disk.calls["read"] - reads <= 4
    writer.append(bodies(104, 1))
    assert numbers(folder, disk) == list(range(1, 105))


# ---------------------------------------------------------------- failing disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("call", "after"),
    [
        *((call, after) for call in ("open", "write", "fsync") for after in (0, 1)),
        ("preallocate", 0),
        ("fsync_dir", 0),
    ],
)
def test_a_disk_that_fails_while_preparing(folder: Path, disk: FaultyDisk, call: str, code: int, after: int) -> None:
    old = primary(folder, disk)
    disk.fail(call, code, after=after, match="" if call == "fsync_dir" else "takeover")
    with pytest.raises(JournalFailed, match=os.strerror(code)) as caught:
        prepare(folder, disk=disk, segment_bytes=8192)
    assert caught.value.code == 7002
    assert takeovers(folder) == []
    assert not [link for link in Path("/proc/self/fd").iterdir() if str(folder / "takeover") in _target(link)]
    old.append(bodies(4, 1))
    old.abandon()
    disk.heal()
    writer = opened(folder, 2, disk, quick=True, prepared=None)
    writer.append(bodies(5, 1))
    assert numbers(folder, disk) == [1, 2, 3, 4, 5]


def _target(link: Path) -> str:
    with suppress(OSError):  # of the listing itself
        return str(link.readlink())
    return ""


def test_a_file_system_that_reserves_nothing(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    disk.fail("preallocate", errno.EOPNOTSUPP, times=-1)
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    writer.append(bodies(4, 1))
    assert numbers(folder, disk) == [1, 2, 3, 4]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "open", "rename"])
@pytest.mark.parametrize("after", [0, 1])
def test_what_is_prepared_and_cannot_be_used_is_done_anew(
    folder: Path, disk: FaultyDisk, call: str, code: int, after: int
) -> None:
    primary(folder, disk).abandon()
    prepared = ready(folder, disk)
    match = "control" if call == "rename" else "takeover"
    disk.fail(call, code, after=after if call == "write" else 0, match=match)
    writer = opened(folder, 2, disk, quick=True, prepared=prepared)
    disk.heal()
    assert takeovers(folder) == []
    assert writer.durable == 3
    writer.append(bodies(4, 1))
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4]
    assert JournalReader(folder, disk=disk).verify().ok


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fdatasync", "rename"])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("seed", [None, 1, 2, 3, 4])
def test_a_first_append_that_fails_is_never_read(
    folder: Path, disk: FaultyDisk, call: str, code: int, part: float, cut: bool, seed: int | None
) -> None:
    primary(folder, disk).abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    disk.fail(call, code, part=part, match=".seg")
    if not cut:
        disk.fail("truncate")
        disk.fail("unlink", match="takeover", times=-1)
    with pytest.raises(JournalFailed, match="refused"):
        writer.append([b"00000004 void", b"00000005 void"])
    disk.heal()
    if cut:
        assert takeovers(folder) == []
    assert writer.durable == 3
    assert numbers(folder, disk) == [1, 2, 3]
    again = seed is not None and seed % 2
    if again:
        writer.append(bodies(4, 2))
    writer.abandon()
    disk.power_failure(None if seed is None else random.Random(seed))
    assert numbers(folder, disk) == ([1, 2, 3, 4, 5] if again else [1, 2, 3])
    following = opened(folder, 3, disk)
    assert following.durable == (5 if again else 3)
    assert takeovers(folder) == []
    assert disk.synced_again == 0
    assert JournalReader(folder, disk=disk).verify().ok


# ---------------------------------------------------------------- what is left for later


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_quick_opening_cuts_and_removes_later(folder: Path, disk: FaultyDisk, is_ready: bool) -> None:
    old = primary(folder, disk)
    old._control.mark = lambda *_, **__: _cut()  # type: ignore[method-assign]
    with pytest.raises(Cut):
        old.append(bodies(4, 2))
    old.abandon()
    (folder / f"{4:020d}-{1:020d}.seg.new").write_bytes(b"x")
    size = segments(folder)[0].stat().st_size
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk) if is_ready else None)
    assert segments(folder)[0].stat().st_size == size
    assert [one.kind for one in writer.settle()] == [FindingKind.UNFINISHED]
    assert segments(folder)[0].stat().st_size < size
    assert len(segments(folder)) == 2, "also a segment in which nothing stands has its name"
    assert writer.settle() == []
    assert JournalReader(folder, disk=disk).verify().findings == ()
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3], "what was not acknowledged does not come back any more"


def test_settling_leaves_what_a_newer_writer_and_what_its_own_one_is_making(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    own = folder / f"{9:020d}-{2:020d}.seg.new"
    own.write_bytes(b"")
    writer.settle()
    assert own.exists()
    late = opened(folder, 3, disk, quick=True, prepared=ready(folder, disk))
    newer = opened(folder, 4, disk)
    left = folder / f"{9:020d}-{4:020d}.seg.new"
    left.write_bytes(b"")
    assert late.settle() == []
    assert left.exists()
    newer.append(bodies(4, 1))
    assert numbers(folder, disk) == [1, 2, 3, 4]


def test_a_newer_writer_that_comes_while_settling_is_left_alone(folder: Path, disk: FaultyDisk) -> None:
    primary(folder, disk).abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    left = folder / f"{9:020d}-{3:020d}.seg.new"

    def come(call: str, path: Path) -> None:
        if call == "fsync_dir":
            disk.at = lambda call, path: None
            opened(folder, 3, FaultyDisk())
            left.write_bytes(b"")

    disk.at = come
    assert writer.settle() == []
    assert left.exists()


@pytest.mark.parametrize("call", ["fdatasync", "fsync_dir", "rename", "truncate", "unlink", "open"])
def test_a_disk_that_fails_while_settling_is_no_failure(folder: Path, disk: FaultyDisk, call: str) -> None:
    primary(folder, disk).abandon()
    writer = opened(folder, 2, disk, quick=True, prepared=ready(folder, disk))
    disk.fail(call, times=2)
    writer.settle()
    disk.heal()
    writer.append(bodies(4, 1))
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4]
    assert disk.synced_again == 0


def test_without_syncs_the_segment_has_its_name_before_it_is_read(folder: Path, disk: FaultyDisk) -> None:
    old = opened(folder, 1, disk, sync=False)
    old.append(bodies(1, 3))
    old.abandon()
    writer = opened(folder, 2, disk, sync=False, quick=True, prepared=ready(folder, disk))
    writer.append(bodies(4, 1))
    before = syncs(disk)
    writer.append(bodies(5, 1))
    assert syncs(disk) == before
    assert numbers(folder, disk) == [1, 2, 3, 4, 5]
    writer.abandon()
    disk.power_failure()
    assert numbers(folder, disk) == [1, 2, 3, 4]
    assert opened(folder, 3, disk).durable == 4
