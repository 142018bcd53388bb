"""What faults cost while none is armed, and how soon one is: ``python -m benchmarks.injection [--json] [--samples N]``.

Hooks: the code of a host with its hooks, nothing armed, against the same code without them: a call as it reaches the
host, a call that leaves, an item that is published. Both run in this process, in blocks that take turns; what is told
is the difference of the medians (FLT-1: at most 1 us for an actor's call, both ends together). For the scale a row has
the whole call, child to child, in a system whose topology allows faults.

Arming: from the order to the answer that the fault is armed, at a running actor, over the plane. The peer: a call of a
bare Ray actor that reads the same orders, arms the same board and answers the same, in turns with ours. Both are asked
from this process, which waits for the answer.
"""

import time
from collections.abc import Callable
from typing import cast

import msgspec

from benchmarks._report import BenchReport, Row, percentile, timed_row
from benchmarks._system import BenchSystem, measure, parser, setting, topology
from supervisors.faults.board import FaultBoard
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.order import FaultOrder, decode, encode
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.faultplane import FaultPlane, Left

SAMPLES = 1_000
ARM_LIMIT_MS = 5.0
RAY = "Ray: a call of a bare actor that arms the same board, in turns"
_PATH = "/idle"


# ---------------------------------------------------------------- arming


class Board:
    """The peer: an actor of Ray's that arms what it is told to."""

    def __init__(self) -> None:
        self._board = FaultBoard(SystemClock(), lambda armed: None)

    async def arm(self, orders: bytes) -> bytes:
        for order in decode(orders):
            self._board.arm(order)
        return msgspec.msgpack.encode(self._board.states())

    async def disarm(self, fault_id: str) -> bytes:
        self._board.disarm(fault_id)
        return msgspec.msgpack.encode(self._board.states())


def arming(system: BenchSystem, samples: int) -> list[Row]:
    """Arm and disarm, ours and the peer's in turns."""
    client = system.connect()
    import ray

    peer = ray.remote(Board).options(num_cpus=0).remote()
    endpoint = system.host(_PATH).endpoint
    kind = CATALOGUE.find("hang")
    found: dict[str, list[float]] = {"arm": [], "disarm": [], "ray arm": [], "ray disarm": []}

    def timed(name: str, work: Callable[[], object]) -> object:
        began = time.perf_counter_ns()
        answer = work()
        found[name].append((time.perf_counter_ns() - began) / 1e6)
        return answer

    with FaultPlane("bench") as plane:
        for number in range(samples + 50):
            params = kind.read({"method": "nothing"})
            order = FaultOrder(f"f-{number}", kind.name, _PATH, params, 30.0, kind.hooks, kind.slot)
            (answer,) = cast("list[object]", timed("arm", lambda: plane.arm([(endpoint, order)], 5.0)))  # noqa: B023
            assert getattr(answer, "code", None) == 0, answer
            assert timed("disarm", lambda: plane.disarm(endpoint, order.id, 5.0)) == Left([])  # noqa: B023
            timed("ray arm", lambda: ray.get(peer.arm.remote(encode((order,)))))  # noqa: B023
            timed("ray disarm", lambda: ray.get(peer.disarm.remote(order.id)))  # noqa: B023
            if number == 49:
                for times in found.values():
                    times.clear()
        calls = cast("list[float]", client.call("/caller", "time_ours", "/echo", samples, timeout=60.0))
    arm, limit = found["arm"], ARM_LIMIT_MS
    return [
        timed_row(
            "arm a fault at a running actor",
            "ms",
            arm,
            peer=found["ray arm"],
            peer_name=RAY,
            target=f"p50 < {limit:g} ms",
            ok=percentile(arm, 50) < limit,
        ),
        timed_row("end it", "ms", found["disarm"], peer=found["ray disarm"], peer_name=RAY),
        timed_row("ctx.call, child to child, faults allowed and none armed", "us", calls),
    ]


def run(samples: int) -> BenchReport:
    """Measure everything: about 30 s."""
    before = setting()
    children = [{"id": name, "actor": f"benchmarks._actors:{kind}"} for name, kind in _CHILDREN]
    with BenchSystem(topology(children, spares=0) | {"faults": {"enabled": True}}) as system:
        rows = arming(system, samples)
        after = setting()["load average"]
    from benchmarks._hooks import hooks  # it imports Ray, which must not be there before the system is joined

    rows = [*hooks(), *rows]
    return BenchReport("Faults: hooks and arming", tuple(rows), before | {"load average at the end": after})


_CHILDREN = (("idle", "Idle"), ("echo", "Idle"), ("caller", "Caller"))


def main() -> None:
    """Read the command line, measure, print."""
    options = parser("injection", "what faults cost while none is armed, and how soon one is", SAMPLES).parse_args()
    measure(lambda: run(options.samples), as_json=options.json)


if __name__ == "__main__":
    main()
