"""Static findings (TOP-3): times that do not fit, budgets that never trip, escalation that goes nowhere."""

import pytest

from supervisors.spec import check_text
from supervisors.spec import codes as c
from supervisors.spec.advice import fastest_give_up
from supervisors.spec.settings import BackoffSettings

_W = 'actor: "actors.base:Actor"'
_TWO = f"children: [{{id: a, {_W}}}, {{id: b, {_W}}}]"


def _findings(tree: str, before: str = "") -> dict[int, str]:
    report = check_text(f"{before}tree:\n{tree}")
    assert report.ok, report.errors
    return {f.code: f"{f.line}:{f.column} {f.message}" for f in report.findings if f.code != c.PROCESS_COUNT}


def _sub(text: str) -> str:
    return f"  children:\n    - {{id: s, {text}}}\n"


def test_children_stop_one_after_another() -> None:
    found = _findings(_sub(f"shutdown: 9s, {_TWO}"))
    assert found == {
        c.SHUTDOWN_TOO_SHORT: "3:25 shutdown 9s of /s ends before its children: they may take 10s one after another"
    }
    assert _findings(_sub(f"shutdown: 10s, {_TWO}")) == {}


def test_a_child_without_limit_fits_no_time() -> None:
    found = _findings(_sub(f"shutdown: 1h, children: [{{id: a, {_W}, shutdown: infinity}}]"))
    assert "they have no limit" in found[c.SHUTDOWN_TOO_SHORT]


def test_dynamic_children_stop_together() -> None:
    pool = f"strategy: simple_one_for_one, template: {{{_W}}}, initial: 50"
    assert _findings(_sub(f"shutdown: 5s, {pool}")) == {}
    assert c.SHUTDOWN_TOO_SHORT in _findings(_sub(f"shutdown: 4s, {pool}"))
    assert c.START_TOO_SHORT in _findings(_sub(f"start_timeout: 1499s, {pool}"))
    assert _findings(_sub(f"start_timeout: 1500s, {pool}")) == {}


def test_a_limit_above_looks_through_supervisors_without_one() -> None:
    found = _findings(f"  shutdown: 9s\n  start_timeout: 1s\n{_sub(_TWO)}")
    assert found.keys() == {c.SHUTDOWN_TOO_SHORT, c.START_TOO_SHORT}
    assert found[c.SHUTDOWN_TOO_SHORT].startswith("2:13 ")
    assert found[c.START_TOO_SHORT].startswith("3:18 ")


def test_ready_time_counts_to_the_start() -> None:
    child = f"children: [{{id: a, {_W}, start_timeout: 1s, ready_timeout: 2s}}]"
    assert _findings(_sub(f"start_timeout: 3s, {child}")) == {}
    assert c.START_TOO_SHORT in _findings(_sub(f"start_timeout: 2s, {child}"))


def test_a_supervisor_that_is_killed() -> None:
    assert _findings(_sub(f"shutdown: brutal_kill, {_TWO}")).keys() == {c.SUPERVISOR_KILLED}


@pytest.mark.parametrize(
    ("intensity", "seconds"), [(0, 0.0), (1, 0.0), (2, 0.1), (3, 0.3), (5, 1.5), (10, 51.1), (12, 111.1)]
)
def test_the_fastest_give_up_is_the_sum_of_the_delays(intensity: int, seconds: float) -> None:
    assert fastest_give_up(BackoffSettings(), intensity) == pytest.approx(seconds)
    assert fastest_give_up(None, intensity) == 0.0


def test_an_endless_intensity_is_reckoned_at_once() -> None:
    assert fastest_give_up(BackoffSettings(), 10**12) > 10**12


def test_intensity_that_never_trips() -> None:
    assert _findings(_sub(f"intensity: 6, {_TWO}")) == {}  # 3.1 s of 5
    found = _findings(_sub(f"intensity: 10, {_TWO}"))
    assert found.keys() == {c.INTENSITY_NEVER_TRIPS}
    assert found[c.INTENSITY_NEVER_TRIPS].startswith("3:26 intensity 10 in 5s cannot trip on /s/a, /s/b alone")
    found = _findings(_sub(f"intensity: 10, {_TWO}"), "defaults: {child: {max_consecutive: null}}\n")
    assert found.keys() == {c.RESTARTS_FOR_EVER}


def test_without_backoff_every_intensity_trips() -> None:
    before = "defaults: {child: {max_consecutive: null, backoff: null}}\n"
    assert _findings(_sub(f"intensity: 1000, {_TWO}"), before) == {}


def test_escalation_that_goes_nowhere() -> None:
    assert _findings(_sub(f"restart: temporary, {_TWO}")).keys() == {c.ESCALATION_LOST}


def test_auto_shutdown() -> None:
    significant = f"children: [{{id: a, {_W}, restart: transient, significant: true}}]"
    assert _findings(_sub(f"restart: transient, auto_shutdown: any_significant, {significant}")) == {}
    found = _findings(_sub(f"auto_shutdown: any_significant, {significant}"))
    assert found.keys() == {c.AUTO_SHUTDOWN_RESTARTED}
    found = _findings(_sub(f"restart: transient, auto_shutdown: any_significant, {_TWO}"))
    assert found.keys() == {c.AUTO_SHUTDOWN_IDLE}


def test_a_significant_supervisor_that_never_ends_normally() -> None:
    found = _findings(f"  auto_shutdown: any_significant\n{_sub(f'restart: transient, significant: true, {_TWO}')}")
    assert found.keys() == {c.SIGNIFICANT_IDLE}


def test_good_to_know() -> None:
    assert _findings(_sub("children: []")).keys() == {c.NO_CHILDREN}
    assert _findings(_sub(f"intensity: 0, {_TWO}")).keys() == {c.INTENSITY_ZERO}
    assert _findings(_sub(_TWO), "spares: 0\n").keys() == {c.NO_SPARES}
    assert _findings(_sub(_TWO), "policies: {calm: {}}\n").keys() == {c.POLICY_UNUSED}


def test_advice_waits_until_what_it_reckons_with_is_right() -> None:
    report = check_text(f"tree:\n{_sub(f'shutdown: 9s, shutdwon: 1, {_TWO}')}")
    assert [f.code for f in report.findings] == [c.UNKNOWN_KEY]
