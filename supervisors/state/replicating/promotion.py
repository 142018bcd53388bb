"""How a standby takes its primary's place, as a pure machine: what has to be known and applied before it acts.

The primary is dead for certain. All that was received is applied first. Then the journal on this machine: when our
primary wrote it, it is authoritative, and what it holds beyond what was received is applied too. When a life we never
followed wrote it since, ours may be another history: unless it holds our last record, the state is restored from there.
So it is with one that was never fed: all it has is from here, and what is here may have been replaced since. When our
primary had a disk of its own, what is here is put away unless it is the beginning of what we have (nothing was added to
it since we read it, and where it ends just with our last record it is the same one), and the journal begins behind a
checkpoint of the state. It acts under a greater epoch than it ever heard of, or not at all.
"""

from typing import Protocol

import msgspec

from supervisors.state.replicating.standby_events import Restored


class Halted(Protocol):
    """A standby that takes no more; see ``StandbySide``."""

    received: int
    applied: int
    source: int
    shared: int
    diverged: bool
    restored: int

    @property
    def newest(self) -> int: ...


# ---------------------------------------------------------------- events


class Drained(msgspec.Struct, frozen=True):
    """All that was received is in the state, which stands at ``applied``; ``epoch`` of that record, 0: unknown."""

    applied: int
    epoch: int


class DiskSeen(msgspec.Struct, frozen=True):
    """Answer to ``LookAtDisk``: ``fence``: the newest epoch that opened the journal here; 0: there is none."""

    fence: int


class RecordSeen(msgspec.Struct, frozen=True):
    """Answer to ``LookAtRecord``: ``last`` record here, and the ``epoch`` of the one asked for; 0: it is not here."""

    last: int
    epoch: int


class Opened(msgspec.Struct, frozen=True):
    """The journal is open for writing under the new epoch, and ends with ``last``."""

    last: int


# ---------------------------------------------------------------- effects


class ApplyAll(msgspec.Struct, frozen=True):
    """Apply all that was received; ``Drained`` follows."""


class LookAtDisk(msgspec.Struct, frozen=True):
    """Who opened the journal on this machine; ``DiskSeen`` follows."""


class LookAtRecord(msgspec.Struct, frozen=True):
    """What this machine's journal ends with, and whose ``sequence`` is (0: none); ``RecordSeen`` follows."""

    sequence: int


class SetAside(msgspec.Struct, frozen=True):
    """Put away journal and checkpoints: they are not the beginning of what we have."""


class RestoreFromDisk(msgspec.Struct, frozen=True):
    """Forget the state, restore it from newest checkpoint and journal; ``Restored`` follows."""


class OpenJournal(msgspec.Struct, frozen=True):
    """Become the writer; ``Opened`` follows, unless a newer epoch has it."""

    epoch: int


class ReplayDisk(msgspec.Struct, frozen=True):
    """Apply what the journal holds behind ``after``."""

    after: int


class TakeCheckpoint(msgspec.Struct, frozen=True):
    """Make a checkpoint of the state durable (unless there is one of just that sequence)."""

    sequence: int


class BeginJournalAt(msgspec.Struct, frozen=True):
    """The journal goes on behind ``sequence``; what it held before does not count."""

    sequence: int


class Act(msgspec.Struct, frozen=True):
    """It is the primary: its state stands at ``sequence``; ``behind`` events were to be applied when the order came."""

    epoch: int
    sequence: int
    behind: int


class Refuse(msgspec.Struct, frozen=True):
    """It cannot take the place; ``fenced``: a life with a greater epoch was there already."""

    why: str
    fenced: bool


Event = Drained | DiskSeen | RecordSeen | Restored | Opened
Effect = (
    ApplyAll
    | LookAtDisk
    | LookAtRecord
    | SetAside
    | RestoreFromDisk
    | OpenJournal
    | ReplayDisk
    | TakeCheckpoint
    | BeginJournalAt
    | Act
    | Refuse
)


def take_over(last: int, applied: int) -> tuple[Effect, ...]:
    """What brings state and journal together once the journal is open: it ends with ``last``, the state ``applied``."""
    if last > applied:
        return (ReplayDisk(applied),)
    if last < applied:
        return (TakeCheckpoint(applied), BeginJournalAt(applied))
    return ()


class PromotionSteps:
    """One promotion, from the order to acting. Belongs to whoever applies, once the standby is halted.

    Args:
        standby: halted.
        epoch: under which it will act.
        failed: why its state is not to be used; empty: it is.
    """

    def __init__(self, standby: Halted, epoch: int, failed: str = "") -> None:
        self._standby = standby
        self._epoch = epoch
        self._failed = failed
        self._received = standby.received
        self._applied = standby.applied
        self._applied_epoch = 0
        self._ours = False
        #: events to apply when the order came, as far as is known
        self.behind = max(0, standby.received - standby.applied)

    def _added(self, last: int) -> bool:
        """A life wrote here after we had read it: its last words may be what our primary never had."""
        return last > min(self._standby.restored, self._applied)

    def begin(self) -> list[Effect]:
        """The order came."""
        if self._failed:
            return [Refuse(f"the standby had failed: {self._failed}", False)]
        newest = self._standby.newest
        if self._epoch <= newest:
            return [Refuse(f"epoch {self._epoch} was to act, but epoch {newest} did already", True)]
        return [ApplyAll()]

    def step(self, event: Event) -> list[Effect]:
        """Take in an answer; gives what to do next."""
        match event:
            case Drained(applied, epoch):
                self._applied, self._applied_epoch = applied, epoch
                if applied != self._received:
                    return [Refuse(f"event {self._received} was received, event {applied} applied", False)]
                return [LookAtDisk()]
            case DiskSeen(fence):
                # the fence of a journal that our primary wrote is at least as new as it
                self._ours = fence >= self._standby.source
                if self._ours and (fence == self._standby.shared or self._applied == 0):
                    return [OpenJournal(self._epoch)]
                return [LookAtRecord(self._applied)]
            case RecordSeen(last, epoch):
                same = epoch != 0 and epoch == self._applied_epoch
                if not self._ours:
                    foreign = self._standby.diverged or self._added(last) or (last == self._applied > 0 and not same)
                    return [SetAside(), OpenJournal(self._epoch)] if foreign else [OpenJournal(self._epoch)]
                return [OpenJournal(self._epoch)] if same else [RestoreFromDisk()]
            case Restored(sequence, epoch):
                self.behind += max(0, sequence - self._applied)
                self._applied, self._applied_epoch = sequence, epoch
                return [OpenJournal(self._epoch)]
            case Opened(last):
                self.behind += max(0, last - self._applied)
                act = Act(self._epoch, max(last, self._applied), self.behind)
                return [*take_over(last, self._applied), act]
