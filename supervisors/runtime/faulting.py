"""A host's side of faults on purpose: arms them in this process, ends each at its deadline, tells of what they do.

A host has no ``FaultHand`` before the first order to arm something, and no hooks (``FaultHooks``) unless something is
armed: with nothing armed a hook costs a look at one attribute.

What is armed here ends by ``Disarm``, by its own deadline (also when nobody is left to say so), or with the process.
Orders about children, in a supervisor, are carried out by its ``FaultDesk``.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from supervisors.core.errors import FaultError
from supervisors.faults.acts.stage import LAST_WORDS
from supervisors.faults.board import Armed, FaultBoard, FaultSlot
from supervisors.faults.catalogue import Where
from supervisors.faults.order import ArmedState, FaultOrder, Hook, decode
from supervisors.runtime import lateness
from supervisors.runtime.faultstage import FaultStage, Me, Ways, act_of
from supervisors.runtime.ownfaults import OwnFaults
from supervisors.signals.fault_messages import Arm, AskFaults, Disarm, FaultsNow

if TYPE_CHECKING:
    from supervisors.core.clock import Clock
    from supervisors.runtime.faultdesk import FaultDesk
    from supervisors.runtime.faulthooks import FaultHooks
    from supervisors.runtime.supervisor import SupervisorShell
    from supervisors.signals.loop import PlaneLoop

Reply = Callable[[FaultsNow], None]

#: ids it remembers of those it was told to end: their order may arrive after that, by another socket
_ENDED_MOST = 1024


class FaultHand:
    """See the module. All but what says otherwise runs in the plane's thread.

    Args:
        plane: of the host.
        clock: monotonic time.
        slot: where hooks of this process find the board.
        me: whom the host carries now.
        data_dir: of the system.
        ways: into and out of the host.
        defect: told of what is wrong with a fault itself.
    """

    def __init__(
        self,
        *,
        plane: "PlaneLoop",
        clock: "Clock",
        slot: FaultSlot,
        me: Callable[[], Me],
        data_dir: str,
        ways: Ways,
        defect: Callable[[BaseException], None],
    ) -> None:
        self._plane = plane
        self._slot = slot
        self._me = me
        self._ways = ways
        self._defect = defect
        self._hooks: FaultHooks | None = None
        self._desk: FaultDesk | None = None
        self._own = OwnFaults(plane, me)
        self._undo: dict[str, Callable[[], None]] = {}
        self._ended: dict[str, None] = {}
        self._timer = 0
        self._stage = FaultStage(plane, clock, me, data_dir, ways, defect)
        self.board = FaultBoard(clock, self._stage.fired, self._changed, defect)
        slot.crash = self._stage.crash_process

    # ------------------------------------------------------------ what it belongs to

    def carries_supervisor(self, shell: "SupervisorShell") -> None:
        """The host carries a supervisor; it has the standing orders of its predecessor."""
        from supervisors.runtime.faultdesk import FaultDesk

        shell.faults = self._desk = FaultDesk(shell, self)
        self._stage.elsewhere = self._desk.fired
        self._desk.restore()

    def restore(self, faults: bytes) -> None:
        """Arm what outlasts lives of this path (``Assign.faults``); one that cannot be armed is left out."""
        for state in msgspec.msgpack.decode(faults, type=list[ArmedState]):
            try:
                self.board.arm(state.order, left=state.left, seen=state.seen, fired=state.fired)
            except FaultError as error:
                self._defect(error)

    # ------------------------------------------------------------ orders

    def asked(self, message: Arm | Disarm | AskFaults, reply: Reply) -> None:
        """An order or a question; it is answered in any case, late only where an actor's own fault is concerned."""
        self.board.expire()
        match message:
            case Arm(ref, orders):
                self._arm(ref, orders, reply)
            case Disarm(ref, fault_id):
                self._disarm(ref, fault_id, reply)
            case AskFaults(ref, orders):
                reply(self._now(ref, self._refusal(orders) if orders else None))

    def _now(self, ref: int, error: FaultError | None = None) -> FaultsNow:
        body = msgspec.msgpack.encode(self.board.states())
        if error is None:
            return FaultsNow(ref, body)
        return FaultsNow(ref, body, error.code, error.message, error.fix)

    def _arm(self, ref: int, body: bytes, reply: Reply) -> None:
        new: list[Armed] = []
        waiting: set[str] = set()
        failed: list[FaultError] = []

        def settled(fault_id: str, error: FaultError | None) -> None:
            waiting.discard(fault_id)
            if error is not None:
                failed.append(error)
            if not waiting:
                for armed in new if failed else ():
                    self.board.disarm(armed.order.id)
                reply(self._now(ref, failed[0] if failed else None))

        try:
            orders = self._checked(body)
            for order in orders:
                if self.board.find(order.id) is None:
                    new.append(self.board.arm(order))
            own = [one for one in new if self._own.has(one.order.kind)]
            waiting = {one.order.id for one in own}
            self._begin_all([one for one in new if one not in own], reply if not own else None, ref)
        except FaultError as error:
            for armed in new:
                self.board.disarm(armed.order.id)
            reply(self._now(ref, error))
            return
        for one in own:
            self._own.arm(one.order, partial(settled, one.order.id))

    def _refusal(self, body: bytes) -> FaultError | None:
        """Why these would not be armed; None: they would."""
        try:
            self._checked(body)
        except FaultError as error:
            return error
        return None

    def _checked(self, body: bytes) -> tuple[FaultOrder, ...]:
        """The orders, if they may be carried out here.

        Raises:
            FaultError: 9020-9022, 9024-9028.
        """
        me = self._me()
        if me.state in ("spare", "agent"):
            raise FaultError("this process carries nobody yet", code=9021, fix="name a child; see: rayvisor tree")
        if not me.allowed:
            raise FaultError(
                "faults are off in this system", code=9020, fix="`faults: {enabled: true}` in its topology"
            )
        if me.state in ("ended", "ending"):
            raise FaultError(f"{me.path} is stopping", code=9022, fix="wait for its next life")
        try:
            orders = decode(body)
        except msgspec.MsgspecError as error:
            raise FaultError(f"these orders cannot be read: {error}", code=9027, fix="of another version?") from error
        for order in orders:
            self._check(order, me)
        return orders

    def _check(self, order: FaultOrder, me: Me) -> None:
        if order.id in self._ended or lateness.is_late(order):
            raise FaultError(
                f"the order {order.id} came too late: whoever gave it has given it up",
                code=9028,
                fix="inject it again once the target is well: it stood still meanwhile",
            )
        if self._desk is not None and (order.about or order.standing):
            self._desk.check(order)
            return
        if (order.about.partition("@")[0] or order.path) != me.path:
            raise FaultError(f"{me.path} lives here, not {order.path}", code=9026, fix="see: rayvisor tree")
        own = self._own.has(order.kind)
        acts = Hook.NOW in order.hooks and not own
        if Hook.BEATS in order.hooks or (acts and act_of(order.kind) is None) or not (own or _is_known(order.kind)):
            raise FaultError(f"{me.path} cannot do {order.kind}", code=9025, fix="see: rayvisor inject list")

    def _begin_all(self, new: list[Armed], reply: Reply | None, ref: int) -> None:
        """Acts that end the process begin last, and after the answer is on its way: see ``LAST_WORDS``."""
        for armed in new:
            self._begin(armed)
        if reply is not None:
            reply(self._now(ref))
        for armed in new:
            if armed.live and Hook.RUN in armed.order.hooks:
                self._run_soon(armed)

    def _begin(self, armed: Armed) -> None:
        order = armed.order
        if self._desk is not None and (order.about or order.standing):
            self._desk.begin(armed)
            return
        act = act_of(order.kind)
        if act is None:
            return
        if Hook.NOW in order.hooks and not armed.strikes():
            return
        try:
            undo = act(armed, self._stage)
        except (OSError, ValueError, MemoryError) as error:
            raise FaultError(f"{order.kind}: {error}", code=9029) from error
        if undo is not None:
            self._undo[order.id] = undo
        elif order.hooks == (Hook.NOW,):
            self._plane.call_later(2 * LAST_WORDS, lambda: self.end(order.id))  # over once it is done

    def _disarm(self, ref: int, fault_id: str, reply: Reply) -> None:
        if fault_id:
            self._remember(fault_id)
        for one in self.board.ids():
            if not fault_id or one == fault_id:
                self.end(one)
        # these and those whose time was over before: none counts as ended before the actor says so
        waiting = {one for one in self._own.unended() if not fault_id or one == fault_id}
        failed: list[FaultError] = []

        def ended(one: str, error: FaultError | None) -> None:
            waiting.discard(one)
            if error is not None:
                failed.append(error)
            if not waiting:
                reply(self._now(ref, failed[0] if failed else None))

        if not waiting:
            reply(self._now(ref))
        for one in tuple(waiting):
            self._own.again(one, partial(ended, one))

    def _remember(self, fault_id: str) -> None:
        self._ended.pop(fault_id, None)
        self._ended[fault_id] = None
        if len(self._ended) > _ENDED_MOST:
            del self._ended[next(iter(self._ended))]

    def end(self, fault_id: str) -> None:
        """End one; one that is not armed is no error."""
        self.board.disarm(fault_id)

    # ------------------------------------------------------------ what changes

    def _changed(self, armed: Armed, on: bool) -> None:
        fault_id = armed.order.id
        if not on:
            undo = self._undo.pop(fault_id, None)
            if undo is not None:
                try:
                    undo()
                except Exception as error:  # noqa: BLE001 - the others are put away all the same
                    self._defect(error)
            if self._desk is not None:
                self._desk.ended(armed)
            if self._own.has(armed.order.kind):
                self._own.end(fault_id, armed.order.kind, self._log)
            self._stage.forget(fault_id)
        active = len(self.board) > 0
        self._slot.board = self.board if active else None
        self._install(self._made_hooks() if active else None)
        self._set_timer()

    def _install(self, hooks: "FaultHooks | None") -> None:
        self._ways.install(hooks)
        me = self._me()
        if me.body is not None:
            me.body.faults = hooks
        if me.context is not None:
            me.context.faults = hooks

    def _made_hooks(self) -> "FaultHooks":
        if self._hooks is None:
            from supervisors.runtime.faulthooks import FaultHooks

            ways, me = self._ways, self._me()
            self._hooks = FaultHooks(
                board=self.board,
                plane=self._plane,
                loop=me.loop if me.body is not None else None,
                carry_out=ways.carry_out,
                take=ways.take,
                put=ways.put,
            )
        return self._hooks

    def _log(self, error: FaultError | None) -> None:
        if error is not None:
            self._defect(error)

    def _set_timer(self) -> None:
        self._plane.cancel(self._timer)
        end = self.board.next_end()
        if end is not None:
            self._timer = self._plane.call_at(end, self._expire)

    def _expire(self) -> None:
        self.board.expire()
        self._set_timer()

    # ------------------------------------------------------------ faults of run

    def run_begins(self) -> None:
        """The worker's ``run`` is awaited from now on. From any thread."""
        self._plane.call_soon(self._run_began)

    def flush(self) -> None:
        """Tell what is still to be told: the process ends."""
        self._stage.flush()

    def _run_began(self) -> None:
        for armed in self.board.at(Hook.RUN):
            self._run_soon(armed)

    def _run_soon(self, armed: Armed) -> None:
        body = self._me().body
        if body is not None and body.state == "running":
            after = float(armed.order.params.get("after", 0.0))
            self._plane.call_later(max(after, LAST_WORDS), lambda: self._break_off(armed))

    def _break_off(self, armed: Armed) -> None:
        if armed.live and armed.strikes():
            self._stage.crash(RuntimeError(armed.order.text("message")))
        if not armed.order.standing:
            self.end(armed.order.id)


def _is_known(kind: str) -> bool:
    """Whether the framework carries this kind out; one of an actor's own (``net_latency``) it only knows by name."""
    from supervisors.faults.kinds import CATALOGUE

    return kind in CATALOGUE and CATALOGUE.find(kind).where is not Where.ACTOR
