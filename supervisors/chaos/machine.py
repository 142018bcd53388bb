"""A run of an experiment as a pure machine: steady state, method, hypothesis, rollbacks, settling, outcome.

    machine = ExperimentMachine(experiment)
    effects = machine.step(Began(), now)        # then an answer for each effect that has a token, and Woke at wake_at

Rules, in the order a reader meets them:
 1. Not in its steady state before: nothing is broken, and the run counts as aborted.
 2. Steps are done in order; those of ``parallel`` and ``background`` in strands beside. A strand waits for one thing.
 3. A probe that fails in the method or after it makes the run deviate; it goes on. A steady-state probe that fails
    while the method runs aborts it, unless ``controls.abort.probe_fails`` is false: then it deviates.
 4. However the method ends, everything is reverted, then the rollbacks are done, then the system may settle.
    Nothing stops that: an order to abort which comes then makes the run aborted and only ends the waiting.
    No strand of the method outlives the method: nothing is injected after the last revert.
 5. What could not be reverted is told before anything else, an abort before a deviation.
 6. After ``Finish`` nothing is emitted.

Strands are generators that yield what they wait for, as the operations of ``supervisors.tree.machine`` do.
"""

import zlib
from collections.abc import Generator, Sequence
from enum import StrEnum

from supervisors.chaos.document import (
    ALL,
    BackgroundStep,
    CallStep,
    Experiment,
    FaultStep,
    KillStep,
    ParallelStep,
    Probe,
    QuietStep,
    RepeatStep,
    RevertStep,
    Step,
    WaitStep,
)
from supervisors.chaos.history import Outcome, RunWord
from supervisors.chaos.messages import (
    Abort,
    Began,
    Called,
    DoCall,
    DoInject,
    DoProbe,
    DoRevert,
    DoSettle,
    Effect,
    Event,
    Finish,
    Injected,
    Probed,
    Refused,
    Reverted,
    Say,
    Settled,
    StartLoad,
    StopLoad,
)
from supervisors.core.durations import format_duration
from supervisors.trail.events import Scalar


class Phase(StrEnum):
    """How far a run is."""

    BEFORE = "before"
    METHOD = "method"
    AFTER = "after"
    ROLLBACK = "rollback"
    SETTLING = "settling"
    DONE = "done"


#: phases that an abort breaks off
_OPEN = frozenset({Phase.BEFORE, Phase.METHOD, Phase.AFTER})
Answer = Probed | Injected | Refused | Called | Reverted | Settled
#: what a strand waits for: an answer (its token), a time, or the end of other strands
_Wait = int | float | frozenset[int]
Strand = Generator[_Wait, Answer | None, None]


class ExperimentMachine:
    """One run.

    Args:
        experiment: what is to be done.

    Attributes:
        phase: how far it is.
        faults: injected so far, refused ones left out.
        outcome, why: at the end; before it what they would be now.
        hurried: it was told to abort while it rolled back: nothing is waited for any more.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self.phase = Phase.BEFORE
        self.faults = 0
        self._asked = 0
        self._now = 0.0
        self._began = 0.0
        self._effects: list[Effect] = []
        self._strands: dict[int, Strand] = {}
        self._waits: dict[int, _Wait] = {}
        self._background: set[int] = set()
        self._watch: int | None = None
        self._watch_ends = False
        self._current = 0
        self._serial = 0
        self.hurried = False
        self._names: dict[str, tuple[str, ...]] = {}
        self._abort_why = ""
        self._deviations: list[str] = []
        self._stuck: list[str] = []

    @property
    def outcome(self) -> Outcome:
        """See the rules."""
        if self._stuck:
            return Outcome.NOT_REVERTED
        if self._abort_why:
            return Outcome.ABORTED
        return Outcome.DEVIATED if self._deviations else Outcome.HELD

    @property
    def why(self) -> str:
        """What led to the outcome; empty when it held."""
        stuck = [f"could not be reverted: {', '.join(self._stuck)}"] if self._stuck else []
        aborted = [self._abort_why] if self._abort_why else []
        return "; ".join([*stuck, *aborted, *self._deviations][:10])  # the journal has them all

    @property
    def wake_at(self) -> float | None:
        """Monotonic seconds at which it wants a ``Woke``; None: it waits for answers only."""
        times = [wait for wait in self._waits.values() if isinstance(wait, float)]
        if self.phase in _OPEN:
            times.append(self._began + self._experiment.controls.abort.max_duration)
        return min(times, default=None)

    def step(self, event: Event, now: float) -> list[Effect]:
        """Take one event at ``now`` (monotonic seconds) and return what is to be done, in order."""
        self._effects = []
        self._now = now
        if self.phase is Phase.DONE:
            return []
        match event:
            case Began():
                self._began = now
                self._start(self._main())
            case Abort(why=why):
                self._break_off(why)
            case Probed() | Injected() | Refused() | Called() | Reverted() | Settled():
                self._answered(event)
            case _:
                pass
        self._run_due()
        return self._effects

    # ------------------------------------------------------------ strands

    def _start(self, strand: Strand) -> int:
        self._serial += 1
        number = self._serial
        self._strands[number] = strand
        self._go_on(number, None)
        return number

    def _go_on(self, number: int, answer: Answer | None) -> None:
        self._waits.pop(number, None)
        before, self._current = self._current, number
        try:
            wait = self._strands[number].send(answer)
        except StopIteration:
            self._strands.pop(number, None)
            self._background.discard(number)
            return
        finally:
            self._current = before
        # it may have broken itself off
        if number in self._strands:
            self._waits[number] = wait

    def _answered(self, answer: Answer) -> None:
        for number, wait in list(self._waits.items()):
            if wait == answer.token and isinstance(wait, int):
                self._go_on(number, answer)
                return
        if isinstance(answer, Injected):
            # its strand was broken off meanwhile: it is reverted with all others
            self._effects.append(Say(RunWord.INJECTED, {"id": ",".join(answer.ids), "late": True}))
            if self.phase not in _OPEN:
                self._effects.append(DoRevert(self._token(), answer.ids, "the run was broken off"))
        elif isinstance(answer, Reverted):
            self._stuck += answer.stuck

    def _run_due(self) -> None:
        """Everything that need not wait any longer, until nothing is left of that kind."""
        while True:
            limit = self._experiment.controls.abort.max_duration
            if self.phase in _OPEN and self._now >= self._began + limit:
                self._break_off(f"it took longer than {format_duration(limit)}")
            if self._abort_why and self.phase in _OPEN:
                self._roll_back_now()
            due = next((number for number, wait in self._waits.items() if self._is_due(wait)), None)
            if due is None:
                return
            self._go_on(due, None)

    def _is_due(self, wait: _Wait) -> bool:
        if isinstance(wait, frozenset):
            return not wait & self._strands.keys()
        return isinstance(wait, float) and (wait <= self._now or self.hurried)

    def _token(self) -> int:
        self._serial += 1
        return self._serial

    # ------------------------------------------------------------ breaking off

    def _break_off(self, why: str) -> None:
        first, self._abort_why = not self._abort_why, self._abort_why or why
        if self.phase in _OPEN:
            return  # told when the strands are dropped
        if first:
            self._effects.append(Say(RunWord.ABORTED, {"why": why}))
        self.hurried = True
        if self.phase is Phase.SETTLING:
            self._finish()

    def _fail(self, why: str) -> None:
        """Something that has to work did not: that breaks the run off, or is told of it when it is ending anyway."""
        if self.phase in _OPEN:
            self._abort_why = self._abort_why or why
        else:
            self._deviations.append(why)

    def _roll_back_now(self) -> None:
        self._effects.append(Say(RunWord.ABORTED, {"why": self._abort_why}))
        self._start(self._end())

    # ------------------------------------------------------------ the run

    def _main(self) -> Strand:
        experiment, strategy = self._experiment, self._experiment.hypothesis.strategy
        if strategy.before:
            for probe in experiment.steady_state:
                answer = yield from self._probe(probe, "before")
                if not answer.ok:
                    self._abort_why = f"not in its steady state before: {probe.title}: {answer.why}"
                    return
        self.phase = Phase.METHOD
        if experiment.workload is not None:
            self._effects.append(StartLoad())
        if strategy.during and experiment.steady_state:
            self._watch = self._start(self._watching())
        yield from self._steps(experiment.method)
        while self._background:
            # those that run may have begun others
            yield frozenset(self._background)
        yield from self._unwatch()
        self.phase = Phase.AFTER
        if strategy.after:
            for probe in experiment.steady_state:
                answer = yield from self._probe(probe, "after")
                if not answer.ok:
                    self._deviations.append(f"after: {probe.title}: {answer.why}")
        yield from self._end()

    def _end(self) -> Strand:
        self.phase = Phase.ROLLBACK
        # dropped, not closed: the one that found the reason may be running
        for number in self._strands.keys() - {self._current}:
            self._strands.pop(number)
            self._waits.pop(number, None)
        self._background.clear()
        self._watch = None
        if self._experiment.workload is not None:
            self._effects.append(StopLoad())
        token = self._token()
        self._effects.append(DoRevert(token, None, "the run ends" if not self._abort_why else "the run was aborted"))
        answer = yield token
        if isinstance(answer, Reverted):
            self._stuck += answer.stuck
        for step in self._experiment.rollbacks:
            yield from self._quiet(step, "rollbacks")
        self.phase = Phase.SETTLING
        if self._asked:
            token = self._token()
            self._effects.append(DoSettle(token, 0.0 if self.hurried else self._experiment.settle))
            answer = yield token
            if isinstance(answer, Settled) and not answer.ok:
                self._deviations.append(f"not well again at the end: {answer.why}")
        self._finish()

    def _finish(self) -> None:
        self.phase = Phase.DONE
        self._strands.clear()
        self._waits.clear()
        self._effects.append(Finish(self.outcome, self.why))

    # ------------------------------------------------------------ the hypothesis

    def _watching(self) -> Strand:
        """The steady state again and again, for as long as the method runs."""
        hypothesis, told = self._experiment.hypothesis, set[str]()
        while True:
            due = self._now + hypothesis.every
            for probe in self._experiment.steady_state:
                answer = yield from self._probe(probe, "during")
                if answer.ok:
                    continue
                text = f"during: {probe.title}: {answer.why}"
                if self._experiment.controls.abort.probe_fails:
                    self._fail(text)
                    return
                if probe.title not in told:
                    told.add(probe.title)
                    self._deviations.append(text)
            if self._watch_ends:
                return
            yield due

    def _unwatch(self) -> Strand:
        """No more looks; one that is under way is waited for: the first begins with the method, so there is one."""
        if self._watch is None or self._watch not in self._strands:
            return
        if isinstance(self._waits.get(self._watch), float):
            self._strands.pop(self._watch)
            self._waits.pop(self._watch)
            return
        self._watch_ends = True
        yield frozenset([self._watch])

    # ------------------------------------------------------------ steps

    def _steps(self, steps: Sequence[Step]) -> Strand:
        for step in steps:
            yield from self._one(step)

    def _one(self, step: Step) -> Strand:
        match step:
            case ParallelStep():
                parts = [one if isinstance(one, list) else [one] for one in step.parallel]
                yield frozenset([self._start(self._steps(part)) for part in parts])
            case BackgroundStep():
                number = self._start(self._steps(step.background))
                if number in self._strands:
                    self._background.add(number)
            case RepeatStep():
                for _ in range(step.repeat.times):
                    due = self._now + step.repeat.every
                    yield from self._steps(step.repeat.steps)
                    if step.repeat.every:
                        yield due
            case KillStep():
                yield from self._controlled(step.as_fault())
            case FaultStep() | CallStep():
                yield from self._controlled(step)
            case _:
                yield from self._quiet(step, "method")

    def _controlled(self, step: FaultStep | CallStep) -> Strand:
        controls = self._experiment.controls
        for quiet in controls.before_each:
            yield from self._quiet(quiet, "controls")
        if isinstance(step, FaultStep):
            yield from self._inject(step)
        else:
            yield from self._call(step)
        for quiet in controls.after_each:
            yield from self._quiet(quiet, "controls")

    def _quiet(self, step: QuietStep, when: str) -> Strand:
        match step:
            case WaitStep():
                self._effects.append(Say("step", {"what": f"wait {format_duration(step.wait)}"}))
                yield self._now + step.wait
            case RevertStep():
                yield from self._revert(step)
            case CallStep():
                yield from self._call(step)
            case _:
                answer = yield from self._probe(step, when)
                if not answer.ok:
                    self._deviations.append(f"{when}: {step.title}: {answer.why}")

    def _probe(self, probe: Probe, when: str) -> Generator[_Wait, Answer | None, Probed]:
        token = self._token()
        self._effects.append(DoProbe(token, probe, when))
        answer = yield token
        if not isinstance(answer, Probed):
            raise TypeError(f"a probe was answered with {answer!r}")
        data: dict[str, Scalar] = {
            "name": probe.title,
            "ok": answer.ok,
            "value": answer.value,
            "why": answer.why,
            "when": when,
        }
        self._effects.append(Say(RunWord.STEADY, data))
        return answer

    def _inject(self, step: FaultStep) -> Strand:
        most = self._experiment.controls.abort.max_faults
        if most is not None and self._asked >= most:
            self._fail(f"more than {most} faults")
            yield frozenset()
            return
        self._asked += 1
        token, number = self._token(), self._asked
        seed = step.seed if step.seed is not None else seed_of(self._experiment.seed, number)
        self._effects.append(DoInject(token, step, number, seed))
        answer = yield token
        if isinstance(answer, Injected):
            self.faults += 1
            if step.name:
                self._names[step.name] = (*self._names.get(step.name, ()), *answer.ids)
        elif isinstance(answer, Refused):
            data: dict[str, Scalar] = {
                "n": number,
                "fault": step.fault,
                "targets": step.path,
                "code": answer.code,
                "why": answer.why,
            }
            self._effects.append(Say(RunWord.REFUSED, data))
            if step.required:
                self._fail(f"{step.fault} at {step.path} was refused: {answer.why}")
                yield frozenset()

    def _call(self, step: CallStep) -> Strand:
        token = self._token()
        self._effects.append(DoCall(token, step))
        answer = yield token
        if isinstance(answer, Called) and not answer.ok and not step.may_fail:
            self._fail(f"{step.call}.{step.method} failed: {answer.why}")
            yield frozenset()

    def _revert(self, step: RevertStep) -> Strand:
        ids = None if step.revert == ALL else self._names.get(step.revert, ())
        if ids == ():
            return  # its fault was refused, or is not injected yet
        token = self._token()
        self._effects.append(DoRevert(token, ids, f"revert: {step.revert}"))
        answer = yield token
        if isinstance(answer, Reverted):
            self._stuck += answer.stuck


def seed_of(seed: int, number: int) -> int:
    """The seed of the ``number``-th fault of a run that has ``seed``."""
    return zlib.crc32(f"{seed}/{number}".encode())
