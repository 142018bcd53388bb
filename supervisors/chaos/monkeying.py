"""Runs the monkey on a system: looks, injects what it decides, and tells it what became of that."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from supervisors.chaos.document import StandbysInSync, TreeHealthy, Workload
from supervisors.chaos.ground import Ground, Works
from supervisors.chaos.history import Outcome, RunWord
from supervisors.chaos.looking import look
from supervisors.chaos.monkey import Candidate, Decision, Event, Look, Over, Refused
from supervisors.chaos.recording import Recorder
from supervisors.chaos.systems import Known
from supervisors.chaos.telling import Progress, Tell, safely, silent, unforeseen
from supervisors.chaos.workload import Clients
from supervisors.core.durations import format_duration
from supervisors.core.errors import FaultError, RayvisorError
from supervisors.faults.catalogue import Target
from supervisors.trail.events import Scalar
from supervisors.trail.status import READY, RUNNING, ChildStatus, SystemStatus

#: seconds between two looks at the system
_EVERY = 0.05
#: recoveries that are over
_RECOVERED = frozenset({"", "healthy", "recovered"})


class Decides(Protocol):
    """The monkey, or a recorded one."""

    waiting: str
    decided: int

    @property
    def finished(self) -> bool: ...

    def step(self, event: Event, now: float) -> Decision | None: ...


def candidates_of(status: SystemStatus, known: Known) -> tuple[Candidate, ...]:
    """Everything that could be hit now, in the order of the tree. Pure."""
    found: list[Candidate] = []
    for supervisor in status.supervisors:
        running = supervisor.state == RUNNING and supervisor.pid > 0
        if supervisor.path != "/":
            found.append(Candidate(supervisor.path, Target.SUPERVISOR, running))
        for child in supervisor.children:
            if child.type != "worker" or child.state in ("stopped", "ended", "ignored"):
                continue
            place = (known.places or {}).get(child.path)
            wanted = place.standbys if place is not None else len(child.standbys)
            healthy = running and _is_well(child, wanted)
            worker = Candidate(
                child.path,
                Target.WORKER,
                healthy,
                journal=place is not None and place.journal,
                lease=place is not None and place.lease,
                standby=wanted > 0,
                own=known.own.get(child.path, ()),
            )
            found.append(worker)
            if wanted:
                found.append(msgspec.structs.replace(worker, target=Target.STANDBY, own=()))
    return tuple(found)


def possible_candidates(status: SystemStatus, known: Known) -> tuple[Candidate, ...]:
    """Every place that could be hit at some time of a run, whatever its state now. Pure."""
    found = {(one.path, one.target): one for one in candidates_of(status, known)}
    for place in (known.places or {}).values():
        if place.supervisor:
            targets = [Target.SUPERVISOR] if place.path != "/" else []
        else:
            targets = [Target.WORKER, Target.STANDBY] if place.standbys else [Target.WORKER]
        for target in targets:
            own = known.own.get(place.path, ()) if target is Target.WORKER else ()
            made = Candidate(
                place.path, target, journal=place.journal, lease=place.lease, standby=place.standbys > 0, own=own
            )
            found.setdefault((place.path, target), made)
    return tuple(found.values())


def _is_well(child: ChildStatus, standbys: int) -> bool:
    recovered = child.recovery is None or child.recovery.state in _RECOVERED or child.recovery.percent >= 100
    synced = sum(one.state == "synced" for one in child.standbys)
    return child.state == READY and child.verdict in ("", "healthy") and recovered and synced >= standbys


class MonkeyRun:
    """One run of a monkey.

    Args:
        ground: the system.
        works: time and threads.
        recorder: the run's journal.
        seconds: how long it breaks things; then everything is undone and the system may settle.
        title: of the run.
        seed: of the clients.
        workload: clients meanwhile; None: none.
        settle: seconds for everything to be well at the end.
        tell: told of everything that happens; what it raises does no harm.
    """

    def __init__(
        self,
        ground: Ground,
        works: Works,
        recorder: Recorder,
        *,
        seconds: float,
        title: str,
        seed: int,
        workload: Workload | None = None,
        settle: float = 60.0,
        tell: Tell = silent,
    ) -> None:
        self._ground = ground
        self._works = works
        self._recorder = recorder
        self._seconds = seconds
        self._title = title
        self._seed = seed
        self._settle = settle
        self._tell = safely(tell)
        self._aborted = ""
        self._running: dict[int, tuple[str, ...]] = {}
        self._clients = Clients(workload, seed, ground, works, recorder) if workload is not None else None
        self._load_timeout = workload.timeout if workload is not None else 0.0
        self._ending = False
        self._hurried = False
        self._injected = 0
        self._told = ""
        self.outcome = Outcome.HELD

    def abort(self, why: str) -> None:
        """Break it off; everything is undone. From any thread, or a signal's handler.

        Once it is being undone this only ends the waiting.
        """
        self._aborted = self._aborted or why
        self._hurried = self._ending

    def run(self, make: Callable[[float], Decides]) -> Outcome:
        """Carry it out to its end. Whatever goes wrong on the way: what was broken is undone.

        Args:
            make: makes the monkey, given the monotonic seconds at which the run began.
        """
        began = self._works.clock.monotonic()
        self._say(RunWord.STARTED, {"title": self._title, "seed": self._seed})
        whole = False
        try:
            self._go(make(began), began)
            whole = True
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has to come to its rollback
            self.abort(str(error) if isinstance(error, RayvisorError) else str(unforeseen(error)))
        finally:
            if not whole:
                self.abort("it was cut short")
            self._end()
        return self.outcome

    def _go(self, monkey: Decides, began: float) -> None:
        clock = self._works.clock
        if self._clients is not None:
            self._clients.start()
        while not self._stop(monkey, clock.monotonic() - began):
            self._turn(monkey)
            if monkey.waiting and monkey.waiting != self._told:
                self._told = monkey.waiting
                self._recorder.note("waiting", why=self._told)
            self._works.sleep(_EVERY)

    def _stop(self, monkey: Decides, elapsed: float) -> bool:
        if self._ground.aborted:
            self.abort(self._ground.aborted)
        return bool(self._aborted) or elapsed >= self._seconds or (monkey.finished and not self._running)

    def _turn(self, monkey: Decides) -> None:
        now = self._works.clock.monotonic()
        active = self._ground.active()
        for number, ids in list(self._running.items()):
            if not active.intersection(ids):
                del self._running[number]
                monkey.step(Over(number), now)
        decision = monkey.step(Look(candidates_of(self._ground.status(), self._ground.known)), now)
        if decision is not None:
            self._carry_out(decision, monkey)

    def _carry_out(self, decision: Decision, monkey: Decides) -> None:
        first = decision.requests[0]
        self._say(
            RunWord.DECIDED,
            {
                "n": decision.number,
                "fault": first.fault,
                "targets": msgspec.json.encode([decision.path]).decode(),
                "params": msgspec.json.encode(first.params).decode(),
                "seconds": first.seconds,
                "decision": msgspec.json.encode(decision).decode(),
            },
        )
        ids: list[str] = []
        for request in decision.requests:
            try:
                hits = self._ground.inject(request, None)
            except FaultError as error:
                self._say(
                    RunWord.REFUSED,
                    {
                        "n": decision.number,
                        "fault": request.fault,
                        "targets": request.path,
                        "code": error.code,
                        "why": error.message,
                    },
                )
                self._told = f"{request.fault} at {request.path} was refused: {error.message}"
                if ids:
                    self._ground.revert(ids, "the fault that goes with it was refused")
                monkey.step(Refused(decision.number, error.message), self._works.clock.monotonic())
                return
            ids += hits.ids
            self._injected += 1
            self._say(
                RunWord.INJECTED,
                {
                    "n": decision.number,
                    "id": ",".join(hits.ids),
                    "fault": request.fault,
                    "targets": msgspec.json.encode(hits.targets).decode(),
                    "t": hits.at,
                },
            )
        self._running[decision.number] = tuple(ids)

    # ------------------------------------------------------------ the end

    def _end(self) -> None:
        clock = self._works.clock
        self._ending, why = True, self._aborted
        if why:
            self._say(RunWord.ABORTED, {"why": why})
            self.outcome = Outcome.ABORTED
        if self._clients is not None:
            self._clients.stop()
        self._say("reverting", {"why": "the run was aborted" if why else "the run ends"})
        stuck = self._undo()
        self._say("settling", {"seconds": self._settle})
        ill = self._wait_well(clock.monotonic() + self._settle)
        if self._hurried and self.outcome is Outcome.HELD:
            self.outcome, why = Outcome.ABORTED, self._aborted
            self._say(RunWord.ABORTED, {"why": why})
        if ill and self.outcome is Outcome.HELD:
            self.outcome, why = Outcome.DEVIATED, f"not well after {format_duration(self._settle)}: {ill}"
        if not self._injected and self.outcome is Outcome.HELD:
            last = f": {self._told}" if self._told else ""
            self.outcome = Outcome.DEVIATED
            why = f"nothing was tested: no fault was injected in {format_duration(self._seconds)}{last}"
        if stuck:
            self.outcome, why = Outcome.NOT_REVERTED, f"could not be reverted: {', '.join(stuck)}"
        if self._clients is not None:
            self._clients.wait(self._load_timeout + 2.0)
            self._say("clients", {**self._clients.ended})
        self._say(RunWord.ENDED, {"outcome": self.outcome.value, "why": why})
        self._recorder.flush()

    def _undo(self) -> tuple[str, ...]:
        """What could not be undone."""
        began = self._works.clock.monotonic()
        try:
            stuck = self._ground.revert(None, "the run ends")
        except Exception as error:  # noqa: BLE001 - told as what it means: not undone
            stuck = (str(unforeseen(error)),)
        ms = round((self._works.clock.monotonic() - began) * 1e3, 3)
        self._say(RunWord.REVERTED, {"id": "all", "ok": not stuck, "by": "driver", "why": "the run ends", "ms": ms})
        return stuck

    def _ill(self, now: float) -> str:
        try:
            first = look(TreeHealthy(probe="tree_healthy", held_is_fine=True), self._ground, now)
            return first.why if not first.ok else look(StandbysInSync(probe="standbys_in_sync"), self._ground, now).why
        except Exception as error:  # noqa: BLE001 - what cannot be looked at is not well
            return str(unforeseen(error))

    def _wait_well(self, deadline: float) -> str:
        while True:
            now = self._works.clock.monotonic()
            ill = self._ill(now)
            if not ill or now >= deadline or self._hurried:
                return ill
            self._works.sleep(0.1)

    def _say(self, kind: str, data: dict[str, Scalar]) -> None:
        self._recorder.note(kind, sync=kind == RunWord.ENDED, **data)
        shown: Mapping[str, Scalar] = {key: value for key, value in data.items() if key != "decision"}
        self._tell(Progress(self._works.clock.monotonic(), str(kind), dict(shown)))
