"""What a recovery decision costs: ``python -m benchmarks.decision [--json] [--quick]`` (REC-1, REC-9).

Decision: ``decide`` with all evidence at hand, by the default rules, once where the last rule decides (every rule is
looked at: the slowest way) and once where the first does; with the trace as JSON, as the trail gets it. Cases: whole
recoveries through the pure machine, from the failure to ``Closed``, on one core: plain (failure, up, watched) and full
(three rungs, two checks, ramp with checks between, a record kept after each step as the supervisor does). All in one
process, garbage collection as Python has it.
"""

import argparse
import platform
import time
from collections.abc import Callable

import msgspec

from benchmarks._report import BenchReport, Row, percentile, timed_row
from supervisors.core.reasons import crash
from supervisors.recovery.case import RecoveryCase
from supervisors.recovery.decision import decide
from supervisors.recovery.evidence import (
    CheckpointEvidence,
    CorruptionEvidence,
    CountEvidence,
    FailureEvidence,
    StandbyEvidence,
    UnknownEvidence,
    VolatilityEvidence,
)
from supervisors.recovery.messages import (
    AttemptFailed,
    AttemptSucceeded,
    Closed,
    FailureSeen,
    SetTimer,
    StepDone,
    TimerFired,
    Validate,
    Validated,
)
from supervisors.recovery.policy import FailureClass, Phase, RampSpec, RecoverySpec, Rung, ValidationStep
from supervisors.recovery.progress import History

SAMPLES = 50_000
CASES = 2_000
DECISION_LIMIT_US = 100.0
RECOVERIES_LIMIT = 100.0
BOOM = crash("boom")


class AtHand(UnknownEvidence):
    """All evidence is known; ``synced`` and ``fresh`` say how good it is."""

    def __init__(self, *, synced: bool) -> None:
        self._standby = StandbyEvidence(synced, 0.01, "host-1")

    def standby(self) -> StandbyEvidence:
        return self._standby

    def checkpoint(self) -> CheckpointEvidence:
        return CheckpointEvidence(True, 900.0, 1_234_567)

    def failure(self) -> FailureEvidence:
        return FailureEvidence(FailureClass.CRASH)

    def corruption(self) -> CorruptionEvidence:
        return CorruptionEvidence(False)

    def failed_recoveries(self, within: float) -> CountEvidence:
        return CountEvidence(0)

    def volatility(self) -> VolatilityEvidence:
        return VolatilityEvidence(1.1)


PLAIN = RecoverySpec(standbys=1)
FULL = RecoverySpec(
    standbys=1,
    ramp=RampSpec(),
    validate=(ValidationStep("positions", "/w", "m"), ValidationStep("pnl", "/w", "m", phase=Phase.SHORT)),
)


def decisions(source: AtHand, samples: int, *, as_json: bool) -> list[float]:
    """Microseconds of each."""
    found = []
    for _ in range(samples):
        begin = time.perf_counter_ns()
        decision = decide(PLAIN, source, 0.0)
        if as_json:
            decision.to_json()
        found.append((time.perf_counter_ns() - begin) / 1e3)
    return found


def plain_case(number: int) -> int:
    """Failure, standby promoted, watched: steps taken."""
    case = RecoveryCase("/cell/md", PLAIN, History())
    case.step(FailureSeen(f"/cell/md#{number}", 1, BOOM, AtHand(synced=True)), 0.0)
    effects = case.step(AttemptSucceeded(Rung.HOT, 2, 1), 0.01)
    watch = next(effect for effect in effects if isinstance(effect, SetTimer))
    closed = case.step(TimerFired(watch.token), watch.at)
    assert isinstance(closed[-1], Closed)
    return 3


def full_case(number: int) -> int:
    """Down two rungs, up by the third, checked and ramped, a record for each step: steps taken."""
    case = RecoveryCase("/cell/md", FULL, History())
    now, steps = 0.0, 0
    timers: dict[int, float] = {}
    waiting = FailureSeen(f"/cell/md#{number}", 1, BOOM, AtHand(synced=True))
    event: object = waiting
    while True:
        effects = case.step(event, now)  # type: ignore[arg-type]
        msgspec.json.encode(case.record())
        steps += 1
        timers |= {effect.token: effect.at for effect in effects if isinstance(effect, SetTimer)}
        check = next((effect for effect in effects if isinstance(effect, Validate)), None)
        rung = case.attempting
        if case.closed:
            return steps
        now += 0.01
        if check is not None:
            event = Validated(check.step.name, True, "", check.run)
        elif rung in (Rung.HOT, Rung.WARM):
            event = AttemptFailed(rung, "no", case.number)
        elif rung is Rung.COLD:
            done = isinstance(event, StepDone)
            event = AttemptSucceeded(rung, 2, case.number) if done else StepDone("fence", 0.01)
        else:
            token = min((timer for timer in case.record().timers.values()), key=lambda timer: timer.at).token
            now = max(now, timers[token])
            event = TimerFired(token)


def cases_per_second(run: Callable[[int], int], count: int) -> tuple[float, float]:
    """Cases and steps in a second of one core (CPU time: other load of the machine does not count)."""
    run(0)
    begin = time.process_time()
    steps = sum(run(number) for number in range(count))
    seconds = time.process_time() - begin
    return count / seconds, steps / seconds


def measure(samples: int, cases: int) -> BenchReport:
    """All rows."""
    rows: list[Row] = []
    for name, synced, as_json in (
        ("decision, last of six rules", False, False),
        ("decision, first of six rules", True, False),
        ("decision, last of six rules, with its trace as JSON", False, True),
    ):
        source = AtHand(synced=synced)
        decisions(source, 1_000, as_json=as_json)
        found = decisions(source, samples, as_json=as_json)
        kept = percentile(found, 99) < DECISION_LIMIT_US
        rows.append(timed_row(name, "us", found, target=f"p99 < {DECISION_LIMIT_US:g} us", ok=kept))
    for name, run, count in (("plain cases", plain_case, cases * 2), ("full cases, kept", full_case, cases)):
        rate, steps = cases_per_second(run, count)
        target = f">= {RECOVERIES_LIMIT:g} recoveries/s"
        rows.append(Row(name, "1/s", rate, count, target=target, ok=rate >= RECOVERIES_LIMIT))
        rows.append(Row(f"steps of {name}", "1/s", steps, count))
    setting: dict[str, str | int | float] = {"python": platform.python_version(), "rules": len(PLAIN.rules)}
    return BenchReport("Recovery decisions and cases", tuple(rows), setting)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    given = parser.parse_args()
    share = 10 if given.quick else 1
    measure(SAMPLES // share, CASES // share).show(as_json=given.json)


if __name__ == "__main__":
    main()
