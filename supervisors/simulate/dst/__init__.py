"""Deterministic simulation: the pure machines together over a simulated network, disks and clocks, under faults.

    from supervisors.simulate.dst import Options, minimise, run

    result = run(Options(seed=7))
    if result.violation is not None:
        print(minimise(Options(seed=7)))

Tree, decision, ladder, lease, replication and promotion are those that run for real; what carries out their effects is
simulated, in one thread and on one heap, so that equal seeds give equal runs. See docs/simulation.md.
"""

from supervisors.simulate.dst.bugs import BUGS, Bug
from supervisors.simulate.dst.model import Fault, Options
from supervisors.simulate.dst.oracle import Violation
from supervisors.simulate.dst.pool import Totals, run_many
from supervisors.simulate.dst.replaying import SavedRun, load, replay, save
from supervisors.simulate.dst.running import Result, run
from supervisors.simulate.dst.shrink import Minimised, minimise, story
from supervisors.simulate.dst.table import Row, bug_table

__all__ = [
    "BUGS",
    "Bug",
    "Fault",
    "Minimised",
    "Options",
    "Result",
    "Row",
    "SavedRun",
    "Totals",
    "Violation",
    "bug_table",
    "load",
    "minimise",
    "replay",
    "run",
    "run_many",
    "save",
    "story",
]
