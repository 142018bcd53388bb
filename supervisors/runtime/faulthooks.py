"""What armed faults do where messages, calls and steps of a life pass by: the other half of a host's hooks.

A host has these only while a fault is armed in it (see ``faulting``). Calls, casts and items belong to the actor's
loop, plane messages to the plane's thread; each has roads of its own.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from supervisors.core.errors import CallTimeout
from supervisors.faults.board import Armed, FaultBoard
from supervisors.faults.corrupting import corrupt_arguments, corrupt_bytes
from supervisors.faults.order import Hook
from supervisors.faults.road import Road, meets
from supervisors.runtime.calls import Caller
from supervisors.signals.fault_messages import Arm, AskFaults, Disarm, FaultFired, FaultsNow
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import MalformedFrame, Message, decode, encode

#: incarnation, ref, method, args, kwargs: what a host is called with
Call = tuple[int, str, str, tuple[object, ...], dict[str, object]]
_Arguments = tuple[tuple[object, ...], dict[str, object]]
#: sender or receiver, the frame, what it says; None: it has to be read anew
_Framed = tuple[bytes, bytes, Message | None]

#: they are never touched, so that every fault can be undone
SPARED = (Arm, Disarm, AskFaults, FaultsNow, FaultFired)
#: calls and answers that were lost and are kept for whoever asked, and for how many seconds
_LOST_MOST = 200
_LOST_FOR = 60.0


class FaultHooks:
    """The hooks of one host.

    Args:
        board: what is armed there.
        plane: of the host.
        loop: the actor's; None in a supervisor.
        carry_out: carries out a call, without faults.
        take: handles a plane message, without faults.
        put: sends a frame, without faults.
    """

    def __init__(
        self,
        *,
        board: FaultBoard,
        plane: PlaneLoop,
        loop: asyncio.AbstractEventLoop | None,
        carry_out: Callable[[Call], Awaitable[object]],
        take: Callable[[bytes, Message], None],
        put: Callable[[bytes, bytes], None],
    ) -> None:
        self._board = board
        self._plane = plane
        self._loop = loop
        self._carry_out = carry_out
        self._take = take
        self._put = put
        #: frames that could not be read any more
        self.malformed = 0
        self._lost: deque[asyncio.Future[None]] = deque()
        self._doubles: set[asyncio.Future[object]] = set()
        self._from_plane: Road[_Framed] = Road(plane.call_later, plane.call_soon, _corrupt_frame)
        self._to_plane: Road[_Framed] = Road(plane.call_later, plane.call_soon, _corrupt_frame)
        if loop is not None:
            later, soon = partial(_not_before, loop), loop.call_soon_threadsafe
            self._calls_in: Road[_Arguments] = Road(later, soon, _corrupt_arguments)
            self._calls_out: Road[_Arguments] = Road(later, soon, _corrupt_arguments)
            self._items: Road[bytes] = Road(later, soon, corrupt_bytes)

    # ------------------------------------------------------------ calls that reach the actor (its loop)

    async def invoke(self, call: Call) -> object:
        """Carry out a call as far as the faults let it; see ``Host.invoke``."""
        method = call[2]
        armed = self._board.at(Hook.CALL_IN)
        if armed:
            call = await self._let_in(armed, call)
        try:
            answer = await self._carry_out(call)
        except Exception:
            await self._reply(method)
            raise
        await self._reply(method)
        return answer

    async def _let_in(self, armed: tuple[Armed, ...], call: Call) -> Call:
        incarnation, ref, method, args, kwargs = call
        for one in armed:
            if one.order.kind == "raise_call" and meets(one, method) and one.strikes():
                raise RuntimeError(one.order.text("message"))
            if one.order.kind == "hang" and meets(one, method) and one.strikes():
                await self._end_of(one)
        arrived: asyncio.Future[_Arguments] = asyncio.get_running_loop().create_future()

        def deliver(arguments: _Arguments) -> None:
            if not arrived.done():
                arrived.set_result(arguments)
                return
            # the same reference: what is done once for it is what a repeat gets as well
            double = asyncio.ensure_future(self._carry_out((incarnation, ref, method, *arguments)))
            self._doubles.add(double)
            double.add_done_callback(self._doubled)

        lost: list[bool] = []
        self._calls_in.send(armed, method, (args, kwargs), deliver, lambda: lost.append(True))
        if lost:
            await self._keep_lost(method)
        return (incarnation, ref, method, *(await arrived))

    def _doubled(self, double: "asyncio.Future[object]") -> None:
        self._doubles.discard(double)
        if not double.cancelled():
            double.exception()  # the call itself tells

    async def _reply(self, method: str) -> None:
        for one in self._board.at(Hook.REPLY):
            if meets(one, method) and one.strikes():
                await self._keep_lost(method)

    async def _keep_lost(self, method: str) -> None:
        """Whoever asked hears nothing until it gives up; answered in the end only so that nothing is kept for ever.

        Raises:
            CallTimeout: always, late.
        """
        loop = asyncio.get_running_loop()
        if len(self._lost) >= _LOST_MOST:
            _settle(self._lost.popleft())
        never: asyncio.Future[None] = loop.create_future()
        self._lost.append(never)
        timer = loop.call_later(_LOST_FOR, _settle, never)
        try:
            await never
        finally:
            timer.cancel()
            if never in self._lost:
                self._lost.remove(never)
        raise CallTimeout(f"{method}: lost on the way")

    async def _end_of(self, armed: Armed, timeout: float | None = None) -> None:
        """Wait until a fault is over, or for ``timeout`` seconds."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        armed.at_end(lambda: _tell_loop(loop, over.set))
        try:
            async with asyncio.timeout(timeout):
                await over.wait()
        except TimeoutError:
            return

    # ------------------------------------------------------------ what the actor sends (its loop)

    def call_out(
        self, caller: Caller, path: str, method: str, arguments: _Arguments, timeout: float, once: bool
    ) -> Awaitable[object]:
        """See ``HostContext.call``."""
        armed = self._board.at(Hook.CALL_OUT)
        if not armed:
            return caller.call(path, method, *arguments, timeout, once)
        return self._call_out(armed, caller, path, method, arguments, timeout, once)

    async def _call_out(
        self,
        armed: tuple[Armed, ...],
        caller: Caller,
        path: str,
        method: str,
        arguments: _Arguments,
        timeout: float,
        once: bool,
    ) -> object:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        sent: asyncio.Future[None] = loop.create_future()
        messages: list[_Arguments] = []

        def deliver(message: _Arguments) -> None:
            messages.append(message)
            if not sent.done():
                sent.set_result(None)

        self._calls_out.send(armed, method, arguments, deliver)
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                await sent
        except TimeoutError:
            raise CallTimeout(f"{path}.{method}: no answer within {timeout:g} s") from None
        return await caller.call(path, method, *messages[0], until - loop.time(), once, len(messages) - 1)

    def cast_out(self, caller: Caller, path: str, method: str, arguments: _Arguments) -> None:
        """See ``HostContext.cast``."""
        armed = self._board.at(Hook.CAST_OUT)
        if not armed:
            caller.cast(path, method, *arguments)
            return
        messages: list[_Arguments] = []

        def send() -> None:
            caller.cast(path, method, *messages[0], len(messages) - 1)

        def deliver(message: _Arguments) -> None:
            messages.append(message)
            if len(messages) == 1:
                asyncio.get_running_loop().call_soon(send)  # all its doubles are there by then

        self._calls_out.send(armed, method, arguments, deliver)

    def publish(
        self, send: Callable[[str, bytes, int | None], None], topic: str, payload: bytes, mark: int | None
    ) -> None:
        """See ``HostContext.publish``."""
        armed = self._board.at(Hook.PUBLISH)
        if armed:
            self._items.send(armed, topic, payload, lambda body: send(topic, body, mark))
        else:
            send(topic, payload, mark)

    # ------------------------------------------------------------ the plane (its thread)

    def plane_in(self, sender: bytes, body: bytes, message: Message) -> None:
        """A message reached this process."""
        armed = self._board.at(Hook.PLANE_IN)
        if not armed or isinstance(message, SPARED):
            self._take(sender, message)
        else:
            self._from_plane.send(armed, type(message).__name__, (sender, body, message), self._arrived)

    def _arrived(self, framed: _Framed) -> None:
        sender, body, message = framed
        if message is None:
            try:
                message = decode(body)
            except MalformedFrame:
                self.malformed += 1
                return
            if isinstance(message, SPARED):
                return  # a byte that was changed by chance arms nothing
        self._take(sender, message)

    def plane_out(self, to: bytes, message: Message) -> None:
        """A message is about to leave this process."""
        armed = self._board.at(Hook.PLANE_OUT)
        body = encode(message)
        if not armed or isinstance(message, SPARED):
            self._put(to, body)
        else:
            name = type(message).__name__
            self._to_plane.send(armed, name, (to, body, message), lambda framed: self._put(framed[0], framed[1]))

    # ------------------------------------------------------------ steps of a life

    async def starts(self) -> None:
        """Before ``start`` of the target's class.

        Raises:
            RuntimeError: this start is to fail.
        """
        for one in self._board.at(Hook.START):
            if one.strikes():
                if one.order.kind == "fail_start":
                    raise RuntimeError(one.order.text("message"))
                await self._end_of(one, one.order.number("delay"))

    def ignores_stop(self, again: Callable[[], None]) -> bool:
        """An order to stop arrived: True when it is not heard. ``again`` gives it once the fault is over."""
        for one in self._board.at(Hook.STOP):
            if one.strikes():
                one.at_end(again)
                return True
        return False


def _corrupt_arguments(arguments: _Arguments, draw: random.Random) -> _Arguments | None:
    return corrupt_arguments(*arguments, draw)


def _corrupt_frame(framed: _Framed, draw: random.Random) -> _Framed | None:
    """A byte of the message, never of the version: a frame of another version would be no message at all."""
    changed = corrupt_bytes(framed[1], draw, 1)
    return None if changed is None else (framed[0], changed, None)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _not_before(loop: asyncio.AbstractEventLoop, delay: float, job: Callable[[], None]) -> None:
    """Run ``job`` after ``delay`` seconds, never sooner: timers of uvloop are rounded to whole milliseconds."""
    at = time.monotonic() + delay

    def look() -> None:
        left = at - time.monotonic()
        if left > 0.0:
            loop.call_later(left, look)
        else:
            job()

    loop.call_later(delay, look)


def _tell_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """From the plane's thread; a loop that is closed has nobody who waits."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return
