"""An actor's clock that jumps or runs at another speed: faults at the port (FLT-1).

Only ``ctx.clock`` is one: beats, death watch, journal stamps and leases keep real time, so a clock that is wrong can
make an actor act wrongly and never two of them act.

What happens to whom:

* *wall*: jumps when the fault begins and is right again when it ends, as one that people or NTP set; so it may go back.
* *monotonic, drift*: runs on from where it is at another speed, and from where it is at the right speed when the fault
  ends: never back, never a step.
* *monotonic, jump*: a step when the fault begins (back only if ``by`` is negative: that is the fault). At the end a
  step back is undone; a step forward stays, as after a machine that slept, because undoing it would be going back.

A fault of a clock has one occasion: its beginning.
"""

import threading
from dataclasses import dataclass

from supervisors.core.clock import Clock
from supervisors.faults.board import Armed, FaultBoard, FaultSlot
from supervisors.faults.order import Hook

_NEVER = float("-inf")


@dataclass(slots=True)
class _Acting:
    """A fault that was met: ``since`` and ``seen``: real monotonic seconds of its beginning and of the last reading."""

    armed: Armed
    strikes: bool
    since: float
    seen: float


class FaultClock:
    """``Clock`` with the faults of one process put in. From any thread.

    Args:
        below: real time.
        slot: of this process.
    """

    def __init__(self, below: Clock, slot: FaultSlot) -> None:
        self._below = below
        self._slot = slot
        self._lock = threading.Lock()
        self._acting: dict[str, _Acting] = {}
        #: seconds that our monotonic clock is before the real one
        self._ahead = 0.0
        #: the last monotonic reading
        self._last = _NEVER

    def monotonic(self) -> float:
        """See ``Clock``."""
        if self._slot.board is None and not self._acting:
            self._last = now = self._below.monotonic() + self._ahead
            return now
        with self._lock:
            back = self._turn()
            now = self._below.monotonic() + self._ahead
            self._last = now = now if back else max(now, self._last)
            return now

    def utc_ns(self) -> int:
        """See ``Clock``."""
        if self._slot.board is None and not self._acting:
            return self._below.utc_ns()
        with self._lock:
            self._turn()
            ahead = 0.0
            for one in self._acting.values():
                order = one.armed.order
                if one.strikes and order.text("clock") != "monotonic":
                    ahead += order.number("by") if order.kind == "clock_jump" else _gained(one, one.since)
            return self._below.utc_ns() + round(ahead * 1e9)

    def _turn(self) -> bool:
        """Take in what began and ended and the time that passed; True if the monotonic clock goes back by a fault."""
        now, board = self._below.monotonic(), self._slot.board
        back = self._begin(board, now) if board is not None else False
        for fault_id, one in list(self._acting.items()):
            order = one.armed.order
            over = not one.armed.live or now >= one.armed.until
            moves = one.strikes and order.text("clock") != "wall"
            last = one.seen
            if not over:
                one.seen = now
            elif now >= one.armed.until:
                one.seen = max(last, one.armed.until)
            # else it was ended early, nobody knows when: its last reading is what counts
            if moves and order.kind == "clock_drift":
                self._ahead += _gained(one, last)
            if over:
                del self._acting[fault_id]
                if moves and order.kind == "clock_jump" and order.number("by") < 0:
                    self._ahead -= order.number("by")
        return back

    def _begin(self, board: FaultBoard, now: float) -> bool:
        back = False
        for armed in board.at(Hook.CLOCK):
            order = armed.order
            if order.id in self._acting or now >= armed.until:
                continue
            strikes = armed.strikes()
            # it began when it was armed, unless the clock was read since (as far as that is known)
            since = min(now, max(armed.until - order.seconds, self._last - self._ahead))
            self._acting[order.id] = _Acting(armed, strikes, since, since)
            if strikes and order.kind == "clock_jump" and order.text("clock") != "wall":
                self._ahead += order.number("by")
                back = back or order.number("by") < 0
        return back


def _gained(one: _Acting, since: float) -> float:
    """Seconds that a clock of another speed gained from ``since`` to the last reading."""
    return (one.armed.order.number("rate") - 1.0) * (one.seen - since)
