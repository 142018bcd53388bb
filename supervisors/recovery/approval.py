"""REC-2: when a person has to say yes, and what their answers may be. Pure."""

from collections.abc import Sequence

import msgspec

from supervisors.core.errors import RayvisorError, RecoveryError
from supervisors.recovery.evidence import EvidenceSource, MarketEvidence
from supervisors.recovery.policy import RecoverySpec, Rung


class AnswerRefused(RecoveryError):
    """An operator's answer that cannot be taken; nothing has changed. Its code says why (docs/operations.md)."""

    default_code = 8002


#: codes of ``AnswerRefused``
UNKNOWN_HOLD = 8002
BAD_RUNG = 8003
ALREADY_ANSWERED = 8004
NOTHING_WAITS = 8005


class Held(msgspec.Struct, frozen=True):
    """One hold.

    Attributes:
        id: what people answer; never used twice.
        why: what the person is told.
        proposed: the rung taken unless they name another.
        manual: the decision or the end of the ladder was manual; False: leave for a rung in market hours.
        since: monotonic seconds.
        timed_out: nobody answered in time; it still can be.
        answer, who: how it was answered, and by whom; empty while open.
    """

    id: str
    why: str
    proposed: Rung
    manual: bool
    since: float
    timed_out: bool = False
    answer: str = ""
    who: str = ""


def needs_approval(spec: RecoverySpec, rung: Rung, source: EvidenceSource) -> str:
    """Why a person has to say yes before ``rung`` is attempted, or an empty string.

    With market hours declared: any rung but hot while the market is open, or while nobody can tell whether it is.
    Manual itself is always held and is no matter of this function.
    """
    hours = spec.approval.market_hours
    if hours is None or rung is Rung.HOT:
        return ""
    try:
        seen = source.market_open(hours)
    except (OSError, RayvisorError) as error:
        seen = MarketEvidence(None, str(error))
    if seen.open is False:
        return ""
    known = "the market is open" if seen.open else "whether the market is open is not known"
    return f"{known}: {rung} needs approval" + (f" ({seen.why})" if seen.why else "")


def check_answer(hold_id: str, current: Held | None, earlier: Sequence[Held], path: str) -> Held:
    """The open hold an answer is for.

    Raises:
        AnswerRefused: it is for none, or was answered before.
    """
    if current is not None and current.id == hold_id:
        return current
    for held in earlier:
        if held.id == hold_id:
            raise AnswerRefused(
                f"already {held.answer} by {held.who}: hold {hold_id}",
                code=ALREADY_ANSWERED,
                fix="the first answer counts; see what came of it with `rayvisor recovery`",
            )
    if current is None:
        raise AnswerRefused(
            f"{path} waits for no answer (hold {hold_id!r} is not open)",
            code=NOTHING_WAITS,
            fix="`rayvisor recovery` lists what is held",
        )
    raise AnswerRefused(
        f"no hold {hold_id!r}; {path} waits for an answer to {current.id}",
        code=UNKNOWN_HOLD,
        fix="use the id from the alert or from `rayvisor recovery`",
    )


def check_rung(spec: RecoverySpec, held: Held, wanted: Rung | None) -> Rung:
    """The rung an approval leads to.

    Raises:
        AnswerRefused: the one named cannot bring anything up.
    """
    rung = held.proposed if wanted is None else wanted
    if rung is Rung.MANUAL:
        raise AnswerRefused(
            "manual is no way to come up: it is held already", code=BAD_RUNG, fix="name hot, warm or cold, or reject"
        )
    if rung is Rung.HOT and spec.standbys == 0:
        raise AnswerRefused("no standby is kept for it: hot cannot be done", code=BAD_RUNG, fix="name warm or cold")
    return rung


def answered(held: Held, answer: str, who: str) -> Held:
    """The hold with its answer."""
    return msgspec.structs.replace(held, answer=answer, who=who)
