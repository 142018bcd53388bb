"""Prometheus metrics from the trail (totals) and the status snapshot (gauges). Names: docs of OBS-1, prefix rayvisor.

Totals are read from the trail, not counted by whoever acts: the restart of a child, of a supervisor or of the
exporter itself never sets them back.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from supervisors.trail.counters import Counters, Histogram, load, save
from supervisors.trail.events import TrailError
from supervisors.trail.reader import Follower
from supervisors.trail.status import ChildStatus, SystemStatus, report

#: Names of gauges actors may set in all; more are left out, so that an actor cannot make series without end.
MAX_ACTOR_METRICS = 500
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="([^"]*)"')
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class TrailMetrics(Collector):
    """The collector; register it in ``registry`` of its own (done on construction).

    Thread-safe. Totals are saved whenever the trail begins a new segment and on ``close``, so that they outlive the
    segments they were read from.

    Args:
        folder: ``data_dir/trail``.
        status: gives the present snapshot, or None when nobody can.

    Raises:
        TrailError: the trail was written by a newer version.
    """

    def __init__(self, folder: Path, status: Callable[[], SystemStatus | None]) -> None:
        self._folder = folder
        self._status = status
        self._lock = threading.Lock()
        self._counters = load(folder)
        self._follower = self._follow()
        self._segment = self._follower.segment
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    @property
    def counters(self) -> Counters:
        """The totals; for reading, after ``poll``."""
        return self._counters

    def poll(self) -> None:
        """Read what is new in the trail. Scrapes do it too; call it at start and now and then to keep them short."""
        more = True
        while more:
            with self._lock:  # anew for each batch: a long replay does not keep a scrape waiting for all of it
                events = self._follower.poll()
                more = bool(events)
                for one in events:
                    self._counters.add(one)
                if self._follower.segment != self._segment:
                    self._segment = self._follower.segment
                    self._save()

    def close(self) -> None:
        """Save the totals and let go of the trail."""
        with suppress(TrailError, OSError):  # told when it was met; what was counted before is saved all the same
            self.poll()
        with self._lock:
            self._save()
            self._follower.close()

    def describe(self) -> Iterable[Metric]:
        """Nothing: names depend on the actors."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families (called by the registry on each scrape)."""
        self.poll()
        status = self._status()
        with self._lock:
            families = list(self._from_trail())
        yield from families
        yield from _from_status(status)

    def _follow(self) -> Follower:
        if self._counters.next_seq:
            with Follower(self._folder, from_start=False) as newest:
                replaced = newest.next_seq < self._counters.next_seq
            if replaced:  # the trail was moved away: keep the totals, count the new one from its start
                self._counters.next_seq = 0
        return Follower(self._folder, since=self._counters.next_seq)

    def _save(self) -> None:
        with suppress(OSError):  # a full disk: they are saved at the next segment
            save(self._folder, self._counters)

    def _from_trail(self) -> Iterator[Metric]:
        counters = self._counters
        yield _counter("restarts", "Restarts decided", ["path", "reason"], _pairs(counters.restarts))
        yield _counter("failures", "Failures by class", ["type", "severity"], _pairs(counters.failures))
        kinds = (((kind,), float(count)) for kind, count in counters.events.items())
        yield _counter("trail_events", "Events in the trail", ["kind"], kinds)
        yield _counter("trail_lost_events", "Events writers could not keep", [], [((), counters.gaps)])
        unread = self._follower.malformed
        yield _counter("trail_malformed_lines", "Lines that were no event", [], [((), unread)])
        yield _counter("trail_missed_events", "Events gone before read", [], [((), self._follower.missed)])
        yield _histogram("detection_seconds", "Failure until its first signal", counters.detection)
        yield _histogram("recovery_duration_seconds", "Failure until a new life was ready", counters.recovery)
        lives = (((path,), float(number)) for path, number in counters.incarnations.items())
        yield _gauge("incarnation", "Newest life of a path", ["path"], lives)


def _from_status(status: SystemStatus | None) -> Iterator[Metric]:
    health = report(status)
    yield _gauge("up", "1 when the root supervisor gave a status", [], [((), float(status is not None))])
    yield _gauge("healthy", "1 when /health answers 200", [], [((), float(health.healthy))])
    if status is None:
        return
    supervisors = status.supervisors
    children = [child for supervisor in supervisors for child in supervisor.children]
    states = Counter(child.state for child in children)
    yield _gauge("children", "Children by state", ["state"], (((state,), n) for state, n in states.items()))
    ages = (((child.path,), child.beat_age) for child in children if child.beat_age is not None)
    yield _gauge("beat_age_seconds", "Since the last heartbeat", ["path"], ages)
    yield from _recovery_gauges([child for one in supervisors for child in one.children])
    yield _gauge("spares", "Idle hosts", [], [((), sum(one.spares for one in supervisors))])
    windows = (((one.path,), one.restarts_in_window) for one in supervisors)
    yield _gauge("restarts_in_window", "Restarts counted against the intensity", ["path"], windows)
    intensities = (((one.path,), one.intensity) for one in supervisors)
    yield _gauge("restart_intensity", "Restarts allowed in the window", ["path"], intensities)
    planes = [(one.path, one.plane) for one in supervisors]
    cpu = (((path,), plane.cpu_seconds) for path, plane in planes)
    yield _counter("plane_cpu_seconds", "Processor time of the signal plane", ["path"], cpu)
    messages = (((path,), plane.messages) for path, plane in planes)
    yield _counter("plane_messages", "Messages received", ["path"], messages)
    malformed = (((path,), plane.malformed) for path, plane in planes)
    yield _counter("plane_malformed", "Messages not understood", ["path"], malformed)
    yield _gauge("plane_lag_seconds", "Observer's own lag", ["path"], (((path,), plane.lag) for path, plane in planes))
    yield from _from_actors(children)


def _from_actors(children: Iterable[ChildStatus]) -> Iterator[Metric]:
    """Gauges the actors set; a key is ``name`` or ``name{label="value",...}``."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for child in children:
        for key, value in child.metrics.items():
            name, _, labels = key.partition("{")
            clean = _NOT_IN_NAMES.sub("_", name)
            if clean in found or len(found) < MAX_ACTOR_METRICS:
                series = (("path", child.path), *(pair for pair in _LABEL.findall(labels) if pair[0] != "path"))
                # two names may become one: the first wins, a series may not be given twice
                found.setdefault(clean, {}).setdefault(series, value)
    for name, samples in found.items():
        names = ["path", *sorted({label for series in samples for label, _ in series} - {"path"})]
        rows = ((tuple(dict(series).get(label, "") for label in names), value) for series, value in samples.items())
        yield _gauge(f"actor_{name}", "Set by the actor", names, rows)


Samples = Iterable[tuple[tuple[str, ...], float]]


def _counter(name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    family = CounterMetricFamily(f"rayvisor_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _recovery_gauges(children: list[ChildStatus]) -> Iterator[Metric]:
    """How standbys keep up, and where recoveries stand (REC-4, STA-3)."""
    synced = (((c.path,), float(sum(s.state == "synced" for s in c.standbys))) for c in children if c.standbys)
    yield _gauge("standbys_in_sync", "Standbys that may be promoted", ["path"], synced)
    lags = (((c.path, str(s.pid)), s.lag) for c in children for s in c.standbys)
    yield _gauge("standby_lag_seconds", "How far a standby is behind its primary", ["path", "pid"], lags)
    found = [(child.path, child.recovery) for child in children if child.recovery is not None]
    yield _gauge("recovery_progress_percent", "Of the last recovery", ["path"], (((p,), r.percent) for p, r in found))
    states = (((path, one.state), 1.0) for path, one in found)
    yield _gauge("recovery_state", "1 for the state the last recovery is in", ["path", "state"], states)
    holds = (((path,), float(bool(one.hold))) for path, one in found)
    yield _gauge("recovery_held", "1 while a person is waited for", ["path"], holds)
    yield _gauge("size_multiplier", "Share of its size a child may trade", ["path"], (((p,), r.size) for p, r in found))


def _gauge(name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(f"rayvisor_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _histogram(name: str, text: str, seen: Histogram) -> Metric:
    family = HistogramMetricFamily(f"rayvisor_{name}", text, labels=[])
    bounds = [*(str(bound) for bound in seen.bounds), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(seen.counts)), strict=True))
    family.add_metric([], buckets, seen.total)
    return family


def _pairs(table: dict[str, dict[str, int]]) -> Samples:
    return (((first, second), float(count)) for first, row in table.items() for second, count in row.items())
