"""What is simulated: the tree with its policies, the faults of one run, and what the run is built of."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import msgspec

from supervisors.core.reasons import ExitKind
from supervisors.recovery.case import RecoveryCase
from supervisors.recovery.policy import (
    AckMode,
    ApprovalSpec,
    CheckpointSpec,
    Condition,
    JournalSpec,
    LeaseSpec,
    RampSpec,
    RampStep,
    RecoverySpec,
    Rule,
    Rung,
    StoreLoss,
    ValidationStep,
)
from supervisors.simulate.dst.disk import Checkpoint, Rec
from supervisors.simulate.dst.kernel import derive
from supervisors.state.lease import LeaseHolder, may_take, next_token
from supervisors.state.replicating.primary import PrimarySide
from supervisors.state.replicating.promotion import PromotionSteps
from supervisors.state.replicating.standby import StandbySide
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.model import (
    Backoff,
    Budget,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorFlags,
    SupervisorSpec,
)

#: the launching node: supervisors, the goal state, and some of the workers
LAUNCH = "n0"
#: nodes that can be lost or cut off
OTHERS = ("n1", "n2")
#: where leases are kept
STORE = "store"
#: seconds between beats of replication; a standby silent for four of them is out of sync
BEAT = 1.0


class Fault(msgspec.Struct, frozen=True):
    """One planned fault: ``kind`` at ``target`` (a path, a node, two nodes) at simulated second ``t``."""

    t: float
    kind: str
    target: str
    params: dict[str, float | str] = {}


class Options(msgspec.Struct, frozen=True):
    """Of one run.

    Attributes:
        seed: of everything.
        children: workers in the tree.
        faults: how many are planned at least.
        gap: mean seconds between two of them.
        bug: a planted defect (``bugs.BUGS``); empty: none.
    """

    seed: int = 0
    children: int = 20
    faults: int = 200
    gap: float = 0.5
    bug: str = ""


@dataclass(slots=True)
class Parts:
    """What a run is built of; a planted bug replaces one of them.

    Attributes:
        machine, case, holder, primary, standby, promotion: the machines.
        may_take, next_token: the lease store's rules.
        fence: journals refuse older epochs.
        sync_first: a batch counts once its sync returned.
        keep_deadline: a life looks at its lease before it acts.
        ask_synced: only a standby in sync is promoted.
        tell_apart: news is taken for the life it speaks of.
        heed_sync: a sync that fails is taken for one that failed.
        check_lives: a replaced supervisor looks who runs.
        hear: news of an end reaches the machine.
        reap: what is left below a supervisor that nobody adopts is ended.
        word: a primary acknowledges without a standby once its supervisor has written that down.
        keep_word: a replaced supervisor knows what was written down.
        ask_home: a standby with a disk of its own acts once it is written down that the newest journal is there.
        keep_holds: a supervisor that begins afresh knows which children wait for a person.
        cut: records that an opening cuts too much after a power failure.
    """

    machine: Callable[..., SupervisorMachine] = SupervisorMachine
    case: type[RecoveryCase] = RecoveryCase
    holder: Callable[..., LeaseHolder] = LeaseHolder
    primary: Callable[..., PrimarySide[object]] = PrimarySide
    standby: Callable[..., StandbySide[Rec, Checkpoint, Checkpoint]] = StandbySide
    promotion: Callable[..., PromotionSteps] = PromotionSteps
    may_take: Callable[[str, str, str, bool], bool] = may_take
    next_token: Callable[[int, int], int] = next_token
    fence: bool = True
    sync_first: bool = True
    keep_deadline: bool = True
    ask_synced: bool = True
    tell_apart: bool = True
    check_lives: bool = True
    heed_sync: bool = True
    hear: bool = True
    reap: bool = True
    word: bool = True
    keep_word: bool = True
    ask_home: bool = True
    keep_holds: bool = True
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker.

    Attributes:
        recovery: its policy; None: plain restarts.
        journalled: it keeps a journal, and the client appends to it.
        node: where it lives first.
        apart: its standby is kept on another node, with a disk of its own.
    """

    path: str
    spec: ChildSpec
    recovery: RecoverySpec | None = None
    journalled: bool = False
    node: str = LAUNCH
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """All supervisors and workers by path; ``pools``: how many children each begins with; template workers stand
    under their supervisor's path with a star.
    """

    supervisors: dict[str, SupervisorSpec]
    workers: dict[str, Worker]
    pools: dict[str, int]

    def worker(self, path: str) -> Worker:
        """Who stands at ``path``, from a template or not."""
        found = self.workers.get(path)
        return found if found is not None else self.workers[path.rpartition("/")[0] + "/*"]

    @property
    def journalled(self) -> list[str]:
        """Paths the client appends to."""
        return [path for path, worker in self.workers.items() if worker.journalled]


def parent_of(path: str) -> str:
    """The supervisor's path."""
    return path.rpartition("/")[0] or "/"


def below(path: str, child_id: str) -> str:
    """A child's path."""
    return f"/{child_id}" if path == "/" else f"{path}/{child_id}"


_LEASE = LeaseSpec(renew=1.5, expire=7.5, margin=1.5)
_RULES = (
    Rule(Condition.STANDBY_SYNCED, Rung.HOT, max_lag=5.0),
    Rule(Condition.FAILED_RECOVERIES, Rung.MANUAL, at_least=6, within=20.0),
    Rule(Condition.CHECKPOINT_FRESH, Rung.WARM, max_age=60.0),
    Rule(Condition.CORRUPTION_SUSPECTED, Rung.MANUAL),
    Rule(Condition.ALWAYS, Rung.COLD),
)
_TIMEOUTS = {"hot": 2.0, "warm": 4.0, "cold": 6.0}
_RAMP = RampSpec((RampStep(0.1, 1.0), RampStep(1.0)))
_CHECK = (ValidationStep("whole", "/", "check", timeout=0.5, attempts=2, pause=0.1),)


def _policy(*, standbys: int, lease: LeaseSpec | None, ramp: bool = False, check: bool = False) -> RecoverySpec:
    return RecoverySpec(
        rules=_RULES,
        standbys=standbys,
        rung_timeout=_TIMEOUTS,
        checkpoint=CheckpointSpec(every=5.0, events=20, fresh_for=60.0),
        journal=JournalSpec(ack=AckMode.BOTH if standbys else AckMode.DISK, standby_timeout=4 * BEAT),
        lease=lease,
        approval=ApprovalSpec(timeout=2.0),
        ramp=_RAMP if ramp else None,
        validate=_CHECK if check else (),
    )


def plant(children: int, seed: int) -> Tree:
    """A tree of four supervisors with every strategy, and ``children`` workers below them."""
    from random import Random

    chance = Random(derive(seed, "tree"))
    count = {"all": max(2, children // 5), "rest": max(2, children * 3 // 10), "pool": max(1, children // 5)}
    alone = max(1, children - sum(count.values()))
    workers: dict[str, Worker] = {}
    tops: list[ChildSpec] = []
    for number in range(alone):
        worker = _alone(number, chance.random())
        workers[worker.path] = worker
        tops.append(worker.spec)
    on_crash = OnSupervisorCrash.ADOPT if chance.random() < 0.8 else OnSupervisorCrash.TERMINATE
    tops += [
        ChildSpec(name, shutdown=inf, type=ChildType.SUPERVISOR, on_crash=on_crash, backoff=_backoff(chance.random()))
        for name in ("all", "rest", "pool")
    ]
    parts = {"all": _group("/all", count["all"], chance.random), "rest": _group("/rest", count["rest"], chance.random)}
    for part in parts.values():
        workers |= {worker.path: worker for worker in part}
    pooled = Worker("/pool/*", ChildSpec("w", shutdown=0.5, concurrent=True, start_timeout=3.0), _cold())
    workers[pooled.path] = pooled
    node_lost = Budget((ExitKind.NODE_LOST,), 40, 20)
    root = SupervisorFlags(Strategy.ONE_FOR_ONE, 60, 10, budgets=(node_lost,))
    supervisors = {
        "/": SupervisorSpec(root, tuple(tops)),
        "/all": SupervisorSpec(SupervisorFlags(Strategy.ONE_FOR_ALL, 6, 6), tuple(w.spec for w in parts["all"])),
        "/rest": SupervisorSpec(SupervisorFlags(Strategy.REST_FOR_ONE, 6, 6), tuple(w.spec for w in parts["rest"])),
        "/pool": SupervisorSpec(SupervisorFlags(Strategy.SIMPLE_ONE_FOR_ONE, 8, 6), (pooled.spec,)),
    }
    return Tree(supervisors, workers, {"/pool": count["pool"]})


def _cold() -> RecoverySpec:
    return RecoverySpec(
        ladder=(Rung.COLD,),
        rules=(Rule(Condition.ALWAYS, Rung.COLD),),
        rung_timeout=_TIMEOUTS,
        lease=None,
        approval=ApprovalSpec(timeout=2.0),
    )


def _backoff(chance: float) -> Backoff | None:
    return Backoff(base=0.05, cap=1.0, jitter=0.02, reset_after=5.0) if chance < 0.5 else None


def _alone(number: int, chance: float) -> Worker:
    """Below the root: standbys on another node, on the same one, none; leases and plain workers in turn."""
    name = f"w{number}"
    path = f"/{name}"
    kind = number % 6
    together = chance < 0.5
    if kind in (0, 3):
        lease = _LEASE if kind == 0 else msgspec.structs.replace(_LEASE, on_store_loss=StoreLoss.CONTINUE)
        spec = ChildSpec(name, shutdown=1.0, start_timeout=20.0, concurrent=together)
        policy = _policy(standbys=1, lease=lease, ramp=kind == 3)
        return Worker(path, spec, policy, True, OTHERS[number % 2], apart=True)
    if kind in (1, 4):
        spec = ChildSpec(name, shutdown=1.0, start_timeout=20.0, backoff=_backoff(chance), concurrent=together)
        policy = _policy(standbys=1 if kind == 1 else 0, lease=_LEASE, check=kind == 1)
        return Worker(path, spec, policy, True, LAUNCH if kind == 1 else OTHERS[0])
    restart = (Restart.TEMPORARY, Restart.TRANSIENT)[kind == 5]
    return Worker(path, ChildSpec(name, restart, shutdown=0.5, start_timeout=3.0, backoff=_backoff(chance)))


def _group(top: str, count: int, chance: Callable[[], float]) -> list[Worker]:
    """Below a group supervisor: one with a standby, one with a journal alone, plain ones of all restart types."""
    found = []
    for number in range(count):
        name = f"c{number}"
        path = f"{top}/{name}"
        if number == 0:
            spec = ChildSpec(name, shutdown=1.0, start_timeout=20.0)
            apart = top == "/rest"
            policy = _policy(standbys=1, lease=_LEASE)
            found.append(Worker(path, spec, policy, True, OTHERS[1] if apart else LAUNCH, apart=apart))
        elif number == 2:
            spec = ChildSpec(name, shutdown=1.0, start_timeout=20.0)
            found.append(Worker(path, spec, _policy(standbys=0, lease=None), True, LAUNCH))
        else:
            drawn = chance()
            restart = Restart.TEMPORARY if drawn < 0.15 else Restart.TRANSIENT if drawn < 0.4 else Restart.PERMANENT
            shutdown = 0.0 if chance() < 0.15 else 0.5
            found.append(Worker(path, ChildSpec(name, restart, shutdown=shutdown, start_timeout=3.0)))
    return found
