"""What the benchmarks share: percentiles, and rows of ours against a peer's from the same run, as a table or JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil

from rich.console import Console
from rich.table import Table


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` % of ``values`` do not exceed (nearest rank).

    Raises:
        ValueError: ``values`` is empty.
    """
    if not values:
        raise ValueError("no samples")
    ordered = sorted(values)
    return ordered[max(1, ceil(percent / 100 * len(ordered))) - 1]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        name: what was measured.
        unit: of ours and peer.
        ours: the figure to look at (for samples: the median).
        samples: how many went into it.
        p99: 99th percentile, where there are samples.
        peer: the same figure of the peer, from this run.
        peer_name: which peer, and how it differs.
        target: what was promised, in words.
        ok: whether it was kept; None: nothing was promised.
    """

    name: str
    unit: str
    ours: float
    samples: int = 1
    p99: float | None = None
    peer: float | None = None
    peer_name: str = ""
    target: str = ""
    ok: bool | None = None

    @property
    def ratio(self) -> float | None:
        """ours / peer: below 1, ours is the smaller number."""
        return self.ours / self.peer if self.peer else None


def timed_row(
    name: str,
    unit: str,
    samples: Sequence[float],
    *,
    peer: Sequence[float] = (),
    peer_name: str = "",
    target: str = "",
    ok: bool | None = None,
) -> Row:
    """A row of samples: median and 99th percentile, against the peer's median."""
    peer_median = percentile(peer, 50) if peer else None
    return Row(
        name,
        unit,
        percentile(samples, 50),
        len(samples),
        percentile(samples, 99),
        peer_median,
        peer_name,
        target,
        ok,
    )


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All rows of one benchmark and what they were measured on."""

    title: str
    rows: tuple[Row, ...]
    setting: Mapping[str, str | int | float] = field(default_factory=dict)

    def to_json(self) -> str:
        """One JSON object; each row with its ratio."""
        rows = [asdict(row) | {"ratio": row.ratio} for row in self.rows]
        return json.dumps({"title": self.title, "setting": dict(self.setting), "rows": rows}, indent=2)

    def show(self, *, as_json: bool = False) -> None:
        """Print it, as a table or as JSON."""
        if as_json:
            print(self.to_json())
            return
        table = Table(title=self.title, title_justify="left")
        table.add_column("what")
        for name in ("ours", "p99", "peer", "ratio", "samples"):
            table.add_column(name, justify="right")
        table.add_column("target")
        for row in self.rows:
            mark = "" if row.ok is None else (" yes" if row.ok else " NO")
            figures = (_figure(row.ours), _figure(row.p99), _figure(row.peer), _figure(row.ratio), str(row.samples))
            table.add_row(f"{row.name}, {row.unit}", *figures, row.target + mark)
        # a pipe has no width of its own
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table)
        for name in dict.fromkeys(row.peer_name for row in self.rows if row.peer_name):
            console.print(f"peer: {name}", style="dim", highlight=False)
        for key, value in self.setting.items():
            console.print(f"{key}: {value}", style="dim", highlight=False)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
