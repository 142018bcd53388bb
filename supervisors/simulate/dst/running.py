"""One run from its seed, and what came of it."""

import msgspec

from supervisors.simulate.dst.bugs import planted
from supervisors.simulate.dst.kernel import Moment
from supervisors.simulate.dst.model import Fault, Options, plant
from supervisors.simulate.dst.oracle import Violation
from supervisors.simulate.dst.planning import plan
from supervisors.simulate.dst.world import World


class Result(msgspec.Struct, frozen=True):
    """What came of one run.

    Attributes:
        seed: of the run.
        digest: rolling CRC over (time, kind, path) of all that was noted: equal for equal runs.
        violation: the first thing that must never happen and did; None: nothing.
        seconds: simulated.
        faults: that struck, by kind.
        recoveries: lives that came up, by rung.
        appends: events acknowledged to clients.
        callbacks: of the kernel.
        trace: what happened, if it was asked for.
        over: the root had ended before the faults were over.
        struck: the faults as they struck, if a trace was asked for.
    """

    seed: int
    digest: int
    violation: Violation | None
    seconds: float
    faults: dict[str, int]
    recoveries: dict[str, int]
    appends: int
    callbacks: int
    trace: tuple[Moment, ...] = ()
    over: bool = False
    struck: tuple[Fault, ...] = ()

    @property
    def injected(self) -> int:
        """Faults that struck."""
        return sum(self.faults.values())


def run(options: Options, faults: list[Fault] | None = None, *, tracing: bool = False) -> Result:
    """Run one seed; ``faults``: instead of those drawn from it."""
    chosen = plan(options, plant(options.children, options.seed)) if faults is None else faults
    with planted(options.bug) as parts:
        world = World(options, chosen, parts, tracing=tracing)
        world.run()
    kernel = world.kernel
    return Result(
        options.seed,
        kernel.crc,
        world.oracle.violation,
        kernel.now,
        world.injected,
        world.recoveries,
        world.clients.acknowledged,
        kernel.ran,
        tuple(kernel.trace),
        world.ended_early,
        tuple(world.struck) if tracing else (),
    )
