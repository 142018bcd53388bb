"""A supervisor in the simulation: its machine, and the hands that carry out what it decides.

It keeps the rules of the real shell: what is meant is written to the goal state before it is done; the machine hears
that a child ended only when its process is gone for certain (or its node is lost); news is taken for the process that
sent it, whatever lives at its path by now.
"""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason, init_error
from supervisors.simulate.dst.goal import Place
from supervisors.simulate.dst.hands import Hands
from supervisors.simulate.dst.hosting import Hosting
from supervisors.simulate.dst.life import Life
from supervisors.simulate.dst.model import LAUNCH, Worker, below
from supervisors.simulate.dst.process import Proc
from supervisors.simulate.dst.standbys import Standbys
from supervisors.tree.child import ChildState, SupervisorRecord
from supervisors.tree.messages import (
    AdminCalled,
    Booted,
    Call,
    CancelTimer,
    ChildExited,
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
    Reply,
    ReportStarted,
    ReportStartFailed,
    SetTimer,
    ShutdownOrdered,
    StartChild,
    StopChild,
    TimerFired,
)

if TYPE_CHECKING:
    from supervisors.simulate.dst.world import World

#: seconds between repetitions of the last message, and how often
_AGAIN, _TIMES = 0.2, 4
#: seconds that standbys get to tell a new supervisor how they stand
_HEAR = 0.05
_AWAY = ExitReason(ExitKind.KILLED, "ended while its supervisor was away")


@dataclass(slots=True)
class Peer:
    """One life of one child, as its supervisor sees it."""

    id: str
    incarnation: int
    epoch: int = 0
    proc: Proc | None = None
    rung: str = ""
    standby: bool = False
    acknowledged: bool = False
    gone: bool = False
    retired: bool = False
    end: ChildExited | ChildStartFailed | None = None
    kill_reason: ExitReason | None = None
    holder: str = ""
    leased_at: float | None = None
    attempts: int = 0


class Shell:
    """One supervisor process's body.

    Args:
        world: where it lives.
        proc: its process.
        incarnation: of this supervisor.
    """

    def __init__(self, world: "World", proc: Proc, incarnation: int) -> None:
        self.world = world
        self.proc = proc
        self.path = proc.path
        self.incarnation = incarnation
        spec = world.tree.supervisors[proc.path]
        self.machine = world.parts.machine(spec, world.kernel.stream("jitter", proc.path).random)
        self.peers: dict[str, Peer] = {}
        self.by_pid: dict[int, Peer] = {}
        self.hosting = Hosting(self)
        self.standbys = Standbys(self)
        self.hands = Hands(self)
        self.boss: Proc | None = None
        self.over = False
        self.up = False
        #: what a crash in this moment would leave, where that is not what the machine says: the predecessor's record
        #: until it is taken over, and the one before the step in hand while a crash in the middle of it is planned
        self.before: SupervisorRecord | None = None
        self._events: deque[Event] = deque()
        self._stepping = False
        self._timers: set[int] = set()
        self._initial = 0

    def child_path(self, child_id: str) -> str:
        """Where a child stands."""
        return below(self.path, child_id)

    def worker(self, child_id: str) -> Worker | None:
        """Who a child is; None: a supervisor."""
        path = self.child_path(child_id)
        return None if path in self.world.tree.supervisors else self.world.tree.worker(path)

    # ------------------------------------------------------------ life

    def start(self, *, adopt: bool) -> None:
        """Boot, or take over from a crashed predecessor."""
        goal = self.world.goal
        record = self.before = goal.records.pop(self.path, None) if adopt else None
        if record is None:
            self._initial = self.world.tree.pools.get(self.path, 0)
            for child_id, incarnation in goal.incarnations.get(self.path, {}).items():
                if child_id in self.machine.children:
                    self.machine.children[child_id].incarnation = incarnation
            self.world.oracle.booted(self)
            self.step(Booted())
            return
        alive: dict[str, int] = {}
        lost: dict[str, ExitReason] = {}
        self._stepping = True  # what comes meanwhile waits
        for row in record.children:
            self._sweep(row.id)
            self._look_at(row.id, row.state, alive, lost)
        for row in record.children:
            self.standbys.adopt(row.id)
        if any(self.standbys.of(child_id) for child_id in lost):
            self.world.kernel.after(_HEAR, self.proc.deliver, self._resume, (record, alive, lost))
        else:
            self._resume(record, alive, lost)

    def _sweep(self, child_id: str) -> None:
        """End what the predecessor had made for a child and not assigned yet."""
        world, path = self.world, self.child_path(child_id)
        place, standing = world.goal.places.get(path), world.goal.standbys.get(path, {})
        for proc in list(world.at_path.get(path, ())):
            if proc.pid not in standing and (place is None or place.proc is not proc):
                world.kill(proc, "order: made and not assigned")

    def _look_at(self, child_id: str, state: str, alive: dict[str, int], lost: dict[str, ExitReason]) -> None:
        world, path = self.world, self.child_path(child_id)
        place = world.goal.places.get(path)
        if place is None:
            return
        proc = place.proc
        runs = proc.alive or (proc.node != LAUNCH and proc.pid not in world.seen_dead)
        if state == ChildState.RUNNING and (runs or not world.parts.check_lives):
            alive[child_id] = place.incarnation
            peer = Peer(child_id, place.incarnation, place.epoch, proc, acknowledged=True)
            self.peers[child_id] = self.by_pid[proc.pid] = peer
            world.attach(self, proc)
            return
        reason = proc.left or _AWAY
        world.oracle.heard(proc)
        if runs:
            world.kill(proc, "not adopted")
        if state == ChildState.RUNNING:
            lost[child_id] = reason

    def _resume(self, record: SupervisorRecord, alive: dict[str, int], lost: dict[str, ExitReason]) -> None:
        for child_id, peer in list(self.peers.items()):
            if peer.gone:  # it ended while we were listening
                alive.pop(child_id, None)
                lost[child_id] = peer.proc.left or _AWAY if peer.proc is not None else _AWAY
        for row in record.children:
            self.hands.adopt(row.id, running=row.id in alive)
        held = tuple(child_id for child_id in self.hands.held() if child_id not in alive)
        self.world.oracle.resumed(self, record)
        effects = self.machine.resume(record, alive, lost, self.world.kernel.now, held)
        self.carry_out(effects)
        self._stepping = False
        self._work_off()

    def step(self, event: Event) -> None:
        """Feed the machine; events that come up while effects are carried out wait their turn."""
        self._events.append(event)
        if not self._stepping:
            self._work_off()

    def _work_off(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        world, machine, events = self.world, self.machine, self._events
        while events and not machine.ended and self.proc.alive:
            event = events.popleft()
            if world.armed and self.path in world.armed:
                self.before = machine.record()
                effects = machine.step(event, world.kernel.now)
                if world.hit(self.proc, "decided"):
                    return
            else:
                effects = machine.step(event, world.kernel.now)
            if effects:
                self.carry_out(effects)
            self.before = None
        self._stepping = False

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the machine decided: what is to be ended first, then the record, then the rest in order."""
        machine, proc, armed = self.machine, self.proc, self.world.armed
        changed = set(machine.dirty)
        machine.dirty.clear()
        for effect in effects:
            if type(effect) is ReapSubtree:
                self._reap(effect)
                if armed and self.world.hit(proc, "effect"):
                    return
        self.before = None
        for effect in effects:
            if type(effect) is ReapSubtree:
                continue  # done
            self._do(effect)
            if (armed and self.world.hit(proc, "effect")) or not proc.alive:
                return
        self.hands.settle(changed)

    # ------------------------------------------------------------ effects

    def _do(self, effect: Effect) -> None:
        match effect:
            case Note():
                self._note(effect)
            case SetTimer():
                self._set_timer(effect)
            case CancelTimer(token):
                self._timers.discard(token)
            case StartChild():
                self._start_child(effect)
            case StopChild():
                self._stop_child(effect)
            case KillChild():
                self._kill_child(effect)
            case Reply():
                self._replied(effect)
            case ReportStarted():
                self._started()
            case ReportStartFailed():
                self._report_start_failed(effect)
            case Exit():
                self._exit(effect)

    def _note(self, note: Note) -> None:
        world = self.world
        world.kernel.note(note.kind, self.child_path(note.id) if note.id else self.path, world.words(note))
        world.oracle.noted(self, note)
        self.hands.noticed(note)
        if note.kind is NoteKind.CHILD_READY:
            peer = self.peers.get(note.id)
            if peer is not None and peer.proc is not None:
                world.recovered(peer.rung)
            self.standbys.primary_up(note.id)

    def _set_timer(self, effect: SetTimer) -> None:
        self._timers.add(effect.token)
        self.world.kernel.at(effect.at, self.proc.deliver, self._timer, (effect.token,))

    def _timer(self, token: int) -> None:
        if token in self._timers:
            self._timers.discard(token)
            self.step(TimerFired(token))

    def _start_child(self, order: StartChild) -> None:
        self.world.oracle.starts(self, order)
        if not self.hands.start(order):
            self.hosting.begin(order)

    def _stop_child(self, order: StopChild) -> None:
        if self._never_was(order):
            return
        self.world.oracle.stops(self, order.id)
        peer = self.peers[order.id]
        proc = peer.proc
        assert proc is not None
        body = proc.shell if proc.shell is not None else proc.life
        if body is not None:
            self.world.net.send(LAUNCH, proc.node, proc, body.stop)

    def _kill_child(self, order: KillChild) -> None:
        if self._never_was(order):
            return
        if order.why == "brutal_kill":
            self.world.oracle.stops(self, order.id)
        peer = self.peers[order.id]
        peer.kill_reason = ExitReason(ExitKind.KILLED, order.why)
        self.kill(peer, f"order: {order.why}")

    def _never_was(self, order: StopChild | KillChild) -> bool:
        peer = self.peers.get(order.id)
        waits = self.hands.given_up(order.id, order.incarnation)
        if not waits and peer is not None and peer.proc is not None and not peer.gone:
            return False
        if waits or peer is None or not peer.gone:
            if peer is not None and peer.proc is None:
                peer.gone = True
            self.step(ChildExited(order.id, order.incarnation, ExitReason(ExitKind.SHUTDOWN, "before it had a host")))
        return True

    def kill(self, peer: Peer, cause: str) -> None:
        """End its process; the death watch tells when that is done."""
        if peer.proc is not None:
            self.world.kill(peer.proc, cause)

    def _reap(self, effect: ReapSubtree) -> None:
        self.world.reap(self.child_path(effect.id))

    def _replied(self, reply: Reply) -> None:
        if reply.ref != "initial":
            return
        if reply.error:
            self.step(ShutdownOrdered(reply.reason or init_error(reply.error)))
        else:
            self._started()

    def _started(self) -> None:
        if self._initial:
            self._initial -= 1
            self.step(AdminCalled("initial", Call.START_CHILD))
            return
        self.up = True
        self._say_started(_TIMES)

    def _say_started(self, left: int) -> None:
        if left and not self.over:
            self.report("started")
            self.world.kernel.after(0.5, self.proc.deliver, self._say_started, (left - 1,))

    def _report_start_failed(self, effect: ReportStartFailed) -> None:
        self._end("start_failed", init_error(f"{effect.id}: {effect.reason}"))

    def _exit(self, effect: Exit) -> None:
        failed = effect.reason.kind is ExitKind.INIT_ERROR
        self._end("start_failed" if failed else "exited", effect.reason)

    def _end(self, what: str, reason: ExitReason) -> None:
        self.over = True
        self.up = False
        self.standbys.stop()
        self.hands.stop()
        self.world.oracle.supervisor_ended(self)
        goal = self.world.goal
        goal.incarnations[self.path] = {child.id: child.incarnation for child in self.machine.children.values()}
        goal.records.pop(self.path, None)
        self.proc.left = reason
        if self.path == "/":
            self.world.root_over(self.proc, reason)
        else:
            self._say(what, reason, _TIMES)

    def _say(self, what: str, reason: ExitReason, left: int) -> None:
        if left == 0:
            self.world.ended(self.proc, "ended by itself")
            return
        self.report(what, reason)
        self.world.kernel.after(_AGAIN, self.proc.deliver, self._say, (what, reason, left - 1))

    # ------------------------------------------------------------ its own supervisor

    def attach(self, boss: Proc) -> None:
        """A supervisor is its own."""
        self.boss = boss

    def stop(self) -> None:
        """Told to end."""
        self.step(ShutdownOrdered(SHUTDOWN))

    def report(self, what: str, data: object = None) -> None:
        """To its supervisor."""
        boss = self.boss
        if boss is not None and boss.shell is not None:
            self.world.net.send(LAUNCH, LAUNCH, boss, boss.shell.heard, self.proc, self.incarnation, what, data)

    # ------------------------------------------------------------ what it hears

    def heard(self, proc: Proc, incarnation: int, what: str, data: object) -> None:
        """A message of a child's or a standby's process."""
        peer = self.by_pid.get(proc.pid)
        if peer is None:
            if self.world.parts.tell_apart or what not in ("exited", "start_failed"):
                return
            peer = self.peers.get(proc.path.rpartition("/")[2])
            if peer is None or peer.gone or peer.standby:
                return
        match what:
            case "standby":
                self.standbys.told(peer, data)
            case "hello":
                peer.acknowledged = True
                if peer.standby:
                    self.standbys.feed(peer.id)
            case "started":
                peer.acknowledged = True
                if not peer.gone and not peer.standby:
                    self.step(ChildStarted(peer.id, peer.incarnation))
            case "ready":
                self.step(ChildReady(peer.id, peer.incarnation))
            case "exited" | "start_failed":
                assert isinstance(data, ExitReason)
                self._told_end(peer, what, data)
            case "in_sync" | "lagging":
                self.standbys.primary_says(peer, data, in_sync=what == "in_sync")
            case "ask_act":
                self.hosting.asked_act(peer, incarnation)
            case "agree":
                assert isinstance(data, float)
                self.hosting.agree(peer, data)

    def _told_end(self, peer: Peer, what: str, reason: ExitReason) -> None:
        if peer.end is not None or peer.gone:
            return
        if peer.standby:
            self.standbys.told_end(peer)
            return
        kind = ChildExited if what == "exited" else ChildStartFailed
        peer.end = kind(peer.id, peer.incarnation, reason)
        self.kill(peer, "exit notice")

    def verdict(self, proc: Proc, why: str) -> None:
        """It is silent, or so it seems from here: it is ended before it is believed to be."""
        peer = self.by_pid.get(proc.pid)
        if peer is None or peer.gone or peer.end is not None:
            return
        if peer.standby:
            self.standbys.hung(peer)
        elif not self.is_stopping(peer.id):
            peer.kill_reason = ExitReason(ExitKind.HUNG, why)
            self.kill(peer, f"verdict: {why}")

    def died(self, proc: Proc, kind: ExitKind = ExitKind.KILLED) -> None:
        """Its process is gone for certain, or its node is lost."""
        peer = self.by_pid.pop(proc.pid, None)
        if peer is None or peer.gone:
            return
        if not self.world.parts.hear and self.world.kernel.stream("deaf", self.path).random() < 0.1:
            return
        self.world.oracle.heard(proc)
        peer.gone = True
        if kind is ExitKind.NODE_LOST:
            self.hosting.proved.discard(proc.pid)
        else:
            self.hosting.proved.add(proc.pid)
        if peer.standby:
            self.standbys.died(peer)
            return
        reason = ExitReason(kind, "ended by a signal")
        if self.is_stopping(peer.id) and kind is not ExitKind.NODE_LOST:
            reason = SHUTDOWN
        if peer.kill_reason is not None and kind is not ExitKind.NODE_LOST:
            reason = peer.kill_reason
        self.ended(peer, peer.end or ChildExited(peer.id, peer.incarnation, reason))

    def ended(self, peer: Peer, event: ChildExited | ChildStartFailed) -> None:
        """Nothing of this life is left."""
        if self.peers.get(peer.id) is not peer and self.hands.attempt_of(peer) is None:
            return
        self.world.oracle.told(self, peer, event)
        if not self.hosting.again(peer) and not self.hands.ended(peer, event):
            self.step(event)

    def is_stopping(self, child_id: str) -> bool:
        """True while the end of this child is wanted."""
        child = self.machine.children.get(child_id)
        return child is None or child.state is ChildState.STOPPING

    def assigned(self, peer: Peer, proc: Proc) -> None:
        """That process is this life: written down before it is told."""
        peer.proc = proc
        self.by_pid[proc.pid] = peer
        path = self.child_path(peer.id)
        self.world.goal.standbys.get(path, {}).pop(proc.pid, None)
        self.world.goal.places[path] = Place(proc, peer.incarnation, peer.epoch)
        self.standbys.another_primary(peer.id)

    def life_of(self, child_id: str) -> Life | None:
        """The body that runs for a child."""
        peer = self.peers.get(child_id)
        return peer.proc.life if peer is not None and peer.proc is not None and not peer.gone else None
