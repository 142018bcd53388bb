from pathlib import Path

from supervisors.trail.reader import Follower, read_all
from supervisors.trail.segments import CURRENT, list_sealed
from tests.unit.trail.support import pen


def test_nothing_there_yet(tmp_path: Path) -> None:
    follower, newest = Follower(tmp_path / "no"), Follower(tmp_path / "no", from_start=False)
    assert follower.poll() == []
    assert follower.segment == follower.next_seq == 0
    assert list(read_all(tmp_path / "no")) == []
    pen(tmp_path / "no").write("x", "/a", 1)
    assert [one.seq for one in follower.poll()] == [0]
    assert [one.seq for one in newest.poll()] == [0]
    follower.close()


def test_from_now_and_since(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    for number in range(10):
        writer.write("x", "/a", number)
        if number in (2, 5):
            writer.rotate_if_needed(1)
    with Follower(tmp_path, from_start=False) as newest:
        assert newest.next_seq == 10
        writer.write("x", "/a", 10)
        assert [one.seq for one in newest.poll()] == [10]
    for since in range(11):
        assert [one.seq for one in read_all(tmp_path, since=since)] == list(range(since, 11))
    assert [one.seq for one in read_all(tmp_path, since=4, limit=3)] == [4, 5, 6]
    assert list(read_all(tmp_path, limit=0)) == []
    assert list(read_all(tmp_path, since=99)) == []


def test_numbers_go_on_when_old_segments_are_gone(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    for number in range(6):
        writer.write("x", "/a", number)
        writer.rotate_if_needed(1, keep=2)
    writer.write("x", "/a", 6)
    assert [(one.seq, one.event.incarnation) for one in read_all(tmp_path)] == [(4, 4), (5, 5), (6, 6)]
    # even all of them
    for sealed in list_sealed(tmp_path):
        Path(sealed.path).unlink()
    assert [one.seq for one in read_all(tmp_path)] == [6]
    (tmp_path / CURRENT).unlink()
    assert list(read_all(tmp_path)) == []


def test_a_reader_left_behind_says_what_it_missed(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    writer.write("x", "/a", 0)
    follower = Follower(tmp_path)
    assert len(follower.poll()) == 1
    for number in range(1, 7):
        writer.rotate_if_needed(1, keep=2)
        writer.write("x", "/a", number)
    # segments 2 to 4 (numbers 1 to 3) are gone
    assert [one.seq for one in follower.poll()] == [4, 5, 6]
    assert follower.missed == 3


def test_segments_deleted_by_hand_do_not_stop_a_reader(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    writer.write("x", "/a", 0)
    follower = Follower(tmp_path)
    follower.poll()
    for number in range(1, 4):
        writer.rotate_if_needed(1)
        writer.write("x", "/a", number)
    for sealed in list_sealed(tmp_path):
        Path(sealed.path).unlink()
    assert [one.seq for one in follower.poll()] == [3]
    assert follower.missed == 2


def test_a_current_segment_deleted_by_hand_goes_on_behind_the_last(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    writer.write("x", "/a", 0)
    writer.rotate_if_needed(1)
    writer.write("x", "/a", 1)
    (tmp_path / CURRENT).unlink()
    writer.write("x", "/a", 2)
    assert [(one.seq, one.event.incarnation) for one in read_all(tmp_path)] == [(0, 0), (1, 2)]


def test_limit_bounds_a_poll_and_loses_nothing(tmp_path: Path) -> None:
    writer = pen(tmp_path)
    for number in range(20_000):
        writer.write("x", "/a", number)
    follower = Follower(tmp_path)
    found = []
    calls = 0
    while got := follower.poll(limit=10):
        found += [one.seq for one in got]
        calls += 1
    assert found == list(range(20_000))
    assert calls > 3
