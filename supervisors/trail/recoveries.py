"""The recoveries on the trail: which rung, by which rule and evidence, in which steps and times. Pure."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from supervisors.core.paths import failure_id
from supervisors.trail.events import EventKind, Scalar, TrailEvent


class Tried(msgspec.Struct):
    """One rung that was tried: ``why`` it failed, empty when it did not."""

    rung: str
    why: str = ""


class Recovery(msgspec.Struct):
    """One recovery, from the failure to its end. Times in milliseconds; None when not known.

    Attributes:
        id: the failure it answers: the life that failed.
        path, incarnation: which life failed.
        utc: wall clock of its first event, nanoseconds.
        reason: why the life ended.
        because: the decision in one line.
        trace: every rule that was looked at, with the evidence it saw.
        tried: rungs, in order.
        epoch: of the life that came of it.
        sequence: of the last event it had when it began to act; behind: events it still had to apply.
        detect_ms, decide_ms, start_ms, total_ms: as in ``recovered``.
        promote_ms: order to promoted, of a hot one.
        restore_ms: of a warm or cold one; ``events`` it replayed after ``checkpoint``.
        hold: the id of its hold; ``answers``: what people said.
        checks: validation steps: name, ok, why.
        size: what it may trade now, times the normal size.
        state: where it stands, see ``supervisors.recovery.progress.State``.
        preserved: folders with the failed state.
        steps: lines for people, with milliseconds since the first event.
    """

    id: str
    path: str
    incarnation: int
    utc: int
    t: float
    reason: str = ""
    signal: str = ""
    because: str = ""
    trace: list[dict[str, object]] = []
    tried: list[Tried] = []
    epoch: int = 0
    sequence: int | None = None
    behind: int | None = None
    detect_ms: float | None = None
    decide_ms: float | None = None
    start_ms: float | None = None
    total_ms: float | None = None
    promote_ms: float | None = None
    restore_ms: float | None = None
    events: int | None = None
    checkpoint: int | None = None
    hold: str = ""
    answers: list[str] = []
    checks: list[str] = []
    size: float = 1.0
    state: str = "failure_detected"
    percent: float = 0.0
    preserved: list[str] = []
    steps: list[str] = []

    @property
    def rung(self) -> str:
        """The rung in hand, or the one that brought it back."""
        return self.tried[-1].rung if self.tried else ""


#: steps kept of one recovery
_MAX_STEPS = 100


class RecoveryFold:
    """Folds a trail into its recoveries.

    Args:
        keep: recoveries kept; the oldest go.
    """

    def __init__(self, keep: int = 1000) -> None:
        self._keep = keep
        self._found: OrderedDict[str, Recovery] = OrderedDict()
        self._open: dict[str, Recovery] = {}

    @property
    def recoveries(self) -> list[Recovery]:
        """In the order in which they began; failures that no recovery answered are left out."""
        return [one for one in self._found.values() if one.because or one.tried]

    def add_all(self, events: Iterable[TrailEvent]) -> None:
        """Take events in their order."""
        for event in events:
            self.add(event)

    def add(self, event: TrailEvent) -> None:
        """Take one event."""
        if event.kind in (EventKind.FIRST_SIGNAL, EventKind.RECOVERY_DECIDED):
            self._begin(event)
        one = self._find(event)
        if one is not None:
            _apply(one, event)

    def _begin(self, event: TrailEvent) -> None:
        name = event.failure or failure_id(event.path, event.incarnation)
        if name in self._found:
            self._open[event.path] = self._found[name]
            return
        incarnation = int(name.rpartition("#")[2] or 0)
        one = self._found[name] = Recovery(name, event.path, incarnation, event.utc, event.t)
        self._open[event.path] = one
        while len(self._found) > self._keep:
            _, gone = self._found.popitem(last=False)
            if self._open.get(gone.path) is gone:
                del self._open[gone.path]

    def _find(self, event: TrailEvent) -> Recovery | None:
        return self._found.get(event.failure) if event.failure else self._open.get(event.path)


def _apply(one: Recovery, event: TrailEvent) -> None:
    data = event.data
    if event.epoch:
        one.epoch = max(one.epoch, event.epoch)
    match event.kind:
        case EventKind.FIRST_SIGNAL:
            one.signal = str(data.get("signal", ""))
        case EventKind.CHILD_EXITED | EventKind.VERDICT if event.reason is not None and not one.reason:
            one.reason = str(event.reason)
        case EventKind.RECOVERY_DECIDED:
            one.because = str(data.get("because", ""))
            one.trace = _trace(data.get("trace"))
            one.tried.append(Tried(str(data.get("rung", ""))))
        case EventKind.RECOVERY_RUNG_FAILED:
            if one.tried:
                one.tried[-1].why = str(data.get("why", ""))
            one.tried.append(Tried(str(data.get("next", ""))))
        case EventKind.RECOVERY_HELD:
            one.hold = str(data.get("id", ""))
        case EventKind.RECOVERY_ANSWERED:
            who = f" by {data['who']}" if data.get("who") else ""
            why = f": {data['why']}" if data.get("why") else ""
            one.answers.append(f"{data.get('answer', '')}{who}{why}")
            if data.get("rung"):
                one.tried.append(Tried(str(data["rung"])))
        case EventKind.PROMOTED:
            one.promote_ms = _number(data.get("promote_ms"))
            one.sequence, one.behind = _whole(data.get("sequence")), _whole(data.get("behind"))
        case EventKind.JOURNAL if data.get("what") == "restored":
            one.restore_ms = _number(data.get("ms"))
            one.events, one.checkpoint = _whole(data.get("events")), _whole(data.get("checkpoint"))
            one.sequence = _whole(data.get("sequence"))
        case EventKind.RECOVERED:
            one.detect_ms, one.decide_ms = _number(data.get("detect_ms")), _number(data.get("decide_ms"))
            one.start_ms, one.total_ms = _number(data.get("start_ms")), _number(data.get("total_ms"))
        case EventKind.VALIDATED:
            ok = "ok" if data.get("ok") else f"failed: {data.get('why', '')}"
            one.checks.append(f"{data.get('step', '')} ({data.get('phase', '')}): {ok}")
        case EventKind.RAMPED:
            one.size = _number(data.get("size")) or 0.0
        case EventKind.RECOVERY_STATE:
            one.state = str(data.get("state", one.state))
            one.percent = _number(data.get("percent")) or one.percent
        case EventKind.STATE_PRESERVED:
            one.preserved.append(str(data.get("folder", "")))
        case _:
            return
    if len(one.steps) < _MAX_STEPS:
        one.steps.append(f"{(event.t - one.t) * 1e3:10.1f} ms  {event.kind:<22} {_words(event)}".rstrip())


def _words(event: TrailEvent) -> str:
    parts = [] if event.reason is None else [str(event.reason)]
    parts += [f"{key}={value}" for key, value in event.data.items() if key != "trace" and value not in ("", None)]
    return " ".join(parts)


def _trace(text: Scalar) -> list[dict[str, object]]:
    if not isinstance(text, str):
        return []
    try:
        return msgspec.json.decode(text, type=list[dict[str, object]])
    except msgspec.MsgspecError:
        return []  # a trace that was too long for an event was cut


def _number(value: Scalar) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: Scalar) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
