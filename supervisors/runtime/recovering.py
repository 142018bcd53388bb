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

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from supervisors.core.errors import RecoveryError
from supervisors.core.reasons import ExitReason, crash
from supervisors.recovery.case import CaseRecord, RecoveryCase
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
    Preserve,
    Progressed,
    Rejected,
    Release,
    Resize,
    RungFailed,
    SetTimer,
    TimerFired,
    Validate,
    Validated,
    Withdrawn,
)
from supervisors.recovery.messages import Event as CaseEvent
from supervisors.recovery.policy import RecoverySpec, Rung
from supervisors.recovery.progress import Progress
from supervisors.runtime import preserving, reporting, validating
from supervisors.runtime.evidence import ShellEvidence, tell_evidence, tell_failure
from supervisors.runtime.peers import Peer
from supervisors.signals.messages import Checkpointed, EvidenceGiven, StateNoted
from supervisors.signals.messages import Resize as ResizeOrder
from supervisors.trail.events import EventKind, failure_id
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

_CASE = "recovery:"


@dataclass(slots=True)
class Hand:
    """What is in hand for one child.

    Attributes:
        case: its recovery; closed ones are replaced.
        order: the start the machine waits for; None while it waits for none.
        peer: the life of the attempt in hand, until it is up or gone; without one its time does not count.
        next: the attempt to begin as soon as rule 1 allows.
        hold: the hold to tell the machine as soon as nothing runs.
        abandoned: the case has given up the life in hand; its end is no news to it.
        preserving: so many failed states are being kept: the next attempt waits for them (REC-3).
        late: the attempt to begin had to wait.
        approved: a person chose the attempt to begin.
    """

    case: RecoveryCase
    order: StartChild | None = None
    peer: Peer | None = None
    next: Attempt | None = None
    hold: Hold | None = None
    abandoned: bool = False
    preserving: int = 0
    late: bool = False
    approved: bool = False
    timers: dict[int, int] = field(default_factory=dict)
    progress: Progress | None = None


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
        #: last checkpoint told: sequence and monotonic seconds
        self.checkpoints: dict[str, tuple[int, float]] = {}
        #: children whose state is suspected to be damaged, and why
        self.corrupt: dict[str, str] = {}

    # ------------------------------------------------------------ questions

    def multiplier(self, child_id: str) -> float:
        """How much of its size this child is to trade (REC-6)."""
        hand = self._hands.get(child_id)
        if hand is None:
            return 1.0
        return hand.next.multiplier if hand.next is not None else hand.case.multiplier

    def progress(self, child_id: str) -> Progress | None:
        """Where its recovery stands; None when there was none."""
        hand = self._hands.get(child_id)
        if hand is None or hand.progress is None:
            return None
        return hand.progress if hand.case.closed else hand.case.progress(self._shell.loop.now())

    def status(self, child_id: str) -> RecoveryStatus | None:
        """The same for people and programs, with the id a person answers."""
        hand, progress = self._hands.get(child_id), self.progress(child_id)
        return reporting.status(progress, hand.case.hold_id) if hand is not None and progress is not None else None

    # ------------------------------------------------------------ what the machine orders

    def start(self, order: StartChild) -> bool:
        """The machine wants this child started; True when a recovery takes care of it."""
        shell = self._shell
        policy = shell.hosting.recovery_of(order.id)
        if policy is None:
            return False
        self._prepare()
        hand = self._hands.get(order.id)
        if hand is None or (hand.case.closed and hand.next is None):
            hand = self._hands[order.id] = self._new_hand(order.id, policy, hand)
        hand.order = order
        failed = self._failed.pop(order.id, None)
        if hand.next is not None or hand.hold is not None:
            self._advance(order.id, hand)
        elif failed is not None:
            self._failure(order.id, hand, *failed)
        elif hand.case.attempting is not None:
            # rule 4: had the attempt failed, the machine would have noted it
            case = hand.case
            hand.next = Attempt(hand.case.attempting, 0.0, case.number, case.multiplier)
            hand.late = True
            self._advance(order.id, hand)
        elif hand.case.hold_id:
            hand.hold = Hold(hand.case.hold_id, "it still waits for a person", Rung.MANUAL)
            self._advance(order.id, hand)
        else:
            # nothing failed: a first start, an order, or a sibling's fate. Its state is restored all the same
            rung = Rung.WARM.value if order.restart else ""
            hand.order = None
            shell.hosting.begin(order, rung)
        return True

    def _new_hand(self, child_id: str, policy: RecoverySpec, old: Hand | None) -> Hand:
        if old is not None:
            return Hand(RecoveryCase(old.case.record().path, policy, old.case.history))
        kept = self._kept(child_id)
        hand = Hand(RecoveryCase(self._shell.child_path(child_id), policy, kept.history if kept is not None else None))
        if kept is not None and kept.closed is None:
            self._keep(child_id, hand)  # of a supervisor that is over: nobody is to go on with it
        return hand

    def _failure(self, child_id: str, hand: Hand, incarnation: int, reason: ExitReason, at: float) -> None:
        shell = self._shell
        policy = shell.hosting.recovery_of(child_id)
        if hand.case.closed and policy is not None:
            order = hand.order
            hand = self._hands[child_id] = self._new_hand(child_id, policy, hand)
            hand.order = order
        path = shell.child_path(child_id)
        self._suspect(child_id, reason)
        source = ShellEvidence(shell, child_id, reason)
        self._step(child_id, hand, FailureSeen(failure_id(path, incarnation), incarnation, reason, source, at))
        if self.remains.has_stack(child_id):
            self._preserve(child_id, hand, str(reason), wait=False)
        tell_failure(shell.store, path)

    def _suspect(self, child_id: str, reason: ExitReason) -> None:
        if "JournalCorrupt" in reason.message or "E7003" in reason.message:
            self.corrupt[child_id] = reason.message

    # ------------------------------------------------------------ what happens to processes

    def ended(self, peer: Peer, event: Event) -> bool:
        """The process of a life is gone; True when that is an attempt's business and not the machine's."""
        hand = self._hands.get(peer.id)
        if hand is None or hand.peer is not peer:
            return False
        hand.peer = None
        if self._shell.is_stopping(peer.id) or isinstance(event, ChildIgnored) or hand.order is None:
            hand.order = None
            return False
        if not hand.abandoned and isinstance(event, ChildExited | ChildStartFailed):
            rung = hand.case.attempting or Rung.COLD
            self._suspect(peer.id, event.reason)
            why = str(event.reason)
            self._step(peer.id, hand, AttemptFailed(rung, why, hand.case.number))
        hand.abandoned = False
        self._advance(peer.id, hand)
        return True

    def noticed(self, note: Note) -> None:
        """The machine wrote a line: what of it matters here."""
        child_id, now = note.id, self._shell.loop.now()
        if note.kind is NoteKind.CHILD_EXITED and note.reason is not None:
            if note.reason.is_abnormal:
                times = self._shell.failures.get(child_id)
                at = times.failed_at if times is not None and times.incarnation == note.incarnation else now
                self._failed[child_id] = note.incarnation, note.reason, at or now
            return
        if note.kind is NoteKind.CHILD_START_FAILED and note.reason is not None:
            self._failed[child_id] = note.incarnation, note.reason, now
            return
        hand = self._hands.get(child_id)
        if hand is None:
            return
        if note.kind is NoteKind.CHILD_READY:
            hand.order = None
            hand.peer = None
            if hand.case.attempting is not None:
                rung, number = hand.case.attempting, hand.case.number
                self._step(child_id, hand, AttemptSucceeded(rung, note.incarnation, number))
                self.corrupt.pop(child_id, None)
        elif note.kind in (NoteKind.HOLD_RELEASED, NoteKind.HOLD_REJECTED):
            by = dict(note.data).get("by")
            if by:  # an order over the supervisor's head, no answer to the case
                self._withdraw(child_id, hand, f"{note.kind.value} by {by}")
        elif note.kind is NoteKind.CHILD_STOPPED and not self._is_coming_back(child_id):
            self._withdraw(child_id, hand, "stopped")

    def _is_coming_back(self, child_id: str) -> bool:
        child = self._shell.machine.children.get(child_id)
        return child is not None and child.wanted and not self._shell.machine.ended

    def _withdraw(self, child_id: str, hand: Hand, why: str) -> None:
        hand.order = hand.next = hand.hold = None
        if not hand.case.closed:
            self._step(child_id, hand, Withdrawn(why))

    def before_kill(self, peer: Peer, reason: ExitReason, kill: Callable[[], None]) -> None:
        """A hung process is to be killed: keep where it stands first, for at most ``DUMP_LIMIT`` seconds."""
        shell = self._shell
        hand = self._hands.get(peer.id)
        policy = shell.hosting.recovery_of(peer.id)
        if policy is None or policy.keep_failed == 0 or peer.host is None or not peer.host.local:
            kill()
            return
        if hand is None:
            hand = self._hands[peer.id] = self._new_hand(peer.id, policy, None)
        pid, mine = peer.host.pid, hand

        def dump() -> None:
            stack = preserving.stack_of(pid, DUMP_LIMIT)

            def dumped() -> None:
                mine.stack = stack
                kill()

            shell.loop.call_soon(dumped)

        shell.executor.submit(dump)

    # ------------------------------------------------------------ what children tell

    def checkpointed(self, peer: Peer, message: Checkpointed) -> None:
        """A checkpoint is on the disk."""
        self.checkpoints[peer.id] = message.sequence, self._shell.loop.now()
        self.corrupt.pop(peer.id, None)
        ms = round(message.elapsed * 1e3, 3)
        data: dict[str, str | int | float | bool | None] = {"sequence": message.sequence, "bytes": message.bytes}
        self._shell.write(EventKind.CHECKPOINT, peer.id, peer.incarnation, data=data | {"ms": ms})

    def noted(self, peer: Peer, message: StateNoted) -> None:
        """Something about its journal that bears on later decisions."""
        if message.data.get("what") in ("corrupt", "replay_mismatch"):
            self.corrupt[peer.id] = str(message.data.get("why", message.data.get("what")))
        if message.kind == EventKind.STANDBY and message.data.get("state") == "lagging" and not peer.standby:
            self._shell.standbys.lagging(str(message.data.get("host", "")), str(message.data.get("why", "")))

    def evidence_given(self, peer: Peer, message: EvidenceGiven) -> None:
        """An actor tells of the outside world, or that it doubts its own state."""
        if message.name == "corruption_suspected":
            if message.value:
                self.corrupt[peer.id] = "the actor says so"
            else:
                self.corrupt.pop(peer.id, None)
            return
        tell_evidence(self._shell.store, message.name, message.value)

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
        rung_failed = any(isinstance(effect, RungFailed) for effect in effects)
        for effect in effects:
            match effect:
                case Attempt():
                    hand.next = effect
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
                    self._preserve(child_id, hand, why, wait=rung_failed)
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
        self._keep(child_id, hand)

    def _child(self, child_id: str) -> bool:
        return child_id in self._shell.machine.children

    def _timer(self, child_id: str, hand: Hand, token: int) -> None:
        if hand.timers.pop(token, None) is not None and not hand.case.closed:
            self._step(child_id, hand, TimerFired(token))

    def _advance(self, child_id: str, hand: Hand) -> None:
        """Rule 1: begin what is to be done next, if the machine waits for it and nothing of the last life is left."""
        shell = self._shell
        if hand.preserving or (hand.peer is not None and not hand.peer.gone):
            return
        child = shell.machine.children.get(child_id)
        if child is None:
            return
        if child.state is ChildState.HELD:
            if hand.next is not None and hand.hold is None:
                shell.step(HoldReleased(child_id, child.incarnation))
            return
        order = hand.order
        if order is None:
            return
        if hand.hold is not None:
            hand.order = None
            shell.step(ChildHeld(child_id, order.incarnation, hand.hold.why))
            hand.hold = None
        elif hand.next is not None:
            attempt = hand.next
            hand.abandoned = False
            hand.peer = self._begin(order, attempt)
            hand.next = None
            if hand.late:
                hand.late = False  # its time counts from now, not from the decision
                self._step(child_id, hand, AttemptBegun(attempt.number))

    def _begin(self, order: StartChild, attempt: Attempt) -> Peer:
        shell = self._shell
        if attempt.rung is Rung.HOT:
            standby = shell.standbys.best(order.id)
            if standby is not None:
                return shell.hosting.promote(order, shell.standbys.take(standby))
        rung = Rung.WARM if attempt.rung is Rung.HOT else attempt.rung
        return shell.hosting.begin(order, rung.value)

    def _abandon(self, child_id: str, hand: Hand, why: str) -> None:
        shell = self._shell
        peer = hand.peer or shell.peers.get(child_id)
        if peer is None or peer.gone:
            hand.peer = None
            return
        hand.abandoned = True
        if peer.host is None:
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
        if hand.order is not None:
            order, hand.order = hand.order, None
            self._shell.step(ChildHeld(child_id, order.incarnation, f"rejected by {who}: {why}"))
            self._shell.step(HoldRejected(child_id, order.incarnation))

    def _resize(self, child_id: str, multiplier: float) -> None:
        shell = self._shell
        peer = shell.peers.get(child_id)
        if peer is not None and not peer.gone and peer.host is not None:
            shell.send(peer, ResizeOrder(shell.child_path(child_id), peer.incarnation, multiplier))

    # ------------------------------------------------------------ what blocks goes to other threads

    def _preserve(self, child_id: str, hand: Hand, why: str, *, wait: bool) -> None:
        shell = self._shell
        policy = shell.hosting.recovery_of(child_id)
        peer = shell.peers.get(child_id)
        if policy is None or policy.keep_failed == 0 or peer is None:
            return
        state = reporting.failed_state(shell, peer, why)
        stack, hand.stack = hand.stack, ""
        keep, data_dir = policy.keep_failed, Path(shell.boot.data_dir)

        def keep_it() -> None:
            kept = preserving.preserve(data_dir, state, keep, stack)
            shell.loop.call_soon(lambda: done(kept))

        def done(kept: preserving.Preserved) -> None:
            reporting.write_preserved(shell, child_id, state.incarnation, kept)
            if wait:
                hand.preserving = False
                hand.late = True
                self._advance(child_id, hand)

        hand.preserving = hand.preserving or wait
        shell.executor.submit(keep_it)

    def _validate(self, child_id: str, hand: Hand, effect: Validate) -> None:
        shell = self._shell
        path, step = shell.child_path(child_id), effect.step
        failure = hand.progress.failure if hand.progress is not None else ""

        def check() -> None:
            found = validating.check(shell.boot, shell.store, step, path, failure)

            def checked() -> None:
                if not hand.case.closed and not self._stopped:
                    self._step(child_id, hand, Validated(step.name, found.ok, found.why, effect.run))

            shell.loop.call_soon(checked)

        shell.executor.submit(check)

    # ------------------------------------------------------------ surviving the supervisor

    def _keep(self, child_id: str, hand: Hand) -> None:
        """Rule 3."""
        record = msgspec.json.encode(hand.case.record()).decode()
        self._shell.store.put(**{_CASE + self._shell.child_path(child_id): record})

    def adopt(self, child_id: str, *, running: bool) -> None:
        """A replaced supervisor goes on with the cases of its predecessor (SUP-8)."""
        shell = self._shell
        policy = shell.hosting.recovery_of(child_id)
        kept = shell.store.get(_CASE + shell.child_path(child_id))
        if policy is None or not kept:
            return
        try:
            record = msgspec.json.decode(kept, type=CaseRecord)
        except msgspec.MsgspecError as error:
            shell.log.error("{}: its recovery cannot be read: {}", child_id, error)
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
        """The supervisor ends."""
        self._stopped = True

    def _prepare(self) -> None:
        """What the first recovery would otherwise have to import and open."""
        if not self._prepared:
            self._prepared = True
            self._shell.leases.prepare()
