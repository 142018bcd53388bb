"""Which event belongs to which fault: what noticed it first, what was decided, and when all was well again. Pure.

A fault's own time is the ground truth. A signal is its own when it tells of the very life the fault was aimed at; for
faults that outlive a life (``standing``) any later life will do. And it has to come in time: within the ``aftermath``
of the fault. So a fault that nobody noticed never borrows the signal of the next one.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from supervisors.chaos.history import ChildFacts, Fault, History
from supervisors.trail.events import EventKind, TrailEvent


class Limits(msgspec.Struct, frozen=True):
    """How long things may take before they are held against the system. Seconds.

    Attributes:
        aftermath: a fault that is over may still cause failures for so long (a start that was slowed down, a queue).
        overlap: a signal that is later than due by more belongs to the next fault at the target, where there was one.
        stable: a child that was ready for so long has recovered: its next failure is a new one.
        slack: between a fault's time and the effect's, for stamps of two processes.
    """

    aftermath: float = 10.0
    overlap: float = 0.5
    stable: float = 2.0
    slack: float = 0.005


class Fate(StrEnum):
    """What became of a fault at one target."""

    RECOVERED = "recovered"
    HELD = "held"  #: a person has to say what happens
    GAVE_UP = "gave_up"
    OPEN = "open"  #: noticed, and nothing was well again when the run ended
    UNDETECTED = "undetected"  #: it acted, should have been noticed, and was not
    NOT_DETECTABLE = "not_detectable"  #: nothing has to be seen: it is no failure of the target by itself
    NO_EFFECT = "no_effect"  #: armed, and its occasion never came
    MASKED = "masked"  #: the target was down already, or was stopped before anybody could look
    BRIEF = "brief"  #: over before its supervisor would have looked
    UNKNOWN_KIND = "unknown_kind"  #: the catalogue does not say how it is detected


#: fates that are counted apart: no detection is asked of them
APART = frozenset({Fate.NOT_DETECTABLE, Fate.NO_EFFECT, Fate.MASKED, Fate.BRIEF, Fate.UNKNOWN_KIND})


class Effect(msgspec.Struct, frozen=True):
    """One fault at one target, and the events that answer it.

    Attributes:
        fault, target: which.
        began: when it acted: what the times are measured against.
        fate: see ``Fate``.
        signal, verdict, decision, healthy: the first event of each kind that belongs to it.
        rung: how it came back, where a recovery policy decided.
        why: a word about the fate.
    """

    fault: Fault
    target: str
    began: float
    fate: Fate
    signal: TrailEvent | None = None
    verdict: TrailEvent | None = None
    decision: TrailEvent | None = None
    healthy: TrailEvent | None = None
    rung: str = ""
    why: str = ""


_ENDS = frozenset({EventKind.CHILD_EXITED, EventKind.CHILD_START_FAILED})
_UP = frozenset({EventKind.CHILD_READY, EventKind.RECOVERED})
_STOPS = frozenset({EventKind.CHILD_STOPPING, EventKind.CHILD_STOPPED})
_DECIDES = frozenset({EventKind.RESTART_DECIDED, EventKind.RECOVERY_DECIDED, EventKind.GAVE_UP, EventKind.CHILD_HELD})
_UNWELL = frozenset({"suspect", "unavailable", "hung", "dead"})
_DOWN = frozenset({EventKind.FIRST_SIGNAL, *_ENDS, *_STOPS, EventKind.RESTART_DECIDED})


class Index:
    """The trail by path, for questions about times. Reads, never changes."""

    def __init__(self, history: History) -> None:
        self._paths: dict[str, list[TrailEvent]] = {}
        self._times: dict[str, list[float]] = {}
        for event in history.trail:
            self._paths.setdefault(event.path, []).append(event)
        for path, events in self._paths.items():
            events.sort(key=lambda event: event.t)
            self._times[path] = [event.t for event in events]
        self._faults: dict[str, list[Fault]] = {}
        for fault in history.faults:
            for target in fault.targets:
                self._faults.setdefault(target, []).append(fault)
        self.children = {child.path: child for part in history.tree for child in part.children}
        self.parents = {part.path: part for part in history.tree}

    def after(self, path: str, since: float) -> Iterator[TrailEvent]:
        """Events of ``path`` from ``since`` on."""
        events = self._paths.get(path, [])
        for at in range(bisect_left(self._times.get(path, []), since), len(events)):
            yield events[at]

    def before(self, path: str, until: float) -> Iterator[TrailEvent]:
        """Events of ``path`` before ``until``, the newest first."""
        events = self._paths.get(path, [])
        for at in range(bisect_left(self._times.get(path, []), until) - 1, -1, -1):
            yield events[at]

    def next_fault(self, target: str, fault: Fault) -> float:
        """When the next fault hit ``target``; infinite when none did."""
        return min((other.at for other in self._faults.get(target, []) if other.at > fault.at), default=math.inf)

    def is_of_later(self, target: str, fault: Fault, event: TrailEvent) -> bool:
        """The signal is not one that ``fault`` is noticed by, but one of a fault that hit ``target`` after it."""
        word = event.data.get("signal")
        return word not in (fault.detected or ()) and any(
            word in (other.detected or ()) for other in self._faults.get(target, []) if fault.at < other.at <= event.t
        )

    def facts(self, path: str) -> ChildFacts:
        """What the topology says of ``path``; the defaults where it is not known."""
        return self.children.get(path) or ChildFacts(path)

    def ready_after(self, path: str, since: float) -> TrailEvent | None:
        """When ``path`` is next seen to be well."""
        return next((event for event in self.after(path, since) if event.kind in _UP), None)


def is_alarm(event: TrailEvent) -> bool:
    """A failure that somebody noticed: what has to have a cause (INV-6)."""
    if event.kind == EventKind.CHILD_EXITED:
        return event.reason is not None and event.reason.is_abnormal
    if event.kind == EventKind.VERDICT:
        return bool(event.reason is not None and event.data.get("verdict") in ("hung", "dead"))
    return event.kind in (EventKind.FIRST_SIGNAL, EventKind.CHILD_START_FAILED)


def is_signal(event: TrailEvent) -> bool:
    """Something that tells of a failure of its path, suspicion included."""
    return is_alarm(event) or (event.kind == EventKind.VERDICT and event.data.get("verdict") in _UNWELL)


def effects(history: History, limits: Limits | None = None) -> tuple[Effect, ...]:
    """Each fault at each of its targets."""
    index, bounds = Index(history), limits or Limits()
    return tuple(_effect(index, fault, target, bounds) for fault in history.faults for target in fault.targets)


def _effect(index: Index, fault: Fault, target: str, limits: Limits) -> Effect:
    base = Effect(fault, target, fault.began, Fate.NOT_DETECTABLE)
    if fault.detected is None:
        return _as(base, Fate.UNKNOWN_KIND, "no kind of this name in the catalogue")
    if not fault.acted:
        return _as(base, Fate.NO_EFFECT, fault.why)
    if not fault.detected:
        return _as(base, Fate.NOT_DETECTABLE, "it is no failure of the target by itself")
    if fault.role == "standby":
        return _standby(index, base, limits)
    signal = _signal(index, fault, target, limits)
    if signal is None:
        return _unnoticed(index, base, limits)
    # a host that was killed by its fault may have told of it only through its supervisor, later
    began = fault.began if fault.began <= signal.t else fault.at
    return _answered(index, msgspec.structs.replace(base, signal=signal, began=min(began, signal.t)))


def _signal(index: Index, fault: Fault, target: str, limits: Limits) -> TrailEvent | None:
    life = fault.incarnation if target == fault.targets[0] else 0
    due = math.inf if fault.over is None else fault.over + patience(index.facts(target), fault)
    latest = due + limits.aftermath
    # where the next fault came in between, what is later than due may be that one's
    following = index.next_fault(target, fault)
    for event in index.after(target, fault.at - limits.slack):
        if event.t > latest or (event.t > due + limits.overlap and event.t >= following):
            return None
        if not is_signal(event):
            continue
        if not life or event.incarnation in (0, life) or (fault.where == "standing" and event.incarnation > life):
            return None if index.is_of_later(target, fault, event) else event
    return None


def patience(facts: ChildFacts, fault: Fault) -> float:
    """Seconds after which a lasting fault must have been noticed at the latest, by the child's settings.

    A process that gets no processor time is given three times ``hang_after`` (docs/guarantees.md, G-22).
    """
    words = fault.detected or ()
    if "stalled_loop" in words and facts.hang_after is not None:
        return 3 * facts.hang_after + 1.0
    return 3 * facts.silence + 0.5 if "missed_beats" in words else 0.0


def _unnoticed(index: Index, base: Effect, limits: Limits) -> Effect:
    fault, target = base.fault, base.target
    if fault.armed and fault.fired is None:
        return _as(base, Fate.NO_EFFECT, "armed, and its occasion never came")
    for event in index.before(target, fault.began):
        if event.kind in _UP:
            break
        if event.kind in _DOWN:
            return _as(
                base, Fate.MASKED, f"the target was down already: {event.kind} {fault.began - event.t:.3f} s before"
            )
    wait = patience(index.facts(target), fault)
    following = index.next_fault(target, fault)
    if fault.over is not None and following <= fault.over + wait + limits.aftermath:
        signal = next((event for event in index.after(target, following) if is_signal(event)), None)
        if signal is not None and signal.t <= fault.over + wait + limits.aftermath:
            return _as(base, Fate.MASKED, "the next fault came before anything was seen: the signal may be of either")
    for event in index.after(target, fault.began):
        if event.kind in _STOPS and (event.t - fault.began <= max(wait, limits.slack * 100)):
            return _as(base, Fate.MASKED, f"the target was stopped {event.t - fault.began:.3f} s later")
    if "stalled_loop" in (fault.detected or ()) and index.facts(target).hang_after is None:
        return _as(base, Fate.NOT_DETECTABLE, "hang_after is off for this child")
    if fault.over is not None and fault.lasting and fault.over - fault.began < wait:
        return _as(
            base, Fate.BRIEF, f"it lasted {fault.over - fault.began:.2f} s; it is sure to be seen after {wait:.1f} s"
        )
    return _as(base, Fate.UNDETECTED, "it acted, and nothing on the trail tells of it")


def _answered(index: Index, base: Effect) -> Effect:
    signal = base.signal
    assert signal is not None
    verdict = decision = healthy = None
    rung, held, gave_up = "", False, False
    for event in index.after(base.target, signal.t):
        if event.kind == EventKind.VERDICT:
            verdict = verdict or (event if event.data.get("verdict") in _UNWELL else None)
            if decision is None and event.data.get("verdict") == "healthy":
                healthy = event
                break
        elif event.kind in _DECIDES:
            decision = decision or event
            held = held or event.kind == EventKind.CHILD_HELD
            gave_up = gave_up or event.kind == EventKind.GAVE_UP
        elif event.kind == EventKind.RECOVERY_HELD:
            held = True
        if event.kind == EventKind.RECOVERY_DECIDED and not rung:
            rung = str(event.data.get("rung") or "")
        if event.kind in _UP and _is_later_life(event, signal):
            healthy = event
            rung = str(event.data.get("rung") or rung)
            break
    fate = Fate.RECOVERED if healthy else Fate.HELD if held else Fate.GAVE_UP if gave_up else Fate.OPEN
    return msgspec.structs.replace(
        base,
        fate=fate,
        verdict=verdict,
        decision=decision,
        healthy=healthy,
        rung=rung,
        why=_unexpected(base.fault, signal),
    )


def _is_later_life(event: TrailEvent, signal: TrailEvent) -> bool:
    return (
        not signal.incarnation
        or not event.incarnation
        or event.incarnation > signal.incarnation
        or (
            # a failed start is tried again under the same number by a ladder of rungs
            event.incarnation == signal.incarnation and signal.kind == EventKind.CHILD_START_FAILED
        )
    )


def _unexpected(fault: Fault, signal: TrailEvent) -> str:
    word = signal.data.get("signal")
    if isinstance(word, str) and word and fault.detected and word not in fault.detected:
        return f"first signal {word}, where {' or '.join(fault.detected)} was to be expected"
    return ""


def _standby(index: Index, base: Effect, limits: Limits) -> Effect:
    """A standby has no failure record of its own: its supervisor tells how each one stands."""
    fault, target = base.fault, base.target
    wait = patience(index.facts(target), fault)
    due = math.inf if fault.over is None else fault.over + wait
    latest, following = due + limits.aftermath, index.next_fault(target, fault)
    lost = healthy = decision = None
    for event in index.after(target, fault.at):
        if event.kind != EventKind.STANDBY:
            continue
        state = event.data.get("state")
        if lost is None and state in ("lost", "failed", "lagging"):
            if event.t > latest or (event.t > due + limits.overlap and event.t >= following):
                break
            lost = event
        elif lost is not None and state == "starting":
            decision = decision or event
        elif lost is not None and state == "synced":
            healthy = event
            break
    if lost is not None:
        fate = Fate.RECOVERED if healthy else Fate.OPEN
        return msgspec.structs.replace(base, fate=fate, signal=lost, decision=decision, healthy=healthy)
    for event in index.after(target, fault.at):
        if event.t > due + limits.overlap:
            break
        if event.kind in (EventKind.PROMOTED, *_STOPS):
            return _as(base, Fate.MASKED, "the standby was promoted or stopped meanwhile")
    if fault.lasting and fault.over is not None and fault.over - base.began < wait:
        return _as(base, Fate.BRIEF, f"it lasted {fault.over - base.began:.2f} s")
    return _as(base, Fate.UNDETECTED, "no standby of the path was seen to be lost or lagging")


def _as(base: Effect, fate: Fate, why: str) -> Effect:
    return msgspec.structs.replace(base, fate=fate, why=why)
