"""Runs a topology and a script in the fake world and yields what happens (TOP-4).

The same machines that run on Ray decide here; actors are neither imported nor run. Equal topology, script and seed
give equal events.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from supervisors.core.errors import SpecError
from supervisors.core.paths import TreePath, id_of, parent_of
from supervisors.simulate.chance import RandomPlan
from supervisors.simulate.load import UNKNOWN_PATH, load_script
from supervisors.simulate.script import ExitAction, Repeat, Script, Silence, Step, Timing
from supervisors.spec import load_topology
from supervisors.spec.compiled import CompiledTopology, HeartbeatSpec
from supervisors.spec.findings import nearest
from supervisors.testing.clock import PLACES
from supervisors.testing.trace import TraceEvent
from supervisors.testing.world import World
from supervisors.tree.messages import AdminCalled, Call
from supervisors.tree.model import Backoff, ChildSpec, Strategy

#: seconds a simulation without an end of its own goes on after its last step
LINGER = 600.0
_ORDERS = {
    "stop_child": Call.TERMINATE_CHILD,
    "restart_child": Call.RESTART_CHILD,
    "delete_child": Call.DELETE_CHILD,
}


def simulate_file(
    topology_path: str | Path | None,
    script_path: str | Path | None = None,
    *,
    until: float | None = None,
    seed: int | None = None,
) -> Iterator[TraceEvent]:
    """Simulate the topology file with the script file; what happens, in order, as it is worked out.

    Args:
        topology_path: None when the script names its topology.
        script_path: None: the system starts and nothing befalls it.
        until: simulated seconds to run; None: what the script says.
        seed: of jitter and random failures; None: what the script says.

    Raises:
        SpecError: a file is wrong, or no topology is named. Raised at once, not at the first event.
    """
    script = load_script(script_path) if script_path is not None else Script()
    if topology_path is None:
        if script_path is None or script.topology is None:
            raise SpecError("no topology is named", code=1504, fix="name one, or add topology: to the script")
        topology_path = Path(script_path).parent / script.topology
    _, compiled = load_topology(topology_path, import_actors=False)
    if script_path is not None:
        load_script(script_path, compiled)  # again, now with its paths held against the tree
    return run_simulation(compiled, script, until=until, seed=seed)


def simulate_deaths(
    topology: str | Path | CompiledTopology,
    path: str,
    times: int = 3,
    within: float = 1.0,
    *,
    until: float | None = None,
    seed: int | None = None,
) -> Iterator[TraceEvent]:
    """What happens if the child at ``path`` dies ``times`` times within ``within`` seconds?

    The deaths are evenly spaced, the first at 1 s. One that is due while the child is down comes as soon as it is up.

    Raises:
        SpecError: the topology is wrong, or nothing stands at ``path``.
    """
    compiled = topology if isinstance(topology, CompiledTopology) else load_topology(topology, import_actors=False)[1]
    _require(compiled, path)
    action = ExitAction(path=path, message="simulated death", when_up=True)
    repeat = Repeat(times=times, every=round(within / times, PLACES), step=Step(exit=action))
    return run_simulation(compiled, Script(steps=(Step(at=1.0, repeat=repeat),)), until=until, seed=seed)


def run_simulation(
    compiled: CompiledTopology, script: Script, *, until: float | None = None, seed: int | None = None
) -> Iterator[TraceEvent]:
    """Simulate ``script`` on ``compiled``; events come one by one, so a long run needs no memory for them."""
    run = _Run(compiled, script, script.seed if seed is None else seed)
    return run.events(script.for_ if until is None else until)


def build_world(
    compiled: CompiledTopology,
    *,
    seed: int = 0,
    start_takes: float = 0.0,
    stop_takes: float = 0.0,
    trace: bool = True,
    sink: Callable[[TraceEvent], None] | None = None,
) -> World:
    """The fake world of a compiled topology, not started yet; ``seed`` is that of the backoff jitter."""
    jitter = random.Random(f"{seed}:jitter")
    return World(
        {TreePath(path): part.spec for path, part in compiled.supervisors.items()},
        jitter=jitter.random,
        start_takes=start_takes,
        stop_takes=stop_takes,
        trace=trace,
        sink=sink,
        root_on_crash=compiled.root.on_crash,
        initial={
            TreePath(path): tuple(overrides.decode() for overrides in part.initial)
            for path, part in compiled.supervisors.items()
            if part.initial
        },
    )


def _require(compiled: CompiledTopology, path: str) -> None:
    known = set(compiled.supervisors) | set(compiled.workers)
    above = compiled.supervisors.get(parent_of(TreePath(path)))
    if path in known or (path.startswith("/") and above is not None and above.template is not None):
        return
    near = nearest(path, sorted(known))
    fix = f"did you mean {near!r}?" if near else "known here: " + ", ".join(sorted(known)[:20])
    raise SpecError(f"nothing stands at {path}", code=UNKNOWN_PATH, fix=fix)


Action = Callable[[], None]


@dataclass(slots=True)
class _Run:
    """One simulation under way: the world and an agenda of scripted steps."""

    compiled: CompiledTopology
    script: Script
    seed: int
    buffer: list[TraceEvent] = field(default_factory=list)
    agenda: list[tuple[float, int, Action]] = field(default_factory=list)
    world: World = field(init=False)
    sequence: int = 0

    def __post_init__(self) -> None:
        self.world = build_world(
            self.compiled,
            seed=self.seed,
            start_takes=self.script.start_takes,
            stop_takes=self.script.stop_takes,
            trace=False,
            sink=self.buffer.append,
        )
        for number, step in enumerate(self.script.steps):
            self._plan(step, 0.0, number)

    def events(self, until: float | None) -> Iterator[TraceEvent]:
        world, end = self.world, inf if until is None else until
        world.start()
        yield from self._taken()
        last = 0.0
        while self.agenda and self.agenda[0][0] <= end:
            last = self.agenda[0][0]
            yield from self._advance(last)
            while self.agenda and self.agenda[0][0] == last:
                heapq.heappop(self.agenda)[2]()
            world.settle()
            yield from self._taken()
        yield from self._advance(last + LINGER if until is None else until)

    def _advance(self, until: float) -> Iterator[TraceEvent]:
        while (at := self.world.next_at()) is not None and at <= until:
            self.world.advance_to(at)
            yield from self._taken()
        if not self.agenda and at is None:
            return  # quiet for good: the clock stays at the last happening
        self.world.advance_to(until)
        yield from self._taken()

    def _taken(self) -> list[TraceEvent]:
        taken = self.buffer.copy()
        self.buffer.clear()
        return taken

    # ------------------------------------------------------------ the agenda

    def _at(self, at: float, action: Action) -> None:
        self.sequence += 1
        heapq.heappush(self.agenda, (round(at, PLACES), self.sequence, action))

    def _plan(self, step: Step, base: float, number: int) -> None:
        at = base + step.at
        if step.repeat is not None:
            self._at(at, lambda: self._repeat(step.repeat, at, 0, number))
        elif step.random_exits is not None:
            plan = RandomPlan(step.random_exits, self.world, self.compiled, self.seed, number)
            self._next_random(plan, at, at + step.random_exits.for_)
        else:
            self._at(at, lambda: self._do(step))

    def _repeat(self, repeat: Repeat | None, base: float, done: int, number: int) -> None:
        """Plan one repetition and the next look at it, so that a million of them need no room."""
        if repeat is None or done >= repeat.times:
            return
        self._plan(repeat.step, base + done * repeat.every, number)
        self._at(base + (done + 1) * repeat.every, lambda: self._repeat(repeat, base, done + 1, number))

    def _next_random(self, plan: RandomPlan, now: float, end: float) -> None:
        at = now + plan.gap()
        if at < end:
            self._at(at, lambda: self._random(plan, at, end))

    def _random(self, plan: RandomPlan, now: float, end: float) -> None:
        path = plan.choose()
        if path is not None:
            self.world.exit_child(path, plan.reason())
        self._next_random(plan, now, end)

    # ------------------------------------------------------------ single steps

    def _do(self, step: Step) -> None:
        world = self.world
        if step.exit is not None:
            world.exit_child(TreePath(step.exit.path), step.exit.exit_reason, when_up=step.exit.when_up)
        elif step.hang is not None:
            path = TreePath(step.hang.path)
            world.hang(path, self._detection(path, step.hang.how))
        elif step.crash_supervisor is not None:
            world.crash_supervisor(TreePath(step.crash_supervisor.path))
        elif step.fail_starts is not None:
            times = inf if step.fail_starts.times is None else step.fail_starts.times
            world.fail_starts(TreePath(step.fail_starts.path), times, step.fail_starts.exit_reason)
        elif step.ignore_starts is not None:
            world.ignore_starts(TreePath(step.ignore_starts.path), step.ignore_starts.count)
        elif step.never_start is not None:
            world.never_start(TreePath(step.never_start.path), step.never_start.count)
        elif step.hold is not None:
            world.hold_starts(TreePath(step.hold.path), step.hold.count)
        elif step.release is not None:
            world.release(TreePath(step.release.path))
        elif step.reject is not None:
            world.reject(TreePath(step.reject.path))
        elif step.ignore_stop is not None:
            world.ignore_stop(TreePath(step.ignore_stop.path), step.ignore_stop.on)
        elif step.timing is not None:
            self._timing(step.timing)
        elif step.shutdown is not None:
            world.shutdown()
        else:
            self._order(step)

    def _detection(self, path: TreePath, how: Silence) -> float:
        heartbeat = self._heartbeat(path)
        if how is Silence.SILENT:
            return round(heartbeat.interval * heartbeat.missed, PLACES)
        return inf if heartbeat.hang_after is None else heartbeat.hang_after

    def _heartbeat(self, path: TreePath) -> HeartbeatSpec:
        part = self.compiled.supervisors.get(path)
        if part is not None:
            return part.heartbeat
        above = self.compiled.supervisors.get(parent_of(path))
        worker = None if above is None else above.workers.get(id_of(path), above.template)
        return HeartbeatSpec() if worker is None else worker.heartbeat

    def _timing(self, timing: Timing) -> None:
        script = self.world.script(TreePath(timing.path))
        script.start_takes = script.start_takes if timing.start is None else timing.start
        script.stop_takes = script.stop_takes if timing.stop is None else timing.stop
        script.ready_takes = script.ready_takes if timing.ready is None else timing.ready

    def _order(self, step: Step) -> None:
        self.sequence += 1
        ref = f"step.{self.sequence}"
        if step.start_child is not None:
            action = step.start_child
            path = TreePath(action.path)
            if self._is_pool(path):
                self.world.order(path, AdminCalled(ref, Call.START_CHILD))
                return
            child_id = id_of(path)
            spec = ChildSpec(
                child_id, action.restart, action.shutdown, start_timeout=30.0, backoff=Backoff(), max_consecutive=10
            )
            is_dynamic = self._is_pool(parent_of(path))
            order = AdminCalled(ref, Call.START_CHILD, child_id, None if is_dynamic else spec)
            self.world.order(parent_of(path), order)
            return
        for name, call in _ORDERS.items():
            target = getattr(step, name)
            if target is not None:
                path = TreePath(target.path)
                self.world.order(parent_of(path), AdminCalled(ref, call, id_of(path)))

    def _is_pool(self, path: TreePath) -> bool:
        part = self.compiled.supervisors.get(path)
        return part is not None and part.spec.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE
