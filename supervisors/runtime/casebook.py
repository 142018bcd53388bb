"""What is kept of the recoveries for a replaced supervisor."""

from typing import TYPE_CHECKING

import msgspec

from supervisors.core.paths import TreePath
from supervisors.recovery.case import CaseRecord, RecoveryCase
from supervisors.runtime.evidence import FAILED
from supervisors.runtime.store import GoalStore

if TYPE_CHECKING:
    from loguru import Logger

_CASE = "recovery:"
_HELD = "held:"


def keep_case(store: GoalStore, case: RecoveryCase) -> None:
    """Write down where a case stands, and in which run it waits for a person."""
    record = case.record()
    run = store.get("started_utc") if record.hold is not None else ""
    store.put(**{_CASE + record.path: msgspec.json.encode(record).decode(), _HELD + record.path: run})


def kept_case(store: GoalStore, path: TreePath, log: "Logger") -> CaseRecord | None:
    """What was written down last of the child at ``path``."""
    kept = store.get(_CASE + path)
    try:
        return msgspec.json.decode(kept, type=CaseRecord) if kept else None
    except msgspec.MsgspecError as error:
        log.error("{}: its recovery cannot be read: {}", path, error)
        return None


def forget_case(store: GoalStore, path: TreePath) -> None:
    """The child at ``path`` is gone for good."""
    store.forget(_CASE + path)
    store.forget(_HELD + path)


def forget_cases(store: GoalStore, top: TreePath) -> None:
    """The child at ``top`` and all below it are in the topology no more; another one may get such a path."""
    for prefix in (_CASE, _HELD, FAILED):
        for path in store.paths(prefix, top):
            store.forget(prefix + path)


def waits_on(store: GoalStore, path: TreePath) -> bool:
    """True when the child at ``path`` waits for a person since a supervisor of this run was there."""
    run = store.get(_HELD + path)
    return bool(run) and run == store.get("started_utc")
