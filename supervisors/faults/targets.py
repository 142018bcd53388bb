"""From a request to the processes it hits: target sets, what a kind may hit, and the blast radius (FLT-1). Pure."""

import random
from collections.abc import Collection, Sequence
from difflib import get_close_matches

import msgspec

from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import FaultKind, Target
from supervisors.faults.request import FaultRequest, Hit, TargetSet

_SETS = {
    TargetSet.PRIMARIES: Target.WORKER,
    TargetSet.STANDBYS: Target.STANDBY,
    TargetSet.SUPERVISORS: Target.SUPERVISOR,
}


class CensusRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One possible target, as the goal state knows it.

    Attributes:
        path: place in the tree; a standby has its primary's.
        target: what it is.
        hit: its process; without a pid there is none now.
        state: of its place, a word for people.
        supervisor: path of its supervisor; empty for the root.
        actor: import string of its class; empty for a supervisor.
        journal: it keeps one. For a supervisor: a child of it does.
        lease: it acts by a lease; for a supervisor: it gives leases to children.
        standbys: that are kept for it.
    """

    path: str
    target: Target
    hit: Hit = Hit()
    state: str = ""
    supervisor: str = ""
    actor: str = ""
    journal: bool = False
    lease: bool = False
    standbys: int = 0


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """One target that is to be hit; ``supervisor``: path of its supervisor."""

    path: str
    target: Target
    hit: Hit
    supervisor: str = ""


def key_of(path: str, hit: Hit) -> str:
    """Names one target among all that are hit at one time: a standby is another than its primary."""
    return f"{path}@{hit.host}" if hit.standby else path


def resolve(
    kind: FaultKind,
    request: FaultRequest,
    census: Sequence[CensusRow],
    *,
    active: Collection[str] = (),
    limit: int = 3,
) -> tuple[Candidate, ...]:
    """Whom a request hits.

    A set is taken from those at and below the path: of workers, where the kind may hit workers, unless the set says
    what it is made of. Chance is of the request's seed alone: the same census gives the same targets.

    Args:
        kind: of the fault.
        request: what was asked for.
        census: all there is.
        active: keys (``key_of``) of what other faults hit now.
        limit: targets that may be hit at one time, with those that are hit now.

    Raises:
        FaultError: unknown path (9006), the kind does not hit such a target (9007), nothing is left to hit (9008),
            more than ``limit`` (9009), or no journal, lease or standby where one is needed (9011).
    """
    paths = {row.path for row in census}
    if request.path not in paths:
        near = get_close_matches(request.path, paths, 3, 0.5)
        fix = f"did you mean {' or '.join(near)}?" if near else "rayvisor tree shows what there is"
        raise FaultError(f"nothing is at {request.path}", code=9006, fix=fix)
    meant = _meant(kind, request, census)
    fit = [row for row in meant if _has_needs(kind, row)]
    if not fit:
        raise FaultError(
            f"{kind.name} needs {_needs(kind)}, and {_whom(request)} has none",
            code=9011,
            fix="choose another target, or give it recovery in the topology",
        )
    there = [row for row in fit if row.hit.pid]
    if not there:
        state = f" (it is {fit[0].state})" if len(fit) == 1 and fit[0].state else ""
        raise FaultError(f"no process runs at {_whom(request)} now{state}", code=9008, fix="try again once it is ready")
    chosen = _choose(kind, request, sorted(there, key=lambda row: (row.path, row.target, row.hit.host)))
    _bound(chosen, active, limit)
    return tuple(Candidate(row.path, row.target, row.hit, row.supervisor) for row in chosen)


def _meant(kind: FaultKind, request: FaultRequest, census: Sequence[CensusRow]) -> list[CensusRow]:
    """Those of the right sort, at and below the path."""
    if request.targets is TargetSet.PATH:
        rows = [row for row in census if row.path == request.path]
        fit = [row for row in rows if row.target in kind.targets]
        if not fit:
            raise _unfit(kind, f"{request.path} is a {rows[0].target}")
        # the acting one; a standby only where the kind hits nothing else
        return [min(fit, key=lambda row: (row.target is Target.STANDBY, row.hit.host))]
    prefix = request.path.rstrip("/") + "/"
    rows = [row for row in census if row.path == request.path or row.path.startswith(prefix)]
    sort = _SETS.get(request.targets)
    if sort is None:
        order = (Target.WORKER, Target.SUPERVISOR, Target.STANDBY)
        sort = next(target for target in order if target in kind.targets)
    elif sort not in kind.targets:
        raise _unfit(kind, f"the set {request.targets} is made of {sort}s")
    found = [row for row in rows if row.target is sort]
    if request.targets is TargetSet.PRIMARIES:
        found = [row for row in found if row.standbys]
    if not found:
        what = "workers with standbys" if request.targets is TargetSet.PRIMARIES else f"{sort}s"
        raise FaultError(f"there are no {what} at or below {request.path}", code=9008, fix="choose another path or set")
    return found


def _choose(kind: FaultKind, request: FaultRequest, rows: list[CensusRow]) -> list[CensusRow]:
    wanted = {
        TargetSet.ONE: 1,
        TargetSet.HALF: -(-len(rows) // 2),
        TargetSet.RANDOM: request.count,
    }.get(request.targets)
    if wanted is None:
        return rows
    if not 1 <= wanted <= len(rows):
        raise FaultError(f"{wanted} targets asked for, and there are {len(rows)}", code=9008, fix="lower --count")
    draw = random.Random(f"{request.seed}/{kind.name}/{request.path}/{request.targets}")
    taken = set(draw.sample(range(len(rows)), wanted))
    return [row for index, row in enumerate(rows) if index in taken]


def _bound(chosen: list[CensusRow], active: Collection[str], limit: int) -> None:
    hit = {key_of(row.path, row.hit) for row in chosen} | set(active)
    if len(hit) > limit and len(hit) > len(set(active)):
        now = f" with the {len(set(active))} that are hit now" if active else ""
        raise FaultError(
            f"{len(hit)} targets at one time{now}, and at most {limit} may be hit",
            code=9009,
            fix="rayvisor inject active shows them; hit fewer, or raise faults.max_targets in the topology",
        )


def _has_needs(kind: FaultKind, row: CensusRow) -> bool:
    if kind.needs_journal and not row.journal:
        return False
    if kind.needs_lease and not row.lease:
        return False
    return not (kind.needs_standby and not row.standbys)


def _needs(kind: FaultKind) -> str:
    words = {"a journal": kind.needs_journal, "a lease": kind.needs_lease, "a standby": kind.needs_standby}
    return " and ".join(word for word, needed in words.items() if needed)


def _whom(request: FaultRequest) -> str:
    return request.path if request.targets is TargetSet.PATH else f"{request.targets} of {request.path}"


def _unfit(kind: FaultKind, why: str) -> FaultError:
    hits = ", ".join(sorted(f"{target}s" for target in kind.targets))
    return FaultError(f"{kind.name} cannot hit it: {why}", code=9007, fix=f"{kind.name} hits {hits}")
