"""The monkey on a system that is none: what it is shown, what becomes of its decisions, how its run ends."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from supervisors.chaos.history import Asked, Outcome, RunKind, RunWord
from supervisors.chaos.monkey import Decision, Event, Limits, Look, Monkey, MonkeyRules, Over, Refused, Replay
from supervisors.chaos.monkeying import MonkeyRun, candidates_of, possible_candidates
from supervisors.chaos.recording import Recorder, read_run
from supervisors.chaos.replaying import Line, compare, decisions_of, refusals_of
from supervisors.chaos.systems import Known, PlaceFacts
from supervisors.chaos.telling import Progress
from supervisors.core.errors import RecoveryError
from supervisors.faults.catalogue import Target
from supervisors.faults.kinds import CATALOGUE
from supervisors.testing.clock import ManualClock
from supervisors.trail.status import ChildStatus, RecoveryStatus, StandbyStatus, SupervisorStatus, SystemStatus

from .fake_ground import FakeGround, FakeWorks

RULES = MonkeyRules(seed=7, rate=60.0, kinds=("kill", "delay"), limits=Limits(faults=5))


class _Run:
    def __init__(self, folder: Path, seconds: float = 60.0) -> None:
        self.works = FakeWorks(ManualClock(100.0))
        self.ground = FakeGround(folder, self.works)
        self.recorder = Recorder(folder, Asked("run-1", RunKind.MONKEY), self.works.clock)
        self.events: list[Event] = []
        self.run = MonkeyRun(self.ground, self.works, self.recorder, seconds=seconds, title="m", seed=7, settle=5.0)

    def look_again(self) -> list[str]:
        return [event.kind for event in read_run(self.recorder.folder).events]

    def go(self, make: Callable[[float], Monkey | Replay] | None = None) -> Outcome:
        outcome = self.run.run(make or (lambda began: Monkey(RULES, CATALOGUE, began)))
        self.recorder.close()
        return outcome


def _status(child: ChildStatus, state: str = "running") -> SystemStatus:
    return SystemStatus(
        "t",
        supervisors=[
            SupervisorStatus("/", pid=1, children=[ChildStatus("/c", "c", "supervisor", "ready")]),
            SupervisorStatus("/c", pid=2, state=state, children=[child]),
        ],
    )


def test_candidates_are_healthy_once_they_have_settled() -> None:
    known = Known(places={"/c/a": PlaceFacts("/c/a", journal=True, lease=True, standbys=1)}, own={"/c/a": ("x",)})
    well = ChildStatus("/c/a", "a", state="ready", standbys=[StandbyStatus(3, "n", "synced", 0.0)])
    found = candidates_of(_status(well), known)
    assert [(one.path, one.target, one.healthy) for one in found] == [
        ("/c", Target.SUPERVISOR, True),
        ("/c/a", Target.WORKER, True),
        ("/c/a", Target.STANDBY, True),
    ]
    assert (found[1].journal, found[1].lease, found[1].standby, found[1].own) == (True, True, True, ("x",))
    ill = [
        msgspec.structs.replace(well, state="restarting"),
        msgspec.structs.replace(well, verdict="suspect"),
        msgspec.structs.replace(well, standbys=[StandbyStatus(3, "n", "syncing", 0.0)]),
        msgspec.structs.replace(well, recovery=RecoveryStatus("f", "recovery_in_progress", "hot", 10.0, "")),
    ]
    assert not any(candidates_of(_status(one), known)[1].healthy for one in ill)
    assert not candidates_of(_status(well, "starting"), known)[1].healthy
    assert len(candidates_of(_status(msgspec.structs.replace(well, state="stopped")), known)) == 1


def test_whoever_could_be_hit_at_some_time() -> None:
    """Also who does not run just now, or is not told of."""
    places = {"/": PlaceFacts("/", supervisor=True), "/c": PlaceFacts("/c", supervisor=True)}
    places["/c/a"] = PlaceFacts("/c/a", journal=True, standbys=1)
    known = Known(places=places, own={"/c/a": ("x",)})
    found = possible_candidates(SystemStatus("t"), known)
    assert [(one.path, one.target, one.own) for one in found] == [
        ("/c", Target.SUPERVISOR, ()),
        ("/c/a", Target.WORKER, ("x",)),
        ("/c/a", Target.STANDBY, ()),
    ]


def test_a_run_injects_what_is_decided_and_undoes_it(tmp_path: Path) -> None:
    run = _Run(tmp_path)
    assert run.go() is Outcome.HELD
    assert len(run.ground.requests) == 5
    assert {request.fault for request in run.ground.requests} == {"kill", "delay"}
    assert run.ground.reverts == [None]
    recorded = read_run(run.recorder.folder)
    decisions = decisions_of(recorded.events)
    assert [one.requests[0] for one in decisions] == run.ground.requests
    assert recorded.events[-1].kind == RunWord.ENDED


def test_a_replay_does_the_same(tmp_path: Path) -> None:
    first = _Run(tmp_path / "1")
    first.go()
    recorded = decisions_of(read_run(first.recorder.folder).events)
    again = _Run(tmp_path / "2")
    assert again.go(lambda began: Replay(recorded, began)) is Outcome.HELD
    assert again.ground.requests == first.ground.requests


def test_refusals_are_written_down_and_told_to_the_monkey(tmp_path: Path) -> None:
    told: list[Event] = []

    class _Watched(Monkey):
        def step(self, event: Event, now: float) -> Decision | None:
            if not isinstance(event, Look):
                told.append(event)
            return super().step(event, now)

    run = _Run(tmp_path)
    run.ground.refuse = True
    run.go(lambda began: _Watched(RULES, CATALOGUE, began))
    assert {type(one) for one in told} == {Refused}
    assert set(refusals_of(read_run(run.recorder.folder).events)) >= {1, 2}


def test_decisions_are_over_when_their_faults_are(tmp_path: Path) -> None:
    told: list[Event] = []

    class _Watched(Monkey):
        def step(self, event: Event, now: float) -> Decision | None:
            told.append(event)
            return super().step(event, now)

    run = _Run(tmp_path)
    run.go(lambda began: _Watched(RULES, CATALOGUE, began))
    assert [one.number for one in told if isinstance(one, Over)][:4] == [1, 2, 3, 4]


def test_an_abort_and_a_system_that_stays_ill(tmp_path: Path) -> None:
    aborted = _Run(tmp_path / "1")
    aborted.works.at(102.0, lambda: aborted.run.abort("by hand"))
    assert aborted.go() is Outcome.ABORTED
    assert aborted.ground.reverts == [None]
    ill = _Run(tmp_path / "2")
    ill.ground.on_inject = lambda: setattr(ill.ground, "state", "restarting")
    assert ill.go() is Outcome.DEVIATED
    assert len(ill.ground.requests) == 1, "it waits for health"
    stuck = _Run(tmp_path / "3")
    stuck.ground.stuck = ("f-1",)
    assert stuck.go() is Outcome.NOT_REVERTED


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RecoveryError("odd", code=8001)])
def test_an_error_no_fault_accounts_for_aborts_and_undoes(tmp_path: Path, error: Exception) -> None:
    run = _Run(tmp_path)

    def fail() -> None:
        raise error

    run.ground.on_inject = fail
    assert run.go() is Outcome.ABORTED
    assert run.ground.reverts == [None]
    ended = read_run(run.recorder.folder).events[-1]
    assert ended.kind == RunWord.ENDED
    assert str(ended.data["why"]).startswith("[E9076] OSError" if isinstance(error, OSError) else "[E8001] odd")


def test_a_revert_that_raises_is_not_reverted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _Run(tmp_path)

    def fail(ids: object, why: str) -> tuple[str, ...]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(run.ground, "revert", fail)
    assert run.go() is Outcome.NOT_REVERTED
    assert RunWord.ENDED in run.look_again()


def test_what_listens_cannot_stop_the_run(tmp_path: Path) -> None:
    """Rich ends the program with SystemExit when standard output is a closed pipe."""
    run = _Run(tmp_path)

    def closed(progress: Progress) -> None:
        raise SystemExit(1)

    run.run = MonkeyRun(run.ground, run.works, run.recorder, seconds=60, title="m", seed=7, tell=closed)
    assert run.go() is Outcome.HELD
    assert run.ground.reverts == [None]


def test_an_interrupt_is_undone_before_it_goes_on(tmp_path: Path) -> None:
    run = _Run(tmp_path)

    def interrupted() -> None:
        raise KeyboardInterrupt

    run.ground.on_inject = interrupted
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert run.ground.reverts == [None]
    assert run.run.outcome is Outcome.ABORTED


def test_a_run_that_tested_nothing_has_not_held(tmp_path: Path) -> None:
    run = _Run(tmp_path, seconds=3.0)
    run.ground.state = "ended"
    assert run.go() is Outcome.DEVIATED
    assert "no fault was injected in 3s" in str(read_run(run.recorder.folder).events[-1].data["why"])
    refused = _Run(tmp_path / "2", seconds=3.0)
    refused.ground.refuse = True
    assert refused.go() is Outcome.DEVIATED
    assert "was refused: nothing runs there" in str(read_run(refused.recorder.folder).events[-1].data["why"])


def test_an_abort_while_it_settles_ends_the_waiting(tmp_path: Path) -> None:
    run = _Run(tmp_path)
    run.run = MonkeyRun(run.ground, run.works, run.recorder, seconds=2.0, title="m", seed=7, settle=300.0)
    run.ground.on_inject = lambda: setattr(run.ground, "state", "restarting")
    run.works.at(105.0, lambda: run.run.abort("by hand"))
    assert run.go() is Outcome.ABORTED
    assert run.works.clock.now < 106.0
    assert run.ground.reverts == [None]


def test_two_runs_beside_one_another() -> None:
    one, other = Line("kill", "/a", "futex", "dead", "hot"), Line("kill", "/a", "futex", "dead", "warm")
    assert [pair.same for pair in compare([one, one], [one, one])] == [True, True]
    pairs = compare([one, one], [one, other, one])
    assert [pair.same for pair in pairs] == [True, False, False]
    assert (str(pairs[1].after), pairs[2].before) == ("kill /a: futex, dead, warm", None)
