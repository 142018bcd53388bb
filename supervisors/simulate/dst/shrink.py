"""A failing seed made short: the fewest faults that still break something, found by leaving others out (ddmin)."""

import msgspec

from supervisors.simulate.dst.kernel import Moment
from supervisors.simulate.dst.model import Fault, Options, plant
from supervisors.simulate.dst.oracle import Violation
from supervisors.simulate.dst.planning import plan
from supervisors.simulate.dst.running import Result, run

#: runs a minimisation may take
MOST_RUNS = 600
#: kinds of events that belong to the story wherever they happen
_EVERYWHERE = frozenset({"fault", "node_lost", "node_back", "healed", "violated"})


class Minimised(msgspec.Struct, frozen=True):
    """The shortest schedule that was found.

    Attributes:
        options: of the run.
        faults: what is left of the plan.
        violation: what they bring about.
        digest: of that run; a replay has the same.
        runs: it took to find.
        planned: faults before.
    """

    options: Options
    faults: tuple[Fault, ...]
    violation: Violation
    digest: int
    runs: int
    planned: int


def minimise(options: Options, *, most: int = MOST_RUNS) -> Minimised | None:
    """The fewest faults of this seed's plan that still violate an invariant; None: it violates none.

    ``most``: runs it may take; what was found until then is the answer.
    """
    planned = plan(options, plant(options.children, options.seed))
    whole = run(options, planned)
    if whole.violation is None:
        return None
    wanted = whole.violation.invariant
    search = _Search(options, wanted, most)
    # what comes after the violation has no part in it; what struck another than was planned stands for itself
    before = [fault for fault in planned if fault.t <= whole.violation.t]
    struck = list(run(options, planned, tracing=True).struck)
    left = search.reduce(struck if search.breaks(struck) else before)
    found = search.best
    if found is None or found.violation is None:  # it took what came later, or nothing shorter was found
        left, found = planned, whole
    assert found.violation is not None
    return Minimised(options, tuple(left), found.violation, found.digest, search.runs + 1, len(planned))


class _Search:
    def __init__(self, options: Options, wanted: str, most: int) -> None:
        self._options = options
        self._wanted = wanted
        self._most = most
        self.runs = 0
        self.best: Result | None = None

    def breaks(self, faults: list[Fault]) -> bool:
        """Still the same invariant; what was found is kept."""
        if self.runs >= self._most:
            return False
        self.runs += 1
        result = run(self._options, faults)
        if result.violation is None or result.violation.invariant != self._wanted:
            return False
        self.best = result
        return True

    def reduce(self, faults: list[Fault]) -> list[Fault]:
        """Delta debugging: leave out ever smaller parts while it still breaks."""
        if not self.breaks(faults):
            return faults
        parts = 2
        while len(faults) > 1 and self.runs < self._most:
            size = max(1, len(faults) // parts)
            rest = self._without_one(faults, size)
            if rest is not None:
                faults = [fault for fault in rest if self._strikes(fault)]
                parts = max(2, parts - 1)
            elif size == 1:
                break
            else:
                parts = min(len(faults), parts * 2)
        if faults and self.breaks([]):
            return []
        return faults

    def _without_one(self, faults: list[Fault], size: int) -> list[Fault] | None:
        for start in range(0, len(faults), size):
            rest = faults[:start] + faults[start + size :]
            if rest and self.breaks(rest):
                return rest
        return None

    def _strikes(self, fault: Fault) -> bool:
        assert self.best is not None
        assert self.best.violation is not None
        return fault.t <= self.best.violation.t


def story(options: Options, faults: list[Fault], *, lines: int = 40) -> tuple[Result, list[Moment]]:
    """The run again with its trace, and of that what leads to the violation: at most ``lines``, the last ones."""
    result = run(options, faults, tracing=True)
    if result.violation is None:
        return result, list(result.trace[-lines:])
    path = result.violation.path
    about = {path, path.rpartition("/")[0] or "/", *(fault.target for fault in faults)}
    kept = [moment for moment in result.trace if moment.kind in _EVERYWHERE or moment.path in about]
    return result, kept[-lines:]
