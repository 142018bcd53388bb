"""Totals over the whole trail, folded event by event, and their saved form. The fold is pure; only load/save do I/O."""

import os
from bisect import bisect_left
from contextlib import suppress
from pathlib import Path

import msgspec

from supervisors.trail.events import EventKind, Scalar, SequencedEvent, TrailEvent
from supervisors.trail.failures import is_refusal
from supervisors.trail.taxonomy import classify

#: Seconds; futex detection lies below 1 ms, missed beats at 0.3 s (DET-1, DET-2).
DETECTION_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: Seconds; from a promoted standby to a cold start on another node.
RECOVERY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Paths counted one by one; later ones share ``OTHER`` so that dynamic children cannot make series without end.
MAX_PATHS = 5_000
OTHER = "(other)"
FILE = "counters.json"
_VERSION = 1
_RECENT = 256


class Histogram(msgspec.Struct):
    """Counts per bucket (the last one without bound) and the sum of what was seen, in seconds."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> "Histogram":
        """One that saw nothing."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, seconds: float) -> None:
        """Count one duration; a negative one (clocks of two boots) counts as 0."""
        seconds = max(seconds, 0.0)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Counters(msgspec.Struct):
    """All totals, and the number of the first event that is not in them yet.

    Attributes:
        next_seq: events below this number are counted.
        events: by kind.
        restarts: decided, by path and exit kind.
        failures: by class and severity (GRD-5).
        incarnations: newest life seen of each path.
        detection: failure until first signal.
        recovery: failure until a new life was ready.
        gaps: events that writers told they had lost.
        detected: failures whose detection was counted, the newest ones.
    """

    next_seq: int = 0
    events: dict[str, int] = {}
    restarts: dict[str, dict[str, int]] = {}
    failures: dict[str, dict[str, int]] = {}
    incarnations: dict[str, int] = {}
    detection: Histogram = msgspec.field(default_factory=lambda: Histogram.empty(DETECTION_BUCKETS))
    recovery: Histogram = msgspec.field(default_factory=lambda: Histogram.empty(RECOVERY_BUCKETS))
    gaps: int = 0
    detected: list[str] = []
    version: int = _VERSION

    def add(self, one: SequencedEvent) -> None:
        """Count one event; one that is counted already is left out."""
        if one.seq < self.next_seq:
            return
        self.next_seq = one.seq + 1
        event = one.event
        kind = event.kind if len(self.events) < MAX_PATHS or event.kind in self.events else OTHER
        self.events[kind] = self.events.get(kind, 0) + 1
        if event.incarnation:
            path = _bounded(event.path, self.incarnations)
            self.incarnations[path] = max(self.incarnations.get(path, 0), event.incarnation)
        match event.kind:
            case EventKind.FIRST_SIGNAL:
                self._detected(event, event.data.get("lag_ms"))
            case EventKind.CHILD_EXITED | EventKind.CHILD_START_FAILED:
                self._failed(event)
            case EventKind.RESTART_DECIDED if not is_refusal(event):
                reasons = self.restarts.setdefault(_bounded(event.path, self.restarts), {})
                reason = str(event.reason.kind) if event.reason is not None else "unknown"
                reasons[reason] = reasons.get(reason, 0) + 1
            case EventKind.RECOVERED:
                self._detected(event, event.data.get("detect_ms"))
                total = event.data.get("total_ms")
                if isinstance(total, int | float):
                    self.recovery.observe(total / 1e3)
            case EventKind.TRAIL_GAP:
                dropped = event.data.get("dropped")
                self.gaps += dropped if isinstance(dropped, int) else 0
            case _:
                pass

    def _failed(self, event: TrailEvent) -> None:
        found = classify(event)
        if found is not None:
            severities = self.failures.setdefault(found[0].value, {})
            severities[found[1].value] = severities.get(found[1].value, 0) + 1

    def _detected(self, event: TrailEvent, lag_ms: Scalar) -> None:
        """Count a detection once per failure, though its first signal and its recovery may both tell of it."""
        if not isinstance(lag_ms, int | float) or (event.failure and event.failure in self.detected):
            return
        self.detection.observe(lag_ms / 1e3)
        if event.failure:
            self.detected.append(event.failure)
            del self.detected[:-_RECENT]


def _bounded(path: str, known: dict[str, int] | dict[str, dict[str, int]]) -> str:
    return path if path in known or len(known) < MAX_PATHS else OTHER


def load(folder: Path) -> Counters:
    """The totals saved in ``folder``; empty ones when there are none that this version can read."""
    with suppress(OSError, ValueError):
        found = msgspec.json.decode((folder / FILE).read_bytes(), type=Counters)
        if (
            found.version == _VERSION
            and found.detection.bounds == DETECTION_BUCKETS
            and found.recovery.bounds == RECOVERY_BUCKETS
        ):
            return found
    return Counters()


def save(folder: Path, counters: Counters) -> None:
    """Replace the saved totals, whole or not at all.

    Raises:
        OSError: the disk refused; the old ones are still there.
    """
    fresh = folder / f".{FILE}-{os.getpid()}"
    fresh.write_bytes(msgspec.json.encode(counters))
    fresh.replace(folder / FILE)
