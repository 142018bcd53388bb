"""Recovery in a supervisor's shell: a restart becomes a case, decided by rule and carried out rung by rung.

The tree's machine sees one start, from ``StartChild`` to its outcome; which rungs are tried in between is this room's
business. Rules kept here:
 1. A rung is begun only while the machine waits for this child's start and no process of an earlier life is left.
 2. What the machine must hear (started, held, failed for good) it hears once.
 3. A case is written to the goal state after each change, so that a replaced supervisor goes on with it.
 4. An attempt that ended for a reason of others (a sibling's fate, its supervisor's crash) has not failed: it is begun
    again, and its time counts anew.
All of it runs in the plane's thread but what ``shell.executor`` is given.
"""

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from supervisors.core.errors import RecoveryError
from supervisors.core.reasons import ExitReason, crash
from supervisors.recovery.case import RecoveryCase
from supervisors.recovery.messages import (
    Abandon,
    Approved,
    Attempt,
    AttemptBegun,
    AttemptFailed,
    AttemptSucceeded,
    CancelTimer,
    Closed,
    Drop,
    Effect,
    FailureSeen,
    Hold,
    Outcome,
    Preserve,
    Progressed,
    Rejected,
    Release,
    Resize,
    SetTimer,
    TimerFired,
    Validate,
    Validated,
    Withdrawn,
)
from supervisors.recovery.messages import Event as CaseEvent
from supervisors.recovery.policy import RecoverySpec, Rung
from supervisors.runtime import reporting, validating
from supervisors.runtime.evidence import ShellEvidence, Told, forget_failure, tell_failure
from supervisors.runtime.hands import ANSWERED, Hand, forget_case, keep_case, kept_case, leave_hold, take_hold
from supervisors.runtime.peers import Peer
from supervisors.runtime.remains import Remains
from supervisors.signals.messages import Resize as ResizeOrder
from supervisors.trail.events import failure_id
from supervisors.trail.status import RecoveryStatus
from supervisors.tree.child import ChildState
from supervisors.tree.messages import (
    ChildExited,
    ChildHeld,
    ChildIgnored,
    ChildStartFailed,
    Event,
    HoldRejected,
    HoldReleased,
    Note,
    NoteKind,
    StartChild,
)

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell


class Recovering:
    """The recoveries of one supervisor's children.

    Args:
        shell: the supervisor.
    """

    def __init__(self, shell: "SupervisorShell") -> None:
        self._shell = shell
        self._hands: dict[str, Hand] = {}
        #: the last life that failed: incarnation, reason, monotonic seconds
        self._failed: dict[str, tuple[int, ExitReason, float]] = {}
        self._prepared = False
        self._stopped = False
        self.remains = Remains(shell)
        self.told = Told(shell)

    # ------------------------------------------------------------ questions

    def multiplier(self, child_id: str) -> float:
        """How much of its size this child is to trade (REC-6)."""
        hand = self._hands.get(child_id)
        if hand is None:
            return 1.0
        return hand.next.multiplier if hand.next is not None else hand.case.multiplier

    def status(self, child_id: str) -> RecoveryStatus | None:
        """Where its recovery stands, with the id a person answers; None when there was none."""
        hand = self._hands.get(child_id)
        if hand is None or hand.progress is None:
            return None
        progress = hand.progress if hand.case.closed else hand.case.progress(self._shell.loop.now())
        return reporting.status(progress, hand.case.hold_id)

    # ------------------------------------------------------------ what the machine orders

    def start(self, order: StartChild) -> bool:
        """The machine wants this child started; True when a recovery takes care of it."""
        shell = self._shell
        policy = shell.hosting.recovery_of(order.id)
        if policy is None:
            return False
        if not self._prepared:  # what the first recovery would otherwise have to import and open
            self._prepared = True
            shell.leases.prepare()
        if not order.restart:
            self._failed.pop(order.id, None)  # what it once failed of is over: somebody wants it started
        if order.id not in self._hands and take_hold(shell.store, shell.child_path(order.id)):
            self.adopt(order.id, running=False)
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
            # rule 4: had the attempt failed, the machine would have noted it
            self._again(order.id, hand, hand.case.attempting)
        elif hand.case.hold_id:
            hand.hold = Hold(hand.case.hold_id, "it still waits for a person", Rung.MANUAL)
            self._advance(order.id, hand)
        else:
            # nothing failed: a first start, an order, or a sibling's fate. Its state is restored all the same
            rung = Rung.WARM.value if order.restart else ""
            hand.order = None
            shell.hosting.begin(order, rung)
        return True

    def _again(self, child_id: str, hand: Hand, rung: Rung) -> None:
        hand.next = Attempt(rung, 0.0, hand.case.number, hand.case.multiplier)
        hand.late, hand.approved = True, False
        self._advance(child_id, hand)

    def _new_hand(self, child_id: str, policy: RecoverySpec, old: Hand | None) -> Hand:
        if old is not None:
            return Hand(RecoveryCase(old.case.record().path, policy, old.case.history))
        path = self._shell.child_path(child_id)
        kept = kept_case(self._shell.store, path, self._shell.log)
        hand = Hand(RecoveryCase(path, policy, kept.history if kept is not None else None))
        if kept is not None and kept.closed is None:
            keep_case(self._shell.store, hand.case)  # of a supervisor that is over: nobody is to go on with it
        return hand

    def _failure(self, child_id: str, hand: Hand, incarnation: int, reason: ExitReason, at: float) -> None:
        shell = self._shell
        policy = shell.hosting.recovery_of(child_id)
        if hand.case.closed and policy is not None:
            order = hand.order
            hand = self._hands[child_id] = self._new_hand(child_id, policy, hand)
            hand.order = order
        self.told.suspect(child_id, reason)
        source = ShellEvidence(shell, child_id, reason)
        path, failed = shell.child_path(child_id), shell.peers.get(child_id)
        self._step(child_id, hand, FailureSeen(failure_id(path, incarnation), incarnation, reason, source, at))
        if self.remains.has_stack(child_id):  # promoted at once: nothing else is kept of a first failure
            self.remains.keep(child_id, str(reason), peer=failed)
        tell_failure(shell.store, path)

    # ------------------------------------------------------------ what happens to processes

    def ended(self, peer: Peer, event: Event) -> bool:
        """The process of a life is gone; True when that is an attempt's business and not the machine's."""
        hand = self.attempt_of(peer)
        if hand is None:
            return False
        hand.peer = None
        if self._shell.is_stopping(peer.id) or isinstance(event, ChildIgnored) or hand.order is None:
            hand.order = None
            return False
        if not hand.abandoned and isinstance(event, ChildExited | ChildStartFailed):
            rung = hand.case.attempting or Rung.COLD
            self.told.suspect(peer.id, event.reason)
            self._step(peer.id, hand, AttemptFailed(rung, str(event.reason), hand.case.number))
        hand.abandoned = False
        self._advance(peer.id, hand)
        return True

    def noticed(self, note: Note) -> None:
        """The machine wrote a line: what of it matters here."""
        child_id, now = note.id, self._shell.loop.now()
        hand = self._hands.get(child_id)
        if hand is not None and hand.order is not None and note.kind in ANSWERED:
            if note.incarnation == hand.order.incarnation:
                hand.order = None
            if hand.peer is not None and hand.peer.gone:
                hand.peer = None
        if note.kind is NoteKind.CHILD_EXITED and note.reason is not None:
            if note.reason.is_abnormal:
                times = self._shell.failures.get(child_id)
                at = times.failed_at if times is not None and times.incarnation == note.incarnation else now
                self._failed[child_id] = note.incarnation, note.reason, at or now
            return
        if note.kind is NoteKind.CHILD_START_FAILED and note.reason is not None:
            self._failed[child_id] = note.incarnation, note.reason, now
            return
        if note.kind is NoteKind.CHILD_STARTING and not dict(note.data).get("restart"):
            self._shell.failures.pop(child_id, None)  # not what follows from a failure
        if hand is None:
            return
        if note.kind is NoteKind.CHILD_READY:
            hand.peer = None
            if hand.case.attempting is not None:
                rung, number = hand.case.attempting, hand.case.number
                self._step(child_id, hand, AttemptSucceeded(rung, note.incarnation, number))
                self.told.corrupt.pop(child_id, None)
        elif note.kind in (NoteKind.HOLD_RELEASED, NoteKind.HOLD_REJECTED):
            by = dict(note.data).get("by")
            if by:  # an order over the supervisor's head, no answer to the case
                self._withdraw(child_id, hand, f"{note.kind.value} by {by}")

    def attempt_of(self, peer: Peer) -> Hand | None:
        """The recovery whose attempt in hand this life is."""
        hand = self._hands.get(peer.id)
        return hand if hand is not None and hand.peer is peer else None

    def not_begun(self, peer: Peer) -> None:
        """An attempt waits for its lease: its time counts from then. A silent store says nothing about the standby."""
        hand = self.attempt_of(peer)
        if hand is not None and not hand.abandoned and hand.case.attempting is not None:
            self._step(peer.id, hand, AttemptBegun(hand.case.number))

    def given_up(self, child_id: str, incarnation: int) -> bool:
        """The machine wants a start to end; True when nothing runs of it: the next attempt waits."""
        hand = self._hands.get(child_id)
        if hand is None or hand.order is None or (hand.peer is not None and not hand.peer.gone):
            return False
        if hand.order.incarnation != incarnation:
            return False
        hand.order = hand.peer = None
        return True

    def settle(self, child_ids: Collection[str]) -> None:
        """After a step of the machine that changed these: who is wanted no more has no case, who is gone no trace."""
        for child_id in child_ids:
            child, hand = self._shell.machine.children.get(child_id), self._hands.get(child_id)
            if child is not None and child.state is ChildState.HELD and hand is not None:
                self._settle_hold(child_id, hand)
            if child is None or (not child.wanted and child.state is ChildState.UNDEFINED):
                if hand is not None:
                    self._withdraw(child_id, hand, "stopped")
                self._failed.pop(child_id, None)
                self._shell.standbys.drop(child_id)
            if child is None:
                self._forget(child_id)

    def _settle_hold(self, child_id: str, hand: Hand) -> None:
        """An answer was given, but the supervisor ended before its machine had got to it."""
        if hand.case.outcome is Outcome.DROPPED:
            self._shell.step(HoldRejected(child_id))
        elif hand.case.attempting is not None and hand.next is None and hand.order is None:
            self._again(child_id, hand, hand.case.attempting)

    def _withdraw(self, child_id: str, hand: Hand, why: str) -> None:
        hand.order, hand.next, hand.hold, hand.dropped = None, None, None, ""
        if hand.progress is None:
            self._hands.pop(child_id, None)  # nothing ever happened
        elif not hand.case.closed:
            self._step(child_id, hand, Withdrawn(why))

    def _forget(self, child_id: str) -> None:
        store, path = self._shell.store, self._shell.child_path(child_id)
        self._shell.standbys.forget(child_id)
        self.remains.forget(child_id)
        self.told.forget(child_id)
        self._hands.pop(child_id, None)
        forget_case(store, path)
        forget_failure(store, path)

    # ------------------------------------------------------------ people

    def answer(self, hold: str, who: str, why: str, rung: str, *, approve: bool) -> str:
        """An operator's answer to a hold; gives words about what follows.

        Raises:
            RecoveryError: it cannot be taken: unknown id, nothing held, answered already, no such rung.
        """
        try:
            wanted = Rung(rung) if rung else None
        except ValueError:
            raise RecoveryError(f"{rung!r} is no rung", code=8003, fix="hot, warm or cold") from None
        path = hold.partition("#")[0]
        child_id = next((child for child in self._hands if self._shell.child_path(child) == path), None)
        if child_id is None:
            open_ = ", ".join(hand.case.hold_id for hand in self._hands.values() if hand.case.hold_id) or "none"
            raise RecoveryError(f"nothing is held under {hold!r}; held here: {open_}", code=8002)
        hand = self._hands[child_id]
        self._step(child_id, hand, Approved(hold, who, why, wanted) if approve else Rejected(hold, who, why))
        return reporting.words(hand.case.progress(self._shell.loop.now()))

    # ------------------------------------------------------------ the case

    def _step(self, child_id: str, hand: Hand, event: CaseEvent) -> None:
        effects = hand.case.step(event, self._shell.loop.now())
        self._carry_out(child_id, hand, effects)

    def _carry_out(self, child_id: str, hand: Hand, effects: list[Effect]) -> None:
        approved = any(isinstance(effect, Release) for effect in effects)
        # a promotion touches nothing of what failed, and waits for nothing
        wait = not any(isinstance(effect, Attempt) and effect.rung is Rung.HOT for effect in effects)
        for effect in effects:
            match effect:
                case Attempt():
                    hand.next, hand.approved = effect, approved
                case Hold():
                    hand.hold = effect
                case Abandon(why):
                    self._abandon(child_id, hand, why)
                case Release():
                    hand.hold = None
                    hand.late = True
                case Drop(who, why):
                    self._drop(child_id, hand, who, why)
                case Preserve(why):
                    self._preserve(child_id, hand, why, wait=wait)
                case Validate():
                    self._validate(child_id, hand, effect)
                case Resize(multiplier, _):
                    self._resize(child_id, multiplier)
                case SetTimer(token, at):
                    hand.timers[token] = self._shell.loop.call_at(at, partial(self._timer, child_id, hand, token))
                case CancelTimer(token):
                    self._shell.loop.cancel(hand.timers.pop(token, 0))
                case Progressed(progress):
                    hand.progress = progress
                case Closed():
                    for timer in hand.timers.values():
                        self._shell.loop.cancel(timer)
                    hand.timers.clear()
                case _:
                    pass
        self._advance(child_id, hand)
        incarnation = self._shell.machine.children[child_id].incarnation if self._child(child_id) else 0
        reporting.write(self._shell, child_id, incarnation, effects)
        keep_case(self._shell.store, hand.case)  # rule 3

    def _child(self, child_id: str) -> bool:
        return child_id in self._shell.machine.children

    def _timer(self, child_id: str, hand: Hand, token: int) -> None:
        if hand.timers.pop(token, None) is None or hand.case.closed or self._stopped:
            return
        if token == hand.case.attempt_timer and hand.peer is None:
            hand.late = True  # it has not begun, or was ended by others: its time does not count
            return
        self._step(child_id, hand, TimerFired(token))

    def _advance(self, child_id: str, hand: Hand) -> None:
        """Rule 1: begin what is to be done next, if the machine waits for it and nothing of the last life is left."""
        shell = self._shell
        child = shell.machine.children.get(child_id)
        if child is None or (hand.peer is not None and not hand.peer.gone):
            return
        begins = hand.next is not None and hand.hold is None and not hand.preserving
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
            if standby is None or not (hand.approved or standby.state == "synced"):
                # it was there when that was decided
                why = f"its standby is {standby.state}: {standby.why}" if standby is not None else "its standby is gone"
                failed = AttemptFailed(attempt.rung, why, attempt.number)
                shell.loop.call_soon(lambda: self._step(child_id, hand, failed))
                return
            hand.peer = shell.hosting.promote(order, shell.standbys.take(standby))
        if hand.late:
            hand.late = False  # its time counts from now, not from the decision
            self._step(child_id, hand, AttemptBegun(attempt.number))

    def _abandon(self, child_id: str, hand: Hand, why: str) -> None:
        shell = self._shell
        peer = hand.peer or shell.peers.get(child_id)
        if peer is None or peer.gone:
            hand.peer = None
            return
        hand.abandoned = True
        if peer.host is None:
            if hand.peer is None:  # no attempt, but a start of the machine's own: it is to hear of it
                shell.hosting.failed(peer, RecoveryError(f"given up by its recovery: {why}"))
            peer.gone = True  # it never had a process
            hand.peer = None
            return
        if hand.peer is None:
            hand.peer = peer if hand.order is not None else None
        peer.kill_reason = crash(f"given up by its recovery: {why}")
        shell.kill(peer)

    def _drop(self, child_id: str, hand: Hand, who: str, why: str) -> None:
        hand.next = hand.hold = None
        child = self._shell.machine.children.get(child_id)
        if child is not None and child.state is ChildState.HELD:
            self._shell.step(HoldRejected(child_id, child.incarnation))
            return
        hand.dropped = f"rejected by {who}: {why}"
        self._stay_down(hand)

    def _stay_down(self, hand: Hand) -> None:
        """Rejected before the machine was told that it is held: now, or as soon as it wants it started."""
        order = hand.order
        if order is not None:
            why, hand.dropped, hand.order = hand.dropped, "", None
            self._shell.step(ChildHeld(order.id, order.incarnation, why))
            self._shell.step(HoldRejected(order.id, order.incarnation))

    def _resize(self, child_id: str, multiplier: float) -> None:
        shell = self._shell
        peer = shell.peers.get(child_id)
        if peer is not None and not peer.gone and peer.host is not None:
            shell.send(peer, ResizeOrder(shell.child_path(child_id), peer.incarnation, multiplier))

    # ------------------------------------------------------------ what blocks goes to other threads

    def _preserve(self, child_id: str, hand: Hand, why: str, *, wait: bool) -> None:
        def kept() -> None:
            if wait:
                hand.preserving -= 1
                hand.late = True
                self._advance(child_id, hand)

        if self.remains.keep(child_id, why, kept) and wait:
            hand.preserving += 1

    def _validate(self, child_id: str, hand: Hand, effect: Validate) -> None:
        shell = self._shell
        if self._stopped:
            return
        failure, step = hand.progress.failure if hand.progress is not None else "", effect.step

        def checked(found: validating.Checked) -> None:
            if not hand.case.closed and not self._stopped:
                self._step(child_id, hand, Validated(step.name, found.ok, found.why, effect.run))

        validating.submit(shell, step, shell.child_path(child_id), failure, checked)

    # ------------------------------------------------------------ surviving the supervisor

    def adopt(self, child_id: str, *, running: bool) -> None:
        """A replaced supervisor goes on with the cases of its predecessor (SUP-8)."""
        shell = self._shell
        policy = shell.hosting.recovery_of(child_id)
        record = kept_case(shell.store, shell.child_path(child_id), shell.log)
        if policy is None or record is None:
            return
        failed = self._failed.get(child_id)
        reason = failed[1] if failed is not None else crash(shell.last_reasons.get(child_id, ""))
        case = RecoveryCase.resume(record, policy, shell.loop.now(), ShellEvidence(shell, child_id, reason))
        hand = self._hands[child_id] = Hand(case)
        if case.closed:
            return
        self._carry_out(child_id, hand, case.resumed(shell.loop.now()))
        if case.attempting is not None and running:
            incarnation = shell.peers[child_id].incarnation
            self._step(child_id, hand, AttemptSucceeded(case.attempting, incarnation, case.number))

    def held(self) -> list[str]:
        """Children whose recovery waits for a person."""
        return [child_id for child_id, hand in self._hands.items() if hand.case.hold_id]

    def stop(self) -> None:
        """The supervisor ends: nobody is to go on with its cases, but what waits for a person goes on waiting."""
        for child_id, hand in list(self._hands.items()):
            if hand.case.hold_id:
                leave_hold(self._shell.store, self._shell.child_path(child_id))
            else:
                self._withdraw(child_id, hand, "its supervisor ends")
        self._stopped = True
        self.remains.stop()
