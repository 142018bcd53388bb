"""What clients asked and heard, in Jepsen's words: an operation is invoked, then ok, failed, or of unknown outcome."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

#: what becomes the unique value of a call, in the texts of its arguments
UNIQUE = "{n}"


class Result(StrEnum):
    """What a client knows about an operation (Jepsen's words)."""

    OK = "ok"  #: acknowledged
    FAIL = "fail"  #: certainly not done
    INFO = "info"  #: may have been done or not: time-outs, connections that broke, a client that was killed


class OperationLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of ``operations.jsonl``: an invocation, or how it ended.

    Attributes:
        t: when.
        id: unique in the run; the same for both lines. For ``append`` it is the id in the journalled event.
        type: ``invoke`` or a ``Result``.
        path, f, value: on the invocation: of the actor; ``append`` or a method's name; what for people.
        sequence, epoch, incarnation: on the end, where the actor said so: of the event and of the life that answered.
        error: on the end: why not.
    """

    t: float
    id: str
    type: str
    path: str = ""
    f: str = ""
    value: str = ""
    sequence: int = 0
    epoch: int = 0
    incarnation: int = 0
    error: str = ""


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation of a client from its invocation to its end; see ``OperationLine``.

    Attributes:
        invoked, completed: when; ``completed`` None: the client never heard, which is ``info``.
    """

    id: str
    path: str
    invoked: float
    completed: float | None = None
    result: Result = Result.INFO
    f: str = "append"
    value: str = ""
    sequence: int = 0
    epoch: int = 0
    incarnation: int = 0
    error: str = ""


def fold_operations(lines: Iterable[OperationLine]) -> tuple[Operation, ...]:
    """Invocations with their ends, in the order of invocation; an end without an invocation is left out."""
    found: dict[str, Operation] = {}
    for line in lines:
        if line.type == "invoke":
            found.setdefault(line.id, Operation(line.id, line.path, line.t, f=line.f or "append", value=line.value))
            continue
        begun = found.get(line.id)
        if begun is None or begun.completed is not None:
            continue
        result = Result(line.type) if line.type in _RESULTS else Result.INFO
        found[line.id] = msgspec.structs.replace(
            begun,
            completed=line.t,
            result=result,
            sequence=line.sequence,
            epoch=line.epoch,
            incarnation=line.incarnation,
            error=line.error,
        )
    return tuple(found.values())


_RESULTS = frozenset(Result)
