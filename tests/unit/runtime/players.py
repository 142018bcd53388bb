"""A host process of ``shells.World``: an object that speaks the plane's messages."""

from typing import TYPE_CHECKING

from supervisors.core.reasons import SHUTDOWN, ExitReason, init_error
from supervisors.runtime.store import HostRow
from supervisors.signals.messages import (
    AskAct,
    Assign,
    Attach,
    Exited,
    Feed,
    Hello,
    Ignored,
    MayAct,
    Message,
    Promote,
    Promoted,
    Resize,
    StandbyState,
    Started,
    StartFailed,
    Stop,
)

from .stage import DEAF, DIES, END, IGNORES, OK, SAY, SYNC, WIRE, FakeSocket

if TYPE_CHECKING:
    from .shells import World


class FakeHost:
    """One host process."""

    def __init__(self, world: "World", row: HostRow) -> None:
        self.world, self.row = world, row
        self.alive = True
        self.dying = False
        self.path = ""
        self.incarnation = self.epoch = 0
        self.rung = ""
        self.acting = self.standby = False
        self.follows = ""
        self.syncs = True
        self.size = 1.0
        self.sizes: list[float] = []
        self._sup: FakeSocket | None = None

    def say(self, message: Message) -> None:
        sup = self._sup
        if self.alive and sup is not None:
            self.world.later(WIRE, lambda: sup.arrive(self.row.id, message))

    def take(self, message: Message, sup: FakeSocket) -> None:
        if not self.alive:
            return
        match message:
            case Assign():
                self._assigned(message, sup)
            case Attach():
                self._sup = sup
                self.say(Hello(self.row.id, self.row.pid, self.path, self.incarnation, "running"))
            case Feed():
                self.follows = message.host
                if self.syncs:
                    self._tell("syncing")
                    self.world.later(SYNC, self._synced)
            case Promote() if self.standby:
                self.standby, self.acting = False, not message.ask
                self.incarnation, self.epoch, self.rung = message.incarnation, message.epoch, "hot"
                self._size(message.multiplier)
                self._begin(self.world.plan(self.path, "promote"), ask=message.ask)
            case MayAct() if message.incarnation == self.incarnation:
                self.acting = True
                self.world.rules.acts_here(self)
                self._start(OK)
            case Stop():
                self.say(Exited(message.path, message.incarnation, SHUTDOWN, self.world.clock.now))
            case Resize():
                self._size(message.multiplier)
            case _:
                return

    def _assigned(self, order: Assign, sup: FakeSocket) -> None:
        plan = self.world.plan(order.path, order.kind)
        self.path, self.incarnation, self.epoch, self.rung = order.path, order.incarnation, order.epoch, order.rung
        self.standby, self.acting = order.kind == "standby", order.kind != "standby"
        if plan == DEAF:
            return  # it has the order, but no word of it comes back
        self._sup = sup
        self.say(Hello(self.row.id, self.row.pid, self.path, self.incarnation, "starting"))
        if self.standby:
            self._tell("starting")
            self.world.later(SAY, self._again)
            return
        self._size(order.multiplier)
        if order.elsewhere or order.ask:
            self.acting = False
        if order.elsewhere:
            self.say(StartFailed(self.path, self.incarnation, init_error(order.elsewhere)))
        else:
            self._begin(plan, ask=order.ask)

    def _begin(self, plan: str, *, ask: bool) -> None:
        if ask and plan == OK:
            self.say(AskAct(self.path, self.incarnation))
            return
        if not ask:  # without having asked it cannot have come up
            self.world.rules.acts_here(self)
        self._start(plan)

    def _start(self, plan: str) -> None:
        if plan == OK:
            self.world.later(0.01, lambda: self.say(Started(self.path, self.incarnation)))
            if self.rung == "hot":
                self.say(Promoted(self.path, self.incarnation, "journal", 1, 0, 0.001))
        elif plan == DIES:
            self.world.later(0.005, self.die)
        elif plan == IGNORES:
            self.say(Ignored(self.path, self.incarnation))
        elif plan.startswith("fails"):
            self.say(StartFailed(self.path, self.incarnation, init_error(plan)))

    def _size(self, size: float) -> None:
        self.size = size
        self.sizes.append(size)

    def _synced(self) -> None:
        if self.syncs:
            self._tell("synced")

    def _again(self) -> None:
        if self.alive and self.standby:
            self._tell(self.state)
            self.world.later(SAY, self._again)

    state = "starting"

    def _tell(self, state: str) -> None:
        self.state = state
        if self.standby:
            self.say(StandbyState(self.path, self.row.id, state, 7, 7, 0.0))

    def crash(self, reason: ExitReason) -> None:
        """Its actor raised: it says so and waits to be ended."""
        self.say(Exited(self.path, self.incarnation, reason, self.world.clock.now))

    def kill(self) -> None:
        """A SIGKILL: no code of it runs any more, but that takes a moment."""
        if self.alive and not self.dying:
            self.dying = True
            self.world.later(END, self.die)

    def die(self) -> None:
        """It is gone; the death watch hears of it."""
        if self.alive:
            self.alive = False
            self.world.died(self)
