"""What a user's actor extends. Every method is optional but ``run`` or one other public method.

    class Greeter(Actor):
        class Config(BaseModel):
            name: str = "world"

        async def run(self) -> None:
            while True:
                self.ctx.log.info("hello {}", self.config.name)
                await asyncio.sleep(1)

Life: the host validates ``Config``, makes the object, calls ``start(ctx)``, reports it ready, then awaits ``run``.
``run`` returning is a normal exit, raising is a crash. On an order to stop, ``run`` is cancelled and ``stop`` awaited.

An actor whose state must survive changes it by events only: it has ``apply``, ``snapshot`` and ``restore`` (see
``Journalled``) and appends each change to ``ctx.journal``. They are looked up by name, so no base class is needed:

    class Balance(Actor):
        Event = Deposited | Withdrawn       # msgspec Structs with tags
        State = dict[str, int]

        def apply(self, event: Deposited | Withdrawn) -> int: ...
        def snapshot(self) -> dict[str, int]: ...
        def restore(self, state: dict[str, int]) -> None: ...

        async def deposit(self, amount: int) -> object:
            return await self.ctx.journal.append(Deposited(amount))

They are plain functions: an ``async def`` is refused. ``apply`` depends on nothing but the state and the event (no
clock, no chance, no I/O), since standbys and replays run it as well. ``actors.testing.FakeJournal`` tests such a class.
See docs/recovery.md.

An actor that can be broken in ways of its own names them, and carries them out when it is told to (FLT-1):

    from supervisors.faults.catalogue import FaultKind, Where

    class Feed(Actor):
        Faults = (FaultKind("stale_book", "feed", Where.ACTOR, "The book stands still.", "it moves again"),)

        async def fault_armed(self, order: FaultOrder) -> None:
            self.frozen.add(order.id)

        async def fault_ended(self, fault_id: str) -> None:
            self.frozen.discard(fault_id)

`rayvisor inject stale_book /cell/feed --for 5s` then works as any other fault does: it ends at its deadline, when it is
reverted, and with the process. ``actors.testing.armed`` arms one in a unit test.
"""

import asyncio
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, cast, runtime_checkable

from actors.context import Context

if TYPE_CHECKING:
    from pydantic import BaseModel

    from supervisors.faults.catalogue import FaultKind
    from supervisors.faults.order import FaultOrder


class _NoConfig:
    """Gives ``NoConfig`` when looked at: pydantic costs a process 50 ms that a child without config need not pay."""

    __rayvisor_no_config__ = True

    def __get__(self, instance: object, owner: type) -> "type[BaseModel]":
        from actors.noconfig import NoConfig

        return NoConfig


EventT_contra = TypeVar("EventT_contra", contravariant=True)
StateT = TypeVar("StateT")


@runtime_checkable
class Journalled(Protocol[EventT_contra, StateT]):
    """An actor whose state is made of events. Name it as a base, or only have the methods: both count.

    ``EventT_contra`` is the class's ``Event``, ``StateT`` its ``State``.
    """

    def apply(self, event: EventT_contra) -> object:
        """Change the state by one event; what it gives is what ``append`` gives."""
        ...

    def snapshot(self) -> StateT:
        """The whole state as something msgspec encodes."""
        ...

    def restore(self, state: StateT) -> None:
        """Take over a state that ``snapshot`` gave. Called on a fresh object, before ``start``."""
        ...


@runtime_checkable
class Migrating(Protocol):
    """A ``Journalled`` actor that reads states of earlier versions."""

    def migrate(self, version: int, state: object) -> object:
        """A state that ``STATE_VERSION`` ``version`` wrote, as plain dicts, lists and scalars; gives what the present
        ``State`` is made from.
        """
        ...


class Actor:
    """Base class of children.

    Attributes:
        Config: the pydantic model of this actor's ``config`` in the topology; without one it takes none.
        config: the validated config; None where the class has no ``Config`` of its own.
        ctx: set before ``start`` is called.
    """

    #: what the host looks for to tell an Actor from a plain class
    __rayvisor_actor__: ClassVar[int] = 1

    Config: "ClassVar[type[BaseModel]]" = cast("type[BaseModel]", _NoConfig())

    #: what ``apply`` is given: any type msgspec decodes, best a tagged union of Structs
    Event: ClassVar[object] = object
    #: what ``restore`` is given
    State: ClassVar[object] = object
    #: version of what ``snapshot`` gives; raise it with every change that old code could not read
    STATE_VERSION: ClassVar[int] = 1

    #: kinds of fault of its own; their ``where`` is ``Where.ACTOR``
    Faults: "ClassVar[tuple[FaultKind, ...]]" = ()

    config: "BaseModel | None"
    ctx: Context

    def __init__(self, config: "BaseModel | None") -> None:
        self.config = config

    async def start(self, ctx: Context) -> None:
        """Make ready to work. Raising is a failed start, ``Ignore`` none; bounded by ``start_timeout``."""

    async def run(self) -> None:
        """The body. The default only answers calls, for ever."""
        await asyncio.Event().wait()

    async def promoted(self) -> None:
        """A live standby acts from now on; called after its outputs were opened.

        Items with a mark have been sent on from where the primary ended. What else it has to say (verdicts, states)
        has gone nowhere until now: say it anew here.
        """

    async def stop(self) -> None:
        """Put things away; bounded by the child's ``shutdown`` time, then the process is killed."""

    async def fault_armed(self, order: "FaultOrder") -> None:
        """Begin with a fault of ``Faults``; ``order.params`` has its parameters. Within 2 s, or it counts as refused.

        Raising refuses it: nothing is armed then.
        """

    async def fault_ended(self, fault_id: str) -> None:
        """End a fault that ``fault_armed`` began, and return once it is gone: it was reverted, or its time is over.

        Within 2 s. Raising says that it is not gone: that is told, and this is called again. An id that is not known
        (any more) is no error.
        """

    async def health(self) -> bool:
        """A functional check for detectors to call; False or raising means not healthy."""
        return True
