"""Recovery in the simulated shell: what ``supervisors.runtime.recovering`` does, on simulated time."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from supervisors.core.reasons import ExitReason, crash
from supervisors.recovery.case import RecoveryCase
from supervisors.recovery.classes import failure_class
from supervisors.recovery.evidence import (
    CheckpointEvidence,
    CorruptionEvidence,
    FailureEvidence,
    StandbyEvidence,
    UnknownEvidence,
)
from supervisors.recovery.messages import (
    Abandon,
    Approved,
    Attempt,
    AttemptBegun,
    AttemptFailed,
    AttemptSucceeded,
    CancelTimer,
    Drop,
    Effect,
    FailureSeen,
    Hold,
    Outcome,
    Rejected,
    Release,
    RungFailed,
    SetTimer,
    TimerFired,
    Validate,
    Validated,
    Withdrawn,
)
from supervisors.recovery.messages import Event as CaseEvent
from supervisors.recovery.policy import RecoverySpec, Rung
from supervisors.tree.child import ChildState
from supervisors.tree.messages import (
    ChildExited,
    ChildHeld,
    ChildStartFailed,
    HoldRejected,
    HoldReleased,
    Note,
    NoteKind,
    StartChild,
)

if TYPE_CHECKING:
    from supervisors.simulate.dst.shell import Peer, Shell

#: notes that say that a start waits no more
_ANSWERED = frozenset(
    NoteKind(f"child_{end}") for end in ("ready", "stopped", "exited", "start_failed", "ignored", "held")
)


@dataclass(slots=True)
class Hand:
    """What is in hand for one child; see ``supervisors.runtime.hands``."""

    case: RecoveryCase
    order: StartChild | None = None
    peer: "Peer | None" = None
    next: Attempt | None = None
    hold: Hold | None = None
    abandoned: bool = False
    late: bool = False
    dropped: str = ""
    timers: set[int] = field(default_factory=set)


class Seen(UnknownEvidence):
    """Evidence about one failure of one child."""

    def __init__(self, shell: "Shell", child_id: str, reason: ExitReason) -> None:
        self._shell = shell
        self._id = child_id
        self._reason = reason

    def standby(self) -> StandbyEvidence:
        """The best standby."""
        standbys = self._shell.standbys
        best = standbys.best(self._id)
        if best is None:
            return StandbyEvidence(synced=False)
        synced = standbys.is_synced(best) or not self._shell.world.parts.ask_synced
        return StandbyEvidence(synced, standbys.lag_of(best))

    def checkpoint(self) -> CheckpointEvidence:
        """The newest checkpoint where the state is kept."""
        world, path = self._shell.world, self._shell.child_path(self._id)
        node = self._shell.hosting.node_of(self._id)
        found = world.disks[node].folder(path).checkpoint() if world.usable(node) else None
        if found is None:
            return CheckpointEvidence(valid=False)
        return CheckpointEvidence(valid=True, age=world.kernel.now - found.at, sequence=found.sequence)

    def failure(self) -> FailureEvidence:
        """Why it failed."""
        return FailureEvidence(failure_class(self._reason))

    def corruption(self) -> CorruptionEvidence:
        """Nothing is known to be damaged."""
        return CorruptionEvidence(suspected=False)


class Hands:
    """The recoveries of one supervisor's children.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "Shell") -> None:
        self._shell = shell
        self._world = shell.world
        self._hands: dict[str, Hand] = {}
        self._failed: dict[str, tuple[int, ExitReason, float]] = {}
        self._stopped = False

    # ------------------------------------------------------------ what the machine orders

    def start(self, order: StartChild) -> bool:
        """The machine wants this child started; True when a recovery takes care of it."""
        policy = self._policy(order.id)
        if policy is None:
            return False
        if not order.restart:
            self._failed.pop(order.id, None)
        hand = self._hands.get(order.id)
        if hand is None or (hand.case.closed and not (hand.dropped and order.restart)):
            hand = self._hands[order.id] = self._new_hand(order.id, policy, hand)
        hand.order = order
        failed = self._failed.pop(order.id, None)
        if hand.dropped:
            self._stay_down(hand)
        elif hand.next is not None or hand.hold is not None:
            self._advance(order.id, hand)
        elif failed is not None:
            self._failure(order.id, hand, *failed)
        elif hand.case.attempting is not None:
            self._again(order.id, hand, hand.case.attempting)
        elif hand.case.hold_id:
            hand.hold = Hold(hand.case.hold_id, "it still waits for a person", Rung.MANUAL)
            self._advance(order.id, hand)
        else:
            hand.order = None
            self._shell.hosting.begin(order, Rung.WARM.value if order.restart else "")
        return True

    def _policy(self, child_id: str) -> RecoverySpec | None:
        worker = self._shell.worker(child_id)
        return worker.recovery if worker is not None else None

    def _again(self, child_id: str, hand: Hand, rung: Rung) -> None:
        hand.next = Attempt(rung, 0.0, hand.case.number, hand.case.multiplier)
        hand.late = True
        self._advance(child_id, hand)

    def _new_hand(self, child_id: str, policy: RecoverySpec, old: Hand | None) -> Hand:
        make = self._world.parts.case
        path = self._shell.child_path(child_id)
        if old is not None:
            return Hand(make(path, policy, old.case.history))
        kept = self._world.goal.cases.get(path)
        return Hand(make(path, policy, kept.history if kept is not None else None))

    def _failure(self, child_id: str, hand: Hand, incarnation: int, reason: ExitReason, at: float) -> None:
        policy = self._policy(child_id)
        if hand.case.closed and policy is not None:
            order = hand.order
            hand = self._hands[child_id] = self._new_hand(child_id, policy, hand)
            hand.order = order
        failure = f"{self._shell.child_path(child_id)}#{incarnation}"
        seen = Seen(self._shell, child_id, reason)
        self._step(child_id, hand, FailureSeen(failure, incarnation, reason, seen, at))

    # ------------------------------------------------------------ what happens to processes

    def ended(self, peer: "Peer", event: ChildExited | ChildStartFailed) -> bool:
        """A process is gone; True when that is an attempt's business and not the machine's."""
        hand = self.attempt_of(peer)
        if hand is None:
            return False
        hand.peer = None
        if self._shell.is_stopping(peer.id) or hand.order is None:
            hand.order = None
            return False
        if not hand.abandoned:
            rung = hand.case.attempting or Rung.COLD
            self._step(peer.id, hand, AttemptFailed(rung, str(event.reason), hand.case.number))
        hand.abandoned = False
        self._advance(peer.id, hand)
        return True

    def noticed(self, note: Note) -> None:
        """The machine wrote a line."""
        child_id, now = note.id, self._world.kernel.now
        hand = self._hands.get(child_id)
        if hand is not None and hand.order is not None and note.kind in _ANSWERED:
            if note.incarnation == hand.order.incarnation:
                hand.order = None
            if hand.peer is not None and hand.peer.gone:
                hand.peer = None
        if note.kind is NoteKind.CHILD_EXITED and note.reason is not None:
            if note.reason.is_abnormal:
                self._failed[child_id] = note.incarnation, note.reason, now
            return
        if note.kind is NoteKind.CHILD_START_FAILED and note.reason is not None:
            self._failed[child_id] = note.incarnation, note.reason, now
            return
        if hand is None:
            return
        if note.kind is NoteKind.CHILD_READY:
            hand.peer = None
            if hand.case.attempting is not None:
                rung, number = hand.case.attempting, hand.case.number
                self._step(child_id, hand, AttemptSucceeded(rung, note.incarnation, number))
        elif note.kind in (NoteKind.HOLD_RELEASED, NoteKind.HOLD_REJECTED) and dict(note.data).get("by"):
            self._withdraw(child_id, hand, note.kind.value)

    def attempt_of(self, peer: "Peer") -> Hand | None:
        """The recovery whose attempt in hand this life is."""
        hand = self._hands.get(peer.id)
        return hand if hand is not None and hand.peer is peer else None

    def not_begun(self, peer: "Peer") -> None:
        """An attempt waits for its lease: its time counts from then."""
        hand = self.attempt_of(peer)
        if hand is not None and not hand.abandoned and hand.case.attempting is not None:
            self._step(peer.id, hand, AttemptBegun(hand.case.number))

    def given_up(self, child_id: str, incarnation: int) -> bool:
        """The machine wants a start to end; True when nothing runs of it."""
        hand = self._hands.get(child_id)
        if hand is None or hand.order is None or (hand.peer is not None and not hand.peer.gone):
            return False
        if hand.order.incarnation != incarnation:
            return False
        hand.order = hand.peer = None
        return True

    def settle(self, child_ids: Collection[str]) -> None:
        """After a step that changed these."""
        machine = self._shell.machine
        for child_id in sorted(child_ids):
            child, hand = machine.children.get(child_id), self._hands.get(child_id)
            if child is not None and child.state is ChildState.HELD and hand is not None:
                if hand.case.outcome is Outcome.DROPPED:
                    self._shell.step(HoldRejected(child_id))
                elif hand.case.attempting is not None and hand.next is None and hand.order is None:
                    self._again(child_id, hand, hand.case.attempting)
            if child is None or (not child.wanted and child.state is ChildState.UNDEFINED):
                if hand is not None:
                    self._withdraw(child_id, hand, "stopped")
                self._failed.pop(child_id, None)
                self._shell.standbys.drop(child_id)
            if child is None:
                self._hands.pop(child_id, None)
                self._world.goal.cases.pop(self._shell.child_path(child_id), None)
                self._shell.peers.pop(child_id, None)

    def _withdraw(self, child_id: str, hand: Hand, why: str) -> None:
        hand.order, hand.next, hand.hold, hand.dropped = None, None, None, ""
        if not hand.case.closed:
            self._step(child_id, hand, Withdrawn(why))

    # ------------------------------------------------------------ people

    def answer(self, child_id: str, hold: str, *, approve: bool) -> None:
        """A person's answer; void when it is not held so any more."""
        hand = self._hands.get(child_id)
        if hand is not None and hand.case.hold_id == hold:
            self._step(child_id, hand, Approved(hold, "op") if approve else Rejected(hold, "op", "no"))

    # ------------------------------------------------------------ the case

    def _step(self, child_id: str, hand: Hand, event: CaseEvent) -> None:
        self._carry_out(child_id, hand, hand.case.step(event, self._world.kernel.now))

    def _carry_out(self, child_id: str, hand: Hand, effects: list[Effect]) -> None:
        kernel, shell = self._world.kernel, self._shell
        for effect in effects:
            match effect:
                case SetTimer(token, at):
                    hand.timers.add(token)
                    kernel.at(at, shell.proc.deliver, self._timer, (child_id, hand, token))
                case CancelTimer(token):
                    hand.timers.discard(token)
                case Attempt(rung):
                    hand.next = effect
                    kernel.note(f"attempt_{rung}", shell.child_path(child_id))
                case Hold(hold_id):
                    hand.hold = effect
                    kernel.note("held", shell.child_path(child_id))
                    self._world.ask_person(shell.path, child_id, hold_id)
                case Abandon(why):
                    self._abandon(child_id, hand, why)
                case Release():
                    hand.hold = None
                    hand.late = True
                case Drop(who):
                    self._drop(child_id, hand, who)
                case Validate():
                    self._validate(child_id, hand, effect)
                case RungFailed():
                    self._world.rungs_failed += 1
                case _:
                    pass
        self._advance(child_id, hand)
        self._world.goal.cases[shell.child_path(child_id)] = hand.case.record()

    def _timer(self, child_id: str, hand: Hand, token: int) -> None:
        if token not in hand.timers or hand.case.closed or self._stopped or self._hands.get(child_id) is not hand:
            return
        hand.timers.discard(token)
        if token == hand.case.attempt_timer and hand.peer is None:
            hand.late = True
            return
        self._step(child_id, hand, TimerFired(token))

    def _advance(self, child_id: str, hand: Hand) -> None:
        """Begin what is to be done next, if the machine waits for it and nothing of the last life is left."""
        shell = self._shell
        child = shell.machine.children.get(child_id)
        if child is None or (hand.peer is not None and not hand.peer.gone):
            return
        begins = hand.next is not None and hand.hold is None
        if child.state is ChildState.HELD:
            if begins:
                shell.step(HoldReleased(child_id, child.incarnation))
            return
        order = hand.order
        if order is None:
            return
        if hand.hold is not None:
            hold, hand.hold, hand.order = hand.hold, None, None
            shell.step(ChildHeld(child_id, order.incarnation, hold.why))
        elif begins and hand.next is not None:
            attempt, hand.next = hand.next, None
            self._begin(child_id, hand, order, attempt)

    def _begin(self, child_id: str, hand: Hand, order: StartChild, attempt: Attempt) -> None:
        shell = self._shell
        hand.abandoned = False
        if attempt.rung is not Rung.HOT:
            hand.peer = shell.hosting.begin(order, attempt.rung.value)
        else:
            standby = shell.standbys.best(child_id)
            if standby is None or not (shell.standbys.is_synced(standby) or not self._world.parts.ask_synced):
                failed = AttemptFailed(attempt.rung, "its standby is gone", attempt.number)
                self._world.kernel.after(0.0, shell.proc.deliver, self._step, (child_id, hand, failed))
                return
            hand.peer = shell.hosting.promote(order, shell.standbys.take(standby))
        if hand.late:
            hand.late = False
            self._step(child_id, hand, AttemptBegun(attempt.number))

    def _abandon(self, child_id: str, hand: Hand, why: str) -> None:
        shell = self._shell
        peer = hand.peer or shell.peers.get(child_id)
        if peer is None or peer.gone:
            hand.peer = None
            return
        hand.abandoned = True
        if peer.proc is None:
            if hand.peer is None:
                shell.hosting.failed(peer, f"given up by its recovery: {why}")
            peer.gone = True
            hand.peer = None
            return
        if hand.peer is None:
            hand.peer = peer if hand.order is not None else None
        peer.kill_reason = crash(f"given up by its recovery: {why}")
        shell.kill(peer, "order: given up by its recovery")

    def _drop(self, child_id: str, hand: Hand, who: str) -> None:
        hand.next = hand.hold = None
        self._world.oracle.rejected(self._shell, child_id)
        child = self._shell.machine.children.get(child_id)
        if child is not None and child.state is ChildState.HELD:
            self._shell.step(HoldRejected(child_id, child.incarnation))
            return
        hand.dropped = f"rejected by {who}"
        self._stay_down(hand)

    def _stay_down(self, hand: Hand) -> None:
        order = hand.order
        if order is not None:
            why, hand.dropped, hand.order = hand.dropped, "", None
            self._shell.step(ChildHeld(order.id, order.incarnation, why))
            self._shell.step(HoldRejected(order.id, order.incarnation))

    def _validate(self, child_id: str, hand: Hand, effect: Validate) -> None:
        ok = not self._world.trouble(self._shell.child_path(child_id), checking=True)
        done = (child_id, hand, Validated(effect.step.name, ok, "" if ok else "told to", effect.run))
        takes = 0.005 + 0.01 * self._world.draw(self._shell.child_path(child_id))
        self._world.kernel.after(takes, self._shell.proc.deliver, self._validated, done)

    def _validated(self, child_id: str, hand: Hand, event: Validated) -> None:
        if not hand.case.closed and not self._stopped:
            self._step(child_id, hand, event)

    # ------------------------------------------------------------ surviving the supervisor

    def adopt(self, child_id: str, *, running: bool) -> None:
        """A replaced supervisor goes on with the cases of its predecessor."""
        policy = self._policy(child_id)
        record = self._world.goal.cases.get(self._shell.child_path(child_id))
        if policy is None or record is None:
            return
        now = self._world.kernel.now
        source = Seen(self._shell, child_id, crash("unknown"))
        case = self._world.parts.case.resume(record, policy, now, source)
        hand = self._hands[child_id] = Hand(case)
        if case.closed:
            return
        self._carry_out(child_id, hand, case.resumed(now))
        if case.attempting is not None and running:
            incarnation = self._shell.peers[child_id].incarnation
            self._step(child_id, hand, AttemptSucceeded(case.attempting, incarnation, case.number))

    def waits_for_person(self, child_id: str) -> bool:
        """A person has been asked, and has not answered."""
        hand = self._hands.get(child_id)
        return hand is not None and bool(hand.case.hold_id)

    def held(self) -> list[str]:
        """Children whose recovery waits for a person."""
        return [child_id for child_id, hand in self._hands.items() if hand.case.hold_id]

    def stop(self) -> None:
        """The supervisor ends: nobody is to go on with its cases."""
        for child_id, hand in list(self._hands.items()):
            self._withdraw(child_id, hand, "its supervisor ends")
        self._stopped = True
