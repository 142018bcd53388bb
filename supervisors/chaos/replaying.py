"""Two runs beside one another: the same faults, targets, first signals and answers, in the same order? Pure."""

from collections.abc import Iterable
from itertools import zip_longest

import msgspec

from supervisors.chaos.history import History, RunEvent, RunWord
from supervisors.chaos.measures import FaultTimes, measure
from supervisors.chaos.monkey import Decision


class Line(msgspec.Struct, frozen=True):
    """One fault at one target, and what was made of it; what is compared between two runs.

    Attributes:
        fault: its kind. target: whom it hit.
        signal: what told of it first. verdict: what was believed.
        rung: how it came back; empty: it needed no recovery.
    """

    fault: str
    target: str
    signal: str = ""
    verdict: str = ""
    rung: str = ""

    def __str__(self) -> str:
        end = ", ".join(word for word in (self.signal, self.verdict, self.rung) if word)
        return f"{self.fault} {self.target}" + (f": {end}" if end else "")


class Pair(msgspec.Struct, frozen=True):
    """The n-th fault of both runs; None: that run had no such fault."""

    number: int
    before: Line | None
    after: Line | None

    @property
    def same(self) -> bool:
        """They do not differ."""
        return self.before == self.after


def lines_of(history: History) -> list[Line]:
    """The faults of a run in the order in which they were injected."""
    return [_line(one) for one in measure(history).faults]


def compare(before: Iterable[Line], after: Iterable[Line]) -> list[Pair]:
    """Both runs, fault by fault."""
    return [Pair(number, *both) for number, both in enumerate(zip_longest(before, after), 1)]


def decisions_of(events: Iterable[RunEvent]) -> list[Decision]:
    """What a monkey decided, as it was recorded."""
    texts = (event.data.get("decision") for event in events if event.kind == RunWord.DECIDED)
    return [msgspec.json.decode(text, type=Decision) for text in texts if isinstance(text, str)]


def refusals_of(events: Iterable[RunEvent]) -> dict[int, str]:
    """The numbers of those that were refused, and why."""
    numbers = ((event.data.get("n"), event) for event in events if event.kind == RunWord.REFUSED)
    return {number: str(event.data.get("why", "")) for number, event in numbers if isinstance(number, int)}


def _line(one: FaultTimes) -> Line:
    return Line(one.kind, one.target, one.signal, one.verdict, one.rung)
