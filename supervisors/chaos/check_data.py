"""INV-1 to INV-4: what clients were told, what the journals hold, and who acted in which epoch. Pure."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from supervisors.chaos.acting import Acting, begins_to_act
from supervisors.chaos.history import History, Journal, Operation, Result, Tenure
from supervisors.chaos.verdicts import Findings, show
from supervisors.trail.events import EventKind, TrailEvent

#: acknowledgements that survive every fault but the loss of the disk itself
_UNSAFE = "async"


def acknowledged_kept(history: History, found: Findings) -> None:
    """INV-1: every operation that was acknowledged stands in the journal, whole."""
    journals = _by_path(history)
    unsafe = {c.path for part in history.tree for c in part.children if c.ack == _UNSAFE}
    if history.journals is None:
        found.lacks("the journals were not read")
    for each in journals.values():
        found.looked_at += 1
        if each.damage:
            found.broken("its journal is damaged", path=each.path, at=history.ended, evidence=each.damage)
    _sequences_kept(history, journals, found)
    appended = [one for one in history.operations if one.f == "append"]
    if not appended:
        found.lacks("no client appended: only sequences and checksums were compared")
    acknowledged = [one for one in appended if one.result is Result.OK]
    if appended and not acknowledged:
        found.lacks("nothing was acknowledged: only sequences and checksums were compared")
    for path in sorted(unsafe.intersection(one.path for one in acknowledged)):
        found.lacks(f"{path} acknowledges before the disk has it (ack: async): nothing is promised")
    promised = [one for one in acknowledged if one.path not in unsafe]
    decided = _promises_kept(promised, history, journals, found)
    if promised and not decided:
        found.undecided()


def _promises_kept(
    promised: list[Operation], history: History, journals: Mapping[str, Journal], found: Findings
) -> int:
    """Look for each acknowledged operation; the number of those of which it can be told whether they are kept."""
    decided = 0
    kept_from = _kept_from(promised, history, journals)
    removed: Counter[str] = Counter()
    for one in promised:
        journal = journals.get(one.path)
        if journal is None and history.journals is None:
            continue  # told above
        if journal is None:
            found.broken(f"{one.id} was acknowledged, and {one.path} has no journal", path=one.path, at=one.completed)
        elif journal.ids is None:
            found.lacks(f"{one.path}: no ids in its events")
            continue
        elif not journal.ids.get(one.id):
            if _may_be_removed(one, journal, kept_from):
                removed[one.path] += 1
                continue
            _missing(one, journal, found)
        decided += 1
    found.looked_at += decided
    for path, count in removed.items():
        found.lacks(
            f"{path}: {count} acknowledged events may be among those before {journals[path].first}, "
            "which were removed behind a checkpoint"
        )
    return decided


def _kept_from(promised: list[Operation], history: History, journals: Mapping[str, Journal]) -> dict[str, float]:
    """By path, since when all that is asked comes behind the point to which its journal was pruned.

    What is asked when another event is durable already gets a higher sequence than that one has.
    """
    times: dict[str, float] = {}

    def known(path: str, at: float) -> None:
        times[path] = min(at, times.get(path, at))

    for one in promised:
        journal = journals.get(one.path)
        if one.completed is not None and journal is not None and journal.ids is not None and journal.ids.get(one.id):
            known(one.path, one.completed)
    for event in history.trail:
        sequence, journal = _sequence(event), journals.get(event.path)
        if sequence is not None and journal is not None and sequence >= journal.first - 1:
            known(event.path, event.t)
    return times


def _may_be_removed(one: Operation, journal: Journal, kept_from: Mapping[str, float]) -> bool:
    """It is not there, and may have been pruned behind a checkpoint, or was for certain."""
    if journal.first <= 1:
        return False
    since = kept_from.get(one.path)
    if since is not None and one.invoked > since:
        return False
    return not one.sequence or one.sequence < journal.first


def _missing(one: Operation, journal: Journal, found: Findings) -> None:
    if journal.damage:
        return  # told once, above, and not for each event behind the damage
    found.broken(
        f"{one.id} was acknowledged and is not in the journal of {one.path}",
        path=one.path,
        at=one.completed,
        evidence=(_told(one), f"journal {journal.first} to {journal.last}"),
    )


def _sequences_kept(history: History, journals: Mapping[str, Journal], found: Findings) -> None:
    """What a life had when it began to act never shrinks, and the journal ends no earlier."""
    best: dict[str, tuple[int, TrailEvent]] = {}
    for event in history.trail:
        sequence = _sequence(event)
        if sequence is None:
            continue
        found.looked_at += 1
        held = best.get(event.path)
        if held is not None and sequence < held[0]:
            found.broken(
                f"{event.path} began with event {sequence}, after {held[0]} was already durable",
                path=event.path,
                at=event.t,
                evidence=(show(held[1]), show(event)),
            )
        if held is None or sequence > held[0]:
            best[event.path] = sequence, event
    for path, (sequence, event) in best.items():
        journal = journals.get(path)
        if journal is not None and not journal.damage and journal.last < sequence:
            text = f"the journal of {path} ends at {journal.last}, after {sequence} was already durable"
            found.broken(text, path=path, at=event.t, evidence=(show(event),))


def _sequence(event: TrailEvent) -> int | None:
    """The last event of its path that was durable then, where the event says so."""
    whole = event.kind in (EventKind.PROMOTED, EventKind.CHECKPOINT) or (
        event.kind == EventKind.JOURNAL and event.data.get("what") == "restored"
    )
    value = event.data.get("sequence")
    return value if whole and isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def applied_once(history: History, found: Findings) -> None:
    """INV-2: no event stands twice in a journal or was applied twice; none that certainly failed was applied."""
    journals = _by_path(history)
    if history.journals is None:
        found.lacks("the journals were not read")
    elif not journals:
        found.lacks("there is no journal")
    unasked: list[str] = []
    for journal in journals.values():
        if journal.ids is None and journal.applied is None:
            found.lacks(f"{journal.path}: no ids in its events")
        for name, count in (journal.ids or {}).items():
            found.looked_at += 1
            if count > 1:
                found.broken(f"{name} stands {count} times in the journal of {journal.path}", path=journal.path)
        for name, count in (journal.applied or {}).items():
            found.looked_at += 1
            if count > 1:
                found.broken(f"{journal.path} applied {name} {count} times", path=journal.path)
            elif journal.ids is not None and not journal.ids.get(name) and count and journal.first == 1:
                found.broken(f"{journal.path} applied {name}, which is not in its journal", path=journal.path)
        if journal.applied is None:
            unasked.append(journal.path)
        if journal.applied_sequence is not None:
            found.looked_at += 1
            if journal.applied_sequence > journal.last:
                text = f"{journal.path}: {journal.applied_sequence} is applied, its journal ends at {journal.last}"
                found.broken(text, path=journal.path)
    for one in history.operations:
        ids = journals[one.path].ids if one.path in journals else None
        if one.f == "append" and one.result is Result.FAIL and ids is not None:
            found.looked_at += 1
            if ids.get(one.id):
                text = f"{one.id} is in the journal of {one.path}, though its client was told that it failed"
                found.broken(text, path=one.path, at=one.completed, evidence=(_told(one),))
    if all(journal.ids is None and journal.applied is None for journal in journals.values()):
        found.undecided()  # how far standbys came says nothing of what stands there twice
    if unasked:
        found.lacks(f"which events they applied was not asked of: {' '.join(sorted(unasked))}")


def one_acts(history: History, found: Findings) -> None:
    """INV-3: one life acts in an epoch, and a new one begins only when the one before has ended."""
    holders: dict[tuple[str, int], Tenure] = {}
    for tenure in history.tenures:
        found.looked_at += 1
        first = holders.setdefault((tenure.path, tenure.epoch), tenure)
        if first.incarnation != tenure.incarnation:
            text = f"lives {first.incarnation} and {tenure.incarnation} of {tenure.path} act in epoch {tenure.epoch}"
            found.broken(text, path=tenure.path, at=tenure.since, evidence=(_held(first), _held(tenure)))
    for one in history.operations:
        if one.result is Result.OK and one.epoch and one.incarnation:
            found.looked_at += 1
            tenure = Tenure(one.path, one.incarnation, one.epoch, one.completed or one.invoked, "answered")
            first = holders.setdefault((one.path, one.epoch), tenure)
            if first.incarnation != one.incarnation:
                text = f"lives {first.incarnation} and {one.incarnation} of {one.path} act in epoch {one.epoch}"
                found.broken(text, path=one.path, at=one.completed, evidence=(_held(first), _told(one)))
    _overlaps(history, found)
    for rival in history.rivals:
        found.looked_at += 1
        if rival.stolen:
            text = f"{rival.fault} got the lease of {rival.path} {rival.stolen} times while another's was running"
            found.broken(text, path=rival.path, at=0.0, evidence=(rival.why,))
    if not found.looked_at:
        found.lacks("no life with an epoch on the trail")


def _overlaps(history: History, found: Findings) -> None:
    """A life that is ready while another one has not ended, be it the one before it or one that comes back."""
    acting = Acting(history.acting)
    for event in history.trail:
        found.looked_at += begins_to_act(event)
        held = acting.take(event)
        if held is not None:
            text = f"life {event.incarnation} of {event.path} acts, and life {held.incarnation} has not ended"
            found.broken(text, path=event.path, at=event.t, evidence=(show(held), show(event)))


def epoch_grows(history: History, found: Findings) -> None:
    """INV-4: epochs only grow, by time, by life and by sequence; nothing of an older one is accepted after a newer."""
    newest: dict[str, Tenure] = {}
    for tenure in history.tenures:
        found.looked_at += 1
        held = newest.get(tenure.path)
        if held is not None and (
            tenure.epoch < held.epoch or (tenure.epoch == held.epoch and tenure.incarnation < held.incarnation)
        ):
            text = f"life {tenure.incarnation} of {tenure.path} acts in epoch {tenure.epoch} after {held.epoch}"
            found.broken(text, path=tenure.path, at=tenure.since, evidence=(_held(held), _held(tenure)))
        else:
            newest[tenure.path] = tenure
    for journal in history.journals or ():
        for before, after in zip(journal.epochs, journal.epochs[1:], strict=False):
            found.looked_at += 1
            if after.epoch <= before.epoch:
                text = f"{journal.path}: record {after.first} is of epoch {after.epoch}, after {before.epoch}"
                lines = tuple(f"records {run.first} to {run.last} of epoch {run.epoch}" for run in (before, after))
                found.broken(text, path=journal.path, evidence=lines)
    _old_answers(history.operations, found)
    if not found.looked_at:
        found.lacks("no epoch on the trail, in a journal or in an answer")


def _old_answers(operations: Iterable[Operation], found: Findings) -> None:
    """An older epoch that acknowledges what was asked after a newer one had answered."""
    answered = sorted(
        (one for one in operations if one.result is Result.OK and one.epoch and one.completed is not None),
        key=lambda one: one.completed or 0.0,
    )
    best: dict[str, list[Operation]] = {}  #: by path, first answers of each epoch: both time and epoch grow
    for one in answered:
        kept = best.setdefault(one.path, [])
        if not kept or one.epoch > kept[-1].epoch:
            kept.append(one)
    times = {path: [one.completed or 0.0 for one in kept] for path, kept in best.items()}
    for one in answered:
        found.looked_at += 1
        before = bisect_left(times[one.path], one.invoked)
        newer = best[one.path][before - 1] if before else one
        if newer.epoch > one.epoch:
            text = f"epoch {one.epoch} of {one.path} accepted {one.id}, asked after {newer.epoch} had answered"
            found.broken(text, path=one.path, at=one.completed, evidence=(_told(newer), _told(one)))


def _by_path(history: History) -> dict[str, Journal]:
    return {journal.path: journal for journal in history.journals or ()}


def _told(one: Operation) -> str:
    end = f"{one.completed:.6f}" if one.completed is not None else "never"
    where = f" sequence {one.sequence}" if one.sequence else ""
    where += f" life {one.incarnation} epoch {one.epoch}" if one.epoch else ""
    return (
        f"{one.f} {one.id} at {one.path}: invoked t={one.invoked:.6f}, {one.result} t={end}{where} {one.error}".rstrip()
    )


def _held(tenure: Tenure) -> str:
    return f"t={tenure.since:.6f} {tenure.path}#{tenure.incarnation} {tenure.how} in epoch {tenure.epoch}"
