"""An actor with a fault of its own: it says that it is mute, and stays so until the fault ends."""

from typing import ClassVar

from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.order import FaultOrder
from tests.ray.actors import Worker


class Mute(Worker):
    Faults: ClassVar[tuple[FaultKind, ...]] = (
        FaultKind(
            name="mute",
            group="voice",
            where=Where.ACTOR,
            about="It says nothing.",
            undo="it speaks again",
            targets=frozenset({Target.WORKER}),
        ),
    )
    _mute = ""

    async def fault_armed(self, order: FaultOrder) -> None:
        self._mute = order.id

    async def fault_ended(self, fault_id: str) -> None:
        self._mute = ""

    async def speaks(self) -> bool:
        return not self._mute
