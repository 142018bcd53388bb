"""What a child of the fake world does: how its next starts go, how long its lives last, how it takes a stop."""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from supervisors.core.reasons import ExitReason, init_error


class StartOutcome(Enum):
    """How a start ends when it does not succeed."""

    FAIL = "fail"
    IGNORE = "ignore"
    NEVER = "never"
    HOLD = "hold"


@dataclass(slots=True)
class PlannedStart:
    """The next ``times`` starts end like this (``math.inf``: all of them)."""

    outcome: StartOutcome | None
    times: float
    reason: ExitReason


@dataclass(slots=True)
class PlannedLife:
    """The next ``times`` lives end ``after`` seconds from being up, with ``reason``."""

    after: float
    reason: ExitReason
    times: float


@dataclass(slots=True)
class ScriptedChild:
    """The behaviour of one path over all its lives. A child without one starts, lives and stops as told.

    Attributes:
        start_takes: seconds a start takes, failed ones too; None: what the world says.
        stop_takes: seconds from the order to stop until it ends; None: what the world says.
        ready_takes: seconds from started until it says it is ready (specs with a ``ready_timeout``).
        ignores_stop: it does not react to the order to stop and has to be killed.
        never_ready: it starts, but never says it is ready.
        starts: plans for the coming starts, first come first used; when they are used up, starts succeed.
        lives: plans for the coming lives, likewise.
    """

    start_takes: float | None = None
    stop_takes: float | None = None
    ready_takes: float = 0.0
    ignores_stop: bool = False
    never_ready: bool = False
    starts: deque[PlannedStart] = field(default_factory=deque)
    lives: deque[PlannedLife] = field(default_factory=deque)

    def plan_starts(
        self, outcome: StartOutcome | None, times: float = inf, reason: ExitReason | None = None
    ) -> "ScriptedChild":
        """Let ``times`` starts end with ``outcome`` (None: succeed) after those planned before; returns itself."""
        if times > 0:
            self.starts.append(PlannedStart(outcome, times, reason or init_error("scripted start failure")))
        return self

    def plan_lives(self, after: float, reason: ExitReason, times: float = inf) -> "ScriptedChild":
        """Let ``times`` lives end ``after`` seconds from being up with ``reason``; returns itself."""
        if times > 0:
            self.lives.append(PlannedLife(after, reason, times))
        return self

    def next_start(self) -> PlannedStart | None:
        """Use up one planned start; None when there is no plan or it is to succeed."""
        if not self.starts:
            return None
        plan = self.starts[0]
        plan.times -= 1
        if plan.times <= 0:
            self.starts.popleft()
        return plan if plan.outcome is not None else None

    def next_life(self) -> PlannedLife | None:
        """Use up one planned life; None when there is no plan."""
        if not self.lives:
            return None
        plan = self.lives[0]
        plan.times -= 1
        if plan.times <= 0:
            self.lives.popleft()
        return plan
