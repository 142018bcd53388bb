"""Whether the channels of a connection still speak. Pure.

Only data counts: heartbeats, pongs and acknowledgements say nothing of a channel (an acknowledged but mute channel
and a server that answers pings but sends nothing are both seen in the wild). A channel that is usually quiet is
given the time it usually takes.
"""

_PROOF = 100


class Channel:
    """One stream of one connection.

    Attributes:
        name: the venue's name of the stream.
        kind: ``trade``, ``depth`` or ``quote``.
        bound: seconds of silence that are always allowed.
        last: monotonic seconds of the last item, or of the (re)connection.
        seen: items since the start.
        usual: longest silence that ended by itself, seconds; fades (see ``fade``).
        stale: judged silent for too long.
        asked_again: a resubscription has been asked for since the last item.
        patience: doubles with each reconnection its silence caused, since a channel that is silent on every
            connection is quiet, not broken; 1 again after 100 items on one connection.
    """

    __slots__ = ("asked_again", "bound", "kind", "last", "name", "patience", "seen", "seen_here", "stale", "usual")

    #: a channel may be silent for this many times its usual longest silence
    QUIET_FACTOR = 3.0
    PATIENCE_CAP = 16.0

    def __init__(self, name: str, kind: str, bound: float) -> None:
        self.name = name
        self.kind = kind
        self.bound = bound
        self.last = 0.0
        self.seen = 0
        self.seen_here = 0
        self.usual = 0.0
        self.stale = False
        self.asked_again = False
        self.patience = 1.0

    def arrived(self, now: float) -> None:
        """An item came."""
        gap = now - self.last
        self.last = now
        self.seen += 1
        if gap > self.usual and self.seen_here and not self.asked_again:
            self.usual = gap
        self.seen_here += 1
        if self.stale or self.asked_again:
            self.stale = False
            self.asked_again = False
        elif self.seen_here == _PROOF:
            self.patience = 1.0

    def connected(self, now: float) -> None:
        """A new connection: silence counts from now."""
        if self.asked_again:
            self.patience = min(self.PATIENCE_CAP, self.patience * 2.0)
        self.last = now
        self.seen_here = 0
        self.stale = False
        self.asked_again = False

    def allowed(self) -> float:
        """Seconds of silence allowed now."""
        return max(self.bound, self.QUIET_FACTOR * self.usual) * self.patience

    def fade(self, share: float = 0.001) -> None:
        """Forget a little of the usual silence; called once a second, so half of it is gone after 12 minutes."""
        self.usual *= 1.0 - share
