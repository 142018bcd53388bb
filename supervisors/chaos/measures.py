"""How fast each fault was noticed, answered and healed, against the time of its injection: ground truth. Pure.

Times are milliseconds from when the fault acted (``Fault.began``): detect to the first signal, decide to the restart or
recovery that was decided, recover to when the path was well again (ready, or promoted and ready). A fault that nothing
has to notice, or that had no effect, is counted apart by its fate, with a reason; none is dropped.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil

import msgspec

from supervisors.chaos.attribution import APART, Effect, Fate, Limits, effects
from supervisors.chaos.history import DEFAULT_RTO, History


class Spread(msgspec.Struct, frozen=True):
    """Several times of one kind, in milliseconds. Percentiles are of the nearest rank: values that were measured."""

    n: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class FaultTimes(msgspec.Struct, frozen=True):
    """One fault at one target.

    Attributes:
        id, kind, target: which.
        at: when it acted, monotonic seconds.
        fate: see ``Fate``.
        detect_ms, decide_ms, recover_ms: None: it did not come to that.
        signal: what told of it first.
        verdict: what was believed.
        rung: how it came back.
        rto_ms: what was promised; None: nothing.
        late: it took longer than was promised, or was not back when that had passed.
        reverted: whether it was seen undone; None: nobody said.
        revert_ms: how long after its injection that was.
        why: a word about the fate.
    """

    id: str
    kind: str
    target: str
    at: float
    fate: Fate
    detect_ms: float | None = None
    decide_ms: float | None = None
    recover_ms: float | None = None
    signal: str = ""
    verdict: str = ""
    rung: str = ""
    rto_ms: float | None = None
    late: bool = False
    reverted: bool | None = None
    revert_ms: float | None = None
    why: str = ""


class KindTimes(msgspec.Struct, frozen=True):
    """All faults of one kind. ``rto_ms``: the strictest promise among them; ``apart``: fates with their counts."""

    kind: str
    faults: int
    detect: Spread | None = None
    decide: Spread | None = None
    recover: Spread | None = None
    rto_ms: float | None = None
    late: int = 0
    undetected: int = 0
    apart: dict[str, int] = {}


class Measures(msgspec.Struct, frozen=True):
    """The measured truth of one run. ``all.detect.mean_ms`` is its MTTD, ``all.recover.mean_ms`` its MTTR."""

    faults: tuple[FaultTimes, ...]
    kinds: tuple[KindTimes, ...]
    all: KindTimes


def measure(history: History, limits: Limits | None = None) -> Measures:
    """The times of every fault, of every kind, and of all together."""
    rto = {child.path: child.rto for part in history.tree for child in part.children}
    times = tuple(_times(one, rto, history.ended) for one in effects(history, limits))
    by_kind: dict[str, list[FaultTimes]] = {}
    for one in times:
        by_kind.setdefault(one.kind, []).append(one)
    return Measures(times, tuple(_kind(name, by_kind[name]) for name in sorted(by_kind)), _kind("all", times))


def spread(values: Iterable[float]) -> Spread | None:
    """Count, mean, median, 99th percentile and the longest; None of nothing."""
    ranked = sorted(values)
    if not ranked:
        return None
    mean = round(sum(ranked) / len(ranked), 3)
    return Spread(len(ranked), mean, _rank(ranked, 0.5), _rank(ranked, 0.99), ranked[-1])


def _rank(ranked: Sequence[float], share: float) -> float:
    return ranked[max(ceil(share * len(ranked)) - 1, 0)]


def _times(one: Effect, rto: dict[str, float | None], ended: float) -> FaultTimes:
    promised = rto.get(one.target, DEFAULT_RTO)
    recover = _since(one, one.healthy.t if one.healthy is not None else None)
    # a hold waits for a person, and what is open yet is late only once the promise has passed
    took = (ended - one.began) * 1e3 if one.fate in (Fate.OPEN, Fate.GAVE_UP) else recover
    late = promised is not None and took is not None and took > promised * 1e3
    return FaultTimes(
        id=one.fault.id,
        kind=one.fault.kind,
        target=one.target,
        at=one.began,
        fate=one.fate,
        detect_ms=_since(one, one.signal.t if one.signal is not None else None),
        decide_ms=_since(one, one.decision.t if one.decision is not None else None),
        recover_ms=recover,
        signal=_word(one, "signal"),
        verdict=str(one.verdict.data.get("verdict", "")) if one.verdict is not None else "",
        rung=one.rung,
        rto_ms=promised * 1e3 if promised is not None else None,
        late=late,
        reverted=one.fault.reverted,
        revert_ms=one.fault.revert_ms,
        why=one.why,
    )


def _since(one: Effect, at: float | None) -> float | None:
    return None if at is None else round(max(at - one.began, 0.0) * 1e3, 3)


def _word(one: Effect, key: str) -> str:
    if one.signal is None:
        return ""
    return str(one.signal.data.get(key) or one.signal.data.get("state") or one.signal.kind)


def _kind(name: str, faults: Sequence[FaultTimes]) -> KindTimes:
    promises = [one.rto_ms for one in faults if one.rto_ms is not None and one.fate not in APART]
    return KindTimes(
        kind=name,
        faults=len(faults),
        detect=spread(one.detect_ms for one in faults if one.detect_ms is not None),
        decide=spread(one.decide_ms for one in faults if one.decide_ms is not None),
        recover=spread(one.recover_ms for one in faults if one.recover_ms is not None),
        rto_ms=min(promises, default=None),
        late=sum(one.late for one in faults),
        undetected=sum(one.fate is Fate.UNDETECTED for one in faults),
        apart=dict(sorted(Counter(one.fate.value for one in faults if one.fate in APART).items())),
    )
