"""What a supervisor's shell has to do for the recoveries of its children, and what they keep in hand.

Processes, time and what outlives a supervisor are a shell's: the real one (``supervisors.runtime.recovering``) and the
simulated one (``supervisors.simulate.dst.hands``) fill in the same ports and go by the same rules (``recoveries``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from supervisors.core.paths import TreePath
from supervisors.core.reasons import ExitReason
from supervisors.recovery.case import CaseRecord, RecoveryCase
from supervisors.recovery.evidence import EvidenceSource
from supervisors.recovery.messages import Attempt, Effect, Hold, Validate
from supervisors.recovery.policy import RecoverySpec
from supervisors.recovery.progress import Progress
from supervisors.tree.child import Child
from supervisors.tree.messages import Event, Note, StartChild


class Life(Protocol):
    """One life of one child, as its supervisor's shell knows it.

    Attributes:
        id, incarnation: which.
        gone: nothing of its process is left.
        kill_reason: why we killed it, if we did.
    """

    id: str
    incarnation: int
    gone: bool
    kill_reason: ExitReason | None


L = TypeVar("L", bound=Life)


@dataclass(slots=True)
class Hand(Generic[L]):
    """What is in hand for one child.

    Attributes:
        case: its recovery; closed ones are replaced.
        order: the start the machine waits for; None while it waits for none.
        plain: the last start that followed from no failure, and so is no attempt.
        life: of the attempt in hand, until it is up or gone; without one its time does not count.
        next: the attempt to begin as soon as rule 1 allows.
        hold: the hold to tell the machine as soon as nothing runs.
        abandoned: the case has given up the life in hand; its end is no news to it.
        preserving: so many failed states are being kept: the next attempt waits for them (REC-3).
        late: the attempt to begin had to wait.
        named: a person named the rung of the attempt to begin.
        dropped: a person wants it to stay down, which the machine has not heard yet.
        timers: by the case's token, what cancels it.
        progress: the last word of the case on how far it is; None: nothing ever failed.
    """

    case: RecoveryCase
    order: StartChild | None = None
    plain: StartChild | None = None
    life: L | None = None
    next: Attempt | None = None
    hold: Hold | None = None
    abandoned: bool = False
    preserving: int = 0
    late: bool = False
    named: bool = False
    dropped: str = ""
    timers: dict[int, int] = field(default_factory=dict)
    progress: Progress | None = None


class RecoveryPorts(ABC, Generic[L]):
    """Filled in by each shell; called in the one thread that steps the tree's machine."""

    #: what a case is made of
    cases: type[RecoveryCase] = RecoveryCase

    # ------------------------------------------------------------ what it knows

    @abstractmethod
    def _now(self) -> float:
        """Monotonic seconds."""

    @abstractmethod
    def _children(self) -> Mapping[str, Child]:
        """Of the machine."""

    @abstractmethod
    def _tell(self, event: Event) -> None:
        """To the machine."""

    @abstractmethod
    def _path(self, child_id: str) -> TreePath: ...

    @abstractmethod
    def _policy(self, child_id: str) -> RecoverySpec | None:
        """None: no recovery takes care of this child."""

    @abstractmethod
    def _evidence(self, child_id: str, reason: ExitReason) -> EvidenceSource: ...

    @abstractmethod
    def _life(self, child_id: str) -> L | None:
        """The one the shell knows of last."""

    @abstractmethod
    def _last_reason(self, child_id: str) -> ExitReason:
        """Why a life ended that a predecessor saw end."""

    # ------------------------------------------------------------ processes

    @abstractmethod
    def _begin_life(self, order: StartChild, rung: str, *, named: bool = False) -> L:
        """In a process of its own; ``rung`` says how it restores its state, empty: not at all.

        From a journal that may not be the newest only when a person ``named`` this rung.
        """

    @abstractmethod
    def _promote(self, order: StartChild, *, named: bool) -> L | str:
        """The best standby becomes this life, or why there is none that may.

        One that is not in sync lacks events that were acknowledged: it may when a person ``named`` this rung, not when
        they agreed to what was proposed.
        """

    def _was_refused(self, life: L) -> bool:
        """Whether that life was refused since the newest journal is on another disk: starting again changes nothing."""
        return False

    @abstractmethod
    def _has_process(self, life: L) -> bool: ...

    @abstractmethod
    def _kill(self, life: L) -> None:
        """End its process; ``ended`` follows."""

    @abstractmethod
    def _never_began(self, life: L, why: str) -> None:
        """The machine started a life that has no process yet and gets none: let it hear so."""

    # ------------------------------------------------------------ time

    @abstractmethod
    def _call_at(self, at: float, call: Callable[[], None]) -> int:
        """Once; the number cancels it."""

    @abstractmethod
    def _cancel(self, number: int) -> None: ...

    @abstractmethod
    def _soon(self, call: Callable[[], None]) -> None:
        """After what is being done now."""

    # ------------------------------------------------------------ children and people

    @abstractmethod
    def _check(self, child_id: str, effect: Validate, failure: str, checked: Callable[[bool, str], None]) -> None:
        """Have one validation step carried out, and tell what it found."""

    @abstractmethod
    def _resize(self, child_id: str, multiplier: float) -> None:
        """Tell the child how much of its size it may trade."""

    @abstractmethod
    def _preserve(self, child_id: str, why: str, kept: Callable[[], None]) -> bool:
        """Keep what is left of a failed life; True: it takes a while, and ``kept`` is called."""

    @abstractmethod
    def _report(self, child_id: str, effects: list[Effect]) -> None:
        """To people: what a case has decided and done."""

    # ------------------------------------------------------------ what outlives it

    @abstractmethod
    def _keep(self, case: RecoveryCase) -> None:
        """Write down where a case stands."""

    @abstractmethod
    def _kept(self, child_id: str) -> CaseRecord | None:
        """What was written down last."""

    @abstractmethod
    def _waits_on(self, child_id: str) -> bool:
        """True when what was written down last is of this run, and waits for a person."""

    # ------------------------------------------------------------ what it may do besides

    @abstractmethod
    def _unwanted(self, child_id: str) -> None:
        """Nobody wants it started any more: nothing stands by for it."""

    @abstractmethod
    def _forget(self, child_id: str) -> None:
        """It is gone for good: neither is anything kept of it."""

    def _failed_at(self, note: Note) -> float:
        """Monotonic seconds at which the life failed that the machine notes the end of."""
        return self._now()

    def _suspect(self, child_id: str, reason: ExitReason) -> None:
        """A life ended so: does that say something about its state?"""

    def _recovered(self, child_id: str) -> None:
        """An attempt succeeded."""
