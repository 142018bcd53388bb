"""up and down: run a system in the foreground or detached, with a live view; end one."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.live import Live

from supervisors.cli.common import DEFAULT_DATA_DIR, AsJson, DataDir, err, is_terminal, out, print_line
from supervisors.cli.logs import LogTail, for_people
from supervisors.cli.look import print_event
from supervisors.core.durations import parse_duration
from supervisors.core.errors import LaunchError, RayvisorError, SpecError
from supervisors.spec.check import load_topology
from supervisors.trail.failures import FailureFold
from supervisors.trail.http import StatusServer
from supervisors.trail.logs import console
from supervisors.trail.reader import Follower
from supervisors.trail.status import SystemStatus
from supervisors.trail.view import render
from supervisors.trail.writer import TrailWriter

if TYPE_CHECKING:
    from supervisors.runtime.folders import DirectoryLock, Folders
    from supervisors.runtime.warden import Warden
    from supervisors.spec.compiled import CompiledTopology

_LOOK_EVERY = 0.5
#: seconds after which another interrupt is meant as one
_SECOND_THOUGHT = 0.5


def up(
    topology: Annotated[Path, typer.Argument(help="The topology file.")] = Path("topology.yaml"),
    data_dir: DataDir = DEFAULT_DATA_DIR,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Come back once it is up; it goes on.")] = False,
    for_: Annotated[str | None, typer.Option("--for", help="Stop after this time, such as 30s.")] = None,
    address: Annotated[str | None, typer.Option("--address", help="Join this Ray cluster (host:port).")] = None,
    json_: AsJson = False,
    ready_fd: Annotated[int, typer.Option("--ready-fd", hidden=True)] = -1,
) -> None:
    """Run a system: bring up the tree, show it live with the trail of every failure; Ctrl-C stops it in reverse order.

    A system that still runs in the data directory, because its launcher was killed, is adopted.

    Examples: rayvisor up                      rayvisor up examples/replay.yaml --for 60s --json
    """
    span = _span(for_)
    _settle_ray(data_dir, address)
    _, compiled = load_topology(topology)
    search = tuple(dict.fromkeys((str(topology.resolve().parent), str(Path.cwd()))))
    if detach:
        _detach(topology, data_dir, for_, address, json_=json_)
        return
    _Run(data_dir, compiled, search, address, span, json_=json_, ready_fd=ready_fd).run()


def down(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json_: AsJson = False,
    now: Annotated[bool, typer.Option("--now", help="Kill everything at once instead of stopping in order.")] = False,
) -> None:
    """End the system in the data directory: children in reverse order, then Ray. Nothing of it is left running.

    Example: rayvisor down
    """
    from supervisors.runtime.folders import DirectoryLock, folders_of

    folders = folders_of(data_dir)
    lock = DirectoryLock(folders)
    began = time.monotonic()
    holder = lock.holder()
    if holder > 0:
        _end_launcher(lock, holder, now=now)
        if not _anything_left(folders.data):
            _say_down(data_dir, began, json_=json_)
            return
    console("WARNING")
    if holder <= 0:
        # its launcher is dead: nobody else reverts what is left of faults
        from supervisors.runtime.undoing import end_faults

        end_faults(folders.data)
    try:
        warden = _warden(data_dir, None, (), None, quiet=json_)
        warden.launch()
    except LaunchError as error:
        if error.code != 2006:
            raise
        _say_down(data_dir, began, json_=json_, nothing=holder <= 0)
        return
    warden.wait_up(10.0)
    warden.finish(force=lambda: now)
    _say_down(data_dir, began, json_=json_)


def _end_launcher(lock: "DirectoryLock", holder: int, *, now: bool) -> None:
    """Tell the process that holds the lock to take its system down, and wait until it let go."""
    began = time.monotonic()
    with suppress(ProcessLookupError):  # it went by itself just now
        os.kill(holder, signal.SIGTERM)
        while lock.holder() == holder:
            if now and time.monotonic() - began > 0.2:
                os.kill(holder, signal.SIGTERM)
            time.sleep(0.05)


def _anything_left(data: Path) -> bool:
    """True when a launcher was killed before it had ended everything."""
    from supervisors.runtime.store import GoalStore

    return bool(GoalStore(data).hosts())


def _say_down(data_dir: Path, began: float, *, json_: bool, nothing: bool = False) -> None:
    took = time.monotonic() - began
    if json_:
        answer = {"data_dir": str(data_dir), "ended": not nothing, "seconds": round(took, 3)}
        print_line(msgspec.json.encode(answer).decode())
    elif nothing:
        out.print(f"nothing runs in {data_dir}", markup=False)
    else:
        out.print(f"down in {took:.1f} s", markup=False)


def _span(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SpecError(str(error), code=1505, fix="write a time such as 30s or 5m") from None


def _warden(
    data_dir: Path,
    compiled: "CompiledTopology | None",
    search: tuple[str, ...],
    address: str | None,
    *,
    quiet: bool,
) -> "Warden":
    """Ray's settings come before the first import of ray, hence the late import."""
    from supervisors.runtime.environment import prepare
    from supervisors.runtime.folders import DirectoryLock, folders_of, make

    folders = folders_of(data_dir)
    if compiled is None and not (folders.data / "goals.sqlite").exists():
        raise LaunchError(f"nothing runs in {data_dir}", code=2006)
    lock = DirectoryLock(folders)
    lock.take()
    try:
        make(folders)
        prepare(folders, owned=_owns_ray(folders, address))
    except BaseException:
        lock.release()
        raise
    from supervisors.runtime.warden import Warden

    def say(line: str) -> None:
        if not quiet:
            err.print(line, style="dim", markup=False)

    return Warden(folders, lock, compiled, search=search, address=address, say=say)


def _owns_ray(folders: "Folders", address: str | None) -> bool:
    """True when the Ray cluster is, or will be, our own: what still runs decides, then the option."""
    from supervisors.runtime.store import FILE_NAME, GoalStore

    if (folders.data / FILE_NAME).exists():
        store = GoalStore(folders.data)
        if store.hosts("state='claimed'"):
            return store.get("ray_owned", "1") == "1"
    return address is None


def _settle_ray(data_dir: Path, address: str | None) -> None:
    """Ray's settings, before users' modules are imported: one with a ``@ray.remote`` class imports Ray."""
    from supervisors.runtime.environment import settle
    from supervisors.runtime.folders import folders_of

    folders = folders_of(data_dir)
    settle(folders, owned=_owns_ray(folders, address))


class _Run:
    """One foreground run."""

    def __init__(
        self,
        data_dir: Path,
        compiled: "CompiledTopology",
        search: tuple[str, ...],
        address: str | None,
        span: float | None,
        *,
        json_: bool,
        ready_fd: int,
    ) -> None:
        self._data_dir = data_dir
        self._compiled = compiled
        self._span = span
        self._json = json_
        self._ready_fd = ready_fd
        self._live = is_terminal() and not json_ and ready_fd < 0
        self._interrupts = 0
        self._interrupted_at = 0.0
        self._warden: Warden | None = None
        self._status: SystemStatus | None = None
        self._fold = FailureFold()
        self._tail: LogTail | None = None
        self._ended = threading.Event()
        self._search = search
        self._address = address

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        console("WARNING")
        began = time.monotonic()
        try:
            warden = self._warden = _warden(
                self._data_dir, self._compiled, self._search, self._address, quiet=self._json
            )
        except RayvisorError as error:
            self._tell(str(error))
            raise
        server = None
        try:
            server = self._serve_quietly()
            with Follower(warden.folders.data / "trail", from_start=False) as follower:
                code = self._supervise(warden, follower, server, began)
        except RayvisorError as error:
            self._tell(str(error))
            warden.abandon()
            if self._interrupts and not warden.up:
                err.print("stopped during start-up; nothing is left running", markup=False)
                raise typer.Exit(128 + signal.SIGINT) from None
            raise
        finally:
            self._ended.set()
            if server is not None:
                server.close()
        if code:
            raise typer.Exit(code)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        # a second Ctrl-C ends everything at once; a terminal that closes sends several signals in one moment
        if not self._interrupts or (number != signal.SIGHUP and now - self._interrupted_at > _SECOND_THOUGHT):
            self._interrupts += 1
            self._interrupted_at = now
        if self._warden is not None:
            self._warden.stop()

    def _serve_quietly(self) -> StatusServer | None:
        """Its threads take no signals: those are for the main thread, which alone can hold them back in time."""
        numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        try:
            return self._serve()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _serve(self) -> StatusServer | None:
        metrics = self._compiled.system.metrics
        if not metrics.enabled:
            return None
        assert self._warden is not None
        folder = self._warden.folders.data / "trail"
        return StatusServer(metrics.host, metrics.port, folder, lambda: self._status)

    # ------------------------------------------------------------ the run

    def _supervise(self, warden: "Warden", follower: Follower, server: StatusServer | None, began: float) -> int:
        from supervisors.runtime.observer import Observer

        if self._interrupts:
            warden.stop()
        warden.launch()
        observer = Observer(warden.folders.data, warden.loop)
        threading.Thread(target=self._look, args=(observer,), name="look", daemon=True).start()
        url = f"http://{self._compiled.system.metrics.host}:{server.port}" if server is not None else ""
        self._tail = LogTail(warden.folders.data / "logs", "WARNING") if not self._json else None
        live = Live(console=out, auto_refresh=False) if self._live else None
        if live is not None:
            live.start()
        announced = False
        deadline = float("inf")
        try:
            while not warden.wait_down(0.1) and not warden.stopping and time.monotonic() < deadline:
                self._show(follower, live)
                if warden.up and not announced:
                    announced = True
                    deadline = time.monotonic() + self._span if self._span is not None else deadline
                    self._announce(time.monotonic() - began, url, live)
                    self._inject(warden)
        finally:
            if live is not None:
                live.stop()
        due = announced and not self._interrupts and not warden.wait_down(0)
        healthy = self._verdict(observer) if due else ""
        if not self._json:
            err.print("stopping", style="dim")
        outcome = warden.finish(force=lambda: self._interrupts > 1)
        self._ended.set()
        self._show(follower, None)
        return self._conclude(warden, outcome.reason.is_abnormal, str(outcome.reason), healthy)

    def _inject(self, warden: "Warden") -> None:
        """Faults the topology declares; a system that was adopted had them when it came up."""
        faults = self._compiled.system.faults
        if faults.enabled and faults.inject and not warden.adopted:
            from supervisors.runtime.declared import inject_declared

            def said(line: str) -> None:
                err.print(line, style="yellow", markup=False)

            arguments = (warden.folders.data, faults, self._ended, said)
            threading.Thread(target=inject_declared, args=arguments, name="declared", daemon=True).start()

    def _conclude(self, warden: "Warden", abnormal: bool, reason: str, unhealthy: str) -> int:
        if abnormal:
            self._tell(reason)
            raise LaunchError(f"the system ended: {reason}", code=2070, fix="rayvisor trail shows how it came to that")
        if self._span is not None and unhealthy:
            raise LaunchError(f"not healthy at the end: {unhealthy}", code=2071)
        if not self._json:
            out.print("down; nothing is left running", markup=False)
        return 0

    def _verdict(self, observer: "object") -> str:
        """What is not healthy, empty when everything is; a recovery that is under way gets a moment."""
        from supervisors.runtime.observer import Observer, is_up

        assert isinstance(observer, Observer)
        deadline = time.monotonic() + (5.0 if self._span is not None else 0.0)
        while True:
            status = observer.status()
            if is_up(status):
                return ""
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return (
            ", ".join(
                f"{child.path} is {child.state}"
                for supervisor in status.supervisors
                for child in supervisor.children
                if child.state not in ("ready", "stopped")
            )
            or "a supervisor does not answer"
        )

    def _announce(self, took: float, url: str, live: Live | None) -> None:
        if self._ready_fd >= 0:
            os.write(self._ready_fd, f"up {took:.2f} {url}\n".encode())
            os.close(self._ready_fd)
            self._ready_fd = -1
        text = f"up in {took:.1f} s" + (f", metrics and health at {url}" if url else "")
        if self._json:
            return
        if live is not None:
            live.console.print(text, style="bold green")
        else:
            err.print(text, style="bold green")

    def _tell(self, text: str) -> None:
        """Tell the process that detached us why there is nothing to wait for."""
        if self._ready_fd >= 0:
            os.write(self._ready_fd, f"error {text}\n".encode())
            os.close(self._ready_fd)
            self._ready_fd = -1

    # ------------------------------------------------------------ looking

    def _look(self, observer: "object") -> None:
        from supervisors.runtime.clock import SystemClock
        from supervisors.runtime.observer import Observer
        from supervisors.runtime.watching import look_after

        assert isinstance(observer, Observer)
        assert self._warden is not None
        trail = TrailWriter(self._warden.folders.data / "trail", "warden", SystemClock())
        spec = self._compiled.system.trail
        while not self._ended.wait(_LOOK_EVERY):
            look_after(self._warden.folders.data)  # first: a supervisor that does not answer takes a second
            self._status = observer.status()
            trail.rotate_if_needed(spec.rotate, spec.keep)

    def _show(self, follower: Follower, live: Live | None) -> None:
        while events := follower.poll():
            for event in events:
                self._fold.add(event.event)
                if not self._live:
                    print_event(event, json_=self._json)
        for _, line in self._tail.poll() if self._tail is not None else ():
            (live.console if live is not None else err).print(for_people(line), style="yellow", markup=False)
        if live is not None:
            live.update(render(self._status, self._fold.failures, time.monotonic()), refresh=True)


def _detach(topology: Path, data_dir: Path, for_: str | None, address: str | None, *, json_: bool) -> None:
    """Start ourselves again in a session of its own and wait until it says it is up."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "supervisors.cli.main", "up", str(topology), "--data-dir", str(data_dir), "--json"]
    command += ["--ready-fd", str(write)]
    command += ["--for", for_] if for_ else []
    command += ["--address", address] if address else []
    with _open_output(data_dir) as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            pass_fds=(write,),
            start_new_session=True,
        )
    os.close(write)
    try:
        with os.fdopen(read) as answer:
            line = answer.readline().strip()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    word, _, rest = line.partition(" ")
    if word != "up":
        process.wait()
        tail = rest or (data_dir / "warden.out").read_text(errors="replace").strip().rpartition("\n")[2]
        raise LaunchError(f"did not come up: {tail}", code=2072)
    took, _, url = rest.partition(" ")
    if json_:
        print_line(msgspec.json.encode({"pid": process.pid, "seconds": float(took), "url": url}).decode())
    else:
        out.print(f"up in {took} s, warden {process.pid}" + (f", metrics and health at {url}" if url else ""))


def _open_output(data_dir: Path) -> IO[bytes]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return (data_dir / "warden.out").open("wb")
    except OSError as error:
        raise LaunchError(f"data directory {data_dir}: {error.strerror}", code=2002, fix="choose another") from error


COMMANDS = (up, down)
