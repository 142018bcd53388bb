"""What a call by path and a host process cost: ``python -m benchmarks.call [--json] [--samples N]`` (SUP-9).

Call: an actor calls ``echo`` of another on the same node, one call after the other. Ours: ``ctx.call("/echo", ...)``
from a child to a child. The peer: a raw Ray call from a bare async actor to a bare async actor. A third row has the raw
call made from within our child, which tells what the called host adds and what the calling side does. Blocks of 50
calls take turns, ours and the peers', so that other load of the machine meets all alike. A call's time is taken inside
the calling actor.

Memory: a host process with a trivial child against a bare Ray actor process that has answered a call, from
``/proc/<pid>/smaps_rollup``, in a system at rest. The fair figure is private memory (USS): what ends with the process.
RSS counts pages that all Ray workers share once for each.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from benchmarks._bare import Bare
from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import BenchSystem, measure, parser, setting, topology

#: calls of each kind
SAMPLES = 3_000
BLOCK = 50
WARM_UP = 300
CALL_LIMIT = 1.15
MEMORY_LIMIT_MB = 25.0
#: processes of each kind that are looked at
PROCESSES = 5
RAW = "Ray: a raw call, bare async actor to bare async actor, interleaved in blocks"
BARE = "Ray: a bare actor process that has answered a call, median of as many"
MEASURES = ("uss", "pss", "rss")


def calls(system: BenchSystem, samples: int) -> list[Row]:
    """Interleaved blocks of the three ways to call."""
    client = system.connect()
    import ray

    target, caller = (ray.remote(Bare).options(num_cpus=0).remote() for _ in range(2))
    ray.get([target.pid.remote(), caller.pid.remote()])

    def by_path(count: int) -> list[float]:
        return cast("list[float]", client.call("/caller", "time_ours", "/echo", count, timeout=60.0))

    def raw(count: int) -> list[float]:
        return cast("list[float]", ray.get(caller.time_raw.remote(target, count)))

    def raw_from_child(count: int) -> list[float]:
        return cast("list[float]", client.call("/caller", "time_raw", target, count, timeout=60.0))

    ways: dict[str, Callable[[int], list[float]]] = {"ours": by_path, "raw": raw, "mixed": raw_from_child}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(WARM_UP)
    for _ in range(max(1, samples // BLOCK)):
        for name, way in ways.items():
            found[name] += way(BLOCK)
    return [
        timed_row(
            "ctx.call, child to child",
            "us",
            found["ours"],
            peer=found["raw"],
            peer_name=RAW,
            target=f"p50 <= {CALL_LIMIT} x raw",
            ok=percentile(found["ours"], 50) <= CALL_LIMIT * percentile(found["raw"], 50),
        ),
        timed_row("raw call, child to bare actor", "us", found["mixed"], peer=found["raw"], peer_name=RAW),
        timed_row("raw call, bare to bare", "us", found["raw"]),
    ]


def memory_of(pid: int) -> dict[str, float]:
    """Megabytes (10**6 bytes) of one process."""
    values: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    private = values["Private_Clean"] + values["Private_Dirty"]
    return {"uss": private / 1e6, "pss": values["Pss"] / 1e6, "rss": values["Rss"] / 1e6}


def middle(pids: Sequence[int]) -> dict[str, float]:
    """The median process, for each measure."""
    found = [memory_of(pid) for pid in pids]
    return {measure: percentile([one[measure] for one in found], 50) for measure in MEASURES}


def memory(system: BenchSystem) -> list[Row]:
    """Hosts against bare actors, as many of each, alive at the same time."""
    system.connect()
    import ray

    bare = [ray.remote(Bare).options(num_cpus=0).remote() for _ in range(PROCESSES)]
    pids = ray.get([actor.pid.remote() for actor in bare])
    time.sleep(3.0)  # what start-up allocates and frees is over
    hosts = middle([system.host(f"/idle-{number}").pid for number in range(PROCESSES)])
    bares = middle(pids)
    rows = []
    for name in MEASURES:
        more = hosts[name] - bares[name]
        target, ok = "", None
        if name == "uss":
            target, ok = f"<= {MEMORY_LIMIT_MB:g} MB more", more <= MEMORY_LIMIT_MB
        label = f"host with a trivial child, {name.upper()} ({more:+.1f} MB)"
        rows.append(Row(label, "MB", hosts[name], PROCESSES, None, bares[name], BARE, target, ok))
    return rows


def run(samples: int) -> BenchReport:
    """Measure everything: about 30 s."""
    idle = [{"id": f"idle-{number}", "actor": "benchmarks._actors:Idle"} for number in range(PROCESSES)]
    pair = [
        {"id": "echo", "actor": "benchmarks._actors:Idle"},
        {"id": "caller", "actor": "benchmarks._actors:Caller"},
    ]
    before = setting()
    with BenchSystem(topology([*idle, *pair], spares=1)) as system:
        rows = [*memory(system), *calls(system, samples)]
        after = setting()["load average"]
    return BenchReport("Calls and memory", tuple(rows), before | {"load average at the end": after})


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("call", "what a call by path and a host process cost", SAMPLES).parse_args()
    measure(lambda: run(options.samples), as_json=options.json)


if __name__ == "__main__":
    main()
