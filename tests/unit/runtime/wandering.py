"""Random troubles for ``shells.World``: the same seed gives the same run."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from supervisors.core.errors import RayvisorError
from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, crash
from supervisors.recovery.policy import Condition, RampSpec, RampStep, RecoverySpec, Rule, Rung, ValidationStep
from supervisors.tree.messages import Call, ShutdownOrdered
from supervisors.tree.model import Strategy

from .shells import World, policy
from .stage import DEAF, DIES, OK, SILENT

_SHORT = {"hot": 0.5, "warm": 1.0, "cold": 2.0}
_CHECK = ValidationStep("well", "/watch", "well", attempts=1, timeout=1.0)
_RAMP = RampSpec((RampStep(0.0, 0.4), RampStep(0.1, 0.4), RampStep(1.0)))
CHILDREN: dict[str, RecoverySpec | None] = {
    "hot": policy(standbys=1, rung_timeout=_SHORT),
    "warm": policy(Rung.WARM, Rung.COLD, lease=None, rung_timeout=_SHORT),
    "held": policy(rules=(Rule(Condition.ALWAYS, Rung.MANUAL),), rung_timeout=_SHORT, keep_failed=0),
    "proved": policy(standbys=1, validate=(_CHECK,), ramp=_RAMP, rung_timeout=_SHORT),
    "plain": None,
}
_PLANS = (DEAF, SILENT, DIES, "fails E7003 the journal is corrupt", "fails", OK)
_WAITS = (0.0004, 0.001, 0.003, 0.01, 0.05, 0.3, 1.2, 4.0)


class Wanderer:
    """One run. ``said`` tells what was done, for people."""

    def __init__(self, seed: int, folder: Path, patch: pytest.MonkeyPatch, strategy: Strategy) -> None:
        self.dice = dice = random.Random(seed)
        simple = strategy is Strategy.SIMPLE_ONE_FOR_ONE
        self.names = [f"d{number}" for number in range(4)] if simple else list(CHILDREN)
        self.world = World(
            folder,
            patch,
            {"t": CHILDREN[dice.choice(("hot", "warm", "held", "proved"))]} if simple else CHILDREN,
            strategy=strategy,
            concurrent=dice.random() < 0.6,
            spares=dice.choice((0, 3, 40)),
            start_timeout=dice.choice((3.0, 30.0)),
            backoff=dice.choice((0.0, 0.0, 0.4)),
        )
        self.world.boot()
        self.said: list[str] = []
        self._does: list[tuple[int, Callable[[], str]]] = [
            (30, self._wait),
            (12, self._kill),
            (4, self._kill_standby),
            (8, self._plan),
            (6, self._answer_hold),
            (3, self._terminate),
            (4, self._restart),
            (2, self._replace),
            (2, self._park),
            (3, self._unpark),
            (2, self._trouble),
            (2, self._lag),
            (1, self._evidence),
            (2, self._hang),
        ]

    def wander(self, steps: int) -> None:
        for _ in range(steps):
            (do,) = self.dice.choices([do for _, do in self._does], [weight for weight, _ in self._does])
            self.said.append(f"{self.world.clock.now:.4f} {do()}")

    def settle(self) -> None:
        """All troubles end; people answer."""
        world = self.world
        self._heal()
        for _ in range(40):
            world.run(20.0)
            if not self._answer_hold():
                break
        world.run(400.0)

    def shut_down(self) -> None:
        self._heal()
        self.world.shell.step(ShutdownOrdered(SHUTDOWN))
        self.world.run(30.0)
        assert self.world.shell.machine.ended

    def _heal(self) -> None:
        world = self.world
        world.leases.down, world.factory.refuses = False, ""
        world.plans.clear()
        world.executor.go()
        world.threads.go()
        world.answers = lambda step, path: True
        for host in world.hosts.values():
            host.syncs = True

    # ------------------------------------------------------------ troubles

    def _child(self) -> str:
        return self.dice.choice(self.names)

    def _wait(self) -> str:
        seconds = self.dice.choice(_WAITS)
        self.world.run(seconds)
        return f"wait {seconds}"

    def _kill(self) -> str:
        child = self._child()
        found = [h for h in self.world.hosts.values() if h.alive and h.acting and h.path.endswith(f"/{child}")]
        for host in found:
            if self.dice.random() < 0.3:
                host.crash(crash(self.dice.choice(("boom", "JournalCorrupt"))))
            elif self.dice.random() < 0.5:
                host.kill()
            else:
                host.die()
        return f"kill {child} {[h.row.id for h in found]}"

    def _kill_standby(self) -> str:
        found = [h for h in self.world.hosts.values() if h.alive and h.standby]
        if found:
            self.dice.choice(found).die()
        return "kill a standby"

    def _plan(self) -> str:
        child, what = self._child(), self.dice.choice(("worker", "promote", "standby"))
        plans = [self.dice.choice(_PLANS) for _ in range(self.dice.choice((1, 1, 2, 4)))]
        self.world.plans_for(child, what, *plans)
        return f"plan {child} {what} {plans}"

    def _answer_hold(self) -> str:
        recovering = self.world.shell.recovering
        held = [hand.case.hold_id for hand in recovering._hands.values() if hand.case.hold_id]
        if not held:
            return ""
        hold, approve = self.dice.choice(held), self.dice.random() < 0.8
        rung = self.dice.choice(("", "", "hot", "cold", "warm")) if approve else ""
        try:
            recovering.answer(hold, "ada", "", rung, approve=approve)
        except RayvisorError as error:
            return f"answer {hold} {rung}: {error}"
        return f"answer {hold} {rung} {approve}"

    def _terminate(self) -> str:
        child = self._child()
        self.world.order(Call.TERMINATE_CHILD, child)
        return f"terminate {child}"

    def _restart(self) -> str:
        child = self._child()
        simple = self.world.part.template is not None
        self.world.order(Call.START_CHILD if simple else Call.RESTART_CHILD, child)
        return f"restart {child}"

    def _replace(self) -> str:
        self.world.crash_supervisor()
        seconds = self.dice.choice((0.001, 0.05, 0.5, 3.0))
        if self.dice.random() < 0.5:
            self._kill()
        self.world.run(seconds)
        self.world.replace_supervisor()
        return f"the supervisor is replaced after {seconds}"

    def _park(self) -> str:
        what = self.dice.choice(("make", "keep_it", "run", "dump"))
        self.world.executor.parked.add(what)
        self.world.threads.parked.add(what)
        return f"park {what}"

    def _unpark(self) -> str:
        self.world.executor.go()
        self.world.threads.go()
        return "go"

    def _trouble(self) -> str:
        world = self.world
        match self.dice.randrange(4):
            case 0:
                world.leases.down = not world.leases.down
                return f"leases down: {world.leases.down}"
            case 1:
                world.factory.refuses = "" if world.factory.refuses else "no host"
                return f"no hosts: {world.factory.refuses}"
            case 2:
                world.answers = lambda step, path: False
                return "checks fail"
            case _:
                world.answers = lambda step, path: None
                return "checks are silent"

    def _lag(self) -> str:
        for host in self.world.hosts.values():
            if host.standby and host.alive:
                host.syncs = not host.syncs
                host._tell("synced" if host.syncs else "syncing")
        return "lag"

    def _evidence(self) -> str:
        child = self._child()
        if child in self.world.shell.machine.children:
            self.world.shell.recovering.told.corrupt[child] = "the actor says so"
        return f"{child} may be corrupt"

    def _hang(self) -> str:
        child, shell = self._child(), self.world.shell
        peer = shell.peers.get(child)
        if peer is None or peer.host is None or peer.gone or shell.is_stopping(child):
            return ""
        peer.kill_reason = ExitReason(ExitKind.HUNG, "no progress")
        shell.recovering.remains.before_kill(peer, partial(shell.kill, peer))
        return f"{child} hangs"
