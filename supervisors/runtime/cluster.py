"""A Ray cluster: one of our own on this machine, or an existing one that is joined.

Our own is started apart from the launcher (own session, no shared fate), so that children outlive a launcher that is
killed; and it is ended by the pids of its own processes, never by ``ray stop``, which ends every Ray on the machine.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from supervisors.core.errors import LaunchError
from supervisors.runtime.environment import ray_environment
from supervisors.runtime.folders import Folders

_START_TIMEOUT = 60.0
#: seconds for a first connection to a cluster's port
_REACH_TIMEOUT = 3.0
_OBJECT_STORE = 80_000_000
#: what a user or the system ends a launcher with
ENDING_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def start_local(folders: Folders, stopped: Callable[[], bool]) -> str:
    """Start a one-node cluster and return its address.

    Args:
        folders: its folder and token file.
        stopped: asked again and again; True breaks the start off.

    Raises:
        LaunchError: Ray could not be started; the message has Ray's last words.
    """
    command = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--port=0",
        "--node-ip-address=127.0.0.1",
        f"--temp-dir={folders.ray}",
        "--include-dashboard=false",
        "--disable-usage-stats",
        "--no-monitor",
        "--log-color=false",
        f"--object-store-memory={_OBJECT_STORE}",
        "--labels=rayvisor=launch",
    ]
    if not Path("/dev/shm").is_dir():
        command.append(f"--plasma-directory={folders.runtime}")
    environment = os.environ | ray_environment(folders)
    log = folders.runtime / "ray-start.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        _await_start(process, log, stopped)
    address = (folders.ray / "ray_current_cluster").read_text().strip()
    if not address:
        raise LaunchError(f"Ray wrote no address: {_tail(log)}", code=2050)
    return address


def _await_start(process: "subprocess.Popen[bytes]", log: Path, stopped: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None:
        if stopped() or time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            why = "interrupted" if stopped() else f"not within {_START_TIMEOUT:g} s: {_tail(log)}"
            raise LaunchError(f"Ray did not start: {why}", code=2051)
        time.sleep(0.02)
    if process.returncode != 0:
        raise LaunchError(f"Ray did not start: {_tail(log)}", code=2052, fix="the whole output is in ray-start.log")


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "no output"


def connect(address: str, namespace: str) -> None:
    """Join the cluster at ``address`` as a driver.

    Args:
        address: host:port.
        namespace: of our actors.

    Raises:
        LaunchError: there is no such cluster, or it refuses us.
    """
    _check_reachable(address)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        with _own_signals():
            ray.init(
                address=address,
                namespace=namespace,
                log_to_driver=False,
                configure_logging=False,
                include_dashboard=False,
            )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise LaunchError(f"cannot join Ray at {address}: {lines[0]}", code=2053, fix="is it up?") from error
    _silence()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's signal handlers: Ray puts its own in their place, and its own end the process on SIGTERM.

    Signals that come meanwhile wait. Without effect outside the main thread, where handlers cannot be set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # set by Python: there is something to go back to
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_reachable(address: str) -> None:
    """Ray itself goes on trying for many minutes, deaf to signals."""
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdigit():
            raise ValueError("write it as host:port")
        socket.create_connection((host, int(port)), timeout=_REACH_TIMEOUT).close()
    except (OSError, ValueError, OverflowError) as error:
        fix = "is it up? its address stands in the output of ray start"
        raise LaunchError(f"no Ray cluster at {address}: {error}", code=2053, fix=fix) from None


def _silence() -> None:
    """Ray prints each worker's death to the driver's standard output, where ``--json`` has to be undisturbed.

    There is no setting for it; the trail says the same and more.
    """
    worker = sys.modules["ray._private.worker"]
    if hasattr(worker, "print_to_stdstream"):
        vars(worker)["print_to_stdstream"] = lambda *args, **kwargs: None


def disconnect() -> None:
    """Leave the cluster."""
    if ray.is_initialized():
        with _own_signals():
            ray.shutdown()


def runs(folders: Folders) -> bool:
    """True while the raylet of our own cluster lives."""
    return any(b"/raylet/raylet" in line.split(b"\0", 1)[0] for line in _session(folders).values())


def stop_local(folders: Folders, timeout: float = 5.0) -> int:
    """End every process of our own cluster, by pid; returns how many there were."""
    ended: set[int] = set()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = set(_session(folders))
        if not found:
            break
        found |= _descendants(found)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        ended |= found
        time.sleep(0.02)
    return len(ended)


def _session(folders: Folders) -> dict[int, bytes]:
    """Processes whose command line names our runtime folder or whose output goes there, by pid.

    A ``ray start`` that its launcher left half way is one of them.
    """
    marker = f"{folders.runtime}/"
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            if (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X"):
                continue
            # workers and agents change their title; where they write to still tells whose they are
            if marker.encode() in line or str((entry / "fd" / "2").readlink()).startswith(marker):
                found[int(entry.name)] = line
        except OSError:
            continue
    return found


def _descendants(pids: set[int]) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X"):
                parents[int(entry.name)] = int(fields[1])
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found - pids - {os.getpid()}
