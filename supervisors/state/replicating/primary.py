"""The primary's side of replication as a pure machine: which standbys follow, what each has, what is acknowledged.

A standby that keeps up is sent each batch as it was committed. One that does not is fed from the backlog, never more
than ``Limits.window`` bytes ahead of what it applied: memory stays bounded however long it lags. The network may lose
what it is given; the standby sees the gap and joins again.

A standby is *in sync* once it confirmed everything, and leaves when it has not confirmed a batch, or anything at all,
for ``timeout``; acknowledgements wait for those in sync only. To come back it has to catch up. What it says it has when
it joins counts for nothing: it may be another history, which it finds out from the first record it is sent.
"""

from collections import deque
from typing import Generic

from supervisors.recovery.policy import AckMode
from supervisors.state.replicating.peer import Following
from supervisors.state.replicating.primary_events import (
    Acknowledge,
    B,
    BacklogGone,
    BacklogRead,
    Closed,
    Committed,
    Confirmed,
    Effect,
    Event,
    Forget,
    Joined,
    Limits,
    Note,
    PackSnapshot,
    ReadBacklog,
    ReadFailed,
    SendPart,
    SendRecords,
    SnapshotPacked,
    Synced,
    Ticked,
    Unfollowed,
)

__all__ = [
    "Acknowledge",
    "BacklogGone",
    "BacklogRead",
    "Closed",
    "Committed",
    "Confirmed",
    "Effect",
    "Event",
    "Forget",
    "Joined",
    "Limits",
    "Note",
    "PackSnapshot",
    "PrimarySide",
    "ReadBacklog",
    "ReadFailed",
    "SendPart",
    "SendRecords",
    "SnapshotPacked",
    "Synced",
    "Ticked",
    "Unfollowed",
]


class PrimarySide(Generic[B]):
    """Feeds the standbys of one journal.

    While it is not ``busy`` nobody has to tell it of batches: with ``AckMode.BOTH`` the disk alone acknowledges them,
    with ``STANDBY`` it does when it hears ``Synced``.

    Args:
        epoch: of this life.
        ack: how appends are acknowledged.
        timeout: a standby may be silent for this long (``JournalSpec.standby_timeout``).
        base: last sequence of the state this life began with.
        base_epoch: of that record; 0: unknown.
        limits: what a standby may cost.
    """

    def __init__(
        self,
        epoch: int,
        ack: AckMode,
        timeout: float,
        *,
        base: int = 0,
        base_epoch: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self._epoch = epoch
        self._ack = ack
        self._timeout = timeout
        self._base = base
        self._base_epoch = base_epoch
        self._limits = limits or Limits()
        #: who follows, by host
        self.followers: dict[str, Following] = {}
        #: last sequence committed, as far as it was told
        self.head = 0
        #: up to where events were said to be acknowledged
        self.acknowledged = 0
        #: bytes of batches kept in memory
        self.recent_bytes = 0
        self._recent: deque[Committed[B]] = deque()
        #: seconds a standby that lagged has to keep up before it counts again, by host
        self._probation: dict[str, float] = {}
        self._synced = 0
        self._numbers = 0
        self._closed = False

    @property
    def busy(self) -> bool:
        """There are standbys: batches have to be told."""
        return bool(self.followers)

    def step(self, event: Event[B], now: float) -> list[Effect[B]]:
        """Take in what happened; gives what to do. ``now``: seconds that never go back."""
        effects: list[Effect[B]] = []
        match event:
            case Committed():
                self._committed(event, now, effects)
            case Confirmed(host, received, applied):
                self._confirmed(host, received, applied, now, effects)
            case Ticked():
                self._turn(now, effects)
            case Synced(last):
                self._synced = max(self._synced, last)
            case Joined(host, applied, head):
                self._joined(host, applied, head, now, effects)
            case BacklogRead():
                self._was_read(event, now, effects)
            case BacklogGone(host, number):
                self._is_gone(host, number, effects)
            case SnapshotPacked(host, number, sequence, total):
                self._was_packed(host, number, sequence, total, now, effects)
            case ReadFailed(host, number, why):
                if (peer := self._awaiting(host, number)) is not None:
                    self._lose(peer, why, now, effects)
            case Unfollowed(host):
                self._probation.pop(host, None)
                self._drop(host, effects)
            case Closed():
                self._closed = True
                for host in list(self.followers):
                    self._drop(host, effects)
                return effects
        self._settle(effects)
        return effects

    # ------------------------------------------------------------ what the journal tells

    def _committed(self, batch: Committed[B], now: float, effects: list[Effect[B]]) -> None:
        self.head = max(self.head, batch.last)
        if not self.followers:
            return
        if self._recent and self._recent[-1].last + 1 != batch.first:  # nobody followed meanwhile
            self._recent.clear()
            self.recent_bytes = 0
        self._recent.append(batch)
        self.recent_bytes += batch.size
        while self.recent_bytes > self._limits.recent and len(self._recent) > 1:
            self.recent_bytes -= self._recent.popleft().size
        for peer in self.followers.values():
            if peer.in_sync:
                peer.unconfirmed.append((batch.last, now))
            if peer.live and batch.first == peer.sent + 1 and self._has_room(peer):
                self._send(peer, batch, True, effects)
            else:
                peer.live = False
                self._feed(peer, now, effects)

    # ------------------------------------------------------------ what standbys say

    def _joined(self, host: str, applied: int, head: int, now: float, effects: list[Effect[B]]) -> None:
        if self._closed:
            return
        known = self.followers.pop(host, None)
        self.head = max(self.head, head)
        self._numbers += 1
        peer = self.followers[host] = Following(host, self._numbers, applied, self.head, now)
        if known is not None:
            effects.append(Forget(host, known.number))
            if known.in_sync:
                self._lagging(known, "it joined again", now, effects)
        if applied > self.head:
            self._send_nothing(peer, effects)  # it sees from the head that it has what we never had
        else:
            self._feed(peer, now, effects)

    def _confirmed(self, host: str, received: int, applied: int, now: float, effects: list[Effect[B]]) -> None:
        peer = self.followers.get(host)
        if peer is None:
            return
        if received < 0:
            peer.heard = now
            peer.snapshot_received = max(peer.snapshot_received, -received)
            self._feed(peer, now, effects)
            return
        peer.confirms(min(received, self.head), applied, now)
        if not peer.live:
            self._feed(peer, now, effects)
        self._check_sync(peer, now, effects)

    # ------------------------------------------------------------ feeding

    def _has_room(self, peer: Following) -> bool:
        return peer.window < self._limits.window and len(peer.unapplied) < self._limits.frames

    def _feed(self, peer: Following, now: float, effects: list[Effect[B]]) -> None:
        """Send from memory or fetch from the disk what it lacks and has room for."""
        if peer.snapshot:
            self._feed_snapshot(peer, effects)
            return
        if peer.reading or peer.asked > self.head:
            return  # in the second case it has what we never had: nothing follows that
        if self._recent and self._recent[0].first <= peer.sent + 1:
            for batch in self._recent:
                if batch.last > peer.sent:
                    if not self._has_room(peer):
                        return
                    self._send(peer, batch, batch.last == self.head, effects)
        if peer.sent >= self.head:
            if not peer.live:
                peer.live, peer.live_since = True, now
            self._send_nothing(peer, effects)
            self._check_sync(peer, now, effects)
        elif self._has_room(peer):
            self._read(peer, peer.sent, effects)

    def _read(self, peer: Following, after: int, effects: list[Effect[B]]) -> None:
        peer.reading, peer.read_after = True, after
        effects.append(ReadBacklog(peer.host, peer.number, after))

    def _feed_snapshot(self, peer: Following, effects: list[Effect[B]]) -> None:
        part = self._limits.part
        while (
            peer.snapshot_sent < peer.snapshot_total
            and peer.snapshot_sent - peer.snapshot_received + part <= self._limits.window
        ):
            at, size = peer.snapshot_sent, min(part, peer.snapshot_total - peer.snapshot_sent)
            effects.append(SendPart(peer.host, peer.number, peer.snapshot, at, size, peer.snapshot_total))
            peer.snapshot_sent += size
            peer.quiet = False

    def _awaiting(self, host: str, number: int) -> Following | None:
        """Who an answer from the disk is for; None: it joined again meanwhile, or is gone."""
        peer = self.followers.get(host)
        if peer is None or peer.number != number:
            return None
        peer.reading = False
        return peer

    def _was_read(self, found: BacklogRead[B], now: float, effects: list[Effect[B]]) -> None:
        peer = self._awaiting(found.host, found.number)
        if peer is None:
            return
        self.head = max(self.head, found.head)
        if found.size == 0 and peer.sent < peer.asked == peer.read_after == self.head:
            peer.sent = peer.asked  # our journal begins behind it, and nothing was added yet
            self._feed(peer, now, effects)
            return
        if found.size == 0 or found.last > self.head:
            return  # committed and not yet to be read; the next batch or turn tries again
        batch = Committed(found.first, found.last, found.size, found.body)
        self._send(peer, batch, False, effects)
        self._feed(peer, now, effects)

    def _is_gone(self, host: str, number: int, effects: list[Effect[B]]) -> None:
        peer = self._awaiting(host, number)
        if peer is None:
            return
        if peer.read_after < peer.asked:  # the record it has already may be the newest one removed
            self._read(peer, peer.asked, effects)
        else:
            peer.reading = True
            effects.append(PackSnapshot(host, number, max(peer.asked, peer.received)))

    def _was_packed(
        self, host: str, number: int, sequence: int, total: int, now: float, effects: list[Effect[B]]
    ) -> None:
        peer = self._awaiting(host, number)
        if peer is None:
            return
        if sequence == 0:
            self._lose(peer, "neither the journal nor a checkpoint reaches back to it", now, effects)
            return
        peer.snapshot, peer.snapshot_total = sequence, total
        self._feed_snapshot(peer, effects)

    def _before(self, first: int) -> int:
        """Epoch of the record before ``first``; 0: unknown."""
        if self._base < first - 1 <= self.head:
            return self._epoch
        return self._base_epoch if first - 1 == self._base else 0

    def _send(self, peer: Following, batch: Committed[B], live: bool, effects: list[Effect[B]]) -> None:
        before = self._before(batch.first)
        effects.append(SendRecords(peer.host, batch.first, batch.last, self.head, live, batch.body, before))
        peer.was_sent(batch.last, batch.size)

    def _send_nothing(self, peer: Following, effects: list[Effect[B]]) -> None:
        sent = peer.sent
        effects.append(SendRecords(peer.host, sent + 1, sent, self.head, peer.live, None, self._before(sent + 1)))
        peer.quiet = False

    # ------------------------------------------------------------ in sync or not

    def _turn(self, now: float, effects: list[Effect[B]]) -> None:
        for host, peer in list(self.followers.items()):
            late = peer.late(now, self._timeout)
            if peer.in_sync and late:
                self._lagging(peer, f"nothing confirmed for {late:.2f} s", now, effects)
            if now - peer.heard > max(self._limits.forget, self._timeout):
                self._drop(host, effects)
                continue
            if peer.quiet:
                self._send_nothing(peer, effects)
            peer.quiet = True
            if not peer.live:
                self._feed(peer, now, effects)
            self._check_sync(peer, now, effects)

    def _check_sync(self, peer: Following, now: float, effects: list[Effect[B]]) -> None:
        if peer.in_sync or not peer.live or peer.received < peer.goal:
            return
        if now - peer.heard <= self._timeout and now - peer.live_since >= self._probation.get(peer.host, 0):
            peer.in_sync = True
            if peer.received < self.head:
                peer.unconfirmed.append((self.head, now))
            # one that lagged may never have noticed: only we know that it is back
            effects.append(Note("synced", peer.host, "its primary waits for it", 0))

    def _lagging(self, peer: Following, why: str, now: float, effects: list[Effect[B]]) -> None:
        """It leaves the set in sync; the next time it has to keep up for longer before it is waited for again."""
        if peer.in_sync:
            known = self._probation.get(peer.host, self._timeout / 2)
            self._probation[peer.host] = min(2 * known, max(self._limits.probation, self._timeout))
        peer.in_sync = False
        peer.goal = self.head
        peer.live_since = now
        peer.unconfirmed.clear()
        has = max(peer.received, min(peer.asked, self.head))
        effects.append(Note("lagging", peer.host, why, self.head - has))

    def _lose(self, peer: Following, why: str, now: float, effects: list[Effect[B]]) -> None:
        """It cannot be fed."""
        self._lagging(peer, why, now, effects)
        self._drop(peer.host, effects)

    def _drop(self, host: str, effects: list[Effect[B]]) -> None:
        peer = self.followers.pop(host, None)
        if peer is None:
            return
        effects.append(Forget(host, peer.number))
        if not self.followers:
            self._recent.clear()
            self.recent_bytes = 0

    def _settle(self, effects: list[Effect[B]]) -> None:
        """Tell up to where events are acknowledged now."""
        if self._ack is not AckMode.BOTH and self._ack is not AckMode.STANDBY:
            return
        received = [peer.received for peer in self.followers.values() if peer.in_sync]
        if self._ack is AckMode.BOTH:
            upto = min([self.head, *received])
        else:
            upto = min(self.head, max(received)) if received else self._synced
        if upto > self.acknowledged:
            self.acknowledged = upto
            effects.append(Acknowledge(upto))
