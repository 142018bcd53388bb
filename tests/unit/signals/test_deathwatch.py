import gc
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisors.core.errors import PlaneError
from supervisors.signals import beacon, deathwatch, futex, pidfd
from supervisors.signals.deathwatch import DeathBeacon, DeathNotice, DeathWatch, choose_method
from supervisors.signals.proc import pid_alive, process_start_time, wait_gone
from supervisors.signals.words import WordWaiter

from .hosts import LONG, Host, Notices, until

METHODS = ("futex", "futex-alone", "futex-no-waitv", "pidfd", "socket")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rayvisor-test-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test may leave a thread or a descriptor behind."""
    descriptors, threads = open_files(), threading.active_count()
    yield
    until(lambda: threading.active_count() <= threads)
    until(lambda: open_files() <= descriptors)


class Watching:
    def __init__(self, how: str, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.notices = Notices()
        if how == "futex-no-waitv":
            patch.setattr(deathwatch, "_has_waitv", lambda: False)
        method = how.partition("-")[0]
        self.watch = DeathWatch(self.notices, method, directory, second_net=how == "futex")
        self.method = method

    def on(self, host: Host, key: str = "k") -> None:
        self.watch.watch(key, host.name, host.pid, host.start)


@pytest.fixture(params=METHODS)
def watching(request: pytest.FixtureRequest, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    made = Watching(request.param, directory, monkeypatch)
    yield made
    made.watch.close()


ENDINGS = {
    "os._exit": "sys.stdin.readline(); os._exit(3)",
    "normal end": "sys.stdin.readline()",
    "exception": "sys.stdin.readline(); sys.stderr.close(); raise SystemExit(4)",
    "segfault": "sys.stdin.readline(); ctypes.string_at(0)",
    "abort": "sys.stdin.readline(); os.abort()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_is_told_once(watching: Watching, directory: Path, ending: str) -> None:
    with Host(directory, "h", ENDINGS[ending]) as host:
        watching.on(host)
        assert watching.notices.none_for(0.02)
        host.say()
        notice = watching.notices.next()
        assert notice.key == "k"
        if watching.watch.method != "futex":
            assert notice.signal == watching.method
        assert wait_gone(host.pid, host.start, LONG)
        assert watching.notices.none_for(0.05)
        assert len(watching.watch) == 0


def test_a_kill_is_told(watching: Watching, directory: Path) -> None:
    with Host(directory, "h") as host:
        watching.on(host)
        before = time.monotonic()
        os.kill(host.pid, signal.SIGKILL)
        notice = watching.notices.next()
        assert before <= notice.at <= time.monotonic()
        assert watching.notices.none_for(0.05)


def test_a_stopped_process_is_not_dead(watching: Watching, directory: Path) -> None:
    with Host(directory, "h") as host:
        watching.on(host)
        os.kill(host.pid, signal.SIGSTOP)
        assert watching.notices.none_for(0.2)
        os.kill(host.pid, signal.SIGCONT)
        assert watching.notices.none_for(0.1)
        os.kill(host.pid, signal.SIGSTOP)
        os.kill(host.pid, signal.SIGKILL)
        assert watching.notices.next().key == "k"


def test_dead_before_the_watch_began(watching: Watching, directory: Path) -> None:
    with Host(directory, "h") as host:
        os.kill(host.pid, signal.SIGKILL)
        assert wait_gone(host.pid, host.start, LONG)
        watching.on(host)  # still a zombie of ours
        assert watching.notices.next().key == "k"
        host.process.wait()
        watching.on(host, "again")
        assert watching.notices.next().key == "again"
        assert watching.notices.none_for(0.05)


def test_another_process_with_that_pid_is_a_death(watching: Watching, directory: Path) -> None:
    with Host(directory, "h") as host:
        watching.watch.watch("k", "h", host.pid, host.start - 5)
        assert watching.notices.next().key == "k"
        assert pid_alive(host.pid, host.start), "the process that has the pid now must not be touched"


def test_unwatched_is_not_told(watching: Watching, directory: Path) -> None:
    with Host(directory, "h") as host:
        watching.on(host)
        assert watching.watch.unwatch("k") is True
        assert watching.watch.unwatch("k") is False
        os.kill(host.pid, signal.SIGKILL)
        assert wait_gone(host.pid, host.start, LONG)
        assert watching.notices.none_for(0.1)


def test_a_key_watched_again_replaces_the_old_watch(watching: Watching, directory: Path) -> None:
    with Host(directory, "old") as old, Host(directory, "new") as new:
        watching.on(old)
        watching.on(new)
        os.kill(old.pid, signal.SIGKILL)
        assert wait_gone(old.pid, old.start, LONG)
        assert watching.notices.none_for(0.1)
        os.kill(new.pid, signal.SIGKILL)
        assert watching.notices.next().key == "k"


def test_a_forked_child_does_not_keep_the_beacon_alight(watching: Watching, directory: Path) -> None:
    body = """
child = os.fork()
if child == 0:
    beacon.close()  # the child's copy: not its business
    time.sleep(600)
print(child, flush=True)
sys.stdin.readline()
"""
    with Host(directory, "h", body) as host:
        child = int(host.read())
        try:
            watching.on(host)
            assert watching.notices.none_for(0.05), "the child's close must not reach the parent's watchers"
            os.kill(host.pid, signal.SIGKILL)
            assert watching.notices.next().key == "k"
            assert Path(f"/proc/{child}").exists()
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_end_of_a_forked_child_is_not_the_parents(watching: Watching, directory: Path) -> None:
    body = """
child = os.fork()
if child == 0:
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)
print("reaped", flush=True)
sys.stdin.readline()
"""
    with Host(directory, "h", body) as host:
        watching.on(host)
        assert host.read() == "reaped"
        assert watching.notices.none_for(0.05)


def test_several_watchers_of_one_beacon_are_all_told(watching: Watching, directory: Path) -> None:
    others = [Notices() for _ in range(6)]
    alone = watching.watch._second_net
    watches = [DeathWatch(n, watching.method, directory, second_net=alone) for n in others]
    try:
        with Host(directory, "h") as host:
            watching.on(host, "a")
            watching.on(host, "b")
            for watch in watches:
                watch.watch("k", "h", host.pid, host.start)
            os.kill(host.pid, signal.SIGKILL)
            assert {watching.notices.next().key, watching.notices.next().key} == {"a", "b"}
            for notices in others:
                assert notices.next().key == "k"
    finally:
        for watch in watches:
            watch.close()


def test_200_killed_at_once_are_all_told_once(watching: Watching, directory: Path) -> None:
    count = 200
    with Host(directory, "h", count=count) as host:
        for number, (pid, start) in enumerate(zip(host.pids, host.starts, strict=True)):
            watching.watch.watch(f"k{number}", f"h-{number}", pid, start)
        assert len(watching.watch) == count
        for pid in host.pids:
            os.kill(pid, signal.SIGKILL)
        told = [watching.notices.next().key for _ in range(count)]
        assert sorted(told) == sorted(f"k{number}" for number in range(count))
        assert watching.notices.none_for(0.1)


def test_calls_out_of_the_callback(watching: Watching, directory: Path) -> None:
    done = threading.Event()
    results: list[bool] = []

    with Host(directory, "one") as one, Host(directory, "two") as two:

        def on_death(notice: DeathNotice) -> None:
            if notice.key == "one":
                results.append(watch.unwatch("one"))
                watch.watch("two", "two", two.pid, two.start)
                os.kill(two.pid, signal.SIGKILL)
            else:
                watch.close()
                watch.close()
                done.set()

        watch = DeathWatch(on_death, watching.method, directory, second_net=watching.watch._second_net)
        watch.watch("one", "one", one.pid, one.start)
        os.kill(one.pid, signal.SIGKILL)
        assert done.wait(LONG)
        assert results == [False]


def test_unwatch_races_with_deaths(watching: Watching, directory: Path) -> None:
    """Each of 100 processes is told or was unwatched in time, never both, never neither."""
    count = 100
    with Host(directory, "h", count=count) as host:
        for number, (pid, start) in enumerate(zip(host.pids, host.starts, strict=True)):
            watching.watch.watch(str(number), f"h-{number}", pid, start)
        unwatched: list[str] = []

        def take_back() -> None:
            unwatched.extend(str(number) for number in range(count) if watching.watch.unwatch(str(number)))

        thread = threading.Thread(target=take_back)
        thread.start()
        for pid in reversed(host.pids):
            os.kill(pid, signal.SIGKILL)
        thread.join()
        told = [watching.notices.next().key for _ in range(count - len(unwatched))]
        assert sorted(told + unwatched) == sorted(str(number) for number in range(count))
        assert watching.notices.none_for(0.05)


def test_1000_watches(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DET-10's thousand, spread over 20 real processes and many names; then all are given back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2048:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
    watching = Watching("futex", directory, monkeypatch)
    try:
        with Host(directory, "h", count=20) as host:
            for number in range(1000):
                at = number % 20
                watching.watch.watch(str(number), f"h-{at}", host.pids[at], host.starts[at])
            assert watching.watch._words is not None
            assert watching.watch._words.threads == 8
            for pid in host.pids:
                os.kill(pid, signal.SIGKILL)
            told = [watching.notices.next().key for _ in range(1000)]
            assert len(set(told)) == 1000
            assert watching.notices.none_for(0.05)
    finally:
        watching.watch.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_second_net_holds_when_the_beacon_was_closed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for how in ("futex", "futex-alone"):
        watching = Watching(how, directory, monkeypatch)
        with Host(directory, "h", "sys.stdin.readline(); beacon.close(); print('x', flush=True); time.sleep(600)") as h:
            watching.on(h)
            h.say()
            assert h.read() == "x"
            assert watching.notices.none_for(0.05), "an orderly close is no death"
            assert not (directory / "h.futex").exists()
            assert not (directory / "h.sock").exists()
            os.kill(h.pid, signal.SIGKILL)
            assert watching.notices.next().signal == "pidfd"
        watching.watch.close()


def test_a_process_without_a_beacon_is_watched_by_pidfd(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching("futex", directory, monkeypatch)
    (directory / "junk.futex").write_bytes(b"no beacon")
    with Host(directory, "h") as host:
        watching.watch.watch("a", "nobody", host.pid, host.start)
        watching.watch.watch("b", "junk", host.pid, host.start)
        os.kill(host.pid, signal.SIGKILL)
        assert [watching.notices.next().signal for _ in range(2)] == ["pidfd", "pidfd"]
    watching.watch.close()


def test_a_futex_notice_kills_what_still_runs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is gone and the process is not (here: by exec): the watch makes the notice true."""
    watching = Watching("futex", directory, monkeypatch)
    with Host(directory, "h", "sys.stdin.readline(); os.execv('/bin/sleep', ['sleep', '600'])") as host:
        watching.on(host)
        host.say()
        assert watching.notices.next().signal == "futex"
        assert host.process.wait(LONG) == -signal.SIGKILL
    watching.watch.close()


def test_a_beacon_thread_costs_nothing_and_heeds_no_signal(directory: Path) -> None:
    body = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
print("ready", flush=True)
while True: time.sleep(0.05)
"""
    with Host(directory, "h", body) as host:
        beacon_thread = next(task for task in Path(f"/proc/{host.pid}/task").iterdir() if int(task.name) != host.pid)
        assert host.read() == "ready"
        spent = (beacon_thread / "schedstat").read_text()
        for _ in range(3):
            os.kill(host.pid, signal.SIGUSR1)
            assert host.read() == "handled"
        assert (beacon_thread / "schedstat").read_text() == spent, "it must not have run at all"


def test_names_and_places(directory: Path) -> None:
    for bad in ("", "a/b", "..", ".x", "x" * 97):
        with pytest.raises(PlaneError, match="no name"):
            DeathBeacon(directory, bad, frozenset({"futex"}))
    with pytest.raises(PlaneError, match="E5010"):
        DeathBeacon(directory / "nowhere", "h", frozenset({"futex"}))
    with pytest.raises(PlaneError, match="E5010"):
        DeathBeacon(directory / "nowhere", "h", frozenset({"socket"}))
    with pytest.raises(PlaneError, match="E5011"):
        DeathWatch(lambda _: None, "magic", directory)
    with pytest.raises(PlaneError, match="E5011"):
        DeathWatch(lambda _: None, "futex", directory / "nowhere")


def test_a_socket_path_longer_than_an_address(directory: Path) -> None:
    deep = directory / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)
    lit = DeathBeacon(deep, "h", frozenset({"socket", "futex"}))
    client = beacon.connect(deep, "h")
    assert beacon.peer_pid(client) == os.getpid()
    client.close()
    assert oct((deep / "h.sock").stat().st_mode)[-3:] == "600"
    assert oct((deep / "h.futex").stat().st_mode)[-3:] == "600"
    lit.close()
    lit.close()


def test_files_of_the_dead_are_replaced_and_removed(directory: Path) -> None:
    with Host(directory, "h") as host:
        os.kill(host.pid, signal.SIGKILL)
        assert wait_gone(host.pid, host.start, LONG)
    with Host(directory, "h") as heir:
        notices = Notices()
        watch = DeathWatch(notices, "futex", directory, second_net=False)
        watch.watch("k", "h", heir.pid, heir.start)
        assert notices.none_for(0.05)
        os.kill(heir.pid, signal.SIGKILL)
        assert notices.next().signal == "futex"
        watch.close()
    deathwatch.remove_files(directory, "h")
    deathwatch.remove_files(directory, "h")
    assert list(directory.iterdir()) == []


def test_a_living_process_without_a_socket_is_refused(directory: Path) -> None:
    watch = DeathWatch(Notices(), "socket", directory)
    start = process_start_time(os.getpid())
    assert start is not None
    with pytest.raises(PlaneError, match="E5012"):
        watch.watch("k", "nobody", os.getpid(), start)
    with Host(directory, "h") as host, pytest.raises(PlaneError, match=f"belongs to process {host.pid}"):
        watch.watch("k", "h", os.getpid(), start)
    assert len(watch) == 0
    watch.close()
    with pytest.raises(PlaneError, match="closed"):
        watch.watch("k", "h", os.getpid(), start)


def test_running_out_of_descriptors_is_told_and_leaves_nothing(directory: Path) -> None:
    gc.collect()  # what other tests left unreachable is not to be closed in between: that would free descriptors
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    watch = DeathWatch(Notices(), "pidfd", directory)
    with Host(directory, "h") as host:
        try:
            gc.collect()  # what earlier tests left must not free a descriptor in between
            lowest_free = os.dup(0)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            with pytest.raises(PlaneError, match="E5012"):
                watch.watch("k", "h", host.pid, host.start)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(watch) == 0
        watch.watch("k", "h", host.pid, host.start)
        watch.close()


def test_choice_by_what_works_here(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_method(directory)[0] == "futex"
    spent = []
    for _ in range(5):
        before = time.monotonic()
        assert futex.self_test(directory) == ""
        spent.append(time.monotonic() - before)
    assert sorted(spent)[2] < 0.03
    assert list(directory.iterdir()) == []
    method, reason = choose_method(directory / "nowhere")
    assert method == "pidfd"
    assert "cannot map" in reason
    monkeypatch.setattr(futex, "_FUTEX", -1)
    assert choose_method(directory)[0] == "pidfd"
    monkeypatch.setattr(pidfd, "_PIDFD_OPEN", 100_000)
    assert choose_method(directory)[0] == "socket"
    watch = DeathWatch(Notices(), "auto", directory)
    assert watch.method == "socket"
    assert "pidfd_open" in watch.reason
    watch.close()


def test_a_kernel_that_does_not_mark_is_found_out(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does_nothing = {"x86_64": 24, "aarch64": 124}[platform.machine()]  # sched_yield
    monkeypatch.setattr(futex, "_SET_ROBUST_LIST", does_nothing)
    assert "did not mark" in futex.self_test(directory, timeout=0.02)
    monkeypatch.setattr(futex, "_SET_ROBUST_LIST", 100_000)
    assert "set_robust_list failed" in futex.self_test(directory)
    with pytest.raises(PlaneError, match="E5010"):
        DeathBeacon(directory, "h", frozenset({"futex"}))
    assert list(directory.iterdir()) == []


def test_words_come_and_go_in_any_order(directory: Path) -> None:
    ended: list[object] = []
    waiter = WordWaiter(lambda token, _: ended.append(token), waitv=True)
    lit = DeathBeacon(directory, "h", frozenset({"futex"}))

    def mapped() -> int:
        descriptor = os.open(directory / "h.futex", os.O_RDONLY)
        try:
            return futex.map_shared(descriptor, writable=False)
        finally:
            os.close(descriptor)

    words = [waiter.add(mapped(), number) for number in range(300)]
    assert waiter.threads == 3
    for word in words[::3]:
        waiter.remove(word)
        waiter.remove(word)
    until(lambda: sum(group._count for group in waiter._groups) == 200)
    lit.close()  # read as "closed" by every word left
    until(lambda: len(ended) == 200)
    assert set(ended) == {number for number in range(300) if number % 3}
    waiter.remove(words[1])
    waiter.close(2.0)
    waiter.add(mapped_anonymous(), "late")


def test_without_a_thread_the_pidfd_does_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = Watching("futex-no-waitv", directory, monkeypatch)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Host(directory, "h") as host:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            watching.on(host)
        os.kill(host.pid, signal.SIGKILL)
        assert watching.notices.next().signal == "pidfd"
    watching.watch.close()


def mapped_anonymous() -> int:
    descriptor = os.memfd_create("late")
    os.ftruncate(descriptor, 4096)
    try:
        return futex.map_shared(descriptor, writable=False)
    finally:
        os.close(descriptor)


def test_the_interpreter_ends_with_a_beacon_alight(directory: Path) -> None:
    """No warning, no crash, status 0: a beacon is not to be closed on the way out."""
    code = (
        "import sys; from pathlib import Path; from supervisors.signals.deathwatch import DeathBeacon, DeathWatch\n"
        "b = DeathBeacon(Path(sys.argv[1]), 'h', frozenset({'futex', 'socket'}))\n"
        "w = DeathWatch(print, 'auto', Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert (done.returncode, done.stderr) == (0, "")
