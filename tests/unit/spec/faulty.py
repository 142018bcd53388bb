"""An actor with a fault of its own."""

from typing import ClassVar

from actors.base import Actor
from supervisors.faults.catalogue import FaultKind, Where
from supervisors.faults.values import Parameter, ValueType


class Faulty(Actor):
    Faults: ClassVar = (
        FaultKind(
            name="shout",
            group="voice",
            where=Where.ACTOR,
            about="It shouts.",
            undo="it is quiet again",
            parameters=(Parameter("volume", ValueType.COUNT, None, "how loud", most=10),),
        ),
    )

    def apply(self, event: object) -> None:
        return

    def snapshot(self) -> object:
        return None

    def restore(self, state: object) -> None:
        return
