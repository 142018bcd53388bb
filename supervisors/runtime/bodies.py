"""What a host is made of once it is assigned: the life of a worker with a recovery policy, a supervisor, the beats."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisors.core.clock import Clock
from supervisors.faults.board import FaultSlot
from supervisors.runtime.boot import SWITCH_INTERVAL, HostBoot
from supervisors.runtime.context import HostContext
from supervisors.runtime.process import resident_bytes
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Assign, Beat, Message
from supervisors.spec.compiled import SupervisorPart, SystemSpec, WorkerSpec

if TYPE_CHECKING:
    from loguru import Logger

    from supervisors.runtime.lives import Life
    from supervisors.runtime.supervisor import SupervisorShell

#: beats between looks at load, memory and threads: reading them costs more than the beat
_VITALS_EVERY = 10


class Pulse:
    """Makes the beats of one host.

    Args:
        clock: real time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sequence = 0
        self._vitals = 0.0, 0, 0

    def beat(self, path: str, incarnation: int, progress: int | None) -> Beat:
        """The next one; without a ``progress`` of its own the count of beats stands for it."""
        if self._sequence % _VITALS_EVERY == 0:
            self._vitals = os.getloadavg()[0], resident_bytes(), threading.active_count()
        self._sequence += 1
        return Beat(
            path,
            incarnation,
            self._sequence,
            self._clock.monotonic(),
            self._sequence if progress is None else progress,
            *self._vitals,
            self._clock.utc_ns(),
        )


def actor_clock(clock: Clock, faults: FaultSlot, system: SystemSpec) -> Clock:
    """The clock that the actor is given: one that faults can change, where the topology allows them."""
    if not system.faults.enabled:
        return clock
    from supervisors.faults.clock import FaultClock

    return FaultClock(clock, faults)


def make_life(
    order: Assign,
    spec: WorkerSpec,
    system: SystemSpec,
    context: HostContext,
    *,
    boot: HostBoot,
    plane: PlaneLoop,
    loop: asyncio.AbstractEventLoop,
    clock: Clock,
    report: Callable[[Message], None],
    send: Callable[[bytes, Message], None],
    finish: Callable[[Message], None],
    log: "Callable[[], Logger]",
    faults: FaultSlot,
) -> "Life":
    """The life of a worker with a recovery policy: see ``lives.Life`` for what it is given."""
    from supervisors.runtime.lives import Life  # journals and leases: only for those that have them

    context.set_multiplier(order.multiplier)
    if order.kind == "standby":
        context.stand_by()
    return Life(
        spec=spec,
        standby=order.kind == "standby",
        rung=order.rung,
        elsewhere=order.elsewhere,
        ask=order.ask,
        leased_at=order.leased_at,
        holder=order.holder,
        boot=boot,
        state=system.state,
        plane=plane,
        loop=loop,
        context=context,
        clock=clock,
        report=report,
        send=send,
        finish=finish,
        log=log,
        faults=faults if system.faults.enabled else None,
    )


def make_shell(
    order: Assign,
    part: SupervisorPart,
    system: SystemSpec,
    boot: HostBoot,
    loop: PlaneLoop,
    log: "Logger",
    report: Callable[[Message], None],
    finish: Callable[[Message], None],
) -> "SupervisorShell":
    """A supervisor, not yet started: see ``supervisor.SupervisorShell``."""
    from supervisors.runtime.factory import HostFactory
    from supervisors.runtime.supervisor import SupervisorShell

    sys.setswitchinterval(SWITCH_INTERVAL)
    return SupervisorShell(
        part=part,
        incarnation=order.incarnation,
        system=system,
        system_bytes=order.system,
        boot=boot,
        loop=loop,
        factory=HostFactory(boot),
        log=log,
        report=report,
        finish=finish,
    )
