"""Starts the watchdog of a data directory, and knows whether it watches. Light: launcher and injector use it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults.undo import FOLDER
from supervisors.signals import pidfd
from supervisors.signals.proc import pid_alive, process_start_time, wait_gone
from supervisors.state.disk import REAL_DISK, make_folder

#: locked by the watchdog for as long as it lives; holds ``pid start_time word``
LOCK = "watchdog.lock"
WATCHING = "watching"
#: what it says of its troubles
LOG = "watchdog.log"
#: seconds it has to come up; it takes 0.2 s on an idle machine
PATIENCE = 10.0


def watcher(data_dir: Path) -> tuple[int, int]:
    """Pid and start time of the watchdog that watches, zeros when none does."""
    try:
        words = (data_dir / FOLDER / LOCK).read_text("ascii").split()
    except (OSError, ValueError):
        return 0, 0
    if len(words) != 3 or words[2] != WATCHING or not (words[0].isdigit() and words[1].isdigit()):
        return 0, 0
    pid, start = int(words[0]), int(words[1])
    return (pid, start) if pid_alive(pid, start) else (0, 0)


def begin(data_dir: Path) -> None:
    """Start a watchdog unless one watches; does not wait until it does. Two that are started at once are no error.

    Raises:
        FaultError: it cannot be started (9017).
    """
    if watcher(data_dir)[0]:
        return
    folder = data_dir / FOLDER
    command = [sys.executable, "-m", "supervisors.runtime.watchdog", str(data_dir)]
    try:
        make_folder(REAL_DISK, folder)  # the records in it are to outlast a power failure
        with (folder / LOG).open("ab") as output:
            # it forks at once: nobody has to wait for it later, and no signal to our group ends it
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, check=True
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise FaultError(
            f"the watchdog cannot be started: {error}; nothing was done", code=9017, fix=f"see {folder / LOG}"
        ) from error


def ensure(data_dir: Path, timeout: float = PATIENCE) -> None:
    """Return once a watchdog watches.

    Raises:
        FaultError: it does not come up in ``timeout`` seconds (9017).
    """
    deadline = time.monotonic() + timeout
    while not watcher(data_dir)[0]:
        begin(data_dir)
        until = min(deadline, time.monotonic() + 2.0)
        while not watcher(data_dir)[0] and time.monotonic() < until:
            time.sleep(0.005)
        if time.monotonic() >= deadline and not watcher(data_dir)[0]:
            raise FaultError(
                f"the watchdog does not come up in {timeout:g} s; nothing was done",
                code=9017,
                fix=f"see {data_dir / FOLDER / LOG}",
            )


def end(data_dir: Path, timeout: float = 15.0) -> None:
    """Have the watchdog revert what is left and end; waits until it is gone."""
    pid, start = watcher(data_dir)
    if pid:
        handle = pidfd.open_verified(pid, start, process_start_time)
        if handle is not None:
            pidfd.send_signal(handle, signal.SIGTERM)
            os.close(handle)
            wait_gone(pid, start, timeout)


def look_after(data_dir: Path) -> None:
    """Start the watchdog anew when it was killed while something is active. Cheap enough for twice a second."""
    with suppress(OSError, FaultError):
        names = os.listdir(data_dir / FOLDER)  # noqa: PTH208 - a name is all that is wanted
        if any(name.endswith(".json") and not name.startswith(".") for name in names) and not watcher(data_dir)[0]:
            begin(data_dir)
