"""Faults of what supervision itself stands on: leases, beats, clocks."""

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.order import Hook
from supervisors.faults.values import Parameter, ValueType

_WORKERS = frozenset({Target.WORKER})
_EACH = frozenset({Target.WORKER, Target.STANDBY})
_GONE = "disarmed in the process, or the process is gone"

KINDS = (
    FaultKind(
        name="lease_slow",
        group="control",
        where=Where.HOST,
        about="The lease store answers late; later than 1 s is as good as not at all.",
        undo=_GONE,
        parameters=(Parameter("delay", ValueType.DURATION, 0.5, "how much later", least=0.0, most=60.0),),
        targets=frozenset({Target.WORKER, Target.SUPERVISOR}),
        hooks=(Hook.LEASE,),
        slot="lease",
        needs_lease=True,
    ),
    FaultKind(
        name="lease_down",
        group="control",
        where=Where.HOST,
        about="The lease store does not answer the target; nothing it asks for is done. A holder that is cut off for "
        "longer than its lease less the margin stops acting and is replaced.",
        undo=_GONE,
        targets=frozenset({Target.WORKER, Target.SUPERVISOR}),
        hooks=(Hook.LEASE,),
        slot="lease",
        needs_lease=True,
    ),
    FaultKind(
        name="lease_cut",
        group="control",
        where=Where.HOST,
        about="The lease store does what the target asks, and its answers are lost.",
        undo=_GONE,
        targets=frozenset({Target.WORKER, Target.SUPERVISOR}),
        hooks=(Hook.LEASE,),
        slot="lease",
        needs_lease=True,
    ),
    FaultKind(
        name="contend",
        group="control",
        where=Where.NODE,
        about="Another contender asks for the target's lease again and again; a live holder must never lose it.",
        undo="the contender is ended and what it got is given back",
        parameters=(Parameter("every", ValueType.DURATION, 0.05, "how often it asks", least=0.001, most=10.0),),
        targets=_WORKERS,
        slot="contend",
        needs_lease=True,
    ),
    FaultKind(
        name="lose_beats",
        group="control",
        where=Where.SUPERVISOR,
        about="Beats of the target are lost on their way to its supervisor; everything else arrives.",
        undo="disarmed at the supervisor, or that process is gone",
        hooks=(Hook.BEATS,),
        targets=_EACH,
        slot="beats",
        detected=("missed_beats",),
    ),
    FaultKind(
        name="suspect",
        group="control",
        where=Where.SUPERVISOR,
        about="The supervisor takes a healthy target for unavailable (a false suspicion): it must be proved dead or "
        "fenced before another acts.",
        undo="nothing to undo; done when one life is healthy",
        hooks=(Hook.NOW,),
        targets=_WORKERS,
        lasting=False,
        detected=("missed_beats", "futex", "pidfd", "socket", "ray"),
    ),
    FaultKind(
        name="clock_jump",
        group="control",
        where=Where.HOST,
        about="The target's injected clock jumps.",
        undo=_GONE + "; a monotonic clock keeps what it gained, as it must not go back",
        parameters=(
            Parameter("by", ValueType.DURATION, 3600.0, "how far; negative: back", least=-1e9, most=1e9),
            Parameter("clock", ValueType.TEXT, "wall", "which of its clocks", choices=("wall", "monotonic", "both")),
        ),
        targets=_EACH,
        hooks=(Hook.CLOCK,),
        slot="clock",
    ),
    FaultKind(
        name="clock_drift",
        group="control",
        where=Where.HOST,
        about="The target's injected clock runs at another speed.",
        undo=_GONE + "; a monotonic clock goes on at the right speed from where it is",
        parameters=(
            Parameter("rate", ValueType.NUMBER, 1.5, "seconds of its clock in a real one", least=0.01, most=100.0),
            Parameter("clock", ValueType.TEXT, "both", "which of its clocks", choices=("wall", "monotonic", "both")),
        ),
        targets=_EACH,
        hooks=(Hook.CLOCK,),
        slot="clock",
    ),
)
