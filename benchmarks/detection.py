"""How soon a failure is known: ``python -m benchmarks.detection [--json] [--samples N]`` (DET-1, DET-2, DET-10).

Three failures of a child of a running system, each timed from just before it happens (``time.monotonic`` of this
machine, which all its processes share) to the time of the supervisor's verdict in the trail:

* SIGKILL. Peer: a bare Ray actor of the same cluster with a pending call, killed alike; until that call raises
  ``ActorDiedError`` in this process. That is how a program on Ray learns of it.
* an exception in ``run``; the clock is read in the line that raises. Peer: a pending call on a bare Ray actor that
  raises alike, until the caller has the exception. Ray's answer here needs no detection; it is the fastest Ray can be.
* SIGSTOP, at the default heartbeat. Peer: Ray reports nothing; it is waited for 5 s.

Ours and the peer's samples take turns, so that other load of the machine meets both alike; before each, the child is
ready again, the spare is there and nothing starts any more.
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
SPARES = 1
RAY_PATIENCE = 5.0
RAY_STOPS = 3
DEAD, HUNG = f"{EventKind.VERDICT}:dead", f"{EventKind.VERDICT}:hung"
RAY_KILL = "Ray: a pending call on a bare actor raises ActorDiedError"
RAY_RAISE = "Ray: a pending call on a bare actor that raises, until its caller has the exception"
RAY_STOP = f"Ray: a pending call on a stopped bare actor; nothing within {RAY_PATIENCE:g} s, which is put down here"


class Lives:
    """Counts the lives of one child, and fails each in turn.

    Args:
        system: it runs in.
        path: of the child.
    """

    def __init__(self, system: BenchSystem, path: str) -> None:
        self._system = system
        self._path = path
        self._life = 1

    def by_signal(self, number: signal.Signals, verdict: str) -> float:
        """Milliseconds from the signal to the verdict."""
        pid = self._system.settle(self._path, self._life, SPARES).pid
        began = time.monotonic()
        os.kill(pid, number)
        event = self._system.trail.wait(verdict, self._path, self._life)
        self._life += 1
        return (event.t - began) * 1e3

    def by_exception(self, client: "System") -> float:
        """Milliseconds from the raise to the verdict."""
        self._system.settle(self._path, self._life, SPARES)
        client.call(self._path, "fail")
        event = self._system.trail.wait(DEAD, self._path, self._life)
        assert event.reason is not None
        self._life += 1
        return (event.t - float(event.reason.message.rpartition(" ")[2])) * 1e3


def ray_kill() -> float:
    """Milliseconds until Ray tells of a SIGKILL."""
    import ray

    actor = ray.remote(Bare).options(num_cpus=0).remote()
    pid = ray.get(actor.pid.remote())
    pending = actor.linger.remote()
    time.sleep(0.25)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    try:
        ray.get(pending, timeout=30)
    except ray.exceptions.ActorDiedError:
        return (time.monotonic() - began) * 1e3
    raise AssertionError("Ray took a killed actor for a living one")


class RayRaiser:
    """One bare actor; raising does not end it."""

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._actor = ray.remote(Bare).options(num_cpus=0).remote()
        ray.get(self._actor.pid.remote())

    def sample(self) -> float:
        """Milliseconds from the raise to the caller's exception."""
        pending = self._actor.fail.remote(0.05)
        try:
            self._ray.get(pending, timeout=30)
        except RuntimeError as error:  # Ray raises a subclass of the method's own class, too
            now = time.monotonic()
            return (now - float(str(error).strip().rpartition(" ")[2])) * 1e3
        raise AssertionError("it did not raise")


def ray_stop() -> bool:
    """True when Ray told anything of a stopped actor within ``RAY_PATIENCE``."""
    import ray

    actor = ray.remote(Bare).options(num_cpus=0).remote()
    pid = ray.get(actor.pid.remote())
    pending = [actor.linger.remote(), actor.echo.remote(1)]
    ray.get(pending.pop())
    os.kill(pid, signal.SIGSTOP)
    try:
        told, _ = ray.wait([*pending, actor.echo.remote(2)], num_returns=1, timeout=RAY_PATIENCE)
        return bool(told)
    finally:
        os.kill(pid, signal.SIGKILL)


def kills(system: BenchSystem, samples: int) -> Row:
    lives = Lives(system, "/killed")
    ours, peer = [], []
    for _ in range(samples):
        ours.append(lives.by_signal(signal.SIGKILL, DEAD))
        peer.append(ray_kill())
    p50 = percentile(ours, 50)
    return timed_row(
        "SIGKILL to verdict",
        "ms",
        ours,
        peer=peer,
        peer_name=RAY_KILL,
        target="p50 < 5 ms and <= 1/2 of Ray",
        ok=p50 < 5 and p50 <= percentile(peer, 50) / 2,
    )


def raises(system: BenchSystem, client: "System", samples: int) -> Row:
    lives, raiser = Lives(system, "/raises"), RayRaiser()
    ours, peer = [], []
    for _ in range(samples):
        ours.append(lives.by_exception(client))
        peer.append(raiser.sample())
    return timed_row(
        "exception in run to verdict",
        "ms",
        ours,
        peer=peer,
        peer_name=RAY_RAISE,
        target="p50 < 3 ms",
        ok=percentile(ours, 50) < 3,
    )


def stops(system: BenchSystem, samples: int) -> Row:
    lives = Lives(system, "/stopped")
    ours = [lives.by_signal(signal.SIGSTOP, HUNG) for _ in range(samples)]
    told = [ray_stop() for _ in range(RAY_STOPS)]
    return timed_row(
        "SIGSTOP to verdict",
        "ms",
        ours,
        peer=[RAY_PATIENCE * 1e3] * told.count(False),
        peer_name=RAY_STOP,
        target="p99 < 450 ms, Ray: nothing",
        ok=percentile(ours, 99) < 450 and not any(told),
    )


def run(samples: int) -> BenchReport:
    """Measure everything: about 7 s per sample of each."""
    idle = {"actor": "benchmarks._actors:Idle"}
    children = [
        {"id": "killed", **idle},
        {"id": "stopped", **idle},
        {"id": "raises", "actor": "benchmarks._actors:Raiser"},
    ]
    before = setting()
    with BenchSystem(topology(children, spares=SPARES)) as system:
        client = system.connect()
        rows = (kills(system, samples), raises(system, client, samples), stops(system, samples))
        after = setting()["load average"]
    return BenchReport("Detection", rows, before | {"load average at the end": after})


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("detection", "how soon a failure is known", SAMPLES).parse_args()
    measure(lambda: run(options.samples), as_json=options.json)


if __name__ == "__main__":
    main()
