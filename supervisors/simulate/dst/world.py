"""Everything of one run together: nodes, processes, supervisors, lease store, people, faults and the checks.

What is not simulated one by one: beats. When a process falls silent, the time of the verdict is derived from it.
"""

from collections.abc import Callable
from typing import Any

from supervisors.core.reasons import ExitKind, ExitReason
from supervisors.simulate.dst.client import Clients
from supervisors.simulate.dst.clocks import NodeClock
from supervisors.simulate.dst.disk import Disk, Segment
from supervisors.simulate.dst.goal import Goal
from supervisors.simulate.dst.kernel import Kernel
from supervisors.simulate.dst.leasing import LeaseService
from supervisors.simulate.dst.ledger import Ledger
from supervisors.simulate.dst.model import LAUNCH, OTHERS, STORE, Fault, Options, Parts, Tree, plant
from supervisors.simulate.dst.network import Network
from supervisors.simulate.dst.oracle import Oracle
from supervisors.simulate.dst.process import Proc
from supervisors.simulate.dst.shell import Shell
from supervisors.tree.messages import AdminCalled, Call, Note

#: seconds of silence after which a process on a reachable node counts as hung
_SILENT = 0.3
#: seconds after which a node that cannot be reached counts as lost
NODE_LOST = 2.5
#: seconds after the last fault until those that last are undone
LINGER = 8.0
#: seconds after that which the system gets to settle
SETTLE = 32.0
NODES = (LAUNCH, *OTHERS, STORE)


class World:
    """One run.

    Args:
        options: seed, size.
        plan: the faults, by time.
        parts: what it is built of.
        tracing: keep a trace for people.
    """

    def __init__(self, options: Options, plan: list[Fault], parts: Parts, *, tracing: bool = False) -> None:
        self.options = options
        self.plan = plan
        self.parts = parts
        self.kernel = Kernel(options.seed, tracing=tracing)
        self._draws: dict[str, Callable[[], float]] = {}
        drift = self.kernel.stream("drift")
        self.clocks = {
            node: NodeClock(self.kernel, drift.random() * 100, 1.0 + (drift.random() - 0.5) * 0.02)
            if node != LAUNCH
            else NodeClock(self.kernel)
            for node in NODES
        }
        self.net = Network(self.kernel, NODES)
        self.disks = {node: Disk(self.kernel.stream("disk", node)) for node in NODES if node != STORE}
        self.tree: Tree = plant(options.children, options.seed)
        self.goal = Goal()
        self.oracle = Oracle(self)
        self.store = LeaseService(self)
        self.procs: dict[int, Proc] = {}
        self.at_path: dict[str, list[Proc]] = {}
        self.supervisors: dict[str, Proc] = {}
        #: processes on other nodes of which it is known on the launching node that they are gone
        self.seen_dead: set[int] = set()
        #: nodes without power; nodes taken for lost, whose processes end when they are heard of again
        self.dark: set[str] = set()
        self.lost: set[str] = set()
        #: faults that wait for a step of a life, by path
        self.armed: dict[str, list[Fault]] = {}
        #: faults in force, by path: what a start, a stop or a check meets
        self.troubles: dict[str, dict[str, str]] = {}
        self.root_ended: ExitReason | None = None
        #: the root gave up before the faults were over
        self.ended_early = False
        self.injected: dict[str, int] = {}
        #: faults as they struck: when and whom
        self.struck: list[Fault] = []
        self.recoveries: dict[str, int] = {}
        self.rungs_failed = 0
        #: cuts a node off for so many seconds; the injector's
        self.isolate: Callable[[str, float], None] = lambda node, seconds: None
        self._last_pid = 0
        self._root_lives = 0
        self.clients = Clients(self)

    # ------------------------------------------------------------ a run

    def run(self) -> None:
        """From the first start to the last end: faults, quiet, settled, shut down, nothing left."""
        from supervisors.simulate.dst.injecting import Injector

        kernel, injector = self.kernel, Injector(self)
        self._start_root()
        for fault in self.plan:
            kernel.at(fault.t, injector.inject, fault)
        self.clients.start()
        kernel.run(max((fault.t for fault in self.plan), default=0.0) + LINGER)
        injector.over = True
        self.ended_early = self.root_ended is not None
        for seconds, then in (
            (LINGER, injector.heal),
            (SETTLE * 0.8, self.clients.stop),
            (SETTLE * 0.2, self.oracle.settled),
            (0.0, self._shut_down),
            (30.0, self._look_for_the_end),
            (2.0, self.oracle.over),
        ):
            if self.oracle.violation is not None:
                return
            kernel.halted = self.root_ended is not None and then == self._look_for_the_end
            kernel.run(kernel.now + seconds)
            if self.oracle.violation is None:
                then()

    def _look_for_the_end(self) -> None:
        """Time for what is on its way to end."""

    def _shut_down(self) -> None:
        root = self.supervisors.get("/")
        if root is not None and root.shell is not None:
            root.deliver(root.shell.stop, ())

    def _start_root(self) -> None:
        if self.root_ended is not None:
            return
        self._root_lives += 1
        proc = self.spawn(LAUNCH, "/")
        proc.shell = Shell(self, proc, self._root_lives)
        self.supervisors["/"] = proc
        self.kernel.note("supervisor_up", "/")
        proc.shell.start(adopt=True)

    def root_over(self, proc: Proc, reason: ExitReason) -> None:
        """The root ended by itself: the system is over."""
        self.root_ended = reason
        self.kernel.halted = True
        self.kernel.note("system_over", "/", str(reason))
        self.kernel.after(0.0, self.ended, proc, "ended by itself")

    # ------------------------------------------------------------ processes

    def spawn(self, node: str, path: str) -> Proc:
        """A new process."""
        self._last_pid += 1
        proc = self.procs[self._last_pid] = Proc(self._last_pid, node, path)
        self.at_path.setdefault(path, []).append(proc)
        return proc

    def supervise(self, proc: Proc, boss: Proc, incarnation: int, *, adopt: bool) -> None:
        """The process becomes a supervisor."""
        proc.shell = Shell(self, proc, incarnation)
        proc.shell.attach(boss)
        proc.shell.report("hello")
        self.supervisors[proc.path] = proc
        self.kernel.note("supervisor_up", proc.path)
        proc.shell.start(adopt=adopt)

    def kill(self, proc: Proc, cause: str) -> None:
        """By order from the launching node: at once there, as soon as the order arrives elsewhere."""
        if not proc.alive:
            return
        if proc.node == LAUNCH:
            self.ended(proc, cause)
        elif self.usable(proc.node):
            self.net.send(LAUNCH, proc.node, None, self.ended, proc, cause)
            self.kernel.after(0.25, self.kill, proc, cause)
        elif proc.node not in self.dark:
            self.kernel.after(0.25, self.kill, proc, cause)

    def ended(self, proc: Proc, cause: str) -> None:
        """Its process is gone."""
        if not proc.alive:
            return
        proc.alive = False
        proc.cause = cause
        proc.held.clear()
        self.at_path[proc.path].remove(proc)
        self.kernel.note("died", proc.path, f"pid {proc.pid} on {proc.node}: {cause}")
        self.oracle.ended(proc, cause)
        shell = proc.shell
        if shell is not None:
            self._supervisor_gone(proc, shell)
        if proc.path == "/":
            return
        if proc.node == LAUNCH:
            self.kernel.after(0.001 + 0.004 * self.draw(proc.path), self.notify, proc)
        elif proc.node not in self.dark:
            self.kernel.after(0.003, self._agent_tells, proc)

    def _supervisor_gone(self, proc: Proc, shell: Shell) -> None:
        if self.supervisors.get(proc.path) is proc:
            del self.supervisors[proc.path]
        if not shell.over:
            record = shell.before if shell.before is not None else shell.machine.record()
            self.goal.records[proc.path] = record
            self.goal.incarnations[proc.path] = {row.id: row.incarnation for row in record.children}
        if proc.path == "/" and self.root_ended is None:
            self.kernel.after(0.05 + 0.2 * self.draw(proc.path), self._start_root)

    def notify(self, proc: Proc) -> None:
        """On the launching node it is known that a process is gone."""
        self.seen_dead.add(proc.pid)
        above = self.supervisors.get(proc.path.rpartition("/")[0] or "/")
        if above is not None and above.shell is not None and above is not proc:
            above.deliver(above.shell.died, (proc,))

    def _agent_tells(self, proc: Proc) -> None:
        """The agent of its node says so until it is heard."""
        if proc.node in self.dark or proc.pid in self.seen_dead or proc.node in self.lost:
            return
        self.net.send(proc.node, LAUNCH, None, self.notify, proc)
        self.kernel.after(0.3, self._agent_tells, proc)

    def attach(self, shell: Shell, proc: Proc) -> None:
        """A supervisor tells a process that it is now its own, and looks whether it is silent."""
        body = proc.shell if proc.shell is not None else proc.life
        if body is not None:
            self.net.send(LAUNCH, proc.node, proc, body.attach, shell.proc)
        if not proc.alive and self.parts.check_lives:
            self.kernel.after(0.01, self.notify, proc)

    def reap(self, top: str) -> None:
        """End every process below; nobody will go on with them."""
        head = top + "/"
        for path in sorted(self.at_path):
            if path.startswith(head) and self.parts.reap:
                for proc in list(self.at_path[path]):
                    self.kill(proc, "order: reaped")
                for pid in self.goal.standbys.pop(path, {}):
                    self.oracle.heard(self.procs[pid])
                place = self.goal.places.get(path)
                if place is not None:
                    self.oracle.heard(place.proc)
        self.goal.forget_below(top)

    # ------------------------------------------------------------ silence and lost nodes

    def stop_process(self, proc: Proc, seconds: float, why: str) -> None:
        """It stands still; after ``seconds`` (0: never) it goes on as if nothing had been."""
        proc.stopped = True
        proc.doomed = proc.doomed or why
        if seconds:
            self.kernel.after(seconds, proc.go_on)
        self.kernel.after(_SILENT + 0.05 * self.draw(proc.path), self._silence, proc)

    def _silence(self, proc: Proc) -> None:
        """Its supervisor misses its beats, if there is one to miss them and the node is in sight."""
        if not proc.alive or not proc.stopped:
            return
        if proc.path == "/":
            self.ended(proc, "verdict: silent")  # the launcher's word
            return
        above = self.supervisors.get(proc.path.rpartition("/")[0] or "/")
        if above is not None and above.shell is not None and not above.stopped and self.usable(proc.node):
            above.shell.verdict(proc, "silent")
        self.kernel.after(_SILENT, self._silence, proc)

    def usable(self, node: str) -> bool:
        """The launching node and this one hear each other."""
        if node == LAUNCH:
            return True
        if node in self.dark or node in self.lost:
            return False
        return self.net.reaches(LAUNCH, node) and self.net.reaches(node, LAUNCH)

    def look_at_node(self, node: str, since: float) -> None:
        """It could not be reached since then; after a while it is taken for lost."""
        if self.usable(node) or node in self.lost:
            return
        if self.kernel.now - since < NODE_LOST - 0.01:
            self.kernel.at(since + NODE_LOST, self.look_at_node, node, since)
            return
        self.lost.add(node)
        self.kernel.note("node_lost", node)
        for path in sorted(self.supervisors):
            above = self.supervisors[path]
            if above.shell is not None:
                above.deliver(self._tell_lost, (above.shell, node))

    def _tell_lost(self, shell: Shell, node: str) -> None:
        for peer in list(shell.by_pid.values()):
            if peer.proc is not None and peer.proc.node == node:
                shell.died(peer.proc, ExitKind.NODE_LOST)

    def node_back(self, node: str) -> None:
        """It is heard of again: what ran there when it was lost ends, its agent says so."""
        if node in self.lost:
            for proc in [proc for procs in self.at_path.values() for proc in procs if proc.node == node]:
                proc.doomed = proc.doomed or "node lost"
                self.kernel.after(0.02 + 6.0 * self.draw(proc.path), self.ended, proc, "its node was lost")
        self.kernel.after(0.4, self._rejoin, node)

    def _rejoin(self, node: str) -> None:
        if node not in self.dark and self.net.reaches(LAUNCH, node) and self.net.reaches(node, LAUNCH):
            if node in self.lost:
                self.lost.discard(node)
                self.kernel.note("node_back", node)
            for pid, proc in self.procs.items():  # the agent there knows which are gone
                if proc.node == node and not proc.alive and pid not in self.seen_dead:
                    self.notify(proc)

    def disk_synced(self, disk: Disk, segment: Segment, last: int) -> None:
        """A sync is done, whether or not its process still waits."""
        if not disk.failing:
            segment.synced = max(segment.synced, min(len(segment.records), last + 1 - segment.first))

    # ------------------------------------------------------------ steps and troubles

    def at_step(self, proc: Proc, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """``proc`` has come to a step of its life and goes on with ``call``, unless a fault waits there."""
        if self.armed and proc.path in self.armed:
            self.hit(proc, name)
            proc.deliver(call, args)
        else:
            call(*args)

    def hit(self, proc: Proc, name: str) -> bool:
        """Let a fault that waits for this step strike; True when it ended the process."""
        waiting = self.armed.get(proc.path, [])
        fault = next((one for one in waiting if one.params["step"] in (name, "*")), None)
        if fault is None:
            return False
        waiting.remove(fault)
        if not waiting:
            del self.armed[proc.path]
        self.count(fault, f"at step {name}")
        if fault.kind not in ("stop_at_step", "zombie"):
            self.ended(proc, f"fault: crash at step {name}")
            return True
        self.stop_process(proc, float(fault.params["seconds"]), "fault: stopped at a step")
        if fault.kind == "zombie":
            self.isolate(proc.node, float(fault.params["cut"]))
        return False

    def count(self, fault: Fault, words: str) -> None:
        """A fault strikes."""
        self.injected[fault.kind] = self.injected.get(fault.kind, 0) + 1
        self.struck.append(fault)
        if len(self.struck) == self.options.faults:
            self.kernel.halted = True  # enough
        self.kernel.note("fault", fault.target, f"{fault.kind} {words}".rstrip())

    def trouble(self, path: str, *, stopping: bool = False, checking: bool = False) -> str:
        """What a start (a stop, a check) of this path meets: empty, ``fail_start`` or seconds more."""
        found = self.troubles.get(path)
        if not found:
            return ""
        if stopping:
            return found.get("deaf", "")
        if checking:
            return found.get("check_fails", "")
        if "fail_start" in found:
            left = int(found["fail_start"]) - 1
            if left > 0:
                found["fail_start"] = str(left)
            else:
                del found["fail_start"]
            return "fail_start"
        return found.pop("slow_start", "")

    # ------------------------------------------------------------ people

    def ask_person(self, path: str, child_id: str, hold: str) -> None:
        """A person is paged, and answers after a while: mostly yes."""
        chance = self.kernel.stream("person", f"{path}/{child_id}")
        approve = chance.random() < 0.95
        self.kernel.after(1.0 + 4.0 * chance.random(), self._answer, path, child_id, hold, approve)

    def _answer(self, path: str, child_id: str, hold: str, approve: bool) -> None:
        above = self.supervisors.get(path)
        if above is None or above.shell is None:
            return  # a replacement asks again
        above.deliver(self._hand_over, (above.shell, child_id, hold, approve))

    def _hand_over(self, shell: Shell, child_id: str, hold: str, approve: bool) -> None:
        shell.hands.answered(child_id, hold, approve=approve)

    def order(self, path: str, call: Call, child_id: str) -> None:
        """A person's order to a supervisor."""
        above = self.supervisors.get(path)
        if above is not None and above.shell is not None:
            above.deliver(above.shell.step, (AdminCalled("person", call, child_id),))

    # ------------------------------------------------------------ counts and words

    def draw(self, path: str) -> float:
        """How long something takes at a path: of a stream of its own."""
        found = self._draws.get(path)
        if found is None:
            found = self._draws[path] = self.kernel.stream("times", path).random
        return found()

    def recovered(self, rung: str) -> None:
        """A life came up by this rung; empty: a first or plain start."""
        if rung:
            self.recoveries[rung] = self.recoveries.get(rung, 0) + 1

    def words(self, note: Note) -> str:
        """For a trace."""
        if not self.kernel.tracing:
            return ""
        data = " ".join(f"{key}={value}" for key, value in note.data)
        return " ".join(filter(None, (f"#{note.incarnation}", str(note.reason or ""), data)))

    def acting(self, path: str) -> Ledger | None:
        """The life that clients would be led to."""
        place = self.goal.places.get(path)
        if place is not None and place.proc.alive and isinstance(place.proc.life, Ledger) and place.proc.life.acting:
            return place.proc.life
        return None
