"""The table of planted bugs: which invariant each broke, after how many seeds, and with how few faults."""

from collections.abc import Iterator

import msgspec

from supervisors.simulate.dst.bugs import BUGS
from supervisors.simulate.dst.model import Options
from supervisors.simulate.dst.running import run
from supervisors.simulate.dst.shrink import minimise

#: seeds within which each bug has to be found
WITHIN = 1000


class Row(msgspec.Struct, frozen=True):
    """One bug.

    Attributes:
        bug, what: its name, in words.
        invariant: what it broke first; empty: it was not found.
        seed: the first that found it.
        seeds: how many that took.
        faults: left after minimising.
        says: the violation, in words.
    """

    bug: str
    what: str
    invariant: str = ""
    seed: int = 0
    seeds: int = 0
    faults: int = 0
    says: str = ""


def bug_table(
    names: tuple[str, ...] = (),
    *,
    first_seed: int = 0,
    within: int = WITHIN,
    options: Options | None = None,
    runs: int = 400,
) -> Iterator[Row]:
    """Look for each of these bugs (all without ``names``) seed by seed; rows as they come. ``runs``: to minimise."""
    base = Options() if options is None else options
    for name in names or tuple(BUGS):
        bug = BUGS[name]
        for seed in range(first_seed, first_seed + within):
            chosen = msgspec.structs.replace(base, seed=seed, bug=name)
            if run(chosen).violation is None:
                continue
            short = minimise(chosen, most=runs)
            assert short is not None
            found = short.violation
            tried = seed - first_seed + 1
            yield Row(name, bug.what, found.invariant, seed, tried, len(short.faults), found.what)
            break
        else:
            yield Row(name, bug.what)
