"""A run as a machine: what is wanted next, whatever is answered, and how it ends."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.chaos.document import Experiment
from supervisors.chaos.history import Outcome
from supervisors.chaos.machine import ExperimentMachine, Phase, seed_of
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
    Woke,
)


def _experiment(**fields: object) -> Experiment:
    return Experiment.model_validate({"title": "t", **fields})


class _Play:
    """Answers each effect at once unless told otherwise, on a clock of its own."""

    def __init__(self, **fields: object) -> None:
        self.machine = ExperimentMachine(_experiment(**fields))
        self.now = 0.0
        self.done: list[Effect] = []
        self.open: list[Effect] = []
        #: answers that are not the usual one, by what the effect is about
        self.answers: dict[str, Event] = {}

    def step(self, event: Event) -> None:
        effects = [one for one in self.machine.step(event, self.now) if not isinstance(one, Say)]
        self.done += effects
        self.open += [one for one in effects if hasattr(one, "token")]

    def answer(self, effect: Effect) -> None:
        self.open.remove(effect)
        match effect:
            case DoProbe(token=token, probe=probe, when=when):
                fails = f"{when}:{probe.title}" in self.answers or probe.title in self.answers
                self.step(Probed(token, not fails, "it is bad" if fails else ""))
            case DoInject(token=token, step=step, number=number):
                refused = step.fault in self.answers
                self.step(Refused(token, 9006, "no") if refused else Injected(token, (f"f-{number}",), (step.path,)))
            case DoCall(token=token, step=step):
                self.step(Called(token, step.method not in self.answers, "raised"))
            case DoRevert(token=token, ids=ids):
                self.step(Reverted(token, ("f-9",) if ids is None and "stuck" in self.answers else ()))
            case DoSettle(token=token):
                self.step(Settled(token, "settle" not in self.answers, "still ill"))
            case _:
                raise AssertionError(effect)

    def run(self, *, until: float = 1e6) -> "_Play":
        if not self.done:
            self.step(Began())
        while self.machine.phase is not Phase.DONE:
            if self.open:
                self.answer(self.open[0])
                continue
            wake_at = self.machine.wake_at
            assert wake_at is not None, "it waits for nothing"
            if wake_at > until:
                self.now = until
                return self
            self.now = max(self.now, wake_at)
            self.step(Woke())
        return self

    def said(self) -> list[str]:
        words = []
        for one in self.done:
            match one:
                case DoProbe(probe=probe, when=when):
                    words.append(f"{when}:{probe.title}")
                case DoInject(step=step):
                    words.append(f"{step.fault} {step.path}")
                case DoCall(step=step):
                    words.append(f"call {step.method}")
                case DoRevert(ids=ids):
                    words.append(f"revert {'all' if ids is None else ','.join(ids)}")
                case DoSettle():
                    words.append("settle")
                case StartLoad():
                    words.append("load")
                case StopLoad():
                    words.append("unload")
                case Finish(outcome=outcome):
                    words.append(outcome.value)
                case _:
                    pass
        return words


TREE = {"probe": "tree_healthy", "name": "tree"}
KILL = {"fault": "kill", "path": "/a"}


def test_a_run_that_holds() -> None:
    play = _Play(
        steady_state=[TREE],
        method=[KILL, {"wait": "2s"}, {"call": "/a", "method": "x"}],
        rollbacks=[{"call": "/a", "method": "reset"}],
        workload={"path": "/a", "method": "m", "args": ["{n}"]},
    ).run()
    assert play.said() == [
        "before:tree",
        "load",
        "kill /a",
        "call x",
        "after:tree",
        "unload",
        "revert all",
        "call reset",
        "settle",
        "held",
    ]
    assert play.now == 2.0
    assert (play.machine.outcome, play.machine.faults) == (Outcome.HELD, 1)


@pytest.mark.parametrize(
    ("strategy", "looks"),
    [
        ("before", ["before:tree"]),
        ("after", ["after:tree"]),
        ("both", ["before:tree", "after:tree"]),
        ("during", ["during:tree"] * 4),
        ("continuous", ["before:tree", *["during:tree"] * 4, "after:tree"]),
    ],
)
def test_when_the_steady_state_is_looked_at(strategy: str, looks: list[str]) -> None:
    play = _Play(steady_state=[TREE], method=[{"wait": "3.5s"}], hypothesis={"strategy": strategy, "every": "1s"}).run()
    assert [word for word in play.said() if ":" in word] == looks


def test_not_steady_before_breaks_nothing() -> None:
    play = _Play(steady_state=[TREE], method=[KILL])
    play.answers["before:tree"] = Abort("")
    play.run()
    assert play.said() == ["before:tree", "revert all", "aborted"]
    assert "not in its steady state before: tree: it is bad" in play.machine.why


def test_a_probe_that_fails_after_deviates() -> None:
    play = _Play(steady_state=[TREE], method=[KILL])
    play.answers["after:tree"] = Abort("")
    assert play.run().machine.outcome is Outcome.DEVIATED
    assert play.said()[-3:] == ["revert all", "settle", "deviated"]


def test_a_probe_in_the_method_deviates_and_the_method_goes_on() -> None:
    play = _Play(method=[{**TREE, "name": "mid"}, KILL])
    play.answers["mid"] = Abort("")
    play.run()
    assert play.said() == ["method:mid", "kill /a", "revert all", "settle", "deviated"]


@pytest.mark.parametrize(("aborts", "outcome"), [(True, Outcome.ABORTED), (False, Outcome.DEVIATED)])
def test_a_steady_state_that_fails_while_the_method_runs(aborts: bool, outcome: Outcome) -> None:
    play = _Play(
        steady_state=[TREE],
        method=[KILL, {"wait": "10s"}, {"kill": "/b"}],
        hypothesis={"strategy": "during", "every": "1s"},
        controls={"abort": {"probe_fails": aborts}},
    )
    play.answers["during:tree"] = Abort("")
    play.run()
    assert play.machine.outcome is outcome
    assert ("kill /b" in play.said()) is not aborts
    assert "revert all" in play.said()
    assert play.machine.why.count("during: tree") == 1


def test_a_fault_that_is_refused_aborts_unless_it_need_not_be() -> None:
    play = _Play(method=[KILL, {"wait": "1s"}])
    play.answers["kill"] = Abort("")
    play.run()
    assert play.said() == ["kill /a", "revert all", "settle", "aborted"]
    assert "kill at /a was refused: no" in play.machine.why
    other = _Play(method=[{**KILL, "required": False}, {"call": "/a", "method": "x"}])
    other.answers["kill"] = Abort("")
    assert other.run().said() == ["kill /a", "call x", "revert all", "settle", "held"]


def test_a_call_that_fails_aborts_unless_it_may() -> None:
    play = _Play(method=[{"call": "/a", "method": "x"}, KILL])
    play.answers["x"] = Abort("")
    assert play.run().machine.outcome is Outcome.ABORTED
    other = _Play(method=[{"call": "/a", "method": "x", "may_fail": True}, KILL])
    other.answers["x"] = Abort("")
    assert other.run().machine.outcome is Outcome.HELD


def test_what_could_not_be_reverted_is_told_first() -> None:
    play = _Play(method=[KILL], steady_state=[TREE])
    play.answers = {"stuck": Abort(""), "after:tree": Abort("")}
    play.run()
    assert play.machine.outcome is Outcome.NOT_REVERTED
    assert play.machine.why.startswith("could not be reverted: f-9; after: tree")


def test_a_system_that_does_not_settle_deviates() -> None:
    play = _Play(method=[KILL])
    play.answers["settle"] = Abort("")
    assert play.run().machine.outcome is Outcome.DEVIATED


def test_faults_are_reverted_by_name() -> None:
    play = _Play(
        method=[
            {"fault": "delay", "path": "/a", "name": "slow"},
            {"fault": "drop", "path": "/b", "name": "slow"},
            {"revert": "slow"},
            {"revert": "all"},
        ]
    ).run()
    assert play.said() == ["delay /a", "drop /b", "revert f-1,f-2", "revert all", "revert all", "settle", "held"]


def test_parallel_steps_begin_together_and_a_list_keeps_its_order() -> None:
    play = _Play(
        method=[
            {"parallel": [{"wait": "3s"}, [{"wait": "1s"}, {"kill": "/a"}], {"kill": "/b"}]},
            {"kill": "/c"},
        ]
    ).run()
    assert play.said()[:3] == ["kill /b", "kill /a", "kill /c"]
    assert play.now == 3.0


def test_the_method_waits_for_what_is_in_the_background() -> None:
    play = _Play(method=[{"background": [{"wait": "5s"}, {"kill": "/a"}]}, {"kill": "/b"}]).run()
    assert play.said()[:2] == ["kill /b", "kill /a"]
    assert play.now == 5.0


def test_repeated_steps_keep_their_pace() -> None:
    play = _Play(method=[{"repeat": {"times": 3, "every": "2s", "steps": [KILL, {"wait": "500ms"}]}}]).run()
    assert play.said().count("kill /a") == 3
    assert play.now == 6.0


def test_controls_stand_around_each_fault() -> None:
    play = _Play(
        method=[KILL, {"wait": "1s"}],
        controls={"before_each": [{**TREE, "name": "b"}], "after_each": [{**TREE, "name": "a"}]},
    ).run()
    assert play.said()[:3] == ["controls:b", "kill /a", "controls:a"]


def test_bounds_of_a_run_abort_it() -> None:
    many = _Play(method=[{"repeat": {"times": 5, "steps": [KILL]}}], controls={"abort": {"max_faults": 2}}).run()
    assert many.said() == ["kill /a", "kill /a", "revert all", "settle", "aborted"]
    slow = _Play(method=[KILL, {"wait": "1h"}], controls={"abort": {"max_duration": "10s"}}).run()
    assert slow.now == 10.0
    assert slow.machine.outcome is Outcome.ABORTED


def test_an_abort_in_any_phase_rolls_back_once() -> None:
    for when in (0.0, 0.5, 1.5):
        play = _Play(method=[KILL, {"wait": "1s"}, {"kill": "/b"}, {"wait": "1s"}], rollbacks=[{"wait": "1s"}])
        play.run(until=when)
        play.step(Abort("by hand"))
        play.step(Abort("again"))
        play.run()
        assert play.said()[-3:] == ["revert all", "settle", "aborted"]
        assert play.said().count("revert all") == 1
        assert play.machine.why == "by hand"


def test_a_fault_that_is_armed_after_the_abort_is_reverted_too() -> None:
    play = _Play(method=[KILL])
    play.step(Began())
    inject = next(one for one in play.open if isinstance(one, DoInject))
    play.step(Abort("by hand"))
    play.step(Injected(inject.token, ("f-late",), ("/a",)))
    assert [word for word in play.said() if word.startswith("revert")] == ["revert all", "revert f-late"]


def test_what_the_background_begins_in_the_background_is_waited_for() -> None:
    nested = {"background": [{"wait": "1s"}, {"background": [{"wait": "5s"}, {"fault": "delay", "path": "/a"}]}]}
    play = _Play(method=[{"kill": "/b"}, nested], rollbacks=[{"wait": "1s"}]).run()
    assert play.said() == ["kill /b", "delay /a", "revert all", "settle", "held"]
    assert play.now == 7.0


def test_a_strand_of_the_method_does_not_outlive_it() -> None:
    """Not even one that waits when the run is broken off from outside its own strand."""
    play = _Play(
        method=[{"background": [{"wait": "2s"}, {"fault": "delay", "path": "/a"}]}, KILL, {"wait": "9s"}],
        rollbacks=[{"wait": "10s"}],
    )
    play.run(until=1.0)
    play.step(Abort("by hand"))
    play.run()
    assert "delay /a" not in play.said()
    assert play.now == 11.0


def test_an_abort_while_it_rolls_back_ends_the_waiting_only() -> None:
    play = _Play(
        method=[KILL],
        rollbacks=[{"wait": "300s"}, {"call": "/a", "method": "reset"}, {"wait": "300s"}, {"revert": "all"}],
    )
    play.run(until=5.0)
    assert play.machine.phase is Phase.ROLLBACK
    play.step(Abort("by hand"))
    assert play.machine.hurried
    play.run()
    assert play.said() == ["kill /a", "revert all", "call reset", "revert all", "settle", "aborted"]
    assert (play.now, play.machine.why) == (5.0, "by hand")
    assert [one.seconds for one in play.done if isinstance(one, DoSettle)] == [0.0]


def test_a_look_under_way_when_the_method_ends_is_waited_for() -> None:
    """A steady state that needs longer than the method to be judged is judged all the same."""
    play = _Play(steady_state=[TREE], method=[KILL, {"wait": "1s"}], hypothesis={"strategy": "during"})
    play.step(Began())
    look = next(one for one in play.open if isinstance(one, DoProbe))
    play.open.remove(look)
    play.answer(play.open[0])
    play.now = 2.0
    play.step(Woke())
    assert play.machine.phase is Phase.METHOD
    play.step(Probed(look.token, ok=False, why="it is bad"))
    assert play.run().said()[-3:] == ["revert all", "settle", "aborted"]
    assert play.machine.why == "during: tree: it is bad"


def test_a_method_that_takes_no_time_is_looked_at_once() -> None:
    play = _Play(steady_state=[TREE], method=[], hypothesis={"strategy": "during"})
    play.answers["during:tree"] = Abort("")
    assert play.run().machine.outcome is Outcome.ABORTED
    assert [word for word in play.said() if ":" in word] == ["during:tree"]


def test_seeds_are_the_runs_own() -> None:
    seeds = [
        one.seed
        for one in _Play(seed=7, method=[KILL, KILL, {**KILL, "seed": 3}]).run().done
        if isinstance(one, DoInject)
    ]
    assert seeds == [seed_of(7, 1), seed_of(7, 2), 3]
    assert seeds[0] != seeds[1]


STEPS = st.recursive(
    st.sampled_from([KILL, {"wait": "1s"}, {"wait": 0}, {"call": "/a", "method": "x"}, TREE, {"revert": "all"}]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda steps: {"parallel": steps})
        | st.lists(inner, min_size=1, max_size=3).map(lambda steps: {"background": steps})
        | st.lists(inner, min_size=1, max_size=3).map(lambda steps: {"repeat": {"times": 2, "steps": steps}})
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(STEPS, max_size=5),
    st.sampled_from(["before", "after", "both", "during", "continuous"]),
    st.sets(st.sampled_from(["tree", "kill", "x", "stuck", "settle", "during:tree"])),
    st.none() | st.integers(0, 30),
    st.integers(0, 10_000),
)
def test_every_run_ends_reverted_and_settled(
    steps: list[object], strategy: str, bad: set[str], abort_at: int | None, seed: int
) -> None:
    """Whatever is answered, in whatever order, and whenever somebody breaks it off."""
    play = _Play(method=steps, steady_state=[TREE], hypothesis={"strategy": strategy, "every": "1s"})
    play.answers = {name: Abort("") for name in bad}
    rng = random.Random(seed)
    play.step(Began())
    for count in range(5_000):
        if play.machine.phase is Phase.DONE:
            break
        if count == abort_at:
            play.step(Abort("by hand"))
        elif play.open and rng.random() < 0.7:
            play.answer(rng.choice(play.open))
        else:
            play.now += rng.choice([0.1, 1.0])
            play.step(Woke())
    words = play.said()
    assert play.machine.phase is Phase.DONE
    assert words[-1] == play.machine.outcome.value
    assert "revert all" in words
    last = max(index for index, word in enumerate(words) if word == "revert all")
    assert not [word for word in words[last:] if word.startswith("kill")], "nothing is broken after the rollback"
    assert play.machine.step(Woke(), play.now + 1e9) == []
