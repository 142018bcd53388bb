"""Carries out what an experiment's machine wants, over the ports of a system, and writes everything down."""

import itertools
from collections.abc import Callable
from functools import partial

import msgspec

from supervisors.chaos.document import Experiment, FaultStep, Probe, StandbysInSync, TreeHealthy
from supervisors.chaos.ground import Ground, Works
from supervisors.chaos.history import Outcome, RunWord
from supervisors.chaos.looking import look
from supervisors.chaos.machine import ExperimentMachine, Phase
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
    Finish,
    Injected,
    Probed,
    Refused,
    Reverted,
    Say,
    Settled,
    StartLoad,
    StopLoad,
    Woke,
)
from supervisors.chaos.probes import Judgement, shown
from supervisors.chaos.recording import Recorder
from supervisors.chaos.telling import Progress, Tell, safely, silent, unforeseen
from supervisors.chaos.workload import Clients
from supervisors.core.errors import FaultError, RayvisorError
from supervisors.faults.request import FaultRequest
from supervisors.trail.events import Scalar

__all__ = ["Progress", "Runner"]

#: seconds between looks whether somebody ordered an emergency stop
_LOOK_EVERY = 0.2
#: seconds that everything has to be well for the end to count as settled
_STILL = 0.3


class Runner:
    """One run of one experiment.

    Args:
        experiment: what is done.
        ground: the system.
        works: time and threads.
        recorder: the run's journal.
        tell: told of everything that happens, from any thread; what it raises does no harm.
    """

    def __init__(
        self,
        experiment: Experiment,
        ground: Ground,
        works: Works,
        recorder: Recorder,
        tell: Tell = silent,
    ) -> None:
        self._experiment = experiment
        self._ground = ground
        self._works = works
        self._recorder = recorder
        self._tell = safely(tell)
        self._arming: set[int] = set()
        self._serial = itertools.count()
        self.machine = ExperimentMachine(experiment)
        #: None: the experiment has none
        self.clients = (
            Clients(experiment.workload, experiment.seed, ground, works, recorder) if experiment.workload else None
        )
        self._loaded = False

    def abort(self, why: str) -> None:
        """Break the run off; everything is undone. From any thread, or a signal's handler."""
        self._works.post(Abort(why))

    def run(self) -> Outcome:
        """Carry it out to its end. Whatever goes wrong on the way: what was broken is undone."""
        outcome, why = None, ""
        try:
            self._go()
            outcome, why = self.machine.outcome, self.machine.why
        except Exception as error:  # noqa: BLE001 - the machine itself failed: all that is left is to undo
            outcome, why = self._last_resort(str(unforeseen(error)))
        finally:
            if outcome is None:
                outcome, why = self._last_resort("it was cut short")
            self._end(outcome, why)
        return outcome

    def _go(self) -> None:
        self._say(RunWord.STARTED, {"title": self._experiment.title, "seed": self._experiment.seed})
        clock = self._works.clock
        finished = self._do(self.machine.step(Began(), clock.monotonic()))
        stopped = False
        while not finished:
            wake_at = self.machine.wake_at
            wait = _LOOK_EVERY if wake_at is None else min(wake_at - clock.monotonic(), _LOOK_EVERY)
            event = self._works.take(max(wait, 0.0)) or Woke()
            finished = self._do(self.machine.step(event, clock.monotonic()))
            if not stopped and not finished and (why := self._ordered_to_stop()):
                stopped = True
                finished = self._do(self.machine.step(Abort(why), clock.monotonic()))

    def _ordered_to_stop(self) -> str:
        try:
            return self._ground.aborted
        except Exception as error:  # noqa: BLE001 - who cannot see whether to stop has to
            return str(unforeseen(error))

    def _last_resort(self, why: str) -> tuple[Outcome, str]:
        """Undo everything without the machine."""
        self._say(RunWord.ABORTED, {"why": why})
        stuck = self._undo(None, "the run was aborted")
        if stuck:
            return Outcome.NOT_REVERTED, f"could not be reverted: {', '.join(stuck)}; {why}"
        return Outcome.ABORTED, why

    def _end(self, outcome: Outcome, why: str) -> None:
        if self.clients is not None and self._loaded:
            self.clients.stop()
            self.clients.wait(self._experiment.workload.timeout + 2.0 if self._experiment.workload else 0.0)
            self._say("clients", {**self.clients.ended})
        self._say(RunWord.ENDED, {"outcome": outcome.value, "why": why})
        self._recorder.flush()

    # ------------------------------------------------------------ effects

    def _do(self, effects: list[Effect]) -> bool:
        """Carry them out; True: the run is over."""
        for effect in effects:
            if isinstance(effect, Finish):
                return True
            try:
                self._carry_out(effect)
            except Exception as error:  # noqa: BLE001 - such as no thread to be had: it ends, by way of its rollbacks
                why = str(unforeseen(error))
                self._works.post(Abort(why))
                self._answer_for(effect, why)
        return False

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Say(kind=kind, data=data):
                self._say(kind, data)
            case DoProbe(token=token, probe=probe):
                self._spawn(partial(self._probe, token, probe), "probe")
            case DoInject(token=token):
                self._decided(effect)
                self._arming.add(token)
                self._spawn(partial(self._inject, effect), "inject")
            case DoCall():
                self._say("call", {"path": effect.step.call, "method": effect.step.method})
                self._spawn(partial(self._call, effect), "call")
            case DoRevert():
                self._say("reverting", {"why": effect.why})
                self._spawn(partial(self._revert, effect), "revert")
            case DoSettle(token=token, seconds=seconds):
                self._say("settling", {"seconds": seconds})
                self._spawn(partial(self._settle, token, seconds), "settle")
            case StartLoad():
                if self.clients is not None:
                    self._loaded = True
                    self.clients.start()
            case StopLoad():
                if self.clients is not None:
                    self.clients.stop()
            case _:
                pass

    def _answer_for(self, effect: Effect, why: str) -> None:
        """The machine waits for an answer of what could not even begin."""
        match effect:
            case DoProbe(token=token):
                self._works.post(Probed(token, ok=False, why=why))
            case DoInject(token=token):
                self._arming.discard(token)
                self._works.post(Refused(token, FaultError.default_code, why))
            case DoCall(token=token):
                self._works.post(Called(token, ok=False, why=why))
            case DoRevert(token=token, ids=ids):
                # no thread for it: then in this one
                self._works.post(Reverted(token, self._undo(ids, effect.why)))
            case DoSettle(token=token):
                self._works.post(Settled(token, ok=False, why=why))
            case _:
                pass

    def _spawn(self, job: Callable[[], None], name: str) -> None:
        self._works.spawn(job, f"{name}-{next(self._serial)}")

    def _say(self, kind: str, data: dict[str, Scalar]) -> None:
        sync = kind in (RunWord.STARTED, RunWord.ENDED, RunWord.ABORTED, RunWord.DECIDED)
        self._recorder.note(kind, sync=sync, **data)
        self._tell(Progress(self._works.clock.monotonic(), str(kind), data))

    # ------------------------------------------------------------ faults

    def request(self, step: FaultStep, seed: int) -> FaultRequest:
        """What is asked of the injector for a step."""
        return FaultRequest(
            fault=step.fault,
            path=step.path,
            params=dict(step.params),
            seconds=step.seconds,
            probability=step.probability,
            first=step.first,
            seed=seed,
            targets=step.targets,
            count=step.count,
        )

    def _decided(self, effect: DoInject) -> None:
        step = effect.step
        self._say(
            RunWord.DECIDED,
            {
                "n": effect.number,
                "fault": step.fault,
                "targets": msgspec.json.encode([step.path]).decode(),
                "params": msgspec.json.encode(step.params).decode(),
                "seconds": step.seconds,
                "set": step.targets.value,
                "count": step.count,
                "probability": step.probability,
                "first": step.first,
                "seed": effect.seed,
            },
        )

    def _inject(self, effect: DoInject) -> None:
        try:
            hits = self._ground.inject(self.request(effect.step, effect.seed), self._experiment.limits.max_targets)
        except RayvisorError as error:
            why = f"{error.message} (fix: {error.fix})" if error.fix else error.message
            self._works.post(Refused(effect.token, error.code, why))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to come to its rollbacks
            self._works.post(Refused(effect.token, FaultError.default_code, f"{type(error).__name__}: {error}"))
        else:
            data: dict[str, Scalar] = {
                "n": effect.number,
                "id": ",".join(hits.ids),
                "fault": effect.step.fault,
                "targets": msgspec.json.encode(hits.targets).decode(),
                "t": hits.at,
            }
            self._recorder.note(RunWord.INJECTED, sync=False, **data)
            self._works.post(Injected(effect.token, hits.ids, hits.targets))
            self._tell(Progress(self._works.clock.monotonic(), RunWord.INJECTED, data))
        finally:
            self._arming.discard(effect.token)

    def _revert(self, effect: DoRevert) -> None:
        self._works.post(Reverted(effect.token, self._undo(effect.ids, effect.why)))

    def _undo(self, ids: tuple[str, ...] | None, why: str) -> tuple[str, ...]:
        """What could not be undone."""
        clock = self._works.clock
        deadline = clock.monotonic() + 10.0
        # what is being armed just now has to be undone too
        while ids is None and self._arming and clock.monotonic() < deadline:
            self._works.sleep(0.01)
        began = clock.monotonic()
        try:
            stuck = self._ground.revert(ids, why)
        except Exception as error:  # noqa: BLE001 - told as what it means: not undone
            stuck = (f"{type(error).__name__}: {error}",)
        data: dict[str, Scalar] = {
            "id": ",".join(ids) if ids is not None else "all",
            "ok": not stuck,
            "by": "driver",
            "why": why,
            "ms": round((clock.monotonic() - began) * 1e3, 3),
        }
        self._recorder.note(RunWord.REVERTED, sync=True, **data)
        return stuck

    # ------------------------------------------------------------ looking

    def _probe(self, token: int, probe: Probe) -> None:
        clock = self._works.clock
        deadline = clock.monotonic() + probe.within
        while True:
            judged = self._look(probe)
            now = clock.monotonic()
            if judged.ok or not (judged.pending or now < deadline) or self._is_not_awaited:
                break
            self._works.sleep(probe.every)
        self._works.post(Probed(token, judged.ok, judged.why, judged.value))

    @property
    def _is_not_awaited(self) -> bool:
        """Nobody waits for what may come true later."""
        return self.machine.phase is Phase.DONE or self.machine.hurried

    def _look(self, probe: Probe) -> Judgement:
        try:
            return look(probe, self._ground, self._works.clock.monotonic())
        except Exception as error:  # noqa: BLE001 - a probe that cannot look does not hold
            lines = [line for line in str(error).splitlines() if line.strip()]
            return Judgement(ok=False, why=f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300])

    def _call(self, effect: DoCall) -> None:
        step = effect.step
        try:
            answer = self._ground.call(step.call, step.method, step.args, step.timeout)
        except Exception as error:  # noqa: BLE001 - whatever the actor's method raised is the answer
            lines = [line for line in str(error).splitlines() if line.strip()]
            self._works.post(Called(effect.token, ok=False, why=lines[-1] if lines else type(error).__name__))
        else:
            self._recorder.note("answered", path=step.call, method=step.method, answer=shown(answer))
            self._works.post(Called(effect.token, ok=True))

    def _settle(self, token: int, seconds: float) -> None:
        clock = self._works.clock
        deadline = clock.monotonic() + seconds
        well: float | None = None
        healthy = TreeHealthy(probe="tree_healthy", held_is_fine=True)
        in_sync = StandbysInSync(probe="standbys_in_sync")
        while True:
            now = clock.monotonic()
            first = self._look(healthy)
            bad = first.why if not first.ok else self._look(in_sync).why
            well = None if bad else now if well is None else well
            if (well is not None and now - well >= _STILL) or now >= deadline or self._is_not_awaited:
                break
            self._works.sleep(0.1)
        self._works.post(Settled(token, not bad, bad))
