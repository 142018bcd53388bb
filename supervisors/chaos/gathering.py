"""Puts a history together from what a system and a run left on the disk: trail, journals, the run's folder."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from supervisors.chaos.acting import acting_of
from supervisors.chaos.faulting import faults_of
from supervisors.chaos.final import final_of_status, final_of_trail
from supervisors.chaos.history import (
    Asked,
    EpochRun,
    Fault,
    FinalState,
    History,
    Journal,
    Leftovers,
    Operation,
    Outcome,
    Rival,
    RunEvent,
    RunKind,
    RunWord,
    SupervisorFacts,
    tenures_of,
)
from supervisors.chaos.operations import UNIQUE
from supervisors.chaos.recording import Recorded
from supervisors.core.errors import StateError
from supervisors.faults.catalogue import FaultKind
from supervisors.faults.contender import read_seen
from supervisors.faults.kinds import CATALOGUE
from supervisors.state.folders import JOURNAL, STATE, journal_folder
from supervisors.state.journal import FindingKind, JournalReader, Record, Removed
from supervisors.trail.events import EventKind, SequencedEvent, TrailEvent
from supervisors.trail.reader import Follower
from supervisors.trail.status import SystemStatus

#: times a journal is read anew because it was pruned meanwhile
_TRIES = 5


class Wanted(msgspec.Struct, frozen=True):
    """By what a client's events are found in a journal.

    Attributes:
        field: of the event, which holds the unique value.
        texts: the arguments that carry it; the field holds one of them, filled in.
    """

    field: str = "id"
    texts: tuple[str, ...] = (UNIQUE,)


def gather(
    data_dir: Path,
    recorded: Recorded | None = None,
    *,
    tree: Iterable[SupervisorFacts] = (),
    status: SystemStatus | None = None,
    leftovers: Leftovers | None = None,
    applied: Mapping[str, Mapping[str, int]] | None = None,
    applied_to: Mapping[str, int] | None = None,
    id_field: str = "",
    kinds: Iterable[FaultKind] = CATALOGUE,
    until: float | None = None,
) -> History:
    """The history of a run, or (without ``recorded``) of the last start of the system in ``data_dir``.

    Args:
        data_dir: of the system.
        recorded: the run's own record.
        tree: the topology.
        status: the running system at the end; None: the trail's last word is taken.
        leftovers: what a look at the machine found.
        applied: by path, how often the live actor says that it applied each id.
        applied_to: by path, the last sequence that a live copy of the actor says it applied.
        id_field: field of journalled events that holds the unique id of a client's operation, where the run itself
            does not say; else ``id``.
        kinds: the catalogue, with the kinds of actors.
        until: end of the window, monotonic seconds; None: all there is.

    Raises:
        TrailError: the trail was written by a newer version.
    """
    gaps = list(recorded.gaps) if recorded is not None else []
    before, events = _read_trail(data_dir, recorded.asked if recorded is not None else None, until, gaps)
    operations = recorded.operations if recorded is not None else ()
    run_events = recorded.events if recorded is not None else ()
    outcome, why = _outcome(run_events)
    facts = tuple(tree)
    faults = faults_of(events, kinds, before=before)
    return History(
        asked=recorded.asked if recorded is not None else _nothing_asked(data_dir, events),
        began=recorded.asked.started if recorded is not None else (events[0].t if events else 0.0),
        ended=until if until is not None else max([0.0, *(e.t for e in events[-1:]), *(e.t for e in run_events[-1:])]),
        outcome=outcome,
        why=why,
        events=run_events,
        faults=faults,
        trail=tuple(events),
        operations=operations,
        journals=read_journals(data_dir, operations, applied, wanted_by(run_events, id_field), facts, applied_to),
        tenures=tenures_of((*before, *events)),
        tree=facts,
        final=_final(status, (*before, *events)),
        leftovers=leftovers,
        gaps=tuple(gaps),
        rivals=_rivals(data_dir, faults),
        acting=acting_of(before),
    )


def wanted_by(events: Iterable[RunEvent], id_field: str = "") -> Wanted:
    """By what the events of a run's clients are found, as its runner wrote it down when they began."""
    for event in events:
        if event.kind == RunWord.WORKLOAD:
            try:
                texts = msgspec.json.decode(str(event.data.get("ids", "")), type=tuple[str, ...])
            except msgspec.MsgspecError:
                texts = (UNIQUE,)
            return Wanted(str(event.data.get("id_field") or id_field or "id"), texts)
    return Wanted(id_field or "id")


def _rivals(data_dir: Path, faults: Iterable[Fault]) -> tuple[Rival, ...]:
    found = []
    for one in faults:
        seen = read_seen(data_dir, one.id) if one.kind == "contend" else None
        if seen is not None:
            found.append(Rival(one.id, one.targets[0], seen.asked, seen.violations, seen.why))
    return tuple(found)


def _nothing_asked(data_dir: Path, events: list[TrailEvent]) -> Asked:
    return Asked(
        "",
        RunKind.TRAIL,
        "what the trail and the journals tell",
        data_dir=str(data_dir),
        started=events[0].t if events else 0.0,
        started_utc=events[0].utc if events else 0,
    )


def _outcome(events: Iterable[RunEvent]) -> tuple[Outcome, str]:
    for event in reversed(tuple(events)):
        if event.kind == RunWord.ENDED:
            word, why = str(event.data.get("outcome", "")), str(event.data.get("why", ""))
            return (Outcome(word) if word in frozenset(Outcome) else Outcome.UNKNOWN), why
    return Outcome.UNKNOWN, "the runner did not come to its end" if events else ""


def _final(status: SystemStatus | None, events: tuple[TrailEvent, ...]) -> tuple[FinalState, ...] | None:
    if status is not None and any(one.pid for one in status.supervisors):
        return final_of_status(status)
    return final_of_trail(events) if events else None


def _read_trail(
    data_dir: Path, asked: Asked | None, until: float | None, gaps: list[str]
) -> tuple[list[TrailEvent], list[TrailEvent]]:
    """Events since the system's last start that lie before the window, and those in it."""
    found: list[SequencedEvent] = []
    with Follower(data_dir / "trail") as follower:
        oldest: int | None = None
        for one in itertools.chain.from_iterable(iter(follower.poll, [])):
            oldest = one.seq if oldest is None else oldest
            if one.event.kind == EventKind.SYSTEM_STARTING and not one.event.data.get("adopt"):
                found = [] if asked is None or one.seq < asked.trail_from else found
            found.append(one)
        if follower.malformed:
            gaps.append(f"trail: {follower.malformed} lines are damaged")
        if asked is not None and oldest is not None and oldest > asked.trail_from:
            gaps.append("trail: segments of this run are gone (trail.keep); what stood in them is not known")
    first = asked.trail_from if asked is not None else 0
    before = [one.event for one in found if one.seq < first]
    window = [one.event for one in found if one.seq >= first and (until is None or one.event.t <= until)]
    dropped = sum(int(event.data.get("dropped") or 0) for event in window if event.kind == EventKind.TRAIL_GAP)
    if dropped:
        gaps.append(f"trail: {dropped} events could not be written")
    return before, window


# ---------------------------------------------------------------- journals


def read_journals(
    data_dir: Path,
    operations: Iterable[Operation] = (),
    applied: Mapping[str, Mapping[str, int]] | None = None,
    wanted: Wanted | None = None,
    tree: Iterable[SupervisorFacts] = (),
    applied_to: Mapping[str, int] | None = None,
) -> tuple[Journal, ...]:
    """What each journal in ``data_dir`` holds now. Ids are looked for where clients appended."""
    asked: dict[str, set[str]] = {}
    for one in operations:
        if one.f == "append":
            asked.setdefault(one.path, set()).add(one.id)
    paths = {child.path for part in tree for child in part.children}
    folders = {journal_folder(data_dir, path): path for path in paths}
    found = []
    for folder in sorted((data_dir / STATE).glob(f"*/{JOURNAL}")):
        path = folders.get(folder) or "/" + folder.parent.name.replace("~", "/").lstrip("/")
        journal = _read_journal(folder, path, asked.get(path), wanted or Wanted())
        said = dict(applied[path]) if applied is not None and path in applied else None
        up_to = applied_to.get(path) if applied_to is not None else None
        found.append(msgspec.structs.replace(journal, applied=said, applied_sequence=up_to))
    return tuple(found)


class _Ids:
    """How often each operation's unique value is met in a journal's events."""

    def __init__(self, names: Iterable[str], wanted: Wanted) -> None:
        # the plain value as well: an actor may take it out of the text it came in
        self._texts = tuple(dict.fromkeys((*wanted.texts, UNIQUE))) if wanted.texts else ()
        self._filled = [{text.replace(UNIQUE, name): name for name in names} for text in self._texts]
        self._field = wanted.field
        self._met: list[Counter[str]] = [Counter() for _ in self._texts]
        self._records = self._named = 0

    def take(self, record: Record) -> None:
        self._records += 1
        try:
            event = msgspec.msgpack.decode(record.body)
        except (msgspec.MsgspecError, ValueError):
            return
        value = event.get(self._field) if isinstance(event, dict) else None
        if value is None:
            return
        self._named += 1
        for filled, met in zip(self._filled, self._met, strict=True):
            name = filled.get(str(value))
            if name is not None:
                met[name] += 1

    @property
    def counts(self) -> dict[str, int] | None:
        """None: the calls carried no unique value, or no event has the field."""
        if not self._texts or (self._records and not self._named):
            return None
        # all events take it from the same argument: the one by which most are found
        return max(self._met, key=Counter[str].total).copy()


def _read_journal(folder: Path, path: str, names: set[str] | None, wanted: Wanted) -> Journal:
    tries = _TRIES
    while True:
        try:
            return _read_once(folder, path, _Ids(names, wanted) if names is not None else None)
        except Removed:  # pruned behind a checkpoint while it was read
            tries -= 1
            if not tries:
                raise


def _read_once(folder: Path, path: str, ids: _Ids | None) -> Journal:
    damage: list[str] = []
    notes: list[str] = []
    epochs: list[EpochRun] = []
    first, last = 1, 0
    with JournalReader(folder) as reader:
        try:
            for finding in reader.verify().findings:
                text = f"{finding.kind}: {Path(finding.file).name} at {finding.offset}: {finding.text}"
                (damage if finding.kind is FindingKind.CORRUPT else notes).append(text)
            first = reader.begin
            last = first - 1
            for record in reader.read(first - 1):
                last = record.sequence
                if epochs and epochs[-1].epoch == record.epoch:
                    epochs[-1] = EpochRun(epochs[-1].first, last, record.epoch)
                else:
                    epochs.append(EpochRun(last, last, record.epoch))
                if ids is not None:
                    ids.take(record)
        except Removed:
            raise
        except StateError as error:
            if not damage:
                damage.append(error.message)
    return Journal(
        path, first, last, tuple(epochs), ids.counts if ids is not None else None, tuple(damage), tuple(notes)
    )
