"""The inside of the fake world: processes, one mailbox queue, one heap of timed happenings.

Invariants:
 1. Messages between machines go through one queue in the order they were sent; time moves only when it is empty.
 2. Happenings of one instant occur in the order they were scheduled; nothing depends on hashes or addresses, so the
    same calls give the same trace.
 3. A message to a process that is gone or hung is lost, as in Erlang; what a replaced supervisor needs to know it
    gets from its predecessor's record and from the processes that are left (SUP-8).
"""

from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappop, heappush

from supervisors.core.paths import ROOT, TreePath, join, parent_of
from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, init_error
from supervisors.testing.clock import PLACES, ManualClock
from supervisors.testing.processes import Happening, Kind, Process, SupervisorProcess, is_stale
from supervisors.testing.scripted import ScriptedChild, StartOutcome
from supervisors.testing.trace import KIND_OF_NOTE, OWN_NOTES, Data, TraceEvent, TraceKind
from supervisors.tree.child import ChildState, SupervisorRecord
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    Exit,
    KillChild,
    Note,
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
from supervisors.tree.model import ChildType, OnSupervisorCrash, SupervisorSpec

Sink = Callable[[TraceEvent], None]
#: messages within one instant after which the world is taken to turn in circles
MOST_AT_ONCE = 5_000_000
#: begins the references of orders the world gives by itself
INITIAL = "initial."


class WorldStuck(RuntimeError):
    """So many messages within one instant that time would never move on (an intensity no window fills?)."""


class Engine:
    """What ``World`` runs on; see there."""

    def __init__(
        self,
        tree: Mapping[TreePath, SupervisorSpec],
        *,
        jitter: Callable[[], float],
        giveup_as_shutdown: bool,
        start_takes: float,
        stop_takes: float,
        root_on_crash: OnSupervisorCrash,
        initial: Mapping[TreePath, tuple[str, ...]],
        sink: Sink | None,
    ) -> None:
        self.tree = dict(tree)
        self.initial = dict(initial)
        self.clock = ManualClock()
        #: why the root ended; None while it runs
        self.ended: ExitReason | None = None
        #: answers to admin orders that came after ``admin`` had returned, by reference
        self.replies: dict[str, Reply] = {}
        self._jitter = jitter
        self._giveup_as_shutdown = giveup_as_shutdown
        self._start_takes = start_takes
        self._stop_takes = stop_takes
        self._root_on_crash = root_on_crash
        self._sink = sink
        self._scripts: dict[TreePath, ScriptedChild] = {}
        self._processes: dict[TreePath, Process] = {}
        self._below: dict[TreePath, dict[str, Process]] = {}
        self._records: dict[TreePath, SupervisorRecord] = {}
        self._last_exits: dict[TreePath, tuple[int, ExitReason]] = {}
        self._queue: deque[tuple[SupervisorProcess, Event]] = deque()
        self._heap: list[Happening] = []
        self._sequence = 0
        self._root_lives = 0
        self._places_below: dict[TreePath, list[TreePath]] = {}
        for path in self.tree:
            self._place(path)

    def _place(self, path: TreePath) -> None:
        if path != ROOT:
            self._places_below.setdefault(parent_of(path), []).append(path)

    # ------------------------------------------------------------ time

    def _settle(self) -> None:
        queue = self._queue
        budget = MOST_AT_ONCE
        while queue:
            process, event = queue.popleft()
            self._deliver(process, event)
            budget -= 1
            if budget == 0:
                raise WorldStuck(f"{MOST_AT_ONCE} messages at {self.clock.now} s, the last to {process.path}: {event}")

    def _next_at(self) -> float | None:
        """When the next happening is due; forgets those that concern nobody any more."""
        heap = self._heap
        while heap and is_stale(heap[0]):
            heappop(heap)
        return heap[0][0] if heap else None

    def _run_until(self, until: float) -> None:
        self._settle()
        while (at := self._next_at()) is not None and at <= until:
            self.clock.move_to(at)
            _, _, kind, process, token, reason = heappop(self._heap)
            self._happen(kind, process, token, reason)
            self._settle()

    def _after(
        self, delay: float, kind: Kind, process: Process, reason: ExitReason | None = None, token: int = 0
    ) -> None:
        if delay <= 0:
            self._happen(kind, process, token, reason)
            return
        self._push(self.clock.now + delay, kind, process, token, reason)

    def _push(self, at: float, kind: Kind, process: Process, token: int, reason: ExitReason | None) -> None:
        self._sequence += 1
        heappush(self._heap, (round(at, PLACES), self._sequence, kind, process, token, reason))

    def _happen(self, kind: Kind, process: Process, token: int, reason: ExitReason | None) -> None:
        match kind:
            case Kind.TIMER:
                assert isinstance(process, SupervisorProcess)
                process.timers.discard(token)
                self._queue.append((process, TimerFired(token)))
            case Kind.STARTED:
                self._started(process)
            case Kind.READY:
                self._notify(process, ChildReady(process.id, process.incarnation))
            case Kind.EXIT:
                self._end(process, reason or SHUTDOWN)
            case Kind.START_FAILED:
                self._gone(process, reason or init_error())
                failed = ChildStartFailed(process.id, process.incarnation, reason or init_error())
                self._notify(process, failed)
            case Kind.IGNORED:
                self._gone(process, SHUTDOWN)
                self._notify(process, ChildIgnored(process.id, process.incarnation))
            case Kind.HELD:
                self._gone(process, SHUTDOWN)
                self._notify(process, ChildHeld(process.id, process.incarnation, "scripted"))
            case Kind.BOOT:
                assert isinstance(process, SupervisorProcess)
                self._queue.append((process, Booted()))
            case Kind.HANG_SEEN:
                self._hang_seen(process)
            case Kind.ROOT_REPLACED:
                self._boot_root()

    # ------------------------------------------------------------ messages

    def _deliver(self, process: SupervisorProcess, event: Event) -> None:
        if not process.alive or process.hung:
            return
        if process.machine is None:
            if isinstance(event, Booted):
                self._boot(process)
            return
        effects = process.machine.step(event, self.clock.now)
        if effects:
            self._carry_out(process, effects)

    def _notify(self, process: Process, event: Event) -> None:
        """Tell the supervisor that now holds the process's parent place."""
        above = self._processes.get(process.parent)
        if isinstance(above, SupervisorProcess) and above is not process:
            self._queue.append((above, event))

    def _carry_out(self, process: SupervisorProcess, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Note():
                    if self._sink is not None:
                        self._trace_note(process, effect)
                case SetTimer(token, at):
                    process.timers.add(token)
                    self._push(at, Kind.TIMER, process, token, None)
                case CancelTimer(token):
                    process.timers.discard(token)
                case StartChild():
                    self._start(process, effect)
                case StopChild(child_id, incarnation, _):
                    self._order_stop(self._child(process, child_id, incarnation))
                case KillChild(child_id, incarnation, why):
                    self._kill(self._child(process, child_id, incarnation), why)
                case ReapSubtree(child_id):
                    self._reap(join(process.path, child_id))
                case Reply():
                    self._replied(process, effect)
                case ReportStarted():
                    self._supervisor_started(process)
                case ReportStartFailed(child_id, reason):
                    self._supervisor_failed(process, child_id, reason)
                case Exit(reason):
                    self._supervisor_exit(process, reason)

    # ------------------------------------------------------------ starting

    def _start(self, above: SupervisorProcess, order: StartChild) -> None:
        assert above.machine is not None
        path = join(above.path, order.id)
        spec = above.machine.children[order.id].spec
        process: Process
        if spec.type is ChildType.SUPERVISOR:
            known = self.tree.get(path)
            if known is None:
                reason = init_error(f"no supervisor is declared at {path}")
                self._queue.append((above, ChildStartFailed(order.id, order.incarnation, reason)))
                return
            process = SupervisorProcess(path, above.path, order.id, order.incarnation, spec=known, adopt=order.adopt)
        else:
            process = Process(path, above.path, order.id, order.incarnation)
        self._enter(process)
        script = self._scripts.get(path)
        delay = self._start_takes if script is None or script.start_takes is None else script.start_takes
        plan = script.next_start() if script is not None else None
        if plan is None:
            self._after(delay, Kind.BOOT if isinstance(process, SupervisorProcess) else Kind.STARTED, process)
        elif plan.outcome is StartOutcome.FAIL:
            self._after(delay, Kind.START_FAILED, process, plan.reason)
        elif plan.outcome is StartOutcome.IGNORE:
            self._after(delay, Kind.IGNORED, process)
        elif plan.outcome is StartOutcome.HOLD:
            self._after(delay, Kind.HELD, process)

    def _enter(self, process: Process) -> None:
        self._processes[process.path] = process
        if process.path != ROOT:
            self._below.setdefault(process.parent, {})[process.id] = process

    def _started(self, process: Process) -> None:
        process.up = True
        self._notify(process, ChildStarted(process.id, process.incarnation))
        script = self._scripts.get(process.path)
        if self._needs_ready(process) and not (script is not None and script.never_ready):
            self._after(script.ready_takes if script is not None else 0.0, Kind.READY, process)
        life = script.next_life() if script is not None else None
        if life is not None:
            self._after(life.after, Kind.EXIT, process, life.reason)

    def _needs_ready(self, process: Process) -> bool:
        above = self._processes.get(process.parent)
        if not isinstance(above, SupervisorProcess) or above.machine is None or above is process:
            return False
        child = above.machine.children.get(process.id)
        return child is not None and child.spec.ready_timeout is not None

    def _boot_root(self) -> None:
        self._root_lives += 1
        adopt = self._root_on_crash is OnSupervisorCrash.ADOPT and ROOT in self._records
        if not adopt:
            self._reap(ROOT)
        root = SupervisorProcess(ROOT, ROOT, "", self._root_lives, spec=self.tree[ROOT], adopt=adopt)
        self._enter(root)
        self._queue.append((root, Booted()))

    def _boot(self, process: SupervisorProcess) -> None:
        machine = process.machine = SupervisorMachine(process.spec, self._jitter)
        record = self._records.pop(process.path, None) if process.adopt else None
        if record is None:
            process.adopt = False
            self._carry_out(process, machine.step(Booted(), self.clock.now))
            return
        alive, lost = self._survivors(process, record)
        self._carry_out(process, machine.resume(record, alive, lost, self.clock.now))

    def _survivors(
        self, process: SupervisorProcess, record: SupervisorRecord
    ) -> tuple[dict[str, int], dict[str, ExitReason]]:
        """Who may be adopted, and why others ended. What was just starting or stopping is ended: it is in neither."""
        alive: dict[str, int] = {}
        for child in list(self._below.get(process.path, {}).values()):
            if child.up and not child.stopping:
                alive[child.id] = child.incarnation
                if child.hung:
                    self._push(self.clock.now + child.seen_after, Kind.HANG_SEEN, child, 0, None)
            else:
                self._trace(child.path, TraceKind.KILLED, None, child.incarnation, (("why", "not_adopted"),))
                self._reap(child.path)
                self._gone(child, ExitReason(ExitKind.KILLED, "not adopted"))
        lost: dict[str, ExitReason] = {}
        for row in record.children:
            if row.id in alive or not row.wanted or row.state != ChildState.RUNNING:
                continue
            incarnation, reason = self._last_exits.get(join(process.path, row.id), (0, SHUTDOWN))
            if incarnation == row.incarnation:
                lost[row.id] = reason
        return alive, lost

    # ------------------------------------------------------------ ends

    def _child(self, process: SupervisorProcess, child_id: str, incarnation: int) -> Process | None:
        child = self._below.get(process.path, {}).get(child_id)
        return child if child is not None and child.incarnation == incarnation else None

    def _gone(self, process: Process, reason: ExitReason) -> None:
        """Take the process out of the world; nobody is told."""
        process.alive = False
        self._last_exits[process.path] = (process.incarnation, reason)
        if self._processes.get(process.path) is process:
            del self._processes[process.path]
        siblings = self._below.get(process.parent)
        if siblings is not None and siblings.get(process.id) is process:
            del siblings[process.id]

    def _end(self, process: Process, reason: ExitReason) -> None:
        """The process is gone; its supervisor learns of it if it can."""
        self._gone(process, reason)
        if isinstance(process, SupervisorProcess):
            if process.machine is not None and reason.is_abrupt:
                self._records[process.path] = process.machine.record()
            self._trace(process.path, TraceKind.SUPERVISOR_ENDED, reason, process.incarnation)
            if process.path == ROOT:
                self._root_gone(process, reason)
                return
        if not self._is_watched(process):
            self._trace(process.path, TraceKind.EXITED_UNSEEN, reason, process.incarnation)
        self._notify(process, ChildExited(process.id, process.incarnation, reason))

    def _is_watched(self, process: Process) -> bool:
        """True when its supervisor is there to see what becomes of it."""
        above = self._processes.get(process.parent)
        return isinstance(above, SupervisorProcess) and above.machine is not None and not above.hung

    def _root_gone(self, process: Process, reason: ExitReason) -> None:
        if reason.is_abrupt:
            self._push(self.clock.now + self._start_takes, Kind.ROOT_REPLACED, process, 0, None)
        else:
            self.ended = reason

    def _order_stop(self, process: Process | None) -> None:
        if process is None or process.stopping:
            return
        script = self._scripts.get(process.path)
        process.stopping = True
        if process.hung or (script is not None and script.ignores_stop):
            return
        if isinstance(process, SupervisorProcess) and process.machine is not None:
            self._queue.append((process, ShutdownOrdered(SHUTDOWN)))
            return
        delay = self._stop_takes if script is None or script.stop_takes is None else script.stop_takes
        self._after(delay, Kind.EXIT, process, SHUTDOWN)

    def _kill(self, process: Process | None, why: str) -> None:
        if process is None:
            return
        self._trace(process.path, TraceKind.KILLED, None, process.incarnation, (("why", why),))
        if isinstance(process, SupervisorProcess):
            self._reap(process.path)
        self._end(process, ExitReason(ExitKind.KILLED, why))
        self._records.pop(process.path, None)

    def _reap(self, top: TreePath) -> None:
        """End every process below ``top`` at once, whoever supervises it, and forget what adoption would need."""
        pending = [top]
        while pending:
            path = pending.pop()
            self._records.pop(path, None)
            for child in list(self._below.get(path, {}).values()):
                self._gone(child, ExitReason(ExitKind.KILLED, "reaped"))
                self._trace(child.path, TraceKind.REAPED, None, child.incarnation)
            # places, not processes: what runs below a place may run on although its supervisor is gone
            pending.extend(self._places_below.get(path, ()))

    def _hang_seen(self, process: Process) -> None:
        if process.path != ROOT and not self._is_watched(process):
            return  # a replacement will look again
        self._end(process, ExitReason(ExitKind.HUNG, "beats missed"))

    # ------------------------------------------------------------ what supervisors say

    def _supervisor_started(self, process: SupervisorProcess) -> None:
        self._trace(process.path, TraceKind.SUPERVISOR_STARTED, None, process.incarnation)
        if not process.adopt:
            for number, args in enumerate(self.initial.get(process.path, ()), start=1):
                order = AdminCalled(f"{INITIAL}{number}", Call.START_CHILD, args=args)
                self._queue.append((process, order))
        if process.path != ROOT:
            self._started(process)
        else:
            process.up = True

    def _supervisor_failed(self, process: SupervisorProcess, child_id: str, reason: ExitReason) -> None:
        failure = init_error(f"{child_id} did not start: {reason}", reason.detail)
        self._gone(process, failure)
        self._trace(process.path, TraceKind.SUPERVISOR_ENDED, failure, process.incarnation)
        if process.path == ROOT:
            self.ended = failure
        self._notify(process, ChildStartFailed(process.id, process.incarnation, failure))

    def _supervisor_exit(self, process: SupervisorProcess, reason: ExitReason) -> None:
        if reason.kind is ExitKind.ESCALATED:
            self._trace(process.path, TraceKind.ESCALATED, reason, process.incarnation)
            if self._giveup_as_shutdown:
                reason = SHUTDOWN
        self._end(process, reason)

    def _replied(self, process: SupervisorProcess, reply: Reply) -> None:
        if reply.ref.startswith(INITIAL) and not reply.error:
            return  # the world's own order, and it went well
        self.replies[reply.ref] = reply
        if self._sink is not None:
            path = join(process.path, reply.id) if reply.id else process.path
            data: Data = (("ref", reply.ref), ("error", reply.error or "ok"))
            self._trace(path, TraceKind.REPLY, reply.reason, reply.incarnation, data)

    # ------------------------------------------------------------ trace

    def _trace(
        self,
        path: TreePath,
        event: TraceKind,
        reason: ExitReason | None = None,
        incarnation: int = 0,
        data: Data = (),
    ) -> None:
        if self._sink is not None:
            self._sink(TraceEvent(self.clock.now, path, event, reason, incarnation, data))

    def _trace_note(self, process: SupervisorProcess, note: Note) -> None:
        kind = KIND_OF_NOTE.get(note.kind)
        if kind is None:
            return
        if note.kind in OWN_NOTES:
            data = (("child", note.id), *note.data) if note.id else note.data
            self._trace(process.path, kind, note.reason, process.incarnation, data)
            return
        self._trace(join(process.path, note.id), kind, note.reason, note.incarnation, note.data)
