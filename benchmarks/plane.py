"""What the beats of 200 peers cost, and whether load alone brings a false verdict.

``python -m benchmarks.plane [--json] [--samples N] [--minutes M] [--quick]`` (DET-1, DET-3, DET-9)

Cost: the processor time of the collecting process (all its threads) in windows of one second, as a percentage of one
core, while 200 peers beat each 100 ms over ipc. The collector is the real ``Detection`` on a real ``PlaneLoop``:
decoding, verdicts, a tick each 25 ms, death watch; the peers are simulated by four processes (``_peers``). The peers it
is compared with, at the same rates: asyncio streams with pickled beats and the same verdicts; and a Ray call to each
child each 100 ms, measured with eight actors, which is what two cores carry, and scaled to 200. On a busy machine the
senders fall behind: each window's cost is divided by the beats that came and multiplied by those that should have.

False verdicts: a system with eight children on Ray, and the 200 simulated peers beside it, while ``stress-ng --cpu 2``
loads both cores. Nothing is broken, so each *hung*, *dead* or *unavailable* is false, as is each child that is not in
its first life at the end. A *suspect* is listed apart: it is acted upon by nobody, and heals with the next beat.
"""

import argparse
import asyncio
import os
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks._bare import Bare, bare_cluster, in_own_process
from benchmarks._collectors import AsyncioCollector, Collector, at_full_rate
from benchmarks._peers import INTERVAL, PeerProcesses
from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import BenchSystem, measure, parser, setting, topology
from supervisors.trail.events import EventKind
from supervisors.trail.logs import console

SAMPLES = 30
PEERS = 200
CHILDREN = 8
WINDOW = 1.0
#: ours and asyncio's take turns this often
TURNS = 2
LIMIT = 10.0
ASYNCIO = "asyncio streams and pickle: the same 200 peers, rates and verdicts"
RAY = f"Ray: each child called once per {INTERVAL * 1e3:.0f} ms, the caller's process; {CHILDREN} actors, scaled to 200"
FALSE = frozenset({"hung", "dead", "unavailable"})


def our_windows(count: int) -> list[float]:
    """Percent of one core, ours."""
    found = []
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rayvisor-bench-") as name:
        directory = Path(name)
        with PeerProcesses("plane", directory, PEERS) as peers, Collector(directory, peers.pids) as collector:
            time.sleep(1.0)
            for _ in range(count):
                cpu, beats = collector.cpu(), collector.beats()
                time.sleep(WINDOW)
                found.append(at_full_rate(collector.cpu() - cpu, collector.beats() - beats, PEERS))
    return found


def asyncio_windows(count: int) -> list[float]:
    """Percent of one core, asyncio and pickle."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rayvisor-bench-") as name:
        return asyncio.run(AsyncioCollector(Path(name)).windows(PEERS, count, WINDOW))


def be_ray_peer(count: int) -> None:
    """In a process of its own: the caller of eight actors; prints percentages of one core, scaled to 200."""

    async def beat(actor: object, told: list[int]) -> None:
        due = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += INTERVAL
            told[0] = await actor.echo.remote(told[0] + 1)  # type: ignore[attr-defined]

    async def windows(actors: list[object]) -> list[float]:
        counters = [[0] for _ in actors]
        tasks = [asyncio.ensure_future(beat(*pair)) for pair in zip(actors, counters, strict=True)]
        await asyncio.sleep(2.0)
        found = []
        for _ in range(count):
            cpu, calls = time.process_time(), sum(c[0] for c in counters)
            await asyncio.sleep(WINDOW)
            found.append(at_full_rate(time.process_time() - cpu, sum(c[0] for c in counters) - calls, PEERS))
        for task in tasks:
            task.cancel()
        return found

    with bare_cluster():
        import ray

        actors = [ray.remote(Bare).options(num_cpus=0).remote() for _ in range(CHILDREN)]
        ray.get([actor.pid.remote() for actor in actors])
        figures = asyncio.run(windows(actors))
    print(*figures)


def costs(samples: int) -> list[Row]:
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(TURNS):
        ours += our_windows(samples // TURNS)
        plain += asyncio_windows(samples // TURNS)
    ray_calls = [
        float(word) for word in in_own_process("benchmarks.plane", "--ray-peer", str(samples // TURNS)).split()
    ]
    ok = percentile(ours, 50) < LIMIT
    name = f"collector of {PEERS} peers, 1 s windows"
    return [
        timed_row(name, "% of a core", ours, peer=plain, peer_name=ASYNCIO, target=f"< {LIMIT:g} %", ok=ok),
        timed_row(name, "% of a core", ours, peer=ray_calls, peer_name=RAY),
    ]


# ---------------------------------------------------------------- false verdicts


def under_load(seconds: float) -> list[Row]:
    """Both cores busy; nothing is broken."""
    children = [{"id": f"child-{number}", "actor": "benchmarks._actors:Idle"} for number in range(CHILDREN)]
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rayvisor-bench-") as name,
        BenchSystem(topology(children, spares=2)) as system,
    ):
        directory = Path(name)
        with PeerProcesses("plane", directory, PEERS) as peers, Collector(directory, peers.pids) as collector:
            time.sleep(2.0)
            cpu, began = collector.cpu(), time.monotonic()
            stress = subprocess.Popen(["stress-ng", "--cpu", "2", "--quiet"], start_new_session=True)
            try:
                time.sleep(seconds)
                busy = os.getloadavg()[0]
            finally:
                stress.terminate()
                stress.wait()
            percent = (collector.cpu() - cpu) / (time.monotonic() - began) * 100
            time.sleep(1.0)
            simulated = collector.verdicts.copy()
            acted = len(collector.acted)
            system.trail.look()
            trail = Counter(
                str(event.data.get("verdict")) for event in system.trail.events if event.kind == EventKind.VERDICT
            )
            lives = sum(event.kind == EventKind.CHILD_READY for event in system.trail.events)
    # eight children and, written by the warden, the root: more would be second lives
    restarts = lives - CHILDREN - 1
    false = acted + restarts + sum((simulated + trail)[verdict] for verdict in FALSE)
    span = f"{seconds / 60:g} min of stress-ng --cpu 2 (load {busy:.1f})"
    watched = PEERS + CHILDREN + 1
    return [
        Row(f"false verdicts, {span}", "verdicts", false, watched, target="0", ok=false == 0),
        Row("of these on children on Ray, restarts included", "verdicts", restarts + sum(trail[v] for v in FALSE), 9),
        Row("suspects that healed, children on Ray", "suspects", trail["suspect"], CHILDREN + 1),
        Row("suspects that healed, simulated peers", "suspects", simulated["suspect"], PEERS),
        Row("the collector meanwhile", "% of a core", percent),
    ]


def run(samples: int, seconds: float) -> BenchReport:
    """Measure everything: about 2 minutes and the time under load."""
    before = setting()
    rows = (*costs(samples), *under_load(seconds))
    return BenchReport("Signal plane", rows, before | {"load average at the end": setting()["load average"]})


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("plane", "what 200 beating peers cost; false verdicts under load", SAMPLES)
    options.add_argument("--minutes", type=float, default=5.0, help="time under load (default 5)")
    options.add_argument("--quick", action="store_true", help="20 s under load")
    options.add_argument("--ray-peer", type=int, default=0, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.ray_peer:
        be_ray_peer(chosen.ray_peer)
        return
    console("WARNING")
    seconds = 20.0 if chosen.quick else chosen.minutes * 60
    measure(lambda: run(max(TURNS, chosen.samples), seconds), as_json=chosen.json)


if __name__ == "__main__":
    main()
