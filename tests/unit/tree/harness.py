"""One machine, stepped by hand, with its effects sorted out."""

from typing import TypeVar

from supervisors.core.reasons import ExitReason
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    Booted,
    ChildExited,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    Note,
    NoteKind,
    SetTimer,
    StartChild,
    TimerFired,
)
from supervisors.tree.model import AutoShutdown, ChildSpec, Strategy, SupervisorFlags, SupervisorSpec

E = TypeVar("E")


def of_kind(effects: list[Effect], kind: type[E]) -> list[E]:
    """The effects of one class."""
    return [effect for effect in effects if isinstance(effect, kind)]


class Bench:
    """A machine at a time of its own; children answer when told to."""

    def __init__(
        self,
        *children: ChildSpec,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: int = 100,
        period: int = 1,
        jitter: float = 0.0,
        auto: AutoShutdown = AutoShutdown.NEVER,
    ) -> None:
        self.spec = SupervisorSpec(SupervisorFlags(strategy, intensity, period, auto), children)
        self.machine = SupervisorMachine(self.spec, lambda: jitter)
        self.now = 100.0
        self.effects: list[Effect] = []
        self.timers: dict[int, float] = {}

    def send(self, event: Event) -> list[Effect]:
        """One step; the effects are kept as the last ones too."""
        self.effects = self.machine.step(event, self.now)
        for timer in of_kind(self.effects, SetTimer):
            self.timers[timer.token] = timer.at
        return self.effects

    def boot(self) -> None:
        """Boot; every start succeeds."""
        self.send(Booted())
        self.bring_up()

    def bring_up(self) -> None:
        """Answer the pending start, and those that follow from it, with success."""
        while starts := of_kind(self.effects, StartChild):
            self.send(ChildStarted(starts[-1].id, starts[-1].incarnation))

    def started(self, child_id: str) -> list[Effect]:
        """The pending start succeeded."""
        return self.send(ChildStarted(child_id, self.incarnation(child_id)))

    def fail(self, child_id: str, reason: ExitReason) -> list[Effect]:
        """The pending start failed."""
        return self.send(ChildStartFailed(child_id, self.incarnation(child_id), reason))

    def exit(self, child_id: str, reason: ExitReason) -> list[Effect]:
        """The child's process is gone."""
        return self.send(ChildExited(child_id, self.incarnation(child_id), reason))

    def fire(self, after: float) -> list[Effect]:
        """Move to the last timer set, which is to be due in ``after`` seconds, and fire it."""
        token = max(self.timers)
        assert abs(self.timers[token] - self.now - after) < 1e-9, (self.timers[token] - self.now, after)
        self.now = self.timers.pop(token)
        return self.send(TimerFired(token))

    def incarnation(self, child_id: str) -> int:
        """Of the child's present or last life."""
        return self.machine.children[child_id].incarnation

    def state(self, child_id: str) -> str:
        """The child's state."""
        return self.machine.children[child_id].state.value

    def started_ids(self) -> list[str]:
        """Children the last step ordered to start."""
        return [start.id for start in of_kind(self.effects, StartChild)]

    def notes(self, kind: NoteKind) -> list[Note]:
        """Notes of the last step."""
        return [note for note in of_kind(self.effects, Note) if note.kind is kind]
