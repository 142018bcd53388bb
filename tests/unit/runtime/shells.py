"""A real supervisor's shell without Ray, processes or time that passes.

Shell, machine, recoveries, standbys, hosting, detection and goal state are the real ones. Hosts are objects that speak
the plane's messages; the loop, its clock, the factory's threads, the death watch and the lease store are doubles that
do one thing at a time, so that a run repeats. While it runs, rules are kept (``Rules``) that no test may see broken.
"""

import heapq
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol, cast

import pytest
import zmq
from loguru import logger

from supervisors.core.paths import join
from supervisors.recovery.policy import DEFAULT_RULES, RecoverySpec, Rung, ValidationStep
from supervisors.recovery.ports import Hand
from supervisors.recovery.progress import State
from supervisors.runtime import adoption, homing, hosting, leasing, preserving, standbys, supervisor, validating
from supervisors.runtime import detection as detection_module
from supervisors.runtime.boot import HostBoot
from supervisors.runtime.factory import HostFactory
from supervisors.runtime.peers import Peer
from supervisors.runtime.store import GoalStore, HostRow
from supervisors.runtime.supervisor import SupervisorShell
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import (
    Assign,
    Message,
    Promote,
)
from supervisors.spec.compiled import HeartbeatSpec, PlacementSpec, SupervisorPart, SystemSpec, WorkerSpec
from supervisors.spec.compiled import encode as encode_spec
from supervisors.testing.clock import ManualClock
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter
from supervisors.tree.messages import (
    AdminCalled,
    Call,
    Effect,
    Event,
    Reply,
    StartChild,
)
from supervisors.tree.model import Backoff, ChildSpec, Strategy, SupervisorFlags, SupervisorSpec

from .players import FakeHost
from .rules import Rules
from .stage import (
    END,
    HERE,
    OK,
    PATH,
    QUIET,
    WIRE,
    FakeExecutor,
    FakeFactory,
    FakeLeases,
    FakeLoop,
    FakeSocket,
    FakeWatch,
    Job,
    Line,
    Pen,
)


class Answering(Protocol):
    """Says what a check finds, or None to let it wait for ever."""

    def __call__(self, step: ValidationStep, path: str) -> bool | None: ...


class World:
    """One supervisor, its children and all that is around them.

    Args:
        folder: data directory.
        patch: puts the doubles in.
        children: recovery policy by id; None: a plain restart.
        strategy: of the supervisor; with SIMPLE_ONE_FOR_ONE ``children`` has one entry, the template.
        concurrent: whether restarts overtake each other, as compiled for children with a recovery.
        spares: idle hosts there are.
        start_timeout: seconds a start gets from the machine, all rungs together.
        backoff: seconds before each restart.
        placement: of every child.
        apart: whether the far node has a disk of its own.
    """

    def __init__(
        self,
        folder: Path,
        patch: pytest.MonkeyPatch,
        children: dict[str, RecoverySpec | None],
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        concurrent: bool = True,
        spares: int = 20,
        start_timeout: float = 1e6,
        intensity: int = 10_000,
        heartbeat: HeartbeatSpec = QUIET,
        backoff: float = 0.0,
        placement: PlacementSpec = PlacementSpec(),  # noqa: B008 - it is frozen
        apart: bool = False,
    ) -> None:
        self.clock = ManualClock(1000.0, 1_700_000_000_000_000_000)
        self.folder, self._patch, self._apart = folder, patch, apart
        self._due: list[tuple[float, int, Job]] = []
        self._numbers = itertools.count(1)
        self.defects: list[BaseException] = []
        self.swallowed: list[BaseException] = []
        self.hosts: dict[str, FakeHost] = {}
        self.watches: list[FakeWatch] = []
        self.ray: dict[str, Callable[[str], None]] = {}
        self.plans: dict[tuple[str, str], list[str]] = {}
        self.checks: list[tuple[str, str]] = []
        self.answers: Answering = lambda step, path: True
        self.finished: list[Message] = []
        self.store = GoalStore(folder)
        self._stores = [self.store]
        self.leases = FakeLeases(self)
        self.factory = FakeFactory(self)
        self.rules = Rules(self)
        self.pen = Pen(self)
        self._incarnation = 0
        simple = strategy is Strategy.SIMPLE_ONE_FOR_ONE
        specs = tuple(
            ChildSpec(
                "template" if simple else child_id,
                shutdown=1.0,
                start_timeout=start_timeout if policy is not None else min(start_timeout, 3.0),
                concurrent=concurrent and policy is not None,
                backoff=Backoff(backoff, backoff, 0.0, 0) if backoff else None,
            )
            for child_id, policy in children.items()
        )
        workers = {
            child_id: WorkerSpec(
                PATH if simple else join(PATH, child_id),
                "a:B",
                heartbeat=heartbeat,
                recovery=policy,
                placement=placement,
            )
            for child_id, policy in children.items()
        }
        self.part = SupervisorPart(
            PATH,
            SupervisorSpec(SupervisorFlags(strategy, intensity, 5), specs),
            workers={} if simple else workers,
            template=next(iter(workers.values())) if simple else None,
        )
        self.store.declare({PATH: encode_spec(self.part)})
        self._put_in_place()
        for _ in range(spares):
            self.host("", "spare")
        self.shell = self._shell()

    def _put_in_place(self) -> None:
        patch = self._patch
        for module in (supervisor, adoption):
            patch.setattr(module, "kill_certain", self._kill)
            patch.setattr(module, "wait_gone", self._wait_gone, raising=False)
        for module in (adoption, hosting, standbys, leasing):
            patch.setattr(module, "pid_alive", lambda pid, start: self._by_pid(pid).alive)
        patch.setattr(standbys, "time", SimpleNamespace(sleep=self._sleep))
        patch.setattr(standbys, "ray", SimpleNamespace(nodes=lambda: [{"NodeID": HERE, "Alive": True}]))
        patch.setattr(detection_module, "DeathWatch", lambda notice, method, folder: FakeWatch(self, notice))
        patch.setattr(homing, "volume_id", lambda data_dir: f"disk {HERE}")
        patch.setattr(preserving, "stack_of", lambda pid, limit: "a stack\n")
        patch.setattr(validating, "check", self._check)

    def _shell(self) -> SupervisorShell:
        self._incarnation += 1
        self.loop = FakeLoop(self)
        self.executor, self.threads = FakeExecutor(self), FakeExecutor(self)
        boot = HostBoot(
            "sup", "fake", "fake", str(self.folder), str(self.folder), str(self.folder), "ipc", "", (), False, True,
            "", "", (),
        )  # fmt: skip
        system = SystemSpec("fake", spares=0)
        shell = SupervisorShell(
            part=self.part,
            incarnation=self._incarnation,
            system=system,
            system_bytes=encode_spec(system),
            boot=boot,
            loop=cast(PlaneLoop, self.loop),
            factory=cast(HostFactory, self.factory),
            log=logger,
            report=lambda message: None,
            finish=self.finished.append,
        )
        self._stores.append(shell.store)
        shell.executor.shutdown(wait=False)
        shell.trail.close()
        shell.clock = self.clock  # type: ignore[assignment]
        shell.trail = cast(TrailWriter, self.pen)
        shell.executor = self.executor  # type: ignore[assignment]
        shell.recovering.remains.threads = self.threads  # type: ignore[assignment]
        shell.leases._store = self.leases  # type: ignore[assignment]
        real = shell.machine.step

        def step(event: Event, now: float) -> list[Effect]:
            stale = shell.machine._is_stale(event)
            effects = real(event, now)
            self.rules.stepped(event, stale, effects)
            return effects

        self._patch.setattr(shell.machine, "step", step)
        resume = shell.machine.resume

        def resumed(*words: object, **named: object) -> list[Effect]:
            effects = resume(*words, **named)  # type: ignore[arg-type]
            self.rules.open = {}
            for child in shell.machine.children.values():
                if child.has_process:
                    self.rules.open[child.id, child.incarnation] = "up"
            for effect in effects:
                if isinstance(effect, StartChild):
                    self.rules.open[effect.id, effect.incarnation] = "starting"
            return effects

        self._patch.setattr(shell.machine, "resume", resumed)
        return shell

    def close(self) -> None:
        """Let go of the files."""
        for store in self._stores:
            store.close()

    # ------------------------------------------------------------ time

    def later(self, delay: float, job: Job) -> None:
        heapq.heappush(self._due, (self.clock.now + delay, next(self._numbers), job))

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        end = self.clock.now + seconds
        while (at := min(self.loop.next_at(), self._due[0][0] if self._due else float("inf"))) <= end:
            self.turn(at)
        self.clock.move_to(end)

    def turn(self, at: float) -> None:
        self.clock.move_to(at)
        if self._due and self._due[0][0] <= at:
            heapq.heappop(self._due)[2]()
        else:
            self.loop.turn()

    def until(self, condition: Callable[[], object], within: float = 60.0) -> None:
        """Let time pass until ``condition`` holds."""
        end = self.clock.now + within
        while not condition():
            at = min(self.loop.next_at(), self._due[0][0] if self._due else float("inf"))
            assert at <= end, f"not within {within} s; {self.rules.broken} {self.defects}"
            self.turn(at)

    def _sleep(self, seconds: float) -> None:
        """The plane's thread waits; the others go on."""
        end = self.clock.now + seconds
        while self._due and self._due[0][0] <= end:
            at, _, job = heapq.heappop(self._due)
            self.clock.move_to(at)
            job()
        self.clock.move_to(end)

    # ------------------------------------------------------------ processes

    def host(self, path: str, state: str, node: str = HERE) -> FakeHost:
        number = len(self.hosts) + 1
        row = HostRow(
            f"h{number}", f"host-h{number}", number, 1, node, node == HERE, f"ipc://{number}", state=state, path=path,
            created=float(number), volume=f"disk {node if self._apart else HERE}",
        )  # fmt: skip
        self.store.add_host(row)
        made = self.hosts[row.id] = FakeHost(self, row)
        return made

    def _by_pid(self, pid: int) -> FakeHost:
        return self.hosts[f"h{pid}"]

    def _kill(self, pid: int, start: int) -> bool:
        self._by_pid(pid).kill()
        return True

    def _wait_gone(self, pid: int, start: int, timeout: float) -> bool:
        host = self._by_pid(pid)
        if host.dying:
            self._sleep(END)
        return not host.alive

    def died(self, host: FakeHost) -> None:
        for watch in self.watches:
            watch.tell(host.row.id)

    def sent(self, host: str, message: Message) -> None:
        target = self.hosts.get(host)
        if target is None:
            raise zmq.ZMQError(zmq.EHOSTUNREACH)
        if isinstance(message, Promote) or (isinstance(message, Assign) and message.kind != "standby"):
            self.rules.acts(target, message)
        socket = cast(FakeSocket, self.shell.socket)
        self.later(WIRE, lambda: target.take(message, socket))

    def plan(self, path: str, what: str) -> str:
        """What a host does with its next ``worker``, ``standby`` or ``promote``: the next one planned, else ``OK``."""
        planned = self.plans.get((path, what))
        return planned.pop(0) if planned else OK

    def plans_for(self, child: str, what: str, *plans: str) -> None:
        self.plans.setdefault((join(PATH, child), what), []).extend(plans)

    def _check(self, boot: HostBoot, store: GoalStore, step: ValidationStep, path: str, failure: str) -> object:
        self.checks.append((step.name, path))
        found = self.answers(step, path)
        if found is None:
            raise NeverAnswers
        return validating.Checked(found, "" if found else "it is not well", 0.0)

    # ------------------------------------------------------------ the supervisor

    def boot(self) -> None:
        """Until all children are up and their standbys in sync."""
        self.shell.start(adopt=False)
        self.until(lambda: self.shell.machine.booted)
        self.run(1.0)

    def crash_supervisor(self) -> None:
        """Its process is gone; the children's are not."""
        self.loop.dead = True
        for watch in self.watches:
            watch.close()
        self.executor.over = self.executor.dead = True
        self.threads.over = self.threads.dead = True

    def replace_supervisor(self) -> None:
        """Its parent starts another one."""
        self.shell = self._shell()
        self.shell.start(adopt=True)

    def start_supervisor_anew(self) -> None:
        """What was left below it was ended; its parent starts one that adopts nobody."""
        for host in self.hosts.values():
            if host.alive and host.path:
                host.die()
        self.store.forget_below(PATH)
        self.shell = self._shell()
        self.shell.start(adopt=False)
        self.run(1.0)

    def order(self, call: Call, child: str = "", args: str = "") -> list[Reply]:
        replies: list[Reply] = []
        self.shell.call(AdminCalled(f"r{next(self._numbers)}", call, child, args=args), replies.append)
        return replies

    # ------------------------------------------------------------ questions

    def state(self, child: str) -> str:
        return self.shell.machine.children[child].state.value

    def incarnation(self, child: str) -> int:
        return self.shell.machine.children[child].incarnation

    def acting(self, child: str) -> FakeHost:
        """The process that acts for the child."""
        (found,) = [h for h in self.hosts.values() if h.alive and h.acting and h.path == join(PATH, child)]
        return found

    def standby(self, child: str) -> FakeHost:
        """The one process that stands by for the child."""
        (found,) = [h for h in self.hosts.values() if h.alive and h.standby and h.path == join(PATH, child)]
        return found

    def hand(self, child: str) -> Hand[Peer]:
        return self.shell.recovering._hands[child]

    def case_state(self, child: str) -> State:
        return self.hand(child).case.progress(self.clock.now).state

    def rungs(self, child: str) -> list[str]:
        """How each life of the child came up, its first one excepted."""
        return [str(line.data.get("rung", "")) for line in self.lines(child, EventKind.RECOVERED)]

    def lines(self, child: str, kind: EventKind) -> list[Line]:
        return [line for line in self.pen.lines if line.path == join(PATH, child) and line.kind == kind]

    def up(self, child: str, after: int) -> None:
        """Until the child runs in a life after ``after``."""
        self.until(lambda: self.state(child) == "running" and self.incarnation(child) > after)

    def check(self, rest: float = 5.0) -> None:
        """All has come to rest, and no rule was broken."""
        self.run(rest)
        self.rules.at_rest()
        assert self.rules.broken == []
        assert self.defects == []
        assert [error for error in self.swallowed if not isinstance(error, NeverAnswers)] == []


class NeverAnswers(Exception):
    """Ends a thread that would wait for ever."""


def policy(*ladder: Rung, standbys: int = 0, **other: object) -> RecoverySpec:
    """A recovery policy; without a ladder hot, warm, cold."""
    words = {"rules": DEFAULT_RULES} | other
    return RecoverySpec(ladder or (Rung.HOT, Rung.WARM, Rung.COLD), standbys=standbys, **words)  # type: ignore[arg-type]
