"""How fast the tree decides and simulates: ``python -m benchmarks.simulate [--json] [--quick]``.

The peers: a naive supervisor that keeps its children in a list and does the same window and bookkeeping by scanning it
(it decides less: no queueing, no backoff, no time-outs); and, where ``escript`` is found, the real OTP supervisor, from
killing a child to the new one running, real Erlang processes included.
"""

import argparse
import platform
import random
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks._report import BenchReport, Row, percentile, timed_row
from supervisors.core.reasons import crash
from supervisors.simulate.runner import run_simulation
from supervisors.simulate.script import RandomExits, Script, Step
from supervisors.simulate.summary import Summarizer
from supervisors.spec import CompiledTopology, Topology, compile_topology
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import Booted, ChildExited, ChildStarted
from supervisors.tree.model import Backoff, ChildSpec, SupervisorFlags, SupervisorSpec

SIZES = (10, 100, 1_000, 10_000)
NAIVE = "naive Python supervisor: a list of children, scanned for every event; decides less"
OTP = "OTP supervisor through escript: kill to restarted, real Erlang processes included"
OTP_SAMPLES = 1_000
CRASH = crash("boom")


def topology(pools: int, each: int) -> CompiledTopology:
    """``pools`` supervisors with ``each`` workers, which may fail often without anyone giving up."""
    worker = {"actor": "examples.strategies.actors:Ticker"}
    flags = {"strategy": "one_for_one", "intensity": 1_000_000, "period": "1s"}
    children = [
        {"id": f"pool-{p}", **flags, "children": [{"id": f"w-{w}", **worker} for w in range(each)]}
        for p in range(pools)
    ]
    tree = {**flags, "children": children if pools > 1 else children[0]["children"]}
    return compile_topology(Topology.model_validate({"tree": tree}))


def simulate(pools: int, each: int, failures: int) -> tuple[float, int, int]:
    """Seconds, failures that happened, events that were yielded."""
    compiled = topology(pools, each)
    rate = 100.0
    chance = RandomExits.model_validate({"rate_per_s": rate, "for": failures / rate})
    summarizer = Summarizer()
    begin = time.perf_counter()
    for event in run_simulation(compiled, Script(seed=1, steps=(Step(at=1.0, random_exits=chance),))):
        summarizer.add(event)
    seconds = time.perf_counter() - begin
    return seconds, summarizer.summary.failures, summarizer.summary.events


def step_times(children: int, failures: int) -> list[float]:
    """Microseconds of each ``step``: an exit, and the start that answers it."""
    specs = tuple(ChildSpec(f"w-{n}", start_timeout=30.0, backoff=Backoff()) for n in range(children))
    machine = SupervisorMachine(SupervisorSpec(SupervisorFlags(intensity=1_000_000, period=1), specs))
    machine.step(Booted(), 0.0)
    for spec in specs:
        machine.step(ChildStarted(spec.id, 1), 0.0)
    chance, lives, samples = random.Random(1), dict.fromkeys((s.id for s in specs), 1), []
    for number in range(failures):
        now = 100.0 + number * 20.0  # past reset_after: every restart is at once
        child = f"w-{chance.randrange(children)}"
        for event in (ChildExited(child, lives[child], CRASH), ChildStarted(child, lives[child] + 1)):
            begin = time.perf_counter_ns()
            effects = machine.step(event, now)
            samples.append((time.perf_counter_ns() - begin) / 1e3)
            assert effects
        lives[child] += 1
        machine.dirty.clear()
    return samples


class NaiveSupervisor:
    """What one writes first: children in a list, found by looking at each of them."""

    def __init__(self, children: int) -> None:
        self.children = [{"id": f"w-{n}", "lives": 1, "state": "running"} for n in range(children)]
        self.restarts: list[float] = []

    def exited(self, child_id: str, now: float) -> list[tuple[str, str]]:
        """Count the restart and ask for it."""
        self.restarts = [at for at in self.restarts if at >= now - 1] + [now]
        for child in self.children:
            if child["id"] == child_id:
                child["state"] = "starting"
                return [("exited", child_id), ("restart", child_id), ("start", child_id)]
        return []

    def started(self, child_id: str) -> list[tuple[str, str]]:
        """Note that it runs."""
        for child in self.children:
            if child["id"] == child_id:
                child["state"] = "running"
                return [("running", child_id)]
        return []


def naive_times(children: int, failures: int) -> list[float]:
    """As ``step_times``, for the naive one."""
    naive, chance, samples = NaiveSupervisor(children), random.Random(1), []
    for number in range(failures):
        child = f"w-{chance.randrange(children)}"
        begin = time.perf_counter_ns()
        naive.exited(child, number * 20.0)
        middle = time.perf_counter_ns()
        naive.started(child)
        samples += [(middle - begin) / 1e3, (time.perf_counter_ns() - middle) / 1e3]
    return samples


ESCRIPT = """#!/usr/bin/env escript
-mode(compile).
-behaviour(supervisor).
-export([init/1, start/2, main/1]).
init({N, Bench}) ->
    {ok, {#{strategy => one_for_one, intensity => 1000000, period => 1},
          [#{id => I, start => {?MODULE, start, [I, Bench]}} || I <- lists:seq(1, N)]}}.
start(I, Bench) ->
    {ok, spawn_link(fun() -> Bench ! {up, I, self()}, receive stop -> ok end end)}.
collect(0, Pids) -> Pids;
collect(N, Pids) -> receive {up, I, P} -> collect(N - 1, Pids#{I => P}) end.
main([Size, Times]) ->
    logger:set_primary_config(level, none),
    N = list_to_integer(Size), T = list_to_integer(Times),
    {ok, _} = supervisor:start_link(?MODULE, {N, self()}),
    %% printed at the end: the output process would compete with what is measured
    [io:format("~p~n", [Took]) || Took <- loop(T, N, collect(N, #{}), [])].
loop(0, _, _, Took) -> Took;
loop(T, N, Pids, Took) ->
    I = rand:uniform(N),
    Begin = erlang:monotonic_time(nanosecond),
    exit(maps:get(I, Pids), boom),
    receive {up, I, P} ->
        loop(T - 1, N, Pids#{I => P}, [erlang:monotonic_time(nanosecond) - Begin | Took])
    end.
"""


def otp_times(children: int, failures: int) -> list[float]:
    """Microseconds from killing a child of a real OTP supervisor to the new one; empty without Erlang."""
    escript = shutil.which("escript")
    if escript is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bench_sup"
        program.write_text(ESCRIPT, encoding="utf-8")
        try:
            command = [escript, str(program), str(children), str(failures)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        except (subprocess.SubprocessError, OSError):
            return []
    return [int(line) / 1e3 for line in done.stdout.split()]


def run(quick: bool) -> BenchReport:
    """Measure everything."""
    failures, steps = (10_000, 2_000) if quick else (100_000, 20_000)
    rows = []
    for name, pools, each in (("100 supervisors x 100", 100, 100), ("1 supervisor x 10,000", 1, 10_000)):
        seconds, happened, events = simulate(pools, each, failures)
        target = f"{failures:,} failures in < 30 s"
        rows.append(
            Row(f"simulate {name}: {happened:,} failures", "s", seconds, happened, target=target, ok=seconds < 30)
        )
        rows.append(Row(f"simulate {name}: rate", "failures/s", happened / seconds, happened))
        rows.append(Row(f"simulate {name}: rate", "events/s", events / seconds, events))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(Row("peak memory of both", "MB", peak, target="< 600 MB", ok=peak < 600))
    first = 0.0
    for size in SIZES:
        ours = step_times(size, steps)
        p50, p99 = percentile(ours, 50), percentile(ours, 99)
        first = first or p50
        target, ok = ("p99 < 50 us", p99 < 50) if size == 1_000 else ("", None)
        if size == SIZES[-1]:
            target, ok = "p50 < 2 x that of 10", p50 < 2 * first
        peer = naive_times(size, max(200, steps * 10 // size))
        rows.append(timed_row(f"step, {size:,} children", "us", ours, peer=peer, peer_name=NAIVE, target=target, ok=ok))
    for size in SIZES:
        pairs = step_times(size, steps)
        whole = [a + b for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
        # few: OTP's window cannot be shorter than 1 s of real time, and it walks all restarts in it for each new one
        otp = otp_times(size, OTP_SAMPLES)
        if otp:
            rows.append(
                timed_row(f"failure decided (2 steps), {size:,} children", "us", whole, peer=otp, peer_name=OTP)
            )
    setting = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    return BenchReport("simulate", tuple(rows), setting)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description="tree and simulation speed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    options = parser.parse_args()
    run(options.quick).show(as_json=options.json)


if __name__ == "__main__":
    main()
