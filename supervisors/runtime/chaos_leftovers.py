"""What a look at the machine finds of a run that nothing accounts for (INV-10)."""

import os
import time
from pathlib import Path

from supervisors.chaos.history import Leftovers
from supervisors.faults.undo import FOLDER, UndoLog
from supervisors.runtime.folders import folders_of
from supervisors.runtime.store import GoalStore

#: looks, and seconds between them: what is on its way out is gone by the last
_LOOKS, _PAUSE = 10, 0.3
#: how the titles of our hosts begin
_HOSTS = ("ray::Host", "ray::rayvisor:/", "rayvisor:/")


def leftovers_of(data_dir: Path, store: GoalStore) -> Leftovers:
    """What is left of faults and hosts; what vanishes within three seconds was on its way.

    Args:
        data_dir: of the system.
        store: its goal state.
    """
    found = _look(data_dir, store)
    for _ in range(_LOOKS):
        if found == Leftovers():
            break
        time.sleep(_PAUSE)
        found = _look(data_dir, store)
    return found


def _look(data_dir: Path, store: GoalStore) -> Leftovers:
    known = {host.pid for host in store.hosts()}
    undo = UndoLog(data_dir / FOLDER)
    faults = [f"{one.order.id}: {one.order.kind} at {one.order.path} is {one.state}" for one in undo.active()]
    faults += [f"{one.order.id}: {one.order.kind} at {one.order.path} could not be undone" for one in undo.stuck()]
    faults += [f"{file.name}: {why}" for file, why in undo.unreadable()]
    kept = data_dir / FOLDER / "keep"
    open_ones = {one.order.id for one in (*undo.active(), *undo.stuck())}
    files = (
        [str(entry) for entry in sorted(kept.iterdir()) if entry.name not in open_ones and _holds_any(entry)]
        if kept.is_dir()
        else []
    )
    return Leftovers(tuple(_hosts(data_dir, known)), (), tuple(files), tuple(faults))


def _hosts(data_dir: Path, known: set[int]) -> list[str]:
    """Hosts of this system that the goal state does not know, and helpers of faults that are over."""
    marker = str(folders_of(data_dir).token).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in known or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            # Ray writes the class's name into the title, or what the host calls itself
            is_host = line.startswith(_HOSTS) and marker in (entry / "environ").read_bytes()
        except OSError:
            continue
        if is_host or ("supervisors.runtime.helper" in line and str(data_dir) in line):
            found.append(f"process {entry.name}: {line[:200]}")
    return sorted(found)


def _holds_any(entry: Path) -> bool:
    """A folder that is empty, or gone by now, keeps nothing."""
    try:
        return not entry.is_dir() or any(entry.iterdir())
    except OSError:
        return False
