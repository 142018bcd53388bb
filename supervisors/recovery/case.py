"""One child's recovery, from its failure until it is healthy again. Pure.

    case = RecoveryCase("/cell/md", spec, history)     # the History kept for this path
    effects = case.step(FailureSeen(...), now)

Rules, in the order a reader meets them:
 1. News of a life that is known to have failed, answers to what is no longer in hand, and timers that were taken back
    change nothing.
 2. At most one attempt is in hand. For one failure each rung is attempted once, unless a person names it.
 3. What failed is preserved before anything else is done about it; manual is always held for a person.
 4. The size goes out before the attempt. A ramp once due in a case is due until it is done, whatever rung follows.
 5. Failing while the recovery is in progress or validated fails the rung; failing later is a new failure of the same
    case, with a decision of its own, and counts among the failed recoveries like any failed rung.
 6. After ``Closed`` nothing is emitted: the next failure is a new case with the same history.

Of the effects of one step those that do something come first and in order, then snapshots, ``Closed`` last.
"""

import msgspec

from supervisors.recovery import checking
from supervisors.recovery.approval import Held, answered, check_answer, check_rung, needs_approval
from supervisors.recovery.decision import decide
from supervisors.recovery.evidence import CaseEvidence, EvidenceSource, UnknownEvidence
from supervisors.recovery.ladder import next_rung, proposed_rung
from supervisors.recovery.messages import (
    Abandon,
    Answer,
    Answered,
    Approved,
    AskApproval,
    Attempt,
    AttemptBegun,
    AttemptFailed,
    AttemptSucceeded,
    Decided,
    Drop,
    Effect,
    Event,
    FailureSeen,
    Hold,
    Outcome,
    Preserve,
    Progressed,
    Rejected,
    Release,
    Resize,
    RungFailed,
    SetTimer,
    StepDone,
    TimerFired,
    Validate,
    Validated,
    Withdrawn,
)
from supervisors.recovery.policy import RecoverySpec, Rung
from supervisors.recovery.progress import ATTEMPT_STEPS, History, Progress, State
from supervisors.recovery.ramp import ramp_after, size_at
from supervisors.recovery.record import CaseRecord
from supervisors.recovery.standing import FAR, Standing

__all__ = ["CaseRecord", "RecoveryCase"]

#: seconds a timer may come early: what event loops round away
_EARLY = 0.01
#: answered holds that are remembered
_REMEMBERED = 20


class RecoveryCase:
    """The recovery of one child.

    Args:
        path: the child.
        spec: its policy.
        history: what is known of its earlier recoveries; added to. None: nothing.
    """

    def __init__(self, path: str, spec: RecoverySpec, history: History | None = None) -> None:
        record = CaseRecord(path, history=History() if history is None else history, timers={})
        self._standing = Standing(record, spec)
        self._source: EvidenceSource = UnknownEvidence()

    # ------------------------------------------------------------ questions

    @property
    def closed(self) -> bool:
        """True after ``Closed``: nothing is ever emitted again."""
        return self._standing.r.closed is not None

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None before ``Closed``."""
        return self._standing.r.closed

    @property
    def attempting(self) -> Rung | None:
        """The rung of the attempt in hand (asked for, neither up nor failed), or None."""
        return self._standing.r.rung if self._standing.r.attempting else None

    @property
    def number(self) -> int:
        """Number of the last attempt, from 1; 0 before the first."""
        return self._standing.r.number

    @property
    def attempt_timer(self) -> int:
        """Token of the timer that bounds the attempt in hand; 0 without one."""
        timer = self._standing.r.timers.get("attempt")
        return 0 if timer is None else timer.token

    @property
    def hold_id(self) -> str:
        """What people answer; empty while nothing is held."""
        hold = self._standing.r.hold
        return "" if hold is None else hold.id

    @property
    def multiplier(self) -> float:
        """What the child may trade, times its normal size."""
        return self._standing.r.multiplier

    @property
    def history(self) -> History:
        """For the next case of this path."""
        return self._standing.r.history

    def progress(self, now: float) -> Progress:
        """How far it is; changes nothing."""
        return self._standing.snapshot(now)

    # ------------------------------------------------------------ events

    def step(self, event: Event, now: float) -> list[Effect]:
        """Take one event at ``now`` (monotonic seconds) and return what is to be done, in order.

        Raises:
            AnswerRefused: an approval or rejection that cannot be taken; nothing has changed.
        """
        case = self._standing
        case.now = now
        if isinstance(event, Approved | Rejected):
            self._answer(event)
        elif case.r.closed is None:
            case.refresh()  # what may have been shown until now counts for what is shown next
            self._take(event)
        case.refresh()
        return case.take_effects()

    def _take(self, event: Event) -> None:
        case, r = self._standing, self._standing.r
        failed = ""
        match event:
            case FailureSeen():
                self._failure_seen(event)
            case AttemptBegun(attempt):
                if r.attempting and attempt in (0, r.number):
                    r.attempt_at = r.step_at = case.now
                    self._set_attempt_timer()
            case AttemptSucceeded(rung, incarnation, attempt):
                if r.attempting and rung is r.rung and attempt in (0, r.number):
                    failed = self._up(incarnation)
            case AttemptFailed(rung, why, attempt):
                if r.attempting and rung is r.rung and attempt in (0, r.number):
                    self._rung_failed(why, abandon=False)
            case StepDone(name, seconds):
                if r.rung is not None and r.attempting and name in ATTEMPT_STEPS[r.rung] and name not in r.done:
                    r.history.note(case.attempt_key(name), seconds)
                    r.spent += max(0.0, seconds)
                    case.done(name)
                    case.tell()
            case Validated():
                failed = checking.answer(case, event)
            case TimerFired(token):
                failed = self._timer(token)
            case Withdrawn(why):
                r.hold = None
                r.attempting = False
                checking.forget(case)
                r.why = f"no longer wanted: {why}"
                if r.failure:
                    case.tell()
                case.close(Outcome.WITHDRAWN, why)
            case _:
                pass
        if failed:
            self._rung_failed(failed, abandon=True)

    def _timer(self, token: int) -> str:
        case, r = self._standing, self._standing.r
        purpose = next((name for name, timer in r.timers.items() if timer.token == token), "")
        if not purpose:
            return ""
        timer = r.timers[purpose]
        if case.now < timer.at - _EARLY:
            case.emit(SetTimer(token, timer.at))
            return ""
        del r.timers[purpose]
        match purpose:
            case "attempt":
                return f"{r.rung} took longer than {self._rung_timeout(r.rung):g} s"
            case "hold":
                self._timed_out()
            case "rto":
                r.over_rto = True
                case.tell()
            case "far":
                r.over_rto = r.far_over_rto = True
                case.tell()
            case "answer":
                return checking.silent(case)
            case "pause":
                return checking.again(case)
            case "retry":
                checking.retry(case)
            case "ramp":
                checking.lasted(case)
            case "watch":
                checking.watched(case)
            case _:
                pass
        return ""

    # ------------------------------------------------------------ failures and attempts

    def _failure_seen(self, event: FailureSeen) -> None:
        r = self._standing.r
        if event.incarnation and event.incarnation <= r.failed_life:
            return
        r.failed_life = max(r.failed_life, event.incarnation)
        self._source = event.source
        if r.state in (State.RECOVERY_IN_PROGRESS, State.VALIDATING):
            self._rung_failed(str(event.reason), abandon=False)
        elif r.state in (State.HEALTHY, State.RECOVERED):
            self._new_failure(event)
        # while it is held nothing runs that could fail

    def _new_failure(self, event: FailureSeen) -> None:
        case, r = self._standing, self._standing.r
        why = str(event.reason)
        if r.state is State.RECOVERED:
            r.history.note_failed(case.now)
            case.emit(Preserve(f"failed again after its recovery by {r.rung}: {why}"))
        checking.forget(case)
        at = case.now if event.at is None else min(event.at, case.now)
        r.failure, r.failed_at, r.tried, r.life = event.id, at, (), 0
        r.steps, r.done, r.percent = (), (), 0.0
        r.over_rto = r.far_over_rto = False
        case.move(State.FAILURE_DETECTED, why)
        if case.spec.rto is not None:
            case.set_timer("rto", at + case.spec.rto)
            case.set_timer("far", at + case.spec.rto * FAR)
        source = CaseEvidence(self._source, r.history, at, case.spec.rto, case.now)
        decision = decide(case.spec, source, case.now)
        case.emit(Decided(r.failure, decision))
        if decision.rung is Rung.MANUAL:
            case.emit(Preserve(f"held: {decision.because}"))
        self._propose(decision.rung, decision.because)

    def _propose(self, rung: Rung, why: str) -> None:
        """On with this rung, or with a person's leave only."""
        case = self._standing
        if rung is Rung.MANUAL:
            self._hold(why, proposed_rung(case.spec, case.r.tried), manual=True)
            return
        asked = needs_approval(case.spec, rung, self._source)
        if asked:
            self._hold(asked, rung, manual=False)
        else:
            self._begin(rung, released=False)

    def _begin(self, rung: Rung, *, released: bool) -> None:
        case, r = self._standing, self._standing.r
        r.ramping = ramp_after(case.spec, rung, released=released, unfinished=r.ramping) is not None
        size = 0.0 if r.ramping else 1.0
        if r.ramping or r.multiplier != size:
            r.multiplier = size
            case.emit(Resize(size, 0.0))
        r.number += 1
        r.rung, r.attempting, r.attempt_at = rung, True, case.now
        if rung not in r.tried:
            r.tried += (rung,)
        case.emit(Attempt(rung, self._rung_timeout(rung), r.number, size))
        self._set_attempt_timer()
        case.plan_for(rung)
        case.move(State.RECOVERY_IN_PROGRESS, f"{rung} recovery")

    def _rung_timeout(self, rung: Rung | None) -> float:
        timeouts = self._standing.spec.rung_timeout
        return float("inf") if rung is None else timeouts.get(rung.value, float("inf"))

    def _set_attempt_timer(self) -> None:
        self._standing.set_timer("attempt", self._standing.now + self._rung_timeout(self._standing.r.rung))

    def _up(self, incarnation: int) -> str:
        case, r = self._standing, self._standing.r
        r.attempting = False
        case.cancel("attempt")
        # news of this life's end must get through, also where lives of one start share a number
        r.life, r.failed_life = incarnation, max(0, incarnation - 1)
        case.attempt_done()
        return checking.begin(case)

    def _rung_failed(self, why: str, *, abandon: bool) -> None:
        case, r = self._standing, self._standing.r
        rung = r.rung if r.rung is not None else Rung.COLD
        r.history.note_failed(case.now)
        r.attempting = False
        case.cancel("attempt")
        case.emit(Preserve(why))
        if abandon:
            case.emit(Abandon(why))
            r.failed_life = max(r.failed_life, r.life)
        r.life = 0
        checking.forget(case)
        following = next_rung(case.spec, rung, r.tried)
        case.emit(RungFailed(rung, why, following))
        case.move(State.RECOVERY_FAILED, f"{rung} failed: {why}")
        self._propose(following, f"{rung} failed ({why}) and no rung is left")

    # ------------------------------------------------------------ people

    def _hold(self, why: str, proposed: Rung, *, manual: bool) -> None:
        case, r = self._standing, self._standing.r
        r.holds += 1
        hold = r.hold = Held(f"{r.failure}:{r.holds}", why, proposed, manual, case.now)
        timeout = case.spec.approval.timeout
        case.emit(Hold(hold.id, why, proposed), AskApproval(hold.id, why, proposed, timeout))
        case.set_timer("hold", case.now + timeout)
        case.move(State.MANUAL_RECOVERY, f"held for a person: {why}")

    def _timed_out(self) -> None:
        case, r = self._standing, self._standing.r
        if r.hold is None:
            return
        r.hold = msgspec.structs.replace(r.hold, timed_out=True)
        r.why = f"nobody answered in {case.spec.approval.timeout:g} s; held on: {r.hold.why}"
        case.emit(Answered(r.hold.id, Answer.TIMED_OUT, "", r.why, None))
        case.tell()

    def _answer(self, event: Approved | Rejected) -> None:
        case, r = self._standing, self._standing.r
        held = check_answer(event.id, r.hold, r.earlier, r.path)
        wanted = event.rung if isinstance(event, Approved) else None
        rung = check_rung(case.spec, held, wanted) if isinstance(event, Approved) else None
        answer = Answer.REJECTED if rung is None else Answer.APPROVED
        case.refresh()
        r.hold = None
        r.earlier = (*r.earlier, answered(held, answer.value, event.who))[-_REMEMBERED:]
        case.cancel("hold")
        case.emit(Answered(held.id, answer, event.who, event.why, rung))
        if rung is not None:
            case.emit(Release(rung, named=wanted is not None))
            self._begin(rung, released=held.manual)
            return
        case.move(State.RECOVERY_FAILED, f"rejected by {event.who}: {event.why}")
        case.emit(Drop(event.who, event.why))
        case.close(Outcome.DROPPED, event.why)

    # ------------------------------------------------------------ surviving the supervisor

    def record(self) -> CaseRecord:
        """Everything a replacement needs; does not change with the case."""
        return self._standing.r.copy()

    @classmethod
    def resume(
        cls, record: CaseRecord, spec: RecoverySpec, now: float, source: EvidenceSource | None = None
    ) -> "RecoveryCase":
        """Go on from a record; ``resumed`` tells what has to be done again.

        ``source`` is asked when a later rung may need approval; None: nothing is known, and approval is asked for
        wherever market hours are declared.
        """
        case = cls(record.path, spec)
        case._standing = Standing(record.copy(), spec)
        case._standing.now = now
        if source is not None:
            case._source = source
        return case

    def resumed(self, now: float) -> list[Effect]:
        """After ``resume``: timers, the check in hand, the size, the open hold. Checks may so run twice.

        Never ``Attempt``: look whether the child came up (``attempting``) and tell ``AttemptSucceeded`` or
        ``AttemptFailed``; without either its timer ends the attempt.
        """
        case, r = self._standing, self._standing.r
        case.now = now
        if r.closed is not None:
            return []
        if r.hold is not None:
            case.emit(Hold(r.hold.id, r.hold.why, r.hold.proposed))
            if not r.hold.timed_out:
                left = max(0.0, r.hold.since + case.spec.approval.timeout - now)
                case.emit(AskApproval(r.hold.id, r.hold.why, r.hold.proposed, left))
        elif r.state is not State.HEALTHY:
            lasting = size_at(case.spec.ramp, r.ramp_index).lasting if r.ramping and r.ramp_index >= 0 else 0.0
            case.emit(Resize(r.multiplier, lasting))
        for purpose, timer in r.timers.items():
            if purpose == "answer" and timer.at <= now:
                continue
            case.emit(SetTimer(timer.token, timer.at))
        step = case.step_named(r.running)
        if r.running_at is not None and step is not None:
            case.emit(Validate(step, r.attempt, r.run))
            if r.timers.get("answer") is not None and r.timers["answer"].at <= now:
                # the predecessor waited for it; give it its time once more
                case.set_timer("answer", now + step.timeout + checking.GRACE)
        if r.state is not State.HEALTHY:
            case.emit(Progressed(case.snapshot(now)))
        return case.take_effects()
