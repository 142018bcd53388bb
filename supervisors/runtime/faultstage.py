"""What acts of faults use of their host (``faults.acts.stage.Stage``), and what it tells of the faults that acted."""

import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, Protocol

from supervisors.core.clock import Clock
from supervisors.faults.acts.stage import LAST_WORDS, Act
from supervisors.faults.board import Armed
from supervisors.signals.fault_messages import FaultFired
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import Message, encode

if TYPE_CHECKING:
    import asyncio

    from supervisors.runtime.context import OutHooks
    from supervisors.runtime.faulthooks import Call, FaultHooks
    from supervisors.runtime.worker import StartHooks

#: seconds between two words on one fault that goes on acting
_TELL_EVERY = 1.0
#: rooms of ``supervisors.faults.acts``
_ROOMS = ("process", "actor", "resource", "state", "control")


class Body(Protocol):
    """What faults need of the worker that a host carries (``WorkerRunner``)."""

    faults: "StartHooks | None"

    @property
    def state(self) -> str: ...
    @property
    def target(self) -> object: ...
    def break_off(self, error: BaseException) -> None:
        """Have ``run`` end as if it had raised. In the actor's loop."""
        ...


class Sends(Protocol):
    """What an actor sends by (``HostContext``)."""

    faults: "OutHooks | None"


class Me(NamedTuple):
    """Whom a process carries now.

    Attributes:
        path, incarnation, state: of the child; ``spare`` while there is none, ``ending`` once it is to stop.
        allowed: the topology allows faults.
        supervisor: ROUTER identity of its supervisor.
        body, context, loop: of a worker.
    """

    path: str
    incarnation: int
    state: str
    allowed: bool
    supervisor: bytes = b""
    body: Body | None = None
    context: Sends | None = None
    loop: "asyncio.AbstractEventLoop | None" = None


class Ways(NamedTuple):
    """The ways into and out of a host, past all faults; ``install`` puts hooks in and (None) takes them out."""

    carry_out: "Callable[[Call], Awaitable[object]]"
    take: Callable[[bytes, Message], None]
    put: Callable[[bytes, bytes], None]
    install: "Callable[[FaultHooks | None], None]"


def act_of(kind: str) -> Act | None:
    """What is done at once when a fault of this kind is armed; None: nothing."""
    for room in _ROOMS:
        name = f"supervisors.faults.acts.{room}"
        if find_spec(name) is not None:
            found: Act | None = import_module(name).ACTS.get(kind)
            if found is not None:
                return found
    return None


def stand_still() -> None:
    """Do nothing more in this thread: the process is being killed."""
    threading.Event().wait()


class FaultStage:
    """The process faults act in.

    Args:
        plane: of the host.
        clock: monotonic time.
        me: whom the host carries.
        data_dir: of the system.
        ways: into and out of the host.
        defect: told of what is wrong with a fault itself.
    """

    def __init__(
        self,
        plane: PlaneLoop,
        clock: Clock,
        me: Callable[[], Me],
        data_dir: str,
        ways: Ways,
        defect: Callable[[BaseException], None],
    ) -> None:
        self._plane = plane
        self._clock = clock
        self._me = me
        self._data_dir = data_dir
        self._ways = ways
        self._defect = defect
        self._untold: dict[str, tuple[Armed, float]] = {}
        self._told_at: dict[str, float] = {}
        #: told of faults about others than whom this process carries; True: that was all
        self.elsewhere: Callable[[Armed, float], bool] = lambda armed, at: False

    # ------------------------------------------------------------ what acts use

    @property
    def clock(self) -> Clock:
        """Monotonic time."""
        return self._clock

    @property
    def path(self) -> str:
        """Whom the process carries."""
        return self._me().path

    @property
    def data_dir(self) -> str:
        """The system's data directory."""
        return self._data_dir

    @property
    def loop(self) -> "asyncio.AbstractEventLoop | None":
        """The actor's loop."""
        me = self._me()
        return me.loop if me.body is not None else None

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Run ``work`` in a thread of its own."""

        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - nobody waits for it
                self._defect(error)

        threading.Thread(target=run, name=f"fault-{name}", daemon=True).start()

    def plane_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Run ``callback`` in the plane's thread after ``delay`` seconds."""
        self._plane.call_later(delay, callback)

    def crash(self, error: BaseException) -> None:
        """Have the actor's ``run`` raise ``error``. From any thread."""
        me = self._me()
        if me.body is not None and me.loop is not None:
            me.loop.call_soon_threadsafe(me.body.break_off, error)

    def crash_process(self) -> None:
        """End this process between two steps: killed, once its last words are on their way.

        Not in the plane's thread, which has to say them.
        """
        told = threading.Event()

        def tell() -> None:
            self.flush()
            told.set()

        self._plane.call_soon(tell)
        told.wait(0.5)
        time.sleep(LAST_WORDS)
        os.kill(os.getpid(), signal.SIGKILL)
        stand_still()

    # ------------------------------------------------------------ what faults did

    def fired(self, armed: Armed) -> None:
        """A fault acted: told at once, then at most once a second. From any thread."""
        fault_id = armed.order.id
        if fault_id not in self._untold:
            self._untold[fault_id] = armed, self._clock.monotonic()
            self._plane.call_soon(lambda: self._tell(fault_id))

    def _tell(self, fault_id: str) -> None:
        now = self._clock.monotonic()
        due = self._told_at.get(fault_id, float("-inf")) + _TELL_EVERY
        if now < due:
            self._plane.call_later(due - now, lambda: self._tell(fault_id))
            return
        found = self._untold.pop(fault_id, None)
        if found is None:
            return
        armed, at = found
        self._told_at[fault_id] = now
        if self.elsewhere(armed, at):
            return
        me, chance = self._me(), armed.chance
        if me.supervisor:
            word = FaultFired(me.path, me.incarnation, fault_id, armed.order.kind, chance.seen, chance.fired, at)
            self._ways.put(me.supervisor, encode(word))

    def forget(self, fault_id: str) -> None:
        """It is over: what is untold of it is told now."""
        self._told_at.pop(fault_id, None)
        self._tell(fault_id)
        self._told_at.pop(fault_id, None)

    def flush(self) -> None:
        """Tell what is still to be told: the process ends."""
        self._told_at.clear()
        for fault_id in list(self._untold):
            self._tell(fault_id)
