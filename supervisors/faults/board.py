"""What is armed in one process: the faults by the hooks they wait at. Ends each at its deadline by itself.

A process without faults has no board (None): a hook then costs a look at one attribute. Hooks run in the plane's thread
and in the actor's loop; a board is only ever replaced as a whole (``by_hook``), so that a reader needs no lock.
"""

import random
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
        fired: told the first time it acts.
    """

    def __init__(self, order: FaultOrder, until: float, fired: "Callable[[Armed], None]", seen: int, hits: int) -> None:
        self.order = order
        self.until = until
        self.chance = Chance(order, random.Random(f"{order.seed}/{order.id}").random, seen, hits)
        self._fired = fired
        #: False once it was disarmed: what waits because of it goes on
        self.live = True

    def strikes(self) -> bool:
        """One occasion: does it act? Tells the board's owner of each first effect."""
        if not self.live or not self.chance.strikes():
            return False
        self._fired(self)
        return True


class FaultBoard:
    """The faults armed in one process.

    Args:
        clock: monotonic time.
        fired: told each time one acts, from whichever thread it acts in.
        changed: told of each that was armed (True) or ended (False), so that what it holds can be put away.
    """

    def __init__(
        self,
        clock: Clock,
        fired: Callable[[Armed], None],
        changed: Callable[[Armed, bool], None] = lambda armed, on: None,
    ) -> None:
        self._clock = clock
        self._fired = fired
        self._changed = changed
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

    def disarm(self, fault_id: str) -> bool:
        """End one; False: it is not armed here."""
        armed = self._armed.pop(fault_id, None)
        if armed is None:
            return False
        armed.live = False
        self._index()
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
            for hook in armed.order.hooks:
                found.setdefault(hook, []).append(armed)
        self.by_hook = {hook: tuple(those) for hook, those in found.items()}
