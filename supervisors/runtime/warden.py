"""The warden: the launcher process, and the supervisor of the root supervisor.

It brings Ray up, makes the first hosts, starts (or adopts) the root, restarts it when its process crashes, and takes
everything down in reverse order. Children do not need it: killed, it leaves them running, and the next warden on the
same data directory adopts them.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from supervisors.core.errors import LaunchError, RayvisorError
from supervisors.core.paths import ROOT
from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason
from supervisors.runtime import cluster
from supervisors.runtime.boot import SWITCH_INTERVAL, HostBoot, build_id
from supervisors.runtime.census import STOPPING
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.factory import HostFactory, bury_files, is_default
from supervisors.runtime.folders import DirectoryLock, Folders, clear
from supervisors.runtime.store import GoalStore
from supervisors.runtime.supervisor import SupervisorShell
from supervisors.runtime.undoing import end_faults
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Exited, Message, StartFailed
from supervisors.signals.proc import kill_certain, pid_alive, wait_gone
from supervisors.spec.compiled import CompiledTopology, SupervisorPart, encode
from supervisors.trail.events import EventKind
from supervisors.trail.logs import child_logger
from supervisors.trail.writer import TrailWriter
from supervisors.tree.model import (
    AutoShutdown,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    SupervisorFlags,
    SupervisorSpec,
)

if TYPE_CHECKING:
    from supervisors.trail.logs import ChildLog

WARDEN = "warden"
_ROOT_ID = "root"
_CRASHES = 5
_CRASH_PERIOD = 300


@dataclass(slots=True)
class Outcome:
    """How a run ended: ``reason`` is shutdown for an ordered end."""

    reason: ExitReason
    detail: str = ""


class Warden:
    """One run of one system.

    Args:
        folders: of the system; made by ``prepare_folders``.
        lock: on the data directory, taken.
        topology: what to run; None: whatever runs there already (to end it).
        search: folders for users' own actors.
        address: an existing Ray cluster to join; None: one of our own.
        say: told what happens on the way, for people.
    """

    def __init__(
        self,
        folders: Folders,
        lock: DirectoryLock,
        topology: CompiledTopology | None,
        *,
        search: tuple[str, ...] = (),
        address: str | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folders = folders
        self._topology = topology
        self._search = search
        self._address = address
        self._say = say
        self._clock = SystemClock()
        self._lock = lock
        self._stop = threading.Event()
        self._up = threading.Event()
        self._down = threading.Event()
        self._outcome = Outcome(SHUTDOWN)
        self._root_reason: ExitReason | None = None
        self._store: GoalStore | None = None
        self._log: ChildLog | None = None
        self._trail: TrailWriter | None = None
        self._shell: SupervisorShell | None = None
        self._adopting = False
        self._closed = False
        self.loop = PlaneLoop("plane", self._defect)

    # ------------------------------------------------------------ what the command calls

    def launch(self) -> None:
        """Bring the system up to the point where the root is starting; returns at once after that.

        Raises:
            LaunchError: Ray does not start, or the launch was stopped.
        """
        try:
            self._launch()
        except BaseException:
            self.abandon()
            raise

    def wait_up(self, timeout: float) -> bool:
        """Wait until the root is up (True), or the run ended or ``timeout`` seconds passed (False)."""
        deadline = time.monotonic() + timeout
        while not self._up.wait(0.05):
            if self._down.is_set() or self._stop.is_set() or time.monotonic() > deadline:
                return False
        return True

    def wait_down(self, timeout: float) -> bool:
        """Wait until the root has ended by itself or on order."""
        return self._down.wait(timeout)

    def stop(self) -> None:
        """Ask for an orderly end; from any thread, a signal handler included."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """True once an end was asked for."""
        return self._stop.is_set()

    @property
    def adopted(self) -> bool:
        """True when the system ran before this launcher did."""
        return self._adopting

    @property
    def up(self) -> bool:
        """True once the root has been up."""
        return self._up.is_set()

    def finish(self, *, force: Callable[[], bool] = lambda: False) -> Outcome:
        """Stop all children in reverse order, then Ray; leave no process and no file that must not stay.

        Args:
            force: asked again and again; True ends everything at once.
        """
        if self._trail is not None:
            self._trail.write(EventKind.SYSTEM_STOPPING, ROOT)
        undoing = self._end_faults(force)
        shell = self._shell
        if shell is not None and not self._down.is_set():
            self.loop.call_soon(lambda: shell.order_stop(SHUTDOWN))
            while not self._down.wait(0.05):
                if force():
                    break
        self._end_hosts()
        undoing.join()  # what did not answer is gone by now, and its faults with it
        if self._trail is not None:
            self._trail.write(EventKind.SYSTEM_STOPPED, ROOT, reason=self._outcome.reason)
        self._close(end_ray=True)
        return self._outcome

    def _end_faults(self, force: Callable[[], bool]) -> threading.Thread:
        """No fault is injected from now on, and none outlives the system: wait until all are reverted, or ``force``."""
        if self._store is not None:
            self._store.put(**{STOPPING: "1"})
        undoing = threading.Thread(target=end_faults, args=(self.folders.data,), name="faults", daemon=True)
        undoing.start()
        while undoing.is_alive() and not force():
            undoing.join(0.05)
        return undoing

    # ------------------------------------------------------------ launching

    def _launch(self) -> None:
        folders = self.folders
        store = self._store = GoalStore(folders.data)
        store.take_room()
        self._adopting = self._something_runs(store)
        if self._topology is None and not self._adopting:
            raise LaunchError(f"nothing runs in {folders.data}", code=2006)
        if self._adopting:
            address = store.get("ray_address")
            self._say(f"adopting the system that runs in {folders.data}")
        elif self._address is not None:
            address = self._address
        else:
            end_faults(folders.data)  # of a run that ended without a word
            cluster.stop_local(folders)
            self._say("starting Ray")
            address = cluster.start_local(folders, self._stop.is_set)
        owned = store.get("ray_owned") == "1" if self._adopting else self._address is None
        self._check_stop()
        namespace = store.get("namespace") if self._adopting else f"rayvisor-{folders.runtime.name}"
        cluster.connect(address, namespace)
        self._check_stop()
        if not self._adopting:
            self._declare(store, address, namespace, owned=owned)
        self._start_root(store, namespace, owned=owned)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise LaunchError("interrupted during start-up", code=2007)

    @staticmethod
    def _something_runs(store: GoalStore) -> bool:
        return any(pid_alive(host.pid, host.start_time) for host in store.hosts("state='claimed' AND local=1"))

    def _declare(self, store: GoalStore, address: str, namespace: str, *, owned: bool) -> None:
        topology = self._topology
        assert topology is not None
        store.clear()
        store.put(
            system=topology.system.system,
            ray_address=address,
            ray_owned="1" if owned else "0",
            namespace=namespace,
            digest=topology.digest,
            started_utc=str(self._clock.utc_ns()),
            search="\n".join(self._search),
            cwd=str(Path.cwd()),
        )
        parts = {path: encode(part) for path, part in topology.supervisors.items()}
        store.declare(parts | {WARDEN: b"", "system": encode(topology.system), "topology": encode(topology)})

    def _start_root(self, store: GoalStore, namespace: str, *, owned: bool) -> None:
        topology = decode_topology(store)
        if self._topology is not None and self._topology.digest != topology.digest:
            self._say("the topology file differs from what runs; what runs goes on unchanged")
        store.put(warden_pid=str(os.getpid()), **{STOPPING: ""})
        system = topology.system
        boot = HostBoot(
            host=WARDEN,
            system=system.system,
            namespace=namespace,
            data_dir=str(self.folders.data),
            plane_dir=str(self.folders.plane),
            shm_dir=str(self.folders.shm),
            transport="tcp" if system.plane.transport.value == "tcp" else "ipc",
            bind=system.plane.bind,
            methods=("futex", "socket") if system.plane.death_watch.value in ("auto", "socket") else ("futex",),
            nodes=not owned or system.plane.transport.value == "tcp",
            local=True,
            build=build_id(),
            cwd=store.get("cwd"),
            search=tuple(store.get("search").split("\n")) if store.get("search") else (),
        )
        logs = system.logs
        self._log = child_logger(
            self.folders.data,
            "/" + WARDEN,
            1,
            0,
            logs.level.value,
            logs.rotate,
            logs.keep,
            logs.lines_per_second,
            whole_process=False,
        )
        self._trail = TrailWriter(self.folders.data / "trail", WARDEN, self._clock)
        self._trail.write(EventKind.SYSTEM_STARTING, ROOT, data={"adopt": self._adopting, "pid": os.getpid()})
        factory = HostFactory(boot)
        part = SupervisorPart(WARDEN, _warden_spec(topology), supervisors=(_ROOT_ID,))
        shell = self._shell = SupervisorShell(
            part=part,
            incarnation=1,
            system=system,
            system_bytes=encode(system),
            boot=boot,
            loop=self.loop,
            factory=factory,
            log=self._log.logger,
            report=self._reported,
            finish=self._finished,
            child_path=lambda child_id: ROOT,
            exit_filter=self._root_exited,
        )
        sys.setswitchinterval(SWITCH_INTERVAL)
        self.loop.start()
        if not self._adopting:
            apart = [worker for worker in topology.workers.values() if not is_default(worker.placement)]
            count = topology.processes - sum(1 + worker.standbys for worker in apart)
            self._say(f"starting {count} host processes")
            shell.executor.submit(lambda: self._make_hosts(factory, count))
            while not store.hosts("state IN ('creating', 'spare')") and not self._stop.is_set():
                time.sleep(0.005)
        self.loop.call_soon(lambda: shell.start(adopt=self._adopting))

    def _make_hosts(self, factory: HostFactory, count: int) -> None:
        try:
            factory.create_many(count)
        except RayvisorError as error:
            self._say(f"not all hosts came up: {error}")

    # ------------------------------------------------------------ what the shell tells (plane's thread)

    def _reported(self, message: Message) -> None:
        if not self._up.is_set():
            self._up.set()
            assert self._trail is not None
            self._trail.write(EventKind.SYSTEM_STARTED, ROOT, data={"adopted": self._adopting})

    def _root_exited(self, child_id: str, reason: ExitReason) -> ExitReason:
        """A root that gave up ends the system; only a crash of its process is answered by a restart."""
        self._root_reason = reason
        if reason.kind is ExitKind.ESCALATED:
            return ExitReason(ExitKind.SHUTDOWN, reason.message)
        return reason

    def _finished(self, message: Message) -> None:
        reason = SHUTDOWN
        if isinstance(message, StartFailed):
            reason = message.reason
        elif isinstance(message, Exited):
            reason = message.reason
            if self._root_reason is not None and self._root_reason.kind is ExitKind.ESCALATED:
                reason = self._root_reason
        self._outcome = Outcome(SHUTDOWN if self._stop.is_set() and not reason.is_abnormal else reason)
        self._down.set()

    # ------------------------------------------------------------ ending

    def _end_hosts(self) -> None:
        """Spares, and whatever is left."""
        if self._store is None:
            return
        rows = self._store.hosts()
        for row in rows:
            if row.local and row.pid:
                kill_certain(row.pid, row.start_time)
            elif self._shell is not None:
                self._shell.factory.destroy(row)
        for row in rows:
            if row.local and row.pid:
                wait_gone(row.pid, row.start_time, 2.0)
            self._store.drop_host(row.id)
            bury_files(self.folders.plane, self.folders.shm, row.id)

    def abandon(self) -> None:
        """The launch failed or was broken off: leave nothing behind, unless it was there before. Twice is no error."""
        if self._closed:
            return
        if self._adopting:
            self._close(end_ray=False)
            return
        self._end_hosts()
        self._close(end_ray=True)

    def _close(self, *, end_ray: bool) -> None:
        self._closed = True
        if self._shell is not None:
            self._shell.executor.shutdown(wait=False, cancel_futures=True)
        if self.loop.thread.is_alive():
            self.loop.stop()
        cluster.disconnect()
        owned = self._store is not None and self._store.get("ray_owned", "1") == "1"
        if end_ray:
            if owned or self._address is None:
                cluster.stop_local(self.folders)
            clear(self.folders)
            if self._store is not None:
                self._store.clear()
        if self._trail is not None:
            self._trail.close()
        if self._log is not None:
            self._log.close()
        if self._store is not None:
            self._store.close()
        self._lock.release()

    def _defect(self, error: BaseException) -> None:
        if self._log is not None:
            self._log.logger.opt(exception=error).error("defect in the warden's plane")


def decode_topology(store: GoalStore) -> CompiledTopology:
    """The topology that was declared.

    Raises:
        LaunchError: none was.
    """
    from supervisors.spec.compiled import decode

    return decode(store.part("topology"), CompiledTopology)


def _warden_spec(topology: CompiledTopology) -> SupervisorSpec:
    """The root under its warden: crashes adopted, 5 in 300 s (003 §1.2); any other end is the system's end."""
    root = ChildSpec(
        _ROOT_ID,
        restart=Restart.TRANSIENT,
        shutdown=topology.root.shutdown,
        type=ChildType.SUPERVISOR,
        significant=True,
        on_crash=OnSupervisorCrash(topology.root.on_crash),
    )
    flags = SupervisorFlags(intensity=_CRASHES, period=_CRASH_PERIOD, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    return SupervisorSpec(flags, (root,))
