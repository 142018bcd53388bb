"""Our machine against the real Erlang/OTP supervisor: same scenarios, same traces.

``python -m tests.conformance.differential --examples 20000 [--seed N] [--json]``
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.conformance.scenario import Scenario, run_on_machine, scenarios, settled, to_erlang

SCRIPT = Path(__file__).with_name("oracle.escript")


class OracleUnavailable(RuntimeError):
    """There is no Erlang here, or its supervisor has no debug_info to run under our clock."""


class Divergence(AssertionError):
    """OTP and our machine did different things."""


class Oracle:
    """The Erlang VM that runs OTP's supervisor, one scenario at a time.

    Raises:
        OracleUnavailable: see there.
    """

    def __init__(self) -> None:
        found = shutil.which("escript")
        if found is None:
            raise OracleUnavailable("escript (Erlang/OTP) is not installed")
        self._process = subprocess.Popen(
            [found, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="latin-1"
        )
        greeting = self._read()
        if not greeting.startswith("ready "):
            self.close()
            raise OracleUnavailable(greeting)
        self.release = greeting.removeprefix("ready ")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the VM."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()

    def run(self, scenario: Scenario) -> list[str]:
        """The trace of the real supervisor."""
        assert self._process.stdin is not None
        self._process.stdin.write(to_erlang(scenario) + "\n")
        self._process.stdin.flush()
        return self._read().split(";")

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip("\n")


@dataclass
class Tally:
    """What a run has seen."""

    examples: int = 0
    seconds: float = 0.0
    divergences: int = 0
    distinct: set[str] = field(default_factory=set)
    events: int = 0
    example: str = ""

    def __str__(self) -> str:
        return f"differential: {len(self.distinct)} scenarios, {self.divergences} divergences"


def compare(oracle: Oracle, scenario: Scenario, tally: Tally) -> None:
    """Run one scenario on both sides.

    Raises:
        Divergence: with both traces, from the first difference on.
    """
    theirs = settled(oracle.run(scenario), scenario)
    ours = settled(run_on_machine(scenario), scenario)
    tally.examples += 1
    tally.distinct.add(to_erlang(scenario))
    tally.events += len(theirs)
    if ours != theirs:
        raise Divergence(explain(scenario, ours, theirs))


def explain(scenario: Scenario, ours: list[str], theirs: list[str]) -> str:
    """Both traces, for a person."""
    same = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    lines = [
        to_erlang(scenario),
        f"both: {'; '.join(ours[:same])}",
        f"ours: {'; '.join(ours[same:])}",
        f"OTP:  {'; '.join(theirs[same:])}",
    ]
    return "\n".join(lines)


def search(oracle: Oracle, examples: int, start: int | None, tally: Tally) -> None:
    """Have hypothesis look for a divergence in ``examples`` scenarios; ``start`` seeds it (None: at random).

    Raises:
        Divergence: the smallest it found.
    """

    def one(scenario: Scenario) -> None:
        compare(oracle, scenario, tally)

    prepared: Callable[[], None] = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )(given(scenarios())(one))
    if start is not None:
        prepared = seed(start)(prepared)
    began = time.monotonic()
    try:
        prepared()
    except Divergence as found:
        tally.divergences += 1
        tally.example = str(found)
        raise
    finally:
        tally.seconds += time.monotonic() - began


def main() -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description="our supervision tree against Erlang/OTP's supervisor")
    parser.add_argument("--examples", type=int, default=20_000, help="scenarios to compare")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first batch, for a run that repeats")
    parser.add_argument("--json", action="store_true", help="result as JSON")
    options = parser.parse_args()
    tally = Tally()
    batch = 1000
    try:
        with Oracle() as oracle:
            for number in range(0, options.examples, batch):
                start = None if options.seed is None else options.seed + number
                search(oracle, min(batch, options.examples - number), start, tally)
            release = oracle.release
    except OracleUnavailable as why:
        sys.stderr.write(f"no oracle: {why}\n")
        return 2
    except Divergence:
        release = ""
    if options.json:
        result = {
            "scenarios": len(tally.distinct),
            "divergences": tally.divergences,
            "events": tally.events,
            "seconds": round(tally.seconds, 1),
            "otp": release,
            "example": tally.example,
        }
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write(f"{tally}\n{tally.example}\n" if tally.example else f"{tally}\n")
    return 1 if tally.divergences else 0


if __name__ == "__main__":
    sys.exit(main())
