import errno
import os
import threading
from pathlib import Path

import pytest

from supervisors.core.reasons import crash
from supervisors.trail.events import EventKind, TrailError
from supervisors.trail.reader import Follower, read_all
from supervisors.trail.segments import CURRENT, SEAL, list_sealed, rotate, sealed_name
from supervisors.trail.writer import TrailWriter
from tests.unit.trail.support import ManualClock, pen


def lives(folder: Path) -> list[int]:
    return [one.event.incarnation for one in read_all(folder)]


class Disk:
    """Stands in for ``os.write``: refuses while ``error`` is set, writes only ``short`` bytes once when set."""

    def __init__(self) -> None:
        self.error = 0
        self.short: int | None = None
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.short is not None:
            size, self.short = self.short, None
            self.error = errno.ENOSPC
            return self._write(fd, data[:size])
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return self._write(fd, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr("supervisors.trail.writer.os.write", found)
    return found


def test_an_event_is_stamped_and_read_back(tmp_path: Path) -> None:
    writer = TrailWriter(tmp_path / "trail", "/cell", ManualClock(5.0))
    writer.write(EventKind.CHILD_EXITED, "/cell/md", 3, 7, failure="/cell/md#3", reason=crash("x"), data={"n": 1})
    (one,) = read_all(tmp_path / "trail")
    assert one.seq == 0
    assert (one.event.t, one.event.utc, one.event.writer) == (5.0, 5_000_000_000, "/cell")
    assert (one.event.kind, one.event.epoch, one.event.reason) == ("child_exited", 7, crash("x"))
    writer.close()
    writer.close()
    writer.write("late", "/")
    assert writer.dropped == 1


def test_what_the_disk_refuses_is_kept_then_counted_then_told(tmp_path: Path, disk: Disk) -> None:
    writer = pen(tmp_path, "/cell", buffer_lines=3)
    writer.write("x", "/a", 1)
    disk.error = errno.ENOSPC
    for number in range(2, 8):
        writer.write("x", "/a", number)
    assert (writer.buffered, writer.dropped) == (3, 3)
    assert not writer.flush()
    assert "No space" in writer.error
    disk.error = 0
    writer.write("x", "/a", 8)
    found = [one.event for one in read_all(tmp_path)]
    assert [one.incarnation for one in found] == [1, 2, 3, 4, 0, 8]
    assert found[4].kind == EventKind.TRAIL_GAP
    assert found[4].data["dropped"] == 3
    assert writer.flush()
    writer.close()


@pytest.mark.parametrize("others", [False, True])
def test_a_short_write_at_every_byte_loses_nothing(tmp_path: Path, disk: Disk, others: bool) -> None:
    size = len(b'{"t":100.0,"utc":100000000000,"kind":"x","path":"/a","incarnation":2,"writer":"w"}\n')
    for cut in range(size):
        writer, other = pen(tmp_path / str(cut), "w"), pen(tmp_path / str(cut), "o")
        writer.write("x", "/a", 1)
        disk.short = cut
        writer.write("x", "/a", 2)
        disk.error = 0
        # all but the newline and another's line directly behind it: one of both is lost, see the writer
        if others and cut != size - 1:
            other.write("x", "/a", 3)
        writer.write("x", "/a", 4)
        expected = [1, 3, 2, 4] if others and cut != size - 1 else [1, 2, 4]
        assert lives(tmp_path / str(cut)) == expected
        writer.close()
        other.close()


def test_an_unwritable_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "trail").write_text("a file, not a folder")
    writer = pen(tmp_path / "trail")
    writer.write("x", "/a", 1)
    assert writer.buffered == 1
    assert not writer.rotate_if_needed(1)
    (tmp_path / "trail").unlink()
    writer.close()
    assert lives(tmp_path / "trail") == [1]


def test_what_still_waits_at_close_counts_as_dropped(tmp_path: Path, disk: Disk) -> None:
    writer = pen(tmp_path)
    disk.error = errno.EIO
    writer.write("x", "/a", 1)
    writer.close()
    assert writer.dropped == 1


def test_a_writer_stopped_over_rotations_writes_where_it_counts(tmp_path: Path) -> None:
    slow, warden = pen(tmp_path, "slow"), pen(tmp_path)
    slow.write("x", "/a", 1)
    for number in range(5):
        warden.write("x", "/a", 10 + number)
        assert warden.rotate_if_needed(1, keep=2)
    # its segment is sealed, and even deleted
    slow.write("x", "/a", 2)
    assert lives(tmp_path)[-1] == 2
    assert len(list_sealed(tmp_path)) == 2
    assert [one.seq for one in read_all(tmp_path)][-1] == 6


def test_a_line_between_switch_and_seal_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, warden = pen(tmp_path, "late"), pen(tmp_path)
    late.write("x", "/a", 1)
    follower = Follower(tmp_path)
    newest: list[Follower] = []
    monkeypatch.setattr("supervisors.trail.segments.seal", lambda fd: None)
    rotate(tmp_path, 5)
    newest.append(Follower(tmp_path, from_start=False))
    assert [one.seq for one in follower.poll()] == [0]
    late.write("x", "/a", 2)  # lands in the old segment; finding no seal, the writer seals it
    late.write("x", "/a", 3)
    monkeypatch.undo()
    assert warden.rotate_if_needed(1)
    late.write("x", "/a", 4)
    assert [(one.seq, one.event.incarnation) for one in follower.poll()] == [(1, 2), (2, 3), (3, 4)]
    assert [(one.seq, one.event.incarnation) for one in newest[0].poll()] == [(1, 2), (2, 3), (3, 4)]
    assert lives(tmp_path) == [1, 2, 3, 4]
    assert Path(list_sealed(tmp_path)[0].path).read_bytes().count(SEAL) == 1


@pytest.mark.parametrize("step", ["link", "switch"])
def test_a_rotation_cut_short_is_completed(tmp_path: Path, step: str) -> None:
    writer = pen(tmp_path)
    writer.write("x", "/a", 1)
    os.link(tmp_path / CURRENT, tmp_path / sealed_name(1, 0))
    if step == "switch":
        (tmp_path / ".fresh-1-aa").write_bytes(b'{"schema":1,"segment":2,"base":1}\n')
        (tmp_path / ".fresh-1-aa").rename(tmp_path / CURRENT)
    follower = Follower(tmp_path)
    assert [one.seq for one in follower.poll()] == [0]
    # readers that read once go on past a missing seal
    assert lives(tmp_path) == [1]
    successor = pen(tmp_path)
    successor.rotate_if_needed(10**9)
    successor.write("x", "/a", 2)
    assert successor.rotate_if_needed(1)
    successor.write("x", "/a", 3)
    assert [one.seq for one in follower.poll()] == [1, 2]
    assert lives(tmp_path) == [1, 2, 3]
    assert follower.malformed == 0


def test_threads_share_one_writer(tmp_path: Path) -> None:
    writer = pen(tmp_path)

    def work(name: int) -> None:
        for number in range(200):
            writer.write("x", f"/{name}", number)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(read_all(tmp_path))
    assert len(found) == 800
    for name in range(4):
        assert [one.event.incarnation for one in found if one.event.path == f"/{name}"] == list(range(200))


def test_a_newer_trail_is_refused_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_bytes(b'{"schema":9,"segment":1,"base":0}\n')
    with pytest.raises(TrailError, match="version 9") as caught:
        list(read_all(tmp_path))
    assert caught.value.code == 6003
    writer = pen(tmp_path)
    writer.write("x", "/a")
    assert writer.buffered == 1
    writer.close()


def test_a_file_without_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_bytes(b"hello\n")
    with pytest.raises(TrailError) as caught:
        Follower(tmp_path)
    assert caught.value.code == 6002
