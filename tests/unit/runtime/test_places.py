from pathlib import Path

import msgspec
import pytest

from supervisors.runtime.boot import HostBoot
from supervisors.runtime.calls import Place
from supervisors.runtime.places import GONE, NEVER, PlaceFinder, place_of
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.tree.child import ChildRecord, SupervisorRecord

_HOST = HostRow("h1", "host-h1", state="claimed", path="/a", endpoint="ipc://plane", pub="ipc://pub")


def put(store: GoalStore, state: str, *, wanted: bool = True, host: str = "") -> None:
    row = ChildRecord("a", 0, state, 4, 0, 0.0, wanted, "", 0)
    store.save("/", SupervisorRecord((), ()), [("/a", row, host, 9, "")], [])


def boot(folder: Path, *, local: bool) -> HostBoot:
    return HostBoot(
        host="h",
        system="s",
        namespace="n",
        data_dir=str(folder),
        plane_dir="",
        shm_dir="",
        transport="ipc",
        bind="",
        methods=(),
        nodes=False,
        local=local,
        build="",
        search=(),
        cwd="",
    )


@pytest.mark.parametrize(
    ("state", "wanted", "expected"),
    [
        ("starting", True, "gone"),
        ("restarting", True, "gone"),
        ("restarting", False, "gone"),
        ("stopping", True, "gone"),
        ("undefined", False, "never"),
        ("stopping", False, "never"),
        ("undefined", True, "gone"),
    ],
)
def test_a_path_without_a_life(tmp_path: Path, state: str, wanted: bool, expected: str) -> None:
    store = GoalStore(tmp_path)
    put(store, state, wanted=wanted)
    assert place_of(store, "/a") == (Place(expected), None)


def test_a_path_that_runs_and_one_that_is_not(tmp_path: Path) -> None:
    store = GoalStore(tmp_path)
    assert place_of(store, "/a") == (NEVER, None)
    put(store, "running", host="h1")
    assert place_of(store, "/a") == (GONE, None), "its host is gone, and nobody knows it yet"
    store.add_host(_HOST)
    assert place_of(store, "/a") == (Place("running", "host-h1", 4, 9, "ipc://pub"), _HOST)


async def test_a_finder_with_the_goal_state_at_hand_asks_nobody(tmp_path: Path) -> None:
    store = GoalStore(tmp_path)
    put(store, "running", host="h1")
    store.add_host(_HOST)

    async def ask(path: str) -> Place:
        raise AssertionError("asked")

    finder = PlaceFinder(boot(tmp_path, local=True), ask)
    assert (await finder.find("/a")).actor == "host-h1"
    assert await finder.find("/b") == NEVER


async def test_a_finder_elsewhere_asks_and_remembers_what_runs(tmp_path: Path) -> None:
    asked: list[str] = []
    answers = [GONE, Place("running", "host-x", 2)]

    async def ask(path: str) -> Place:
        asked.append(path)
        return answers[min(len(asked), 2) - 1]

    finder = PlaceFinder(boot(tmp_path, local=False), ask)
    assert await finder.find("/a") == GONE
    assert (await finder.find("/a")).incarnation == 2
    assert (await finder.find("/a")).incarnation == 2
    assert len(asked) == 2, "what is gone is asked again, what runs is remembered for a moment"


def test_subscribers_elsewhere_get_the_address_for_other_nodes(tmp_path: Path) -> None:
    store = GoalStore(tmp_path)
    put(store, "running", host="h1")
    store.add_host(msgspec.structs.replace(_HOST, pub="ipc://pub tcp://10.0.0.1:7"))
    assert place_of(store, "/a")[0].pub == "ipc://pub"
    assert place_of(store, "/a", here=False)[0].pub == "tcp://10.0.0.1:7"
