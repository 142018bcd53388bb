"""A tree of supervisor machines with scripted children, driven as the oracle drives the real OTP supervisor.

Paths are ``""`` for the root, ``/a`` for its child ``a``, ``/s/a`` below the supervisor ``s``. Children answer at once,
unless a script holds them: then the supervisor that waits for them goes on queueing its events until ``release``.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, crash, init_error
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildCounts,
    ChildExited,
    ChildIgnored,
    ChildInfo,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    Exit,
    KillChild,
    Note,
    NoteKind,
    ReapSubtree,
    Reply,
    ReportStarted,
    ReportStartFailed,
    SetTimer,
    ShutdownOrdered,
    StartChild,
    StopChild,
    TimerFired,
)
from supervisors.tree.model import ChildSpec, ChildType, SupervisorFlags, SupervisorSpec

KILLED = ExitReason(ExitKind.KILLED)
NORMAL = ExitReason(ExitKind.NORMAL)
SHUTDOWN_X = ExitReason(ExitKind.SHUTDOWN, "x")
CRASH = crash()
BOOM = init_error("boom")

_NOTED = {
    NoteKind.CHILD_EXITED: "exit",
    NoteKind.CHILD_STOPPED: "end",
}


@dataclass(eq=False)
class Process:
    """One scripted process; a supervisor has a machine."""

    path: str
    above: "Process | None"
    id: str
    incarnation: int
    deaf: bool
    machine: SupervisorMachine | None = None
    alive: bool = True
    up: bool = False
    cancelled: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Held:
    """What waits for ``Rig.release``: a start or a stop of ``path``, and the supervisor that waits for it."""

    above: Process
    path: str
    order: StartChild | StopChild


def word(reason: ExitReason) -> str:
    """A reason as the oracle writes it."""
    return "shutdown_x" if reason == SHUTDOWN_X else reason.kind.value


def above_of(path: str) -> str:
    """The supervisor of ``path``."""
    return path.rpartition("/")[0]


class Rig:
    """The tree and its scripts; see the module.

    Args:
        tree: supervisors by path.
        deaf: paths of children that do not heed a stop; of a simple_one_for_one supervisor ``<path>/*``.
        deaf_shutdown: children with this time to stop do not heed it either.
        giveup_as_shutdown: a supervisor that gives up exits as OTP's does.
    """

    def __init__(
        self,
        tree: Mapping[str, SupervisorSpec],
        *,
        deaf: Collection[str] = (),
        deaf_shutdown: float | None = None,
        giveup_as_shutdown: bool = True,
        machine: Callable[[SupervisorSpec], SupervisorMachine] = SupervisorMachine,
    ) -> None:
        self.tree = dict(tree)
        self.deaf = frozenset(deaf)
        self.deaf_shutdown = deaf_shutdown
        self.now = 1000.0
        self.trace: list[str] = []
        self.held: Held | None = None
        self.processes: dict[str, Process] = {}
        self.replies: dict[str, Reply] = {}
        self.calls = 0
        #: paths that ever had a process
        self.born: set[str] = set()
        self.ended: ExitReason | None = None
        self.start_failed: ReportStartFailed | None = None
        self._giveup_as_shutdown = giveup_as_shutdown
        self._make = machine
        self._queue: deque[tuple[Process, Event]] = deque()
        self._timers: list[tuple[float, int, Process, int]] = []
        self._sequence = 0
        self._start_scripts: dict[str, deque[str]] = {}
        self._stop_scripts: dict[str, deque[str]] = {}

    # ------------------------------------------------------------ what a test does

    def start(self) -> None:
        """Boot the root."""
        root = Process("", None, "", 1, False, self._make(self.tree[""]))
        self.processes[""] = root
        self._send(root, Booted())
        self.settle()

    def script_start(self, path: str, *outcomes: str) -> None:
        """The next starts of ``path`` give ``ok``, ``fail``, ``ignore`` or ``hold``."""
        self._start_scripts.setdefault(path, deque()).extend(outcomes)

    def script_stop(self, path: str, *outcomes: str) -> None:
        """The next stops of ``path`` give ``ok`` (shutdown), ``fail`` (crash), ``ignore`` (normal), or ``hold``."""
        self._stop_scripts.setdefault(path, deque()).extend(outcomes)

    def exit(self, path: str, reason: ExitReason) -> bool:
        """The process at ``path`` ends by itself; False when there is none, or something else is to be first."""
        process = self.processes.get(path)
        is_held = self.held is not None and self.held.path == path
        if process is None or is_held or not self.permits(above_of(path)):
            return False
        self._end(process, reason)
        self.settle()
        return True

    def call(self, sup: str, order: AdminCalled) -> Reply | None:
        """Give an order; None while it has no answer (``replies`` may have it later)."""
        process = self.processes[sup]
        self._send(process, order)
        self.settle()
        return self.replies.get(order.ref)

    def order(
        self,
        sup: str,
        call: Call,
        child_id: str = "",
        *,
        spec: ChildSpec | None = None,
        args: str = "",
        flags: SupervisorFlags | None = None,
        specs: tuple[ChildSpec, ...] = (),
    ) -> Reply:
        """Give an order that is answered at once."""
        self.calls += 1
        reply = self.call(sup, AdminCalled(f"r{self.calls}", call, child_id, spec, args, flags, specs))
        assert reply is not None, f"{call} {child_id} has no answer"
        return reply

    def counts(self, sup: str = "") -> list[int]:
        """[specs, active, supervisors, workers], as OTP_SUITE writes them."""
        counts = self.order(sup, Call.COUNT_CHILDREN).counts
        assert counts is not None
        return [counts.specs, counts.active, counts.supervisors, counts.workers]

    def states(self, sup: str = "") -> dict[str, str]:
        """State of each child of ``sup``."""
        return {info.id: info.state for info in self.order(sup, Call.WHICH_CHILDREN).children}

    @property
    def is_up(self) -> bool:
        """True while the root runs."""
        return self.ended is None and self.start_failed is None

    def machine(self, sup: str = "") -> SupervisorMachine:
        """The machine of the running supervisor ``sup``."""
        machine = self.processes[sup].machine
        assert machine is not None
        return machine

    def incarnation(self, path: str) -> int:
        """Incarnation of the running process at ``path``; 0 when there is none."""
        process = self.processes.get(path)
        return process.incarnation if process is not None else 0

    def shutdown(self) -> None:
        """End the root as its parent would."""
        if "" in self.processes:
            self._send(self.processes[""], ShutdownOrdered(SHUTDOWN))
            self.settle()

    def release(self, outcome: str) -> None:
        """Let what is held go on: ``ok``, ``fail`` or ``ignore`` (see the scripts)."""
        held, self.held = self.held, None
        if held is None:
            return
        if isinstance(held.order, StartChild):
            self._answer_start(held.above, held.order, outcome)
        else:
            self._answer_stop(held.path, outcome)
        self.settle()

    def release_all(self) -> None:
        """Let everything held go on, well."""
        while self.held is not None:
            self.release("ok")

    def permits(self, sup: str) -> bool:
        """Whether ``sup`` and its children may be acted upon.

        While something is held only the supervisor that waits for it may, and only once it is up: before, what it
        does next runs beside what its parent does next, and OTP's trace has no one order.
        """
        return self.held is None or (self.held.above.path == sup and self.held.above.up)

    def advance(self, seconds: float) -> None:
        """Move the clock; timers due on the way fire in order."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._fire()
        self.now = until

    def settle(self) -> None:
        """Deliver all messages; a child that does not heed its stop is waited for, unless something is held."""
        while True:
            while self._queue:
                process, event = self._queue.popleft()
                if process.alive and process.machine is not None:
                    self._carry_out(process, process.machine.step(event, self.now))
            if not self._waits_for_deaf():
                return
            self._fire()

    def take_trace(self) -> list[str]:
        """The trace so far; it begins anew."""
        trace, self.trace = self.trace, []
        return trace

    # ------------------------------------------------------------ the inside

    def _send(self, process: Process, event: Event) -> None:
        self._queue.append((process, event))

    def _waits_for_deaf(self) -> bool:
        self._skip_void_timers()
        has_deaf = bool(self.deaf) or self.deaf_shutdown is not None
        return self.held is None and has_deaf and bool(self._timers)

    def _skip_void_timers(self) -> None:
        while self._timers and self._is_void(self._timers[0]):
            heappop(self._timers)

    @staticmethod
    def _is_void(timer: tuple[float, int, Process, int]) -> bool:
        _, _, process, token = timer
        return not process.alive or token in process.cancelled

    def _fire(self) -> None:
        timer = heappop(self._timers)
        if self._is_void(timer):
            return
        at, _, process, token = timer
        self.now = max(self.now, at)
        self._send(process, TimerFired(token))
        while self._queue:
            receiver, event = self._queue.popleft()
            if receiver.alive and receiver.machine is not None:
                self._carry_out(receiver, receiver.machine.step(event, self.now))

    def _carry_out(self, process: Process, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartChild(id=child_id):
                    self._start(process, effect, f"{process.path}/{child_id}")
                case StopChild(id=child_id):
                    self._stop(process, effect, f"{process.path}/{child_id}")
                case KillChild(id=child_id):
                    self._kill(process, effect, f"{process.path}/{child_id}")
                case ReapSubtree(child_id):
                    self._reap(f"{process.path}/{child_id}")
                case SetTimer(token, at):
                    self._sequence += 1
                    heappush(self._timers, (at, self._sequence, process, token))
                case CancelTimer(token):
                    process.cancelled.add(token)
                case Reply():
                    self.replies[effect.ref] = effect
                case ReportStarted():
                    process.up = True
                    if process.above is not None:
                        self._send(process.above, ChildStarted(process.id, process.incarnation))
                case ReportStartFailed():
                    self._supervisor_failed(process, effect)
                case Exit(reason):
                    self._supervisor_exit(process, reason)
                case Note():
                    self._note(process, effect)

    def _note(self, process: Process, note: Note) -> None:
        path = f"{process.path}/{note.id}"
        if note.kind is NoteKind.CHILD_START_FAILED:
            self.trace.append(f"fail {path}")
        elif note.kind is NoteKind.CHILD_IGNORED:
            self.trace.append(f"ignore {path}")
        elif note.kind in _NOTED and note.reason is not None:
            self.trace.append(f"{_NOTED[note.kind]} {path} {word(note.reason)}")

    def _start(self, above: Process, order: StartChild, path: str) -> None:
        assert path not in self.processes, f"two processes at {path}"
        self.trace.append(f"start {path}")
        script = self._start_scripts.get(path)
        outcome = script.popleft() if script else "ok"
        if outcome == "hold":
            self.held = Held(above, path, order)
        else:
            self._answer_start(above, order, outcome)

    def _answer_start(self, above: Process, order: StartChild, outcome: str) -> None:
        assert above.machine is not None
        if outcome == "ignore" and not above.machine.is_simple:
            self._send(above, ChildIgnored(order.id, order.incarnation))
        elif outcome == "fail":
            self._send(above, ChildStartFailed(order.id, order.incarnation, BOOM))
        else:
            self._up(above, order)

    def _up(self, above: Process, order: StartChild) -> None:
        assert above.machine is not None
        path = f"{above.path}/{order.id}"
        deaf = (f"{above.path}/*" if above.machine.is_simple else path) in self.deaf
        deaf = deaf or above.machine.children[order.id].spec.shutdown == self.deaf_shutdown
        process = Process(path, above, order.id, order.incarnation, deaf)
        self.processes[path] = process
        self.born.add(path)
        if above.machine.children[order.id].spec.type is ChildType.SUPERVISOR and path in self.tree:
            process.machine = self._make(self.tree[path])
            self._send(process, Booted())
        else:
            self._send(above, ChildStarted(order.id, order.incarnation))

    def _stop(self, above: Process, order: StopChild, path: str) -> None:
        self.trace.append(f"order {path} shutdown")
        process = self.processes.get(path)
        if process is None or process.incarnation != order.incarnation:
            if self.held is not None and self.held.path == path:
                self.held = None  # a start broken off
                self._send(above, ChildExited(order.id, order.incarnation, SHUTDOWN))
            return
        if process.deaf:
            return
        if process.machine is not None:
            self._send(process, ShutdownOrdered(SHUTDOWN))
            return
        script = self._stop_scripts.get(path)
        outcome = script.popleft() if script else "ok"
        if outcome == "hold":
            self.held = Held(above, path, order)
        else:
            self._answer_stop(path, outcome)

    def _answer_stop(self, path: str, outcome: str) -> None:
        process = self.processes.get(path)
        if process is not None:
            self._end(process, {"ok": SHUTDOWN, "fail": CRASH, "ignore": NORMAL}[outcome])

    def _kill(self, above: Process, order: KillChild, path: str) -> None:
        self.trace.append(f"order {path} kill")
        process = self.processes.get(path)
        if process is not None and process.incarnation == order.incarnation:
            self._end(process, KILLED)
        elif self.held is not None and self.held.path == path:
            self.held = None
            self._send(above, ChildExited(order.id, order.incarnation, KILLED))

    def _end(self, process: Process, reason: ExitReason) -> None:
        process.alive = False
        self.processes.pop(process.path, None)
        if process.above is not None:
            self._send(process.above, ChildExited(process.id, process.incarnation, reason))

    def _reap(self, path: str) -> None:
        for below in [p for p in self.processes if p.startswith(f"{path}/")]:
            self.processes.pop(below).alive = False

    def _supervisor_failed(self, process: Process, failure: ReportStartFailed) -> None:
        process.alive = False
        self.processes.pop(process.path, None)
        if process.above is None:
            self.start_failed = failure
            self.trace.append("start_failed")
        else:
            self._send(process.above, ChildStartFailed(process.id, process.incarnation, failure.reason))

    def _supervisor_exit(self, process: Process, reason: ExitReason) -> None:
        left = [p for p in self.processes if p.startswith(f"{process.path}/")]
        assert not left, f"{process.path or 'the root'} ended and left {left}"
        if self._giveup_as_shutdown and reason.kind is ExitKind.ESCALATED:
            reason = SHUTDOWN
        self._end(process, reason)
        if process.above is None:
            self.ended = reason
            self.trace.append(f"down {word(reason)}")


def child_states(children: tuple[ChildInfo, ...], *, is_simple: bool) -> str:
    """which_children as the oracle writes it: OTP knows a pid, restarting and undefined."""
    with_process = {"running", "starting", "stopping"}
    shown = ["pid" if info.state in with_process else info.state for info in children]
    if not is_simple:
        return ",".join(f"{info.id}:{state}" for info, state in zip(children, shown, strict=True))
    names = ["?" if state == "restarting" else info.id for info, state in zip(children, shown, strict=True)]
    return ",".join(sorted(f"{name}:{state}" for name, state in zip(names, shown, strict=True)))


def count_text(counts: ChildCounts) -> str:
    """count_children as the oracle writes it."""
    return f"{counts.specs},{counts.active},{counts.supervisors},{counts.workers}"


def with_id(spec: ChildSpec, child_id: str) -> ChildSpec:
    """The spec under another id."""
    return replace(spec, id=child_id)
