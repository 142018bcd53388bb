"""How soon a killed child works again: ``python -m benchmarks.restart [--json] [--samples N]``.

From just before the SIGKILL

* to *ready*: the ``child_ready`` event of the next life in the trail (one monotonic clock for all processes);
* to *answered*: a call by path, waiting since the kill, has its answer from the next life.

The peer is Ray's own restart, on the same cluster: a bare actor of an equally trivial class with ``max_restarts=-1``
and ``max_task_retries=-1``, killed alike, until a call made right after the kill has its answer from the new process.
"Answered" is the like-for-like comparison; "ready" is what the supervisor promises, and earlier. Ours and the peer's
samples take turns; before each, the spares are complete and nothing starts any more. At the end, for information, the
same without spares, in a system of its own: then a process must be started first, as Ray always must.
"""

import os
import signal
import time
from typing import TYPE_CHECKING

from benchmarks._bare import Bare
from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import BenchSystem, measure, parser, setting, topology
from supervisors.trail.events import EventKind

if TYPE_CHECKING:
    from supervisors.runtime.system import System

SAMPLES = 40
#: the default of a topology
SPARES = 2
PATH = "/target"
CHILD = {"id": "target", "actor": "benchmarks._actors:Idle"}
RAY = "Ray: max_restarts=-1, max_task_retries=-1, same cluster, until a call made after the kill is answered"


class Target:
    """The child that is killed again and again."""

    def __init__(self, system: BenchSystem, spares: int) -> None:
        self._system = system
        self._spares = spares
        self._life = 1

    def _kill(self) -> float:
        pid = self._system.settle(PATH, self._life, self._spares).pid
        self._life += 1
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return began

    def to_ready(self) -> float:
        """Milliseconds to ready; nothing else goes on meanwhile."""
        began = self._kill()
        event = self._system.trail.wait(EventKind.CHILD_READY, PATH, self._life)
        return (event.t - began) * 1e3

    def to_answer(self, client: "System") -> float:
        """Milliseconds until a call has its answer from the next life."""
        before = client.call(PATH, "pid")
        began = self._kill()
        after = client.call(PATH, "pid", timeout=30.0)
        spent = time.monotonic() - began
        assert before != after
        return spent * 1e3


class RayTarget:
    """A bare actor that Ray restarts."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._actor = ray.remote(Bare).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()

    def to_answer(self) -> float:
        """Milliseconds until a call has its answer from the next life."""
        before = self._ray.get(self._actor.pid.remote())
        time.sleep(0.25)
        began = time.monotonic()
        os.kill(before, signal.SIGKILL)
        while True:
            after = self._ray.get(self._actor.pid.remote(), timeout=60)
            if after != before:  # a call may still have been answered by the dying one
                return (time.monotonic() - began) * 1e3


def with_spares(samples: int) -> list[Row]:
    ready: list[float] = []
    answered: list[float] = []
    peer: list[float] = []
    with BenchSystem(topology([CHILD], spares=SPARES)) as system:
        client = system.connect()
        target, bare = Target(system, SPARES), RayTarget()
        for _ in range(samples):
            ready.append(target.to_ready())
            peer.append(bare.to_answer())
            answered.append(target.to_answer(client))
    p50, ray_p50 = percentile(ready, 50), percentile(peer, 50)
    return [
        timed_row(
            "with a spare: SIGKILL to ready",
            "ms",
            ready,
            peer=peer,
            peer_name=RAY,
            target="p50 < 200 ms and <= 1/8 of Ray",
            ok=p50 < 200 and p50 <= ray_p50 / 8,
        ),
        timed_row(
            "with a spare: SIGKILL to a call answered",
            "ms",
            answered,
            peer=peer,
            peer_name=RAY,
            target="<= 1/8 of Ray",
            ok=percentile(answered, 50) <= ray_p50 / 8,
        ),
        timed_row("Ray alone: SIGKILL to a call answered", "ms", peer),
    ]


def without_spares(samples: int, ray: float | None) -> Row:
    with BenchSystem(topology([CHILD], spares=0)) as system:
        target = Target(system, 0)
        found = [target.to_ready() for _ in range(samples)]
    return Row(
        "without a spare: SIGKILL to ready", "ms", percentile(found, 50), samples, percentile(found, 99), ray, RAY
    )


def run(samples: int) -> BenchReport:
    """Measure everything: about 8 s per sample."""
    before = setting()
    rows = with_spares(samples)
    rows.append(without_spares(samples, rows[0].peer))
    return BenchReport("Restart", tuple(rows), before | {"load average at the end": setting()["load average"]})


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("restart", "how soon a killed child works again", SAMPLES).parse_args()
    measure(lambda: run(options.samples), as_json=options.json)


if __name__ == "__main__":
    main()
