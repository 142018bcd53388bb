"""What a person hands on of a run: its verdict, its times, its timeline, and how to do it again. Pure.

``to_json`` has a stable form: fields are added, never renamed or given another meaning (``schema`` counts changes that
break a reader). Times named ``_ms`` are milliseconds; ``t`` are monotonic seconds; ``at`` on the timeline are seconds
since the run began.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from supervisors.chaos.attribution import Effect, effects
from supervisors.chaos.history import Asked, Fault, History, Outcome, RunKind, RunWord
from supervisors.chaos.invariants import CATALOGUE, check
from supervisors.chaos.measures import Measures, measure
from supervisors.chaos.verdicts import State, Verdict

SCHEMA = 1
#: rows the timeline shows at most; the faults table has all
MAX_MARKS = 2_000


class Overall(StrEnum):
    """The verdict of a whole run, worst first."""

    NOT_REVERTED = "not_reverted"
    ABORTED = "aborted"
    VIOLATED = "violated"
    DEVIATED = "deviated"
    UNFINISHED = "unfinished"  #: nobody knows how it ended: its runner did not live to say
    NOT_CHECKABLE = "not_checkable"
    HELD = "held"


#: exit codes of `rayvisor chaos run`; a run that was broken off by the death of its runner is an aborted one
EXIT_CODES = {
    Overall.HELD: 0,
    Overall.NOT_CHECKABLE: 0,
    Overall.DEVIATED: 1,
    Overall.VIOLATED: 1,
    Overall.UNFINISHED: 3,
    Overall.ABORTED: 3,
    Overall.NOT_REVERTED: 4,
}


class Bar(msgspec.Struct, frozen=True):
    """One fault at one target on the timeline, in seconds since the run began; None: it did not come to that."""

    target: str
    fault: str
    kind: str
    fate: str
    begin: float
    end: float
    signal: float | None = None
    decided: float | None = None
    healthy: float | None = None


class InvariantRow(msgspec.Struct, frozen=True):
    """One invariant: its meaning, and what is said of it."""

    meaning: str
    needs: str
    verdict: Verdict


class Steady(msgspec.Struct, frozen=True):
    """One look at the steady state, in seconds since the run began."""

    at: float
    name: str
    ok: bool
    value: str = ""
    when: str = ""


class Report(msgspec.Struct, frozen=True):
    """Everything a report shows.

    Attributes:
        title: one line.
        verdict: of the whole run; ``exit_code`` goes with it.
        summary: why, in a sentence.
        asked: what it was to do, with seed and command.
        seconds: how long it took.
        faults: injected, with their reverts.
        invariants: the ten, in order.
        measures: times.
        bars: the timeline.
        steady: looks at the steady state.
        gaps: what could not be read.
        schema: version of this form.
    """

    title: str
    verdict: Overall
    summary: str
    asked: Asked
    seconds: float
    faults: tuple[Fault, ...]
    invariants: tuple[InvariantRow, ...]
    measures: Measures
    bars: tuple[Bar, ...]
    steady: tuple[Steady, ...]
    gaps: tuple[str, ...]
    operations: dict[str, int] = {}
    schema: int = SCHEMA

    @property
    def exit_code(self) -> int:
        """0 held, 1 violated or deviated, 3 aborted or without an end, 4 could not revert."""
        return EXIT_CODES[self.verdict]


def build(history: History, verdicts: Sequence[Verdict] | None = None, measures: Measures | None = None) -> Report:
    """The report of a run.

    Args:
        history: of the run.
        verdicts: of ``check``; None: checked here.
        measures: of ``measure``; None: measured here.
    """
    said = check(history) if verdicts is None else list(verdicts)
    times = measure(history) if measures is None else measures
    verdict, summary = _overall(history, said, times)
    return Report(
        title=history.asked.title or f"{history.asked.kind} {history.asked.id}".strip(),
        verdict=verdict,
        summary=summary,
        asked=history.asked,
        seconds=round(max(history.ended - history.began, 0.0), 3),
        faults=history.faults,
        invariants=tuple(InvariantRow(CATALOGUE[one.id].text, CATALOGUE[one.id].needs, one) for one in said),
        measures=times,
        bars=tuple(_bar(one, history) for one in effects(history)[:MAX_MARKS]),
        steady=_steady(history),
        gaps=history.gaps,
        operations=_counts(history),
    )


def to_json(report: Report) -> bytes:
    """The report for programs."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def _overall(history: History, verdicts: Iterable[Verdict], measures: Measures) -> tuple[Overall, str]:
    broken = [one for one in verdicts if one.state is State.VIOLATED]
    stuck = [fault for fault in history.faults if fault.reverted is False]
    if stuck or history.outcome is Outcome.NOT_REVERTED:
        names = ", ".join(f"{fault.kind} at {' '.join(fault.targets)}" for fault in stuck[:3])
        return Overall.NOT_REVERTED, f"Could not be reverted: {names or history.why}."
    if history.outcome is Outcome.ABORTED:
        return Overall.ABORTED, f"Aborted: {history.why or 'no reason was given'}."
    if broken:
        names = ", ".join(f"{one.id} {one.name}" for one in broken)
        return Overall.VIOLATED, f"{_many(len(broken), 'invariant')} violated: {names}."
    if history.outcome is Outcome.DEVIATED:
        return Overall.DEVIATED, f"The steady state was left: {history.why or 'see below'}."
    late = f" {measures.all.late} took longer than was promised." if measures.all.late else ""
    if history.outcome is Outcome.UNKNOWN and history.asked.kind is not RunKind.TRAIL:
        return Overall.UNFINISHED, f"The run did not come to its end: {history.why or 'its runner is gone'}.{late}"
    if all(one.state is State.NOT_CHECKABLE for one in verdicts):
        return Overall.NOT_CHECKABLE, "There is nothing to check."
    unsure = sum(one.state is State.NOT_CHECKABLE for one in verdicts)
    aside = f" {_many(unsure, 'invariant')} could not be checked." if unsure else ""
    return Overall.HELD, f"{_many(len(history.faults), 'fault')}, no invariant violated.{late}{aside}"


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _bar(one: Effect, history: History) -> Bar:
    def since(at: float | None) -> float | None:
        return None if at is None else round(max(at - history.began, 0.0), 6)

    # one that nobody reverted ended with the life that it was in
    ends = (one.fault.over, one.healthy.t if one.healthy is not None else None, history.ended)
    end = max(next(at for at in ends if at is not None), one.began)
    return Bar(
        one.target,
        one.fault.id,
        one.fault.kind,
        one.fate.value,
        since(one.began) or 0.0,
        since(end) or 0.0,
        since(one.signal.t if one.signal is not None else None),
        since(one.decision.t if one.decision is not None else None),
        since(one.healthy.t if one.healthy is not None else None),
    )


def _steady(history: History) -> tuple[Steady, ...]:
    return tuple(
        Steady(
            round(event.t - history.began, 3),
            str(event.data.get("name", "")),
            event.data.get("ok") is True,
            str(event.data.get("value", "")),
            str(event.data.get("when", "")),
        )
        for event in history.events
        if event.kind == RunWord.STEADY
    )


def _counts(history: History) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in history.operations:
        counts[one.result.value] = counts.get(one.result.value, 0) + 1
    return counts
