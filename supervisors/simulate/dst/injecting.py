"""Carries faults out in a run. One that finds nobody is tried again for a while, and then forgotten."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from supervisors.core.reasons import crash
from supervisors.simulate.dst.model import LAUNCH, OTHERS, STORE, Fault, Tree
from supervisors.simulate.dst.process import Proc
from supervisors.simulate.dst.shell import Shell

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

#: seconds until a fault that found nobody is tried again, and how often
_AGAIN, _TRIES = 0.4, 6
#: seconds after which a fault that waits for one step strikes at any
_ANY_STEP = 6.0
#: kinds that wait for a step
_AT_STEPS = frozenset({"crash_at_step", "stop_at_step", "zombie", "supervisor_at_step"})
#: kinds that strike somebody else when nobody is at their target
_ELSEWHERE = frozenset(
    {
        "kill",
        "exit",
        "normal_exit",
        "hang",
        "pause",
        "false_suspicion",
        "late_notice",
        "kill_standby",
        "pause_standby",
        "lagging_then_lost",
    }
)


class Injector:
    """The faults of one run.

    Args:
        world: where they strike.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        #: what ends a fault that lasts
        self._undo: dict[int, Callable[[], None]] = {}
        self._number = 0
        #: no fault begins any more
        self.over = False
        world.isolate = self._isolate
        self._do: dict[str, Callable[[Fault], bool]] = {
            "kill": lambda fault: self._kill(self._primary(fault.target)),
            "exit": lambda fault: self._exit(fault, normal=False),
            "normal_exit": lambda fault: self._exit(fault, normal=True),
            "hang": lambda fault: self._stop(self._primary(fault.target), 0.0),
            "pause": lambda fault: self._stop(self._primary(fault.target), float(fault.params["seconds"])),
            "kill_standby": lambda fault: self._kill(self._standby(fault.target)),
            "pause_standby": lambda fault: self._stop(self._standby(fault.target), float(fault.params["seconds"])),
            "crash_at_step": self._arm,
            "stop_at_step": self._arm,
            "zombie": self._arm,
            "supervisor_at_step": self._arm,
            "fail_start": lambda fault: self._trouble(fault, str(int(fault.params["times"])), lasting=False),
            "slow_start": lambda fault: self._trouble(fault, str(fault.params["seconds"]), lasting=False),
            "deaf": lambda fault: self._trouble(fault, "deaf", lasting=True),
            "check_fails": lambda fault: self._trouble(fault, "fails", lasting=True),
            "false_suspicion": self._suspect,
            "late_notice": self._late_notice,
            "kill_supervisor": lambda fault: self._kill(self._world.supervisors.get(fault.target)),
            "hang_supervisor": lambda fault: self._stop(self._world.supervisors.get(fault.target), 0.0),
            "node_crash": self._node_crash,
            "node_pause": self._node_pause,
            "partition": self._partition,
            "one_way": self._one_way,
            "message_loss": lambda fault: self._messages(fault, "loss", 0.4),
            "message_double": lambda fault: self._messages(fault, "doubled", 0.6),
            "message_mixed": lambda fault: self._messages(fault, "mixed", 0.6),
            "message_delay": lambda fault: self._messages(fault, "slow", 0.2),
            "store_down": self._store_down,
            "store_slow": self._store_slow,
            "sync_fails": lambda fault: self._disk(fault, "failing"),
            "disk_full": lambda fault: self._disk(fault, "full"),
            "disk_slow": self._disk_slow,
            "clock_drift": self._drift,
            "clock_jump": self._jump,
            "many_killed": self._many,
            "lagging_then_lost": self._lagging_then_lost,
            "dying_disk": self._dying_disk,
        }

    def inject(self, fault: Fault, tries: int = _TRIES) -> None:
        """Let it strike."""
        world = self._world
        if self.over or world.root_ended is not None:
            return
        struck = self._strikes(fault, elsewhere=not tries)
        if struck is None:
            if tries:
                world.kernel.after(_AGAIN, self.inject, fault, tries - 1)
        elif fault.kind not in _AT_STEPS:  # counted when they strike
            world.count(struck, self._words(fault))

    def _words(self, fault: Fault) -> str:
        if not self._world.kernel.tracing:
            return ""
        return " ".join(f"{key}={value}" for key, value in fault.params.items())

    def _strikes(self, fault: Fault, *, elsewhere: bool) -> Fault | None:
        """The fault as it struck; None: it found nobody."""
        here = msgspec.structs.replace(fault, t=self._world.kernel.now)
        if self._do[fault.kind](fault):
            return here
        if not elsewhere or fault.kind not in _ELSEWHERE:
            return None
        paths = [path for path in self._world.tree.workers if not path.endswith("*")]
        begin = paths.index(fault.target) if fault.target in paths else 0
        for step in range(1, len(paths)):
            there = msgspec.structs.replace(here, target=paths[(begin + step) % len(paths)])
            if self._do[fault.kind](there):
                return there
        return None

    def heal(self) -> None:
        """The time of faults is over: undo all that last."""
        self.over = True
        world = self._world
        world.armed.clear()
        world.troubles.clear()
        for number in list(self._undo):
            self._undo.pop(number)()
        for procs in list(world.at_path.values()):
            for proc in list(procs):
                proc.go_on()
        world.kernel.note("healed", "/")

    def _for(self, seconds: float, undo: Callable[[], None]) -> None:
        self._number += 1
        number = self._number
        self._undo[number] = undo
        self._world.kernel.after(seconds, self._end, number)

    def _end(self, number: int) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            undo()

    # ------------------------------------------------------------ processes

    def _primary(self, path: str) -> Proc | None:
        place = self._world.goal.places.get(path)
        return place.proc if place is not None and place.proc.alive else None

    def _standby(self, path: str) -> Proc | None:
        found = [self._world.procs[pid] for pid in self._world.goal.standbys.get(path, {})]
        return next((proc for proc in found if proc.alive), None)

    def _kill(self, proc: Proc | None) -> bool:
        if proc is None or not proc.alive:
            return False
        self._world.ended(proc, "fault: killed")
        return True

    def _stop(self, proc: Proc | None, seconds: float) -> bool:
        if proc is None or proc.stopped or not proc.alive:
            return False
        self._world.stop_process(proc, seconds, "fault: stopped")
        return True

    def _exit(self, fault: Fault, *, normal: bool) -> bool:
        proc = self._primary(fault.target)
        if proc is None or proc.life is None or not proc.life.acting or proc.stopped:
            return False
        proc.life.finish(normal=normal)
        return True

    def _arm(self, fault: Fault) -> bool:
        self._world.armed.setdefault(fault.target, []).append(fault)
        self._world.kernel.after(_ANY_STEP, self._anywhere, fault)
        return True

    def _anywhere(self, fault: Fault, tries: int = _TRIES) -> None:
        """It has not come to that step for a while: strike whoever is there."""
        world = self._world
        waiting = world.armed.get(fault.target, [])
        if fault not in waiting or self.over:
            return
        proc = world.supervisors.get(fault.target) or self._primary(fault.target) or self._standby(fault.target)
        if proc is None or proc.stopped:
            if tries:
                world.kernel.after(_AGAIN, self._anywhere, fault, tries - 1)
            return
        step = {"step": "*"}
        waiting[waiting.index(fault)] = msgspec.structs.replace(fault, params={**fault.params, **step})
        world.hit(proc, "anywhere")

    def _trouble(self, fault: Fault, what: str, *, lasting: bool) -> bool:
        self._world.troubles.setdefault(fault.target, {})[fault.kind] = what
        if lasting:
            self._for(float(fault.params["seconds"]), lambda: self._calm(fault))
        return True

    def _calm(self, fault: Fault) -> None:
        self._world.troubles.get(fault.target, {}).pop(fault.kind, None)

    def _suspect(self, fault: Fault) -> bool:
        """Beats are lost on their way: a healthy process is taken for hung."""
        proc = self._primary(fault.target)
        above = self._above(fault.target)
        if proc is None or above is None or not self._world.usable(proc.node):
            return False
        proc.doomed = proc.doomed or "fault: suspected"
        above.verdict(proc, "beats lost")
        return True

    def _late_notice(self, fault: Fault) -> bool:
        """It crashes, and its exit notice arrives once more when its successor may live."""
        proc = self._primary(fault.target)
        above = self._above(fault.target)
        if proc is None or proc.life is None or not proc.life.acting or above is None:
            return False
        reason = crash("raised")
        incarnation = proc.life.incarnation
        for delay in (0.05, 0.3, 1.0):
            args = (proc, incarnation, "exited", reason)
            self._world.kernel.after(delay, self._say_again, above.path, args)
        proc.life.end(reason, orderly=False)
        return True

    def _say_again(self, path: str, args: tuple[object, ...]) -> None:
        above = self._world.supervisors.get(path)
        if above is not None and above.shell is not None:
            above.deliver(above.shell.heard, args)

    def _above(self, path: str) -> Shell | None:
        proc = self._world.supervisors.get(path.rpartition("/")[0] or "/")
        return proc.shell if proc is not None and not proc.stopped else None

    def _many(self, fault: Fault) -> bool:
        found = [self._kill(self._primary(path)) for path in fault.target.split(",")]
        return any(found)

    def _lagging_then_lost(self, fault: Fault) -> bool:
        """A standby is cut off until its primary waits for it no longer; their supervisor dies, then the primary."""
        world = self._world
        primary, standby = self._primary(fault.target), self._standby(fault.target)
        if primary is None or standby is None or primary.life is None or primary.node == standby.node:
            return False
        above = fault.target.rpartition("/")[0] or "/"
        self._cut([(primary.node, standby.node)], 6.5)
        world.kernel.after(5.6, lambda: self.over or self._kill(world.supervisors.get(above)))
        world.kernel.after(6.1, lambda: self.over or self._kill(self._primary(fault.target)))
        return True

    # ------------------------------------------------------------ nodes and network

    def _node_crash(self, fault: Fault) -> bool:
        """The node loses its power, and has it again after a while."""
        world, node = self._world, fault.target
        if node in world.dark:
            return False
        world.dark.add(node)
        for proc in [proc for procs in world.at_path.values() for proc in procs if proc.node == node]:
            world.ended(proc, "fault: power failure")
        world.disks[node].power_failure()
        world.look_at_node(node, world.kernel.now)
        self._for(float(fault.params["seconds"]), lambda: self._power(node))
        return True

    def _dying_disk(self, fault: Fault) -> bool:
        """Syncs fail for a moment, then the node loses its power: what was not synced is gone."""
        disk = self._world.disks[fault.target]
        if fault.target in self._world.dark:
            return False
        disk.failing += 1

        def dark() -> None:
            disk.failing -= 1
            if not self.over:
                self._node_crash(fault)

        self._for(0.05, dark)
        return True

    def _power(self, node: str) -> None:
        self._world.dark.discard(node)
        self._world.node_back(node)

    def _node_pause(self, fault: Fault) -> bool:
        """The whole machine stands still: its clock goes on, its processes do not see it."""
        world, node, seconds = self._world, fault.target, float(fault.params["seconds"])
        found = [p for procs in world.at_path.values() for p in procs if p.node == node and not p.stopped]
        if node in world.dark or not found:
            return False
        for proc in found:
            world.stop_process(proc, seconds, "fault: its node stood still")
        self._cut([(LAUNCH, node), (node, LAUNCH)], seconds)
        return True

    def _partition(self, fault: Fault) -> bool:
        self._isolate(fault.target, float(fault.params["seconds"]))
        return True

    def _isolate(self, node: str, seconds: float) -> None:
        """The node is cut off from all others, the lease store among them."""
        if node in OTHERS:
            others = [one for one in (LAUNCH, *OTHERS, STORE) if one != node]
            self._cut([(node, other) for other in others] + [(other, node) for other in others], seconds)

    def _one_way(self, fault: Fault) -> bool:
        source, _, target = fault.target.partition(">")
        self._cut([(source, target)], float(fault.params["seconds"]))
        return True

    def _cut(self, pairs: list[tuple[str, str]], seconds: float) -> None:
        world = self._world
        nodes = sorted({end for pair in pairs for end in pair if end in OTHERS})
        for source, target in pairs:
            world.net.cut(source, target)
        for node in nodes:
            world.look_at_node(node, world.kernel.now)
        self._for(seconds, lambda: self._mend(pairs, nodes))

    def _mend(self, pairs: list[tuple[str, str]], nodes: list[str]) -> None:
        for source, target in pairs:
            self._world.net.mend(source, target)
        for node in nodes:
            self._world.node_back(node)

    def _messages(self, fault: Fault, what: str, scale: float) -> bool:
        source, _, target = fault.target.partition(">")
        link = self._world.net.links[source, target]
        share = scale * float(fault.params["share"])
        if getattr(link, what):
            return False
        setattr(link, what, share)
        self._for(float(fault.params["seconds"]), lambda: setattr(link, what, 0.0))
        return True

    # ------------------------------------------------------------ store, disks, clocks

    def _store_down(self, fault: Fault) -> bool:
        store = self._world.store
        store.down += 1

        def back() -> None:
            store.down -= 1

        self._for(float(fault.params["seconds"]), back)
        return True

    def _store_slow(self, fault: Fault) -> bool:
        store = self._world.store
        if store.slow:
            return False
        store.slow = 0.8
        self._for(float(fault.params["seconds"]), lambda: setattr(store, "slow", 0.0))
        return True

    def _disk(self, fault: Fault, what: str) -> bool:
        disk = self._world.disks[fault.target]
        setattr(disk, what, getattr(disk, what) + 1)
        self._for(float(fault.params["seconds"]), lambda: setattr(disk, what, getattr(disk, what) - 1))
        return True

    def _disk_slow(self, fault: Fault) -> bool:
        disk = self._world.disks[fault.target]
        if disk.slow != 1.0:
            return False
        disk.slow = 100.0
        self._for(float(fault.params["seconds"]), lambda: setattr(disk, "slow", 1.0))
        return True

    def _drift(self, fault: Fault) -> bool:
        self._world.clocks[fault.target].drift(float(fault.params["rate"]))
        return True

    def _jump(self, fault: Fault) -> bool:
        self._world.clocks[fault.target].jump(float(fault.params["seconds"]))
        return True


def check(fault: Fault, tree: Tree) -> str:
    """Why such a fault cannot be injected in that tree, or an empty string."""
    from supervisors.simulate.dst.planning import KINDS, targets

    if fault.kind not in KINDS:
        return "there is no such kind"
    if fault.t < 0:
        return "it is before the beginning"
    known = targets(tree)
    unknown = [name for name in fault.target.replace(">", ",").split(",") if name not in known]
    return f"{unknown[0]!r} is no target" if unknown else ""
