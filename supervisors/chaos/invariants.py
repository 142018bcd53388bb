"""The invariants: what must hold whatever was broken, and the check of a history against all of them. Pure.

Each check gives *held*, *violated* with the events that show it, or *not checkable* with what is missing. Evidence that
is missing never counts as held. docs/invariants.md says how to read a violation.
"""

from collections.abc import Callable, Iterable

from supervisors.chaos.attribution import Limits
from supervisors.chaos.check_data import acknowledged_kept, applied_once, epoch_grows, one_acts
from supervisors.chaos.check_tree import (
    detected,
    none_invented,
    nothing_left,
    reverse_stop,
    settled,
    within_intensity,
)
from supervisors.chaos.history import History
from supervisors.chaos.verdicts import Findings, Invariant, Meaning, State, Verdict, Violation

__all__ = ["CATALOGUE", "Invariant", "Limits", "Meaning", "State", "Verdict", "Violation", "check", "violated"]

CATALOGUE: dict[Invariant, Meaning] = {
    meaning.id: meaning
    for meaning in (
        Meaning(
            Invariant.ACKNOWLEDGED_KEPT,
            "acknowledged_kept",
            "Every event that was acknowledged to a client is in the journal at the end, whole.",
            "client operations and the journals; without operations, sequences on the trail and checksums of journals",
        ),
        Meaning(
            Invariant.APPLIED_ONCE,
            "applied_once",
            "No event stands in a journal twice or was applied twice, and none whose client was told that it failed.",
            "journals whose events carry the operations' unique ids; how far standbys in sync say they applied",
        ),
        Meaning(
            Invariant.ONE_ACTS,
            "one_acts",
            "Never two that act: one life in each epoch, and a new one only when the one before has ended.",
            "lives with their epochs on the trail; which life gave each answer to a client",
        ),
        Meaning(
            Invariant.EPOCH_GROWS,
            "epoch_grows",
            "Epochs only grow, and nothing of an older epoch is accepted after a newer one has acted.",
            "epochs on the trail, in the journals' records, and in answers",
        ),
        Meaning(
            Invariant.DETECTED,
            "detected",
            "Every fault of a detectable kind that acted was noticed.",
            "injected faults on the trail, and their kinds in the catalogue",
        ),
        Meaning(
            Invariant.NONE_INVENTED,
            "none_invented",
            "Every failure that was noticed has a cause among the injected faults.",
            "a run: without one, failures may be real",
        ),
        Meaning(
            Invariant.SETTLED,
            "settled",
            "At the end each child is well, held, or given up as its policy says.",
            "the states at the end, asked of the system or from the trail",
        ),
        Meaning(
            Invariant.WITHIN_INTENSITY,
            "within_intensity",
            "No supervisor restarts more often than its intensity and budgets allow, and it counts rightly.",
            "restart decisions on the trail; the topology",
        ),
        Meaning(
            Invariant.REVERSE_STOP,
            "reverse_stop",
            "A supervisor that stops or restarts a group ends its children in reverse start order, one after another.",
            "stops on the trail; the topology, or the order of first starts",
        ),
        Meaning(
            Invariant.NOTHING_LEFT,
            "nothing_left",
            "No fault, process, name or file is left that nothing accounts for.",
            "the faults' reverts on the trail; a look at the machine at the end",
        ),
    )
}


def check(history: History, limits: Limits | None = None) -> list[Verdict]:
    """What is to be said of each invariant, in the order of their ids.

    Args:
        history: of a run, or of a data directory.
        limits: how long things may take; the defaults are those of ``Limits``.
    """
    bounds = limits or Limits()
    checks: dict[Invariant, Callable[[History, Findings], None]] = {
        Invariant.ACKNOWLEDGED_KEPT: acknowledged_kept,
        Invariant.APPLIED_ONCE: applied_once,
        Invariant.ONE_ACTS: one_acts,
        Invariant.EPOCH_GROWS: epoch_grows,
        Invariant.DETECTED: lambda one, found: detected(one, found, bounds),
        Invariant.NONE_INVENTED: lambda one, found: none_invented(one, found, bounds),
        Invariant.SETTLED: settled,
        Invariant.WITHIN_INTENSITY: within_intensity,
        Invariant.REVERSE_STOP: reverse_stop,
        Invariant.NOTHING_LEFT: lambda one, found: nothing_left(one, found, bounds),
    }
    verdicts = []
    for name, run in checks.items():
        found = Findings()
        run(history, found)
        verdicts.append(found.verdict(CATALOGUE[name]))
    return verdicts


def violated(verdicts: Iterable[Verdict]) -> bool:
    """True when any of them is."""
    return any(one.state is State.VIOLATED for one in verdicts)
