"""Faults of what is kept on disk: journals and checkpoints, through the disk port or on the files themselves."""

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.order import Hook
from supervisors.faults.values import Parameter, ValueType

_WORKERS = frozenset({Target.WORKER})
_EACH = frozenset({Target.WORKER, Target.STANDBY})
_GONE = "disarmed in the process, or the process is gone"
_BACK = "the file is put back from a copy, unless the actor has written it anew; compared byte by byte"
_WHAT = Parameter("what", ValueType.TEXT, "both", "whose files", choices=("journal", "checkpoints", "both"))

KINDS = (
    FaultKind(
        name="corrupt_checkpoint",
        group="state",
        where=Where.FILES,
        about="Bytes in the middle of the newest checkpoint are changed. Found when it is next restored.",
        undo=_BACK,
        parameters=(Parameter("bytes", ValueType.COUNT, 1, "how many", least=1, most=4096),),
        targets=_WORKERS,
        slot="checkpoint",
        needs_journal=True,
        seconds=60.0,
    ),
    FaultKind(
        name="truncate_checkpoint",
        group="state",
        where=Where.FILES,
        about="The newest checkpoint loses its end. Found when it is next restored.",
        undo=_BACK,
        parameters=(Parameter("keep", ValueType.NUMBER, 0.5, "share that is left", least=0.0, most=0.99),),
        targets=_WORKERS,
        slot="checkpoint",
        needs_journal=True,
        seconds=60.0,
    ),
    FaultKind(
        name="stale_checkpoint",
        group="state",
        where=Where.FILES,
        about="The newest checkpoint is taken away: the one before it, or none, is restored next.",
        undo=_BACK,
        targets=_WORKERS,
        slot="checkpoint",
        needs_journal=True,
        seconds=60.0,
    ),
    FaultKind(
        name="corrupt_page",
        group="state",
        where=Where.FILES,
        about="One page (4096 bytes) of a journal's durable part is changed. Found when it is next read: not by its "
        "writer, not by a standby that is in sync; a restart without one is held for a person.",
        undo=_BACK,
        parameters=(
            Parameter("at", ValueType.NUMBER, 0.5, "where in it: 0 its start, 1 its end", least=0.0, most=1.0),
        ),
        targets=_WORKERS,
        slot="journal",
        needs_journal=True,
        seconds=60.0,
    ),
    FaultKind(
        name="slow_disk",
        group="state",
        where=Where.HOST,
        about="Writes and syncs of the state take longer.",
        undo=_GONE,
        parameters=(
            _WHAT,
            Parameter("delay", ValueType.DURATION, 0.1, "how much longer each", least=0.0, most=60.0),
        ),
        targets=_EACH,
        hooks=(Hook.DISK,),
        slot="disk",
        needs_journal=True,
    ),
    FaultKind(
        name="fail_disk",
        group="state",
        where=Where.HOST,
        about="Calls to the disk fail (EIO).",
        undo=_GONE,
        parameters=(
            _WHAT,
            Parameter(
                "call",
                ValueType.TEXT,
                "fdatasync",
                "which calls",
                choices=(
                    "open",
                    "read",
                    "write",
                    "preallocate",
                    "truncate",
                    "fdatasync",
                    "fsync",
                    "fsync_dir",
                    "rename",
                    "unlink",
                    "all",
                ),
            ),
        ),
        targets=_EACH,
        hooks=(Hook.DISK,),
        slot="disk",
        needs_journal=True,
    ),
    FaultKind(
        name="full_disk",
        group="state",
        where=Where.HOST,
        about="The disk has so much room left and no more (ENOSPC); every byte written takes of it.",
        undo=_GONE,
        parameters=(_WHAT, Parameter("room", ValueType.SIZE, 0, "room that is left", least=0)),
        targets=_EACH,
        hooks=(Hook.DISK,),
        slot="disk",
        needs_journal=True,
    ),
    FaultKind(
        name="lose_sync",
        group="state",
        where=Where.HOST,
        about="Syncs return at once and do nothing; at its end the process is killed and what was not synced is lost.",
        undo="what was synced before is what is left; done when a new life is healthy",
        parameters=(
            Parameter(
                "crash", ValueType.FLAG, True, "at its end the power fails: kill it and drop what was not synced"
            ),
        ),
        targets=_WORKERS,
        hooks=(Hook.DISK,),
        slot="disk",
        needs_journal=True,
        detected=("futex", "pidfd", "socket", "ray"),
        seconds=2.0,
    ),
)
