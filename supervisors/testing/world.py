"""A whole supervision tree on a fake clock: real machines, scripted children, no processes, no real time.

    world = World({ROOT: SupervisorSpec(SupervisorFlags(), (ChildSpec("a"), ChildSpec("b")))})
    world.start()
    world.exit_child(TreePath("/a"), crash("boom"))
    world.run_until_quiet()
    assert world.incarnation(TreePath("/a")) == 2

What happens to a child is said first and happens when time is let run: ``exit_child``, ``crash_supervisor``,
``shutdown`` only put a message into the queue, so that several may be there at once; ``settle``, ``advance`` and
``run_until_quiet`` work it off. ``start`` and ``admin`` settle by themselves.
"""

from collections.abc import Callable, Mapping
from math import inf

from supervisors.core.paths import ROOT, TreePath, id_of, parent_of
from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, crash
from supervisors.testing.clock import PLACES
from supervisors.testing.engine import Engine, Sink, WorldStuck
from supervisors.testing.processes import Kind, Process, SupervisorProcess
from supervisors.testing.scripted import ScriptedChild, StartOutcome
from supervisors.testing.trace import TraceEvent, TraceKind
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import AdminCalled, ChildInfo, HoldRejected, HoldReleased, Reply, ShutdownOrdered
from supervisors.tree.model import OnSupervisorCrash, SupervisorSpec

__all__ = ["World", "WorldStuck"]

#: three missed beats of 100 ms (DET-1)
DETECTION = 0.3
#: what ends a supervisor's process unless another reason is given
SUPERVISOR_KILLED = ExitReason(ExitKind.KILLED, "supervisor process died")


class World(Engine):
    """A tree of supervisors under a fake clock.

    Args:
        tree: every supervisor of the tree by its path, ``/`` included. A child of type supervisor whose path is not
            there cannot be started.
        jitter: numbers in [0, 1) for backoff.
        giveup_as_shutdown: a supervisor that gives up ends with ``shutdown``, as in OTP, where we say ``escalated``.
        start_takes, stop_takes: seconds a start and an ordered stop of a process take (``script`` sets them per path).
        trace: keep what happens in ``world.trace``.
        sink: called with each event instead of, or beside, keeping it.
        root_on_crash: what the root's children meet when its process dies; its replacement is started at once.
        initial: for a simple_one_for_one supervisor: arguments of the children it starts with at each fresh boot.

    Raises:
        ValueError: ``tree`` has no root.
    """

    def __init__(
        self,
        tree: Mapping[TreePath, SupervisorSpec],
        *,
        jitter: Callable[[], float] = lambda: 0.0,
        giveup_as_shutdown: bool = False,
        start_takes: float = 0.0,
        stop_takes: float = 0.0,
        trace: bool = True,
        sink: Sink | None = None,
        root_on_crash: OnSupervisorCrash = OnSupervisorCrash.ADOPT,
        initial: Mapping[TreePath, tuple[str, ...]] | None = None,
    ) -> None:
        if ROOT not in tree:
            raise ValueError("a tree has a supervisor at '/'")
        #: what has happened so far, oldest first; empty with ``trace=False``
        self.trace: list[TraceEvent] = []
        super().__init__(
            tree,
            jitter=jitter,
            giveup_as_shutdown=giveup_as_shutdown,
            start_takes=start_takes,
            stop_takes=stop_takes,
            root_on_crash=root_on_crash,
            initial=initial or {},
            sink=self._sink_for(trace, sink),
        )

    def _sink_for(self, trace: bool, sink: Sink | None) -> Sink | None:
        if not trace:
            return sink
        if sink is None:
            return self.trace.append
        both = sink

        def keep_and_tell(event: TraceEvent) -> None:
            self.trace.append(event)
            both(event)

        return keep_and_tell

    # ------------------------------------------------------------ letting time run

    @property
    def now(self) -> float:
        """Simulated monotonic seconds; 0 at the beginning."""
        return self.clock.now

    def start(self) -> None:
        """Boot the root supervisor and work off what that brings about at once."""
        self._boot_root()
        self._settle()

    def settle(self) -> None:
        """Work off everything that is due at the present moment."""
        self._run_until(self.clock.now)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass and work off everything that is due in them."""
        self.advance_to(round(self.clock.now + seconds, PLACES))

    def advance_to(self, at: float) -> None:
        """Let time pass until ``at``; a time already past only settles."""
        self._run_until(max(at, self.clock.now))
        self.clock.move_to(at)

    def run_until_quiet(self, limit: float = 3600.0) -> bool:
        """Let time pass until nothing is due any more, at most ``limit`` seconds; False when something still is.

        The clock stops at the last happening, not at the limit.
        """
        self._run_until(self.clock.now + limit)
        return self._next_at() is None

    def next_at(self) -> float | None:
        """When the next happening is due; None when the world is quiet."""
        return self._next_at()

    # ------------------------------------------------------------ what befalls the children

    def script(self, path: TreePath) -> ScriptedChild:
        """The behaviour of the child at ``path``, made when first asked for."""
        return self._scripts.setdefault(path, ScriptedChild())

    def exit_child(self, path: TreePath, reason: ExitReason | None = None, *, when_up: bool = False) -> bool:
        """End the process at ``path`` with ``reason`` (default: a crash). False when there is none.

        A supervisor ends abruptly with an abrupt reason (``crash_supervisor``), in good order with another.
        With ``when_up``, a child that is not up now ends as soon as it is (still False).
        """
        reason = crash("scripted") if reason is None else reason
        process = self._processes.get(path)
        if when_up and (process is None or not process.up or process.stopping):
            self.script(path).plan_lives(0.0, reason, 1)
            return False
        if process is None:
            self._trace(path, TraceKind.SKIPPED, reason, 0, (("why", "no process"),))
            return False
        if isinstance(process, SupervisorProcess) and not reason.is_abrupt:
            self._queue.append((process, ShutdownOrdered(reason)))
        else:
            self._end(process, reason)
        return True

    def crash_supervisor(self, path: TreePath, reason: ExitReason = SUPERVISOR_KILLED) -> bool:
        """End the process of the supervisor at ``path``; its children go on. False when there is none.

        Raises:
            ValueError: ``path`` is no supervisor, or ``reason`` is none a process dies of abruptly.
        """
        if path not in self.tree:
            raise ValueError(f"{path} is no supervisor")
        if not reason.is_abrupt:
            raise ValueError(f"a supervisor does not crash with {reason.kind}")
        return self.exit_child(path, reason)

    def hang(self, path: TreePath, detect_after: float = DETECTION) -> bool:
        """The process at ``path`` goes silent and deaf; ``detect_after`` seconds later it is killed as ``hung``.

        False when there is none. The default is three missed beats of 100 ms (DET-1).
        """
        process = self._processes.get(path)
        if process is None:
            self._trace(path, TraceKind.SKIPPED, None, 0, (("why", "no process"),))
            return False
        process.hung = True
        process.seen_after = detect_after
        self._trace(path, TraceKind.HUNG, None, process.incarnation)
        self._after(detect_after, Kind.HANG_SEEN, process)
        return True

    def fail_starts(self, path: TreePath, times: float = inf, reason: ExitReason | None = None) -> None:
        """The next ``times`` starts at ``path`` fail with ``reason`` (default: an init_error)."""
        self.script(path).plan_starts(StartOutcome.FAIL, times, reason)

    def ignore_starts(self, path: TreePath, times: float = inf) -> None:
        """The next ``times`` starts at ``path`` answer ``ignore``."""
        self.script(path).plan_starts(StartOutcome.IGNORE, times)

    def never_start(self, path: TreePath, times: float = inf) -> None:
        """The next ``times`` starts at ``path`` do not return; only ``start_timeout`` ends them."""
        self.script(path).plan_starts(StartOutcome.NEVER, times)

    def hold_starts(self, path: TreePath, times: float = inf) -> None:
        """The next ``times`` starts of the worker at ``path`` are held until ``release`` or ``reject``."""
        self.script(path).plan_starts(StartOutcome.HOLD, times)

    def release(self, path: TreePath) -> bool:
        """A person lets the held child at ``path`` start. False when its supervisor does not run."""
        return self._answer_hold(path, HoldReleased(id_of(path)))

    def reject(self, path: TreePath) -> bool:
        """A person refuses to let the held child at ``path`` start. False when its supervisor does not run."""
        return self._answer_hold(path, HoldRejected(id_of(path)))

    def _answer_hold(self, path: TreePath, answer: HoldReleased | HoldRejected) -> bool:
        above = self._processes.get(parent_of(path))
        if not isinstance(above, SupervisorProcess):
            self._trace(path, TraceKind.SKIPPED, None, 0, (("why", "no supervisor"),))
            return False
        self._queue.append((above, answer))
        return True

    def ignore_stop(self, path: TreePath, on: bool = True) -> None:
        """The child at ``path`` does not react to orders to stop: it has to be killed when its time is up."""
        self.script(path).ignores_stop = on

    # ------------------------------------------------------------ orders

    def admin(self, path: TreePath, order: AdminCalled) -> Reply | None:
        """Give the supervisor at ``path`` an order; its reply, or None when there is none yet.

        A reply that takes time appears in ``world.replies`` under the order's reference.
        """
        self.replies.pop(order.ref, None)
        if not self.order(path, order):
            return None
        self.settle()
        return self.replies.pop(order.ref, None)

    def order(self, path: TreePath, order: AdminCalled) -> bool:
        """As ``admin``, but only put into the queue; False when no supervisor runs at ``path``."""
        process = self._processes.get(path)
        if not isinstance(process, SupervisorProcess):
            self._trace(path, TraceKind.SKIPPED, None, 0, (("why", "no supervisor"),))
            return False
        self._queue.append((process, order))
        return True

    def shutdown(self, reason: ExitReason = SHUTDOWN) -> None:
        """Tell the root to end."""
        root = self._processes.get(ROOT)
        if isinstance(root, SupervisorProcess):
            self._queue.append((root, ShutdownOrdered(reason)))
        elif self.ended is None:
            self._reap(ROOT)  # between two lives of the root: there will be no next one
            self._heap = [happening for happening in self._heap if happening[2] is not Kind.ROOT_REPLACED]
            self.ended = reason

    def add_supervisor(self, path: TreePath, spec: SupervisorSpec) -> None:
        """Declare one more supervisor, to be started with ``start_child``."""
        if path not in self.tree:
            self._place(path)
        self.tree[path] = spec

    # ------------------------------------------------------------ questions

    def process(self, path: TreePath) -> Process | None:
        """The process at ``path``, if there is one."""
        return self._processes.get(path)

    def is_up(self, path: TreePath) -> bool:
        """True while a process runs at ``path`` whose start has succeeded (a hung one too: nobody knows yet)."""
        process = self._processes.get(path)
        return process is not None and process.up

    def up(self) -> tuple[TreePath, ...]:
        """The paths of all processes that are up, in the order of their starts."""
        return tuple(path for path, process in self._processes.items() if process.up)

    def incarnation(self, path: TreePath) -> int:
        """Which life runs at ``path``; 0 when none does."""
        process = self._processes.get(path)
        return process.incarnation if process is not None else 0

    def machine(self, path: TreePath) -> SupervisorMachine | None:
        """The machine of the supervisor at ``path``, if it runs."""
        process = self._processes.get(path)
        return process.machine if isinstance(process, SupervisorProcess) else None

    def children(self, path: TreePath) -> tuple[ChildInfo, ...]:
        """What the supervisor at ``path`` knows of its children, in start order; none when it does not run."""
        machine = self.machine(path)
        if machine is None:
            return ()
        return tuple(
            ChildInfo(c.id, c.state.value, c.spec.type.value, c.incarnation) for c in machine.children.values()
        )
