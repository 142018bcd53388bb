"""The standby's side of replication as a pure machine: what it takes, what it asks for again, whose history it has.

What was received is confirmed at once, before it is applied: it is in memory and will be applied before a promotion
ends. Messages may be lost, repeated and overtaken: records are taken in their order only, each once.

Two histories are never mixed. The first record a primary sends is the last one we have, or it says whose that is, and
its epoch must be the same: from then on all we have is this primary's (``shared``), and what is older than that was
overtaken on its way. A standby that has what its primary never had, or cannot be shown to have had, goes back to the
state its object was born with and begins anew. It confirms nothing to a primary before it knows that both have the same
history.
"""

from collections import deque
from typing import Generic

from supervisors.state.replicating.standby_events import (
    Apply,
    C,
    ConfirmDue,
    ConfirmSoon,
    Connect,
    Connected,
    Damaged,
    Disconnect,
    Effect,
    Event,
    Failed,
    Fed,
    Halt,
    Load,
    Note,
    Numbered,
    P,
    PartCame,
    Prepare,
    Progressed,
    R,
    RecordsCame,
    Report,
    Restored,
    SendConfirm,
    SendJoin,
    Ticked,
    Unpack,
    Unpacked,
    Unsent,
)

__all__ = [
    "Apply",
    "ConfirmDue",
    "ConfirmSoon",
    "Connect",
    "Connected",
    "Damaged",
    "Disconnect",
    "Effect",
    "Event",
    "Failed",
    "Fed",
    "Halt",
    "Load",
    "Note",
    "Numbered",
    "PartCame",
    "Prepare",
    "Progressed",
    "RecordsCame",
    "Report",
    "Restored",
    "SendConfirm",
    "SendJoin",
    "StandbySide",
    "Ticked",
    "Unpack",
    "Unpacked",
    "Unsent",
]

#: beats without an answer after which we ask again
ASK_AGAIN = 2
#: beats without a word from a primary whose stream we are in, after which we join again
SILENT = 5
#: seconds without progress after which a transfer is begun anew
STUCK = 5.0


class StandbySide(Generic[R, P, C]):
    """Keeps one state in step with its primary.

    Args:
        interval: seconds between beats.
        timeout: events may wait this long to be applied, and the primary be silent, before it counts as behind
            (``JournalSpec.standby_timeout``).
    """

    def __init__(self, interval: float, timeout: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._feed: Fed | None = None
        #: last sequence in memory
        self.received = 0
        #: of that record; 0: unknown
        self.epoch = 0
        #: where it is unknown it is at most this, and the primary of this epoch had it; 0: that is unknown too
        self._most = 0
        #: up to there the state came from this disk
        self.restored = 0
        #: the primary's last sequence
        self.head = 0
        #: epoch of the primary last heard; 0: all we have is from this disk
        self.source = 0
        #: epoch of the last primary that was seen to have the same history
        self.shared = 0
        #: what is on this disk may not be the beginning of what we have
        self.diverged = False
        self.in_stream = False
        self.synced = False
        self.halted = False
        #: what the state holds
        self.applied = 0
        #: (number, since) of what was handed out and is not yet done; ``since`` infinity: a state to load
        self.waiting: deque[tuple[int, float]] = deque()
        self._number = 0
        self._live = False
        self._heard = 0.0
        self._asked = 0.0
        self._asking = False
        self._progress = 0.0
        self._confirming = False
        self._parts: list[P] = []
        self._parts_bytes = 0
        self._parts_sequence = 0
        self._failure = ""
        self._told = "starting"
        self._why = ""

    @property
    def newest(self) -> int:
        """Greatest epoch it was told or heard of."""
        return max(self.source, self._feed.epoch if self._feed is not None else 0)

    def lag(self, now: float) -> float:
        """Seconds the state is behind what was received: the age of the oldest event not yet applied."""
        return max(0.0, now - self.waiting[0][1]) if self.waiting else 0.0

    def wants(self, epoch: int, first: int) -> bool:
        """Whether the records of a message that begins with ``first`` will be looked at."""
        return not self.halted and self._feed is not None and epoch == self._feed.epoch and first <= self.received + 1

    def step(self, event: Event[R, P, C], now: float) -> list[Effect[R, P, C]]:
        """Take in what happened; gives what to do. ``now``: seconds that never go back."""
        effects: list[Effect[R, P, C]] = []
        if isinstance(event, Progressed):
            self._progressed(event, now, effects)
        elif isinstance(event, Restored):
            self.received = self.applied = self.restored = event.sequence
            self.epoch = event.epoch
        elif isinstance(event, Failed):
            self._failure = event.why
            self._see_state(now, effects)
        elif self.halted:
            return effects
        elif isinstance(event, RecordsCame):
            if self._hears(event.epoch, now):
                self._got_records(event, now, effects)
        else:
            self._other(event, now, effects)
        return effects

    def _other(self, event: Event[R, P, C], now: float, effects: list[Effect[R, P, C]]) -> None:
        match event:
            case ConfirmDue():
                self._confirming = False
                if self._feed is not None and self.in_stream:
                    effects.append(SendConfirm(self._feed.epoch, self.received, min(self.applied, self.received)))
            case Ticked():
                self._turn(now, effects)
            case PartCame():
                if self._hears(event.epoch, now):
                    self._got_part(event, now, effects)
            case Unpacked(sequence, body):
                self._unpacked(sequence, body, now, effects)
            case Damaged(why):
                self.synced = False
                self._join(why, now, effects)
            case Fed():
                self._fed(event, now, effects)
            case Unsent():
                self._asking = True
            case Connected():
                self._asking = False
                if not self.in_stream:
                    self._ask(effects)
            case Halt():
                self.halted = True
                effects.append(Disconnect())

    def _hears(self, epoch: int, now: float) -> bool:
        if self._feed is None or epoch != self._feed.epoch:
            return False
        self.source = epoch
        self._heard = now
        return True

    # ------------------------------------------------------------ who the primary is

    def _fed(self, feed: Fed, now: float, effects: list[Effect[R, P, C]]) -> None:
        known = self._feed
        if known is not None and (known.endpoint, known.epoch) == (feed.endpoint, feed.epoch):
            return
        if known is not None and feed.epoch < known.epoch:
            return  # overtaken on its way: that one was replaced
        self._feed = feed
        effects.append(Connect(feed.epoch, feed.endpoint))
        if self.epoch == feed.epoch:
            self.shared = feed.epoch  # it wrote our last record itself
        self.head = 0  # what an earlier one had may never be reached
        self.synced = False
        self._join("", now, effects)

    def _join(self, why: str, now: float, effects: list[Effect[R, P, C]]) -> None:
        """Ask for what follows ``received``; what is under way to us is out of the stream."""
        self.in_stream = self._live = False
        self._why = why
        self._parts, self._parts_bytes = [], 0
        self._asked = self._progress = now
        if not self._asking:
            self._ask(effects)
        self._see_state(now, effects)

    def _ask(self, effects: list[Effect[R, P, C]]) -> None:
        if self._feed is not None:
            effects.append(SendJoin(self._feed.epoch, self.received))

    # ------------------------------------------------------------ what it sends

    def _got_records(self, message: RecordsCame[R], now: float, effects: list[Effect[R, P, C]]) -> None:
        same = self.shared == message.epoch
        if message.head < self.received:
            if not same:
                why = f"event {self.received} was received, the primary has {message.head}"
                self._begin_anew(why, now, effects)
            return
        self.head = max(self.head, message.head) if same else message.head
        if message.first > self.received + 1:
            if self.in_stream:
                self.synced = False
                why = f"events {self.received + 1} to {message.first - 1} were lost on the way"
                self._join(why, now, effects)
            return  # out of the stream: what comes before our question was answered; see _turn for an answer lost
        if message.records:
            if not self._take(message, now, effects):
                return
        elif not self.in_stream and not message.live:
            return  # it lives; what we asked for is still to come
        elif not self._shares(message, now, effects):
            return
        self.in_stream, self._live = True, message.live
        self._confirm(effects)
        if not message.records:
            self._see_state(now, effects)

    def _take(self, message: RecordsCame[R], now: float, effects: list[Effect[R, P, C]]) -> bool:
        """Keep what is new of it; False if it cannot be."""
        if not self._shares(message, now, effects):
            return False
        records = message.records
        known = self.received - message.first  # index of the last record we have
        fresh = records[known + 1 :] if known >= 0 else records
        if fresh:
            self.received, self.epoch = fresh[-1].sequence, fresh[-1].epoch
            self._progress = now
            if not message.live:
                self.synced = False
            since = message.sent if self._feed is not None and self._feed.same_clock else now
            effects.append(Apply(self._hand_out(since), fresh, since))
        return True

    def _shares(self, message: RecordsCame[R], now: float, effects: list[Effect[R, P, C]]) -> bool:
        """Whether all we have is of this primary's history, as far as the message tells; begins anew if it is not."""
        if self.shared == message.epoch:
            return True
        if self.received > 0:
            known = self.received - message.first
            if known >= len(message.records):
                return False  # it lives; whether our last record is the same remains to be seen
            theirs = message.records[known].epoch if known >= 0 else message.before
            if not self._same(theirs):
                ours = self.epoch or (f"at most {self._most}" if self._most else "unknown")
                why = f"event {self.received} is of epoch {ours} here, of {theirs or 'unknown'} at the primary"
                self._begin_anew(why, now, effects)
                return False
        self.shared = message.epoch
        return True

    def _same(self, theirs: int) -> bool:
        """Whether our last record is for certain the one that the primary has of epoch ``theirs`` (0: unknown).

        What cannot be said is not taken on trust: a journal may begin just behind a record that it has and we have not.
        """
        if theirs == 0:
            return False
        return theirs == self.epoch if self.epoch else theirs <= self._most

    def _hand_out(self, since: float) -> int:
        self._number += 1
        self.waiting.append((self._number, since))
        return self._number

    def _begin_anew(self, why: str, now: float, effects: list[Effect[R, P, C]]) -> None:
        """We have what the primary never had: forget all."""
        effects.append(Note("lagging", why))
        self.received = self.epoch = self._most = 0
        self.diverged, self.synced = True, False
        effects.append(Load(self._hand_out(float("inf")), 0, None))
        self._join(why, now, effects)

    def _got_part(self, part: PartCame[P], now: float, effects: list[Effect[R, P, C]]) -> None:
        if part.sequence <= self.received or part.offset != self._parts_bytes:
            return  # overtaken by what we have, or one was lost: see _turn
        if self._parts and part.sequence != self._parts_sequence:
            return
        self.synced = False
        self._progress = now
        self._parts_sequence = part.sequence
        self._parts.append(part.body)
        self._parts_bytes += part.size
        effects.append(SendConfirm(part.epoch, -self._parts_bytes, 0))
        if self._parts_bytes >= part.total:
            effects.append(Unpack(part.sequence, self._parts))
            self._parts, self._parts_bytes = [], 0

    def _unpacked(self, sequence: int, body: C | None, now: float, effects: list[Effect[R, P, C]]) -> None:
        if body is not None and sequence > self.received and self._feed is not None:
            self.received, self.epoch, self.shared = sequence, 0, self._feed.epoch
            self._most = self._feed.epoch
            effects.append(Load(self._hand_out(float("inf")), sequence, body))
        self._join("", now, effects)

    # ------------------------------------------------------------ what we say

    def _confirm(self, effects: list[Effect[R, P, C]]) -> None:
        """Confirm once for all that arrived together."""
        if not self._confirming:
            self._confirming = True
            effects.append(ConfirmSoon())

    def _progressed(self, event: Progressed, now: float, effects: list[Effect[R, P, C]]) -> None:
        while self.waiting and self.waiting[0][0] <= event.done:
            self.waiting.popleft()
        self.applied = event.applied
        if self.halted:
            return
        if self.in_stream and (not self._live or self.waiting):
            self._confirm(effects)  # the primary may wait for room
        self._see_state(now, effects)

    def _turn(self, now: float, effects: list[Effect[R, P, C]]) -> None:
        """Each beat."""
        silent = now - max(self._heard, self._asked)
        if self.in_stream:
            if silent > max(SILENT * self._interval, self._timeout):
                # its process may be gone: that is for others to say, and does not make us fall behind
                self._join(f"nothing heard for {silent:.1f} s", now, effects)
            else:
                self._confirm(effects)
        elif not self._asking and (silent > ASK_AGAIN * self._interval or now - self._progress > STUCK):
            self._join(self._why, now, effects)
        self._see_state(now, effects)
        self._report(now, effects)
        if self.synced:
            effects.append(Prepare(self.source))

    def _see_state(self, now: float, effects: list[Effect[R, P, C]]) -> None:
        """Synced once all of a live stream is applied; no more when events are lost or wait too long to be applied."""
        if self.synced:
            if self.lag(now) > self._timeout:
                self.synced, self._why = False, "events wait too long to be applied"
        elif self._live and not self.waiting and self.applied >= self.head:
            self.synced, self._why = True, ""
        state = "failed" if self._failure else "synced" if self.synced else "syncing"
        if state != self._told:
            self._told = state
            self._report(now, effects)

    def _report(self, now: float, effects: list[Effect[R, P, C]]) -> None:
        why = self._failure or self._why
        effects.append(Report(self._told, self.applied, self.head, self.lag(now), why))
