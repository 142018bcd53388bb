"""What is said of an invariant: held, violated with the evidence, or not checkable and what is missing. Pure."""

from enum import StrEnum

import msgspec

from supervisors.trail.events import TrailEvent
from supervisors.trail.failures import describe

#: violations told of one invariant; the rest is counted
MOST = 50


class Invariant(StrEnum):
    """The ids; they do not change."""

    ACKNOWLEDGED_KEPT = "INV-1"
    APPLIED_ONCE = "INV-2"
    ONE_ACTS = "INV-3"
    EPOCH_GROWS = "INV-4"
    DETECTED = "INV-5"
    NONE_INVENTED = "INV-6"
    SETTLED = "INV-7"
    WITHIN_INTENSITY = "INV-8"
    REVERSE_STOP = "INV-9"
    NOTHING_LEFT = "INV-10"


class State(StrEnum):
    """What came of a check."""

    HELD = "held"
    VIOLATED = "violated"
    NOT_CHECKABLE = "not_checkable"


class Meaning(msgspec.Struct, frozen=True):
    """One entry of the catalogue: ``text`` in one sentence, ``needs``: the evidence without which nothing is said."""

    id: Invariant
    name: str
    text: str
    needs: str


class Violation(msgspec.Struct, frozen=True):
    """One way in which an invariant was broken.

    Attributes:
        text: what is wrong, with its place.
        path: whom it is about; empty: the system.
        at: when, monotonic seconds; None: not known.
        evidence: the events and records that show it, a line each.
    """

    text: str
    path: str = ""
    at: float | None = None
    evidence: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """What is said of one invariant.

    Attributes:
        id, name: which.
        state: see ``State``.
        looked_at: events, operations, children or journals that were held against it.
        violations: at most ``MOST``.
        more: violations left out.
        missing: what could not be looked at; with ``held`` the rest was found right.
    """

    id: Invariant
    name: str
    state: State
    looked_at: int = 0
    violations: tuple[Violation, ...] = ()
    more: int = 0
    missing: tuple[str, ...] = ()


class Findings:
    """Gathers what a check finds about one invariant."""

    def __init__(self) -> None:
        self.looked_at = 0
        self._open = False
        self._violations: list[Violation] = []
        self._missing: list[str] = []

    def broken(self, text: str, *, path: str = "", at: float | None = None, evidence: tuple[str, ...] = ()) -> None:
        """It is violated."""
        self._violations.append(Violation(text, path, at, evidence))

    def lacks(self, what: str) -> None:
        """Something could not be looked at; each is told once."""
        if what not in self._missing:
            self._missing.append(what)

    def undecided(self) -> None:
        """What it is about could not be decided: it is not held, whatever else was found right."""
        self._open = True

    def verdict(self, meaning: Meaning) -> Verdict:
        """Violated when anything was found; held when something was looked at and it did not stay undecided."""
        if self._violations:
            state = State.VIOLATED
        elif self._open or not self.looked_at:
            state = State.NOT_CHECKABLE
            if not self._missing:
                self.lacks("there was nothing to look at")
        else:
            state = State.HELD
        told = tuple(self._violations[:MOST])
        more = len(self._violations) - len(told)
        return Verdict(meaning.id, meaning.name, state, self.looked_at, told, more, tuple(self._missing))


def show(event: TrailEvent) -> str:
    """An event as evidence: its time, kind, place and what it carries, in one line."""
    life = f"#{event.incarnation}" if event.incarnation else ""
    epoch = f" epoch {event.epoch}" if event.epoch else ""
    text = " ".join(describe(event).split())
    return f"t={event.t:.6f} {event.kind} {event.path}{life}{epoch} {text[:200]}".rstrip()
