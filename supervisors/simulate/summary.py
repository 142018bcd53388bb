"""What a simulation comes to: lives and restarts per path, who gave up, who is up at the end, and why."""

from collections.abc import Iterable, Iterator

import msgspec

from supervisors.core.durations import format_duration
from supervisors.core.paths import ROOT, TreePath, is_below, parent_of
from supervisors.core.reasons import ExitKind
from supervisors.testing.trace import TraceEvent, TraceKind

_DOWN = frozenset(
    {
        TraceKind.EXITED,
        TraceKind.EXITED_UNSEEN,
        TraceKind.STOPPED,
        TraceKind.KILLED,
        TraceKind.REAPED,
        TraceKind.START_FAILED,
        TraceKind.IGNORED,
        TraceKind.HELD,
        TraceKind.REJECTED,
        TraceKind.SUPERVISOR_ENDED,
    }
)
_DEATHS = frozenset({TraceKind.EXITED, TraceKind.EXITED_UNSEEN})


class Tally(msgspec.Struct):
    """One path over a whole simulation.

    Attributes:
        path: whose.
        lives: times it came up.
        failures: abnormal ends by itself.
        failed_starts: starts that failed.
        up: True when it is up at the end.
        waiting_until: when its next restart is due, while it waits for its backoff.
        held: True while it waits for a person.
        last_reason: of its last end or failed start; empty while it had none.
    """

    path: TreePath
    lives: int = 0
    failures: int = 0
    failed_starts: int = 0
    up: bool = False
    waiting_until: float | None = None
    held: bool = False
    last_reason: str = ""

    @property
    def restarts(self) -> int:
        """Times it came up again."""
        return max(0, self.lives - 1)


class GiveUp(msgspec.Struct, frozen=True):
    """A supervisor that gave up (or was told to by ``auto_shutdown``), and over whom."""

    t: float
    path: TreePath
    child: str
    why: str


class Summary(msgspec.Struct):
    """See ``summary``.

    Attributes:
        seconds: simulated time from the first event to the last.
        events: how many there were.
        tallies: by path, in the order the paths first appear.
        give_ups: in order.
        ended: why the whole system ended; empty when it runs on.
    """

    seconds: float = 0.0
    events: int = 0
    tallies: dict[TreePath, Tally] = {}
    give_ups: list[GiveUp] = []
    ended: str = ""

    @property
    def failures(self) -> int:
        """Abnormal ends, supervisors' own included."""
        return sum(tally.failures for tally in self.tallies.values())

    @property
    def restarts(self) -> int:
        """Times anything came up again."""
        return sum(tally.restarts for tally in self.tallies.values())

    @property
    def up(self) -> tuple[TreePath, ...]:
        """Who is up at the end."""
        return tuple(tally.path for tally in self.tallies.values() if tally.up)

    @property
    def down(self) -> tuple[TreePath, ...]:
        """Who was up once, or tried to be, and is not at the end."""
        return tuple(tally.path for tally in self.tallies.values() if not tally.up)


class Summarizer:
    """Builds a summary from events as they come, so that a long stream need not be kept."""

    def __init__(self) -> None:
        self.summary = Summary(tallies={}, give_ups=[])
        self._first: float | None = None
        self._waiting: set[TreePath] = set()

    def add(self, event: TraceEvent) -> None:
        """Take one event in."""
        summary = self.summary
        summary.events += 1
        self._first = event.t if self._first is None else self._first
        summary.seconds = event.t - self._first
        if event.event is TraceKind.REPLY and event.path in self._waiting and dict(event.data).get("error") == "ok":
            self._wait(summary.tallies[event.path], None)  # stopped by hand while it waited
        if event.event in (TraceKind.REPLY, TraceKind.SKIPPED):
            return
        tally = summary.tallies.get(event.path)
        if tally is None:
            tally = summary.tallies[event.path] = Tally(event.path)
        self._count(tally, event)

    def _count(self, tally: Tally, event: TraceEvent) -> None:
        kind = event.event
        is_root = event.path == ROOT
        tally.held = kind is TraceKind.HELD
        if kind is TraceKind.READY or (kind is TraceKind.SUPERVISOR_STARTED and is_root):
            tally.lives += 1
            tally.up = True
            self._wait(tally, None)
        elif kind in _DOWN:
            tally.up = False
            self._wait(tally, None)
            if kind is TraceKind.SUPERVISOR_ENDED:
                is_over = event.reason is not None and not event.reason.is_abrupt
                for path in [path for path in self._waiting if is_below(path, tally.path)]:
                    self._wait(self.summary.tallies[path], None)
                for below in self.summary.tallies.values() if is_over else ():
                    below.held = below.held and not is_below(below.path, tally.path)
            if event.reason is not None:
                tally.last_reason = str(event.reason)
        elif kind is TraceKind.RESTART_SCHEDULED:
            due = dict(event.data).get("next_at")
            self._wait(tally, float(due) if isinstance(due, int | float) else None)
        elif kind is TraceKind.GAVE_UP:
            data = dict(event.data)
            why, child = str(data.get("why", "")), str(data.get("child", ""))
            self.summary.give_ups.append(GiveUp(event.t, event.path, child, why))
        if event.reason is not None and event.reason.is_abnormal:
            is_root_end = is_root and kind is TraceKind.SUPERVISOR_ENDED
            if kind in _DEATHS or is_root_end:
                tally.failures += 1
            elif kind is TraceKind.START_FAILED:
                tally.failed_starts += 1
        if is_root:
            self._root(event)

    def _wait(self, tally: Tally, until: float | None) -> None:
        tally.waiting_until = until
        if until is None:
            self._waiting.discard(tally.path)
        else:
            self._waiting.add(tally.path)

    def _root(self, event: TraceEvent) -> None:
        if event.event is TraceKind.SUPERVISOR_STARTED:
            self.summary.ended = ""
        elif event.event is TraceKind.SUPERVISOR_ENDED and event.reason is not None:
            self.summary.ended = "" if event.reason.is_abrupt else str(event.reason)


def summary(events: Iterable[TraceEvent]) -> Summary:
    """Tally a whole simulation."""
    summarizer = Summarizer()
    for event in events:
        summarizer.add(event)
    return summarizer.summary


def answer(events: Iterable[TraceEvent], path: str) -> str:
    """What its deaths did to the system, in plain sentences: one line for each death, one for others, one for the end.

    Meant for ``simulate_deaths``: "what happens if X dies three times in a second?"
    """
    kept = list(events)
    total = summary(kept)
    lines = list(_deaths(kept, TreePath(path)))
    own = total.tallies.get(TreePath(path))
    others = [
        f"{tally.path} ({tally.restarts})"
        for tally in total.tallies.values()
        if tally.restarts and tally.path not in (path, ROOT)
    ]
    if others:
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        lines.append("also restarted: " + ", ".join(others[:8]) + more)
    else:
        lines.append("nothing else was restarted")
    if total.ended:
        lines.append(f"at the end the whole system is down: {total.ended}")
    elif own is not None and own.up:
        lines.append(f"at the end {path} is up")
    elif own is not None and own.waiting_until is not None:
        lines.append(f"at the end {path} waits for its restart at {_clock(own.waiting_until)}")
    elif own is not None and own.held:
        lines.append(f"at the end {path} is held: a person has to agree to its start")
    else:
        lines.append(f"at the end {path} is down for good")
    return "\n".join(lines)


def _deaths(events: list[TraceEvent], path: TreePath) -> Iterator[str]:
    number = 0
    for index, event in enumerate(events):
        if event.path != path or event.event not in _DEATHS:
            continue
        if event.reason is not None and event.reason.kind is ExitKind.ESCALATED:
            continue
        number += 1
        yield f"death {number} at {_clock(event.t)}: {_consequence(events[index + 1 :], path, event.t)}"


def _consequence(rest: list[TraceEvent], path: TreePath, died: float) -> str:
    gave_up = ""
    for event in rest:
        if event.event is TraceKind.GAVE_UP and not gave_up:
            why = str(dict(event.data).get("why", ""))
            gave_up = f"{event.path} gave up ({why}); " if event.path == parent_of(path) else ""
        elif event.path == ROOT and event.event is TraceKind.SUPERVISOR_ENDED:
            return f"{gave_up}the whole system ended"
        elif event.path == path and event.event is TraceKind.READY:
            delay = event.t - died
            when = "at once" if delay == 0 else f"after {format_duration(round(delay, 3))}"
            return f"{gave_up}up again {when}"
        elif event.path == path and event.event in _DEATHS:
            break
    return f"{gave_up}not restarted"


def _clock(t: float) -> str:
    return f"{t:.3f} s"
