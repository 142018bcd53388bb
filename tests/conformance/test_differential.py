"""Our machine and the real Erlang/OTP supervisor give the same traces."""

from collections.abc import Iterator

import pytest

from supervisors.tree import stopping
from supervisors.tree.intensity import IntensityWindow
from supervisors.tree.state import Operation, SupervisorState
from supervisors.tree.stopping import stop_one
from tests.conformance.build import ONE_FOR_ALL, ONE_FOR_ONE, PERMANENT, TEMPORARY, TRANSIENT, kid, sup
from tests.conformance.differential import Divergence, Oracle, OracleUnavailable, Tally, compare, search
from tests.conformance.scenario import Action, Scenario, run_on_machine

#: scenarios in this test; 20,000 by hand, see the module ``differential``
EXAMPLES = 2000


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    try:
        started = Oracle()
    except OracleUnavailable as why:
        pytest.skip(str(why))
    with started:
        yield started


@pytest.mark.timeout(300)
def test_same_traces_as_otp(oracle: Oracle, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    # seeds of its own for each round: under CI hypothesis would otherwise draw the same scenarios every time
    for seed in range(1, 3 * EXAMPLES // 500):
        if len(tally.distinct) >= EXAMPLES:
            break
        search(oracle, 500, seed, tally)
    assert len(tally.distinct) >= EXAMPLES
    with capsys.disabled():
        print(f"\n{tally} (OTP {oracle.release}, {tally.events} events, {tally.seconds:.0f} s)")  # noqa: T201
    assert tally.divergences == 0


#: the trace of ANCHORS: d ended by itself and a stopped by hand are back after the group restart of b
KNOWN = Scenario(
    {"": sup(ONE_FOR_ALL, kid("a"), kid("b"), kid("c", TEMPORARY), kid("d", TRANSIENT), intensity=3, period=5)},
    [
        Action("exit", "/d", "normal"),
        Action("call", "", "terminate", child="a"),
        Action("fail", "/b", number=1),
        Action("exit", "/b", "crash"),
    ],
)


def test_the_known_trace(oracle: Oracle) -> None:
    compare(oracle, KNOWN, Tally())
    trace = run_on_machine(KNOWN)
    after = trace[trace.index("exit /b crash") :]
    assert after[1:9] == [
        "order /c shutdown",
        "end /c shutdown",
        "start /a",
        "start /b",
        "fail /b",
        "order /a shutdown",
        "end /a shutdown",
        "start /a",
    ]
    assert after[9:11] == ["start /b", "start /d"]


def test_a_wrong_stop_order_is_found(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: stop in start order."""

    def in_start_order(state: SupervisorState, ids: list[str]) -> Operation:
        for child_id in ids:
            yield from stop_one(state, state.children[child_id])

    monkeypatch.setattr(stopping, "stop_children", in_start_order)
    with pytest.raises(Divergence):
        compare(oracle, Scenario({"": sup(ONE_FOR_ONE, kid("a"), kid("b"))}), Tally())


def test_a_wrong_window_is_found(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: an entry as old as the period does not count any more (OTP counts it)."""
    right = IntensityWindow.add

    def too_short(window: IntensityWindow, now: float) -> bool:
        window.period -= 1
        try:
            return right(window, now)
        finally:
            window.period += 1

    monkeypatch.setattr(IntensityWindow, "add", too_short)
    crash = Action("exit", "/a", "crash")
    tree = {"": sup(ONE_FOR_ONE, kid("a", PERMANENT), intensity=1, period=5)}
    with pytest.raises(Divergence):
        compare(oracle, Scenario(tree, [crash, Action("advance", number=5), crash]), Tally())
