"""The trail of each failure: the events that belong to one, folded into one record (DESIGN.md §8). Pure."""

from collections import OrderedDict
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from supervisors.core.paths import failure_id
from supervisors.core.reasons import ExitReason
from supervisors.trail.events import EventKind, Scalar, TrailEvent

#: Steps kept of one failure; a crash loop's later ones are counted only.
MAX_STEPS = 48


class Outcome(StrEnum):
    """How a failure ended."""

    OPEN = "open"  #: being dealt with
    HEALED = "healed"  #: a later life is ready
    HELD = "held"  #: not restarted: its restart type says no, or it waits for a person
    GAVE_UP = "gave_up"  #: its supervisor gave up


class Step(msgspec.Struct, frozen=True):
    """One event of a failure: milliseconds after the first one, its kind and place, and a line for people."""

    at_ms: float
    kind: str
    path: str
    text: str = ""


class FailureTrail(msgspec.Struct):
    """One failure from its first sign to its end. Times in milliseconds, None when not known (yet).

    Attributes:
        id: see ``failure_id``.
        path: what failed.
        incarnation: the life that failed.
        t: monotonic seconds of its first event.
        utc: wall clock of its first event, nanoseconds.
        injected: what broke it on purpose, empty otherwise.
        first_signal: what told of it first, see ``Signal``.
        verdict: what the watch made of it.
        reason: why the life ended.
        decision: what the supervisor decided, in words.
        steps: all its events in order, at most ``MAX_STEPS``.
        more_steps: steps left out.
        detect_ms: failure until first signal.
        decide_ms: first signal until decision.
        recover_ms: failure until a new life was ready.
        outcome: how it stands.
    """

    id: str
    path: str
    incarnation: int
    t: float
    utc: int = 0
    injected: str = ""
    first_signal: str = ""
    verdict: str = ""
    reason: ExitReason | None = None
    decision: str = ""
    steps: list[Step] = []
    more_steps: int = 0
    detect_ms: float | None = None
    decide_ms: float | None = None
    recover_ms: float | None = None
    outcome: Outcome = Outcome.OPEN


#: Kinds that begin a failure of ``path#incarnation`` even when the writer gave no failure id.
_OPENS = frozenset(
    {
        EventKind.FAULT_INJECTED,
        EventKind.FIRST_SIGNAL,
        EventKind.CHILD_EXITED,
        EventKind.CHILD_START_FAILED,
    }
)
#: Kinds that join a failure that is open, never begin one.
_JOINS = frozenset(
    {
        EventKind.VERDICT,
        EventKind.CHILD_EXITED,
        EventKind.CHILD_KILLED,
        EventKind.RESTART_DECIDED,
        EventKind.RESTART_SCHEDULED,
        EventKind.GAVE_UP,
    }
)
_HEALS = frozenset({EventKind.RECOVERED, EventKind.CHILD_READY})
#: Kinds that tell of faults on purpose. Not every fault makes a failure, so with an id they begin none.
_FAULTS = frozenset({EventKind.FAULT_INJECTED, EventKind.FAULT_FIRED, EventKind.FAULT_REVERTED})
#: faults that are remembered for the failure they may become
_MAX_FAULTS = 1000


class FailureFold:
    """Folds events, in order, into the last ``keep`` failures. Not thread-safe."""

    def __init__(self, keep: int = 100) -> None:
        self._keep = keep
        self._failures: OrderedDict[str, FailureTrail] = OrderedDict()
        #: by life: faults that were injected there and are not over, oldest first
        self._faults: OrderedDict[str, list[TrailEvent]] = OrderedDict()

    @property
    def failures(self) -> list[FailureTrail]:
        """The failures, oldest first."""
        return list(self._failures.values())

    def add_all(self, events: Iterable[TrailEvent]) -> None:
        """Fold several events."""
        for event in events:
            self.add(event)

    def add(self, event: TrailEvent) -> FailureTrail | None:
        """Fold one event; the failure it belongs to, if any."""
        if event.kind in _FAULTS and "id" in event.data:
            return self._fault(event)
        found = self._find(event)
        if event.kind in _HEALS:
            for other in self._failures.values():
                if other is not found and _is_earlier_life(other, event):
                    _heal(other, event)
        if found is not None:
            _apply(found, event)
        return found

    def _fault(self, event: TrailEvent) -> FailureTrail | None:
        """A fault counts for the failure it leads to; what is injected into one that is under way is a step of it."""
        key = event.failure or failure_id(event.path, event.incarnation)
        if event.kind == EventKind.FAULT_INJECTED:
            self._faults.setdefault(key, []).append(event)
            while len(self._faults) > _MAX_FAULTS:
                self._faults.popitem(last=False)
        elif event.kind == EventKind.FAULT_REVERTED and key in self._faults:
            self._faults[key] = [one for one in self._faults[key] if one.data.get("id") != event.data.get("id")]
            if not self._faults[key]:
                del self._faults[key]
        found = self._failures.get(key)
        if found is not None:
            _apply(found, event)
        return found

    def _find(self, event: TrailEvent) -> FailureTrail | None:
        key = event.failure
        if not key:
            key = failure_id(event.path, event.incarnation)
            if event.kind not in _OPENS or _is_intended(event):
                return self._failures.get(key) if event.kind in _JOINS else None
        found = self._failures.get(key)
        if found is None:
            path, _, life = key.rpartition("#")
            if not path or not life.isdecimal():
                path, life = event.path, str(event.incarnation)
            earlier = self._faults.pop(key, [])
            # the newest is the likeliest cause: the one that opens the failure is newer still
            faults = [] if event.kind == EventKind.FAULT_INJECTED else earlier[-1:]
            begin = faults[0] if faults else event
            found = FailureTrail(key, path, int(life), begin.t, begin.utc)
            self._failures[key] = found
            for fault in faults:
                _apply(found, fault)
            while len(self._failures) > self._keep:
                self._failures.popitem(last=False)
        return found


def _is_intended(event: TrailEvent) -> bool:
    return event.kind == EventKind.CHILD_EXITED and (event.reason is None or not event.reason.is_abnormal)


def _is_earlier_life(failure: FailureTrail, event: TrailEvent) -> bool:
    return (
        failure.path == event.path and failure.incarnation < event.incarnation and failure.outcome is not Outcome.HEALED
    )


def _apply(failure: FailureTrail, event: TrailEvent) -> None:
    since_ms = round((event.t - failure.t) * 1e3, 3)
    own = event.path == failure.path
    if len(failure.steps) < MAX_STEPS:
        failure.steps.append(Step(since_ms, event.kind, event.path, describe(event)))
    else:
        failure.more_steps += 1
    match event.kind:
        case EventKind.FAULT_INJECTED:
            failure.injected = describe(event)
        case EventKind.FIRST_SIGNAL if not failure.first_signal:
            failure.first_signal = str(event.data.get("signal", ""))
            lag = _number(event.data.get("lag_ms"))
            failure.detect_ms = since_ms if failure.injected else lag
        case EventKind.VERDICT if own:
            failure.verdict = str(event.data.get("verdict", ""))
        case EventKind.CHILD_EXITED | EventKind.CHILD_START_FAILED if own and event.reason is not None:
            failure.reason = event.reason
            if not event.reason.is_abnormal:
                failure.outcome = Outcome.HELD  # until a restart is decided: only a permanent child gets one
        case EventKind.RESTART_DECIDED:
            failure.decision = describe(event)
            failure.reason = failure.reason or event.reason
            if failure.decide_ms is None:
                failure.decide_ms = round(since_ms - _signal_ms(failure), 3)
            if is_refusal(event):
                failure.outcome = Outcome.HELD
            elif failure.outcome is Outcome.HELD:
                failure.outcome = Outcome.OPEN
        case EventKind.GAVE_UP:
            failure.outcome = Outcome.GAVE_UP
            failure.decision = failure.decision or describe(event)
        case EventKind.RECOVERED | EventKind.CHILD_READY if own:
            _heal(failure, event)
        case _:
            pass


def _heal(failure: FailureTrail, event: TrailEvent) -> None:
    failure.outcome = Outcome.HEALED
    if failure.recover_ms is None or event.kind == EventKind.RECOVERED:
        failure.recover_ms = round((event.t - failure.t) * 1e3, 3)
    if event.kind == EventKind.RECOVERED and event.failure in ("", failure.id):
        # the supervisor measured these itself; only a known time of injection is nearer to the truth
        failure.decide_ms = _number(event.data.get("decide_ms"), failure.decide_ms)
        if failure.injected:
            return
        failure.detect_ms = _number(event.data.get("detect_ms"), failure.detect_ms)
        failure.recover_ms = _number(event.data.get("total_ms"), failure.recover_ms)


def _signal_ms(failure: FailureTrail) -> float:
    return next((step.at_ms for step in failure.steps if step.kind == EventKind.FIRST_SIGNAL), 0.0)


def _number(value: Scalar, default: float | None = None) -> float | None:
    return float(value) if isinstance(value, int | float) else default


def is_refusal(event: TrailEvent) -> bool:
    """True when a ``restart_decided`` event says that nothing is to be restarted: its data has ``targets`` 0 or ''."""
    return "targets" in event.data and event.data["targets"] in (0, "", None)


def describe(event: TrailEvent) -> str:
    """What an event says beside its kind and path: reason, then its data as ``key=value``."""
    words = [str(event.reason)] if event.reason is not None else []
    words += [f"{key}={_plain(value)}" for key, value in event.data.items()]
    return " ".join(words)


def _plain(value: Scalar) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def render(failure: FailureTrail, *, width: int = 110) -> str:
    """The failure as a few lines of plain text: a heading, then one line per step."""
    end = failure.outcome.replace("_", " ")
    took = f" in {failure.recover_ms:.1f} ms" if failure.recover_ms is not None else ""
    times = [
        f"{name} {value:.1f} ms"
        for name, value in (("detected", failure.detect_ms), ("decided", failure.decide_ms))
        if value is not None
    ]
    heading = f"{failure.id}  {end}{took}" + (f"  ({', '.join(times)})" if times else "")
    if failure.reason is not None:
        heading += f"  {failure.reason}"
    lines = [heading]
    for step in failure.steps:
        place = f" {step.path}" if step.path != failure.path else ""
        lines.append(f"  +{step.at_ms:9.1f} ms  {step.kind.replace('_', ' ')}{place}  {step.text}".rstrip())
    if failure.more_steps:
        lines.append(f"  and {failure.more_steps} more steps")
    return "\n".join(_fit(line, width) for text in lines for line in text.splitlines()[:1])


def _fit(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def to_json(failure: FailureTrail) -> bytes:
    """The whole record as JSON."""
    return msgspec.json.encode(failure)
