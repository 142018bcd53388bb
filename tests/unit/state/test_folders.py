"""Folders of an actor's state."""

from pathlib import Path

import pytest

from supervisors.state.folders import checkpoint_folder, journal_folder, state_folder

DATA = Path("/data")


def test_names() -> None:
    assert state_folder(DATA, "/cell/md") == DATA / "state" / "cell~md"
    assert state_folder(DATA, "/") == DATA / "state" / "~"
    assert journal_folder(DATA, "/a") == DATA / "state" / "a" / "journal"
    assert checkpoint_folder(DATA, "/a") == DATA / "state" / "a" / "checkpoints"


def test_long_names_stay_apart_and_fit_a_file_system() -> None:
    top = "/" + "/".join("x" * 63 for _ in range(6))
    one, two = state_folder(DATA, top + "/a"), state_folder(DATA, top + "/b")
    assert one != two
    assert len(one.name) <= 255
    assert one == state_folder(DATA, top + "/a")


@pytest.mark.parametrize("path", ["", "a", "/../x", "/a~b", "//"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the tree's own words
        state_folder(DATA, path)
