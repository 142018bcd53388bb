"""What tests of recoveries wait for and look at."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from supervisors.runtime.folders import folders_of
from supervisors.runtime.store import GoalStore
from supervisors.signals.proc import pid_alive
from supervisors.state.folders import journal_folder
from supervisors.state.journal import JournalReader
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.reader import read_all
from supervisors.trail.recoveries import Recovery, RecoveryFold
from supervisors.trail.status import ChildStatus

from .harness import CallFailed, Running, cli, until

#: seconds for what needs a new process, or several, on a loaded machine
PATIENCE = 60.0
#: of a recovery: a moment without the processor is no reason not to be promoted
UNHURRIED = "rung_timeout: {hot: 20s}, journal: {standby_timeout: 20s}"


def rayvisor(system: Running, *words: str) -> tuple[int, str]:
    """A command on this system: its exit code and all it said."""
    done = cli(*words, "--data-dir", str(system.data_dir))
    return done.returncode, done.stdout + done.stderr


def synced(system: Running, path: str, after: int = 0, other_than: Iterable[int] = ()) -> ChildStatus:
    """The child once it is ready in a life after ``after`` with a standby in sync that is none of ``other_than``."""
    not_those = set(other_than)

    def look() -> ChildStatus | None:
        child = system.find(path)
        if child is None or child.state != "ready" or not child.pid or child.incarnation <= after:
            return None
        return child if any(s.state == "synced" and s.pid not in not_those for s in child.standbys) else None

    return until(look, f"{path} in sync: {system.find(path)}", PATIENCE)


def held(system: Running, path: str) -> str:
    """The id of its hold, once the child is held for a person."""

    def look() -> str:
        child = system.find(path)
        return child.recovery.hold if child and child.state == "held" and child.recovery else ""

    return until(look, f"{path} held: {system.find(path)}", PATIENCE)


def recovery_of(system: Running, failed: ChildStatus, state: str = "") -> Recovery:
    """How that life's failure was answered, once it came back (or is in ``state``)."""
    name = f"{failed.path}#{failed.incarnation}"

    def look() -> Recovery | None:
        fold = RecoveryFold()
        fold.add_all(one.event for one in read_all(system.data_dir / "trail"))
        one = next((one for one in fold.recoveries if one.id == name), None)
        if one is None:
            return None
        return one if (one.state == state if state else one.total_ms is not None) else None

    return until(look, f"the recovery of {name}", PATIENCE)


def post(system: Running, path: str, id_: str, account: str = "ada", amount: str = "1") -> str:
    """Put an amount on an account of a ledger; the balance after it."""
    return str(system.ask(path, "post", id_, account, amount))


def balance(system: Running, path: str, account: str = "ada") -> str:
    return str(system.ask(path, "balance", account))


def answered(system: Running, path: str, id_: str, account: str = "ada") -> str:
    """As ``post``, with the class of the error where it fails."""
    try:
        return post(system, path, id_, account)
    except CallFailed as failure:
        return failure.kind


def ids_of(system: Running, path: str, root: Path = Path("/")) -> list[str]:
    """The id of each event in a ledger's journal, which has to be whole; ``root``: as a process elsewhere sees it."""
    with JournalReader(root / journal_folder(system.data_dir, path).relative_to("/")) as reader:
        return [msgspec.msgpack.decode(record.body, type=dict[str, str])["id"] for record in reader.read()]


def noted(system: Running, kind: EventKind, path: str, since: float, **data: object) -> TrailEvent:
    """The first event of that kind with these data, waited for."""

    def look() -> TrailEvent | None:
        for event in system.trail(path, since):
            if event.kind == kind and all(event.data.get(key) == value for key, value in data.items()):
                return event
        return None

    return until(look, f"{kind} {data} of {path}", PATIENCE)


def processes(system: Running, path: str) -> set[int]:
    """Living processes that were given ``path``, to act or to stand by."""
    store = GoalStore(system.data_dir)
    return {row.pid for row in store.hosts("path=?", (path,)) if pid_alive(row.pid, row.start_time)}


def strangers(system: Running) -> set[int]:
    """Living hosts of this system that nobody knows of: they might still act."""
    name = folders_of(system.data_dir).runtime.name
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            is_host = (entry / "cmdline").read_bytes().startswith((b"ray::Host", b"ray::rayvisor"))
            if is_host and name in (entry / "environ").read_bytes().decode(errors="replace"):
                found.add(int(entry.name))
        except OSError:
            continue
    return found - {row.pid for row in GoalStore(system.data_dir).hosts()}
