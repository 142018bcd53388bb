"""REC-4: edges, steps, percent and what is left."""

from itertools import pairwise, product

import pytest

from supervisors.recovery.policy import Phase, RampSpec, Rung, ValidationStep
from supervisors.recovery.progress import (
    EDGES,
    KEPT,
    KEPT_FAILED,
    History,
    IllegalEdge,
    State,
    check_edge,
    duration_key,
    percent,
    plan,
    seconds_left,
)

CHECKS = (ValidationStep("positions", "/w", "m"), ValidationStep("pnl", "/w", "m", phase=Phase.SHORT))


def test_the_edges_of_the_document_are_there_and_no_state_is_forgotten() -> None:
    way = [
        State.HEALTHY,
        State.FAILURE_DETECTED,
        State.RECOVERY_IN_PROGRESS,
        State.VALIDATING,
        State.RECOVERED,
        State.HEALTHY,
    ]
    for before, after in pairwise(way):
        check_edge(before, after)
    check_edge(State.RECOVERY_IN_PROGRESS, State.RECOVERY_FAILED)
    check_edge(State.RECOVERY_FAILED, State.MANUAL_RECOVERY)
    assert set(EDGES) == set(State)


def test_what_may_not_follow() -> None:
    legal = {(before, after) for before, found in EDGES.items() for after in found}
    assert (State.VALIDATING, State.HEALTHY) not in legal
    assert (State.FAILURE_DETECTED, State.RECOVERED) not in legal
    assert (State.MANUAL_RECOVERY, State.VALIDATING) not in legal
    for before, after in product(State, State):
        if (before, after) not in legal:
            with pytest.raises(IllegalEdge):
                check_edge(before, after)


def test_the_steps_by_rung() -> None:
    assert plan(Rung.HOT, (), None) == ("decide", "fence", "promote")
    assert plan(Rung.WARM, CHECKS, None) == ("decide", "fence", "restore", "validate:positions", "validate:pnl")
    assert plan(Rung.COLD, (), RampSpec())[1:] == ("fence", "start", "ramp:1", "ramp:2", "ramp:3")


def test_steps_of_an_attempt_are_timed_by_rung() -> None:
    assert duration_key(Rung.HOT, "fence") == "hot:fence"
    assert duration_key(Rung.HOT, "validate:a") == "validate:a"
    assert duration_key(None, "fence") == "fence"


def test_percent_without_experience_counts_steps() -> None:
    assert percent(("fence",), ("restore",), Rung.WARM, History(), None) == 50.0
    assert percent((), ("fence", "restore"), Rung.WARM, History(), None) == 0.0
    assert percent(("fence",), (), Rung.WARM, History(), None) == 100.0
    assert percent((), (), None, History(), None) == 0.0


def test_percent_with_experience_weighs_by_duration() -> None:
    history = History({"warm:fence": (1.0, 3.0), "warm:restore": (8.0,), "cold:fence": (100.0,)})
    assert percent(("fence",), ("restore",), Rung.WARM, history, None) == pytest.approx(20.0)
    # the step in hand counts, but is never thought done
    assert percent(("fence",), ("restore",), Rung.WARM, history, None, "restore", 4.0) == pytest.approx(60.0)
    assert percent(("fence",), ("restore",), Rung.WARM, history, None, "restore", 1e9) < 100.0
    assert percent(("fence",), ("restore",), Rung.WARM, history, None, "restore", -5.0) == pytest.approx(20.0)


def test_seconds_left_by_experience() -> None:
    history = History({"warm:fence": (2.0, 4.0), "warm:restore": (8.0,)})
    assert seconds_left(("fence", "restore"), 1.0, Rung.WARM, history, None) == pytest.approx(10.0)
    assert seconds_left(("fence", "restore"), 99.0, Rung.WARM, history, None) == pytest.approx(8.0), "never negative"
    assert seconds_left(("restore",), 99.0, Rung.WARM, history, None) == 0.0
    assert seconds_left(("fence", "promote"), 0.0, Rung.HOT, history, None) is None, "no experience, no promise"
    assert seconds_left(("ramp:1", "ramp:2", "ramp:3"), 20.0, Rung.WARM, history, RampSpec()) == pytest.approx(400.0)
    assert seconds_left((), 0.0, Rung.HOT, history, None) == 0.0


def test_history_keeps_the_last_few_and_drops_nonsense() -> None:
    history = History()
    for seconds in range(KEPT + 5):
        history.note("x", float(seconds))
    for nonsense in (-1.0, float("nan"), float("inf")):
        history.note("x", nonsense)
    assert history.durations["x"] == tuple(map(float, range(5, KEPT + 5)))
    assert history.mean("x") == pytest.approx(sum(range(5, KEPT + 5)) / KEPT)
    assert history.mean("y") is None


def test_failed_attempts_within_a_time() -> None:
    history = History()
    for stamp in (10.0, 20.0, 30.0):
        history.note_failed(stamp)
    assert history.failed_within(20.0, 30.0) == 3, "exactly so long ago still counts"
    assert history.failed_within(19.9, 30.0) == 2
    assert history.failed_within(100.0, 25.0) == 2, "the future is another boot"
    for _ in range(2 * KEPT_FAILED):
        history.note_failed(40.0)
    assert len(history.failed) == KEPT_FAILED


def test_a_copy_stays_as_it_is() -> None:
    history = History({"x": (1.0,)})
    copy = history.copy()
    history.note("x", 2.0)
    history.note_failed(1.0)
    assert (copy.durations, copy.failed) == ({"x": (1.0,)}, ())
    assert History().durations is not History().durations
