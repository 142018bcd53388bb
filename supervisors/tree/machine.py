"""The supervisor: OTP ``supervisor`` semantics as a pure machine (SUP-1 .. SUP-8).

Entry points: ``SupervisorMachine.step(event, now) -> effects`` and, for a replaced supervisor, ``resume``.

Invariants, in the order a reader meets them:
 1. Events are worked off one at a time in the order they came, as a gen_server works off its mailbox. While an
    operation waits for a child, other events queue; only what the operation waits for overtakes them.
 2. A child has at most one process: ``StartChild`` is emitted only when the machine knows that none is left.
 3. Incarnations of a child only grow; an event of an older one is dropped.
 4. Stopping a child whose exit is already queued consumes that exit, as OTP's unlink-and-flush does.
 5. After ``Exit`` or ``ReportStartFailed`` no process is left and nothing more is emitted.

Operations are generators that yield what they wait for, so that the code reads like supervisor.erl; a state machine
underneath, it reads no clock, draws no random number and does no I/O. Differences from OTP: docs/semantics.md.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, init_error
from supervisors.tree.child import Child, ChildRecord, ChildState, SupervisorRecord, record_of
from supervisors.tree.intensity import IntensityWindow
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    CancelTimer,
    ChildExited,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    Exit,
    KillChild,
    Note,
    NoteKind,
    ReapSubtree,
    ReportStarted,
    ReportStartFailed,
    RetryDue,
    SetTimer,
    ShutdownOrdered,
    StartChild,
    StopChild,
    TimerFired,
)
from supervisors.tree.model import (
    BRUTAL_KILL,
    INFINITY,
    AutoShutdown,
    ChildSpec,
    ChildType,
    OnSupervisorCrash,
    Restart,
    Strategy,
    SupervisorSpec,
)

#: health that ends a run of failures where a child has no backoff of its own (SUP-7's default)
RESET_AFTER = 10.0


@dataclass(slots=True)
class Wait:
    """What a running operation lets through: events of these children, these timers, maybe a shutdown."""

    ids: set[str]
    timers: set[int]
    interruptible: bool = False


@dataclass(frozen=True, slots=True)
class StartFailure:
    """A start that did not succeed; ``interrupted`` when a shutdown broke it off."""

    id: str
    reason: ExitReason
    interrupted: bool = False


Operation = Generator[Wait, Event, None]
_CHILD_EVENTS = (ChildStarted, ChildReady, ChildIgnored, ChildStartFailed, ChildExited)


class SupervisorMachine:
    """One supervisor.

    Args:
        spec: flags and children; for simple_one_for_one exactly one child, the template.
        jitter: source of numbers in [0, 1) for backoff; injected so that runs repeat.

    Raises:
        ValueError: a simple_one_for_one supervisor without exactly one template.
    """

    def __init__(self, spec: SupervisorSpec, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.flags = spec.flags
        self.window = IntensityWindow(spec.flags.intensity, spec.flags.period)
        self.children: dict[str, Child] = {}
        self.template: ChildSpec | None = None
        if self.is_simple:
            if len(spec.children) != 1:
                raise ValueError("simple_one_for_one takes exactly one child spec, the template")
            self.template = spec.children[0]
        else:
            self.children = {child.id: Child(child, child.id) for child in spec.children}
        #: ids whose record changed since the caller last cleared it
        self.dirty: set[str] = set()
        self.ended = False
        self.booted = False
        self._jitter = jitter
        self._now = 0.0
        self._out: list[Effect] = []
        self._mailbox: deque[Event] = deque()
        self._queued_exits: dict[str, ChildExited] = {}
        self._operation: Operation | None = None
        self._wait = Wait(set(), set())
        self._next_token = 1
        self._backoff_timers: dict[int, tuple[str, bool]] = {}
        self._next_dynamic = 1

    # ------------------------------------------------------------ entry points

    @property
    def is_simple(self) -> bool:
        """True for simple_one_for_one."""
        return self.flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE

    @property
    def is_busy(self) -> bool:
        """True while an operation waits for a child."""
        return self._operation is not None

    def step(self, event: Event, now: float) -> list[Effect]:
        """Take one event at ``now`` (monotonic seconds) and return what is to be done, in order."""
        self._now = now
        self._out = []
        if self.ended or self._is_stale(event):
            return self._out
        if self._operation is not None and self._lets_through(event):
            self._advance(event)
        else:
            self._enqueue(event)
        while self._operation is None and self._mailbox and not self.ended:
            self._begin(self._mailbox.popleft())
        return self._out

    def resume(
        self, record: SupervisorRecord, alive: dict[str, int], lost: dict[str, ExitReason], now: float
    ) -> list[Effect]:
        """Take over from a crashed predecessor instead of booting (SUP-8).

        Args:
            record: what the predecessor left.
            alive: ids and incarnations of children that run and are ready.
            lost: why children that should run do not; a child in neither is started without counting a restart.
            now: monotonic seconds.
        """
        self._now = now
        self._out = []
        self.booted = True
        self.window.restore(record.stamps)
        for row in sorted(record.children, key=lambda row: row.order):
            self._restore(row, alive)
        pending: list[str] = []
        exits: list[ChildExited] = []
        for child in self.children.values():
            if child.state is ChildState.RUNNING or not child.wanted:
                continue
            if child.id in lost:
                child.state = ChildState.RUNNING
                exits.append(ChildExited(child.id, child.incarnation, lost[child.id]))
            elif not (child.spec.restart is Restart.TEMPORARY and child.incarnation > 0):
                pending.append(child.id)
        self._note(NoteKind.ADOPTED, adopted=len(alive), lost=len(exits), pending=len(pending))
        self._run(self._resume(pending))
        for event in exits:
            self._out_of_band(event)
        while self._operation is None and self._mailbox and not self.ended:
            self._begin(self._mailbox.popleft())
        return self._out

    def record(self) -> SupervisorRecord:
        """Everything a replacement would need; costs time in proportion to the children."""
        rows = tuple(record_of(child, order) for order, child in enumerate(self.children.values()))
        return SupervisorRecord(self.window.stamps, rows)

    # ------------------------------------------------------------ the mailbox

    def _is_stale(self, event: Event) -> bool:
        if not isinstance(event, _CHILD_EVENTS):
            return False
        child = self.children.get(event.id)
        return child is None or child.incarnation != event.incarnation or not child.has_process

    def _lets_through(self, event: Event) -> bool:
        if isinstance(event, _CHILD_EVENTS):
            return event.id in self._wait.ids
        if isinstance(event, TimerFired):
            return event.token in self._wait.timers
        return isinstance(event, ShutdownOrdered) and self._wait.interruptible

    def _enqueue(self, event: Event) -> None:
        if isinstance(event, ChildExited):
            self._queued_exits[event.id] = event
        self._mailbox.append(event)

    def _out_of_band(self, event: ChildExited) -> None:
        self._enqueue(event)

    def _begin(self, event: Event) -> None:
        if isinstance(event, ChildExited):
            if self._queued_exits.get(event.id) is not event:
                return  # consumed by a stop (invariant 4)
            del self._queued_exits[event.id]
        operation = self._handle(event)
        if operation is not None:
            self._run(operation)

    def _run(self, operation: Operation) -> None:
        try:
            self._wait = next(operation)
            self._operation = operation
        except StopIteration:
            self._operation = None

    def _advance(self, event: Event) -> None:
        assert self._operation is not None
        try:
            self._wait = self._operation.send(event)
        except StopIteration:
            self._operation = None

    def _handle(self, event: Event) -> Operation | None:
        match event:
            case Booted():
                return self._boot()
            case ChildExited():
                return self._child_exited(event)
            case RetryDue(child_id):
                return self._retry(child_id)
            case TimerFired(token):
                return self._backoff_due(token)
            case ShutdownOrdered(reason):
                return self._shut_down(reason)
            case AdminCalled():
                from supervisors.tree.admin import handle_admin

                return handle_admin(self, event)
            case _:
                return None  # a start or stop that nobody waits for any more

    # ------------------------------------------------------------ boot and shutdown

    def _boot(self) -> Operation:
        failure = yield from self.start_children(list(self.children), restart=False)
        if failure is None:
            self.booted = True
            self._emit(ReportStarted())
            return
        yield from self.terminate_all()
        if failure.interrupted:
            self._end(SHUTDOWN)
            return
        self.ended = True
        self._note(NoteKind.GAVE_UP, failure.id, reason=failure.reason, why="start_failed")
        self._emit(ReportStartFailed(failure.id, failure.reason))

    def _resume(self, pending: list[str]) -> Operation:
        for child_id in pending:
            child = self.children.get(child_id)
            if child is None or child.has_process:
                continue
            failure = yield from self.start_one(child, restart=True)
            if failure is not None and not failure.interrupted:
                self._schedule_retry(child)
        self._emit(ReportStarted())

    def _shut_down(self, reason: ExitReason) -> Operation:
        yield from self.terminate_all()
        self._end(reason)

    def _give_up(self, why: str, child: Child, reason: ExitReason | None) -> Operation:
        self._note(NoteKind.GAVE_UP, child.id, child.incarnation, reason, why=why)
        cause = f" ({reason})" if reason is not None else ""
        yield from self.terminate_all()
        self._end(ExitReason(ExitKind.ESCALATED, f"{why} exceeded by {child.id}{cause}"))

    def _end(self, reason: ExitReason) -> None:
        self.ended = True
        self._emit(Exit(reason))

    # ------------------------------------------------------------ exits and restarts

    def _child_exited(self, event: ChildExited) -> Operation:
        child = self.children.get(event.id)
        if child is None or child.incarnation != event.incarnation or child.state is not ChildState.RUNNING:
            return
        self._set(child, ChildState.UNDEFINED)
        self._note(NoteKind.CHILD_EXITED, child.id, child.incarnation, event.reason)
        if child.spec.type is ChildType.SUPERVISOR and event.reason.is_abrupt:
            child.orphans = True
        if self._proven_healthy(child):
            child.failures = 0
        yield from self._do_restart(child, event.reason)

    def _do_restart(self, child: Child, reason: ExitReason) -> Operation:
        restart = child.spec.restart
        if restart is Restart.PERMANENT or (restart is Restart.TRANSIENT and reason.is_abnormal):
            yield from self._restart(child, reason, wait=True)
            return
        self.drop(child)
        if self._auto_shutdown_due(child):
            self._note(NoteKind.GAVE_UP, child.id, child.incarnation, reason, why="auto_shutdown")
            yield from self.terminate_all()
            self._end(SHUTDOWN)

    def _auto_shutdown_due(self, child: Child) -> bool:
        if not child.spec.significant or self.flags.auto_shutdown is AutoShutdown.NEVER:
            return False
        if self.flags.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT:
            return True
        return not any(other.spec.significant and self._counts_as_active(other) for other in self.children.values())

    @staticmethod
    def _counts_as_active(child: Child) -> bool:
        return child.has_process or child.state is ChildState.RESTARTING

    def _restart(self, child: Child, reason: ExitReason | None, *, wait: bool) -> Operation:
        child.failures += 1
        if not self.window.add(self._now):
            self.drop(child)
            yield from self._give_up("intensity", child, reason)
            return
        cap = child.spec.max_consecutive
        if cap is not None and child.failures > cap:
            self.drop(child)
            yield from self._give_up("consecutive", child, reason)
            return
        delay = self._delay(child, child.failures) if wait else 0.0
        strategy = Strategy.ONE_FOR_ONE if self._adopts(child) else self.flags.strategy
        self._note(
            NoteKind.RESTART_DECIDED,
            child.id,
            child.incarnation,
            reason,
            strategy=strategy.value,
            adopt=self._adopts(child),
            targets=self._target_text(child, strategy),
            delay_ms=round(delay * 1e3, 3),
            failures=child.failures,
            window=f"{self.window.count(self._now)}/{self.flags.intensity} in {self.flags.period}s",
        )
        if delay > 0:
            self._schedule(child, delay, counts=False)
        else:
            yield from self._restart_now(child)

    def _restart_now(self, child: Child) -> Operation:
        strategy = self.flags.strategy
        if strategy in (Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE) or self._adopts(child):
            failure = yield from self.start_one(child, restart=True)
            if failure is not None and not failure.interrupted:
                self._schedule_retry(child)
            elif failure is None and child.state is ChildState.UNDEFINED and self.is_simple:
                self.forget(child)  # ignored on restart: OTP keeps no dynamic child without a process
            return
        ids = list(self.children)
        if strategy is Strategy.REST_FOR_ONE:
            ids = ids[ids.index(child.id) :]
        yield from self._stop_children(ids)
        failure = yield from self.start_children([i for i in ids if i in self.children], restart=True)
        if failure is not None and not failure.interrupted:
            self._schedule_retry(self.children[failure.id])

    def _retry(self, child_id: str) -> Operation:
        child = self.children.get(child_id)
        if child is None or child.state is not ChildState.RESTARTING or child.timer:
            return
        yield from self._restart(child, None, wait=False)

    def _backoff_due(self, token: int) -> Operation:
        child_id, counts = self._backoff_timers.pop(token, ("", False))
        child = self.children.get(child_id)
        if child is None or child.timer != token:
            return
        child.timer = 0
        if counts:
            yield from self._restart(child, None, wait=False)
        else:
            yield from self._restart_now(child)

    def _schedule_retry(self, child: Child) -> None:
        """A restart failed: OTP sends itself a message to try again; with a backoff that message comes later."""
        delay = self._delay(child, child.failures + 1)
        if delay > 0:
            self._schedule(child, delay, counts=True)
            return
        self._set(child, ChildState.RESTARTING)
        self._mailbox.append(RetryDue(child.id))

    def _schedule(self, child: Child, delay: float, *, counts: bool) -> None:
        self._set(child, ChildState.RESTARTING)
        child.next_at = self._now + delay
        child.timer = self.set_timer(child.next_at)
        self._backoff_timers[child.timer] = (child.id, counts)
        self._note(
            NoteKind.RESTART_SCHEDULED, child.id, child.incarnation, None, next_at=child.next_at, delay_ms=delay * 1e3
        )

    def _delay(self, child: Child, failures: int) -> float:
        backoff = child.spec.backoff
        if backoff is None or failures <= backoff.immediate:
            return 0.0
        return backoff.delay(failures, self._jitter())

    def _proven_healthy(self, child: Child) -> bool:
        reset_after = child.spec.backoff.reset_after if child.spec.backoff is not None else RESET_AFTER
        return self._now - child.up_since >= reset_after

    @staticmethod
    def _adopts(child: Child) -> bool:
        return child.orphans and child.spec.on_crash is OnSupervisorCrash.ADOPT

    def _target_text(self, child: Child, strategy: Strategy) -> str:
        if strategy in (Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE):
            return child.id
        ids = list(self.children)
        if strategy is Strategy.REST_FOR_ONE:
            ids = ids[ids.index(child.id) :]
        return " ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")

    # ------------------------------------------------------------ starting

    def start_children(self, ids: Iterable[str], *, restart: bool) -> Generator[Wait, Event, StartFailure | None]:
        """Start these in order; the first failure ends it, what started stays up."""
        for child_id in ids:
            child = self.children[child_id]
            failure = yield from self.start_one(child, restart=restart)
            if failure is not None:
                return failure
            if child.state is ChildState.UNDEFINED and child.spec.restart is Restart.TEMPORARY:
                self.forget(child)  # ignored: OTP keeps no spec of a temporary child without a process
        return None

    def start_one(self, child: Child, *, restart: bool) -> Generator[Wait, Event, StartFailure | None]:
        """Start one child and wait until it is up; None also when it was ignored (then it has no process)."""
        self._cancel_backoff(child)
        if child.orphans and not self._adopts(child):
            self._emit(ReapSubtree(child.id))
        adopt, child.orphans = self._adopts(child), False
        child.incarnation += 1
        child.wanted = True
        self._set(child, ChildState.STARTING)
        self._note(NoteKind.CHILD_STARTING, child.id, child.incarnation, restart=restart)
        self._emit(StartChild(child.id, child.incarnation, child.args, adopt, restart))
        timer = self.set_timer(self._now + child.spec.start_timeout) if child.spec.start_timeout != INFINITY else 0
        outcome = yield from self._await_start(child, timer)
        if outcome is None and child.state is ChildState.RUNNING and restart:
            child.restarts += 1
        return outcome

    def _await_start(self, child: Child, timer: int) -> Generator[Wait, Event, StartFailure | None]:
        phase, limit = "start", child.spec.start_timeout
        while True:
            event = yield Wait({child.id}, {timer} if timer else set(), interruptible=True)
            match event:
                case ChildStarted() if child.spec.ready_timeout is not None and phase == "start":
                    self._note(NoteKind.CHILD_STARTED, child.id, child.incarnation)
                    self._cancel(timer)
                    phase, limit = "ready", child.spec.ready_timeout
                    timer = self.set_timer(self._now + limit)
                    continue
                case ChildStarted() | ChildReady():
                    self._cancel(timer)
                    child.up_since = self._now
                    self._set(child, ChildState.RUNNING)
                    self._note(NoteKind.CHILD_READY, child.id, child.incarnation)
                    return None
                case ChildIgnored():
                    self._cancel(timer)
                    child.wanted = False
                    self._set(child, ChildState.UNDEFINED)
                    self._note(NoteKind.CHILD_IGNORED, child.id, child.incarnation)
                    return None
                case ChildStartFailed(_, _, reason):
                    self._cancel(timer)
                    return self._start_failed(child, reason)
                case ChildExited(_, _, reason):
                    self._cancel(timer)
                    return self._start_failed(child, init_error(f"ended before it was ready: {reason}", reason.detail))
                case TimerFired():
                    yield from self._end_process(child, f"{phase}_timeout")
                    return self._start_failed(child, init_error(f"no {phase} within {limit:g} s"))
                case ShutdownOrdered():
                    self._cancel(timer)
                    self._mailbox.appendleft(event)
                    yield from self.stop_one(child)
                    return StartFailure(child.id, SHUTDOWN, interrupted=True)
                case _:
                    continue

    def _start_failed(self, child: Child, reason: ExitReason) -> StartFailure:
        self._set(child, ChildState.UNDEFINED)
        if child.spec.type is ChildType.SUPERVISOR:
            self._emit(ReapSubtree(child.id))
        self._note(NoteKind.CHILD_START_FAILED, child.id, child.incarnation, reason)
        return StartFailure(child.id, reason)

    # ------------------------------------------------------------ stopping

    def terminate_all(self) -> Operation:
        """Stop every child: one after another in reverse start order, dynamic ones all at once on one timer (OTP)."""
        if self.is_simple:
            yield from self._stop_parallel()
        else:
            yield from self._stop_children(list(self.children))

    def _stop_children(self, ids: list[str]) -> Operation:
        for child_id in reversed(ids):
            child = self.children[child_id]
            yield from self.stop_one(child)
            if child.spec.restart is Restart.TEMPORARY:
                self.forget(child)

    def stop_one(self, child: Child) -> Operation:
        """Stop one child and wait for its end; cancels a pending restart. No effect without a process."""
        self._cancel_backoff(child)
        if child.orphans:
            child.orphans = False
            self._emit(ReapSubtree(child.id))
        if child.state is ChildState.RESTARTING:
            self._set(child, ChildState.UNDEFINED)
        if not child.has_process or self._flush_exit(child):
            return
        timer = self._order_stop(child)
        while child.has_process:
            event = yield Wait({child.id}, {timer} if timer else set())
            if isinstance(event, ChildExited | ChildStartFailed | ChildIgnored):
                self._cancel(timer)
                self._stopped(child, event)
            elif isinstance(event, TimerFired):
                yield from self._end_process(child, "stop_timeout")

    def _order_stop(self, child: Child) -> int:
        self._note(NoteKind.CHILD_STOPPING, child.id, child.incarnation)
        self._set(child, ChildState.STOPPING)
        if child.spec.shutdown == BRUTAL_KILL:
            self._emit(KillChild(child.id, child.incarnation, "brutal_kill"))
            return 0
        self._emit(StopChild(child.id, child.incarnation, child.spec.shutdown))
        return self.set_timer(self._now + child.spec.shutdown) if child.spec.shutdown != INFINITY else 0

    def _end_process(self, child: Child, why: str) -> Operation:
        self._set(child, ChildState.STOPPING)
        self._emit(KillChild(child.id, child.incarnation, why))
        self._note(NoteKind.CHILD_KILLED, child.id, child.incarnation, why=why)
        while child.has_process:
            event = yield Wait({child.id}, set())
            if isinstance(event, ChildExited | ChildStartFailed | ChildIgnored):
                self._stopped(child, event, killed=True)

    def _stopped(
        self, child: Child, event: ChildExited | ChildStartFailed | ChildIgnored, *, killed: bool = False
    ) -> None:
        self._set(child, ChildState.UNDEFINED)
        reason = SHUTDOWN if isinstance(event, ChildIgnored) else event.reason
        if child.spec.type is ChildType.SUPERVISOR and (killed or reason.is_abrupt):
            self._emit(ReapSubtree(child.id))
        self._note(NoteKind.CHILD_STOPPED, child.id, child.incarnation, reason)

    def _flush_exit(self, child: Child) -> bool:
        """Invariant 4: an exit that is already queued is the end we were about to ask for."""
        event = self._queued_exits.pop(child.id, None)
        if event is None or event.incarnation != child.incarnation:
            return False
        self._stopped(child, event)
        return True

    def _stop_parallel(self) -> Operation:
        waiting: dict[str, Child] = {}
        timer = 0
        for child in self.children.values():
            self._cancel_backoff(child)
            if child.has_process and not self._flush_exit(child):
                waiting[child.id] = child
        for child in waiting.values():
            token = self._order_stop(child)
            if timer:
                self._cancel(token)
            else:
                timer = token
        ids = set(waiting)
        while waiting:
            event = yield Wait(ids, {timer} if timer else set())
            if isinstance(event, ChildExited | ChildStartFailed | ChildIgnored):
                self._stopped(waiting.pop(event.id), event)
                ids.discard(event.id)
            elif isinstance(event, TimerFired):
                timer = 0
                for child in waiting.values():
                    self._emit(KillChild(child.id, child.incarnation, "stop_timeout"))
                    self._note(NoteKind.CHILD_KILLED, child.id, child.incarnation, why="stop_timeout")
        self._cancel(timer)
        for child in list(self.children.values()):
            self.forget(child)

    # ------------------------------------------------------------ small things

    def drop(self, child: Child) -> None:
        """OTP's del_child: a temporary or dynamic child goes with its spec, another stays without a process."""
        if child.orphans:
            child.orphans = False
            self._emit(ReapSubtree(child.id))
        self._set(child, ChildState.UNDEFINED)
        child.wanted = False
        if child.spec.restart is Restart.TEMPORARY or self.is_simple:
            self.forget(child)

    def forget(self, child: Child) -> None:
        """Remove the child and its spec."""
        self._cancel_backoff(child)
        self.children.pop(child.id, None)
        self.dirty.add(child.id)

    def new_dynamic_id(self) -> str:
        """The next free id of a dynamic child: ``<template>.<n>``."""
        assert self.template is not None
        while (name := f"{self.template.id}.{self._next_dynamic}") in self.children:
            self._next_dynamic += 1
        self._next_dynamic += 1
        return name

    def emit(self, effect: Effect) -> None:
        """Append one effect (for the admin half of the machine)."""
        self._out.append(effect)

    _emit = emit

    def set_timer(self, at: float) -> int:
        """Ask for a timer and return its token (never 0)."""
        token = self._next_token
        self._next_token += 1
        self._emit(SetTimer(token, at))
        return token

    def _cancel(self, token: int) -> None:
        if token:
            self._emit(CancelTimer(token))

    def _cancel_backoff(self, child: Child) -> None:
        if child.timer:
            self._backoff_timers.pop(child.timer, None)
            self._cancel(child.timer)
            child.timer = 0
        child.next_at = None

    def _set(self, child: Child, state: ChildState) -> None:
        child.state = state
        self.dirty.add(child.id)

    def _note(
        self,
        kind: NoteKind,
        child_id: str = "",
        incarnation: int = 0,
        reason: ExitReason | None = None,
        **data: str | int | float | bool,
    ) -> None:
        self._emit(Note(kind, child_id, incarnation, reason, tuple(data.items())))

    def _restore(self, row: ChildRecord, alive: dict[str, int]) -> None:
        child = self.children.get(row.id)
        if child is None:
            if self.template is None:
                return  # its spec is gone from the topology
            child = self.children[row.id] = Child(self.template, row.id)
        child.incarnation = row.incarnation
        child.failures = row.failures
        child.up_since = row.up_since
        child.wanted = row.wanted
        child.args = row.args
        child.restarts = row.restarts
        if alive.get(row.id) == row.incarnation:
            child.state = ChildState.RUNNING
        elif row.orphans:
            child.orphans = True
        self.dirty.add(row.id)
