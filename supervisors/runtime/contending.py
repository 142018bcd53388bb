"""Where the lease of a path is kept, for a rival that asks for it (``supervisors.faults.contender``)."""

from pathlib import Path

from supervisors.core.errors import FaultError
from supervisors.faults.contender import Contest
from supervisors.runtime.store import GoalStore
from supervisors.spec.compiled import SupervisorPart, SystemSpec, WorkerSpec, decode


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
