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
        FaultKind(
            name="stammer",
            group="voice",
            where=Where.ACTOR,
            about="It stammers, and does not stop with it when it is told so once.",
            undo="it speaks again",
            targets=frozenset({Target.WORKER}),
        ),
    )
    _mute = ""
    _ends = 0

    async def fault_armed(self, order: FaultOrder) -> None:
        self._mute, self._kind, self._ends = order.id, order.kind, 0

    async def fault_ended(self, fault_id: str) -> None:
        self._ends += 1
        if self._kind == "stammer" and self._ends < 2:
            raise ValueError("n-not y-yet")
        self._mute = ""

    async def ends(self) -> int:
        """How often it was told to end its last fault."""
        return self._ends

    async def speaks(self) -> bool:
        return not self._mute
