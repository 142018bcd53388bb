"""The live view: the tree as a table with the trails of the last failures beneath, in colours or as plain text."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from supervisors.core.paths import ROOT
from supervisors.trail.failures import FailureTrail, Outcome
from supervisors.trail.failures import render as failure_text
from supervisors.trail.status import (
    AT_REST,
    LOST,
    LOST_VERDICTS,
    READY,
    RUNNING,
    ChildStatus,
    SupervisorStatus,
    SystemStatus,
)

#: Failures shown under the tree.
FAILURES = 5
_HEADINGS = ("path", "state", "pid", "node", "life", "restarts", "beat", "last reason")
_RIGHT = frozenset({"pid", "life", "restarts", "beat"})
_OUTCOMES = {Outcome.OPEN: "yellow", Outcome.HEALED: "green", Outcome.HELD: "magenta", Outcome.GAVE_UP: "red"}


def _rows(status: SystemStatus, now: float) -> list[tuple[str, list[str]]]:
    """Style and cells of each row, depth first in start order."""
    by_path = {supervisor.path: supervisor for supervisor in status.supervisors}
    rows: list[tuple[str, list[str]]] = []
    shown: set[str] = set()

    def add(supervisor: SupervisorStatus, child: ChildStatus | None, depth: int) -> None:
        if supervisor.path in shown:
            return
        shown.add(supervisor.path)
        rows.append(_supervisor_row(supervisor, child, depth, now))
        for one in supervisor.children:
            below = by_path.get(one.path)
            if below is not None:
                add(below, one, depth + 1)
            else:
                rows.append(_child_row(one, depth + 1, now))

    for supervisor in sorted(status.supervisors, key=lambda one: one.path != ROOT):
        # supervisors nobody above tells of (theirs is down) come last, at the margin
        if supervisor.path == ROOT or not any(
            child.path == supervisor.path for other in status.supervisors for child in other.children
        ):
            add(supervisor, None, 0)
    return rows


def _supervisor_row(
    supervisor: SupervisorStatus, child: ChildStatus | None, depth: int, now: float
) -> tuple[str, list[str]]:
    window = (
        f"{supervisor.strategy}, {supervisor.restarts_in_window} of {supervisor.intensity} in {supervisor.period:g} s"
    )
    told = child if child is not None and child.state not in (READY, RUNNING) else None
    state = _state(told, now) if told is not None else supervisor.state
    name = supervisor.path if depth == 0 else f"{'  ' * depth}{supervisor.path.rpartition('/')[2]}/"
    reason = child.last_reason if child is not None and child.last_reason else window
    cells = [
        name,
        state,
        str(supervisor.pid or "-"),
        child.node if child is not None and child.node else "-",
        str(supervisor.incarnation),
        str(child.restarts) if child is not None else "-",
        _age(child.beat_age) if child is not None else "-",
        reason,
    ]
    return (_style(told) if told is not None else "bold" if supervisor.state == RUNNING else "bold red"), cells


def _child_row(child: ChildStatus, depth: int, now: float) -> tuple[str, list[str]]:
    return _style(child), [
        f"{'  ' * depth}{child.id}",
        _state(child, now),
        str(child.pid or "-"),
        child.node or "-",
        str(child.incarnation),
        str(child.restarts),
        _age(child.beat_age),
        child.last_reason,
    ]


def _state(child: ChildStatus, now: float) -> str:
    if child.next_at is not None and child.state == "restarting":
        return f"restarting in {max(child.next_at - now, 0.0):.1f} s"
    if child.verdict not in ("", "healthy"):
        return f"{child.state}, {child.verdict}"
    if child.standbys:
        synced = sum(standby.state == "synced" for standby in child.standbys)
        return f"{child.state}, {synced} of {len(child.standbys)} in sync"
    return child.state


def _style(child: ChildStatus) -> str:
    if child.state in AT_REST:
        return "dim"
    if child.state in LOST or child.verdict in LOST_VERDICTS:
        return "red"
    return "green" if child.state in (READY, RUNNING) and child.verdict in ("", "healthy") else "yellow"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _title(status: SystemStatus) -> str:
    spares = sum(supervisor.spares for supervisor in status.supervisors)
    return f"{status.system}  warden {status.warden_pid or '-'}  spares {spares}  {status.data_dir}".rstrip()


def render(
    status: SystemStatus | None, failures: Sequence[FailureTrail], now: float, *, shown: int = FAILURES
) -> RenderableType:
    """The tree and the last ``shown`` failures in colours; ``now`` is monotonic seconds. None: nobody answers."""
    parts: list[RenderableType] = []
    if status is None:
        parts.append(Text("no status: the root supervisor does not answer", style="bold red"))
    else:
        table = Table(title=Text(_title(status), style="bold"), title_justify="left", box=None, pad_edge=False)
        for heading in _HEADINGS:
            table.add_column(
                heading,
                justify="right" if heading in _RIGHT else "left",
                no_wrap=True,
                overflow="ellipsis",
                ratio=1 if heading == "last reason" else None,
            )
        for style, cells in _rows(status, now):
            # Text, not str: a reason is no markup, whatever brackets it has
            table.add_row(*(Text(_first_line(cell), style=style) for cell in cells))
        parts.append(table)
    for failure in failures[-shown:] if shown else ():
        heading, _, steps = failure_text(failure).partition("\n")
        parts.append(Text(f"\n{heading}", style=_OUTCOMES[failure.outcome]))
        if steps:
            parts.append(Text(steps, style="dim"))
    return Group(*parts)


def render_plain(
    status: SystemStatus | None, failures: Sequence[FailureTrail], now: float, *, shown: int = FAILURES
) -> str:
    """The same for a pipe or a file: no colours, no cursor moves, columns padded with spaces."""
    if status is None:
        lines = ["no status: the root supervisor does not answer"]
    else:
        rows = [list(_HEADINGS), *([_first_line(cell) for cell in cells] for _, cells in _rows(status, now))]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        lines = [_title(status)]
        for row in rows:
            cells = (
                cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
                for cell, width, heading in zip(row, widths, _HEADINGS, strict=True)
            )
            lines.append("  ".join(cells).rstrip())
    for failure in failures[-shown:] if shown else ():
        lines += ["", failure_text(failure)]
    return "\n".join(lines) + "\n"
