"""The supervisor's shell: feeds its machine with what the plane tells and carries out what it decides.

Runs in the plane's thread of its process. Nothing between a failure and the order to a spare waits for a Ray call:
hosts that must be made are made in another thread (DESIGN.md §1).

Rules kept here:
 1. What is meant is written to the goal state before it is done.
 2. The machine hears that a child ended only when its process is gone for certain: what told of the end is answered
    with a SIGKILL, and the death watch confirms it.
 3. A host is assigned once; an assignment that is not acknowledged in time counts as a dead host.
"""

import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from supervisors.core.paths import ROOT, TreePath, failure_id, join
from supervisors.core.reasons import ExitKind, ExitReason, init_error
from supervisors.faults.board import NO_FAULTS
from supervisors.runtime import adoption
from supervisors.runtime.answers import Answers
from supervisors.runtime.boot import HostBoot
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.detection import Detection
from supervisors.runtime.factory import HostFactory
from supervisors.runtime.homing import Homing
from supervisors.runtime.hosting import Hosting
from supervisors.runtime.leasing import Leases
from supervisors.runtime.peers import FailureTimes, Peer
from supervisors.runtime.recovering import Recovering
from supervisors.runtime.spares import SparePool
from supervisors.runtime.standbys import Standbys
from supervisors.runtime.store import GoalStore
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import (
    AskStatus,
    Exited,
    Message,
    Order,
    Resolve,
    Started,
    StartFailed,
    Stop,
    encode,
)
from supervisors.signals.proc import kill_certain, wait_gone
from supervisors.spec.compiled import SupervisorPart, SystemSpec
from supervisors.trail.events import EventKind
from supervisors.trail.writer import TrailWriter
from supervisors.tree.child import record_of
from supervisors.tree.machine import SupervisorMachine
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildExited,
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
from supervisors.tree.model import ChildType

if TYPE_CHECKING:
    from loguru import Logger

    from supervisors.runtime.faultdesk import FaultDesk


class SupervisorShell:
    """One supervisor process's body.

    Args:
        part: flags and children.
        incarnation: of this supervisor.
        system, system_bytes: settings shared by all, and the same encoded.
        boot: of this process.
        loop: the plane's loop of this process.
        factory: makes hosts.
        log: bound logger.
        report: takes messages for the parent.
        finish: takes the last message; the process ends after it.
        child_path: path of a child by id.
        exit_filter: may replace a child's exit reason before the machine sees it.
    """

    def __init__(
        self,
        *,
        part: SupervisorPart,
        incarnation: int,
        system: SystemSpec,
        system_bytes: bytes,
        boot: HostBoot,
        loop: PlaneLoop,
        factory: HostFactory,
        log: "Logger",
        report: Callable[[Message], None],
        finish: Callable[[Message], None],
        child_path: Callable[[str], TreePath] | None = None,
        exit_filter: Callable[[str, ExitReason], ExitReason] = lambda child_id, reason: reason,
    ) -> None:
        self.part = part
        self.path = TreePath(part.path)
        self.incarnation = incarnation
        self.system = system
        self.boot = boot
        self.loop = loop
        self.log = log
        self.clock = SystemClock()
        self.factory = factory
        self.store = GoalStore(Path(boot.data_dir))
        self.trail = TrailWriter(Path(boot.data_dir) / "trail", part.path, self.clock)
        self.machine = SupervisorMachine(part.spec, random.random)
        self.peers: dict[str, Peer] = {}
        self.by_host: dict[str, Peer] = {}
        self.failures: dict[str, FailureTimes] = {}
        self.last_reasons: dict[str, str] = {}
        self.executor = ThreadPoolExecutor(8, thread_name_prefix="factory")
        self.child_path = child_path or (lambda child_id: join(self.path, child_id))
        self.system_bytes = system_bytes
        #: where hooks of this process find what is armed; filled only where the topology allows faults
        self.fault_slot = NO_FAULTS
        #: of a supervisor whose topology allows faults
        self.faults: FaultDesk | None = None
        self._report = report
        self._finish = finish
        self._exit_filter = exit_filter
        self._events: deque[Event] = deque()
        self._stepping = False
        self._timers: dict[int, int] = {}
        self._replies: dict[str, Callable[[Reply], None]] = {}
        self._orders = {child_id: order for order, child_id in enumerate(self.machine.children)}
        self._next_order = len(self._orders)
        self._initial_left = len(part.initial)
        self.socket = loop.router(f"sup:{part.path}#{incarnation}".encode())
        self.hosting = Hosting(self)
        self.homing = Homing(self)
        self.leases = Leases(self)
        self.standbys = Standbys(self)
        self.recovering = Recovering(self)
        self.detection = Detection(self)
        self._answers = Answers(self)
        loop.on_readable(self.socket, self.detection.received)
        self.spares = SparePool(self) if self.path == ROOT else None

    # ------------------------------------------------------------ life

    def start(self, *, adopt: bool) -> None:
        """Boot, or take over from a crashed predecessor (SUP-8)."""
        self.write(EventKind.SUPERVISOR_STARTING, data={"adopt": adopt})
        if self.spares is not None:
            self.spares.start()
        self.detection.start()
        if adopt:
            self._initial_left = 0
            adoption.take_over(self)
            self.standbys.start()
            return
        self.standbys.start()
        for child_id, incarnation in self.store.begin_supervisor(self.path).items():
            if child_id in self.machine.children:
                self.machine.children[child_id].incarnation = incarnation
        self.step(Booted())

    def order_stop(self, reason: ExitReason | None = None) -> None:
        """The parent wants this supervisor to end."""
        self.step(ShutdownOrdered(reason or ExitReason(ExitKind.SHUTDOWN)))

    def asked(self, message: AskStatus | Resolve | Order, answer: Callable[[Message], None]) -> None:
        """A question or an administrator's order from outside."""
        self._answers.asked(message, answer)

    def step(self, event: Event) -> None:
        """Feed the machine; events that come up while effects are carried out wait their turn."""
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events and not self.machine.ended:
                effects = self.machine.step(self._events.popleft(), self.loop.now())
                self.carry_out(effects)
        finally:
            self._stepping = False

    def call(self, order: AdminCalled, reply: Callable[[Reply], None]) -> None:
        """Give the machine an administrator's order."""
        self._replies[order.ref] = reply
        self.step(order)

    # ------------------------------------------------------------ goal state and trail

    def persist(self) -> None:
        """Rule 1: write down what changed."""
        dirty = self.machine.dirty
        if not dirty:
            return
        changed = []
        gone = []
        for child_id in dirty:
            child = self.machine.children.get(child_id)
            if child is None:
                gone.append(child_id)
                continue
            peer = self.peers.get(child_id)
            host = peer.host.id if peer is not None and peer.host is not None and not peer.gone else ""
            epoch = peer.epoch if peer is not None else 0
            record = record_of(child, self._order_of(child_id))
            changed.append((self.child_path(child_id), record, host, epoch, self.last_reasons.get(child_id, "")))
        self.store.save(self.path, self.machine.head(), changed, gone)
        dirty.clear()

    def _order_of(self, child_id: str) -> int:
        """Its place in start order; grows with each that is new."""
        if child_id not in self._orders:
            self._orders[child_id] = self._next_order
            self._next_order += 1
        return self._orders[child_id]

    def write(
        self,
        kind: str,
        child_id: str = "",
        incarnation: int = 0,
        reason: ExitReason | None = None,
        failure: str = "",
        data: "dict[str, str | int | float | bool | None] | None" = None,
    ) -> None:
        """One event for the trail, about a child or (without an id) about this supervisor."""
        path = self.child_path(child_id) if child_id else self.path
        peer = self.peers.get(child_id)
        epoch = peer.epoch if peer is not None and peer.incarnation == incarnation else 0
        if not child_id:
            incarnation = self.incarnation
        self.trail.write(kind, path, incarnation, epoch, failure=failure, reason=reason, data=data)

    def _note(self, note: Note) -> None:
        times = self.failures.get(note.id)
        failure = failure_id(self.child_path(note.id), times.incarnation) if times is not None else ""
        now = self.loop.now()
        if note.reason is not None and note.id:
            self.last_reasons[note.id] = str(note.reason)
        if times is not None:
            if note.kind is NoteKind.RESTART_DECIDED:
                times.decided_at = times.decided_at or now
            elif note.kind is NoteKind.CHILD_STARTING:
                times.starting_at = times.starting_at or now
        self.write(note.kind.value, note.id, note.incarnation, note.reason, failure, dict(note.data))
        if note.kind is NoteKind.CHILD_READY and times is not None:
            peer = self.peers[note.id]
            data: dict[str, str | int | float | bool | None] = dict(times.stages(now))
            data["spare"] = peer.spare
            data["signal"] = times.signal
            if peer.rung:
                data["rung"] = peer.rung
            self.write(EventKind.RECOVERED, note.id, note.incarnation, None, failure, data)
            del self.failures[note.id]
        self.recovering.noticed(note)

    # ------------------------------------------------------------ effects

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the machine decided: what is to be ended first, then the record, then the rest in order.

        A record saved first would no longer ask for the reaping: a crash in between would leave a subtree running.
        """
        changed = set(self.machine.dirty)
        for effect in effects:
            if isinstance(effect, ReapSubtree):
                self._reap(effect.id)
        self.persist()
        for effect in effects:
            match effect:
                case Note():
                    self._note(effect)
                case SetTimer(token, at):
                    self._timers[token] = self.loop.call_at(at, partial(self._timer, token))
                case CancelTimer(token):
                    self.loop.cancel(self._timers.pop(token, 0))
                case StartChild():
                    self._start_child(effect)
                case StopChild():
                    self._stop_child(effect)
                case KillChild():
                    self._kill_child(effect)
                case ReapSubtree():
                    pass  # done
                case Reply():
                    self._answer_order(effect)
                case ReportStarted():
                    self._started()
                case ReportStartFailed(child_id, reason):
                    failed = init_error(f"child {child_id} failed to start: {reason.message or reason}", reason.detail)
                    self._end(StartFailed(self.path, self.incarnation, failed))
                case Exit(reason):
                    self._end(Exited(self.path, self.incarnation, reason, self.loop.now()))
        self.persist()
        self.recovering.settle(changed)
        for child_id in changed - self.machine.children.keys():
            self.peers.pop(child_id, None)
            self.failures.pop(child_id, None)
            self.last_reasons.pop(child_id, None)
            self._orders.pop(child_id, None)

    def _answer_order(self, reply: Reply) -> None:
        answer = self._replies.pop(reply.ref, None)
        if answer is not None:
            answer(reply)

    def _timer(self, token: int) -> None:
        self._timers.pop(token, None)
        self.step(TimerFired(token))

    def _started(self) -> None:
        if self._initial_left and self.part.initial:
            overrides = self.part.initial[len(self.part.initial) - self._initial_left]
            self._initial_left -= 1
            order = AdminCalled(f"initial-{self._initial_left}", Call.START_CHILD, args=overrides.decode())
            self.call(order, self._initial_up)
            return
        self.write(EventKind.SUPERVISOR_STARTED)
        self._report(Started(self.path, self.incarnation))

    def _initial_up(self, reply: Reply) -> None:
        if reply.error:
            reason = reply.reason or init_error(reply.error)
            self.write(EventKind.GAVE_UP, reply.id, 0, reason, data={"why": "start_failed"})
            self.order_stop(init_error(f"initial child {reply.id} failed to start: {reason}"))
            return
        self._started()

    def _end(self, message: Exited | StartFailed) -> None:
        self.detection.stop()
        self.standbys.stop()
        self.recovering.stop()
        if self.spares is not None:
            self.spares.stop()
        if isinstance(message, Exited) and message.reason.kind is ExitKind.ESCALATED:
            self.write(EventKind.ESCALATED, reason=message.reason)
        if isinstance(message, Exited) and message.reason.kind is ExitKind.INIT_ERROR:
            message = StartFailed(message.path, message.incarnation, message.reason)
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._finish(message)

    # ------------------------------------------------------------ starting

    def _start_child(self, order: StartChild) -> None:
        if not self.recovering.start(order):
            self.hosting.begin(order)

    # ------------------------------------------------------------ stopping

    def _stop_child(self, order: StopChild) -> None:
        if self._never_was(order):
            return
        peer = self.peers[order.id]
        timeout = -1.0 if order.timeout == float("inf") else order.timeout
        self.send(peer, Stop(self.child_path(order.id), order.incarnation, timeout))

    def _kill_child(self, order: KillChild) -> None:
        if self._never_was(order):
            return
        peer = self.peers[order.id]
        peer.kill_reason = ExitReason(ExitKind.KILLED, order.why)
        self.kill(peer)

    def _never_was(self, order: StopChild | KillChild) -> bool:
        """End a start that has no process; True when that was all."""
        peer = self.peers.get(order.id)
        waits = self.recovering.given_up(order.id, order.incarnation)
        if not waits and peer is not None and peer.host is not None:
            return False
        if waits or peer is None or not peer.gone:
            if peer is not None and peer.host is None:
                peer.gone = True
            self.step(ChildExited(order.id, order.incarnation, ExitReason(ExitKind.SHUTDOWN, "before it had a host")))
        return True

    def kill(self, peer: Peer) -> None:
        """End the process of ``peer`` at once; the death watch tells when it is done."""
        row = peer.host
        if row is None:
            return
        if row.local:
            kill_certain(row.pid, row.start_time)
        elif not self.detection.agents.kill(peer):
            self.executor.submit(lambda: self.factory.destroy(row))

    def _reap(self, child_id: str) -> None:
        """End all below a supervisor that nobody will adopt; back only when they are gone."""
        top = self.child_path(child_id)
        rows = self.store.hosts_below(top)
        for row in rows:
            self.factory.destroy(row)
        for row in rows:
            if row.local and not wait_gone(row.pid, row.start_time, 1.0):
                self.log.error("{}: process {} does not end", row.path, row.pid)
            self.write(EventKind.ORPHAN_ENDED, data={"of": row.path, "pid": row.pid})
        self.store.forget_below(top)

    # ------------------------------------------------------------ called by detection

    def ended(self, peer: Peer, event: Event) -> None:
        """The process of ``peer`` is gone for certain."""
        if self.hosting.again(peer):
            return
        if isinstance(event, ChildExited):
            reason = self._exit_filter(peer.id, event.reason)
            event = ChildExited(event.id, event.incarnation, reason)
        if not self.recovering.ended(peer, event):
            self.step(event)

    def send(self, peer: Peer, message: Message) -> None:
        """Send to the host of ``peer``; lost when it is gone, which the death watch tells."""
        if peer.host is None:
            return
        try:
            self.socket.send_multipart((peer.host.id.encode(), encode(message)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self.log.warning("{}: {}", self.child_path(peer.id), error)

    def is_stopping(self, child_id: str) -> bool:
        """True while the end of this child is wanted."""
        child = self.machine.children.get(child_id)
        return child is None or child.state.value == "stopping"

    def is_supervisor(self, child_id: str) -> bool:
        """True when the child is a supervisor."""
        child = self.machine.children.get(child_id)
        return child is not None and child.spec.type is ChildType.SUPERVISOR
