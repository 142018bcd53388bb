"""Faults inside an actor: its body, its methods, its loop, its start."""

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.kinds.process import DEATH
from supervisors.faults.order import Hook
from supervisors.faults.values import Parameter, ValueType

_WORKERS = frozenset({Target.WORKER})
_METHOD = Parameter("method", ValueType.TEXT, "*", "which method; * all")
_NTH = Parameter("nth", ValueType.COUNT, 1, "the first occasion that is hit", least=1)
_MESSAGE = Parameter("message", ValueType.TEXT, "injected", "what the exception says")
_GONE = "disarmed in the process, or the process is gone"

KINDS = (
    FaultKind(
        name="raise",
        group="actor",
        where=Where.HOST,
        about="`run` raises: the actor crashes.",
        undo="nothing to undo; done when a new life is healthy",
        parameters=(_MESSAGE,),
        targets=_WORKERS,
        hooks=(Hook.RUN,),
        lasting=False,
        detected=("exit_notice",),
    ),
    FaultKind(
        name="raise_call",
        group="actor",
        where=Where.HOST,
        about="Calls of a method raise, from the nth on; the caller gets the exception, the actor lives.",
        undo=_GONE,
        parameters=(_METHOD, _NTH, _MESSAGE),
        targets=_WORKERS,
        hooks=(Hook.CALL_IN,),
        slot="call",
    ),
    FaultKind(
        name="hang",
        group="actor",
        where=Where.HOST,
        about="Calls of a method never answer while it lasts; the actor's loop goes on.",
        undo=_GONE + "; calls that hung are then carried out",
        parameters=(_METHOD, _NTH),
        targets=_WORKERS,
        hooks=(Hook.CALL_IN,),
        slot="call",
    ),
    FaultKind(
        name="block_loop",
        group="actor",
        where=Where.HOST,
        about="The actor's loop is blocked, as by a blocking call in async code; beats go on and show no progress.",
        undo=_GONE + "; the loop turns again",
        hooks=(Hook.NOW,),
        slot="loop",
        detected=("stalled_loop",),
    ),
    FaultKind(
        name="hold_gil",
        group="actor",
        where=Where.HOST,
        about="A C extension holds the interpreter lock: no Python of the process runs, beats included.",
        undo=_GONE + "; beats come again",
        hooks=(Hook.NOW,),
        slot="loop",
        detected=("missed_beats", "stalled_loop"),
    ),
    FaultKind(
        name="gc_pause",
        group="actor",
        where=Where.HOST,
        about="The garbage collector walks many objects again and again: pauses of the whole interpreter.",
        undo=_GONE + "; the objects are freed",
        parameters=(
            Parameter(
                "objects", ValueType.COUNT, 2_000_000, "objects it walks in each pause", least=1000, most=20_000_000
            ),
        ),
        hooks=(Hook.NOW,),
        slot="loop",
    ),
    FaultKind(
        name="slow_start",
        group="actor",
        where=Where.STANDING,
        about="Every start of the actor takes longer. The present life is left alone.",
        undo="no later life is told of it any more",
        parameters=(Parameter("delay", ValueType.DURATION, 2.0, "how much longer", least=0.0, most=600.0),),
        targets=_WORKERS,
        hooks=(Hook.START,),
        slot="start",
        seconds=60.0,
    ),
    FaultKind(
        name="fail_start",
        group="actor",
        where=Where.STANDING,
        about="Starts of the actor fail, so often as `times` says. The present life is left alone.",
        undo="no later life is told of it any more",
        parameters=(Parameter("times", ValueType.COUNT, 1, "how many starts fail", least=1), _MESSAGE),
        targets=_WORKERS,
        hooks=(Hook.START,),
        slot="start",
        seconds=60.0,
    ),
    FaultKind(
        name="crash_loop",
        group="actor",
        where=Where.STANDING,
        about="Every life of the actor crashes some time after its start, the present one included.",
        undo="no life is told of it any more; done when one is healthy",
        parameters=(
            Parameter("after", ValueType.DURATION, 0.1, "time it lives", least=0.0, most=600.0),
            _MESSAGE,
        ),
        targets=_WORKERS,
        hooks=(Hook.RUN,),
        slot="start",
        detected=("exit_notice",),
    ),
    FaultKind(
        name="crash_between",
        group="actor",
        where=Where.HOST,
        about="The process ends between two steps that belong together: after an event is durable and before it is "
        "applied and acknowledged, or before a checkpoint that is due is written.",
        undo="nothing to undo; done when a new life is healthy",
        parameters=(
            Parameter("point", ValueType.TEXT, "append", "between which steps", choices=("append", "checkpoint")),
            _NTH,
        ),
        targets=_WORKERS,
        hooks=(Hook.APPEND, Hook.CHECKPOINT),
        slot="crash",
        detected=DEATH,
        needs_journal=True,
        seconds=60.0,
    ),
)
