"""The id of the disk that the journals are on."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supervisors.state.folders import STATE
from supervisors.state.volume import VOLUME, volume_id


def test_it_is_made_once_and_stays(tmp_path: Path) -> None:
    first = volume_id(tmp_path)
    assert len(first) == 16
    assert volume_id(tmp_path) == first
    assert [entry.name for entry in (tmp_path / STATE).iterdir()] == [VOLUME]


def test_another_folder_has_another_one(tmp_path: Path) -> None:
    assert volume_id(tmp_path / "a") != volume_id(tmp_path / "b")


def test_many_at_once_are_told_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(volume_id, [tmp_path] * 64))) == 1
    assert [entry.name for entry in (tmp_path / STATE).iterdir()] == [VOLUME]


def test_a_disk_that_takes_nothing_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert volume_id(tmp_path) == ""
    assert list((tmp_path / STATE).iterdir()) == []
    (tmp_path / "file").write_text("")
    assert volume_id(tmp_path / "file") == ""
