"""One fault that is to happen, as it is written to the undo record, sent over the plane and kept by a host. Pure."""

import msgspec

from supervisors.core.errors import FaultError

Scalar = str | int | float | bool


class Hook:
    """Places in a process where an armed fault may act. A kind names those it needs (``FaultKind.hooks``)."""

    CALL_IN = "call_in"  #: a call or cast reached the target
    REPLY = "reply"  #: the target is about to answer a call
    CALL_OUT = "call_out"  #: the target is about to call another child
    CAST_OUT = "cast_out"
    PLANE_IN = "plane_in"  #: a plane message reached the target's process
    PLANE_OUT = "plane_out"  #: a plane message is about to leave it
    PUBLISH = "publish"  #: the target publishes an item
    START = "start"  #: before ``start`` of the target's class
    RUN = "run"  #: while ``run`` is awaited
    STOP = "stop"  #: an order to stop arrived
    APPEND = "append"  #: an event is durable, before it is applied and acknowledged
    CHECKPOINT = "checkpoint"  #: a checkpoint is about to be written
    DISK = "disk"  #: calls of the state's disk port
    LEASE = "lease"  #: calls of the lease store
    CLOCK = "clock"  #: the target's injected clock is read
    BEATS = "beats"  #: a supervisor takes a child's beat
    NOW = "now"  #: acts once, at once, when armed (and is put away when disarmed)


#: the one hook that a parameter of an order chooses out of those its kind names
_CHOSEN = {
    "on": {
        "calls": Hook.CALL_IN,
        "calls_out": Hook.CALL_OUT,
        "casts_out": Hook.CAST_OUT,
        "plane_in": Hook.PLANE_IN,
        "plane_out": Hook.PLANE_OUT,
        "published": Hook.PUBLISH,
    },
    "point": {"append": Hook.APPEND, "checkpoint": Hook.CHECKPOINT},
}


class FaultOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fault for one target, complete: who receives it needs no catalogue.

    Attributes:
        id: of this order, unique in the system, e.g. ``f-3k9x2a``; several orders of one injection share what comes
            before the dot (``f-3k9x2a.1``).
        kind: name in the catalogue.
        path: whom it is about.
        params: all parameters of the kind, checked, in SI units (seconds, bytes).
        seconds: how long it lasts at most, counted from when it was armed.
        hooks: see ``Hook``.
        slot: two orders of one slot exclude each other at one target; empty: none.
        probability: chance that it acts on an occasion once ``first`` are over.
        first: so many occasions are hit for certain.
        most: acts at most so often; 0: no bound.
        seed: of its chance.
        standing: it is handed to later lives of the path as well.
        about: path of the child it is about when it is armed at that child's supervisor.
        run: the chaos run it belongs to.
        deadline: boot clock, seconds: whoever reads it later must not arm it any more; 0: it has none.
        boot: names the boot of the machine whose clock that is; on another machine it says nothing.
    """

    id: str
    kind: str
    path: str
    params: dict[str, Scalar] = {}
    seconds: float = 30.0
    hooks: tuple[str, ...] = ()
    slot: str = ""
    probability: float = 1.0
    first: int = 0
    most: int = 0
    seed: int = 0
    standing: bool = False
    about: str = ""
    run: str = ""
    deadline: float = 0.0
    boot: str = ""

    def acts_at(self) -> tuple[str, ...]:
        """The hooks it waits at: those of its kind, or the one its parameters choose (``on``, ``point``)."""
        for name, hooks in _CHOSEN.items():
            chosen = hooks.get(str(self.params.get(name, "")))
            if chosen in self.hooks:
                return (chosen,)
        return self.hooks

    def number(self, name: str) -> float:
        """A parameter that is a number.

        Raises:
            TypeError: it is none.
        """
        value = self.params[name]
        if isinstance(value, bool | str):
            raise TypeError(f"{self.kind}: {name} is {value!r}, no number")
        return float(value)

    def text(self, name: str) -> str:
        """A parameter that is a text."""
        return str(self.params[name])

    def flag(self, name: str) -> bool:
        """A parameter that is true or false."""
        return self.params[name] is True


class ArmedState(msgspec.Struct, frozen=True):
    """What a process says of one fault armed in it: ``left`` seconds, ``seen`` occasions, ``fired`` effects."""

    order: FaultOrder
    left: float
    seen: int = 0
    fired: int = 0


def encode(orders: tuple[FaultOrder, ...]) -> bytes:
    """For the wire.

    Raises:
        FaultError: a number or a text of it has no place there (9032).
    """
    try:
        return msgspec.msgpack.encode(orders)
    except (OverflowError, ValueError, TypeError) as error:
        raise FaultError(
            f"a value of it can neither be sent nor written down: {error}",
            code=9032,
            fix="whole numbers of at most 64 bits (the seed as well), and text that is Unicode",
        ) from error


def decode(body: bytes) -> tuple[FaultOrder, ...]:
    """What ``encode`` made.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return msgspec.msgpack.decode(body, type=tuple[FaultOrder, ...])
