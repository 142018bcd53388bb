"""How long a whole tree takes to come up: ``python -m benchmarks.startup [--json] [--samples N]``.

Ours: 20 trivial children under 3 supervisors (the root and two below it, ten children each), started in order as the
tree wants it: 23 processes. From the moment Ray is up and joined (``system_starting`` in the trail) until all of them
are ready (``system_started``). The peer: 23 bare actors of a trivial class, ``num_cpus=0``, created at once, from the
first ``remote()`` until each has answered a call. Both exclude starting Ray itself; each run has a fresh cluster with
equal settings (made by the same code), so that neither finds worker processes left by the other.

Nearly all of it is Ray starting Python processes, whose speed on a shared machine varies by more than the difference
that is measured: runs take turns, ours and the peer's, and each pair gives one ratio. A run takes 10-20 s, so there
are few pairs. The second row has the default two spares, which are started beside the 23 and compared with the same 23.
"""

import argparse
import os
import sys
import time

from benchmarks._actors import Bare
from benchmarks._report import BenchReport, Row, percentile
from benchmarks._system import BenchSystem, bare_cluster, in_own_process, measure, parser, setting, topology
from supervisors.trail.events import EventKind

PAIRS = 7
PAIRS_WITH_SPARES = 3
POOLS, EACH = 2, 10
PROCESSES = 1 + POOLS + POOLS * EACH
LIMIT = 1.25
RAY = f"Ray: {PROCESSES} bare actors created at once, until the last has answered a call; fresh cluster each time"


def ours(spares: int) -> float:
    """Seconds from Ray being up to the whole tree being ready."""
    worker = {"actor": "benchmarks._actors:Idle"}
    pools = [
        {"id": f"pool-{pool}", "intensity": 5, "children": [{"id": f"w-{number}", **worker} for number in range(EACH)]}
        for pool in range(POOLS)
    ]
    with BenchSystem(topology(pools, spares=spares)) as system:
        trail = system.trail
        begin = trail.wait(EventKind.SYSTEM_STARTING, "/", 0)
        end = trail.wait(EventKind.SYSTEM_STARTED, "/", 0)
        ready = sum(event.kind == EventKind.CHILD_READY and event.writer != "warden" for event in trail.events)
        assert ready == PROCESSES - 1, f"{ready} children are ready"
        return end.t - begin.t


def peer() -> float:
    """Seconds from the first ``remote()`` to the last answer; in a process and on a cluster of its own."""
    return float(in_own_process("benchmarks.startup", "--peer"))


def be_peer() -> None:
    """The peer's process."""
    with bare_cluster():
        import ray

        began = time.monotonic()
        actors = [ray.remote(Bare).options(num_cpus=0).remote() for _ in range(PROCESSES)]
        pids = ray.get([actor.pid.remote() for actor in actors])
        spent = time.monotonic() - began
        assert len({*pids, os.getpid()}) == PROCESSES + 1
    print(spent)


def row(pairs: int, spares: int) -> Row:
    found: list[float] = []
    raw: list[float] = []
    for number in range(pairs):
        if number % 2:
            raw.append(peer())
        found.append(ours(spares))
        if not number % 2:
            raw.append(peer())
    ratios = [a / b for a, b in zip(found, raw, strict=True)]
    each = ", ".join(f"{a:.1f}/{b:.1f}" for a, b in zip(found, raw, strict=True))
    print(f"spares {spares}, seconds ours/Ray: {each}; median of ratios {percentile(ratios, 50):.3f}", file=sys.stderr)
    mine, theirs = percentile(found, 50), percentile(raw, 50)
    name = f"{PROCESSES} processes up" if not spares else f"{PROCESSES} processes up, {spares} spares started beside"
    target = f"<= {LIMIT} x Ray"
    return Row(name, "s", mine, pairs, max(found), theirs, RAY, target, mine <= LIMIT * theirs)


def run(pairs: int) -> BenchReport:
    """Measure everything: about 30 s per pair."""
    before = setting()
    rows = (row(pairs, 0), row(min(pairs, PAIRS_WITH_SPARES), 2))
    return BenchReport("Start-up", rows, before | {"load average at the end": setting()["load average"]})


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("startup", "how long a whole tree takes to come up", PAIRS)
    options.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.peer:
        be_peer()
    else:
        measure(lambda: run(chosen.samples), as_json=chosen.json)


if __name__ == "__main__":
    main()
