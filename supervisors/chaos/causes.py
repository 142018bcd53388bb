"""What caused each failure that was noticed: the faults on its path or above it, and what followed from those. Pure."""

from collections.abc import Iterator

import msgspec

from supervisors.chaos.attribution import Index, Limits, is_alarm
from supervisors.chaos.history import Fault, History
from supervisors.core.paths import TreePath, is_below
from supervisors.trail.events import EventKind, TrailEvent


class Unexplained(msgspec.Struct, frozen=True):
    """A failure that no fault accounts for; ``near``: faults shortly before it, elsewhere, nearest first."""

    event: TrailEvent
    near: tuple[Fault, ...]


def unexplained(history: History, limits: Limits | None = None) -> tuple[int, tuple[Unexplained, ...]]:
    """How many failures there are, and those without a cause: no fault on their path or above it, no restart of their
    group, no failure before them that they go on from.
    """
    bounds, index = limits or Limits(), Index(history)
    by_target: dict[str, list[Fault]] = {}
    for fault in history.faults:
        for target in ("",) if fault.where == "node" else fault.targets:
            by_target.setdefault(target, []).append(fault)
    explained: dict[str, list[TrailEvent]] = {}
    found: list[Unexplained] = []
    count = 0
    for event in sorted((one for one in history.trail if is_alarm(one)), key=lambda one: one.t):
        count += 1
        if _has_cause(index, by_target, explained, event, bounds):
            explained.setdefault(event.path, []).append(event)
        elif not any(one.event.path == event.path and _is_same(one.event, event) for one in found):
            near = [fault for fault in history.faults if 0 <= event.t - fault.at <= bounds.aftermath]
            found.append(Unexplained(event, tuple(reversed(near))[:3]))
    return count, tuple(found)


def _is_same(first: TrailEvent, second: TrailEvent) -> bool:
    """Two events of one failure are told of once."""
    return first.incarnation == second.incarnation and second.t - first.t < 1.0


def _has_cause(
    index: Index,
    by_target: dict[str, list[Fault]],
    explained: dict[str, list[TrailEvent]],
    event: TrailEvent,
    limits: Limits,
) -> bool:
    return (
        any(_covers(fault, event, limits) for place in _above(event.path) for fault in by_target.get(place, ()))
        or any(_goes_on(index, earlier, event, limits) for earlier in reversed(explained.get(event.path, [])))
        or any(
            _spreads(index, earlier, event, limits)
            for path, events in explained.items()
            if path != event.path
            for earlier in reversed(events[-8:])
        )
    )


def _above(path: str) -> Iterator[str]:
    """The path, every supervisor above it, and the machine (an empty name)."""
    while path not in ("", "/"):
        yield path
        path = path.rpartition("/")[0]
    yield from ("/", "")


def _covers(fault: Fault, event: TrailEvent, limits: Limits) -> bool:
    """A fault at the path, above it or on the machine, that acts or is not long over."""
    if not fault.acted or event.t < fault.at - limits.slack:
        return False
    # damaged files are met at the next start, whenever that is
    return fault.where == "files" or fault.over is None or event.t <= fault.over + limits.aftermath


def _goes_on(index: Index, earlier: TrailEvent, event: TrailEvent, limits: Limits) -> bool:
    """The same path failed before, for a cause, and has not been well since."""
    ready = index.ready_after(event.path, earlier.t)
    return ready is None or event.t <= ready.t + limits.stable


def _spreads(index: Index, earlier: TrailEvent, event: TrailEvent, limits: Limits) -> bool:
    """A failure elsewhere that had a cause takes this path with it: from above, from below, or from beside."""
    above, below = TreePath(earlier.path), TreePath(event.path)
    if is_below(below, above):
        return _goes_on(index, earlier, event, limits) or event.t <= earlier.t + limits.aftermath
    if is_below(above, below):  # it gave up: its own end is what that comes to
        return event.t >= earlier.t and _escalated(index, event)
    return _restarts_with(index, earlier, event, limits)


def _escalated(index: Index, event: TrailEvent) -> bool:
    if event.reason is not None and event.reason.kind == "escalated":
        return True
    ends = (one for one in index.after(event.path, event.t) if one.kind == EventKind.CHILD_EXITED)
    end = next(ends, None)
    return end is not None and end.reason is not None and end.reason.kind == "escalated" and end.t - event.t < 1.0


def _restarts_with(index: Index, earlier: TrailEvent, event: TrailEvent, limits: Limits) -> bool:
    for decision in index.after(earlier.path, earlier.t):
        if decision.t > event.t:
            return False
        if decision.kind == EventKind.RESTART_DECIDED and decision.writer == event.writer:
            targets = str(decision.data.get("targets", ""))
            name = event.path.rpartition("/")[2]
            if decision.data.get("strategy") in ("one_for_all", "rest_for_one") and (
                name in targets.split() or " more" in targets
            ):
                return _goes_on(index, decision, event, limits)
    return False
