"""What a look at the machine finds of a run that nothing accounts for (INV-10)."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from supervisors.chaos.history import Leftovers
from supervisors.core.errors import LaunchError
from supervisors.faults.undo import FOLDER, UndoLog
from supervisors.runtime.folders import Folders, folders_of
from supervisors.runtime.store import GoalStore
from supervisors.runtime.strays import stray_processes

#: looks, and seconds between them: what is on its way out is gone by the last
_LOOKS, _PAUSE = 10, 0.3
#: how the name of a host's Ray actor begins
_ACTOR = "host-"
#: files of a host: ``h-ID``, ``p-ID``, ``exit-ID``, ``fault-ID`` in the plane, ``ID.futex``, ``ID.sock`` beside it
_OWNER = re.compile(r"(?:h|p|exit|fault)-([0-9a-f]{12})|([0-9a-f]{12})\.(?:futex|sock)")


def leftovers_of(data_dir: Path, store: GoalStore, actors: Callable[[], frozenset[str]]) -> Leftovers:
    """What is left of faults and hosts; what vanishes within three seconds was on its way.

    Args:
        data_dir: of the system.
        store: its goal state.
        actors: names of all Ray actors in its namespace; may raise ``LaunchError``.
    """
    found = _look(data_dir, store, actors)
    for _ in range(_LOOKS):
        if not found.any:
            break
        time.sleep(_PAUSE)
        found = _look(data_dir, store, actors)
    return found


def _look(data_dir: Path, store: GoalStore, actors: Callable[[], frozenset[str]]) -> Leftovers:
    folders = folders_of(data_dir)
    names, unseen = _files_of_hosts(folders), []
    try:
        names |= {f"Ray actor {name}": name for name in actors() if name.startswith(_ACTOR)}
    except LaunchError as error:
        unseen.append(f"names of Ray actors: {error.message}")
    # read last: a host has its row before it has anything else
    rows = store.hosts()
    accounted = {row.id for row in rows} | {row.actor for row in rows}
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
    return Leftovers(
        tuple(stray_processes(data_dir, {row.pid for row in rows})),
        tuple(sorted(words for words, owner in names.items() if owner not in accounted)),
        tuple(files),
        tuple(faults),
        tuple(unseen),
    )


def _files_of_hosts(folders: Folders) -> dict[str, str]:
    """Sockets, notes and death-watch words, each with the host whose it is."""
    found = {}
    for folder in (folders.plane, folders.shm):
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError:
            continue  # gone with the system
        for name in names:
            owner = _OWNER.fullmatch(name)
            if owner is not None:
                found[str(folder / name)] = owner[1] or owner[2]
    return found


def _holds_any(entry: Path) -> bool:
    """A folder that is empty, or gone by now, keeps nothing."""
    try:
        return not entry.is_dir() or any(entry.iterdir())
    except OSError:
        return False
