"""The observer where nothing answers, and which supervisors it counts."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from supervisors.core.paths import TreePath
from supervisors.runtime.observer import Observer, is_up
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import AskStatus, Status, decode, encode
from supervisors.trail.status import ChildStatus, SupervisorStatus, SystemStatus, report
from supervisors.tree.child import ChildRecord, SupervisorRecord


class Root:
    """A root supervisor's end of the plane, which says what the test wants."""

    def __init__(self, folder: Path) -> None:
        self.children: list[ChildStatus] = []
        self.endpoint = f"ipc://{folder}/root"
        self.loop = PlaneLoop("root", lambda error: None)
        self._socket = self.loop.router(b"root")
        self._socket.bind(self.endpoint)
        self.loop.on_readable(self._socket, self._received)
        self.loop.start()

    def _received(self, frames: list[bytes]) -> None:
        message = decode(frames[1])
        if isinstance(message, AskStatus):
            body = msgspec.json.encode(SupervisorStatus("/", pid=1, children=self.children))
            self._socket.send_multipart((frames[0], encode(Status(message.ref, body))), zmq.NOBLOCK)


@pytest.fixture
def store(tmp_path: Path) -> GoalStore:
    made = GoalStore(tmp_path)
    made.declare({"/": b"", "/cell": b"", "/cell/inner": b""})
    return made


@pytest.fixture
def root(tmp_path: Path, store: GoalStore) -> Iterator[Root]:
    made = Root(tmp_path)
    store.add_host(HostRow("h", "host-h", state="claimed", path="/", endpoint=made.endpoint))
    record = ChildRecord("root", 0, "running", 1, 0, 0.0, True, "", 0)
    store.save("warden", SupervisorRecord((), ()), [("/", record, "h", 1, "")], [])
    yield made
    made.loop.stop()


@pytest.fixture
def observer(tmp_path: Path, store: GoalStore) -> Iterator[Observer]:
    made = Observer(tmp_path)
    yield made
    made.close()


def cell(state: str) -> list[ChildStatus]:
    return [ChildStatus(TreePath("/cell"), "cell", type="supervisor", state=state, incarnation=1)]


@pytest.mark.parametrize("children", [[], cell("stopped")], ids=["forgotten", "stopped"])
def test_a_supervisor_at_rest_makes_nobody_unhealthy(
    root: Root, observer: Observer, children: list[ChildStatus]
) -> None:
    root.children = children
    status = observer.status()
    assert [one.path for one in status.supervisors] == ["/"]
    assert is_up(status)
    assert report(status).ready


def test_a_supervisor_that_is_yet_to_start_is_waited_for(root: Root, observer: Observer) -> None:
    root.children = cell("starting")
    status = observer.status()
    assert not is_up(status)
    assert not report(status).ready


def test_a_supervisor_that_is_down_counts(root: Root, observer: Observer) -> None:
    root.children = cell("restarting")
    status = observer.status()
    assert [one.path for one in status.supervisors][:2] == ["/", "/cell"]
    assert not is_up(status)
    assert not report(status).ready


def test_where_nobody_answers(observer: Observer) -> None:
    status = observer.status(timeout=0.1)
    assert status.supervisors[0].path == "/"
    assert not is_up(status)
    answer = observer.order("/", "restart_child", "cell", timeout=0.1)
    assert answer.error == "noproc"


def test_a_root_that_does_not_answer_in_time(root: Root, observer: Observer) -> None:
    root.loop.stop()
    status = observer.status(timeout=0.1)
    assert status.supervisors[0].state == "not answering"
    assert observer.order("/", "restart_child", "cell", timeout=0.1).error == "noproc"
    assert not is_up(SystemStatus("empty"))
