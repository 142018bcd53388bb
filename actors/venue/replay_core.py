"""The recorded market behind a replay: what to send when, the book it has built, and endless repetition. Pure."""

import msgspec

from actors.connectors import binance_codec as wire
from actors.connectors.book import Book
from actors.connectors.units import Level, format_units

#: pause between the last frame of a round and the first of the next
_SEAM_NS = 100_000_000
_encode = msgspec.json.encode


class ReplayError(Exception):
    """The capture cannot be replayed: the message says what it lacks."""


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One frame of the capture: nanoseconds after the first, its stream, and the bytes."""

    after_ns: int
    stream: str
    raw: bytes


class _Named(msgspec.Struct):
    stream: str | None = None
    last_id: int | None = msgspec.field(default=None, name="lastUpdateId")


_named = msgspec.json.Decoder(_Named)


class Recording:
    """A capture of one symbol, ready to replay.

    Args:
        lines: receive time in ns and raw frame, in order.

    Raises:
        ReplayError: no frames, no snapshot, or a break in the update ids: such a capture cannot be a valid feed.
    """

    def __init__(self, lines: list[tuple[int, bytes]]) -> None:
        frames: list[Recorded] = []
        self.snapshot = b""
        start_ns = lines[0][0] if lines else 0
        for stamp, raw in lines:
            try:
                named = _named.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ReplayError(f"not a frame: {raw[:60]!r}: {error}") from error
            if named.stream is not None:
                frames.append(Recorded(max(0, stamp - start_ns), named.stream, raw))
            elif named.last_id is not None and not self.snapshot:
                self.snapshot = raw
        if not frames or not self.snapshot:
            raise ReplayError("a capture needs stream frames and one REST depth snapshot")
        self.frames = frames
        self.codec = wire.Codec(tuple({frame.stream for frame in frames}))
        self._measure()

    def _measure(self) -> None:
        """Walk once through the ids: where a repetition begins and by how much each round is shifted."""
        self.snapshot_id, self.snapshot_bids, self.snapshot_asks = wire.decode_snapshot(self.snapshot)
        self.symbol = ""
        #: index of the frame a repetition begins with: the first delta that goes beyond the snapshot
        self.loop_from = -1
        self.last_update_id = 0
        first_trade = last_trade = first_ms = last_ms = 0
        for index, frame in enumerate(self.frames):
            event = self.codec.decode(frame.raw)
            if isinstance(event, wire.Depth):
                self.symbol = event.symbol
                if self.last_update_id and event.first_id != self.last_update_id + 1:
                    raise ReplayError(f"update ids break at frame {index}: {self.last_update_id} then {event.first_id}")
                self.last_update_id = event.last_id
                if self.loop_from < 0 and event.last_id > self.snapshot_id:
                    if event.first_id > self.snapshot_id + 1:
                        raise ReplayError("the snapshot is older than the first delta")
                    self.loop_from = index
                    self.first_update_id = event.first_id
                    first_ms = event.event_ms
                last_ms = max(last_ms, event.event_ms)
            elif isinstance(event, wire.TradeEvent):
                last_ms = max(last_ms, event.event_ms)
                if self.loop_from >= 0:
                    first_trade = first_trade or event.id
                    last_trade = event.id
        if self.loop_from < 0:
            raise ReplayError("no delta of the capture follows its snapshot")
        # one id more than the deltas of a round: the seam's own
        self.update_shift = self.last_update_id + 2 - self.first_update_id
        self.trade_shift = last_trade + 1 - first_trade if first_trade else 0
        self.last_ms = last_ms
        self.ms_shift = last_ms - first_ms + _SEAM_NS // 1_000_000
        self.round_ns = self.frames[-1].after_ns + _SEAM_NS - self.frames[self.loop_from].after_ns
        self.streams = sorted({frame.stream for frame in self.frames})
        self.depth_stream = self.frames[self.loop_from].stream


class ReplayMarket:
    """The recorded market as time goes by.

    Round 0 is the capture as it is. When ``loop`` is set, each further round begins with a *seam*: a delta that turns
    the book of the end back into that of the snapshot; then all frames after the snapshot follow, with update ids,
    trade ids and times raised, so that readers see one feed without a break, and a right book.
    """

    def __init__(self, recording: Recording, *, loop: bool = False, speed: float = 1.0) -> None:
        self.recording = recording
        self.loop = loop
        self.speed = speed
        self.round = 0
        self.index = 0
        self.sent = 0
        self.finished = False
        self._origin: float | None = None
        self.book = Book()
        self.book.load(recording.snapshot_id, recording.snapshot_bids, recording.snapshot_asks)

    def _due_ns(self) -> int:
        """Capture time of the next frame, nanoseconds after the first of round 0."""
        recording = self.recording
        if self.index >= len(recording.frames):
            return recording.frames[-1].after_ns + self.round * recording.round_ns + _SEAM_NS
        return recording.frames[self.index].after_ns + self.round * recording.round_ns

    def due_at(self) -> float | None:
        """Monotonic seconds at which the next frame is due; None before the start and after the end."""
        if self.finished or self._origin is None:
            return None
        return self._origin + self._due_ns() / 1e9 / self.speed

    def start(self, now: float) -> None:
        """Begin: the first frame is due now."""
        self._origin = now - self._due_ns() / 1e9 / self.speed

    def take(self, now: float, limit: int = 512, late: float = 2.0) -> list[tuple[str, bytes]]:
        """Frames due at ``now``, at most ``limit``: stream and raw frame.

        A market that was held up for more than ``late`` seconds goes on from where it was instead of pouring out
        what it missed.
        """
        due = self.due_at()
        if due is not None and now - due > late and self._origin is not None:
            self._origin += now - due
        out: list[tuple[str, bytes]] = []
        while len(out) < limit:
            due = self.due_at()
            if due is None or due > now:
                break
            if self.index >= len(self.recording.frames):
                if not self.loop:
                    self.finished = True
                    break
                out.append(self._seam())
                continue
            out.append(self._next())
        self.sent += len(out)
        return out

    def _next(self) -> tuple[str, bytes]:
        frame = self.recording.frames[self.index]
        self.index += 1
        event = self.recording.codec.decode(frame.raw)
        raw = frame.raw
        if self.round:
            raw = self._shifted(frame.stream, event)
        if isinstance(event, wire.Depth):
            self.book.apply(event.first_id, event.last_id, *event.levels())
        return frame.stream, raw

    def _shifted(self, stream: str, event: wire.Frame) -> bytes:
        recording, turns = self.recording, self.round
        if isinstance(event, wire.Depth):
            event.first_id += turns * recording.update_shift
            event.last_id += turns * recording.update_shift
            event.event_ms += turns * recording.ms_shift
        elif isinstance(event, wire.TradeEvent):
            event.id += turns * recording.trade_shift
            event.event_ms += turns * recording.ms_shift
            event.trade_ms += turns * recording.ms_shift
        elif isinstance(event, wire.BookTicker):
            event.update_id += turns * recording.update_shift
        return _encode({"stream": stream, "data": event})

    def _seam(self) -> tuple[str, bytes]:
        """The delta from the end's book to the snapshot's; begins the next round."""
        recording = self.recording
        bids, asks = self.book.full()
        new_bids, new_asks = recording.snapshot_bids, recording.snapshot_asks
        last_id = self.book.last_id + 1
        event = wire.Depth(
            event_ms=recording.last_ms + self.round * recording.ms_shift,
            symbol=recording.symbol,
            first_id=last_id,
            last_id=last_id,
            bids=_difference(bids, new_bids),
            asks=_difference(asks, new_asks),
        )
        self.book.apply(last_id, last_id, *event.levels())
        self.round += 1
        self.index = recording.loop_from
        return recording.depth_stream, _encode({"stream": recording.depth_stream, "data": event})

    def snapshot(self, limit: int) -> bytes:
        """The REST answer now: the capture's own snapshot until the frames go beyond it, then the book they built."""
        bids, asks = self.book.top(limit)
        return depth_answer(self.book.last_id, bids, asks)


def depth_answer(last_id: int, bids: list[Level], asks: list[Level]) -> bytes:
    """A ``GET /api/v3/depth`` body."""
    return _encode({"lastUpdateId": last_id, "bids": _texts(bids), "asks": _texts(asks)})


def _texts(levels: list[Level]) -> list[tuple[str, str]]:
    return [(format_units(price), format_units(quantity)) for price, quantity in levels]


def _difference(old: list[Level], new: list[Level]) -> list[tuple[str, str]]:
    """Levels that turn ``old`` into ``new``."""
    before, after = dict(old), dict(new)
    gone = [(price, 0) for price in before if price not in after]
    return _texts(gone + [(price, quantity) for price, quantity in new if before.get(price) != quantity])
