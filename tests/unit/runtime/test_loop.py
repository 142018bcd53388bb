"""The plane's loop and the client that asks over it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import pytest
import zmq

from supervisors.signals.client import Answer, PlaneClient
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import AskStatus, Order, Ordered, Resolve, Resolved, Status, decode, encode

LONG = 10.0


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def errors() -> list[BaseException]:
    return []


@pytest.fixture
def loop(errors: list[BaseException]) -> Iterator[PlaneLoop]:
    before = open_files()
    made = PlaneLoop("test-plane", errors.append)
    made.start()
    yield made
    made.stop(5.0)
    assert not made.thread.is_alive()
    assert open_files() <= before, "no descriptor is left"


def in_loop(loop: PlaneLoop, act: Callable[[], object]) -> object:
    """Run ``act`` in the loop's thread and give what it returned."""
    answers: Queue[object] = Queue()
    loop.call_soon(lambda: answers.put(act()))
    return answers.get(timeout=LONG)


def test_timers_run_in_order_and_cancelled_ones_do_not(loop: PlaneLoop) -> None:
    ran: Queue[str] = Queue()

    def plan() -> None:
        now = loop.now()
        loop.call_at(now + 0.03, lambda: ran.put("second"))
        cancelled = loop.call_at(now + 0.02, lambda: ran.put("cancelled"))
        loop.call_at(now + 0.01, lambda: ran.put("first"))
        loop.cancel(cancelled)
        loop.cancel(cancelled)
        loop.cancel(10_000)
        loop.call_later(0.04, lambda: ran.put("last"))

    loop.call_soon(plan)
    assert [ran.get(timeout=LONG) for _ in range(3)] == ["first", "second", "last"]
    assert ran.empty()


def test_a_timer_is_never_early(loop: PlaneLoop) -> None:
    late: Queue[float] = Queue()
    in_time: list[int] = []
    due = time.monotonic() + 0.05
    loop.call_soon(lambda: in_time.append(loop.call_at(due, lambda: late.put(time.monotonic() - due))))
    assert late.get(timeout=LONG) >= 0


def test_a_turn_that_raises_is_told_and_the_next_ones_come(loop: PlaneLoop, errors: list[BaseException]) -> None:
    turns: Queue[int] = Queue()

    def turn() -> None:
        turns.put(1)
        raise ValueError("a defect")

    loop.call_soon(lambda: loop.every(0.01, turn))
    for _ in range(3):
        turns.get(timeout=LONG)
    assert len(errors) >= 2
    assert all(isinstance(error, ValueError) for error in errors)


def test_turns_that_were_missed_are_left_out(loop: PlaneLoop) -> None:
    turns: Queue[float] = Queue()
    loop.call_soon(lambda: loop.every(0.01, lambda: turns.put(time.monotonic())))
    turns.get(timeout=LONG)
    came: Queue[int] = Queue()

    def pause() -> None:
        came.put(turns.qsize())
        time.sleep(0.2)

    loop.call_soon(pause)
    in_loop(loop, lambda: came.put(turns.qsize()))
    before, after = came.get(), came.get()
    assert after - before < 10, "twenty turns were due in the pause; they do not come all at once"
    in_loop(loop, lambda: None)
    turns.get(timeout=LONG)


def test_calls_from_many_threads_all_run(loop: PlaneLoop) -> None:
    ran: Queue[int] = Queue()

    def call_often() -> None:
        for _ in range(500):
            loop.call_soon(lambda: ran.put(1))

    threads = [threading.Thread(target=call_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(2000):
        ran.get(timeout=LONG)


def test_calls_after_the_end_are_no_error(loop: PlaneLoop) -> None:
    loop.stop()
    loop.call_soon(lambda: None)
    loop.stop()


class Peer:
    """A host's end: answers by ``answer``, remembers what it got."""

    def __init__(self, loop: PlaneLoop, folder: Path) -> None:
        self.got: Queue[object] = Queue()
        self.address = f"ipc://{folder}/p"
        self.silent = False
        self.noise: list[bytes] = []
        self._loop = loop
        self._socket: zmq.Socket[bytes] = loop.router(b"peer")
        self._socket.bind(self.address)
        loop.on_readable(self._socket, self._received)

    def _received(self, frames: list[bytes]) -> None:
        message = decode(frames[-1])
        self.got.put(message)
        for noise in self.noise:
            self._socket.send_multipart((frames[0], noise))
        if self.silent:
            return
        match message:
            case AskStatus(ref, path):
                self._socket.send_multipart((frames[0], encode(Status(ref, path.encode()))))
            case Resolve(ref, path):
                self._socket.send_multipart((frames[0], encode(Resolved(ref, path, "gone"))))
            case Order(ref):
                self._socket.send_multipart((frames[0], encode(Ordered(ref, "running", message.id))))
            case _:
                pass


@pytest.fixture
def peer(loop: PlaneLoop, tmp_path: Path) -> Peer:
    made = in_loop(loop, lambda: Peer(loop, tmp_path))
    assert isinstance(made, Peer)
    return made


class Asking:
    def __init__(self, loop: PlaneLoop) -> None:
        self.loop = loop
        self.client = PlaneClient(loop)
        self.answers: Queue[Answer | None] = Queue()

    def status(self, endpoint: str, path: str = "/a", timeout: float = LONG) -> None:
        self.loop.call_soon(lambda: self.client.ask_status(endpoint, path, timeout, self.answers.put))

    def next(self) -> Answer | None:
        return self.answers.get(timeout=LONG)


def test_questions_get_their_own_answers(loop: PlaneLoop, peer: Peer) -> None:
    asking = Asking(loop)
    for number in range(20):
        asking.status(peer.address, f"/{number}")
    bodies = [answer.body for answer in (asking.next() for _ in range(20)) if isinstance(answer, Status)]
    assert sorted(bodies) == sorted(f"/{number}".encode() for number in range(20))
    loop.call_soon(lambda: asking.client.resolve(peer.address, "/b", LONG, asking.answers.put))
    assert isinstance(asking.next(), Resolved)
    order = Order(0, "restart_child", "md")
    loop.call_soon(lambda: asking.client.order(peer.address, order, LONG, asking.answers.put))
    answer = asking.next()
    assert isinstance(answer, Ordered)
    assert (answer.error, answer.id) == ("running", "md")


def test_who_does_not_answer_is_given_up_in_time(loop: PlaneLoop, peer: Peer, tmp_path: Path) -> None:
    asking = Asking(loop)
    peer.silent = True
    began = time.monotonic()
    asking.status(peer.address, timeout=0.1)
    assert asking.next() is None
    asking.status(f"ipc://{tmp_path}/nobody", timeout=0.1)
    assert asking.next() is None
    assert time.monotonic() - began >= 0.2


def test_a_late_answer_and_noise_are_dropped(loop: PlaneLoop, peer: Peer) -> None:
    asking = Asking(loop)
    peer.noise = [b"", b"\xff\xff", encode(Status(10_000, b"not asked")), encode(AskStatus(1, "/"))]
    asking.status(peer.address)
    answer = asking.next()
    assert isinstance(answer, Status)
    assert answer.body == b"/a"
    assert asking.client.malformed == 2
    assert asking.answers.empty()


def test_many_unread_questions_do_not_block_the_loop(loop: PlaneLoop, tmp_path: Path) -> None:
    asking = Asking(loop)
    for _ in range(500):
        asking.status(f"ipc://{tmp_path}/nobody", timeout=0.2)
    assert [asking.next() for _ in range(500)] == [None] * 500


def test_a_forgotten_endpoint_may_be_asked_again(loop: PlaneLoop, peer: Peer) -> None:
    asking = Asking(loop)
    asking.status(peer.address)
    assert isinstance(asking.next(), Status)
    loop.call_soon(lambda: asking.client.forget(peer.address))
    loop.call_soon(lambda: asking.client.forget("ipc:///nowhere"))
    asking.status(peer.address)
    assert isinstance(asking.next(), Status)
