"""Faults of messages between actors, and between a child and its supervisor on the plane."""

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.order import Hook
from supervisors.faults.values import Parameter, ValueType

_WORKERS = frozenset({Target.WORKER})
_HOOKS = (Hook.CALL_IN, Hook.CALL_OUT, Hook.CAST_OUT, Hook.PLANE_IN, Hook.PLANE_OUT, Hook.PUBLISH)
_ON = Parameter(
    "on",
    ValueType.TEXT,
    "calls",
    "which messages: calls that reach it, calls and casts it makes, plane messages either way, items it publishes",
    choices=("calls", "calls_out", "casts_out", "plane_in", "plane_out", "published"),
)
_NAME = Parameter("name", ValueType.TEXT, "*", "of the method, the plane message (Beat, Records, ...) or topic; * all")
_GONE = "disarmed in the process, or the process is gone"
_EACH = frozenset({Target.WORKER, Target.STANDBY})

KINDS = (
    FaultKind(
        name="delay",
        group="message",
        where=Where.HOST,
        about="Messages arrive later.",
        undo=_GONE,
        parameters=(
            _ON,
            _NAME,
            Parameter("delay", ValueType.DURATION, 0.2, "how much later", least=0.0, most=60.0),
            Parameter("jitter", ValueType.DURATION, 0.0, "up to so much more, by chance", least=0.0, most=60.0),
        ),
        targets=_EACH,
        hooks=_HOOKS,
    ),
    FaultKind(
        name="drop",
        group="message",
        where=Where.HOST,
        about="Messages are lost. A call that is lost runs into its time-out.",
        undo=_GONE,
        parameters=(_ON, _NAME),
        targets=_EACH,
        hooks=_HOOKS,
    ),
    FaultKind(
        name="duplicate",
        group="message",
        where=Where.HOST,
        about="Messages arrive more than once.",
        undo=_GONE,
        parameters=(_ON, _NAME, Parameter("copies", ValueType.COUNT, 1, "how many more", least=1, most=100)),
        targets=_EACH,
        hooks=_HOOKS,
    ),
    FaultKind(
        name="reorder",
        group="message",
        where=Where.HOST,
        about="A message is held back until others have passed it.",
        undo=_GONE + "; what was held back is let go",
        parameters=(
            _ON,
            _NAME,
            Parameter("behind", ValueType.COUNT, 2, "how many pass it", least=1, most=1000),
            Parameter("hold", ValueType.DURATION, 1.0, "held back no longer than this", least=0.001, most=60.0),
        ),
        targets=_EACH,
        hooks=_HOOKS,
    ),
    FaultKind(
        name="corrupt",
        group="message",
        where=Where.HOST,
        about="A byte of the message is changed on the way.",
        undo=_GONE,
        parameters=(_ON, _NAME),
        targets=_EACH,
        hooks=_HOOKS,
    ),
    FaultKind(
        name="lose_reply",
        group="message",
        where=Where.HOST,
        about="The call is carried out and its answer is lost: the caller runs into its time-out and may ask again.",
        undo=_GONE,
        parameters=(Parameter("method", ValueType.TEXT, "*", "which method; * all"),),
        targets=_WORKERS,
        hooks=(Hook.REPLY,),
        slot="reply",
    ),
)
