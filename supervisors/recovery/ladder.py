"""REC-3: what follows a failed rung. Pure."""

from collections.abc import Collection

from supervisors.recovery.decision import impossible
from supervisors.recovery.policy import LADDER, RecoverySpec, Rung


def next_rung(spec: RecoverySpec, failed: Rung, tried: Collection[Rung] = ()) -> Rung:
    """The next one below ``failed`` that the policy allows and that was not tried for this failure, else manual."""
    for rung in LADDER[LADDER.index(failed) + 1 :]:
        if rung not in tried and not impossible(spec, rung):
            return rung
    return Rung.MANUAL


def proposed_rung(spec: RecoverySpec, tried: Collection[Rung] = ()) -> Rung:
    """What a person is offered in a manual hold: the slowest rung of the ladder, untried ones first; cold without any.

    The slowest trusts least of what may be damaged. A person may name another.
    """
    possible = [rung for rung in reversed(LADDER) if rung is not Rung.MANUAL and not impossible(spec, rung)]
    return next((rung for rung in possible if rung not in tried), possible[0] if possible else Rung.COLD)
