"""Simulations for people (a coloured timeline, a table at the end) and for programs (one JSON object a line)."""

from collections.abc import Iterable

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from supervisors.simulate.summary import Summarizer, Summary
from supervisors.testing.trace import TraceEvent, TraceKind

_STYLES: dict[TraceKind, str] = {
    TraceKind.READY: "green",
    TraceKind.SUPERVISOR_STARTED: "green",
    TraceKind.ADOPTED: "bold cyan",
    TraceKind.STARTING: "dim",
    TraceKind.STARTED: "dim",
    TraceKind.STOPPING: "dim",
    TraceKind.STOPPED: "dim",
    TraceKind.EXITED: "red",
    TraceKind.EXITED_UNSEEN: "red",
    TraceKind.START_FAILED: "red",
    TraceKind.HELD: "bold yellow",
    TraceKind.RELEASED: "yellow",
    TraceKind.REJECTED: "bold red",
    TraceKind.HUNG: "magenta",
    TraceKind.KILLED: "magenta",
    TraceKind.REAPED: "magenta",
    TraceKind.RESTART_DECIDED: "yellow",
    TraceKind.RESTART_SCHEDULED: "yellow",
    TraceKind.GAVE_UP: "bold red",
    TraceKind.ESCALATED: "bold red",
    TraceKind.SUPERVISOR_ENDED: "bold red",
    TraceKind.SKIPPED: "dim",
}
#: rows of the closing table beyond which only paths with something to tell are shown
_MANY = 40


def to_json_line(event: TraceEvent) -> str:
    """``{"t", "path", "event", "reason", "message", "incarnation", ...}`` without a line end.

    ``reason`` is the exit's kind or null; what else the supervisor said follows under its own keys.
    """
    row: dict[str, str | int | float | bool | None] = {
        "t": round(event.t, 6),
        "path": event.path,
        "event": event.event.value,
        "reason": None if event.reason is None else event.reason.kind.value,
        "message": "" if event.reason is None else event.reason.message,
        "incarnation": event.incarnation,
    }
    for key, value in event.data:
        row.setdefault(key, round(value, 6) if isinstance(value, float) else value)
    return msgspec.json.encode(row).decode()


def timeline_line(event: TraceEvent, width: int = 24) -> Text:
    """One line of the timeline: time, path, what happened, and why. ``width``: columns for the path."""
    style = _STYLES.get(event.event, "")
    life = f" #{event.incarnation}" if event.incarnation else ""
    line = Text()
    line.append(f"{event.t:10.3f}  ", "dim")
    line.append(f"{event.path + life:<{width}}  ", "bold" if style.startswith("bold") else "")
    line.append(event.event.replace("_", " "), style)
    detail = _detail(event)
    if detail:
        line.append(f"  {detail}", "dim")
    return line


def render_timeline(events: Iterable[TraceEvent]) -> Group:
    """The timeline and the closing summary, for ``rich.console.Console.print``."""
    kept = list(events)
    width = min(48, max((len(e.path) + 4 for e in kept), default=8))
    summarizer = Summarizer()
    lines = []
    for event in kept:
        summarizer.add(event)
        lines.append(timeline_line(event, width))
    return Group(*lines, Text(), render_summary(summarizer.summary))


def plain_timeline(events: Iterable[TraceEvent]) -> str:
    """The timeline alone as plain text, for logs and golden files."""
    kept = list(events)
    width = min(48, max((len(e.path) + 4 for e in kept), default=8))
    return "".join(f"{timeline_line(event, width).plain}\n" for event in kept)


def render_summary(summary: Summary) -> RenderableType:
    """Totals, a table of paths (those with something to tell, where there are many), give-ups and the end."""
    tallies = list(summary.tallies.values())
    shown = tallies
    if len(tallies) > _MANY:
        shown = sorted((t for t in tallies if t.failures or t.failed_starts or not t.up), key=lambda t: -t.failures)
        shown = shown[:_MANY]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("path")
    for name in ("lives", "restarts", "failures"):
        table.add_column(name, justify="right")
    table.add_column("at the end")
    table.add_column("last end", overflow="fold")
    for tally in shown:
        state, style = ("up", "green") if tally.up else ("down", "red")
        if tally.held:
            state, style = "held", "yellow"
        elif tally.waiting_until is not None:
            state, style = f"restarts at {tally.waiting_until:.3f} s", "yellow"
        failures = tally.failures + tally.failed_starts
        numbers = (str(tally.lives), str(tally.restarts), str(failures))
        table.add_row(tally.path, *numbers, Text(state, style), tally.last_reason)
    parts: list[RenderableType] = [table]
    if len(shown) < len(tallies):
        parts.append(Text(f"... and {len(tallies) - len(shown)} more paths", "dim"))
    parts.extend(
        Text(f"{give_up.t:10.3f}  {give_up.path} gave up on {give_up.child or 'its children'}: {give_up.why}", "red")
        for give_up in summary.give_ups[:_MANY]
    )
    parts.append(Text(_totals(summary), "bold"))
    return Group(*parts)


def _totals(summary: Summary) -> str:
    end = f"the system ended: {summary.ended}" if summary.ended else f"{len(summary.up)} up, {len(summary.down)} down"
    return (
        f"{summary.seconds:.3f} s simulated, {summary.events} events, {summary.failures} failures, "
        f"{summary.restarts} restarts, {len(summary.give_ups)} give-ups; {end}"
    )


def _detail(event: TraceEvent) -> str:
    data = dict(event.data)
    parts = [] if event.reason is None else [str(event.reason)]
    match event.event:
        case TraceKind.RESTART_DECIDED:
            parts = [f"{data.get('strategy')} -> {data.get('targets')}", f"window {data.get('window')}"]
            if data.get("adopt"):
                parts.append("children are adopted")
            if data.get("budget"):
                parts.append(f"charged to {data.get('budget')}")
        case TraceKind.RESTART_SCHEDULED:
            parts = [f"in {data.get('delay_ms', 0):.0f} ms"]
        case TraceKind.GAVE_UP:
            parts.append(f"{data.get('why')} ({data.get('child', '')})")
        case TraceKind.KILLED | TraceKind.SKIPPED | TraceKind.HELD:
            parts.append(str(data.get("why", "")))
        case TraceKind.REPLY:
            parts.append(str(data.get("error", "")))
        case TraceKind.ADOPTED:
            parts.append(f"{data.get('adopted')} adopted, {data.get('lost')} lost, {data.get('pending')} to start")
    return ", ".join(part for part in parts if part)
