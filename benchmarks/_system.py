"""A real system for a benchmark: brought up in a folder of its own, taken down however the benchmark ends.

The peer, Ray itself, is measured on the system's own Ray cluster from this process (``connect``), so that both run
with the same settings, on the same machine, at the same time. Ray must not be imported before that: its settings are
read once.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType, TracebackType

from benchmarks._report import BenchReport
from supervisors.runtime.observer import Observer
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.runtime.system import System
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.reader import Follower

#: restarts at once and for ever, so that kill may follow kill
PATIENT: Mapping[str, object] = {"backoff": None, "max_consecutive": None}
_UP_TIMEOUT = 180.0
_LOOK_EVERY = 0.005


def topology(children: Sequence[Mapping[str, object]], *, spares: int, **tree: object) -> dict[str, object]:
    """A topology that never gives up, and has no endpoint that could meet another system's."""
    return {
        "system": "bench",
        "spares": spares,
        "metrics": {"enabled": False},
        "defaults": {"child": PATIENT},
        "tree": {"intensity": 1_000_000, "period": "1s", "children": list(children), **tree},
    }


class Trail:
    """The trail as it grows: the first event of each (kind, path, incarnation), a verdict by what it says."""

    def __init__(self, folder: Path) -> None:
        self._follower = Follower(folder)
        self._seen: dict[tuple[str, str, int], TrailEvent] = {}
        self.events: list[TrailEvent] = []

    def look(self) -> None:
        """Take what came since the last look."""
        while found := self._follower.poll():
            for sequenced in found:
                event = sequenced.event
                kind = event.kind
                if kind == EventKind.VERDICT:
                    kind = f"{kind}:{event.data.get('verdict')}"
                self._seen.setdefault((kind, event.path, event.incarnation), event)
                self.events.append(event)

    def wait(self, kind: str, path: str, incarnation: int, timeout: float = 30.0) -> TrailEvent:
        """Wait for an event.

        Raises:
            TimeoutError: it did not come.
        """
        deadline = time.monotonic() + timeout
        while (event := self._seen.get((kind, path, incarnation))) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {kind} of {path}#{incarnation} within {timeout:g} s")
            time.sleep(_LOOK_EVERY)
            self.look()
        return event

    def close(self) -> None:
        self._follower.close()


class BenchSystem:
    """A system that is up while the block lasts.

    Args:
        declared: what ``topology.yaml`` would say.
    """

    def __init__(self, declared: Mapping[str, object]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rayvisor-bench-"))
        self.data = self.root / "data"
        self._file = self.root / "topology.yaml"
        self._file.write_text(json.dumps(declared))  # JSON is YAML
        self._system: System | None = None
        self._store: GoalStore | None = None
        self._trail: Trail | None = None
        self._observer: Observer | None = None
        self._chance = random.Random(1)

    def __enter__(self) -> "BenchSystem":
        try:
            self._rayvisor("up", str(self._file), "--detach")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._store = GoalStore(self.data)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if self._system is not None:
                self._system.close()
            if self._trail is not None:
                self._trail.close()
            if self._observer is not None:
                self._observer.close()
            if self._store is not None:
                self._store.close()
            self._rayvisor("down")
        finally:
            shutil.rmtree(self.root, ignore_errors=True)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _rayvisor(self, *words: str) -> None:
        command = [sys.executable, "-m", "supervisors.cli.main", *words, "--data-dir", str(self.data), "--json"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        try:
            said, complaint = process.communicate(timeout=_UP_TIMEOUT)
        except BaseException:
            process.send_signal(signal.SIGINT)  # it then ends what it has started
            process.wait(30)
            raise
        if process.returncode != 0:
            raise RuntimeError(f"rayvisor {words[0]}: {complaint or said}")

    # ------------------------------------------------------------ what a benchmark asks

    @property
    def trail(self) -> Trail:
        """Its trail."""
        if self._trail is None:
            self._trail = Trail(self.data / "trail")
        return self._trail

    def connect(self) -> System:
        """Join its Ray cluster from this process; once per process."""
        if self._system is None:
            self._system = System.connect(self.data)
        return self._system

    def host(self, path: str) -> HostRow:
        """The host that carries ``path`` now."""
        assert self._store is not None
        return self._store.hosts("path=? AND state='claimed'", (path,))[0]

    def spares(self) -> int:
        """How many are ready."""
        assert self._store is not None
        return len(self._store.hosts("state='spare'"))

    def standby_ready(self, path: str, incarnation: int) -> int:
        """Wait until that life is ready, its standby in sync and the machine at rest; the primary's pid.

        Raises:
            TimeoutError: it does not come to that.
        """
        observer = self._observe()
        self.trail.wait(EventKind.CHILD_READY, path, incarnation)
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            for supervisor in observer.status().supervisors:
                for child in supervisor.children:
                    mine = child.path == path and child.incarnation == incarnation and child.pid
                    if mine and any(standby.state == "synced" for standby in child.standbys):
                        time.sleep(0.4 + self._chance.random() * 0.1)
                        return child.pid
            time.sleep(0.05)
        raise TimeoutError(f"no standby of {path}#{incarnation} in sync within 60 s")

    def _observe(self) -> Observer:
        if self._observer is None:
            self._observer = Observer(self.data)
        return self._observer

    def settle(self, path: str, incarnation: int, spares: int) -> HostRow:
        """Wait until that life is ready, the pool is full and the machine has come to rest; no fixed phase to beats."""
        self.trail.wait(EventKind.CHILD_READY, path, incarnation)
        deadline = time.monotonic() + 60.0
        while self.spares() < spares:
            if time.monotonic() > deadline:
                raise TimeoutError("the pool of spares does not fill")
            time.sleep(0.02)
        time.sleep(0.25 + self._chance.random() * 0.1)
        return self.host(path)


# ---------------------------------------------------------------- the command line, alike for all


def interruptible() -> None:
    """Let SIGTERM (``timeout``) unwind as Ctrl-C does, so that nothing is left running."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def setting() -> dict[str, str | int | float]:
    """What it was measured on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "versions": f"Python {platform.python_version()}, Ray {version('ray')}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def parser(name: str, description: str, samples: int) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--samples", type=int, default=samples, help=f"samples of each figure (default {samples})")
    return made


def measure(run: Callable[[], BenchReport], *, as_json: bool) -> None:
    """Run it and print; 130 on Ctrl-C, with everything taken down."""
    interruptible()
    try:
        run().show(as_json=as_json)
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        sys.exit(130)
