"""Simulations as a user meets them: the runs, the rendering, the summary, the answer."""

import json
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from supervisors.core.errors import SpecError
from supervisors.core.paths import TreePath
from supervisors.simulate import (
    Script,
    TraceEvent,
    TraceKind,
    answer,
    plain_timeline,
    render_timeline,
    run_simulation,
    simulate_deaths,
    simulate_file,
    summary,
    to_json_line,
)
from supervisors.simulate.script import RandomExits, Step
from supervisors.spec import Topology, compile_topology
from tests.unit.simulate.support import WORKER, nested, script

STRATEGIES = Path(__file__).parents[3] / "examples" / "strategies"


def events(text: str, until: float | None = None, seed: int | None = None) -> list[TraceEvent]:
    return list(run_simulation(nested(), script(text), until=until, seed=seed))


def at(found: list[TraceEvent], path: str, kind: TraceKind) -> list[float]:
    return [event.t for event in found if event.path == path and event.event is kind]


def test_nothing_happens_without_a_script() -> None:
    total = summary(simulate_file(STRATEGIES / "nested.yaml"))
    assert (total.failures, total.restarts, total.down, total.ended) == (0, 0, (), "")
    assert len(total.up) == 5


def test_repeat_counts_from_its_own_time() -> None:
    found = events("- {at: 5s, repeat: {times: 3, every: 10s, step: {at: 1s, exit: {path: /solo}}}}")
    assert at(found, "/solo", TraceKind.EXITED) == [6.0, 16.0, 26.0]


def test_repeats_within_repeats() -> None:
    inner = "{repeat: {times: 2, every: 1s, step: {exit: {path: /pool/template.1, when_up: true}}}}"
    found = events(f"- {{at: 10s, repeat: {{times: 2, every: 60s, step: {inner}}}}}")
    assert at(found, "/pool/template.1", TraceKind.EXITED) == [10.0, 11.0, 70.0, 71.0]


def test_steps_of_one_instant_happen_together() -> None:
    found = events("- {at: 1s, exit: {path: /cell/oms}}\n- {at: 1s, exit: {path: /cell/md}}\n")
    decided = [event for event in found if event.event is TraceKind.RESTART_DECIDED]
    assert decided[0].path == "/cell/oms"
    assert summary(found).tallies[TreePath("/cell/oms")].up


def test_hang_follows_the_heartbeat_settings() -> None:
    tree = {"children": [{"id": "a", **WORKER, "heartbeat": {"interval": "50ms", "missed": 4, "hang_after": "1s"}}]}
    compiled = compile_topology(Topology.model_validate({"tree": tree}))
    text = "- {at: 1s, hang: {path: /a}}\n- {at: 30s, hang: {path: /a, how: stuck}}\n"
    found = list(run_simulation(compiled, script(text)))
    assert at(found, "/a", TraceKind.EXITED) == [1.2, 31.0]


def test_every_action_does_something() -> None:
    found = events(
        """\
- {at: 1s, ignore_starts: {path: /solo, times: 1}}
- {at: 1s, exit: {path: /solo}}
- {at: 2s, restart_child: {path: /solo}}
- {at: 3s, stop_child: {path: /solo}}
- {at: 4s, delete_child: {path: /solo}}
- {at: 5s, start_child: {path: /solo, restart: temporary, shutdown: brutal_kill}}
- {at: 6s, never_start: {path: /cell/oms, times: 1}}
- {at: 6s, exit: {path: /cell/oms}}
- {at: 50s, timing: {path: /solo, start: 1s, stop: 2s, ready: 1s}}
- {at: 60s, crash_supervisor: {path: /pool}}
- {at: 70s, shutdown: {}}
"""
    )
    assert at(found, "/solo", TraceKind.IGNORED) == [1.0]
    assert at(found, "/solo", TraceKind.READY) == [0.0, 2.0, 5.0]
    assert at(found, "/solo", TraceKind.STOPPING) == [3.0, 70.0]
    assert [dict(event.data)["error"] for event in found if event.event is TraceKind.REPLY] == ["ok"] * 4
    assert at(found, "/cell/oms", TraceKind.KILLED) == [36.0]
    assert at(found, "/pool", TraceKind.ADOPTED) == [60.0]
    assert summary(found).ended == "shutdown"


def test_until_and_for() -> None:
    text = "for: 30s\nsteps: [{at: 10s, exit: {path: /solo}}, {at: 20s, exit: {path: /solo}}]\n"
    assert at(events(text), "/solo", TraceKind.EXITED) == [10.0, 20.0]
    assert at(events(text, until=15.0), "/solo", TraceKind.EXITED) == [10.0]


def test_random_exits_keep_to_their_paths_and_rate() -> None:
    found = events("- {at: 10s, random_exits: {rate_per_s: 0.2, for: 1000s, paths: /pool/*, reasons: [oom, crash]}}")
    died = [event for event in found if event.event is TraceKind.EXITED and event.path != "/pool"]
    assert {event.path.rpartition("/")[0] for event in died} == {"/pool"}
    assert {event.reason.kind.value for event in died if event.reason} == {"oom", "crash"}
    assert 140 < len(died) < 260
    assert 10 < died[0].t < died[-1].t < 1010


def test_random_exits_of_one_level_only() -> None:
    found = events("- {random_exits: {rate_per_s: 0.1, for: 500s, paths: /*}}")
    assert {event.path for event in found if event.event is TraceKind.EXITED} == {"/solo"}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.floats(0.1, 20.0), takes=st.sampled_from([0.0, 0.2]))
def test_equal_seeds_give_equal_runs(seed: int, rate: float, takes: float) -> None:
    chance = RandomExits.model_validate({"rate_per_s": rate, "for": 20.0})
    steps = Script(seed=seed, start_takes=takes, steps=(Step(random_exits=chance),))
    first = list(run_simulation(nested(), steps, until=60.0))
    assert first == list(run_simulation(nested(), steps, until=60.0))
    assert [event.t for event in first] == sorted(event.t for event in first)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.floats(0.1, 5.0), takes=st.sampled_from([0.0, 0.05, 2.0]))
def test_lives_do_not_overlap(seed: int, rate: float, takes: float) -> None:
    """Invariant 2 of the machine, seen from outside: a path is started only when its last life has ended."""
    chance = RandomExits.model_validate({"rate_per_s": rate, "for": 30.0})
    repeat = "- {repeat: {times: 5, every: 7s, step: {at: 3s, crash_supervisor: {path: /cell}}}}"
    steps = (*script(repeat).steps, Step(random_exits=chance))
    over = {
        TraceKind.STOPPED,
        TraceKind.EXITED,
        TraceKind.EXITED_UNSEEN,
        TraceKind.START_FAILED,
        TraceKind.REAPED,
        TraceKind.KILLED,
    }
    alive: set[str] = set()
    for event in run_simulation(nested(), Script(seed=seed, start_takes=takes, stop_takes=takes, steps=steps)):
        if event.event is TraceKind.STARTING:
            assert event.path not in alive
            alive.add(event.path)
        elif event.event in over:
            alive.discard(event.path)


def test_three_deaths_in_a_second() -> None:
    """/cell takes two restarts in 5 s; the third death makes it give up, and the root restarts it as a whole."""
    found = list(simulate_deaths(nested(), "/cell/md", times=3, within=1.0))
    assert at(found, "/cell/md", TraceKind.EXITED) == pytest.approx([1.0, 1.333, 1.667], abs=0.001)
    total = summary(found)
    assert [(g.path, g.child, g.why) for g in total.give_ups] == [("/cell", "md", "intensity")]
    text = answer(found, "/cell/md").splitlines()
    assert text[0] == "death 1 at 1.000 s: up again at once"
    assert text[1].startswith("death 2 at 1.333 s: up again after 1")
    assert text[2] == "death 3 at 1.667 s: /cell gave up (intensity); up again at once"
    assert text[3] == "also restarted: /cell (1), /cell/oms (3)"
    assert text[4] == "at the end /cell/md is up"


def test_the_answer_when_everything_ends() -> None:
    tree = {"intensity": 0, "children": [{"id": "a", **WORKER}]}
    compiled = compile_topology(Topology.model_validate({"tree": tree}))
    text = answer(simulate_deaths(compiled, "/a", times=2), "/a").splitlines()
    assert text[0] == "death 1 at 1.000 s: / gave up (intensity); the whole system ended"
    assert text[1] == "nothing else was restarted"
    assert text[2].startswith("at the end the whole system is down: escalated")


def test_the_answer_when_it_stays_down_or_waits() -> None:
    tree = {"children": [{"id": "a", **WORKER, "restart": "temporary"}, {"id": "b", **WORKER}]}
    compiled = compile_topology(Topology.model_validate({"tree": tree}))
    assert answer(simulate_deaths(compiled, "/a", 1), "/a").endswith("at the end /a is down for good")
    waiting = answer(simulate_deaths(compiled, "/b", 2, until=1.55), "/b").splitlines()
    assert waiting[1] == "death 2 at 1.500 s: not restarted"
    assert waiting[-1].startswith("at the end /b waits for its restart at 1.6")


def test_deaths_of_nobody() -> None:
    with pytest.raises(SpecError, match="did you mean '/cell/md'"):
        simulate_deaths(nested(), "/cell/mb")
    assert list(simulate_deaths(nested(), "/pool/template.2", 1))


def test_files_are_checked_before_anything_runs(tmp_path: Path) -> None:
    bad = tmp_path / "script.yaml"
    bad.write_text("- {exit: {path: /nobody}}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"script.yaml:1:17.*/nobody"):
        simulate_file(STRATEGIES / "nested.yaml", bad)
    with pytest.raises(SpecError, match="no topology is named"):
        simulate_file(None, bad)
    with pytest.raises(SpecError, match="no such file"):
        simulate_file(tmp_path / "none.yaml")


def test_a_stopped_child_waits_no_more() -> None:
    found = events("- {at: 1s, repeat: {times: 2, every: 0s, step: {exit: {path: /solo}}}}")
    assert summary(found).tallies[TreePath("/solo")].up
    stopped = """\
- {at: 1s, exit: {path: /solo}}
- {at: 2s, exit: {path: /solo}}
- {at: 2050ms, stop_child: {path: /solo}}
"""
    assert summary(events(stopped, until=2.04)).tallies[TreePath("/solo")].waiting_until is not None
    tally = summary(events(stopped)).tallies[TreePath("/solo")]
    assert (tally.up, tally.waiting_until, tally.failures, tally.lives) == (False, None, 2, 2)


def test_a_fallen_tree_waits_no_more() -> None:
    found = events("- {at: 1s, exit: {path: /solo}}\n- {at: 2s, exit: {path: /solo}}\n- {at: 2050ms, shutdown: {}}\n")
    assert summary(found).tallies[TreePath("/solo")].waiting_until is None


def test_json_lines() -> None:
    found = events("- {at: 1s, exit: {path: /solo, message: 'a \"quoted\" line'}}")
    rows = [json.loads(to_json_line(event)) for event in found]
    exited = next(row for row in rows if row["event"] == "exited")
    assert exited == {
        "t": 1.0,
        "path": "/solo",
        "event": "exited",
        "reason": "crash",
        "message": 'a "quoted" line',
        "incarnation": 1,
    }
    assert all("\n" not in to_json_line(event) for event in found)


def test_timeline_and_summary_for_people() -> None:
    found = list(simulate_deaths(nested(), "/cell/md"))
    console = Console(width=140, record=True, file=StringIO())
    console.print(render_timeline(found))
    text = console.export_text()
    assert "rest_for_one -> md oms, window 1/2 in 5s" in text
    assert "/cell gave up on md: intensity" in text
    assert "3 failures" not in text  # the supervisor's own end counts as well
    assert "4 failures" in text
    assert plain_timeline(found).count("\n") == len(found)


def test_a_large_summary_shows_only_what_matters() -> None:
    tree = {"children": [{"id": f"w{n}", **WORKER} for n in range(100)]}
    compiled = compile_topology(Topology.model_validate({"tree": tree}))
    console = Console(width=100, record=True, file=StringIO())
    console.print(render_timeline(simulate_deaths(compiled, "/w7", 1)))
    text = console.export_text()
    assert "... and 100 more paths" in text


def test_ten_thousand_children_in_seconds() -> None:
    """TOP-4; benchmarks/simulate.py has the whole measurement."""
    tree = {"intensity": 1_000_000, "children": [{"id": f"w{n}", **WORKER} for n in range(10_000)]}
    compiled = compile_topology(Topology.model_validate({"tree": tree}))
    chance = RandomExits.model_validate({"rate_per_s": 100.0, "for": 10.0})
    total = summary(run_simulation(compiled, Script(steps=(Step(random_exits=chance),))))
    assert len(total.up) == 10_001
    assert 900 < total.restarts < 1100


def test_a_held_start_waits_for_its_release() -> None:
    text = """\
- {at: 1s, hold: {path: /solo, times: 1}}
- {at: 1s, exit: {path: /solo}}
- {at: 2s, hold: {path: /cell/md, times: 1}}
- {at: 2s, exit: {path: /cell/md}}
- {at: 9s, release: {path: /solo}}
- {at: 9s, reject: {path: /cell/md}}
"""
    found = events(text)
    assert at(found, "/solo", TraceKind.HELD) == [1.0]
    assert at(found, "/solo", TraceKind.RELEASED) == [9.0]
    assert at(found, "/solo", TraceKind.READY) == [0.0, 9.0]
    assert at(found, "/cell/md", TraceKind.REJECTED) == [9.0]
    tallies = summary(found).tallies
    assert (tallies[TreePath("/solo")].up, tallies[TreePath("/cell/md")].up) == (True, False)
    assert not tallies[TreePath("/cell/md")].held
    early = summary(events(text, until=5.0)).tallies
    assert early[TreePath("/solo")].held
    assert not early[TreePath("/solo")].up


def test_what_is_held_is_not_held_any_more_when_the_system_has_ended() -> None:
    text = "- {at: 1s, hold: {path: /solo}}\n- {at: 1s, exit: {path: /solo}}\n- {at: 2s, shutdown: {}}\n"
    found = events(text)
    assert not summary(found).tallies[TreePath("/solo")].held
    assert summary(found).ended == "shutdown"
