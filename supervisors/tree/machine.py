"""The supervisor: OTP ``supervisor`` semantics as a pure machine (SUP-1 .. SUP-8).

Entry points: ``SupervisorMachine.step(event, now) -> effects`` and, for a replaced supervisor, ``resume``.

Invariants, in the order a reader meets them:
 1. Events are worked off one at a time in the order they came, as a gen_server works off its mailbox. While an
    operation waits for a child, other events queue; only what the operation waits for overtakes them, and a
    shutdown, which breaks off starts and goes before all that is queued. Beside this foreground the starts of
    ``concurrent`` children run in the background: what concerns them is worked off at once (``overtaking``).
 2. A child has at most one process: ``StartChild`` is emitted only when the machine knows that none is left.
 3. Incarnations of an id only grow, also when the child was forgotten in between; an event of an older one is
    dropped.
 4. Stopping a child whose exit is already queued consumes that exit, as OTP's unlink-and-flush does.
 5. After ``Exit`` or ``ReportStartFailed`` no process is left and nothing more is emitted; each order taken before
    has its reply.

Operations are generators that yield what they wait for, so that the code reads like supervisor.erl; a state machine
underneath, it reads no clock, draws no random number and does no I/O. Differences from OTP: docs/semantics.md.
"""

from collections.abc import Callable, Collection

import msgspec

from supervisors.core.reasons import ExitReason
from supervisors.tree.admin import handle_admin
from supervisors.tree.adopting import restore, take_over
from supervisors.tree.background import Wait
from supervisors.tree.child import SupervisorRecord, record_of
from supervisors.tree.holding import reject, release
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildReady,
    ChildStarted,
    ChildStartFailed,
    Effect,
    Event,
    HoldRejected,
    HoldReleased,
    NoteKind,
    ReportStarted,
    ReportStartFailed,
    RetryDue,
    ShutdownOrdered,
    TimerFired,
)
from supervisors.tree.model import SupervisorSpec
from supervisors.tree.overtaking import overtakes
from supervisors.tree.restarting import backoff_due, child_exited, retry
from supervisors.tree.starting import start_children
from supervisors.tree.state import Operation, SupervisorState
from supervisors.tree.stopping import stop_all

_CHILD_EVENTS = (ChildStarted, ChildReady, ChildIgnored, ChildStartFailed, ChildHeld, ChildExited)


class SupervisorMachine(SupervisorState):
    """One supervisor.

    Args:
        spec: flags and children; for simple_one_for_one exactly one child, the template.
        jitter: source of numbers in [0, 1) for backoff; injected so that runs repeat.

    Raises:
        ValueError: what OTP's ``check_childspecs`` refuses, e.g. a duplicate id or no single template.
    """

    def __init__(self, spec: SupervisorSpec, jitter: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__(spec, jitter)
        self._operation: Operation | None = None
        self._wait = Wait(set(), set())

    @property
    def is_busy(self) -> bool:
        """True while an operation in the foreground waits for a child."""
        return self._operation is not None

    @property
    def recovering(self) -> frozenset[str]:
        """Concurrent children whose start is under way in the background."""
        return self.background.ids

    def step(self, event: Event, now: float) -> list[Effect]:
        """Take one event at ``now`` (monotonic seconds) and return what is to be done, in order."""
        self.begin_step(now)
        if self.ended or self._is_stale(event):
            return self.take_effects()
        if child_id := self._in_background(event):
            self.background.advance(child_id, event)
        elif self._operation is not None and self._lets_through(event):
            self._advance(self._operation, event)
        else:
            self._admit(event)
        self._work_off()
        return self.take_effects()

    def resume(
        self,
        record: SupervisorRecord,
        alive: dict[str, int],
        lost: dict[str, ExitReason],
        now: float,
        held: Collection[str] = (),
    ) -> list[Effect]:
        """Take over from a crashed predecessor instead of booting (SUP-8).

        Args:
            record: what the predecessor left; a declared child without a row was forgotten by it, unless there is
                no row at all: then it had not come to write anything.
            alive: ids and incarnations of children that run and are ready. One newer than recorded is adopted (the
                record was behind), an older one is killed and its successor started.
            lost: why children that should run do not; a child in neither is started without counting a restart.
            now: monotonic seconds.
            held: children for which a person's answer is outstanding although the record may not say so: the
                predecessor ended before it wrote that down. Those recorded as held are held without it.
        """
        self.begin_step(now)
        self.booted = True
        found = restore(self, record, alive, lost, held)
        self._run(take_over(self, found))
        for event in found.exits:
            self._admit(event)
        self._work_off()
        return self.take_effects()

    def record(self) -> SupervisorRecord:
        """Everything a replacement would need; costs time in proportion to the children."""
        rows = tuple(record_of(child, order) for order, child in enumerate(self.children.values()))
        return msgspec.structs.replace(self.head(), children=rows)

    def head(self) -> SupervisorRecord:
        """The part of ``record`` that is not children: costs no time in proportion to them."""
        return SupervisorRecord(self.window.stamps, (), self.floor, self.next_dynamic, self.budgets.stamps)

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

    def _in_background(self, event: Event) -> str:
        """The child whose background start waits for this event; empty when none does."""
        if isinstance(event, _CHILD_EVENTS):
            return event.id if event.id in self.background else ""
        return self.background.waits_for(event.token) if isinstance(event, TimerFired) else ""

    def _admit(self, event: Event) -> None:
        """Work the event off beside a busy foreground if it needs nothing of it; else it waits its turn."""
        if self._operation is None or not overtakes(self, event):
            self.mailbox.put(event)
            return
        operation = self._handle(event)
        if operation is not None and next(operation, None) is not None:
            raise RuntimeError(f"{event} waits in the background")

    def _work_off(self) -> None:
        while not self.ended:
            if self.posted:
                self._admit(self.posted.popleft())
                continue
            if self._operation is not None or not self.mailbox:
                break
            event = self.mailbox.take()
            operation = self._handle(event) if event is not None else None
            if operation is not None:
                self._run(operation)

    def _run(self, operation: Operation) -> None:
        try:
            self._wait = next(operation)
        except StopIteration:
            self._operation = None
        else:
            self._operation = operation

    def _advance(self, operation: Operation, event: Event) -> None:
        try:
            self._wait = operation.send(event)
        except StopIteration:
            self._operation = None

    def _handle(self, event: Event) -> Operation | None:
        match event:
            case Booted():
                return self._boot()
            case ChildExited():
                return child_exited(self, event)
            case RetryDue(child_id):
                return retry(self, child_id)
            case TimerFired(token):
                return backoff_due(self, token)
            case ShutdownOrdered(reason):
                return self._shut_down(reason)
            case AdminCalled():
                return handle_admin(self, event)
            case HoldReleased():
                return release(self, event)
            case HoldRejected():
                reject(self, event)
                return None
            case _:
                return None  # a start or stop that nobody waits for any more

    # ------------------------------------------------------------ boot and shutdown

    def _boot(self) -> Operation:
        self.dirty.update(self.children)  # a replacement tells children not started yet from those forgotten
        failure = yield from start_children(self, list(self.children), restart=False)
        if failure is None:
            self.booted = True
            self.emit(ReportStarted())
            return
        failed = self.children[failure.id]
        yield from stop_all(self)
        if failure.interrupted:
            self.end(failure.reason)
            return
        self.refuse_orders()
        self.ended = True
        self.note(NoteKind.GAVE_UP, failed, failure.reason, why="start_failed")
        self.emit(ReportStartFailed(failure.id, failure.reason))

    def _shut_down(self, reason: ExitReason) -> Operation:
        yield from stop_all(self)
        self.end(reason)
