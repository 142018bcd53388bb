"""What a monkey is asked to do, what it is shown, and what it answers; who may be hit by what. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from supervisors.core.errors import FaultError
from supervisors.faults.catalogue import FaultKind, Target, Where
from supervisors.faults.request import FaultRequest

#: kinds the monkey leaves out unless they are named, and why
LEFT_OUT: Mapping[str, str] = {
    "corrupt_page": "damages what was acknowledged: only a replica can give it back",
    "lose_sync": "loses what was acknowledged: only a replica can give it back",
    "fill_disk": "fills a disk that others use, too",
    "crash_loop": "as long as it lasts the child cannot be healthy; what happens then is its policy's to say",
}
#: kinds that have an effect only when the target starts anew: a kill follows at once
SLEEPING = frozenset({"slow_start", "fail_start", "corrupt_checkpoint", "truncate_checkpoint", "stale_checkpoint"})


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """One possible target as the runner sees it.

    Attributes:
        path: of the child; a primary and its standbys share it and are a candidate each.
        target: what it is.
        healthy: it has settled: ready, with as many standbys in sync as are wanted, and no recovery under way.
        journal: it keeps one. lease: it holds one. standby: it has one.
        own: names of the kinds that its class adds.
    """

    path: str
    target: Target
    healthy: bool = True
    journal: bool = False
    lease: bool = False
    standby: bool = False
    own: tuple[str, ...] = ()


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a monkey goes.

    Attributes:
        at_once: blast radius: targets that are hit or not healthy at one time.
        shortest, longest: seconds of a fault that lasts; ``longest`` is cut to the time between two faults, times
            ``at_once``.
        faults: decisions in all; 0: no bound.
    """

    at_once: int = 1
    shortest: float = 0.5
    longest: float = 5.0
    faults: int = 0


class MonkeyRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a monkey was asked to do.

    Attributes:
        seed: of all its decisions. rate: of them in a minute.
        kinds: names of kinds or groups; none: all but ``LEFT_OUT``. except_kinds: none of these.
        only: paths, each with all below it, patterns allowed (``/cell/*``). except_: none of these.
        ruthless: do not wait until what is hit is healthy.
    """

    seed: int = 0
    rate: float = 20.0
    kinds: tuple[str, ...] = ()
    except_kinds: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    ruthless: bool = False
    limits: Limits = Limits()


class Look(msgspec.Struct, frozen=True):
    """The candidates as they are now."""

    candidates: tuple[Candidate, ...]


class Over(msgspec.Struct, frozen=True):
    """All faults of a decision are reverted, or done."""

    number: int


class Refused(msgspec.Struct, frozen=True):
    """A decision's fault was refused; a kind that is refused twice is not tried again at this target."""

    number: int
    why: str = ""


Event = Look | Over | Refused


class Decision(msgspec.Struct, frozen=True):
    """What the monkey does next.

    Attributes:
        number: 1 is the first.
        at: seconds since the run began.
        target: what it hits.
        requests: one right after the other, at one target.
        candidates: those it chose from.
        barred: kinds that act on the whole machine and were under way.
    """

    number: int
    at: float
    target: Target
    requests: tuple[FaultRequest, ...]
    candidates: tuple[Candidate, ...]
    barred: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Whom it hits."""
        return self.requests[0].path


def covers(pattern: str, path: str) -> bool:
    """True when ``pattern`` means ``path`` or what it stands below."""
    whole = pattern.rstrip("/") or "/"
    return whole == "/" or fnmatchcase(path, whole) or fnmatchcase(path, f"{whole}/*")


def allowed(rules: MonkeyRules, path: str) -> bool:
    """True when the rules let ``path`` be hit."""
    if any(covers(pattern, path) for pattern in rules.except_):
        return False
    return not rules.only or any(covers(pattern, path) for pattern in rules.only)


def kinds_of(rules: MonkeyRules, kinds: Iterable[FaultKind]) -> tuple[FaultKind, ...]:
    """The kinds a monkey may use, by name.

    Raises:
        FaultError: a name is neither a kind nor a group (9060), or none is left (9061).
    """
    known = sorted(kinds, key=lambda kind: kind.name)
    words = {kind.name for kind in known} | {kind.group for kind in known}
    for word in (*rules.kinds, *rules.except_kinds):
        if word not in words:
            raise FaultError(f"there is no fault or group called {word!r}", code=9060, fix="rayvisor inject list")

    def named(kind: FaultKind, words: Sequence[str]) -> bool:
        return kind.name in words or (kind.group in words and kind.name not in LEFT_OUT)

    chosen = [
        kind
        for kind in known
        if (named(kind, rules.kinds) if rules.kinds else kind.name not in LEFT_OUT)
        and kind.name not in rules.except_kinds
        and kind.group not in rules.except_kinds
    ]
    if not chosen:
        raise FaultError("no kind of fault is left", code=9061, fix="name some, or leave out fewer")
    return tuple(chosen)


def fits(kind: FaultKind, candidate: Candidate) -> bool:
    """True when ``kind`` may hit ``candidate``."""
    if kind.where is Where.ACTOR and kind.name not in candidate.own:
        return False
    wants = ((kind.needs_journal, candidate.journal), (kind.needs_lease, candidate.lease))
    return (
        candidate.target in kind.targets
        and all(has for needed, has in wants if needed)
        and (not kind.needs_standby or candidate.standby)
    )


def refuse_misfits(
    rules: MonkeyRules, kinds: Iterable[FaultKind], candidates: Sequence[Candidate], open_ended: Iterable[str] = ()
) -> None:
    """See that there is something to hit, and that every word of the rules means something.

    Args:
        rules: what the monkey was asked to do.
        kinds: all there are.
        candidates: every place that could be hit, healthy or not.
        open_ended: paths of supervisors whose children come and go: what is not there below them may come.

    Raises:
        FaultError: as of ``kinds_of``; a pattern fits no place, or none is left (9063); no kind, or none of a word
            of the rules, fits a place that is left (9064).
    """
    chosen = kinds_of(rules, kinds)
    places = _paths(candidates)
    pools = tuple(open_ended)
    for option, patterns in (("--only", rules.only), ("--except", rules.except_)):
        for pattern in patterns:
            if not any(covers(pattern, path) for path in places) and not any(_may_come(pattern, top) for top in pools):
                raise FaultError(f"{option} {pattern} fits no place of the tree", code=9063, fix=_there_is(places))
    left = [one for one in candidates if allowed(rules, one.path)]
    never = [top for top in pools if any(covers(pattern, top) for pattern in rules.except_)]
    asked = [
        top for top in pools if not rules.only or any(covers(one, top) or _may_come(one, top) for one in rules.only)
    ]
    pools = tuple(top for top in asked if top not in never)
    if not left and not pools:
        raise FaultError("--only and --except leave no place to hit", code=9063, fix=_there_is(places))
    if pools:
        return  # whom a kind fits may come later
    fit = {kind.name for kind in chosen if any(fits(kind, one) for one in left)}
    # a word that means nothing here is a mistake, though others of the rules mean something
    for word in rules.kinds or ("",):
        if not any(kind.name in fit for kind in chosen if word in ("", kind.name, kind.group)):
            message = f"{word or 'no kind of fault'} fits none of {', '.join(_few(_paths(left)))}"
            fix = f"of the kinds asked for these fit: {', '.join(sorted(fit))}" if fit else "name other kinds or places"
            raise FaultError(message, code=9064, fix=fix)


def _may_come(pattern: str, top: str) -> bool:
    """Whether a place below ``top`` that is not there yet may be meant."""
    below = f"{top.rstrip('/')}/"
    return pattern.startswith(below) or fnmatchcase(f"{below}x", pattern.rstrip("/"))


def _paths(candidates: Iterable[Candidate]) -> list[str]:
    return sorted({one.path for one in candidates})


def _there_is(places: Sequence[str]) -> str:
    return f"there is {', '.join(_few(places))}" if places else "rayvisor tree shows what there is"


def _few(texts: Sequence[str], most: int = 8) -> list[str]:
    return [*texts[:most], f"{len(texts) - most} more"] if len(texts) > most else list(texts)
