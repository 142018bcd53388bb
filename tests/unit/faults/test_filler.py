"""The disk is filled to a share and no further, and the room given back."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors.core.errors import FaultError
from supervisors.faults import filler, node
from supervisors.faults.filler import Room
from tests.unit.faults.network.orders import order


@given(st.integers(1, 10**13), st.integers(0, 10**13), st.floats(0.01, 1.0))
def test_to_share(used: int, free: int, share: float) -> None:
    size = Room(used, free).to_share(share)
    assert 0 <= size <= free
    reached = (used + size) / (used + free)
    assert reached >= share - 1e-9
    assert size == 0 or reached <= share + 2 / (used + free)


def test_larger_than_it_may_be_is_refused() -> None:
    asked = order("fill_disk", used=0.95, most="1GB")
    with pytest.raises(FaultError) as caught:
        filler.wanted(asked, Room(10 * 10**9, 90 * 10**9))
    assert caught.value.code == 9056
    assert caught.value.fix == "--param most=85GB, or a smaller share"
    assert filler.wanted(asked, Room(940 * 10**8, 60 * 10**8)) == 10**9


def test_it_takes_the_room_and_gives_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filler, "room_of", lambda folder: Room(10**9, 10**8))
    asked = order("fill_disk", "f-1", used=0.95)
    place = filler.file_of(asked, tmp_path)
    seen: list[os.stat_result] = []

    def stop() -> bool:
        seen.append(place.stat())
        return len(seen) == 2

    assert node.probe(asked, tmp_path)
    node.run(asked, tmp_path, stop)
    assert seen[0].st_size == 45_000_000
    assert seen[0].st_blocks * 512 >= 45_000_000, "room, not a hole"
    assert node.probe(asked, tmp_path)
    assert not place.parent.exists()


def test_a_disk_that_is_full_before_is_refused_and_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "room_of", lambda folder: Room(0, 10**9))
    calls: list[int] = []

    def allocate(file: int, first: int, size: int) -> None:
        calls.append(size)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    asked = order("fill_disk", used=0.5)
    with pytest.raises(FaultError) as caught:
        node.run(asked, tmp_path, lambda: pytest.fail("it was never there"))
    assert caught.value.code == 9055
    assert node.probe(asked, tmp_path)


def test_what_a_crash_left_is_found_and_removed(tmp_path: Path) -> None:
    asked = order("fill_disk", "f-2")
    place = filler.file_of(asked, tmp_path)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    (place.parent / "other").write_bytes(b"")
    assert not node.probe(asked, tmp_path)
    node.clean(asked, tmp_path)
    node.clean(asked, tmp_path)
    assert node.probe(asked, tmp_path)
    assert (place.parent / "other").exists()
