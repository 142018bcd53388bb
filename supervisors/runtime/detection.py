"""Watches the hosts of one supervisor's children: exit notices, death watch, beats, Ray's own notice (DESIGN.md §6).

The first signal of a failure is recorded with its time; whatever the signal, the process is killed before its end is
believed, and the machine hears of the end only once the death watch (or, on other nodes, Ray) confirms it.
"""

import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zmq

from supervisors.core.paths import failure_id
from supervisors.core.reasons import SHUTDOWN, ExitKind, ExitReason
from supervisors.runtime.agents import FRESH, Agents
from supervisors.runtime.factory import bury_files
from supervisors.runtime.peers import FailureTimes, Peer
from supervisors.signals.agent_messages import Gone, Looked
from supervisors.signals.deathwatch import DeathNotice, DeathWatch
from supervisors.signals.fault_messages import FaultFired, FaultsNow
from supervisors.signals.messages import (
    AskAct,
    AskAgree,
    AskStatus,
    Attach,
    Beat,
    Checkpointed,
    EvidenceGiven,
    Exited,
    ExitSeen,
    Hello,
    Ignored,
    MalformedFrame,
    Message,
    Metrics,
    Noted,
    Promoted,
    Ready,
    Resolve,
    StandbyState,
    Started,
    StartFailed,
    StateNoted,
    decode,
)
from supervisors.signals.verdicts import Change, Evidence, HeartbeatRule, PeerVerdict, Signal, Verdict
from supervisors.spec.compiled import HeartbeatSpec
from supervisors.trail.events import EventKind
from supervisors.tree.messages import ChildExited, ChildIgnored, ChildReady, ChildStarted, ChildStartFailed

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds between looks at every peer; a third of what DET-1's 300 ms leave over for a SIGSTOP seen within 450 ms
TICK = 0.025
_NEVER = 1e9


class Detection:
    """The senses of one supervisor. Runs in the plane's thread.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._watch: DeathWatch | None = None
        self._running = False
        #: agents on other nodes
        self.agents = Agents(shell)
        #: totals for the status
        self.messages = 0
        self.malformed = 0
        self.cpu_seconds = 0.0
        #: faults that are known to have acted, with the life they acted in
        self._fired: set[tuple[str, int]] = set()

    def start(self) -> None:
        """Choose the death watch and begin to look."""
        boot = self._shell.boot
        method = self._shell.system.plane.death_watch.value
        self._watch = DeathWatch(self._notice, method, Path(boot.shm_dir))
        self._shell.log.info("death watch: {} ({})", self._watch.method, self._watch.reason)
        self._running = True
        self._shell.loop.every(TICK, self._tick)

    def stop(self) -> None:
        """Look no more."""
        self._running = False
        if self._watch is not None:
            self._watch.close()

    # ------------------------------------------------------------ peers

    def watch(self, peer: Peer, *, starting: bool = False) -> None:
        """Begin with a peer whose host is known: connect, watch its process, expect beats.

        ``starting``: it has yet to import, start or restore, and may be silent longer until it says it is up.
        """
        shell, row = self._shell, peer.host
        assert row is not None
        self._connect(row.id, row.endpoint)
        rule = _rule(self._heartbeat(peer.id))
        # an agent stands in for the eyes of this machine; without its word nothing is proved (see ``_changed``)
        peer.verdict = PeerVerdict(rule, shell.loop.now(), local=True, starting=starting)
        if row.local:
            assert self._watch is not None
            self._watch.watch(row.id, row.id, row.pid, row.start_time)
        else:
            host, loop = row.id, shell.loop
            self.agents.watch(peer)
            shell.executor.submit(
                lambda: shell.factory.watch(row, lambda words: loop.call_soon(lambda: self._ray_says_dead(host, words)))
            )

    def attach(self, peer: Peer, *, watched: bool = False) -> None:
        """Tell a running host that this supervisor is now its own."""
        if not watched:
            self.watch(peer)
        self._shell.send(peer, Attach(self._shell.path, self._shell.incarnation))
        if self._shell.faults is not None:
            self._shell.faults.hand_over(peer)

    def unwatch(self, peer: Peer) -> None:
        """Forget a peer's host."""
        row = peer.host
        if row is None:
            return
        if row.local and self._watch is not None:
            self._watch.unwatch(row.id)
        try:
            self._shell.socket.disconnect(row.endpoint)
        except zmq.ZMQError:
            return  # ZeroMQ gave the connection up already

    def _connect(self, host: str, endpoint: str) -> None:
        socket = self._shell.socket
        socket.setsockopt(zmq.CONNECT_ROUTING_ID, host.encode())
        socket.connect(endpoint)

    def _heartbeat(self, child_id: str) -> HeartbeatSpec:
        part = self._shell.part
        if part.template is not None:
            return part.template.heartbeat
        worker = part.workers.get(child_id)
        return worker.heartbeat if worker is not None else part.heartbeat

    # ------------------------------------------------------------ what the plane tells

    def received(self, frames: list[bytes]) -> None:
        """One message from a host."""
        self.messages += 1
        if len(frames) != 2:
            self.malformed += 1
            return
        sender = frames[0].decode(errors="replace")
        peer = self._shell.by_host.get(sender)
        if peer is None and not self.agents.is_agent(sender):
            return  # a host whose end is settled already
        try:
            message = decode(frames[1])
        except MalformedFrame:
            self.malformed += 1
            return
        if peer is None:
            self._agent_says(message)
        else:
            self._peer_says(peer, message)

    def _agent_says(self, message: Message) -> None:
        match message:
            case Gone(host, signal):
                self._died(host, signal, self._shell.loop.now())
            case Looked(host, evidence):
                peer = self._shell.by_host.get(host)
                if peer is not None:
                    peer.told, peer.told_at = Evidence(evidence), self._shell.loop.now()
            case _:
                return  # an agent's beats and greetings

    def _peer_says(self, peer: Peer, message: Message) -> None:
        shell, now = self._shell, self._shell.loop.now()
        match message:
            case Beat():
                if shell.faults is not None and shell.faults.loses(peer):
                    return
                peer.last_beat = message
                peer.acknowledged = True
                if peer.verdict is not None:
                    self._changed(peer, peer.verdict.beat(now, message.progress))
            case Hello():
                peer.acknowledged = True
            case Metrics():
                peer.metrics.update(message.values)
            case Noted() | StateNoted():
                shell.write(message.kind, peer.id, peer.incarnation, data=dict(message.data))
                if isinstance(message, StateNoted):
                    shell.recovering.told.noted(peer, message)
            case StandbyState():
                if peer.verdict is not None and message.state == "synced":
                    peer.verdict.started(now)
                shell.standbys.told(peer, message)
            case Promoted():
                shell.standbys.promoted(peer, message)
            case AskAct():
                shell.homing.asked(peer, message)
            case Checkpointed():
                shell.recovering.told.checkpointed(peer, message)
            case EvidenceGiven():
                shell.recovering.told.evidence_given(peer, message)
            case AskAgree():
                shell.leases.agree(peer, message)
            case Exited() | StartFailed() | Ignored() if peer.standby:
                shell.send(peer, ExitSeen(shell.child_path(peer.id), peer.incarnation))
                shell.standbys.told_end(peer, message)
            case Resolve() | AskStatus():
                shell.asked(message, lambda answer: shell.send(peer, answer))
            case Started():
                peer.acknowledged = True
                if peer.verdict is not None:
                    peer.verdict.started(now)
                shell.step(ChildStarted(peer.id, peer.incarnation))
            case Ready():
                shell.step(ChildReady(peer.id, peer.incarnation))
            case Exited(_, _, reason, at):
                self._told_end(peer, ChildExited(peer.id, peer.incarnation, reason), at)
            case StartFailed(_, _, reason):
                self._told_end(peer, ChildStartFailed(peer.id, peer.incarnation, reason), now)
            case Ignored():
                self._told_end(peer, ChildIgnored(peer.id, peer.incarnation), now)
            case FaultFired():
                self.fault_fired(peer.id, message)
            case FaultsNow():
                if shell.faults is not None:
                    shell.faults.answered(peer, message)
            case _:
                self.malformed += 1

    def _told_end(self, peer: Peer, end: ChildExited | ChildStartFailed | ChildIgnored, at: float) -> None:
        if peer.end is not None:
            return
        shell = self._shell
        peer.end = end
        peer.end_at = at
        shell.send(peer, ExitSeen(shell.child_path(peer.id), peer.incarnation))
        if isinstance(end, ChildExited) and end.reason.is_abnormal and not shell.is_stopping(peer.id):
            self._note_signal(peer, Signal.EXIT_NOTICE.value, Verdict.DEAD.value, end.reason, at)
        shell.kill(peer)

    # ------------------------------------------------------------ what the death watch tells

    def _notice(self, notice: DeathNotice) -> None:
        self._shell.loop.call_soon(lambda: self._died(notice.key, notice.signal, notice.at))

    def _ray_says_dead(self, host: str, words: str) -> None:
        peer = self._shell.by_host.get(host)
        if peer is None or peer.gone or peer.host is None:
            return

        def look() -> None:
            alive = peer.host is not None and self._shell.factory.node_of(peer.host)
            kind = ExitKind.KILLED if alive and "its node" not in words else ExitKind.NODE_LOST
            self._shell.loop.call_soon(lambda: self._died(host, "ray", self._shell.loop.now(), kind, words))

        self._shell.executor.submit(look)

    def _died(
        self, host: str, signal: str, at: float, kind: ExitKind = ExitKind.KILLED, words: str = "ended by a signal"
    ) -> None:
        shell = self._shell
        peer = shell.by_host.get(host)
        if peer is None or peer.gone:
            return
        if peer.standby:
            self._bury(peer)
            shell.standbys.died(peer, words)
            return
        if peer.end is None:
            shell.loop.drain(shell.socket)  # its last words may lie unread
        shell.standbys.hear((peer.id,))
        if shell.by_host.get(host) is not peer:
            return  # another notice of the same end lay unread
        stopping = shell.is_stopping(peer.id)
        reason = self._why(peer, kind, words, stopping)
        if peer.end is None and not stopping and peer.kill_reason is None:
            self._note_signal(peer, signal, Verdict.DEAD.value, reason, at)
        if kind is ExitKind.NODE_LOST:
            shell.leases.doubt(peer)
        elif peer.host is not None:
            shell.leases.proved.add(peer.host.id)
        event = peer.end or ChildExited(peer.id, peer.incarnation, reason)
        self._bury(peer)
        shell.ended(peer, event)

    def _why(self, peer: Peer, kind: ExitKind, words: str, stopping: bool) -> ExitReason:
        if peer.kill_reason is not None and kind is not ExitKind.NODE_LOST:
            return peer.kill_reason
        stack = self._read_leftover(peer, "fault")
        if stack:
            return ExitReason(ExitKind.CRASH, stack.decode(errors="replace").splitlines()[0], stack.decode())
        return SHUTDOWN if stopping and kind is not ExitKind.NODE_LOST else ExitReason(kind, words)

    def _read_leftover(self, peer: Peer, what: str) -> bytes:
        if peer.host is None or not peer.host.local:
            return b""
        try:
            return (Path(self._shell.boot.plane_dir) / f"{what}-{peer.host.id}").read_bytes()
        except OSError:
            return b""

    def left_reason(self, host: str) -> ExitReason | None:
        """Why a host ended while its supervisor was away, if it could still say so."""
        try:
            data = (Path(self._shell.boot.plane_dir) / f"exit-{host}").read_bytes()
            return msgspec.json.decode(data, type=ExitReason)
        except (OSError, msgspec.MsgspecError):
            return None

    def _bury(self, peer: Peer) -> None:
        peer.gone = True
        row = peer.host
        if row is None:
            return
        self.unwatch(peer)
        self._shell.by_host.pop(row.id, None)
        if self._shell.faults is not None:
            self._shell.faults.gone(row.id)
        try:
            self._shell.store.drop_host(row.id)
        except sqlite3.Error as error:
            # a disk without room must not keep a death from the machine; the next `up` finds the row and the dead pid
            self._shell.log.error("{}: its host stays in the goal state: {}", row.path, error)
        bury_files(Path(self._shell.boot.plane_dir), Path(self._shell.boot.shm_dir), row.id)

    # ------------------------------------------------------------ what silence tells

    def _tick(self) -> None:
        if not self._running:
            return
        loop = self._shell.loop
        now = loop.now()
        self.cpu_seconds = time.thread_time()
        for peer in list(self._shell.by_host.values()):
            if peer.verdict is not None and peer.end is None:
                evidence = peer.evidence if is_local(peer) else partial(self.agents.evidence, peer)
                self._changed(peer, peer.verdict.tick(now, loop.lag, evidence))

    def _changed(self, peer: Peer, change: Change | None) -> None:
        if change is None or peer.gone:
            return
        shell = self._shell
        if peer.standby:
            if change.verdict in (Verdict.HUNG, Verdict.DEAD) and self._is_proved(peer):
                shell.standbys.hung(peer, change.why)
            return
        data: dict[str, str | int | float | bool | None] = {
            "verdict": change.verdict.value,
            "previous": change.previous.value,
            "signal": change.signal.value,
            "why": change.why,
        }
        if shell.is_stopping(peer.id):
            return
        if change.verdict in (Verdict.HUNG, Verdict.DEAD) and not self._is_proved(peer):
            data["verdict"] = Verdict.UNAVAILABLE.value
        elif change.verdict in (Verdict.HUNG, Verdict.DEAD):
            kind = ExitKind.HUNG if change.verdict is Verdict.HUNG else ExitKind.KILLED
            reason = ExitReason(kind, change.why)
            peer.kill_reason = reason
            self._note_signal(peer, change.signal.value, change.verdict.value, reason, change.at, change.why)
            shell.recovering.remains.before_kill(peer, lambda: shell.kill(peer))
            return
        shell.write(EventKind.VERDICT, peer.id, peer.incarnation, data=data)

    def suspect(self, peer: Peer, why: str) -> None:
        """A false suspicion, on purpose: as if ``peer`` had been silent for longer than it may."""
        if peer.gone or peer.verdict is None or peer.end is not None:
            return
        now = self._shell.loop.now()
        self._changed(peer, Change(Verdict.HUNG, peer.verdict.verdict, Signal.MISSED_BEATS, now, now, why))

    def _is_proved(self, peer: Peer) -> bool:
        """Silence from another node proves nothing: the agent there, or Ray, has to say what it means."""
        if is_local(peer):
            return True
        fresh = self._shell.loop.now() - peer.told_at < FRESH
        return fresh and peer.told is not Evidence.UNKNOWN

    def verdict_of(self, peer: Peer) -> str:
        """What is believed of a peer, for people."""
        if peer.verdict is None:
            return ""
        verdict = peer.verdict.verdict
        return Verdict.UNAVAILABLE.value if verdict is Verdict.HUNG and not self._is_proved(peer) else verdict.value

    # ------------------------------------------------------------ the record

    def fault_fired(self, child_id: str, message: FaultFired) -> None:
        """An armed fault acted: for the trail, once in each life."""
        shell, key = self._shell, (message.id, message.incarnation)
        acted = shell.faults.told(message) if shell.faults is not None else message.fired > 0
        if not acted or key in self._fired:
            return
        self._fired.add(key)
        data: dict[str, str | int | float | bool | None] = {
            "id": message.id,
            "fault": message.kind,
            "at": message.at,
            "seen": message.seen,
            "fired": message.fired,
        }
        shell.write(EventKind.FAULT_FIRED, child_id, message.incarnation, data=data)

    def _note_signal(self, peer: Peer, signal: str, verdict: str, reason: ExitReason, at: float, why: str = "") -> None:
        """First signal and verdict of one failure."""
        shell, now = self._shell, self._shell.loop.now()
        if peer.id in shell.failures and shell.recovering.attempt_of(peer) is not None:
            return  # a rung that failed: the failure it was to recover goes on, with its own times
        path = shell.child_path(peer.id)
        failure = failure_id(path, peer.incarnation)
        beat_age = peer.verdict.beat_age(now) if peer.verdict is not None else 0.0
        # silence began with the last sign of life; of other failures the signal is the first that is known
        failed_at = now - beat_age if signal == Signal.MISSED_BEATS.value else at
        times = FailureTimes(peer.incarnation, failed_at=failed_at, signal_at=at, verdict_at=now, signal=signal)
        shell.failures[peer.id] = times
        shell.write(
            EventKind.FIRST_SIGNAL,
            peer.id,
            peer.incarnation,
            None,
            failure,
            {"signal": signal, "lag_ms": round((now - failed_at) * 1e3, 3), "beat_age_ms": round(beat_age * 1e3, 1)},
        )
        data: dict[str, str | int | float | bool | None] = {"verdict": verdict}
        if why:
            data["why"] = why
        shell.write(EventKind.VERDICT, peer.id, peer.incarnation, reason, failure, data)


def is_local(peer: Peer) -> bool:
    """True when the peer's process runs on this machine's own node."""
    return peer.host is None or peer.host.local


def _rule(spec: HeartbeatSpec) -> HeartbeatRule:
    silence = spec.interval * spec.missed
    hang_after = spec.hang_after if spec.hang_after is not None else _NEVER
    return HeartbeatRule(spec.interval, spec.missed, max(hang_after, silence), max(1.0, silence))
