"""Where the lease of a path is kept, for a rival that asks for it (``supervisors.faults.contender``)."""

from collections.abc import Mapping
from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults.contender import Contest
from supervisors.faults.request import FaultRecord
from supervisors.runtime.store import GoalStore
from supervisors.spec.compiled import SupervisorPart, SystemSpec, WorkerSpec, decode

#: keys in ``FaultRecord.undo``: where the lease was when the rival began; undoing must not ask the goal state, for a
#: reload may have taken the child away meanwhile
_URL, _SYSTEM, _TTL = "lease_url", "lease_system", "lease_ttl"


def noted(undo: Mapping[str, str], contest: Contest) -> dict[str, str]:
    """``undo`` of a record, with what is needed to end the contest."""
    return {**undo, _URL: contest.url, _SYSTEM: contest.system, _TTL: repr(contest.ttl)}


def contest_in(record: FaultRecord) -> Contest | None:
    """What was noted in a record; None: its rival never asked."""
    undo = record.undo
    if _URL not in undo:
        return None
    return Contest(record.order.path, undo[_URL], undo[_SYSTEM], float(undo[_TTL]))


def contest_of(data_dir: Path, path: str) -> Contest:
    """The store, and the length of the lease, of the worker at ``path``.

    Raises:
        FaultError: no worker of that path has a lease (9011).
    """
    store = GoalStore(data_dir)
    try:
        system = decode(store.part("system"), SystemSpec)
        above, _, child = path.rpartition("/")
        worker = _worker(store.part(above or "/"), child)
    finally:
        store.close()
    if worker is None or worker.recovery is None or worker.recovery.lease is None:
        raise FaultError(f"{path} has no lease to contend for", code=9011, fix="a child with `recovery.lease`")
    return Contest(path, system.state, system.system, worker.recovery.lease.expire)


def _worker(body: bytes, child: str) -> WorkerSpec | None:
    if not body:
        return None
    part = decode(body, SupervisorPart)
    return part.workers.get(child, part.template)
