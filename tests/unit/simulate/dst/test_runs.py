"""Whole runs: the same for the same seed, nothing violated, every kind of fault strikes; replay and shrinking."""

import os
from pathlib import Path

import msgspec
import pytest

from supervisors.core.errors import SpecError
from supervisors.simulate.dst import Fault, Options, Totals, load, minimise, replay, run, run_many, save, story
from supervisors.simulate.dst.model import plant
from supervisors.simulate.dst.planning import KINDS, plan
from supervisors.tree.model import Strategy

#: how many seeds; more in continuous integration
SEEDS = int(os.environ.get("RAYVISOR_DST_SEEDS", "60"))


@pytest.fixture(scope="module")
def totals() -> Totals:
    found = Totals()
    for result in run_many(Options(), range(SEEDS), min(2, os.cpu_count() or 1)):
        found.add(result)
    return found


@pytest.mark.timeout(max(120, 2 * SEEDS))
def test_no_invariant_is_violated(totals: Totals) -> None:
    broken = [(result.seed, result.violation) for result in totals.broken]
    assert broken == []
    assert totals.seeds == SEEDS
    assert totals.over == 0


def test_what_a_supervisor_left_is_ended_also_if_the_one_above_dies_before_it_could_end_it() -> None:
    """The second crash has a backoff: the record says that it waits, and nothing else tells what is to be ended."""
    faults = [
        Fault(36.0, "kill_supervisor", "/pool", {}),
        Fault(39.9, "supervisor_at_step", "/", {"step": "effect"}),
        Fault(40.0, "kill_supervisor", "/pool", {}),
    ]
    results = [run(Options(seed=seed), faults) for seed in range(10)]
    assert [result.violation for result in results] == [None] * 10
    assert all(result.injected == 3 for result in results)


def test_a_start_that_waited_for_its_lease_looks_once_more_where_the_newest_journal_is() -> None:
    """The standby told to act stands still while its node is given up, and acts before the lease is another's."""
    faults = [
        Fault(19.0, "stop_at_step", "/w0", {"step": "ordered", "seconds": 1.2}),
        Fault(20.0, "partition", "n2", {"seconds": 2.6}),
        Fault(21.2, "kill", "/w0", {}),
        Fault(24.5, "kill", "/w0", {}),
    ]
    assert [run(Options(seed=seed), faults).violation for seed in range(6)] == [None] * 6


def test_an_attempt_that_never_began_does_not_begin_once_a_person_is_asked() -> None:
    """Cold waits for the end of a life on a lost node, runs out of time, and is still to hand when that life ends."""
    faults = [
        Fault(28.769725, "crash_at_step", "/w4", {"step": "ending"}),
        Fault(34.134267, "store_down", "store", {"seconds": 7.6326}),
        Fault(38.521573, "partition", "n1", {"seconds": 8.4717}),
        Fault(45.960758, "dying_disk", "n1", {"seconds": 7.7149}),
    ]
    assert run(Options(seed=7413), faults).violation is None


def test_each_run_has_at_least_two_hundred_faults_of_every_kind(totals: Totals) -> None:
    assert totals.fewest is not None
    assert totals.fewest >= 200
    assert set(totals.faults) == set(KINDS)


def test_every_rung_is_taken_and_clients_get_on(totals: Totals) -> None:
    assert set(totals.recoveries) == {"hot", "warm", "cold"}
    assert totals.appends > 200 * SEEDS


def test_the_tree_has_every_strategy_and_as_many_workers_as_asked_for() -> None:
    for count in (8, 20, 60):
        tree = plant(count, 1)
        assert {spec.flags.strategy for spec in tree.supervisors.values()} == set(Strategy)
        fixed = sum(1 for path in tree.workers if not path.endswith("*"))
        assert fixed + sum(tree.pools.values()) == count


def test_equal_seeds_give_equal_runs_also_with_a_trace() -> None:
    one, again, traced = run(Options(seed=11)), run(Options(seed=11)), run(Options(seed=11), tracing=True)
    assert one == again
    assert (traced.digest, traced.callbacks, traced.faults) == (one.digest, one.callbacks, one.faults)
    assert traced.trace
    assert run(Options(seed=12)).digest != one.digest


def test_leaving_one_fault_out_does_not_change_the_others() -> None:
    options = Options(seed=3)
    tree = plant(options.children, options.seed)
    faults = plan(options, tree)
    assert faults == plan(options, tree)
    cut = len(faults) // 2
    whole, part = run(options, faults, tracing=True), run(options, faults[:cut] + faults[cut + 1 :], tracing=True)
    until = faults[cut].t - 0.1  # the client appends just before a fault
    assert [m for m in whole.trace if m.t < until] == [m for m in part.trace if m.t < until]


def test_a_run_without_faults_is_quiet() -> None:
    result = run(Options(seed=1), [])
    assert result.violation is None
    assert result.injected == 0
    assert result.recoveries == {}
    assert result.appends > 50


@pytest.fixture(scope="module")
def failing() -> Options:
    return Options(seed=0, bug="temporary")


def test_a_failure_is_made_short_and_replays_bit_for_bit(failing: Options, tmp_path: Path) -> None:
    short = minimise(failing)
    assert short is not None
    assert short.violation.invariant == "INV-7"
    assert len(short.faults) * 20 < short.planned  # no single one of them can be left out
    result, moments = story(short.options, list(short.faults))
    assert result.digest == short.digest
    assert moments[-1].kind == "violated"
    file = tmp_path / "run.json"
    save(file, short.options, short.faults, result)
    kept = load(file)
    assert (kept.options, kept.faults) == (short.options, short.faults)
    again = replay(kept)
    assert f"{again.digest:08x}" == kept.digest
    assert again.violation == short.violation


def test_what_breaks_nothing_is_not_made_short() -> None:
    assert minimise(Options(seed=0, faults=10)) is None


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault(1.0, "meteor", "/w0"), "no such kind"),
        (Fault(1.0, "kill", "/nobody"), "is no target"),
        (Fault(-1.0, "kill", "/w0"), "before the beginning"),
        (Fault(1.0, "one_way", "n1>n9"), "is no target"),
    ],
)
def test_a_saved_run_that_names_what_is_not_known(fault: Fault, why: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    options = Options(seed=1)
    save(file, options, (fault,), run(options, []))
    with pytest.raises(SpecError, match=why):
        load(file)


def test_a_file_that_holds_no_run(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    with pytest.raises(SpecError, match="cannot be read"):
        load(file)
    file.write_text("{}")
    with pytest.raises(SpecError, match="no saved run"):
        load(file)
    with pytest.raises(SpecError, match="cannot be written"):
        save(tmp_path / "no" / "run.json", Options(), (), run(Options(), []))


def test_many_seeds_come_in_order_whatever_the_number_of_processes() -> None:
    options = Options(faults=5)
    one = [result.digest for result in run_many(options, range(6), 1)]
    assert one == [result.digest for result in run_many(options, range(6), 2)]
    assert one == [run(msgspec.structs.replace(options, seed=seed)).digest for seed in range(6)]
