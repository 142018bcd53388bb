"""One standby as its primary knows it."""

from collections import deque


class Following:
    """What one standby was sent, what it confirmed, and whether it is waited for. Times in seconds.

    Args:
        host: its name.
        number: of this following: each time it joins it gets another one.
        asked: it wants what follows this sequence. Whether ours goes up to there with the same history is not known
            before it confirms.
        head: the primary's last sequence.
        now: when it joined.
    """

    __slots__ = (
        "asked",
        "goal",
        "heard",
        "host",
        "in_sync",
        "live",
        "live_since",
        "number",
        "quiet",
        "read_after",
        "reading",
        "received",
        "sent",
        "snapshot",
        "snapshot_received",
        "snapshot_sent",
        "snapshot_total",
        "unapplied",
        "unconfirmed",
        "window",
    )

    def __init__(self, host: str, number: int, asked: int, head: int, now: float) -> None:
        self.host = host
        self.number = number
        self.asked = asked
        #: last sequence sent. One record less than asked for: with it the standby sees that both have the same history
        self.sent = max(0, asked - 1)
        #: confirmed by it, to this primary
        self.received = 0
        self.heard = now
        #: it gets each batch as it is committed; else it is fed from the backlog
        self.live = False
        self.in_sync = False
        #: it is in sync once it has this
        self.goal = head
        #: since when it has been live
        self.live_since = now
        #: (last sequence, when committed), until received; only while it is in sync
        self.unconfirmed: deque[tuple[int, float]] = deque()
        #: (last sequence, bytes), until applied
        self.unapplied: deque[tuple[int, int]] = deque()
        #: bytes sent and not yet applied
        self.window = 0
        #: an answer from the disk is awaited
        self.reading = False
        self.read_after = 0
        #: nothing was sent since the last turn
        self.quiet = False
        #: the checkpoint under way: its sequence (0: none), bytes sent, received, in all
        self.snapshot = 0
        self.snapshot_sent = 0
        self.snapshot_received = 0
        self.snapshot_total = 0

    def was_sent(self, last: int, size: int) -> None:
        """Records up to ``last`` are on their way."""
        self.sent = last
        self.window += size
        self.unapplied.append((last, size))
        self.quiet = False

    def confirms(self, received: int, applied: int, now: float) -> None:
        """It has all up to ``received`` in memory and all up to ``applied`` in its state."""
        self.heard = now
        self.received = max(self.received, received)
        while self.unconfirmed and self.unconfirmed[0][0] <= received:
            self.unconfirmed.popleft()
        while self.unapplied and self.unapplied[0][0] <= applied:
            self.window -= self.unapplied.popleft()[1]

    def late(self, now: float, timeout: float) -> float:
        """Seconds it is overdue by more than ``timeout``; 0.0: it is not."""
        since = min(self.heard, self.unconfirmed[0][1]) if self.unconfirmed else self.heard
        return now - since if now - since > timeout else 0.0
