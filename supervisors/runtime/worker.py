"""Runs one worker inside its host: import, config, ``start``, ``run``, ``stop``, and calls to its methods.

Three kinds of class are accepted: an ``Actor`` (known by its mark, so that this package need not import ``actors``), a
plain Python class, and an existing ``@ray.remote`` class. The latter two have no ``run``: they only answer calls, and
the host supplies beats. Their blocking methods run on one thread of their own, so that a slow one does not look like
a hang, and one at a time, as Ray runs them.
"""

import asyncio
import contextlib
import importlib
import inspect
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeGuard

import msgspec

from supervisors.core.errors import Ignore
from supervisors.core.reasons import NORMAL, SHUTDOWN, ExitKind, ExitReason, crash, init_error
from supervisors.signals.messages import Exited, Ignored, Message, Ready, Started, StartFailed
from supervisors.spec.compiled import WorkerSpec

#: what the base class of all Actors bears, and its ``Config`` that takes nothing
_MARK = "__rayvisor_actor__"
_STAND_IN = "__rayvisor_no_config__"
#: seconds between two cancellations of a body that goes on all the same
_CANCEL_AGAIN = 0.1

if TYPE_CHECKING:
    from pydantic import BaseModel


class _Actor(Protocol):
    """What the host calls of an ``Actor``."""

    ctx: object

    async def start(self, ctx: object) -> None: ...
    async def run(self) -> None: ...
    async def stop(self) -> None: ...
    async def promoted(self) -> None: ...


class LifeOfWorker(Protocol):
    """What a recoverable worker has beside its body; see ``supervisors.runtime.lives.Life``."""

    standby: bool
    shadow: bool

    @property
    def was_ready(self) -> bool: ...
    async def begin(self, target: object) -> None: ...
    def started(self) -> None: ...
    async def promoted(self) -> None: ...
    async def end(self, *, orderly: bool) -> None: ...


class NoLife:
    """Of a worker without a recovery policy."""

    standby = False
    shadow = False
    was_ready = False

    async def begin(self, target: object) -> None:
        """Nothing to restore."""

    def started(self) -> None:
        """Nothing to tell."""

    async def promoted(self) -> None:
        """It acts from the beginning."""

    async def end(self, *, orderly: bool) -> None:
        """Nothing to put away."""


class StartHooks(Protocol):
    """What faults do before ``start``; see ``supervisors.runtime.faulthooks``."""

    async def starts(self) -> None: ...


class _ActorClass(Protocol):
    Config: "type[BaseModel]"

    def __call__(self, config: "BaseModel | None") -> _Actor: ...


def _is_actor_class(cls: object) -> TypeGuard[_ActorClass]:
    return hasattr(cls, _MARK)


def _has_own_config(cls: object) -> bool:
    """False when ``Config`` is the base class's stand-in: looking at that one would import pydantic for nothing."""
    for base in getattr(cls, "__mro__", ()):
        if "Config" in vars(base):
            return not hasattr(vars(base)["Config"], _STAND_IN)
    return False


class WorkerRunner:
    """One life of one worker.

    Args:
        spec: what to run.
        incarnation: of this life.
        context: handed to an Actor's ``start``.
        report: takes the messages for the supervisor; thread-safe.
        finish: called with the last message once all is put away; does not return control to the worker.
        imported: called once the worker's module is imported.
        life: its journal, lease and part as a standby.
        beat_interval: seconds between turns of the progress counter.
        running: called once ``run`` is about to be awaited.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        incarnation: int,
        context: object,
        report: Callable[[Message], None],
        finish: Callable[[Message], None],
        beat_interval: float,
        imported: Callable[[], None] = lambda: None,
        life: LifeOfWorker | None = None,
        running: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec = spec
        self.incarnation = incarnation
        #: turns of the actor's own loop: what tells a blocked loop from a live one
        self.progress = 0
        self.state = "starting"
        self._context = context
        self._report = report
        self._finish = finish
        self._imported = imported
        self._running = running
        self._life = life or NoLife()
        self._interval = beat_interval
        self._target: object = None
        self._actor: _Actor | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._body: asyncio.Task[None] | None = None
        self._stopping = False
        #: why a method that was called wants this process to end
        self._wish: ExitReason | None = None
        #: set while a fault is armed in this process
        self.faults: StartHooks | None = None

    @property
    def target(self) -> object:
        """The user's object; None before it is made."""
        return self._target

    @property
    def stopping(self) -> bool:
        """An order to stop came."""
        return self._stopping

    # ------------------------------------------------------------ life

    async def live(self) -> None:
        """From import to end; reports on the way. Never raises."""
        self._tick()
        self._body = asyncio.ensure_future(_contained(self._bring_up()))
        outcome = await self._outcome(self._body)
        if outcome is not None:
            await self._life.end(orderly=False)
            if self._stopping:
                self._end(Exited(self.spec.path, self.incarnation, SHUTDOWN, 0.0))
            elif not self._body.cancelled() and isinstance(self._body.exception(), Ignore):
                self._end(Ignored(self.spec.path, self.incarnation))
            else:
                reason = init_error(outcome.message, outcome.detail)
                self._end(StartFailed(self.spec.path, self.incarnation, reason))
            return
        self.state = "running"
        self._life.started()
        waiting: asyncio.Task[None] | None = None
        if self._life.shadow:
            waiting = asyncio.ensure_future(self._shadow())
        else:
            self._report(Started(self.spec.path, self.incarnation))
        self._body = asyncio.ensure_future(_contained(self._work()))
        self._running()
        reason = await self._outcome(self._body) or (SHUTDOWN if self._stopping else NORMAL)
        if waiting is not None:
            waiting.cancel()
        if self._stopping:
            reason = await self._put_away(reason)
        await self._life.end(orderly=not reason.is_abnormal)
        self._end(Exited(self.spec.path, self.incarnation, reason, 0.0))

    async def _shadow(self) -> None:
        """Of a live standby: its body runs already; say that it is up once it acts."""
        await self._life.promoted()
        if self._actor is not None:
            failed = await self._outcome(asyncio.ensure_future(_contained(self._actor.promoted())))
            if failed is not None:
                self._wish = failed
                if self._body is not None:
                    self._body.cancel()
                return
        self._report(Started(self.spec.path, self.incarnation))
        if self._life.was_ready and self.spec.ready_timeout is not None:
            self._report(Ready(self.spec.path, self.incarnation))

    def order_stop(self) -> None:
        """Cancel the body; ``live`` goes on with ``stop``. Called in the actor's loop."""
        self._stopping = True
        if self._body is not None:
            self._body.cancel()

    def break_off(self, error: BaseException) -> None:
        """Have ``run`` end as if it had raised ``error``: what it awaits is cancelled until it has ended."""
        body = self._body
        if self._stopping or body is None or body.done():
            return
        self._wish = _reason(error)
        body.cancel()
        asyncio.get_running_loop().call_later(_CANCEL_AGAIN, self.break_off, error)

    async def _bring_up(self) -> None:
        cls = load_class(self.spec.actor)
        self._imported()
        if _is_actor_class(cls):
            takes_none = self.spec.config == b"{}" and not _has_own_config(cls)
            actor = self._actor = cls(None if takes_none else cls.Config.model_validate_json(self.spec.config))
            self._target = actor
            actor.ctx = self._context
            await self._life.begin(actor)
            if self.faults is not None:
                await self.faults.starts()
            await actor.start(self._context)
            return
        if self.faults is not None:
            await self.faults.starts()
        arguments = msgspec.json.decode(self.spec.config, type=dict[str, object])
        if not _has_async_methods(cls):
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="methods")
            self._target = await asyncio.get_running_loop().run_in_executor(self._thread, lambda: cls(**arguments))
        else:
            self._target = cls(**arguments)
        await self._life.begin(self._target)

    async def _work(self) -> None:
        if self._actor is not None:
            await self._actor.run()
        else:
            await asyncio.Event().wait()

    async def _outcome(self, task: "asyncio.Task[None]") -> ExitReason | None:
        """None when the task returned; a reason when it raised, was cancelled or asked to exit."""
        await asyncio.wait({task})
        if task.cancelled():
            return SHUTDOWN if self._stopping else self._wish or crash("cancelled itself")
        error = task.exception()
        if error is None:
            return None if self._stopping else self._wish
        return _reason(error)

    async def _put_away(self, reason: ExitReason) -> ExitReason:
        if self._actor is None:
            return reason
        failed = await self._outcome(asyncio.ensure_future(_contained(self._actor.stop())))
        return reason if failed is None or failed.kind is ExitKind.SHUTDOWN else failed

    def _end(self, message: Message) -> None:
        self.state = "ended"
        self._finish(message)

    def _tick(self) -> None:
        self.progress += 1
        asyncio.get_running_loop().call_later(self._interval, self._tick)

    # ------------------------------------------------------------ calls

    async def invoke(self, method: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Call a public method of the worker.

        Raises:
            AttributeError: it has none of that name, or the name is private.
            RuntimeError: it called ``sys.exit``: the worker ends.
        """
        try:
            return await self._invoke(method, args, kwargs)
        except (SystemExit, KeyboardInterrupt) as error:
            self._wish = _reason(error)
            if self._body is not None:
                self._body.cancel()
            raise RuntimeError(f"{method} ended the worker: {type(error).__name__} {error}".rstrip()) from None

    async def _invoke(self, method: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if method.startswith("_"):
            raise AttributeError(f"{self.spec.actor} does not offer {method!r}: names that begin with _ are private")
        function = getattr(self._target, method, None)
        if not callable(function):
            offers = ", ".join(sorted(_public(self._target)))
            raise AttributeError(f"{self.spec.actor} has no method {method!r}; it has: {offers}")
        if self._thread is not None:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))
        result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            awaited: Awaitable[object] = result
            return await awaited
        return result


class _Asked(Exception):
    """Carries a ``SystemExit`` or ``KeyboardInterrupt`` (its cause): out of a task these would end the whole loop."""


async def _contained(body: Awaitable[None]) -> None:
    try:
        await body
    except (SystemExit, KeyboardInterrupt) as error:
        raise _Asked from error


def load_class(name: str) -> type:
    """The class an import string names; of a ``@ray.remote`` class, the class it wraps.

    Raises:
        ImportError, AttributeError: there is no such module or class.
        TypeError: it is no class.
    """
    module_name, _, attribute = name.partition(":")
    found: object = importlib.import_module(module_name)
    for part in attribute.split("."):
        found = getattr(found, part)
    metadata = getattr(found, "__ray_metadata__", None)
    wrapped: object = getattr(metadata, "modified_class", found)
    if not isinstance(wrapped, type):
        raise TypeError(f"{name} is no class")
    return wrapped


def _has_async_methods(cls: type) -> bool:
    return any(inspect.iscoroutinefunction(member) for _, member in inspect.getmembers(cls, inspect.isfunction))


def _public(target: object) -> list[str]:
    with contextlib.suppress(Exception):
        return [name for name in dir(target) if not name.startswith("_") and callable(getattr(target, name))]
    return []


def _reason(error: BaseException) -> ExitReason:
    """SUP-2: the normalised reason for what the body raised."""
    if isinstance(error, _Asked) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, SystemExit) and not error.code:
        return NORMAL
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    detail = "".join(traceback.format_exception(error, limit=-20))
    if isinstance(error, MemoryError):
        return ExitReason(ExitKind.OOM, message, detail)
    return crash(message, detail)
