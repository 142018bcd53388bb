"""What is armed in one process: the faults by the hooks they wait at.

A process in which nothing is armed has no board (``FaultSlot.board`` is None): a hook then costs a look at one
attribute. Hooks run in the plane's thread, in the actor's loop and in threads of the state; the index of a board is
only ever replaced as a whole (``by_hook``), so that a reader needs no lock. Arming and ending happen in one thread.
"""

import random
import threading
from collections.abc import Callable

from supervisors.core.clock import Clock
from supervisors.core.errors import FaultError
from supervisors.faults.chance import Chance
from supervisors.faults.order import ArmedState, FaultOrder


class Armed:
    """One fault that is armed here.

    Args:
        order: what it is.
        until: monotonic seconds at which it is over.
        fired: told each time it acts.
        seen, hits: occasions and effects in former lives of the target.
    """

    def __init__(self, order: FaultOrder, until: float, fired: "Callable[[Armed], None]", seen: int, hits: int) -> None:
        self.order = order
        self.until = until
        #: draws of the order's seed, the same in every run; each life that goes on with it has others
        self.random = random.Random(f"{order.seed}/{order.kind}/{order.path}/{seen}")
        self.chance = Chance(order, self.random.random, seen, hits)
        self._fired = fired
        self._lock = threading.Lock()
        self._over: threading.Event | None = None
        self._ends: list[Callable[[], None]] = []
        #: False once it was disarmed: what waits because of it goes on
        self.live = True

    def strikes(self) -> bool:
        """One occasion: does it act? Tells the board's owner of each effect; of a standing order, of each occasion."""
        if not self.live:
            return False
        acts = self.chance.strikes()
        if acts or self.order.standing:
            self._fired(self)
        return acts

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once when the fault ends, in the thread that ends it; at once if it is over already."""
        with self._lock:
            if self.live:
                self._ends.append(callback)
                return
        callback()

    def wait(self, seconds: float) -> bool:
        """Block this thread for ``seconds``; False: the fault ended before. Not for threads that others wait for."""
        with self._lock:
            if not self.live:
                return False
            if self._over is None:
                self._over = threading.Event()
            over = self._over
        return not over.wait(seconds)

    def end(self) -> list[Callable[[], None]]:
        """It is over; gives what is to be called now. A second time: nothing."""
        with self._lock:
            self.live = False
            ends, self._ends = self._ends, []
            if self._over is not None:
                self._over.set()
        return ends


class FaultBoard:
    """The faults armed in one process.

    Args:
        clock: monotonic time.
        fired: told each time one acts, from whichever thread it acts in.
        changed: told of each that was armed (True) or ended (False), so that what it holds can be put away.
        defect: told what a callback of ``Armed.at_end`` raised; the others are called all the same.
    """

    def __init__(
        self,
        clock: Clock,
        fired: Callable[[Armed], None],
        changed: Callable[[Armed, bool], None] = lambda armed, on: None,
        defect: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._clock = clock
        self._fired = fired
        self._changed = changed
        self._defect = defect
        self._armed: dict[str, Armed] = {}
        #: what waits at each hook; replaced, never changed
        self.by_hook: dict[str, tuple[Armed, ...]] = {}

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, order: FaultOrder, *, left: float | None = None, seen: int = 0, fired: int = 0) -> Armed:
        """Arm one; the same id twice is no error and changes nothing.

        Args:
            order: what to arm.
            left: seconds it still lasts; None: ``order.seconds``.
            seen: occasions in former lives of the target.
            fired: effects in former lives.

        Raises:
            FaultError: another of its slot is armed here (9010).
        """
        known = self._armed.get(order.id)
        if known is not None:
            return known
        for other in self._armed.values():
            if order.slot and other.order.slot == order.slot and other.order.path == order.path:
                raise FaultError(
                    f"{order.kind} and {other.order.kind} ({other.order.id}) exclude each other at {order.path}",
                    code=9010,
                    fix=f"rayvisor inject revert {other.order.id}",
                )
        until = self._clock.monotonic() + (order.seconds if left is None else left)
        armed = self._armed[order.id] = Armed(order, until, self._fired, seen, fired)
        self._index()
        self._changed(armed, True)
        return armed

    def find(self, fault_id: str) -> Armed | None:
        """The one of that id."""
        return self._armed.get(fault_id)

    def ids(self) -> list[str]:
        """Ids of all that are armed here."""
        return list(self._armed)

    def disarm(self, fault_id: str) -> bool:
        """End one; False: it is not armed here."""
        armed = self._armed.pop(fault_id, None)
        if armed is None:
            return False
        self._index()
        for callback in armed.end():
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - one that cannot be put away must not keep the others armed
                self._defect(error)
        self._changed(armed, False)
        return True

    def expire(self) -> list[str]:
        """End those whose time is over; their ids."""
        now = self._clock.monotonic()
        over = [fault_id for fault_id, armed in self._armed.items() if armed.until <= now]
        for fault_id in over:
            self.disarm(fault_id)
        return over

    def next_end(self) -> float | None:
        """Monotonic seconds at which the next one is over."""
        return min((armed.until for armed in self._armed.values()), default=None)

    def states(self) -> list[ArmedState]:
        """All that are armed here."""
        now = self._clock.monotonic()
        return [
            ArmedState(armed.order, max(0.0, armed.until - now), armed.chance.seen, armed.chance.fired)
            for armed in list(self._armed.values())
        ]

    def at(self, hook: str) -> tuple[Armed, ...]:
        """Those that wait at ``hook``."""
        return self.by_hook.get(hook, ())

    def _index(self) -> None:
        found: dict[str, list[Armed]] = {}
        for armed in self._armed.values():
            for hook in armed.order.acts_at():
                found.setdefault(hook, []).append(armed)
        self.by_hook = {hook: tuple(those) for hook, those in found.items()}


class FaultSlot:
    """Where the hooks of one process find its board.

    Attributes:
        board: None while nothing is armed here.
        crash: ends the process at once, once what was told of it is on its way; does not return.
    """

    __slots__ = ("board", "crash")

    def __init__(self, crash: Callable[[], None] = lambda: None) -> None:
        self.board: FaultBoard | None = None
        self.crash = crash

    def crash_point(self, hook: str) -> None:
        """The process is between two steps that belong together: a fault that waits here ends it.

        Call it only where ``board`` is not None.
        """
        board = self.board
        for armed in board.at(hook) if board is not None else ():
            if armed.strikes():
                self.crash()


#: for whoever is given no slot: never filled
NO_FAULTS = FaultSlot()
