"""What faults of the network do to the bytes of one direction of one connection: which of them go on, and when. Pure.

The faults that hit a direction add up to its ``Shape``; a ``Lane`` carries its bytes through that shape. Bytes are kept
in order, always. Time is given in seconds of any monotonic clock, chance by a function.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from supervisors.faults.order import FaultOrder

#: a lane that was looked at late sends so many seconds of its rate at once, to keep its mean
_CATCH_UP = 0.2
#: a piece of a limited rate is worth so many seconds of it
_GRAIN = 0.05


class Direction(StrEnum):
    """Which way bytes go."""

    UP = "up"  #: from the client to the server
    DOWN = "down"


class Hole(StrEnum):
    """Whether anything passes at all."""

    NONE = ""
    LOST = "lost"  #: what comes in vanishes
    HELD = "held"  #: what comes in waits


class Shape(msgspec.Struct, frozen=True):
    """What is done to the bytes of a direction.

    Attributes:
        delay: seconds each piece takes longer; jitter: up to so many more or fewer.
        rate: bytes a second; infinity: no bound.
        size: mean size of the pieces it is cut to, in bytes; 0: it is not cut.
        gap: seconds between two pieces.
        hole: see ``Hole``.
        close_delay: seconds by which the end is passed on later.
        limit: bytes after which the connection is closed; infinity: none.
    """

    delay: float = 0.0
    jitter: float = 0.0
    rate: float = math.inf
    size: int = 0
    gap: float = 0.0
    hole: Hole = Hole.NONE
    close_delay: float = 0.0
    limit: float = math.inf


PLAIN = Shape()


def shape_of(orders: Iterable[FaultOrder], direction: Direction) -> Shape:
    """What all ``orders`` together do in ``direction``; those that are not about the flow do nothing."""
    shape = PLAIN
    for order in orders:
        if order.params.get("direction", "both") in ("both", direction):
            shape = _with(shape, order)
    return shape


def _with(shape: Shape, order: FaultOrder) -> Shape:
    change = msgspec.structs.replace
    match order.kind:
        case "net_latency":
            return change(
                shape, delay=shape.delay + order.number("delay"), jitter=shape.jitter + order.number("jitter")
            )
        case "net_bandwidth":
            return change(shape, rate=min(shape.rate, order.number("rate")))
        case "net_slice":
            size = int(order.number("size"))
            return change(
                shape, size=min(shape.size, size) if shape.size else size, gap=shape.gap + order.number("delay")
            )
        case "net_black_hole" | "net_one_way":
            lost = Hole.LOST in (shape.hole, order.text("bytes"))
            return change(shape, hole=Hole.LOST if lost else Hole.HELD)
        case "net_slow_close":
            return change(shape, close_delay=shape.close_delay + order.number("delay"))
        case "net_limit":
            return change(shape, limit=min(shape.limit, order.number("size")))
    return shape


class Lane:
    """One direction of one connection, while a fault is in it.

    Args:
        shape: what is done to its bytes.
        draw: gives a number from 0.0 to below 1.0.
        carried: bytes that went this way before.
    """

    def __init__(self, shape: Shape, draw: Callable[[], float], carried: int = 0) -> None:
        self._shape = shape
        self._draw = draw
        self._pieces: deque[tuple[float, float, bytes]] = deque()  # arrived, chance, bytes
        self._offset = 0  # bytes of the first piece that are gone
        self._free_at = -math.inf
        self._ends: float | None = None
        self._carried = carried
        self._cut_size = self._new_size()
        #: bytes that wait
        self.waiting = 0
        #: bytes that vanished: the stream has a hole
        self.lost = 0

    @property
    def shape(self) -> Shape:
        """What is done to its bytes now."""
        return self._shape

    @property
    def empty(self) -> bool:
        """Nothing waits, the end neither."""
        return not self._pieces and self._ends is None

    @property
    def full(self) -> bool:
        """It has carried all that it may: the connection is to be closed."""
        return self._carried >= self._shape.limit

    def reshape(self, shape: Shape, now: float) -> None:
        """From now on another shape; what waits is bound by it as well, counted from when it arrived."""
        self._shape = shape
        self._free_at = min(self._free_at, now)
        self._cut_size = self._new_size()

    def feed(self, data: bytes, now: float) -> None:
        """Bytes came in."""
        if self._shape.hole is Hole.LOST:
            self.lost += len(data)
        elif data:
            self._pieces.append((now, self._draw(), data))
            self.waiting += len(data)

    def finish(self, now: float) -> None:
        """Their end came in."""
        if self._ends is None:
            self._ends = now

    def next_at(self) -> float | None:
        """When it is to be looked at next; None: not before something changes."""
        if self._shape.hole is not Hole.NONE or self.full:
            return None
        if self._pieces:
            return self._due()
        return None if self._ends is None else self._ends + self._shape.close_delay

    def take(self, now: float, most: int = 1 << 62) -> list[bytes]:
        """What is to go on by now, about ``most`` bytes of it."""
        shape = self._shape
        gone: list[bytes] = []
        while self._pieces and most > 0 and shape.hole is Hole.NONE and not self.full:
            due = self._due()
            if due > now:
                break
            data = self._cut()
            gone.append(data)
            most -= len(data)
            self._free_at = max(due, now - _CATCH_UP) + shape.gap + len(data) / shape.rate
        return gone

    def ended(self, now: float) -> bool:
        """True when its end is to go on by now."""
        if self._pieces or self._ends is None or self._shape.hole is not Hole.NONE:
            return False
        return self._ends + self._shape.close_delay <= now

    def _due(self) -> float:
        arrived, chance, _ = self._pieces[0]
        late = self._shape.delay + self._shape.jitter * (2 * chance - 1)
        return max(self._free_at, arrived + max(0.0, late))

    def _cut(self) -> bytes:
        """Take as much of the first piece as may go at once."""
        shape = self._shape
        data = self._pieces[0][2]
        most = min(shape.limit - self._carried, max(1.0, shape.rate * _GRAIN))
        if shape.size:
            most = min(most, self._cut_size)
            self._cut_size = self._new_size()
        first = self._offset
        if len(data) - first > most:
            self._offset = first + int(most)
            data = data[first : self._offset]
        else:
            self._pieces.popleft()
            self._offset = 0
            data = data[first:] if first else data
        self._carried += len(data)
        self.waiting -= len(data)
        return data

    def _new_size(self) -> int:
        size = self._shape.size
        return max(1, round(size * (0.5 + self._draw()))) if size else 0
