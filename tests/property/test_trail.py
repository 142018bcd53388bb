"""The trail under many writers, rotation, torn lines and followers: nothing lost, nothing twice, order kept."""

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.trail.events import SequencedEvent, TrailEvent, decode, encode
from supervisors.trail.reader import Follower, read_all
from supervisors.trail.segments import CURRENT, SEAL_LINE, list_sealed
from supervisors.trail.writer import TrailWriter
from tests.unit.trail.support import ManualClock, pen


@contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    try:
        yield path / "trail"
    finally:
        shutil.rmtree(path)


BLOCK = 100


def _write_many(path: Path, name: str, blocks: int, go: Semaphore, left: "Synchronized[int]") -> None:
    writer = TrailWriter(path, name, ManualClock())
    for block in range(blocks):
        go.acquire()
        for number in range(BLOCK):
            writer.write("actor_test", f"/{name}", block * BLOCK + number)
    writer.close()
    with left.get_lock():
        left.value -= 1


def _check(found: list[SequencedEvent], writers: int, count: int) -> None:
    assert [one.seq for one in found] == list(range(writers * count))
    for name in range(writers):
        assert [one.event.incarnation for one in found if one.event.writer == f"w{name}"] == list(range(count))


@pytest.mark.parametrize("keep", [10_000, 3])
def test_processes_write_while_one_rotates_and_one_follows(tmp_path: Path, keep: int) -> None:
    writers, blocks = 4, 12
    count = blocks * BLOCK
    context = multiprocessing.get_context("spawn")
    left = context.Value("i", writers)
    go = [context.Semaphore(1) for _ in range(writers)]
    pens = [
        context.Process(target=_write_many, args=(tmp_path / "trail", f"w{number}", blocks, go[number], left))
        for number in range(writers)
    ]
    warden = pen(tmp_path / "trail")
    follower = Follower(tmp_path / "trail")
    found: list[SequencedEvent] = []
    for process in pens:
        process.start()
    while left.value:
        # the next block is let go after a rotation, which comes in the middle of the one before: 40 kB are a block
        if warden.rotate_if_needed(20_000, keep):
            for semaphore in go:
                semaphore.release()
        found += follower.poll()
    for process in pens:
        process.join()
        assert process.exitcode == 0
    found += follower.poll()
    assert follower.malformed == 0
    assert follower.missed == 0
    _check(found, writers, count)
    assert follower.segment >= blocks
    if keep > 1_000:
        _check(list(read_all(tmp_path / "trail")), writers, count)
    else:
        assert len(list_sealed(tmp_path / "trail")) == keep
        kept = list(read_all(tmp_path / "trail"))
        assert kept == found[-len(kept) :]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2)),
        st.tuples(st.just("rotate"), st.integers(1, 4)),
        st.tuples(st.just("poll"), st.integers(0, 1)),
        st.tuples(st.just("torn"), st.integers(1, 60)),
        st.tuples(st.just("reopen"), st.integers(0, 2)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_any_order_of_steps(actions: list[tuple[str, int]]) -> None:
    with folder() as path:
        pens = [pen(path, f"w{number}") for number in range(3)]
        warden = pen(path)
        followers = [Follower(path), Follower(path, from_start=False)]
        found: list[list[SequencedEvent]] = [[], []]
        written = 0
        torn = 0
        for what, number in actions:
            if what == "write":
                pens[number].write("actor_test", "/a", written)
                written += 1
            elif what == "rotate":
                warden.rotate_if_needed(1, 1_000)
            elif what == "torn" and (path / CURRENT).exists():
                fd = os.open(path / CURRENT, os.O_WRONLY | os.O_APPEND)
                os.write(fd, encode(TrailEvent(1.0, 1, "actor_torn", "/torn", 999))[:number].rstrip(b"\n}"))
                os.close(fd)
                torn += 1
            elif what == "reopen":
                pens[number].close()
                pens[number] = pen(path, f"w{number}")
            elif what == "poll":
                found[number] += followers[number].poll()
        for number, each in enumerate(followers):
            found[number] += each.poll()
            each.close()
        everything = list(read_all(path))
        assert [one.event.incarnation for one in everything] == list(range(written))
        assert found[0] == everything
        assert found[1] == everything
        if not torn:
            assert [one.seq for one in everything] == list(range(written))
        else:
            numbers = [one.seq for one in everything]
            assert numbers == sorted(set(numbers))
        for since in {one.seq for one in everything[:: max(len(everything) // 5, 1)]}:
            assert list(read_all(path, since=since)) == [one for one in everything if one.seq >= since]
        for each_pen in [*pens, warden]:
            each_pen.close()


def test_a_line_torn_at_every_byte_costs_only_itself(tmp_path: Path) -> None:
    victim = encode(TrailEvent(1.0, 1, "actor_x", "/a", 7, data={"text": 'a "quoted" {"t":1}\n'}))
    for cut in range(1, len(victim)):
        path = tmp_path / str(cut)
        writer = pen(path)
        writer.write("actor_x", "/a", 1)
        with (path / CURRENT).open("ab") as file:
            file.write(victim[:cut])
        follower = Follower(path)
        # not whole yet: left out, and no crash
        assert [one.event.incarnation for one in follower.poll()] == [1]
        assert [one.event.incarnation for one in read_all(path)] == [1]
        writer.write("actor_x", "/a", 2)
        assert [one.event.incarnation for one in follower.poll()] == [2]
        assert follower.malformed == 1
        writer.close()
        follower.close()


TEXT = st.text(max_size=20)


@given(
    st.builds(
        TrailEvent,
        t=st.floats(0, 1e9),
        utc=st.integers(0, 2**63 - 1),
        kind=TEXT,
        path=TEXT,
        incarnation=st.integers(0, 2**40),
        data=st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT, max_size=4),
    )
)
def test_what_is_written_is_read(event: TrailEvent) -> None:
    line = encode(event)
    assert line.count(b"\n") == 1
    assert decode(line) == event


@given(st.binary(max_size=200).filter(lambda noise: SEAL_LINE not in noise))
def test_no_bytes_crash_a_reader(noise: bytes) -> None:
    with folder() as path:
        writer = pen(path)
        writer.write("actor_x", "/a", 1)
        with (path / CURRENT).open("ab") as file:
            file.write(noise + b"\n")
        writer.write("actor_x", "/a", 2)
        writer.close()
        assert [one.event.incarnation for one in read_all(path)] == [1, 2]
