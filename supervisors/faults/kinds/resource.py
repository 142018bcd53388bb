"""Faults of resources: processor, memory, descriptors, threads, disk room."""

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.kinds.process import ANY
from supervisors.faults.order import Hook
from supervisors.faults.values import Parameter, ValueType

_EACH = frozenset({Target.WORKER, Target.STANDBY})
_GONE = "given back in the process, or the process is gone"

KINDS = (
    FaultKind(
        name="burn_cpu",
        group="resource",
        where=Where.NODE,
        about="Processes on the target's machine burn processor time.",
        undo="the processes are ended and seen gone",
        parameters=(
            Parameter("workers", ValueType.COUNT, 0, "how many; 0: one for each core", least=0, most=256),
            Parameter("nice", ValueType.COUNT, 0, "their niceness", least=0, most=19),
        ),
        targets=ANY,
        slot="cpu",
    ),
    FaultKind(
        name="fill_disk",
        group="resource",
        where=Where.NODE,
        about="A file takes room on the disk of the data directory until so much of it is used.",
        undo="the file is removed and seen gone",
        parameters=(
            Parameter("used", ValueType.NUMBER, 0.95, "share of the disk that is used then", least=0.01, most=1.0),
            Parameter("most", ValueType.SIZE, 4_000_000_000, "largest file it makes", least=1),
        ),
        targets=ANY,
        slot="room",
    ),
    FaultKind(
        name="hold_memory",
        group="resource",
        where=Where.HOST,
        about="The process takes memory and keeps it.",
        undo=_GONE,
        parameters=(Parameter("size", ValueType.SIZE, 256_000_000, "how much", least=1, most=8e9),),
        targets=_EACH,
        hooks=(Hook.NOW,),
        slot="memory",
    ),
    FaultKind(
        name="use_descriptors",
        group="resource",
        where=Where.HOST,
        about="The process has only so many descriptors left.",
        undo=_GONE,
        parameters=(Parameter("left", ValueType.COUNT, 4, "how many are left; never fewer than 2", least=0),),
        targets=_EACH,
        hooks=(Hook.NOW,),
        slot="descriptors",
    ),
    FaultKind(
        name="use_threads",
        group="resource",
        where=Where.HOST,
        about="The process starts threads that wait.",
        undo=_GONE,
        parameters=(Parameter("count", ValueType.COUNT, 500, "how many", least=1, most=20_000),),
        targets=frozenset({Target.WORKER, Target.STANDBY}),
        hooks=(Hook.NOW,),
        slot="threads",
    ),
)
