"""How fast the deterministic simulation is: ``python -m benchmarks.dst [--json] [--quick] [--bugs]``.

Each seed is one run of ``rayvisor simulate --chaos``: a tree of 20 children with journals, standbys and leases, at
least 200 faults, all checks on. The peer is the time that the same run takes on a real system, where a second lasts a
second: what has to be spent to see the same faults by breaking a running system.
"""

import argparse
import os
import platform
import time

from benchmarks._report import BenchReport, Row, percentile, timed_row
from supervisors.simulate.dst import BUGS, Options, Totals, bug_table, run, run_many

NO_FAULTS = "the same seeds without faults"
REAL_TIME = "real time: a test against running processes, one second for each second"
#: what 10,000 seeds may take, in seconds, on two processors
PROMISED, SEEDS, CORES = 1200.0, 10_000, 2
#: processor seconds a seed may take for that
MOST = PROMISED * CORES / SEEDS


def alone(seeds: int) -> tuple[list[float], list[float], Totals]:
    """Processor milliseconds of each seed, with faults and without, and what came of those with."""
    with_faults, without, totals = [], [], Totals()
    for seed in range(seeds):
        begin = time.process_time()
        totals.add(run(Options(seed=seed)))
        middle = time.process_time()
        run(Options(seed=seed), [])
        with_faults.append((middle - begin) * 1e3)
        without.append((time.process_time() - middle) * 1e3)
    return with_faults, without, totals


def together(seeds: int, jobs: int) -> float:
    """Seeds a second with ``jobs`` processes."""
    begin = time.perf_counter()
    done = sum(1 for _ in run_many(Options(), range(seeds), jobs))
    return done / (time.perf_counter() - begin)


def planted() -> list[Row]:
    """Seeds it took to find each planted bug."""
    rows = []
    for row in bug_table():
        name = f"planted bug {row.bug}: {row.invariant or 'NOT FOUND'}, {row.faults} faults left"
        found = float(row.seeds) if row.invariant else float("inf")
        rows.append(Row(name, "seeds", found, target="< 1000", ok=bool(row.invariant)))
    assert len(rows) == len(BUGS)
    return rows


def measure(quick: bool, bugs: bool) -> BenchReport:
    """Measure everything."""
    seeds = 20 if quick else 200
    jobs = min(CORES, os.cpu_count() or 1)
    ours, without, totals = alone(seeds)
    speed = totals.seconds / (sum(ours) / 1e3)
    rate = together(seeds, jobs)
    p50 = percentile(ours, 50)
    fewest = totals.fewest or 0
    target = f"p50 < {MOST * 1e3:.0f} ms"
    rows = [
        timed_row("one seed", "ms", ours, peer=without, peer_name=NO_FAULTS, target=target, ok=p50 < MOST * 1e3),
        Row("simulated time", "s/s", speed, seeds, peer=1.0, peer_name=REAL_TIME),
        Row(f"{jobs} processes", "seeds/s", rate, seeds, target="> 8.4", ok=rate > SEEDS / PROMISED),
        Row("10,000 seeds at that rate", "s", SEEDS / rate, seeds, target="< 1200", ok=SEEDS / rate < PROMISED),
        Row("faults that struck, fewest of a seed", "", float(fewest), seeds, target=">= 200", ok=fewest >= 200),
        Row("events acknowledged", "", float(totals.appends), seeds),
        Row("violations", "", float(len(totals.broken)), seeds, target="0", ok=not totals.broken),
    ]
    if bugs:
        rows += planted()
    setting = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    return BenchReport("deterministic simulation", tuple(rows), setting)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dst", description="speed of the simulation")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--bugs", action="store_true", help="look for the planted bugs as well (minutes)")
    options = parser.parse_args()
    measure(options.quick, options.bugs).show(as_json=options.json)


if __name__ == "__main__":
    main()
