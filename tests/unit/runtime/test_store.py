import subprocess
import sys
import threading
from pathlib import Path

import pytest

from supervisors.core.errors import LaunchError
from supervisors.runtime.store import FILE_NAME, GoalStore, HostRow
from supervisors.tree.child import ChildRecord, SupervisorRecord

_TAKE_EPOCHS = """
import sys
from pathlib import Path
from supervisors.runtime.store import GoalStore
store = GoalStore(Path(sys.argv[1]))
print(*(store.next_epoch() for _ in range(20)))
"""
_HEAD = SupervisorRecord((), ())


@pytest.fixture
def store(tmp_path: Path) -> GoalStore:
    return GoalStore(tmp_path)


def record(child: str, incarnation: int = 1, state: str = "running", *, wanted: bool = True) -> ChildRecord:
    return ChildRecord(child, 0, state, incarnation, 0, 0.0, wanted, "", 0)


def spare(number: int, pool: str = "") -> HostRow:
    return HostRow(id=f"h{number}", actor=f"host-h{number}", state="spare", pool=pool, created=float(number))


def save(store: GoalStore, path: str, host: str = "", **rest: object) -> None:
    top, _, child = path.rpartition("/")
    supervisor = top or "/"
    store.save(supervisor, _HEAD, [(path, record(child, **rest), host, 7, "crash: why")], [])  # type: ignore[arg-type]


def test_hosts_are_written_down_replaced_and_dropped(store: GoalStore) -> None:
    row = HostRow("h1", "host-h1", 10, 20, "node", local=False, endpoint="ipc://e", pub="ipc://p", created=1.5)
    store.add_host(row)
    assert store.host("h1") == row
    assert store.host("h1").local is False  # type: ignore[union-attr]
    newer = HostRow("h1", "host-h1", 11, state="claimed", path="/a")
    store.add_host(newer)
    assert store.hosts() == [newer]
    store.drop_host("h1")
    store.drop_host("h1")
    assert store.host("h1") is None


def test_the_oldest_spare_of_the_pool_is_claimed(store: GoalStore) -> None:
    for row in (spare(2), spare(1), spare(0, pool="gpu"), HostRow("h9", "host-h9", created=0.0)):
        store.add_host(row)
    first = store.claim_spare("/a", "")
    assert first is not None
    assert (first.id, first.state, first.path) == ("h1", "claimed", "/a")
    second = store.claim_spare("/b", "")
    assert second is not None
    assert second.id == "h2"
    assert store.claim_spare("/c", "") is None, "one is being made, the other is of another pool"


def test_no_two_threads_claim_one_spare(store: GoalStore) -> None:
    for number in range(60):
        store.add_host(spare(number))
    got: list[str] = []
    lock = threading.Lock()

    def claim(name: int) -> None:
        while (row := store.claim_spare(f"/w{name}", "")) is not None:
            with lock:
                got.append(row.id)
        store.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 60


def test_epochs_grow_across_processes_and_clears(store: GoalStore, tmp_path: Path) -> None:
    first = store.next_epoch()
    command = [sys.executable, "-c", _TAKE_EPOCHS, str(tmp_path)]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    mine = [store.next_epoch() for _ in range(20)]
    theirs = [int(number) for process in others for number in process.communicate()[0].split()]
    assert len(set(mine + theirs)) == 60
    assert min(mine + theirs) > first
    store.clear()
    assert store.next_epoch() > max(mine + theirs)


def test_places_follow_what_is_saved(store: GoalStore) -> None:
    store.declare({"/": b"root", "/cell": b"cell"})
    save(store, "/cell/md", host="h1", incarnation=3)
    place = store.place("/cell/md")
    assert place is not None
    assert (place.supervisor, place.host, place.incarnation, place.epoch) == ("/cell", "h1", 3, 7)
    assert (place.state, place.wanted, place.reason) == ("running", True, "crash: why")
    assert store.place("/cell/oms") is None
    store.save("/cell", SupervisorRecord((2, 1), ()), [], ["md"])
    assert store.place("/cell/md") is None
    assert store.record("/cell")[0].stamps == (2, 1)


def test_a_supervisor_inherits_its_record(store: GoalStore) -> None:
    store.declare({"/": b"", "/cell": b""})
    save(store, "/cell/md", host="h1", incarnation=2)
    save(store, "/cell/oms", incarnation=5, state="restarting")
    store.save("/cell", SupervisorRecord((11, 10), (), floor=9, next_dynamic=4), [], [])
    found, places = store.record("/cell")
    assert (found.stamps, found.floor, found.next_dynamic) == ((11, 10), 9, 4)
    assert {child.id: child.incarnation for child in found.children} == {"md": 2, "oms": 5}
    assert places["md"].host == "h1"
    assert store.begin_supervisor("/cell") == {"md": 2, "oms": 5}
    assert store.record("/cell")[0].stamps == ()
    assert store.place("/cell/md").host == ""  # type: ignore[union-attr]


def test_below_means_below(store: GoalStore) -> None:
    """A name with a wildcard of SQL in it, and one that another begins with."""
    for path in ("/a_b", "/a_b/x", "/aXb/x", "/a_bc/x", "/a_b/y/z"):
        save(store, path, host="h")
        store.add_host(HostRow(f"h{path}", "actor", state="claimed", path=path))
    assert {row.path for row in store.hosts_below("/a_b")} == {"/a_b/x", "/a_b/y/z"}
    assert len(store.hosts_below("/")) == 5
    store.forget_below("/a_b")
    assert {place.path for place in store.places() if place.state == "undefined"} == {"/a_b/x", "/a_b/y/z"}


def test_supervisors_come_parents_first_and_nothing_else(store: GoalStore) -> None:
    store.declare({"warden": b"", "system": b"", "/b/c": b"", "/a": b"", "/": b"r", "/b": b""})
    assert store.supervisors() == ["/", "/a", "/b", "/b/c"]
    assert store.part("/") == b"r"
    with pytest.raises(LaunchError, match="/nowhere"):
        store.part("/nowhere")


def test_settings_and_clear(store: GoalStore) -> None:
    assert store.get("system", "none") == "none"
    store.put(system="x", namespace="y")
    store.put(system="z")
    save(store, "/a")
    store.add_host(spare(1))
    store.clear()
    assert (store.get("system"), store.get("namespace")) == ("z", "y")
    assert store.hosts() == []
    assert store.places() == []


def test_a_transaction_is_all_or_nothing(store: GoalStore) -> None:
    def half_way() -> None:
        with store.transaction() as connection:
            connection.execute("INSERT INTO meta VALUES ('half', '1')")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        half_way()
    assert store.get("half", "no") == "no"
    store.put(whole="1")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("not a database, but long enough to be read as one" * 50)
    with pytest.raises(LaunchError) as failure:
        GoalStore(tmp_path)
    assert failure.value.code == 2010
    with pytest.raises(LaunchError):
        GoalStore(tmp_path / "missing")


def test_a_supervisor_is_told_anew_and_keeps_what_it_knows(store: GoalStore) -> None:
    store.declare({"/": b"", "/cell": b"old"})
    save(store, "/cell/md", host="h1", incarnation=2)
    store.save("/cell", SupervisorRecord((11, 10), (), floor=9), [], [])
    store.redeclare({"/cell": b"new", "/desk": b"first"})
    assert (store.part("/cell"), store.part("/desk")) == (b"new", b"first")
    assert store.record("/cell")[0].stamps == (11, 10)
    assert store.place("/cell/md").incarnation == 2  # type: ignore[union-attr]
    assert store.record("/desk")[0].stamps == ()


def test_what_is_in_the_topology_no_more_leaves_nothing(store: GoalStore) -> None:
    store.declare({"/": b"", "/a_b": b"", "/a_b/y": b"", "/aXb": b"", "/a_bc": b""})
    for path in ("/a_b", "/a_b/x", "/a_b/y/z", "/aXb/x", "/a_bc/x"):
        save(store, path)
    store.undeclare("/a_b")
    assert store.supervisors() == ["/", "/aXb", "/a_bc"]
    assert {place.path for place in store.places()} == {"/aXb/x", "/a_bc/x"}


def test_a_claim_holds_until_it_is_stale_or_given_back(store: GoalStore) -> None:
    assert store.claim("key", "first", lambda value: False) == ""
    assert store.claim("key", "second", lambda value: False) == "first"
    assert store.get("key") == "first"
    assert store.claim("key", "second", lambda value: value == "first") == ""
    store.put(key="")
    assert store.claim("key", "third", lambda value: False) == ""
    assert store.get("key") == "third"


def test_room_that_was_taken_is_enough_to_go_on_without_any(store: GoalStore, tmp_path: Path) -> None:
    """Supervision writes here while the disk is full: no file may grow then."""
    store.take_room()
    before = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    for number in range(2000):
        store.add_host(spare(number % 300))
        store.put(**{f"recovery:/{number % 50}": "y" * 3000})
        save(store, f"/cell/{number % 100}", f"h{number}")
        store.drop_host(f"h{number % 200}")
    assert {file.name: file.stat().st_size for file in tmp_path.iterdir()} == before
