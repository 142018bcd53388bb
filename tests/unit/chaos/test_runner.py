"""Runs on a system that is none: everything is written down, and everything is undone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisors.chaos.document import Experiment
from supervisors.chaos.history import Asked, Outcome, Result, RunKind, RunWord
from supervisors.chaos.messages import Abort, Effect, Event
from supervisors.chaos.recording import Recorder, read_run
from supervisors.chaos.runner import Runner
from supervisors.chaos.telling import Progress, Tell
from supervisors.chaos.workload import filled
from supervisors.core.errors import CallTimeout, JournalFailed
from supervisors.faults.request import TargetSet
from supervisors.testing.clock import ManualClock

from .fake_ground import FakeGround, FakeWorks

KILL = {"fault": "kill", "path": "/a"}


class _Run:
    def __init__(self, folder: Path, tell: Tell | None = None, **fields: object) -> None:
        self.works = FakeWorks(ManualClock(100.0))
        self.ground = FakeGround(folder, self.works)
        self.recorder = Recorder(folder, Asked("run-1", RunKind.EXPERIMENT), self.works.clock)
        self.told: list[Progress] = []
        experiment = Experiment.model_validate({"title": "t", **fields})
        self.runner = Runner(experiment, self.ground, self.works, self.recorder, tell or self.told.append)

    def run(self) -> Outcome:
        outcome = self.runner.run()
        self.recorder.close()
        return outcome

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in read_run(self.recorder.folder).events]


def test_a_run_that_holds_is_written_down(tmp_path: Path) -> None:
    run = _Run(
        tmp_path,
        steady_state=[{"probe": "tree_healthy"}],
        method=[{**KILL, "for": "5s", "first": 2, "targets": "one", "params": {"signal": "TERM"}}],
    )
    assert run.run() is Outcome.HELD
    request = run.ground.requests[0]
    assert (request.fault, request.seconds, request.first, request.targets) == ("kill", 5.0, 2, TargetSet.ONE)
    assert request.params == {"signal": "TERM"}
    assert run.ground.reverts == [None]
    words = [RunWord.STARTED, RunWord.STEADY, RunWord.DECIDED, RunWord.INJECTED, RunWord.REVERTED, RunWord.ENDED]
    assert [kind for kind in run.kinds if kind in set(words)] == [
        *words[:4],
        RunWord.STEADY,
        *words[4:],
    ]
    decided = next(event for event in read_run(run.recorder.folder).events if event.kind == RunWord.DECIDED)
    assert (decided.data["n"], decided.data["targets"], decided.data["set"]) == (1, '["/a"]', "one")


def test_a_probe_is_looked_at_until_its_time_is_over(tmp_path: Path) -> None:
    run = _Run(tmp_path, method=[KILL, {"probe": "tree_healthy", "within": "5s"}])

    def break_it() -> None:
        run.ground.state = "restarting"
        run.works.at(run.works.clock.now + 3.0, lambda: setattr(run.ground, "state", "ready"))

    run.ground.on_inject = break_it
    assert run.run() is Outcome.HELD
    short = _Run(tmp_path / "2", method=[KILL, {"probe": "tree_healthy", "within": "2s"}])

    def break_more() -> None:
        short.ground.state = "restarting"
        short.works.at(short.works.clock.now + 3.0, lambda: setattr(short.ground, "state", "ready"))

    short.ground.on_inject = break_more
    assert short.run() is Outcome.DEVIATED
    assert "/a is restarting" in short.runner.machine.why


@pytest.mark.parametrize(("state", "standby"), [("restarting", "synced"), ("ready", "syncing")])
def test_a_system_that_does_not_settle_deviates(tmp_path: Path, state: str, standby: str) -> None:
    run = _Run(tmp_path, method=[KILL], settle="5s")

    def break_it() -> None:
        run.ground.state, run.ground.standby = state, standby

    run.ground.on_inject = break_it
    assert run.run() is Outcome.DEVIATED
    assert "not well again at the end" in run.runner.machine.why


def test_an_emergency_stop_by_somebody_else_aborts(tmp_path: Path) -> None:
    run = _Run(tmp_path, method=[KILL, {"wait": "1h"}], controls={"abort": {"max_duration": "2h"}})
    run.works.at(105.0, lambda: setattr(run.ground, "aborted", "somebody"))
    assert run.run() is Outcome.ABORTED
    assert run.works.clock.now < 110.0
    assert run.ground.reverts == [None]


def test_what_is_refused_and_what_is_stuck_is_told(tmp_path: Path) -> None:
    refused = _Run(tmp_path, method=[KILL])
    refused.ground.refuse = True
    assert refused.run() is Outcome.ABORTED
    assert RunWord.REFUSED in refused.kinds
    stuck = _Run(tmp_path / "2", method=[KILL])
    stuck.ground.stuck = ("f-1",)
    assert stuck.run() is Outcome.NOT_REVERTED


def test_a_probe_that_cannot_look_does_not_hold(tmp_path: Path) -> None:
    run = _Run(tmp_path, method=[KILL, {"probe": "call", "path": "/a", "method": "m", "min": 1}])
    run.ground.answer = CallTimeout("no answer")
    assert run.run() is Outcome.DEVIATED
    assert "CallTimeout" in run.runner.machine.why


@pytest.mark.parametrize("error", [SystemExit(1), BrokenPipeError(), ValueError("odd")])
def test_what_listens_cannot_stop_the_run(tmp_path: Path, error: BaseException) -> None:
    """Rich ends the program with SystemExit when standard output is a closed pipe, in the fault's thread too."""

    def closed(progress: Progress) -> None:
        raise error

    run = _Run(tmp_path, tell=closed, method=[KILL], rollbacks=[{"call": "/a", "method": "reset"}])
    assert run.run() is Outcome.HELD
    assert run.ground.reverts == [None]
    assert [call[1] for call in run.ground.calls] == ["reset"]
    assert run.kinds[-1] == RunWord.ENDED
    assert run.works.clock.now < 110.0


def test_what_cannot_begin_breaks_the_run_off_and_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as no thread to be had: the machine is answered all the same."""
    run = _Run(tmp_path, method=[KILL, {"wait": "1s"}, {"call": "/a", "method": "x"}])
    real = run.works.spawn

    def spawn(job: Callable[[], None], name: str) -> None:
        if not name.startswith("inject"):
            raise RuntimeError("can't start new thread")
        real(job, name)

    monkeypatch.setattr(run.works, "spawn", spawn)
    assert run.run() is Outcome.ABORTED
    assert run.ground.reverts == [None]
    assert "[E9076] RuntimeError: can't start new thread" in run.runner.machine.why
    assert run.works.clock.now < 110.0


def test_a_machine_that_fails_is_undone_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _Run(tmp_path, method=[KILL, {"wait": "1h"}])

    def step(event: Event, now: float) -> list[Effect]:
        raise TypeError("a probe was answered with None")

    run.works.at(103.0, lambda: monkeypatch.setattr(run.runner.machine, "step", step))
    assert run.run() is Outcome.ABORTED
    assert run.ground.reverts == [None]
    assert run.kinds[-1] == RunWord.ENDED


def test_an_abort_cuts_a_look_of_the_rollbacks_short(tmp_path: Path) -> None:
    rollbacks = [{"probe": "tree_healthy", "within": "5m"}, {"call": "/a", "method": "reset"}]
    run = _Run(tmp_path, method=[KILL], rollbacks=rollbacks)
    run.ground.on_inject = lambda: setattr(run.ground, "state", "restarting")

    def interrupted() -> None:
        # a runner takes it while the look goes on; the fake does one thing at a time
        run.runner.machine.step(Abort("by hand"), run.works.clock.now)

    run.works.at(105.0, interrupted)
    assert run.run() is Outcome.ABORTED
    assert run.works.clock.now < 107.0
    assert [call[1] for call in run.ground.calls] == ["reset"]


def test_unique_values_go_wherever_they_are_asked_for() -> None:
    assert filled(["{n}", {"ref": "x-{n}"}, ["{n}"], 3, None], "7") == ["7", {"ref": "x-7"}, ["7"], 3, None]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("4", Result.OK),
        (CallTimeout("late"), Result.INFO),
        (JournalFailed("full"), Result.FAIL),
        (KeyError("x"), Result.INFO),
    ],
)
def test_clients_write_down_what_they_asked_and_heard(tmp_path: Path, answer: object, result: Result) -> None:
    run = _Run(
        tmp_path,
        method=[KILL],
        workload={"path": "/a", "method": "post", "args": ["{n}", "x"], "rate": 10, "clients": 1},
    )
    run.ground.answer = answer
    clients = run.runner.clients
    assert clients is not None
    run.works.at(101.0, clients.stop)  # a client of the fake has no thread of its own
    assert run.run() is Outcome.HELD
    done = read_run(run.recorder.folder).operations
    assert 5 <= len(done) <= 20
    assert len({one.id for one in done}) == len(done)
    assert {one.result for one in done} == {result}
    assert [call[2][0] for call in run.ground.calls] == [one.id for one in done]
    assert clients.ended[result.value] == len(done)
