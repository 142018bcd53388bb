"""How long a whole tree takes to come up: ``python -m benchmarks.startup [--json] [--samples N]``.

Ours: 20 trivial children under 3 supervisors (the root and two below it, ten children each), started in order as the
tree wants it: 23 processes. From the moment Ray is up and joined (``system_starting`` in the trail) until all of them
are ready (``system_started``). The peer: 23 bare actors of a trivial class, ``num_cpus=0``, created at once, from the
first ``remote()`` until each has answered a call. Both exclude starting Ray itself; each run has a fresh cluster with
equal settings (made by the same code), so that neither finds worker processes left by the other.

Nearly all of it is Ray starting Python processes, whose speed on a shared machine varies by more than the difference
that is measured: runs take turns, ours and the peer's, and each round gives one ratio. A run takes 10-20 s, so there
are few rounds. What such noise leaves alone is the processor time the processes have used by then; it has a row too.

Our children extend ``Actor``, so each imports pydantic; the bare class does not. The second row has the default two
spares: two processes more than the peer's, started beside the 23.
"""

import argparse
import sys
import time

from benchmarks._bare import Bare, bare_cluster, cpu_seconds, in_own_process
from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import BenchSystem, measure, parser, setting, topology
from supervisors.trail.events import EventKind

PAIRS = 5
#: spares beside the 23
WAYS = {
    "no spares": 0,
    "2 spares beside": 2,
}
POOLS, EACH = 2, 10
PROCESSES = 1 + POOLS + POOLS * EACH
LIMIT = 1.25
RAY = f"Ray: {PROCESSES} bare actors created at once, until the last has answered a call; fresh cluster each time"


def ours(spares: int) -> tuple[float, float]:
    """Seconds from Ray being up to the whole tree being ready, and processor seconds of one of its processes."""
    worker = {"actor": "benchmarks._actors:Idle"}
    pools = [
        {"id": f"pool-{pool}", "intensity": 5, "children": [{"id": f"w-{number}", **worker} for number in range(EACH)]}
        for pool in range(POOLS)
    ]
    with BenchSystem(topology(pools, spares=spares)) as system:
        trail = system.trail
        begin = trail.wait(EventKind.SYSTEM_STARTING, "/", 0)
        end = trail.wait(EventKind.SYSTEM_STARTED, "/", 0)
        paths = {event.path for event in trail.events if event.kind == EventKind.CHILD_READY}
        assert len(paths) == PROCESSES, f"{len(paths)} are ready"
        hosts = [system.host(path).pid for path in paths]
        return end.t - begin.t, sum(map(cpu_seconds, hosts)) / PROCESSES


def peer() -> tuple[float, float]:
    """Seconds from the first ``remote()`` to the last answer, on a cluster of its own; and processor seconds of one."""
    spent, used = in_own_process("benchmarks.startup", "--peer").split()
    return float(spent), float(used)


def be_peer() -> None:
    """The peer's process."""
    with bare_cluster():
        import ray

        began = time.monotonic()
        actors = [ray.remote(Bare).options(num_cpus=0).remote() for _ in range(PROCESSES)]
        pids = ray.get([actor.pid.remote() for actor in actors])
        spent = time.monotonic() - began
        assert len(set(pids)) == PROCESSES
        used = sum(map(cpu_seconds, pids)) / PROCESSES
    print(spent, used)


def rows(pairs: int) -> list[Row]:
    """In each round each way of ours and the peer once, in changing order."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    raw: list[tuple[float, float]] = []
    for number in range(pairs):
        if number % 2:
            raw.append(peer())
        for name, spares in WAYS.items():
            found[name].append(ours(spares))
        if not number % 2:
            raw.append(peer())
        each = " ".join(f"{spent[-1][0]:.1f}" for spent in found.values())
        print(f"round {number + 1}: ours {each} s, Ray {raw[-1][0]:.1f} s", file=sys.stderr)
    made = []
    for name, pair in found.items():
        spent, ray = [one[0] for one in pair], [one[0] for one in raw]
        ratio = percentile([mine / theirs for mine, theirs in zip(spent, ray, strict=True)], 50)
        label = f"{PROCESSES} processes up, {name} (median of ratios {ratio:.2f})"
        ok = percentile(spent, 50) <= LIMIT * percentile(ray, 50)
        made.append(timed_row(label, "s", spent, peer=ray, peer_name=RAY, target=f"<= {LIMIT} x Ray", ok=ok))
    used, ray_used = [one[1] for pair in found.values() for one in pair], [one[1] for one in raw]
    return [*made, timed_row("processor time of one process by then", "s", used, peer=ray_used, peer_name=RAY)]


def run(pairs: int) -> BenchReport:
    """Measure everything: about a minute per round."""
    before = setting()
    found = rows(pairs)
    return BenchReport("Start-up", tuple(found), before | {"load average at the end": setting()["load average"]})


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
