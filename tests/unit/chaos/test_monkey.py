"""The monkey's decisions."""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors.chaos.monkey import (
    LEFT_OUT,
    Candidate,
    Decision,
    Limits,
    Look,
    Monkey,
    MonkeyRules,
    Over,
    Refused,
    Replay,
    covers,
    redecide,
    refuse_misfits,
)
from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import Target
from supervisors.faults.kinds import CATALOGUE
from supervisors.faults.request import TargetSet

W, S, V = Target.WORKER, Target.STANDBY, Target.SUPERVISOR
TREE = (
    Candidate("/cell", V),
    Candidate("/cell/a", W, journal=True, lease=True, standby=True),
    Candidate("/cell/a", S, journal=True),
    Candidate("/cell/b", W, journal=True),
    Candidate("/watch", W),
    Candidate("/wire", W, own=("net_latency", "net_reset")),
)
Sees = Callable[[float], tuple[Candidate, ...]]


def play(
    monkey: Monkey, until: float, *, lasts: float = 0.0, sees: Sees = lambda now: TREE
) -> list[tuple[float, Decision]]:
    """Run it on a clock of 50 ms ticks; each decision is over ``lasts`` seconds after it was taken."""
    made: list[tuple[float, Decision]] = []
    running: dict[int, float] = {}
    for tick in range(int(until / 0.05)):
        now = tick * 0.05
        for number, end in list(running.items()):
            if end <= now:
                del running[number]
                monkey.step(Over(number), now)
        decision = monkey.step(Look(sees(now)), now)
        if decision is not None:
            made.append((now, decision))
            running[decision.number] = now + lasts
    return made


def monkey(**rules: object) -> Monkey:
    return Monkey(MonkeyRules(**rules), CATALOGUE, 0.0)  # type: ignore[arg-type]


# ---- the schedule


@given(st.integers(0, 1 << 40))
@settings(max_examples=12, deadline=None)
def test_the_same_seed_gives_the_same_schedule(seed: int) -> None:
    one, two = (play(monkey(seed=seed), 60.0) for _ in range(2))
    assert one == two
    assert len(one) >= 19


def test_another_seed_gives_another_schedule() -> None:
    one, two = (play(monkey(seed=seed), 60.0) for seed in (1, 2))
    assert [d.requests for _, d in one] != [d.requests for _, d in two]


@given(st.integers(0, 1000), st.sampled_from([6.0, 20.0, 60.0]))
@settings(max_examples=20, deadline=None)
def test_rate(seed: int, rate: float) -> None:
    made = play(monkey(seed=seed, rate=rate), 120.0)
    assert abs(len(made) - 2 * rate) <= 1
    gap = 60.0 / rate
    for number, (at, _) in enumerate(made):
        assert number * gap <= at <= (number + 1) * gap + 0.05


def test_it_catches_up_after_a_wait() -> None:
    def sees(now: float) -> tuple[Candidate, ...]:
        return tuple(msgspec.structs.replace(one, healthy=not 10 < now < 30) for one in TREE)

    made = play(monkey(rate=20), 60.0, sees=sees)
    assert not [at for at, _ in made if 10.05 < at < 30]
    assert abs(len(made) - 20) <= 1


def test_it_ends_after_so_many() -> None:
    ends = monkey(limits=Limits(faults=5))
    assert len(play(ends, 60.0)) == 5
    assert ends.finished


# ---- whom


@given(st.integers(0, 100_000), st.data())
@settings(max_examples=25, deadline=None)
def test_no_forbidden_path_no_forbidden_kind_nobody_who_does_not_fit(seed: int, data: st.DataObject) -> None:
    paths = ["/", "/cell", "/cell/a", "/cell/*", "/watch", "/wire"]
    only = tuple(data.draw(st.lists(st.sampled_from(paths), max_size=2)))
    never = tuple(data.draw(st.lists(st.sampled_from(paths[1:]), max_size=2)))
    groups = tuple(data.draw(st.lists(st.sampled_from(["message", "state", "kill"]), max_size=2)))
    made = play(monkey(seed=seed, only=only, except_=never, except_kinds=groups, rate=60), 60.0)
    for _, decision in made:
        assert not any(covers(pattern, decision.path) for pattern in never)
        assert not only or any(covers(pattern, decision.path) for pattern in only)
        kind = CATALOGUE.find(decision.requests[0].fault)
        assert kind.name not in groups
        assert kind.group not in groups
        assert kind.name not in LEFT_OUT
        found = next(one for one in TREE if (one.path, one.target) == (decision.path, decision.target))
        assert found.target in kind.targets
        assert not kind.needs_journal or found.journal
        assert not kind.needs_lease or found.lease
        assert not kind.needs_standby or found.standby
        assert kind.group != "network" or kind.name in found.own
        wanted = TargetSet.STANDBYS if found.target is S else TargetSet.PATH
        assert {request.targets for request in decision.requests} == {wanted}
        for request in decision.requests:
            assert request.path == decision.path
            CATALOGUE.find(request.fault).read(request.params)


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/", "/a", True), ("/cell", "/cell", True), ("/cell", "/cell/a/b", True), ("/cell", "/cellar", False),
        ("/cell/*", "/cell", False), ("/cell/*", "/cell/a", True), ("/cell/", "/cell/a", True),
        ("/*/a", "/cell/a", True),
    ],
)  # fmt: skip
def test_covers(pattern: str, path: str, found: bool) -> None:
    assert covers(pattern, path) is found


@given(st.integers(0, 100_000), st.integers(1, 3), st.floats(0, 20))
@settings(max_examples=20, deadline=None)
def test_the_blast_radius_is_kept(seed: int, at_once: int, lasts: float) -> None:
    made = play(monkey(seed=seed, rate=60, limits=Limits(at_once=at_once)), 60.0, lasts=lasts)
    for at, decision in made:
        running = {d.path for begun, d in made if begun < at < begun + lasts - 0.05}
        assert len(running) < at_once
        assert decision.path not in running
        assert not any(decision.path.startswith(f"{path}/") for path in running), "below one that is hit"


@given(st.integers(0, 100_000), st.integers(1, 3))
@settings(max_examples=12, deadline=None)
def test_nobody_is_hit_who_is_not_healthy_unless_ruthless(seed: int, at_once: int) -> None:
    sick = tuple(msgspec.structs.replace(one, healthy=one.path != "/cell/a") for one in TREE)
    limits = Limits(at_once=at_once)
    made = play(monkey(seed=seed, limits=limits, rate=60), 60.0, sees=lambda now: sick)
    assert "/cell/a" not in {d.path for _, d in made}
    assert bool(made) is (at_once > 1)
    made = play(monkey(seed=seed, limits=limits, rate=60, ruthless=True), 60.0, sees=lambda now: sick)
    assert "/cell/a" in {d.path for _, d in made}


def test_why_it_waits() -> None:
    waits = monkey()
    waits.step(Look((Candidate("/a", W, healthy=False),)), 3.0)
    assert waits.waiting == "/a is not healthy"
    assert waits.step(Look((Candidate("/a", W),)), 3.0) is not None
    waits.step(Look((Candidate("/a", W),)), 9.0)
    assert waits.waiting == "the last fault is not over"
    waits.step(Over(1), 9.0)
    waits.step(Look((Candidate("/a", V),)), 9.0)
    assert waits.waiting == ""


# ---- which


@given(st.integers(0, 100_000))
@settings(max_examples=12, deadline=None)
def test_each_kind_before_any_is_repeated(seed: int) -> None:
    used = Counter(d.requests[0].fault for _, d in play(monkey(seed=seed, rate=60), 120.0))
    able = {
        kind.name
        for kind in CATALOGUE
        if kind.name not in LEFT_OUT and (kind.group != "network" or kind.name in ("net_latency", "net_reset"))
    }
    assert set(used) == able
    assert max(used.values()) - min(used.values()) <= 1
    assert len(used) >= 15


def test_targets_take_turns() -> None:
    hits = Counter((d.path, d.target) for _, d in play(monkey(kinds=("kill",), rate=60), 60.0))
    assert len(hits) == len(TREE)
    assert max(hits.values()) - min(hits.values()) <= 1


def test_what_lasts_is_short() -> None:
    for _, decision in play(monkey(rate=6), 600.0):
        for request in decision.requests:
            lasting = CATALOGUE.find(request.fault).lasting
            assert (request.seconds is not None) is lasting
            assert request.seconds is None or 0.5 <= request.seconds <= 5.0
    assert all((d.requests[0].seconds or 0.0) <= 1.0 for _, d in play(monkey(rate=60), 60.0))


def test_a_sleeping_fault_is_woken_by_a_kill() -> None:
    made = play(monkey(kinds=("corrupt_checkpoint",)), 30.0)
    assert made
    assert all([request.fault for request in d.requests] == ["corrupt_checkpoint", "kill"] for _, d in made)


def test_machine_wide_kinds_once_at_a_time() -> None:
    rules = {"kinds": ("burn_cpu", "kill"), "rate": 60, "limits": Limits(at_once=3)}
    made = play(monkey(**rules), 60.0, lasts=100.0)
    assert [d.requests[0].fault for _, d in made].count("burn_cpu") == 1


def test_what_is_refused_twice_is_left_alone() -> None:
    asked = monkey(kinds=("kill", "hang"), rate=60)
    tree = (Candidate("/a", W),)
    faults = []
    for second in range(1, 30):
        decision = asked.step(Look(tree), float(second))
        assert decision is not None
        faults.append(decision.requests[0].fault)
        refused = faults[-1] == "hang"
        asked.step(Refused(decision.number) if refused else Over(decision.number), float(second))
    assert faults.count("hang") == 2


def test_left_out_unless_named() -> None:
    assert "lose_sync" not in monkey().used
    assert "lose_sync" not in monkey(kinds=("state",)).used
    assert set(monkey(kinds=("lose_sync",)).used) == {"lose_sync"}


# ---- again


@given(st.integers(0, 100_000), st.lists(st.integers(1, 30), max_size=5))
@settings(max_examples=12, deadline=None)
def test_decided_anew_from_the_record_it_is_the_same(seed: int, refused: list[int]) -> None:
    rules = MonkeyRules(seed=seed, rate=60, limits=Limits(at_once=2))
    live = Monkey(rules, CATALOGUE, 0.0)
    made: list[Decision] = []
    for tick in range(600):
        now = tick * 0.05
        # who is there depends on the time: only what was recorded can tell
        there = tuple(one for place, one in enumerate(TREE) if (tick // 7 + place) % 4)
        if (decision := live.step(Look(there), now)) is not None:
            made.append(decision)
            live.step(Refused(decision.number) if decision.number in refused else Over(decision.number), now)
    recorded = [msgspec.json.decode(msgspec.json.encode(d), type=Decision) for d in made]
    assert recorded == made
    why = dict.fromkeys(refused, "no")
    assert redecide(rules, CATALOGUE, recorded, why) == []
    other = msgspec.structs.replace(rules, seed=seed + 1)
    assert redecide(other, CATALOGUE, recorded, why) != []


def test_replay_gives_the_recorded_when_its_target_is_there_and_healthy() -> None:
    made = [d for _, d in play(monkey(rate=60), 20.0)]
    again = Replay(made, 1000.0)
    given_again: list[Decision] = []
    for tick in range(1000):
        now = 1000.0 + tick * 0.05
        tree = () if 5 < now - 1000 < 8 else TREE
        if (decision := again.step(Look(tree), now)) is not None:
            assert now >= 1000.0 + decision.at
            given_again.append(decision)
            assert again.step(Look(tree), now) is None, "one at a time"
            again.step(Over(decision.number), now)
    assert given_again == made
    assert again.finished


# ---- bad input


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ({"kinds": ("kil",)}, 9060),
        ({"except_kinds": ("kil",)}, 9060),
        ({"kinds": ("kill",), "except_kinds": ("process",)}, 9061),
        ({"rate": 0.0}, 9062),
        ({"rate": float("nan")}, 9062),
        ({"limits": Limits(at_once=0)}, 9062),
        ({"limits": Limits(shortest=5.0, longest=1.0)}, 9062),
    ],
)
def test_rules_that_cannot_be_met(rules: dict[str, object], code: int) -> None:
    with pytest.raises(FaultError) as caught:
        monkey(**rules)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("rules", "code", "says"),
    [
        ({"only": ("/nope",)}, 9063, "--only /nope"),
        ({"only": ("/cell", "/nope")}, 9063, "--only /nope"),
        ({"only": ("cell",)}, 9063, "--only cell"),
        ({"except_": ("/nope/*",)}, 9063, "--except /nope/*"),
        ({"except_": ("/",)}, 9063, "leave no place"),
        ({"only": ("/watch",), "except_": ("/watch",)}, 9063, "leave no place"),
        ({"only": ("/watch",), "kinds": ("net_latency",)}, 9064, "net_latency fits none of /watch"),
        ({"only": ("/watch",), "kinds": ("kill", "network")}, 9064, "network fits none of /watch"),
        ({"kinds": ("kil",)}, 9060, "kil"),
    ],
)
def test_rules_that_fit_nothing_are_refused_before_anything_is_done(
    rules: dict[str, object], code: int, says: str
) -> None:
    with pytest.raises(FaultError) as caught:
        refuse_misfits(MonkeyRules(**rules), CATALOGUE, TREE)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize(
    ("rules", "pools"),
    [
        ({}, ()),
        ({"only": ("/cell/*", "/wire"), "except_": ("/cell/b",), "kinds": ("network", "kill")}, ()),
        ({"only": ("/pool/7",), "kinds": ("network",)}, ("/pool",)),
        ({"only": ("/pool/*",)}, ("/pool",)),
    ],
)
def test_rules_that_fit(rules: dict[str, object], pools: tuple[str, ...]) -> None:
    tree = (*TREE, Candidate("/pool", V)) if pools else TREE
    refuse_misfits(MonkeyRules(**rules), CATALOGUE, tree, pools)  # type: ignore[arg-type]
