"""The child host: one Ray actor process that carries one child, and the plane thread that speaks for it.

A host is born idle (a spare), is assigned one child for life, and ends with it. ``max_restarts=0``: our supervisors
restart, Ray never does. The class is generic, so a spare fits any child.
"""

import asyncio
import faulthandler
import os
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec
import setproctitle
import zmq

from supervisors.core.paths import TreePath
from supervisors.core.reasons import SHUTDOWN, ExitReason, crash, init_error
from supervisors.faults.board import FaultSlot
from supervisors.runtime.bodies import Pulse, actor_clock, make_life, make_shell
from supervisors.runtime.boot import HostBoot
from supervisors.runtime.calls import Caller, WrongIncarnation
from supervisors.runtime.clock import SystemClock
from supervisors.runtime.context import HostContext
from supervisors.runtime.places import PlaceFinder
from supervisors.runtime.process import LazyLog, addresses, describe, keep_reason, leave, log_opener, preload, prepare
from supervisors.runtime.pubsub import Publisher
from supervisors.runtime.questions import Questions
from supervisors.runtime.repeats import Repeats
from supervisors.runtime.worker import WorkerRunner
from supervisors.signals.agent_messages import KillProcess, Look, Watch
from supervisors.signals.deathwatch import DeathBeacon
from supervisors.signals.fault_messages import Arm, AskFaults, Disarm
from supervisors.signals.loop import PlaneLoop
from supervisors.signals.messages import (
    AskStatus,
    Assign,
    Attach,
    Exited,
    ExitSeen,
    Hello,
    MalformedFrame,
    Message,
    Metrics,
    Order,
    Preload,
    Promote,
    Ready,
    Resolve,
    Resolved,
    Retire,
    StartFailed,
    Status,
    Stop,
    decode,
    encode,
)
from supervisors.spec.compiled import SupervisorPart, SystemSpec, WorkerSpec
from supervisors.spec.compiled import decode as decode_spec

if TYPE_CHECKING:
    from supervisors.runtime.agents import NodeAgent
    from supervisors.runtime.faulthooks import Call, FaultHooks
    from supervisors.runtime.faulting import FaultHand
    from supervisors.runtime.faultstage import Me
    from supervisors.runtime.lives import Life
    from supervisors.runtime.supervisor import SupervisorShell

#: seconds a host waits for its exit notice to be acknowledged before it ends all the same
_LINGER = 1.0


class Host:
    """See the module. All public coroutines are called by Ray in the actor's own loop.

    Args:
        boot: an encoded ``HostBoot``.

    Raises:
        LaunchError: this process runs other code than its maker.
    """

    def __init__(self, boot: bytes) -> None:
        self._boot = msgspec.msgpack.decode(boot, type=HostBoot)
        prepare(self._boot)
        self._clock = SystemClock()
        self._path = ""
        self._incarnation = 0
        self._kind = "spare"
        self._state = "spare"
        self._reason: ExitReason | None = None
        self._supervisor = b""
        self._runner: WorkerRunner | None = None
        self._life: Life | None = None
        self._shell: SupervisorShell | None = None
        self._context: HostContext | None = None
        self._log = LazyLog()
        self._stacks: TextIO | None = None
        #: where hooks find what is armed in this process
        self._slot = FaultSlot()
        #: None until somebody arms a fault; ``_faults`` is None unless one is armed
        self._hand: FaultHand | None = None
        self._faults: FaultHooks | None = None
        self._faults_allowed = False
        self._beat_interval = 0.1
        self._pulse = Pulse(self._clock)
        self._malformed = 0
        self._agent: NodeAgent | None = None
        self._repeats = Repeats(self._clock)
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._plane = PlaneLoop("plane", self._defect)
        self._router = self._plane.router(self._boot.host.encode())
        self._router.bind(addresses(self._boot, "h")[0])
        self._publisher = Publisher(self._plane.context, *addresses(self._boot, "p"))
        self._endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._beacon = DeathBeacon(Path(self._boot.shm_dir), self._boot.host, frozenset(self._boot.methods))
        self._questions = Questions(self._plane, self._tell)
        self._places = PlaceFinder(self._boot, self._questions.place)
        self._plane.on_readable(self._router, self._received)
        self._plane.start()

    # ------------------------------------------------------------ called by Ray

    async def describe(self) -> bytes:
        """How to reach this host, as an encoded ``HostInfo``."""
        self._loop = asyncio.get_running_loop()
        return msgspec.msgpack.encode(describe(self._boot, self._endpoint, self._publisher.endpoint))

    async def invoke(self, call: "Call") -> object:
        """Carry out a call meant for one incarnation; a repeat of its ``ref`` gets the first one's answer.

        Args:
            call: incarnation, ref, method, args, kwargs.

        Raises:
            WrongIncarnation: this host does not carry that life.
        """
        if self._faults is not None:
            return await self._faults.invoke(call)
        return await self._carry_out(call)

    async def _carry_out(self, call: "Call") -> object:
        incarnation, ref, method, args, kwargs = call
        runner = self._runner
        if runner is None or incarnation != self._incarnation or runner.state != "running":
            raise WrongIncarnation(f"{self._path}: incarnation {incarnation} is not here")
        first = self._repeats.first(ref)
        if first is not None:
            return await asyncio.shield(first)
        answer = self._repeats.keep(ref)
        try:
            result = await runner.invoke(method, args, kwargs)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except BaseException as error:
            answer.set_exception(error)
            answer.exception()  # nobody has to ask for it
            raise
        answer.set_result(result)
        return result

    # ------------------------------------------------------------ the plane (its thread)

    def _received(self, frames: list[bytes]) -> None:
        if len(frames) != 2:
            self._malformed += 1
            return
        sender, body = frames
        try:
            message = decode(body)
        except MalformedFrame:
            self._malformed += 1
            return
        if self._faults is not None:
            self._faults.plane_in(sender, body, message)
        else:
            self._take(sender, message)

    def _take(self, sender: bytes, message: Message) -> None:
        match message:
            case Assign():
                try:
                    self._assigned(sender, message)
                except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor has to hear of it
                    detail = "".join(traceback.format_exception(error, limit=-20))
                    failed = init_error(f"the host could not take it: {type(error).__name__}: {error}", detail)
                    self._finish_now(StartFailed(message.path, message.incarnation, failed))
            case Attach():
                self._supervisor = sender
                self._tell_now(self._hello())
                if self._life is not None:
                    self._life.tell()
                if self._state == "ended" and self._reason is not None:
                    self._tell_now(Exited(self._path, self._incarnation, self._reason, self._clock.monotonic()))
            case Stop(path, incarnation, timeout) if self._is_me(path, incarnation):
                self._ordered_to_stop(timeout)
            case ExitSeen(path, incarnation) if self._is_me(path, incarnation):
                self._leave()
            case Retire() if self._state == "spare":
                self._leave()
            case Resolved(ref) | Status(ref):
                self._questions.answered(ref, message)
            case Watch() | KillProcess() | Look():
                self._agent_asked(sender, message)
            case Preload(modules) if self._state == "spare":
                threading.Thread(target=preload, args=(modules,), name="preload", daemon=True).start()
            case AskStatus() | Resolve() | Order():
                self._asked(sender, message)
            case Promote() if self._state == "standby":
                self._promoted(message)
            case Arm() | Disarm() | AskFaults():
                self._fault_hand().asked(message, lambda answer: self._put(sender, encode(answer)))
            case _ if self._life is not None and self._life.received(sender, message):
                return
            case _:
                self._malformed += 1

    def _promoted(self, order: Promote) -> None:
        """Stand by no longer: from here on this host is that life."""
        life, runner = self._life, self._runner
        if life is None or runner is None:
            return
        self._incarnation = runner.incarnation = order.incarnation
        self._publisher.set_incarnation(order.incarnation)
        self._state = "starting"
        life.received(b"", order)
        self._plane.call_later(0.0, self._entitle)

    def _entitle(self) -> None:
        standby = "~standby" if self._state == "standby" else f"#{self._incarnation}"
        title = f"rayvisor:{self._path}{standby}"
        setproctitle.setproctitle(title)
        self.__class__ = type(title, (Host,), {})  # Ray writes the class's name back into the title after each call

    def _is_me(self, path: str, incarnation: int) -> bool:
        return path == self._path and incarnation == self._incarnation

    def _hello(self) -> Hello:
        state = self._runner.state if self._runner is not None else self._state
        return Hello(self._boot.host, os.getpid(), self._path, self._incarnation, state, self._reason)

    def _agent_asked(self, sender: bytes, message: Watch | KillProcess | Look) -> None:
        """An idle host on another node that a supervisor speaks to so is that node's agent."""
        if self._agent is None:
            from supervisors.runtime.agents import NodeAgent  # few hosts are agents: 13 ms of a core for all others

            self._agent = NodeAgent(self._plane, Path(self._boot.shm_dir), self._send)
            self._state = "agent"
            setproctitle.setproctitle("rayvisor:agent")
        self._agent.received(sender, message)

    def _asked(self, sender: bytes, message: AskStatus | Resolve | Order) -> None:
        if self._shell is not None:
            self._shell.asked(message, lambda answer: self._send(sender, answer))
        elif isinstance(message, AskStatus):
            self._send(sender, Status(message.ref, b""))

    def _assigned(self, sender: bytes, order: Assign) -> None:
        if self._state != "spare":
            if self._is_me(order.path, order.incarnation):
                self._tell_now(self._hello())
            return  # another supervisor was first; it will take another host
        self._supervisor = sender
        self._path, self._incarnation, self._kind = order.path, order.incarnation, order.kind
        self._state = "standby" if order.kind == "standby" else "starting"
        self._entitle()
        self._tell_now(self._hello())
        system = decode_spec(order.system, SystemSpec)
        self._faults_allowed = system.faults.enabled
        try:
            self._stacks = (Path(self._boot.plane_dir) / f"fault-{self._boot.host}").open("w")
            faulthandler.enable(self._stacks)
        except OSError as error:
            self._defect(error)  # no stack of a segfault then; everything else works
        self._log.open = log_opener(self._boot.data_dir, order, system.logs)
        if order.kind == "supervisor":
            self._be_supervisor(order, system)
        else:
            self._be_worker(order, system)
        self._beat()
        self._plane.every(self._beat_interval, self._beat)
        self._plane.every(1.0, self._send_metrics)

    def _be_worker(self, order: Assign, system: SystemSpec) -> None:
        spec = decode_spec(order.part, WorkerSpec)
        self._beat_interval = spec.heartbeat.interval
        self._publisher.set_incarnation(order.incarnation)
        loop = self._loop
        if loop is None:
            self._finish(StartFailed(order.path, order.incarnation, crash("the host's loop never ran")))
            return
        context = HostContext(
            path=TreePath(order.path),
            incarnation=order.incarnation,
            epoch=order.epoch,
            clock=actor_clock(self._clock, self._slot, system),
            log=self._log.logger,
            data_dir=self._boot.data_dir,
            caller=Caller(self._boot.namespace, self._places.find),
            resolve=self._places.find,
            ask_children=self._questions.children,
            publisher=self._publisher,
            zmq_context=self._plane.context,
            report=self._report,
        )
        self._context = context
        if spec.recovery is not None:
            self._life = make_life(
                order,
                spec,
                system,
                context,
                boot=self._boot,
                plane=self._plane,
                loop=loop,
                clock=self._clock,
                report=self._tell,
                send=self._send,
                finish=self._finish,
                log=self._log.logger,
                faults=self._slot,
            )
        runner = self._runner = WorkerRunner(
            spec,
            order.incarnation,
            context,
            self._tell,
            self._finish,
            self._beat_interval,
            self._log.imported,
            self._life,
            self._run_begins,
        )
        if order.faults and system.faults.enabled:
            self._fault_hand().restore(order.faults)

        def begin() -> None:
            self._task = asyncio.ensure_future(runner.live())

        loop.call_soon_threadsafe(begin)

    def _be_supervisor(self, order: Assign, system: SystemSpec) -> None:
        part = decode_spec(order.part, SupervisorPart)
        self._beat_interval = part.heartbeat.interval
        log = self._log.logger()
        shell = make_shell(order, part, system, self._boot, self._plane, log, self._tell_now, self._finish)
        self._shell = shell
        if system.faults.enabled:
            shell.fault_slot = self._slot
            self._fault_hand().carries_supervisor(shell)
        shell.start(adopt=order.adopt)

    def _ordered_to_stop(self, timeout: float) -> None:
        if self._faults is not None and self._faults.ignores_stop(lambda: self._ordered_to_stop(timeout)):
            return
        if self._shell is not None:
            self._shell.order_stop()
        elif self._runner is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._runner.order_stop)

    # ------------------------------------------------------------ beats and reports

    def _beat(self) -> None:
        if self._state == "ended" or not self._supervisor:
            return
        progress = self._runner.progress if self._runner is not None else None
        message = self._pulse.beat(self._path, self._incarnation, progress)
        self._tell_now(message)
        if self._life is not None:
            self._life.tell()

    def _send_metrics(self) -> None:
        context = self._context
        if context is not None and context.metrics:
            values, context.metrics = context.metrics, {}
            self._tell_now(Metrics(self._path, self._incarnation, values))

    def _report(self, message: Message) -> None:
        """What the context has to say, from any thread."""
        if self._life is not None and isinstance(message, Ready):
            self._life.said_ready(message)
        else:
            self._tell(message)

    def _tell(self, message: Message) -> None:
        """From any thread."""
        self._plane.call_soon(lambda: self._tell_now(message))

    def _tell_now(self, message: Message) -> None:
        if self._supervisor:
            self._send(self._supervisor, message)

    def _send(self, to: bytes, message: Message) -> None:
        if self._faults is not None:
            self._faults.plane_out(to, message)
        else:
            self._put(to, encode(message))

    def _put(self, to: bytes, frame: bytes) -> None:
        try:
            self._router.send_multipart((to, frame), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._defect(error)

    # ------------------------------------------------------------ faults on purpose

    def _fault_hand(self) -> "FaultHand":
        """Made with the first word about faults; most hosts never hear one."""
        if self._hand is None:
            from supervisors.runtime.faulting import FaultHand
            from supervisors.runtime.faultstage import Ways

            self._hand = FaultHand(
                plane=self._plane,
                clock=self._clock,
                slot=self._slot,
                me=self._me,
                data_dir=self._boot.data_dir,
                ways=Ways(self._carry_out, self._take, self._put, self._hook),
                defect=self._defect,
            )
        return self._hand

    def _me(self) -> "Me":
        from supervisors.runtime.faultstage import Me

        runner, shell = self._runner, self._shell
        ending = runner is not None and runner.stopping
        if shell is not None:
            ending = shell.machine.closing or shell.machine.ended
        state = "ending" if ending and self._state != "ended" else self._state
        allowed, above = self._faults_allowed, self._supervisor
        return Me(self._path, self._incarnation, state, allowed, above, runner, self._context, self._loop)

    def _hook(self, hooks: "FaultHooks | None") -> None:
        self._faults = hooks

    def _run_begins(self) -> None:
        if self._hand is not None:
            self._hand.run_begins()

    # ------------------------------------------------------------ the end

    def _finish(self, message: Message) -> None:
        """From any thread: tell the supervisor how it ended, then end this process."""
        self._plane.call_soon(lambda: self._finish_now(message))

    def _finish_now(self, message: Message) -> None:
        if self._state == "ended":
            return
        self._publisher.open = False
        self._send_metrics()
        if self._hand is not None:
            self._hand.flush()
        self._state = "ended"
        if isinstance(message, Exited):
            self._reason = message.reason
            message = Exited(message.path, message.incarnation, message.reason, self._clock.monotonic())
        elif isinstance(message, StartFailed):
            self._reason = message.reason
        else:
            self._reason = SHUTDOWN
        try:
            keep_reason(self._boot.plane_dir, self._boot.host, self._reason)
        except OSError as error:
            self._defect(error)
        self._tell_now(message)
        self._log.close()
        self._plane.call_later(_LINGER, self._leave)

    def _leave(self) -> None:
        """End the process. Ray's own way out takes 100 ms and more; nothing of ours is left to put away."""
        leave(self._boot)

    # ------------------------------------------------------------ questions

    async def linger(self) -> None:
        """Never returns: whoever waits for it learns from Ray that this host died."""
        await asyncio.Event().wait()

    def _defect(self, error: BaseException) -> None:
        """A defect of our own in a callback: log it, go on."""
        if self._log.open is not None:
            traceback.print_exception(error)  # to Ray's log of this process, should ours not work
            self._log.logger().opt(exception=error).error("defect in the plane of {}", self._path or self._boot.host)
