"""A running system as chaos runs see it (``chaos.ground.Ground``), and how one is brought up for them."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from prometheus_client import generate_latest

from supervisors.chaos.concluding import history_of
from supervisors.chaos.ground import Answer, Hits
from supervisors.chaos.history import Leftovers
from supervisors.chaos.invariants import check
from supervisors.chaos.systems import Known, places_of
from supervisors.chaos.verdicts import Verdict
from supervisors.core.errors import FaultError, LaunchError
from supervisors.faults.request import FaultRequest, RecordState
from supervisors.runtime.chaos_calls import Calls
from supervisors.runtime.chaos_leftovers import leftovers_of
from supervisors.runtime.folders import DirectoryLock, folders_of
from supervisors.runtime.injecting import Injector
from supervisors.runtime.observer import Observer, is_up
from supervisors.runtime.store import GoalStore
from supervisors.spec.compiled import SupervisorPart, decode
from supervisors.trail.events import TrailEvent
from supervisors.trail.metrics import TrailMetrics
from supervisors.trail.reader import Follower
from supervisors.trail.status import SystemStatus

#: seconds a system may take to come up, or to be all up again before a run
_UP_TIMEOUT = 120.0
#: seconds within which one look at the system is good for several probes
_FRESH = 0.05
#: code of the error about a fault that is not in the undo log
_UNKNOWN = 9019


class SystemGround:
    """One running system. Thread-safe. Close it when done.

    Args:
        data_dir: of the system.
        known: what is known of it from its topology; its places are asked of the goal state when they are not known.
        calls: connect for calls to actors now (it takes seconds); without it the first call does.

    Raises:
        LaunchError: nothing runs there.
    """

    def __init__(self, data_dir: Path, known: Known | None = None, *, calls: bool = False) -> None:
        self.data_dir = data_dir.resolve()
        if not runs(self.data_dir):
            raise LaunchError(f"nothing runs in {data_dir}", code=2006, fix="rayvisor up starts it")
        self._lock = threading.Lock()
        self._store = GoalStore(self.data_dir)
        self._observer = Observer(self.data_dir)
        self._calls: Calls | None = None
        self._calls_lock = threading.Lock()
        self._injector: Injector | None = None
        self._follower: Follower | None = None
        self._metrics: TrailMetrics | None = None
        self._events: list[TrailEvent] = []
        self._folder: Path | None = None
        self._status: tuple[float, SystemStatus] | None = None
        self._known = known
        if calls:
            self._connected()

    # ------------------------------------------------------------ life

    def begin(self, run: str) -> None:
        """Another run begins, with faults and a trail of its own."""
        self._end_run()
        self._folder = self.data_dir / "chaos" / run
        self._injector = Injector(self.data_dir, run=run)
        with self._lock:
            self._events = []
            self._follower = Follower(self.data_dir / "trail", from_start=False)

    def close(self) -> None:
        """Let go of it; what this run still had under fault is reverted."""
        self._end_run()
        if self._calls is not None:
            self._calls.close()
        self._observer.close()
        self._store.close()

    def __enter__(self) -> "SystemGround":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end_run(self) -> None:
        if self._injector is not None:
            self._injector.close()
            self._injector = None
        with self._lock:
            if self._follower is not None:
                self._follower.close()
                self._follower = None

    @property
    def injector(self) -> Injector:
        """Of the present run; one outside of any run when there is none."""
        if self._injector is None:
            self._injector = Injector(self.data_dir)
        return self._injector

    # ------------------------------------------------------------ what is known

    @property
    def known(self) -> Known:
        """See ``Ground``."""
        if self._known is None or self._known.places is None:
            parts = self.parts()
            self._known = Known(
                catalogue=self.injector.catalogue,
                places=places_of(parts),
                open_ended=frozenset(part.path for part in parts if part.template is not None),
                name=self._store.get("system"),
                digest=self._store.get("digest"),
                own=self.injector.actor_kinds(),
            )
        return self._known

    def parts(self) -> Sequence[SupervisorPart]:
        """See ``Ground``."""
        return [decode(self._store.part(path), SupervisorPart) for path in self._store.supervisors()]

    # ------------------------------------------------------------ faults

    @property
    def aborted(self) -> str:
        """See ``Ground``."""
        return "an emergency stop was ordered" if self._injector is not None and self._injector.aborted else ""

    def inject(self, request: FaultRequest, max_targets: int | None) -> Hits:
        """See ``Ground``."""
        if max_targets is not None:
            under = {record.order.path for record in self.injector.active()}
            wanted = {candidate.path for candidate in self.injector.plan(request)}
            if len(under | wanted) > max_targets:
                held, more = ", ".join(sorted(under)), ", ".join(sorted(wanted - under))
                raise FaultError(
                    f"{held} are under fault; with {more} they would be more than {max_targets} at once",
                    code=9009,
                    fix="wait for one to be over, or raise limits: max_targets",
                )
        done = self.injector.inject(request)
        return Hits((done.id,), done.targets, done.injected_at)

    def revert(self, ids: Sequence[str] | None, why: str) -> tuple[str, ...]:
        """See ``Ground``."""
        if ids is None:
            ids = sorted(self.active())
        stuck: list[str] = []
        for one in ids:
            try:
                ended = self.injector.revert(one, why=why, by="driver")
            except FaultError as error:
                if error.code != _UNKNOWN:
                    raise
                continue  # it was over long ago
            stuck += [record.order.id for record in ended if record.state is not RecordState.REVERTED]
        return tuple(stuck)

    def active(self) -> frozenset[str]:
        """See ``Ground``."""
        return frozenset(record.order.id.partition(".")[0] for record in self.injector.active())

    # ------------------------------------------------------------ looking

    def status(self) -> SystemStatus:
        """See ``Ground``; one look serves all that ask within a moment."""
        with self._lock:
            held = self._status
        if held is not None and time.monotonic() - held[0] < _FRESH:
            return held[1]
        status = self._observer.status()
        with self._lock:
            self._status = time.monotonic(), status
        return status

    def trail(self) -> Sequence[TrailEvent]:
        """See ``Ground``."""
        with self._lock:
            while self._follower is not None and (more := self._follower.poll()):
                self._events.extend(one.event for one in more)
            return tuple(self._events)

    def metrics(self) -> str:
        """See ``Ground``: the same collector that ``/metrics`` has, on the same trail."""
        with self._calls_lock:
            if self._metrics is None:
                self._metrics = TrailMetrics(self.data_dir / "trail", self.status)
        return generate_latest(self._metrics.registry).decode()

    def verdicts(self) -> Sequence[Verdict]:
        """See ``Ground``."""
        if self._folder is None:
            return ()
        return check(history_of(self._folder, self, over=False))

    def leftovers(self) -> Leftovers:
        """See ``Ground``."""
        return leftovers_of(self.data_dir, self._store, lambda: self._connected().actors())

    # ------------------------------------------------------------ calls

    def call(self, path: str, method: str, args: Sequence[object], timeout: float) -> object:
        """See ``Ground``."""
        return self._connected().call(path, method, args, timeout)

    def ask(self, path: str, method: str, args: Sequence[object], timeout: float) -> Answer:
        """See ``Ground``."""
        return self._connected().ask(path, method, args, timeout)

    def _connected(self) -> Calls:
        with self._calls_lock:
            if self._calls is None:
                self._calls = Calls(self.data_dir)
            return self._calls


# ---------------------------------------------------------------- bringing one up


def runs(data_dir: Path) -> bool:
    """Whether a system runs in ``data_dir``."""
    if not (data_dir / "goals.sqlite").exists():
        return False
    if DirectoryLock(folders_of(data_dir)).holder() > 0:
        return True
    store = GoalStore(data_dir)
    try:
        return bool(store.hosts("state='claimed'"))
    finally:
        store.close()


def ensure_up(data_dir: Path, topology: Path | None, name: str = "") -> bool:
    """See that a system runs and is all up; True: it was brought up for this.

    Args:
        data_dir: of the system.
        topology: brought up when nothing runs; None: something has to.
        name: of the system that is meant; another one that runs there is an error.

    Raises:
        LaunchError: nothing runs and nothing is named, or it does not come up.
        FaultError: another system runs there (9070).
    """
    if runs(data_dir):
        store = GoalStore(data_dir)
        found = store.get("system")
        store.close()
        if name and found != name:
            raise FaultError(
                f"{found} runs in {data_dir}, and the experiment is for {name}",
                code=9070,
                fix="rayvisor down ends it; --data-dir names another place",
            )
        wait_up(data_dir)
        return False
    if topology is None:
        raise LaunchError(f"nothing runs in {data_dir}", code=2006, fix="rayvisor up, or system: in the experiment")
    command = [sys.executable, "-m", "supervisors.cli.main", "up", str(topology), "--data-dir", str(data_dir)]
    done = subprocess.run([*command, "--detach", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise LaunchError(f"{topology} did not come up: {last[0]}", code=2072, fix="rayvisor up shows more")
    wait_up(data_dir)
    return True


def wait_up(data_dir: Path, timeout: float = _UP_TIMEOUT) -> None:
    """Wait until everything is up.

    Raises:
        LaunchError: it is not in time.
    """
    observer = Observer(data_dir)
    deadline = time.monotonic() + timeout
    try:
        while not is_up(observer.status()):
            if time.monotonic() > deadline:
                raise LaunchError(f"not all is up in {data_dir}", code=2071, fix="rayvisor tree shows what is not")
            time.sleep(0.1)
    finally:
        observer.close()


def take_down(data_dir: Path) -> bool:
    """End the system in ``data_dir`` in order; False: something did not end."""
    command = [sys.executable, "-m", "supervisors.cli.main", "down", "--data-dir", str(data_dir), "--json"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
