"""What clients write down of each answer: which life gave it, and what it names itself."""

from pathlib import Path

import pytest

from supervisors.chaos.document import Workload
from supervisors.chaos.ground import Answer
from supervisors.chaos.history import Asked, Operation, Result
from supervisors.chaos.invariants import State, check
from supervisors.chaos.recording import Recorder, read_run
from supervisors.chaos.workload import Clients, named, texts_of
from supervisors.core.errors import CallTimeout
from supervisors.testing.clock import ManualClock
from tests.unit.chaos import story
from tests.unit.chaos.fake_ground import FakeGround, FakeWorks


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("101", (0, 2, 7)),
        ({"sequence": 9}, (9, 2, 7)),
        ({"sequence": 9, "incarnation": 3, "epoch": 8}, (9, 3, 8)),
        ({"epoch": 400}, (0, 2, 7)),  # of a training, perhaps
        ({"sequence": True, "incarnation": "3", "epoch": -1}, (0, 2, 7)),
    ],
)
def test_what_an_answer_names(value: object, found: tuple[int, int, int]) -> None:
    assert named(Answer(value, 2, 7)) == found


def test_the_texts_that_carry_the_unique_value() -> None:
    assert list(texts_of(["{n}", 1, None, "ada", ["x-{n}", {"a": {"b": "{n}/2"}, "{n}": 1}]])) == [
        "{n}",
        "x-{n}",
        "{n}/2",
    ]


def recorded(data_dir: Path, *answers: tuple[int, int], error: BaseException | None = None) -> tuple[Operation, ...]:
    """Operations of a client whose calls were answered by these lives, one after another."""
    clock = ManualClock()
    works = FakeWorks(clock)
    ground = FakeGround(data_dir, works)
    recorder = Recorder(data_dir, Asked("run-1"), clock)
    clients = Clients(Workload(path="/a", method="get", args=["{n}"], rate=1, clients=1), 7, ground, works, recorder)
    ground.answer = error

    def answer(life: int, epoch: int) -> None:
        ground.life, ground.epoch = life, epoch

    for number, (life, epoch) in enumerate(answers):
        works.at(clock.now + 4.0 * number, lambda life=life, epoch=epoch: answer(life, epoch))  # type: ignore[misc]
    works.at(clock.now + 4.0 * len(answers), clients.stop)
    clients.start()
    recorder.close()
    return read_run(recorder.folder).operations


def test_the_life_that_answered_is_written_down(tmp_path: Path) -> None:
    found = recorded(tmp_path, (1, 2), (2, 7))
    lives = list(dict.fromkeys((one.incarnation, one.epoch) for one in found))
    assert lives == [(1, 2), (2, 7)]


@pytest.mark.parametrize(
    ("answers", "states"),
    [
        (((1, 2), (2, 7)), (State.HELD, State.HELD)),
        (((1, 2), (2, 7), (1, 2)), (State.HELD, State.VIOLATED)),
        (((1, 2), (2, 2)), (State.VIOLATED, State.HELD)),
    ],
)
def test_a_real_run_shows_two_that_answer(
    tmp_path: Path, answers: tuple[tuple[int, int], ...], states: tuple[State, State]
) -> None:
    alone = story.history([], operations=recorded(tmp_path, *answers), journals=(), tenures=())
    verdicts = check(alone)
    assert (verdicts[2].state, verdicts[3].state) == states


def test_a_call_without_an_answer_names_nobody(tmp_path: Path) -> None:
    found = recorded(tmp_path, (1, 2), error=CallTimeout("no answer"))
    assert {(one.result, one.incarnation, one.epoch) for one in found} == {(Result.INFO, 0, 0)}
