"""How chaos runs end for a shell: the exit code is that of what happened, even where no report can be made or shown."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from supervisors.chaos.history import Outcome, RunWord
from supervisors.chaos.report import Report
from supervisors.chaos.telling import Progress
from supervisors.cli.chaos_runs import show_end
from supervisors.cli.common import BAD_INPUT, FAILED, complain
from supervisors.core.errors import FaultError, RayvisorError

#: worst first: could not revert, aborted, deviated, bad input (nothing was done), held
_WORST = (4, 3, FAILED, BAD_INPUT, 0)
_CODES = {
    Outcome.HELD: 0,
    Outcome.DEVIATED: FAILED,
    Outcome.ABORTED: 3,
    Outcome.NOT_REVERTED: 4,
    Outcome.UNKNOWN: 3,
}
#: what can go wrong when a report is made
ERRORS = (RayvisorError, OSError)


def worst(codes: Iterable[int]) -> int:
    """The exit code of several runs, or of several things said of one."""
    found = set(codes)
    return next((code for code in _WORST if code in found), 0)


class Heard:
    """Listens to a run, so that how it ended is known though nothing can be said of it.

    Args:
        also: told of everything after it was heard.
    """

    def __init__(self, also: Callable[[Progress], None] | None = None) -> None:
        self._also = also
        self._outcome: Outcome | None = None

    def tell(self, progress: Progress) -> None:
        """Something happened in the run."""
        if progress.kind == RunWord.STARTED:
            self._outcome = Outcome.UNKNOWN
        elif progress.kind == RunWord.ENDED:
            self._outcome = Outcome(str(progress.data["outcome"]))
        if self._also is not None:
            self._also(progress)

    @property
    def code(self) -> int:
        """The exit code of what was heard; 0: nothing was done."""
        return 0 if self._outcome is None else _CODES[self._outcome]

    def refused(self, error: RayvisorError | OSError) -> int:
        """Tell of an error; bad input before anything was done, else never better than the run itself."""
        if not isinstance(error, RayvisorError):
            where = f": {error.filename}" if error.filename else ""
            fix = "room and permissions, then rayvisor chaos check RUN"
            error = FaultError(f"the run's report cannot be made: {error.strerror or error}{where}", code=9082, fix=fix)
        complain(error)
        return BAD_INPUT if self._outcome is None else worst([self.code, FAILED])


def finish(heard: Heard, report: Report, folder: Path, *, json_: bool) -> int:
    """Show the report of a run; its exit code."""
    quietly(lambda: show_end(report, folder, json_=json_))
    return worst([report.exit_code, heard.code])


def quietly(show: Callable[[], None]) -> None:
    """Show something; where nobody reads it (a closed pipe) the exit code is still to be that of the run."""
    try:
        show()
    except SystemExit:
        return  # rich ends the program so, and has pointed standard output to nowhere
    except BrokenPipeError:
        # else Python complains when it flushes at its end
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
