"""A run in a file: seed, size, faults and what came of it, so that it can be run again bit for bit."""

from pathlib import Path

import msgspec

from supervisors.core.errors import SpecError
from supervisors.simulate.dst.injecting import check
from supervisors.simulate.dst.model import Fault, Options, plant
from supervisors.simulate.dst.running import Result, run

#: a saved run cannot be read, or names what is not known
BAD_RUN = 1514


class SavedRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file holds; ``digest``: of the run, which a replay has to have as well.

    ``invariant``, ``what``: of the violation; empty: there was none.
    """

    options: Options
    faults: tuple[Fault, ...]
    digest: str
    invariant: str = ""
    what: str = ""


def save(path: Path, options: Options, faults: tuple[Fault, ...], result: Result) -> None:
    """Write a run down.

    Raises:
        SpecError: the file cannot be written.
    """
    found = result.violation
    kept = SavedRun(
        options, faults, f"{result.digest:08x}", found.invariant if found else "", found.what if found else ""
    )
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}", code=BAD_RUN, fix="another place") from None


def load(path: Path) -> SavedRun:
    """Read a run.

    Raises:
        SpecError: there is no such file, or it holds no run, or one that names what is not known.
    """
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=SavedRun)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", code=BAD_RUN, fix="check the path") from None
    except msgspec.MsgspecError as error:
        raise SpecError(f"{path} holds no saved run: {error}", code=BAD_RUN, fix="a file that --save wrote") from None
    tree = plant(kept.options.children, kept.options.seed)
    for number, fault in enumerate(kept.faults):
        if why := check(fault, tree):
            raise SpecError(
                f"{path}: fault {number} ({fault.kind}): {why}", code=BAD_RUN, fix="a file that --save wrote"
            )
    return kept


def replay(kept: SavedRun, *, tracing: bool = False) -> Result:
    """Run it again."""
    return run(kept.options, list(kept.faults), tracing=tracing)
