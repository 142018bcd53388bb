"""The faults of one run, drawn from its seed before it begins: each stands for itself, so that any may be left out."""

from random import Random

from supervisors.simulate.dst.kernel import derive
from supervisors.simulate.dst.model import LAUNCH, OTHERS, STORE, Fault, Options, Tree

#: seconds from the beginning to the first fault
_QUIET = 3.0
#: kinds with their weights
KINDS: dict[str, int] = {
    "kill": 16,
    "exit": 10,
    "normal_exit": 3,
    "hang": 8,
    "pause": 8,
    "kill_standby": 7,
    "pause_standby": 4,
    "crash_at_step": 12,
    "stop_at_step": 6,
    "zombie": 4,
    "fail_start": 5,
    "slow_start": 4,
    "deaf": 3,
    "check_fails": 2,
    "false_suspicion": 5,
    "late_notice": 3,
    "kill_supervisor": 7,
    "supervisor_at_step": 5,
    "hang_supervisor": 2,
    "node_crash": 3,
    "node_pause": 2,
    "partition": 6,
    "one_way": 4,
    "message_loss": 5,
    "message_double": 4,
    "message_mixed": 4,
    "message_delay": 3,
    "store_down": 4,
    "store_slow": 3,
    "sync_fails": 4,
    "disk_full": 3,
    "disk_slow": 3,
    "clock_drift": 3,
    "clock_jump": 2,
    "many_killed": 2,
    "lagging_then_lost": 2,
    "dying_disk": 2,
}
_STEPS = (
    "assigned",
    "restored",
    "opened",
    "started",
    "ending",
    "checked",
    "synced",
    "checkpoint",
    "renamed",
)
#: of a promotion
_PROMOTING = (
    "ordered",
    "promoting",
    "fenced",
    "caught_up",
    "told_to_act",
)


def plan(options: Options, tree: Tree) -> list[Fault]:
    """The faults of one run, by time."""
    chance = Random(derive(options.seed, "plan"))
    kinds, weights = list(KINDS), list(KINDS.values())
    faults: list[Fault] = []
    at = _QUIET
    # not all of them find somebody they could strike; a run goes on until enough have
    for _ in range(2 * options.faults + 2):
        at += chance.expovariate(1.0 / options.gap)
        kind = chance.choices(kinds, weights)[0]
        faults.append(_draw(round(at, 6), kind, tree, chance))
    return faults


def _standbys(tree: Tree, path: str) -> int:
    recovery = tree.workers[path].recovery
    return recovery.standbys if recovery is not None else 0


def _draw(t: float, kind: str, tree: Tree, chance: Random) -> Fault:
    workers = [path for path in tree.workers if not path.endswith("*")]
    workers += [f"{top}/w.{1 + chance.randrange(count)}" for top, count in tree.pools.items()]
    path = chance.choice(workers) if chance.random() < 0.5 else chance.choice(tree.journalled)
    kept = chance.choice(tree.journalled)
    doubled = chance.choice([name for name in tree.journalled if _standbys(tree, name)] or tree.journalled)
    seconds = round(chance.uniform(0.05, 1.0), 4)
    node = chance.choice(OTHERS)
    if kind in ("crash_at_step", "stop_at_step"):
        kept = doubled if chance.random() < 0.4 else kept
        steps = _STEPS + _PROMOTING if _standbys(tree, kept) else _STEPS
        params: dict[str, float | str] = {"step": chance.choice(steps)}
        if kind == "stop_at_step":
            params["seconds"] = round(chance.choice((0.0, 0.1, 1.0, 4.0, 9.0)) + chance.random(), 4)
        return Fault(t, kind, kept, params)
    if kind == "zombie":
        cut = round(chance.uniform(3.0, 10.0), 4)
        step, seconds = chance.choice(("checked", "synced")), round(cut + 7.0 * chance.random(), 4)
        return Fault(t, kind, kept, {"step": step, "cut": cut, "seconds": seconds})
    if kind in ("pause", "pause_standby"):
        where = kept if kind == "pause" else doubled
        return Fault(t, kind, where, {"seconds": round(chance.choice((0.02, 0.2, 1.0, 6.0)) * chance.random(), 4)})
    if kind == "kill_standby":
        return Fault(t, kind, doubled)
    if kind == "lagging_then_lost":
        apart = [name for name in tree.journalled if tree.workers[name].apart]
        return Fault(t, kind, chance.choice(apart))
    if kind in ("kill_supervisor", "hang_supervisor"):
        return Fault(t, kind, chance.choice(list(tree.supervisors)))
    if kind == "supervisor_at_step":
        step = chance.choice(("decided", "effect"))
        return Fault(t, kind, chance.choice(list(tree.supervisors)), {"step": step})
    if kind in ("node_crash", "dying_disk"):
        return Fault(t, kind, node, {"seconds": round(3.0 + 5.0 * chance.random(), 4)})
    if kind == "node_pause":
        return Fault(t, kind, node, {"seconds": round(chance.choice((0.2, 2.0, 9.0)) * chance.random(), 4)})
    if kind == "partition":
        return Fault(t, kind, node, {"seconds": round(chance.choice((0.5, 3.0, 9.0)) * chance.random(), 4)})
    if kind in ("one_way", "message_loss", "message_double", "message_mixed", "message_delay"):
        ends = chance.sample((LAUNCH, *OTHERS), 2)
        pair = f"{ends[0]}>{ends[1]}"
        if kind != "one_way" and chance.random() < 0.3:
            pair = f"{ends[0]}>{ends[0]}"
        return Fault(t, kind, pair, {"seconds": round(3.0 * chance.random(), 4), "share": round(chance.random(), 3)})
    if kind in ("store_down", "store_slow"):
        return Fault(t, kind, STORE, {"seconds": round(chance.choice((0.5, 3.0, 8.0)) * chance.random(), 4)})
    if kind in ("sync_fails", "disk_full", "disk_slow"):
        return Fault(t, kind, chance.choice((LAUNCH, *OTHERS)), {"seconds": seconds})
    if kind == "clock_drift":
        return Fault(t, kind, chance.choice((*OTHERS, STORE)), {"rate": round(1 + chance.uniform(-0.08, 0.08), 5)})
    if kind == "clock_jump":
        return Fault(t, kind, node, {"seconds": round(3.0 * chance.random(), 4)})
    if kind == "many_killed":
        count = 2 + chance.randrange(4)
        return Fault(t, kind, ",".join(sorted(chance.sample(workers, min(count, len(workers))))))
    if kind == "fail_start":
        return Fault(t, kind, path, {"times": 1 + chance.randrange(3)})
    if kind in ("slow_start", "deaf", "check_fails"):
        return Fault(t, kind, path, {"seconds": round(chance.choice((0.3, 5.0)) * chance.random(), 4)})
    return Fault(t, kind, path)


def targets(tree: Tree) -> frozenset[str]:
    """All that a fault may be aimed at."""
    pooled = [f"{top}/w.{1 + number}" for top, count in tree.pools.items() for number in range(count)]
    return frozenset({*tree.workers, *pooled, *tree.supervisors, LAUNCH, *OTHERS, STORE})
