"""The recoveries of one supervisor's children: a restart becomes a case, decided by rule, carried out rung by rung.

The tree's machine sees one start, from ``StartChild`` to its outcome; which rungs are tried in between is this room's
business. Rules kept here:
 1. A rung is begun only while the machine waits for this child's start and no process of an earlier life is left.
 2. What the machine must hear (started, held, failed for good) it hears once.
 3. A case is written down after each change, so that a replaced supervisor goes on with it.
 4. An attempt that ended for a reason of others (a sibling's fate, its supervisor's crash) has not failed: it is begun
    again, and its time counts anew.
What touches the world is a shell's (``ports``).
"""

from collections.abc import Collection
from functools import partial

from supervisors.core.errors import RecoveryError
from supervisors.core.paths import failure_id
from supervisors.core.reasons import ExitReason, crash
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
from supervisors.recovery.ports import Hand, L, RecoveryPorts
from supervisors.recovery.progress import Progress
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

#: notes that say that a start waits no more
_ANSWERED = frozenset(
    NoteKind(f"child_{end}") for end in ("ready", "stopped", "exited", "start_failed", "ignored", "held")
)


class Recoveries(RecoveryPorts[L]):
    """Of one supervisor. All of it runs in the one thread that steps the tree's machine."""

    def __init__(self) -> None:
        self._hands: dict[str, Hand[L]] = {}
        #: the last life that failed: incarnation, reason, monotonic seconds
        self._failed: dict[str, tuple[int, ExitReason, float]] = {}
        self._stopped = False

    # ------------------------------------------------------------ what the machine orders

    def start(self, order: StartChild) -> bool:
        """The machine wants this child started; True when a recovery takes care of it."""
        policy = self._policy(order.id)
        if policy is None:
            return False
        if not order.restart:
            self._failed.pop(order.id, None)  # what it once failed of is over: somebody wants it started
        if order.id not in self._hands and self._waits_on(order.id):
            self.adopt(order.id, running=False)  # its supervisor ended meanwhile, or crashed: fail safe (REC-2)
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
            hand.order, hand.plain = None, order
            self._begin_life(order, Rung.WARM.value if order.restart else "")
        return True

    def _again(self, child_id: str, hand: Hand[L], rung: Rung) -> None:
        hand.next = Attempt(rung, 0.0, hand.case.number, hand.case.multiplier)
        hand.late, hand.named = True, False
        self._advance(child_id, hand)

    def _new_hand(self, child_id: str, policy: RecoverySpec, old: Hand[L] | None) -> Hand[L]:
        path = self._path(child_id)
        if old is not None:
            return Hand(self.cases(path, policy, old.case.history))
        kept = self._kept(child_id)
        hand: Hand[L] = Hand(self.cases(path, policy, kept.history if kept is not None else None))
        if kept is not None and kept.closed is None:
            self._keep(hand.case)  # of a supervisor that is over: nobody is to go on with it
        return hand

    def _failure(self, child_id: str, hand: Hand[L], incarnation: int, reason: ExitReason, at: float) -> None:
        policy = self._policy(child_id)
        if hand.case.closed and policy is not None:
            order = hand.order
            hand = self._hands[child_id] = self._new_hand(child_id, policy, hand)
            hand.order = order
        self._suspect(child_id, reason)
        failure = failure_id(self._path(child_id), incarnation)
        self._step(child_id, hand, FailureSeen(failure, incarnation, reason, self._evidence(child_id, reason), at))

    # ------------------------------------------------------------ what happens to processes

    def ended(self, life: L, event: Event) -> bool:
        """The process of a life is gone; True when that is an attempt's business and not the machine's."""
        hand = self.attempt_of(life)
        if hand is None:
            return self._was_refused(life) and self._becomes_recovery(life, event)
        hand.life = None
        child = self._children().get(life.id)
        stopping = child is None or child.state is ChildState.STOPPING
        if stopping or isinstance(event, ChildIgnored) or hand.order is None:
            hand.order = None
            return False
        if not hand.abandoned and isinstance(event, ChildExited | ChildStartFailed):
            rung = hand.case.attempting or Rung.COLD
            self._suspect(life.id, event.reason)
            self._step(life.id, hand, AttemptFailed(rung, str(event.reason), hand.case.number))
        hand.abandoned = False
        self._advance(life.id, hand)
        return True

    def _becomes_recovery(self, life: L, event: Event) -> bool:
        """A start that followed from no failure was refused: it becomes a recovery, to be held, not repeated."""
        hand, child = self._hands.get(life.id), self._children().get(life.id)
        if hand is None or hand.plain is None or child is None or not isinstance(event, ChildStartFailed):
            return False
        if child.state is not ChildState.STARTING or hand.plain.incarnation != child.incarnation:
            return False
        hand.order, hand.plain = hand.plain, None
        self._failure(life.id, hand, child.incarnation, event.reason, self._now())
        return True

    def noticed(self, note: Note) -> None:
        """The machine wrote a line: what of it matters here."""
        child_id = note.id
        hand = self._hands.get(child_id)
        if hand is not None and hand.order is not None and note.kind in _ANSWERED:
            if note.incarnation == hand.order.incarnation:
                hand.order = None
            if hand.life is not None and hand.life.gone:
                hand.life = None
        if note.kind is NoteKind.CHILD_EXITED and note.reason is not None:
            if note.reason.is_abnormal:
                self._failed[child_id] = note.incarnation, note.reason, self._failed_at(note)
            return
        if note.kind is NoteKind.CHILD_START_FAILED and note.reason is not None:
            self._failed[child_id] = note.incarnation, note.reason, self._now()
            return
        if hand is None:
            return
        if note.kind is NoteKind.CHILD_READY:
            hand.life = None
            if hand.case.attempting is not None:
                rung, number = hand.case.attempting, hand.case.number
                self._step(child_id, hand, AttemptSucceeded(rung, note.incarnation, number))
                self._recovered(child_id)
        elif note.kind in (NoteKind.HOLD_RELEASED, NoteKind.HOLD_REJECTED):
            by = dict(note.data).get("by")
            if by:  # an order over the supervisor's head, no answer to the case
                self._withdraw(child_id, hand, f"{note.kind.value} by {by}")

    def attempt_of(self, life: L) -> Hand[L] | None:
        """The recovery whose attempt in hand this life is."""
        hand = self._hands.get(life.id)
        return hand if hand is not None and hand.life is life else None

    def not_begun(self, life: L) -> None:
        """An attempt waited for its lease or its process, or still does: its time counts from now.

        A silent store says nothing about the standby, and where processes are made slowly the next rung waits as long.
        """
        hand = self.attempt_of(life)
        if hand is not None and not hand.abandoned and hand.case.attempting is not None:
            self._step(life.id, hand, AttemptBegun(hand.case.number))

    def given_up(self, child_id: str, incarnation: int) -> bool:
        """The machine wants a start to end; True when nothing runs of it: the next attempt waits."""
        hand = self._hands.get(child_id)
        if hand is None or hand.order is None or (hand.life is not None and not hand.life.gone):
            return False
        if hand.order.incarnation != incarnation:
            return False
        hand.order = hand.life = None
        return True

    def settle(self, child_ids: Collection[str]) -> None:
        """After a step of the machine that changed these: who is wanted no more has no case, who is gone no trace."""
        for child_id in sorted(child_ids):
            child, hand = self._children().get(child_id), self._hands.get(child_id)
            if child is not None and child.state is ChildState.HELD and hand is not None:
                self._settle_hold(child_id, hand)
            if child is None or (not child.wanted and child.state is ChildState.UNDEFINED):
                if hand is not None:
                    self._withdraw(child_id, hand, "stopped")
                self._failed.pop(child_id, None)
                self._unwanted(child_id)
            if child is None:
                self._hands.pop(child_id, None)
                self._forget(child_id)

    def _settle_hold(self, child_id: str, hand: Hand[L]) -> None:
        """An answer was given, but the supervisor ended before its machine had got to it."""
        if hand.case.outcome is Outcome.DROPPED:
            self._tell(HoldRejected(child_id))
        elif hand.case.attempting is not None and hand.next is None and hand.order is None:
            self._again(child_id, hand, hand.case.attempting)

    def _withdraw(self, child_id: str, hand: Hand[L], why: str) -> None:
        hand.order, hand.next, hand.hold, hand.dropped = None, None, None, ""
        if hand.progress is None:
            self._hands.pop(child_id, None)  # nothing ever happened
        elif not hand.case.closed:
            self._step(child_id, hand, Withdrawn(why))

    # ------------------------------------------------------------ people

    def answer(self, hold: str, who: str, why: str, rung: str = "", *, approve: bool) -> Progress:
        """An operator's answer to a hold, ``rung`` where it names one; gives how far that recovery is then.

        Raises:
            RecoveryError: it cannot be taken: unknown id, nothing held (8002), answered already, no such rung (8003).
        """
        try:
            wanted = Rung(rung) if rung else None
        except ValueError:
            raise RecoveryError(f"{rung!r} is no rung", code=8003, fix="hot, warm or cold") from None
        path = hold.partition("#")[0]
        child_id = next((child for child in self._hands if self._path(child) == path), None)
        if child_id is None:
            open_ = ", ".join(hand.case.hold_id for hand in self._hands.values() if hand.case.hold_id) or "none"
            raise RecoveryError(f"nothing is held under {hold!r}; held here: {open_}", code=8002)
        hand = self._hands[child_id]
        self._step(child_id, hand, Approved(hold, who, why, wanted) if approve else Rejected(hold, who, why))
        return hand.case.progress(self._now())

    def held(self) -> list[str]:
        """Children whose recovery waits for a person."""
        return [child_id for child_id, hand in self._hands.items() if hand.case.hold_id]

    # ------------------------------------------------------------ the case

    def _step(self, child_id: str, hand: Hand[L], event: CaseEvent) -> None:
        self._carry_out(child_id, hand, hand.case.step(event, self._now()))

    def _carry_out(self, child_id: str, hand: Hand[L], effects: list[Effect]) -> None:
        named = any(isinstance(effect, Release) and effect.named for effect in effects)
        # a promotion touches nothing of what failed, and waits for nothing
        wait = not any(isinstance(effect, Attempt) and effect.rung is Rung.HOT for effect in effects)
        for effect in effects:
            match effect:
                case Attempt():
                    hand.next, hand.named = effect, named
                case Hold():
                    hand.hold, hand.next = effect, None  # an attempt that never began must not begin without an answer
                case Abandon(why):
                    self._abandon(child_id, hand, why)
                case Release():
                    hand.hold = None
                    hand.late = True
                case Drop(who, why):
                    self._drop(child_id, hand, who, why)
                case Preserve(why):
                    self._keep_remains(child_id, hand, why, wait=wait)
                case Validate():
                    self._validate(child_id, hand, effect)
                case Resize(multiplier, _):
                    self._resize(child_id, multiplier)
                case SetTimer(token, at):
                    hand.timers[token] = self._call_at(at, partial(self._timer, child_id, hand, token))
                case CancelTimer(token):
                    self._cancel(hand.timers.pop(token, 0))
                case Progressed(progress):
                    hand.progress = progress
                case Closed():
                    for number in hand.timers.values():
                        self._cancel(number)
                    hand.timers.clear()
                case _:
                    pass
        self._advance(child_id, hand)
        self._report(child_id, effects)
        self._keep(hand.case)  # rule 3

    def _timer(self, child_id: str, hand: Hand[L], token: int) -> None:
        if hand.timers.pop(token, None) is None or hand.case.closed or self._stopped:
            return
        has_process = hand.life is not None and self._has_process(hand.life)
        if token == hand.case.attempt_timer and not has_process:
            hand.late = True  # it has no process yet, or was ended by others: its time does not count
            return
        self._step(child_id, hand, TimerFired(token))

    def _advance(self, child_id: str, hand: Hand[L]) -> None:
        """Rule 1: begin what is to be done next, if the machine waits for it and nothing of the last life is left."""
        child = self._children().get(child_id)
        if child is None or (hand.life is not None and not hand.life.gone):
            return
        begins = hand.next is not None and hand.hold is None and not hand.preserving
        if child.state is ChildState.HELD:
            if begins:
                self._tell(HoldReleased(child_id, child.incarnation))
            return
        order = hand.order
        if order is None:
            return
        if hand.hold is not None:
            hold, hand.hold, hand.order = hand.hold, None, None
            self._tell(ChildHeld(child_id, order.incarnation, hold.why))
        elif begins and hand.next is not None:
            attempt, hand.next = hand.next, None
            self._begin(child_id, hand, order, attempt)

    def _begin(self, child_id: str, hand: Hand[L], order: StartChild, attempt: Attempt) -> None:
        hand.abandoned = False
        if attempt.rung is not Rung.HOT:
            hand.life = self._begin_life(order, attempt.rung.value, named=hand.named)
        else:
            promoted = self._promote(order, named=hand.named)
            if isinstance(promoted, str):  # there was one when that was decided
                failed = AttemptFailed(attempt.rung, promoted, attempt.number)
                self._soon(lambda: self._step(child_id, hand, failed))
                return
            hand.life = promoted
        if hand.late:
            hand.late = False  # its time counts from now, not from the decision
            self._step(child_id, hand, AttemptBegun(attempt.number))

    def _abandon(self, child_id: str, hand: Hand[L], why: str) -> None:
        life = hand.life or self._life(child_id)
        if life is None or life.gone:
            hand.life = None
            return
        hand.abandoned = True
        if not self._has_process(life):
            if hand.life is None:  # no attempt, but a start of the machine's own: it is to hear of it
                self._never_began(life, f"given up by its recovery: {why}")
            life.gone = True
            hand.life = None
            return
        if hand.life is None:
            hand.life = life if hand.order is not None else None
        life.kill_reason = crash(f"given up by its recovery: {why}")
        self._kill(life)

    def _drop(self, child_id: str, hand: Hand[L], who: str, why: str) -> None:
        hand.next = hand.hold = None
        child = self._children().get(child_id)
        if child is not None and child.state is ChildState.HELD:
            self._tell(HoldRejected(child_id, child.incarnation))
            return
        hand.dropped = f"rejected by {who}: {why}"
        self._stay_down(hand)

    def _stay_down(self, hand: Hand[L]) -> None:
        """Rejected before the machine was told that it is held: now, or as soon as it wants it started."""
        order = hand.order
        if order is not None:
            why, hand.dropped, hand.order = hand.dropped, "", None
            self._tell(ChildHeld(order.id, order.incarnation, why))
            self._tell(HoldRejected(order.id, order.incarnation))

    def _keep_remains(self, child_id: str, hand: Hand[L], why: str, *, wait: bool) -> None:
        def kept() -> None:
            if wait:
                hand.preserving -= 1
                hand.late = True
                self._advance(child_id, hand)

        if self._preserve(child_id, why, kept) and wait:
            hand.preserving += 1

    def _validate(self, child_id: str, hand: Hand[L], effect: Validate) -> None:
        if self._stopped:
            return

        def checked(ok: bool, why: str) -> None:
            if not hand.case.closed and not self._stopped:
                self._step(child_id, hand, Validated(effect.step.name, ok, why, effect.run))

        self._check(child_id, effect, hand.progress.failure if hand.progress is not None else "", checked)

    # ------------------------------------------------------------ surviving the supervisor

    def adopt(self, child_id: str, *, running: bool) -> None:
        """A replaced supervisor goes on with the cases of its predecessor (SUP-8)."""
        policy, record = self._policy(child_id), self._kept(child_id)
        if policy is None or record is None:
            return
        failed = self._failed.get(child_id)
        reason = failed[1] if failed is not None else self._last_reason(child_id)
        case = self.cases.resume(record, policy, self._now(), self._evidence(child_id, reason))
        hand = self._hands[child_id] = Hand(case)
        if case.closed:
            return
        self._carry_out(child_id, hand, case.resumed(self._now()))
        life = self._life(child_id)
        if case.attempting is not None and running and life is not None:
            self._step(child_id, hand, AttemptSucceeded(case.attempting, life.incarnation, case.number))

    def stop(self) -> None:
        """The supervisor ends: nobody is to go on with its cases, but what waits for a person goes on waiting."""
        for child_id, hand in list(self._hands.items()):
            if not hand.case.hold_id:
                self._withdraw(child_id, hand, "its supervisor ends")
        self._stopped = True
