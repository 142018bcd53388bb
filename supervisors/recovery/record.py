"""All a recovery case knows, as one struct that can be kept and gone on from. Pure."""

import msgspec

from supervisors.recovery.approval import Held
from supervisors.recovery.messages import Outcome
from supervisors.recovery.policy import Rung
from supervisors.recovery.progress import History, State


class Timer(msgspec.Struct, frozen=True):
    """A timer that was asked for; ``at``: monotonic seconds."""

    token: int
    at: float


class CaseRecord(msgspec.Struct, omit_defaults=True):
    """One case between two events. Times are monotonic seconds.

    Attributes:
        path: the child.
        failure: id of the failure it is about; empty before the first.
        failed_at: when that failed.
        failed_life: the youngest incarnation known to have failed; news of it and older ones are dropped.
        life: the incarnation that is up; 0: none, or not told.
        state: see ``State``.
        rung: in hand or last tried.
        number: attempts so far.
        attempting: the attempt of that number is in hand.
        attempt_at: when it was asked for.
        tried: rungs attempted for this failure.
        hold: the open hold.
        earlier: holds answered before, oldest first.
        holds: holds so far.
        multiplier: what the child may trade.
        ramping: full size has still to be earned.
        ramp_index: the ramp step in hand; -1: not begun.
        ramp_due: it has lasted; the checks between run.
        up_at: when the attempt in hand succeeded.
        recovered_at: when the immediate checks had passed.
        watched: the time of watching is over and the medium checks have begun.
        todo: checks to run, in order.
        failing: required checks that failed and are tried again later.
        passed: checks that passed or were noted at least once since the attempt.
        running: the check in hand, empty without one.
        attempt: which try of it.
        run: number of the last ``Validate``.
        running_at: when that was asked for; None while it pauses between two tries.
        check_why: what the last failing check said.
        steps: names of all steps with this rung.
        done: those that are done.
        step_at: when the step in hand began.
        spent: seconds of the attempt's steps that were told.
        percent: what was shown last.
        over_rto, far_over_rto: see ``Progress``.
        timers: by purpose.
        tokens: timers so far.
        closed: how it ended.
        why: one line on where it stands.
        history: the path's.
    """

    path: str
    failure: str = ""
    failed_at: float = 0.0
    failed_life: int = 0
    life: int = 0
    state: State = State.HEALTHY
    rung: Rung | None = None
    number: int = 0
    attempting: bool = False
    attempt_at: float = 0.0
    tried: tuple[Rung, ...] = ()
    hold: Held | None = None
    earlier: tuple[Held, ...] = ()
    holds: int = 0
    multiplier: float = 1.0
    ramping: bool = False
    ramp_index: int = -1
    ramp_due: bool = False
    up_at: float = 0.0
    recovered_at: float | None = None
    watched: bool = False
    todo: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    running: str = ""
    attempt: int = 0
    run: int = 0
    running_at: float | None = None
    check_why: str = ""
    steps: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    step_at: float = 0.0
    spent: float = 0.0
    percent: float = 0.0
    over_rto: bool = False
    far_over_rto: bool = False
    timers: dict[str, Timer] = {}
    tokens: int = 0
    closed: Outcome | None = None
    why: str = ""
    history: History = msgspec.field(default_factory=History)

    def copy(self) -> "CaseRecord":
        """One that does not change with this."""
        return msgspec.structs.replace(self, timers=dict(self.timers), history=self.history.copy())
