"""A monkey on ``examples/chaos.yaml``: ``python -m benchmarks.monkey [--json] [--for 10m] [--rate 20/m] [--seed 7]``.

Eight children, two of them ledgers with hot standbys, under faults chosen by a seed, as ``rayvisor chaos monkey`` does
it. Told: faults, kinds, violated invariants, who is healthy again, MTTD and MTTR against the time of injection, and how
far the resident memory of processes grew that lived through all of it. The peer is Ray itself on the same cluster,
after the run: bare actors with ``max_restarts=-1``, killed one after another at the same rate.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec
from ruamel.yaml import YAML

from benchmarks._report import BenchReport, Row, percentile
from benchmarks._system import BenchSystem, measure, parser, setting
from benchmarks.restart import RAY, RayTarget
from supervisors.chaos.measures import KindTimes
from supervisors.cli.chaos_monkey import duration_of, rate_of
from supervisors.runtime.observer import Observer
from supervisors.signals.proc import process_start_time
from supervisors.trail.status import READY, SystemStatus

SECONDS = "60s"
RATE = "20/m"
SEED = 7
SAMPLES = 10
_EXAMPLES = Path(__file__).parents[1] / "examples"
_EXAMPLE = _EXAMPLES / "chaos.yaml"
#: whose clients go on meanwhile: without any, nothing acknowledged could be lost (INV-2)
WORKLOAD = _EXAMPLES / "experiments" / "kill_primary.yaml"
_SETTLED = 60.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: a kill's way to act: what Ray's own restart is compared with
_DEATHS = frozenset({"kill", "exit", "segfault", "ray_kill"})


class _Measures(msgspec.Struct):
    all: KindTimes
    kinds: list[KindTimes]


class _Violation(msgspec.Struct):
    text: str
    path: str = ""


class _Verdict(msgspec.Struct):
    id: str
    state: str
    violations: list[_Violation]


class _Row(msgspec.Struct):
    verdict: _Verdict


class _Fault(msgspec.Struct):
    kind: str
    targets: list[str]


class _Report(msgspec.Struct):
    """What this benchmark reads of the run's report."""

    verdict: str
    summary: str
    faults: list[_Fault]
    invariants: list[_Row]
    measures: _Measures


def declared() -> dict[str, object]:
    """The example, on ports of its own and without a metrics endpoint."""
    text = (
        _EXAMPLE.read_text().replace("8776", "18776").replace("9776", "19776").replace('"ledger:', '"examples.ledger:')
    )
    made: dict[str, object] = dict(YAML(typ="safe").load(text))
    return made | {"system": "bench", "metrics": {"enabled": False}}


def _resident(status: SystemStatus) -> dict[tuple[str, int, int], int]:
    """Resident bytes of the warden, the supervisors and the children, by path, pid and start time."""
    pids = {("warden", status.warden_pid)}
    for supervisor in status.supervisors:
        pids.add((supervisor.path, supervisor.pid))
        pids |= {(child.path, child.pid) for child in supervisor.children if child.pid}
    found: dict[tuple[str, int, int], int] = {}
    for path, pid in pids:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
        found[path, pid, process_start_time(pid) or 0] = pages * _PAGE
    return found


def _ill(status: SystemStatus) -> list[str]:
    """Who is not healthy, or has fewer standbys in sync than it should."""
    wanted = {"/books/ledger": 1, "/books/savings": 1}
    children = [child for supervisor in status.supervisors for child in supervisor.children]
    return [
        child.path
        for child in children
        if child.state not in (READY, "running")
        or sum(standby.state == "synced" for standby in child.standbys) < wanted.get(child.path, 0)
    ]


def _settle(observer: Observer) -> list[str]:
    deadline = time.monotonic() + _SETTLED
    while (ill := _ill(observer.status())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return ill


def _monkey(data: Path, seconds: str, rate: str, seed: int, more: list[str]) -> _Report:
    """One run by the command line, as a person would.

    Raises:
        RuntimeError: it gave no report.
    """
    words = ["chaos", "monkey", "--seed", str(seed), "--for", seconds, "--rate", rate, *more]
    command = [sys.executable, "-m", "supervisors.cli.main", *words, "--data-dir", str(data), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=duration_of(seconds) + 300)
    try:
        return msgspec.json.decode(done.stdout, type=_Report)
    except msgspec.MsgspecError as error:
        raise RuntimeError(f"no report ({error}): {done.stderr or done.stdout}") from None


def _mean(times: KindTimes, which: str) -> tuple[float, int, float | None]:
    spread = times.detect if which == "detect" else times.recover
    return (spread.mean_ms, spread.n, spread.p99_ms) if spread is not None else (math.nan, 0, None)


def _kinds(report: _Report) -> dict[str, int]:
    return {kind.kind: kind.faults for kind in report.measures.kinds}


def _hits(report: _Report, path: str) -> str:
    """Which faults hit it."""
    return ", ".join(sorted(fault.kind for fault in report.faults if path in fault.targets)) or "not hit"


def _rows(report: _Report, asked: float, ill: list[str], grown: Mapping[str, float], peer: list[float]) -> list[Row]:
    faults, kinds = len(report.faults), _kinds(report)
    violated = [row.verdict.id for row in report.invariants if row.verdict.violations]
    unknown = [row.verdict.id for row in report.invariants if row.verdict.state == "not_checkable"]
    recovered = [
        kind.recover.p50_ms for kind in report.measures.kinds if kind.kind in _DEATHS and kind.recover is not None
    ]
    ours = percentile(recovered, 50) if recovered else math.nan
    ray = percentile(peer, 50) if peer else None
    mttd, detected, d99 = _mean(report.measures.all, "detect")
    mttr, healed, r99 = _mean(report.measures.all, "recover")
    worst = max(grown.values(), default=0.0)
    return [
        Row("faults injected", "faults", faults, target=f">= {asked:.0f}, as asked", ok=faults >= asked),
        Row("kinds", "kinds", len(kinds), target=">= 15", ok=len(kinds) >= 15),
        Row(f"invariants violated {' '.join(violated)}".strip(), "of 10", len(violated), target="0", ok=not violated),
        Row(f"invariants not checkable {' '.join(unknown)}".strip(), "of 10", len(unknown)),
        Row(f"not healthy at the end {' '.join(ill)}".strip(), "children", len(ill), target="0", ok=not ill),
        Row(
            "resident memory of who lived through it: most grown", "%", worst, len(grown), target="< 5", ok=worst < 5
        ),
        Row("time to detect, mean (MTTD)", "ms", mttd, detected, d99),
        Row("time to recover, mean (MTTR)", "ms", mttr, healed, r99),
        Row("a process that died: recovered, median of the kinds", "ms", ours, len(recovered), None, ray, RAY),
    ]  # fmt: skip


def _peer(samples: int, rate: float) -> list[float]:
    """Milliseconds until Ray's own actors answer again; the kills come at the monkey's rate."""
    target = RayTarget()
    found: list[float] = []
    due = time.monotonic()
    for _ in range(samples):
        time.sleep(max(0.0, due - time.monotonic()))
        due = time.monotonic() + 60.0 / rate
        found.append(target.to_answer())
    return found


def run(seconds: str, rate: str, seed: int, samples: int, more: list[str]) -> BenchReport:
    """Bring the system up, let the monkey loose, look at what is left."""
    before = setting()
    with BenchSystem(declared()) as system, closing(Observer(system.data)) as observer:
        if ill := _settle(observer):
            raise RuntimeError(f"not up: {', '.join(ill)}")
        time.sleep(5.0)
        first = _resident(observer.status())
        report = _monkey(system.data, seconds, rate, seed, more)
        ill = _settle(observer)
        last = _resident(observer.status())
        grown = {place[0]: (last[place] / size - 1) * 100 for place, size in first.items() if place in last}
        peer: list[float] = []
        if samples:
            system.connect()
            peer = _peer(samples, rate_of(rate))
    asked = math.floor(duration_of(seconds) * rate_of(rate) / 60)
    told: dict[str, str | int | float] = {
        "run": f"{seconds} at {rate}, seed {seed}: {report.verdict}; {report.summary}",
        "kinds": ", ".join(f"{kind} {count}" for kind, count in sorted(_kinds(report).items())),
        "memory": ", ".join(
            f"{path} {percent:+.1f} % ({_hits(report, path)})" for path, percent in sorted(grown.items())
        ),
    }
    for row in report.invariants:
        for violation in row.verdict.violations:
            told[f"{row.verdict.id} {violation.path}".strip()] = violation.text
    return BenchReport("Monkey", tuple(_rows(report, asked, ill, grown, peer)), told | before)


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("monkey", "faults by a seed on a small system", SAMPLES)
    options.add_argument("--for", dest="seconds", default=SECONDS, help=f"how long (default {SECONDS})")
    options.add_argument("--rate", default=RATE, help=f"faults (default {RATE})")
    options.add_argument("--seed", type=int, default=SEED, help=f"of all decisions (default {SEED})")
    options.add_argument("--workload", default=str(WORKLOAD), help="experiment whose clients go on; empty: none")
    options.add_argument("--more", default="[]", help="further words for `rayvisor chaos monkey`, a JSON list")
    given = options.parse_args()
    clients = ["--workload", given.workload] if given.workload else []
    more = clients + [str(word) for word in json.loads(given.more)]
    measure(lambda: run(given.seconds, given.rate, given.seed, given.samples, more), as_json=given.json)


if __name__ == "__main__":
    main()
