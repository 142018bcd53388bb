"""Launches systems as a user does, waits for what must come true, and looks for anything that is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from supervisors.runtime.folders import folders_of
from supervisors.runtime.observer import Observer, is_up
from supervisors.signals.proc import process_start_time
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.reader import read_all
from supervisors.trail.status import ChildStatus, SupervisorStatus, SystemStatus

T = TypeVar("T")

#: a deadline for what must happen on a loaded machine, never a time that is waited out when all is well
LONG = 30.0
ROOT_FOLDER = Path(__file__).parents[2]
RAYVISOR = (sys.executable, "-m", "supervisors.cli.main")


class CallFailed(AssertionError):
    """A call did not answer; ``kind`` is the class of the error."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def until(condition: Callable[[], T | None], what: str, timeout: float = LONG) -> T:
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.02)


def cli(*arguments: str, timeout: float = 90.0) -> "subprocess.CompletedProcess[str]":
    """One ``rayvisor`` command, from the repository's folder."""
    return subprocess.run(
        [*RAYVISOR, *arguments], capture_output=True, text=True, timeout=timeout, cwd=ROOT_FOLDER, check=False
    )


def spawn(*arguments: str) -> "subprocess.Popen[str]":
    """One ``rayvisor`` command that goes on."""
    return subprocess.Popen(
        [*RAYVISOR, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT_FOLDER,
    )


def leftovers(data_dir: Path) -> list[str]:
    """Processes, sockets and shared memory of the system in ``data_dir``; a file it keeps is none."""
    folders = folders_of(data_dir)
    name = folders.runtime.name
    found = [str(folder) for folder in (folders.runtime, folders.shm) if folder.exists()]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environment = (entry / "environ").read_bytes().decode(errors="replace")
            output = str((entry / "fd" / "2").readlink())
        except OSError:
            continue
        if name in line or name in environment or name in output or str(folders.data) in line:
            found.append(f"process {entry.name}: {line[:200]}")
    return found


class Running:
    """One system in its own data directory.

    Args:
        data_dir: of its own.
        topology: text of the topology file.
    """

    def __init__(self, data_dir: Path, topology: str) -> None:
        self.data_dir = data_dir
        self.file = data_dir.with_suffix(".yaml")
        self.file.write_text(topology)
        self.warden = 0
        self.url = ""
        self._observer: Observer | None = None
        self._caller: subprocess.Popen[str] | None = None

    # ------------------------------------------------------------ life

    def up(self) -> None:
        """Bring it up, or adopt it, as a user does."""
        done = cli("up", str(self.file), "--data-dir", str(self.data_dir), "--detach", "--json", timeout=120.0)
        assert done.returncode == 0, done.stdout + done.stderr
        answer = json.loads(done.stdout)
        self.warden, self.url = answer["pid"], answer["url"]

    def down(self) -> None:
        """Take it down; nothing may be left."""
        self.close()
        done = cli("down", "--data-dir", str(self.data_dir), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        # init reaps the last of them a moment after they were killed
        until(lambda: not leftovers(self.data_dir), f"nothing is left: {leftovers(self.data_dir)}")

    def close(self) -> None:
        """Let go of what this process holds of it."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None
        caller, self._caller = self._caller, None
        if caller is not None:
            assert caller.stdin is not None
            assert caller.stdout is not None
            caller.stdin.close()
            try:
                caller.wait(10.0)
            except subprocess.TimeoutExpired:
                caller.kill()
                caller.wait()
            caller.stdout.close()

    # ------------------------------------------------------------ looking

    @property
    def observer(self) -> Observer:
        if self._observer is None:
            self._observer = Observer(self.data_dir)
        return self._observer

    def status(self) -> SystemStatus:
        return self.observer.status()

    def whole(self) -> SystemStatus:
        """As soon as every supervisor answers: one that is late is shown without its children."""

        def look() -> SystemStatus | None:
            status = self.status()
            return None if any(one.state == "not answering" for one in status.supervisors) else status

        return until(look, "every supervisor answers")

    def supervisor(self, path: str) -> SupervisorStatus | None:
        return next((one for one in self.status().supervisors if one.path == path), None)

    def is_known(self, path: str) -> bool:
        """Whether there is such a child."""
        return any(child.path == path for one in self.whole().supervisors for child in one.children)

    def find(self, path: str) -> ChildStatus | None:
        """The child; None also while its supervisor does not answer."""
        for supervisor in self.status().supervisors:
            for child in supervisor.children:
                if child.path == path:
                    return child
        return None

    def ready(self, path: str, after: int = 0) -> ChildStatus:
        """The child at ``path`` once it is ready in an incarnation above ``after``."""

        def look() -> ChildStatus | None:
            child = self.find(path)
            return child if child and child.state == "ready" and child.pid and child.incarnation > after else None

        return until(look, f"{path} ready in a life after {after}: {self.find(path)}")

    def wait_up(self) -> None:
        until(lambda: is_up(self.status()), "everything is up")

    def pids(self, top: str = "/") -> dict[str, int]:
        """Process of each child below ``top``."""
        return {
            child.path: child.pid
            for supervisor in self.whole().supervisors
            for child in supervisor.children
            if child.path.startswith(top) and child.pid
        }

    def supervisor_pid(self, path: str) -> int:
        found = self.supervisor(path)
        assert found is not None
        assert found.pid
        return found.pid

    # ------------------------------------------------------------ the trail

    def trail(self, path: str = "", since: float = 0.0) -> list[TrailEvent]:
        """Events of ``path`` (all when empty) since a monotonic time."""
        events = [one.event for one in read_all(self.data_dir / "trail")]
        return [event for event in events if event.t >= since and (not path or event.path == path)]

    def kinds(self, path: str, since: float = 0.0, failure: str = "") -> list[str]:
        return [event.kind for event in self.trail(path, since) if not failure or event.failure == failure]

    def event(self, kind: EventKind, path: str, since: float) -> TrailEvent:
        """The first event of a kind since a time; waits for it."""

        def look() -> TrailEvent | None:
            return next((event for event in self.trail(path, since) if event.kind == kind), None)

        return until(look, f"{kind} of {path}")

    # ------------------------------------------------------------ acting

    def ask(self, path: str, method: str, *arguments: object, timeout: float = 10.0, once: bool = False) -> object:
        """A call from outside, through ``System``."""
        if self._caller is None:
            self._caller = subprocess.Popen(
                [sys.executable, "-m", "tests.ray.caller", str(self.data_dir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT_FOLDER,
            )
            assert self._caller.stdout is not None
            assert self._caller.stdout.readline() == "connected\n"
        caller = self._caller
        assert caller.stdin is not None
        assert caller.stdout is not None
        caller.stdin.write(json.dumps([path, method, arguments, timeout, once]) + "\n")
        caller.stdin.flush()
        line = caller.stdout.readline()
        assert line, "the caller ended"
        found = msgspec.json.decode(line, type=dict[str, object])
        if "answer" in found:
            return found["answer"]
        raise CallFailed(str(found.get("error") or found.get("raised")), str(found.get("text", "")))

    def end(self, path: str, method: str, *arguments: object) -> None:
        """Make a child end itself by one of its methods, exactly once: a repeated call would end its next life too."""
        try:
            self.ask(path, method, *arguments, once=True)
        except CallFailed as failure:
            if failure.kind != "OutcomeUnknown":  # it died before its answer was out
                raise

    def kill(self, path: str, number: signal.Signals = signal.SIGKILL) -> ChildStatus:
        """Send a signal to the child at ``path``; the child as it was."""
        child = self.ready(path)
        os.kill(child.pid, number)
        return child


def gone(pid: int) -> bool:
    """True when a process that is not our own child has ended."""
    if process_start_time(pid) is None:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def runs_no_more(pid: int) -> bool:
    """True when no code of a process can run, though its memory may take a while to go (see ``signals.deathwatch``)."""
    if gone(pid):
        return True
    try:
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return True
    exiting, killed = 0x4, 1 << (signal.SIGKILL - 1)  # PF_EXITING; the mask of pending signals
    return bool(flags & exiting or (int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)) & killed)


def in_order(found: Iterable[str], wanted: Iterable[str]) -> bool:
    """True when ``wanted`` is a subsequence of ``found``."""
    rest = iter(found)
    return all(one in rest for one in wanted)
