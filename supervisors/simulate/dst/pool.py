"""Many seeds over several processes, their results as they come."""

import multiprocessing
import signal
from collections.abc import Iterator

import msgspec

from supervisors.simulate.dst.model import Options
from supervisors.simulate.dst.running import Result, run

#: seeds a process is given at once
_CHUNK = 4


class Totals(msgspec.Struct):
    """What many runs come to.

    Attributes:
        seeds, seconds: runs, and simulated seconds in all of them.
        faults, recoveries: by kind and by rung.
        fewest: faults in the run that had the fewest; None before the first whole run.
        appends: events acknowledged to clients.
        broken: seeds with their violation.
        over: runs whose root ended before the faults were over.
    """

    seeds: int = 0
    seconds: float = 0.0
    faults: dict[str, int] = {}
    recoveries: dict[str, int] = {}
    fewest: int | None = None
    appends: int = 0
    broken: list[Result] = []
    over: int = 0

    def add(self, result: Result) -> None:
        """One more run."""
        self.seeds += 1
        self.seconds += result.seconds
        self.appends += result.appends
        self.over += result.over
        for kind, count in result.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count
        for rung, count in result.recoveries.items():
            self.recoveries[rung] = self.recoveries.get(rung, 0) + count
        if result.violation is not None:
            self.broken.append(result)
        elif self.fewest is None or result.injected < self.fewest:
            self.fewest = result.injected

    @property
    def injected(self) -> int:
        """Faults that struck, in all."""
        return sum(self.faults.values())


def run_many(options: Options, seeds: range, jobs: int) -> Iterator[Result]:
    """Run these seeds, ``jobs`` at a time; results in the order of the seeds."""
    each = (msgspec.structs.replace(options, seed=seed) for seed in seeds)
    if jobs <= 1:
        yield from map(run, each)
        return
    with multiprocessing.get_context("fork").Pool(jobs, _quiet) as pool:
        yield from pool.imap(run, each, _CHUNK)


def _quiet() -> None:
    """Ctrl-C is for the process that asked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
