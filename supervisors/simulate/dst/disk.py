"""What one node's disk holds of each path: journal segments, the control file, checkpoints. With power failures.

As ``supervisors.state.journal`` keeps them, without the bytes: a writer raises the fence, finds the end by the mark and
begins a segment of its own; one batch is one write and one sync; the mark is moved after the sync, then the fence is
looked at, and only then the batch is acknowledged. A power failure takes what was not synced, or leaves any part of it,
the last record torn.
"""

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple


class Rec(NamedTuple):
    """One record: its sequence, the epoch that wrote it, and the event's number."""

    sequence: int
    epoch: int
    event: int


class Refused(Exception):
    """The disk does not do it (EIO, ENOSPC)."""


class Fenced(Exception):
    """A newer epoch has the journal."""


@dataclass(slots=True)
class Segment:
    """What one writer wrote, from ``first`` on; ``synced`` records of it survive a power failure."""

    epoch: int
    first: int
    records: list[Rec] = field(default_factory=list)
    synced: int = 0


@dataclass(slots=True)
class Control:
    """The control file as one writer has it mapped: the next opening puts another in its place."""

    fence: int
    mark: int
    #: the machine was not restarted since the mark was stored: nothing behind it was acknowledged
    exact: bool = True
    closed: bool = False


class Checkpoint(NamedTuple):
    """A state with where it stands; ``valid`` False: its checksum is wrong."""

    sequence: int
    epoch: int
    state: tuple[int, ...]
    at: float
    valid: bool = True


class Folder:
    """One path's files on one node."""

    def __init__(self) -> None:
        self.control: Control | None = None
        self.begin = 1
        self.segments: list[Segment] = []
        #: newest last: by epoch, then sequence
        self.checkpoints: list[Checkpoint] = []

    # ------------------------------------------------------------ reading

    def records(self, after: int = 0) -> list[Rec]:
        """What counts, behind ``after``: of each segment what lies before the next one's first record."""
        found: list[Rec] = []
        cap = self.control.mark if self.control is not None and self.control.exact else None
        limit: int | None = None
        for segment in reversed(self.segments):
            stop = limit
            if cap is not None and (stop is None or cap + 1 < stop):
                stop = cap + 1
            if stop is None or (segment.records and segment.records[-1].sequence < stop):
                part = segment.records
            else:
                part = segment.records[: max(0, stop - segment.first)]
            if part and part[-1].sequence > after:
                found = (part if part[0].sequence > after else part[after + 1 - part[0].sequence :]) + found
            limit = segment.first if limit is None else min(limit, segment.first)
            if limit <= after + 1:
                break
        return found

    @property
    def last(self) -> int:
        """The last sequence that counts."""
        found = self.records(max(0, self._floor()))
        return found[-1].sequence if found else self._floor()

    def _floor(self) -> int:
        """A sequence that is there for certain, or the one before the beginning."""
        for segment in reversed(self.segments):
            if segment.first > self.begin:
                return segment.first - 1
        return self.begin - 1

    def epoch_of(self, sequence: int) -> int:
        """Who wrote it; 0: it is not here."""
        found = self.records(sequence - 1)
        return found[0].epoch if found and found[0].sequence == sequence else 0

    @property
    def fence(self) -> int:
        """The newest epoch that opened it; 0: nobody ever did."""
        return 0 if self.control is None else self.control.fence

    def checkpoint(self) -> Checkpoint | None:
        """The newest valid one that no successor's beginning lies before."""
        for one in reversed(self.checkpoints):
            late = any(s.epoch > one.epoch and s.first <= one.sequence for s in self.segments)
            if one.valid and not late:
                return one
        return None

    # ------------------------------------------------------------ opening

    def raise_fence(self, epoch: int, *, check: bool = True) -> None:
        """Keep older writers out.

        Raises:
            Fenced: a newer writer, or one of the same epoch that did not close, was here.
        """
        control = self.control
        if control is None:
            return
        newest = max([control.fence, *(segment.epoch for segment in self.segments)])
        if check and not (epoch > newest or (epoch == control.fence and control.closed)):
            raise Fenced(f"epoch {epoch} comes too late: {newest}")
        control.fence, control.closed = max(epoch, control.fence) if check else epoch, False

    def open(self, epoch: int, *, cut: int = 0) -> "Writer":
        """After ``raise_fence``: find the end, put a new control file in place, begin a segment. ``cut``: a defect."""
        head = self.last - cut
        if cut:
            head = max(head, self.begin - 1)
        for segment in self.segments:  # an opening syncs what counts
            segment.synced = max(segment.synced, min(len(segment.records), max(0, head + 1 - segment.first)))
        self.control = Control(epoch, head)
        segment = Segment(epoch, head + 1)
        self.segments = [one for one in self.segments if one.first <= head]
        self.segments.append(segment)
        return Writer(self, epoch, self.control, segment, head)

    def set_aside(self) -> None:
        """Not our history: put it away."""
        self.control, self.begin, self.segments, self.checkpoints = None, 1, [], []

    # ------------------------------------------------------------ what befalls it

    def power_failure(self, chance: Random) -> int:
        """The node lost its power; how many records are gone."""
        lost = 0
        for segment in self.segments:
            unsynced = len(segment.records) - segment.synced
            if unsynced > 0:
                kept = segment.synced + chance.randrange(unsynced + 1)  # what follows it is torn, and not read
                lost += len(segment.records) - kept
                del segment.records[kept:]
                segment.synced = kept
        if self.control is not None:
            self.control.exact = False
        return lost


class Writer:
    """The writer of one epoch. Of no use after ``Fenced``."""

    __slots__ = ("_broken", "_control", "_folder", "durable", "epoch", "segment")

    def __init__(self, folder: Folder, epoch: int, control: Control, segment: Segment, head: int) -> None:
        self._folder = folder
        self._control = control
        self.epoch = epoch
        self.segment = segment
        self.durable = head
        self._broken = False

    def newer(self) -> int:
        """0, or the epoch of the writer that came after."""
        return self._control.fence if self._control.fence > self.epoch else 0

    def begin_at(self, sequence: int) -> None:
        """The state came from elsewhere and stands at ``sequence``: the journal begins anew behind it."""
        folder = self._folder
        folder.begin = sequence + 1
        self._control.mark = self.durable = sequence
        self.segment = Segment(self.epoch, sequence + 1)
        folder.segments = [self.segment]

    def write(self, events: list[int], *, full: bool) -> list[Rec]:
        """Into the page cache.

        Raises:
            Refused: no room.
            Fenced: a newer epoch has the journal.
        """
        if self._broken:
            if full:
                raise Refused("the disk is full")
            self._begin_segment()
        if full:
            self.void()
            raise Refused("the disk is full")
        first = self.durable + 1
        records = [Rec(first + place, self.epoch, event) for place, event in enumerate(events)]
        self.segment.records.extend(records)
        return records

    def synced(self, last: int) -> None:
        """The sync of all up to ``last`` returned."""
        self.segment.synced = max(self.segment.synced, last + 1 - self.segment.first)

    def mark(self, last: int) -> None:
        """All up to ``last`` counts; a newer writer that looked at the mark before this keeps it out by its fence."""
        self._control.mark = last

    def void(self) -> None:
        """A write or sync failed: nothing behind the durable end may be read again."""
        del self.segment.records[self.durable + 1 - self.segment.first :]
        self.segment.synced = min(self.segment.synced, len(self.segment.records))
        self._broken = True

    def _begin_segment(self) -> None:
        self.segment = Segment(self.epoch, self.durable + 1)
        self._folder.segments.append(self.segment)
        self._broken = False

    def close(self) -> None:
        """In order: the next writer may have the same epoch."""
        if not self.newer():
            self._control.closed = True


class Disk:
    """One node's disk.

    Args:
        chance: how long a sync takes, and what a power failure leaves.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._folders: dict[str, Folder] = {}
        #: faults in force: how many of each
        self.failing = self.full = 0
        #: a sync takes so many times as long
        self.slow = 1.0

    def folder(self, path: str) -> Folder:
        """One path's files."""
        found = self._folders.get(path)
        if found is None:
            found = self._folders[path] = Folder()
        return found

    def sync_time(self) -> float:
        """Seconds the next sync takes."""
        return (0.0005 + 0.001 * self._chance.random()) * self.slow

    def power_failure(self) -> int:
        """The node lost its power; how many records are gone."""
        return sum(self._folders[path].power_failure(self._chance) for path in sorted(self._folders))
