"""What a look at the machine finds of hosts that the goal state does not know: actors' names, sockets, words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.core.errors import LaunchError
from supervisors.runtime import chaos_leftovers
from supervisors.runtime.chaos_leftovers import leftovers_of
from supervisors.runtime.folders import Folders, clear, folders_of, make
from supervisors.runtime.store import GoalStore, HostRow

KNOWN, GONE = "0123456789ab", "fedcba987654"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    monkeypatch.setattr(chaos_leftovers, "_PAUSE", 0.0)
    found = folders_of(tmp_path)
    make(found)
    yield found
    clear(found)


@pytest.fixture
def store(folders: Folders) -> Iterator[GoalStore]:
    store = GoalStore(folders.data)
    store.add_host(HostRow(KNOWN, f"host-{KNOWN}", state="spare"))
    yield store
    store.close()


def files(folders: Folders, host: str) -> list[Path]:
    made = [folders.plane / f"{kind}-{host}" for kind in ("h", "p", "exit", "fault")]
    made += [folders.shm / f"{host}.{kind}" for kind in ("futex", "sock")]
    for file in made:
        file.touch()
    return made


def test_what_a_known_host_has_is_accounted_for(folders: Folders, store: GoalStore) -> None:
    files(folders, KNOWN)
    (folders.plane / "note.txt").touch()  # of nobody we know
    found = leftovers_of(folders.data, store, lambda: frozenset({f"host-{KNOWN}", "a user's own"}))
    assert not found.any
    assert found.unseen == ()


def test_what_an_unknown_host_left_is_found(folders: Folders, store: GoalStore) -> None:
    left = files(folders, GONE)
    found = leftovers_of(folders.data, store, lambda: frozenset({f"host-{GONE}"}))
    assert set(found.names) == {f"Ray actor host-{GONE}", *map(str, left)}


def test_what_vanishes_meanwhile_was_on_its_way(folders: Folders, store: GoalStore) -> None:
    looks = iter([frozenset({f"host-{GONE}"}), frozenset({f"host-{GONE}"}), frozenset()])
    assert not leftovers_of(folders.data, store, lambda: next(looks)).any


def test_names_that_nobody_tells_are_missing_and_not_fine(folders: Folders, store: GoalStore) -> None:
    def silent() -> frozenset[str]:
        raise LaunchError("Ray is down")

    found = leftovers_of(folders.data, store, silent)
    assert found.unseen == ("names of Ray actors: Ray is down",)
