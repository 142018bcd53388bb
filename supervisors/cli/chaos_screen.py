"""What a person sees of a chaos run while it goes on: a line for each thing that happens, and how it stands."""

import threading
import time
from types import TracebackType

import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from supervisors.chaos.ground import Ground
from supervisors.chaos.history import RunWord
from supervisors.chaos.runner import Progress
from supervisors.cli.common import is_terminal, out, print_line
from supervisors.core.durations import format_duration
from supervisors.trail.failures import FailureFold, Outcome
from supervisors.trail.failures import render as render_failure

_STYLES = {
    RunWord.INJECTED: "bold magenta",
    RunWord.REFUSED: "yellow",
    RunWord.ABORTED: "bold red",
    RunWord.REVERTED: "cyan",
}


class Screen:
    """Shows one run; use it as a context. Thread-safe.

    Args:
        ground: the system; its trail tells what is healed.
        json_: one JSON object a line instead.
        quiet: nothing at all.
    """

    def __init__(self, ground: Ground, *, json_: bool = False, quiet: bool = False) -> None:
        self._ground = ground
        self._json = json_
        self._quiet = quiet
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._now = ""
        self.faults = 0

    def __enter__(self) -> "Screen":
        if is_terminal() and not self._json and not self._quiet:
            self._live = Live(get_renderable=self._standing, console=out, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, progress: Progress) -> None:
        """Something happened."""
        with self._lock:
            self.faults += progress.kind == RunWord.INJECTED and not progress.data.get("late")
            text = describe(progress)
            self._now = text or self._now
            if self._quiet:
                return
            if self._json:
                print_line(msgspec.json.encode(progress).decode())
            elif text:
                at = f"{progress.t - self._began:8.2f} s  "
                style = _STYLES.get(RunWord(progress.kind), "") if progress.kind in frozenset(RunWord) else ""
                if progress.kind == RunWord.STEADY:
                    style = "green" if progress.data.get("ok") else "bold red"
                (self._live.console if self._live is not None else out).print(Text.assemble((at, "dim"), (text, style)))

    def _standing(self) -> RenderableType:
        fold = FailureFold()
        fold.add_all(self._ground.trail())
        seen = [one for one in fold.failures if one.first_signal or one.reason is not None]
        healed = sum(one.outcome is Outcome.HEALED for one in seen)
        took = format_duration(round(time.monotonic() - self._began))
        counts = f"{self.faults} faults, {len(seen)} failures, {healed} healed"
        lines = [Text(f"{took}  {self._now}", style="bold"), Text(counts)]
        if seen:
            lines.append(Text(render_failure(seen[-1]), style="dim"))
        return Group(*lines)


def describe(progress: Progress) -> str:
    """One line for people; empty for what they need not see."""
    data = progress.data
    match progress.kind:
        case RunWord.STARTED:
            return f"{data.get('title', '')} (seed {data.get('seed')})"
        case RunWord.STEADY:
            word = "holds" if data.get("ok") else f"does not hold: {data.get('why')}"
            value = f" ({data['value']})" if data.get("value") and data.get("ok") else ""
            return f"{data.get('when')}: {data.get('name')} {word}{value}"
        case RunWord.INJECTED:
            targets = ", ".join(msgspec.json.decode(str(data.get("targets") or "[]"), type=list[str]))
            return f"injected {data.get('fault')} at {targets} ({data.get('id')})" if targets else ""
        case RunWord.REFUSED:
            return f"refused: {data.get('fault')} at {data.get('targets')}: {data.get('why')}"
        case RunWord.ABORTED:
            return f"aborted: {data.get('why')}"
        case "reverting":
            return f"reverting: {data.get('why')}"
        case "settling":
            return "waiting for everything to be well"
        case "step":
            return str(data.get("what", ""))
        case "call":
            return f"call {data.get('path')} {data.get('method')}"
        case "clients":
            return f"clients: {data.get('ok')} ok, {data.get('fail')} failed, {data.get('info')} never heard"
        case RunWord.ENDED:
            why = f": {data['why']}" if data.get("why") else ""
            return f"{data.get('outcome')}{why}"
        case _:
            return ""
