"""What a recovery leaves on the trail, and the words for people."""

from typing import TYPE_CHECKING

import msgspec

from supervisors.core.reasons import ExitReason, crash
from supervisors.recovery.messages import (
    Answered,
    AskApproval,
    Closed,
    Decided,
    Effect,
    Progressed,
    Resize,
    RungFailed,
    StepValidated,
)
from supervisors.recovery.progress import Progress
from supervisors.runtime.peers import Peer
from supervisors.runtime.preserving import FailedState, Preserved
from supervisors.trail.events import EventKind
from supervisors.trail.status import RecoveryStatus

if TYPE_CHECKING:
    from supervisors.runtime.supervisor import SupervisorShell

Data = dict[str, str | int | float | bool | None]


def write(shell: "SupervisorShell", child_id: str, incarnation: int, effects: list[Effect]) -> None:
    """One trail event for each effect that people want to see."""
    failure = ""
    for effect in effects:
        if isinstance(effect, Progressed):
            failure = effect.progress.failure
    for effect in effects:
        found = _event(effect)
        if found is not None:
            kind, data = found
            shell.write(kind, child_id, incarnation, failure=failure, data=data)


def _event(effect: Effect) -> tuple[EventKind, Data] | None:
    match effect:
        case Decided(_, decision):
            return EventKind.RECOVERY_DECIDED, {
                "rung": decision.rung.value,
                "because": decision.because,
                "trace": decision.to_json(),
            }
        case RungFailed(rung, why, following):
            return EventKind.RECOVERY_RUNG_FAILED, {"rung": rung.value, "why": why, "next": following.value}
        case AskApproval(hold, why, proposed, timeout):
            return EventKind.RECOVERY_HELD, {
                "id": hold,
                "why": why,
                "proposed": proposed.value,
                "timeout_s": timeout,
            }
        case Answered(hold, answer, who, why, rung):
            return EventKind.RECOVERY_ANSWERED, {
                "id": hold,
                "answer": answer.value,
                "who": who,
                "why": why,
                "rung": rung.value if rung is not None else "",
            }
        case StepValidated():
            return EventKind.VALIDATED, {
                "step": effect.step,
                "phase": effect.phase.value,
                "ok": effect.ok,
                "why": effect.why,
                "attempt": effect.attempt,
                "ms": round(effect.seconds * 1e3, 3),
            }
        case Resize(multiplier, lasting):
            return EventKind.RAMPED, {"size": multiplier, "lasting_s": lasting}
        case Progressed(progress):
            return EventKind.RECOVERY_STATE, _progress(progress)
        case Closed(outcome, why):
            return EventKind.RECOVERY_STEP, {"step": "closed", "ok": True, "why": why or outcome.value}
        case _:
            return None


def _progress(progress: Progress) -> Data:
    return {
        "state": progress.state.value,
        "rung": progress.rung.value if progress.rung is not None else "",
        "percent": round(progress.percent, 1),
        "step": progress.step,
        "eta_s": round(progress.eta, 3) if progress.eta is not None else None,
        "over_rto": progress.over_rto,
        "message": progress.message,
    }


def status(progress: Progress, hold: str) -> RecoveryStatus:
    """A snapshot for the supervisor's answer."""
    return RecoveryStatus(
        failure=progress.failure,
        state=progress.state.value,
        rung=progress.rung.value if progress.rung is not None else "",
        percent=progress.percent,
        step=progress.step,
        done=progress.done,
        left=progress.left,
        elapsed=progress.elapsed,
        eta=progress.eta,
        hold=hold,
        size=progress.size,
        over_rto=progress.over_rto,
        message=progress.message,
    )


def words(progress: Progress) -> str:
    """One line about where a recovery stands."""
    return progress.message or f"{progress.state.value} ({progress.percent:.0f} %)"


def failed_state(shell: "SupervisorShell", peer: Peer, why: str) -> FailedState:
    """What is known of a life that failed."""
    now = shell.loop.now()
    times = shell.failures.get(peer.id)
    beat = peer.last_beat
    named = msgspec.structs.asdict(beat) if beat is not None else None
    reason = peer.kill_reason or (peer.end.reason if peer.end is not None and hasattr(peer.end, "reason") else None)
    return FailedState(
        path=shell.child_path(peer.id),
        incarnation=peer.incarnation,
        epoch=peer.epoch,
        pid=peer.host.pid if peer.host is not None else 0,
        reason=reason if isinstance(reason, ExitReason) else _last(shell, peer.id),
        why=why,
        signal=times.signal if times is not None else "",
        beat=named,
        beat_age=peer.verdict.beat_age(now) if peer.verdict is not None else None,
        metrics=dict(peer.metrics),
        verdict=shell.detection.verdict_of(peer),
    )


def _last(shell: "SupervisorShell", child_id: str) -> ExitReason:
    return crash(shell.last_reasons.get(child_id, ""))


def write_preserved(shell: "SupervisorShell", child_id: str, incarnation: int, kept: Preserved) -> None:
    """Where the failed state is."""
    data: Data = {
        "folder": kept.folder,
        "items": " ".join(kept.items),
        "missing": "; ".join(kept.missing),
        "ms": round(kept.seconds * 1e3, 3),
    }
    shell.write(EventKind.STATE_PRESERVED, child_id, incarnation, data=data)
