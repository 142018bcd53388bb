"""Probes: what was seen, held against what is tolerated. Pure: whoever looks hands in what it saw."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from supervisors.chaos.document import (
    CallAnswers,
    MetricWithin,
    RecoveredWithin,
    StandbysInSync,
    TrailCount,
    TreeHealthy,
)
from supervisors.chaos.invariants import Invariant, State, Verdict
from supervisors.chaos.systems import DEFAULT_RTO, PlaceFacts
from supervisors.core.paths import TreePath, is_below
from supervisors.faults.catalogue import FaultKind, Where
from supervisors.faults.order import Hook
from supervisors.trail.events import EventKind, TrailEvent
from supervisors.trail.failures import FailureFold, FailureTrail, Outcome
from supervisors.trail.status import AT_REST, READY, RUNNING, SystemStatus

#: what can be said of a run that is not over
LIVE_INVARIANTS = frozenset(
    {
        Invariant.ACKNOWLEDGED_KEPT,
        Invariant.APPLIED_ONCE,
        Invariant.ONE_ACTS,
        Invariant.EPOCH_GROWS,
        Invariant.WITHIN_INTENSITY,
        Invariant.REVERSE_STOP,
    }
)
_SYNCED = "synced"
#: a failure was noticed
_NOTICES = frozenset({EventKind.FIRST_SIGNAL, EventKind.CHILD_EXITED, EventKind.RESTART_DECIDED})
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class Judgement(msgspec.Struct, frozen=True):
    """What a probe says.

    Attributes:
        ok: it holds.
        pending: neither yes nor no yet: look again, however long the probe was given.
        why: what does not hold.
        value: what was seen, for people.
    """

    ok: bool
    pending: bool = False
    why: str = ""
    value: str = ""


def _concerns(path: str, top: str) -> bool:
    return path == top or is_below(TreePath(path), TreePath(top))


# ---------------------------------------------------------------- the tree


def tree_healthy(probe: TreeHealthy, status: SystemStatus) -> Judgement:
    """Everything at and below the path runs and is ready, or is at rest."""
    bad: list[str] = []
    seen = 0
    tell = {supervisor.path for supervisor in status.supervisors}
    for supervisor in status.supervisors:
        if _concerns(supervisor.path, probe.path):
            seen += 1
            if supervisor.state != RUNNING:
                bad.append(f"{supervisor.path} is {supervisor.state}")
        for child in supervisor.children:
            # a supervisor that tells of itself is judged by that
            if not _concerns(child.path, probe.path) or child.path in tell:
                continue
            seen += 1
            well = (RUNNING, READY) if child.type != "supervisor" else ()
            fine = child.state in AT_REST or child.state in well
            if not fine and not (probe.held_is_fine and child.state in ("held", "gave_up")):
                told = ", and tells nothing" if child.state in (READY, RUNNING) else ""
                bad.append(f"{child.path} is {child.state}{told}")
    if not seen:
        return Judgement(ok=False, why=f"nothing runs at {probe.path}")
    return Judgement(ok=not bad, why=_few(bad), value=f"{seen - len(bad)} of {seen} well")


def standbys_in_sync(probe: StandbysInSync, status: SystemStatus, places: Mapping[str, PlaceFacts]) -> Judgement:
    """Every child at and below the path has as many standbys in sync as it is to have.

    A place that is to have some and that nobody tells of is as bad as one that has none.
    """
    told = {child.path: child for supervisor in status.supervisors for child in supervisor.children}
    resting = [path for path, child in told.items() if child.state in AT_REST]
    wanted = {path: len(child.standbys) for path, child in told.items()}
    wanted |= {path: place.standbys for path, place in places.items()}
    wanted |= {supervisor.path: 0 for supervisor in status.supervisors}
    bad: list[str] = []
    total = 0
    concerned = [path for path in sorted(wanted) if _concerns(path, probe.path)]
    for path in concerned:
        if not wanted[path] or any(_concerns(path, top) for top in resting):
            continue
        child = told.get(path)
        synced = sum(one.state == _SYNCED for one in child.standbys) if child is not None else 0
        total += synced
        if child is None:
            bad.append(f"nobody tells of {path}, which is to have {wanted[path]} standbys")
        elif synced < wanted[path]:
            bad.append(f"{path} has {synced} of {wanted[path]} standbys in sync")
    if not concerned:
        return Judgement(ok=False, why=f"nothing runs at {probe.path}")
    return Judgement(ok=not bad, why=_few(bad), value=f"{total} in sync")


# ---------------------------------------------------------------- failures


def recovered_within(
    probe: RecoveredWithin,
    trail: Sequence[TrailEvent],
    now: float,
    places: Mapping[str, PlaceFacts],
    catalogue: Iterable[FaultKind] = (),
) -> Judgement:
    """Each failure of ``trail`` was healed in time. One that is open, or not even noticed, and not late is pending."""
    fold = FailureFold(keep=100_000)
    fold.add_all(trail)
    kinds = {kind.name: kind for kind in catalogue}
    causes = [event for event in trail if _is_cause(event, kinds)]
    bad: list[str] = []
    waiting: list[str] = []
    worst, count = 0.0, 0
    for fault, path, at in _unnoticed(trail, kinds):
        if _concerns(path, probe.path):
            (bad if now - at > _rto(probe, path, places) else waiting).append(f"{fault} at {path} is not noticed")
    for failure in fold.failures:
        if not _concerns(failure.path, probe.path) or not _is_failure(failure):
            continue
        count += 1
        rto = _rto(probe, failure.path, places)
        begun = _begun(failure, causes)
        if failure.outcome is Outcome.HEALED and failure.recover_ms is not None:
            took = max(failure.t + failure.recover_ms / 1e3 - begun, 0.0)
            worst = max(worst, took)
            if took > rto:
                bad.append(f"{failure.id} took {took:.3f} s of {rto:g} s")
        elif failure.outcome is Outcome.HELD:
            bad.append(f"{failure.id} waits for a person")
        elif now - begun > rto:
            bad.append(f"{failure.id} is not healed after {now - begun:.1f} s of {rto:g} s")
        else:
            waiting.append(f"{failure.id} is not healed yet")
    value = f"{count} failures, the longest {worst:.3f} s"
    open_still = bool(waiting) and not bad
    return Judgement(ok=not bad and not waiting, pending=open_still, why=_few(bad or waiting), value=value)


def _rto(probe: RecoveredWithin, path: str, places: Mapping[str, PlaceFacts]) -> float:
    place = places.get(path)
    return probe.rto or (place.rto if place is not None else DEFAULT_RTO)


def _unnoticed(trail: Sequence[TrailEvent], kinds: Mapping[str, FaultKind]) -> Iterator[tuple[str, str, float]]:
    """Faults that act at once and that somebody has to notice, and nobody has yet: fault, path, when."""
    seen = {event.path: event.t for event in trail if event.kind in _NOTICES}
    over = {str(event.data.get("id")): event for event in trail if event.kind == EventKind.FAULT_REVERTED}
    for event in trail:
        kind = kinds.get(str(event.data.get("fault"))) if event.kind == EventKind.FAULT_INJECTED else None
        if kind is None or not kind.detected or event.data.get("standby") is True:
            continue
        at_once = kind.where is Where.PROCESS or Hook.NOW in kind.hooks
        ended = over.get(str(event.data.get("id")))
        # one that was reverted may have been too short to be noticed, or was refused
        undone = ended is not None and (kind.lasting or ended.data.get("acted") is False)
        if at_once and not undone and seen.get(event.path, -1.0) < event.t:
            yield kind.name, event.path, event.t


def _is_failure(failure: FailureTrail) -> bool:
    """A fault that only slows its target down is injected and never seen: no failure."""
    if failure.reason is not None and not failure.reason.is_abnormal and not failure.first_signal:
        return False
    return bool(failure.first_signal or failure.decision or failure.reason is not None)


def _is_cause(event: TrailEvent, kinds: Mapping[str, FaultKind]) -> bool:
    """Whether a failure may have begun with it: an armed fault acts when its occasion comes."""
    if event.kind == EventKind.FAULT_FIRED:
        return True
    kind = kinds.get(str(event.data.get("fault")))
    return event.kind == EventKind.FAULT_INJECTED and (kind is None or bool(kind.detected))


def _begun(failure: FailureTrail, causes: Iterable[TrailEvent]) -> float:
    """When it began: with the last of the faults that may have caused it, else when it was first noticed."""
    noticed = (step.at_ms for step in failure.steps if not step.kind.startswith("fault_"))
    seen = failure.t + next(noticed, 0.0) / 1e3
    return max((one.t for one in causes if one.path == failure.path and one.t <= seen), default=seen)


def invariants_hold(verdicts: Iterable[Verdict]) -> Judgement:
    """None of the invariants that a run in its middle has to keep is violated."""
    looked = [one for one in verdicts if one.id in LIVE_INVARIANTS]
    if not looked:
        return Judgement(ok=False, why="no invariant was looked at")
    bad = [
        f"{one.id.value} {one.name}: {one.violations[0].text if one.violations else ''}"
        for one in looked
        if one.state is State.VIOLATED
    ]
    held = sum(one.state is State.HELD for one in looked)
    return Judgement(ok=not bad, why=_few(bad), value=f"{held} of {len(looked)} held")


# ---------------------------------------------------------------- values


def metric_value(text: str, name: str, labels: Mapping[str, str]) -> float | None:
    """The sum of the samples called ``name`` that have ``labels``; None: there is none."""
    found: list[float] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items()):
                found.append(float(sample.value))
    return sum(found) if found else None


def metric_within(probe: MetricWithin, text: str) -> Judgement:
    """The metric is within its bounds."""
    value = metric_value(text, probe.metric, probe.labels)
    if value is None:
        return Judgement(ok=False, why=f"there is no metric {probe.metric} {dict(probe.labels) or ''}".rstrip())
    return tolerates(probe, value)


def trail_count(probe: TrailCount, trail: Iterable[TrailEvent], now: float) -> Judgement:
    """The number of events is within its bounds."""
    if not is_kind(probe.kind):
        return Judgement(ok=False, why=f"there is no kind of event called {probe.kind}")
    since = now - probe.last if probe.last is not None else float("-inf")
    count = sum(
        event.kind == probe.kind
        and event.t >= since
        and _concerns(event.path or "/", probe.path)
        and all(event.data.get(key) == value for key, value in probe.data.items())
        for event in trail
    )
    return tolerates(probe, count)


def is_kind(word: str) -> bool:
    """Whether events of a kind so called may come: of one misspelled there are always none."""
    return word in frozenset(EventKind) or word.startswith("actor_")


def tolerates(probe: CallAnswers | MetricWithin | TrailCount, answer: object) -> Judgement:
    """``answer``, or the part of it that the probe names, is what the probe tolerates."""
    try:
        value = field_of(answer, probe.field)
    except LookupError as error:
        return Judgement(ok=False, why=f"the answer has no {probe.field}: {error}", value=shown(answer))
    value = plain(value)
    text, why = shown(value), ""
    if "equals" in probe.model_fields_set and not _same(value, probe.equals):
        why = f"it is {text} and not {shown(probe.equals)}"
    elif probe.least is not None or probe.most is not None:
        why = _out_of_bounds(value, text, probe.least, probe.most)
    said = value if isinstance(value, str) else text
    if not why and probe.matches is not None and re.search(probe.matches, said) is None:
        why = f"{text} does not match {probe.matches}"
    return Judgement(ok=not why, why=why, value=text)


def _out_of_bounds(value: object, text: str, least: float | None, most: float | None) -> str:
    try:
        # a Decimal in an answer is a text by now
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or number != number:  # noqa: PLR0124 - NaN is within no bounds
        return f"{text} is no number"
    if least is not None and number < least:
        return f"{text} is less than {least:g}"
    if most is not None and number > most:
        return f"{text} is more than {most:g}"
    return ""


def field_of(answer: object, field: str) -> object:
    """The part of ``answer`` that ``field`` names, such as ``positions[0].size``; empty: all of it.

    Raises:
        LookupError: there is no such part.
    """
    value = answer
    for key, index in _PART.findall(field):
        value = plain(value)
        if index and isinstance(value, Sequence) and not isinstance(value, str):
            value = value[int(index)]
        elif key and isinstance(value, Mapping):
            value = value[key]
        else:
            raise LookupError(index or key)
    return value


def plain(value: object) -> object:
    """As JSON would carry it: structs become mappings, tuples lists, decimals texts."""
    found: object = msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))
    return found


def shown(value: object) -> str:
    """For people, in one line."""
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 200 else text[:197] + "..."


def _same(value: object, wanted: object) -> bool:
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return value == wanted


def _few(texts: Sequence[str], most: int = 4) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
