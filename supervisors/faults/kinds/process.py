"""Faults of a whole process."""

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.order import Hook
from supervisors.faults.values import Parameter, ValueType

ANY = frozenset({Target.WORKER, Target.STANDBY, Target.SUPERVISOR})
#: a process is gone: the robust futex, a pidfd, a socket, or Ray says so
DEATH = ("futex", "pidfd", "socket", "ray")
#: the same, or its last word came first
END = (*DEATH, "exit_notice")

_CODE = Parameter("code", ValueType.COUNT, 1, "exit status", least=0, most=255)

KINDS = (
    FaultKind(
        name="kill",
        group="process",
        where=Where.PROCESS,
        about="The process is killed.",
        undo="nothing to undo; done when a new life is healthy",
        parameters=(
            Parameter("signal", ValueType.TEXT, "KILL", "which signal", choices=("KILL", "TERM", "ABRT", "BUS", "ILL")),
        ),
        targets=ANY,
        lasting=False,
        detected=END,
    ),
    FaultKind(
        name="stop",
        group="process",
        where=Where.PROCESS,
        about="The process is stopped (SIGSTOP): it neither runs nor ends, as on a machine that hangs.",
        undo="SIGCONT; done when it runs, or is gone because it was replaced",
        targets=ANY,
        slot="process",
        detected=("missed_beats",),
    ),
    FaultKind(
        name="exit",
        group="process",
        where=Where.HOST,
        about="The process ends at once by os._exit: no handler runs, nothing is told.",
        undo="nothing to undo; done when a new life is healthy",
        parameters=(_CODE,),
        targets=ANY,
        hooks=(Hook.NOW,),
        lasting=False,
        detected=DEATH,
    ),
    FaultKind(
        name="segfault",
        group="process",
        where=Where.HOST,
        about="The process reads memory that is not its own.",
        undo="nothing to undo; done when a new life is healthy",
        targets=ANY,
        hooks=(Hook.NOW,),
        lasting=False,
        detected=DEATH,
    ),
    FaultKind(
        name="oom",
        group="process",
        where=Where.HOST,
        about="The process takes memory up to a cap, then meets its end: killed as by the kernel, or MemoryError.",
        undo="nothing to undo; the memory went with the process",
        parameters=(
            Parameter("cap", ValueType.SIZE, 256_000_000, "memory it takes at most", least=1_000_000, most=8e9),
            Parameter("end", ValueType.TEXT, "killed", "how it ends", choices=("killed", "raised")),
        ),
        targets=frozenset({Target.WORKER, Target.STANDBY}),
        hooks=(Hook.NOW,),
        lasting=False,
        detected=END,
    ),
    FaultKind(
        name="ray_kill",
        group="process",
        where=Where.SUPERVISOR,
        about="Ray is told to kill the target's Ray actor (ray.kill).",
        undo="nothing to undo; done when a new life is healthy",
        hooks=(Hook.NOW,),
        lasting=False,
        detected=END,
    ),
    FaultKind(
        name="ignore_stop",
        group="process",
        where=Where.HOST,
        about="Orders to stop are ignored, as by a program that ignores SIGTERM: only the shutdown time ends it.",
        undo="disarmed in the process, or the process is gone",
        hooks=(Hook.STOP,),
        slot="stop",
        recovers=False,
        seconds=30.0,
    ),
)
